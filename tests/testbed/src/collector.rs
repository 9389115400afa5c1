//! OpenTelemetry Collectors with the Prometheus receiver, which reads Prometheus' files of jobs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::cluster::{command, new_dir};
use crate::http::{Answer, connect, exchange};
use crate::process::Process;
use crate::prometheus::{Target, all_up, write_private};
use crate::{ports, tools, wait};

const START: Duration = Duration::from_secs(60);
/// The last thing that it says when it starts: its metrics come before its receivers.
const STARTED: &str = "Everything is ready.";

/// What a collector is to be like.
#[derive(Clone, Debug)]
pub struct CollectorSpec {
    /// Its `config.yaml`, in which `{api}` and `{metrics}` stand for ports that nobody has, and `{dir}` for its folder.
    pub config: String,
    /// Beside the configuration, by a path relative to it, with the same words.
    pub files: Vec<(String, String)>,
    /// In place of `--config=config.yaml`, with the same words.
    pub flags: Vec<String>,
    /// `NAME=VALUE`
    pub variables: Vec<String>,
    /// The name of the program, a copy of which is run.
    pub program: Option<String>,
}

/// A pipeline of metrics and its own metrics, and no receiver that scrapes clusters.
const PLAIN: &str = "\
# Mine.
receivers:
  # Scrapes itself.
  prometheus/self:
    config:
      scrape_configs:
      - job_name: self
        scrape_interval: 5s
        static_configs:
        - targets: [\"127.0.0.1:{metrics}\"]

exporters:
  debug: {}

service:
  telemetry:
    metrics:
      readers:
      - pull:
          exporter:
            prometheus: {host: 127.0.0.1, port: {metrics}}
  pipelines:
    metrics:
      receivers: [prometheus/self] # and others
      exporters: [debug]
";

impl CollectorSpec {
    /// A pipeline of metrics, and no receiver of the plugin.
    pub fn plain() -> Self {
        Self::new(PLAIN)
    }

    /// The same with a receiver that reads the plugin's files and shows its targets.
    pub fn with_receiver() -> Self {
        let receiver = "  prometheus/federate:\n    config:\n      scrape_config_files: [\"{dir}/prom-federate/*.scrape.yml\"]\n    \
                        api_server: {enabled: true, server_config: {endpoint: \"127.0.0.1:{api}\"}}\n\nexporters:";
        let used = "[prometheus/self, prometheus/federate]";
        Self::new(PLAIN.replace("\nexporters:", receiver).replace("[prometheus/self]", used))
    }

    /// The same with the receivers in `receivers.yaml`, and a variable of its environment without which it is invalid.
    pub fn in_two_files() -> Self {
        let whole = Self::with_receiver().config;
        let (receivers, rest) = whole.split_once("\nexporters:").unwrap_or((&whole, ""));
        let rest = format!("exporters:{rest}").replace("exporters: [debug]", "exporters: [\"${env:EXPORTER}\"]");
        Self::new(rest)
            .file("receivers.yaml", format!("{receivers}\n"))
            .flags(&[
                "--config=file:receivers.yaml",
                "--config",
                "config.yaml",
                "--config=yaml:exporters::debug::verbosity: basic",
            ])
            .variable("EXPORTER=debug")
            .variable("LINES=one\nEXPORTER=none\n")
    }

    pub fn new(config: impl Into<String>) -> Self {
        Self {
            config: config.into(),
            files: Vec::new(),
            flags: vec!["--config=config.yaml".into()],
            variables: Vec::new(),
            program: None,
        }
    }

    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    #[must_use]
    pub fn flags(mut self, flags: &[&str]) -> Self {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn variable(mut self, variable: impl Into<String>) -> Self {
        self.variables.push(variable.into());
        self
    }

    #[must_use]
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.program = Some(name.into());
        self
    }
}

/// A running collector; dropping it stops it.
#[derive(Debug)]
pub struct Collector {
    dir: PathBuf,
    api: SocketAddr,
    process: Process,
}

impl Collector {
    /// Start a collector and wait until it has started its receivers.
    pub fn start(spec: &CollectorSpec) -> Result<Self> {
        let dir = new_dir("collector")?;
        let free = || Ok::<_, anyhow::Error>(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?)));
        let (api, metrics) = (free()?, free()?);
        let here = dir.to_string_lossy().into_owned();
        let filled = |text: &str| {
            text.replace("{api}", &api.port().to_string())
                .replace("{metrics}", &metrics.port().to_string())
                .replace("{dir}", &here)
        };
        write_private(&dir.join("config.yaml"), &filled(&spec.config))?;
        for (path, content) in &spec.files {
            write_private(&dir.join(path), &filled(content))?;
        }
        let built = tools::collector()?;
        let program = match &spec.program {
            None => built.to_owned(),
            Some(name) => {
                let copy = dir.join(name);
                fs::copy(built, &copy)?;
                copy
            }
        };
        let mut argv = command(&program, spec.flags.iter().map(|flag| filled(flag)));
        if !spec.variables.is_empty() {
            argv =
                command(Path::new("/usr/bin/env"), spec.variables.iter().map(|variable| filled(variable)).chain(argv));
        }
        let process = Process::start("collector", &dir, argv)?;
        let collector = Self { dir, api, process };
        let ready = wait::until(START, || match collector.process.exited() {
            Some(status) => Some(Err(collector.process.error(&format!("ended ({status})")))),
            None => collector.log().contains(STARTED).then_some(Ok(())),
        });
        ready.unwrap_or_else(|| Err(collector.process.error("runs, but does not get ready")))?;
        Ok(collector)
    }

    /// Where its configuration is, `config.yaml`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The address of `{api}`.
    pub fn api(&self) -> SocketAddr {
        self.api
    }

    /// Write a file beside the configuration, readable by its owner alone.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        write_private(&self.dir.join(path), content)
    }

    /// Of the receiver that shows them at an address.
    pub fn targets_at(address: SocketAddr) -> Result<Vec<Target>> {
        let answer: Answer = exchange(connect(address)?, "GET", "/api/v1/targets?state=active", None)?;
        Ok(Target::read_active(&answer.success("collector, targets")?.json()["data"]))
    }

    /// Wait until there are `count` targets at `{api}` and all of them are up. The error shows those that are not.
    pub fn wait_for_targets(&self, count: usize, limit: Duration) -> Result<Vec<Target>> {
        all_up(count, limit, || Self::targets_at(self.api))
    }

    /// Its own log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("collector.log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it has not ended.
    pub fn runs(&self) -> bool {
        self.process.exited().is_none()
    }
}
