//! Prove: with nothing but the new token, the CA and the address, the jobs work and everything else is refused.

use super::observe::Nodes;
use crate::{
    cluster::{Answer, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::Account,
        fence,
        job::{Job, Jobs},
        object::Fence,
        report::{PageReport, ProofReport},
        request::JoinRequest,
    },
};
use futures_util::future::{join_all, try_join_all};
use secrecy::SecretString;
use std::time::{Duration, Instant};

/// RBAC reaches each API server through a watch of its own; until then a right that was granted is refused.
pub(super) const RIGHTS_ARRIVE_WITHIN: Duration = Duration::from_secs(5);
/// An API server reads its policies once a second (apiserver `policy_source.go`, `policyRefreshIntervalDefault`),
/// each on its own clock: a fence that holds nowhere after this does not hold.
pub(super) const FENCE_HOLDS_WITHIN: Duration = Duration::from_secs(3);
/// A new policy must hold for longer than that second, on connections that may reach other API servers.
pub(super) const POLICY_HOLDS_FOR: Duration = Duration::from_millis(1100);
pub(super) const BETWEEN_TRIES: Duration = Duration::from_millis(150);

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
    pub nodes: &'a Nodes,
    pub fence: FenceState,
}

impl Proof<'_> {
    /// How many requests it sends at once: worth as many connections, opened while the cluster is observed.
    pub fn connections(request: &JoinRequest) -> usize {
        let refusals = if request.fence == Fence::Off { 0 } else { fence::forbidden_paths("", &request.jobs).len() };
        1 + request.jobs.iter().len() + refusals
    }

    /// The proof itself. The pages and the fence are tried at the same time.
    ///
    /// # Errors
    /// [`Reason::ProofFailed`], [`Reason::KubeletForbidden`], [`Reason::AccountRefused`], [`Reason::FenceNotEnforced`].
    pub async fn run(&self, scraper: &Scraper, token: &SecretString) -> Result<ProofReport> {
        let (pages, refused) = self.parts(scraper, token).await;
        // A token that is refused altogether says more than a fence that is not seen.
        let pages = pages?;
        Ok(ProofReport { refused: refused?, ..pages })
    }

    /// The same in parts: what can be read, and how many other requests are refused.
    pub async fn parts(&self, scraper: &Scraper, token: &SecretString) -> (Result<ProofReport>, Result<usize>) {
        let first = &self.nodes.candidates[0];
        let (rights, refused) = tokio::join!(self.rights(scraper, token), self.fence(scraper, token, first));
        let pages =
            rights.map(|(nodes, node, pages)| ProofReport { nodes, node, pages, refused: 0, renewals_refused: None });
        (pages, refused)
    }

    /// Lists the nodes and reads a page of every job, of the first node that can be reached.
    async fn rights(&self, scraper: &Scraper, token: &SecretString) -> Result<(u64, String, Vec<PageReport>)> {
        let started = Instant::now();
        let candidates = &self.nodes.candidates;
        let mut tried = 0;
        loop {
            let node = &candidates[tried];
            let (nodes, pages) = tokio::join!(
                scraper.get("/api/v1/nodes?limit=1", Some(token)),
                try_join_all(self.jobs.iter().map(|job| self.page(scraper, token, node, job))),
            );
            let outcome = count_nodes(&nodes?).and_then(|nodes| Ok((nodes, node.clone(), pages?)));
            match outcome {
                Err(Miss::NotYet(_)) if started.elapsed() < RIGHTS_ARRIVE_WITHIN => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(Miss::OtherNode(_)) if tried + 1 < candidates.len() => tried += 1,
                Err(Miss::NotYet(error) | Miss::OtherNode(error) | Miss::Final(error)) => return Err(error),
                Ok(proven) => return Ok(proven),
            }
        }
    }

    async fn page(&self, scraper: &Scraper, token: &SecretString, node: &str, job: Job) -> Result<PageReport, Miss> {
        let path = format!("/api/v1/nodes/{node}/proxy{}", job.metrics_path());
        let answer = scraper.get(&path, Some(token)).await.map_err(|error| match error.reason {
            // A node that is gone makes the API server wait for longer than we do.
            Reason::Timeout => Miss::OtherNode(error.about(&path)),
            _ => Miss::Final(error.about(&path)),
        })?;
        if fence::is_refusal(self.account, answer.code, &answer.message()) {
            // The fence as it was before this run still stands.
            return Err(Miss::NotYet(failed(&path, "is refused by the fence, which should let it through")));
        }
        judge(&answer, &path)?;
        let samples = answer.body.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
        if samples == 0 {
            return Err(Miss::OtherNode(failed(&path, "answers without a single sample")));
        }
        Ok(PageReport { job: job.to_string(), samples })
    }

    /// Sees every request outside of the jobs refused by our policy's own message; a 403 of RBAC proves nothing.
    /// Returns how many.
    async fn fence(&self, scraper: &Scraper, token: &SecretString, node: &str) -> Result<usize> {
        if self.fence == FenceState::Off {
            return Ok(0);
        }
        let paths = fence::forbidden_paths(node, self.jobs);
        let started = Instant::now();
        while let Some((path, answer)) = self.first_passed(scraper, token, &paths).await? {
            // RBAC that has not arrived refuses these too: it is given the same time as for the pages.
            let patience =
                if answer.code == 403 || answer.code == 401 { RIGHTS_ARRIVE_WITHIN } else { FENCE_HOLDS_WITHIN };
            if started.elapsed() > patience {
                return Err(not_enforced(self.account, &path, &answer));
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        if self.fence == FenceState::New {
            // What the fence may have let through until now; else one page stands for all.
            let mut telling = fence::pages_not_chosen(node, self.jobs);
            if telling.is_empty() {
                telling.extend(paths.first().cloned());
            }
            self.fence_stands(scraper, token, &telling).await?;
        }
        Ok(paths.len())
    }

    /// Keeps asking, each time over a new connection, until the fence has held for more than a second in one piece.
    async fn fence_stands(&self, scraper: &Scraper, token: &SecretString, paths: &[String]) -> Result<()> {
        let started = Instant::now();
        let mut holds_since = started;
        while holds_since.elapsed() < POLICY_HOLDS_FOR {
            tokio::time::sleep(BETWEEN_TRIES).await;
            let fresh = scraper.fresh()?;
            if let Some((path, answer)) = self.first_passed(&fresh, token, paths).await? {
                if started.elapsed() > FENCE_HOLDS_WITHIN {
                    return Err(not_enforced(self.account, &path, &answer));
                }
                holds_since = Instant::now();
            }
        }
        Ok(())
    }

    /// The first of the paths that the fence did not refuse.
    async fn first_passed(
        &self,
        scraper: &Scraper,
        token: &SecretString,
        paths: &[String],
    ) -> Result<Option<(String, Answer)>> {
        let answers = join_all(paths.iter().map(|path| scraper.get(path, Some(token)))).await;
        for (path, answer) in paths.iter().zip(answers) {
            let answer = answer?;
            if !fence::is_refusal(self.account, answer.code, &answer.message()) {
                return Ok(Some((path.clone(), answer)));
            }
        }
        Ok(None)
    }
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

/// The kubelet asks who may read it, and a proxied request carries the API server's identity, not the account's
/// (prometheus#4633).
pub(super) fn kubelet_forbidden(path: &str, message: &str) -> Error {
    let user =
        message.strip_prefix("Forbidden (user=").and_then(|rest| rest.split(',').next()).unwrap_or("the API server");
    let user = crate::model::shell::word(user);
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
}
