//! Have the Prometheus that runs read its configuration again, and see that it did.

use super::{
    api::{ConfigState, HttpReload, PrometheusApi},
    process::PrometheusProcess,
    promtool,
    restart::Restart,
};
use crate::{
    error::{Error, Reason, Result},
    host::{AfterCut, Attempt, Ended, Host, Validation},
    model::{
        store::reload::ReloadMode,
        text::{duration::Seconds, line},
    },
};
use jiff::Timestamp;
use std::{
    fmt,
    time::{Duration, Instant},
};

/// A reload takes up to that long where there are thousands of clusters.
const LOADED_WITHIN: Duration = Duration::from_secs(30);
/// vmagent begins to read at once, and leaves no trace if nothing has changed. Its page of metrics is up to a second old.
const QUIET: Duration = Duration::from_secs(5);
const COMMAND_WITHIN: Duration = Duration::from_secs(60);
/// The growing pause between two polls.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How the configuration was reloaded. `seen`: the API confirms the reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reloaded {
    /// `POST /-/reload`, which answers when it is done.
    Http,
    /// SIGHUP to each of these.
    Signal {
        pids: Vec<i32>,
        seen: bool,
    },
    /// By its own watching of files.
    AutoReload {
        seen: bool,
    },
    Command {
        seen: bool,
    },
    /// It reads what was replaced again without a reload.
    NotNeeded,
    /// `--reload=none`
    Skipped,
    /// There is nothing to reload: the configuration counts from the next start.
    NobodyRuns,
}

impl Reloaded {
    /// Whether a process has read the configuration, or is about to.
    pub fn will_be_read(&self) -> bool {
        !matches!(self, Self::Skipped | Self::NobodyRuns)
    }
}

/// As a sentence about Prometheus goes on.
impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http
            | Self::Signal { seen: true, .. }
            | Self::AutoReload { seen: true }
            | Self::Command { seen: true } => "reloaded",
            Self::Signal { seen: false, .. } => "sent SIGHUP",
            Self::AutoReload { seen: false } => "reloads the configuration by itself",
            Self::Command { seen: false } => "reloaded by the given command",
            Self::NotNeeded => "reads the new token without a reload",
            Self::Skipped => "not reloaded (--reload=none)",
            Self::NobodyRuns => "does not run; it will read the jobs when it starts",
        })
    }
}

/// Reloads the configuration. `committed` is when its files came into place, by the clock of this host. `api` must be
/// that of a process, if there are any: another process would be reloaded and verified in vain.
///
/// `auto` takes HTTP if the API has it switched on and there is but one process to tell, else SIGHUP, else waits for a
/// Prometheus that watches its files.
///
/// # Errors
/// [`Reason::ReloadFailed`], with Prometheus' or promtool's words where they are to be had; what the API fails with.
pub async fn reload(
    host: &Host,
    mode: &ReloadMode,
    processes: &[PrometheusProcess],
    api: Option<&PrometheusApi>,
    committed: Timestamp,
) -> Result<Reloaded> {
    let is_collectors = processes.first().is_some_and(PrometheusProcess::is_collector);
    let watch = if is_collectors && *mode != ReloadMode::None {
        for collector in processes {
            refuse_to_end(host, collector, mode).await?;
        }
        Restart::begin(host, processes).await?.map(Watch::Restart)
    } else {
        Seen::begin(api, committed).await.map(Watch::Reload)
    };
    let reload = Reload { host, processes, api, watch };
    match mode {
        ReloadMode::None => Ok(Reloaded::Skipped),
        ReloadMode::Http => match reload.by_http().await? {
            Some(done) => Ok(done),
            None => Err(failed(format!("{} does not allow a reload over HTTP", reload.who()))
                .hint("To allow it: --web.enable-lifecycle (vmagent: without -reloadAuthKey)")
                .hint("Or use --reload=signal or --reload=command:COMMAND")),
        },
        ReloadMode::Signal if processes.is_empty() => Err(failed(
            "no visible process of this host reads this configuration",
        )
        .hint("Run the command as root, or name a command that reloads Prometheus: --reload='command:systemctl reload prometheus'")),
        ReloadMode::Signal => {
            reload.hang_up().await?;
            reload.after_signal().await
        }
        ReloadMode::Command(command) => reload.by_command(command).await,
        ReloadMode::Auto => reload.by_whatever_works().await,
    }
}

/// A collector ends where SIGHUP makes it read a configuration that it rejects, so it validates the configuration before.
///
/// # Errors
/// [`Reason::ReloadFailed`].
async fn refuse_to_end(host: &Host, collector: &PrometheusProcess, mode: &ReloadMode) -> Result<()> {
    let pid = collector.pid;
    if collector.reloads_no_files() {
        return Err(failed(format!(
            "process {pid} has the feature gate service.partialReload, with which a collector does not read files of jobs again"
        ))
        .hint("Start it without this gate, or name a command that restarts it: --reload='command:systemctl restart otelcol'"));
    }
    match promtool::check_collector(host, Some(collector), None, None).await? {
        (by, Validation::Undecided(why)) => Err(failed(format!(
            "{by} came to no verdict on the configuration of process {pid}: {why}; it would end with SIGHUP if it rejects the configuration"
        ))
        .hint("Run the command again")),
        (by, Validation::Rejected(why)) => Err(failed(format!(
            "{by} rejects the configuration of process {pid}: {why}; a reload would end the process, so it was not reloaded"
        ))
        .hint("Fix the configuration that otelcol validate rejects, and run the command again")),
        (_, Validation::Absent) if *mode == ReloadMode::Auto => Err(failed(format!(
            "cannot have process {pid} validate its configuration, and it would end with SIGHUP if it rejects the configuration"
        ))
        .hint("Its program must be one that only root may replace, and not in a container")
        .hint("To reload it all the same: --reload=signal, or --reload='command:docker kill --signal=HUP otelcol'")),
        (_, Validation::Accepted | Validation::Absent) => Ok(()),
    }
}

/// A way to have the configuration read again, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Http,
    Signal,
}

/// What `--reload=auto` comes to: HTTP where there is but one process to tell, since the API is of one of them, then a
/// signal to the processes that are known. Every other mode is one way.
pub fn ways(mode: &ReloadMode, processes: usize, has_api: bool) -> Vec<Way> {
    match mode {
        ReloadMode::None | ReloadMode::Command(_) => Vec::new(),
        ReloadMode::Http => vec![Way::Http],
        ReloadMode::Signal => vec![Way::Signal],
        ReloadMode::Auto => {
            let http = (has_api && processes < 2).then_some(Way::Http);
            http.into_iter().chain((processes > 0).then_some(Way::Signal)).collect()
        }
    }
}

/// How long [`reload`] takes at most: one way may fail before the other is tried. None without a request timeout.
pub fn within(timeout: Option<Duration>, processes: &[PrometheusProcess]) -> Option<Duration> {
    let by_itself = processes.first().and_then(|process| process.auto_reload).unwrap_or_default();
    Some(timeout?.max(COMMAND_WITHIN) + LOADED_WITHIN + by_itself)
}

/// What another host does when the connection to it was cut and everything is undone: the same as [`reload`] would
/// do, without verification. A signal is surer than HTTP, which may be switched off.
pub async fn after_a_cut(
    host: &Host,
    mode: &ReloadMode,
    processes: &[PrometheusProcess],
    api: Option<&PrometheusApi>,
) -> Result<()> {
    // What asks there has no client configuration file.
    let url = api.filter(|api| !api.has_client_config).map(|api| format!("{}/-/reload", api.url()));
    let reload = match (mode, ways(mode, processes.len(), api.is_some()).last(), &url) {
        (ReloadMode::Command(command), ..) => AfterCut::Command { command, limit: COMMAND_WITHIN },
        (_, Some(Way::Signal), _) => {
            AfterCut::HangUp(processes.iter().map(|process| (process.pid, process.started)).collect())
        }
        (_, Some(Way::Http), Some(url)) => AfterCut::Post(url),
        _ => AfterCut::Nothing,
    };
    host.prepare_for_a_cut(&reload).await
}

struct Reload<'a> {
    host: &'a Host,
    processes: &'a [PrometheusProcess],
    api: Option<&'a PrometheusApi>,
    watch: Option<Watch<'a>>,
}

impl Reload<'_> {
    async fn by_whatever_works(&self) -> Result<Reloaded> {
        let mut silent = self.api.is_none();
        let ways = ways(&ReloadMode::Auto, self.processes.len(), self.api.is_some());
        if ways.contains(&Way::Http) {
            match self.by_http().await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                Err(error) if error.reason == Reason::PrometheusUnreachable => silent = true,
                Err(error) => return Err(error),
            }
        }
        let watches = self.auto_reload(silent).await;
        if ways.contains(&Way::Signal) {
            return match (self.hang_up().await, watches) {
                (Ok(()), _) => self.after_signal().await,
                (Err(_), Some(interval)) => self.by_itself(interval).await,
                (Err(error), None) => Err(error),
            };
        }
        match watches {
            Some(interval) => self.by_itself(interval).await,
            None if silent => Ok(Reloaded::NobodyRuns),
            None => Err(failed(format!(
                "{} does not allow a reload over HTTP, and no visible process of this host reads this configuration",
                self.who()
            ))
            .hint("Name a command that reloads Prometheus: --reload='command:docker kill --signal=HUP prometheus'")),
        }
    }

    /// `None` where HTTP is switched off.
    async fn by_http(&self) -> Result<Option<Reloaded>> {
        let Some(api) = self.api else {
            return Err(failed("the address of Prometheus is not known").hint("Name it with --prometheus-url"));
        };
        match api.reload().await? {
            HttpReload::NotEnabled => Ok(None),
            HttpReload::Refused(why) => Err(self.refused(Some(&why)).await),
            HttpReload::Done => {
                // vmagent answers before it reads.
                if let Some(watch @ Watch::Reload(Seen { before: ConfigState { attempts: Some(_), .. }, .. })) =
                    &self.watch
                {
                    self.wait(watch, LOADED_WITHIN, QUIET).await?;
                }
                Ok(Some(Reloaded::Http))
            }
        }
    }

    async fn hang_up(&self) -> Result<()> {
        for process in self.processes {
            match self.host.hang_up(process.pid, process.started).await? {
                Attempt::Done(()) => {}
                Attempt::Absent => return Err(unsent(process, "it has ended")),
                Attempt::Refused(why) => return Err(unsent(process, &why)),
            }
        }
        Ok(())
    }

    async fn after_signal(&self) -> Result<Reloaded> {
        let seen = self.is_seen(LOADED_WITHIN, QUIET).await?;
        Ok(Reloaded::Signal { pids: self.processes.iter().map(|process| process.pid).collect(), seen })
    }

    async fn by_itself(&self, interval: Duration) -> Result<Reloaded> {
        let seen = self.is_seen(interval + LOADED_WITHIN, interval + QUIET).await?;
        Ok(Reloaded::AutoReload { seen })
    }

    /// What the command prints may be a secret, and so may the command: only what it complained about last is shown.
    async fn by_command(&self, command: &str) -> Result<Reloaded> {
        let failed = match self.host.run_reload_command(command, COMMAND_WITHIN).await? {
            Ended::Well => return Ok(Reloaded::Command { seen: self.is_seen(LOADED_WITHIN, QUIET).await? }),
            Ended::Badly { how, said } => {
                let last = line::last(&said);
                let last = if last.is_empty() { last } else { format!(": {last}") };
                failed(format!("the command of --reload ended {how}{last}"))
            }
            Ended::Late => failed(format!("the command of --reload did not end within {COMMAND_WITHIN:?}")),
            Ended::NotRun(why) => failed(format!("the command of --reload cannot be run: {why}")),
        };
        let there = self.host.name().map_or("", |_| ", on that host");
        Err(failed.hint(format!("Test this command alone{there}")))
    }

    /// How often the consumer checks for changes by itself, if it does.
    async fn auto_reload(&self, silent: bool) -> Option<Duration> {
        if let Some(process) = self.processes.first() {
            return process.auto_reload;
        }
        let flags = self.api.filter(|_| !silent)?.flags().await.ok()?;
        let flag = |name: &str| flags.get(name).map(String::as_str).unwrap_or_default();
        let watches = flag("config.auto-reload") == "true"
            || flag("enable-feature").split(',').any(|feature| feature == "auto-reload-config");
        let interval = flag("config.auto-reload-interval").parse().unwrap_or(Seconds(30));
        watches.then_some(interval.into())
    }

    /// Waits until the configuration has been read, if the API can be queried.
    async fn is_seen(&self, limit: Duration, quiet: Duration) -> Result<bool> {
        match &self.watch {
            None => Ok(false),
            Some(watch) => self.wait(watch, limit, quiet).await.map(|()| true),
        }
    }

    async fn wait(&self, watch: &Watch<'_>, limit: Duration, quiet: Duration) -> Result<()> {
        let outcome = match watch {
            Watch::Reload(seen) => seen.wait(limit, quiet).await?,
            Watch::Restart(restart) if restart.wait(limit, self.api).await? => Outcome::Loaded,
            Watch::Restart(_) => Outcome::Late,
        };
        match outcome {
            Outcome::Loaded => Ok(()),
            Outcome::Refused => Err(self.refused(None).await),
            Outcome::Late => {
                Err(failed(format!("{} has not read its configuration again within {limit:?}", self.who()))
                    .hint("Does it read this configuration? See its log"))
            }
        }
    }

    /// Prometheus names a mistake in its main file; of one in another file it says over HTTP only that there is one.
    async fn refused(&self, why: Option<&str>) -> Error {
        let found = match self.processes.first() {
            Some(process) => promtool::diagnose(self.host, process).await,
            None => None,
        };
        let why = why.filter(|why| found.is_none() || !why.starts_with("one or more errors occurred"));
        let why = match (why, &found) {
            (Some(why), _) if !why.is_empty() => format!(": {why}"),
            (_, Some(found)) => format!(": {found}"),
            _ => String::new(),
        };
        failed(format!("{} rejects the new configuration and keeps the previous one{why}", self.who()))
            .hint("See its log or promtool check config (vmagent: -promscrape.config.dryRun); the error blocks every later reload")
    }

    /// Who reads the configuration.
    fn who(&self) -> String {
        match (self.api, self.processes) {
            (Some(api), _) => format!("Prometheus at {}", api.url()),
            (None, [process, ..]) => format!("process {}", process.pid),
            (None, []) => "Prometheus".to_owned(),
        }
    }
}

fn failed(message: impl Into<String>) -> Error {
    Error::new(Reason::ReloadFailed, message)
}

fn unsent(process: &PrometheusProcess, why: &str) -> Error {
    let pid = process.pid;
    // `kill` of a shell and EPERM of this system say it alike.
    if why.contains("not permitted") {
        return failed(format!("you may not send SIGHUP to process {pid} of user {}", process.uid))
            .hint("Name a command that reloads Prometheus: --reload='command:sudo systemctl reload prometheus'");
    }
    failed(format!("cannot send SIGHUP to process {pid}: {why}"))
        .hint("Did Prometheus stop or restart? Run the command again")
}

/// What shows that the configuration was read.
enum Watch<'a> {
    Reload(Seen<'a>),
    Restart(Restart<'a>),
}

/// Sees by the API when the configuration was read.
struct Seen<'a> {
    api: &'a PrometheusApi,
    before: ConfigState,
    committed: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Loaded,
    Refused,
    /// It still has what it had.
    Late,
}

impl<'a> Seen<'a> {
    /// `None` if there is no API that says so.
    async fn begin(api: Option<&'a PrometheusApi>, committed: Timestamp) -> Option<Self> {
        let before = api?.config_state().await.ok()?;
        Some(Self { api: api?, before, committed })
    }

    async fn wait(&self, limit: Duration, quiet: Duration) -> Result<Outcome> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let now = self.api.config_state().await?;
            let waited = started.elapsed();
            if let Some(outcome) = outcome(&self.before, &now, self.committed, waited >= quiet) {
                return Ok(outcome);
            }
            let left = limit.saturating_sub(waited);
            if left.is_zero() {
                return Ok(if now.successful { Outcome::Late } else { Outcome::Refused });
            }
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The outcome by two observations. One failure after another cannot be told from the first alone, except by vmagent's
/// count, so that takes the whole time. So does a vmagent that says nothing of failures: its silence means that nothing
/// had changed or that it refuses what did.
fn outcome(before: &ConfigState, now: &ConfigState, committed: Timestamp, quiet: bool) -> Option<Outcome> {
    let tried = match now.attempts {
        Some(_) => now.attempts != before.attempts || (quiet && now.successful && now.tells_failures),
        None if now.successful => now.succeeded > committed,
        None => before.successful,
    };
    tried.then_some(if now.successful { Outcome::Loaded } else { Outcome::Refused })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reload_is_recognised_from_two_states() {
        let state = |successful, second, attempts| ConfigState {
            successful,
            succeeded: Timestamp::from_second(second).expect("a time"),
            attempts,
            tells_failures: true,
        };
        let prometheus = |successful, second| state(successful, second, None);
        let vmagent = |successful, attempts| state(successful, 50, Some(attempts));
        let old = |attempts| ConfigState { tells_failures: false, ..state(true, 0, Some(attempts)) };
        let (good, bad) = (prometheus(true, 50), prometheus(false, 50));
        for (before, now, quiet, expected) in [
            (good, good, false, None),
            (good, good, true, None),
            (good, prometheus(true, 101), false, Some(Outcome::Loaded)),
            // It watches its files and was quicker than we.
            (prometheus(true, 101), prometheus(true, 101), false, Some(Outcome::Loaded)),
            (good, bad, false, Some(Outcome::Refused)),
            (bad, bad, true, None),
            (bad, prometheus(true, 101), false, Some(Outcome::Loaded)),
            (vmagent(true, 1), vmagent(true, 1), false, None),
            (vmagent(true, 1), vmagent(true, 1), true, Some(Outcome::Loaded)),
            (vmagent(true, 1), vmagent(true, 2), false, Some(Outcome::Loaded)),
            (vmagent(true, 1), vmagent(false, 2), false, Some(Outcome::Refused)),
            (vmagent(false, 1), vmagent(false, 1), true, None),
            (vmagent(false, 1), vmagent(false, 2), false, Some(Outcome::Refused)),
            (old(1), old(2), false, Some(Outcome::Loaded)),
            (old(1), old(1), true, None),
        ] {
            let committed = Timestamp::from_second(100).expect("a time");
            assert_eq!(outcome(&before, &now, committed, quiet), expected, "{before:?} {now:?} {quiet}");
        }
    }

    fn run(mode: &ReloadMode, processes: &[PrometheusProcess]) -> Result<Reloaded> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(reload(&Host::Local { root: "/".into() }, mode, processes, None, Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn command_error_shows_only_its_last_line() {
        let command = |text: &str| ReloadMode::Command(text.into());
        assert_eq!(run(&command("true"), &[]), Ok(Reloaded::Command { seen: false }));
        let error = run(&command("echo secret; echo first >&2; echo 'no \u{1b}such unit' >&2; exit 3"), &[]);
        let error = error.expect_err("it fails");
        assert_eq!(error.reason, Reason::ReloadFailed);
        assert_eq!(error.to_string(), "the command of --reload ended with exit status: 3: no \\u{1b}such unit");
        let error = run(&command("exit 1"), &[]).expect_err("it fails");
        assert_eq!(error.to_string(), "the command of --reload ended with exit status: 1");
    }

    #[test]
    fn missing_prometheus_is_an_error_only_with_an_explicit_reload() {
        assert_eq!(run(&ReloadMode::None, &[]), Ok(Reloaded::Skipped));
        assert_eq!(run(&ReloadMode::Auto, &[]), Ok(Reloaded::NobodyRuns));
        for mode in [ReloadMode::Signal, ReloadMode::Http] {
            let error = run(&mode, &[]).expect_err("no Prometheus runs");
            assert_eq!(error.reason, Reason::ReloadFailed, "{mode}");
            assert!(!error.hints.is_empty(), "{mode}");
        }
    }
}
