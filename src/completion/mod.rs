//! Shell completion: the candidates, and kubectl's contract for plugins.
//!
//! kubectl calls `kubectl_complete-prom_federate` with every word after the plugin's name, the last one being
//! completed, and wants one candidate a line, then `:<directive>` (kubectl `pkg/cmd/plugin/plugin_completion.go`).

mod look;
mod places;

use crate::{
    cli::Cli,
    destination,
    kubeconfig::{Choice, ReadKubeconfig},
    model::{
        job::WORDS,
        store::location::Location,
        text::{name_template::PLACEHOLDERS, names::ClusterName},
    },
};
use clap::{Command, CommandFactory, ValueHint};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use places::places;
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

/// cobra's directive that keeps the shell from adding file names.
const NO_FILES: &str = ":4";
/// The same, and no space behind values that go on.
const NO_FILES_NO_SPACE: &str = ":6";
/// cobra's directive that lets the shell complete file names.
const DEFAULT: &str = ":0";

/// The answer to kubectl, for the words after the plugin's name. `usual`: the destination where no word names one.
pub fn answer(mut words: Vec<OsString>, usual: Option<OsString>) -> String {
    let destinations = Some(values(&words, &["-p", "--prometheus"])).filter(|named| !named.is_empty());
    let usual = || usual.into_iter().filter(|place| !place.is_empty()).collect();
    let destinations = destinations.unwrap_or_else(usual).into_iter();
    let destinations = destinations.filter_map(|place| place.to_str()?.parse().ok()).collect();
    let choice = Choice {
        kubeconfig: values(&words, &["--kubeconfig"]).pop().map(PathBuf::from),
        // `^` leaves a context out.
        context: values(&words, &["--context"])
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .rfind(|name| !name.starts_with('^')),
        ..Choice::default()
    };
    let mut command = with_candidates(Cli::command(), destinations, choice);
    if words.is_empty() {
        words.push(OsString::new());
    }
    if completes_a_file(&command, &words) {
        return format!("{DEFAULT}\n");
    }
    // `--output=js`: the engine answers with whole words, kubectl wants the bare values.
    let last = words.last().and_then(|word| word.to_str()).unwrap_or_default();
    let flag = last.split_once('=').filter(|(flag, _)| flag.starts_with('-'));
    let flag = flag.map(|(flag, _)| format!("{flag}=")).unwrap_or_default();
    let index = words.len();
    words.insert(0, "kubectl-prom_federate".into());
    let candidates = clap_complete::engine::complete(&mut command, words, index, None).unwrap_or_default();
    let mut answer = String::new();
    let mut go_on = !candidates.is_empty();
    for candidate in &candidates {
        let value = candidate.get_value().to_string_lossy();
        go_on &= value.ends_with(['/', '=', ':']);
        answer += value.strip_prefix(&flag).unwrap_or(&value);
        if let Some(help) = candidate.get_help() {
            answer += "\t";
            answer += help.to_string().lines().next().unwrap_or_default();
        }
        answer += "\n";
    }
    answer + if go_on { NO_FILES_NO_SPACE } else { NO_FILES } + "\n"
}

/// Whether the last word is the value of a flag that takes a file: the shell knows files best.
fn completes_a_file(command: &Command, words: &[OsString]) -> bool {
    let word = |back: usize| words.iter().rev().nth(back).and_then(|word| word.to_str()).unwrap_or_default();
    let flag = word(0).split_once('=').map_or(word(1), |(flag, _)| flag);
    command.get_subcommands().flat_map(Command::get_arguments).any(|argument| {
        argument.get_value_hint() == ValueHint::FilePath
            && argument.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long))
    })
}

/// The values of a flag among these words, by its names.
fn values(words: &[OsString], names: &[&str]) -> Vec<OsString> {
    let mut values = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let Some(word) = word.to_str() else { continue };
        if names.contains(&word) {
            values.extend(words.get(at + 1).cloned());
        } else if let Some((_, value)) = word.split_once('=').filter(|(name, _)| names.contains(name)) {
            values.push(value.into());
        }
    }
    values
}

/// The command line with what only this program knows: the candidates of each flag by its name.
fn with_candidates(command: Command, destinations: Vec<Location>, choice: Choice) -> Command {
    let kubeconfig = choice.kubeconfig.clone();
    let clusters = move |typed: &OsStr| -> Vec<CompletionCandidate> {
        let looks = destinations.iter().map(|place| destination::labels(place, kubeconfig.as_deref()));
        let labels: BTreeSet<ClusterName> = look::found(looks).into_iter().collect();
        let meant = labels.iter().map(ClusterName::as_str).filter(|label| label.starts_with(&*typed.to_string_lossy()));
        meant.map(CompletionCandidate::new).collect()
    };
    let kubeconfig = choice.kubeconfig.clone();
    let contexts = move |typed: &OsStr| contexts(kubeconfig.as_deref(), typed);
    let jobs = move |typed: &OsStr| -> Vec<CompletionCandidate> {
        let typed = typed.to_string_lossy();
        let (before, typed) = typed.rfind(',').map_or(("", &*typed), |at| typed.split_at(at + 1));
        let words = WORDS.into_iter().filter(|word| *word != typed && word.starts_with(typed)).map(str::to_owned);
        let all = words.chain(places(typed, &choice));
        all.map(|value| CompletionCandidate::new(format!("{before}{value}"))).collect()
    };
    let placeholders = |typed: &OsStr| -> Vec<CompletionCandidate> {
        let typed = typed.to_string_lossy();
        // Behind the last placeholder that is complete.
        let (before, typed) = typed.split_at(typed.rfind('}').map_or(0, |at| at + 1));
        let (text, typed) = typed.split_at(typed.find('{').unwrap_or(typed.len()));
        let all = PLACEHOLDERS.into_iter().map(|name| format!("{{{name}}}")).filter(|word| word.starts_with(typed));
        all.map(|word| CompletionCandidate::new(format!("{before}{text}{word}"))).collect()
    };
    command.mut_subcommands(|verb| {
        verb.mut_args(|argument| match argument.get_long() {
            None if argument.get_id() == "clusters" => argument.add(ArgValueCompleter::new(clusters.clone())),
            Some("jobs") => argument.add(ArgValueCompleter::new(jobs.clone())),
            Some("cluster-name-template") => argument.add(ArgValueCompleter::new(placeholders)),
            Some("context") => argument.add(ArgValueCompleter::new(contexts.clone())),
            _ => argument,
        })
    })
}

/// The contexts of the kubeconfig in force, also behind the `^` that leaves one out. Never fails: no kubeconfig has no
/// contexts.
fn contexts(kubeconfig: Option<&Path>, typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let (before, typed) = typed.split_at(usize::from(typed.starts_with('^')));
    ReadKubeconfig::read(kubeconfig)
        .map(|kubeconfig| kubeconfig.contexts())
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.starts_with(typed))
        .map(|name| CompletionCandidate::new(format!("{before}{name}")))
        .collect()
}
