//! Delivery to a directory: stage, validate, put in place, reload, verify; then undo failures and delete replaced
//! generations.

mod overlap;
mod stage;
mod undo;

use super::{
    delivery::{Admin, Delivery, DeliveryResult},
    verify::{is_former, patience, required, verify},
};
use crate::{
    clock,
    destination::{Directory, Reloaded, Target},
    error::Result,
    host::{Host, Lock},
    model::{
        job::Job,
        plan::{
            request::JoinRequest,
            retention::{RetentionInput, Retirement, is_replaced_by_a_copy},
        },
        report::{
            Line, ObjectReport, Placed, Verification,
            event::{Event, Wait},
        },
        store::{
            identity::Identity,
            install::{Content, Edit, FileOwnership, Operation, Step, edit, make_folder, note_owner, removal},
            layout::{self, Generation, Layout},
            location::Format,
            record::Record,
        },
        text::names::ClusterName,
        token::{bound_secret::BoundSecret, clock::ClockLead},
    },
    render::main_config,
    stages::{events::Events, grant::issue::random_suffix, interrupt::until_interrupted},
};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use overlap::{FOUND_WITHIN, end_former_discovery};
use stage::{HostProof, Staged, Uptake, prove_from_host, refuse_second_job, stage, validate};
use std::collections::BTreeMap;
use undo::UndoLog;

/// How long vmagent may use a token after its file was replaced, `lib/promauth`; a second, and what a clock is off.
const VMAGENT_KEEPS: SignedDuration = SignedDuration::from_secs(2);

/// A delivery to one destination.
pub struct Push<'a> {
    pub destination: &'a mut Directory,
    /// The main configuration's new text, if it does not include the plugin's files yet.
    edited_main: Option<(String, Edit)>,
    lock: Option<Lock>,
    undo: UndoLog,
}

impl<'a> Push<'a> {
    /// For jobs of these clusters: determines the readers of the files and the missing lines of the main configuration; writes
    /// nothing.
    ///
    /// # Errors
    /// [`Reason::NotReadable`], [`Reason::DestinationUnusable`].
    pub async fn new(destination: &'a mut Directory, clusters: &[ClusterName]) -> Result<Self> {
        for cluster in clusters {
            destination.refuse_wide_patterns(cluster)?;
        }
        destination.refuse_unseen_folder()?;
        let edited_main = destination.edited_main()?;
        if let Some((text, _)) = &edited_main {
            destination.expect_api(text)?;
        }
        Ok(Self { edited_main, ..Self::as_it_is(destination).await? })
    }

    /// For a renewal: determines the readers and adds nothing to the main configuration.
    pub async fn as_it_is(destination: &'a mut Directory) -> Result<Self> {
        let ownership = destination.ownership().await?;
        Ok(Self { undo: UndoLog::new(ownership), ..Self::to_remove(destination) })
    }

    /// Where jobs are only taken out: nothing new needs to be readable.
    pub fn to_remove(destination: &'a mut Directory) -> Self {
        Self { destination, edited_main: None, lock: None, undo: UndoLog::default() }
    }

    fn host(&self) -> &Host {
        &self.destination.folder.host
    }

    /// The planned changes, before the question.
    pub fn changes(&self, clusters: &[ClusterName], renamed: &[ClusterName]) -> Vec<Line> {
        let shown = |path: &str| self.destination.folder.shown(path);
        let mut paths = Vec::new();
        for layout in clusters.iter().map(Layout) {
            paths.push(layout.fragment());
            paths.extend((!self.destination.is_agent).then(|| layout.rules()));
        }
        let mut lines: Vec<Line> =
            paths.into_iter().map(|path| Line::Said(format!("  {} will be written", shown(&path)))).collect();
        lines.extend(
            renamed.iter().map(|label| Line::Said(format!("  {} will be deleted", shown(&Layout(label).fragment())))),
        );
        if let Some((edited, how)) = &self.edited_main {
            let main = self.destination.folder.shown_config();
            let in_place = match how {
                Edit::Replace => String::new(),
                Edit::InPlace(why) => format!(" in place, because {why}"),
            };
            lines.push(Line::Said(format!("  {main} will be edited{in_place} (a copy stays next to it):")));
            let diff = main_config::diff(&main, &self.destination.folder.main_read.text, edited);
            lines.extend(diff.lines().map(|line| Line::Said(format!("    {line}"))));
        }
        lines
    }

    /// Makes the plugin's folder, takes the lock and reads or makes the identity, which bound Secrets name. Makes another
    /// one where a copy of the folder has replaced the token of one of these clusters, so that neither revokes the
    /// other's from here on. `clusters`: the UID of each, and the account's bound Secrets there.
    ///
    /// # Errors
    /// [`Reason::WriteFailed`], [`Reason::DestinationBusy`].
    pub async fn begin(&mut self, clusters: &[(&str, &[BoundSecret])]) -> Result<Identity> {
        // An existing folder keeps its owner and mode, because Prometheus may use it.
        if !self.host().has(layout::FOLDER).await? {
            self.host().run(self.undo.ownership, &[make_folder()], drop).await?;
            self.host().finished().await?;
        }
        self.lock = Some(self.destination.folder.lock().await?);
        let (host, ownership) = (self.host().clone(), self.undo.ownership);
        let random = random_suffix();
        let is_copied = clusters.iter().any(|(uid, secrets)| {
            let identity = self.destination.folder.identity();
            let installed = self.destination.known.installed.values().flatten();
            let mut of_cluster = installed.filter(|one| one.record().is_some_and(|record| record.uid == *uid));
            of_cluster.any(|one| is_replaced_by_a_copy(&one.generations, &identity, secrets))
        });
        let found = self.destination.folder.identify(&random, is_copied, async |id| {
            let content = Content::Plain(format!("{id}\n"));
            host.execute(ownership, &Operation::Write { path: layout::ID.to_owned(), content }).await
        });
        let identity = found.await?;
        // Another run may have written between the first read and the lock, because a question may wait for long.
        self.destination.read_again().await?;
        let mend = self.destination.folder.main_read.left.mend(&self.destination.folder.main);
        if !mend.is_empty() {
            self.host().run(self.undo.ownership, &mend, drop).await?;
        }
        if self.edited_main.is_some() {
            self.edited_main = self.destination.edited_main()?;
        }
        Ok(identity)
    }

    /// Delivers all clusters together. The outer error concerns all clusters, and everything is undone then. Each
    /// cluster also has its own result.
    ///
    /// # Errors
    /// [`Reason::WriteFailed`], [`Reason::ConfigRefused`], [`Reason::ReloadFailed`], [`Reason::Interrupted`]. Inside:
    /// [`Reason::NotScraped`]; the jobs of this cluster are undone.
    pub async fn deliver(
        &self,
        deliveries: Vec<Delivery>,
        renamed: &[ClusterName],
        events: Events<'_>,
    ) -> Result<Vec<(ClusterName, Result<DeliveryResult>)>> {
        let known = |delivery: &Delivery| self.destination.known.installed.get(&delivery.record.cluster);
        let is_live = |delivery| matches!(known(delivery), Some(Ok(installed)) if installed.live.is_some());
        let replaces = deliveries.iter().any(is_live);
        let mut outcomes = match until_interrupted(Box::pin(self.try_deliver(deliveries, renamed, events))).await {
            Err(error) => {
                events.waits(Wait::Undo, self.destination.reload_within());
                let error = self.undo.take_back(self.destination, error).await.about(self.destination.name());
                // Where nothing was in use before, revoking the new token costs no scrape.
                return Err(if replaces && self.undo.is_in_doubt(self.destination) { error.in_doubt() } else { error });
            }
            Ok(outcomes) => outcomes,
        };
        // The undo must not be interrupted: a partial undo is neither the old nor the new state.
        let failed: Vec<&ClusterName> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(cluster, _)| cluster).collect();
        if !failed.is_empty() {
            events.waits(Wait::Undo, self.destination.reload_within());
            let undo = if failed.len() == outcomes.len() {
                self.undo.take_all()
            } else {
                failed.into_iter().flat_map(|cluster| self.undo.take(cluster)).collect()
            };
            let left = self.undo.restore(self.destination, &undo, None).await;
            for error in outcomes.iter_mut().filter_map(|(_, outcome)| outcome.as_mut().err()) {
                error.hints.extend(left.iter().cloned());
            }
        }
        self.undo.finished(self.destination).await.map_err(|error| error.about(self.destination.name()))?;
        Ok(outcomes)
    }

    async fn try_deliver(
        &self,
        deliveries: Vec<Delivery>,
        renamed: &[ClusterName],
        events: Events<'_>,
    ) -> Result<Vec<(ClusterName, Result<DeliveryResult>)>> {
        if deliveries.is_empty() && renamed.is_empty() {
            return Ok(Vec::new());
        }
        let destination = &*self.destination;
        let note = destination.note(self.undo.ownership).map(|(note, is_new)| note_owner(note, is_new));
        self.undo.run(destination, None, &[make_folder()]).await?;
        if let Some(note) = note {
            // A note that its subject may change is not believed.
            let ownership = FileOwnership { owner: None, ..self.undo.ownership };
            self.undo.run_as(destination, ownership, None, &[note]).await?;
        }
        let (mut staged, mut unproven) = (Vec::new(), Vec::new());
        let rereading = destination.rereading().await?;
        for delivery in deliveries {
            let one = stage(destination, &self.undo, delivery, rereading).await?;
            match prove_from_host(destination, one).await? {
                HostProof::Accepted(one) => staged.push(*one),
                HostProof::Refused(cluster, error) => unproven.push((cluster, Err(error))),
            }
        }
        if staged.is_empty() && renamed.is_empty() {
            return Ok(unproven);
        }
        let main = self.edited_main.as_ref().map(|(text, how)| edit(&destination.folder.main, text, how));
        if let Some(main) = &main {
            self.undo.run(destination, None, &main.stage).await?;
        }
        let folder = &destination.folder;
        let main_path = if main.is_some() { folder.staged_main() } else { folder.main.clone() };
        events.waits(Wait::Validation, Some(destination.validation_within(staged.len())));
        let checked_by = validate(destination, &self.undo, &main_path, &staged).await?;
        if let Some(main) = &main {
            self.undo.run(destination, None, &main.commit).await?;
        }
        destination.prepare_for_a_cut().await?;
        let (committed, _) = destination.now().await?;
        let clock =
            ClockLead::new(committed, clock::now()).told(destination.folder.host.name().unwrap_or("Prometheus"));
        for staged in &staged {
            self.undo.run(destination, Some(&staged.record.cluster), &staged.commit).await?;
        }
        for label in renamed {
            self.remove(label).await?;
        }
        let found = match &destination.api {
            Ok(api) if staged.iter().any(|staged| staged.alone.is_some()) => api.discovered().await.unwrap_or_default(),
            _ => BTreeMap::new(),
        };
        let clusters: Vec<&ClusterName> = staged.iter().map(|staged| &staged.record.cluster).collect();
        let stays = main.is_none() && renamed.is_empty();
        let mut reloaded = if stays
            && staged.iter().all(|staged| staged.uptake == Uptake::All)
            && (destination.is_agent || destination.knows_rotations_of(&clusters).await)
        {
            Reloaded::NotNeeded
        } else {
            self.reload(committed, events).await?
        };
        loop {
            // A scrape between the commit and the reload was still made with the old token.
            let (_, since) = destination.now().await?;
            let longest = staged.iter().map(|staged| patience(&staged.record)).max();
            events.waits(Wait::Scrapes(destination.reader(), staged.len()), longest);
            let seen =
                join_all(staged.iter().map(|staged| self.see(staged, since, &reloaded, (checked_by, &clock)))).await;
            if reloaded != Reloaded::NotNeeded || seen.iter().all(|(_, outcome)| outcome.is_ok()) {
                let ending = staged.iter().zip(&seen).filter(|(_, (_, outcome))| outcome.is_ok());
                let ending = ending.filter_map(|(staged, _)| Some((&staged.record, staged.alone.as_deref()?)));
                let ending: Vec<(&Record, &str)> = ending.collect();
                if !ending.is_empty() {
                    events.waits(Wait::Discovery(destination.reader()), Some(FOUND_WITHIN));
                }
                end_former_discovery(destination, &self.undo, &ending, &found).await?;
                return Ok(seen.into_iter().chain(unproven).collect());
            }
            // It may never have loaded these jobs.
            reloaded = self.reload(destination.now().await?.0, events).await?;
        }
    }

    async fn reload(&self, committed: Timestamp, events: Events<'_>) -> Result<Reloaded> {
        events.waits(Wait::Reload(self.destination.reader()), self.destination.reload_within());
        self.destination.reload(committed).await
    }

    /// Removes a cluster's jobs; its folder stays until Prometheus does not use the token any more.
    async fn remove(&self, cluster: &ClusterName) -> Result<()> {
        let installed = self.destination.cluster(cluster).await?;
        // What keeps the files for the undo must be there.
        let live = installed.live.map(|live| live.generation);
        let live = live.filter(|live| installed.generations.contains_key(live));
        self.undo.run(self.destination, Some(cluster), &removal(cluster, live.as_ref(), &installed.present)).await
    }

    /// Removes the jobs of these clusters, with one reload.
    ///
    /// # Errors
    /// As [`Self::deliver`]; the jobs are restored then.
    pub async fn take_out(&self, clusters: &[ClusterName], events: Events<'_>) -> Result<Reloaded> {
        let work = async {
            self.destination.prepare_for_a_cut().await?;
            for cluster in clusters {
                self.remove(cluster).await?;
            }
            self.reload(self.destination.now().await?.0, events).await
        };
        match until_interrupted(work).await {
            Err(error) => Err(self.undo.take_back(self.destination, error).await),
            Ok(reloaded) => self.undo.finished(self.destination).await.map(|()| reloaded),
        }
        .map_err(|error| error.about(self.destination.name()))
    }

    /// Revokes and deletes the generations that a delivery replaced, and the leftovers of killed runs of this cluster. The
    /// next run deletes those that could not be deleted; this is reported and is not a failure.
    pub async fn retire(
        &self,
        in_place: &DeliveryResult,
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Vec<ObjectReport> {
        let mut in_use = vec![in_place.generation.clone()];
        // Unless verified otherwise, Prometheus may still read the old token.
        if in_place.placed.verification.targets().is_none() {
            in_use.extend(in_place.record.replaces.last().map(|replaced| replaced.generation.clone()));
        }
        self.clear(&in_place.record.cluster, &in_use, admin, events).await
    }

    /// Deletes all generations after the jobs were removed. Files of this cluster under another label stay.
    pub async fn clear(
        &self,
        cluster: &ClusterName,
        in_use: &[Generation],
        admin: Option<Admin<'_>>,
        events: Events<'_>,
    ) -> Vec<ObjectReport> {
        let layout = Layout(cluster);
        let mut deleted = Vec::new();
        let outcome = async {
            let installed = self.destination.folder.cluster(cluster).await?;
            let identity = self.destination.folder.identity();
            let input = RetentionInput { generations: &installed.generations, in_use, identity: &identity };
            let retirement = Retirement::new(&input, admin.map(|admin| admin.secrets).unwrap_or_default());
            if let Some(admin) = admin {
                let installed = &self.destination.known.installed;
                admin.revoke(&retirement.secrets, cluster, installed, events, &mut deleted).await?;
            }
            let mut gone = Vec::new();
            // No link leads to a folder that is gone.
            let leads_away = |to: &Generation| in_use.is_empty() || retirement.generations.contains(to);
            if installed.present.current.as_ref().is_some_and(leads_away) {
                gone.push(Operation::Remove { path: layout.current() });
            }
            let folders = retirement.generations.iter().map(|generation| layout.generation(generation));
            gone.extend(folders.map(|path| Operation::RemoveFolder { path }));
            if in_use.is_empty() {
                gone.push(Operation::Remove { path: layout.staged_current() });
                gone.push(Operation::RemoveEmptyFolder { path: layout.folder() });
            }
            if gone.is_empty() {
                return Ok(());
            }
            // In one request: otherwise a lost connection could leave a folder without a record.
            let steps: Vec<Step> = gone.into_iter().map(Step::bare).collect();
            self.host().run(self.undo.ownership, &steps, drop).await
        };
        if let Err(error) = until_interrupted(outcome).await {
            events.report(Event::NotClearedAway { cluster: cluster.clone(), error });
        }
        deleted
    }

    /// As [`refuse_second_job`].
    pub fn refuse_a_second_job(&self, request: &JoinRequest) -> Result<()> {
        refuse_second_job(self.destination, request)
    }

    /// Verifies one cluster's jobs in Prometheus.
    async fn see(
        &self,
        staged: &Staged,
        since: Timestamp,
        reloaded: &Reloaded,
        (checked_by, clock): (Option<&'static str>, &Option<String>),
    ) -> (ClusterName, Result<DeliveryResult>) {
        let Staged { record, generation, former, must_be_seen, away, proven_from, uptake, .. } = staged;
        // vmagent keeps a token for a second.
        let since = if record.format == Format::Vmagent { since + VMAGENT_KEEPS } else { since };
        let cluster = record.cluster.clone();
        let of_nodes: Vec<String> =
            record.jobs.iter().filter(|job| job.is_of_nodes()).map(|job| job.scrape_job(&cluster)).collect();
        let is_former = |target: &Target| is_former(target, record, &of_nodes, former.as_ref());
        let is_away = |job: &&Job| away.iter().any(|away| away.job == **job);
        let pools: Vec<String> =
            record.jobs.iter().filter(|job| !is_away(job)).map(|job| job.scrape_job(&cluster)).collect();
        let patience = patience(record);
        let verification = match &self.destination.api {
            Err(why) => {
                let seen = if reloaded.will_be_read() { self.destination.accepts_points(patience).await } else { None };
                Ok(Verification::Unverified(seen.map_or_else(|| why.clone(), |seen| format!("{why}; {seen}"))))
            }
            Ok(_) if !reloaded.will_be_read() && *uptake == Uptake::Reload => {
                Ok(Verification::Unverified("Prometheus was not reloaded".to_owned()))
            }
            Ok(_) if pools.is_empty() => Ok(Verification::Unverified("no target of its jobs answers".to_owned())),
            Ok(api) => verify(api, &pools, since, patience, is_former).await.map(Verification::from),
        };
        let verification =
            verification.and_then(|found| if *must_be_seen { required(found, &cluster) } else { Ok(found) });
        let fragment = self.destination.folder.shown(&Layout(&cluster).fragment());
        let reloaded = reloaded.to_string();
        let delivered = |verification: Verification| {
            let is_taken_up =
                verification.targets().is_some() || former.as_ref().is_some_and(|former| former.route == record.route);
            let (reader, proven_from) = (self.destination.reader().who(), proven_from.clone());
            let clock = clock.clone();
            let placed = Placed { fragment, reader, proven_from, checked_by, clock, reloaded, verification };
            let (record, generation, away) = (record.clone(), generation.clone(), away.clone());
            DeliveryResult { record, generation, placed, is_taken_up, away }
        };
        (cluster, verification.map(delivered).map_err(|error| error.about(self.destination.name())))
    }
}
