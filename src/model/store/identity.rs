//! The identity of a destination, as stored on a bound Secret.

use super::location::OPERATOR;
use std::fmt;

/// The destination of a bound Secret's token. A run never deletes the tokens of another destination, nor those of a copy
/// of its own folder on another machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity(String);

impl Identity {
    /// Standard output: the destination of printed jobs is unknown.
    pub fn printed() -> Self {
        Self("stdout".to_owned())
    }

    /// No destination: a run that removes the account, [`crate::stages::leaving`].
    pub fn leaving() -> Self {
        Self("leave".to_owned())
    }

    /// A folder. Host and path are informative; `id`, made once and stored in the folder, distinguishes hosts of the same
    /// name and layout. It is empty before anything was delivered. `machine`, a hash, distinguishes copies of the folder,
    /// as in a cloned host; none where it is unknown.
    pub fn directory(host: &str, folder: &str, id: &str, machine: Option<&str>) -> Self {
        let machine = machine.map(|machine| format!("@{machine}")).unwrap_or_default();
        Self(format!("directory://{host}{folder}#{id}{machine}"))
    }

    /// A Prometheus object. `hub`, the UID of its cluster's kube-system, distinguishes objects of the same name.
    pub fn operator(namespace: &str, name: &str, hub: &str) -> Self {
        Self(format!("{OPERATOR}{namespace}/{name}#{hub}"))
    }

    /// From an annotation. Text that an administrator wrote by hand equals no destination.
    pub fn read(annotation: &str) -> Self {
        Self(annotation.to_owned())
    }

    /// Whether both are one destination: they differ at most in that one does not know its machine.
    pub fn is(&self, other: &Self) -> bool {
        let (own, others) = (self.parts(), other.parts());
        (own.0, own.1) == (others.0, others.1) && are_one_machine(own.2, others.2)
    }

    /// Whether a Secret of `other` that a record at this destination names, with its UID, is this destination's own. That
    /// is so after a change of its host's name or of its path, which keep the `id`; after a change of the `id`, because
    /// its file was lost; and after a script has delivered printed jobs, whose destination `join` does not know. Another
    /// destination knows neither `id` nor UID, and a copy of the folder is on another machine.
    pub fn is_kin(&self, other: &Self) -> bool {
        let (own, others) = (self.parts(), other.parts());
        let has_its_id = own.1.is_some() && own.1 == others.1;
        *other == Self::printed() || (own.0 == others.0 || has_its_id) && are_one_machine(own.2, others.2)
    }

    /// Whether `other` is a folder of which this is a copy, or the reverse: they have one `id`.
    pub fn is_copy(&self, other: &Self) -> bool {
        let (own, others) = (self.parts(), other.parts());
        own.1.is_some() && own.1 == others.1 && !self.0.starts_with(OPERATOR)
    }

    pub fn machine(&self) -> Option<&str> {
        self.parts().2
    }

    /// Whether a folder that notes this machine is known to be on another one.
    pub fn is_away_from(&self, machine: Option<&str>) -> bool {
        !are_one_machine(self.parts().2, machine)
    }

    /// The text for users, without the distinguishing part.
    pub fn shown(&self) -> &str {
        self.parts().0
    }

    /// The text for users, the `id` and the machine.
    fn parts(&self) -> (&str, Option<&str>, Option<&str>) {
        let Some((shown, rest)) = self.0.rsplit_once('#') else { return (&self.0, None, None) };
        let (id, machine) = rest.split_once('@').map_or((rest, None), |(id, machine)| (id, Some(machine)));
        (shown, Some(id).filter(|id| !id.is_empty()), machine)
    }
}

/// A machine that is not known may be any.
fn are_one_machine(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_none_or(|(one, other)| one == other)
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
    fn copies_of_a_folder_are_told_apart_by_their_machines() {
        let on = |machine, id| Identity::directory("prom-0", "/etc/prometheus", id, machine);
        let (original, unknown) = (on(Some("a"), "x7k2"), on(None, "x7k2"));
        assert_eq!(original.to_string(), "directory://prom-0/etc/prometheus#x7k2@a");
        for (other, is, is_kin, is_copy) in [
            (on(Some("a"), "x7k2"), true, true, true),
            (unknown.clone(), true, true, true),
            (on(Some("b"), "x7k2"), false, false, true),
            (on(Some("a"), "b9d1"), false, true, false),
            (on(Some("b"), "b9d1"), false, false, false),
            (Identity::printed(), false, true, false),
        ] {
            let found = (original.is(&other), original.is_kin(&other), original.is_copy(&other));
            assert_eq!(found, (is, is_kin, is_copy), "{other}");
        }
        assert!(unknown.is(&original) && unknown.is_kin(&on(Some("b"), "x7k2")));
        assert!(original.is_away_from(Some("b")) && !original.is_away_from(None) && !unknown.is_away_from(Some("b")));
        let hub = Identity::operator("hub", "kps", "uid");
        assert!(hub.is(&hub) && !hub.is_copy(&hub));
    }

    #[test]
    fn identity_distinguishes_hosts_with_the_same_layout() {
        let one = Identity::directory("prom-0", "/etc/prometheus", "x7k2", None);
        assert_eq!(one.shown(), "directory://prom-0/etc/prometheus");
        assert_ne!(one, Identity::directory("prom-0", "/etc/prometheus", "b9d1", None));
        assert_eq!(one, Identity::read(&one.to_string()));
        for (other, is_kin) in [
            (Identity::directory("prom-0", "/etc/prometheus", "b9d1", None), true),
            (Identity::directory("prom-0", "/etc/prometheus", "", None), true),
            (Identity::directory("prom-1", "/srv/prometheus", "x7k2", None), true),
            (Identity::directory("prom-1", "/etc/prometheus", "b9d1", None), false),
            (Identity::directory("prom-1", "/etc/prometheus", "", None), false),
            (Identity::printed(), true),
        ] {
            assert_eq!(one.is_kin(&other), is_kin, "{other}");
        }
        assert!(!Identity::printed().is_kin(&one));
        let (before, elsewhere) = (Identity::directory("a", "/", "", None), Identity::directory("b", "/", "", None));
        assert!(!before.is_kin(&elsewhere), "no id is no common id");
        assert_eq!(Identity::printed().shown(), "stdout");
    }
}
