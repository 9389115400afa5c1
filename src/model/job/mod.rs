//! The scrape jobs of one cluster. A job is a value with its own parameters. Rights, fence, rendering and proof derive
//! from the job and from its [`Target`](crate::model::job::target::Target).

pub mod cost;
pub mod discovery;
pub mod exposition;
pub mod limits;
pub mod pod;
pub mod route;
pub mod scrape_error;
pub mod target;

mod place;
mod spec;

pub use place::{AggregatedPage, AggregatedResource, Endpoint, MetricsPath, Selector};
pub use spec::{DEFAULT_JOBS, JobSpec, JobSpecError, JobSpecs, UnresolvedJob, WORDS};

use crate::model::{
    kube::label_selector::LabelSelector,
    text::{
        duration::Seconds,
        names::{ClusterName, Namespace},
    },
};
use place::METRICS;
use route::Route;
use std::fmt;

/// One scrape job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// The kubelet's cAdvisor: CPU, memory, network and disk of every container.
    Cadvisor,
    /// The kubelet's own metrics.
    Kubelet,
    /// The few metrics that metrics-server reads: CPU and memory of nodes, pods and containers.
    Resource,
    /// The results of the kubelet's probes of containers.
    Probes,
    /// The health checks of the kubelet, as service level indicators.
    KubeletSlis,
    /// The metrics of the API server itself.
    Apiserver,
    /// The health checks of the API server, as service level indicators.
    ApiserverSlis,
    /// A page of a server behind an aggregated API.
    Aggregated(AggregatedPage),
    /// The state of Kubernetes objects, as metrics.
    KubeStateMetrics(Endpoint),
    /// The endpoints of a Service.
    Service(Endpoint, MetricsPath),
    /// The machines of the nodes: pods of a `DaemonSet` in a namespace, and their port.
    NodeExporter(Namespace, u16),
    /// The pods of a namespace that are annotated for scraping, with this path.
    Pods(Namespace, MetricsPath),
    /// Series of a Prometheus in the cluster.
    Federate(Endpoint),
}

/// The default port of node-exporter (`--web.listen-address`).
pub const NODE_EXPORTER_PORT: u16 = 9100;

/// How a job finds its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery<'a> {
    Nodes,
    /// The pods of one namespace.
    Pods(&'a Namespace),
    /// One fixed target.
    Static,
}

impl Job {
    /// The jobs that are scraped from every node.
    pub const OF_NODES: [Self; 5] = [Self::Cadvisor, Self::Kubelet, Self::Resource, Self::Probes, Self::KubeletSlis];
    /// The jobs of `--jobs=default`.
    pub const DEFAULT: [Self; 2] = [Self::Cadvisor, Self::Kubelet];
    /// The jobs of `--jobs=slis`.
    pub const SLIS: [Self; 2] = [Self::KubeletSlis, Self::ApiserverSlis];

    /// The job's name in `--jobs`, without parameters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cadvisor => "cadvisor",
            Self::Kubelet => "kubelet",
            Self::Resource => "resource",
            Self::Probes => "probes",
            Self::KubeletSlis => "kubelet-slis",
            Self::Apiserver => "apiserver",
            Self::ApiserverSlis => "apiserver-slis",
            Self::Aggregated(_) => "aggregated",
            Self::KubeStateMetrics(_) => "kube-state-metrics",
            Self::Service(..) => "service",
            Self::NodeExporter(..) => "node-exporter",
            Self::Pods(..) => "pods",
            Self::Federate(_) => "federate",
        }
    }

    /// `prom-federate/east/service/monitoring/shop:http/metrics`: unique in a Prometheus, and the same at every join.
    pub fn scrape_job(&self, cluster: &ClusterName) -> String {
        format!("prom-federate/{cluster}/{}", self.to_string().replacen('=', "/", 1))
    }

    /// The scraped path, also the value of the `metrics_path` label.
    pub fn metrics_path(&self) -> &str {
        match self {
            Self::Cadvisor => "/metrics/cadvisor",
            Self::Resource => "/metrics/resource",
            Self::Probes => "/metrics/probes",
            Self::KubeletSlis | Self::ApiserverSlis => "/metrics/slis",
            Self::Federate(_) => "/federate",
            Self::Aggregated(page) => page.path(),
            Self::Service(_, path) | Self::Pods(_, path) => path.as_str(),
            Self::Kubelet | Self::Apiserver | Self::KubeStateMetrics(_) | Self::NodeExporter(..) => METRICS,
        }
    }

    /// The value of the `job` label. kube-prometheus uses one value for all pages of the kubelet and distinguishes them by
    /// `metrics_path`, so its dashboards and rules work unchanged. A Service has its name, as with a `ServiceMonitor`.
    /// Prometheus' own example uses `kubernetes-pods` for annotated pods.
    pub fn job_label(&self) -> &str {
        match self {
            Self::Cadvisor | Self::Kubelet | Self::Resource | Self::Probes | Self::KubeletSlis => "kubelet",
            Self::ApiserverSlis => Self::Apiserver.name(),
            Self::Aggregated(page) => page.job_label(),
            Self::Service(endpoint, _) => endpoint.service(),
            Self::Pods(..) => "kubernetes-pods",
            Self::Apiserver | Self::KubeStateMetrics(_) | Self::NodeExporter(..) | Self::Federate(_) => self.name(),
        }
    }

    /// The labels that identify the job's targets among all jobs of the cluster, `job` and `metrics_path` first.
    pub fn identity(&self) -> Vec<(&'static str, String)> {
        let mut labels = vec![("job", self.job_label().to_owned()), ("metrics_path", self.metrics_path().to_owned())];
        match self {
            Self::KubeStateMetrics(endpoint) | Self::Service(endpoint, _) | Self::Federate(endpoint) => {
                labels.push(("instance", endpoint.instance()));
            }
            Self::NodeExporter(namespace, _) | Self::Pods(namespace, _) => {
                labels.push(("namespace", namespace.to_string()));
            }
            Self::Cadvisor
            | Self::Kubelet
            | Self::Resource
            | Self::Probes
            | Self::KubeletSlis
            | Self::Apiserver
            | Self::ApiserverSlis
            | Self::Aggregated(_) => {}
        }
        labels
    }

    pub fn discovery(&self) -> Discovery<'_> {
        match self {
            Self::Cadvisor | Self::Kubelet | Self::Resource | Self::Probes | Self::KubeletSlis => Discovery::Nodes,
            Self::NodeExporter(namespace, _) | Self::Pods(namespace, _) => Discovery::Pods(namespace),
            Self::Apiserver
            | Self::ApiserverSlis
            | Self::Aggregated(_)
            | Self::KubeStateMetrics(_)
            | Self::Service(..)
            | Self::Federate(_) => Discovery::Static,
        }
    }

    pub fn is_of_nodes(&self) -> bool {
        self.discovery() == Discovery::Nodes
    }

    /// Whether the page is one of the API server itself.
    pub fn is_of_the_api_server(&self) -> bool {
        matches!(self, Self::Apiserver | Self::ApiserverSlis)
    }

    /// Whether the page's own timestamps are used. cAdvisor's and the kubelet's resource metrics lag behind the scrape
    /// and defeat staleness (kube-prometheus#695, cadvisor#2526).
    pub fn honors_timestamps(&self) -> bool {
        !matches!(self, Self::Cadvisor | Self::Resource)
    }

    /// Whether a page of another content type may be read by a named protocol. Kubelets and API servers name the format.
    pub fn takes_fallback(&self) -> bool {
        !self.is_of_nodes() && !self.is_of_the_api_server()
    }

    /// Whether the page's own labels win, because the page describes other objects and names their namespaces and pods.
    pub fn honors_labels(&self) -> bool {
        matches!(self, Self::KubeStateMetrics(_) | Self::Federate(_))
    }
}

/// The spelling in `--jobs`, with every parameter: `service=monitoring/shop:http/metrics`.
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::KubeStateMetrics(endpoint) | Self::Federate(endpoint) => write!(f, "{name}={endpoint}"),
            Self::Service(endpoint, path) => write!(f, "{name}={endpoint}{path}"),
            Self::NodeExporter(namespace, port) => write!(f, "{name}={namespace}:{port}"),
            Self::Pods(namespace, path) => write!(f, "{name}={namespace}{path}"),
            Self::Aggregated(page) => write!(f, "{name}={page}"),
            Self::Cadvisor
            | Self::Kubelet
            | Self::Resource
            | Self::Probes
            | Self::KubeletSlis
            | Self::Apiserver
            | Self::ApiserverSlis => f.write_str(name),
        }
    }
}

/// A set of jobs with all parameters: never empty, ordered, without duplicates. It includes the route to the nodes, and
/// which nodes they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jobs {
    all: Vec<Job>,
    route: Route,
    node_selector: Option<LabelSelector>,
}

impl Jobs {
    /// None if the set is empty.
    pub fn new(jobs: impl IntoIterator<Item = Job>) -> Option<Self> {
        let mut all: Vec<Job> = jobs.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        (!all.is_empty()).then_some(Self { all, route: Route::default(), node_selector: None })
    }

    /// These jobs by another route. The route does not matter without jobs of nodes.
    #[must_use]
    pub fn by(self, route: Route) -> Self {
        let route = if self.have_nodes() { route } else { Route::default() };
        Self { route, ..self }
    }

    pub fn route(&self) -> &Route {
        &self.route
    }

    /// These jobs of the nodes that the selector selects, or of all nodes. It does not matter without jobs of nodes.
    #[must_use]
    pub fn of_nodes(self, selector: Option<LabelSelector>) -> Self {
        let node_selector = selector.filter(|_| self.have_nodes());
        Self { node_selector, ..self }
    }

    /// None for all nodes.
    pub fn node_selector(&self) -> Option<&LabelSelector> {
        self.node_selector.as_ref()
    }

    /// The words of `--jobs` alone: by the usual route, of all nodes.
    #[must_use]
    pub fn unrouted(&self) -> Self {
        Self { route: Route::default(), node_selector: None, ..self.clone() }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Job> {
        self.all.iter()
    }

    pub fn contains(&self, job: &Job) -> bool {
        self.all.contains(job)
    }

    /// The labels that select the series of one job: its identity. A Prometheus of the Operator has the pages of kubelets
    /// with the same labels and with `endpoint`, which every `ServiceMonitor` sets. If that Prometheus is federated, the
    /// absence of `endpoint` identifies the plugin's own series.
    pub fn selector(&self, job: &Job) -> Vec<(&'static str, String)> {
        let mut labels = job.identity();
        if job.is_of_nodes() && self.have_federate() {
            labels.push(("endpoint", String::new()));
        }
        labels
    }

    /// Whether the jobs need the list of nodes.
    pub fn have_nodes(&self) -> bool {
        self.iter().any(Job::is_of_nodes)
    }

    pub fn have_federate(&self) -> bool {
        self.iter().any(|job| matches!(job, Job::Federate(_)))
    }
}

/// `cadvisor,kubelet`, without the route and the selector of nodes.
impl fmt::Display for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.iter().map(Job::to_string).collect();
        f.write_str(&words.join(","))
    }
}

/// The interval and the timeout of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrapeTiming {
    pub interval: Seconds,
    /// At most the interval: Prometheus rejects a longer timeout.
    pub timeout: Seconds,
}

impl ScrapeTiming {
    /// Unless `--scrape-interval` says otherwise.
    pub const INTERVAL: Seconds = Seconds(60);
    /// Unless `--scrape-timeout` says otherwise, where the interval is no shorter.
    pub const TIMEOUT: Seconds = Seconds(30);

    pub fn usual_timeout(interval: Seconds) -> Seconds {
        interval.min(Self::TIMEOUT)
    }
}

/// Every kind of job, some twice with different parameters.
#[cfg(test)]
pub(crate) const EVERY_JOB: &str = "cadvisor,kubelet,resource,probes,kubelet-slis,apiserver,apiserver-slis,aggregated=metrics.eks.amazonaws.com/v1/kcm/container/metrics,\
     kube-state-metrics=kube-system/kube-state-metrics:http,\
     service=monitoring/https:shop:8443/m/x,service=monitoring/shop:http/metrics,node-exporter=monitoring:9100,\
     pods=shop/m.x,pods=shop/metrics,federate=monitoring/prometheus-k8s:web";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_unique_names_and_labels() {
        let jobs: Jobs = EVERY_JOB.parse().unwrap();
        let cluster: ClusterName = "east".parse().unwrap();
        for (index, one) in jobs.iter().enumerate() {
            for other in jobs.iter().skip(index + 1) {
                assert_ne!(one.scrape_job(&cluster), other.scrape_job(&cluster));
                assert_ne!(one.identity(), other.identity(), "{one} and {other}");
            }
        }
        let names: Vec<String> = jobs.iter().map(|job| job.scrape_job(&cluster)).collect();
        insta::assert_snapshot!(names.join("\n"), @"
        prom-federate/east/cadvisor
        prom-federate/east/kubelet
        prom-federate/east/resource
        prom-federate/east/probes
        prom-federate/east/kubelet-slis
        prom-federate/east/apiserver
        prom-federate/east/apiserver-slis
        prom-federate/east/aggregated/metrics.eks.amazonaws.com/v1/kcm/container/metrics
        prom-federate/east/kube-state-metrics/kube-system/kube-state-metrics:http
        prom-federate/east/service/monitoring/https:shop:8443/m/x
        prom-federate/east/service/monitoring/shop:http/metrics
        prom-federate/east/node-exporter/monitoring:9100
        prom-federate/east/pods/shop/m.x
        prom-federate/east/pods/shop/metrics
        prom-federate/east/federate/monitoring/prometheus-k8s:web
        ");
    }

    #[test]
    fn only_node_jobs_need_nodes() {
        for (jobs, needed) in [("default", true), ("apiserver,probes", true), ("apiserver,pods=shop/metrics", false)] {
            assert_eq!(jobs.parse::<Jobs>().unwrap().have_nodes(), needed, "{jobs}");
        }
    }
}
