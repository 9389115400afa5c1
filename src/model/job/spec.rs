//! Jobs as given in `--jobs`: some name their place, others are discovered in the cluster.

use super::{
    Job, Jobs, NODE_EXPORTER_PORT,
    place::{Endpoint, METRICS, MetricsPath, PlaceError},
};
use crate::model::text::names::{NameError, Namespace};
use std::{fmt, str::FromStr};

/// The values of `--jobs`, for help and completion.
pub const WORDS: [&str; 13] = [
    "cadvisor",
    "kubelet",
    "resource",
    "probes",
    "apiserver",
    SLIS,
    "aggregated=",
    "kube-state-metrics",
    "service=",
    "node-exporter",
    "pods=",
    "federate",
    DEFAULT_JOBS,
];

/// The word of `--jobs` for [`Job::DEFAULT`], and what `--jobs` is unless given.
pub const DEFAULT_JOBS: &str = "default";

/// The word of `--jobs` for [`Job::SLIS`].
const SLIS: &str = "slis";

/// One value of `--jobs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobSpec {
    Known(Job),
    Unresolved(UnresolvedJob),
}

/// A job whose place must be discovered in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnresolvedJob {
    KubeStateMetrics,
    NodeExporter,
    Federate,
    /// Annotated pods, with the annotated paths.
    Pods(Namespace),
}

impl UnresolvedJob {
    /// The spelling with all parameters.
    pub fn in_full(&self) -> String {
        match self {
            Self::KubeStateMetrics => "kube-state-metrics=NAMESPACE/SERVICE:PORT".to_owned(),
            Self::NodeExporter => "node-exporter=NAMESPACE".to_owned(),
            Self::Federate => "federate=NAMESPACE/SERVICE:PORT".to_owned(),
            Self::Pods(namespace) => format!("pods={namespace}{METRICS}"),
        }
    }
}

/// The spelling in `--jobs`.
impl fmt::Display for UnresolvedJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KubeStateMetrics => f.write_str("kube-state-metrics"),
            Self::NodeExporter => f.write_str("node-exporter"),
            Self::Federate => f.write_str("federate"),
            Self::Pods(namespace) => write!(f, "pods={namespace}"),
        }
    }
}

/// The value of `--jobs`; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpecs(Vec<JobSpec>);

/// Why a list of jobs is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobSpecError {
    #[error("names no job")]
    Empty,
    #[error(
        "unknown job '{0}'; known jobs: cadvisor, kubelet, default (both), resource, probes, apiserver, slis, kube-state-metrics, \
         service=NAMESPACE/SERVICE:PORT[/PATH], node-exporter[=NAMESPACE[:PORT]], pods=NAMESPACE[/PATH], federate and \
         aggregated=GROUP/VERSION/RESOURCE/NAME[/SUBRESOURCE]"
    )]
    Unknown(String),
    #[error("{word}: {error}")]
    Place { word: String, error: PlaceError },
    #[error("{word}: {error}")]
    Namespace { word: String, error: NameError },
    #[error("{0}: the port must be a number from 1 to 65535")]
    Port(String),
    #[error("{0} must be discovered in a cluster, which this command does not contact; write {full}", full = .0.in_full())]
    Unresolved(UnresolvedJob),
}

impl JobSpecs {
    pub fn words(&self) -> &[JobSpec] {
        &self.0
    }

    /// The jobs, if all parameters are given.
    ///
    /// # Errors
    /// [`JobSpecError::Unresolved`], with the first job that must be discovered.
    pub fn in_full(&self) -> Result<Jobs, JobSpecError> {
        let known = self.0.iter().map(|word| match word {
            JobSpec::Known(job) => Ok(job.clone()),
            JobSpec::Unresolved(unresolved) => Err(JobSpecError::Unresolved(unresolved.clone())),
        });
        Jobs::new(known.collect::<Result<Vec<Job>, JobSpecError>>()?).ok_or(JobSpecError::Empty)
    }
}

impl Default for JobSpecs {
    fn default() -> Self {
        Self(Job::DEFAULT.map(JobSpec::Known).into())
    }
}

impl From<&Jobs> for JobSpecs {
    fn from(jobs: &Jobs) -> Self {
        Self(jobs.iter().cloned().map(JobSpec::Known).collect())
    }
}

/// The spelling in `--jobs`.
impl fmt::Display for JobSpecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.0.iter().map(JobSpec::to_string).collect();
        f.write_str(&words.join(","))
    }
}

impl fmt::Display for JobSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(job) => job.fmt(f),
            Self::Unresolved(unresolved) => unresolved.fmt(f),
        }
    }
}

impl FromStr for JobSpecs {
    type Err = JobSpecError;

    fn from_str(text: &str) -> Result<Self, JobSpecError> {
        let mut words = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word == DEFAULT_JOBS {
                words.extend(Job::DEFAULT.map(JobSpec::Known));
            } else if word == SLIS {
                words.extend(Job::SLIS.map(JobSpec::Known));
            } else {
                words.push(word.parse()?);
            }
        }
        if words.is_empty() { Err(JobSpecError::Empty) } else { Ok(Self(words)) }
    }
}

/// A list of jobs with all parameters, by the default route.
impl FromStr for Jobs {
    type Err = JobSpecError;

    fn from_str(text: &str) -> Result<Self, JobSpecError> {
        text.parse::<JobSpecs>()?.in_full()
    }
}

impl FromStr for JobSpec {
    type Err = JobSpecError;

    fn from_str(word: &str) -> Result<Self, JobSpecError> {
        let (name, place) = word.split_once('=').map_or((word, None), |(name, place)| (name, Some(place)));
        let placed = |error| JobSpecError::Place { word: word.to_owned(), error };
        let endpoint = |place: &str| place.parse::<Endpoint>().map_err(placed);
        let path = |path: &str| path.parse::<MetricsPath>().map_err(placed);
        let namespace = |name: &str| {
            name.parse::<Namespace>().map_err(|error| JobSpecError::Namespace { word: word.to_owned(), error })
        };
        let known = match (name, place) {
            ("apiserver", None) => Job::Apiserver,
            ("apiserver-slis", None) => Job::ApiserverSlis,
            ("aggregated", Some(place)) => Job::Aggregated(place.parse().map_err(placed)?),
            ("kube-state-metrics", Some(place)) => Job::KubeStateMetrics(endpoint(place)?),
            ("federate", Some(place)) => Job::Federate(endpoint(place)?),
            ("service", Some(place)) => {
                let second_slash = place.match_indices('/').nth(1).map_or(place.len(), |(at, _)| at);
                let (service, rest) = place.split_at(second_slash);
                let path = if rest.is_empty() { MetricsPath::default() } else { path(rest)? };
                Job::Service(endpoint(service)?, path)
            }
            ("node-exporter", Some(place)) => {
                let (name, port) = match place.split_once(':') {
                    None => (place, NODE_EXPORTER_PORT),
                    Some((name, port)) => {
                        let number = port.parse().ok().filter(|number| *number > 0 && port.starts_with(is_digit));
                        (name, number.ok_or_else(|| JobSpecError::Port(word.to_owned()))?)
                    }
                };
                Job::NodeExporter(namespace(name)?, port)
            }
            ("pods", Some(place)) => match place.split_once('/') {
                Some((name, _)) => Job::Pods(namespace(name)?, path(&place[name.len()..])?),
                None => return Ok(Self::Unresolved(UnresolvedJob::Pods(namespace(place)?))),
            },
            ("kube-state-metrics", None) => return Ok(Self::Unresolved(UnresolvedJob::KubeStateMetrics)),
            ("node-exporter", None) => return Ok(Self::Unresolved(UnresolvedJob::NodeExporter)),
            ("federate", None) => return Ok(Self::Unresolved(UnresolvedJob::Federate)),
            _ => {
                let of_nodes = Job::OF_NODES.into_iter().find(|job| job.name() == word);
                of_nodes.ok_or_else(|| JobSpecError::Unknown(word.to_owned()))?
            }
        };
        Ok(Self::Known(known))
    }
}

fn is_digit(c: char) -> bool {
    c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use crate::model::job::EVERY_JOB;
    use proptest::prelude::*;

    #[test]
    fn job_list_ignores_order_and_repetition() {
        for (text, jobs) in [
            ("default", "cadvisor,kubelet"),
            ("kubelet", "kubelet"),
            ("kubelet, cadvisor,kubelet", "cadvisor,kubelet"),
            ("kubelet,default", "cadvisor,kubelet"),
            ("probes,resource,apiserver", "resource,probes,apiserver"),
            ("slis,kubelet", "kubelet,kubelet-slis,apiserver-slis"),
            ("aggregated=a.b/v1/pages/all", "aggregated=a.b/v1/pages/all"),
            ("service=a/b:80", "service=a/b:80/metrics"),
            ("service=a/https:b:web/m/x", "service=a/https:b:web/m/x"),
            ("node-exporter=monitoring", "node-exporter=monitoring:9100"),
            ("pods=shop/metrics,pods=shop/m", "pods=shop/m,pods=shop/metrics"),
            ("federate=a/b:web,kube-state-metrics=a/c:http", "kube-state-metrics=a/c:http,federate=a/b:web"),
            (EVERY_JOB, EVERY_JOB),
        ] {
            assert_eq!(text.parse::<Jobs>().unwrap().to_string(), jobs);
        }
    }

    #[test]
    fn jobs_without_a_place_must_be_discovered() {
        for (text, full) in [
            ("kube-state-metrics", "kube-state-metrics=NAMESPACE/SERVICE:PORT"),
            ("federate,cadvisor", "federate=NAMESPACE/SERVICE:PORT"),
            ("node-exporter", "node-exporter=NAMESPACE"),
            ("pods=shop", "pods=shop/metrics"),
        ] {
            let error = text.parse::<JobSpecs>().unwrap().in_full().unwrap_err().to_string();
            assert!(error.ends_with(&format!("write {full}")), "{error}");
        }
        let unresolved = JobSpec::Unresolved(UnresolvedJob::Pods("shop".parse().unwrap()));
        assert_eq!("pods=shop".parse::<JobSpecs>().unwrap().words(), [unresolved]);
    }

    #[test]
    fn invalid_jobs_are_rejected() {
        for text in ["", ",", " , "] {
            assert_eq!(text.parse::<JobSpecs>(), Err(JobSpecError::Empty));
        }
        for text in [
            "cadvisor,nodes",
            "cadvisor=x",
            "apiserver=x",
            "default=x",
            "slis=x",
            "kubelet-slis=x",
            "aggregated",
            "aggregated=",
            "aggregated=a.b/v1/pages",
            "aggregated=apps/v1/deployments/x",
            "aggregated=a.b/v1/pages/x/metrics/more",
            "aggregated=a.b/v1/namespaces/x/pods",
            "aggregated=a.b/v1/watch/pages/x",
            "aggregated=a.b/v1/pages/../x",
            "aggregated=a.b/v1//x",
            "aggregated=/apis/a.b/v1/pages/x",
            "service",
            "service=",
            "service=a",
            "service=a/b",
            "service=a/b:80/",
            "service=a/b:80//x",
            "service=a/b:80/../x",
            "pods",
            "pods=",
            "pods=A",
            "pods=a/",
            "pods=a:80",
            "node-exporter=",
            "node-exporter=a:",
            "node-exporter=a:0",
            "node-exporter=a:+1",
            "node-exporter=a:99999",
            "federate=",
            "federate=a/b:web/federate",
            "Cadvisor",
        ] {
            assert!(text.parse::<JobSpecs>().is_err(), "{text:?}");
        }
    }

    proptest! {
        /// Accepted jobs are written back unchanged, and contain no character that is special in YAML, CEL or a URL.
        #[test]
        fn accepted_jobs_are_harmless_and_written_back(
            name in "(cadvisor|aggregated|service|pods|node-exporter|federate|kube-state-metrics)",
            place in "[a-z0-9A-Z/:.=%'\"$*\\\\ \n{}()|,-]{0,40}",
        ) {
            if let Ok(jobs) = format!("{name}={place}").parse::<Jobs>() {
                let text = jobs.to_string();
                prop_assert_eq!(text.parse::<Jobs>().unwrap(), jobs);
                prop_assert!(!text.contains(|c: char| "'\"$*\\ \n{}()|%".contains(c)), "{}", text);
                prop_assert!(!text.contains("..") || !text.split('/').any(|part| part == ".."), "{}", text);
            }
        }

        #[test]
        fn every_place_is_written_back(
            namespace in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            service in "[a-z]([a-z0-9-]{0,10}[a-z0-9])?",
            port in "[1-9][0-9]{0,3}|[a-z][a-z0-9]{0,9}",
            https in any::<bool>(),
            path in "(/[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,5}){1,3}",
        ) {
            let scheme = if https { "https:" } else { "" };
            for text in [
                format!("service={namespace}/{scheme}{service}:{port}{path}"),
                format!("kube-state-metrics={namespace}/{scheme}{service}:{port}"),
                format!("federate={namespace}/{scheme}{service}:{port}"),
                format!("pods={namespace}{path}"),
            ] {
                prop_assert_eq!(text.parse::<Jobs>().unwrap().to_string(), text);
            }
        }
    }

    #[test]
    fn hostile_jobs_are_survived() {
        let examples = [crate::model::job::EVERY_JOB, "default,slis,kube-state-metrics,pods=shop"];
        hostile::texts(&examples, |text| {
            if let Ok(jobs) = text.parse::<JobSpecs>() {
                assert_eq!(jobs.to_string().parse(), Ok(jobs));
            }
        });
    }
}
