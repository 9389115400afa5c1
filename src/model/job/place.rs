//! Places of jobs in a cluster: Services, ports, paths. Their alphabets make them safe in YAML, CEL, RBAC, URLs and
//! regular expressions.

use crate::model::text::{
    encoding::query_value,
    names::{Namespace, is_dns_label},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// The default path.
pub(super) const METRICS: &str = "/metrics";

/// Why a part of a job is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error("'{0}' is not NAMESPACE/[https:]SERVICE:PORT")]
    Endpoint(String),
    #[error(
        "'{0}' is not a path: a path begins with '/' and has letters, digits, '-', '_' and '.' between single '/', and no '..'"
    )]
    Path(String),
    #[error("'{0}' is not GROUP/VERSION/RESOURCE/NAME[/SUBRESOURCE] of an aggregated API")]
    Aggregated(String),
    #[error("'{0}' is not a series selector such as up or {{job=\"shop\"}}")]
    Selector(String),
}

/// One port of a Service, and whether it speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    namespace: Namespace,
    service: String,
    /// A name or a number, as in the Service.
    port: String,
    https: bool,
}

impl Endpoint {
    /// None if a name is invalid.
    pub fn new(namespace: Namespace, service: &str, port: &str, https: bool) -> Option<Self> {
        // A port's name is a DNS label too (Kubernetes `pkg/apis/core/validation`, `validateServicePort`).
        let valid = is_dns_label(service) && is_dns_label(port) && is_number_or_name(port);
        valid.then(|| Self { namespace, service: service.to_owned(), port: port.to_owned(), https })
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub fn service(&self) -> &str {
        &self.service
    }

    /// The literal segment of the URL, `https:shop:8443`: what RBAC compares a `resourceName` with, and the fence
    /// `request.name` (apimachinery `util/net/port_split.go`).
    pub fn segment(&self) -> String {
        let scheme = if self.https { "https:" } else { "" };
        format!("{scheme}{}:{}", self.service, self.port)
    }

    /// The value of the `instance` label: the address of the Service within the cluster.
    pub fn instance(&self) -> String {
        format!("{}.{}:{}", self.service, self.namespace, self.port)
    }
}

/// A name of digits only counts as a number.
fn is_number_or_name(port: &str) -> bool {
    !port.chars().all(|c| c.is_ascii_digit())
        || (!port.starts_with('0') && port.parse::<u16>().is_ok_and(|number| number > 0))
}

/// `monitoring/https:shop:8443`
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.segment())
    }
}

impl FromStr for Endpoint {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let parsed = || {
            let (namespace, segment) = text.split_once('/')?;
            let (https, rest) = segment.strip_prefix("https:").map_or((false, segment), |rest| (true, rest));
            // `https:8443` would mean a Service named https.
            let (service, port) = if rest.contains(':') { rest.split_once(':')? } else { segment.split_once(':')? };
            Self::new(namespace.parse().ok()?, service, port, https && rest.contains(':'))
        };
        parsed().ok_or_else(|| PlaceError::Endpoint(text.to_owned()))
    }
}

/// A scraped path: `/` and segments of letters, digits, `-`, `_` and `.`. The API server cleans a path only after
/// admission, so a path that cleaning could change is invalid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricsPath(String);

impl MetricsPath {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for MetricsPath {
    fn default() -> Self {
        Self(METRICS.to_owned())
    }
}

impl fmt::Display for MetricsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MetricsPath {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let is_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_segment =
            |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(is_char);
        let valid = text.len() <= 253 && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment));
        valid.then(|| Self(text.to_owned())).ok_or_else(|| PlaceError::Path(text.to_owned()))
    }
}

/// A page of a server behind an aggregated API: `GROUP/VERSION/RESOURCE/NAME[/SUBRESOURCE]`. RBAC authorizes these four or
/// five segments (apiserver `pkg/endpoints/request/requestinfo.go`) and no more, so a page has no more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AggregatedPage(MetricsPath);

/// What RBAC compares in a request for a page.
pub struct AggregatedResource<'a> {
    pub group: &'a str,
    /// `kcm/metrics`
    pub resource: String,
    pub name: &'a str,
}

const APIS: &str = "/apis/";
/// EKS serves the metrics of its scheduler and of its controller manager here.
const EKS: &str = "metrics.eks.amazonaws.com";

impl AggregatedPage {
    pub fn path(&self) -> &str {
        self.0.as_str()
    }

    /// The page of a path that [`Self::path`] returned.
    pub fn of_path(path: &str) -> Option<Self> {
        path.strip_prefix(APIS)?.parse().ok()
    }

    /// What a role must grant.
    pub fn resource(&self) -> AggregatedResource<'_> {
        let mut segments = self.path()[APIS.len()..].split('/');
        let mut next = || segments.next().unwrap_or_default();
        let (group, _version, resource, name, subresource) = (next(), next(), next(), next(), next());
        let subresource = if subresource.is_empty() { String::new() } else { format!("/{subresource}") };
        AggregatedResource { group, resource: format!("{resource}{subresource}"), name }
    }

    /// The value of the `job` label: what kube-prometheus calls the components of the control plane that EKS shows, and
    /// otherwise the resource.
    pub fn job_label(&self) -> &str {
        let mut segments = self.path()[APIS.len()..].split('/');
        match (segments.next(), segments.nth(1).unwrap_or_default()) {
            (Some(EKS), "kcm") => "kube-controller-manager",
            (Some(EKS), "ksh") => "kube-scheduler",
            (_, resource) => resource,
        }
    }
}

/// `metrics.eks.amazonaws.com/v1/kcm/container/metrics`
impl fmt::Display for AggregatedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path()[APIS.len()..])
    }
}

impl FromStr for AggregatedPage {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let parsed = || {
            let segments: Vec<&str> = text.split('/').collect();
            let &[group, version, resource, ..] = &segments[..] else { return None };
            let is_length = matches!(segments.len(), 4 | 5);
            let is_group = group.contains('.') && group.split('.').all(is_dns_label);
            let is_version = version.starts_with('v') && is_dns_label(version);
            // With these words the rest of a path has another meaning.
            let is_resource = is_dns_label(resource) && !["namespaces", "proxy", "watch"].contains(&resource);
            (is_length && is_group && is_version && is_resource)
                .then(|| format!("{APIS}{text}").parse().ok().map(Self))?
        };
        parsed().ok_or_else(|| PlaceError::Aggregated(text.to_owned()))
    }
}

/// A series selector for `/federate`. The federated Prometheus checks its syntax, in the proof. Parsing rejects only
/// characters that a consumer of the jobs could misread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(String);

impl Selector {
    /// The default selectors: recording rules, which are few and meant for federation, and `up`, which exists even if
    /// there are no recording rules.
    pub fn defaults() -> Vec<Self> {
        vec![Self("{__name__=~\".+:.+\"}".to_owned()), Self("up".to_owned())]
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The selector as a value in the query of a URL.
    pub fn encoded(&self) -> String {
        query_value(&self.0)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Selector {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let trimmed = text.trim();
        let begins = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':' | '{');
        // vmagent replaces %{NAME} by a variable of its environment.
        let valid = trimmed.starts_with(begins) && !trimmed.contains(char::is_control) && !trimmed.contains("%{");
        valid.then(|| Self(trimmed.to_owned())).ok_or_else(|| PlaceError::Selector(text.to_owned()))
    }
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_a_literal_segment_of_the_url() {
        for (text, segment, instance) in [
            ("monitoring/shop:http", "shop:http", "shop.monitoring:http"),
            ("monitoring/https:shop:8443", "https:shop:8443", "shop.monitoring:8443"),
            ("n/https:8443", "https:8443", "https.n:8443"),
            ("n/https:https:https", "https:https:https", "https.n:https"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!((endpoint.segment().as_str(), endpoint.instance().as_str()), (segment, instance));
            assert_eq!(endpoint.to_string(), text);
        }
        for text in [
            "",
            "n",
            "n/s",
            "n/s:",
            "n/:80",
            "/s:80",
            "n/s:0",
            "n/s:080",
            "n/s:65536",
            "N/s:80",
            "n/S:80",
            "n/http:s:80",
            "n/s:80:90",
            "n/s:a_b",
            "n/../s:80",
            "n/s'||true||':80",
            "n/s:80\n",
            "n/https::80",
            "n/s:8*",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_that_cleaning_could_change_are_rejected() {
        for text in ["/metrics", "/m/x", "/actuator/prometheus", "/a-b_c.d/1"] {
            assert_eq!(text.parse::<MetricsPath>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "/",
            "metrics",
            "/metrics/",
            "//metrics",
            "/a//b",
            "/a/../b",
            "/..",
            "/a/.",
            "/a%2fb",
            "/a?b",
            "/a b",
            "/a'b",
            "/a$1",
            "/a\n",
            "/é",
            "/a*",
            "/a#b",
            "/a,b",
            "/a;b",
            "/a\\b",
        ] {
            assert!(text.parse::<MetricsPath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn selector_is_kept_unchanged() {
        let selector: Selector = " {job=\"a b\"} ".parse().unwrap();
        assert_eq!((selector.as_str(), selector.encoded().as_str()), ("{job=\"a b\"}", "%7Bjob%3D%22a%20b%22%7D"));
        for text in ["", " ", "1", "\"a\"", "up\nx", "up{a=\"%{HOME}\"}", "-up"] {
            assert!(text.parse::<Selector>().is_err(), "{text:?}");
        }
        for selector in Selector::defaults() {
            assert_eq!(selector.as_str().parse::<Selector>().unwrap(), selector);
        }
    }
}
