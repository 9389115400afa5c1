//! `cargo demo`: two real clusters and a Prometheus outside of both, brought together by the plugin.
//!
//! It builds everything it needs, lets `kubectl prom-federate join` push the jobs of each cluster to that Prometheus,
//! shows what Prometheus then knows about them, and replaces their tokens while it scrapes. It keeps running until
//! Ctrl-C, so that the commands it prints can be tried.

mod picture;
mod plugin;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use testbed::{Cluster, ClusterSpec, Kubeconfig, Prometheus, Tools};

const USAGE: &str = "\
Start two clusters and a Prometheus, join them, and show what Prometheus sees.

Usage: cargo demo [--once] [--picture FILE] [--plugin FILE]

  --once          end after the table instead of waiting for Ctrl-C
  --picture FILE  write what status shows on a terminal to an SVG file
  --plugin FILE   use this kubectl-prom_federate instead of building one
";

const CLUSTERS: [&str; 2] = ["east", "west"];
const NODES: usize = 2;
/// Short, so that the table has rates soon.
const SCRAPE_INTERVAL: &str = "5s";
/// As it comes: join adds what it needs.
const CONFIG: &str = "global:\n  scrape_interval: 15s\n";
const TARGETS_UP: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    testbed::supervise_if_asked();
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprint!("{error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let ended = demo(&arguments);
    testbed::shutdown();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Arguments {
    once: bool,
    picture: Option<PathBuf>,
    plugin: Option<PathBuf>,
}

impl Arguments {
    /// `None` if help was asked for.
    fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        let mut arguments = Self { once: false, picture: None, plugin: None };
        let file = |word: &str, file: Option<String>| -> Result<PathBuf> {
            Ok(std::path::absolute(file.with_context(|| format!("{word} needs a file"))?)?)
        };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--once" => arguments.once = true,
                "--picture" => arguments.picture = Some(file(&word, words.next())?),
                "--plugin" => arguments.plugin = Some(file(&word, words.next())?),
                "--help" | "-h" => return Ok(None),
                _ => bail!("unexpected argument {word}"),
            }
        }
        Ok(Some(arguments))
    }
}

fn demo(arguments: &Arguments) -> Result<()> {
    let tools = Tools::get()?;
    let plugin = match &arguments.plugin {
        Some(file) => file.clone(),
        None => plugin::build()?,
    };
    step("starting the clusters east and west, and a Prometheus outside of both");
    let (clusters, prometheus) = start()?;
    let shell = Shell::new(tools, &plugin, &clusters)?;

    let directory = prometheus.dir().display().to_string();
    for cluster in &clusters {
        shell.run(&[
            "join",
            "--context",
            cluster.name(),
            "-p",
            &directory,
            "--scrape-interval",
            SCRAPE_INTERVAL,
            "--yes",
        ])?;
    }

    step("waiting for the first scrapes");
    let targets = up(&prometheus)?;
    step("all targets are up; half a minute more for the rates");
    let rows = table::rows(&prometheus, &targets)?;
    println!("\n{}", table::render(&rows));
    println!("All nodes are this one machine, so each shows the CPU and memory of the whole machine.");
    shell.run(&["rotate", "--now", "-p", &directory])?;
    match &arguments.picture {
        None => shell.run(&["status", "-p", &directory])?,
        Some(file) => picture::draw(&shell, &directory, file)?,
    }
    if !arguments.once {
        println!("\n{}", farewell(&prometheus, &shell));
        wait_for_interrupt()?;
        step("stopping");
    }
    Ok(())
}

/// All servers at once; none needs another to start.
fn start() -> Result<(Vec<Cluster>, Prometheus)> {
    thread::scope(|scope| {
        let starts = CLUSTERS.map(|name| scope.spawn(move || Cluster::start(&ClusterSpec::new(name).nodes(NODES))));
        let prometheus = Prometheus::start(CONFIG)?;
        let mut clusters = Vec::new();
        for start in starts {
            clusters.push(start.join().map_err(|_| anyhow!("the start of a cluster panicked"))??);
        }
        Ok((clusters, prometheus))
    })
}

/// Wait for every target to be up, however many jobs the plugin makes for a node.
fn up(prometheus: &Prometheus) -> Result<Vec<testbed::Target>> {
    let complete = |targets: &Vec<testbed::Target>| {
        let scraped = |name: &str| targets.iter().filter(|target| target.label("cluster") == name).count() >= NODES;
        CLUSTERS.into_iter().all(scraped) && targets.iter().all(testbed::Target::is_up)
    };
    let reached = prometheus.wait_until(TARGETS_UP, |prometheus| prometheus.targets().ok().filter(complete));
    if let Some(targets) = reached {
        return Ok(targets);
    }
    let targets = prometheus.targets()?;
    for target in targets.iter().filter(|target| !target.is_up()) {
        eprintln!("  {} is {}: {}", target.scrape_url, target.health, target.last_error);
    }
    let up = targets.iter().filter(|target| target.is_up()).count();
    Err(anyhow!("only {up} of {} targets are up after {} s", targets.len(), TARGETS_UP.as_secs()))
}

/// What a user's shell would have: kubectl and the plugin on PATH, and a kubeconfig with both clusters.
struct Shell {
    path: String,
    /// The folders put in front of the user's own PATH.
    folders: String,
    kubeconfig: PathBuf,
}

impl Shell {
    fn new(tools: &Tools, plugin: &Path, clusters: &[Cluster]) -> Result<Self> {
        let folder = |file: &Path| file.parent().map(|dir| dir.display().to_string()).unwrap_or_default();
        let folders = format!("{}:{}", folder(plugin), folder(&tools.kubectl));
        let path = format!("{folders}:{}", std::env::var("PATH").unwrap_or_default());
        let kubeconfig = testbed::run_dir()?.join("kubeconfig");
        let contexts: Vec<Kubeconfig> = clusters.iter().map(Cluster::admin).collect();
        std::fs::write(&kubeconfig, Kubeconfig::merged(&contexts))?;
        Ok(Self { path, folders, kubeconfig })
    }

    /// Runs a command of the plugin. What it says to its user goes to ours.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        let shown = format!("kubectl prom-federate {}", arguments.join(" "));
        step(&shown);
        let status = self.command("kubectl").arg("prom-federate").args(arguments).status().context("run kubectl")?;
        ensure!(status.success(), "{shown}: {status}");
        Ok(())
    }

    /// A program with the environment of that shell.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("PATH", &self.path).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }
}

fn farewell(prometheus: &Prometheus, shell: &Shell) -> String {
    format!(
        "\
Prometheus: {url} (its API; configuration in {dir})

To try in another terminal:
  export KUBECONFIG={kubeconfig}
  export PATH={folders}:$PATH
  export PROM_FEDERATE_PROMETHEUS={dir}
  kubectl --context east get nodes
  kubectl prom-federate rotate --now
  kubectl prom-federate leave west
  curl -s '{url}/api/v1/query?query=up'

Ctrl-C stops everything and removes it.",
        url = prometheus.url(),
        dir = prometheus.dir().display(),
        kubeconfig = shell.kubeconfig.display(),
        folders = shell.folders,
    )
}

fn wait_for_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("wait for Ctrl-C")
}

fn step(text: &str) {
    // A closed terminal is no reason to leave the servers running: the supervisor ends them with us.
    let _ = writeln!(io::stderr(), "==> {text}");
}
