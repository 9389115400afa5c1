//! Containers of pods, as cAdvisor sees them: real cgroups with a process, which the node in `go/kubernetes/node/pods.go`
//! labels as a container runtime would.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::new_dir;
use crate::process::Process;
use crate::wait;

const ROOT: &str = "/sys/fs/cgroup";
/// Of cgroup v1, those that cAdvisor reads for a container.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "memory", "pids", "blkio"];

/// A container with one process, and half a CPU as its limit; dropping it ends the process and removes the cgroup.
#[derive(Debug)]
pub struct Container {
    process: Process,
    /// Of each hierarchy, the innermost first.
    folders: Vec<PathBuf>,
}

impl Container {
    /// Start one on a node. Needs root.
    pub fn start(node: &str, namespace: &str, pod: &str, name: &str) -> Result<Self> {
        let hierarchies: Vec<PathBuf> = if Path::new(ROOT).join("cgroup.controllers").exists() {
            vec![PathBuf::from(ROOT)]
        } else {
            CONTROLLERS.iter().map(|controller| Path::new(ROOT).join(controller)).filter(|path| path.is_dir()).collect()
        };
        let busy = "while :; do sleep 0.2; done";
        let process =
            Process::start("container", &new_dir("container")?, ["sh", "-c", busy].map(str::to_owned).into())?;
        let mut container = Self { process, folders: Vec::new() };
        for hierarchy in hierarchies {
            let mut folder = hierarchy;
            for part in ["prom-federate-testbed", node, namespace, pod, name] {
                // Of cgroup v2 only; each level passes on what the one above passed to it.
                let passes_on = folder.join("cgroup.subtree_control");
                if passes_on.exists() {
                    fs::write(&passes_on, "+cpu +memory +pids +io").with_context(|| passes_on.display().to_string())?;
                }
                folder = folder.join(part);
                match fs::create_dir(&folder) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(error).with_context(|| format!("make {}", folder.display()));
                    }
                    _ => container.folders.insert(0, folder.clone()),
                }
            }
            for (file, limit) in [("cpu.cfs_quota_us", "50000"), ("cpu.max", "50000 100000")] {
                let file = folder.join(file);
                if file.exists() {
                    fs::write(&file, limit).with_context(|| file.display().to_string())?;
                }
            }
            fs::write(folder.join("cgroup.procs"), container.process.pid().to_string())?;
        }
        Ok(container)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.process.stop();
        // A process that the kernel has not buried yet keeps its cgroup. Other containers keep the outer ones.
        for folder in &self.folders {
            let gone = || fs::remove_dir(folder).is_ok().then_some(());
            let is_last = fs::read_dir(folder)
                .is_ok_and(|entries| !entries.flatten().any(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())));
            if is_last {
                let _ = wait::until(Duration::from_secs(10), gone);
            }
        }
    }
}
