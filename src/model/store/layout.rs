//! The layout of a directory destination, relative to the folder of the main configuration.
//!
//! ```text
//! prom-federate/.lock, .id
//! prom-federate/east.scrape.yml          the jobs: renaming this file into place is the only commit
//! prom-federate/east.rules.yml           not for an agent
//! prom-federate/east/GENERATION/         token, ca.crt, cluster.json: the live one is the one the jobs name
//! prom-federate/east/current             where the jobs name this: a link to the live one, whose rename is the commit
//! ```

use crate::model::text::names::ClusterName;
use jiff::Timestamp;
use std::{fmt, str::FromStr};

/// The plugin's folder next to the main configuration.
pub const FOLDER: &str = "prom-federate";
/// The pattern of scrape jobs that the main configuration must include.
pub const FRAGMENTS: &str = "prom-federate/*.scrape.yml";
/// The pattern of alerting rules that the main configuration must include.
pub const RULES: &str = "prom-federate/*.rules.yml";
/// The lock file of a run that writes.
pub const LOCK: &str = "prom-federate/.lock";
/// The random part of the destination's identity.
pub const ID: &str = "prom-federate/.id";
/// For whom the files are: the user and the group of Prometheus, by number.
pub const OWNER: &str = "prom-federate/.owner";

/// Holds the text of a configuration for another host's wget, for a moment.
pub const WGET_CONFIGURATION: &str = "prom-federate/.wgetrc";
/// The jobs of one cluster as a configuration that vmagent validates, for a moment. It has no ending, because vmagent may
/// read all files with the ending of jobs.
pub const CHECKED: &str = "prom-federate/.check";

pub const FRAGMENT_SUFFIX: &str = ".scrape.yml";
const RULES_SUFFIX: &str = ".rules.yml";
/// The suffix of staged files. No pattern of a main configuration matches it.
pub const STAGED_SUFFIX: &str = ".new";

/// Beside the generations: a symbolic link whose text is the name of the live one.
pub const CURRENT: &str = "current";

pub const TOKEN: &str = "token";
pub const CA: &str = "ca.crt";
pub const KUBELET_CA: &str = "kubelet-ca.crt";
pub const RECORD: &str = "cluster.json";
/// In a generation: the fragment that its commit replaced, for the undo.
pub const PREVIOUS: &str = "previous.scrape.yml";
/// In a generation: the rules that its commit replaced, for the undo.
pub const PREVIOUS_RULES: &str = "previous.rules.yml";

/// In a generation that the jobs name by the link: an empty list of targets, by the random part of the destination's
/// identity. Prometheus tells when it was written, and so of the rotation.
pub fn rotated(id: &str) -> String {
    format!("rotated-{id}.json")
}

const MADE: &str = "%Y%m%dt%H%M%Sz";

/// One delivery of one cluster: a folder whose name sorts by time, `20261125t101500z-x7k2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(String);

impl Generation {
    pub fn new(now: Timestamp, random: &str) -> Self {
        Self(format!("{}-{random}", now.strftime(MADE)))
    }

    /// Where there is none: older than any.
    pub fn none() -> Self {
        Self("00000000t000000z-00".to_owned())
    }

    /// When the generation was made; none if the name is not a date.
    pub fn made(&self) -> Option<Timestamp> {
        let time = jiff::civil::DateTime::strptime(MADE, self.0.get(..16)?).ok()?;
        time.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    }
}

/// Why a folder is not a generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not the name of a generation")]
pub struct NoGeneration;

impl FromStr for Generation {
    type Err = NoGeneration;

    fn from_str(text: &str) -> Result<Self, NoGeneration> {
        let shape = |(at, c): (usize, char)| match at {
            8 => c == 't',
            15 => c == 'z',
            16 => c == '-',
            0..=14 => c.is_ascii_digit(),
            _ => c.is_ascii_lowercase() || c.is_ascii_digit(),
        };
        let valid = (18..=40).contains(&text.len()) && text.chars().enumerate().all(shape);
        valid.then(|| Self(text.to_owned())).ok_or(NoGeneration)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the jobs of a cluster name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Generation(Generation),
    /// The link.
    Current,
}

/// The files of one cluster.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a>(pub &'a ClusterName);

impl Layout<'_> {
    pub fn fragment(&self) -> String {
        format!("{FOLDER}/{}{FRAGMENT_SUFFIX}", self.0)
    }

    pub fn staged_fragment(&self) -> String {
        self.fragment() + STAGED_SUFFIX
    }

    pub fn rules(&self) -> String {
        format!("{FOLDER}/{}{RULES_SUFFIX}", self.0)
    }

    pub fn staged_rules(&self) -> String {
        self.rules() + STAGED_SUFFIX
    }

    /// The folder of all its generations.
    pub fn folder(&self) -> String {
        format!("{FOLDER}/{}", self.0)
    }

    pub fn generation(&self, generation: &Generation) -> String {
        format!("{}/{generation}", self.folder())
    }

    /// The link to the live generation.
    pub fn current(&self) -> String {
        format!("{}/{CURRENT}", self.folder())
    }

    /// Where the link is made, before it takes the place of the one in use.
    pub fn staged_current(&self) -> String {
        self.current() + STAGED_SUFFIX
    }

    /// A file of the live generation, as the link leads there.
    pub fn current_file(&self, name: &str) -> String {
        format!("{}/{name}", self.current())
    }

    /// A file of a generation.
    pub fn file(&self, generation: &Generation, name: &str) -> String {
        format!("{}/{name}", self.generation(generation))
    }

    /// All paths that a delivery of this cluster may leave in the folder of the main configuration, at its end or for a
    /// moment, folders among them: all that a pattern of files may match by mistake.
    pub fn all(&self, is_agent: bool) -> Vec<String> {
        let generation = format!("{}/20261125t101500z-x7k2ab", self.folder());
        let in_generation = [TOKEN, CA, KUBELET_CA, RECORD, PREVIOUS, PREVIOUS_RULES, &rotated("x7k2p9")];
        let fixed = [FOLDER, LOCK, ID, OWNER, WGET_CONFIGURATION, CHECKED].map(str::to_owned);
        let rules = [self.rules(), self.staged_rules()];
        let of_generation = [&generation, &self.current()]
            .map(|folder| in_generation.iter().map(move |name| format!("{folder}/{name}")).collect::<Vec<_>>());
        let files = of_generation.concat();
        let links = [self.current(), self.staged_current()];
        let of_cluster = [self.fragment(), self.staged_fragment(), self.folder(), generation].into_iter().chain(links);
        fixed.into_iter().chain(of_cluster).chain(files).chain(rules.into_iter().filter(|_| !is_agent)).collect()
    }

    /// What a fragment names by the path of its token, absolute or relative.
    pub fn named_by(&self, token_file: &str) -> Option<Named> {
        let mut parts = token_file.rsplit('/');
        let (file, folder, cluster) = (parts.next()?, parts.next()?, parts.next()?);
        if file != TOKEN || cluster != self.0.as_str() {
            return None;
        }
        if folder == CURRENT { Some(Named::Current) } else { folder.parse().ok().map(Named::Generation) }
    }
}

/// Whether the names of the cluster's files could belong to another cluster.
pub fn is_confusing(cluster: &ClusterName) -> bool {
    [FRAGMENT_SUFFIX, RULES_SUFFIX, STAGED_SUFFIX].iter().any(|suffix| cluster.as_str().ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hostile, model::store::identity::Identity};

    #[test]
    fn generation_sorts_by_time_and_is_read_back() {
        let at = |time: &str| Generation::new(time.parse().unwrap(), "x7k2");
        let (one, two) = (at("2026-11-25T09:59:59Z"), at("2026-11-25T10:15:00Z"));
        assert_eq!(two.to_string(), "20261125t101500z-x7k2");
        assert!(one < two);
        assert_eq!(two.made(), Some("2026-11-25T10:15:00Z".parse().unwrap()));
        assert_eq!("99999999t999999z-x7k2".parse::<Generation>().unwrap().made(), None);
        assert_eq!(two.to_string().parse(), Ok(two));
        for text in ["", "..", "20261125t101500z-", "20261125t101500z-X", "20261125t101500z/x7", "backup", "é"] {
            assert_eq!(text.parse::<Generation>(), Err(NoGeneration), "{text}");
        }
    }

    #[test]
    fn fragment_names_its_generation_or_the_link() {
        let east = "east".parse().unwrap();
        let named = |path: &str| Layout(&east).named_by(path);
        let live = Some(Named::Generation("20261125t101500z-x7k2".parse().unwrap()));
        assert_eq!(named("east/20261125t101500z-x7k2/token"), live);
        assert_eq!(named("/etc/prometheus/prom-federate/east/20261125t101500z-x7k2/token"), live);
        assert_eq!(named("/etc/prometheus/prom-federate/east/current/token"), Some(Named::Current));
        for foreign in [
            "west/current/token",
            "east/current/ca.crt",
            "east/current.new/token",
            "token",
            "west/20261125t101500z-x7k2/token",
            "east/old/token",
            "/run/secrets/east",
        ] {
            assert_eq!(named(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn cluster_names_like_files_are_recognised() {
        for (name, confusing) in [("east", false), ("a.b", false), ("east.scrape.yml", true), ("x.rules.yml", true)] {
            assert_eq!(is_confusing(&name.parse().unwrap()), confusing, "{name}");
        }
    }

    #[test]
    fn hostile_generations_and_identities_are_survived() {
        let examples =
            ["20261125t101500z-x7k2", "directory://prom-0/etc/prometheus#x7k2@4bf5122f", "operator://m/k8s#u"];
        hostile::texts(&examples, |text| {
            if let Ok(generation) = text.parse::<Generation>() {
                assert_eq!(generation.to_string(), text);
                let _ = generation.made();
            }
            let identity = Identity::read(text);
            assert!(identity.is(&identity) && identity.is_kin(&identity));
            let _ = (identity.machine(), identity.shown(), identity.is_copy(&Identity::printed()));
        });
    }
}
