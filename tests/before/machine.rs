//! The first target that `cargo test` runs. It fails in one line where the machine lacks what other tests need, so that
//! nobody has to find this line among the failures of those.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let checked = testbed::check().and_then(|()| {
        let root = rustix::process::geteuid().is_root();
        if root { Ok(()) } else { Err(anyhow::anyhow!("some tests need root: `cargo verify` runs them by sudo")) }
    });
    match checked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
