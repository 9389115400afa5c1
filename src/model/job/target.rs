//! Targets: the only code that makes the literal segments of a job's URL. `__metrics_path__`, the `resourceNames` of
//! RBAC, the clause of the fence, the page of the proof and its refused neighbours derive from these segments.

use super::{Job, Jobs, route::Route};
use crate::model::text::names::Namespace;
use std::fmt;

/// An exec that names no pod, so that it is harmless if it is not refused.
pub const EXEC: &str = "/exec/prom-federate/no-such-pod/none?command=true&output=1";

/// A page that one or more jobs read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A page of every node's kubelet; each node is named without its port.
    Nodes { path: String },
    /// A page of every node's kubelet; each node is named with its port, which is one of `ports`.
    PinnedNodes { path: String, ports: Vec<u16> },
    /// A page of every node's kubelet, requested at the kubelet itself.
    Kubelets { path: String },
    /// A page of the API server itself, or of a server behind an aggregated API, which RBAC limits by its path.
    ApiServer { path: String },
    /// A page behind a Service. `segment` is `[https:]NAME:PORT`.
    Service { namespace: Namespace, segment: String, path: String },
    /// A page of the pods of a namespace, on one port or on any port.
    Pods { namespace: Namespace, port: Option<u16>, path: String },
}

impl Jobs {
    /// The target of one job.
    pub fn target(&self, job: &Job) -> Target {
        Target::of(job, &self.route)
    }

    /// The targets, in the order of the jobs.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.iter().map(|job| self.target(job))
    }
}

impl Target {
    pub fn of(job: &Job, route: &Route) -> Self {
        let path = job.metrics_path().to_owned();
        match job {
            Job::Cadvisor | Job::Kubelet | Job::Resource | Job::Probes | Job::KubeletSlis => match route {
                Route::ApiServer => Self::Nodes { path },
                Route::Pinned(pins) => Self::PinnedNodes { path, ports: pins.ports() },
                Route::Kubelet => Self::Kubelets { path },
            },
            Job::Apiserver | Job::ApiserverSlis | Job::Aggregated(_) => Self::ApiServer { path },
            Job::KubeStateMetrics(endpoint) | Job::Service(endpoint, _) | Job::Federate(endpoint) => {
                Self::Service { namespace: endpoint.namespace().clone(), segment: endpoint.segment(), path }
            }
            Job::NodeExporter(namespace, port) => Self::Pods { namespace: namespace.clone(), port: Some(*port), path },
            Job::Pods(namespace, _) => Self::Pods { namespace: namespace.clone(), port: None, path },
        }
    }

    /// The path in the API server, without the API server's prefix, or in the kubelet itself. `subject` is the name of a
    /// node, `NODE:PORT`, or `[https:]POD:PORT`; a Service and the API server need none.
    pub fn page(&self, subject: &str) -> String {
        match self {
            Self::ApiServer { path } | Self::Kubelets { path } => path.clone(),
            Self::Nodes { path }
            | Self::PinnedNodes { path, .. }
            | Self::Service { path, .. }
            | Self::Pods { path, .. } => format!("{}{path}", self.proxy(subject)),
        }
    }

    /// Whether the API server forwards requests to the target, so that the fence applies.
    pub fn is_proxied(&self) -> bool {
        !matches!(self, Self::ApiServer { .. } | Self::Kubelets { .. })
    }

    /// The path, if the target is a page of every node.
    pub fn of_node(&self) -> Option<&str> {
        match self {
            Self::Nodes { path } | Self::PinnedNodes { path, .. } | Self::Kubelets { path } => Some(path),
            Self::ApiServer { .. } | Self::Service { .. } | Self::Pods { .. } => None,
        }
    }

    /// The path of the proxy in front of the target.
    fn proxy(&self, subject: &str) -> String {
        match self {
            Self::Nodes { .. } | Self::PinnedNodes { .. } => format!("/api/v1/nodes/{subject}/proxy"),
            Self::ApiServer { .. } | Self::Kubelets { .. } => String::new(),
            Self::Service { namespace, segment, .. } => {
                format!("/api/v1/namespaces/{namespace}/services/{segment}/proxy")
            }
            Self::Pods { namespace, .. } => format!("/api/v1/namespaces/{namespace}/pods/{subject}/proxy"),
        }
    }

    /// Requests near the page that the account must not get although RBAC allows the target; one uses a trick with the
    /// path. All are reads. The pod need not exist, because admission runs first.
    pub fn neighbours(&self, subject: &str) -> Vec<String> {
        let proxy = self.proxy(subject);
        match self {
            Self::Nodes { .. } | Self::PinnedNodes { .. } => {
                let mut paths = vec![
                    format!("{proxy}/configz"),
                    format!("{proxy}/pods"),
                    format!("{proxy}/metrics/../configz"),
                    format!("{proxy}/metrics%2f..%2fconfigz"),
                    format!("{proxy}{EXEC}"),
                ];
                // RBAC compares names as text, so it refuses another port of a pinned node.
                if matches!(self, Self::Nodes { .. }) {
                    paths.push(format!("/api/v1/nodes/{subject}:10250/proxy/configz"));
                }
                paths
            }
            // Only RBAC protects the API server's own pages, and it compares exact paths.
            Self::ApiServer { .. } | Self::Kubelets { .. } => Vec::new(),
            // The configuration of a Prometheus contains the credentials in its remote URLs. For other servers this is
            // just another page.
            Self::Service { path, .. } => {
                vec![format!("{proxy}/api/v1/status/config"), format!("{proxy}{path}/../api/v1/status/config")]
            }
            Self::Pods { namespace, path, .. } => {
                let mut paths = vec![format!("{proxy}/debug/pprof/"), format!("{proxy}{path}/../debug/pprof/")];
                // Without a port the API server uses the pod's first port.
                let pod = subject.trim_start_matches("https:").split(':').next().unwrap_or(subject);
                paths.push(format!("/api/v1/namespaces/{namespace}/pods/{pod}/proxy{path}"));
                paths
            }
        }
    }

    /// Whether the fence admits a request for this path to the target: the meaning of [`Self::clause`], for a path as
    /// the API server parses it.
    pub fn admits(&self, url: &str) -> bool {
        let (proxy, path) = match self {
            Self::ApiServer { path } => return url == path,
            Self::Kubelets { .. } => return false,
            Self::Service { .. } => return url == self.page(""),
            Self::Nodes { path } | Self::PinnedNodes { path, .. } => ("/api/v1/nodes/".to_owned(), path),
            Self::Pods { namespace, path, .. } => (format!("/api/v1/namespaces/{namespace}/pods/"), path),
        };
        let subject = url.strip_prefix(&proxy).and_then(|rest| rest.strip_suffix(path.as_str()));
        let Some(subject) = subject.and_then(|rest| rest.strip_suffix("/proxy")).filter(|name| !name.contains('/'))
        else {
            return false;
        };
        match self {
            Self::PinnedNodes { ports, .. } => {
                subject.split_once(':').is_some_and(|(_, given)| ports.iter().any(|port| given == port.to_string()))
            }
            Self::Pods { port: Some(port), .. } => {
                subject.split_once(':').is_some_and(|(_, given)| given == port.to_string())
            }
            Self::Pods { port: None, .. } => {
                let subject = subject.strip_prefix("https:").unwrap_or(subject);
                subject
                    .split_once(':')
                    .is_some_and(|(_, given)| !given.is_empty() && given.chars().all(|c| c.is_ascii_digit()))
            }
            _ => !subject.contains(':'),
        }
    }

    /// The `resourceNames` of a Service for RBAC. Pods have none, because their names change.
    pub fn resource_name(&self) -> Option<&str> {
        if let Self::Service { segment, .. } = self { Some(segment) } else { None }
    }

    /// The clause of the CEL expression that admits requests to the target. None for nodes, which share a clause, and for
    /// targets that the API server does not forward to.
    pub(in crate::model) fn clause(&self) -> Option<String> {
        match self {
            Self::Nodes { .. } | Self::PinnedNodes { .. } | Self::Kubelets { .. } | Self::ApiServer { .. } => None,
            Self::Service { namespace, segment, path } => Some(format!(
                "request.resource.resource == 'services' && request.namespace == '{namespace}' && request.name == '{segment}' \
                 && has(object.path) && object.path == '{path}'"
            )),
            Self::Pods { namespace, port, path } => {
                let names = match port {
                    Some(port) => format!("^[a-z0-9.-]+:{port}$"),
                    None => "^(https:)?[a-z0-9.-]+:[0-9]+$".to_owned(),
                };
                Some(format!(
                    "request.resource.resource == 'pods' && request.namespace == '{namespace}' && request.name.matches('{names}') \
                     && has(object.path) && object.path == '{path}'"
                ))
            }
        }
    }

    /// The target of a clause as [`Self::clause`] writes it.
    pub(in crate::model) fn of_clause(clause: &str) -> Option<Self> {
        let quoted: Vec<&str> = clause.split('\'').skip(1).step_by(2).collect();
        let [resource, namespace, name, path] = quoted[..] else { return None };
        let (namespace, path) = (namespace.parse().ok()?, path.to_owned());
        let target = match resource {
            "services" => Self::Service { namespace, segment: name.to_owned(), path },
            "pods" => {
                let port = name.strip_prefix("^[a-z0-9.-]+:").and_then(|rest| rest.strip_suffix('$'));
                Self::Pods { namespace, port: port.and_then(|port| port.parse().ok()), path }
            }
            _ => return None,
        };
        // Any other text makes it a different clause.
        (target.clause().as_deref() == Some(clause)).then_some(target)
    }
}

/// `/metrics of service monitoring/shop:http`
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes { path } | Self::Kubelets { path } => write!(f, "{path} of a node"),
            Self::PinnedNodes { path, .. } => write!(f, "{path} of a node by name and port"),
            Self::ApiServer { path } => write!(f, "{path} of the API server"),
            Self::Service { namespace, segment, path } => write!(f, "{path} of service {namespace}/{segment}"),
            Self::Pods { namespace, port: None, path } => write!(f, "{path} of the pods in {namespace}"),
            Self::Pods { namespace, port: Some(port), path } => {
                write!(f, "{path} of the pods in {namespace} on port {port}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::{EVERY_JOB, Jobs, route::Pins};

    fn targets() -> Vec<Target> {
        by(Route::ApiServer)
    }

    fn by(route: Route) -> Vec<Target> {
        EVERY_JOB.parse::<Jobs>().unwrap().by(route).targets().collect()
    }

    fn pinned() -> Route {
        Route::Pinned(Pins::of_names(["node:10250", "other:10260"]))
    }

    #[test]
    fn jobs_have_their_pages() {
        let pages: Vec<String> = targets().iter().map(|target| target.page("SUBJECT")).collect();
        insta::assert_snapshot!(pages.join("\n"), @"
        /api/v1/nodes/SUBJECT/proxy/metrics/cadvisor
        /api/v1/nodes/SUBJECT/proxy/metrics
        /api/v1/nodes/SUBJECT/proxy/metrics/resource
        /api/v1/nodes/SUBJECT/proxy/metrics/probes
        /api/v1/nodes/SUBJECT/proxy/metrics/slis
        /metrics
        /metrics/slis
        /apis/metrics.eks.amazonaws.com/v1/kcm/container/metrics
        /api/v1/namespaces/kube-system/services/kube-state-metrics:http/proxy/metrics
        /api/v1/namespaces/monitoring/services/https:shop:8443/proxy/m/x
        /api/v1/namespaces/monitoring/services/shop:http/proxy/metrics
        /api/v1/namespaces/monitoring/pods/SUBJECT/proxy/metrics
        /api/v1/namespaces/shop/pods/SUBJECT/proxy/m.x
        /api/v1/namespaces/shop/pods/SUBJECT/proxy/metrics
        /api/v1/namespaces/monitoring/services/prometheus-k8s:web/proxy/federate
        ");
    }

    #[test]
    fn route_changes_only_pages_of_nodes() {
        let kubelet: Vec<String> = by(Route::Kubelet).iter().map(|target| target.page("node")).collect();
        assert_eq!(
            kubelet[..5],
            ["/metrics/cadvisor", "/metrics", "/metrics/resource", "/metrics/probes", "/metrics/slis"]
        );
        assert_eq!(by(pinned())[0].page("node:10250"), "/api/v1/nodes/node:10250/proxy/metrics/cadvisor");
        for route in [Route::Kubelet, pinned()] {
            assert_eq!(by(route.clone())[5..], targets()[5..], "{route}");
            assert!(by(route.clone())[..5].iter().all(|target| target.is_proxied() == route.is_proxied()), "{route}");
        }
    }

    #[test]
    fn target_admits_a_node_only_in_the_spelling_of_its_route() {
        let (bare, by_port) = (&targets()[1], &by(pinned())[1]);
        for (subject, is_bare, is_by_port) in [
            ("node", true, false),
            ("node:10250", false, true),
            ("other:10260", false, true),
            ("node:10255", false, false),
            ("node:", false, false),
            ("https:node:10250", false, false),
            ("node:10250/x", false, false),
        ] {
            let url = format!("/api/v1/nodes/{subject}/proxy/metrics");
            assert_eq!((bare.admits(&url), by_port.admits(&url)), (is_bare, is_by_port), "{url}");
        }
    }

    /// RBAC compares a resource name with a segment of the requested URL.
    #[test]
    fn resource_name_is_a_segment_of_the_page() {
        let names: Vec<(String, String)> =
            targets().iter().filter_map(|target| Some((target.resource_name()?.to_owned(), target.page("")))).collect();
        assert_eq!(names.len(), 4);
        for (name, page) in names {
            assert!(page.split('/').any(|segment| segment == name), "{name} in {page}");
        }
    }

    #[test]
    fn clause_is_read_back_and_others_are_rejected() {
        for target in targets() {
            let Some(clause) = target.clause() else { continue };
            assert_eq!(Target::of_clause(&clause), Some(target));
            assert_eq!(Target::of_clause(&format!("{clause} || true")), None);
            assert_eq!(Target::of_clause(&clause.replace("has(object.path) && ", "")), None);
        }
        for clause in ["", "true", "'", "''''''''", "a'pods'b'shop'c'x'd'/metrics'"] {
            assert_eq!(Target::of_clause(clause), None);
        }
    }

    #[test]
    fn neighbours_are_never_pages() {
        for target in targets().into_iter().chain(by(pinned())) {
            let subject = match &target {
                Target::Nodes { .. } => "node".to_owned(),
                Target::PinnedNodes { .. } => "node:10250".to_owned(),
                Target::Pods { port, .. } => format!("pod:{}", port.unwrap_or(80)),
                _ => String::new(),
            };
            let subject = subject.as_str();
            let neighbours = target.neighbours(subject);
            assert_ne!(neighbours.is_empty(), !matches!(target, Target::ApiServer { .. }), "{target}");
            assert!(target.admits(&target.page(subject)), "{target}");
            assert!(!neighbours.iter().any(|path| target.admits(path)), "{target}");
        }
    }
}
