//! `leave`: plan, confirm, take the jobs out of the destinations, take the access away and prove that it is gone.

use super::resolve::{administrator, chosen, connect_options, destinations, formatted, teller};
use crate::{
    cli::{self, DryRunArg, LeaveArgs, Output, Side},
    cluster::{Cluster, DryRun, Scraper},
    destination::{Destination, Installed},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        job::Jobs,
        plan::leave::{LeavePlan, Leaving},
        report::{API_VERSION, LeaveReport, LeaveReportList, ObjectReport, status::made_anew},
        store::{
            identity::Identity,
            record::{Record, SecretRecord, StoredCas},
            terms::Terms,
        },
        text::{names::ClusterName, shell},
    },
    render,
    stages::{
        connect::ConnectOptions, deliver::Deliver, events::Events, interrupt::until_interrupted, uninstall::Uninstall,
    },
    ui::Ui,
};
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;

pub(super) async fn run(args: LeaveArgs, ui: Ui) -> Result<()> {
    let mut destinations = destinations(&args.to, &args.kube, ui).await?;
    let names: Vec<&str> = destinations.iter().map(Destination::name).collect();
    chosen(&args.clusters, destinations.iter().flat_map(Destination::installed), &names)?;
    let mut teardowns = teardowns(&args, &destinations, ui).await?;
    let jobs_go = args.only != Some(Side::Cluster);

    for teardown in &teardowns {
        teardown.tell(ui);
    }
    if args.how.dry_run.is_wanted() {
        return dry_run(teardowns, &destinations, jobs_go, &args, ui).await;
    }
    let labels: Vec<ClusterName> = teardowns.iter().filter_map(|teardown| teardown.label.clone()).collect();
    let fragments = fragments(&destinations, &labels, jobs_go);
    if teardowns.iter().all(|teardown| teardown.report.objects.is_empty()) && fragments.is_empty() {
        for ClusterTeardown { report, side, .. } in &teardowns {
            let what = if report.used_by.is_empty() { "nothing" } else { "nothing else" };
            let whose = side
                .as_ref()
                .map_or_else(|| report.cluster.clone(), |side| format!("service account {}", side.account));
            ui.done(&format!("{what} to remove for {whose}"));
        }
        return print(teardowns, args.how.output, ui);
    }
    if !args.how.yes {
        let objects = teardowns.iter().flat_map(|teardown| &teardown.report.objects).map(|object| &object.name);
        for gone in fragments.iter().chain(objects) {
            ui.say(&format!("  {gone} will be deleted"));
        }
        let names: Vec<&str> = teardowns.iter().map(|teardown| teardown.report.cluster.as_str()).collect();
        ui.confirm(&format!("Leave {}?", names.join(", ")), "leave")?;
    }

    let mut pushes = Vec::new();
    if jobs_go {
        for destination in destinations.iter_mut().filter(|destination| knows_any(destination, &labels)) {
            let mut push = Deliver::to_remove(destination);
            push.begin(&[]).await?;
            pushes.push(push);
        }
    }
    for push in &pushes {
        let known: Vec<ClusterName> =
            labels.iter().filter(|label| push.installed().contains_key(label)).cloned().collect();
        let reloaded = push.take_out(&known).await?;
        ui.done(&format!("removed the jobs from {}: {} {reloaded}", push.name(), push.reader().name));
    }
    for teardown in &mut teardowns {
        teardown.report.fragments.clone_from(&fragments);
    }
    // One at a time its steps can be followed; several take their ten seconds together.
    let tell = teller(ui);
    let events = Events::new(&tell);
    let followed = if teardowns.len() == 1 { events } else { events.only_warnings() };
    let outcomes = join_all(teardowns.iter_mut().map(|teardown| teardown.uninstall(followed))).await;
    let (mut failures, mut reason) = (Vec::new(), Reason::LeftoverObjects);
    for (teardown, outcome) in teardowns.iter().zip(outcomes) {
        match outcome {
            Ok(()) => {
                teardown.tell_end(ui);
                if let Some(label) = &teardown.label {
                    for push in &pushes {
                        push.clear(label, None, events).await;
                    }
                }
            }
            Err(error) => {
                ui.error(&error);
                if error.reason == Reason::Interrupted {
                    reason = Reason::Interrupted;
                }
                failures.push(teardown.report.cluster.clone());
            }
        }
    }
    print(teardowns, args.how.output, ui)?;
    outcome(&failures, reason)
}

/// A cluster that is left.
struct ClusterTeardown {
    /// Its name at the destinations, if it has one there.
    label: Option<ClusterName>,
    /// None with `--only prometheus`.
    side: Option<AccountTeardown>,
    report: LeaveReport,
}

/// What is taken away in the cluster itself.
struct AccountTeardown {
    cluster: Cluster,
    scraper: Scraper,
    account: Account,
    scope: TokenScope,
    jobs: Option<Jobs>,
    plan: LeavePlan,
}

/// [`Leaving`], owned.
struct TokenScope {
    everything: bool,
    identities: Vec<Identity>,
    recorded: Vec<SecretRecord>,
    now: Timestamp,
}

impl TokenScope {
    fn leaving(&self) -> Leaving<'_> {
        match self {
            Self { everything: true, .. } => Leaving::Everything,
            Self { identities, recorded, now, .. } => Leaving::Destinations { identities, recorded, now: *now },
        }
    }
}

impl ClusterTeardown {
    fn new(label: Option<ClusterName>, cluster: String, api_server: String, side: Option<AccountTeardown>) -> Self {
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

    fn tell(&self, ui: Ui) {
        ui.say(&format!("{}  {}", self.report.cluster, self.report.api_server));
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

    async fn uninstall(&mut self, events: Events<'_>) -> Result<()> {
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
        until_interrupted(uninstall.prove_gone(plan)).await
    }

    fn tell_end(&self, ui: Ui) {
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

/// Connects to every cluster that is to be left, and plans.
async fn teardowns(args: &LeaveArgs, destinations: &[Destination], ui: Ui) -> Result<Vec<ClusterTeardown>> {
    if args.only == Some(Side::Prometheus) {
        if args.clusters.is_empty() {
            return Err(Error::usage("--only prometheus contacts no cluster, so name the clusters: CLUSTER... -p DIR")
                .hint("List them: kubectl prom-federate status -p DIR"));
        }
        let alone = |label: &ClusterName| {
            let api_server = record_of(label, destinations).map(|record| record.access.api_server.to_string());
            ClusterTeardown::new(Some(label.clone()), label.to_string(), api_server.unwrap_or_default(), None)
        };
        return Ok(args.clusters.iter().map(alone).collect());
    }
    if args.clusters.is_empty() {
        return Ok(vec![by_context(args, destinations, ui).await?]);
    }
    if args.clusters.len() > 1 && !args.kube.context.is_empty() {
        return Err(Error::usage("--context is for one cluster, and several are named")
            .hint("Omit it: leave reaches each cluster with the context of its join"));
    }
    try_join_all(args.clusters.iter().map(|label| by_label(label, args, destinations, ui))).await
}

/// The command that removes the jobs of a cluster and leaves the cluster alone.
fn only_prometheus(label: &ClusterName) -> String {
    shell::plugin(["leave", label.as_str(), "--only", "prometheus", "-p", "DIR"])
}

/// The cluster of the context; its label is found by its UID.
async fn by_context(args: &LeaveArgs, destinations: &[Destination], ui: Ui) -> Result<ClusterTeardown> {
    let connect = connect_options(&args.kube, &args.seen, None, ui)?;
    let everything = args.only == Some(Side::Cluster) && destinations.is_empty();
    if destinations.is_empty() {
        let scope = TokenScope {
            everything,
            identities: vec![Identity::printed()],
            recorded: Vec::new(),
            now: Timestamp::now(),
        };
        let (side, api_server) = side(&connect, args.account.account(), None, scope, None, ui).await?;
        let cluster = shown_name(&side.cluster.context);
        return Ok(ClusterTeardown::new(None, cluster, api_server, Some(side)));
    }
    let (cluster, _) = connect.connect().await?;
    let uid = cluster.uid().await?;
    let label = destinations.iter().find_map(|destination| {
        let known = |installed: &&Installed| known_record(installed).is_some_and(|record| record.uid == uid);
        destination.installed().values().flatten().find(known).map(|installed| installed.cluster.clone())
    });
    let Some(label) = label else {
        let places: Vec<&str> = destinations.iter().map(Destination::name).collect();
        return Err(Error::new(
            Reason::ClusterUnknown,
            format!("{}: {} does not know this cluster", cluster.context, places.join(", ")),
        )
        .hint("List its clusters: kubectl prom-federate status -p DIR")
        .hint("To leave a cluster whose jobs were printed, omit -p"));
    };
    by_label(&label, args, destinations, ui).await
}

/// A cluster that the destinations know, reached as the record says unless a context is given.
async fn by_label(
    label: &ClusterName,
    args: &LeaveArgs,
    destinations: &[Destination],
    ui: Ui,
) -> Result<ClusterTeardown> {
    let record = record_of(label, destinations).ok_or_else(|| {
        let error = destinations.iter().find_map(|destination| match destination.installed().get(label)? {
            Err(error) => Some(error.clone()),
            Ok(installed) => installed.live.as_ref()?.record.as_ref().err().cloned(),
        });
        error
            .unwrap_or_else(|| Error::new(Reason::ClusterUnknown, format!("the destination has no record of {label}")))
            .hint(format!("Remove only its jobs: {}", only_prometheus(label)))
    })?;
    // What cannot be read any more keeps no cluster from being left: then the kubeconfig's CA counts.
    let mut api_server = None;
    for destination in destinations {
        if api_server.is_none() {
            api_server = destination.ca(record).await;
        }
    }
    let cas = StoredCas { api_server: api_server.clone(), kubelet: None };
    let mut connect = administrator(&args.kube, ui)?.of_record(record, record.access(cas));
    connect.connection.ca_file.clone_from(&args.seen.api_server_ca_file);
    let mut scope =
        TokenScope { everything: false, identities: Vec::new(), recorded: Vec::new(), now: Timestamp::now() };
    for destination in destinations {
        scope.identities.push(destination.identity());
        if let Some(Ok(installed)) = destination.installed().get(label) {
            scope.recorded.extend(installed.generations.values().flatten().cloned());
        }
    }
    let jobs = Some(record.jobs.clone());
    let claim = Some((record, api_server));
    let places: Vec<&str> = destinations.iter().map(Destination::name).collect();
    let side = side(&connect, record.account(), jobs, scope, claim, ui).await;
    let (side, api_server) =
        side.map_err(|error| error.hint(format!("If the cluster is gone: {}", only_prometheus(label))))?;
    if side.cluster.uid().await? != record.uid {
        return Err(Error::new(
            Reason::ClusterKnown,
            format!(
                "the context {} leads to another cluster than the one that was joined as {label}",
                side.cluster.context
            ),
        )
        .hint(format!(
            "Name the right context: {}",
            shell::plugin(["leave", label.as_str(), "--context", "NAME", "-p", "DIR"])
        ))
        .hint(format!("If that cluster is gone: {}", only_prometheus(label)))
        .hint(made_anew(cli::next, record, places.first().copied().unwrap_or("DIR"))));
    }
    Ok(ClusterTeardown::new(Some(label.clone()), label.to_string(), api_server, Some(side)))
}

/// `claim`: the record that says how Prometheus reaches the cluster, and the CA beside it.
async fn side(
    connect: &ConnectOptions,
    account: Account,
    jobs: Option<Jobs>,
    scope: TokenScope,
    claim: Option<(&Record, Option<Vec<Vec<u8>>>)>,
    ui: Ui,
) -> Result<(AccountTeardown, String)> {
    let (cluster, access) = connect.connect().await?;
    let seen = Scraper::new(&access, &connect.connection)?;
    // The token that shows the end of the access is a fresh one. Opening a connection sends no token.
    let confirmed = async {
        Ok::<_, Error>(match claim {
            None => true,
            Some((record, ca)) => Terms::confirm_access(record, ca, &cluster.bound_secrets(&account).await?),
        })
    };
    let (is_confirmed, opened) = tokio::join!(confirmed, seen.open(1));
    // Whichever way leads to it, it is the API server that refuses the token.
    let scraper = if is_confirmed? && opened.is_ok() {
        seen
    } else {
        Scraper::as_administrator_connects(&cluster, &connect.connection)?
    };
    let leaving = scope.leaving();
    let tell = teller(ui);
    let events = Events::new(&tell);
    let uninstall =
        Uninstall { cluster: &cluster, scraper: &scraper, account: &account, leaving, recorded: jobs.as_ref(), events };
    let plan = uninstall.plan().await?;
    Ok((AccountTeardown { cluster, scraper, account, scope, jobs, plan }, access.url.to_string()))
}

async fn dry_run(
    mut teardowns: Vec<ClusterTeardown>,
    destinations: &[Destination],
    jobs_go: bool,
    args: &LeaveArgs,
    ui: Ui,
) -> Result<()> {
    let labels: Vec<ClusterName> = teardowns.iter().filter_map(|teardown| teardown.label.clone()).collect();
    for teardown in &mut teardowns {
        if let (DryRunArg::Server, Some(AccountTeardown { cluster, plan, .. })) = (args.how.dry_run, &teardown.side) {
            try_join_all(plan.deletions().map(|deletion| cluster.delete(deletion, DryRun::Server))).await?;
        }
        teardown.report.dry_run = args.how.dry_run.word();
        teardown.report.fragments = fragments(destinations, &labels, jobs_go);
    }
    if args.how.output.is_some() {
        return print(teardowns, args.how.output, ui);
    }
    let suffix = args.how.dry_run.suffix();
    let files = fragments(destinations, &labels, jobs_go).into_iter().map(|file| format!("{file} deleted{suffix}\n"));
    let objects = teardowns.iter().map(|teardown| render::report::verbs(&teardown.report.objects, suffix));
    ui.print(&files.chain(objects).collect::<String>())
}

fn print(teardowns: Vec<ClusterTeardown>, output: Option<Output>, ui: Ui) -> Result<()> {
    let Some(output) = output else { return Ok(()) };
    let mut items: Vec<LeaveReport> = teardowns.into_iter().map(|teardown| teardown.report).collect();
    let objects: Vec<ObjectReport> = items.iter().flat_map(|report| report.objects.clone()).collect();
    ui.print(&if items.len() == 1 {
        formatted(output, &items.remove(0), &objects)
    } else {
        formatted(output, &LeaveReportList { api_version: API_VERSION, kind: "LeaveReportList", items }, &objects)
    })
}

fn outcome(failures: &[String], reason: Reason) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    Err(Error::new(reason, format!("could not remove everything of {}", failures.join(", ")))
        .hint("Fix the problems above and run leave again: it continues"))
}

/// The files of jobs that would be deleted.
fn fragments(destinations: &[Destination], labels: &[ClusterName], jobs_go: bool) -> Vec<String> {
    let mut files = Vec::new();
    for destination in destinations.iter().filter(|_| jobs_go) {
        for label in labels.iter().filter(|label| destination.installed().contains_key(label)) {
            files.push(destination.jobs_of(label));
        }
    }
    files
}

fn knows_any(destination: &Destination, labels: &[ClusterName]) -> bool {
    labels.iter().any(|label| destination.installed().contains_key(label))
}

/// What a destination remembers of a cluster, in use or not.
fn known_record(installed: &Installed) -> Option<&Record> {
    installed.record().or(installed.remains.as_ref())
}

fn record_of<'a>(label: &ClusterName, destinations: &'a [Destination]) -> Option<&'a Record> {
    destinations.iter().find_map(|destination| known_record(destination.installed().get(label)?.as_ref().ok()?))
}

/// A cluster that is known by its context only.
fn shown_name(context: &str) -> String {
    ClusterName::from_context(context).map_or_else(|_| context.to_owned(), |name| name.to_string())
}

fn deleted(plan: &LeavePlan) -> Vec<ObjectReport> {
    plan.deletions().map(|deletion| ObjectReport::deleted(&deletion.reference)).collect()
}
