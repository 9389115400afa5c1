//! The identity of a destination, as stored on a bound Secret.

use super::location::OPERATOR;
use std::fmt;

/// The destination of a bound Secret's token. Two destinations are the same only if their identities are equal, so that
/// a run never deletes the tokens of another destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(String);

impl Identity {
    /// Standard output: the destination of printed jobs is unknown.
    pub fn printed() -> Self {
        Self("stdout".to_owned())
    }

    /// A folder. Host and path are informative; `id`, made once and stored in the folder, distinguishes hosts of the same
    /// name and layout.
    pub fn directory(host: &str, folder: &str, id: &str) -> Self {
        Self(format!("directory://{host}{folder}#{id}"))
    }

    /// A Prometheus object. `hub`, the UID of its cluster's kube-system, distinguishes objects of the same name.
    pub fn operator(namespace: &str, name: &str, hub: &str) -> Self {
        Self(format!("{OPERATOR}{namespace}/{name}#{hub}"))
    }

    /// From an annotation. Text that an administrator wrote by hand equals no destination.
    pub fn read(annotation: &str) -> Self {
        Self(annotation.to_owned())
    }

    /// The text for users, without the distinguishing part.
    pub fn shown(&self) -> &str {
        self.0.rsplit_once('#').map_or(&self.0, |(shown, _)| shown)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_distinguishes_hosts_with_the_same_layout() {
        let one = Identity::directory("prom-0", "/etc/prometheus", "x7k2");
        assert_eq!(one.shown(), "directory://prom-0/etc/prometheus");
        assert_ne!(one, Identity::directory("prom-0", "/etc/prometheus", "b9d1"));
        assert_eq!(one, Identity::read(&one.to_string()));
        assert_eq!(Identity::printed().shown(), "stdout");
    }
}
