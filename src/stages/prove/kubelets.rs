//! Prove: what the token can do straight at a kubelet. Its pages, where the jobs go there; else nothing.

use super::{
    answers::{Miss, no_metrics},
    patience::{BETWEEN_TRIES, PAUSE, RIGHTS_ARRIVE_WITHIN},
    shown::{Seen, first_shown},
};
use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{Answer, Cluster, Extent, MetricsPage, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        job::{
            Jobs,
            exposition::Content,
            route::{Node, NodesByReadiness},
            target::EXEC,
        },
        report::PageReport,
    },
    stages::{
        poll::{Pauses, poll},
        prepare::kubelets::Kubelets,
    },
};
use futures_util::future::join_all;
use std::time::Duration;

/// A kubelet remembers a refusal for half a minute (kubelet `config/v1beta1/types.go`, `cacheUnauthorizedTTL`).
const KUBELET_FORGETS_WITHIN: Duration = Duration::from_secs(35);

/// Reads, and requests that are none only where they are let through: `run` is one only as a POST, and the pod is not
/// there.
const PAGES: [&str; 5] = ["/configz", "/pods", "/run/prom-federate/no-such-pod/none?cmd=true", "/logs/", EXEC];

/// What the proof is made with.
pub(in crate::stages) struct KubeletProof<'a> {
    pub account: &'a Account,
    pub jobs: &'a Jobs,
    pub kubelets: &'a Kubelets,
}

impl KubeletProof<'_> {
    /// Reads every job's page at the kubelets that can be reached. None if there is none from here.
    ///
    /// # Errors
    /// [`Reason::ProofFailed`], [`Reason::KubeletForbidden`].
    pub(in crate::stages) async fn of_jobs(&self, api: &Scraper, token: &BearerToken) -> Result<Option<Seen>> {
        let Self { kubelets: Kubelets { proven, .. }, .. } = self;
        if proven.is_empty() {
            return Ok(None);
        }
        // A refusal would be remembered, so the API server is asked first.
        self.right_arrives(api, token).await?;
        let read = async |node: &Node, extent: Extent| {
            let Some((_, kubelet)) = proven.iter().find(|(one, _)| one.name == node.name) else {
                return Ok(Vec::new());
            };
            let mut pages = Vec::new();
            for job in self.jobs.iter().filter(|job| job.is_of_nodes()) {
                let page = self.page(node, kubelet, token, job.metrics_path(), extent).await;
                let samples = page.map_err(Miss::OtherNode)?;
                pages.push(PageReport { job: job.to_string(), samples });
            }
            Ok(pages)
        };
        let nodes = proven.iter().map(|(node, _)| node.clone()).collect();
        first_shown(nodes, async || Ok(NodesByReadiness::default()), read).await.map(Some)
    }

    /// Sees everything beside the jobs refused at a kubelet, its metrics too where the jobs do not go there. Returns
    /// how much; none if no kubelet can be reached from here, or none that the CA vouches for: a token is only ever
    /// sent over verified TLS.
    ///
    /// # Errors
    /// [`Reason::ProofFailed`] if anything is answered.
    pub(in crate::stages) async fn beside_jobs(&self, token: &BearerToken) -> Result<Option<usize>> {
        let Some((node, kubelet)) = self.kubelets.proven.first() else { return Ok(None) };
        let mut paths = PAGES.to_vec();
        if self.jobs.route().is_proxied() {
            paths.push("/metrics/cadvisor");
        }
        self.refuses(node, kubelet, token, &paths).await.map(Some)
    }

    async fn right_arrives(&self, api: &Scraper, token: &BearerToken) -> Result<()> {
        let look = async || match api.may(token, "nodes", "metrics").await {
            Ok(Some(false)) => Err(()),
            Ok(_) => Ok(Ok(())),
            Err(error) => Ok(Err(error)),
        };
        poll(|()| RIGHTS_ARRIVE_WITHIN, BETWEEN_TRIES, look).await.unwrap_or(Ok(()))
    }

    async fn page(
        &self,
        node: &Node,
        kubelet: &Scraper,
        token: &BearerToken,
        path: &str,
        extent: Extent,
    ) -> Result<usize> {
        let look = async || match kubelet.page(path, token, extent, None).await {
            // Another API server may have been asked, which does not know of the right yet.
            Ok(page) if page.answer.code == 403 => Err(page),
            page => Ok(page),
        };
        let page = poll(|_| KUBELET_FORGETS_WITHIN, Pauses::even(PAUSE * 10), look).await.unwrap_or_else(Ok);
        let MetricsPage { answer, content, .. } = page.map_err(|error| about(error, node))?;
        match (answer.code, content) {
            (200, Content { fault: Some(fault), .. }) => Err(failed(node, path, &no_metrics(&fault))),
            (200, Content { samples: samples @ 1.., .. }) => Ok(samples),
            (200, _) => Err(failed(node, path, "answers without any sample")),
            (401 | 403, _) => Err(self.forbidden(node, path, &answer)),
            (code, _) => Err(failed(node, path, &format!("answers {code}: {}", answer.message()))),
        }
    }

    /// All of these at the same time, and exec by WebSocket, which is a mere GET to RBAC.
    async fn refuses(&self, node: &Node, kubelet: &Scraper, token: &BearerToken, paths: &[&str]) -> Result<usize> {
        let (answers, upgraded) = tokio::join!(
            join_all(paths.iter().map(|path| kubelet.try_path(path, token))),
            kubelet.upgrade(EXEC, token)
        );
        let tried = paths.iter().copied().zip(answers).chain([(EXEC, upgraded)]);
        let mut refused = 0;
        for (path, answer) in tried {
            let answer = answer.map_err(|error| about(error, node))?;
            if !matches!(answer.code, 401 | 403) {
                return Err(answered(self.account, node, path, &answer));
            }
            refused += 1;
        }
        Ok(refused)
    }

    fn forbidden(&self, node: &Node, path: &str, answer: &Answer) -> Error {
        let error = Error::new(
            Reason::KubeletForbidden,
            format!(
                "the kubelet of {} answers the account's request for {path} with {}: {}",
                node.name,
                answer.code,
                answer.message()
            ),
        );
        if answer.code == 401 {
            return error
                .hint("The kubelet must verify tokens with the API server: set authentication.webhook.enabled of the kubelet")
                .hint("Or omit --route=kubelet: the API server forwards scrapes with its own certificate");
        }
        let may = format!("kubectl auth can-i get nodes --subresource=metrics --as {}", self.account.user());
        error
            .hint(format!("Check with: {may}"))
            .hint("A kubelet caches a refusal for half a minute: run the command again after that")
    }
}

/// The right to nodes by their bare names, for which a kubelet asks, has gone.
///
/// # Errors
/// [`Reason::ProofFailed`] if a role of another owner grants it; errors of the API server.
pub(in crate::stages) async fn bare_names_are_refused(
    cluster: &Cluster,
    account: &Account,
    nodes: &[Node],
) -> Result<usize> {
    // Without a name: every node.
    let names: Vec<&str> = [""].into_iter().chain(nodes.iter().map(|node| node.name.as_str())).collect();
    let look = async || {
        let answers = join_all(names.iter().map(|name| cluster.account_may(account, name))).await;
        match answers.into_iter().collect::<Result<Vec<bool>>>() {
            Err(error) => Ok(Err(error)),
            Ok(allowed) => match names.iter().zip(allowed).find(|(_, allowed)| *allowed) {
                None => Ok(Ok(names.len())),
                Some((name, _)) => Err(*name),
            },
        }
    };
    let refused = poll(|_| RIGHTS_ARRIVE_WITHIN, BETWEEN_TRIES, look).await;
    refused.unwrap_or_else(|name| Err(still_granted(account, name).about(&cluster.context)))
}

fn still_granted(account: &Account, name: &str) -> Error {
    let what = if name.is_empty() { "every node".to_owned() } else { format!("node {name}") };
    let resource = if name.is_empty() { "nodes".to_owned() } else { format!("nodes/{name}") };
    Error::new(
        Reason::ProofFailed,
        format!("service account {account} may get nodes/proxy of {what} by its bare name: a role of another owner grants this right, so the token works at a kubelet itself"),
    )
    .hint(format!("Check with: kubectl auth can-i get {resource} --subresource=proxy --as {}", account.user()))
    .hint("Find the binding: kubectl get clusterrolebindings -o wide")
}

fn answered(account: &Account, node: &Node, path: &str, answer: &Answer) -> Error {
    Error::new(
        Reason::ProofFailed,
        format!(
            "the kubelet of {} answers {path} with {} to {account}, but should refuse the request",
            node.name, answer.code
        ),
    )
    .hint("authorization.mode of the kubelet must be Webhook")
    .hint("A kubelet caches a permission for five minutes: run the command again after that")
}

fn about(error: Error, node: &Node) -> Error {
    error.about(format!("the kubelet of {}", node.name))
}

fn failed(node: &Node, path: &str, what: &str) -> Error {
    Error::new(Reason::ProofFailed, format!("the kubelet of {}: {path} {what}", node.name))
        .hint(format!("Read the page as an administrator: kubectl get --raw /api/v1/nodes/{}/proxy{path}", node.name))
}
