//! The files of a release. Nothing in them depends on the clock, the user or the machine: the same program yields the
//! same archive, byte for byte.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{CommandFactory, ValueEnum};
use flate2::{Compression, GzBuilder, read::GzDecoder};
use prom_federate::cli::Cli;
use sha2::{Digest, Sha256};

/// Under the names of Go, as krew's manifest has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Platform {
    LinuxAmd64,
    LinuxArm64,
    DarwinAmd64,
    DarwinArm64,
}

impl Platform {
    /// `kubectl-prom_federate-v0.1.0-linux-amd64.tar.gz`
    pub fn archive(self) -> String {
        let platform = self.to_possible_value().expect("each has a name");
        format!("{PROGRAM}-v{}-{}.tar.gz", env!("CARGO_PKG_VERSION"), platform.get_name())
    }
}

/// kubectl finds the plugin by this name.
pub const PROGRAM: &str = "kubectl-prom_federate";

/// Of Cargo, and of Debian.
const PACKAGE: &str = "kubectl-prom-federate";

/// Builds the program for a target of rustc, from this source or another. rustc writes the paths of the source and of
/// Cargo's home into a program, for messages of panics, and so does the C compiler: here they have the same names everywhere.
///
/// # Errors
/// If Cargo fails.
pub fn build(target: &str, checkout: Option<&Path>) -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let root = fs::canonicalize(checkout.unwrap_or(&own)).context("find the source")?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let home = fs::canonicalize(home.context("the user has no home")?).context("find Cargo's home")?;
    let renamed = [(&home, "/cargo"), (&root, "/prom-federate")];
    let flags = |flag: &str, between: &str| {
        renamed.map(|(path, name)| format!("{flag}={}={name}", path.display())).join(between)
    };
    let built = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--locked", "--release", "--package", PACKAGE, "--target", target])
        .current_dir(&root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags("--remap-path-prefix", "\x1f"))
        .env("CFLAGS", flags("-ffile-prefix-map", " "))
        .env("CARGO_TARGET_DIR", root.join("target"))
        .status()
        .context("run cargo")?;
    ensure!(built.success(), "cargo build failed");
    Ok(root.join("target").join(target).join("release").join(PROGRAM))
}

/// Writes the archive of a platform into the folder: the program, kubectl's completion program, the licence and a man
/// page for each command.
///
/// # Errors
/// If a file cannot be read or written.
pub fn pack(program: &Path, platform: Platform, folder: &Path) -> Result<PathBuf> {
    let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![
        (PROGRAM.to_owned(), 0o755, read(program)?),
        (
            "kubectl_complete-prom_federate".to_owned(),
            0o755,
            read(&root.join("completions/kubectl_complete-prom_federate"))?,
        ),
        ("LICENSE".to_owned(), 0o644, read(&root.join("LICENSE"))?),
    ];
    files.extend(man_pages()?.into_iter().map(|(name, page)| (format!("man/man1/{name}"), 0o644, page)));

    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    let path = folder.join(platform.archive());
    let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let mut archive = tar::Builder::new(GzBuilder::new().write(file, Compression::default()));
    for (name, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        archive.append_data(&mut header, name, &*content)?;
    }
    archive.into_inner()?.finish()?;
    Ok(path)
}

/// Makes a Debian package of the archive of a platform in the folder, by cargo-deb (`package.metadata.deb` in
/// `Cargo.toml`). The two have the same files.
///
/// # Errors
/// If the archive is missing, Debian has no such platform, or cargo-deb fails or is not installed.
pub fn debian(platform: Platform, folder: &Path) -> Result<PathBuf> {
    let (architecture, target) = match platform {
        Platform::LinuxAmd64 => ("amd64", "x86_64-unknown-linux-musl"),
        Platform::LinuxArm64 => ("arm64", "aarch64-unknown-linux-musl"),
        Platform::DarwinAmd64 | Platform::DarwinArm64 => bail!("Debian has no darwin"),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let archive = folder.join(platform.archive());
    let file = fs::File::open(&archive).with_context(|| format!("open {}", archive.display()))?;
    let unpacked = root.join("target/deb");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked).with_context(|| format!("empty {}", unpacked.display()))?;
    }
    tar::Archive::new(GzDecoder::new(file)).unpack(&unpacked)?;

    let package = folder.join(format!("{PACKAGE}_{}_{architecture}.deb", env!("CARGO_PKG_VERSION")));
    let made = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["deb", "--locked", "--no-build", "--no-strip", "--package", PACKAGE, "--target", target])
        .arg("--output")
        .arg(fs::canonicalize(folder)?.join(package.file_name().expect("it has one")))
        .current_dir(&root)
        .env("SOURCE_DATE_EPOCH", "0")
        .status()
        .context("run cargo")?;
    ensure!(made.success(), "cargo deb failed: cargo install --locked cargo-deb");
    Ok(package)
}

/// The man pages of the plugin and of its commands, by the names of their files.
fn man_pages() -> Result<BTreeMap<String, Vec<u8>>> {
    let mut plugin = Cli::command().name(PROGRAM);
    plugin.build();
    let mut pages = BTreeMap::new();
    for command in plugin.get_subcommands().chain([&plugin]).filter(|command| !command.is_hide_set()) {
        let of_plugin = command.get_name() == PROGRAM;
        let name = if of_plugin { PROGRAM.to_owned() } else { format!("{PROGRAM}-{}", command.get_name()) };
        let command = command.clone().display_name(name.clone()).version(env!("CARGO_PKG_VERSION"));
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .title(name.clone())
            // In the place of a date, without which roff takes the next word for it.
            .date(concat!("v", env!("CARGO_PKG_VERSION")))
            .source("prom-federate")
            .manual("kubectl plugins")
            .render(&mut page)?;
        pages.insert(format!("{name}.1"), page);
    }
    Ok(pages)
}

/// Writes `plugin.yaml` with the checksums of the archives that are in the folder, and then `SHA256SUMS` of all its
/// files, in the format of `sha256sum`.
///
/// # Errors
/// If an archive that the manifest names is missing.
pub fn sum_up(folder: &Path) -> Result<()> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugin.yaml"))?;
    let mut filled = String::new();
    let mut archive = None;
    for line in manifest.lines().filter(|line| !line.starts_with('#')) {
        if let Some(uri) = line.trim().strip_prefix("uri: ") {
            archive = uri.rsplit('/').next();
        }
        match line.split_once("sha256: ") {
            Some((indent, _)) => {
                let archive = archive.take().context("plugin.yaml: a checksum without a uri before it")?;
                filled += &format!("{indent}sha256: \"{}\"\n", sha256(&folder.join(archive))?);
            }
            None => filled += &format!("{line}\n"),
        }
    }
    fs::write(folder.join("plugin.yaml"), filled)?;

    let mut sums = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a file whose name is not UTF-8")?;
        if name != SUMS {
            sums.insert(name, sha256(&entry.path())?);
        }
    }
    ensure!(sums.len() > 1, "{} has no archive", folder.display());
    let lines: String = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    Ok(fs::write(folder.join(SUMS), lines)?)
}

const SUMS: &str = "SHA256SUMS";

/// In hexadecimal.
fn sha256(path: &Path) -> Result<String> {
    let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect())
}
