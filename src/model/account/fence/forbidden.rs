//! The requests that prove the fence, because the API server must refuse them.

use super::{not_read, targets};
use crate::model::job::{
    Job, Jobs,
    route::{Node, Route},
    target::{EXEC, Target},
};

/// A pod that does not exist: admission runs before the API server looks for the pod.
const NO_POD: &str = "prom-federate-no-such-pod";

/// [`NO_POD`] with this port, or with a port that no job names.
fn no_pod(port: Option<u16>) -> String {
    format!("{NO_POD}:{}", port.unwrap_or(1))
}

fn is_admitted(path: &str, jobs: &Jobs, besides: &[Target]) -> bool {
    targets(jobs).iter().chain(besides).any(|target| target.admits(path))
}

/// A request that must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    pub path: String,
    /// Whether RBAC may refuse the request before the fence sees it.
    pub by_rbac: bool,
}

impl Forbidden {
    fn by_fence(path: String) -> Self {
        Self { path, by_rbac: false }
    }

    fn by_rbac(path: String) -> Self {
        Self { path, by_rbac: true }
    }
}

/// The requests that the fence must refuse while these jobs work: other pages of nodes, neighbours of the jobs' pages,
/// tricks with the path, and exec. `node` is one of the nodes, if the jobs need nodes. `besides` are targets of earlier
/// jobs that are still in use. All requests are harmless without a fence: reads, and an exec that names no pod.
pub fn forbidden(node: Option<&Node>, jobs: &Jobs, besides: &[Target]) -> Vec<Forbidden> {
    let mut paths = Vec::new();
    let mut by_rbac = Vec::new();
    if let Some(node) = node {
        let route = jobs.route();
        // The fence compares paths, so one more page below /metrics would prove no more.
        let is_other = |job: &&Job| route.is_proxied() && **job != Job::KubeletSlis && !jobs.contains(job);
        let others = Job::OF_NODES.iter().filter(is_other);
        paths.extend(others.map(|job| jobs.target(job).page(&route.subject(node))));
        by_rbac.extend(by_other_routes(node, jobs));
    }
    let mut asked = false;
    for target in targets(jobs) {
        match (&target, node) {
            // All pages of a node have the same neighbours.
            (Target::Nodes { .. } | Target::PinnedNodes { .. }, Some(node)) if !asked => {
                paths.extend(target.neighbours(&jobs.route().subject(node)));
                asked = true;
            }
            (Target::Nodes { .. } | Target::PinnedNodes { .. }, _) => {}
            (Target::Pods { port: Some(port), .. }, _) => {
                paths.extend(target.neighbours(&no_pod(Some(*port))));
                paths.push(target.page(&no_pod(None)));
            }
            _ => paths.extend(target.neighbours(&no_pod(None))),
        }
    }
    // Two jobs of one Service share neighbours, and a neighbour of one job may be the page of another.
    paths.sort_unstable();
    paths.dedup();
    let mut forbidden: Vec<Forbidden> = paths.into_iter().map(Forbidden::by_fence).collect();
    forbidden.extend(by_rbac.into_iter().map(Forbidden::by_rbac));
    forbidden.retain(|one| !is_admitted(&one.path, jobs, besides));
    if jobs.targets().any(|target| matches!(target, Target::ApiServer { .. })) {
        // The API server does not forward this path, so only RBAC can refuse it.
        forbidden.push(Forbidden::by_rbac("/debug/pprof/".to_owned()));
    }
    forbidden
}

/// Requests to a node through the API server that RBAC must refuse, because the jobs use another route.
fn by_other_routes(node: &Node, jobs: &Jobs) -> Vec<String> {
    if *jobs.route() == Route::ApiServer {
        return Vec::new();
    }
    let of_nodes: Vec<&Job> = jobs.iter().filter(|job| job.is_of_nodes()).collect();
    let pages = |subject: String| of_nodes.iter().map(move |job| Target::of(job, &Route::ApiServer).page(&subject));
    let mut paths: Vec<String> = pages(node.name.clone()).collect();
    let proxy = format!("/api/v1/nodes/{}/proxy", node.name);
    paths.extend([format!("{proxy}/configz"), format!("{proxy}{EXEC}")]);
    if jobs.route().pins().is_some() {
        paths.extend(pages(format!("https:{}", node.pin())).take(1));
    } else {
        paths.extend(pages(node.pin()).take(1));
    }
    paths
}

/// The pages that only the former fence admitted. They tell the new fence from the former one: an API server that
/// still has the former fence refuses everything else too.
pub fn formerly_allowed(node: Option<&Node>, former: &[Target], jobs: &Jobs, besides: &[Target]) -> Vec<Forbidden> {
    let page = |target: Target| match (&target, node) {
        // The route has no right to it any more.
        (Target::Nodes { .. }, Some(node)) => {
            Some(Forbidden { path: target.page(&node.name), by_rbac: *jobs.route() != Route::ApiServer })
        }
        (Target::PinnedNodes { .. }, Some(node)) => {
            Some(Forbidden { path: target.page(&node.pin()), by_rbac: !jobs.route().is_proxied() })
        }
        // The last job that needs nodes is gone, and so is the right.
        (Target::Nodes { .. } | Target::PinnedNodes { .. } | Target::Kubelets { .. } | Target::ApiServer { .. }, _) => {
            None
        }
        _ => {
            let port = if let Target::Pods { port, .. } = target { port } else { None };
            Some(Forbidden::by_rbac(target.page(&no_pod(port))))
        }
    };
    let gone = not_read(former, jobs).into_iter().filter_map(page);
    gone.filter(|one| !is_admitted(&one.path, jobs, besides)).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{by, pinned},
        *,
    };
    use crate::model::job::EVERY_JOB;

    fn node() -> Node {
        Node { name: "n".into(), port: 10_250, address: None }
    }

    fn paths(forbidden: &[Forbidden]) -> Vec<&str> {
        forbidden.iter().map(|one| one.path.as_str()).collect()
    }

    #[test]
    fn pages_of_a_node_are_either_chosen_or_forbidden() {
        for jobs in ["cadvisor", "kubelet", "default", "probes,resource", EVERY_JOB] {
            let jobs: Jobs = jobs.parse().unwrap();
            let forbidden = forbidden(Some(&node()), &jobs, &[]);
            for job in Job::OF_NODES.iter().filter(|job| **job != Job::KubeletSlis) {
                let page = jobs.target(job).page("n");
                assert_ne!(paths(&forbidden).contains(&page.as_str()), jobs.contains(job), "{page} with --jobs={jobs}");
            }
        }
        assert_eq!(forbidden(Some(&node()), &"default".parse().unwrap(), &[]).len(), 8, "README.md names the number");
        assert_eq!(paths(&forbidden(None, &"apiserver".parse().unwrap(), &[])), ["/debug/pprof/"]);
        insta::assert_snapshot!(paths(&forbidden(None, &"service=a/b:80,pods=shop/metrics,node-exporter=m".parse().unwrap(), &[])).join("\n"), @"
        /api/v1/namespaces/a/services/b:80/proxy/api/v1/status/config
        /api/v1/namespaces/a/services/b:80/proxy/metrics/../api/v1/status/config
        /api/v1/namespaces/m/pods/prom-federate-no-such-pod/proxy/metrics
        /api/v1/namespaces/m/pods/prom-federate-no-such-pod:1/proxy/metrics
        /api/v1/namespaces/m/pods/prom-federate-no-such-pod:9100/proxy/debug/pprof/
        /api/v1/namespaces/m/pods/prom-federate-no-such-pod:9100/proxy/metrics/../debug/pprof/
        /api/v1/namespaces/shop/pods/prom-federate-no-such-pod/proxy/metrics
        /api/v1/namespaces/shop/pods/prom-federate-no-such-pod:1/proxy/debug/pprof/
        /api/v1/namespaces/shop/pods/prom-federate-no-such-pod:1/proxy/metrics/../debug/pprof/
        ");
    }

    #[test]
    fn forbidden_requests_include_no_page_of_a_job() {
        let words: Vec<&str> =
            EVERY_JOB.split(',').chain(["pods=monitoring/metrics", "service=a/b:80/api/v1/status/config"]).collect();
        for one in &words {
            for other in &words {
                let jobs: Jobs = format!("{one},{other},service=a/b:80").parse().unwrap();
                for Forbidden { path, by_rbac } in forbidden(Some(&node()), &jobs, &[]) {
                    assert!(by_rbac || !is_admitted(&path, &jobs, &[]), "{path} with --jobs={jobs}");
                }
            }
        }
    }

    #[test]
    fn pages_of_former_jobs_reveal_the_former_fence() {
        let former = |jobs: &str| targets(&jobs.parse().unwrap());
        for (before, now, node, telling) in [
            ("default", "default", Some("n"), ""),
            ("default", "kubelet", Some("n"), "/api/v1/nodes/n/proxy/metrics/cadvisor"),
            ("kubelet", "default", Some("n"), ""),
            ("default", "apiserver", None, ""),
            (
                "kubelet,service=a/b:80,pods=shop/metrics",
                "kubelet",
                Some("n"),
                "/api/v1/namespaces/a/services/b:80/proxy/metrics /api/v1/namespaces/shop/pods/prom-federate-no-such-pod:1/proxy/metrics",
            ),
            // The remaining job still covers the removed page.
            ("node-exporter=m:9100,pods=m/metrics", "pods=m/metrics", None, ""),
            (
                "node-exporter=m:9100,pods=m/metrics",
                "node-exporter=m:9100",
                None,
                "/api/v1/namespaces/m/pods/prom-federate-no-such-pod:1/proxy/metrics",
            ),
        ] {
            let node = node.map(|_: &str| self::node());
            let forbidden = formerly_allowed(node.as_ref(), &former(before), &now.parse().unwrap(), &[]);
            assert_eq!(paths(&forbidden).join(" "), telling, "{before} to {now}");
        }
    }

    #[test]
    fn each_route_forbids_the_other_routes() {
        let shown = |route: Route, besides: &[Target]| {
            let forbidden = forbidden(Some(&node()), &by(route, "default"), besides);
            let line = |one: &Forbidden| format!("{} {}", if one.by_rbac { "right" } else { "fence" }, one.path);
            forbidden.iter().map(line).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(shown(pinned(), &[]), @"
        fence /api/v1/nodes/n:10250/proxy/configz
        fence /api/v1/nodes/n:10250/proxy/exec/prom-federate/no-such-pod/none?command=true&output=1
        fence /api/v1/nodes/n:10250/proxy/metrics%2f..%2fconfigz
        fence /api/v1/nodes/n:10250/proxy/metrics/../configz
        fence /api/v1/nodes/n:10250/proxy/metrics/probes
        fence /api/v1/nodes/n:10250/proxy/metrics/resource
        fence /api/v1/nodes/n:10250/proxy/pods
        right /api/v1/nodes/n/proxy/metrics/cadvisor
        right /api/v1/nodes/n/proxy/metrics
        right /api/v1/nodes/n/proxy/configz
        right /api/v1/nodes/n/proxy/exec/prom-federate/no-such-pod/none?command=true&output=1
        right /api/v1/nodes/https:n:10250/proxy/metrics/cadvisor
        ");
        insta::assert_snapshot!(shown(Route::Kubelet, &[]), @"
        right /api/v1/nodes/n/proxy/metrics/cadvisor
        right /api/v1/nodes/n/proxy/metrics
        right /api/v1/nodes/n/proxy/configz
        right /api/v1/nodes/n/proxy/exec/prom-federate/no-such-pod/none?command=true&output=1
        right /api/v1/nodes/n:10250/proxy/metrics/cadvisor
        ");
        let bare = targets(&by(Route::ApiServer, "kubelet"));
        insta::assert_snapshot!(shown(Route::Kubelet, &bare), @"
        right /api/v1/nodes/n/proxy/metrics/cadvisor
        right /api/v1/nodes/n/proxy/configz
        right /api/v1/nodes/n/proxy/exec/prom-federate/no-such-pod/none?command=true&output=1
        right /api/v1/nodes/n:10250/proxy/metrics/cadvisor
        ");
        let former = formerly_allowed(Some(&node()), &bare, &by(pinned(), "default"), &[]);
        assert_eq!(former, [Forbidden::by_rbac("/api/v1/nodes/n/proxy/metrics".into())]);
        assert_eq!(formerly_allowed(Some(&node()), &bare, &by(pinned(), "default"), &bare), []);
        let with_port = targets(&by(pinned(), "kubelet"));
        let former = formerly_allowed(Some(&node()), &with_port, &by(Route::ApiServer, "default"), &[]);
        assert_eq!(former, [Forbidden::by_fence("/api/v1/nodes/n:10250/proxy/metrics".into())]);
    }
}
