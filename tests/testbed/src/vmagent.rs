//! vmagents: `VictoriaMetrics`' scraper, which reads Prometheus' scrape jobs with rules of its own. A single-node
//! `VictoriaMetrics` is one too, and keeps what it or another one scraped.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::cluster::{command, new_dir};
use crate::http::{Answer, connect, escape, exchange};
use crate::process::Process;
use crate::prometheus::{Target, all_up, write_private};
use crate::{ports, tools, wait};

const START: Duration = Duration::from_secs(60);
const RELOAD: Duration = Duration::from_secs(30);
const TRIES: usize = 4;
/// Where samples go unless a flag says otherwise: to the discard service (RFC 863) of this machine, which hardly any
/// machine has. What cannot be sent is kept in the server's own folder.
const NOWHERE: &str = "http://127.0.0.1:9/api/v1/write";
/// Among its metrics once it has a configuration. Its page `/ready` says yes from before it looks for one.
const CONFIGURED: &str = "\nvm_promscrape_config_last_reload_successful 1\n";
/// Where there is no such metric: in the log, and to be trusted there, because it is the last thing it does.
const STARTED: &str = "\tstarted service discovery routines in ";

/// Which program scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scraper {
    /// vmagent, as pinned in `go/`.
    Current,
    /// vmagent of Debian's package `victoria-metrics`, as old as people have it: 1.79.
    Debian,
    /// The single-node `VictoriaMetrics` of that package. It stores samples itself, and answers queries.
    SingleNode,
}

impl Scraper {
    fn program(self) -> Result<PathBuf> {
        match self {
            Self::Current => tools::vmagent().map(Path::to_owned),
            Self::Debian => tools::debian("vmagent"),
            Self::SingleNode => tools::debian("victoria-metrics"),
        }
    }
}

/// What a vmagent is to be like.
#[derive(Clone, Debug)]
pub struct VmagentSpec {
    pub scraper: Scraper,
    /// A copy of its program, which is run instead.
    pub program: Option<PathBuf>,
    /// Its `-promscrape.config`.
    pub config: String,
    /// Beside the configuration, by a path relative to it.
    pub files: Vec<(String, String)>,
    /// Where it writes samples to.
    pub remote_write: String,
    pub flags: Vec<String>,
    /// It has its configuration and its address from its environment, in variables whose names begin so.
    pub variables: Option<String>,
}

impl VmagentSpec {
    pub fn new(config: impl Into<String>) -> Self {
        Self {
            scraper: Scraper::Current,
            program: None,
            config: config.into(),
            files: Vec::new(),
            remote_write: NOWHERE.into(),
            flags: Vec::new(),
            variables: None,
        }
    }

    #[must_use]
    pub fn by_environment(mut self, prefix: impl Into<String>) -> Self {
        self.variables = Some(prefix.into());
        self
    }

    #[must_use]
    pub fn scraper(mut self, scraper: Scraper) -> Self {
        self.scraper = scraper;
        self
    }

    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    #[must_use]
    pub fn remote_write(mut self, url: impl Into<String>) -> Self {
        self.remote_write = url.into();
        self
    }

    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }
}

/// A running vmagent; dropping it stops it.
#[derive(Debug)]
pub struct Vmagent {
    dir: PathBuf,
    address: SocketAddr,
    program: PathBuf,
    process: Process,
}

impl Vmagent {
    pub fn start(config: &str) -> Result<Self> {
        Self::start_with(&VmagentSpec::new(config))
    }

    /// Start a server and wait until it has read its configuration. Its targets come in their own time.
    pub fn start_with(spec: &VmagentSpec) -> Result<Self> {
        let program = spec.program.clone().map_or_else(|| spec.scraper.program(), Ok)?;
        let mut tries = 1;
        loop {
            match Self::start_once(spec, &program) {
                Err(error) if tries < TRIES && format!("{error:#}").contains("address already in use") => {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    fn start_once(spec: &VmagentSpec, program: &Path) -> Result<Self> {
        let dir = new_dir("vmagent")?;
        for (path, content) in &spec.files {
            write_private(&dir.join(path), content)?;
        }
        write_private(&dir.join("vmagent.yml"), &spec.config)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let own = match &spec.variables {
            None => ["-promscrape.config=vmagent.yml".into(), format!("-httpListenAddr={address}")],
            Some(prefix) => ["-envflag.enable".into(), format!("-envflag.prefix={prefix}")],
        };
        let data = match spec.scraper {
            // Queries leave out the last half minute unless told otherwise.
            Scraper::SingleNode => ["-storageDataPath=data".into(), "-search.latencyOffset=0s".into()],
            Scraper::Current | Scraper::Debian => {
                [format!("-remoteWrite.url={}", spec.remote_write), "-remoteWrite.tmpDataPath=data".into()]
            }
        };
        let mut argv = command(program, own.into_iter().chain(data).chain(spec.flags.iter().cloned()));
        if let Some(prefix) = &spec.variables {
            let variables =
                [format!("{prefix}promscrape_config=vmagent.yml"), format!("{prefix}httpListenAddr={address}")];
            argv = command(Path::new("/usr/bin/env"), variables.into_iter().chain(argv));
        }
        let process = Process::start("vmagent", &dir, argv)?;
        let vmagent = Self { dir, address, program: program.to_owned(), process };
        let ready = wait::until(START, || match vmagent.process.exited() {
            Some(status) => Some(Err(vmagent.process.error(&format!("ended ({status})")))),
            None => vmagent.is_configured(spec.scraper).then_some(Ok(())),
        });
        ready.unwrap_or_else(|| Err(vmagent.process.error("runs, but does not get ready")))?;
        Ok(vmagent)
    }

    fn is_configured(&self, scraper: Scraper) -> bool {
        let answer = self.get("/metrics");
        match scraper {
            // One that wants a password, or TLS, shows it in its log alone.
            Scraper::Current => answer.is_ok_and(|answer| {
                answer.body.contains(CONFIGURED)
                    || [400, 401].contains(&answer.status) && self.log().contains(" service discovery routines in ")
            }),
            Scraper::Debian | Scraper::SingleNode => answer.is_ok() && self.log().contains(STARTED),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The program that runs, to be run once more.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Where others write their samples to, if it is [`Scraper::SingleNode`].
    pub fn remote_write(&self) -> String {
        format!("http://{}/api/v1/write", self.address)
    }

    /// The labels and values of an instant query, if it is [`Scraper::SingleNode`].
    pub fn query(&self, promql: &str) -> Result<Vec<(Value, String)>> {
        let path = format!("/api/v1/query?query={}", escape(promql));
        let answer = self.get(&path)?.success("VictoriaMetrics, query")?.json();
        let read = |one: &Value| (one["metric"].clone(), one["value"][1].as_str().unwrap_or_default().to_owned());
        Ok(answer["data"]["result"].as_array().into_iter().flatten().map(read).collect())
    }

    /// Where its configuration is, `vmagent.yml`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Write a file beside the configuration, readable by its owner alone. It counts from the next [`Self::reload`].
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        write_private(&self.dir.join(path), content)
    }

    pub fn targets(&self) -> Result<Vec<Target>> {
        let answer = self.get("/api/v1/targets?state=active")?.success("vmagent, targets")?.json();
        Ok(Target::read_active(&answer["data"]))
    }

    /// Wait until there are `count` targets and all of them are up. The error shows those that are not.
    pub fn wait_for_targets(&self, count: usize, limit: Duration) -> Result<Vec<Target>> {
        all_up(count, limit, || self.targets())
    }

    /// Read the configuration again. vmagent answers before it has: what it thinks of it stands in its log, and the error
    /// is that line.
    pub fn reload(&self) -> Result<()> {
        let before = self.log().len();
        exchange(connect(self.address)?, "POST", "/-/reload", None)?.success("reload")?;
        let verdict = wait::until(RELOAD, || verdict(self.log().get(before..)?));
        match verdict {
            Some(Ok(())) => Ok(()),
            Some(Err(line)) => bail!("{line}"),
            None => Err(self.process.error("does not say how the reload went")),
        }
    }

    /// Its own log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("vmagent.log")).unwrap_or_default()
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        exchange(connect(self.address)?, "GET", path, None)
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stop it and wait for its end, as dropping does.
    pub fn stop(self) {
        drop(self);
    }
}

/// What the log says of a reload: the words of `lib/promscrape`, `runScraper` and `mustRestart`.
fn verdict(log: &str) -> Option<Result<(), String>> {
    // The last line may not be written to its end.
    let (lines, _) = log.rsplit_once('\n')?;
    lines.lines().find_map(|line| {
        if line.contains("continuing with the previous config") {
            Some(Err(line.to_owned()))
        } else {
            let read = ["nothing changed in ", "service discovery routines in "];
            read.iter().any(|words| line.contains(words)).then_some(Ok(()))
        }
    })
}
