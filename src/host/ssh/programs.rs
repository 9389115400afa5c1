//! Programs that run on another host.

use super::{
    answer::Item,
    remote::{Remote, SLACK},
};
use crate::{
    error::Result,
    host::{Attempt, Ended, Program},
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
    ) -> Result<Attempt<()>> {
        self.checked("check", program, arguments.iter().copied(), limit).await
    }

    /// The same with the environment and the working folder of a process.
    pub(in crate::host) async fn check_as(
        &self,
        pid: i32,
        program: &Program,
        arguments: &[String],
        limit: Duration,
    ) -> Result<Attempt<()>> {
        self.checked(&format!("check_as {pid}"), program, arguments.iter().map(String::as_str), limit).await
    }

    async fn checked(
        &self,
        function: &str,
        program: &Program,
        arguments: impl Iterator<Item = &str>,
        limit: Duration,
    ) -> Result<Attempt<()>> {
        let arguments: String = arguments.map(|argument| format!(" {}", word(argument))).collect();
        let seconds = limit.as_secs();
        let text = match program {
            Program::OnPath(name) => format!("{function} {seconds} {name}{arguments}"),
            Program::At(path) => match path.to_str().map(word) {
                Some(path) => format!("! is_trusted {path} || {function} {seconds} {path}{arguments}"),
                None => return Ok(Attempt::Absent),
            },
        };
        let answer = self.session.ask(&text, limit + SLACK).await?;
        Ok(match answer.first("checked") {
            None => Attempt::Absent,
            Some(item) if item.of == "0" => Attempt::Done(()),
            Some(item) => Attempt::Refused(item.text()),
        })
    }
}

/// The shell function that runs a command of `--reload`.
pub(super) fn reload_command(command: &str, limit: Duration) -> String {
    format!("reload_command() {{\n{}command_of_reload {}\n}}\n", script::text(command), limit.as_secs())
}
