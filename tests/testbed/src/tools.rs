//! The programs of a cluster, built from the Go modules pinned in `go/` once for each version of their inputs.
//!
//! They live outside the checkout, in `$XDG_CACHE_HOME/prom-federate-testbed/<program>-<key>/<program>`, so that every
//! checkout and every `cargo clean` finds them again. Each program has a key of its own: a change to the node rebuilds
//! no Prometheus, and one that fails to build loses no other.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

/// How often a running build says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long an unused program stays: its pinned version has changed, or Go's.
const UNUSED: Duration = Duration::from_secs(30 * 24 * 3600);
/// Of Prometheus: the one way to find targets that the tests need.
const ONLY_KUBERNETES: &str = "-tags=remove_all_sd,enable_kubernetes_sd";
/// Begins the name of the folder in which a program is being built.
const SCRATCH: &str = "building-";

/// Where the programs are.
#[derive(Debug)]
pub struct Tools {
    pub kube_apiserver: PathBuf,
    pub kube_controller_manager: PathBuf,
    pub kubectl: PathBuf,
    pub node: PathBuf,
    pub etcd: PathBuf,
    pub prometheus: PathBuf,
    pub promtool: PathBuf,
}

/// The programs, built on first use.
///
/// # Panics
/// When they cannot be built, with the reason. [`Tools::get`] returns it.
pub fn tools() -> &'static Tools {
    match Tools::get() {
        Ok(tools) => tools,
        Err(error) => panic!("{error:#}"),
    }
}

impl Tools {
    pub fn get() -> Result<&'static Self> {
        static TOOLS: OnceLock<Result<Tools, String>> = OnceLock::new();
        let built = TOOLS.get_or_init(|| Self::build().map_err(|error| format!("{error:#}")));
        built.as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// These and the programs that only few tests start: vmagent, a collector, the reader of dashboards, the node
    /// exporter, kube-state-metrics, two operators, older releases.
    pub fn build_all() -> Result<()> {
        Self::get()?;
        vmagent()?;
        collector()?;
        grafana_check()?;
        node_exporter()?;
        kube_state_metrics()?;
        operator()?;
        vm_operator()?;
        kube_apiserver_1_29()?;
        prometheus_3_14()?;
        prometheus_3_5()?;
        prometheus_2_53()?;
        prometheus_2_45()?;
        Ok(())
    }

    fn build() -> Result<Self> {
        let go = Go::find()?;
        let cache = Cache::open()?;
        let kubernetes = Module::read("kubernetes", "k8s.io/kubernetes")?;
        let etcd = Module::read("etcd", "go.etcd.io/etcd/server/v3")?;
        let prometheus = Module::read("prometheus", "github.com/prometheus/prometheus")?;
        for module in [&kubernetes, &etcd, &prometheus] {
            go.check(module)?;
        }
        let program = |name, package, module, cost| Program { name, package, module, cost };
        let one = |program: &Program<'_>| cache.program(&go, program);
        Ok(Self {
            kube_apiserver: one(&program(
                "kube-apiserver",
                "k8s.io/kubernetes/cmd/kube-apiserver",
                &kubernetes,
                "4 minutes",
            ))?,
            kube_controller_manager: one(&program(
                "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
                &kubernetes,
                "a minute",
            ))?,
            kubectl: one(&program("kubectl", "k8s.io/kubernetes/cmd/kubectl", &kubernetes, "half a minute"))?,
            node: one(&program("node", "./node", &kubernetes, "a minute"))?,
            etcd: one(&program("etcd", "go.etcd.io/etcd/server/v3", &etcd, "half a minute"))?,
            prometheus: one(&program(
                "prometheus",
                "github.com/prometheus/prometheus/cmd/prometheus",
                &prometheus,
                "2 minutes",
            ))?,
            promtool: one(&program(
                "promtool",
                "github.com/prometheus/prometheus/cmd/promtool",
                &prometheus,
                "half a minute",
            ))?,
        })
    }
}

/// vmagent, built by the first who asks for it: few tests do.
pub(crate) fn vmagent() -> Result<&'static Path> {
    static VMAGENT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = VMAGENT.get_or_init(|| build_vmagent().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

/// An OpenTelemetry Collector with few components, built by the first who asks for it.
pub(crate) fn collector() -> Result<&'static Path> {
    static COLLECTOR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = COLLECTOR.get_or_init(|| build_collector().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build_collector() -> Result<PathBuf> {
    let go = Go::find()?;
    let module = Module::read("collector", "go.opentelemetry.io/collector/otelcol")?;
    go.check(&module)?;
    Cache::open()?.program(&go, &Program { name: "otelcol", package: "./otelcol", module: &module, cost: "4 minutes" })
}

/// A Prometheus that keeps the first token of a file.
pub(crate) fn prometheus_3_14() -> Result<PathBuf> {
    older_prometheus("prometheus-3.14", "2 minutes")
}

/// The releases before with long-term support.
pub(crate) fn prometheus_3_5() -> Result<PathBuf> {
    older_prometheus("prometheus-3.5", "3 minutes")
}

pub(crate) fn prometheus_2_53() -> Result<PathBuf> {
    older_prometheus("prometheus-2.53", "3 minutes")
}

/// The oldest Prometheus that the plugin supports.
pub(crate) fn prometheus_2_45() -> Result<PathBuf> {
    older_prometheus("prometheus-2.45", "3 minutes")
}

/// `module` is its folder below `go/`.
fn older_prometheus(module: &'static str, cost: &'static str) -> Result<PathBuf> {
    let go = Go::find()?;
    let module = Module::read(module, "github.com/prometheus/prometheus")?;
    go.check(&module)?;
    let package = "github.com/prometheus/prometheus/cmd/prometheus";
    Cache::open()?.program(&go, &Program { name: "prometheus", package, module: &module, cost })
}

/// The API server of the last Kubernetes whose policies are no `v1` yet, built by the first who asks for it.
pub(crate) fn kube_apiserver_1_29() -> Result<&'static Path> {
    static API_SERVER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = API_SERVER.get_or_init(|| build_kube_apiserver_1_29().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build_kube_apiserver_1_29() -> Result<PathBuf> {
    let go = Go::find()?;
    let module = Module::read("kubernetes-1.29", "k8s.io/kubernetes")?;
    go.check(&module)?;
    let package = "k8s.io/kubernetes/cmd/kube-apiserver";
    Cache::open()?.program(&go, &Program { name: "kube-apiserver-1.29", package, module: &module, cost: "4 minutes" })
}

/// The node exporter, built by the first who asks for it.
pub(crate) fn node_exporter() -> Result<&'static Path> {
    static NODE_EXPORTER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = NODE_EXPORTER.get_or_init(|| build_node_exporter().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build_node_exporter() -> Result<PathBuf> {
    let go = Go::find()?;
    let package = "github.com/prometheus/node_exporter";
    let module = Module::read("node-exporter", package)?;
    go.check(&module)?;
    Cache::open()?.program(&go, &Program { name: "node-exporter", package, module: &module, cost: "a minute" })
}

/// kube-state-metrics, built by the first who asks for it.
pub(crate) fn kube_state_metrics() -> Result<&'static Path> {
    static KUBE_STATE_METRICS: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = KUBE_STATE_METRICS.get_or_init(|| build_kube_state_metrics().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build_kube_state_metrics() -> Result<PathBuf> {
    let go = Go::find()?;
    let package = "k8s.io/kube-state-metrics/v2";
    let module = Module::read("kube-state-metrics", package)?;
    go.check(&module)?;
    Cache::open()?.program(&go, &Program { name: "kube-state-metrics", package, module: &module, cost: "3 minutes" })
}

/// A program that reads dashboards by Grafana's own types, built by the first who asks for it.
pub(crate) fn grafana_check() -> Result<&'static Path> {
    static CHECK: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = CHECK.get_or_init(|| build_grafana_check().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build_grafana_check() -> Result<PathBuf> {
    let go = Go::find()?;
    let module = Module::read("grafana", "github.com/grafana/grafana-foundation-sdk/go")?;
    go.check(&module)?;
    let program = Program { name: "grafana-check", package: "./check", module: &module, cost: "a minute" };
    Cache::open()?.program(&go, &program)
}

fn build_vmagent() -> Result<PathBuf> {
    let go = Go::find()?;
    let module = Module::read("vmagent", "github.com/VictoriaMetrics/VictoriaMetrics")?;
    go.check(&module)?;
    let package = "github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent";
    Cache::open()?.program(&go, &Program { name: "vmagent", package, module: &module, cost: "half a minute" })
}

/// Prometheus Operator, built by the first who asks for it.
pub(crate) fn operator() -> Result<&'static Operator> {
    static OPERATOR: OnceLock<Result<Operator, String>> = OnceLock::new();
    let built = OPERATOR.get_or_init(|| {
        let main = "github.com/prometheus-operator/prometheus-operator";
        build_operator("operator", main, "cmd/operator", "example/prometheus-operator-crd", "2 minutes")
            .map_err(|error| format!("{error:#}"))
    });
    built.as_ref().map_err(|error| anyhow!("{error}"))
}

/// `VictoriaMetrics`' operator, built by the first who asks for it.
pub(crate) fn vm_operator() -> Result<&'static Operator> {
    static OPERATOR: OnceLock<Result<Operator, String>> = OnceLock::new();
    let built = OPERATOR.get_or_init(|| {
        let (main, kinds) = ("github.com/VictoriaMetrics/operator", "config/crd/overlay/crd.descriptionless.yaml");
        build_operator("vmoperator", main, "cmd", kinds, "5 minutes").map_err(|error| format!("{error:#}"))
    });
    built.as_ref().map_err(|error| anyhow!("{error}"))
}

pub(crate) struct Operator {
    pub(crate) program: PathBuf,
    /// A folder of manifests, or one: the kinds that this very release knows.
    pub(crate) kinds: PathBuf,
}

/// `package` and `kinds` are paths in the program's own module, `main`.
fn build_operator(name: &'static str, main: &str, package: &str, kinds: &str, cost: &'static str) -> Result<Operator> {
    let go = Go::find()?;
    let module = Module::read(name, main)?;
    go.check(&module)?;
    let package = format!("{main}/{package}");
    let program = Cache::open()?.program(&go, &Program { name, package: &package, module: &module, cost })?;
    // The manifests are beside the sources, which may be gone from Go's own cache when the program is not.
    let versioned = format!("{main}@v{}", module.version);
    let output = go_command().args(["mod", "download", "-json", &versioned]).current_dir(&module.dir).output()?;
    if !output.status.success() {
        bail!("go mod download {versioned}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let sources = told["Dir"].as_str().context("go mod download names no folder")?;
    Ok(Operator { program, kinds: Path::new(sources).join(kinds) })
}

/// A program of Debian's package `victoria-metrics`, which holds releases that cannot be built from Go modules any more.
pub(crate) fn debian(name: &str) -> Result<PathBuf> {
    let path = Path::new("/usr/bin").join(name);
    if !path.exists() {
        bail!("{} is missing: `cargo verify` installs it", path.display());
    }
    Ok(path)
}

struct Program<'a> {
    name: &'static str,
    package: &'a str,
    module: &'a Module,
    /// What a first build takes on two cores.
    cost: &'static str,
}

impl Program<'_> {
    /// The part of the module's folder that goes into this program alone.
    fn sources(&self) -> Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut files: Vec<PathBuf> = ["go.mod", "go.sum"].map(PathBuf::from).into();
        if let Some(folder) = self.package.strip_prefix("./") {
            for entry in fs::read_dir(self.module.dir.join(folder))? {
                files.push(Path::new(folder).join(entry?.file_name()));
            }
        }
        files.sort();
        let read = |file: PathBuf| {
            let path = self.module.dir.join(&file);
            let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            Ok((file, content))
        };
        files.into_iter().map(read).collect()
    }

    fn flags(&self) -> Vec<String> {
        let mut flags = vec!["-mod=readonly".to_owned()];
        let mut link = "-s -w".to_owned();
        let version = &self.module.version;
        match self.module.name {
            // Unset, the version that a server reports is a placeholder, which clients and their tests may not like.
            "kubernetes" | "kubernetes-1.29" => {
                if self.module.name == "kubernetes-1.29" {
                    // It still had the clients of clouds, which are half of the program.
                    flags.push("-tags=providerless".into());
                }
                let mut parts = version.split('.');
                for (name, value) in [
                    ("gitVersion", Some(format!("v{version}").as_str())),
                    ("gitMajor", parts.next()),
                    ("gitMinor", parts.next()),
                ] {
                    let _ = write!(link, " -X k8s.io/component-base/version.{name}={}", value.unwrap_or_default());
                }
            }
            "collector" => flags.push(ONLY_KUBERNETES.into()),
            name if name.starts_with("prometheus") => {
                // Only the one way to find targets that we need: the others' clients are half of the program. Prometheus
                // before 3.6 has no such tags.
                flags.push(ONLY_KUBERNETES.into());
                let _ = write!(link, " -X github.com/prometheus/common/version.Version={}", release(version));
            }
            "vmagent" => {
                let _ = write!(
                    link,
                    " -X github.com/VictoriaMetrics/VictoriaMetrics/lib/buildinfo.Version=vmagent-v{version}"
                );
            }
            _ => {}
        }
        flags.push(format!("-ldflags={link}"));
        flags
    }
}

/// Prometheus 3.16.0 is the module's 0.316.0, 3.5.1 is 0.305.1, and 2.45.0 is 0.45.0.
fn release(module: &str) -> String {
    match numbers(module)[..] {
        [0, minor @ ..100, patch] => format!("2.{minor}.{patch}"),
        [0, both, patch] => format!("{}.{}.{patch}", both / 100, both % 100),
        _ => module.to_owned(),
    }
}

/// One folder below `go/`.
struct Module {
    name: &'static str,
    dir: PathBuf,
    /// Of the program's own module, without the `v`.
    version: String,
    /// The oldest Go that may build it.
    go: String,
}

impl Module {
    fn read(name: &'static str, main: &str) -> Result<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("go").join(name);
        let path = dir.join("go.mod");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let mut version = None;
        let mut go = None;
        for line in text.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["go", number] => go = Some(number.to_owned()),
                [module, number, ..] | ["require", module, number, ..] if module == main && number.starts_with('v') => {
                    version = Some(number[1..].to_owned());
                }
                _ => {}
            }
        }
        let version = version.with_context(|| format!("{} does not require {main}", path.display()))?;
        let go = go.with_context(|| format!("{} names no version of Go", path.display()))?;
        Ok(Self { name, dir, version, go })
    }
}

/// The Go installation, and what of it changes a program.
struct Go {
    /// `GOVERSION`, then the rest of the settings.
    settings: Vec<String>,
}

impl Go {
    fn find() -> Result<Self> {
        let asked = ["GOVERSION", "GOOS", "GOARCH", "GOFLAGS", "CGO_ENABLED", "GOEXPERIMENT"];
        // Inside a module, Go's own switch to a newer toolchain has its say already.
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("go/prometheus");
        let output = match go_command().arg("env").args(asked).current_dir(dir).output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("Go is not installed: the testbed builds its servers with it (https://go.dev/dl)")
            }
            output => output.context("run go env")?,
        };
        if !output.status.success() {
            bail!("go env: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Self { settings: String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect() })
    }

    fn version(&self) -> &str {
        self.settings.first().map(|version| version.trim_start_matches("go")).unwrap_or_default()
    }

    fn check(&self, module: &Module) -> Result<()> {
        if numbers(self.version()) < numbers(&module.go) {
            bail!(
                "Go {} is too old: the testbed's {} needs {} (https://go.dev/dl)",
                self.version(),
                module.name,
                module.go
            );
        }
        Ok(())
    }
}

fn go_command() -> Command {
    let mut command = Command::new("go");
    // A workspace around the checkout or the cache would replace our pinned modules.
    command.env("GOWORK", "off");
    command
}

/// The numbers of `1.26.7`, `1.26rc2` or `1.26.7 X:experiment`.
fn numbers(version: &str) -> Vec<u32> {
    let number = |part: &str| part.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default().parse().unwrap_or(0);
    version.split_whitespace().next().unwrap_or_default().split('.').map(number).collect()
}

struct Cache {
    dir: PathBuf,
}

impl Cache {
    fn open() -> Result<Self> {
        let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let base = folder("XDG_CACHE_HOME")
            .filter(|dir| dir.is_absolute())
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
            .context("neither XDG_CACHE_HOME nor HOME says where the testbed may keep its servers")?;
        let dir = base.join("prom-federate-testbed");
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        Ok(Self { dir })
    }

    /// The path of a program, which is built first if it is not there. The lock makes of two runs that need the same
    /// program one that builds and one that waits; the rename at the end makes of a program all or nothing.
    fn program(&self, go: &Go, program: &Program<'_>) -> Result<PathBuf> {
        let sources = program.sources()?;
        let flags = program.flags();
        let home = self.dir.join(format!("{}-{}", program.name, key(go, program.package, &sources, &flags)));
        let path = home.join(program.name);
        if path.exists() {
            // A cache of another user may be read-only, and stays as it is.
            let _ = File::open(&home).and_then(|home| home.set_modified(SystemTime::now()));
            return Ok(path);
        }
        let _lock = self.lock()?;
        if path.exists() {
            return Ok(path);
        }
        self.tidy(program.name)?;
        // A `go build` that outlives its run for a moment may still write here, so the next run uses another folder.
        let scratch = self.dir.join(format!("{SCRATCH}{}", std::process::id()));
        for (file, content) in &sources {
            let target = scratch.join("src").join(file);
            fs::create_dir_all(target.parent().unwrap_or(&scratch))?;
            fs::write(target, content)?;
        }
        let product = scratch.join("out").join(program.name);
        run(program, &flags, &scratch.join("src"), &product)?;
        fs::rename(scratch.join("out"), &home).with_context(|| format!("make {}", home.display()))?;
        let _ = fs::remove_dir_all(&scratch);
        Ok(path)
    }

    /// Remove what interrupted builds left, and versions of this program that were not used in a long time. The
    /// caller holds the lock.
    fn tidy(&self, name: &str) -> Result<()> {
        let old = format!("{name}-");
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let folder = entry.file_name().to_string_lossy().into_owned();
            let unused = || {
                entry
                    .metadata()
                    .and_then(|metadata| metadata.modified())
                    .is_ok_and(|used| used.elapsed().is_ok_and(|age| age > UNUSED))
            };
            if folder.starts_with(SCRATCH) || (folder.starts_with(&old) && unused()) {
                // A leftover that cannot be removed does no harm.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    fn lock(&self) -> Result<File> {
        let path = self.dir.join("lock");
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        if file.try_lock().is_err() {
            say("waiting for another run that builds the servers");
            file.lock().with_context(|| format!("lock {}", path.display()))?;
        }
        Ok(file)
    }
}

fn key(go: &Go, package: &str, sources: &[(PathBuf, Vec<u8>)], flags: &[String]) -> String {
    let mut hash = Sha256::new();
    // Each part with its length, so that no two lists of parts look the same.
    let mut part = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    for text in go.settings.iter().chain(flags) {
        part(text.as_bytes());
    }
    part(package.as_bytes());
    for (file, content) in sources {
        part(file.as_os_str().as_encoded_bytes());
        part(content);
    }
    hash.finalize().iter().take(8).fold(String::new(), |mut key, byte| {
        let _ = write!(key, "{byte:02x}");
        key
    })
}

/// `go build`, with a line on the terminal now and then.
fn run(program: &Program<'_>, flags: &[String], source: &Path, product: &Path) -> Result<()> {
    let name = program.name;
    say(&format!("building {name} {} (about {} the first time) ...", program.module.version, program.cost));
    let began = Instant::now();
    let mut build = go_command()
        .args(["build", "-v"])
        .args(flags)
        .arg("-o")
        .arg(product)
        .arg(program.package)
        .current_dir(source)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("run go build")?;
    let lines = build.stderr.take().context("the output of go build")?;
    let compiled = Arc::new(AtomicUsize::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let heart = thread::spawn({
        let (compiled, done) = (Arc::clone(&compiled), Arc::clone(&done));
        move || {
            while !done.load(Ordering::Acquire) {
                thread::park_timeout(HEARTBEAT);
                if !done.load(Ordering::Acquire) {
                    let (seconds, packages) = (began.elapsed().as_secs(), compiled.load(Ordering::Relaxed));
                    say(&format!("building {name}: {seconds} s, {packages} packages"));
                }
            }
        }
    });
    // With -v, Go names each package it compiles; an error comes last.
    let mut tail = VecDeque::new();
    for line in BufReader::new(lines).lines().map_while(Result::ok) {
        compiled.fetch_add(1, Ordering::Relaxed);
        if tail.len() == 20 {
            tail.pop_front();
        }
        tail.push_back(line);
    }
    let status = build.wait();
    done.store(true, Ordering::Release);
    heart.thread().unpark();
    let _ = heart.join();
    if !status.context("wait for go build")?.success() {
        bail!("go build of {name} failed:\n  {}", Vec::from(tail).join("\n  "));
    }
    say(&format!("built {name} in {} s", began.elapsed().as_secs()));
    Ok(())
}

/// To the terminal itself: `cargo test` holds back what a test prints, and a first build takes minutes.
fn say(text: &str) {
    let _ = io::stderr().lock().write_all(format!("testbed: {text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{numbers, release};

    #[test]
    fn versions_of_go_compare_by_number() {
        assert!(numbers("1.9.13") < numbers("1.26.7"));
        assert!(numbers("1.26rc1") < numbers("1.26.7"));
        assert!(numbers("1.26.7 X:jsonv2") >= numbers("1.26.7"));
        assert!(numbers("1.27") > numbers("1.26.7"));
    }

    #[test]
    fn the_release_of_a_prometheus_module() {
        assert_eq!(release("0.316.0"), "3.16.0");
        assert_eq!(release("0.300.1"), "3.0.1");
        assert_eq!(release("0.45.0"), "2.45.0");
    }
}
