//! Prepare: all that is read and decided before the first write.

pub mod diagnose;
pub mod discover;
pub mod kubelets;
mod measure;
pub mod nodes;
pub mod observe;
pub mod permissions;
pub mod preflight;

use super::{
    connect::ConnectOptions,
    deliver::delivery::{Admin, Delivery},
    prove::{FenceState, Pages, Proof},
};
use crate::{
    cluster::{Cluster, Reached, Scraper, reach},
    error::{Error, Result},
    model::{
        access::{Access, Given, PrometheusLocation},
        account::desired::Desired,
        kube::object::Existing,
        plan::{
            JoinPlan,
            request::{JoinRequest, command},
        },
        report::UnreachableJob,
        store::{
            location::Format,
            record::{Found, Record},
            terms::Terms,
        },
        token::{TokenLife, credential::Credential},
    },
};
use kubelets::Kubelets;
use observe::{Observed, Survey, survey};

/// A cluster that nothing is known to stop a join or a rotation of.
pub struct Prepared {
    pub cluster: Cluster,
    pub options: ConnectOptions,
    /// The cluster as Prometheus will see it.
    pub access: Access,
    /// Only what Prometheus will have: makes the proof.
    pub scraper: Scraper,
    /// Why this host cannot reach the address; Prometheus itself must show that it can.
    pub unreachable: Option<Error>,
    pub request: JoinRequest,
    pub observed: Observed,
    pub kubelets: Kubelets,
    pub plan: JoinPlan,
}

/// Observes a cluster from both sides at the same time: as an administrator, and as Prometheus would. Writes nothing.
pub async fn survey_and_reach(
    cluster: &Cluster,
    named: Access,
    options: &ConnectOptions,
    desired: &Desired,
    location: PrometheusLocation,
) -> (Survey, Result<Reached>) {
    tokio::join!(
        Box::pin(survey(cluster, &desired.jobs, desired)),
        Box::pin(reach(cluster, named, &options.connection, location)),
    )
}

impl Prepared {
    /// Connects to the kubelets if the route needs them.
    ///
    /// # Errors
    /// As [`Kubelets::on`].
    pub async fn new(
        cluster: Cluster,
        options: ConnectOptions,
        request: JoinRequest,
        observed: Observed,
        reached: Reached,
        plan: JoinPlan,
    ) -> Result<Self> {
        let Reached { access, scraper, unreachable } = reached;
        let route = request.jobs.route();
        let looked = Kubelets::on(route, observed.nodes.as_ref(), &access, &options.connection).await;
        let kubelets = looked.map_err(|error| error.about(&cluster.context))?;
        // The plan has what matters of them, and a thousand clusters would keep them all.
        let observed = Observed { existing: Existing::new(), ..observed };
        Ok(Self { cluster, options, access, scraper, unreachable, request, observed, kubelets, plan })
    }

    /// Whether jobs go straight to kubelets that this host cannot reach.
    pub fn kubelets_are_unseen(&self) -> bool {
        self.kubelets.are_unseen(self.request.jobs.route())
    }

    /// Whether only Prometheus itself can show that it reaches what its jobs scrape.
    pub fn must_be_seen(&self) -> bool {
        self.unreachable.is_some() || self.kubelets_are_unseen()
    }

    /// What retires Secrets in the cluster.
    pub fn admin(&self) -> Admin<'_> {
        Admin { cluster: &self.cluster, account: &self.request.account, secrets: &self.observed.secrets }
    }

    /// The command that removes the leftovers of a failed run.
    pub fn leave_command(&self) -> String {
        command("leave", &self.cluster.context, &self.request.account)
    }

    /// What the cluster remembers of this.
    pub(in crate::stages) fn terms(&self) -> Terms {
        Terms::new(&self.request, &self.access, self.given())
    }

    fn given(&self) -> Given {
        Given { address: self.options.gives_address(), ca: self.options.gives_ca() }
    }

    /// What a destination remembers of this.
    pub fn record(&self, credential: &Credential, format: Format) -> Record {
        let found = Found {
            uid: &self.observed.uid,
            context: &self.cluster.context,
            kubernetes: &self.observed.version,
            format,
            given: self.given(),
            bound_secret: credential.bound_secret.clone(),
            token: TokenLife { issued: credential.issued, expires: credential.token.expires },
        };
        Record::new(&self.request, &self.access, found)
    }

    /// One destination's token and record.
    pub fn delivery(&self, credential: Credential, format: Format, away: Vec<UnreachableJob>) -> Delivery {
        Delivery {
            record: self.record(&credential, format),
            access: self.access.clone(),
            token: credential.token.secret,
            must_be_seen: self.must_be_seen(),
            away,
        }
    }

    /// What the new token is to prove while jobs by the route before may be in use.
    pub(in crate::stages) fn proof(&self, fence: FenceState) -> Proof<'_> {
        Proof {
            account: &self.request.account,
            jobs: &self.request.jobs,
            federate_match: &self.request.federate_match,
            fallback: self.request.fallback,
            nodes: self.observed.nodes.as_ref(),
            fence,
            former: self.plan.former.as_deref(),
            until_delivered: &self.plan.until_delivered,
            kubelets: &self.kubelets,
            pages: Pages::Every,
        }
    }
}
