//! Shell completion: the candidates, and kubectl's contract for plugins.
//!
//! kubectl calls `kubectl_complete-prom_federate` with every word after the plugin's name, the last one being
//! completed, and wants one candidate a line, then `:<directive>` (kubectl `pkg/cmd/plugin/plugin_completion.go`).

use crate::{cli::Cli, kubeconfig::ReadKubeconfig, model::job::WORDS};
use clap::{Command, CommandFactory, ValueHint};
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, CompletionCandidate};
use std::ffi::{OsStr, OsString};

/// cobra's directive that keeps the shell from adding file names.
const NO_FILES: &str = ":4";
/// cobra's directive that lets the shell complete file names.
const DEFAULT: &str = ":0";

/// The answer to kubectl, for the words after the plugin's name.
pub fn answer(mut words: Vec<OsString>) -> String {
    let mut command = with_candidates(Cli::command());
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

/// The command line with what only this program knows: the candidates of each flag by its name.
fn with_candidates(command: Command) -> Command {
    command.mut_subcommands(|verb| {
        verb.mut_args(|argument| match argument.get_long() {
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
