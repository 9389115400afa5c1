//! A folder with a main configuration, its files, and the Prometheus that reads them.

mod config_folder;

use super::{
    Files, Installed, Options,
    prometheus::{
        api::PrometheusApi,
        process::{ConsumerKind, PrometheusProcess},
        promtool::{self, Depth},
        reload::{self, Reloaded, reload},
    },
    readers::{self, Ids},
    ssh,
};
use crate::{
    error::{Error, Reason, Result},
    model::{
        report::Reader,
        store::{
            layout,
            location::{FolderLocation, Format},
            reload::ReloadMode,
        },
        text::names::ClusterName,
    },
    render::main_config::{List, MainConfig},
    yaml,
};
use jiff::{SignedDuration, Timestamp};
use std::{collections::BTreeMap, path::Path, time::Duration};

pub use config_folder::{ConfigFolder, Host, Lock};

/// A destination, looked at.
pub struct Directory {
    pub folder: ConfigFolder,
    pub main: MainConfig,
    pub installed: BTreeMap<ClusterName, Result<Installed>>,
    /// The processes that read this main configuration.
    pub processes: Vec<PrometheusProcess>,
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

/// Where Prometheus listens unless somebody says otherwise.
const DEFAULT_URL: &str = "http://localhost:9090";

impl Directory {
    /// Looks at a destination; writes nothing.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`]; [`Reason::PrometheusUnreachable`] where `--prometheus-url` does not answer and something
    /// is to be written.
    pub async fn open(location: &FolderLocation, options: &Options) -> Result<Self> {
        let folder = opened(location, options.timeout).await?;
        let main = MainConfig::read(&folder.main_text).map_err(|why| not_a_configuration(&folder, &why))?;
        let installed = folder.clusters()?;
        let processes = folder.processes()?;
        // What a Prometheus runs with is a configuration, also of a later release that knows more.
        if let (Some(key), true) = (main.unknown_key(), processes.is_empty()) {
            return Err(not_a_configuration(&folder, &format!("it does not know the key {}", yaml::quoted(key))));
        }
        let (api, api_missing) = match find_api(&folder, &processes, options).await? {
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
        let consumer = processes.first().map(|process| process.consumer);
        let known = installed.values().flatten().find_map(|installed| Some(installed.record()?.format));
        let format = options.format.or(known).unwrap_or(match consumer {
            Some(ConsumerKind::Vmagent) => Format::Vmagent,
            _ => Format::Prometheus,
        });
        let is_agent = consumer == Some(ConsumerKind::PrometheusAgent) || api_says_agent || format == Format::Vmagent;
        let options = options.clone();
        Ok(Self { folder, main, installed, processes, api, api_missing, version, format, is_agent, options })
    }

    /// Reads again what somebody else may have written since. Under the lock.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn look_again(&mut self) -> Result<()> {
        let Some(text) = self.folder.read(&self.folder.main)? else {
            return Err(not_a_configuration(&self.folder, "it has gone"));
        };
        self.main = MainConfig::read(&text).map_err(|why| not_a_configuration(&self.folder, &why))?;
        self.folder.main_text = text;
        self.installed = self.folder.clusters()?;
        Ok(())
    }

    /// Whether a delivery is reloaded and then looked at.
    pub fn can_be_looked_at(&self) -> bool {
        self.api.is_some() && self.options.reload != ReloadMode::None
    }

    /// How people call it: as it was typed.
    pub fn name(&self) -> &str {
        &self.folder.typed
    }

    /// Who reads it, for people.
    pub fn reader(&self) -> Reader {
        let consumer = match (self.format, self.is_agent) {
            (Format::Vmagent, _) => "vmagent",
            (Format::Prometheus, true) => "Prometheus agent",
            (Format::Prometheus, false) => "Prometheus",
        };
        let by_sudo = matches!(&self.folder.host, Host::Elsewhere(remote) if remote.is_root_by_sudo());
        Reader {
            config: self.folder.shown_config() + if by_sudo { " as root, by sudo" } else { "" },
            name: self.version.as_ref().map_or(consumer.to_owned(), |version| format!("{consumer} {version}")),
            process: self.processes.first().map(|process| (process.pid, process.uid)),
            unseen: self.api_missing.clone(),
        }
    }

    /// The folder, with the readers that its Prometheus needs.
    ///
    /// # Errors
    /// [`Reason::NotReadable`], before anything is written.
    pub fn files(&self) -> Result<Files> {
        let own = self.folder.ids();
        let prometheus = match (&self.options.owner, self.processes.first()) {
            (Some(owner), _) => self.folder.ids_of(owner)?,
            (None, Some(process)) => Ids { uid: process.uid, gid: process.gid, groups: process.groups.clone() },
            // Whoever runs this as a plain user tries things out with a Prometheus of their own.
            (None, None) if own.uid != 0 => own.clone(),
            (None, None) => {
                return Err(Error::new(
                    Reason::NotReadable,
                    format!("no running Prometheus reads {}, so nobody knows who must be able to read the token; nothing was written", self.folder.shown_config()),
                )
                .hint("Name the user that it will run as: --owner prometheus")
                .hint("Or start it first"));
            }
        };
        let readers = readers::readers(&own, &prometheus)?;
        // In a container the way to the folder is another one, and nobody here knows it.
        let is_elsewhere = self.processes.first().is_some_and(|process| !process.shares_mounts);
        let way = if is_elsewhere { 1 } else { usize::MAX };
        readers::passes_through(&prometheus, self.folder.way()?.into_iter().take(way))?;
        Ok(Files { host: self.folder.host.clone(), root: self.folder.root.clone(), readers })
    }

    /// The main configuration with what is missing from it, or none if it includes everything.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where its text cannot be edited safely.
    pub fn edited_main(&self) -> Result<Option<String>> {
        let sample = "prom-federate/x";
        let mut missing = Vec::new();
        let root = &self.folder.root;
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
            Error::new(Reason::DestinationUnusable, format!("{}: {why}", self.folder.shown_config()))
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
        let process = self.processes.first();
        if let Host::Elsewhere(remote) = &self.folder.host {
            let outcome = promtool::check_there(remote, process, path, self.format, self.is_agent)?;
            return outcome.map_or(Ok(None), |(by, outcome)| self.checked(by, outcome, path));
        }
        let file = &self.folder.root.join(path);
        let (by, outcome) = if self.format == Format::Vmagent {
            let Some(vmagent) = process.and_then(promtool::vmagent) else { return Ok(None) };
            (promtool::BY_VMAGENT, promtool::check_by_vmagent(vmagent, file).await)
        } else {
            let Some(promtool) = promtool::find(process) else { return Ok(None) };
            ("promtool", promtool::check_config(&promtool, file, self.is_agent, Depth::Syntax).await)
        };
        self.checked(by, outcome, path)
    }

    /// The same for alerting rules.
    pub async fn check_rules(&self, path: &str) -> Result<Option<&'static str>> {
        let process = self.processes.first();
        let outcome = match &self.folder.host {
            Host::Elsewhere(remote) => promtool::check_rules_there(remote, process, path)?,
            Host::Here => match promtool::find(process) {
                None => None,
                Some(promtool) => Some(promtool::check_rules(&promtool, &self.folder.root.join(path)).await),
            },
        };
        outcome.map_or(Ok(None), |outcome| self.checked("promtool", outcome, path))
    }

    /// What would look at them, as far as one can tell without a file.
    pub fn checker(&self) -> Option<&'static str> {
        let process = self.processes.first();
        let (vmagent, promtool) = match &self.folder.host {
            Host::Here => (process.and_then(promtool::vmagent).is_some(), promtool::find(process).is_some()),
            Host::Elsewhere(remote) => {
                (process.is_some_and(|process| process.consumer == ConsumerKind::Vmagent), remote.tools.promtool)
            }
        };
        match self.format {
            Format::Vmagent => vmagent.then_some("vmagent"),
            Format::Prometheus => promtool.then_some("promtool"),
        }
    }

    /// Whether the host of Prometheus itself can say that it reaches a cluster.
    pub fn can_prove_access(&self, tls_server_name: Option<&str>) -> bool {
        matches!(&self.folder.host, Host::Elsewhere(remote) if remote.can_prove(tls_server_name))
    }

    /// The clock of the host of Prometheus: not earlier and not later than these.
    pub fn now(&self) -> Result<(Timestamp, Timestamp)> {
        let now = match &self.folder.host {
            Host::Here => Timestamp::now(),
            Host::Elsewhere(remote) => remote.now()?,
        };
        let is_coarse = matches!(self.folder.host, Host::Elsewhere(_)) && now.subsec_nanosecond() == 0;
        Ok((now, now + SignedDuration::from_secs(is_coarse.into())))
    }

    /// Has Prometheus read its configuration again; `committed` is when its files came into place.
    pub async fn reload(&self, committed: Timestamp) -> Result<Reloaded> {
        reload(&self.folder.host, &self.options.reload, &self.processes, self.api.as_ref(), committed).await
    }

    /// What another host does when the connection to it is lost and everything is taken back.
    pub fn prepare_for_a_cut(&self) -> Result<()> {
        match &self.folder.host {
            Host::Here => Ok(()),
            Host::Elsewhere(remote) => {
                reload::after_a_cut(remote, &self.options.reload, &self.processes, self.api.as_ref())
            }
        }
    }

    fn checked(&self, by: &'static str, outcome: Result<(), String>, path: &str) -> Result<Option<&'static str>> {
        outcome.map(|()| Some(by)).map_err(|why| {
            // What it would have become: the file that was looked at is gone when somebody reads this.
            let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
            let becomes = name.strip_suffix(".new").map_or(name, |name| name.trim_end_matches(".prom-federate"));
            let file = Path::new(folder).join(becomes);
            let (file, why) = (self.folder.shown(&file.to_string_lossy()), why.replace(name, becomes));
            Error::new(Reason::ConfigRefused, format!("{by} refuses {file}: {why}"))
                .hint(format!("Nothing was put in place at {}; mend what it names", self.name()))
        })
    }
}

async fn opened(folder: &FolderLocation, timeout: Option<Duration>) -> Result<ConfigFolder> {
    if matches!(folder, FolderLocation::Here(_)) {
        return ConfigFolder::open(folder, timeout);
    }
    // ssh may wait for somebody who types, and others wait for answers meanwhile.
    let folder = folder.clone();
    let opening = tokio::task::spawn_blocking(move || ConfigFolder::open(&folder, timeout));
    opening.await.unwrap_or_else(|error| {
        Err(Error::new(Reason::SshFailed, format!("the connection was given up: {error}"))
            .hint("Run the command again"))
    })
}

/// The API of the Prometheus that reads this configuration; in the inner error why there is none.
async fn find_api(
    directory: &ConfigFolder,
    processes: &[PrometheusProcess],
    options: &Options,
) -> Result<Result<PrometheusApi, String>> {
    if matches!(&directory.host, Host::Elsewhere(remote) if !remote.can_ask()) {
        return Ok(Err(ssh::NOBODY_ASKS.to_owned()));
    }
    if let Some(url) = &options.url {
        let api = PrometheusApi::new(&directory.host, url, options.timeout)?;
        return match api.ready().await {
            Ok(_) => Ok(Ok(api)),
            Err(error) if options.look_only => Ok(Err(error.to_string())),
            // Whoever names it wants it to be used.
            Err(error) => Err(error.about("--prometheus-url")),
        };
    }
    for url in processes.iter().filter_map(|process| process.api.as_deref()) {
        let api = PrometheusApi::new(&directory.host, url, options.timeout)?;
        if api.ready().await.is_ok() {
            return Ok(Ok(api));
        }
    }
    let api = PrometheusApi::new(&directory.host, DEFAULT_URL, options.timeout)?;
    let ours = directory.config();
    Ok(match api.flags().await {
        Err(_) if processes.is_empty() => {
            Err(format!("no running Prometheus reads {}, and none answers at {DEFAULT_URL}", directory.shown_config()))
        }
        Err(_) => Err(format!("it does not answer at {DEFAULT_URL}; name its address with --prometheus-url URL")),
        Ok(flags) => match flags.get("config.file").map(Path::new) {
            Some(file)
                if file == ours
                    || file.is_relative() && file.file_name() == ours.file_name() && processes.is_empty() =>
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

fn not_a_configuration(directory: &ConfigFolder, why: &str) -> Error {
    Error::new(
        Reason::DestinationUnusable,
        format!("{} is no configuration of Prometheus: {why}", directory.shown_config()),
    )
    .hint("Name the folder of prometheus.yml, or that file: -p /etc/prometheus")
}
