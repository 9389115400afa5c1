//! The plugin: kubectl finds it as `kubectl-prom_federate`.

use clap::Parser;
use prom_federate::{cli::Cli, commands, completion, ui};
use std::{env, process::ExitCode};

fn main() -> ExitCode {
    leave_no_core_file();
    // kubectl's completion calls, before clap could take the words for a command line.
    let mut words = env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "__complete") {
        return ui::Ui::new(0)
            .end(ui::Ui::new(0).print(&completion::answer(words.collect(), env::var_os("PROM_FEDERATE_PROMETHEUS"))));
    }
    match Cli::try_parse() {
        Ok(cli) => {
            let (ui, outcome) = commands::run(cli.command);
            ui.end(outcome)
        }
        Err(error) => ui::usage(&error),
    }
}

/// Tokens are in memory: no core file has them, and no other process of this user reads them, as for ssh-agent. Where the
/// system refuses, the command goes on.
fn leave_no_core_file() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
