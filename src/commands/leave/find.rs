//! The clusters that are left: by their labels at the destinations, or by contexts.

use super::teardown::{AccountTeardown, ClusterTeardown, TokenScope};
use crate::{
    cli::{self, LeaveArgs, Side},
    cluster::Scraper,
    commands::resolve::{teller, wait_for},
    destination::{Destination, Installed},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        job::Jobs,
        report::status::made_anew,
        store::{
            identity::Identity,
            record::{Record, StoredCas},
            terms::Terms,
        },
        text::{names::ClusterName, shell},
    },
    stages::{cluster_time::ClusterTime, connect::ConnectOptions, events::Events, uninstall::Uninstall},
    ui::Ui,
};

/// Where clusters are left.
pub(super) struct Places<'a> {
    pub(super) args: &'a LeaveArgs,
    pub(super) destinations: &'a [Destination],
    pub(super) ui: Ui,
    pub(super) is_for_one: bool,
}

impl Places<'_> {
    /// The cluster of a context, connected with all the flags say of it; its label is found by its UID.
    pub(super) async fn by_context(&self, connect: &ConnectOptions) -> Result<ClusterTeardown> {
        let Self { destinations, .. } = self;
        if destinations.is_empty() {
            return self.printed(connect).await;
        }
        let (cluster, _) = connect.connect().await?;
        let uid = cluster.uid().await?;
        let Some(label) = self.label_of(&uid) else {
            let places: Vec<&str> = destinations.iter().map(Destination::name).collect();
            return Err(Error::new(
                Reason::ClusterUnknown,
                format!("{}: {} does not know this cluster", cluster.context, places.join(", ")),
            )
            .hint("List its clusters: kubectl prom-federate status -p DIR")
            .hint("To leave a cluster whose jobs were printed, omit -p"));
        };
        self.by_label(&label, connect).await
    }

    /// A cluster whose jobs were printed, or everything of an account.
    pub(super) async fn printed(&self, connect: &ConnectOptions) -> Result<ClusterTeardown> {
        let scope = TokenScope {
            everything: self.args.only == Some(Side::Cluster),
            identities: vec![Identity::printed()],
            recorded: Vec::new(),
        };
        let (side, api_server) = self.side(connect, self.args.account.account(), None, scope, None).await?;
        let cluster = shown_name(&side.cluster.context);
        Ok(ClusterTeardown::new(None, cluster, api_server, Some(side)))
    }

    /// The label of a cluster at a destination.
    pub(super) fn label_of(&self, uid: &str) -> Option<ClusterName> {
        self.destinations.iter().find_map(|destination| {
            let known = |installed: &&Installed| known_record(installed).is_some_and(|record| record.uid == uid);
            destination.installed().values().flatten().find(known).map(|installed| installed.cluster.clone())
        })
    }

    /// The cluster itself is not asked.
    pub(super) fn without_its_cluster(&self, label: &ClusterName) -> ClusterTeardown {
        let api_server = self.record_of(label).map(|record| record.access.api_server.to_string());
        ClusterTeardown::new(Some(label.clone()), label.to_string(), api_server.unwrap_or_default(), None)
    }

    /// A cluster that the destinations know, reached as the record says unless a context is given.
    pub(super) async fn by_label(
        &self,
        label: &ClusterName,
        administrator: &ConnectOptions,
    ) -> Result<ClusterTeardown> {
        let Self { args, destinations, .. } = self;
        if args.only.is_none()
            && self.record_of(label).is_none()
            && destinations.iter().any(|one| is_leftover(one, label))
        {
            return Ok(self.without_its_cluster(label));
        }
        let record = self.record_of(label).ok_or_else(|| {
            let error = destinations.iter().find_map(|destination| match destination.installed().get(label)? {
                Err(error) => Some(error.clone()),
                Ok(installed) => installed.live.as_ref()?.record.as_ref().err().cloned(),
            });
            error
                .unwrap_or_else(|| {
                    Error::new(Reason::ClusterUnknown, format!("the destination has no record of {label}"))
                })
                .hint(format!("Remove only its jobs: {}", only_prometheus(label)))
        })?;
        // What cannot be read any more keeps no cluster from being left: then the kubeconfig's CA counts.
        let mut api_server = None;
        for destination in *destinations {
            if api_server.is_none() {
                api_server = destination.ca(record).await;
            }
        }
        let cas = StoredCas { api_server: api_server.clone(), kubelet: None };
        let mut connect = administrator.of_record(record, record.access(cas))?;
        connect.connection.ca_file.clone_from(&args.seen.api_server_ca_file);
        let mut scope = TokenScope { everything: false, identities: Vec::new(), recorded: Vec::new() };
        for destination in *destinations {
            scope.identities.push(destination.identity());
            if let Some(Ok(installed)) = destination.installed().get(label) {
                scope.recorded.extend(installed.generations.values().flatten().cloned());
            }
        }
        let jobs = Some(record.jobs.clone());
        let claim = Some((record, api_server));
        let places: Vec<&str> = destinations.iter().map(Destination::name).collect();
        let side = self.side(&connect, record.account(), jobs, scope, claim).await;
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
        &self,
        connect: &ConnectOptions,
        account: Account,
        jobs: Option<Jobs>,
        scope: TokenScope,
        claim: Option<(&Record, Option<Vec<Vec<u8>>>)>,
    ) -> Result<(AccountTeardown, String)> {
        let (cluster, access) = connect.connect().await?;
        let time = ClusterTime::begin(connect.connection.timeout);
        if self.is_for_one {
            wait_for(&cluster, time, self.ui);
        }
        let seen = Scraper::new(&access, &connect.connection)?;
        // The token that shows the end of the access is a fresh one. Opening a connection sends no token.
        let confirmed = async {
            Ok(match claim {
                None => true,
                Some((record, ca)) => Terms::confirm_access(record, ca, &cluster.bound_secrets(&account).await?),
            })
        };
        let (is_confirmed, opened) = tokio::join!(time.bound(confirmed), seen.open());
        // Whichever way leads to it, it is the API server that refuses the token.
        let scraper = if is_confirmed? && opened.is_ok() {
            seen
        } else {
            Scraper::as_administrator_connects(&cluster, &connect.connection)?
        };
        let leaving = scope.leaving();
        let tell = teller(self.ui);
        let events = Events::new(&tell);
        let uninstall = Uninstall {
            cluster: &cluster,
            scraper: &scraper,
            account: &account,
            leaving,
            recorded: jobs.as_ref(),
            events,
        };
        let plan = time.bound(uninstall.plan()).await?;
        Ok((AccountTeardown { cluster, scraper, account, scope, jobs, plan }, access.url.to_string()))
    }

    pub(super) fn record_of(&self, label: &ClusterName) -> Option<&Record> {
        self.destinations
            .iter()
            .find_map(|destination| known_record(destination.installed().get(label)?.as_ref().ok()?))
    }
}

/// The command that removes the jobs of a cluster and leaves the cluster alone.
fn only_prometheus(label: &ClusterName) -> String {
    shell::plugin(["leave", label.as_str(), "--only", "prometheus", "-p", "DIR"])
}

/// What a destination remembers of a cluster, in use or not.
fn known_record(installed: &Installed) -> Option<&Record> {
    installed.record().or(installed.remains.as_ref())
}

/// A cluster that is known by its context only.
fn shown_name(context: &str) -> String {
    ClusterName::from_context(context).map_or_else(|_| context.to_owned(), |name| name.to_string())
}

/// Whether a killed run has left something of a cluster, and neither jobs nor a record.
fn is_leftover(destination: &Destination, label: &ClusterName) -> bool {
    matches!(destination.installed().get(label), Some(Ok(installed)) if installed.live.is_none())
}
