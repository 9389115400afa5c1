//! Prove: with nothing but the new token, the CA and the address, the jobs work and everything else is refused.

pub mod kubelets;
pub mod renewal;

use super::prepare::{kubelets::Kubelets, observe::Nodes};
use crate::{
    cluster::{Answer, Cluster, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::{
            Account,
            desired::Desired,
            fence::{self, Forbidden},
        },
        job::{
            Discovery, Job, Jobs, Selector, pod,
            route::{KUBELET_PORT, Node, Route},
            target::Target,
        },
        report::{Away, PageReport, ProofReport},
        text::names::Namespace,
    },
};
use futures_util::future::{join_all, try_join_all};
use kubelets::{KubeletProof, Seen};
use secrecy::SecretString;
use serde_json::Value;
use std::time::{Duration, Instant};

/// RBAC reaches each API server through a watch of its own; until then a right that was granted is refused.
pub(in crate::stages) const RIGHTS_ARRIVE_WITHIN: Duration = Duration::from_secs(5);
/// An API server reads its policies once a second (apiserver `policy_source.go`, `policyRefreshIntervalDefault`),
/// each on its own clock: a fence that holds nowhere after this does not hold.
pub(in crate::stages) const FENCE_HOLDS_WITHIN: Duration = Duration::from_secs(3);
/// A new policy must hold for longer than that second, on connections that may reach other API servers.
pub(in crate::stages) const POLICY_HOLDS_FOR: Duration = Duration::from_millis(1100);
/// How many pods of a job are tried until one gives its page.
const PODS_TRIED: usize = 3;
/// Enough to count all.
const ONE_NODE: &str = "/api/v1/nodes?limit=1";
pub(in crate::stages) const BETWEEN_TRIES: Duration = Duration::from_millis(150);

/// What is known of the fence before the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// `--fence=off`
    Off,
    Standing,
    /// Created or changed by this run.
    New,
}

/// What a proof is made with.
pub struct Proof<'a> {
    pub account: &'a Account,
    pub jobs: &'a Jobs,
    pub federate_match: &'a [Selector],
    /// None if no job needs any.
    pub nodes: Option<&'a Nodes>,
    pub fence: FenceState,
    /// What the fence let through before this run; none if nobody knows.
    pub former: Option<&'a [Target]>,
    /// Of that, what it lets through until the new jobs are in use.
    pub until_delivered: &'a [Target],
    /// Asked where the jobs go straight to them.
    pub kubelets: &'a Kubelets,
    /// Whether every job must give a page. A renewal goes on without those whose targets are away: with the old token
    /// all the others would die too.
    pub needs_every_page: bool,
}

impl Proof<'_> {
    /// How many requests it sends at once: worth as many connections, opened while the cluster is observed.
    pub fn connections(desired: &Desired) -> usize {
        let any = Node { name: String::new(), port: KUBELET_PORT, address: None };
        let node = desired.jobs.have_nodes().then_some(&any);
        let refusals = if desired.fence.is_none() { 0 } else { fence::forbidden(node, &desired.jobs, &[]).len() };
        usize::from(node.is_some()) + desired.jobs.iter().len() + refusals
    }

    /// The proof itself. The pages and the fence are tried at the same time.
    ///
    /// # Errors
    /// [`Reason::ProofFailed`], [`Reason::KubeletForbidden`], [`Reason::AccountRefused`], [`Reason::FenceNotEnforced`],
    /// [`Reason::TargetForbidden`], [`Reason::TargetNotFound`], [`Reason::TargetUnavailable`].
    pub async fn run(&self, scraper: &Scraper, token: &SecretString) -> Result<ProofReport> {
        let (pages, refused) = self.parts(scraper, token).await;
        // A token that is refused altogether says more than a fence that is not seen.
        let pages = pages?;
        Ok(ProofReport { refused: refused?, ..pages })
    }

    /// The same in parts: what can be read, and how many other requests are refused.
    pub async fn parts(&self, scraper: &Scraper, token: &SecretString) -> (Result<ProofReport>, Result<usize>) {
        let (pages, refused) = tokio::join!(self.pages(scraper, token), self.fence(scraper, token));
        (pages, refused)
    }

    async fn pages(&self, scraper: &Scraper, token: &SecretString) -> Result<ProofReport> {
        let others = self.jobs.iter().filter(|job| !job.is_of_nodes());
        let (of_nodes, others) = tokio::join!(
            self.of_nodes(scraper, token),
            join_all(others.map(async |job| (job, self.elsewhere(scraper, token, job).await))),
        );
        let (nodes, seen) = of_nodes?.unzip();
        let (node, mut pages) = match seen.flatten() {
            Some(Seen { node, pages }) => (Some(node), pages),
            None => (None, Vec::new()),
        };
        let nodes = nodes.unwrap_or_default();
        let mut away = Vec::new();
        for (job, outcome) in others {
            match outcome {
                Ok(page) => pages.push(page),
                Err(error) if !self.needs_every_page && is_of_the_target(error.reason) => {
                    away.push(Away { job: job.clone(), error });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ProofReport { nodes, node, pages, away, refused: 0, refused_by_kubelet: None, renewals_refused: None })
    }

    /// How many nodes there are, and what was seen of one; none if no kubelet can be reached from here.
    async fn of_nodes(&self, scraper: &Scraper, token: &SecretString) -> Result<Option<(u64, Option<Seen>)>> {
        let Some(nodes) = self.nodes else { return Ok(None) };
        if self.jobs.route().is_proxied() {
            return self.through_the_api_server(scraper, token, nodes).await.map(Some);
        }
        let Self { account, jobs, kubelets, .. } = *self;
        let proof = KubeletProof { account, jobs, kubelets };
        let (count, seen) = tokio::join!(self.count_nodes(scraper, token), proof.of_jobs(scraper, token));
        Ok(Some((count?, seen?)))
    }

    /// Lists the nodes as soon as the right to that has arrived.
    async fn count_nodes(&self, scraper: &Scraper, token: &SecretString) -> Result<u64> {
        let started = Instant::now();
        loop {
            match count_nodes(&scraper.get(ONE_NODE, Some(token)).await?) {
                Err(Miss::NotYet(_)) if started.elapsed() < RIGHTS_ARRIVE_WITHIN => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(Miss::NotYet(error) | Miss::OtherNode(error) | Miss::Final(error)) => return Err(error),
                Ok(nodes) => return Ok(nodes),
            }
        }
    }

    /// Lists the nodes and reads a page of every job of nodes, of the first node that can be reached.
    async fn through_the_api_server(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        Nodes { candidates, .. }: &Nodes,
    ) -> Result<(u64, Option<Seen>)> {
        let started = Instant::now();
        let mut tried = 0;
        loop {
            let node = &candidates[tried];
            let jobs = self.jobs.iter().filter(|job| job.is_of_nodes());
            let (nodes, pages) = tokio::join!(
                scraper.get(ONE_NODE, Some(token)),
                try_join_all(jobs.map(|job| self.page_of_node(scraper, token, node, job))),
            );
            let outcome = count_nodes(&nodes?).and_then(|nodes| Ok((nodes, node.name.clone(), pages?)));
            match outcome {
                Err(Miss::NotYet(_)) if started.elapsed() < RIGHTS_ARRIVE_WITHIN => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(Miss::OtherNode(_)) if tried + 1 < candidates.len() => tried += 1,
                // Of several, one may be new and not pinned yet; whoever has only the token cannot know.
                Err(Miss::NotYet(_)) if self.jobs.route().pins().is_some() && tried + 1 < candidates.len() => {
                    tried += 1;
                }
                Err(Miss::NotYet(error) | Miss::OtherNode(error) | Miss::Final(error)) => return Err(error),
                Ok((nodes, node, pages)) => return Ok((nodes, Some(Seen { node, pages }))),
            }
        }
    }

    async fn page_of_node(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        node: &Node,
        job: &Job,
    ) -> Result<PageReport, Miss> {
        let path = self.jobs.target(job).page(&self.jobs.route().subject(node));
        let answer = self.get(scraper, token, &path).await?;
        judge(&answer, &path)?;
        match samples(&answer) {
            0 => Err(Miss::OtherNode(failed(&path, "answers without a single sample"))),
            samples => Ok(PageReport { job: job.to_string(), samples }),
        }
    }

    /// Reads the page of a job that has nothing to do with nodes, as soon as the rights to it have arrived.
    async fn elsewhere(&self, scraper: &Scraper, token: &SecretString, job: &Job) -> Result<PageReport> {
        let started = Instant::now();
        loop {
            let outcome = match job.discovery() {
                Discovery::Pods(namespace) => self.page_of_a_pod(scraper, token, job, namespace).await,
                Discovery::Nodes | Discovery::Static => self.page(scraper, token, job, "").await,
            };
            match outcome {
                Err(Miss::NotYet(_)) if started.elapsed() < RIGHTS_ARRIVE_WITHIN => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(Miss::NotYet(error) | Miss::OtherNode(error) | Miss::Final(error)) => return Err(error),
                Ok(page) => return Ok(page),
            }
        }
    }

    async fn page_of_a_pod(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        job: &Job,
        namespace: &Namespace,
    ) -> Result<PageReport, Miss> {
        let mut last = Miss::Final(no_pod(job, namespace));
        for subject in self.pods(scraper, token, job, namespace).await? {
            match self.page(scraper, token, job, &subject).await {
                Err(miss @ Miss::OtherNode(_)) => last = miss,
                outcome => return outcome,
            }
        }
        Err(last)
    }

    /// A few pods that the job scrapes, listed with nothing but the token.
    async fn pods(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        job: &Job,
        namespace: &Namespace,
    ) -> Result<Vec<String>, Miss> {
        let list = format!("/api/v1/namespaces/{namespace}/pods");
        let mut next = format!("{list}?limit=500");
        loop {
            let answer = self.get(scraper, token, &next).await?;
            judge(&answer, &list)?;
            let pods: Value = serde_json::from_str(&answer.body)
                .map_err(|_| failed(&list, "answers with something that is no list of pods"))?;
            let items = pods["items"].as_array().into_iter().flatten();
            let found: Vec<String> = items.filter_map(|pod| pod::subject(job, pod)).take(PODS_TRIED).collect();
            match pods["metadata"]["continue"].as_str() {
                // It goes into a URL, and is base64 of the kind that is made for that.
                Some(more) if found.is_empty() && !more.is_empty() => {
                    next = format!("{list}?limit=500&continue={more}");
                }
                _ => return Ok(found),
            }
        }
    }

    async fn page(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        job: &Job,
        subject: &str,
    ) -> Result<PageReport, Miss> {
        let path = self.jobs.target(job).page(subject);
        let answer = self.get(scraper, token, &format!("{path}{}", query(job, self.federate_match))).await?;
        if *job == Job::Apiserver {
            judge(&answer, &path)?;
        } else {
            judge_target(&answer, &path)?;
        }
        match samples(&answer) {
            0 => Err(Miss::OtherNode(without_samples(job, &path))),
            samples => Ok(PageReport { job: job.to_string(), samples }),
        }
    }

    async fn get(&self, scraper: &Scraper, token: &SecretString, path: &str) -> Result<Answer, Miss> {
        let answer = scraper.get(path, Some(token)).await.map_err(|error| match error.reason {
            // A node or pod that is gone makes the API server wait for longer than we do.
            Reason::Timeout => Miss::OtherNode(error.about(path)),
            _ => Miss::Final(error.about(path)),
        })?;
        if fence::is_refusal(self.account, answer.code, &answer.message()) {
            // The fence as it was before this run still stands.
            return Err(Miss::NotYet(failed(path, "is refused by the fence, which should let it through")));
        }
        Ok(answer)
    }

    /// Sees every request outside of the jobs refused by our policy's own message; a 403 of RBAC proves nothing, but
    /// where the right itself has gone. Returns how many.
    pub(in crate::stages) async fn fence(&self, scraper: &Scraper, token: &SecretString) -> Result<usize> {
        if self.fence == FenceState::Off {
            return Ok(0);
        }
        let node = self.nodes.map(|nodes| &nodes.candidates[0]);
        let former = fence::formerly_allowed(node, self.former.unwrap_or_default(), self.jobs, self.until_delivered);
        let mut forbidden = fence::forbidden(node, self.jobs, self.until_delivered);
        forbidden.extend(former.iter().filter(|one| !forbidden.contains(one)).cloned().collect::<Vec<_>>());
        let started = Instant::now();
        while let Some((path, answer)) = self.first_passed(scraper, token, &forbidden).await? {
            // RBAC that has not arrived refuses these too: it is given the same time as for the pages.
            let patience =
                if answer.code == 403 || answer.code == 401 { RIGHTS_ARRIVE_WITHIN } else { FENCE_HOLDS_WITHIN };
            if started.elapsed() > patience {
                return Err(not_enforced(self.account, &path, &answer));
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        // Where RBAC refuses all of it anyway, the fence is never asked.
        if self.fence == FenceState::New && forbidden.iter().any(|one| !one.by_rbac) {
            // What the fence may have let through until now; else one request stands for all.
            let telling = match self.former {
                None => &forbidden[..],
                Some(_) if former.is_empty() => &forbidden[..forbidden.len().min(1)],
                Some(_) => &former,
            };
            self.fence_stands(scraper, token, telling).await?;
        }
        Ok(forbidden.len())
    }

    /// Keeps asking, each time over a new connection, until the fence has held for more than a second in one piece.
    async fn fence_stands(&self, scraper: &Scraper, token: &SecretString, forbidden: &[Forbidden]) -> Result<()> {
        let started = Instant::now();
        let mut holds_since = started;
        while holds_since.elapsed() < POLICY_HOLDS_FOR {
            tokio::time::sleep(BETWEEN_TRIES).await;
            let fresh = scraper.fresh()?;
            if let Some((path, answer)) = self.first_passed(&fresh, token, forbidden).await? {
                if started.elapsed() > FENCE_HOLDS_WITHIN {
                    return Err(not_enforced(self.account, &path, &answer));
                }
                holds_since = Instant::now();
            }
        }
        Ok(())
    }

    /// The first of these that was not refused by who should refuse it.
    async fn first_passed(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        forbidden: &[Forbidden],
    ) -> Result<Option<(String, Answer)>> {
        let answers = join_all(forbidden.iter().map(|one| scraper.get(&one.path, Some(token)))).await;
        for (one, answer) in forbidden.iter().zip(answers) {
            let answer = answer?;
            let by_rbac = one.by_rbac && answer.code == 403 && answer.is_of_the_api_server();
            if !by_rbac && !fence::is_refusal(self.account, answer.code, &answer.message()) {
                return Ok(Some((one.path.clone(), answer)));
            }
        }
        Ok(None)
    }
}

/// How many samples the caller sees where a job would read that is not scraped from nodes.
///
/// # Errors
/// [`Reason::Forbidden`] if it is the API server that refuses the caller; [`Reason::TargetForbidden`],
/// [`Reason::TargetNotFound`], [`Reason::TargetUnavailable`].
pub async fn shown_to_the_caller(cluster: &Cluster, job: &Job, federate_match: &[Selector]) -> Result<usize> {
    let subject = match job.discovery() {
        Discovery::Pods(namespace) => {
            let pods = cluster.list(&format!("/api/v1/namespaces/{namespace}/pods"), "").await?;
            pods.iter().find_map(|pod| pod::subject(job, pod)).ok_or_else(|| no_pod(job, namespace))?
        }
        Discovery::Nodes | Discovery::Static => String::new(),
    };
    let path = Target::of(job, &Route::ApiServer).page(&subject);
    let answer = cluster.page(&format!("{path}{}", query(job, federate_match))).await?;
    if matches!(answer.code, 401 | 403) && answer.is_of_the_api_server() {
        let message = format!("{path} answers {} to you: {}", answer.code, answer.message());
        return Err(Error::new(Reason::Forbidden, message).hint("The account may all the same, once it has joined"));
    }
    match judge_target(&answer, &path) {
        Err(Miss::NotYet(error) | Miss::OtherNode(error) | Miss::Final(error)) => Err(error),
        Ok(()) if samples(&answer) == 0 => Err(without_samples(job, &path)),
        Ok(()) => Ok(samples(&answer)),
    }
}

/// What is asked for at the page of a job.
fn query(job: &Job, federate_match: &[Selector]) -> String {
    if !matches!(job, Job::Federate(_)) {
        return String::new();
    }
    let matches: Vec<String> =
        federate_match.iter().map(|selector| format!("match%5B%5D={}", selector.encoded())).collect();
    format!("?{}", matches.join("&"))
}

/// Whether the token came as far as it should. An API server waits for a target that is gone for longer than we do.
fn is_of_the_target(reason: Reason) -> bool {
    matches!(reason, Reason::TargetForbidden | Reason::TargetNotFound | Reason::TargetUnavailable | Reason::Timeout)
}

/// How many lines of a page are samples.
pub(in crate::stages) fn samples(answer: &Answer) -> usize {
    answer.body.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count()
}

/// A request that did not give what it should, and whether it is worth another try.
enum Miss {
    NotYet(Error),
    OtherNode(Error),
    Final(Error),
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

fn count_nodes(answer: &Answer) -> Result<u64, Miss> {
    let path = "/api/v1/nodes";
    judge(answer, path)?;
    let list: serde_json::Value = serde_json::from_str(&answer.body)
        .map_err(|_| Miss::Final(failed(path, "answers with something that is no list of nodes")))?;
    let remaining = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default();
    Ok(list["items"].as_array().map_or(0, Vec::len) as u64 + remaining)
}

fn judge(answer: &Answer, path: &str) -> Result<(), Miss> {
    let message = answer.message();
    match answer.code {
        200 => Ok(()),
        401 => Err(Miss::NotYet(
            Error::new(Reason::AccountRefused, format!("{path} answers 401 to the new token"))
                .hint("A front such as Rancher or Teleport may not take service account tokens: name the API server itself with --api-server"),
        )),
        403 if message.starts_with("Forbidden (user=") => Err(Miss::Final(kubelet_forbidden(path, &message))),
        403 => Err(Miss::NotYet(failed(path, &format!("answers 403 to the new token: {message}")))),
        500 | 502 | 503 | 504 => Err(Miss::OtherNode(failed(path, &format!("answers {}: {message}", answer.code)))),
        code => Err(Miss::Final(failed(path, &format!("answers {code}: {message}")))),
    }
}

/// What a Service or a pod answered, or the API server in its place.
fn judge_target(answer: &Answer, path: &str) -> Result<(), Miss> {
    let message = answer.message();
    let unavailable = |what: &str| {
        Error::new(Reason::TargetUnavailable, format!("{path} {what}"))
            .hint(format!("See the same as an administrator: kubectl get --raw {path}"))
    };
    match answer.code {
        200 => Ok(()),
        401 | 403 if !answer.is_of_the_api_server() => Err(Miss::Final(target_forbidden(path, answer.code))),
        401 | 403 => judge(answer, path),
        404 if answer.is_of_the_api_server() => Err(Miss::Final(
            Error::new(Reason::TargetNotFound, format!("{path}: {message}"))
                .hint("Is it another namespace or name? kubectl get services,pods --all-namespaces"),
        )),
        503 if message.contains("no endpoints available") => Err(Miss::OtherNode(
            unavailable("has nothing behind it: there is no such Service, it has no such port, or none of its pods is ready")
                .hint("See what is behind a Service, and its ports: kubectl get endpointslices -n NAMESPACE -l kubernetes.io/service-name=SERVICE"),
        )),
        400 if message.contains("HTTP request to an HTTPS server") => {
            Err(Miss::Final(unavailable("speaks TLS").hint("Write https: before its name")))
        }
        code if message.contains("tls:") && answer.is_of_the_api_server() => Err(Miss::Final(
            unavailable(&format!("answers {code}: {message}")).hint("If it does not speak TLS, leave out https: before its name"),
        )),
        code => Err(Miss::OtherNode(unavailable(&format!("answers {code}: {message}")))),
    }
}

/// An API server takes the Authorization header off before it forwards a request (apiserver
/// `pkg/endpoints/filters/authentication.go`), so whoever asks for one at the other end never sees ours.
fn target_forbidden(path: &str, code: u16) -> Error {
    Error::new(
        Reason::TargetForbidden,
        format!(
            "{path}: the target itself answers {code}. It asks who is there, as kube-rbac-proxy and oauth-proxy do, and an API \
             server forwards no credentials"
        ),
    )
    .hint("Name another port of it that asks nobody, or have it serve its metrics on one")
    .hint("Or federate what a Prometheus in the cluster has of it: --jobs=federate")
}

fn no_pod(job: &Job, namespace: &Namespace) -> Error {
    let error = match job {
        Job::NodeExporter(_, port) => Error::new(
            Reason::TargetNotFound,
            format!(
                "{job}: no running pod in namespace {namespace} is labelled as a node-exporter and has the port {port}"
            ),
        )
        .hint("See where it runs: kubectl get daemonsets --all-namespaces --show-labels"),
        _ => Error::new(
            Reason::TargetNotFound,
            format!(
                "{job}: no running pod in namespace {namespace} has the annotation {}: \"true\" and the path {}",
                pod::SCRAPE,
                job.metrics_path()
            ),
        ),
    };
    error.hint(format!("See what runs there: kubectl get pods -n {namespace} -o yaml"))
}

fn without_samples(job: &Job, path: &str) -> Error {
    let error = Error::new(Reason::TargetUnavailable, format!("{path} answers without a single sample"));
    match job {
        Job::Federate(_) => {
            error.hint("Nothing there fits what is asked for: choose other series with --federate-match")
        }
        _ => error.hint(format!("See the same as an administrator: kubectl get --raw {path}")),
    }
}

/// The kubelet asks who may read it, and a proxied request carries the API server's identity, not the account's
/// (prometheus#4633).
pub(in crate::stages) fn kubelet_forbidden(path: &str, message: &str) -> Error {
    let user =
        message.strip_prefix("Forbidden (user=").and_then(|rest| rest.split(',').next()).unwrap_or("the API server");
    let user = crate::model::text::shell::word(user);
    Error::new(
        Reason::KubeletForbidden,
        format!("{path}: the kubelet refuses the API server's own identity {user}, not our account: {message}"),
    )
    .hint(format!(
        "Grant it what kubeadm grants: kubectl create clusterrolebinding kubelet-api-admin --clusterrole=system:kubelet-api-admin --user={user}"
    ))
    .hint("A kubelet remembers a refusal for half a minute: run this again after that")
}

fn failed(path: &str, what: &str) -> Error {
    Error::new(Reason::ProofFailed, format!("{path} {what}"))
        .hint("See the same as an administrator: kubectl get --raw PATH")
}

fn not_enforced(account: &Account, path: &str, answer: &Answer) -> Error {
    Error::new(
        Reason::FenceNotEnforced,
        format!(
            "this API server accepts validatingadmissionpolicy.admissionregistration.k8s.io/{} and does not enforce it: \
             {path} answers {} to the new token where the policy should refuse it",
            account.cluster_scoped_name(),
            answer.code
        ),
    )
    .hint("Is the admission plugin ValidatingAdmissionPolicy switched off? (--disable-admission-plugins of kube-apiserver)")
    .hint(format!("--fence=off joins all the same, but {}", fence::WITHOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_that_refuses_the_api_server_is_told_from_our_own_rights() {
        let body = "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource(s)=[metrics])";
        let Err(Miss::Final(error)) = judge(&Answer { code: 403, body: body.into() }, "/p") else {
            panic!("not final")
        };
        assert_eq!(error.reason, Reason::KubeletForbidden);
        assert!(error.hints[0].ends_with("--user=kube-apiserver-kubelet-client"), "{:?}", error.hints);
    }

    #[test]
    fn what_a_target_answers_is_told_from_what_the_api_server_does() {
        let status =
            |message: &str| serde_json::json!({ "kind": "Status", "apiVersion": "v1", "message": message }).to_string();
        for (code, body, reason, says) in [
            (401, "Unauthorized\n".to_owned(), Reason::TargetForbidden, "kube-rbac-proxy"),
            (
                403,
                "Forbidden (user=system:anonymous, verb=get, resource=, subresource=)".into(),
                Reason::TargetForbidden,
                "403",
            ),
            (401, status("Unauthorized"), Reason::AccountRefused, "401"),
            (403, status("services \"x\" is forbidden"), Reason::ProofFailed, "is forbidden"),
            (404, status("services \"x\" not found"), Reason::TargetNotFound, "\"x\" not found"),
            (404, "404 page not found".into(), Reason::TargetUnavailable, "answers 404"),
            (503, status("no endpoints available for service \"x\""), Reason::TargetUnavailable, "nothing behind it"),
            (503, status("error trying to reach service: dial tcp"), Reason::TargetUnavailable, "dial tcp"),
            (400, "Client sent an HTTP request to an HTTPS server.".into(), Reason::TargetUnavailable, "speaks TLS"),
        ] {
            let Err(Miss::Final(error) | Miss::OtherNode(error) | Miss::NotYet(error)) =
                judge_target(&Answer { code, body }, "/p")
            else {
                panic!("{code} {says} is fine")
            };
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.message.contains(says) && !error.hints.is_empty(), "{error}");
        }
    }
}
