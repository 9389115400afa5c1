//! A place that keeps jobs: a folder with a main configuration, on this host or on another, its files, and the Prometheus
//! that reads them. The only module that touches a destination.

pub mod clash;
#[cfg(test)]
mod conformance;
mod directory;
mod files;
mod holder;
mod operator;
mod prometheus_api;
pub mod promtool;
mod readers;
mod reload;
mod session;
mod ssh;

use crate::{
    cluster::Log,
    error::{Error, Reason, Result},
    model::{
        job::Job,
        report::Reader,
        store::{
            identity::Identity,
            layout,
            location::{FileOwner, FolderLocation, Format, Location},
            record::Record,
            reload::ReloadMode,
        },
        text::names::ClusterName,
    },
    render::main_config::{List, MainConfig},
    yaml,
};
use jiff::{SignedDuration, Timestamp};
use promtool::Depth;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

pub use directory::{Directory, Host, Installed, Live, Lock};
pub use files::Files;
pub use holder::{Consumer, Holder, holders};
pub use operator::{Credentials, Operator, Stored};
pub use prometheus_api::{ConfigState, Health, HttpReload, PrometheusApi, Sample, Target};
pub use readers::Ids;
pub use reload::{Reloaded, reload};

/// What the command line says about a destination beside its name.
#[derive(Clone, Default)]
pub struct Options {
    /// Of Prometheus' API; looked for unless given.
    pub url: Option<String>,
    pub reload: ReloadMode,
    pub owner: Option<FileOwner>,
    pub format: Option<Format>,
    pub timeout: Option<Duration>,
    /// Nothing is written: an API that does not answer is no reason to stop.
    pub look_only: bool,
    pub hub: HubOptions,
}

/// How the cluster of an operator is reached, beside the context in its address.
#[derive(Clone, Default)]
pub struct HubOptions {
    pub kubeconfig: Option<PathBuf>,
    pub log: Option<Log>,
}

/// A destination, looked at.
pub struct Destination {
    pub directory: Directory,
    pub main: MainConfig,
    pub installed: BTreeMap<ClusterName, Result<Installed>>,
    /// The processes that read this main configuration.
    pub holders: Vec<Holder>,
    pub api: Option<PrometheusApi>,
    /// Why there is no API to look at the result with, for people.
    pub api_missing: Option<String>,
    /// `3.16.0`, where the API said it.
    pub version: Option<String>,
    pub format: Format,
    /// It knows no rules.
    pub is_agent: bool,
    pub options: Options,
}

/// A destination of whichever kind, looked at.
pub enum Opened {
    Directory(Box<Destination>),
    Operator(Box<Operator>),
}

impl Opened {
    /// As [`Destination::open`] and [`Operator::open`].
    pub async fn open(location: &Location, options: &Options) -> Result<Self> {
        Ok(match location {
            Location::Directory(folder) => Self::Directory(Box::new(Destination::open(folder, options).await?)),
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
            (Self::Directory(one), Self::Directory(other)) => {
                one.directory.shown_config() == other.directory.shown_config()
            }
            (Self::Operator(one), Self::Operator(other)) => one.identity() == other.identity(),
            _ => false,
        }
    }

    pub fn installed(&self) -> &BTreeMap<ClusterName, Result<Installed>> {
        match self {
            Self::Directory(directory) => &directory.installed,
            Self::Operator(operator) => &operator.installed,
        }
    }

    /// The same, looked at anew.
    pub async fn clusters(&self) -> Result<BTreeMap<ClusterName, Result<Installed>>> {
        match self {
            Self::Directory(directory) => directory.directory.clusters(),
            Self::Operator(operator) => operator.clusters().await,
        }
    }

    /// The CA of the API server of a cluster, as DER; none where there is none or it cannot be read.
    pub fn ca(&self, record: &Record) -> Option<Vec<Vec<u8>>> {
        let [ca, _] = match self {
            Self::Directory(directory) => {
                let installed = directory.installed.get(&record.cluster)?.as_ref().ok()?;
                directory.directory.cas(record, installed.generations.keys().next_back()?).ok()?
            }
            Self::Operator(operator) => operator.credentials(record).ok()?.cas,
        };
        ca
    }

    /// Where the jobs of a cluster are, for people.
    pub fn jobs_of(&self, cluster: &ClusterName) -> String {
        match self {
            Self::Directory(directory) => directory.directory.shown(&layout::Layout(cluster).fragment()),
            Self::Operator(operator) => operator.jobs_of(cluster),
        }
    }

    /// None before anything was delivered.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Self::Directory(directory) => directory.directory.identity(),
            Self::Operator(operator) => Some(operator.identity()),
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

    /// The API to look at the result with, or why there is none.
    pub fn api(&self) -> Result<&PrometheusApi, &str> {
        let (api, missing) = match self {
            Self::Directory(directory) => (&directory.api, &directory.api_missing),
            Self::Operator(operator) => (&operator.api, &operator.api_missing),
        };
        api.as_ref().ok_or(missing.as_deref().unwrap_or("its API is not known"))
    }

    /// Whether a delivery is looked at in Prometheus.
    pub fn can_be_looked_at(&self) -> bool {
        match self {
            Self::Directory(directory) => directory.can_be_looked_at(),
            Self::Operator(operator) => operator.api.is_some(),
        }
    }

    /// It keeps no samples, so it answers no queries.
    pub fn is_agent(&self) -> bool {
        matches!(self, Self::Directory(directory) if directory.is_agent)
    }

    /// What Prometheus calls a job of a record.
    pub fn pool(&self, record: &Record, job: &Job) -> String {
        match self {
            Self::Directory(_) => job.scrape_job(&record.cluster),
            Self::Operator(operator) => operator.pool(record, job),
        }
    }
}

/// Where Prometheus listens unless somebody says otherwise.
const DEFAULT_URL: &str = "http://localhost:9090";

impl Destination {
    /// Looks at a destination; writes nothing.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`]; [`Reason::PrometheusUnreachable`] where `--prometheus-url` does not answer and something
    /// is to be written.
    pub async fn open(folder: &FolderLocation, options: &Options) -> Result<Self> {
        let directory = opened(folder, options.timeout).await?;
        let main = MainConfig::read(&directory.main_text).map_err(|why| not_a_configuration(&directory, &why))?;
        let installed = directory.clusters()?;
        let holders = directory.holders()?;
        // What a Prometheus runs with is a configuration, also of a later release that knows more.
        if let (Some(key), true) = (main.unknown_key(), holders.is_empty()) {
            return Err(not_a_configuration(&directory, &format!("it does not know the key {}", yaml::quoted(key))));
        }
        let (api, api_missing) = match find_api(&directory, &holders, options).await? {
            Ok(api) => (Some(api), None),
            Err(why) => (None, Some(why)),
        };
        let (mut version, mut api_says_agent) = (None, false);
        if let Some(api) = &api {
            let (build, flags) = tokio::join!(api.build_version(), api.flags());
            // Builds of distributions may have none.
            version = build.ok().filter(|version| !version.is_empty());
            api_says_agent = flags.is_ok_and(|flags| flags.get("agent").is_some_and(|agent| agent == "true"));
        }
        let consumer = holders.first().map(|holder| holder.consumer);
        let known = installed.values().flatten().find_map(|installed| Some(installed.record()?.format));
        let format = options.format.or(known).unwrap_or(match consumer {
            Some(Consumer::Vmagent) => Format::Vmagent,
            _ => Format::Prometheus,
        });
        let is_agent = consumer == Some(Consumer::PrometheusAgent) || api_says_agent || format == Format::Vmagent;
        let options = options.clone();
        Ok(Self { directory, main, installed, holders, api, api_missing, version, format, is_agent, options })
    }

    /// Reads again what somebody else may have written since. Under the lock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look_again(&mut self) -> Result<()> {
        let Some(text) = self.directory.read(&self.directory.main)? else {
            return Err(not_a_configuration(&self.directory, "it has gone"));
        };
        self.main = MainConfig::read(&text).map_err(|why| not_a_configuration(&self.directory, &why))?;
        self.directory.main_text = text;
        self.installed = self.directory.clusters()?;
        Ok(())
    }

    /// Whether a delivery is reloaded and then looked at.
    pub fn can_be_looked_at(&self) -> bool {
        self.api.is_some() && self.options.reload != ReloadMode::None
    }

    /// How people call it: as it was typed.
    pub fn name(&self) -> &str {
        &self.directory.typed
    }

    /// Who reads it, for people.
    pub fn reader(&self) -> Reader {
        let consumer = match (self.format, self.is_agent) {
            (Format::Vmagent, _) => "vmagent",
            (Format::Prometheus, true) => "Prometheus agent",
            (Format::Prometheus, false) => "Prometheus",
        };
        let by_sudo = matches!(&self.directory.host, Host::Elsewhere(remote) if remote.is_root_by_sudo());
        Reader {
            config: self.directory.shown_config() + if by_sudo { " as root, by sudo" } else { "" },
            name: self.version.as_ref().map_or(consumer.to_owned(), |version| format!("{consumer} {version}")),
            process: self.holders.first().map(|holder| (holder.pid, holder.uid)),
            unseen: self.api_missing.clone(),
        }
    }

    /// The folder, with the readers that its Prometheus needs.
    ///
    /// # Errors
    /// [`Reason::NotReadable`], before anything is written.
    pub fn files(&self) -> Result<Files> {
        let own = self.directory.ids();
        let prometheus = match (&self.options.owner, self.holders.first()) {
            (Some(owner), _) => self.directory.ids_of(owner)?,
            (None, Some(holder)) => Ids { uid: holder.uid, gid: holder.gid, groups: holder.groups.clone() },
            // Whoever runs this as a plain user tries things out with a Prometheus of their own.
            (None, None) if own.uid != 0 => own.clone(),
            (None, None) => {
                return Err(Error::new(
                    Reason::NotReadable,
                    format!("no running Prometheus reads {}, so nobody knows who must be able to read the token; nothing was written", self.directory.shown_config()),
                )
                .hint("Name the user that it will run as: --owner prometheus")
                .hint("Or start it first"));
            }
        };
        let readers = readers::readers(&own, &prometheus)?;
        // In a container the way to the folder is another one, and nobody here knows it.
        let is_elsewhere = self.holders.first().is_some_and(|holder| !holder.shares_mounts);
        let way = if is_elsewhere { 1 } else { usize::MAX };
        readers::passes_through(&prometheus, self.directory.way()?.into_iter().take(way))?;
        Ok(Files { host: self.directory.host.clone(), root: self.directory.root.clone(), readers })
    }

    /// The main configuration with what is missing from it, or none if it includes everything.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where its text cannot be edited safely.
    pub fn edited_main(&self) -> Result<Option<String>> {
        let sample = "prom-federate/x";
        let mut missing = Vec::new();
        let root = &self.directory.root;
        if !self.main.includes(List::ScrapeConfigFiles, root, &format!("{sample}.scrape.yml")) {
            missing.push((List::ScrapeConfigFiles, layout::FRAGMENTS));
        }
        if !self.is_agent && !self.main.includes(List::RuleFiles, root, &format!("{sample}.rules.yml")) {
            missing.push((List::RuleFiles, layout::RULES));
        }
        if missing.is_empty() {
            return Ok(None);
        }
        self.main.with(&missing).map(Some).map_err(|why| {
            let lines: Vec<String> =
                missing.iter().map(|(list, pattern)| format!("{}: [{pattern}]", list.key())).collect();
            Error::new(Reason::DestinationUnusable, format!("{}: {why}", self.directory.shown_config()))
                .hint(format!("Add this by hand and run the command again: {}", lines.join("   ")))
        })
    }

    /// Lets promtool, or vmagent itself, look at a file before anything is in place: a main configuration, or jobs as a
    /// configuration of their own, by its path in the folder. Other files that it names are not opened. Returns who
    /// looked; none if nobody could.
    ///
    /// # Errors
    /// [`Reason::ConfigRefused`], in their words.
    pub async fn check(&self, path: &str) -> Result<Option<&'static str>> {
        let holder = self.holders.first();
        if let Host::Elsewhere(remote) = &self.directory.host {
            let outcome = promtool::check_there(remote, holder, path, self.format, self.is_agent)?;
            return outcome.map_or(Ok(None), |(by, outcome)| self.checked(by, outcome, path));
        }
        let file = &self.directory.root.join(path);
        let (by, outcome) = if self.format == Format::Vmagent {
            let Some(vmagent) = holder.and_then(promtool::vmagent) else { return Ok(None) };
            (promtool::BY_VMAGENT, promtool::check_by_vmagent(vmagent, file).await)
        } else {
            let Some(promtool) = promtool::find(holder) else { return Ok(None) };
            ("promtool", promtool::check_config(&promtool, file, self.is_agent, Depth::Syntax).await)
        };
        self.checked(by, outcome, path)
    }

    /// The same for alerting rules.
    pub async fn check_rules(&self, path: &str) -> Result<Option<&'static str>> {
        let holder = self.holders.first();
        let outcome = match &self.directory.host {
            Host::Elsewhere(remote) => promtool::check_rules_there(remote, holder, path)?,
            Host::Here => match promtool::find(holder) {
                None => None,
                Some(promtool) => Some(promtool::check_rules(&promtool, &self.directory.root.join(path)).await),
            },
        };
        outcome.map_or(Ok(None), |outcome| self.checked("promtool", outcome, path))
    }

    /// What would look at them, as far as one can tell without a file.
    pub fn checker(&self) -> Option<&'static str> {
        let holder = self.holders.first();
        let (vmagent, promtool) = match &self.directory.host {
            Host::Here => (holder.and_then(promtool::vmagent).is_some(), promtool::find(holder).is_some()),
            Host::Elsewhere(remote) => {
                (holder.is_some_and(|holder| holder.consumer == Consumer::Vmagent), remote.tools.promtool)
            }
        };
        match self.format {
            Format::Vmagent => vmagent.then_some("vmagent"),
            Format::Prometheus => promtool.then_some("promtool"),
        }
    }

    /// Whether the host of Prometheus itself can say that it reaches a cluster.
    pub fn can_prove_access(&self, tls_server_name: Option<&str>) -> bool {
        matches!(&self.directory.host, Host::Elsewhere(remote) if remote.can_prove(tls_server_name))
    }

    /// The clock of the host of Prometheus: not earlier and not later than these.
    pub fn now(&self) -> Result<(Timestamp, Timestamp)> {
        let now = match &self.directory.host {
            Host::Here => Timestamp::now(),
            Host::Elsewhere(remote) => remote.now()?,
        };
        let is_coarse = matches!(self.directory.host, Host::Elsewhere(_)) && now.subsec_nanosecond() == 0;
        Ok((now, now + SignedDuration::from_secs(is_coarse.into())))
    }

    /// Has Prometheus read its configuration again; `committed` is when its files came into place.
    pub async fn reload(&self, committed: Timestamp) -> Result<Reloaded> {
        reload(&self.directory.host, &self.options.reload, &self.holders, self.api.as_ref(), committed).await
    }

    /// What another host does when the connection to it is lost and everything is taken back.
    pub fn prepare_for_a_cut(&self) -> Result<()> {
        match &self.directory.host {
            Host::Here => Ok(()),
            Host::Elsewhere(remote) => {
                reload::after_a_cut(remote, &self.options.reload, &self.holders, self.api.as_ref())
            }
        }
    }

    fn checked(&self, by: &'static str, outcome: Result<(), String>, path: &str) -> Result<Option<&'static str>> {
        outcome.map(|()| Some(by)).map_err(|why| {
            // What it would have become: the file that was looked at is gone when somebody reads this.
            let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
            let becomes = name.strip_suffix(".new").map_or(name, |name| name.trim_end_matches(".prom-federate"));
            let file = Path::new(folder).join(becomes);
            let (file, why) = (self.directory.shown(&file.to_string_lossy()), why.replace(name, becomes));
            Error::new(Reason::ConfigRefused, format!("{by} refuses {file}: {why}"))
                .hint(format!("Nothing was put in place at {}; mend what it names", self.name()))
        })
    }
}

async fn opened(folder: &FolderLocation, timeout: Option<Duration>) -> Result<Directory> {
    if matches!(folder, FolderLocation::Here(_)) {
        return Directory::open(folder, timeout);
    }
    // ssh may wait for somebody who types, and others wait for answers meanwhile.
    let folder = folder.clone();
    let opening = tokio::task::spawn_blocking(move || Directory::open(&folder, timeout));
    opening.await.unwrap_or_else(|error| {
        Err(Error::new(Reason::SshFailed, format!("the connection was given up: {error}"))
            .hint("Run the command again"))
    })
}

/// The API of the Prometheus that reads this configuration; in the inner error why there is none.
async fn find_api(
    directory: &Directory,
    holders: &[Holder],
    options: &Options,
) -> Result<Result<PrometheusApi, String>> {
    if matches!(&directory.host, Host::Elsewhere(remote) if !remote.can_ask()) {
        return Ok(Err(ssh::NOBODY_ASKS.to_owned()));
    }
    if let Some(url) = &options.url {
        let api = PrometheusApi::new(&directory.host, url, options.timeout)?;
        return match api.ready().await {
            Ok(_) => Ok(Ok(api)),
            Err(error) if options.look_only => Ok(Err(error.message)),
            // Whoever names it wants it to be used.
            Err(error) => Err(error.about("--prometheus-url")),
        };
    }
    for url in holders.iter().filter_map(|holder| holder.api.as_deref()) {
        let api = PrometheusApi::new(&directory.host, url, options.timeout)?;
        if api.ready().await.is_ok() {
            return Ok(Ok(api));
        }
    }
    let api = PrometheusApi::new(&directory.host, DEFAULT_URL, options.timeout)?;
    let ours = directory.config();
    Ok(match api.flags().await {
        Err(_) if holders.is_empty() => {
            Err(format!("no running Prometheus reads {}, and none answers at {DEFAULT_URL}", directory.shown_config()))
        }
        Err(_) => Err(format!("it does not answer at {DEFAULT_URL}; name its address with --prometheus-url URL")),
        Ok(flags) => match flags.get("config.file").map(Path::new) {
            Some(file)
                if file == ours || file.is_relative() && file.file_name() == ours.file_name() && holders.is_empty() =>
            {
                Ok(api)
            }
            other => Err(format!(
                "the Prometheus at {DEFAULT_URL} reads {}, not {}; name the right one with --prometheus-url URL",
                other.map_or_else(|| "another configuration".to_owned(), |file| file.display().to_string()),
                directory.shown_config()
            )),
        },
    })
}

fn not_a_configuration(directory: &Directory, why: &str) -> Error {
    Error::new(
        Reason::DestinationUnusable,
        format!("{} is no configuration of Prometheus: {why}", directory.shown_config()),
    )
    .hint("Name the folder of prometheus.yml, or that file: -p /etc/prometheus")
}
