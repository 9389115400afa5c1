//! kube-state-metrics of a cluster.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::{Cluster, command, new_dir};
use crate::http::{Answer, connect, exchange};
use crate::process::Process;
use crate::{ports, tools, wait};

const START: Duration = Duration::from_secs(60);

/// A running kube-state-metrics on this machine's own address, an administrator of its cluster; dropping it stops it.
#[derive(Debug)]
pub struct KubeStateMetrics {
    address: SocketAddr,
    _process: Process,
}

impl KubeStateMetrics {
    /// Start one and wait until it shows the nodes.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let machine = ports::machine_address()?;
        let address = SocketAddr::new(machine, ports::free()?);
        let argv = command(
            tools::kube_state_metrics()?,
            [
                format!("--kubeconfig={}", cluster.kubeconfig().display()),
                format!("--host={machine}"),
                format!("--port={}", address.port()),
                format!("--telemetry-host={machine}"),
                format!("--telemetry-port={}", ports::free()?),
                "--resources=deployments,nodes,pods".into(),
            ],
        );
        let process = Process::start("kube-state-metrics", &new_dir("kube-state-metrics")?, argv)?;
        let page = || connect(address).and_then(|stream| exchange(stream, "GET", "/metrics", None)).ok();
        let shown = |answer: &Answer| answer.is_success() && answer.body.contains("\nkube_node_info{");
        wait::until(START, || page().filter(shown)).ok_or_else(|| process.error("shows no node"))?;
        Ok(Self { address, _process: process })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
