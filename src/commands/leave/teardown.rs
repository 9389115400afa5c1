//! A cluster that is left: what is taken away there, and how that is told.

use crate::{
    cli::{DryRunArg, LeaveArgs},
    cluster::{Cluster, DryRun, Scraper},
    destination::Destination,
    error::Result,
    model::{
        account::Account,
        job::Jobs,
        plan::leave::{LeavePlan, Leaving},
        report::{API_VERSION, LeaveReport, ObjectReport},
        store::{identity::Identity, record::SecretRecord},
        text::{names::ClusterName, shell},
        token::clock,
    },
    stages::{events::Events, interrupt::until_interrupted, uninstall::Uninstall},
    ui::Ui,
};
use futures_util::future::try_join_all;

/// A cluster that is left.
pub(super) struct ClusterTeardown {
    /// Its name at the destinations, if it has one there.
    pub(super) label: Option<ClusterName>,
    /// None with `--only prometheus`.
    pub(super) side: Option<AccountTeardown>,
    pub(super) report: LeaveReport,
}

/// What is taken away in the cluster itself.
pub(super) struct AccountTeardown {
    pub(super) cluster: Cluster,
    pub(super) scraper: Scraper,
    pub(super) account: Account,
    pub(super) scope: TokenScope,
    pub(super) jobs: Option<Jobs>,
    pub(super) plan: LeavePlan,
}

/// [`Leaving`], owned.
pub(super) struct TokenScope {
    pub(super) everything: bool,
    pub(super) identities: Vec<Identity>,
    pub(super) recorded: Vec<SecretRecord>,
}

impl TokenScope {
    pub(super) fn leaving(&self) -> Leaving<'_> {
        match self {
            Self { everything: true, .. } => Leaving::Everything,
            Self { identities, recorded, .. } => Leaving::Destinations { identities, recorded },
        }
    }
}

impl ClusterTeardown {
    pub(super) fn new(
        label: Option<ClusterName>,
        cluster: String,
        api_server: String,
        side: Option<AccountTeardown>,
    ) -> Self {
        let plan = side.as_ref().map(|side| &side.plan);
        let report = LeaveReport {
            api_version: API_VERSION,
            kind: "LeaveReport",
            cluster,
            api_server,
            dry_run: None,
            objects: plan.map(deleted).unwrap_or_default(),
            spared: plan.map(|plan| plan.spared.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            used_by: plan.map(|plan| plan.used_by.clone()).unwrap_or_default(),
            fragments: Vec::new(),
            token_refused_after_seconds: None,
        };
        Self { label, side, report }
    }

    pub(super) fn tell(&self, ui: Ui) {
        ui.say(&format!("{}  {}", self.report.cluster, self.report.api_server));
        let clock = self.side.as_ref().and_then(|side| side.cluster.clock());
        if let Some(lead) = clock.and_then(|lead| lead.told("the API server")) {
            ui.warn(&format!("{}: {lead}. {}", self.report.cluster, clock::CORRECT));
        }
        for spared in &self.report.spared {
            ui.warn(&format!("{spared} has another owner and stays"));
        }
        if let Some(AccountTeardown { account, cluster, .. }) = &self.side
            && !self.report.used_by.is_empty()
        {
            ui.warn(&format!(
                "service account {account} stays, because other destinations use it ({}); to remove it anyway: {}",
                self.report.used_by.join(", "),
                shell::plugin(LeaveArgs::of_account(&cluster.context, account).words()),
            ));
        }
        if self.side.is_none() {
            ui.warn(&format!(
                "{}: nothing is removed from the cluster; its token stays valid until it expires or its account is deleted there",
                self.report.cluster
            ));
        }
    }

    pub(super) async fn uninstall(&mut self, events: Events<'_>) -> Result<()> {
        let Some(AccountTeardown { cluster, scraper, account, scope, jobs, plan }) = &mut self.side else {
            return Ok(());
        };
        if plan.deletions().next().is_none() {
            return Ok(());
        }
        let uninstall =
            Uninstall { cluster, scraper, account, leaving: scope.leaving(), recorded: jobs.as_ref(), events };
        // Deleted objects stay deleted after an interrupt, and the next leave deletes the others.
        self.report.token_refused_after_seconds = until_interrupted(uninstall.run(plan)).await?;
        self.report.objects = deleted(plan);
        self.report.used_by.clone_from(&plan.used_by);
        until_interrupted(uninstall.prove_gone(plan)).await
    }

    /// Whether neither the cluster nor a destination has anything of it.
    pub(super) fn is_done(&self, destinations: &[Destination], jobs_go: bool) -> bool {
        self.report.objects.is_empty() && self.fragments(destinations, jobs_go).is_empty()
    }

    /// The files of jobs that go.
    pub(super) fn fragments(&self, destinations: &[Destination], jobs_go: bool) -> Vec<String> {
        let Some(label) = self.label.as_ref().filter(|_| jobs_go) else { return Vec::new() };
        let known = destinations.iter().filter(|destination| destination.installed().contains_key(label));
        known.map(|destination| destination.jobs_of(label)).collect()
    }

    /// With `--dry-run=server` the API server validates each deletion.
    pub(super) async fn rehearse(&mut self, mode: DryRunArg, fragments: Vec<String>) -> Result<()> {
        if let (DryRunArg::Server, Some(AccountTeardown { cluster, plan, .. })) = (mode, &self.side) {
            try_join_all(plan.deletions().map(|deletion| cluster.delete(deletion, DryRun::Server))).await?;
        }
        self.report.dry_run = mode.word();
        self.report.fragments = fragments;
        Ok(())
    }

    pub(super) fn tell_end(&self, ui: Ui) {
        let cluster = &self.report.cluster;
        match &self.side {
            None => ui.done(&format!("{cluster}: the jobs and their files are deleted")),
            Some(AccountTeardown { plan, .. }) if self.report.used_by.is_empty() => {
                let kept = plan.kept_namespace.as_ref().map(|namespace| format!(" except {namespace}"));
                ui.done(&format!("{cluster}: all objects of the plugin are deleted{}", kept.unwrap_or_default()));
            }
            Some(_) => ui.done(&format!("{cluster}: the tokens of this destination are deleted")),
        }
    }
}

fn deleted(plan: &LeavePlan) -> Vec<ObjectReport> {
    plan.deletions().map(|deletion| ObjectReport::deleted(&deletion.reference)).collect()
}
