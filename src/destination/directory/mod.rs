//! A folder with a main configuration, its files, and the Prometheus that reads them.

mod config_folder;

use super::{
    Installed, Options,
    prometheus::{
        api::PrometheusApi,
        process::{ConsumerKind, PrometheusProcess},
        promtool::{self, Depth, Verdict},
        reload::{self, Reloaded, Way, reload},
    },
};
use crate::{
    error::{Error, Reason, Result},
    host::{
        Attempt, NO_HTTP_PROGRAM,
        ownership::{self, Ids},
    },
    model::{
        report::Reader,
        store::{
            install::FileOwnership,
            layout,
            location::{FolderLocation, Format},
            reload::ReloadMode,
        },
        text::names::ClusterName,
    },
    render::main_config::{List, MainConfig},
    yaml,
};
use jiff::Timestamp;
use std::{collections::BTreeMap, path::Path, time::Duration};

pub use config_folder::ConfigFolder;

/// An opened directory.
pub struct Directory {
    pub folder: ConfigFolder,
    pub main: MainConfig,
    pub installed: BTreeMap<ClusterName, Result<Installed>>,
    /// The processes that read this main configuration.
    pub processes: Vec<PrometheusProcess>,
    /// Or why there is none, for people.
    pub api: Result<PrometheusApi, String>,
    /// `3.16.0`, where the API said it.
    pub version: Option<String>,
    pub format: Format,
    /// It knows no rules.
    pub is_agent: bool,
    pub options: Options,
}

/// The default address of Prometheus.
const DEFAULT_URL: &str = "http://localhost:9090";

impl Directory {
    /// Opens a destination; writes nothing.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`]; [`Reason::PrometheusUnreachable`] where `--prometheus-url` does not answer and something
    /// is to be written.
    pub async fn open(location: &FolderLocation, options: &Options) -> Result<Self> {
        let folder = ConfigFolder::open(location, options.timeout).await?;
        let main = MainConfig::read(&folder.main_text).map_err(|why| not_a_configuration(&folder, &why))?;
        let installed = folder.clusters().await?;
        let processes = folder.processes().await?;
        // What a Prometheus runs with is a configuration, also of a later release that knows more.
        if let (Some(key), true) = (main.unknown_key(), processes.is_empty()) {
            return Err(not_a_configuration(&folder, &format!("unknown key {}", yaml::quoted(key))));
        }
        let api = match &options.url {
            _ if !folder.host.can_request() => Err(NO_HTTP_PROGRAM.to_owned()),
            None => find_api(&folder, &processes, options.timeout).await,
            Some(url) => {
                let api = PrometheusApi::new(&folder.host, url, options.timeout)?;
                match api.ready().await {
                    Ok(_) => Ok(api),
                    Err(error) if options.read_only => Err(error.to_string()),
                    // An address that the user named must answer.
                    Err(error) => return Err(error.about("--prometheus-url")),
                }
            }
        };
        let (mut version, mut api_says_agent) = (None, false);
        if let Ok(api) = &api {
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
        Ok(Self { folder, main, installed, processes, api, version, format, is_agent, options })
    }

    /// Reads the state again under the lock, because another run may have changed it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn read_again(&mut self) -> Result<()> {
        let Some(text) = self.folder.read(&self.folder.main).await? else {
            return Err(not_a_configuration(&self.folder, "it does not exist any more"));
        };
        self.main = MainConfig::read(&text).map_err(|why| not_a_configuration(&self.folder, &why))?;
        self.folder.main_text = text;
        self.installed = self.folder.clusters().await?;
        Ok(())
    }

    /// Whether a delivery is reloaded and then verified.
    pub fn can_be_verified(&self) -> bool {
        self.api.is_ok() && self.options.reload != ReloadMode::None
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
        let by_sudo = self.folder.host.is_root_by_sudo();
        Reader {
            config: self.folder.shown_config() + if by_sudo { " as root, by sudo" } else { "" },
            name: self.version.as_ref().map_or(consumer.to_owned(), |version| format!("{consumer} {version}")),
            process: self.processes.first().map(|process| (process.pid, process.uid)),
            unseen: self.api.as_ref().err().cloned(),
        }
    }

    /// Who may read what is written there: its Prometheus.
    ///
    /// # Errors
    /// [`Reason::NotReadable`], before anything is written.
    pub async fn ownership(&self) -> Result<FileOwnership> {
        let own = self.folder.host.ids();
        let prometheus = match (&self.options.owner, self.processes.first()) {
            (Some(owner), _) => self.folder.ids_of(owner).await?,
            (None, Some(process)) => Ids { uid: process.uid, gid: process.gid, groups: process.groups.clone() },
            // A plain user tries things out with a Prometheus of their own.
            (None, None) if own.uid != 0 => own.clone(),
            (None, None) => {
                return Err(Error::new(
                    Reason::NotReadable,
                    format!("cannot tell which user must be able to read the token: no running Prometheus uses {}; nothing was written", self.folder.shown_config()),
                )
                .hint("Name the user of Prometheus: --owner prometheus")
                .hint("Or start Prometheus first"));
            }
        };
        let ownership = ownership::readers(&own, &prometheus)?;
        // In a container the way to the folder is another one, which is not known here.
        let is_elsewhere = self.processes.first().is_some_and(|process| !process.shares_mounts);
        let way = if is_elsewhere { 1 } else { usize::MAX };
        ownership::passes_through(&prometheus, self.folder.host.way().await?.into_iter().take(way))?;
        Ok(ownership)
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

    /// Validates a file with promtool, or with vmagent itself, before files are put in place: a main configuration, or
    /// jobs as a separate configuration, by its path in the folder. Other files that it names are not opened. Returns the
    /// tool; none if there is no tool.
    ///
    /// # Errors
    /// [`Reason::ConfigRefused`], in their words.
    pub async fn check(&self, path: &str) -> Result<Option<&'static str>> {
        let (host, process) = (&self.folder.host, self.processes.first());
        let checked = promtool::check_config(host, process, path, self.format, self.is_agent, Depth::Syntax);
        self.checked(checked.await?, path)
    }

    /// The same for alerting rules.
    pub async fn check_rules(&self, path: &str) -> Result<Option<&'static str>> {
        self.checked(promtool::check_rules(&self.folder.host, self.processes.first(), path).await?, path)
    }

    /// The tool that validates files, as far as it is known without a file.
    pub fn checker(&self) -> Option<&'static str> {
        promtool::checker(&self.folder.host, self.processes.first(), self.format)
    }

    /// How it would be reloaded; none if nothing can be done, or nothing runs.
    pub async fn reloaded_by(&self) -> Option<&'static str> {
        match &self.options.reload {
            ReloadMode::Command(_) => return Some("the given command"),
            ReloadMode::None => return Some("another tool (--reload=none)"),
            ReloadMode::Auto | ReloadMode::Http | ReloadMode::Signal => {}
        }
        let flags = match &self.api {
            Ok(api) => api.flags().await.unwrap_or_default(),
            Err(_) => BTreeMap::default(),
        };
        let by_http = flags.get("web.enable-lifecycle").is_some_and(|flag| flag == "true");
        let works = |way: &Way| match way {
            Way::Http => by_http,
            Way::Signal => !self.processes.is_empty(),
        };
        let ways = reload::ways(&self.options.reload, self.processes.len(), self.api.is_ok());
        ways.into_iter().find(works).map(|way| match way {
            Way::Http => "HTTP",
            Way::Signal => "SIGHUP",
        })
    }

    /// Whether the host of Prometheus itself can say that it reaches a cluster.
    pub fn can_prove_access(&self, tls_server_name: Option<&str>) -> bool {
        self.folder.host.can_prove(tls_server_name)
    }

    /// The clock of the host of Prometheus: not earlier and not later than these.
    pub async fn now(&self) -> Result<(Timestamp, Timestamp)> {
        self.folder.host.now().await
    }

    /// Has Prometheus read its configuration again; `committed` is when its files came into place.
    pub async fn reload(&self, committed: Timestamp) -> Result<Reloaded> {
        reload(&self.folder.host, &self.options.reload, &self.processes, self.api.as_ref().ok(), committed).await
    }

    /// What another host does when the connection to it is lost and everything is undone.
    pub async fn prepare_for_a_cut(&self) -> Result<()> {
        reload::after_a_cut(&self.folder.host, &self.options.reload, &self.processes, self.api.as_ref().ok()).await
    }

    fn checked(&self, (by, verdict): Verdict, path: &str) -> Result<Option<&'static str>> {
        let why = match verdict {
            Attempt::Done(()) => return Ok(Some(by)),
            Attempt::Absent => return Ok(None),
            Attempt::Refused(why) => why,
        };
        // The final path, because the validated file is gone when the user reads this.
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        let becomes = name.strip_suffix(".new").map_or(name, |name| name.trim_end_matches(".prom-federate"));
        let file = Path::new(folder).join(becomes);
        let (file, why) = (self.folder.shown(&file.to_string_lossy()), why.replace(name, becomes));
        Err(Error::new(Reason::ConfigRefused, format!("{by} rejects {file}: {why}"))
            .hint(format!("Nothing was put in place at {}; fix the problem", self.name())))
    }
}

/// The API of the Prometheus that reads this configuration, or why there is none.
async fn find_api(
    directory: &ConfigFolder,
    processes: &[PrometheusProcess],
    timeout: Option<Duration>,
) -> Result<PrometheusApi, String> {
    let at = |url| PrometheusApi::new(&directory.host, url, timeout).map_err(|error| error.to_string());
    for api in processes.iter().filter_map(|process| at(process.api.as_deref()?).ok()) {
        if api.ready().await.is_ok() {
            return Ok(api);
        }
    }
    let (api, ours) = (at(DEFAULT_URL)?, directory.config());
    let flags = match api.flags().await {
        Ok(flags) => flags,
        Err(_) if processes.is_empty() => {
            let config = directory.shown_config();
            return Err(format!("no running Prometheus reads {config}, and none answers at {DEFAULT_URL}"));
        }
        Err(_) => {
            return Err(format!("it does not answer at {DEFAULT_URL}; name its address with --prometheus-url URL"));
        }
    };
    let file = flags.get("config.file").map(Path::new);
    let is_ours = |file: &Path| {
        file == ours || file.is_relative() && file.file_name() == ours.file_name() && processes.is_empty()
    };
    if file.is_some_and(is_ours) {
        return Ok(api);
    }
    let other = file.map_or_else(|| "another configuration".to_owned(), |file| file.display().to_string());
    Err(format!(
        "the Prometheus at {DEFAULT_URL} reads {other}, not {}; name the right address with --prometheus-url URL",
        directory.shown_config()
    ))
}

fn not_a_configuration(directory: &ConfigFolder, why: &str) -> Error {
    Error::new(
        Reason::DestinationUnusable,
        format!("{} is not a configuration of Prometheus: {why}", directory.shown_config()),
    )
    .hint("Name the folder of prometheus.yml, or that file: -p /etc/prometheus")
}
