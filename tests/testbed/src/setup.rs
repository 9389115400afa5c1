//! What the tests start that neither Cargo nor Go builds, and how a machine gets it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Nothing here can be built without them, so no test run can install them.
const PREREQUISITES: [(&str, &str); 3] = [("go", "https://go.dev/dl"), ("cc", "a C compiler"), ("git", "git")];
/// Programs, and Debian's packages that have them. One with a path is started by this path.
const PROGRAMS: [(&str, &str); 14] = [
    // Tests end the plugin at every system call that changes a file.
    ("/usr/bin/strace", "strace"),
    // The clock of the plugin's machine is a day off.
    ("/usr/bin/faketime", "faketime"),
    // systemd reads the unit that the plugin prints; it need not run.
    ("systemd-analyze", "systemd"),
    // The shell, the server and the programs of hosts that jobs are delivered to.
    ("busybox", "busybox"),
    ("/usr/bin/ssh", "openssh-client"),
    ("/usr/sbin/sshd", "openssh-server"),
    ("sudo", "sudo"),
    ("curl", "curl"),
    ("wget", "wget"),
    // The shells that complete commands.
    ("/usr/share/bash-completion/bash_completion", "bash-completion"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    // vmagent and VictoriaMetrics as they were in 2022.
    ("/usr/bin/vmagent", VICTORIA_METRICS),
    ("/usr/bin/victoria-metrics", VICTORIA_METRICS),
];
const VICTORIA_METRICS: &str = "victoria-metrics";
/// Where systemd looks for its unit first.
const UNITS: &str = "/etc/systemd/system";
/// Each node of the testbed watches files with six inotify instances, of which a user has 128 by default.
const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
const INSTANCES_NEEDED: u32 = 1024;

/// What this machine lacks.
#[derive(Debug, Default, PartialEq)]
pub struct Missing {
    prerequisites: Vec<(&'static str, &'static str)>,
    /// Of Debian, by name.
    packages: Vec<&'static str>,
    /// The limit, if it is too low.
    instances: Option<u32>,
}

impl Missing {
    /// On this machine, now.
    pub fn here() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let has = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
        Self::where_there_is(has, fs::read_to_string(INSTANCES).ok().as_deref())
    }

    fn where_there_is(has: impl Fn(&str) -> bool, instances: Option<&str>) -> Self {
        let mut packages: Vec<_> = PROGRAMS.iter().filter(|(program, _)| !has(program)).map(|pair| pair.1).collect();
        packages.dedup();
        Self {
            prerequisites: PREREQUISITES.into_iter().filter(|(program, _)| !has(program)).collect(),
            packages,
            instances: instances.and_then(|text| text.trim().parse().ok()).filter(|limit| *limit < INSTANCES_NEEDED),
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Installs the packages and raises the limit, as root or by sudo.
    ///
    /// # Errors
    /// In one line that says what is missing and how this machine gets it.
    pub fn set_up(&self) -> Result<()> {
        if !self.prerequisites.is_empty() {
            bail!("{self}");
        }
        if self.is_nothing() {
            return Ok(());
        }
        let root = rustix::process::geteuid().is_root();
        if !root && self.packages.contains(&"sudo") {
            bail!("{self}; sudo is missing too: run `cargo verify` as root, or install sudo");
        }
        if !self.packages.is_empty() {
            let system = System::here();
            if !system.is_debian() {
                bail!("{self}: `cargo verify` installs packages of Debian and Ubuntu only, and this is {system}");
            }
            self.install(root)?;
        }
        if self.instances.is_some() {
            run(root, &["sh", "-c", &format!("echo {INSTANCES_NEEDED} > {INSTANCES}")])?;
        }
        let left = Self::here();
        if !left.is_nothing() {
            bail!("{left} even now");
        }
        Ok(())
    }

    fn install(&self, root: bool) -> Result<()> {
        if self.packages.contains(&VICTORIA_METRICS) {
            // Masked, so that its package starts no server.
            run(root, &["mkdir", "-p", UNITS])?;
            run(root, &["ln", "-sf", "/dev/null", &format!("{UNITS}/{VICTORIA_METRICS}.service")])?;
        }
        run(root, &["apt-get", "update"])?;
        let install =
            ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "--yes", "--no-install-recommends"];
        run(root, &[&install[..], &self.packages].concat())
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.prerequisites.is_empty() {
            let named: Vec<_> =
                self.prerequisites.iter().map(|(program, what)| format!("{program} ({what})")).collect();
            return write!(f, "the tests need {}: install it, then run `cargo verify`", named.join(" and "));
        }
        let mut things: Vec<String> = self.packages.iter().map(|package| (*package).to_owned()).collect();
        if let Some(limit) = self.instances {
            things.push(format!("fs.inotify.max_user_instances={INSTANCES_NEEDED} (it is {limit})"));
        }
        write!(f, "the tests need {}", things.join(", "))
    }
}

/// The programs and limits that the tests need are here.
///
/// # Errors
/// In one line that says what is missing and which command sets it up.
pub fn check() -> Result<()> {
    let missing = Missing::here();
    if missing.is_nothing() {
        return Ok(());
    }
    if missing.prerequisites.is_empty() {
        bail!("{missing}: run `cargo verify`, which sets this up and runs the tests");
    }
    bail!("{missing}");
}

fn run(root: bool, words: &[&str]) -> Result<()> {
    let words = if root { words.to_vec() } else { [&["sudo"], words].concat() };
    let shown = words.join(" ");
    eprintln!("==> {shown}");
    let status = Command::new(words[0]).args(&words[1..]).status().with_context(|| format!("run {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}

/// What `/etc/os-release` says of a system, as in os-release(5).
struct System(BTreeMap<String, String>);

impl System {
    fn here() -> Self {
        let read = |path: &str| fs::read_to_string(Path::new(path)).ok();
        Self::read(&read("/etc/os-release").or_else(|| read("/usr/lib/os-release")).unwrap_or_default())
    }

    fn read(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim().split_once('=')).map(|(name, value)| {
            let quoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
            (name.to_owned(), quoted.unwrap_or(value).to_owned())
        });
        Self(pairs.collect())
    }

    fn is_debian(&self) -> bool {
        let like = ["ID", "ID_LIKE"].into_iter().filter_map(|name| self.0.get(name));
        like.flat_map(|value| value.split_whitespace()).any(|id| id == "debian")
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ["PRETTY_NAME", "NAME", "ID"].into_iter().find_map(|name| self.0.get(name));
        f.write_str(name.map_or("another system", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_programs_become_packages() {
        let all = |_: &str| true;
        for (has, instances, said) in [
            (&all as &dyn Fn(&str) -> bool, Some("1024\n"), ""),
            (&all, None, ""),
            (&all, Some("128\n"), "fs.inotify.max_user_instances=1024 (it is 128)"),
            (&|program| program != "busybox" && program != "/usr/sbin/sshd", Some("8192"), "busybox, openssh-server"),
            (&|program| !program.contains("vm") && !program.contains("victoria"), None, "victoria-metrics"),
            (
                &|program| program != "go" && program != "sudo",
                None,
                "go (https://go.dev/dl): install it, then run `cargo verify`",
            ),
        ] {
            let missing = Missing::where_there_is(has, instances);
            assert_eq!(missing.is_nothing(), said.is_empty(), "{missing:?}");
            if !said.is_empty() {
                assert_eq!(missing.to_string(), format!("the tests need {said}"));
            }
        }
    }

    #[test]
    fn a_missing_prerequisite_ends_the_set_up() {
        let missing = Missing { prerequisites: vec![PREREQUISITES[0]], ..Missing::default() };
        let said = missing.set_up().expect_err("Go is missing").to_string();
        assert_eq!(said, "the tests need go (https://go.dev/dl): install it, then run `cargo verify`");
    }

    #[test]
    fn debian_and_its_kin_are_known_by_os_release() {
        for (text, debian, shown) in [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=Debian\nID=debian\n",
                true,
                "Debian GNU/Linux 12 (bookworm)",
            ),
            ("NAME='Linux Mint'\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", true, "Linux Mint"),
            ("# nothing\nID=fedora\nID_LIKE=\n", false, "fedora"),
            ("ID=notdebian", false, "notdebian"),
            ("", false, "another system"),
        ] {
            let system = System::read(text);
            assert_eq!((system.is_debian(), system.to_string().as_str()), (debian, shown), "{text}");
        }
    }
}
