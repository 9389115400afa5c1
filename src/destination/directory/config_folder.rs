//! A folder with a main configuration, on this host or on another: what is in it, and the lock on it.

use super::super::{
    files::write_failed,
    installed::{Installed, Live},
    prometheus::process::{PrometheusProcess, processes},
    readers::{self, Folder, Ids},
    ssh::{Found, Remote, Tree},
};
use crate::{
    error::{Error, Reason, Result},
    model::{
        access::{CertificateAuthority, Origin, Vantage, certificate::certificates},
        store::{
            identity::Identity,
            install::{self, Present},
            layout::{self, CA, FRAGMENT_SUFFIX, Generation, KUBELET_CA, Layout, RECORD, TOKEN},
            location::{FileOwner, FolderLocation},
            record::{Record, RecordError},
        },
        text::names::ClusterName,
    },
    yaml,
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the folder is.
#[derive(Clone, Debug)]
pub enum Host {
    Here,
    Elsewhere(Remote),
}

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
    pub main_text: String,
    /// None before anything was delivered.
    id: Option<String>,
}

/// Held while a run writes; the system lets go of it when the process ends, however that happens.
#[derive(Debug)]
pub enum Lock {
    Here(File),
    Elsewhere(Remote),
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Self::Elsewhere(remote) = self {
            remote.unlock();
        }
    }
}

/// What our folder had in it at one time, or has.
enum View<'a> {
    Here(&'a Path),
    Elsewhere(Tree),
}

impl View<'_> {
    /// What is in a folder, and whether each is a folder; none if it is not there.
    fn list(&self, folder: &str) -> Result<Option<Vec<(String, bool)>>, String> {
        let path = match self {
            Self::Elsewhere(tree) => return tree.list(folder),
            Self::Here(root) => root.join(folder),
        };
        match fs::read_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            entries => entries
                .and_then(|entries| {
                    entries
                        .map(|entry| {
                            let entry = entry?;
                            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                            Ok((entry.file_name().to_string_lossy().into_owned(), is_folder))
                        })
                        .collect::<io::Result<_>>()
                })
                .map(Some)
                .map_err(|error| error.to_string()),
        }
    }

    /// A file as text; none if it is not there.
    fn text(&self, path: &str) -> Result<Option<String>, String> {
        match self {
            Self::Elsewhere(tree) => tree.text(path),
            Self::Here(root) => text(&root.join(path)),
        }
    }

    fn has(&self, path: &str) -> bool {
        match self {
            Self::Elsewhere(tree) => tree.has(path),
            Self::Here(root) => root.join(path).exists(),
        }
    }
}

fn text(path: &Path) -> Result<Option<String>, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

impl ConfigFolder {
    /// Finds the main configuration. Blocks where it is on another host: `timeout` is for the connection.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`], with what to name instead; what a connection fails with.
    pub fn open(folder: &FolderLocation, timeout: Option<Duration>) -> Result<Self> {
        match folder {
            FolderLocation::Here(path) => Self::here(path),
            FolderLocation::Ssh(ssh) => {
                let Found { remote, root, main, main_text } = Remote::open(ssh, timeout)?;
                let host = Host::Elsewhere(remote);
                let mut directory = Self { host, typed: folder.to_string(), root, main, main_text, id: None };
                directory.id = directory.read_id()?;
                Ok(directory)
            }
        }
    }

    fn here(typed: &Path) -> Result<Self> {
        let shown = typed.display().to_string();
        let unusable = |what: String, hint: &str| Error::new(Reason::DestinationUnusable, what).hint(hint);
        let path = fs::canonicalize(typed).map_err(|error| {
            unusable(
                format!("cannot open the destination {shown}: {error}"),
                "Name the folder of prometheus.yml on this host, or that file: -p /etc/prometheus",
            )
        })?;
        let config = if path.is_dir() { path.join("prometheus.yml") } else { path };
        let main_text = fs::read_to_string(&config).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => unusable(
                format!("{shown} has no prometheus.yml"),
                "Name the configuration file itself if it is called otherwise: -p DIR/FILE.yml",
            ),
            io::ErrorKind::InvalidData => unusable(
                format!("{} is no text", config.display()),
                "Name the configuration file of Prometheus: -p DIR/FILE.yml",
            ),
            _ => unusable(
                format!("cannot read {}: {error}", config.display()),
                "Run this as a user who may read and write there",
            ),
        })?;
        let (root, main) = match (config.parent(), config.file_name().and_then(|name| name.to_str())) {
            (Some(root), Some(main)) if root.to_str().is_some() => (root.to_owned(), main.to_owned()),
            _ => return Err(unusable(format!("the path {shown} is not UTF-8"), "Rename it")),
        };
        let mut directory = Self { host: Host::Here, typed: shown, root, main, main_text, id: None };
        directory.id = directory.read_id()?;
        Ok(directory)
    }

    /// None unless it is one that we made.
    fn read_id(&self) -> Result<Option<String>> {
        // One that cannot be read is none: whoever may not read it may not write here either, and is told so then.
        let text = match &self.host {
            Host::Here => fs::read_to_string(self.root.join(layout::ID)).ok(),
            Host::Elsewhere(remote) => remote.read(layout::ID)?.ok().flatten(),
        };
        let id = text.as_deref().map(str::trim).unwrap_or_default();
        let valid = (4..=40).contains(&id.len()) && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        Ok(valid.then(|| id.to_owned()))
    }

    /// A path of its folder, for people: `/etc/prometheus/x`, or `admin@prom:/etc/prometheus/x` as scp writes it.
    pub fn shown(&self, path: &str) -> String {
        let path = self.root.join(path);
        match &self.host {
            Host::Here => path.display().to_string(),
            Host::Elsewhere(remote) => format!("{}:{}", remote.place, path.display()),
        }
    }

    /// The main configuration, for people.
    pub fn shown_config(&self) -> String {
        self.shown(&self.main)
    }

    /// The processes that read this configuration.
    pub fn processes(&self) -> Result<Vec<PrometheusProcess>> {
        match &self.host {
            Host::Here => Ok(processes(&self.config())),
            Host::Elsewhere(remote) => remote.processes(&self.config()),
        }
    }

    /// Whoever writes there.
    pub(in crate::destination) fn ids(&self) -> Ids {
        match &self.host {
            Host::Here => Ids::own(),
            Host::Elsewhere(remote) => remote.ids.clone(),
        }
    }

    /// Of whom `--owner` names.
    pub(in crate::destination) fn ids_of(&self, owner: &FileOwner) -> Result<Ids> {
        let [uid, gid, group] = match &self.host {
            Host::Here => readers::look_up(owner),
            Host::Elsewhere(remote) => remote.look_up(owner)?,
        };
        Ids::of(owner, uid, gid, group)
    }

    /// The folders on the way to this one, innermost first, itself among them.
    pub(in crate::destination) fn way(&self) -> Result<Vec<Folder>> {
        match &self.host {
            Host::Here => Ok(self.root.ancestors().filter_map(Folder::here).collect()),
            Host::Elsewhere(remote) => remote.way(),
        }
    }

    /// Whether somebody has delivered here, or begun to.
    pub fn has_our_folder(&self) -> Result<bool> {
        match &self.host {
            Host::Here => Ok(self.root.join(layout::FOLDER).exists()),
            Host::Elsewhere(remote) => Ok(remote.are_there(&[layout::FOLDER.to_owned()])?[0]),
        }
    }

    fn view(&self, cluster: Option<&ClusterName>) -> Result<View<'_>> {
        Ok(match &self.host {
            Host::Here => View::Here(&self.root),
            Host::Elsewhere(remote) => View::Elsewhere(remote.tree(cluster.map(ClusterName::as_str))?),
        })
    }

    pub fn config(&self) -> PathBuf {
        self.root.join(&self.main)
    }

    /// For commands that are read at another time and in another folder: as it was typed if that means the same there.
    pub fn typed_or_absolute(&self) -> String {
        match self.host {
            Host::Here if !Path::new(&self.typed).is_absolute() => self.config().display().to_string(),
            _ => self.typed.clone(),
        }
    }

    /// What bound Secrets say of this destination. None before anything was delivered.
    pub fn identity(&self) -> Option<Identity> {
        Some(self.identity_with(self.id.as_ref()?))
    }

    /// The same; the folder is given one with `random` in it unless it has one. Under the lock.
    pub fn identify(&mut self, random: &str, write: impl FnOnce(&str) -> Result<()>) -> Result<Identity> {
        let id = if let Some(id) = self.read_id()? {
            id
        } else {
            write(random)?;
            random.to_owned()
        };
        self.id = Some(id.clone());
        Ok(self.identity_with(&id))
    }

    fn identity_with(&self, id: &str) -> Identity {
        // As that host calls itself: a run over there is the same destination.
        let host = match &self.host {
            Host::Here => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            Host::Elsewhere(remote) => remote.nodename.clone(),
        };
        Identity::directory(&host, &self.root.to_string_lossy(), id)
    }

    /// Keeps every other run of ours out. Our folder must be there.
    ///
    /// # Errors
    /// [`Reason::DestinationBusy`] if another run holds it.
    pub fn lock(&self) -> Result<Lock> {
        let busy = || {
            Error::new(
                Reason::DestinationBusy,
                format!("another run of kubectl prom-federate is writing to {}", self.typed),
            )
        };
        let remote = match &self.host {
            Host::Elsewhere(remote) => remote,
            Host::Here => {
                return self.lock_here()?.ok_or_else(|| {
                    busy().hint(
                "Run the command again when it has ended (it may be rotate --watch, which writes only now and then)",
                    )
                });
            }
        };
        if remote.lock()? {
            return Ok(Lock::Elsewhere(remote.clone()));
        }
        Err(busy()
            .hint("Run the command again when it has ended; one whose connection was cut ends when that host's sshd notices")
            .hint(format!("If there is no flock on that host and nobody writes: rm -r {}.d", self.shown(layout::LOCK))))
    }

    /// None if another run holds it.
    fn lock_here(&self) -> Result<Option<Lock>> {
        let path = self.root.join(layout::LOCK);
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
            .open(&path)
            .map_err(|error| write_failed(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock::Here(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(write_failed(&path, &error)),
        }
    }

    /// Everything in our folder, by cluster.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where something cannot be read; [`Reason::NotOurs`], for one cluster, where its
    /// jobs are none of ours.
    pub fn clusters(&self) -> Result<BTreeMap<ClusterName, Result<Installed>>> {
        let view = self.view(None)?;
        let entries = view.list(layout::FOLDER).map_err(|why| self.cannot_read(layout::FOLDER, &why))?;
        let mut names = BTreeSet::new();
        for (name, is_folder) in entries.into_iter().flatten() {
            // A folder, or jobs without one.
            let cluster = name.strip_suffix(FRAGMENT_SUFFIX).unwrap_or(&name).parse::<ClusterName>();
            names.extend(cluster.ok().filter(|_| name.ends_with(FRAGMENT_SUFFIX) || is_folder));
        }
        Ok(names.into_iter().map(|name| (name.clone(), self.installed(&view, &name))).collect())
    }

    /// What there is of one cluster, possibly nothing.
    ///
    /// # Errors
    /// As [`Self::clusters`].
    pub fn cluster(&self, cluster: &ClusterName) -> Result<Installed> {
        self.installed(&self.view(Some(cluster))?, cluster)
    }

    fn installed(&self, view: &View<'_>, cluster: &ClusterName) -> Result<Installed> {
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
        let present = Present { fragment: fragment.is_some(), rules: view.has(&layout.rules()) };
        let live = match fragment {
            None => None,
            Some(text) => {
                let generation = named_generation(cluster, &text).ok_or_else(|| self.not_ours(&layout.fragment()))?;
                let record = self.record(view, cluster, &generation);
                Some(Live { generation, record })
            }
        };
        let mut remains = None;
        let generations = generations
            .into_iter()
            .map(|(generation, record): (Generation, Option<Record>)| {
                let secret = record.as_ref().map(|record| record.bound_secret.clone());
                remains = record.or(remains.take());
                (generation, secret)
            })
            .collect();
        remains = remains.filter(|_| live.is_none());
        Ok(Installed { cluster: cluster.clone(), live, generations, present, remains })
    }

    /// The record of a generation.
    fn record(&self, view: &View<'_>, cluster: &ClusterName, generation: &Generation) -> Result<Record> {
        let path = Layout(cluster).file(generation, RECORD);
        let missing = |why: &str| {
            Error::new(Reason::DestinationUnusable, format!("{} {why}", self.shown(&path))).hint(format!(
                "Write it anew by joining the cluster again: kubectl prom-federate join --cluster-name {cluster} --context CONTEXT -p {}",
                crate::model::text::shell::word(&self.typed)
            ))
        };
        let text = view.text(&path).map_err(|why| self.cannot_read(&path, &why))?;
        let text = text.ok_or_else(|| missing("is not there"))?;
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

    /// The CAs of a generation, as DER: that of the API server, and that of the kubelets if they have another.
    pub fn cas(&self, record: &Record, generation: &Generation) -> Result<[Option<Vec<Vec<u8>>>; 2]> {
        let ca = |is_there: bool, name| is_there.then(|| self.ca(&record.cluster, generation, name)).transpose();
        Ok([ca(record.access.ca_file, CA)?, ca(record.access.kubelet_ca_file, KUBELET_CA)?])
    }

    fn ca(&self, cluster: &ClusterName, generation: &Generation, name: &str) -> Result<Vec<Vec<u8>>> {
        let path = Layout(cluster).file(generation, name);
        let text = self.read(&path)?.unwrap_or_default();
        let certificates = certificates(text.as_bytes());
        if certificates.is_empty() {
            let shown = self.shown(&path);
            return Err(Error::new(Reason::DestinationUnusable, format!("{shown} holds no PEM certificate")).hint(
                "Write it anew by joining the cluster again, with --api-server-ca-file or --kubelet-ca-file if it is a CA of your own",
            ));
        }
        Ok(certificates)
    }

    /// One of them, by its file, for a connection of our own.
    pub fn remembered_ca(
        &self,
        cluster: &ClusterName,
        generation: &Generation,
        name: &str,
    ) -> Result<CertificateAuthority> {
        let certificates = self.ca(cluster, generation, name)?;
        Ok(CertificateAuthority { certificates, origin: Origin::Record.to_string() })
    }

    /// From where its Prometheus sees clusters.
    pub fn vantage(&self) -> Vantage {
        match self.host {
            Host::Here => Vantage::ThisHost,
            Host::Elsewhere(_) => Vantage::AnotherHost,
        }
    }

    /// The token of a generation.
    pub fn token(&self, cluster: &ClusterName, generation: &Generation) -> Result<SecretString> {
        let path = Layout(cluster).file(generation, TOKEN);
        let token = self.read(&path)?.map(|text| SecretString::from(text.trim()));
        token.ok_or_else(|| {
            let shown = self.shown(&path);
            Error::new(Reason::DestinationUnusable, format!("{shown} is not there"))
                .hint("Issue a new one: kubectl prom-federate rotate --now")
        })
    }

    /// A file as text; none if it is not there.
    pub fn read(&self, path: &str) -> Result<Option<String>> {
        let outcome = match &self.host {
            Host::Here => text(&self.root.join(path)),
            Host::Elsewhere(remote) => remote.read(path)?,
        };
        outcome.map_err(|why| self.cannot_read(path, &why))
    }

    fn cannot_read(&self, path: &str, why: &str) -> Error {
        Error::new(Reason::DestinationUnusable, format!("cannot read {}: {why}", self.shown(path)))
            .hint("Run this as a user who may read and write there")
    }

    fn not_ours(&self, path: &str) -> Error {
        Error::new(Reason::NotOurs, format!("{} is there and not ours; it stays", self.shown(path)))
            .hint("Move it away, or choose another label with --cluster-name NAME")
    }

    /// The names of all jobs in our folder, with the file that has them.
    pub fn jobs(&self) -> Result<Vec<(String, String)>> {
        let view = self.view(None)?;
        let mut jobs = Vec::new();
        for (name, _) in view.list(layout::FOLDER).unwrap_or_default().into_iter().flatten() {
            let path = format!("{}/{name}", layout::FOLDER);
            if name.ends_with(FRAGMENT_SUFFIX) {
                let text = view.text(&path).map_err(|why| self.cannot_read(&path, &why))?.unwrap_or_default();
                jobs.extend(job_names(&text).into_iter().map(|job| (job, path.clone())));
            }
        }
        Ok(jobs)
    }

    /// The path of the main configuration before it is put in place.
    pub fn staged_main(&self) -> String {
        install::staged_main(&self.main)
    }
}

fn named_generation(cluster: &ClusterName, fragment: &str) -> Option<Generation> {
    let jobs = parsed_jobs(fragment)?;
    let token_file = jobs.first()?["authorization"]["credentials_file"].as_str()?.to_owned();
    Layout(cluster).generation_named_by(&token_file)
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
