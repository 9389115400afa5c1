//! A folder with a main configuration, its files, and the Prometheus that reads them.

mod config_folder;

use super::{
    Installed, Options,
    prometheus::{
        api::PrometheusApi,
        http_config,
        process::{ConsumerKind, PrometheusProcess, processes},
        promtool::{self, Depth, Verdict},
        reader::{self, Readers},
        reload::{self, Reloaded, Way, reload},
        sockets::{Listener, accepting, listeners},
    },
};
use crate::{
    error::{Error, Reason, Result},
    host::{
        ClientAccess, NO_HTTP_PROGRAM, Validation,
        ownership::{self, Ids, Writer},
        remembered::{Remembered, Traces},
    },
    model::{
        report::Reader,
        store::{
            install::{self, Edit, FileOwnership},
            layout::{self, Layout},
            location::{FolderLocation, Format},
            reload::ReloadMode,
            rereading::Rereading,
        },
        text::{names::ClusterName, shell},
    },
    render::{
        main_config::{List, MainConfig, RECEIVER, by_hand},
        rules,
    },
    yaml,
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    fmt, mem,
    path::Path,
    time::{Duration, Instant},
};

pub use config_folder::{ConfigFolder, Known};

/// An opened directory.
pub struct Directory {
    pub folder: ConfigFolder,
    pub main: MainConfig,
    pub known: Known,
    /// The processes that read this main configuration, and are believed.
    pub processes: Vec<PrometheusProcess>,
    /// Those that claim the same and have no say.
    pub ignored: Vec<PrometheusProcess>,
    /// For whom the files are to be, as far as it is known.
    reader: Result<Option<Ids>>,
    /// What earlier deliveries left of that, where it can be believed.
    traces: Option<Traces>,
    /// Or why there is none, for people.
    pub api: Result<PrometheusApi, String>,
    /// `3.16.0`, where the API said it.
    pub version: Option<String>,
    /// Where a receiver that a collector gets may show its targets, `HOST:PORT`.
    new_api: Option<String>,
    pub format: Format,
    /// It knows no rules.
    pub is_agent: bool,
    pub options: Options,
}

/// A cluster that may come: the main configuration includes the files of all.
const SAMPLE: &str = "x";
/// Between two looks at the metrics of a collector.
const PAUSE: Duration = Duration::from_millis(500);
/// The default address of Prometheus.
const DEFAULT_URL: &str = "http://localhost:9090";
const DEFAULT_PORT: u16 = 9090;
const NAME_IT: &str = "name the right address with --prometheus-url URL";
const NO_API: &str =
    "the receiver of the jobs has no api_server, which would show its targets: add api_server: {enabled: true}";

impl Directory {
    /// Opens a destination, of which `before` may be known; writes nothing.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`]; [`Reason::PrometheusUnreachable`] where `--prometheus-url` does not answer, or not as
    /// asked by a client configuration file, and something is to be written.
    pub async fn open(location: &FolderLocation, options: &Options, before: Known) -> Result<Self> {
        let access = options.http_config.as_deref().map(http_config::read).transpose()?;
        let folder = ConfigFolder::open(location, options.timeout).await?;
        let main = MainConfig::read(&folder.main_read.text).map_err(|why| unreadable(&folder, &why))?;
        // What only reads does not read it again.
        let known = if options.read_only { folder.clusters().await? } else { folder.clusters_since(before).await? };
        let (readers, listeners, traces) = readers(&folder, &main, options).await?;
        let Readers { processes, reader, ignored } = readers;
        // What a Prometheus runs with is a configuration, also of a later release that knows more.
        if let (Some(key), true) = (main.unknown_key(), processes.is_empty()) {
            return Err(not_a_configuration(&folder, &format!("unknown key {}", yaml::quoted(key))));
        }
        let api = match &options.url {
            _ if access.is_none() && !folder.host.can_request() => Err(NO_HTTP_PROGRAM.to_owned()),
            None => {
                let (processes, reader, listeners) = (&processes, &reader, listeners.as_deref());
                let (access, timeout) = (access.as_ref(), options.timeout);
                let asked = Asked { directory: &folder, main: &main, processes, reader, listeners, timeout, access };
                match asked.find_api().await {
                    Err(Unseen::Refused(error)) if access.is_some() && !options.read_only => return Err(error),
                    found => found.map_err(|unseen| unseen.to_string()),
                }
            }
            Some(url) => {
                let api = PrometheusApi::new(&folder.host, url, options.timeout, access.as_ref())?;
                match answers(&api, &main).await {
                    Ok(()) => Ok(api),
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
        let mut installed = known.installed.values().flatten();
        let known_format = installed.find_map(|installed| Some(installed.record()?.format));
        let format = match consumer {
            _ if main.is_collectors() => Format::Otel,
            Some(ConsumerKind::Vmagent) => options.format.or(known_format).unwrap_or(Format::Vmagent),
            _ => options.format.or(known_format).unwrap_or_default(),
        };
        if options.format.is_some_and(|given| (given == Format::Otel) != main.is_collectors()) {
            let is = if main.is_collectors() { "an OpenTelemetry Collector" } else { "Prometheus or vmagent" };
            return Err(Error::usage(format!("{} is a configuration of {is}", folder.shown_config()))
                .hint("Omit --format, or name the configuration that is meant with -p DIR/FILE"));
        }
        let is_agent =
            consumer == Some(ConsumerKind::PrometheusAgent) || api_says_agent || format != Format::Prometheus;
        let options = options.clone();
        let new_api = processes.iter().find(|process| process.is_collector() && process.shares_mounts);
        let new_api = new_api.and_then(|_| free_address(listeners.as_deref()?));
        Ok(Self {
            folder,
            main,
            known,
            processes,
            ignored,
            reader,
            traces,
            api,
            version,
            new_api,
            format,
            is_agent,
            options,
        })
    }

    /// How jobs name a path: Prometheus resolves it against their own folder, vmagent against that of the main
    /// configuration.
    pub fn path_in_jobs(&self, path: &str, format: Format) -> String {
        match format {
            Format::Prometheus | Format::Otel => {
                path.trim_start_matches(layout::FOLDER).trim_start_matches('/').to_owned()
            }
            Format::Vmagent => self.folder.root.join(path).display().to_string(),
        }
    }

    /// What everything that reads this configuration reads again after its files were replaced: by the programs that run.
    pub async fn rereading(&self) -> Result<Rereading> {
        let host = &self.folder.host;
        let mut least = None;
        for process in self.processes.iter().filter(|_| host.can_point()) {
            let said = host.build_information(process.pid, process.started).await?;
            let one = said.as_deref().map(Rereading::of).unwrap_or_default();
            least = Some(least.map_or(one, |least: Rereading| least.min(one)));
        }
        Ok(least.unwrap_or_default())
    }

    /// Whether the one Prometheus that runs knows when each of these clusters was rotated, so that its rules do.
    pub async fn knows_rotations_of(&self, clusters: &[&ClusterName]) -> bool {
        let (Ok(api), [_]) = (&self.api, &self.processes[..]) else { return false };
        let Ok(known) = api.query(&rules::rotations(".*/", self.folder.id())).await else { return false };
        let rotated = layout::rotated(self.folder.id());
        clusters.iter().all(|cluster| {
            let file = Layout(cluster).current_file(&rotated);
            known.iter().any(|sample| sample.labels.get("filename").is_some_and(|name| name.ends_with(&file)))
        })
    }

    /// Reads the state again under the lock, because another run may have changed it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn read_again(&mut self) -> Result<()> {
        let Some(read) = self.folder.read_main().await? else {
            return Err(not_a_configuration(&self.folder, "it does not exist any more"));
        };
        self.main = MainConfig::read(&read.text).map_err(|why| unreadable(&self.folder, &why))?;
        self.folder.main_read = read;
        self.read_clusters_again().await
    }

    /// What there is of one cluster, possibly nothing: as it was read last, if it was.
    ///
    /// # Errors
    /// As [`ConfigFolder::clusters`].
    pub async fn cluster(&self, cluster: &ClusterName) -> Result<Installed> {
        match self.known.installed.get(cluster) {
            Some(known) => known.clone(),
            None => self.folder.cluster(cluster).await,
        }
    }

    /// # Errors
    /// As [`ConfigFolder::clusters`].
    pub async fn read_clusters_again(&mut self) -> Result<()> {
        self.known = self.folder.clusters_since(mem::take(&mut self.known)).await?;
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

    /// Whether Prometheus itself said that its release is 2.
    pub fn is_prometheus_2(&self) -> bool {
        self.version.as_ref().is_some_and(|version| version.starts_with("2."))
    }

    /// Who reads it, for people.
    pub fn reader(&self) -> Reader {
        let consumer = match (self.format, self.is_agent) {
            (Format::Vmagent, _) => "vmagent",
            (Format::Otel, _) => "OpenTelemetry Collector",
            (Format::Prometheus, true) => "Prometheus agent",
            (Format::Prometheus, false) => "Prometheus",
        };
        let by_sudo = self.folder.host.is_root_by_sudo();
        Reader {
            config: self.folder.shown_config() + if by_sudo { " as root, by sudo" } else { "" },
            name: self.version.as_ref().map_or(consumer.to_owned(), |version| format!("{consumer} {version}")),
            process: self.processes.first().map(|process| (process.pid, process.uid)),
            user: self.known_user(),
            ignored: self.ignored.iter().map(reader::ignored).collect(),
            unseen: self.api.as_ref().err().cloned(),
        }
    }

    fn known_user(&self) -> Option<u32> {
        let reader = self.reader.as_ref().ok()?.as_ref()?;
        reader::is_known(reader).then_some(reader.uid)
    }

    /// What is to be remembered with the next delivery: the note, and whether there was none. None where that is remembered
    /// already, or could not be believed.
    pub fn note(&self, ownership: FileOwnership) -> Option<(String, bool)> {
        let (traces, reader) = (self.traces.as_ref()?, self.reader.as_ref().ok()?.as_ref()?);
        // The owner of our folder may write in it, so a note there is not believed.
        if ownership.owns_folders {
            return None;
        }
        let remembered = traces.remembered(self.folder.host.ids().uid);
        Some((Readers::note(reader, remembered.as_ref())?, traces.note.is_none()))
    }

    /// Who may read what is written there: its Prometheus.
    ///
    /// # Errors
    /// [`Reason::NotReadable`], before anything is written.
    pub async fn ownership(&self) -> Result<FileOwnership> {
        let own = self.folder.host.ids();
        let reader = self.reader.clone().map_err(|error| error.hint("Nothing was written"))?;
        let prometheus = match reader {
            Some(reader) => reader,
            // A plain user tries things out with a Prometheus of their own.
            None if own.uid != 0 => own.clone(),
            None => return Err(self.unknown_reader()),
        };
        let host = &self.folder.host;
        let way = host.way().await?;
        let folders = host.written(&way).await?;
        let are_safe = ownership::are_safe(&own, &prometheus, host.name().is_some(), &folders);
        are_safe.map_err(|error| host.name().map_or(error.clone(), |host| error.about(host)))?;
        let folder_is_of = folders.get(1).and_then(|ours| match ours.writers.first() {
            Some(Writer::Owner(uid)) => Some(*uid),
            _ => None,
        });
        let ownership = ownership::readers(&own, &prometheus, folder_is_of)?;
        // In a container the way to the folder is another one, which is not known here.
        let is_elsewhere = self.processes.first().is_some_and(|process| !process.shares_mounts);
        let length = if is_elsewhere { 1 } else { usize::MAX };
        ownership::passes_through(&prometheus, way.into_iter().take(length))?;
        Ok(ownership)
    }

    fn unknown_reader(&self) -> Error {
        let config = self.folder.shown_config();
        let error = Error::new(
            Reason::NotReadable,
            format!(
                "cannot tell which user must be able to read the token: no running Prometheus uses {config}; nothing was written"
            ),
        )
        .hint("Name the user of Prometheus: --owner prometheus")
        .hint("Or start Prometheus first");
        match &self.traces {
            Some(_) => error,
            None => error.hint(format!(
                "That user is not remembered, because other users may write to {} or a folder above it",
                self.folder.shown("")
            )),
        }
    }

    /// Whether the main configuration includes the files of a pattern of ours.
    pub fn includes(&self, list: List, pattern: &str) -> bool {
        self.main.includes(list, self.seen_folder(), &pattern.replace('*', SAMPLE))
    }

    /// The folder, as the collector names it that reads the main configuration: its patterns are absolute.
    fn seen_folder(&self) -> &Path {
        let collector = self.processes.first().filter(|process| process.is_collector());
        collector.map_or(&self.folder.root, PrometheusProcess::folder)
    }

    /// The pattern of jobs as it stands in the main configuration.
    fn pattern_of_jobs(&self) -> String {
        match self.format {
            Format::Otel => self.seen_folder().join(layout::FRAGMENTS).display().to_string(),
            Format::Prometheus | Format::Vmagent => layout::FRAGMENTS.to_owned(),
        }
    }

    /// The main configuration with what is missing from it, and how it gets there, or none if it includes everything.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where its text or its file cannot be edited safely.
    pub fn edited_main(&self) -> Result<Option<(String, Edit)>> {
        let mut missing = Vec::new();
        if !self.includes(List::ScrapeConfigFiles, layout::FRAGMENTS) {
            missing.push((List::ScrapeConfigFiles, layout::FRAGMENTS));
        }
        if !self.is_agent && !self.includes(List::RuleFiles, layout::RULES) {
            missing.push((List::RuleFiles, layout::RULES));
        }
        if missing.is_empty() {
            return Ok(None);
        }
        let pattern = self.pattern_of_jobs();
        let mounted_by = self.processes.iter().find(|process| process.mounts_file).map(|process| process.pid);
        let how = self.folder.main_read.file.edit(mounted_by, self.folder.host.ids().uid == 0);
        let text = || match self.format {
            Format::Otel => self.main.with_receiver(&pattern, self.new_api.as_deref()),
            Format::Prometheus | Format::Vmagent => self.main.with(&missing),
        };
        let edited = how.and_then(|how| Ok((text()?, how)));
        edited.map(Some).map_err(|why| {
            let lines: Vec<String> = match self.format {
                Format::Otel => by_hand(&pattern).into(),
                Format::Prometheus | Format::Vmagent => {
                    missing.iter().map(|(list, pattern)| format!("{}: [{pattern}]", list.key())).collect()
                }
            };
            Error::new(Reason::DestinationUnusable, format!("{}: {why}", self.folder.shown_config()))
                .hint(format!("Add this by hand and run the command again: {}", lines.join("   ")))
        })
    }

    /// The API that a collector has from the edit of its configuration on, unless it has one.
    pub fn expect_api(&mut self, edited: &str) -> Result<()> {
        if let (Some(api), Ok(after), Err(_)) = (&self.new_api, MainConfig::read(edited), &self.api) {
            let receiver = after.receiver_of(self.seen_folder(), &layout::FRAGMENTS.replace('*', SAMPLE));
            if receiver.is_some_and(|receiver| receiver.api.as_ref() == Some(api)) {
                let url = format!("http://{api}");
                self.api = Ok(PrometheusApi::new(&self.folder.host, &url, self.options.timeout, None)?);
            }
        }
        Ok(())
    }

    /// Refuses a destination whose Prometheus has the main configuration without the files beside it.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`], naming the process.
    pub fn refuse_unseen_folder(&self) -> Result<()> {
        let Some(process) = self.processes.iter().find(|process| !process.has_folder) else { return Ok(()) };
        let (config, ours) = (self.folder.shown_config(), self.folder.shown(layout::FOLDER));
        let (pid, named, root) = (process.pid, process.named.display(), self.folder.root.display());
        let what = format!("process {pid} reads {config} as {named}, and has no {ours} beside it; nothing was written");
        Err(Error::new(Reason::DestinationUnusable, what)
            .hint(format!("If it is in a container, mount the folder {root} there, and not the file alone"))
            .hint(format!("Otherwise name the folder of {named} with -p")))
    }

    /// Refuses a main configuration that would take another file of ours for jobs or rules, or the same jobs twice: it would
    /// not be a valid one any more, from the first delivery on.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`], naming the pattern.
    pub fn refuse_wide_patterns(&self, cluster: &ClusterName) -> Result<()> {
        let layout = Layout(cluster);
        let (jobs, rules) = (layout.fragment(), layout.rules());
        let mut lists = vec![(List::ScrapeConfigFiles, jobs, "jobs", self.pattern_of_jobs())];
        lists.extend((!self.is_agent).then(|| (List::RuleFiles, rules, "rules", layout::RULES.to_owned())));
        let of_main = [self.folder.staged_main(), install::backup_of_main(&self.folder.main)];
        let ours: Vec<String> = layout.all(self.is_agent).into_iter().chain(of_main).collect();
        for (list, meant, what, right) in lists {
            let matching = |file: &str| self.main.matching(list, self.seen_folder(), file).next();
            let mut others = ours.iter().filter(|file| **file != meant);
            let refused = |pattern: &str, why: String| {
                let (config, key, pattern) = (self.folder.shown_config(), list.key(), yaml::quoted(pattern));
                Err(Error::new(
                    Reason::DestinationUnusable,
                    format!("{config}: {pattern} in {key} matches {why}; nothing was written"),
                )
                .hint(format!("Write {right} and patterns of your own folders there instead, such as {what}/*.yml")))
            };
            if let Some((pattern, file)) = others.find_map(|file| Some((matching(file)?, file))) {
                return refused(
                    pattern,
                    format!("{file} too, which has no {what}, so the configuration would be invalid"),
                );
            }
            let includes_all = self.main.includes(list, self.seen_folder(), &right.replace('*', SAMPLE));
            let of_jobs: Vec<&str> = self.main.matching(list, self.seen_folder(), &meant).collect();
            // The other one is named, wherever it stands.
            let doubled = of_jobs.iter().find(|pattern| ***pattern != right).or(of_jobs.last());
            let is_doubled = of_jobs.len() > usize::from(includes_all);
            if let (Some(pattern), List::ScrapeConfigFiles, true) = (doubled, list, is_doubled) {
                return refused(pattern, format!("{meant}, which {right} matches too, and no job may be there twice"));
            }
        }
        Ok(())
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

    /// How long it takes at most to validate the main configuration and the jobs and rules of so many clusters.
    pub fn validation_within(&self, clusters: usize) -> Duration {
        promtool::LIMIT * u32::try_from(2 * clusters + 1).unwrap_or(u32::MAX)
    }

    /// Validates the configuration of a collector as it will be: `main` is the path of its new text, if there is one, and
    /// `beside` that of a configuration with new jobs. Returns the tool; none if it cannot be run.
    ///
    /// # Errors
    /// [`Reason::ConfigRefused`], in its words.
    pub async fn check_collector(&self, main: Option<&str>, beside: Option<&str>) -> Result<Option<&'static str>> {
        let [main_path, beside] = [main, beside].map(|path| path.map(|path| self.folder.root.join(path)));
        let mut by = None;
        for process in &self.processes {
            let (host, process) = (&self.folder.host, Some(process));
            let verdict = promtool::check_collector(host, process, main_path.as_deref(), beside.as_deref()).await?;
            by = self.checked(verdict, main.unwrap_or(&self.folder.main))?;
        }
        Ok(by)
    }

    /// What a collector without an API of targets says of the receiver of the jobs, within this time: none if it shows no
    /// metrics of its own, or has accepted nothing. It does not tell the jobs apart.
    pub async fn accepts_points(&self, patience: Duration) -> Option<String> {
        let url = self.processes.iter().find_map(|process| process.own_metrics.as_deref())?;
        let api = PrometheusApi::new(&self.folder.host, url, self.options.timeout, None).ok()?;
        let receiver = self.receiver_of_jobs();
        let started = Instant::now();
        let mut before = None;
        while started.elapsed() < patience {
            let now = api.accepted_points(receiver).await.ok()?;
            if before.is_some_and(|before| now > before) {
                return Some(format!(
                    "{url}/metrics counts {now} metric points that receiver {receiver} has accepted, of all its jobs"
                ));
            }
            before.get_or_insert(now);
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    /// The receiver of a collector that reads the jobs, or will.
    pub fn receiver_of_jobs(&self) -> &str {
        let receiver = self.main.receiver_of(self.seen_folder(), &layout::FRAGMENTS.replace('*', SAMPLE));
        receiver.map_or(RECEIVER, |receiver| &receiver.id)
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

    /// The clock of the host of Prometheus: not earlier and not later than these. A Prometheus that this machine asks may
    /// run on another one.
    pub async fn now(&self) -> Result<(Timestamp, Timestamp)> {
        let now = self.folder.host.now().await?;
        Ok(self.api.as_ref().map_or(now, |api| api.now(now)))
    }

    /// Has Prometheus read its configuration again; `committed` is when its files came into place.
    ///
    /// # Errors
    /// As [`reload()`]; [`Reason::NotReadable`] where an administrator must say which process it is.
    pub async fn reload(&self, committed: Timestamp) -> Result<Reloaded> {
        let finds_it = matches!(self.options.reload, ReloadMode::Auto | ReloadMode::Http | ReloadMode::Signal);
        if let (Err(error), true, true) = (&self.reader, finds_it, self.api.is_err()) {
            return Err(error.clone());
        }
        reload(&self.folder.host, &self.options.reload, &self.processes, self.api.as_ref().ok(), committed).await
    }

    /// How long [`Self::reload`] takes at most.
    pub fn reload_within(&self) -> Option<Duration> {
        reload::within(self.options.timeout, &self.processes)
    }

    /// What another host does when the connection to it is lost and everything is undone.
    pub async fn prepare_for_a_cut(&self) -> Result<()> {
        reload::after_a_cut(&self.folder.host, &self.options.reload, &self.processes, self.api.as_ref().ok()).await
    }

    fn checked(&self, (by, verdict): Verdict, path: &str) -> Result<Option<&'static str>> {
        let why: Result<String, String> = match verdict {
            Validation::Accepted => return Ok(Some(by)),
            Validation::Absent => return Ok(None),
            Validation::Rejected(why) => Err(why),
            Validation::Undecided(why) => Ok(why),
        };
        // The final path, because the validated file is gone when the user reads this.
        let (folder, name) = path.rsplit_once('/').map_or(("", path), |(folder, name)| (folder, name));
        let becomes = name.strip_suffix(".new").map_or(name, |name| name.trim_end_matches(".prom-federate"));
        let file = self.folder.shown(&Path::new(folder).join(becomes).to_string_lossy());
        let message = match why {
            Err(why) => format!("{by} rejects {file}: {}", why.replace(name, becomes)),
            Ok(why) => format!("{by} came to no verdict on {file}: {why}"),
        };
        Err(Error::new(Reason::ConfigRefused, message)
            .hint(format!("Nothing was put in place at {}; fix the problem", self.name())))
    }
}

/// Who reads the main configuration, the sockets that listen on its host, and what earlier deliveries left.
async fn readers(
    folder: &ConfigFolder,
    main: &MainConfig,
    options: &Options,
) -> Result<(Readers, Option<Vec<Listener>>, Option<Traces>)> {
    let named = match &options.owner {
        Some(owner) => Some(folder.ids_of(owner).await?),
        None => None,
    };
    let mut candidates = folder.host.candidates().await?;
    let listeners = candidates.listening.take().map(|table| listeners(&table));
    let traces = candidates.traces.take();
    let listening = listeners.as_deref().unwrap_or_default();
    let claims = processes(&folder.host, candidates, listening, &folder.config(), options.url.as_deref(), main).await?;
    let own = folder.host.ids().uid;
    let remembered: Option<Remembered> = traces.as_ref().and_then(|traces| traces.remembered(own));
    let readers = Readers::choose(own, named.as_ref(), remembered.as_ref(), claims, &folder.shown_config());
    Ok((readers, listeners, traces))
}

/// A loopback address at which no server listens.
fn free_address(listeners: &[Listener]) -> Option<String> {
    let is_free = |port: &u16| accepting(listeners, "127.0.0.1", *port).next().is_none();
    (9099..9199).find(is_free).map(|port| format!("127.0.0.1:{port}"))
}

/// Whether it answers and accepts who asks. The API of a collector has fewer pages.
async fn answers(api: &PrometheusApi, main: &MainConfig) -> Result<()> {
    if main.is_collectors() { api.scrape_pools().await.map(drop) } else { api.accepts().await }
}

/// What is known before a Prometheus is asked.
struct Asked<'a> {
    directory: &'a ConfigFolder,
    main: &'a MainConfig,
    processes: &'a [PrometheusProcess],
    reader: &'a Result<Option<Ids>>,
    /// None where the host does not tell.
    listeners: Option<&'a [Listener]>,
    timeout: Option<Duration>,
    access: Option<&'a ClientAccess>,
}

/// Why a Prometheus cannot be asked.
enum Unseen {
    /// None is known to run, or which it is.
    Unknown(String),
    /// One runs, or answers.
    Refused(Error),
}

/// For people.
impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => f.write_str(why),
            Self::Refused(error) => error.fmt(f),
        }
    }
}

impl Asked<'_> {
    /// The API of the Prometheus that reads this configuration, or why there is none.
    async fn find_api(&self) -> Result<PrometheusApi, Unseen> {
        let Self { directory, processes, .. } = self;
        if let Err(error) = self.reader {
            return Err(Unseen::Unknown(error.to_string()));
        }
        let refused = |why: String| Unseen::Refused(Error::new(Reason::PrometheusUnreachable, why));
        let mut unanswered = None;
        for (process, url) in processes.iter().filter_map(|process| Some((process, process.api.as_deref()?))) {
            let unseen = match process.guard {
                // Only vmagent says so on its command line.
                Some(guard) if self.access.is_none() => refused(format!("vmagent at {url} {guard}")),
                _ => match self.at(url).await {
                    Err(error) => Unseen::Refused(error),
                    Ok(api) => match answers(&api, self.main).await {
                        Ok(()) => return Ok(api),
                        Err(error) => Unseen::Refused(error),
                    },
                },
            };
            unanswered.get_or_insert(unseen);
        }
        if let Some(unseen) = unanswered {
            return Err(unseen);
        }
        if self.main.is_collectors() {
            let receiver = self.main.receiver_of(&directory.root, &layout::FRAGMENTS.replace('*', SAMPLE));
            let why = match receiver.and_then(|receiver| receiver.api.as_ref()) {
                Some(api) => {
                    format!("no socket of the collector listens at {api}, the api_server of its receiver; {NAME_IT}")
                }
                None => NO_API.to_owned(),
            };
            return Err(if processes.is_empty() { Unseen::Unknown(why) } else { refused(why) });
        }
        let unknown = |why: String| if processes.is_empty() { Unseen::Unknown(why) } else { refused(why) };
        self.may_ask_by_default().map_err(unknown)?;
        let (api, ours) = (self.at(DEFAULT_URL).await.map_err(Unseen::Refused)?, directory.config());
        let flags = match api.flags().await {
            Ok(flags) => flags,
            Err(error) if self.access.is_some() && error.reason != Reason::PrometheusUnreachable => {
                return Err(Unseen::Refused(error));
            }
            Err(_) if processes.is_empty() => {
                let config = directory.shown_config();
                let why = format!("no running Prometheus reads {config}, and none answers at {DEFAULT_URL}");
                return Err(Unseen::Unknown(why));
            }
            Err(_) => {
                let why = format!("it does not answer at {DEFAULT_URL}; name its address with --prometheus-url URL");
                return Err(refused(why));
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
        Err(unknown(format!(
            "the Prometheus at {DEFAULT_URL} reads {other}, not {}; name the right address with --prometheus-url URL",
            directory.shown_config()
        )))
    }

    /// The API at an address that was found, without TLS in its URL: whether it has TLS is asked without the password.
    async fn at(&self, url: &str) -> Result<PrometheusApi> {
        let (host, timeout) = (&self.directory.host, self.timeout);
        if let Some(access) = self.access {
            let anonymous = PrometheusApi::new(host, url, timeout, Some(&access.anonymous()))?;
            if anonymous.wants_tls().await {
                let url = url.replacen("http://", "https://", 1);
                return PrometheusApi::new(host, &url, timeout, Some(access));
            }
        }
        PrometheusApi::new(host, url, timeout, self.access)
    }

    /// Whether only processes of root, of ours and of the reader listen at the default address: any user may do so, and
    /// answer whatever is asked.
    fn may_ask_by_default(&self) -> Result<(), String> {
        let Some(listeners) = self.listeners else {
            let host = self.directory.host.name().unwrap_or("this host");
            return Err(format!("{host} does not tell who listens at {DEFAULT_URL}; {NAME_IT}"));
        };
        let reader = self.reader.as_ref().ok().and_then(Option::as_ref).map(|reader| reader.uid);
        let known = [Some(0), Some(self.directory.host.ids().uid), reader];
        let stranger = accepting(listeners, "localhost", DEFAULT_PORT).find(|one| !known.contains(&Some(one.uid)));
        stranger.map_or(Ok(()), |one| {
            let uid = one.uid;
            Err(format!("user {uid} listens at {DEFAULT_URL}, and is not the user of this Prometheus; {NAME_IT}"))
        })
    }
}

fn not_a_configuration(directory: &ConfigFolder, why: &str) -> Error {
    Error::new(
        Reason::DestinationUnusable,
        format!("{} is not a configuration of Prometheus: {why}", directory.shown_config()),
    )
    .hint("Name the folder of prometheus.yml, or that file: -p /etc/prometheus")
}

fn unreadable(directory: &ConfigFolder, why: &str) -> Error {
    let file = shell::word(&directory.shown_config());
    not_a_configuration(directory, why).without_hints().hint(format!("Check the file: promtool check config {file}"))
}
