//! Names that are safe in YAML, shell, regular expressions, PromQL, CEL and paths.
//!
//! The alphabet makes them safe: parsing rejects a value that could need escaping.

use std::{fmt, str::FromStr};

/// Why a name is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must {rule}")]
pub struct NameError {
    what: &'static str,
    rule: &'static str,
}

/// A cluster name is a part of file names and, as a label's value, of Kubernetes objects.
const LONGEST: usize = 63;

/// Why a context yields no cluster name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underivable {
    /// It has no letter or digit of a name.
    Empty,
    /// It is longer than 63 characters.
    TooLong,
}

/// The value of the `cluster` label and a part of job and file names:
/// up to 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    /// The cluster name derived from a context: of `NAMESPACE/HOST:PORT/USER` (`oc login`) the middle, of
    /// another path-like name (an EKS ARN) the last part. `-` replaces every character that a cluster name cannot have.
    ///
    /// # Errors
    /// Nothing is cut off: the ends of long names tell clusters apart.
    pub fn from_context(context: &str) -> Result<Self, Underivable> {
        let parts: Vec<&str> = context.split('/').collect();
        let has_port = |host: &str| {
            host.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        let part = match &parts[..] {
            [_, host, _] if has_port(host) => host,
            _ => parts.last().copied().unwrap_or(context),
        };
        let mapped: String = part.chars().map(|c| if is_name_char(c) { c } else { '-' }).collect();
        let name = mapped.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        match name.len() {
            0 => Err(Underivable::Empty),
            1..=LONGEST => name.parse().map_err(|_| Underivable::Empty),
            _ => Err(Underivable::TooLong),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

impl FromStr for ClusterName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let valid = text.len() <= LONGEST
            && text.chars().all(is_name_char)
            && edge(text.chars().next())
            && edge(text.chars().next_back());
        valid.then(|| Self(text.to_owned())).ok_or(NameError {
            what: "a cluster name",
            rule: "be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends",
        })
    }
}

/// A DNS-1123 label (namespace names): Kubernetes `apimachinery/pkg/util/validation`, `IsDNS1123Label`.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&text.len())
        && text.chars().all(|c| inner(c) || c == '-')
        && text.starts_with(inner)
        && text.ends_with(inner)
}

/// A DNS-1123 subdomain (`ServiceAccount` and node names), at most 253 characters: `IsDNS1123Subdomain`.
/// Unlike a DNS label its parts have no length of their own.
pub fn is_dns_subdomain(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text
            .split('.')
            .all(|part| part.starts_with(inner) && part.ends_with(inner) && part.chars().all(|c| inner(c) || c == '-'))
}

/// A Kubernetes namespace name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(String);

impl Namespace {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        is_dns_label(text).then(|| Self(text.to_owned())).ok_or(NameError {
            what: "a namespace",
            rule: "be 1 to 63 lower-case letters, digits or '-', with a letter or digit at both ends",
        })
    }
}

/// A `ServiceAccount` name, short enough that the cluster-scoped names made of it stay within 253 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountName(String);

impl AccountName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        (text.len() <= 169 && is_dns_subdomain(text))
            .then(|| Self(text.to_owned()))
            .ok_or(NameError {
                what: "a service account name",
                rule: "be 1 to 169 lower-case letters, digits, '-' or '.', with a letter or digit at both ends of each part",
            })
    }
}

macro_rules! shown_as_is {
    ($($name:ty),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
shown_as_is!(ClusterName, Namespace, AccountName);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cluster_name_is_derived_from_the_context() {
        for (context, name) in [
            ("east", Some("east")),
            ("kubernetes-admin@kubernetes", Some("kubernetes-admin-kubernetes")),
            ("arn:aws:eks:eu-west-1:1234:cluster/shop", Some("shop")),
            ("gke_project_europe-west1_shop", Some("gke_project_europe-west1_shop")),
            ("default/api-crc-testing:6443/kubeadmin", Some("api-crc-testing-6443")),
            ("default/api-shop-example-com:6443/kube:admin", Some("api-shop-example-com-6443")),
            ("/api-shop-example-com:6443/kube:admin", Some("api-shop-example-com-6443")),
            ("teleport.example.com/shop", Some("shop")),
            ("a/b/c", Some("c")),
            ("user@cluster.example.com:443", Some("user-cluster.example.com-443")),
            ("..", None),
            ("", None),
            ("東", None),
            ("//", None),
        ] {
            let named = ClusterName::from_context(context);
            assert_eq!(named.as_ref().ok().map(ClusterName::as_str), name, "{context}");
        }
        let gke = format!("gke_project-of-the-company_europe-west1_production-cluster-{}-2025", "x".repeat(20));
        assert_eq!(ClusterName::from_context(&gke), Err(Underivable::TooLong));
        assert_eq!(ClusterName::from_context(&format!("--{}--", "a".repeat(63))).unwrap().as_str(), "a".repeat(63));
    }

    #[test]
    fn names_that_could_inject_are_rejected() {
        for text in ["", "a b", "a\nb", "a'b", "$(x)", "a/b", "..", "-a", "a\"", "é", &"a".repeat(64)] {
            assert!(text.parse::<ClusterName>().is_err(), "{text:?}");
        }
        for text in ["", "A", "a.b", "a_b", "-a", "a-", &"a".repeat(64)] {
            assert!(text.parse::<Namespace>().is_err(), "{text:?}");
        }
        for text in ["", "A", "a..b", ".a", "a_b", &"a".repeat(170)] {
            assert!(text.parse::<AccountName>().is_err(), "{text:?}");
        }
        assert!("a.b-c".parse::<AccountName>().is_ok());
    }

    proptest! {
        #[test]
        fn cluster_name_from_any_context_is_valid(context in ".*") {
            if let Ok(name) = ClusterName::from_context(&context) {
                prop_assert!(name.as_str().parse::<ClusterName>().is_ok());
            }
        }
    }
}
