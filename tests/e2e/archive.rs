//! The archive of a release, installed as krew does.

use crate::plugin;
use clap::CommandFactory;
use prom_federate::{cli::Cli, yaml};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};
use testbed::Tools;

trials! {
    archive:
    smoke {
        krew_installs_the_archive_and_kubectl_finds_the_plugin,
    }
    full {
        archive_of_one_program_is_the_same_bytes,
        archive_has_a_man_page_for_each_command,
        debian_package_has_the_files_of_the_archive,
    }
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_kubectl-prom_federate");
const HERE: dist::Platform = dist::Platform::LinuxAmd64;

fn folder(name: &str) -> PathBuf {
    let folder = testbed::run_dir().expect("a folder").join(format!("archive-{name}"));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-euc", script]).output().expect("sh starts");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// krew verifies the checksum, unpacks, copies `files` from the archive to the folder of the version, and links `bin` as
/// `kubectl-` and the plugin's name with each `-` turned into `_` (krew `internal/installation/install.go`, `move.go`).
fn krew_installs_the_archive_and_kubectl_finds_the_plugin() {
    let root = folder("krew");
    let release = root.join("release");
    let packed = |program: &str, platform| {
        dist::pack(Path::new(program), platform, &release).unwrap_or_else(|error| panic!("{error:#}"));
    };
    packed(PROGRAM, HERE);
    // What stands for programs of other platforms.
    for platform in [dist::Platform::LinuxArm64, dist::Platform::DarwinAmd64, dist::Platform::DarwinArm64] {
        packed("/bin/true", platform);
    }
    dist::sum_up(&release).unwrap_or_else(|error| panic!("{error:#}"));
    sh(&format!("cd {} && sha256sum --check --quiet --strict SHA256SUMS", release.display()));

    let manifest = yaml::read(&fs::read_to_string(release.join("plugin.yaml")).expect("a manifest")).expect("YAML");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let platforms = manifest["spec"]["platforms"].as_array().expect("platforms");
    let here = platforms
        .iter()
        .find(|one| one["selector"]["matchLabels"] == serde_json::json!({ "os": "linux", "arch": "amd64" }))
        .expect("this platform");
    let archive = release.join(text(&here["uri"]).rsplit('/').next().expect("a file"));
    assert!(sh(&format!("sha256sum {}", archive.display())).starts_with(&text(&here["sha256"])));

    let unpacked = root.join("download");
    fs::create_dir_all(&unpacked).expect("a folder");
    sh(&format!("tar -xzf {} -C {}", archive.display(), unpacked.display()));
    let store = root.join("store/prom-federate").join(text(&manifest["spec"]["version"]));
    fs::create_dir_all(&store).expect("a folder");
    for file in here["files"].as_array().expect("files") {
        let (from, to) = (unpacked.join(text(&file["from"])), store.join(text(&file["to"])));
        fs::rename(&from, to.join(from.file_name().expect("a name"))).expect("it is in the archive");
    }
    let bin = root.join("bin");
    fs::create_dir_all(&bin).expect("a folder");
    let link = format!("kubectl-{}", text(&manifest["metadata"]["name"]).replace('-', "_"));
    symlink(store.join(text(&here["bin"])), bin.join(link)).expect("a link");

    let kubectl = &Tools::get().expect("tools").kubectl;
    let kubectl = |words: &[&str]| {
        let mut command = Command::new(kubectl);
        let output = command.args(words).env_clear().env("PATH", &bin).env("HOME", &root).output();
        plugin::Run::from(output.expect("kubectl starts")).succeeded().stdout
    };
    assert!(kubectl(&["plugin", "list"]).contains(&format!("{}/kubectl-prom_federate\n", bin.display())));
    assert_eq!(
        kubectl(&["prom-federate", "version"]),
        format!("kubectl prom-federate v{}\n", env!("CARGO_PKG_VERSION"))
    );
}

fn archive_of_one_program_is_the_same_bytes() {
    let root = folder("bytes");
    let copy = root.join("copy");
    fs::copy(PROGRAM, &copy).expect("a copy");
    // Another file, user's mode and time.
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)).expect("a mode");
    sh(&format!("touch -d 2001-01-01 {}", copy.display()));
    let packed = |program: &Path, to: &str| {
        let archive = dist::pack(program, HERE, &root.join(to)).unwrap_or_else(|error| panic!("{error:#}"));
        fs::read(archive).expect("an archive")
    };
    assert!(packed(Path::new(PROGRAM), "one") == packed(&copy, "two"), "the archives differ");
}

fn archive_has_a_man_page_for_each_command() {
    let root = folder("man");
    let archive = dist::pack(Path::new("/bin/true"), HERE, &root).unwrap_or_else(|error| panic!("{error:#}"));
    let listed = sh(&format!("tar -tzf {}", archive.display()));
    let pages: BTreeSet<&str> =
        listed.lines().filter_map(|file| file.strip_prefix("man/man1/kubectl-prom_federate")).collect();
    let plugin = Cli::command();
    let names = plugin.get_subcommands().map(|command| format!("-{}.1", command.get_name()));
    let expected: BTreeSet<String> = names.chain([".1".to_owned()]).collect();
    assert_eq!(pages, expected.iter().map(String::as_str).collect());
    let page = sh(&format!("tar -xzOf {} man/man1/kubectl-prom_federate-join.1", archive.display()));
    for text in [".TH kubectl", "\\-\\-self\\-renew", "kubectl prom\\-federate join"] {
        assert!(page.contains(text), "no {text}: {page}");
    }
}

/// cargo-deb adds the licence itself, as Debian's `copyright`. `tests/reproducible.sh` makes a package and installs it.
fn debian_package_has_the_files_of_the_archive() {
    let root = folder("deb");
    let archive = dist::pack(Path::new("/bin/true"), HERE, &root).unwrap_or_else(|error| panic!("{error:#}"));
    let listed = sh(&format!("tar -tzf {}", archive.display()));
    let metadata =
        sh(&format!("cd {}; cargo metadata --no-deps --locked --format-version=1", env!("CARGO_MANIFEST_DIR")));
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let deb = packages.iter().map(|package| &package["metadata"]["deb"]).find(|deb| deb.is_object()).expect("one");
    let sources = deb["assets"].as_array().expect("assets").iter().map(|asset| asset[0].as_str().expect("a text"));
    let sources: Vec<&str> = sources.map(|path| path.strip_prefix("target/deb/").expect("unpacked there")).collect();
    let is_in = |file: &str| {
        sources.iter().any(|source| source.strip_suffix('*').map_or(file == *source, |folder| file.starts_with(folder)))
    };
    let left_out: Vec<&str> = listed.lines().filter(|file| !is_in(file)).collect();
    assert_eq!(left_out, ["LICENSE"]);
}
