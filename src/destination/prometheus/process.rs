//! The processes of this host that hold a configuration: what they are, as whom they run and where they listen.
//!
//! All facts come from /proc; without /proc no process is found. A command line is free text, so it is a claim: its words
//! say what a process reads and where it listens, and the kernel says which program it is, as whom it runs, what started
//! it, and whose socket listens there.

use super::{
    sockets::{Listener, accepting},
    starter::Starter,
};
use crate::{
    error::Result,
    host::{
        Host,
        process::{Candidates, Holding, Process, started_in},
    },
    model::text::duration::Seconds,
};
use http::Uri;
use std::{
    ffi::OsStr,
    fmt,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// What reads the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerKind {
    Prometheus,
    /// It evaluates no rules and answers no queries.
    PrometheusAgent,
    /// Or a single-node `VictoriaMetrics`, which scrapes in the same way.
    Vmagent,
}

/// A process that holds a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrometheusProcess {
    pub pid: i32,
    /// The effective ones.
    pub uid: u32,
    pub gid: u32,
    /// The supplementary ones.
    pub groups: Vec<u32>,
    pub consumer: ConsumerKind,
    /// Its program, by the path that the process has it under.
    pub exe: Option<PathBuf>,
    /// The base URL of its API, without a slash at the end, as this host reaches it. `None` where the command line does
    /// not tell, or it listens in a network namespace of its own. What a file of it wants of clients is not known here.
    pub api: Option<String>,
    /// What its command line wants of clients, which this program cannot give, as a sentence about it goes on.
    pub guard: Option<&'static str>,
    /// How often it looks for changes of its configuration by itself, if it does.
    pub auto_reload: Option<Duration>,
    /// Flags of the process that change how its configuration is read, as the program that validates it takes them.
    pub check_flags: Vec<&'static str>,
    /// The configuration, as this host names it.
    pub config: PathBuf,
    /// Whether that absolute path names the same file for the process: not in a container that has it elsewhere.
    pub shares_mounts: bool,
    /// In clock ticks since the host's start: with the pid it names one process for ever.
    pub started: u64,
    /// Why the kernel does not show that an administrator started it; none where it does.
    pub doubt: Option<Doubt>,
}

/// Why a process may be any user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It has been given rights of another user than its own, as by a program that belongs to root.
    ChangesUser,
    StartedBy(Starter),
    /// Others than root and its own user may replace the program.
    ProgramOfOthers,
    /// It runs a program that is no part of its container.
    ProgramFromOutside,
}

/// As a sentence about the process goes on.
impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChangesUser => f.write_str("has the rights of another user than its own"),
            Self::StartedBy(Starter::Session) => f.write_str("was started by a user, in a session or a user's service"),
            Self::StartedBy(Starter::Unit(unit)) => write!(f, "was started by {unit}"),
            Self::StartedBy(_) => f.write_str("was not started by a system service of its name or a container"),
            Self::ProgramOfOthers => f.write_str("runs a program that another user may replace"),
            Self::ProgramFromOutside => f.write_str("runs a program that is not of its container's image"),
        }
    }
}

/// The processes of a host whose main configuration is this very file: the same device and inode, looked up with the
/// root and the working folder of the process, so that a container counts that has the folder bind-mounted. Processes
/// that may not be looked into are skipped.
pub async fn processes(
    host: &Host,
    candidates: Candidates,
    listeners: &[Listener],
    config: &Path,
) -> Result<Vec<PrometheusProcess>> {
    let own = host.ids().uid;
    let parsed = candidates.processes.into_iter().filter_map(|process| Some((command_line(&process)?, process)));
    let parsed: Vec<(CommandLine, Process)> = parsed.collect();
    let named: Vec<(i32, PathBuf)> = parsed.iter().map(|(said, process)| (process.pid, said.config.clone())).collect();
    let holding = host.holding(&named, config).await?;
    let held = parsed.into_iter().zip(holding);
    Ok(held.filter_map(|((said, process), holding)| holder(own, said, process, config, listeners, &holding?)).collect())
}

fn command_line(process: &Process) -> Option<CommandLine> {
    CommandLine::parse(&process.cmdline, &process.environ, process.exe.clone().map(program).as_deref())
}

fn holder(
    own: u32,
    said: CommandLine,
    process: Process,
    config: &Path,
    listeners: &[Listener],
    holding: &Holding,
) -> Option<PrometheusProcess> {
    let ids = Ids::parse(&process.status)?;
    // Otherwise some of this is about another process, which has got the number.
    let started = process.started().filter(|started| started_in(&holding.stat) == Some(*started))?;
    let listens = |api: &String| process.shares_network && is_heard(api, listeners, holding, ids.uid);
    Some(PrometheusProcess {
        pid: process.pid,
        consumer: said.consumer,
        started,
        api: said.api.filter(listens),
        auto_reload: said.auto_reload,
        guard: said.guard,
        check_flags: said.check_flags,
        config: config.to_owned(),
        shares_mounts: holding.shares_mounts,
        doubt: doubt(own, &ids, holding),
        uid: ids.uid,
        gid: ids.gid,
        groups: ids.groups,
        exe: process.exe.map(program),
    })
}

/// Whether all sockets that may answer at this address are the process' own.
fn is_heard(api: &str, listeners: &[Listener], holding: &Holding, uid: u32) -> bool {
    let Ok(url) = api.parse::<Uri>() else { return false };
    let (Some(host), Some(port)) = (url.host(), url.port_u16()) else { return false };
    let mut listeners = accepting(listeners, host, port).peekable();
    let is_own = |listener: &Listener| match &holding.sockets {
        Some(sockets) => sockets.contains(&listener.inode),
        None => listener.uid == uid,
    };
    listeners.peek().is_some() && listeners.all(is_own)
}

/// Root and the user of the command may read what is written anyway, so their processes need no proof.
fn doubt(own: u32, ids: &Ids, holding: &Holding) -> Option<Doubt> {
    if !ids.is_one_user {
        return Some(Doubt::ChangesUser);
    }
    if ids.uid == 0 || ids.uid == own {
        return None;
    }
    let only = |users: &[u32]| {
        let writers = holding.program_writers.as_ref();
        writers.is_some_and(|writers| writers.iter().all(|uid| *uid == own || users.contains(uid)))
    };
    match Starter::of(&holding.cgroup) {
        // The unit decides whose the process is: its program may be that user's.
        Starter::Service => (!only(&[0, ids.uid])).then_some(Doubt::ProgramOfOthers),
        Starter::Container if !holding.runs_own_program => Some(Doubt::ProgramFromOutside),
        Starter::Container => (!only(&[0])).then_some(Doubt::ProgramOfOthers),
        other => Some(Doubt::StartedBy(other)),
    }
}

/// Linux marks a program whose file was replaced.
fn program(exe: PathBuf) -> PathBuf {
    match exe.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(path) => PathBuf::from(OsStr::from_bytes(path)),
        None => exe,
    }
}

/// As whom a process runs.
#[derive(Debug, PartialEq, Eq)]
struct Ids {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// Whether it has no rights but those of this user: a program that belongs to root and has the set-user-ID bit, and that
    /// any user may start, has others.
    is_one_user: bool,
}

impl Ids {
    /// From /proc/PID/status, where `Uid:` and `Gid:` have the real, effective, saved and file system's one, see proc(5).
    fn parse(status: &str) -> Option<Self> {
        let numbers = |key: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().map(|number| number.parse().ok()).collect()
        };
        let [real, uid, saved, files] = numbers("Uid:")?[..] else { return None };
        Some(Self {
            uid,
            gid: *numbers("Gid:")?.get(1)?,
            groups: numbers("Groups:").unwrap_or_default(),
            is_one_user: [real, saved, files] == [uid; 3],
        })
    }
}

/// promtool refuses rules with these functions without it. The flag of promtool, and the feature of Prometheus.
const EXPERIMENTAL_FUNCTIONS: (&str, &str) =
    ("--enable-feature=promql-experimental-functions", "promql-experimental-functions");

/// What the command line of a consumer says, and its environment where the command line has it read.
#[derive(Debug, PartialEq, Eq)]
struct CommandLine {
    consumer: ConsumerKind,
    config: PathBuf,
    api: Option<String>,
    guard: Option<&'static str>,
    auto_reload: Option<Duration>,
    check_flags: Vec<&'static str>,
}

/// The words of a command line, and the environment variables behind them that are flags too.
struct Words<'a> {
    line: Vec<&'a [u8]>,
    /// `NAME=VALUE`
    environ: &'a [Vec<u8>],
}

impl CommandLine {
    /// `None` if it is of something else. The program's file decides, not the first word, which is free text, and not the
    /// flags: sudo, tini or docker have the same flags behind them, and SIGHUP is not for those.
    fn parse(cmdline: &[u8], environ: &[Vec<u8>], exe: Option<&Path>) -> Option<Self> {
        // As /proc has it: every word ends with a zero.
        let line: Vec<&[u8]> = cmdline.strip_suffix(b"\0").unwrap_or(cmdline).split(|byte| *byte == 0).collect();
        line.first()?;
        let words = Words { line, environ: &[] };
        let name = exe?.file_name()?.to_string_lossy().to_lowercase();
        let is = |what: &str| name.contains(what);
        if is("vmagent") {
            Self::of_vmagent(&words.with_environment(environ), "8429")
        } else if is("victoria-metrics") || is("vmsingle") {
            Self::of_vmagent(&words.with_environment(environ), "8428")
        } else if is("prometheus") {
            // Exporters and other companions are called prometheus-something and have a file of their own in the flag.
            let config = words.text("config.file").map(OsStr::from_bytes);
            let by_default = || (name == "prometheus").then_some(OsStr::new("prometheus.yml"));
            Some(Self::of_prometheus(&words, config.or_else(by_default)?.into()))
        } else {
            None
        }
    }

    /// Defaults are those of Prometheus' cmd/prometheus/main.go.
    fn of_prometheus(words: &Words, config: PathBuf) -> Self {
        let features: Vec<&[u8]> =
            words.values("enable-feature").into_iter().flat_map(|list| list.split(|byte| *byte == b',')).collect();
        let has = |feature: &str| features.contains(&feature.as_bytes());
        let listens = words.values("web.listen-address").into_iter().next().unwrap_or(b"0.0.0.0:9090");
        let prefix = match words.text("web.route-prefix") {
            Some(prefix) if !prefix.is_empty() => String::from_utf8_lossy(prefix).into_owned(),
            _ => words.text("web.external-url").and_then(path_of).unwrap_or_default(),
        };
        let interval = || {
            let interval = words.text("config.auto-reload-interval").and_then(seconds);
            interval.unwrap_or(Duration::from_secs(30))
        };
        Self {
            consumer: if words.has("agent") || has("agent") {
                ConsumerKind::PrometheusAgent
            } else {
                ConsumerKind::Prometheus
            },
            config,
            // Its --web.config.file may want a password or TLS. It says so when it is asked.
            api: base_url(listens, &prefix),
            guard: None,
            auto_reload: (words.has("config.auto-reload") || has("auto-reload-config")).then(interval),
            check_flags: has(EXPERIMENTAL_FUNCTIONS.1).then_some(EXPERIMENTAL_FUNCTIONS.0).into_iter().collect(),
        }
    }

    /// Flags of `VictoriaMetrics`' `lib/promscrape` and `lib/httpserver`. It has no configuration by default.
    fn of_vmagent(words: &Words, port: &str) -> Option<Self> {
        let default = format!(":{port}");
        let listens = words.text("httpListenAddr").unwrap_or(default.as_bytes());
        let prefix = String::from_utf8_lossy(words.text("http.pathPrefix").unwrap_or_default()).into_owned();
        // Pages by which it is found to be ready are open, so it is not asked.
        let guard = if words.text("httpAuth.username").is_some_and(|user| !user.is_empty()) {
            Some("wants a password (-httpAuth.username), which the plugin cannot send")
        } else {
            words.has("tls").then_some("accepts only TLS (-tls): name it with --prometheus-url https://HOST:PORT")
        };
        Some(Self {
            consumer: ConsumerKind::Vmagent,
            config: OsStr::from_bytes(words.text("promscrape.config")?).into(),
            // Several addresses are one list.
            api: base_url(listens.split(|b| *b == b',').next()?, &prefix),
            guard,
            auto_reload: words
                .text("promscrape.configCheckInterval")
                .and_then(seconds)
                .filter(|interval| !interval.is_zero()),
            check_flags: match words.switch("promscrape.config.strictParse") {
                Some(true) => vec!["-promscrape.config.strictParse=true"],
                Some(false) => vec!["-promscrape.config.strictParse=false"],
                None => Vec::new(),
            },
        })
    }
}

impl<'a> Words<'a> {
    /// The flags that are not on the command line have their values in the environment if vmagent is told so, see its
    /// `lib/envflag`.
    fn with_environment(mut self, environ: &'a [Vec<u8>]) -> Self {
        if self.switch("envflag.enable") == Some(true) {
            self.environ = environ;
        }
        self
    }

    fn variable(&self, flag: &str) -> Option<&'a [u8]> {
        if self.environ.is_empty() {
            return None;
        }
        let prefix = self.values("envflag.prefix").pop().unwrap_or_default();
        let name = [prefix, flag.replace('.', "_").as_bytes(), b"="].concat();
        self.environ.iter().find_map(|variable| variable.strip_prefix(name.as_slice()))
    }

    /// The values of a flag, `--NAME=VALUE` or `--NAME VALUE`, as kingpin reads them, and with one dash as Go's flag
    /// package does too. A flag without a value has the word behind it.
    fn values(&self, name: &str) -> Vec<&'a [u8]> {
        let mut values = Vec::new();
        let mut words = self.words();
        while let Some(word) = words.next() {
            match flag(word, name) {
                Some([]) => values.extend(words.next()),
                Some([b'=', value @ ..]) => values.push(value),
                _ => {}
            }
        }
        values
    }

    /// The value that counts: Go's flag package takes the last, kingpin takes no second one.
    fn text(&self, name: &str) -> Option<&'a [u8]> {
        self.values(name).pop().or_else(|| self.variable(name))
    }

    /// Whether a switch is on.
    fn has(&self, name: &str) -> bool {
        self.switch(name) == Some(true)
    }

    /// None if nothing says it. False is what Go's `strconv.ParseBool` takes for it.
    fn switch(&self, name: &str) -> Option<bool> {
        let last = self.words().filter_map(|word| flag(word, name)).last();
        let value = last.map(|value| value.strip_prefix(b"=").unwrap_or(b"true")).or_else(|| self.variable(name))?;
        Some(!matches!(value, b"false" | b"False" | b"FALSE" | b"0" | b"f" | b"F"))
    }

    fn words(&self) -> impl Iterator<Item = &'a [u8]> {
        self.line.iter().copied().skip(1).take_while(|word| *word != b"--")
    }
}

/// What follows the name of this flag in a word.
fn flag<'a>(word: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let rest = word.strip_prefix(b"-")?;
    let rest = rest.strip_prefix(b"-").unwrap_or(rest).strip_prefix(name.as_bytes())?;
    (rest.is_empty() || rest[0] == b'=').then_some(rest)
}

fn seconds(text: &[u8]) -> Option<Duration> {
    let seconds: Seconds = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(seconds.into())
}

fn path_of(url: &[u8]) -> Option<String> {
    let url: Uri = std::str::from_utf8(url).ok()?.parse().ok()?;
    Some(url.path().to_owned())
}

/// How this host reaches an address that a server listens on, as Go's `net.Listen` takes it: every address of the host
/// is its loopback one too.
fn base_url(listens: &[u8], prefix: &str) -> Option<String> {
    let (host, port) = std::str::from_utf8(listens).ok()?.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let host = match host {
        "" | "0.0.0.0" => "127.0.0.1",
        "[::]" => "[::1]",
        host => host,
    };
    let prefix = prefix.trim_matches('/');
    let path = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    let url = format!("http://{host}:{port}{path}");
    let parsed: Uri = url.parse().ok()?;
    (parsed.port_u16() == Some(port) && parsed.query().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::super::sockets::listeners;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn said(words: &[&str]) -> Option<CommandLine> {
        let cmdline: String = words.iter().map(|word| format!("{word}\0")).collect();
        CommandLine::parse(cmdline.as_bytes(), &[], words.first().map(Path::new))
    }

    #[test]
    fn configuration_is_read_from_the_flag() {
        for (words, config) in [
            (&["prometheus"][..], Some("prometheus.yml")),
            (&["/usr/bin/prometheus", "--config.file=/etc/p.yml"], Some("/etc/p.yml")),
            (&["./prometheus", "--config.file", "p.yml", "--web.enable-lifecycle"], Some("p.yml")),
            (&["prometheus-3.16", "--web.enable-lifecycle", "--config.file=a=b.yml"], Some("a=b.yml")),
            (&["prometheus", "--config.files=/x", "--", "--config.file=/y"], Some("prometheus.yml")),
            (&["vmagent-prod", "-promscrape.config=/v.yml"], Some("/v.yml")),
            (&["vmagent", "--promscrape.config=/v.yml", "-promscrape.config", "/w.yml"], Some("/w.yml")),
            (&["victoria-metrics", "-promscrape.config=/v.yml"], Some("/v.yml")),
            (&["vmagent", "-remoteWrite.url=http://x"], None),
            // Its companions, what starts it and what only mentions it.
            (&["prometheus-node-exporter"], None),
            (&["prometheus-config-reloader", "--config-file=/p.yml"], None),
            (&["sudo", "prometheus", "--config.file=/p.yml"], None),
            (&["/bin/sh", "-c", "prometheus --config.file=/p.yml"], None),
            (&["grep", "--config.file=/p.yml"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(said(words).map(|said| said.config), config.map(PathBuf::from), "{words:?}");
        }
        // The file of the program counts, whatever it calls itself.
        let by_exe = |called: &[u8], exe: Option<&str>| {
            let cmdline = [called, b"\0--config.file=/p.yml\0"].concat();
            CommandLine::parse(&cmdline, &[], exe.map(Path::new)).map(|said| said.config)
        };
        assert_eq!(by_exe(b"p", Some("/opt/prometheus")), Some("/p.yml".into()));
        assert_eq!(by_exe(b"prometheus", Some("/usr/bin/python3")), None);
        assert_eq!(by_exe(b"prometheus", None), None);
    }

    #[test]
    fn agent_is_distinguished_from_a_server() {
        for (words, consumer) in [
            (&["prometheus"][..], ConsumerKind::Prometheus),
            (&["prometheus", "--agent"], ConsumerKind::PrometheusAgent),
            (&["prometheus", "--enable-feature=a", "--enable-feature=x,agent"], ConsumerKind::PrometheusAgent),
            (&["prometheus", "--enable-feature", "agent"], ConsumerKind::PrometheusAgent),
            (&["prometheus", "--enable-feature=agents", "--agentx"], ConsumerKind::Prometheus),
            (&["vmagent", "-promscrape.config=x"], ConsumerKind::Vmagent),
        ] {
            assert_eq!(said(words).map(|said| said.consumer), Some(consumer), "{words:?}");
        }
    }

    #[test]
    fn api_address_is_read_from_the_flags() {
        for (words, api) in [
            (&["prometheus"][..], Some("http://127.0.0.1:9090")),
            (&["prometheus", "--web.listen-address=:80"], Some("http://127.0.0.1:80")),
            (&["prometheus", "--web.listen-address=[::]:80"], Some("http://[::1]:80")),
            (
                &["prometheus", "--web.listen-address=10.0.0.1:1", "--web.listen-address=10.0.0.2:2"],
                Some("http://10.0.0.1:1"),
            ),
            (&["prometheus", "--web.external-url=https://x.example/prom/"], Some("http://127.0.0.1:9090/prom")),
            (&["prometheus", "--web.external-url=https://x.example/"], Some("http://127.0.0.1:9090")),
            (&["prometheus", "--web.external-url=/prom"], Some("http://127.0.0.1:9090/prom")),
            (
                &["prometheus", "--web.external-url=https://x/prom", "--web.route-prefix=/"],
                Some("http://127.0.0.1:9090"),
            ),
            (&["prometheus", "--web.route-prefix=p/q/"], Some("http://127.0.0.1:9090/p/q")),
            (&["prometheus", "--web.config.file=web.yml", "--web.listen-address=:7"], Some("http://127.0.0.1:7")),
            (&["prometheus", "--web.listen-address=localhost:http"], None),
            (&["prometheus", "--web.listen-address=:0"], None),
            (&["prometheus", "--web.listen-address=a b:1"], None),
            (&["prometheus", "--web.route-prefix=a?b"], None),
            (&["prometheus", "--web.listen-address=u@h:1/x:2"], None),
            (&["vmagent", "-promscrape.config=x"], Some("http://127.0.0.1:8429")),
            (&["vmsingle", "-promscrape.config=x"], Some("http://127.0.0.1:8428")),
            (
                &["vmagent", "-promscrape.config=x", "-httpListenAddr=:1,:2", "-http.pathPrefix=/v", "-tls=false"],
                Some("http://127.0.0.1:1/v"),
            ),
        ] {
            assert_eq!(said(words).and_then(|said| said.api).as_deref(), api, "{words:?}");
        }
    }

    #[test]
    fn guards_of_vmagent_are_named() {
        for (flag, guard) in [
            ("-tls", Some("-tls")),
            ("-tls=false", None),
            ("-httpAuth.username=u", Some("-httpAuth.username")),
            ("-httpAuth.username=", None),
        ] {
            let said = said(&["vmagent", "-promscrape.config=x", flag]).expect("a consumer");
            assert_eq!(said.api.as_deref(), Some("http://127.0.0.1:8429"), "{flag}");
            assert_eq!(said.guard.is_some(), guard.is_some(), "{flag}");
            assert!(guard.is_none_or(|name| said.guard.is_some_and(|guard| guard.contains(name))), "{flag}");
        }
    }

    #[test]
    fn vmagent_reads_flags_from_its_environment_where_it_is_told_to() {
        let read = |words: &[&str], environ: &[&str]| {
            let environ: Vec<Vec<u8>> = environ.iter().map(|variable| variable.as_bytes().to_vec()).collect();
            let said = CommandLine::parse(words.join("\0").as_bytes(), &environ, Some(Path::new("vmagent")))?;
            Some((said.config.to_str()?.to_owned(), said.api, said.check_flags))
        };
        let variables = ["promscrape_config=/v.yml", "httpListenAddr=:1", "promscrape_config_strictParse=false"];
        let lenient = vec!["-promscrape.config.strictParse=false"];
        let all = Some(("/v.yml".to_owned(), Some("http://127.0.0.1:1".to_owned()), lenient));
        assert_eq!(read(&["vmagent", "-envflag.enable"], &variables), all);
        assert_eq!(read(&["vmagent", "--envflag.enable=1"], &variables), all);
        for words in [&["vmagent"][..], &["vmagent", "-envflag.enable=F"], &["vmagent", "--", "-envflag.enable"]] {
            assert_eq!(read(words, &variables), None, "{words:?}");
        }
        // The command line counts first, and the prefix is part of every name.
        let config = |words: &[&str], environ: &[&str]| read(words, environ).map(|(config, ..)| config);
        let line = ["vmagent", "-envflag.enable", "-promscrape.config=/w.yml"];
        assert_eq!(config(&line, &variables).as_deref(), Some("/w.yml"));
        let prefixed = ["vmagent", "-envflag.enable", "-envflag.prefix=VM_"];
        assert_eq!(config(&prefixed, &variables), None);
        assert_eq!(config(&prefixed, &["VM_promscrape_config=a=b.yml"]).as_deref(), Some("a=b.yml"));
    }

    #[test]
    fn flags_that_change_how_a_configuration_is_read_are_those_of_the_check() {
        for (words, flags) in [
            (&["vmagent", "-promscrape.config=x"][..], &[][..]),
            (
                &["vmagent", "-promscrape.config=x", "-promscrape.config.strictParse=False"],
                &["-promscrape.config.strictParse=false"],
            ),
            (
                &["vmagent", "-promscrape.config=x", "-promscrape.config.strictParse"],
                &["-promscrape.config.strictParse=true"],
            ),
            (&["prometheus", "--enable-feature=a,promql-experimental-functions"], &[EXPERIMENTAL_FUNCTIONS.0]),
            (&["prometheus", "--enable-feature=a"], &[]),
        ] {
            assert_eq!(said(words).expect("a consumer").check_flags, flags, "{words:?}");
        }
    }

    #[test]
    fn processes_that_watch_their_files_are_recognised() {
        let vmagent = "-promscrape.configCheckInterval";
        for (words, every) in [
            (vec!["prometheus"], None),
            (vec!["prometheus", "--config.auto-reload"], Some(30)),
            (vec!["prometheus", "--config.auto-reload", "--config.auto-reload-interval=1m30s"], Some(90)),
            (vec!["prometheus", "--config.auto-reload-interval=5s"], None),
            (vec!["prometheus", "--enable-feature=auto-reload-config"], Some(30)),
            (vec!["vmagent", "-promscrape.config=x"], None),
            (vec!["vmagent", "-promscrape.config=x", vmagent, "10s"], Some(10)),
            (vec!["vmagent", "-promscrape.config=x", vmagent, "0s"], None),
        ] {
            let auto_reload = said(&words).expect("a consumer").auto_reload;
            assert_eq!(auto_reload, every.map(Duration::from_secs), "{words:?}");
        }
    }

    #[test]
    fn effective_ids_count() {
        let status =
            "Name:\tprometheus\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nVmPeak:\t1 kB\n";
        assert_eq!(Ids::parse(status), Some(Ids { uid: 2, gid: 6, groups: vec![9, 10], is_one_user: false }));
        let alone = "Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t \n";
        assert_eq!(Ids::parse(alone).map(|ids| ids.groups), Some(vec![]));
        let one = Ids::parse("Uid:\t2\t2\t2\t2\nGid:\t5\t6\t7\t8\n");
        assert_eq!(one, Some(Ids { uid: 2, gid: 6, groups: vec![], is_one_user: true }));
        for broken in ["", "Uid:\t1\nGid:\t1\t1\t1\t1", "Uid:\ta\tb\nGid:\t1\t1"] {
            assert_eq!(Ids::parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn replaced_program_keeps_its_path() {
        assert_eq!(program("/bin/prometheus (deleted)".into()), PathBuf::from("/bin/prometheus"));
        assert_eq!(program("/bin/prometheus".into()), PathBuf::from("/bin/prometheus"));
    }

    #[tokio::test]
    async fn missing_configuration_is_held_by_no_process() {
        let host = Host::Local { root: "/nowhere".into() };
        let candidates = host.candidates().await.expect("a look");
        assert_eq!(processes(&host, candidates, &[], Path::new("/nowhere/prometheus.yml")).await, Ok(Vec::new()));
    }

    #[test]
    fn administrator_must_have_started_the_process_of_another_user() {
        const CONTAINER: &str =
            "0::/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n";
        let service = "0::/system.slice/prometheus.service\n";
        let cron = "0::/system.slice/cron.service\n";
        let by_cron = Some(Doubt::StartedBy(Starter::Unit("cron.service".into())));
        let unknown = Some(Doubt::StartedBy(Starter::Unknown));
        for (what, uid, cgroup, writers, runs_own_program, expected) in [
            ("root", 0, "", None, false, None),
            ("the user of the command", 7, "", None, false, None),
            ("a service", 101, service, Some(vec![0]), false, None),
            ("a service with a program of its user", 101, service, Some(vec![0, 101]), false, None),
            ("a service with a program of ours", 101, service, Some(vec![0, 7]), false, None),
            ("a service with another's", 101, service, Some(vec![0, 102]), false, Some(Doubt::ProgramOfOthers)),
            ("a service with everybody's", 101, service, None, false, Some(Doubt::ProgramOfOthers)),
            ("a container", 101, CONTAINER, Some(vec![0]), true, None),
            ("a program of the host there", 101, CONTAINER, Some(vec![0]), false, Some(Doubt::ProgramFromOutside)),
            ("a program written there", 101, CONTAINER, Some(vec![0, 101]), true, Some(Doubt::ProgramOfOthers)),
            ("the system's program by cron", 101, cron, Some(vec![0]), true, by_cron),
            ("the system's program", 101, "0::/\n", Some(vec![0]), true, unknown.clone()),
            ("nothing known", 101, "", None, false, unknown),
        ] {
            let ids = Ids { uid, gid: 1, groups: vec![], is_one_user: true };
            let program_writers = writers.map(BTreeSet::from_iter);
            let cgroup = cgroup.to_owned();
            let holding = Holding { cgroup, program_writers, runs_own_program, ..Holding::default() };
            assert_eq!(doubt(7, &ids, &holding), expected, "{what}");
            let changed = Ids { is_one_user: false, ..ids };
            assert_eq!(doubt(7, &changed, &holding), Some(Doubt::ChangesUser), "{what}");
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn api_is_heard_only_at_sockets_of_the_process() {
        let line =
            |address: &str, uid: u32, inode: u64| format!("0: {address}:2382 0:0 0A 0:0 0:0 0 {uid} 0 {inode}\n");
        let (loopback, all) = (line("0100007F", 101, 41), line("00000000", 102, 42));
        for (what, table, sockets, expected) in [
            ("its own", loopback.clone(), Some(vec![40, 41]), true),
            ("another's", loopback.clone(), Some(vec![40]), false),
            ("its own and another's", [&*loopback, &all].concat(), Some(vec![41]), false),
            ("none", String::new(), Some(vec![41]), false),
            ("of its user", loopback, None, true),
            ("of another user", all, None, false),
        ] {
            let holding = Holding { sockets: sockets.map(BTreeSet::from_iter), ..Holding::default() };
            assert_eq!(is_heard("http://127.0.0.1:9090/x", &listeners(&table), &holding, 101), expected, "{what}");
        }
    }

    proptest! {
        #[test]
        fn no_command_line_panics(words in proptest::collection::vec("-{0,2}(web\\.listen-address|config\\.file|agent|tls|.{0,3})(=|:|,|\\[|.){0,6}", 0..6)) {
            for program in ["prometheus", "vmagent"] {
                let cmdline = format!("{program}\0{}", words.join("\0"));
                let _ = CommandLine::parse(cmdline.as_bytes(), &[words.concat().into_bytes()], Some(Path::new(program)));
            }
        }

        #[test]
        fn no_status_panics(status in "(Uid|Gid|Groups|.{0,3}):.{0,20}\n?") {
            let _ = Ids::parse(&status);
        }
    }
}
