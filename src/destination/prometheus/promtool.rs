//! Validates a configuration with promtool, with vmagent's own dry run or with the collector's, before Prometheus reads it.

use super::process::{ConsumerKind, PrometheusProcess};
use crate::{
    error::Result,
    host::{Host, Program, Validation},
    model::{store::location::Format, text::line},
};
use std::{path::Path, time::Duration};

/// 0.5 s were seen for 2,000 clusters.
pub const LIMIT: Duration = Duration::from_secs(30);
/// Of what a check complains about.
const LINES: usize = 3;

/// How much of a configuration is validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// This file alone. Neither `scrape_config_files` nor any other file that it names is opened (promtool's
    /// `--syntax-only`): for files that lie elsewhere where they will be read. A file of jobs is a configuration too.
    Syntax,
    /// What it names as well: every file of jobs and of rules, and whether tokens and certificates of jobs exist.
    Files,
}

/// What validates a file, and its verdict: its own complaint on one line, with files by their path from the folder of the
/// file; absent where no program may be run.
pub type Verdict = (&'static str, Validation);

/// How people are told of vmagent's own validation.
const BY_VMAGENT: &str = "vmagent -promscrape.config.dryRun";
const BY_COLLECTOR: &str = "otelcol validate";

/// The promtool of `PATH`, else the one beside the program that holds the configuration; none where neither may be run.
fn promtool(host: &Host, process: Option<&PrometheusProcess>) -> Option<Program> {
    let on_path = Program::OnPath("promtool");
    if host.has_program(&on_path) {
        return Some(on_path);
    }
    let exe = process.filter(|process| process.shares_mounts)?.exe.as_ref()?;
    Some(Program::At(exe.with_file_name("promtool")))
}

/// vmagent's own program, if the process is one.
fn vmagent(process: Option<&PrometheusProcess>) -> Option<Program> {
    let is_vmagent = |process: &&PrometheusProcess| process.consumer == ConsumerKind::Vmagent && process.shares_mounts;
    process.filter(is_vmagent)?.exe.clone().map(Program::At)
}

/// What would validate files of a format, as far as this can be told without a file. A promtool beside the program of
/// another host is checked when it is run.
pub fn checker(host: &Host, process: Option<&PrometheusProcess>, format: Format) -> Option<&'static str> {
    match format {
        Format::Vmagent => vmagent(process).filter(|program| host.has_program(program)).map(|_| "vmagent"),
        Format::Otel => collector(process).filter(|(_, program)| host.has_program(program)).map(|_| BY_COLLECTOR),
        Format::Prometheus => {
            let program = promtool(host, process)?;
            let is_known = host.name().is_none() || matches!(program, Program::OnPath(_));
            (is_known && host.has_program(&program)).then_some("promtool")
        }
    }
}

/// Validates a configuration, by its path in the folder: `promtool check config`, or `-promscrape.config.dryRun`, which
/// reads files of jobs too. Unlike `-dryRun` it is the same flag of vmagent and of a single-node `VictoriaMetrics`: the
/// latter knows no `-remoteWrite.url`, without which vmagent ends.
pub async fn check_config(
    host: &Host,
    process: Option<&PrometheusProcess>,
    path: &str,
    format: Format,
    agent: bool,
    depth: Depth,
) -> Result<Verdict> {
    let is_vmagent = format == Format::Vmagent;
    let reads_it = |process: &&PrometheusProcess| (process.consumer == ConsumerKind::Vmagent) == is_vmagent;
    let own = process.filter(reads_it).map(|process| process.check_flags.as_slice()).unwrap_or_default();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    if is_vmagent {
        let program = vmagent(process);
        let flags = [&["-promscrape.config.dryRun"], own.as_slice()].concat();
        return Ok((BY_VMAGENT, run(host, program.as_ref(), &flags, "-promscrape.config=", path).await?));
    }
    let mut arguments = [own.as_slice(), &["check", "config"]].concat();
    arguments.extend((depth == Depth::Syntax).then_some("--syntax-only"));
    arguments.extend(agent.then_some("--agent"));
    Ok(("promtool", run(host, promtool(host, process).as_ref(), &arguments, "", path).await?))
}

/// A collector and its program, if the process is one.
fn collector(process: Option<&PrometheusProcess>) -> Option<(&PrometheusProcess, Program)> {
    let process = process.filter(|process| process.is_collector() && process.shares_mounts)?;
    Some((process, Program::At(process.exe.clone()?)))
}

/// Validates the configuration of a collector by `otelcol validate`, with the flags, the environment and the working
/// folder of the process: its files are merged, and name variables of its environment. `main`: the path of a text that
/// takes the place of the configuration; `beside`: the path of one more, which is merged last.
pub async fn check_collector(
    host: &Host,
    process: Option<&PrometheusProcess>,
    main: Option<&Path>,
    beside: Option<&Path>,
) -> Result<Verdict> {
    let Some((process, program)) = collector(process) else { return Ok((BY_COLLECTOR, Validation::Absent)) };
    let flag = |path: &Path| format!("--config=file:{}", path.display());
    let own = process.check_flags.iter().map(|own| match (own.strip_prefix("--config="), main) {
        (Some(path), Some(main)) if Path::new(path.strip_prefix("file:").unwrap_or(path)) == process.named => {
            flag(main)
        }
        _ => own.clone(),
    });
    let arguments: Vec<String> = ["validate".to_owned()].into_iter().chain(own).chain(beside.map(flag)).collect();
    let verdict = host.check_as(process.pid, &program, &arguments, LIMIT).await?;
    Ok((
        BY_COLLECTOR,
        match verdict {
            Validation::Rejected(said) => Validation::Rejected(complaint(&said, &process.config)),
            other => other,
        },
    ))
}

/// The same with `promtool check rules`.
pub async fn check_rules(host: &Host, process: Option<&PrometheusProcess>, path: &str) -> Result<Verdict> {
    let program = promtool(host, process);
    Ok(("promtool", run(host, program.as_ref(), &["check", "rules"], "", path).await?))
}

/// What is wrong with the configuration that a process of this host holds, if a program can tell.
pub async fn diagnose(host: &Host, process: &PrometheusProcess) -> Option<String> {
    if !process.shares_mounts || host.name().is_some() {
        return None;
    }
    if process.is_collector() {
        let (_, verdict) = check_collector(host, Some(process), None, None).await.ok()?;
        return if let Validation::Rejected(why) = verdict { Some(why) } else { None };
    }
    let (agent, format) = match process.consumer {
        ConsumerKind::Vmagent => (false, Format::Vmagent),
        ConsumerKind::PrometheusAgent => (true, Format::Prometheus),
        ConsumerKind::Prometheus | ConsumerKind::Collector => (false, Format::Prometheus),
    };
    let path = process.config.to_str()?;
    match check_config(host, Some(process), path, format, agent, Depth::Files).await {
        Ok((_, Validation::Rejected(why))) => Some(why),
        _ => None,
    }
}

async fn run(
    host: &Host,
    program: Option<&Program>,
    arguments: &[&str],
    prefix: &str,
    path: &str,
) -> Result<Validation> {
    let Some(program) = program else { return Ok(Validation::Absent) };
    Ok(match host.check(program, arguments, prefix, path, LIMIT).await? {
        Validation::Rejected(said) => {
            // Programs of another host run in the folder itself.
            let file = match host {
                Host::Local { root } => root.join(path),
                Host::Ssh(_) => path.into(),
            };
            Validation::Rejected(match complaint(&said, &file) {
                said if said.is_empty() => "without a reason".to_owned(),
                said => said,
            })
        }
        other => other,
    })
}

/// The first lines of a complaint as one. promtool marks them with FAILED, vmagent's log with `fatal` or `error` between
/// tabs, and a collector with `Error`; the rest is progress, or a log with the same.
fn complaint(stderr: &str, file: &Path) -> String {
    let folder = file.parent().map(|folder| format!("{}/", folder.display())).filter(|folder| folder.len() > 1);
    let mut said = String::new();
    let lines = stderr.lines().filter_map(|line| {
        let line = match line.split('\t').collect::<Vec<_>>()[..] {
            [_, "fatal" | "error", _, message] => message,
            [_, "info" | "warn", ..] => return None,
            _ if line.contains(" INFO: ") || is_dated(line) => return None,
            _ => line,
        };
        let line = line.trim();
        let line = ["FAILED:", "Error:"].iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).trim_start();
        let progress = ["time=", "ts=", "level=", "Checking ", "SUCCESS:", "WARNING:"];
        (!line.is_empty() && !progress.iter().any(|start| line.starts_with(start))).then_some(line)
    });
    for line in lines.take(LINES) {
        if !said.is_empty() {
            said.push_str(if said.ends_with(':') { " " } else { "; " });
        }
        said.push_str(line);
    }
    line::escaped(&folder.map_or_else(|| said.clone(), |folder| said.replace(&folder, "")))
}

/// Whether Go's package `log` has written a line: `2026/11/25 10:00:00 …`.
fn is_dated(line: &str) -> bool {
    let date = line.as_bytes().get(..11).unwrap_or_default();
    date.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'/',
        10 => *byte == b' ',
        _ => byte.is_ascii_digit(),
    }) && !date.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaint_is_one_line_with_short_paths() {
        let file = Path::new("/tmp/.check-1/prometheus.yml");
        for (stderr, said) in [
            (
                "  FAILED: error loading scrape configs: \"/tmp/.check-1/d/a.yml\": yaml: unmarshal errors:\n  \
                 line 1: field foo not found in type config.ScrapeConfig\n  line 1: field bar not found\n  line 2: more\n",
                "error loading scrape configs: \"d/a.yml\": yaml: unmarshal errors: line 1: field foo not found in type \
                 config.ScrapeConfig; line 1: field bar not found",
            ),
            (
                "  FAILED:\n/tmp/.check-1/r.yml: 1:45: group \"a\", rule 1, \"x\": could not parse expression\n\n",
                "r.yml: 1:45: group \"a\", rule 1, \"x\": could not parse expression",
            ),
            (
                "2026/11/25 10:00:00 INFO: metrics: disable exposing PSI metrics\n\
                 2026-11-25T10:00:00.000Z\tinfo\tlib/logger/flag.go:12\tbuild version\n\
                 2026-11-25T10:00:00.001Z\tfatal\tapp/vmagent/main.go:123\tcannot parse \"/tmp/.check-1/v.yml\"\n",
                "cannot parse \"v.yml\"",
            ),
            ("time=2026-11-25T10:15:55.296Z level=WARN msg=x\n", ""),
            (
                "Error: receivers::prometheus/federate: failed to get scrape configs\n\
                 2026/11/25 10:00:00 collector server run finished with error: receivers::prometheus/federate: failed\n",
                "receivers::prometheus/federate: failed to get scrape configs",
            ),
            ("\u{1b}[31mbad\n", "\\u{1b}[31mbad"),
            ("", ""),
        ] {
            assert_eq!(complaint(stderr, file), said);
        }
        // A file at the root, or without a folder, has nothing to shorten.
        assert_eq!(complaint("a/b /c", Path::new("/prometheus.yml")), "a/b /c");
        assert_eq!(complaint("a/b /c", Path::new("prometheus.yml")), "a/b /c");
    }
}
