//! The node exporter of this machine.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::{command, new_dir};
use crate::http::{Answer, connect, exchange};
use crate::process::Process;
use crate::{ports, tools, wait};

const START: Duration = Duration::from_secs(30);

/// A running node exporter on this machine's own address; dropping it stops it.
#[derive(Debug)]
pub struct NodeExporter {
    address: SocketAddr,
    _process: Process,
}

impl NodeExporter {
    /// Start one and wait until it shows its page.
    pub fn start() -> Result<Self> {
        let address = SocketAddr::new(ports::machine_address()?, ports::free()?);
        let argv = command(tools::node_exporter()?, [format!("--web.listen-address={address}")]);
        let process = Process::start("node-exporter", &new_dir("node-exporter")?, argv)?;
        let page = || connect(address).and_then(|stream| exchange(stream, "GET", "/metrics", None)).ok();
        let first = wait::until(START, || page().filter(Answer::is_success));
        first.ok_or_else(|| process.error("shows no page"))?;
        Ok(Self { address, _process: process })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
