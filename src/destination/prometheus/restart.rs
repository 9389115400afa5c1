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
    process: &'a PrometheusProcess,
    before: BTreeSet<u64>,
}

impl<'a> Restart<'a> {
    /// None where the sockets cannot be looked at, or it does not listen.
    ///
    /// # Errors
    /// [`Reason::ReloadFailed`]: it has ended.
    pub(super) async fn begin(host: &'a Host, process: &'a PrometheusProcess) -> Result<Option<Self>> {
        let Some((_, before)) = listening(host, process).await? else { return Ok(None) };
        Ok((!before.is_empty()).then_some(Self { host, process, before }))
    }

    /// Whether it listens on other sockets, as many as before, and answers itself, within this time.
    ///
    /// # Errors
    /// [`Reason::ReloadFailed`]: it has ended.
    pub(super) async fn wait(&self, limit: Duration, api: Option<&PrometheusApi>) -> Result<bool> {
        let started = Instant::now();
        loop {
            let (all, own) = listening(self.host, self.process).await?.unwrap_or_default();
            let is_new = own.len() >= self.before.len() && own.is_disjoint(&self.before);
            let is_own = |listener: &Listener| own.contains(&listener.inode);
            let answers = match api {
                Some(api) if is_new && all_accepting(api.url(), &all, is_own) => api.scrape_pools().await.is_ok(),
                api => api.is_none(),
            };
            if is_new && answers {
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
