//! Prove: with nothing but the new token, the CA and the address, the jobs work and everything else is refused.

pub mod answers;
pub mod kubelets;
pub mod live;
pub mod patience;
pub mod renewal;
pub(in crate::stages) mod shown;

use super::poll::poll;
use super::prepare::{kubelets::Kubelets, nodes::Nodes};
use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{Answer, Cluster, Extent, List, MetricsPage, Scraper},
    error::{Error, Reason, Result},
    model::{
        account::{
            Account,
            fence::{self, Forbidden},
        },
        job::{
            Discovery, Job, Jobs, Selector,
            exposition::FallbackProtocol,
            pod,
            route::{Node, NodesByReadiness, Pins, Route},
            target::Target,
        },
        report::{PageReport, ProofReport, UnreachableJob},
        store::record::Record,
        text::{
            encoding::is_base64_url,
            json,
            limits::{CONTINUE, LIST_PAGES, OBJECT, PAGE_ITEMS},
            names::Namespace,
        },
    },
};
use answers::{
    Miss, count_nodes, failed, got_through, is_of_the_target, judge, judge_node, judge_page, judge_target, no_pod,
    unless_not_yet,
};
use futures_util::future::{join_all, try_join_all};
use kubelets::KubeletProof;
use patience::{BETWEEN_TRIES, RIGHTS_ARRIVE_WITHIN, refused, stays_refused};
use serde_json::Value;
use shown::{Seen, first_shown};
use std::ops::ControlFlow;
use tokio::time::Instant;

/// How many pods of a job are tried until one gives its page.
const PODS_TRIED: usize = 3;

/// What is known of the fence before the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FenceState {
    /// `--fence=off`
    Off,
    Standing,
    /// Created or changed by this run at this time.
    New(Instant),
}

/// What a proof is made with.
pub struct Proof<'a> {
    pub account: &'a Account,
    pub jobs: &'a Jobs,
    pub federate_match: &'a [Selector],
    /// How pages without a content type of metrics are read.
    pub fallback: Option<FallbackProtocol>,
    /// None if no job needs any.
    pub nodes: Option<&'a Nodes>,
    pub fence: FenceState,
    /// The targets that the fence admitted before this run; none if they are unknown.
    pub former: Option<&'a [Target]>,
    /// Of that, what it lets through until the new jobs are in use.
    pub until_delivered: &'a [Target],
    /// Asked where the jobs go straight to them.
    pub kubelets: &'a Kubelets,
    pub pages: Pages,
}

/// The pages that a proof reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Every job must give one.
    Every,
    /// Jobs whose targets are away are left out. A renewal goes on without them: with the old token all the others would
    /// die too.
    OfTargetsThatAnswer,
    /// One, of the first job that goes through the API server, for a proof that is repeated every few minutes.
    One,
}

impl<'a> Proof<'a> {
    /// What a token in use can prove: the jobs do not change.
    pub fn of_record(
        record: &'a Record,
        account: &'a Account,
        jobs: &'a Jobs,
        nodes: Option<&'a Nodes>,
        kubelets: &'a Kubelets,
        pages: Pages,
    ) -> Self {
        Self {
            account,
            jobs,
            federate_match: &record.federate_match,
            fallback: record.fallback_scrape_protocol,
            nodes,
            fence: if record.fenced { FenceState::Standing } else { FenceState::Off },
            former: Some(&[]),
            until_delivered: &[],
            kubelets,
            pages,
        }
    }
}

impl Proof<'_> {
    /// The proof itself. The pages and the fence are tried at the same time.
    ///
    /// # Errors
    /// [`Reason::ProofFailed`], [`Reason::KubeletForbidden`], [`Reason::AccountRefused`], [`Reason::FenceNotEnforced`],
    /// [`Reason::TargetForbidden`], [`Reason::TargetNotFound`], [`Reason::TargetUnavailable`].
    pub async fn run(&self, scraper: &Scraper, token: &BearerToken) -> Result<ProofReport> {
        let (pages, refused) = self.parts(scraper, token).await;
        // A token that is refused altogether says more than a fence that is not seen.
        let pages = pages?;
        Ok(ProofReport { refused: refused?, ..pages })
    }

    /// The same in parts: what can be read, and how many other requests are refused.
    pub async fn parts(&self, scraper: &Scraper, token: &BearerToken) -> (Result<ProofReport>, Result<usize>) {
        let (pages, refused) = tokio::join!(self.pages(scraper, token), self.fence(scraper, token));
        (pages, refused)
    }

    /// The jobs whose pages are read.
    fn read(&self) -> Vec<&Job> {
        let is_proxied = |job: &&Job| !job.is_of_nodes() || self.jobs.route().is_proxied();
        match self.pages {
            Pages::Every | Pages::OfTargetsThatAnswer => self.jobs.iter().collect(),
            Pages::One => self.jobs.iter().filter(is_proxied).take(1).collect(),
        }
    }

    async fn pages(&self, scraper: &Scraper, token: &BearerToken) -> Result<ProofReport> {
        let others = self.read().into_iter().filter(|job| !job.is_of_nodes());
        let (of_nodes, others) = tokio::join!(
            self.of_nodes(scraper, token),
            join_all(others.map(async |job| (job, self.elsewhere(scraper, token, job).await))),
        );
        let (nodes, seen) = of_nodes?.unzip();
        let mut report = ProofReport { nodes: nodes.unwrap_or_default(), ..ProofReport::default() };
        if let Some(Seen { node, pages, count, without }) = seen.flatten() {
            report = ProofReport { node: Some(node), pages, nodes_read: count, nodes_without_pages: without, ..report };
        }
        for (job, outcome) in others {
            match outcome {
                Ok(page) => report.pages.push(page),
                Err(error) if self.pages != Pages::Every && is_of_the_target(error.reason) => {
                    report.away.push(UnreachableJob { job: job.clone(), error });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// How many nodes there are, and what was seen of some; none if no kubelet can be reached from here.
    async fn of_nodes(&self, scraper: &Scraper, token: &BearerToken) -> Result<Option<(u64, Option<Seen>)>> {
        let Some(nodes) = self.nodes else { return Ok(None) };
        let Self { account, jobs, kubelets, .. } = *self;
        let seen = async {
            if jobs.route().is_proxied() {
                return self.through_the_api_server(scraper, token, nodes).await.map(Some);
            }
            KubeletProof { account, jobs, kubelets }.of_jobs(scraper, token).await
        };
        let (count, seen) = tokio::join!(self.count_nodes(scraper, token), seen);
        // What the API server itself refuses says more than what its nodes answer.
        Ok(Some((count?, seen?)))
    }

    /// Lists the nodes as soon as the right to that has arrived.
    async fn count_nodes(&self, scraper: &Scraper, token: &BearerToken) -> Result<u64> {
        let one = List::Nodes(None).first(1);
        let look = async || match scraper.get(&one, Some(token)).await {
            Ok(answer) => unless_not_yet(count_nodes(&answer)),
            Err(error) => Ok(Err(error)),
        };
        let all = poll(|_| RIGHTS_ARRIVE_WITHIN, BETWEEN_TRIES, look).await??;
        // With a selector a list does not say how many items remain.
        match (self.jobs.node_selector(), self.nodes) {
            (None, _) => Ok(all),
            (Some(_), Some(nodes)) if !nodes.are_more() => Ok(nodes.total),
            (Some(_), _) => {
                let NodesByReadiness { ready, others } = self.every_node(scraper, token).await?;
                Ok((ready.len() + others.len()) as u64)
            }
        }
    }

    /// Reads a page of every job of nodes. Those that are ready come first.
    async fn through_the_api_server(&self, scraper: &Scraper, token: &BearerToken, nodes: &Nodes) -> Result<Seen> {
        // A node that came since these were pinned proves nothing. A record does not have their names, and the API server
        // refuses such a node.
        let pins = self.jobs.route().pins();
        let may_be_unpinned = pins.is_some_and(Pins::is_empty);
        let is_meant = |node: &Node| pins.is_none_or(|pins| pins.is_empty() || pins.contains(node));
        let mut few: Vec<Node> = nodes.ready().iter().filter(|node| is_meant(node)).cloned().collect();
        if self.pages == Pages::One {
            few.truncate(1);
        }
        let others = async || {
            let mut all = if nodes.are_more() { self.every_node(scraper, token).await? } else { nodes.few() };
            all.retain(is_meant);
            Ok(all)
        };
        let read = async |node: &Node, extent: Extent| {
            let look = async || {
                let jobs = self.read().into_iter().filter(|job| job.is_of_nodes());
                match try_join_all(jobs.map(|job| self.page_of_node(scraper, token, node, job, extent))).await {
                    Err(Miss::NotYet(error)) => Err(error),
                    outcome => Ok(outcome),
                }
            };
            let late = |error| Err(if may_be_unpinned { Miss::OtherNode(error) } else { Miss::Final(error) });
            poll(|_| RIGHTS_ARRIVE_WITHIN, BETWEEN_TRIES, look).await.unwrap_or_else(late)
        };
        first_shown(few, others, read).await
    }

    /// All nodes as the token sees them.
    async fn every_node(&self, scraper: &Scraper, token: &BearerToken) -> Result<NodesByReadiness> {
        let mut nodes = NodesByReadiness::default();
        let take = |node: &Value| {
            nodes.add(node);
            ControlFlow::Continue(())
        };
        self.each_item(scraper, token, List::Nodes(self.jobs.node_selector()), take).await.map_err(Miss::into_error)?;
        Ok(nodes)
    }

    async fn page_of_node(
        &self,
        scraper: &Scraper,
        token: &BearerToken,
        node: &Node,
        job: &Job,
        extent: Extent,
    ) -> Result<PageReport, Miss> {
        let path = self.jobs.target(job).page(&self.jobs.route().subject(node));
        let page = self.metrics(scraper, token, &path, extent, None).await?;
        Ok(PageReport { job: job.to_string(), samples: judge_node(&page, &path)? })
    }

    /// Reads the page of a job that has nothing to do with nodes, as soon as the rights to it have arrived.
    async fn elsewhere(&self, scraper: &Scraper, token: &BearerToken, job: &Job) -> Result<PageReport> {
        let look = async || {
            unless_not_yet(match job.discovery() {
                Discovery::Pods(namespace) => self.page_of_a_pod(scraper, token, job, namespace).await,
                Discovery::Nodes | Discovery::Static => self.page(scraper, token, job, "").await,
            })
        };
        poll(|_| RIGHTS_ARRIVE_WITHIN, BETWEEN_TRIES, look).await?
    }

    async fn page_of_a_pod(
        &self,
        scraper: &Scraper,
        token: &BearerToken,
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
        token: &BearerToken,
        job: &Job,
        namespace: &Namespace,
    ) -> Result<Vec<String>, Miss> {
        let mut found = Vec::new();
        let take = |pod: &Value| {
            found.extend(pod::subject(job, pod));
            if found.len() < PODS_TRIED { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        self.each_item(scraper, token, List::Pods(namespace), take).await?;
        Ok(found)
    }

    /// Reads a list page by page, until `take` has enough.
    async fn each_item(
        &self,
        scraper: &Scraper,
        token: &BearerToken,
        list: List<'_>,
        mut take: impl FnMut(&Value) -> ControlFlow<()>,
    ) -> Result<(), Miss> {
        let path = list.to_string();
        let mut next = list.first(PAGE_ITEMS);
        let mut before = String::new();
        for _ in 0..LIST_PAGES {
            let answer = self.admitted(scraper.page_of_list(&next, token).await, &next)?;
            judge(&answer, &path)?;
            let mut goes_on = ControlFlow::Continue(());
            let page = json::list(answer.body.as_bytes(), OBJECT.memory, |item, _| {
                if goes_on.is_continue() {
                    goes_on = take(&item);
                }
                Ok(())
            });
            let more = page.map_err(|_| failed(&path, "does not answer with a list"))?.more;
            if goes_on.is_break() || more.is_empty() {
                return Ok(());
            }
            if more == before || more.len() > CONTINUE || !is_base64_url(&more) {
                return Err(failed(&path, "does not answer with a list: its continue leads nowhere").into());
            }
            next = list.next(PAGE_ITEMS, &more);
            before = more;
        }
        Err(Error::new(Reason::LimitExceeded, format!("{path} has more than {LIST_PAGES} pages"))
            .hint(format!("Check how long it is: kubectl get --raw '{path}?limit=1'"))
            .into())
    }

    async fn page(&self, scraper: &Scraper, token: &BearerToken, job: &Job, subject: &str) -> Result<PageReport, Miss> {
        let path = self.jobs.target(job).page(subject);
        let page = format!("{path}{}", query(job, self.federate_match));
        let fallback = self.fallback.filter(|_| job.takes_fallback());
        let page = self.metrics(scraper, token, &page, Extent::Whole, fallback).await?;
        let judged = if job.is_of_the_api_server() { judge_page } else { judge_target };
        Ok(PageReport { job: job.to_string(), samples: judged(&page, job, &path)? })
    }

    async fn metrics(
        &self,
        scraper: &Scraper,
        token: &BearerToken,
        path: &str,
        extent: Extent,
        fallback: Option<FallbackProtocol>,
    ) -> Result<MetricsPage, Miss> {
        let page = scraper.page(path, token, extent, fallback).await;
        let page = page.map_err(|error| no_answer(error, path))?;
        self.unless_fenced(&page.answer, path)?;
        Ok(page)
    }

    fn admitted(&self, answer: Result<Answer>, path: &str) -> Result<Answer, Miss> {
        let answer = answer.map_err(|error| no_answer(error, path))?;
        self.unless_fenced(&answer, path)?;
        Ok(answer)
    }

    /// Whether an answer is not the fence's.
    fn unless_fenced(&self, answer: &Answer, path: &str) -> Result<(), Miss> {
        if fence::is_refusal(self.account, answer.code, &answer.message()) {
            // The fence as it was before this run still stands.
            return Err(Miss::NotYet(failed(path, "is refused by the fence, which should admit it")));
        }
        Ok(())
    }

    /// Sees every request outside of the jobs refused by our policy's own message; a 403 of RBAC proves nothing, but
    /// where the right itself has gone. Returns how many.
    pub(in crate::stages) async fn fence(&self, scraper: &Scraper, token: &BearerToken) -> Result<usize> {
        if self.fence == FenceState::Off {
            return Ok(0);
        }
        let node = self.nodes.map(|nodes| &nodes.candidates[0]);
        let former = fence::formerly_allowed(node, self.former.unwrap_or_default(), self.jobs, self.until_delivered);
        let mut forbidden = fence::forbidden(node, self.jobs, self.until_delivered);
        forbidden.extend(former.iter().filter(|one| !forbidden.contains(one)).cloned().collect::<Vec<_>>());
        let look = async || self.first_passed(scraper, token, &forbidden).await;
        let is_new = matches!(self.fence, FenceState::New(_));
        refused(is_new, look, |(_, answer)| answer)
            .await?
            .map_err(|(path, answer)| self.not_refused(&path, &answer))?;
        // Where RBAC refuses all of it anyway, the fence is never asked.
        if let FenceState::New(since) = self.fence
            && forbidden.iter().any(|one| !one.by_rbac)
        {
            // What the fence may have let through until now; else one request stands for all.
            let telling = match self.former {
                None => &forbidden[..],
                Some(_) if former.is_empty() => &forbidden[..forbidden.len().min(1)],
                Some(_) => &former,
            };
            let look = async || self.first_passed(&scraper.fresh(), token, telling).await;
            stays_refused(since, look).await?.map_err(|(path, answer)| self.not_refused(&path, &answer))?;
        }
        Ok(forbidden.len())
    }

    /// The first of these that was not refused by who should refuse it. One that got through says more than one of which
    /// the fence was not asked.
    async fn first_passed(
        &self,
        scraper: &Scraper,
        token: &BearerToken,
        forbidden: &[Forbidden],
    ) -> Result<Option<(String, Answer)>> {
        let answers = join_all(forbidden.iter().map(|one| scraper.try_path(&one.path, token))).await;
        let (mut not_asked, mut missed) = (None, None);
        for (one, answer) in forbidden.iter().zip(answers) {
            match answer {
                Ok(answer) if one.by_rbac && answer.code == 403 && answer.is_of_the_api_server() => {}
                Ok(answer) if fence::is_refusal(self.account, answer.code, &answer.message()) => {}
                Ok(answer) if got_through(&answer) => return Ok(Some((one.path.clone(), answer))),
                Ok(answer) => not_asked = not_asked.or(Some((one.path.clone(), answer))),
                Err(error) => missed = missed.or(Some(error)),
            }
        }
        missed.map_or(Ok(not_asked), Err)
    }

    fn not_refused(&self, path: &str, answer: &Answer) -> Error {
        let (code, account) = (answer.code, self.account);
        if !got_through(answer) {
            let what = format!("answers {code} to the new token before the fence is asked: {}", answer.message());
            return failed(path, &what);
        }
        let policy =
            format!("validatingadmissionpolicy.admissionregistration.k8s.io/{}", account.cluster_scoped_name());
        let should = format!("{path} answers {code} to the new token, where the policy should refuse the request");
        if self.fence == FenceState::Standing {
            return Error::new(
                Reason::FenceNotEnforced,
                format!("this API server does not enforce {policy}: {should}"),
            )
            .hint("Was the policy or its binding deleted or changed? Is the admission plugin ValidatingAdmissionPolicy disabled?");
        }
        Error::new(
            Reason::FenceNotEnforced,
            format!("this API server accepts {policy} and does not enforce it: {should}"),
        )
        .hint("Is the admission plugin ValidatingAdmissionPolicy disabled? (--disable-admission-plugins of kube-apiserver)")
        .hint("Under load it reads its policies later; then run the command again")
        .hint(format!("To join without a fence: --fence=off; but {}", fence::WITHOUT))
    }
}

/// How many samples the caller sees where a job would read that is not scraped from nodes.
///
/// # Errors
/// [`Reason::Forbidden`] if it is the API server that refuses the caller; [`Reason::TargetForbidden`],
/// [`Reason::TargetNotFound`], [`Reason::TargetUnavailable`].
pub async fn shown_to_the_caller(
    cluster: &Cluster,
    job: &Job,
    federate_match: &[Selector],
    fallback: Option<FallbackProtocol>,
) -> Result<usize> {
    let subject = match job.discovery() {
        Discovery::Pods(namespace) => {
            let mut first = None;
            let look = |pod: &Value| first = first.take().or_else(|| pod::subject(job, pod));
            cluster.for_each(List::Pods(namespace), look).await?;
            first.ok_or_else(|| no_pod(job, namespace))?
        }
        Discovery::Nodes | Discovery::Static => String::new(),
    };
    let path = Target::of(job, &Route::ApiServer).page(&subject);
    let fallback = fallback.filter(|_| job.takes_fallback());
    let page = cluster.page(&format!("{path}{}", query(job, federate_match)), Extent::Whole, fallback).await?;
    let answer = &page.answer;
    if matches!(answer.code, 401 | 403) && answer.is_of_the_api_server() {
        let message = format!("{path} answers your request with {}: {}", answer.code, answer.message());
        return Err(
            Error::new(Reason::Forbidden, message).hint("After the join, the account may have this right nevertheless")
        );
    }
    judge_target(&page, job, &path).map_err(Miss::into_error)
}

fn no_answer(error: Error, path: &str) -> Miss {
    match error.reason {
        // A node or pod that is gone makes the API server wait for longer than we do.
        Reason::Timeout => Miss::OtherNode(error.about(path)),
        _ => Miss::Final(error.about(path)),
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
