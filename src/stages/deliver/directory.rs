//! Delivery to a directory: stage, validate, put in place, reload, verify; then undo failures and delete replaced
//! generations.

use super::{
    delivery::{Admin, Delivery, DeliveryResult, predecessors},
    verify::{SLACK, is_former, seen, unproven, verify},
};
use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::DryRun,
    destination::{Directory, Reloaded, Target},
    error::{Error, Reason, Result},
    host::{Attempt, Host, Lock, UNDONE_THERE},
    model::{
        access::Access,
        job::{Job, route::Route},
        plan::{
            request::JoinRequest,
            retention::{Kept, Retirement},
        },
        report::{
            Away, Line, ObjectReport, Placed,
            event::{Event, Why},
        },
        store::{
            identity::Identity,
            install::{
                Content, FileOwnership, Files as Delivered, Install, Operation, Step, edit, make_folder, removal,
            },
            layout::{self, CA, Generation, KUBELET_CA, Layout, TOKEN},
            location::Format,
            record::{Record, SecretRecord},
        },
        text::{names::ClusterName, shell},
        token::bound_secret::BoundSecret,
    },
    render::{
        main_config,
        prometheus::{CredentialFiles, ScrapeJobs, fragment, pem},
        rules::{self, ClusterRules},
        script::Question,
    },
    stages::{events::Events, grant::issue::random_suffix, interrupt::until_interrupted},
};
use futures_util::future::join_all;
use jiff::Timestamp;
use std::{cell::RefCell, time::Duration};

/// The configuration that vmagent validates before files are put in place.
const CHECKED: &str = "prom-federate/.check.yml";
/// For Prometheus to read again what was there before, after a run was interrupted.
const RELOADED_WITHIN: Duration = Duration::from_secs(10);
/// The unfinished changes of a run to a destination, so that an interrupted run can undo them.
#[derive(Default)]
pub struct Trail {
    /// In order, each with its cluster, or none if it belongs to all clusters.
    undo: RefCell<Vec<(Option<ClusterName>, Operation)>>,
}

impl Trail {
    fn note(&self, cluster: Option<&ClusterName>, undo: Vec<Operation>) {
        self.undo.borrow_mut().extend(undo.into_iter().map(|operation| (cluster.cloned(), operation)));
    }

    /// Removes and returns the undo of a cluster.
    fn take(&self, cluster: &ClusterName) -> Vec<Operation> {
        let (taken, kept) = self.undo.take().into_iter().partition(|(of, _)| of.as_ref() == Some(cluster));
        *self.undo.borrow_mut() = kept;
        let taken: Vec<(Option<ClusterName>, Operation)> = taken;
        taken.into_iter().map(|(_, operation)| operation).collect()
    }

    fn take_all(&self) -> Vec<Operation> {
        self.undo.take().into_iter().map(|(_, operation)| operation).collect()
    }
}

/// A delivery to one destination.
pub struct Push<'a> {
    pub destination: &'a mut Directory,
    ownership: FileOwnership,
    /// The main configuration's new text, if it does not include the plugin's files yet.
    edited_main: Option<String>,
    lock: Option<Lock>,
    trail: Trail,
}

impl<'a> Push<'a> {
    /// Determines the readers of the files and the missing lines of the main configuration; writes nothing.
    ///
    /// # Errors
    /// [`Reason::NotReadable`], [`Reason::DestinationUnusable`].
    pub async fn new(destination: &'a mut Directory) -> Result<Self> {
        let edited_main = destination.edited_main()?;
        Ok(Self { edited_main, ..Self::as_it_is(destination).await? })
    }

    /// For a renewal: determines the readers and adds nothing to the main configuration.
    pub async fn as_it_is(destination: &'a mut Directory) -> Result<Self> {
        let ownership = destination.ownership().await?;
        Ok(Self { ownership, ..Self::to_remove(destination) })
    }

    /// Where jobs are only taken out: nothing new needs to be readable.
    pub fn to_remove(destination: &'a mut Directory) -> Self {
        let ownership = FileOwnership::default();
        Self { destination, ownership, edited_main: None, lock: None, trail: Trail::default() }
    }

    fn host(&self) -> &Host {
        &self.destination.folder.host
    }

    async fn execute(&self, operation: &Operation) -> Result<()> {
        self.host().execute(self.ownership, operation).await
    }

    /// The planned changes, before the question.
    pub fn changes(&self, cluster: &ClusterName, renamed: &[ClusterName]) -> Vec<Line> {
        let shown = |path: &str| self.destination.folder.shown(path);
        let layout = Layout(cluster);
        let mut paths = vec![layout.fragment()];
        if !self.destination.is_agent {
            paths.push(layout.rules());
        }
        let mut lines: Vec<Line> =
            paths.into_iter().map(|path| Line::Said(format!("  {} will be written", shown(&path)))).collect();
        lines.extend(
            renamed.iter().map(|label| Line::Said(format!("  {} will be deleted", shown(&Layout(label).fragment())))),
        );
        if let Some(edited) = &self.edited_main {
            let main = self.destination.folder.shown_config();
            lines.push(Line::Said(format!("  {main} will be edited (a copy stays next to it):")));
            let diff = main_config::diff(&main, &self.destination.folder.main_text, edited);
            lines.extend(diff.lines().map(|line| Line::Said(format!("    {line}"))));
        }
        lines
    }

    /// Makes the plugin's folder, takes the lock and reads or makes the identity, which bound Secrets name.
    ///
    /// # Errors
    /// [`Reason::WriteFailed`], [`Reason::DestinationBusy`].
    pub async fn begin(&mut self) -> Result<Identity> {
        // An existing folder keeps its owner and mode, because Prometheus may use it.
        if !self.host().has(layout::FOLDER).await? {
            self.host().run(self.ownership, &[make_folder()], &mut Vec::new()).await?;
            self.host().finished().await?;
        }
        self.lock = Some(self.destination.folder.lock().await?);
        let (host, ownership) = (self.host().clone(), self.ownership);
        let random = random_suffix();
        let found = self.destination.folder.identify(&random, async |id| {
            let content = Content::Plain(format!("{id}\n"));
            host.execute(ownership, &Operation::Write { path: layout::ID.to_owned(), content }).await
        });
        let identity = found.await?;
        // Another run may have written between the first read and the lock, because a question may wait for long.
        self.destination.look_again().await?;
        if self.edited_main.is_some() {
            self.edited_main = self.destination.edited_main()?;
        }
        Ok(identity)
    }

    /// Delivers all clusters with one reload. The outer error concerns all clusters, and everything is undone then. Each
    /// cluster also has its own result.
    ///
    /// # Errors
    /// [`Reason::WriteFailed`], [`Reason::ConfigRefused`], [`Reason::ReloadFailed`], [`Reason::Interrupted`]. Inside:
    /// [`Reason::NotScraped`]; the jobs of this cluster are undone.
    pub async fn deliver(
        &self,
        deliveries: Vec<Delivery>,
        renamed: &[ClusterName],
    ) -> Result<Vec<(ClusterName, Result<DeliveryResult>)>> {
        let mut outcomes = match until_interrupted(self.try_deliver(deliveries, renamed)).await {
            Err(error) => return Err(self.take_back(error).await.about(self.destination.name())),
            Ok(outcomes) => outcomes,
        };
        // The undo must not be interrupted: a partial undo is neither the old nor the new state.
        let failed: Vec<&ClusterName> =
            outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(cluster, _)| cluster).collect();
        if !failed.is_empty() {
            let undo = if failed.len() == outcomes.len() {
                self.trail.take_all()
            } else {
                failed.into_iter().flat_map(|cluster| self.trail.take(cluster)).collect()
            };
            let left = self.restore(&undo, None).await;
            for error in outcomes.iter_mut().filter_map(|(_, outcome)| outcome.as_mut().err()) {
                error.hints.extend(left.iter().cloned());
            }
        }
        self.finished().await.map_err(|error| error.about(self.destination.name()))?;
        Ok(outcomes)
    }

    async fn try_deliver(
        &self,
        deliveries: Vec<Delivery>,
        renamed: &[ClusterName],
    ) -> Result<Vec<(ClusterName, Result<DeliveryResult>)>> {
        if deliveries.is_empty() && renamed.is_empty() {
            return Ok(Vec::new());
        }
        self.run(None, &[make_folder()]).await?;
        let (mut staged, mut unproven) = (Vec::new(), Vec::new());
        // Read once: under the lock no other run adds to them.
        let jobs = self.jobs().await?;
        for delivery in deliveries {
            let one = self.stage(delivery, &jobs).await?;
            match self.prove_from_there(one).await? {
                FromThere::Deliver(one) => staged.push(*one),
                FromThere::Refused(cluster, error) => unproven.push((cluster, Err(error))),
            }
        }
        if staged.is_empty() && renamed.is_empty() {
            return Ok(unproven);
        }
        let main = self.edited_main.as_ref().map(|text| edit(&self.destination.folder.main, text));
        if let Some(main) = &main {
            self.run(None, &main.stage).await?;
        }
        let checked_by = self.check(&staged).await?;
        if let Some(main) = &main {
            self.run(None, &main.commit).await?;
        }
        self.destination.prepare_for_a_cut().await?;
        let (committed, _) = self.destination.now().await?;
        for staged in &staged {
            self.run(Some(&staged.record.cluster), &staged.commit).await?;
        }
        for label in renamed {
            self.remove(label).await?;
        }
        let reloaded = self.destination.reload(committed).await?;
        // A scrape between the commit and the reload was still made with the old token.
        let (_, since) = self.destination.now().await?;
        let seen = join_all(staged.into_iter().map(|staged| self.see(staged, since, &reloaded, checked_by))).await;
        Ok(seen.into_iter().chain(unproven).collect())
    }

    /// Removes a cluster's jobs; its folder stays until Prometheus does not use the token any more.
    async fn remove(&self, cluster: &ClusterName) -> Result<()> {
        let installed = self.destination.folder.cluster(cluster).await?;
        let live = installed.live.map(|live| live.generation);
        self.run(Some(cluster), &removal(cluster, live.as_ref(), &installed.present)).await
    }

    /// Removes the jobs of these clusters, with one reload.
    ///
    /// # Errors
    /// As [`Self::deliver`]; the jobs are restored then.
    pub async fn take_out(&self, clusters: &[ClusterName]) -> Result<Reloaded> {
        let work = async {
            self.destination.prepare_for_a_cut().await?;
            for cluster in clusters {
                self.remove(cluster).await?;
            }
            self.destination.reload(self.destination.now().await?.0).await
        };
        match until_interrupted(work).await {
            Err(error) => Err(self.take_back(error).await),
            Ok(reloaded) => self.finished().await.map(|()| reloaded),
        }
        .map_err(|error| error.about(self.destination.name()))
    }

    /// Discards the undo.
    async fn finished(&self) -> Result<()> {
        self.trail.take_all();
        self.host().finished().await
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
        if in_place.placed.seen.is_err() {
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
            let kept = Kept { generations: &installed.generations, in_use, identity: identity.as_ref() };
            let retirement = Retirement::new(&kept, admin.as_ref().map(|admin| admin.secrets).unwrap_or_default());
            let others = self.destination.installed.values().flatten().filter(|other| other.cluster != *cluster);
            let others: Vec<&SecretRecord> = others.filter_map(|other| Some(&other.record()?.bound_secret)).collect();
            let is_anothers = |secret: &BoundSecret| others.iter().any(|other| other.uid == secret.uid);
            for secret in retirement.secrets.iter().filter(|secret| !is_anothers(secret)) {
                let Some(admin) = &admin else { break };
                let deletion = secret.deletion(admin.account);
                admin.cluster.delete(&deletion, DryRun::No).await?;
                deleted.push(events.object(ObjectReport::deleted(&deletion.reference), Some(Why::TokenReplaced)));
            }
            for generation in &retirement.generations {
                self.execute(&Operation::RemoveFolder { path: layout.generation(generation) }).await?;
            }
            if in_use.is_empty() {
                self.execute(&Operation::RemoveEmptyFolder { path: layout.folder() }).await?;
            }
            Ok::<(), Error>(())
        };
        if let Err(error) = outcome.await {
            events.report(Event::NotClearedAway { cluster: cluster.clone(), error });
        }
        deleted
    }

    /// Undoes whatever is not finished. What could not be undone is added to the error.
    async fn take_back(&self, error: Error) -> Error {
        let left = self.restore(&self.trail.take_all(), Some(&error)).await;
        // A lost connection has no undo log to clear.
        let _ = self.host().finished().await;
        // A configuration that cannot be read is refused before and after; Prometheus goes on with what it has.
        let is_undone_there = error.reason == Reason::Interrupted && self.host().is_lost();
        left.into_iter().chain(is_undone_there.then(|| UNDONE_THERE.to_owned())).fold(error, Error::hint)
    }

    /// Undoes this, and lets Prometheus read what was there before: in a short time where the run was interrupted. Returns
    /// what must be done by hand.
    async fn restore(&self, undo: &[Operation], failed: Option<&Error>) -> Vec<String> {
        let was_in_place = undo.iter().any(|operation| {
            matches!(operation, Operation::Rename { .. })
                || matches!(operation, Operation::Remove { path } if path.ends_with(layout::FRAGMENT_SUFFIX))
        });
        let left = self.host().undo(self.ownership, undo).await;
        let mut by_hand: Vec<String> = left.into_iter().map(|left| format!("Not undone: {left}")).collect();
        if !was_in_place {
            return by_hand;
        }
        let reload = async {
            let (now, _) = self.destination.now().await?;
            self.destination.reload(now).await
        };
        let reloaded = if failed.is_some_and(|error| error.reason == Reason::Interrupted) {
            // Where the connection is cut meanwhile, that host must not undo the same again.
            let _ = self.host().finished().await;
            tokio::time::timeout(RELOADED_WITHIN, reload).await.unwrap_or_else(|_| {
                let why = format!("it has not read its configuration again within {RELOADED_WITHIN:?}");
                Err(Error::new(Reason::ReloadFailed, why))
            })
        } else {
            reload.await
        };
        if let Err(error) = reloaded
            && !failed.is_some_and(|failed| failed.is_same_failure(&error))
            && !self.host().is_lost()
        {
            by_hand.push(format!("The old jobs are restored; reload Prometheus yourself: {error}"));
        }
        by_hand
    }

    async fn run(&self, cluster: Option<&ClusterName>, steps: &[Step]) -> Result<()> {
        let mut undo = Vec::new();
        let outcome = self.host().run(self.ownership, steps, &mut undo).await;
        self.trail.note(cluster, undo);
        outcome
    }

    /// Stages the files of one cluster.
    async fn stage(&self, delivery: Delivery, others: &[(String, String)]) -> Result<Staged> {
        let Delivery { mut record, access, token, must_be_seen, away } = delivery;
        let destination = &*self.destination;
        let (format, request) = (record.format, record.request());
        let installed = destination.folder.cluster(&record.cluster).await?;
        record.replaces = predecessors(&installed);
        let generation = Generation::new(Timestamp::now(), &random_suffix()[..6]);
        let layout = Layout(&record.cluster);
        let path = |name| self.as_the_fragment_names_it(&layout.file(&generation, name), format);
        let typed = shell::word(destination.name());
        let fragment = fragment(
            ScrapeJobs { request: &request, access: &access },
            &CredentialFiles {
                token: &path(TOKEN),
                ca: &path(CA),
                kubelet_ca: &path(KUBELET_CA),
                expires: record.token.expires,
                rotate: &format!("kubectl prom-federate rotate {} --now -p {typed}", record.cluster),
                leave: &format!("kubectl prom-federate leave {} -p {typed}", record.cluster),
            },
            format,
        );
        let wrapped = (format == Format::Vmagent).then(|| format!("scrape_configs:\n{fragment}"));
        self.refuse_any_of(others, &request)?;
        let rules = ClusterRules {
            cluster: &record.cluster,
            jobs: &record.jobs,
            pace: request.pace,
            token: Some(record.token),
            destination: Some(&destination.folder.typed_or_absolute()),
        };
        let files = Delivered {
            token: token.clone(),
            ca: access.ca.as_ref().map(|ca| pem(&ca.certificates)),
            kubelet_ca: access.kubelet_ca.as_ref().map(|ca| pem(&ca.certificates)),
            record: serde_json::to_string_pretty(&record).expect("a record has string keys") + "\n",
            fragment,
            rules: (!destination.is_agent).then(|| rules::file(&rules)),
        };
        let Install { stage, commit } = Install::new(&record.cluster, &generation, files, &installed.present);
        self.run(Some(&record.cluster), &stage).await?;
        let former = installed.record().cloned();
        Ok(Staged { record, access, token, wrapped, generation, commit, former, must_be_seen, away, proven_from: None })
    }

    /// Sends a request from the host of Prometheus to the API server with the new token and its CA, before files are put
    /// in place. If the host cannot send the request, Prometheus must prove the access.
    ///
    /// # Errors
    /// Outer: the connection. Inner: [`Reason::ProofFailed`].
    async fn prove_from_there(&self, staged: Staged) -> Result<FromThere> {
        let Staged { record, access, token, generation, .. } = &staged;
        let ca = Layout(&record.cluster).file(generation, CA);
        let question = Question {
            url: &format!("{}/version", access.url),
            token,
            ca: access.ca.is_some().then_some(&ca),
            tls_server_name: access.tls_server_name.as_deref(),
            proxy: access.proxy.as_ref().map(ToString::to_string),
            seconds: self.destination.options.timeout.map(|timeout| timeout.as_secs().max(1)),
        };
        let (host, url) = (self.host().name().unwrap_or_default(), &access.url);
        let refused = |why: String, hint: &str| {
            let error = Error::new(Reason::ProofFailed, why).about(self.destination.name());
            FromThere::Refused(record.cluster.clone(), error.hint(hint).hint("Nothing was put in place"))
        };
        Ok(match self.host().ask_api_server(&question).await? {
            Attempt::Absent => FromThere::Deliver(Box::new(staged)),
            Attempt::Done(401) => refused(
                format!("{url} answers 401 to {host}: it refuses the new token, which it accepts from this host"),
                "Does this address lead to the same cluster from that host? Name another address with --api-server",
            ),
            Attempt::Refused(why) => refused(
                format!("{host} does not reach {url} with the CA of {}: {why}", record.cluster),
                "Name an address that the host of Prometheus reaches: --api-server URL, --api-server-proxy URL",
            ),
            Attempt::Done(_) => FromThere::Deliver(Box::new(Staged {
                // Only Prometheus can prove that it reaches the kubelets themselves.
                must_be_seen: staged.must_be_seen && record.route == Route::Kubelet,
                proven_from: Some(host.to_owned()),
                ..staged
            })),
        })
    }

    /// Prometheus resolves the paths of a fragment against the fragment's folder, vmagent against the folder of the main
    /// configuration.
    fn as_the_fragment_names_it(&self, path: &str, format: Format) -> String {
        match format {
            Format::Prometheus => path.trim_start_matches(layout::FOLDER).trim_start_matches('/').to_owned(),
            Format::Vmagent => self.destination.folder.root.join(path).display().to_string(),
        }
    }

    /// Rejects a second job of the same name: Prometheus would reject the whole configuration, now and at its next start.
    ///
    /// # Errors
    /// [`Reason::ConfigRefused`].
    pub async fn refuse_a_second_job(&self, request: &JoinRequest) -> Result<()> {
        self.refuse_any_of(&self.jobs().await?, request)
    }

    /// The names of all jobs that Prometheus reads here, each with its file.
    async fn jobs(&self) -> Result<Vec<(String, String)>> {
        let Directory { main, folder, .. } = &*self.destination;
        let mut jobs = folder.jobs().await?;
        jobs.extend(main.job_names().into_iter().map(|job| (job, folder.main.clone())));
        Ok(jobs)
    }

    fn refuse_any_of(&self, jobs: &[(String, String)], request: &JoinRequest) -> Result<()> {
        let own = Layout(&request.cluster).fragment();
        for (name, file) in jobs.iter().filter(|(_, file)| *file != own) {
            if request.jobs.iter().any(|job| job.scrape_job(&request.cluster) == *name) {
                return Err(Error::new(
                    Reason::ConfigRefused,
                    format!("{} has a job {name} already; nothing was put in place", self.destination.folder.shown(file)),
                )
                .hint("Delete the job there (join may have printed it earlier), or choose another label with --cluster-name NAME"));
            }
        }
        Ok(())
    }

    /// Validates the new files and the main configuration, because any error would stop the reload.
    async fn check(&self, staged: &[Staged]) -> Result<Option<&'static str>> {
        let destination = &*self.destination;
        let main =
            if self.edited_main.is_some() { destination.folder.staged_main() } else { destination.folder.main.clone() };
        let by = destination.check(&main).await?;
        for Staged { record, wrapped, .. } in staged {
            let layout = Layout(&record.cluster);
            match wrapped {
                None => destination.check(&layout.staged_fragment()).await?,
                // vmagent's list of jobs is valid only within a main configuration.
                Some(wrapped) => {
                    let name = CHECKED.to_owned();
                    let content = Content::Plain(wrapped.clone());
                    let write = Operation::Write { path: name.clone(), content };
                    let remove = Operation::Remove { path: name.clone() };
                    self.run(None, &[Step { operation: write, undo: Some(remove.clone()) }]).await?;
                    let outcome = destination.check(&name).await;
                    self.execute(&remove).await?;
                    outcome?
                }
            };
            if !destination.is_agent {
                destination.check_rules(&layout.staged_rules()).await?;
            }
        }
        Ok(by)
    }

    /// Verifies one cluster's jobs in Prometheus.
    async fn see(
        &self,
        staged: Staged,
        since: Timestamp,
        reloaded: &Reloaded,
        checked_by: Option<&'static str>,
    ) -> (ClusterName, Result<DeliveryResult>) {
        let Staged { record, generation, former, must_be_seen, away, proven_from, .. } = staged;
        let cluster = record.cluster.clone();
        let of_nodes: Vec<String> =
            record.jobs.iter().filter(|job| job.is_of_nodes()).map(|job| job.scrape_job(&cluster)).collect();
        let is_former = |target: &Target| is_former(target, &record, &of_nodes, former.as_ref());
        let is_away = |job: &&Job| away.iter().any(|away| away.job == **job);
        let pools: Vec<String> =
            record.jobs.iter().filter(|job| !is_away(job)).map(|job| job.scrape_job(&cluster)).collect();
        let patience = Duration::from(record.scrape_interval) + Duration::from(record.scrape_timeout) + SLACK;
        let seen = match (&self.destination.api, reloaded.will_be_read()) {
            (Some(_), true) if pools.is_empty() => Ok(Err("no target of its jobs answers".to_owned())),
            (Some(api), true) => verify(api, &pools, since, patience, is_former).await.map(|verdict| Ok(seen(verdict))),
            (Some(_), false) => Ok(Err("Prometheus was not reloaded".to_owned())),
            (None, _) => Ok(Err(self.destination.api_missing.clone().unwrap_or_default())),
        };
        let seen = match seen {
            Ok(Err(why)) if must_be_seen => Err(unproven(&cluster, &why)),
            seen => seen,
        };
        let fragment = self.destination.folder.shown(&Layout(&cluster).fragment());
        let reloaded = reloaded.to_string();
        let is_taken_up = seen.as_ref().is_ok_and(Result::is_ok)
            || former.as_ref().is_some_and(|former| former.route == record.route);
        let in_place = |seen| {
            let placed = Placed { fragment, proven_from, checked_by, reloaded, seen };
            DeliveryResult { record, generation, placed, is_taken_up, away }
        };
        (cluster, seen.map(in_place).map_err(|error| error.about(self.destination.name())))
    }
}

/// What came of a proof by the host of Prometheus.
enum FromThere {
    Deliver(Box<Staged>),
    Refused(ClusterName, Error),
}

/// A cluster whose files are staged.
struct Staged {
    record: Record,
    access: Access,
    token: BearerToken,
    /// The jobs as a separate configuration, if the fragment alone is not a valid one.
    wrapped: Option<String>,
    generation: Generation,
    commit: Vec<Step>,
    /// The replaced generations.
    former: Option<Record>,
    must_be_seen: bool,
    away: Vec<Away>,
    /// The other host that reaches the cluster with this token.
    proven_from: Option<String>,
}
