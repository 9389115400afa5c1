//! Shell completion: the candidates, and kubectl's contract for plugins.
//!
//! kubectl calls `kubectl_complete-prom_federate` with every word after the plugin's name, the last one being
//! completed, and wants one candidate a line, then `:<directive>` (kubectl `pkg/cmd/plugin/plugin_completion.go`).

use crate::{cluster, cli::Cli, model::job::Job};
use clap::CommandFactory;
use clap_complete::CompletionCandidate;
use std::ffi::{OsStr, OsString};

/// cobra's directive that keeps the shell from adding file names.
const NO_FILES: &str = ":4";
/// cobra's directive that lets the shell complete file names.
const DEFAULT: &str = ":0";

/// The answer to kubectl, for the words after the plugin's name.
pub fn answer(words: Vec<OsString>) -> String {
    let mut command = Cli::command();
    let mut words = words;
    if words.is_empty() {
        words.push(OsString::new());
    }
    let last = words.last().cloned().unwrap_or_default();
    // `--output=js`: the engine answers with whole words, kubectl wants the bare values.
    let flag = last.to_str().and_then(|word| word.split_once('=')).map(|(flag, _)| format!("{flag}="));
    let mut args = vec![OsString::from("kubectl-prom_federate")];
    args.extend(words);
    let index = args.len() - 1;
    let Ok(candidates) = clap_complete::engine::complete(&mut command, args, index, None) else {
        return format!("{DEFAULT}\n");
    };
    let mut answer = String::new();
    let mut files = false;
    for candidate in &candidates {
        let value = candidate.get_value().to_string_lossy();
        let value = flag.as_deref().and_then(|flag| value.strip_prefix(flag)).unwrap_or(&value);
        // File names are the shell's business.
        if value.starts_with(['.', '/']) || value.ends_with('/') {
            files = true;
            continue;
        }
        answer += value;
        if let Some(help) = candidate.get_help() {
            answer += "\t";
            answer += help.to_string().lines().next().unwrap_or_default();
        }
        answer += "\n";
    }
    answer + if files && answer_is_empty(&candidates) { DEFAULT } else { NO_FILES } + "\n"
}

fn answer_is_empty(candidates: &[CompletionCandidate]) -> bool {
    candidates.iter().all(|candidate| {
        let value = candidate.get_value().to_string_lossy();
        value.starts_with(['.', '/']) || value.ends_with('/')
    })
}

/// The jobs there are.
pub(crate) fn jobs() -> Vec<CompletionCandidate> {
    Job::ALL.iter().map(|job| job.name()).chain(["default"]).map(CompletionCandidate::new).collect()
}

/// The contexts of the kubeconfig in force. Never fails: no kubeconfig has no contexts.
pub(crate) fn contexts(typed: &OsStr) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    cluster::contexts()
        .into_iter()
        .filter(|name| name.starts_with(&*typed))
        .map(CompletionCandidate::new)
        .collect()
}
