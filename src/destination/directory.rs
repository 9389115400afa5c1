//! A folder with a main configuration on this host: what is in it, and the lock on it.

use super::files::write_failed;
use crate::{
    error::{Error, Reason, Result},
    model::{
        destination::Identity,
        install::{self, Present},
        layout::{self, CA, FRAGMENT_SUFFIX, Generation, KUBELET_CA, Layout, RECORD, TOKEN},
        names::ClusterName,
        record::{Record, RecordError, SecretRecord},
    },
    yaml,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// The main configuration of a Prometheus and the folder that it is in.
#[derive(Clone, Debug)]
pub struct Directory {
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

/// What a destination has of one cluster.
#[derive(Clone, Debug)]
pub struct Installed {
    pub cluster: ClusterName,
    /// What the jobs name; none where a run was killed before or after there were any.
    pub live: Option<Live>,
    /// Every generation that has a folder, oldest first, the live one included; with its Secret if its record says.
    pub generations: BTreeMap<Generation, Option<SecretRecord>>,
    pub present: Present,
    /// The newest record of a cluster that has no jobs any more: a run was killed before or after there were any.
    pub remains: Option<Record>,
}

/// The generation that is in use.
#[derive(Clone, Debug)]
pub struct Live {
    pub generation: Generation,
    /// [`Reason::DestinationUnusable`] where it is missing or broken, [`Reason::RecordTooNew`].
    pub record: Result<Record>,
}

/// Held while a run writes; the system lets go of it when the process ends, however that happens.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, not read")] File);

impl Directory {
    /// Finds the main configuration.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`], with what to name instead.
    pub fn open(typed: &Path) -> Result<Self> {
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
        let id = read_id(&root);
        Ok(Self { typed: shown, root, main, main_text, id })
    }

    pub fn config(&self) -> PathBuf {
        self.root.join(&self.main)
    }

    /// For commands that are read at another time and in another folder: as it was typed if that means the same there.
    pub fn typed_or_absolute(&self) -> String {
        if Path::new(&self.typed).is_absolute() { self.typed.clone() } else { self.config().display().to_string() }
    }

    /// What bound Secrets say of this destination. None before anything was delivered.
    pub fn identity(&self) -> Option<Identity> {
        Some(self.identity_with(self.id.as_ref()?))
    }

    /// The same; the folder is given one with `random` in it unless it has one. Under the lock.
    pub fn identify(&mut self, random: &str, write: impl FnOnce(&str) -> Result<()>) -> Result<Identity> {
        let id = if let Some(id) = read_id(&self.root) {
            id
        } else {
            write(random)?;
            random.to_owned()
        };
        self.id = Some(id.clone());
        Ok(self.identity_with(&id))
    }

    fn identity_with(&self, id: &str) -> Identity {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Identity::directory(&host, &self.root.to_string_lossy(), id)
    }

    /// Keeps every other run of ours out. Our folder must be there.
    ///
    /// # Errors
    /// [`Reason::DestinationBusy`] if another run holds it.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.root.join(layout::LOCK);
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
            .open(&path)
            .map_err(|error| write_failed(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                Reason::DestinationBusy,
                format!("another run of kubectl prom-federate is writing to {}", self.typed),
            )
            .hint(
                "Run the command again when it has ended (it may be rotate --watch, which writes only now and then)",
            )),
            Err(TryLockError::Error(error)) => Err(write_failed(&path, &error)),
        }
    }

    /// Everything in our folder, by cluster.
    ///
    /// # Errors
    /// [`Reason::DestinationUnusable`] where something cannot be read; [`Reason::NotOurs`], for one cluster, where its
    /// jobs are none of ours.
    pub fn clusters(&self) -> Result<BTreeMap<ClusterName, Result<Installed>>> {
        let folder = self.root.join(layout::FOLDER);
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries.map_err(|error| cannot_read(&folder, &error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| cannot_read(&folder, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A folder, or jobs without one.
            names.extend(
                name.strip_suffix(FRAGMENT_SUFFIX)
                    .unwrap_or(&name)
                    .parse::<ClusterName>()
                    .ok()
                    .filter(|_| name.ends_with(FRAGMENT_SUFFIX) || entry.file_type().is_ok_and(|kind| kind.is_dir())),
            );
        }
        Ok(names.into_iter().map(|name| (name.clone(), self.cluster(&name))).collect())
    }

    /// What there is of one cluster, possibly nothing.
    ///
    /// # Errors
    /// As [`Self::clusters`].
    pub fn cluster(&self, cluster: &ClusterName) -> Result<Installed> {
        let layout = Layout(cluster);
        let mut generations = BTreeMap::new();
        let folder = self.root.join(layout.folder());
        match fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(|error| cannot_read(&folder, &error))?;
                    if let Ok(generation) = entry.file_name().to_string_lossy().parse::<Generation>() {
                        generations.insert(generation.clone(), self.record(cluster, &generation).ok());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot_read(&folder, &error)),
        }
        let fragment = self.read(&layout.fragment())?;
        let present = Present { fragment: fragment.is_some(), rules: self.root.join(layout.rules()).exists() };
        let live = match fragment {
            None => None,
            Some(text) => {
                let generation = named_generation(cluster, &text).ok_or_else(|| self.not_ours(&layout.fragment()))?;
                let record = self.record(cluster, &generation);
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
    fn record(&self, cluster: &ClusterName, generation: &Generation) -> Result<Record> {
        let path = Layout(cluster).file(generation, RECORD);
        let missing = |why: &str| {
            Error::new(Reason::DestinationUnusable, format!("{}/{path} {why}", self.root.display())).hint(format!(
                "Write it anew by joining the cluster again: kubectl prom-federate join --cluster-name {cluster} --context CONTEXT -p {}",
                crate::model::shell::word(&self.typed)
            ))
        };
        let text = self.read(&path)?.ok_or_else(|| missing("is not there"))?;
        let record = Record::read(&text).map_err(|error| match error {
            RecordError::Newer(_) => {
                Error::new(Reason::RecordTooNew, format!("{}/{path} {error}", self.root.display()))
                    .hint("Use that release or a later one: kubectl krew upgrade prom-federate")
            }
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
        let certificates: Vec<Vec<u8>> =
            CertificateDer::pem_slice_iter(text.as_bytes()).filter_map(|der| Some(der.ok()?.to_vec())).collect();
        if certificates.is_empty() {
            let shown = self.root.join(path).display().to_string();
            return Err(Error::new(Reason::DestinationUnusable, format!("{shown} holds no PEM certificate")).hint(
                "Write it anew by joining the cluster again, with --api-server-ca-file or --kubelet-ca-file if it is a CA of your own",
            ));
        }
        Ok(certificates)
    }

    /// The token of a generation.
    pub fn token(&self, cluster: &ClusterName, generation: &Generation) -> Result<SecretString> {
        let path = Layout(cluster).file(generation, TOKEN);
        let token = self.read(&path)?.map(|text| SecretString::from(text.trim()));
        token.ok_or_else(|| {
            let shown = self.root.join(path).display().to_string();
            Error::new(Reason::DestinationUnusable, format!("{shown} is not there"))
                .hint("Issue a new one: kubectl prom-federate rotate --now")
        })
    }

    /// A file as text; none if it is not there.
    pub fn read(&self, path: &str) -> Result<Option<String>> {
        let path = self.root.join(path);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot_read(&path, &error)),
        }
    }

    fn not_ours(&self, path: &str) -> Error {
        Error::new(Reason::NotOurs, format!("{}/{path} is there and not ours; it stays", self.root.display()))
            .hint("Move it away, or choose another label with --cluster-name NAME")
    }

    /// The names of all jobs that Prometheus would read beside those of `cluster`, with the file that has them.
    pub fn other_jobs(&self, cluster: &ClusterName) -> Result<Vec<(String, String)>> {
        let folder = self.root.join(layout::FOLDER);
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{}/{name}", layout::FOLDER);
            if name.ends_with(FRAGMENT_SUFFIX) && path != Layout(cluster).fragment() {
                let text = self.read(&path)?.unwrap_or_default();
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

impl Installed {
    /// Generations that no jobs name and no live record waits for: what a killed run left.
    pub fn leftovers(&self) -> Vec<&Generation> {
        let expected = |generation: &&Generation| {
            let replaced = |record: &Record| record.replaces.iter().any(|one| one.generation == **generation);
            self.live.as_ref().is_some_and(|live| live.generation == **generation)
                || self.record().is_some_and(replaced)
        };
        self.generations.keys().filter(|generation| !expected(generation)).collect()
    }

    /// What the live one took the place of and what is still there, oldest first.
    pub fn pending(&self) -> impl Iterator<Item = &Generation> {
        let live = self.live.as_ref().map(|live| &live.generation);
        self.generations.keys().filter(move |generation| Some(*generation) != live)
    }

    /// The record in use, if there is one that can be read.
    pub fn record(&self) -> Option<&Record> {
        self.live.as_ref()?.record.as_ref().ok()
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

fn read_id(root: &Path) -> Option<String> {
    let text = fs::read_to_string(root.join(layout::ID)).ok()?;
    let id = text.trim();
    let valid = (4..=40).contains(&id.len()) && id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    valid.then(|| id.to_owned())
}

fn cannot_read(path: &Path, error: &io::Error) -> Error {
    Error::new(Reason::DestinationUnusable, format!("cannot read {}: {error}", path.display()))
        .hint("Run this as a user who may read and write there")
}
