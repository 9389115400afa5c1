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
    /// name and layout. It is empty before anything was delivered.
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

    /// Whether a Secret of `other` that a record at this destination names, with its UID, is this destination's own. That
    /// is so after a change of its host's name or of its path, which keep the `id`; after a change of the `id`, because
    /// its file was lost; and after a script has delivered printed jobs, whose destination `join` does not know. Another
    /// destination knows neither `id` nor UID.
    pub fn is_kin(&self, other: &Self) -> bool {
        let id = |identity: &Self| identity.0.rsplit_once('#').map(|(_, id)| id.to_owned()).filter(|id| !id.is_empty());
        *other == Self::printed() || self.shown() == other.shown() || id(self).is_some_and(|own| Some(own) == id(other))
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
        for (other, is_kin) in [
            (Identity::directory("prom-0", "/etc/prometheus", "b9d1"), true),
            (Identity::directory("prom-0", "/etc/prometheus", ""), true),
            (Identity::directory("prom-1", "/srv/prometheus", "x7k2"), true),
            (Identity::directory("prom-1", "/etc/prometheus", "b9d1"), false),
            (Identity::directory("prom-1", "/etc/prometheus", ""), false),
            (Identity::printed(), true),
        ] {
            assert_eq!(one.is_kin(&other), is_kin, "{other}");
        }
        assert!(!Identity::printed().is_kin(&one));
        let (before, elsewhere) = (Identity::directory("a", "/", ""), Identity::directory("b", "/", ""));
        assert!(!before.is_kin(&elsewhere), "no id is no common id");
        assert_eq!(Identity::printed().shown(), "stdout");
    }
}
