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

/// The value of the `cluster` label and a part of job and file names:
/// up to 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(String);

impl ClusterName {
    /// The cluster name derived from a context: the last part of a path-like name (an EKS ARN). `-` replaces every
    /// character that a cluster name cannot have.
    pub fn from_context(context: &str) -> Option<Self> {
        let last = context.rsplit('/').next().unwrap_or(context);
        let mapped: String = last.chars().map(|c| if is_name_char(c) { c } else { '-' }).take(63).collect();
        mapped.trim_matches(|c: char| !c.is_ascii_alphanumeric()).parse().ok()
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
        let valid = text.len() <= 63
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
            ("default/api-crc-testing:6443/kubeadmin", Some("kubeadmin")),
            ("..", None),
            ("", None),
            ("東", None),
        ] {
            let named = ClusterName::from_context(context);
            assert_eq!(named.as_ref().map(ClusterName::as_str), name, "{context}");
        }
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
            if let Some(name) = ClusterName::from_context(&context) {
                prop_assert!(name.as_str().parse::<ClusterName>().is_ok());
            }
        }
    }
}
