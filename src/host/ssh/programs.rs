//! Programs that run on another host.

use super::{
    answer::Item,
    remote::{Remote, SLACK},
};
use crate::{
    error::Result,
    host::{Ended, Program, Validation},
    model::text::shell::word,
    render::script,
};
use std::time::Duration;

impl Remote {
    /// Runs a command of `--reload` in a shell. Its text is in the arguments of no process.
    pub(in crate::host) async fn command(&self, command: &str, limit: Duration) -> Result<Ended> {
        let function = reload_command(command, limit);
        let text = format!("{function}said=$(reload_command)\nsay ended $?\nprintf %s \"$said\"");
        let answer = self.session.ask(&text, limit + SLACK).await?;
        let ended = answer.first("ended");
        let code = ended.map(|item| item.of.clone()).unwrap_or_default();
        let said = ended.map(Item::text).unwrap_or_default();
        Ok(if code == "0" {
            Ended::Well
        } else {
            Ended::Badly { how: format!("on {} with exit status {code}", self.host()), said }
        })
    }

    /// Runs a program that validates a file in the plugin's folder, and keeps its errors. It is absent if no such program
    /// may be run.
    pub(in crate::host) async fn check(
        &self,
        program: &Program,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Validation> {
        self.checked("check", program, arguments.iter().copied(), limit).await
    }

    /// The same with the environment and the working folder of a process.
    pub(in crate::host) async fn check_as(
        &self,
        pid: i32,
        program: &Program,
        arguments: &[String],
        limit: Duration,
    ) -> Result<Validation> {
        self.checked(&format!("check_as {pid}"), program, arguments.iter().map(String::as_str), limit).await
    }

    async fn checked(
        &self,
        function: &str,
        program: &Program,
        arguments: impl Iterator<Item = &str>,
        limit: Duration,
    ) -> Result<Validation> {
        let arguments: String = arguments.map(|argument| format!(" {}", word(argument))).collect();
        let seconds = limit.as_secs();
        let text = match program {
            Program::OnPath(name) => format!("{function} {seconds} {name}{arguments}"),
            Program::At(path) => match path.to_str().map(word) {
                Some(path) => format!("! is_trusted {path} || {function} {seconds} {path}{arguments}"),
                None => return Ok(Validation::Absent),
            },
        };
        let answer = self.session.ask(&text, limit + SLACK).await?;
        Ok(match answer.first("checked") {
            None => Validation::Absent,
            Some(item) => match item.of.parse() {
                Ok(0) => Validation::Accepted,
                // Of timeout(1); of sh for a command that cannot be run; of both for one that a signal ended.
                Ok(124) => Validation::Undecided(format!("it did not end within {limit:?}")),
                Ok(126..) | Err(_) => Validation::Undecided(format!("it ended with exit status {}", item.of)),
                Ok(code) => match item.text() {
                    said if said.trim_ascii().is_empty() => {
                        Validation::Rejected(format!("it ended with exit status {code}"))
                    }
                    said => Validation::Rejected(said),
                },
            },
        })
    }
}

/// The shell function that runs a command of `--reload`.
pub(super) fn reload_command(command: &str, limit: Duration) -> String {
    format!("reload_command() {{\n{}command_of_reload {}\n}}\n", script::text(command), limit.as_secs())
}
