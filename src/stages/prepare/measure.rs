//! Measure: what the pages of one node cost, with the caller's own credentials.

use super::nodes::Nodes;
use crate::{
    cluster::Cluster,
    error::{Error, Reason, Result},
    model::{
        job::{Jobs, route::Route, target::Target},
        report::checklist::Measured,
    },
    stages::prove::answers::kubelet_forbidden,
};
use futures_util::future::try_join_all;

/// The pages of the first node that shows them, with the caller's own credentials.
///
/// # Errors
/// [`Reason::KubeletForbidden`] if the kubelet refuses the API server; else whatever stands in the way.
pub(super) async fn measure(cluster: &Cluster, jobs: &Jobs, nodes: &Nodes) -> Result<Measured> {
    let mut last = None;
    for node in &nodes.candidates {
        let of_nodes = jobs.iter().filter(|job| job.is_of_nodes());
        let pages = try_join_all(of_nodes.map(async |job| {
            // The caller reads through the API server, independently of the account's route.
            let path = Target::of(job, &Route::ApiServer).page(&node.name);
            let page = cluster.page(&path).await?;
            let message = page.answer.message();
            match page.answer.code {
                200 => Ok(page),
                403 if message.starts_with("Forbidden (user=") => Err(kubelet_forbidden(&path, &message)),
                code => {
                    Err(Error::new(Reason::ProofFailed, format!("{path} answers your request with {code}: {message}"))
                        .hint(format!("Read the page: kubectl get --raw {path}")))
                }
            }
        }));
        match pages.await {
            Ok(pages) => {
                return Ok(Measured {
                    node: node.name.clone(),
                    bytes: pages.iter().map(|page| page.bytes as u64).sum(),
                    samples: pages.iter().map(|page| page.samples as u64).sum(),
                });
            }
            Err(error) if error.reason == Reason::KubeletForbidden => return Err(error.about(&cluster.context)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Error::new(Reason::NoNodes, "there is no node to read")).about(&cluster.context))
}
