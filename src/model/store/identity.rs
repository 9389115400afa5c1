//! A destination as a bound Secret remembers it.

use super::location::OPERATOR;
use std::fmt;

/// What a bound Secret says of the place that its token went to. Two are the same destination only if they are equal:
/// nobody clears away another's tokens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(String);

impl Identity {
    /// Standard output: nobody knows where that went.
    pub fn printed() -> Self {
        Self("stdout".to_owned())
    }

    /// A folder. Host and path are for people; `id`, made once and kept in the folder, tells two hosts of one name and
    /// one layout apart.
    pub fn directory(host: &str, folder: &str, id: &str) -> Self {
        Self(format!("directory://{host}{folder}#{id}"))
    }

    /// A Prometheus object. `hub` is the UID of its cluster's kube-system, which tells two of one name apart.
    pub fn operator(namespace: &str, name: &str, hub: &str) -> Self {
        Self(format!("{OPERATOR}{namespace}/{name}#{hub}"))
    }

    /// As an annotation says it; what an administrator wrote there by hand is nobody's destination.
    pub fn read(annotation: &str) -> Self {
        Self(annotation.to_owned())
    }

    /// For people: without the part that only tells two of one name apart.
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
    fn two_hosts_with_one_layout_are_two_destinations() {
        let one = Identity::directory("prom-0", "/etc/prometheus", "x7k2");
        assert_eq!(one.shown(), "directory://prom-0/etc/prometheus");
        assert_ne!(one, Identity::directory("prom-0", "/etc/prometheus", "b9d1"));
        assert_eq!(one, Identity::read(&one.to_string()));
        assert_eq!(Identity::printed().shown(), "stdout");
    }
}
