//! Where a job goes through the API server: the one place that makes the literal segments of its URL. From them come
//! `__metrics_path__`, the `resourceNames` of RBAC, the clause of the fence, the page of the proof and its refused
//! neighbours.

use super::{job::Job, names::Namespace};
use std::fmt;

/// What one or more jobs read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A page of every node's kubelet.
    Nodes { path: String },
    /// A page of the API server itself.
    ApiServer { path: String },
    /// A page behind a Service. `segment` is `[https:]NAME:PORT`.
    Service { namespace: Namespace, segment: String, path: String },
    /// A page of pods of a namespace, on a port that is known or on any.
    Pods { namespace: Namespace, port: Option<u16>, path: String },
}

impl Target {
    pub fn of(job: &Job) -> Self {
        let path = job.metrics_path().to_owned();
        match job {
            Job::Cadvisor | Job::Kubelet | Job::Resource | Job::Probes => Self::Nodes { path },
            Job::Apiserver => Self::ApiServer { path },
            Job::KubeStateMetrics(endpoint) | Job::Service(endpoint, _) | Job::Federate(endpoint) => {
                Self::Service { namespace: endpoint.namespace().clone(), segment: endpoint.segment(), path }
            }
            Job::NodeExporter(namespace, port) => Self::Pods { namespace: namespace.clone(), port: Some(*port), path },
            Job::Pods(namespace, _) => Self::Pods { namespace: namespace.clone(), port: None, path },
        }
    }

    /// The path in the API server, without its prefix. `subject` is the name of a node, or `[https:]POD:PORT`; what
    /// there is only one of needs none.
    pub fn page(&self, subject: &str) -> String {
        match self {
            Self::ApiServer { path } => path.clone(),
            Self::Nodes { path } | Self::Service { path, .. } | Self::Pods { path, .. } => {
                format!("{}{path}", self.proxy(subject))
            }
        }
    }

    /// The path of the proxy that all its pages are behind.
    fn proxy(&self, subject: &str) -> String {
        match self {
            Self::Nodes { .. } => format!("/api/v1/nodes/{subject}/proxy"),
            Self::ApiServer { .. } => String::new(),
            Self::Service { namespace, segment, .. } => {
                format!("/api/v1/namespaces/{namespace}/services/{segment}/proxy")
            }
            Self::Pods { namespace, .. } => format!("/api/v1/namespaces/{namespace}/pods/{subject}/proxy"),
        }
    }

    /// Requests beside the page, one of them a trick with its path, that the account must not get although RBAC lets
    /// it through to the target. All are reads, and the pod need not be there: admission comes first.
    pub fn neighbours(&self, subject: &str) -> Vec<String> {
        let proxy = self.proxy(subject);
        match self {
            Self::Nodes { .. } => vec![
                format!("{proxy}/configz"),
                format!("{proxy}/pods"),
                format!("{proxy}/metrics/../configz"),
                format!("{proxy}/metrics%2f..%2fconfigz"),
                format!("/api/v1/nodes/{subject}:10250/proxy/configz"),
                format!("{proxy}/exec/prom-federate/no-such-pod/none?command=true&output=1"),
            ],
            // Only RBAC stands before the API server's own pages, and it compares them one by one.
            Self::ApiServer { .. } => Vec::new(),
            // The configuration of a Prometheus, with the credentials in its remote ends' URLs; of anything else just
            // another page.
            Self::Service { path, .. } => {
                vec![format!("{proxy}/api/v1/status/config"), format!("{proxy}{path}/../api/v1/status/config")]
            }
            Self::Pods { namespace, path, .. } => {
                let mut paths = vec![format!("{proxy}/debug/pprof/"), format!("{proxy}{path}/../debug/pprof/")];
                // Without a port it would be the pod's first.
                let pod = subject.trim_start_matches("https:").split(':').next().unwrap_or(subject);
                paths.push(format!("/api/v1/namespaces/{namespace}/pods/{pod}/proxy{path}"));
                paths
            }
        }
    }

    /// Whether the fence lets a request for this path through to it: what [`Self::clause`] says, for a path as the API
    /// server takes it apart.
    pub fn admits(&self, url: &str) -> bool {
        let (proxy, path) = match self {
            Self::ApiServer { path } => return url == path,
            Self::Service { .. } => return url == self.page(""),
            Self::Nodes { path } => ("/api/v1/nodes/".to_owned(), path),
            Self::Pods { namespace, path, .. } => (format!("/api/v1/namespaces/{namespace}/pods/"), path),
        };
        let subject = url.strip_prefix(&proxy).and_then(|rest| rest.strip_suffix(path.as_str()));
        let Some(subject) = subject.and_then(|rest| rest.strip_suffix("/proxy")).filter(|name| !name.contains('/'))
        else {
            return false;
        };
        match self {
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

    /// The `resourceNames` that RBAC can compare; none where the names come and go.
    pub fn resource_name(&self) -> Option<&str> {
        match self {
            Self::Service { segment, .. } => Some(segment),
            Self::Nodes { .. } | Self::ApiServer { .. } | Self::Pods { .. } => None,
        }
    }

    /// The part of a CEL expression that lets a request to it pass; none for nodes, which share one, and for what the
    /// API server does not forward.
    pub(super) fn clause(&self) -> Option<String> {
        match self {
            Self::Nodes { .. } | Self::ApiServer { .. } => None,
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
    pub(super) fn of_clause(clause: &str) -> Option<Self> {
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
        // Whatever else it says makes it another.
        (target.clause().as_deref() == Some(clause)).then_some(target)
    }
}

/// `/metrics of service monitoring/shop:http`
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nodes { path } => write!(f, "{path} of a node"),
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
    use crate::model::job::{EVERY_JOB, Jobs};

    fn targets() -> Vec<Target> {
        EVERY_JOB.parse::<Jobs>().unwrap().iter().map(Target::of).collect()
    }

    #[test]
    fn every_job_has_a_page() {
        let pages: Vec<String> = targets().iter().map(|target| target.page("SUBJECT")).collect();
        insta::assert_snapshot!(pages.join("\n"), @"
        /api/v1/nodes/SUBJECT/proxy/metrics/cadvisor
        /api/v1/nodes/SUBJECT/proxy/metrics
        /api/v1/nodes/SUBJECT/proxy/metrics/resource
        /api/v1/nodes/SUBJECT/proxy/metrics/probes
        /metrics
        /api/v1/namespaces/kube-system/services/kube-state-metrics:http/proxy/metrics
        /api/v1/namespaces/monitoring/services/https:shop:8443/proxy/m/x
        /api/v1/namespaces/monitoring/services/shop:http/proxy/metrics
        /api/v1/namespaces/monitoring/pods/SUBJECT/proxy/metrics
        /api/v1/namespaces/shop/pods/SUBJECT/proxy/m.x
        /api/v1/namespaces/shop/pods/SUBJECT/proxy/metrics
        /api/v1/namespaces/monitoring/services/prometheus-k8s:web/proxy/federate
        ");
    }

    /// What RBAC compares is a segment of the very URL that is asked for.
    #[test]
    fn a_resource_name_is_a_segment_of_the_page() {
        let names: Vec<(String, String)> =
            targets().iter().filter_map(|target| Some((target.resource_name()?.to_owned(), target.page("")))).collect();
        assert_eq!(names.len(), 4);
        for (name, page) in names {
            assert!(page.split('/').any(|segment| segment == name), "{name} in {page}");
        }
    }

    #[test]
    fn a_clause_is_read_back_and_no_other() {
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
    fn no_neighbour_is_a_page() {
        for target in targets() {
            let subject = match &target {
                Target::Nodes { .. } => "node".to_owned(),
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
