//! A trial: its name, the group it is in, how long it took, and what happened if it failed.

use libtest_mimic::{Failed, Trial};
use std::{
    any::Any,
    cell::Cell,
    collections::BTreeMap,
    panic,
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

/// More lines of a failure are cut in the middle: it begins with what was expected and ends with what happened last.
const LINES: usize = 120;
/// How many of the slowest trials are named at the end.
const SLOWEST: usize = 10;

/// So many failures of a run get a second attempt.
const SECOND_ATTEMPTS: usize = 5;

/// Trials that run beside others hold it for reading, a second attempt for writing.
static BESIDE_OTHERS: RwLock<()> = RwLock::new(());
/// What failed beside others, with its failure.
static AGAIN: Mutex<Vec<(&'static str, String)>> = Mutex::new(Vec::new());
static TOOK: Mutex<Vec<(Duration, &'static str)>> = Mutex::new(Vec::new());
/// What a trial has for itself in a cluster that others use too, and which trial that is.
static CLAIMED: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());

thread_local! {
    /// Where the trial of this thread panicked.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
    static TRIAL: Cell<Option<&'static str>> = const { Cell::new(None) };
    static IS_SECOND: Cell<bool> = const { Cell::new(false) };
}

/// Registers functions as trials. `cargo test --test e2e -- smoke` runs those of one group, `-- join` those of one
/// module: their names are `GROUP::MODULE::FUNCTION`. `smoke` has each command and each destination once and takes less
/// than two minutes. A function that is in no such list is dead code, and that is an error.
macro_rules! trials {
    ($module:ident: $(smoke { $($smoke:ident,)* })? $(full { $($full:ident,)* })?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![
                $($($crate::trial::trial(concat!("smoke::", stringify!($module), "::", stringify!($smoke)), $smoke),)*)?
                $($($crate::trial::trial(concat!("full::", stringify!($module), "::", stringify!($full)), $full),)*)?
            ]
        }
    };
}

/// A trial that fails beside others is tried once more alone: a full machine makes Prometheus miss the scrape timeout of
/// one second that the trials have, and that is no failure of the plugin. [`second_attempts`] tells of each.
pub(crate) fn trial(name: &'static str, test: fn()) -> Trial {
    Trial::test(name, move || {
        let beside_others = BESIDE_OTHERS.read().unwrap_or_else(PoisonError::into_inner);
        let first = attempt(name, test);
        drop(beside_others);
        let Err(failure) = first else { return Ok(()) };
        let mut again = AGAIN.lock().unwrap_or_else(PoisonError::into_inner);
        if again.len() == SECOND_ATTEMPTS {
            return Err(failure.into());
        }
        again.push((name, failure));
        drop(again);
        let _alone = BESIDE_OTHERS.write().unwrap_or_else(PoisonError::into_inner);
        IS_SECOND.set(true);
        let second = attempt(name, test).map_err(Failed::from);
        IS_SECOND.set(false);
        second
    })
}

/// What a second attempt adds to the names of its namespaces, since the first may have left objects in its own.
pub(crate) fn suffix() -> &'static str {
    if IS_SECOND.get() { "-2" } else { "" }
}

/// Two trials with one account change it under each other's hands, now and then, and each looks as if the plugin failed.
/// That is an error of whoever wrote the second, so it fails at once and names both. A thread that a trial has started
/// claims nothing.
pub(crate) fn claim(what: &str) {
    let Some(trial) = TRIAL.get() else { return };
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    let owner = *claimed.entry(what.to_owned()).or_insert(trial);
    drop(claimed);
    assert_eq!(owner, trial, "two trials have {what}: give one of them another name");
}

fn attempt(name: &'static str, test: fn()) -> Result<(), String> {
    let began = Instant::now();
    TRIAL.set(Some(name));
    let outcome = panic::catch_unwind(test);
    TRIAL.set(None);
    TOOK.lock().unwrap_or_else(PoisonError::into_inner).push((began.elapsed(), name));
    outcome.map_err(|payload| {
        let place = PLACE.take().unwrap_or_default();
        format!("{place}: {}", shortened(&text(payload.as_ref())))
    })
}

/// The trials that needed a second attempt, with what the first one said.
pub(crate) fn second_attempts() -> Option<String> {
    let again = AGAIN.lock().unwrap_or_else(PoisonError::into_inner);
    let lines = again.iter().map(|(name, failure)| format!("\n\n---- {name} ----\n{failure}"));
    (!again.is_empty())
        .then(|| format!("failed beside other trials, and tried again alone:{}", lines.collect::<String>()))
}

/// A trial's panic is shown once, with its failure. That of another thread, which a trial has started, is shown at once.
pub(crate) fn show_panics_once() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if TRIAL.get().is_some() {
            PLACE.set(info.location().map(ToString::to_string));
        } else {
            usual(info);
        }
    }));
}

/// In a run of the whole suite, where the time went.
pub(crate) fn slowest() -> Option<String> {
    let mut took = TOOK.lock().unwrap_or_else(PoisonError::into_inner);
    took.sort_unstable_by(|one, other| other.cmp(one));
    let all: Duration = took.iter().map(|(time, _)| *time).sum();
    let lines = took.iter().take(SLOWEST).map(|(time, name)| format!("\n  {:5.1} s  {name}", time.as_secs_f64()));
    (took.len() > SLOWEST).then(|| {
        format!(
            "{} trials took {} s one after the other, the slowest:{}",
            took.len(),
            all.as_secs(),
            lines.collect::<String>()
        )
    })
}

fn text(payload: &(dyn Any + Send)) -> String {
    match (payload.downcast_ref::<String>(), payload.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (_, Some(text)) => (*text).to_owned(),
        _ => "a panic without a text".to_owned(),
    }
}

fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let Some(left_out @ 1..) = lines.len().checked_sub(LINES) else { return text.to_owned() };
    let (begin, end) = (&lines[..LINES / 4], &lines[LINES / 4 + left_out..]);
    format!("{}\n... {left_out} lines left out ...\n{}", begin.join("\n"), end.join("\n"))
}
