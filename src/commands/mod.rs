//! One short file a command: where desired comes from, which stages, what is reported.

mod check;
mod completion;
mod dashboard;
mod fleet;
mod join;
mod leave;
mod manifests;
mod print_unit;
mod resolve;
mod rotate;
mod rules;
mod status;
mod wanted;
mod watch;

use crate::{
    cli::{Command, KubeArgs},
    cluster::tls,
    error::Result,
    host, kubeconfig,
    model::report::event::Event,
    render,
    stages::interrupt::{ended_at_once, ends_within, interrupted, interruption},
    ui::Ui,
};
use std::{path::Path, time::Duration};

/// For the shells of other hosts to release their locks.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// The same after a signal.
const ENDS_AT_ONCE: Duration = Duration::from_millis(300);

/// Runs a command to its end, in an event loop of its own.
pub fn run(command: Command) -> (Ui, Result<()>) {
    let ui = Ui::new(verbosity(&command)).with_kubeconfig(repeated_kubeconfig(&command));
    tls::install();
    // Nearly all the time is spent waiting for API servers: one thread is enough.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop can be had");
    let outcome = runtime.block_on(to_its_end(command, ui));
    // Not awaited: a file system or a resolver of names that does not answer must not keep the process.
    runtime.shutdown_background();
    (ui, outcome)
}

/// Answers a signal at once, whatever is waited for, and leaves no connection to another host behind.
async fn to_its_end(command: Command, ui: Ui) -> Result<()> {
    let tell = |event| ui.tell(&render::events::lines(&event));
    // A watch tells a journal.
    let is_silent = matches!(&command, Command::Rotate(args) if args.watch)
        || matches!(&command, Command::Status(args) if args.watch);
    let answered = async {
        let signal = interruption().await;
        if !is_silent {
            tell(Event::Interrupted(signal));
        }
        std::future::pending().await
    };
    let outcome = tokio::select! {
        biased;
        error = ended_at_once() => Err(error),
        outcome = execute(command, ui) => outcome,
        outcome = answered => outcome,
    };
    let connected = if interrupted().is_some() {
        host::ended(ENDS_AT_ONCE).await
    } else {
        ends_within(ENDS_AT_ONCE, host::ended(ENDS_WITHIN)).await.unwrap_or_default()
    };
    for host in connected {
        tell(Event::StillConnected { host });
    }
    outcome
}

/// The command itself, in the event loop of the caller, who says how it ended.
pub async fn execute(command: Command, ui: Ui) -> Result<()> {
    let ui = ui.with_kubeconfig(repeated_kubeconfig(&command));
    match command {
        Command::Join(args) => Box::pin(join::run(args, ui)).await,
        Command::Leave(args) => Box::pin(leave::run(args, ui)).await,
        Command::Rotate(args) => Box::pin(rotate::run(args, ui)).await,
        Command::Status(args) => Box::pin(status::run(args, ui)).await,
        Command::Check(args) => Box::pin(check::run(args, ui)).await,
        Command::Manifests(args) => manifests::run(&args, ui),
        Command::Rules(args) => Box::pin(rules::run(&args, ui)).await,
        Command::Dashboard(args) => dashboard::run(&args, ui).await,
        Command::Completion(args) => completion::run(args.shell, ui),
        Command::Version => ui.print(&format!("kubectl prom-federate v{}\n", env!("CARGO_PKG_VERSION"))),
    }
}

/// As many `-v` as the command line has.
pub fn verbosity(command: &Command) -> u8 {
    connection(command).map_or(0, |kube| kube.verbosity)
}

/// What printed commands repeat. A pipe, and what systemd gives a service, cannot be read by whoever runs them.
fn repeated_kubeconfig(command: &Command) -> Option<&Path> {
    let file = connection(command)?.kubeconfig.as_deref()?;
    Some(if kubeconfig::source::lasts(file) { file } else { Path::new("FILE") })
}

fn connection(command: &Command) -> Option<&KubeArgs> {
    match command {
        Command::Join(args) => Some(&args.kube),
        Command::Leave(args) => Some(&args.kube),
        Command::Rotate(args) => Some(&args.kube),
        Command::Status(args) => Some(&args.kube),
        Command::Check(args) => Some(&args.kube),
        Command::Manifests(_)
        | Command::Rules(_)
        | Command::Dashboard(_)
        | Command::Completion(_)
        | Command::Version => None,
    }
}
