//! One short file a command: where desired comes from, which stages, what is reported.

mod check;
mod completion;
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

use crate::{cli::Command, error::Result, ui::Ui};

/// Runs a command to its end.
pub fn run(command: Command) -> (Ui, Result<()>) {
    match command {
        Command::Join(args) => with_runtime(args.kube.verbosity, |ui| join::run(args, ui)),
        Command::Leave(args) => with_runtime(args.kube.verbosity, |ui| leave::run(args, ui)),
        Command::Rotate(args) => with_runtime(args.kube.verbosity, |ui| rotate::run(args, ui)),
        Command::Status(args) => with_runtime(args.kube.verbosity, |ui| status::run(args, ui)),
        Command::Check(args) => with_runtime(args.kube.verbosity, |ui| check::run(args, ui)),
        Command::Manifests(args) => without_runtime(|ui| manifests::run(&args, ui)),
        Command::Rules(args) => with_runtime(0, |ui| async move { rules::run(&args, ui).await }),
        Command::Completion(args) => without_runtime(|ui| completion::run(args.shell, ui)),
        Command::Version => {
            without_runtime(|ui| ui.print(&format!("kubectl prom-federate v{}\n", env!("CARGO_PKG_VERSION"))))
        }
    }
}

fn without_runtime(command: impl FnOnce(Ui) -> Result<()>) -> (Ui, Result<()>) {
    let ui = Ui::new(0);
    (ui, command(ui))
}

fn with_runtime<F: Future<Output = Result<()>>>(verbosity: u8, command: impl FnOnce(Ui) -> F) -> (Ui, Result<()>) {
    let ui = Ui::new(verbosity);
    // Whatever else is linked, there is one choice of cryptography; it fails only if it was made before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Nearly all the time is spent waiting for API servers: one thread is enough.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop can be had");
    (ui, runtime.block_on(command(ui)))
}
