//! What promtool, or vmagent's own dry run, says about a configuration before anybody reads it in earnest.

use super::process::{ConsumerKind, PrometheusProcess};
use crate::destination::ssh::{CheckedBy, Remote};
use crate::{
    error::Error,
    model::{store::location::Format, text::line},
};
use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

/// 0.5 s were seen for 2,000 clusters.
const LIMIT: Duration = Duration::from_secs(30);
/// Of what a check complains about.
const LINES: usize = 3;

/// How much of a configuration is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// This file alone. Neither `scrape_config_files` nor any other file that it names is opened (promtool's
    /// `--syntax-only`): for files that lie elsewhere where they will be read. A file of jobs is a configuration too.
    Syntax,
    /// What it names as well: every file of jobs and of rules, and whether tokens and certificates of jobs exist.
    Files,
}

/// The promtool of `PATH`, else the one beside the program that holds the configuration.
pub fn find(process: Option<&PrometheusProcess>) -> Option<PathBuf> {
    on_path("promtool", &env::var_os("PATH").unwrap_or_default()).or_else(|| {
        let beside = process.filter(|process| process.shares_mounts)?.exe.as_ref()?.with_file_name("promtool");
        is_trusted(&beside).then_some(beside)
    })
}

/// A program of the `PATH`. A folder that is named by a relative path is the one where somebody happens to be.
pub(in crate::destination) fn on_path(program: &str, path: &OsStr) -> Option<PathBuf> {
    let folders = env::split_paths(path).filter(|folder| folder.is_absolute());
    folders
        .map(|folder| folder.join(program))
        .find(|file| fs::metadata(file).is_ok_and(|metadata| is_program(&metadata)))
}

/// vmagent's own program, if the process is one.
pub fn vmagent(process: &PrometheusProcess) -> Option<&Path> {
    let exe = process.exe.as_deref().filter(|_| process.consumer == ConsumerKind::Vmagent && process.shares_mounts)?;
    is_trusted(exe).then_some(exe)
}

/// `promtool check config`.
///
/// # Errors
/// promtool's own complaint on one line, with files by their path from the folder of `config`; or that it cannot be run.
pub async fn check_config(promtool: &Path, config: &Path, agent: bool, depth: Depth) -> Result<(), String> {
    let mut command = Command::new(promtool);
    command.args(["check", "config"]);
    command.args((depth == Depth::Syntax).then_some("--syntax-only"));
    command.args(agent.then_some("--agent"));
    run(command.arg(config), config).await
}

/// `promtool check rules`.
///
/// # Errors
/// As [`check_config`].
pub async fn check_rules(promtool: &Path, file: &Path) -> Result<(), String> {
    run(Command::new(promtool).args(["check", "rules"]).arg(file), file).await
}

/// `-promscrape.config.dryRun`, which reads files of jobs too. Unlike `-dryRun` it is the same flag of vmagent and of a
/// single-node `VictoriaMetrics`: the latter knows no `-remoteWrite.url`, without which vmagent ends.
///
/// # Errors
/// As [`check_config`].
pub async fn check_by_vmagent(vmagent: &Path, config: &Path) -> Result<(), String> {
    let mut flag = OsStr::new("-promscrape.config=").to_owned();
    flag.push(config);
    run(Command::new(vmagent).arg("-promscrape.config.dryRun").arg(flag), config).await
}

/// How people are told of [`check_by_vmagent`].
pub(in crate::destination) const BY_VMAGENT: &str = "vmagent -promscrape.config.dryRun";

/// Who looked at a file, and what about it is wrong.
pub(in crate::destination) type Opinion = (&'static str, Result<(), String>);

/// The same as [`check_config`] on another host; with who looked. None where nobody can.
pub(in crate::destination) fn check_there(
    remote: &Remote,
    process: Option<&PrometheusProcess>,
    path: &str,
    format: Format,
    agent: bool,
) -> Result<Option<Opinion>, Error> {
    if format == Format::Vmagent {
        let is_vmagent =
            |process: &&PrometheusProcess| process.consumer == ConsumerKind::Vmagent && process.shares_mounts;
        let Some(exe) = process.filter(is_vmagent).and_then(|process| process.exe.clone()) else { return Ok(None) };
        let flag = format!("-promscrape.config={path}");
        let arguments = ["-promscrape.config.dryRun", &flag];
        let outcome = ask_there(remote, &CheckedBy::Beside(exe), &arguments, path)?;
        return Ok(outcome.map(|outcome| (BY_VMAGENT, outcome)));
    }
    let Some(promtool) = find_there(remote, process) else { return Ok(None) };
    let mut arguments = vec!["check", "config", "--syntax-only"];
    arguments.extend(agent.then_some("--agent"));
    arguments.push(path);
    Ok(ask_there(remote, &promtool, &arguments, path)?.map(|outcome| ("promtool", outcome)))
}

/// The same as [`check_rules`] on another host. None where nobody can.
pub(in crate::destination) fn check_rules_there(
    remote: &Remote,
    process: Option<&PrometheusProcess>,
    path: &str,
) -> Result<Option<Result<(), String>>, Error> {
    match find_there(remote, process) {
        Some(promtool) => ask_there(remote, &promtool, &["check", "rules", path], path),
        None => Ok(None),
    }
}

/// As [`find`]; whether one beside the program may be run is decided there.
fn find_there(remote: &Remote, process: Option<&PrometheusProcess>) -> Option<CheckedBy> {
    if remote.tools.promtool {
        return Some(CheckedBy::OnPath("promtool"));
    }
    let exe = process.filter(|process| process.shares_mounts)?.exe.as_ref()?;
    Some(CheckedBy::Beside(exe.with_file_name("promtool")))
}

fn ask_there(
    remote: &Remote,
    program: &CheckedBy,
    arguments: &[&str],
    path: &str,
) -> Result<Option<Result<(), String>>, Error> {
    let outcome = remote.check(program, arguments, LIMIT)?;
    Ok(outcome.map(|outcome| {
        outcome.map_err(|said| match complaint(&said, Path::new(path)) {
            said if said.is_empty() => "it says nothing about why".to_owned(),
            said => said,
        })
    }))
}

/// What is wrong with the configuration that a process holds, by its own kind of check, if there is one to run.
pub async fn diagnose(process: &PrometheusProcess) -> Option<String> {
    if !process.shares_mounts {
        return None;
    }
    let checked = if process.consumer == ConsumerKind::Vmagent {
        check_by_vmagent(vmagent(process)?, &process.config).await
    } else {
        let agent = process.consumer == ConsumerKind::PrometheusAgent;
        check_config(&find(Some(process))?, &process.config, agent, Depth::Files).await
    };
    checked.err()
}

async fn run(command: &mut Command, file: &Path) -> Result<(), String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = match tokio::time::timeout(LIMIT, output).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("{program} cannot be run: {error}")),
        Err(_) => return Err(format!("{program} did not end within {LIMIT:?}")),
    };
    if output.status.success() {
        return Ok(());
    }
    let said = complaint(&String::from_utf8_lossy(&output.stderr), file);
    Err(if said.is_empty() { format!("{program} ended with {}", output.status) } else { said })
}

fn is_program(metadata: &fs::Metadata) -> bool {
    metadata.is_file() && metadata.mode() & 0o111 != 0
}

/// Whether we may run a program that we have not been told to: the user of a Prometheus that we run beside as root must
/// not choose what root runs.
fn is_trusted(program: &Path) -> bool {
    let ours = |uid: u32| uid == 0 || uid == rustix::process::geteuid().as_raw();
    let safe = |metadata: fs::Metadata| ours(metadata.uid()) && metadata.mode() & 0o022 == 0;
    let Ok(program) = fs::canonicalize(program) else { return false };
    fs::metadata(&program).is_ok_and(|metadata| is_program(&metadata))
        && program.ancestors().all(|path| fs::metadata(path).is_ok_and(|metadata| safe(metadata) || is_sticky(path)))
}

/// In a folder like /tmp everybody may make files, and nobody may replace those of others.
fn is_sticky(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == 0 && metadata.mode() & 0o1000 != 0)
}

/// The first lines of a complaint as one. promtool marks them with FAILED, vmagent's log with `fatal` or `error` between
/// tabs; the rest is progress.
fn complaint(stderr: &str, file: &Path) -> String {
    let folder = file.parent().map(|folder| format!("{}/", folder.display())).filter(|folder| folder.len() > 1);
    let mut said = String::new();
    let lines = stderr.lines().filter_map(|line| {
        let line = match line.split('\t').collect::<Vec<_>>()[..] {
            [_, "fatal" | "error", _, message] => message,
            [_, "info" | "warn", ..] => return None,
            _ if line.contains(" INFO: ") => return None,
            _ => line,
        };
        let line = line.trim();
        let line = line.strip_prefix("FAILED:").unwrap_or(line).trim_start();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_is_one_line_with_short_paths() {
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
            ("\u{1b}[31mbad\n", "\\u{1b}[31mbad"),
            ("", ""),
        ] {
            assert_eq!(complaint(stderr, file), said);
        }
        // A file at the root, or without a folder, has nothing to shorten.
        assert_eq!(complaint("a/b /c", Path::new("/prometheus.yml")), "a/b /c");
        assert_eq!(complaint("a/b /c", Path::new("prometheus.yml")), "a/b /c");
    }

    #[test]
    fn promtool_is_one_of_the_path_or_one_that_nobody_else_can_replace() {
        use std::os::unix::fs::PermissionsExt;
        let folder = env::temp_dir().join(format!("prom-federate-promtool-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let file = folder.join("promtool");
        fs::write(&file, "").expect("a file");
        let verdict = |mode: u32, of_folder: u32| {
            let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
            set(&file, mode);
            set(&folder, of_folder);
            is_trusted(&file)
        };
        let path = |mode: u32| {
            verdict(mode, 0o755);
            on_path(
                "promtool",
                &env::join_paths(["relative".as_ref(), Path::new("/nowhere"), &folder]).expect("a PATH"),
            )
        };
        assert_eq!((path(0o755), path(0o644)), (Some(file.clone()), None));
        let verdicts = [verdict(0o755, 0o755), verdict(0o644, 0o755), verdict(0o775, 0o755), verdict(0o755, 0o777)];
        fs::remove_dir_all(&folder).expect("the folder goes");
        assert_eq!(verdicts, [true, false, false, false]);
        assert!(!is_trusted(&file), "it is gone");
    }
}
