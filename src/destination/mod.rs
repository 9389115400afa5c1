//! A place that keeps jobs: a folder with a main configuration, on this host or on another, its files, and the Prometheus
//! that reads them. The only module that touches a destination.

mod directory;
mod installed;
pub mod label_conflict;
mod operator;
mod options;
pub mod prometheus;

use crate::{
    error::Result,
    host,
    model::{
        job::Job,
        report::{Reader, checklist::ReaderLoad},
        store::{
            identity::Identity,
            layout,
            location::{FolderLocation, Location},
            record::Record,
        },
        text::names::ClusterName,
    },
    render::main_config::List,
};
use std::{collections::BTreeMap, fs, path::Path};

pub use directory::{ConfigFolder, Directory, Known};
pub use installed::{Installed, Live};
pub use operator::{Credentials, Operator, Stored};
pub use options::{HubOptions, Options};
pub use prometheus::{
    api::{Health, PrometheusApi, Sample, Target},
    reload::Reloaded,
};

/// The labels of the clusters that a destination has jobs of, for completion: it asks a person for nothing, so it makes no
/// connection by ssh and runs no credential plugin. None where a folder cannot be read.
///
/// # Errors
/// Whatever the hub says.
pub async fn labels(location: &Location, kubeconfig: Option<&Path>) -> Result<Vec<ClusterName>> {
    Ok(match location {
        Location::Directory(FolderLocation::Here(place)) => labels_of(&names_here(place)),
        Location::Directory(FolderLocation::Ssh(place)) => {
            labels_of(&host::names_over_open_connection(place).await.unwrap_or_default())
        }
        Location::Operator(place) => operator::labels(place, kubeconfig).await?,
    })
}

/// The names in our folder beside a main configuration. None where they cannot be read.
fn names_here(place: &Path) -> Vec<String> {
    let folder = if place.is_dir() { place } else { place.parent().unwrap_or(place) };
    let entries = fs::read_dir(folder.join(layout::FOLDER)).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn labels_of(names: &[String]) -> Vec<ClusterName> {
    names.iter().filter_map(|name| name.strip_suffix(layout::FRAGMENT_SUFFIX)?.parse().ok()).collect()
}

/// An opened destination of either kind.
pub enum Destination {
    Directory(Box<Directory>),
    Operator(Box<Operator>),
}

impl Destination {
    /// As [`Directory::open`] and [`Operator::open`].
    pub async fn open(location: &Location, options: &Options) -> Result<Self> {
        Self::open_again(location, options, Known::default()).await
    }

    /// The same of one that was read before.
    pub async fn open_again(location: &Location, options: &Options, before: Known) -> Result<Self> {
        Ok(match location {
            Location::Directory(folder) => Self::Directory(Box::new(Directory::open(folder, options, before).await?)),
            Location::Operator(operator) => Self::Operator(Box::new(Operator::open(operator, options).await?)),
        })
    }

    /// As it was typed.
    pub fn name(&self) -> &str {
        match self {
            Self::Directory(directory) => directory.name(),
            Self::Operator(operator) => &operator.typed,
        }
    }

    /// What tells it from others that are named otherwise.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Directory(one), Self::Directory(other)) => one.folder.shown_config() == other.folder.shown_config(),
            (Self::Operator(one), Self::Operator(other)) => one.identity() == other.identity(),
            _ => false,
        }
    }

    pub fn installed(&self) -> &BTreeMap<ClusterName, Result<Installed>> {
        match self {
            Self::Directory(directory) => &directory.known.installed,
            Self::Operator(operator) => &operator.installed,
        }
    }

    /// What was read of it, for the next time.
    pub fn into_known(self) -> Known {
        match self {
            Self::Directory(directory) => directory.known,
            Self::Operator(operator) => operator.installed.into(),
        }
    }

    pub async fn read_clusters_again(&mut self) -> Result<()> {
        match self {
            Self::Directory(directory) => directory.read_clusters_again().await,
            Self::Operator(operator) => operator.read_again().await,
        }
    }

    /// The CA of the API server of a cluster, as DER; none where there is none or it cannot be read.
    pub async fn ca(&self, record: &Record) -> Option<Vec<Vec<u8>>> {
        let cas = match self {
            Self::Directory(directory) => {
                let installed = directory.known.installed.get(&record.cluster)?.as_ref().ok()?;
                directory.folder.cas(record, installed.generations.keys().next_back()?).await.ok()?
            }
            Self::Operator(operator) => operator.credentials(record).ok()?.cas,
        };
        cas.api_server
    }

    /// Whether the configuration of Prometheus includes what is delivered here.
    pub fn includes_jobs(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.includes(List::ScrapeConfigFiles, layout::FRAGMENTS),
            // The push checks that the Prometheus object selects its objects.
            Self::Operator(_) => true,
        }
    }

    /// Where the jobs of a cluster are, for people.
    pub fn jobs_of(&self, cluster: &ClusterName) -> String {
        match self {
            Self::Directory(directory) => directory.folder.shown(&layout::Layout(cluster).fragment()),
            Self::Operator(operator) => operator.jobs_of(cluster),
        }
    }

    /// The destination that bound Secrets name.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Directory(directory) => directory.folder.identity(),
            Self::Operator(operator) => operator.identity(),
        }
    }

    /// The label under which it knows a cluster.
    pub fn label_of(&self, uid: &str) -> Option<&ClusterName> {
        let records = self.installed().values().flatten().filter_map(Installed::record);
        records.filter(|record| record.uid == uid).map(|record| &record.cluster).next()
    }

    pub fn reader(&self) -> Reader {
        match self {
            Self::Directory(directory) => directory.reader(),
            Self::Operator(operator) => operator.reader(),
        }
    }

    /// Whether the host of Prometheus can itself prove the address, the CA and the token.
    pub fn can_prove_access(&self, tls_server_name: Option<&str>) -> bool {
        matches!(self, Self::Directory(directory) if directory.can_prove_access(tls_server_name))
    }

    /// The API that verifies the result, or why there is none.
    pub fn api(&self) -> Result<&PrometheusApi, &str> {
        let api = match self {
            Self::Directory(directory) => &directory.api,
            Self::Operator(operator) => &operator.api,
        };
        api.as_ref().map_err(String::as_str)
    }

    /// Only the count of clusters is known where the reader does not answer.
    pub async fn load(&self) -> ReaderLoad {
        let told = match self.api() {
            Ok(api) => api.load().await.unwrap_or_default(),
            Err(_) => ReaderLoad::default(),
        };
        ReaderLoad { clusters: self.installed().len(), ..told }
    }

    /// Whether a delivery is verified in Prometheus.
    pub fn can_be_verified(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.can_be_verified(),
            Self::Operator(operator) => operator.api.is_ok(),
        }
    }

    /// It keeps no samples, so it answers no queries.
    pub fn is_agent(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.is_agent,
            Self::Operator(operator) => operator.instance.is_agent(),
        }
    }

    /// What Prometheus calls a job of a record.
    pub fn pool(&self, record: &Record, job: &Job) -> String {
        match self {
            Self::Directory(_) => job.scrape_job(&record.cluster),
            Self::Operator(operator) => operator.pool(record, job),
        }
    }
}

/// What a destination has, and nothing of its Prometheus: enough for what only reads records.
pub struct Records {
    /// For commands that are read at another time and in another folder.
    pub typed: String,
    pub installed: BTreeMap<ClusterName, Result<Installed>>,
    pub source: Source,
}

/// Where records were read, with what lies beside them.
pub enum Source {
    Directory(Box<ConfigFolder>),
    Operator(Box<Operator>),
}

/// Reads the records of a destination.
///
/// # Errors
/// As [`Destination::open`].
pub async fn records(location: &Location, options: &Options) -> Result<Records> {
    match location {
        Location::Directory(folder) => {
            let folder = ConfigFolder::open(folder, options.timeout).await?;
            let installed = folder.clusters().await?.installed;
            Ok(Records { typed: folder.typed_or_absolute(), installed, source: Source::Directory(Box::new(folder)) })
        }
        Location::Operator(operator) => {
            let operator = Operator::open(operator, options).await?;
            let (typed, installed) = (operator.typed.clone(), operator.installed.clone());
            Ok(Records { typed, installed, source: Source::Operator(Box::new(operator)) })
        }
    }
}

/// What a destination has, read again: of a folder of this host only what may have changed since `known`.
///
/// # Errors
/// As [`Destination::open`].
pub async fn clusters_since(known: Known, location: &Location, options: &Options) -> Result<Known> {
    match location {
        Location::Directory(folder) => ConfigFolder::open(folder, options.timeout).await?.clusters_since(known).await,
        Location::Operator(operator) => {
            Operator::open(operator, options).await.map(|operator| operator.installed.into())
        }
    }
}
