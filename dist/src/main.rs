//! `cargo dist`: what a release consists of.

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use dist::{Platform, build, debian, pack, sum_up};

/// Make the files of a release
#[derive(Parser)]
#[command(name = "cargo dist", bin_name = "cargo dist")]
enum Dist {
    /// Build the program; the same source and compiler yield the same bytes, in whatever folder and Cargo home
    Build {
        /// As rustc names it
        target: String,
        /// Folder of the source [default: this one]
        #[arg(long)]
        checkout: Option<PathBuf>,
    },
    /// Pack a program with its completion, man pages and licence; the same program yields the same bytes
    Pack {
        /// What `cargo dist build` has built
        program: PathBuf,
        platform: Platform,
        /// Folder of the archive
        #[arg(long, default_value = "target/dist")]
        out: PathBuf,
    },
    /// Make a Debian package of an archive, with cargo-deb
    Deb {
        platform: Platform,
        /// Folder of the archive and of the package
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
        Dist::Build { target, checkout } => {
            build(&target, checkout.as_deref()).map(|program| println!("{}", program.display()))
        }
        Dist::Pack { program, platform, out } => {
            pack(&program, platform, &out).map(|path| println!("{}", path.display()))
        }
        Dist::Deb { platform, out } => debian(platform, &out).map(|path| println!("{}", path.display())),
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
