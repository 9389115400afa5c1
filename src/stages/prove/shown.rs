//! Which nodes show their pages. A cluster has virtual, foreign and dead nodes, so that one node proves nothing.

use super::answers::Miss;
use crate::{
    cluster::Extent,
    error::{Error, Reason, Result},
    model::{
        job::route::{Node, NodesByReadiness},
        report::{NodeWithoutPages, PageReport},
    },
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use std::{collections::VecDeque, time::Duration};
use tokio::time::{Instant, timeout_at};

/// The nodes that are asked at the same time.
const AT_ONCE: usize = 10;
/// How long nodes are asked until one shows its pages. A dead node takes a whole request timeout.
const ONE_WITHIN: Duration = Duration::from_secs(45);
/// How long the others are waited for after that.
const OTHERS_WITHIN: Duration = Duration::from_secs(1);

/// What was seen of some nodes.
#[derive(Debug)]
pub(in crate::stages) struct Seen {
    /// The first that showed its pages whole.
    pub node: String,
    pub pages: Vec<PageReport>,
    /// How many showed their pages.
    pub count: usize,
    /// Those that were asked and did not.
    pub without: Vec<NodeWithoutPages>,
}

/// Asks nodes until one shows its pages: first `few` at the same time, then the `others`, one group after the other. Of
/// the first node the pages are read whole, of the rest only the beginning.
///
/// # Errors
/// The API server's own refusal, which holds for every node. If none shows its pages: what the first answered, with the
/// number of them. Errors of `others`.
pub(in crate::stages) async fn first_shown(
    few: Vec<Node>,
    others: impl AsyncFnOnce() -> Result<NodesByReadiness>,
    read: impl AsyncFn(&Node, Extent) -> Result<Vec<PageReport>, Miss>,
) -> Result<Seen> {
    let ends = Instant::now() + ONE_WITHIN;
    let mut without: Vec<NodeWithoutPages> = Vec::new();
    let mut others = Some(others);
    let mut wave = few;
    let mut rest: VecDeque<Vec<Node>> = VecDeque::new();
    loop {
        if let Some(seen) = ask(&wave, &mut without, ends, &read).await? {
            return Ok(Seen { without, ..seen });
        }
        if Instant::now() >= ends {
            break;
        }
        if let Some(others) = others.take() {
            let NodesByReadiness { ready, others } = others().await?;
            for mut group in [ready, others] {
                group.retain(|node| without.iter().all(|asked| asked.node != node.name));
                rest.extend(group.chunks(AT_ONCE).map(<[Node]>::to_vec));
            }
        }
        let Some(next) = rest.pop_front() else { break };
        wave = next;
    }
    Err(none(without, rest.iter().map(Vec::len).sum()))
}

async fn ask(
    wave: &[Node],
    without: &mut Vec<NodeWithoutPages>,
    ends: Instant,
    read: &impl AsyncFn(&Node, Extent) -> Result<Vec<PageReport>, Miss>,
) -> Result<Option<Seen>> {
    let extent = |index| if index == 0 { Extent::Whole } else { Extent::Beginning };
    let mut asked: FuturesUnordered<_> =
        wave.iter().enumerate().map(async |(index, node)| (index, read(node, extent(index)).await)).collect();
    let mut outcomes: Vec<Option<Result<Vec<PageReport>, Miss>>> = wave.iter().map(|_| None).collect();
    let mut until = ends;
    while let Ok(Some((index, outcome))) = timeout_at(until, asked.next()).await {
        if outcome.is_ok() {
            until = until.min(Instant::now() + OTHERS_WITHIN);
        }
        outcomes[index] = Some(outcome);
    }
    drop(asked);
    let (mut shown, mut refused) = (Vec::new(), None);
    for (index, (node, outcome)) in wave.iter().zip(outcomes).enumerate() {
        let error = match outcome {
            Some(Ok(pages)) => {
                shown.push((index, node, pages));
                continue;
            }
            Some(Err(Miss::OtherNode(error))) => error,
            Some(Err(Miss::NotYet(error) | Miss::Final(error))) => refused.get_or_insert(error).clone(),
            None => silent(node),
        };
        without.push(NodeWithoutPages { node: node.name.clone(), error });
    }
    if let Some(refused) = refused.filter(|_| shown.is_empty()) {
        return Err(refused);
    }
    let mut count = shown.len();
    for (index, node, pages) in shown {
        let pages = if index == 0 {
            Ok(pages)
        } else {
            let whole = timeout_at(ends.max(Instant::now() + OTHERS_WITHIN), read(node, Extent::Whole)).await;
            whole.unwrap_or_else(|_| Err(Miss::OtherNode(silent(node))))
        };
        match pages {
            Ok(pages) => return Ok(Some(Seen { node: node.name.clone(), pages, count, without: Vec::new() })),
            Err(miss) => {
                let error = miss.into_error();
                count -= 1;
                without.push(NodeWithoutPages { node: node.name.clone(), error });
            }
        }
    }
    Ok(None)
}

fn silent(node: &Node) -> Error {
    Error::new(Reason::Timeout, format!("node {} has not shown its pages in time", node.name))
        .hint("List the nodes: kubectl get nodes -o wide")
}

/// The error if no node shows its pages. The reason is that of the first, and the others are counted.
fn none(mut without: Vec<NodeWithoutPages>, unasked: usize) -> Error {
    /// As many others are named.
    const NAMED: usize = 3;
    if without.is_empty() {
        return Error::new(Reason::NoNodes, "the cluster has no node that could be asked for its pages")
            .hint("List the nodes: kubectl get nodes");
    }
    let first = without.remove(0).error;
    if without.is_empty() && unasked == 0 {
        return first;
    }
    let asked = without.len() + 1;
    let more = if unasked == 0 { String::new() } else { format!(", {unasked} more were not asked in time") };
    let error = first.reworded(|message| format!("none of {asked} nodes shows its pages{more}: {message}"));
    without.into_iter().take(NAMED).fold(error, |error, other| error.hint(format!("Also: {}", other.error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::route::KUBELET_PORT;
    use futures_util::future::pending;
    use std::{cell::Cell, future::ready};

    fn nodes(names: &[&str]) -> Vec<Node> {
        names.iter().map(|name| Node { name: (*name).to_owned(), port: KUBELET_PORT, address: None }).collect()
    }

    fn names(without: &[NodeWithoutPages]) -> Vec<&str> {
        without.iter().map(|node| node.node.as_str()).collect()
    }

    /// Nodes are well by their names: `good`, `bad`, `hangs`, `short`, which shows only the beginning, and `refused`, which
    /// the API server does not let through.
    async fn answer(node: &Node, extent: Extent) -> Result<Vec<PageReport>, Miss> {
        match node.name.split('-').next() {
            Some("good") => Ok(Vec::new()),
            Some("short") if extent == Extent::Beginning => Ok(Vec::new()),
            Some("hangs") => pending().await,
            Some("refused") => Err(Miss::Final(Error::new(Reason::ProofFailed, "nodes/proxy is forbidden"))),
            _ => Err(Miss::OtherNode(Error::new(Reason::ProofFailed, format!("{} answers 404", node.name)))),
        }
    }

    async fn seen(few: &[&str], others: &[&str]) -> Result<Seen> {
        first_shown(nodes(few), async || Ok(NodesByReadiness { ready: nodes(others), others: Vec::new() }), answer)
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn one_good_node_is_enough_wherever_it_stands() {
        for (few, others, node, without) in [
            (vec!["good"], vec![], "good", vec![]),
            (vec!["bad-1", "good"], vec![], "good", vec!["bad-1"]),
            (vec!["good", "bad-1"], vec![], "good", vec!["bad-1"]),
            (vec!["hangs", "bad", "good"], vec![], "good", vec!["hangs", "bad"]),
            (vec!["bad", "short", "good"], vec![], "good", vec!["bad", "short"]),
            (vec!["bad"], vec!["bad", "bad-2", "good"], "good", vec!["bad", "bad-2"]),
            (vec![], vec!["good"], "good", vec![]),
        ] {
            let started = Instant::now();
            let seen = seen(&few, &others).await.unwrap();
            assert_eq!((seen.node.as_str(), names(&seen.without)), (node, without), "{few:?} {others:?}");
            assert_eq!(seen.count, 1);
            assert!(started.elapsed() <= OTHERS_WITHIN, "{few:?} {:?}", started.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_nodes_are_asked_before_none_shows_its_pages() {
        let many: Vec<String> = (0..35).map(|index| format!("bad-{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let error = seen(&["bad-0"], &many).await.unwrap_err();
        assert_eq!(error.to_string(), "none of 35 nodes shows its pages: bad-0 answers 404");
        assert_eq!(error.hints.iter().filter(|hint| hint.starts_with("Also: ")).count(), 3);
        assert_eq!(seen(&["bad"], &[]).await.unwrap_err().to_string(), "bad answers 404");
        assert_eq!(seen(&[], &[]).await.unwrap_err().reason, Reason::NoNodes);
    }

    /// A cluster of a thousand nodes is not asked a thousand times.
    #[tokio::test]
    async fn refusal_of_the_api_server_holds_for_every_node() {
        let asked = Cell::new(0);
        let read = async |node: &Node, extent| {
            asked.set(asked.get() + 1);
            answer(node, extent).await
        };
        let others = async || Ok(NodesByReadiness { ready: nodes(&["good"]), others: Vec::new() });
        let error = first_shown(nodes(&["bad", "refused-1", "refused-2"]), others, read).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), asked.get()), ("nodes/proxy is forbidden", 3));
        assert_eq!(names(&seen(&["refused-1", "good"], &[]).await.unwrap().without), ["refused-1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_nodes_are_left_in_time() {
        let started = Instant::now();
        let error = seen(&["hangs-1", "hangs-2"], &["hangs-3"]).await.unwrap_err();
        assert_eq!(started.elapsed(), ONE_WITHIN);
        assert_eq!(error.reason, Reason::Timeout);
    }

    #[tokio::test]
    async fn others_are_listed_only_if_they_are_needed() {
        let lists = Cell::new(0);
        let others = async || {
            lists.set(lists.get() + 1);
            Ok(NodesByReadiness::default())
        };
        first_shown(nodes(&["good"]), others, |_: &Node, _| ready(Ok(Vec::new()))).await.unwrap();
        assert_eq!(lists.get(), 0);
    }
}
