//! The scrape jobs of one cluster. A job knows its path; rights, fence and rendering all ask it here.

use super::duration::Seconds;
use std::{fmt, str::FromStr};

/// One scrape job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Job {
    /// The kubelet's cAdvisor: CPU, memory, network and disk of every container.
    Cadvisor,
    /// The kubelet's own metrics.
    Kubelet,
}

impl Job {
    pub const ALL: [Self; 2] = [Self::Cadvisor, Self::Kubelet];
    /// What `default` stands for in `--jobs`.
    pub const DEFAULT: [Self; 2] = [Self::Cadvisor, Self::Kubelet];

    pub fn name(self) -> &'static str {
        match self {
            Self::Cadvisor => "cadvisor",
            Self::Kubelet => "kubelet",
        }
    }

    /// The path on the kubelet's server, also the value of the `metrics_path` label.
    pub fn metrics_path(self) -> &'static str {
        match self {
            Self::Cadvisor => "/metrics/cadvisor",
            Self::Kubelet => "/metrics",
        }
    }

    /// The value of the `job` label. kube-prometheus has one for all of the kubelet's pages and tells them apart by
    /// `metrics_path`, so its dashboards and rules work unchanged.
    pub fn job_label(self) -> &'static str {
        "kubelet"
    }

    /// Whether the page's own timestamps are used. cAdvisor's lag behind the scrape and defeat staleness
    /// (kube-prometheus#695, cadvisor#2526).
    pub fn honors_timestamps(self) -> bool {
        match self {
            Self::Cadvisor => false,
            Self::Kubelet => true,
        }
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A chosen set of jobs: never empty, in one order, without repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jobs(Vec<Job>);

impl Jobs {
    /// Every job there is.
    pub fn all() -> Self {
        Self(Job::ALL.to_vec())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = Job> {
        self.0.iter().copied()
    }

    pub fn contains(&self, job: Job) -> bool {
        self.0.contains(&job)
    }
}

/// Why a list of jobs was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    #[error("names no job")]
    Empty,
    #[error("unknown job '{0}'; there are cadvisor, kubelet and default (both)")]
    Unknown(String),
}

impl FromStr for Jobs {
    type Err = JobsError;

    fn from_str(text: &str) -> Result<Self, JobsError> {
        let mut jobs = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match Job::ALL.iter().find(|job| job.name() == word) {
                Some(&job) => jobs.push(job),
                None if word == "default" => jobs.extend(Job::DEFAULT),
                None => return Err(JobsError::Unknown(word.to_owned())),
            }
        }
        jobs.sort_unstable();
        jobs.dedup();
        if jobs.is_empty() {
            return Err(JobsError::Empty);
        }
        Ok(Self(jobs))
    }
}

/// `cadvisor,kubelet`
impl fmt::Display for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.iter().map(Job::name).collect();
        f.write_str(&names.join(","))
    }
}

/// How often and how long a job scrapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub interval: Seconds,
    /// Never longer than the interval: Prometheus refuses such a job.
    pub timeout: Seconds,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_jobs_is_read_in_any_order_and_repetition() {
        for (text, jobs) in [
            ("default", "cadvisor,kubelet"),
            ("kubelet", "kubelet"),
            ("kubelet, cadvisor,kubelet", "cadvisor,kubelet"),
            ("kubelet,default", "cadvisor,kubelet"),
        ] {
            assert_eq!(text.parse::<Jobs>().unwrap().to_string(), jobs);
        }
        assert_eq!("".parse::<Jobs>(), Err(JobsError::Empty));
        assert_eq!(",".parse::<Jobs>(), Err(JobsError::Empty));
        assert_eq!("cadvisor,nodes".parse::<Jobs>(), Err(JobsError::Unknown("nodes".into())));
    }
}
