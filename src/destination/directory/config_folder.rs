//! A folder with a main configuration, on this host or on another: what is in it, and the lock on it.

use super::super::installed::{Installed, Live, join_again};
use crate::model::token::bearer::BearerToken;
use crate::{
    error::{Error, Reason, Result},
    host::{
        Attempt, Host, LocalFolder, Lock, Stamps, Tree, main_file::ReadMain, ownership::Ids, remembered::Remembered,
        resolved,
    },
    model::{
        access::certificate::certificates,
        store::{
            identity::Identity,
            install::{self, Present},
            layout::{self, CA, FRAGMENT_SUFFIX, Generation, KUBELET_CA, Layout, Named, RECORD, TOKEN},
            location::{FileOwner, FolderLocation},
            record::{Record, RecordError, StoredCas},
        },
        text::{line, names::ClusterName, shell::word},
    },
    render::prometheus::BEGINNING,
    yaml,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The main configuration of a Prometheus and the folder that it is in.
#[derive(Clone, Debug)]
pub struct ConfigFolder {
    pub host: Host,
    /// As it was typed, for commands that we print.
    pub typed: String,
    /// Absolute.
    pub root: PathBuf,
    /// The file's name in it.
    pub main: String,
    pub main_read: ReadMain,
    /// None before anything was delivered.
    id: Option<String>,
    /// Of the host, as a hash; none where it is unknown.
    machine: Option<String>,
}

/// What our folder has, and how its files were when they were read.
#[derive(Default)]
pub struct Known {
    pub installed: BTreeMap<ClusterName, Result<Installed>>,
    /// The names of the jobs in each file of jobs, by its path.
    jobs: BTreeMap<String, Result<Vec<String>>>,
    /// None before they were read, and on another host.
    stamps: Option<Stamps>,
}

impl From<BTreeMap<ClusterName, Result<Installed>>> for Known {
    fn from(installed: BTreeMap<ClusterName, Result<Installed>>) -> Self {
        Self { installed, ..Self::default() }
    }
}

impl Known {
    /// Another file than `own` with one of these jobs, and that job.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where a file cannot be read.
    pub fn other_with<'a>(&'a self, own: &str, names: &'a [String]) -> Result<Option<(&'a str, &'a String)>> {
        for (file, jobs) in self.jobs.iter().filter(|(file, _)| *file != own) {
            let jobs = jobs.as_ref().map_err(Error::clone)?;
            if let Some(job) = names.iter().find(|name| jobs.contains(name)) {
                return Ok(Some((file, job)));
            }
        }
        Ok(None)
    }

    /// The paths of all files of jobs in our folder.
    pub fn fragments(&self) -> impl Iterator<Item = &String> {
        self.jobs.keys()
    }
}

impl ConfigFolder {
    /// Finds the main configuration. Blocks where it is on another host: `timeout` is for the connection.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`], with what to name instead; what a connection fails with.
    pub async fn open(folder: &FolderLocation, timeout: Option<Duration>) -> Result<Self> {
        let ssh = match folder {
            FolderLocation::Here(path) => return Self::here(path).await,
            FolderLocation::Ssh(ssh) => ssh,
        };
        let (host, root, main, main_read) = Host::connect(ssh, timeout).await?;
        let typed = folder.to_string();
        let machine = host.machine();
        let mut directory = Self { host, typed, root, main, main_read, id: None, machine };
        directory.id = directory.read_id().await?;
        Ok(directory)
    }

    async fn here(typed: &Path) -> Result<Self> {
        let shown = typed.display().to_string();
        let unusable = |what: String, hint: &str| Error::new(Reason::DestinationUnusable, what).hint(hint);
        let (path, is_folder) = resolved(typed).await.map_err(|error| {
            unusable(
                format!("cannot open the destination {shown}: {error}"),
                "Name the folder of prometheus.yml on this host, or that file: -p /etc/prometheus",
            )
        })?;
        let config = if is_folder { default_in(&path) } else { path };
        let (root, main) = match (config.parent(), config.file_name().and_then(|name| name.to_str())) {
            (Some(root), Some(main)) if root.to_str().is_some() => (root.to_owned(), main.to_owned()),
            _ => return Err(unusable(format!("the path {shown} is not UTF-8"), "Rename it")),
        };
        let folder = LocalFolder::from(root.clone());
        let main_read = folder.read_main(&main).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unusable(
                format!("{shown} has no prometheus.yml, nor a config.yaml of an OpenTelemetry Collector"),
                "If the configuration file has another name: -p DIR/FILE.yml",
            ),
            io::ErrorKind::InvalidData => unusable(
                format!("{} is not UTF-8 text", config.display()),
                "Name the configuration file of Prometheus: -p DIR/FILE.yml",
            ),
            _ => unusable(
                format!("cannot read {}: {error}", config.display()),
                "Run the command as a user who may read and write there",
            ),
        })?;
        let host = Host::Local { root: folder };
        let machine = host.machine();
        let mut directory = Self { host, typed: shown, root, main, main_read, id: None, machine };
        directory.id = directory.read_id().await?;
        Ok(directory)
    }

    /// None unless it is one that we made.
    async fn read_id(&self) -> Result<Option<String>> {
        // One that cannot be read is none: a user who may not read it may not write here either, and is told so then.
        let text = match self.host.read(layout::ID).await? {
            Attempt::Done(text) => Some(text),
            Attempt::Refused(_) | Attempt::Absent => None,
        };
        let id = text.as_deref().map(str::trim).unwrap_or_default();
        let valid = (4..=40).contains(&id.len()) && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        Ok(valid.then(|| id.to_owned()))
    }

    /// A path of its folder, for people: `/etc/prometheus/x`, or `admin@prom:/etc/prometheus/x` as scp writes it.
    pub fn shown(&self, path: &str) -> String {
        self.host.shown(&self.root.join(path))
    }

    /// The main configuration, for people.
    pub fn shown_config(&self) -> String {
        self.shown(&self.main)
    }

    /// Of the user whom `--owner` names.
    pub(super) async fn ids_of(&self, owner: &FileOwner) -> Result<Ids> {
        let [uid, gid, group] = self.host.look_up(owner).await?;
        Ids::of(owner, uid, gid, group)
    }

    /// The user for whom earlier deliveries were, if that is known.
    pub async fn owner(&self) -> Result<Option<FileOwner>> {
        let traces = self.host.candidates().await?.traces;
        let remembered = traces.and_then(|traces| traces.remembered(self.host.ids().uid));
        Ok(remembered.and_then(|Remembered { uid, gid }| {
            Some(FileOwner { user: uid?.to_string(), group: Some(gid.to_string()) })
        }))
    }

    pub fn config(&self) -> PathBuf {
        self.root.join(&self.main)
    }

    /// For commands that are read at another time and in another folder: as it was typed if that means the same there.
    pub fn typed_or_absolute(&self) -> String {
        match self.host {
            Host::Local { .. } if !Path::new(&self.typed).is_absolute() => self.config().display().to_string(),
            _ => self.typed.clone(),
        }
    }

    /// The random part of its identity; empty before anything was delivered.
    pub fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// The destination that bound Secrets name.
    pub fn identity(&self) -> Identity {
        self.identity_with(self.id())
    }

    /// The same; the folder is given one with `random` in it unless it has one, or `anew`. Under the lock.
    pub async fn identify(
        &mut self,
        random: &str,
        anew: bool,
        write: impl AsyncFnOnce(&str) -> Result<()>,
    ) -> Result<Identity> {
        let id = match self.read_id().await? {
            Some(id) if !anew => id,
            _ => {
                write(random).await?;
                random.to_owned()
            }
        };
        self.id = Some(id.clone());
        Ok(self.identity_with(&id))
    }

    fn identity_with(&self, id: &str) -> Identity {
        // As that host calls itself: a run over there is the same destination.
        Identity::directory(&self.host.nodename(), &self.root.to_string_lossy(), id, self.machine.as_deref())
    }

    /// Keeps every other run of ours out. Our folder must be there.
    ///
    /// # Errors
    /// [`Reason::DestinationBusy`] if another run holds it.
    pub async fn lock(&self) -> Result<Lock> {
        if let Some(lock) = self.host.lock(layout::LOCK).await? {
            return Ok(lock);
        }
        let busy = Error::new(
            Reason::DestinationBusy,
            format!("another run of kubectl prom-federate is writing to {}", self.typed),
        );
        Err(match self.host {
            Host::Local { .. } => busy.hint(
                "Run the command again when that run has ended (rotate --watch writes only for short times)",
            ),
            Host::Ssh(_) => busy
                .hint("Run the command again when that run has ended; a run with a lost connection ends when sshd notices the loss")
                .hint(format!("If that host has no flock and no run is active: rm -r {}.d", self.shown(layout::LOCK))),
        })
    }

    /// Everything in our folder, by cluster.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where something cannot be read; [`Reason::NotOurs`], for one cluster, where its
    /// jobs are none of ours.
    pub async fn clusters(&self) -> Result<Known> {
        let view = self.host.tree(None).await?;
        let (names, others) = self.names(&view)?;
        let mut known = Known::default();
        for name in names {
            self.add(&mut known, &view, &name);
        }
        known.jobs.extend(others.into_iter().map(|path| (path.clone(), self.jobs_in(&view, &path))));
        Ok(known)
    }

    /// The same, to be read once more: of a folder of this host, only what may have changed since `before` is read.
    ///
    /// # Errors
    /// As [`Self::clusters`].
    pub async fn clusters_since(&self, mut before: Known) -> Result<Known> {
        // Before anything is read: what changes meanwhile is read again.
        let stamps = self.host.stamps().await?;
        let (Some(now), Some(then)) = (&stamps, &before.stamps) else {
            return Ok(Known { stamps, ..self.clusters().await? });
        };
        let (names, others) = self.names(&now.tree)?;
        let mut known = Known::default();
        for name in names {
            match before.installed.remove(&name) {
                // Whether a file can be read depends on more than the file.
                Some(Ok(one)) if one.record().is_some() && now.are_as(then, &name) => {
                    known.jobs.extend(before.jobs.remove_entry(&Layout(&name).fragment()));
                    known.installed.insert(name, Ok(one));
                }
                _ => self.add(&mut known, &self.host.tree(Some(&name)).await?, &name),
            }
        }
        for path in others {
            let is_link = now.tree.link(&path).is_some();
            let text = if is_link { Ok(None) } else { self.read(&path).await };
            known.jobs.insert(path, text.map(|text| job_names(&text.unwrap_or_default())));
        }
        Ok(Known { stamps, ..known })
    }

    /// The clusters, and the files of jobs of none.
    fn names(&self, view: &Tree) -> Result<(BTreeSet<ClusterName>, Vec<String>)> {
        let entries = view.list(layout::FOLDER).map_err(|why| self.cannot_read(layout::FOLDER, &why))?;
        let (mut names, mut others) = (BTreeSet::new(), Vec::new());
        for (name, is_folder) in entries.into_iter().flatten() {
            let label = name.strip_suffix(FRAGMENT_SUFFIX);
            match label.unwrap_or(&name).parse() {
                // A folder, or jobs without one.
                Ok(cluster) if label.is_some() || is_folder => drop(names.insert(cluster)),
                Err(_) if label.is_some() => others.push(format!("{}/{name}", layout::FOLDER)),
                _ => {}
            }
        }
        Ok((names, others))
    }

    fn add(&self, known: &mut Known, view: &Tree, cluster: &ClusterName) {
        let fragment = Layout(cluster).fragment();
        if view.has(&fragment) {
            known.jobs.insert(fragment.clone(), self.jobs_in(view, &fragment));
        }
        known.installed.insert(cluster.clone(), self.installed(view, cluster));
    }

    /// The names of the jobs of a file.
    fn jobs_in(&self, view: &Tree, path: &str) -> Result<Vec<String>> {
        // A link is none of ours, and Prometheus itself says if a job behind it is there twice.
        if view.link(path).is_some() {
            return Ok(Vec::new());
        }
        let text = view.text(path).map_err(|why| self.cannot_read(path, &why))?.unwrap_or_default();
        Ok(job_names(&text))
    }

    /// What there is of one cluster, possibly nothing.
    ///
    /// # Errors
    /// As [`Self::clusters`].
    pub async fn cluster(&self, cluster: &ClusterName) -> Result<Installed> {
        self.installed(&self.host.tree(Some(cluster)).await?, cluster)
    }

    fn installed(&self, view: &Tree, cluster: &ClusterName) -> Result<Installed> {
        let layout = Layout(cluster);
        let mut generations = BTreeMap::new();
        let folder = layout.folder();
        for (name, _) in view.list(&folder).map_err(|why| self.cannot_read(&folder, &why))?.into_iter().flatten() {
            if let Ok(generation) = name.parse::<Generation>() {
                generations.insert(generation.clone(), self.record(view, cluster, &generation).ok());
            }
        }
        let path = layout.fragment();
        let fragment = view.text(&path).map_err(|why| self.cannot_read(&path, &why))?;
        if view.has(&layout.current()) && view.link(&layout.current()).is_none() {
            return Err(self.not_ours(&layout.current()));
        }
        let current: Option<Generation> = view.link(&layout.current()).and_then(|to| to.parse().ok());
        let rules = view.has(&layout.rules());
        let present = Present { fragment: fragment.is_some(), rules, current: current.clone() };
        let live = match fragment {
            None => None,
            Some(text) => {
                let broken = |generation: Option<Generation>, why| Live {
                    generation: generation.unwrap_or_else(Generation::none),
                    record: Err(why),
                };
                let of = |generation: Generation| Live { record: self.record(view, cluster, &generation), generation };
                Some(match named(cluster, &text) {
                    Some(Named::Generation(generation)) => of(generation),
                    Some(Named::Current) => current.map_or_else(|| broken(None, self.no_current(view, cluster)), of),
                    None if is_damaged(&text) => broken(current, self.damaged(cluster)),
                    None => return Err(self.not_ours(&layout.fragment())),
                })
            }
        };
        let mut remains = None;
        let generations = generations
            .into_iter()
            .map(|(generation, record): (Generation, Option<Record>)| {
                // The token that was delivered to another machine is not of this copy.
                let ours = record.as_ref().filter(|record| !self.identity().is_away_from(record.machine()));
                let secret = ours.map(|record| record.bound_secret.clone());
                remains = record.or(remains.take());
                (generation, secret)
            })
            .collect();
        remains = remains.filter(|_| live.is_none());
        Ok(Installed { cluster: cluster.clone(), live, generations, present, remains })
    }

    /// Of jobs that name the link, where it leads to no generation.
    fn no_current(&self, view: &Tree, cluster: &ClusterName) -> Error {
        let path = Layout(cluster).current();
        let why = match view.link(&path) {
            Some(to) => format!("leads to {} and not to a generation beside it", line::escaped(to)),
            None => "does not exist".to_owned(),
        };
        Error::new(Reason::DestinationUnusable, format!("{} {why}", self.shown(&path)))
            .hint(join_again(cluster, &self.typed))
    }

    /// Of jobs that are ours and name nothing.
    fn damaged(&self, cluster: &ClusterName) -> Error {
        let path = self.shown(&Layout(cluster).fragment());
        Error::new(Reason::DestinationUnusable, format!("{path} is damaged: it has no jobs, or a part of them"))
            .hint(join_again(cluster, &self.typed))
    }

    /// The record of a generation.
    fn record(&self, view: &Tree, cluster: &ClusterName, generation: &Generation) -> Result<Record> {
        let path = Layout(cluster).file(generation, RECORD);
        let missing = |why: &str| {
            Error::new(Reason::DestinationUnusable, format!("{} {why}", self.shown(&path)))
                .hint(join_again(cluster, &self.typed))
        };
        let text = view.text(&path).map_err(|why| self.cannot_read(&path, &why))?;
        let text = text.ok_or_else(|| missing("does not exist"))?;
        let record = Record::read(&text).map_err(|error| match error {
            RecordError::Newer(_) => Error::new(Reason::RecordTooNew, format!("{} {error}", self.shown(&path)))
                .hint("Use that release or a later one: kubectl krew upgrade prom-federate"),
            RecordError::Malformed(_) => missing(&error.to_string()),
        })?;
        if record.cluster != *cluster {
            return Err(missing(&format!("is about the cluster {}", record.cluster)));
        }
        Ok(record)
    }

    /// The CAs of a generation, as far as its record says that there are such.
    pub async fn cas(&self, record: &Record, generation: &Generation) -> Result<StoredCas> {
        let ca = async |is_there: bool, name| {
            if is_there { self.ca(&record.cluster, generation, name).await.map(Some) } else { Ok(None) }
        };
        let api_server = ca(record.access.ca_file, CA).await?;
        Ok(StoredCas { api_server, kubelet: ca(record.access.kubelet_ca_file, KUBELET_CA).await? })
    }

    async fn ca(&self, cluster: &ClusterName, generation: &Generation, name: &str) -> Result<Vec<Vec<u8>>> {
        let path = Layout(cluster).file(generation, name);
        let text = self.read(&path).await?.unwrap_or_default();
        let certificates = certificates(text.as_bytes());
        if certificates.is_empty() {
            let shown = self.shown(&path);
            return Err(Error::new(Reason::DestinationUnusable, format!("{shown} contains no PEM certificate")).hint(
                "Join the cluster again to write it, with --api-server-ca-file or --kubelet-ca-file for your own CA",
            ));
        }
        Ok(certificates)
    }

    /// The token of a generation.
    pub async fn token(&self, cluster: &ClusterName, generation: &Generation) -> Result<BearerToken> {
        let path = Layout(cluster).file(generation, TOKEN);
        let unusable = |why: &str| {
            Error::new(Reason::DestinationUnusable, format!("{} {why}", self.shown(&path)))
                .hint("Issue a new token: kubectl prom-federate rotate --now")
        };
        let text = self.read(&path).await?.ok_or_else(|| unusable("does not exist"))?;
        let token = BearerToken::from(text.trim());
        token.authorization().map_err(|why| unusable(&why.to_string()))?;
        Ok(token)
    }

    /// The random part of the identity, where the jobs have Prometheus tell when a generation came into use.
    pub async fn rotated(&self, cluster: &ClusterName, generation: &Generation) -> Result<Option<&str>> {
        let file = Layout(cluster).file(generation, &layout::rotated(self.id()));
        Ok(self.host.has(&file).await?.then_some(self.id()))
    }

    /// A file as text; none if it is not there.
    pub async fn read(&self, path: &str) -> Result<Option<String>> {
        match self.host.read(path).await? {
            Attempt::Done(text) => Ok(Some(text)),
            Attempt::Absent => Ok(None),
            Attempt::Refused(why) => Err(self.cannot_read(path, &why)),
        }
    }

    /// The main configuration; none if it is not there any more.
    pub async fn read_main(&self) -> Result<Option<ReadMain>> {
        match self.host.read_main(&self.main).await? {
            Attempt::Done(read) => Ok(Some(read)),
            Attempt::Absent => Ok(None),
            Attempt::Refused(why) => Err(self.cannot_read(&self.main, &why)),
        }
    }

    fn cannot_read(&self, path: &str, why: &str) -> Error {
        let shown = self.shown(path);
        let error = Error::new(Reason::DestinationUnusable, format!("cannot read {shown}: {why}"));
        // What is there is none of ours: no user may read it as a file.
        if why.contains(" is a ") || why.contains(" is larger ") {
            return error.hint(format!("Move it to another folder: ls -l {}", word(&shown)));
        }
        error.hint("Run the command as a user who may read and write there")
    }

    fn not_ours(&self, path: &str) -> Error {
        Error::new(Reason::NotOurs, format!("{} exists and has another owner; it stays", self.shown(path)))
            .hint("Rename it, or choose another label with --cluster-name NAME")
    }

    /// The path of the main configuration before it is put in place.
    pub fn staged_main(&self) -> String {
        install::staged_main(&self.main)
    }
}

/// The configuration in a folder: Prometheus', or by the name that the packages of the collector give it.
fn default_in(folder: &Path) -> PathBuf {
    let (prometheus, collector) = (folder.join("prometheus.yml"), folder.join("config.yaml"));
    if !prometheus.exists() && collector.exists() { collector } else { prometheus }
}

fn named(cluster: &ClusterName, fragment: &str) -> Option<Named> {
    let jobs = parsed_jobs(fragment)?;
    let token_file = jobs.first()?["authorization"]["credentials_file"].as_str()?.to_owned();
    Layout(cluster).named_by(&token_file)
}

/// Whether a fragment that names nothing is ours: a loss of power can leave of it nothing, its beginning, or zeros.
fn is_damaged(fragment: &str) -> bool {
    let fragment = fragment.trim_matches('\0');
    fragment.starts_with(BEGINNING) || BEGINNING.starts_with(fragment)
}

/// The jobs of a fragment: a mapping for Prometheus, a bare list for vmagent.
fn parsed_jobs(fragment: &str) -> Option<Vec<serde_json::Value>> {
    match yaml::read(fragment).ok()? {
        serde_json::Value::Array(jobs) => Some(jobs),
        mut mapping => match mapping.get_mut("scrape_configs")?.take() {
            serde_json::Value::Array(jobs) => Some(jobs),
            _ => None,
        },
    }
}

fn job_names(fragment: &str) -> Vec<String> {
    let jobs = parsed_jobs(fragment).unwrap_or_default();
    jobs.iter().filter_map(|job| Some(job["job_name"].as_str()?.to_owned())).collect()
}
