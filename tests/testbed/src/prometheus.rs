//! Prometheus servers.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::cluster::{command, new_dir};
use crate::http::{Answer, connect, escape, exchange};
use crate::process::Process;
use crate::tools::{Tools, prometheus_2_45, prometheus_2_53, prometheus_3_5, prometheus_3_14};
use crate::{ports, wait};

const START: Duration = Duration::from_secs(60);
const TRIES: usize = 4;

/// Which Prometheus runs.
#[derive(Clone, Copy, Debug)]
pub enum Release {
    Current,
    /// It keeps the first token of a file.
    V3_14,
    V3_5,
    V2_53,
    /// The oldest that the plugin supports.
    V2_45,
}

/// What a Prometheus is to be like.
#[derive(Clone, Debug)]
pub struct PrometheusSpec {
    pub config: String,
    /// Beside the configuration, by a path relative to it.
    pub files: Vec<(String, String)>,
    pub flags: Vec<String>,
    /// `--config.file`, in which `{dir}` stands for the folder of its files; `None` leaves the flag out.
    pub config_file: Option<String>,
    /// Whether `POST /-/reload` works.
    pub lifecycle: bool,
    /// It keeps no data and answers no queries.
    pub agent: bool,
    pub release: Release,
    /// A program and its arguments that become this Prometheus, as `unshare --mount` does.
    pub wrapper: Vec<String>,
    /// On this machine's own address instead of loopback, for one that stands behind a Service.
    pub reachable_from_clusters: bool,
    /// The folder of the configuration, which the caller makes and removes; one in the folder of this run if `None`.
    pub folder: Option<PathBuf>,
}

impl PrometheusSpec {
    pub fn new(config: impl Into<String>) -> Self {
        Self {
            config: config.into(),
            files: Vec::new(),
            flags: Vec::new(),
            config_file: Some("prometheus.yml".into()),
            lifecycle: true,
            agent: false,
            release: Release::Current,
            wrapper: Vec::new(),
            reachable_from_clusters: false,
            folder: None,
        }
    }

    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<String>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    #[must_use]
    pub fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    #[must_use]
    pub fn config_file(mut self, path: Option<&str>) -> Self {
        self.config_file = path.map(str::to_owned);
        self
    }

    #[must_use]
    pub fn without_lifecycle(mut self) -> Self {
        self.lifecycle = false;
        self
    }

    #[must_use]
    pub fn agent(mut self) -> Self {
        self.agent = true;
        self
    }

    #[must_use]
    pub fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    #[must_use]
    pub fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    #[must_use]
    pub fn reachable_from_clusters(mut self) -> Self {
        self.reachable_from_clusters = true;
        self
    }

    #[must_use]
    pub fn in_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }
}

/// A running Prometheus; dropping it stops it.
#[derive(Debug)]
pub struct Prometheus {
    dir: PathBuf,
    address: SocketAddr,
    url: String,
    /// What was started, to be started again.
    argv: Vec<String>,
    process: Process,
}

/// One line of the targets page.
#[derive(Clone, Debug)]
pub struct Target {
    /// The scrape job.
    pub pool: String,
    pub labels: Value,
    /// `up`, `down` or `unknown`.
    pub health: String,
    pub last_error: String,
    pub scrape_url: String,
}

impl Target {
    pub fn is_up(&self) -> bool {
        self.health == "up"
    }

    /// A label of the target, empty if it has none of this name.
    pub fn label(&self, name: &str) -> &str {
        self.labels[name].as_str().unwrap_or_default()
    }

    /// Those that are scraped, from the `data` of `/api/v1/targets`.
    pub(crate) fn read_active(data: &Value) -> Vec<Self> {
        let text = |target: &Value, key: &str| target[key].as_str().unwrap_or_default().to_owned();
        let read = |target: &Value| Self {
            pool: text(target, "scrapePool"),
            labels: target["labels"].clone(),
            health: text(target, "health"),
            last_error: text(target, "lastError"),
            scrape_url: text(target, "scrapeUrl"),
        };
        data["activeTargets"].as_array().into_iter().flatten().map(read).collect()
    }
}

impl Prometheus {
    pub fn start(config: &str) -> Result<Self> {
        Self::start_with(&PrometheusSpec::new(config))
    }

    /// Start a server and wait until it answers queries.
    pub fn start_with(spec: &PrometheusSpec) -> Result<Self> {
        let tools = Tools::get()?;
        let mut tries = 1;
        loop {
            match Self::start_once(spec, tools) {
                Err(error) if tries < TRIES && format!("{error:#}").contains("address already in use") => {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    fn start_once(spec: &PrometheusSpec, tools: &Tools) -> Result<Self> {
        let dir = spec.folder.clone().map_or_else(|| new_dir("prometheus"), Ok)?;
        fs::write(dir.join("prometheus.yml"), &spec.config)?;
        for (path, content) in &spec.files {
            write_private(&dir.join(path), content)?;
        }
        let host = if spec.reachable_from_clusters { ports::machine_address()? } else { Ipv4Addr::LOCALHOST.into() };
        let address = SocketAddr::new(host, ports::free()?);
        let config = spec.config_file.as_ref().map(|path| path.replace("{dir}", &dir.to_string_lossy()));
        let own = [
            config.map(|path| format!("--config.file={path}")),
            Some(if spec.agent { "--storage.agent.path=data".into() } else { "--storage.tsdb.path=data".into() }),
            Some(format!("--web.listen-address={address}")),
            spec.lifecycle.then(|| "--web.enable-lifecycle".into()),
            spec.agent.then(|| "--agent".into()),
        ];
        let program = match spec.release {
            Release::Current => tools.prometheus.clone(),
            Release::V3_14 => prometheus_3_14()?,
            Release::V3_5 => prometheus_3_5()?,
            Release::V2_53 => prometheus_2_53()?,
            Release::V2_45 => prometheus_2_45()?,
        };
        let prometheus = command(&program, own.into_iter().flatten().chain(spec.flags.iter().cloned()));
        Self::run(dir, address, spec.wrapper.iter().cloned().chain(prometheus).collect())
    }

    fn run(dir: PathBuf, address: SocketAddr, argv: Vec<String>) -> Result<Self> {
        let process = Process::start("prometheus", &dir, argv.clone())?;
        let prometheus = Self { dir, address, url: format!("http://{address}"), argv, process };
        // One that wants a password, or TLS, is as ready as it shows.
        let is_ready = |answer: &Answer| answer.is_success() || [400, 401].contains(&answer.status);
        let ready = wait::until(START, || match prometheus.process.exited() {
            Some(status) => Some(Err(prometheus.process.error(&format!("ended ({status})")))),
            None => prometheus.get("/-/ready").ok().filter(is_ready).map(|_| Ok(())),
        });
        ready.unwrap_or_else(|| Err(prometheus.process.error("runs, but does not get ready")))?;
        Ok(prometheus)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its configuration is, `prometheus.yml`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Write a file beside the configuration, readable by its owner alone. It counts from the next [`Self::reload`].
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        write_private(&self.dir.join(path), content)
    }

    /// The result of an instant query: a list of `{metric, value}` for a vector.
    pub fn query(&self, promql: &str) -> Result<Value> {
        Ok(self.api(&format!("query?query={}", escape(promql)))?["result"].take())
    }

    /// The one number of an instant query, if it gives one.
    pub fn number(&self, promql: &str) -> Result<Option<f64>> {
        let result = self.query(promql)?;
        let value = result[0]["value"][1].as_str();
        Ok(value.and_then(|value| value.parse().ok()))
    }

    /// Each scrape of a cluster's targets that failed in these last seconds, but those that were given up at this timeout:
    /// a busy machine may not answer in time, and who refuses, or has nothing, says so at once.
    ///
    /// # Errors
    /// Also where no scrape was made.
    pub fn failed_scrapes(&self, cluster: &str, seconds: u64, timeout: Duration) -> Result<Vec<String>> {
        let took = self.samples("scrape_duration_seconds", cluster, seconds)?;
        let mut failed = Vec::new();
        for (target, scrapes) in self.samples("up", cluster, seconds)? {
            for (at, _) in scrapes.into_iter().filter(|(_, up)| *up < 1.0) {
                let took = took.get(&target).into_iter().flatten().find(|(time, _)| time.total_cmp(&at).is_eq());
                if took.is_none_or(|(_, took)| *took < timeout.as_secs_f64()) {
                    failed.push(format!("{target} at {at}, after {took:?}"));
                }
            }
        }
        Ok(failed)
    }

    /// The longest time between two scrapes of one of a cluster's targets in these last seconds.
    ///
    /// # Errors
    /// As [`Self::failed_scrapes`].
    pub fn longest_pause(&self, cluster: &str, seconds: u64) -> Result<Duration> {
        let scrapes = self.samples("up", cluster, seconds)?;
        let pauses = scrapes.values().flat_map(|scrapes| scrapes.windows(2).map(|two| two[1].0 - two[0].0));
        Ok(Duration::from_secs_f64(pauses.fold(0.0, f64::max)))
    }

    /// What was stored of each of a cluster's targets, with the times in seconds since 1970.
    fn samples(&self, metric: &str, cluster: &str, seconds: u64) -> Result<BTreeMap<String, Vec<(f64, f64)>>> {
        let found = self.query(&format!("{metric}{{cluster=\"{cluster}\"}}[{seconds}s]"))?;
        let samples = |series: &Value| -> Vec<(f64, f64)> {
            let number = |value: &Value| value.as_str().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN);
            let samples = series["values"].as_array().into_iter().flatten();
            samples.map(|sample| (sample[0].as_f64().unwrap_or(f64::NAN), number(&sample[1]))).collect()
        };
        let target = |series: &Value| format!("{} {}", series["metric"]["job"], series["metric"]["instance"]);
        let found = found.as_array().into_iter().flatten().map(|series| (target(series), samples(series)));
        let found: BTreeMap<_, _> = found.collect();
        ensure!(!found.is_empty(), "no target of {cluster} was scraped in the last {seconds} s");
        Ok(found)
    }

    pub fn targets(&self) -> Result<Vec<Target>> {
        Ok(Target::read_active(&self.api("targets?state=active")?))
    }

    /// Read the configuration again; the error is what Prometheus says about it.
    pub fn reload(&self) -> Result<()> {
        exchange(connect(self.address)?, "POST", "/-/reload", None)?.success("reload")?;
        Ok(())
    }

    /// Ask until there is an answer; `None` when `limit` has passed.
    pub fn wait_until<T>(&self, limit: Duration, mut ask: impl FnMut(&Self) -> Option<T>) -> Option<T> {
        wait::until(limit, || ask(self))
    }

    /// Wait until there are `count` targets and all of them are up. The error shows those that are not.
    pub fn wait_for_targets(&self, count: usize, limit: Duration) -> Result<Vec<Target>> {
        all_up(count, limit, || self.targets())
    }

    /// Its own log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("prometheus.log")).unwrap_or_default()
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

    /// Stop it, and start it again with what its folder holds now: of what it had in memory only its data is left.
    pub fn restart(self) -> Result<Self> {
        let Self { dir, address, argv, process, .. } = self;
        process.stop();
        Self::run(dir, address, argv)
    }

    fn api(&self, call: &str) -> Result<Value> {
        let answer = self.get(&format!("/api/v1/{call}"))?;
        let mut body = answer.json();
        if body["status"] != "success" {
            bail!("Prometheus, {call}: {} {}", answer.status, body["error"].as_str().unwrap_or(&answer.body));
        }
        Ok(body["data"].take())
    }
}

/// Ask for the targets until there are `count` and all of them are up.
pub(crate) fn all_up(count: usize, limit: Duration, ask: impl Fn() -> Result<Vec<Target>>) -> Result<Vec<Target>> {
    let all_up = |targets: &Vec<Target>| targets.len() == count && targets.iter().all(Target::is_up);
    wait::until(limit, || ask().ok().filter(all_up)).map_or_else(|| Err(unlike(count, &ask()?)), Ok)
}

fn unlike(count: usize, targets: &[Target]) -> anyhow::Error {
    let down = targets.iter().filter(|target| !target.is_up());
    let lines: Vec<String> = down
        .map(|target| format!("\n  {} {}: {} {}", target.pool, target.scrape_url, target.health, target.last_error))
        .collect();
    anyhow!("{} targets of {count}, {} of them not up{}", targets.len(), lines.len(), lines.concat())
}

/// Configurations hold tokens.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    std::io::Write::write_all(&mut file, content.as_bytes()).with_context(|| format!("write {}", path.display()))
}

/// `promtool check config` of a whole configuration, which may have files beside it.
pub fn promtool_check(config: &str) -> Result<Output> {
    let dir = new_dir("promtool")?;
    let path = dir.join("prometheus.yml");
    write_private(&path, config)?;
    let output = Command::new(&Tools::get()?.promtool).args(["check", "config"]).arg(&path).output()?;
    fs::remove_dir_all(&dir)?;
    Ok(output)
}
