//! A host that is reached over ssh: OpenSSH's own server on a free port of this machine, with keys of its own.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cluster::new_dir;
use crate::cut::CutSsh;
use crate::ports;
use crate::process::Process;
use crate::wait;

const START: Duration = Duration::from_secs(10);
const SERVER: &str = "/usr/sbin/sshd";
const CLIENT: &str = "/usr/bin/ssh";

/// A server that lets its maker in; dropping it stops it and whatever runs in its sessions.
#[derive(Debug)]
pub struct Sshd {
    dir: PathBuf,
    process: Process,
}

impl Sshd {
    pub fn start() -> Result<Self> {
        Self::start_with(&[], &[])
    }

    /// With more lines of its configuration, and a program that becomes the server, as `unshare --mount` does.
    pub fn start_with(lines: &[&str], wrapper: &[&str]) -> Result<Self> {
        if !Path::new(SERVER).exists() || !Path::new(CLIENT).exists() {
            bail!("{SERVER} is missing: `cargo verify` installs it");
        }
        let dir = new_dir("sshd")?;
        for key in ["host_key", "key", "other_key"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(dir.join(key))
                .output()
                .context("run ssh-keygen")?;
            if !made.status.success() {
                bail!("ssh-keygen: {}", String::from_utf8_lossy(&made.stderr));
            }
        }
        // Where Debian's has its empty folder; only its service would make it.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").context("make /run/sshd")?;
        }
        fs::copy(dir.join("key.pub"), dir.join("authorized_keys"))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let shown = dir.display();
        // The first word about anything counts.
        let config = format!(
            "{}\nListenAddress {address}\nHostKey {shown}/host_key\nAuthorizedKeysFile {shown}/authorized_keys\nPidFile none\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             PermitUserEnvironment no\nLogLevel VERBOSE\nMaxStartups 50\n",
            lines.join("\n")
        );
        fs::write(dir.join("sshd_config"), config)?;
        let host_key = fs::read_to_string(dir.join("host_key.pub"))?;
        fs::write(dir.join("known_hosts"), format!("prom {host_key}"))?;
        fs::write(dir.join("empty"), "")?;
        let client = |more: &str| {
            format!(
                "Host prom\n  HostName {}\n  Port {}\n  HostKeyAlias prom\nHost *\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
                 GlobalKnownHostsFile none\n{more}",
                address.ip(),
                address.port()
            )
        };
        let (own, other) = (format!("  IdentityFile {shown}/key\n"), format!("  IdentityFile {shown}/other_key\n"));
        let (known, unknown) =
            (format!("  UserKnownHostsFile {shown}/known_hosts\n"), format!("  UserKnownHostsFile {shown}/empty\n"));
        for (name, config) in [
            ("known", client(&(own.clone() + &known))),
            ("refused", client(&(other + &known))),
            ("unknown", client(&(own + &unknown))),
        ] {
            // A client reads the configuration in the home that its user has by the list of users, not by HOME.
            let bin = dir.join(name);
            fs::create_dir(&bin)?;
            fs::write(bin.join("config"), config)?;
            let program = bin.join("ssh");
            fs::write(&program, format!("#!/bin/sh\nexec {CLIENT} -F {}/config \"$@\"\n", bin.display()))?;
            fs::set_permissions(&program, Permissions::from_mode(0o755))?;
        }
        let mut argv: Vec<String> = wrapper.iter().map(|word| (*word).to_owned()).collect();
        argv.extend([SERVER, "-D", "-e", "-f"].map(str::to_owned));
        argv.push(dir.join("sshd_config").display().to_string());
        let process = Process::start("sshd", &dir, argv)?;
        let sshd = Self { dir, process };
        let ready = wait::until(START, || match sshd.process.exited() {
            Some(status) => Some(Err(sshd.process.error(&format!("ended ({status})")))),
            None => sshd.log().contains("Server listening").then_some(Ok(())),
        });
        ready.unwrap_or_else(|| Err(sshd.process.error("runs, but does not listen")))?;
        Ok(sshd)
    }

    /// A PATH with a client that knows this host as `prom`, and has its key.
    pub fn path(&self) -> String {
        self.path_of("known")
    }

    /// A client as in [`Self::path`] whose connection can be cut at an exchange. One is made for each host.
    pub fn cut_ssh(&self) -> Result<CutSsh> {
        CutSsh::new(self.dir.join("cut"), &self.dir.join("known/ssh"))
    }

    /// One whose key this host does not let in.
    pub fn path_with_a_refused_key(&self) -> String {
        self.path_of("refused")
    }

    /// One that has never seen the key of this host.
    pub fn path_without_the_host_key(&self) -> String {
        self.path_of("unknown")
    }

    fn path_of(&self, client: &str) -> String {
        format!("{}:{}", self.dir.join(client).display(), std::env::var("PATH").unwrap_or_default())
    }

    /// Its own log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("sshd.log")).unwrap_or_default()
    }

    /// How many clients have been let in so far.
    pub fn logins(&self) -> usize {
        self.log().matches("Accepted publickey").count()
    }

    /// The number of its process; each connection has a child of it.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Cuts every connection that there is, as a network that fails does.
    pub fn cut(&self) -> Result<()> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.process.pid()))?;
        for pid in
            children.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        Ok(())
    }

    /// Its folder, for what a test adds.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}
