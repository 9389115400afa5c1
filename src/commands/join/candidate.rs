//! A cluster before its label is known: connected, then looked at.

use crate::{
    cluster::{Cluster, Reached},
    commands::wanted::WantedJoin,
    destination::Destination,
    error::{Error, Result},
    model::{
        access::{Access, PrometheusLocation},
        account::neighbours::Neighbours,
        job::Jobs,
        plan::request::JoinRequest,
        store::label_conflict::Consent,
        text::names::ClusterName,
    },
    stages::{
        cluster_time::ClusterTime,
        connect::ConnectOptions,
        prepare::{
            discover::discover,
            observe::Survey,
            preflight::{Preflight, Ready},
            survey_and_reach,
        },
    },
};

/// A cluster whose jobs have their places.
pub(super) struct Connected {
    cluster: Cluster,
    named: Access,
    options: ConnectOptions,
    wanted: WantedJoin,
    jobs: Jobs,
    warnings: Vec<String>,
    time: ClusterTime,
}

/// `before` is called between the credentials and the first request, where the time of the cluster begins: a credential
/// plugin may ask a person.
pub(super) async fn connected(
    options: ConnectOptions,
    wanted: WantedJoin,
    before: impl FnOnce(&Cluster, ClusterTime),
) -> Result<Connected> {
    let (cluster, named) = options.connect().await?;
    let time = ClusterTime::begin(options.connection.timeout);
    before(&cluster, time);
    let found = discover(&cluster, &wanted.jobs, wanted.route.clone(), wanted.node_selector.clone());
    let (jobs, warnings) = time.bound(found).await?;
    let wanted = wanted.federating(&jobs)?;
    Ok(Connected { cluster, named, options, wanted, jobs, warnings, time })
}

impl Connected {
    pub(super) async fn looked_at(self, location: PrometheusLocation) -> Result<Candidate> {
        let Self { cluster, named, options, wanted, jobs, warnings, time } = self;
        let desired = wanted.desired(&jobs);
        let looked = async {
            Ok(tokio::join!(
                survey_and_reach(&cluster, named, &options, &desired, location),
                Box::pin(cluster.neighbours(&desired.account))
            ))
        };
        let ((survey, reached), (neighbours, _)) = time.bound(looked).await?;
        Ok(Candidate { cluster, options, wanted, jobs, warnings, survey, reached, neighbours })
    }
}

/// A cluster that was seen from both sides.
pub(super) struct Candidate {
    pub(super) cluster: Cluster,
    options: ConnectOptions,
    wanted: WantedJoin,
    jobs: Jobs,
    /// Of the discovery of jobs.
    warnings: Vec<String>,
    pub(super) survey: Survey,
    reached: Result<Reached>,
    neighbours: Neighbours,
}

/// A join that nothing is known to stop, and what is to be said about it.
pub(super) struct ReadyToJoin {
    pub(super) ready: Ready,
    pub(super) warnings: Vec<String>,
    pub(super) neighbours: Neighbours,
}

impl Candidate {
    pub(super) fn request(&self, label: ClusterName) -> JoinRequest {
        self.wanted.clone().request(self.jobs.clone(), label)
    }

    /// Asks and judges what depends on the label. `unopened`: why other destinations could not be opened.
    pub(super) async fn readied(
        self,
        label: ClusterName,
        destinations: &[Destination],
        unopened: Vec<Error>,
        consent: Consent,
    ) -> Result<ReadyToJoin> {
        let request = self.request(label);
        let Self { cluster, options, warnings, survey, reached, neighbours, .. } = self;
        let time = ClusterTime::begin(options.connection.timeout);
        let preflight = Preflight { cluster, options, request, consent, destinations, unopened, survey, reached };
        let ready = Box::pin(async { Box::pin(Box::pin(preflight.run()).await.ready()).await });
        let ready = time.bound(ready).await?;
        Ok(ReadyToJoin { ready, warnings, neighbours })
    }
}
