//! Sees when a collector has read its configuration again: it closes all its sockets then, and builds its service anew.
//! Its metrics and its log may be anywhere; the sockets are the kernel's.

use super::{
    api::PrometheusApi,
    process::{PrometheusProcess, all_accepting},
    sockets::{Listener, listeners},
};
use crate::{
    error::{Error, Reason, Result},
    host::{Host, process::started_in},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(250);

pub(super) struct Restart<'a> {
    host: &'a Host,
    /// Each with its listening sockets.
    before: Vec<(&'a PrometheusProcess, BTreeSet<u64>)>,
}

impl<'a> Restart<'a> {
    /// None where sockets cannot be looked at, or one of the processes does not listen.
    ///
    /// # Errors
    /// [`Reason::ReloadFailed`]: one has ended.
    pub(super) async fn begin(host: &'a Host, processes: &'a [PrometheusProcess]) -> Result<Option<Self>> {
        let mut before = Vec::new();
        for process in processes {
            match listening(host, process).await? {
                Some((_, own)) if !own.is_empty() => before.push((process, own)),
                _ => return Ok(None),
            }
        }
        Ok((!before.is_empty()).then_some(Self { host, before }))
    }

    /// Whether all listen on other sockets, as many as before, and one of them answers, within this time.
    ///
    /// # Errors
    /// [`Reason::ReloadFailed`]: one has ended.
    pub(super) async fn wait(&self, limit: Duration, api: Option<&PrometheusApi>) -> Result<bool> {
        let started = Instant::now();
        loop {
            let (mut are_new, mut answers) = (true, api.is_none());
            for (process, before) in &self.before {
                let (all, own) = listening(self.host, process).await?.unwrap_or_default();
                are_new &= own.len() >= before.len() && own.is_disjoint(before);
                let is_own = |listener: &Listener| own.contains(&listener.inode);
                if let Some(api) = api.filter(|api| are_new && all_accepting(api.url(), &all, is_own)) {
                    answers |= api.scrape_pools().await.is_ok();
                }
            }
            if are_new && answers {
                return Ok(true);
            }
            if started.elapsed() > limit {
                return Ok(false);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// All listening sockets, and the inodes of its own; none where they cannot be looked at.
async fn listening(host: &Host, process: &PrometheusProcess) -> Result<Option<(Vec<Listener>, BTreeSet<u64>)>> {
    let PrometheusProcess { pid, named, config, started, .. } = process;
    let Some(table) = host.listening().await? else { return Ok(None) };
    let holding = host.holding(&[(*pid, named.clone())], config).await?.pop().flatten();
    let holding = holding.filter(|holding| started_in(&holding.stat) == Some(*started)).ok_or_else(|| {
        Error::new(Reason::ReloadFailed, format!("the collector, process {pid}, has ended"))
            .hint("See its log, and start it again")
    })?;
    let all = listeners(&table);
    Ok(holding.sockets.map(|sockets| {
        let own = all.iter().map(|listener| listener.inode).filter(|inode| sockets.contains(inode)).collect();
        (all, own)
    }))
}
