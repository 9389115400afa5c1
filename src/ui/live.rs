//! One live line for each cluster that is worked on, and one for what is waited for, where a person looks at a terminal.
//! Elsewhere there is none.

use crate::model::text::{duration::Seconds, line::escaped};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::{
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// All lines of this process, at the bottom of standard error.
static LINES: OnceLock<MultiProgress> = OnceLock::new();
/// The last of them, of what is waited for.
static WAIT: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Clusters that are worked on together: how many are done, below a line for each that is not. The lines go when this is
/// dropped.
#[derive(Default)]
pub struct LiveLines {
    count: Option<ProgressBar>,
}

/// The line of one cluster; it goes when this is dropped, and then the cluster counts as done.
#[derive(Default)]
pub struct LiveLine {
    line: Option<ProgressBar>,
    count: Option<ProgressBar>,
}

impl LiveLines {
    pub(super) fn new(clusters: usize) -> Self {
        let count = ProgressBar::new(clusters as u64).with_style(style("{spinner} {pos} of {len} clusters, {elapsed}"));
        let count = LINES.get_or_init(MultiProgress::new).add(count);
        count.enable_steady_tick(Duration::from_millis(150));
        Self { count: Some(count) }
    }

    /// `at_most`: how long this takes, if it has a limit.
    pub fn of(&self, cluster: &str, doing: &str, at_most: Option<Duration>) -> LiveLine {
        let (Some(lines), Some(count)) = (LINES.get(), &self.count) else { return LiveLine::default() };
        let limit = limit(at_most.map(|at_most| Seconds(at_most.as_secs())));
        let line =
            ProgressBar::new_spinner().with_style(style(&format!("  {{prefix}}: {{wide_msg}} {{elapsed}}{limit}")));
        let line = lines.insert_before(count, line.with_prefix(escaped(cluster)));
        line.set_message(escaped(doing));
        line.enable_steady_tick(Duration::from_secs(1));
        LiveLine { line: Some(line), count: Some(count.clone()) }
    }
}

impl Drop for LiveLines {
    fn drop(&mut self) {
        self.count.take().into_iter().for_each(remove);
    }
}

impl LiveLine {
    /// What the cluster has come to.
    pub fn show(&self, doing: &str) {
        if let Some(line) = &self.line {
            line.set_message(escaped(doing));
        }
    }
}

impl Drop for LiveLine {
    fn drop(&mut self) {
        self.line.take().into_iter().for_each(remove);
        if let Some(count) = &self.count {
            count.inc(1);
        }
    }
}

/// Shows what is waited for, below the live lines, until [`end_wait`].
pub(super) fn wait(what: &str, at_most: Option<Seconds>) {
    let limit = limit(at_most);
    let line = ProgressBar::new_spinner().with_style(style(&format!("  {{spinner}} {{msg}}, {{elapsed}}{limit}")));
    let line = line.with_message(escaped(what));
    end_wait();
    let line = LINES.get_or_init(MultiProgress::new).add(line);
    line.enable_steady_tick(Duration::from_millis(150));
    *WAIT.lock().unwrap_or_else(PoisonError::into_inner) = Some(line);
}

pub(super) fn end_wait() {
    let line = WAIT.lock().unwrap_or_else(PoisonError::into_inner).take();
    line.into_iter().for_each(remove);
}

/// Prints above the live lines. What was waited for has come.
pub(super) fn above<T>(print: impl FnOnce() -> T) -> T {
    end_wait();
    match LINES.get() {
        Some(lines) => lines.suspend(print),
        None => print(),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the bar ends here")]
fn remove(line: ProgressBar) {
    line.finish_and_clear();
    if let Some(lines) = LINES.get() {
        lines.remove(&line);
    }
}

fn limit(at_most: Option<Seconds>) -> String {
    at_most.map(|at_most| format!(" of at most {at_most}")).unwrap_or_default()
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}
