//! What the command line of a consumer says. It is free text, so it is a claim: [`super::process`] asks the kernel.

use crate::model::text::duration::Seconds;
use http::Uri;
use std::{
    ffi::OsStr,
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
    /// OpenTelemetry Collector.
    Collector,
}

impl ConsumerKind {
    /// As people call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Prometheus => "Prometheus",
            Self::PrometheusAgent => "Prometheus agent",
            Self::Vmagent => "vmagent",
            Self::Collector => "OpenTelemetry Collector",
        }
    }
}

/// Of one collector. Each has all flags of the collector, and any user may start a program with thousands of them.
const MOST_CONFIGURATIONS: usize = 32;

/// promtool refuses rules with these functions without it. The flag of promtool, and the feature of Prometheus.
const EXPERIMENTAL_FUNCTIONS: (&str, &str) =
    ("--enable-feature=promql-experimental-functions", "promql-experimental-functions");

/// What the command line of a consumer says, and its environment where the command line has it read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// Whether the program's file has a name of its own kind.
    pub(super) is_named_so: bool,
    pub(super) consumer: ConsumerKind,
    pub(super) config: PathBuf,
    pub(super) api: Option<String>,
    /// Of a collector, from its configuration.
    pub(super) own_metrics: Option<String>,
    pub(super) guard: Option<&'static str>,
    pub(super) auto_reload: Option<Duration>,
    pub(super) check_flags: Vec<String>,
}

/// The words of a command line, and the environment variables behind them that are flags too.
struct Words<'a> {
    line: Vec<&'a [u8]>,
    /// `NAME=VALUE`
    environ: &'a [Vec<u8>],
}

impl CommandLine {
    /// For each configuration that it names: a collector may have several. Empty if it is of something else. The program's file decides, not the first word, which is free text, and not the
    /// flags: sudo, tini or docker have the same flags behind them, and SIGHUP is not for those.
    pub(super) fn parse(cmdline: &[u8], environ: &[Vec<u8>], exe: Option<&Path>) -> Vec<Self> {
        let words = Words::of(cmdline);
        let Some(name) = exe.and_then(Path::file_name) else { return Vec::new() };
        let name = name.to_string_lossy().to_lowercase();
        let is = |what: &str| name.contains(what);
        if is("vmagent") {
            Vec::from_iter(Self::of_vmagent(&words.with_environment(environ), "8429"))
        } else if is("victoria-metrics") || is("vmsingle") {
            Vec::from_iter(Self::of_vmagent(&words.with_environment(environ), "8428"))
        } else if is("otelco") || is("otel-col") || is("opentelemetry-col") {
            Self::of_collector(&words)
        } else if is("prometheus") {
            // Exporters and other companions are called prometheus-something and have a file of their own in the flag.
            let config = words.text("config.file").map(OsStr::from_bytes);
            let by_default = || (name == "prometheus").then_some(OsStr::new("prometheus.yml"));
            Vec::from_iter(config.or_else(by_default).map(|config| Self::of_prometheus(&words, config.into())))
        } else {
            Vec::new()
        }
    }

    /// The same of a program of another name, with a configuration in its flags.
    pub(super) fn by_flags(cmdline: &[u8]) -> Vec<Self> {
        let words = Words::of(cmdline);
        let config =
            words.text("config.file").map(|config| Self::of_prometheus(&words, OsStr::from_bytes(config).into()));
        let said = Self::of_vmagent(&words, "8429").into_iter().chain(config).chain(Self::of_collector(&words));
        said.map(|said| Self { is_named_so: false, ..said }).collect()
    }

    /// Of the collector's `otelcol/flags.go`. Its configurations are merged in this order; those of other providers than
    /// `file` are no files. What it listens on is in them.
    fn of_collector(words: &Words) -> Vec<Self> {
        let flags = words.flags(&["config", "set", "feature-gates"]);
        let file = |flag: &String| {
            let location = flag.strip_prefix("--config=")?;
            let path = location.strip_prefix("file:").unwrap_or(location);
            // As confmap's schemePattern.
            let has_scheme = path.split_once(':').is_some_and(|(scheme, _)| {
                scheme.len() > 1
                    && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                    && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-".contains(c))
            });
            (!has_scheme).then(|| PathBuf::from(path))
        };
        let said = |config: PathBuf| Self {
            is_named_so: true,
            consumer: ConsumerKind::Collector,
            config,
            api: None,
            own_metrics: None,
            guard: None,
            auto_reload: None,
            check_flags: flags.clone(),
        };
        flags.iter().filter_map(file).take(MOST_CONFIGURATIONS).map(said).collect()
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
            is_named_so: true,
            consumer: if words.has("agent") || has("agent") {
                ConsumerKind::PrometheusAgent
            } else {
                ConsumerKind::Prometheus
            },
            config,
            // Its --web.config.file may want a password or TLS. It says so when it is asked.
            api: base_url(listens, &prefix),
            own_metrics: None,
            guard: None,
            auto_reload: (words.has("config.auto-reload") || has("auto-reload-config")).then(interval),
            check_flags: has(EXPERIMENTAL_FUNCTIONS.1)
                .then(|| EXPERIMENTAL_FUNCTIONS.0.to_owned())
                .into_iter()
                .collect(),
        }
    }

    /// Flags of `VictoriaMetrics`' `lib/promscrape` and `lib/httpserver`. It has no configuration by default.
    fn of_vmagent(words: &Words, port: &str) -> Option<Self> {
        let default = format!(":{port}");
        let listens = words.text("httpListenAddr").unwrap_or(default.as_bytes());
        let prefix = String::from_utf8_lossy(words.text("http.pathPrefix").unwrap_or_default()).into_owned();
        // Pages by which it is found to be ready are open, so it is not asked.
        let guard = if words.text("httpAuth.username").is_some_and(|user| !user.is_empty()) {
            Some("wants a password (-httpAuth.username): give it in --prometheus-http-config FILE")
        } else {
            words
                .has("tls")
                .then_some("accepts only TLS (-tls): give --prometheus-http-config FILE with its CA in tls_config")
        };
        Some(Self {
            is_named_so: true,
            consumer: ConsumerKind::Vmagent,
            config: OsStr::from_bytes(words.text("promscrape.config")?).into(),
            // Several addresses are one list.
            api: base_url(listens.split(|b| *b == b',').next()?, &prefix),
            own_metrics: None,
            guard,
            auto_reload: words
                .text("promscrape.configCheckInterval")
                .and_then(seconds)
                .filter(|interval| !interval.is_zero()),
            check_flags: match words.switch("promscrape.config.strictParse") {
                Some(true) => vec!["-promscrape.config.strictParse=true".to_owned()],
                Some(false) => vec!["-promscrape.config.strictParse=false".to_owned()],
                None => Vec::new(),
            },
        })
    }
}

impl<'a> Words<'a> {
    /// As /proc has them: every word ends with a zero.
    fn of(cmdline: &'a [u8]) -> Self {
        let line = cmdline.strip_suffix(b"\0").unwrap_or(cmdline).split(|byte| *byte == 0).collect();
        Self { line, environ: &[] }
    }

    /// These flags in their order, each as `--NAME=VALUE`, as pflag reads them.
    fn flags(&self, names: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut words = self.words();
        while let Some(word) = words.next() {
            let said = names.iter().find_map(|name| {
                Some((name, word.strip_prefix(b"--")?.strip_prefix(name.as_bytes())?))
                    .filter(|(_, rest)| rest.is_empty() || rest[0] == b'=')
            });
            let Some((name, rest)) = said else { continue };
            let value = if rest.is_empty() { words.next() } else { Some(&rest[1..]) };
            found.extend(value.map(|value| format!("--{name}={}", String::from_utf8_lossy(value))));
        }
        found
    }

    /// The flags that are not on the command line have their values in the environment if vmagent is told so, see its
    /// `lib/envflag`.
    fn with_environment(mut self, environ: &'a [Vec<u8>]) -> Self {
        if self.switch("envflag.enable") == Some(true) {
            self.environ = environ;
        }
        self
    }

    fn variable(&self, flag: &str) -> Option<&'a [u8]> {
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
pub(super) fn base_url(listens: &[u8], prefix: &str) -> Option<String> {
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
    use super::*;
    use crate::hostile;

    fn said(words: &[&str]) -> Option<CommandLine> {
        let cmdline: String = words.iter().map(|word| format!("{word}\0")).collect();
        CommandLine::parse(cmdline.as_bytes(), &[], words.first().map(Path::new)).pop()
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
            CommandLine::parse(&cmdline, &[], exe.map(Path::new)).pop().map(|said| said.config)
        };
        assert_eq!(by_exe(b"p", Some("/opt/prometheus")), Some("/p.yml".into()));
        assert_eq!(by_exe(b"prometheus", Some("/usr/bin/python3")), None);
        assert_eq!(by_exe(b"prometheus", None), None);
    }

    #[test]
    fn program_of_another_name_is_read_by_its_flags() {
        for (words, expected) in [
            (&["prom-eu", "--config.file=/p.yml"][..], Some(("/p.yml", ConsumerKind::Prometheus))),
            (&["prom-eu", "--config.file", "p.yml", "--agent"], Some(("p.yml", ConsumerKind::PrometheusAgent))),
            (&["scraper", "-promscrape.config=/v.yml"], Some(("/v.yml", ConsumerKind::Vmagent))),
            (&["edge", "--config=/c.yaml"], Some(("/c.yaml", ConsumerKind::Collector))),
            (&["sh", "-c", "prometheus --config.file=/p.yml"], None),
            (&["cat", "/p.yml"], None),
        ] {
            let said = CommandLine::by_flags(words.join("\0").as_bytes()).pop();
            let expected = expected.map(|(config, consumer)| (PathBuf::from(config), consumer, false));
            assert_eq!(said.map(|said| (said.config, said.consumer, said.is_named_so)), expected, "{words:?}");
        }
    }

    #[test]
    fn collector_may_have_several_configurations() {
        let files = |words: &[&str]| -> Vec<String> {
            let cmdline = words.join("\0");
            let said = CommandLine::parse(cmdline.as_bytes(), &[], words.first().map(Path::new));
            said.into_iter().map(|said| said.config.display().to_string()).collect()
        };
        for (words, expected) in [
            (&["otelcol", "--config=/c.yaml"][..], &["/c.yaml"][..]),
            (&["otelcol-contrib", "--config", "file:/a.yaml", "--config=b.yaml"], &["/a.yaml", "b.yaml"]),
            (
                &["/opt/otel-collector", "--config=env:CONFIG", "--config=yaml:a: {b: c}", "--config=/c.yaml"],
                &["/c.yaml"],
            ),
            (&["opentelemetry-collector", "--config=https://x/y", "--configs=/z"], &[]),
            (&["otelcol", "validate"], &[]),
        ] {
            assert_eq!(files(words), expected, "{words:?}");
        }
        let words = ["otelcol", "--feature-gates=-a,b", "--config", "a", "--set=x.y=z", "--config=yaml:c: 1", "-v"];
        let flags = ["--feature-gates=-a,b", "--config=a", "--set=x.y=z", "--config=yaml:c: 1"];
        assert_eq!(said(&words).expect("a collector").check_flags, flags);
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
            let said = CommandLine::parse(words.join("\0").as_bytes(), &environ, Some(Path::new("vmagent"))).pop()?;
            Some((said.config.to_str()?.to_owned(), said.api, said.check_flags))
        };
        let variables = ["promscrape_config=/v.yml", "httpListenAddr=:1", "promscrape_config_strictParse=false"];
        let lenient = vec!["-promscrape.config.strictParse=false".to_owned()];
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
    fn hostile_command_lines_are_survived() {
        let prometheus = "prometheus\0--config.file=/p.yml\0--web.listen-address=[::]:9090\0--web.external-url=http://h/p\0--enable-feature=agent,x\0--config.auto-reload-interval\x0010s\0";
        let vmagent = "vmagent\0-promscrape.config=/v.yml\0-httpListenAddr=:8429,:1\0-envflag.enable\0-envflag.prefix\0VM_\0-tls=false\0";
        let collector =
            "otelcol\0--config=file:/c.yml\0--config\0env:X\0--feature-gates=+service.partialReload\0--set=a=b\0";
        hostile::bytes(&[prometheus, vmagent, collector].map(str::as_bytes), |cmdline| {
            for program in ["prometheus", "vmagent", "otelcol"] {
                let _ = CommandLine::parse(cmdline, &[cmdline.to_vec()], Some(Path::new(program)));
            }
            let _ = CommandLine::by_flags(cmdline);
        });
        let many = vec!["--config=a"; 6000].join("\0");
        assert_eq!(CommandLine::parse(many.as_bytes(), &[], Some(Path::new("otelcol"))).len(), MOST_CONFIGURATIONS);
    }
}
