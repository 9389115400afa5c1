//! New jobs with another path of the token, beside the discovery of the jobs before: Prometheus drops the targets of a job
//! whose only discovery is new until that one has found them.

use super::undo::UndoLog;
use crate::{
    destination::{Directory, Installed},
    error::Result,
    model::{
        access::Access,
        job::Discovery,
        plan::request::JoinRequest,
        store::{
            install::{Content, Operation, Step},
            layout::{CA, Layout, TOKEN},
            location::Format,
            record::Record,
        },
    },
    render::prometheus::{FormerDiscovery, ScrapeJobs},
    stages::poll::{Pauses, poll},
};
use std::{collections::BTreeMap, time::Duration};

/// For a new discovery to list the targets and pass them on, which Prometheus does every 5 s.
pub(super) const FOUND_WITHIN: Duration = Duration::from_secs(30);
const PAUSES: Pauses = Pauses::growing(Duration::from_millis(250), Duration::from_secs(2));

/// The jobs in place, whose discovery finds the targets of the new ones with other files.
pub(super) struct Before {
    request: JoinRequest,
    access: Access,
    token: String,
    ca: String,
}

impl Before {
    /// None where that discovery is the same, finds other targets, or nothing tells when the new one has found them.
    /// `in_place`: the fragment. `through_current`: whether the new jobs name the link.
    pub(super) async fn find(
        destination: &Directory,
        installed: &Installed,
        in_place: Option<&str>,
        (request, access): (&JoinRequest, &Access),
        through_current: bool,
    ) -> Option<Self> {
        let (former, live, in_place) = (installed.record()?, installed.live.as_ref()?, in_place?);
        let before = former.request();
        let is_same = before.jobs.node_selector() == request.jobs.node_selector()
            && before.jobs.route() == request.jobs.route()
            && former.access.api_server == access.url;
        if !is_same || !destination.can_be_verified() {
            return None;
        }
        let layout = Layout(&former.cluster);
        let path = |file: &str| destination.path_in_jobs(file, Format::Prometheus);
        let is_current = in_place.contains(&path(&layout.current_file(TOKEN)));
        if is_current && through_current {
            return None;
        }
        let named =
            |name| path(&if is_current { layout.current_file(name) } else { layout.file(&live.generation, name) });
        let access = former.access(destination.folder.cas(former, &live.generation).await.ok()?);
        Some(Self { request: before, access, token: named(TOKEN), ca: named(CA) })
    }

    pub(super) fn discovery(&self) -> FormerDiscovery<'_> {
        let jobs = ScrapeJobs { request: &self.request, access: &self.access };
        FormerDiscovery { jobs, token: &self.token, ca: &self.ca }
    }
}

/// Takes the discovery of the jobs before out of the new ones, as soon as the new discovery has found the targets too.
/// `ending`: the record and the fragment with the new discovery alone. `found`: how many targets each job had before.
///
/// # Errors
/// [`crate::error::Reason::WriteFailed`], [`crate::error::Reason::ReloadFailed`].
pub(super) async fn end_former_discovery(
    destination: &Directory,
    undo: &UndoLog,
    ending: &[(&Record, &str)],
    found: &BTreeMap<String, u64>,
) -> Result<()> {
    let (Ok(api), false) = (&destination.api, ending.is_empty()) else { return Ok(()) };
    let discovered = |record: &Record| {
        let jobs = record.jobs.iter().filter(|job| job.discovery() != Discovery::Static);
        jobs.map(|job| job.scrape_job(&record.cluster)).collect::<Vec<_>>()
    };
    let jobs: Vec<String> = ending.iter().flat_map(|(record, _)| discovered(record)).collect();
    // What both have found counts twice. A node may be gone meanwhile.
    let is_found_twice = |now: &BTreeMap<String, u64>, job: &String| {
        let before = found.get(job).copied().unwrap_or(0);
        before == 0 || now.get(job).is_some_and(|now| now * 2 > before * 3)
    };
    let look = async || match api.discovered().await {
        Ok(now) if jobs.iter().all(|job| is_found_twice(&now, job)) => Ok(()),
        _ => Err(()),
    };
    // The new discovery goes on alone then, as after a restart.
    let _ = poll(|()| FOUND_WITHIN, PAUSES, look).await;
    for (record, alone) in ending {
        let (layout, content) = (Layout(&record.cluster), Content::Plain((*alone).to_owned()));
        let (path, to) = (layout.staged_fragment(), layout.fragment());
        let remove = Some(Operation::Remove { path: path.clone() });
        let write = Step { operation: Operation::Write { path: path.clone(), content }, undo: remove };
        // The undo of the commit restores the jobs before.
        let rename = Step { operation: Operation::Rename { from: path, to }, undo: None };
        undo.run(destination, Some(&record.cluster), &[write, rename]).await?;
    }
    destination.reload(destination.now().await?.0).await.map(drop)
}
