//! Measure: what the pages of one node cost, with the caller's own credentials.

use super::nodes::Nodes;
use crate::{
    cluster::{Cluster, Extent},
    error::{Error, Reason, Result},
    model::{
        job::{
            Jobs,
            route::{Node, Route},
            target::Target,
        },
        report::{PageReport, checklist::Measured},
    },
    stages::prove::{
        answers::{Miss, judge_node},
        shown::{Seen, first_shown},
    },
};
use futures_util::future::try_join_all;
use std::cell::Cell;

/// The pages of the first node that shows them, with the caller's own credentials.
///
/// # Errors
/// [`Reason::KubeletForbidden`] if the kubelet refuses the API server; else whatever stands in the way.
pub(super) async fn measure(cluster: &Cluster, jobs: &Jobs, nodes: &Nodes) -> Result<Measured> {
    let bytes = Cell::new(0);
    let read = async |node: &Node, extent: Extent| {
        let of_nodes = jobs.iter().filter(|job| job.is_of_nodes());
        let pages = try_join_all(of_nodes.map(async |job| {
            // The caller reads through the API server, independently of the account's route.
            let path = Target::of(job, &Route::ApiServer).page(&node.name);
            let page = cluster.page(&path, extent, None).await.map_err(Miss::Final)?;
            if matches!(page.answer.code, 401 | 403) && page.answer.is_of_the_api_server() {
                let message =
                    format!("{path} answers your request with {}: {}", page.answer.code, page.answer.message());
                let error =
                    Error::new(Reason::ProofFailed, message).hint(format!("Read the page: kubectl get --raw {path}"));
                return Err(Miss::Final(error));
            }
            let samples = judge_node(&page, &path)?;
            Ok((PageReport { job: job.to_string(), samples }, page.bytes))
        }));
        let (pages, sizes): (Vec<PageReport>, Vec<usize>) = pages.await?.into_iter().unzip();
        if extent == Extent::Whole {
            bytes.set(sizes.iter().sum::<usize>() as u64);
        }
        Ok(pages)
    };
    let few = nodes.ready().to_vec();
    let others = async || {
        if nodes.are_more() { cluster.nodes_by_readiness(jobs.node_selector()).await } else { Ok(nodes.few()) }
    };
    let seen = first_shown(few, others, read).await;
    let Seen { node, pages, count, without } = seen.map_err(|error| error.about(&cluster.context))?;
    let samples = pages.iter().map(|page| page.samples as u64).sum();
    Ok(Measured { node, bytes: bytes.get(), samples, nodes_read: count, without })
}
