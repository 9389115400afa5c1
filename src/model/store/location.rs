//! Locations of destinations, as on the command line.

use crate::model::{
    access::PrometheusLocation,
    kube::object::Kind,
    text::{
        line::drives_a_terminal,
        names::{Namespace, is_dns_subdomain},
    },
};
use std::{fmt, path::PathBuf, str::FromStr};

/// The value of `-p`: a destination that stores jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    Directory(FolderLocation),
    /// A Prometheus, an agent or a vmagent of an operator.
    Operator(OperatorLocation),
}

/// A folder with a main configuration, or the path of the configuration itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderLocation {
    /// On this host.
    Here(PathBuf),
    /// On another host.
    Ssh(SshLocation),
}

impl Location {
    /// The location from which the Prometheus of these destinations reaches a cluster.
    pub fn prometheus_location(locations: &[Self]) -> PrometheusLocation {
        let is_elsewhere = |location: &Self| !matches!(location, Self::Directory(FolderLocation::Here(_)));
        match locations {
            [] => PrometheusLocation::Anywhere,
            some if some.iter().any(is_elsewhere) => PrometheusLocation::AnotherHost,
            _ => PrometheusLocation::ThisHost,
        }
    }
}

/// `ssh://[USER@]HOST[:PORT]/PATH`. HOST may be an alias in the configuration of ssh. No part can be read as an option of
/// ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshLocation {
    pub user: Option<String>,
    /// An IPv6 address without brackets.
    pub host: String,
    pub port: Option<u16>,
    /// An absolute path, not percent-decoded.
    pub path: String,
}

/// `operator://NAMESPACE[/[KIND/]NAME][?context=CONTEXT]`: a Prometheus, a `PrometheusAgent` or a `VMAgent` object in a
/// cluster of the kubeconfig, the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorLocation {
    pub namespace: Namespace,
    /// None for the only object of the namespace.
    pub name: Option<String>,
    /// One of [`READERS`]; None for the only object of the name.
    pub kind: Option<Kind>,
    /// None for the current context.
    pub context: Option<String>,
}

/// Why a destination is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocationError {
    #[error("is empty; write the folder of prometheus.yml or the file itself")]
    Empty,
    #[error(
        "is not a known kind of destination; write a folder of this host (/etc/prometheus), a folder of another host \
         (ssh://HOST/etc/prometheus) or a Prometheus or vmagent of an operator (operator://NAMESPACE/NAME)"
    )]
    UnknownScheme,
    #[error(
        "does not name a Prometheus; write operator://NAMESPACE[/NAME][?context=CONTEXT], with prometheus/NAME, \
         prometheusagent/NAME or vmagent/NAME where several kinds have the name"
    )]
    NoPrometheus,
    #[error("has a character that a terminal does not show; rename the folder or the context")]
    NotShown,
    #[error("does not name a folder of a host; write ssh://[USER@]HOST[:PORT]/etc/prometheus")]
    NoHost,
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        match text {
            "" => Err(LocationError::Empty),
            // It stands in comments of generated YAML, which the end of a line ends.
            _ if text.contains(drives_a_terminal) => Err(LocationError::NotShown),
            _ if text.starts_with(OPERATOR) => text[OPERATOR.len()..].parse().map(Self::Operator),
            _ if text.starts_with(SSH) => text[SSH.len()..].parse().map(FolderLocation::Ssh).map(Self::Directory),
            _ if text.contains("://") => Err(LocationError::UnknownScheme),
            path => Ok(Self::Directory(FolderLocation::Here(path.into()))),
        }
    }
}

pub(in crate::model) const OPERATOR: &str = "operator://";

/// Parses the text without the scheme. A context may have any characters, so it is the rest of the text, unchanged.
impl FromStr for OperatorLocation {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let (place, context) = match text.split_once('?') {
            None => (text, None),
            Some((place, query)) => (place, Some(query.strip_prefix("context=").ok_or(LocationError::NoPrometheus)?)),
        };
        let (namespace, object) = place.split_once('/').map_or((place, None), |(space, object)| (space, Some(object)));
        let (kind, name) = match object.and_then(|object| object.split_once('/')) {
            None => (None, object),
            Some((kind, name)) => (Some(kind_of(kind).ok_or(LocationError::NoPrometheus)?), Some(name)),
        };
        if context.is_some_and(str::is_empty) || name.is_some_and(|name| !is_dns_subdomain(name)) {
            return Err(LocationError::NoPrometheus);
        }
        Ok(Self {
            namespace: namespace.parse().map_err(|_| LocationError::NoPrometheus)?,
            name: name.map(str::to_owned),
            kind,
            context: context.map(str::to_owned),
        })
    }
}

impl OperatorLocation {
    /// Whether it may mean the object that a location names in full, except for its context.
    pub fn may_be(&self, object: &str) -> bool {
        let Ok(Location::Operator(object)) = object.parse() else { return false };
        let kind = object.kind.unwrap_or(Kind::Prometheus);
        self.namespace == object.namespace
            && self.kind.is_none_or(|meant| meant == kind)
            && (self.name.is_none() || self.name == object.name)
    }
}

/// The kinds of objects that an operator makes a scraper of.
pub const READERS: [Kind; 3] = [Kind::Prometheus, Kind::PrometheusAgent, Kind::VMAgent];

/// As kubectl writes it before the slash.
fn kind_of(word: &str) -> Option<Kind> {
    READERS.into_iter().find(|kind| kind.singular() == word)
}

impl fmt::Display for OperatorLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OPERATOR}{}", self.namespace)?;
        self.kind.iter().try_for_each(|kind| write!(f, "/{}", kind.singular()))?;
        self.name.iter().try_for_each(|name| write!(f, "/{name}"))?;
        self.context.iter().try_for_each(|context| write!(f, "?context={context}"))
    }
}

const SSH: &str = "ssh://";

/// Parses the text without the scheme.
impl FromStr for SshLocation {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let (authority, path) = text.find('/').map(|at| text.split_at(at)).ok_or(LocationError::NoHost)?;
        let (user, place) = match authority.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, authority),
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or(LocationError::NoHost)?,
            None => place.find(':').map_or((place, ""), |at| place.split_at(at)),
        };
        let number = |port: &str| port.strip_prefix(':')?.parse().ok().filter(|port: &u16| *port > 0);
        let port = if port.is_empty() { None } else { Some(number(port).ok_or(LocationError::NoHost)?) };
        let is_word = |word: &str, besides: &str| {
            !word.is_empty()
                && !word.starts_with('-')
                && word.chars().all(|c| c.is_ascii_alphanumeric() || besides.contains(c))
        };
        let is_host =
            if place.starts_with('[') { host.contains(':') && is_word(host, ":.%") } else { is_word(host, "._-") };
        if !is_host || user.is_some_and(|user| !is_word(user, "._-@+\\")) {
            return Err(LocationError::NoHost);
        }
        Ok(Self { user: user.map(str::to_owned), host: host.to_owned(), port, path: path.to_owned() })
    }
}

impl fmt::Display for SshLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SSH)?;
        self.user.iter().try_for_each(|user| write!(f, "{user}@"))?;
        if self.host.contains(':') { write!(f, "[{}]", self.host) } else { f.write_str(&self.host) }?;
        self.port.iter().try_for_each(|port| write!(f, ":{port}"))?;
        f.write_str(&self.path)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(folder) => folder.fmt(f),
            Self::Operator(operator) => operator.fmt(f),
        }
    }
}

impl fmt::Display for FolderLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(path) => path.display().fmt(f),
            Self::Ssh(ssh) => ssh.fmt(f),
        }
    }
}

/// The program that reads the jobs, which decides their format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A mapping `scrape_configs:`, with paths relative to the file.
    #[default]
    Prometheus,
    /// A list, with absolute paths, because vmagent resolves paths against its main configuration.
    Vmagent,
    /// As for Prometheus: the Prometheus receiver of an OpenTelemetry Collector reads the file as Prometheus does.
    Otel,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "prometheus" => Ok(Self::Prometheus),
            "vmagent" => Ok(Self::Vmagent),
            "otel" => Ok(Self::Otel),
            _ => Err(format!("unknown format '{text}'")),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prometheus => "prometheus",
            Self::Vmagent => "vmagent",
            Self::Otel => "otel",
        })
    }
}

/// `--owner USER[:GROUP]`, by name or number, as in `chown`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileOwner {
    pub user: String,
    pub group: Option<String>,
}

impl FromStr for FileOwner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
        let is_name = |name: &str| {
            !name.is_empty()
                && !name.starts_with('-')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.@$".contains(c))
        };
        if is_name(user) && group.is_none_or(is_name) {
            Ok(Self { user: user.to_owned(), group: group.map(str::to_owned) })
        } else {
            Err("is not USER or USER:GROUP".to_owned())
        }
    }
}

impl fmt::Display for FileOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.user)?;
        self.group.as_ref().map_or(Ok(()), |group| write!(f, ":{group}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    #[test]
    fn destination_is_a_folder_or_a_known_scheme() {
        assert_eq!("/etc/prometheus".parse(), Ok(Location::Directory(FolderLocation::Here("/etc/prometheus".into()))));
        assert_eq!("prometheus.yml".parse(), Ok(Location::Directory(FolderLocation::Here("prometheus.yml".into()))));
        assert_eq!("".parse::<Location>(), Err(LocationError::Empty));
        for text in ["operators://monitoring", "s3://x"] {
            assert_eq!(text.parse::<Location>(), Err(LocationError::UnknownScheme), "{text}");
        }
    }

    #[test]
    fn operator_location_has_a_namespace_and_optional_kind_name_and_context() {
        for (text, namespace, kind, name, context) in [
            ("operator://monitoring", "monitoring", None, None, None),
            ("operator://monitoring/k8s", "monitoring", None, Some("k8s"), None),
            ("operator://monitoring/prometheus", "monitoring", None, Some("prometheus"), None),
            ("operator://m/prometheus/k8s", "m", Some(Kind::Prometheus), Some("k8s"), None),
            (
                "operator://m/prometheusagent/k8s?context=hub",
                "m",
                Some(Kind::PrometheusAgent),
                Some("k8s"),
                Some("hub"),
            ),
            ("operator://m/vmagent/main", "m", Some(Kind::VMAgent), Some("main"), None),
            ("operator://m?context=hub", "m", None, None, Some("hub")),
            (
                "operator://m/a.b?context=arn:aws:eks:x:1:cluster/h?a=b",
                "m",
                None,
                Some("a.b"),
                Some("arn:aws:eks:x:1:cluster/h?a=b"),
            ),
        ] {
            let expected = OperatorLocation {
                namespace: namespace.parse().unwrap(),
                name: name.map(str::to_owned),
                kind,
                context: context.map(str::to_owned),
            };
            let location: Location = text.parse().unwrap();
            assert_eq!(location, Location::Operator(expected));
            assert_eq!(location.to_string(), text);
        }
        for text in [
            "",
            "M",
            "m/",
            "m/a/b",
            "m/prometheus/",
            "m/prometheusagent/a/b",
            "m/secret/a",
            "m/A",
            "m?",
            "m?context=",
            "m?namespace=x",
            "/x",
            "m/../x",
            "m n",
        ] {
            let text = format!("operator://{text}");
            assert_eq!(text.parse::<Location>(), Err(LocationError::NoPrometheus), "{text}");
        }
    }

    #[test]
    fn operator_location_may_be_each_object_that_it_does_not_exclude() {
        for (typed, object, may_be) in [
            ("m", "m/k8s", true),
            ("m/k8s?context=hub", "m/k8s", true),
            ("m/k8s", "m/vmagent/k8s", true),
            ("m/prometheus/k8s", "m/k8s", true),
            ("m/prometheus/k8s", "m/vmagent/k8s", false),
            ("m/vmagent/k8s", "m/vmagent/k8s", true),
            ("m/k8s", "m/other", false),
            ("m", "n/k8s", false),
        ] {
            let Ok(Location::Operator(location)) = format!("operator://{typed}").parse() else { panic!("{typed}") };
            assert_eq!(location.may_be(&format!("operator://{object}")), may_be, "{typed} {object}");
            assert!(!location.may_be("directory://prom/etc/prometheus"));
        }
    }

    #[test]
    fn ssh_location_has_optional_user_and_port_and_rejects_options() {
        for (text, user, host, port, path) in [
            ("ssh://prom/etc/prometheus", None, "prom", None, "/etc/prometheus"),
            ("ssh://prom/", None, "prom", None, "/"),
            ("ssh://root@prom-0.example.com:2222/p/x.yml", Some("root"), "prom-0.example.com", Some(2222), "/p/x.yml"),
            ("ssh://a@corp@my_alias/p%20q r", Some("a@corp"), "my_alias", None, "/p%20q r"),
            ("ssh://[fd00::1]/p", None, "fd00::1", None, "/p"),
            ("ssh://u@[fe80::1%eth0]:22/p", Some("u"), "fe80::1%eth0", Some(22), "/p"),
        ] {
            let (user, host, path) = (user.map(str::to_owned), host.to_owned(), path.to_owned());
            let location: Location = text.parse().unwrap();
            assert_eq!(location, Location::Directory(FolderLocation::Ssh(SshLocation { user, host, port, path })));
            assert_eq!(location.to_string(), text);
        }
        for text in [
            "",
            "/p",
            "prom",
            "prom:22",
            "-oProxyCommand=x/p",
            "-l@prom/p",
            "@prom/p",
            "u@/p",
            "a b/p",
            "prom:/p",
            "prom:0/p",
            "prom:x/p",
            "prom:99999/p",
            "[::1/p",
            "[::1]x/p",
            "[::1]:/p",
            "[]/p",
            "::1/p",
            "$(id)/p",
            "u;x@prom/p",
        ] {
            let text = format!("ssh://{text}");
            assert_eq!(text.parse::<Location>(), Err(LocationError::NoHost), "{text:?}");
        }
        // The end of a line in YAML, in a comment too: of all kinds that YAML has.
        for end in ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}', '\u{202e}'] {
            for text in ["ssh://prom/a#b", "/a#b", "operator://monitoring/k8s?context=a#b"] {
                let text = text.replace('#', &end.to_string());
                assert_eq!(text.parse::<Location>(), Err(LocationError::NotShown), "{text:?}");
            }
        }
    }

    #[test]
    fn owner_is_a_user_and_an_optional_group() {
        let owner = |user: &str, group: Option<&str>| FileOwner { user: user.into(), group: group.map(str::to_owned) };
        assert_eq!("prometheus".parse(), Ok(owner("prometheus", None)));
        assert_eq!("65534:monitoring".parse(), Ok(owner("65534", Some("monitoring"))));
        assert_eq!(owner("65534", Some("monitoring")).to_string(), "65534:monitoring");
        for text in ["", ":", "a:", ":b", "-u", "a b", "a:b:c", "$(id)"] {
            assert!(text.parse::<FileOwner>().is_err(), "{text}");
        }
    }

    #[test]
    fn hostile_destinations_are_survived() {
        let examples = [
            "operator://monitoring/prometheusagent/k8s?context=arn:aws:eks:x:1:cluster/h?a=b",
            "ssh://jane@[fe80::1%eth0]:22/etc/prometheus",
            "/etc/prometheus/prometheus.yml",
        ];
        hostile::texts(&examples, |text| {
            if let Ok(location) = text.parse::<Location>() {
                assert_eq!(location.to_string().parse(), Ok(location));
            }
            if let Ok(owner) = text.parse::<FileOwner>() {
                assert_eq!(owner.to_string().parse(), Ok(owner));
            }
        });
    }
}
