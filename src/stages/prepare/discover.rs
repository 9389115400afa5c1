//! Discovers the places of jobs by labels and annotations in the cluster. Only jobs with all parameters go on to rights,
//! fence and record.

use crate::{
    cluster::{Cluster, List},
    error::{Error, Reason, Result},
    model::job::{
        Job, JobSpec, JobSpecs, Jobs, MetricsPath, UnresolvedJob, discovery,
        pod::AnnotatedPaths,
        route::{Pins, Route},
    },
    model::kube::label_selector::LabelSelector,
};
use futures_util::future::try_join_all;

/// The jobs with their route, and warnings. Sends no request if every job names its place, except for pinned nodes.
///
/// # Errors
/// [`Reason::TargetNotFound`], [`Reason::TargetUnclear`], [`Reason::TooManyNodes`], whatever an API server says;
/// [`Reason::InvalidArgument`] for a route that no job needs.
pub async fn discover(
    cluster: &Cluster,
    wanted: &JobSpecs,
    route: Route,
    node_selector: Option<LabelSelector>,
) -> Result<(Jobs, Vec<String>)> {
    let found = try_join_all(wanted.words().iter().map(|word| async move {
        match word {
            JobSpec::Known(job) => Ok((vec![job.clone()], None)),
            JobSpec::Unresolved(unresolved) => {
                find(cluster, unresolved).await.map_err(|error| explained(error.about(&cluster.context), unresolved))
            }
        }
    }))
    .await?;
    let (jobs, warnings): (Vec<Vec<Job>>, Vec<Option<String>>) = found.into_iter().unzip();
    let jobs = Jobs::new(jobs.into_iter().flatten()).ok_or_else(|| Error::usage("--jobs is empty"))?;
    if route != Route::default() && !jobs.have_nodes() {
        return Err(Error::usage("--route and --pin-nodes need a job of nodes, and --jobs has none")
            .hint("Omit them, or add a job of nodes: --jobs=default"));
    }
    if node_selector.is_some() && !jobs.have_nodes() {
        return Err(Error::usage("--node-selector needs a job of nodes, and --jobs has none")
            .hint("Omit it, or add a job of nodes: --jobs=default"));
    }
    Ok((pinned(cluster, jobs.by(route).of_nodes(node_selector)).await?, warnings.into_iter().flatten().collect()))
}

/// The jobs with their route; for pinned nodes, lists all nodes.
///
/// # Errors
/// [`Reason::TooManyNodes`], whatever an API server says.
pub async fn pinned(cluster: &Cluster, jobs: Jobs) -> Result<Jobs> {
    if jobs.route().pins().is_none() {
        return Ok(jobs);
    }
    let pins = Pins::new(&cluster.all_nodes(jobs.node_selector()).await?);
    pins.fit().map_err(|error| error.about(&cluster.context))?;
    Ok(jobs.by(Route::Pinned(pins)))
}

async fn find(cluster: &Cluster, unresolved: &UnresolvedJob) -> Result<(Vec<Job>, Option<String>)> {
    if let UnresolvedJob::Pods(namespace) = unresolved {
        let mut annotated = AnnotatedPaths::default();
        cluster.for_each(List::Pods(namespace), |pod| annotated.add(pod)).await?;
        let AnnotatedPaths { mut paths, unknown } = annotated;
        if paths.is_empty() {
            paths.insert(MetricsPath::default());
        }
        let warning = (unknown > 0).then(|| {
            format!("{unknown} pods in {namespace} are annotated with an unsupported path: a path has only '/', letters, digits, '-', '_', '.'")
        });
        return Ok((paths.into_iter().map(|path| Job::Pods(namespace.clone(), path)).collect(), warning));
    }
    let Some(question) = discovery::question(unresolved) else { return Ok((Vec::new(), None)) };
    let lists = question.selectors.iter().map(|selector| cluster.list(question.searched.into(), selector));
    let found: Vec<_> = try_join_all(lists).await?.into_iter().flatten().collect();
    Ok((vec![discovery::choose(unresolved, &found)?], None))
}

fn explained(error: Error, unresolved: &UnresolvedJob) -> Error {
    match error.reason {
        Reason::Forbidden => error.hint(format!("Or name its place: --jobs={}", unresolved.in_full())),
        _ => error,
    }
}
