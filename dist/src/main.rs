//! `cargo dist`: what a release consists of.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use dist::{Platform, pack, sum_up};

/// Make the files of a release
#[derive(Parser)]
#[command(name = "cargo dist", bin_name = "cargo dist")]
enum Dist {
    /// Pack a program with its completion, man pages and licence; the same program yields the same bytes
    Pack {
        /// What `cargo build --release` has built
        program: PathBuf,
        platform: Platform,
        /// Folder of the archive
        #[arg(long, default_value = "target/dist")]
        out: PathBuf,
    },
    /// Fill the checksums of all archives into krew's manifest, and write SHA256SUMS
    Sum {
        /// Folder of the archives
        #[arg(long, default_value = "target/dist")]
        out: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Dist::parse() {
        Dist::Pack { program, platform, out } => {
            pack(&program, platform, &out).map(|path| println!("{}", path.display()))
        }
        Dist::Sum { out } => sum_up(&out),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
