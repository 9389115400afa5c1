//! Shell completion: the candidates, and kubectl's contract for plugins.
//!
//! kubectl calls `kubectl_complete-prom_federate` with every word after the plugin's name, the last one being
//! completed, and wants one candidate a line, then `:<directive>` (kubectl `pkg/cmd/plugin/plugin_completion.go`).

use crate::{cli::Cli, destination::labels_here, kubeconfig::ReadKubeconfig, model::job::WORDS};
use clap::{Command, CommandFactory, ValueHint};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

/// cobra's directive that keeps the shell from adding file names.
const NO_FILES: &str = ":4";
/// cobra's directive that lets the shell complete file names.
const DEFAULT: &str = ":0";

/// The answer to kubectl, for the words after the plugin's name. `usual`: the destination where no word names one.
pub fn answer(mut words: Vec<OsString>, usual: Option<OsString>) -> String {
    let mut command = with_candidates(Cli::command(), destinations(&words, usual));
    if words.is_empty() {
        words.push(OsString::new());
    }
    if completes_a_file(&command, &words) {
        return format!("{DEFAULT}\n");
    }
    // `--output=js`: the engine answers with whole words, kubectl wants the bare values.
    let last = words.last().and_then(|word| word.to_str()).unwrap_or_default();
    let flag = last.split_once('=').map(|(flag, _)| format!("{flag}=")).unwrap_or_default();
    let index = words.len();
    words.insert(0, "kubectl-prom_federate".into());
    let candidates = clap_complete::engine::complete(&mut command, words, index, None).unwrap_or_default();
    let mut answer = String::new();
    for candidate in &candidates {
        let value = candidate.get_value().to_string_lossy();
        answer += value.strip_prefix(&flag).unwrap_or(&value);
        if let Some(help) = candidate.get_help() {
            answer += "\t";
            answer += help.to_string().lines().next().unwrap_or_default();
        }
        answer += "\n";
    }
    answer + NO_FILES + "\n"
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

/// The values of `-p` among these words.
fn destinations(words: &[OsString], usual: Option<OsString>) -> Vec<PathBuf> {
    let mut named = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let Some(word) = word.to_str() else { continue };
        let next = || words.get(at + 1).map(PathBuf::from);
        named.extend(match word {
            "-p" | "--prometheus" => next(),
            _ => word.strip_prefix("--prometheus=").map(PathBuf::from),
        });
    }
    if named.is_empty() {
        usual.into_iter().filter(|place| !place.is_empty()).map(PathBuf::from).collect()
    } else {
        named
    }
}

/// The command line with what only this program knows: the candidates of each flag by its name.
fn with_candidates(command: Command, destinations: Vec<PathBuf>) -> Command {
    let clusters = move |typed: &OsStr| -> Vec<CompletionCandidate> {
        let labels = destinations.iter().flat_map(|place| labels_here(place));
        labels.filter(|label| label.starts_with(&*typed.to_string_lossy())).map(CompletionCandidate::new).collect()
    };
    command.mut_subcommands(|verb| {
        verb.mut_args(|argument| match argument.get_long() {
            None if argument.get_id() == "clusters" => argument.add(ArgValueCompleter::new(clusters.clone())),
            Some("jobs") => argument.add(ArgValueCandidates::new(jobs)),
            Some("context") => argument.add(ArgValueCompleter::new(contexts)),
            _ => argument,
        })
    })
}

/// The words of `--jobs`; what follows `=` only you know.
fn jobs() -> Vec<CompletionCandidate> {
    WORDS.iter().map(CompletionCandidate::new).collect()
}

/// The contexts of the kubeconfig in force. Never fails: no kubeconfig has no contexts.
fn contexts(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    ReadKubeconfig::read(None)
        .map(|kubeconfig| kubeconfig.contexts())
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.starts_with(&*typed))
        .map(CompletionCandidate::new)
        .collect()
}
