//! What the benchmarks share: limits that have to hold, and what a run of a program costs.

use std::{
    ffi::OsStr,
    fs::File,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};
use wait4::Wait4;

/// What has to hold.
#[derive(Default)]
pub(crate) struct Limits {
    /// Whether one was passed.
    passed: bool,
}

impl Limits {
    pub(crate) fn at_most(&mut self, what: &str, value: f64, limit: f64) {
        let verdict = if value <= limit { "ok" } else { "TOO MUCH" };
        self.passed |= value > limit;
        println!("{what:<60} {value:>9.2}  (at most {limit})  {verdict}");
    }

    pub(crate) fn at_least(&mut self, what: &str, value: f64, limit: f64) {
        let verdict = if value >= limit { "ok" } else { "TOO LITTLE" };
        self.passed |= value < limit;
        println!("{what:<60} {value:>9.2}  (at least {limit})  {verdict}");
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        if self.passed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What one run cost, processes that it started included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// The largest resident set.
    pub(crate) memory_mb: f64,
}

/// Runs a program that must succeed, with a kubeconfig and a home in `dir`. Its output is in the files `stdout` and
/// `stderr` there afterwards.
pub(crate) fn run(program: impl AsRef<OsStr>, dir: &Path, kubeconfig: &Path, arguments: &[&str]) -> Cost {
    let (out, err) = (dir.join("stdout"), dir.join("stderr"));
    let file = |path| File::create(path).expect("a file");
    let started = Instant::now();
    let used = Command::new(program.as_ref())
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", dir)
        .stdin(Stdio::null())
        .stdout(file(&out))
        .stderr(file(&err))
        .spawn()
        .expect("it starts")
        .wait4()
        .expect("it ends");
    let wall = started.elapsed();
    let said = || std::fs::read_to_string(&err).unwrap_or_default();
    assert!(used.status.success(), "{} {arguments:?}: {}", program.as_ref().display(), said());
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let memory_mb = used.rusage.maxrss as f64 / 1e6;
    Cost { wall, cpu: used.rusage.utime + used.rusage.stime, memory_mb }
}
