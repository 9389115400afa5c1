//! Conflicts between the label and UID of a join and those that a destination knows.

use crate::model::text::names::ClusterName;

/// The conflicts that a join permits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// `--rename`: a cluster that is known under another label gets the new label.
    pub rename: bool,
    /// `--replace`: the cluster takes over the label of another cluster.
    pub replace: bool,
}

/// A conflict of a label and a UID with a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clash {
    /// The cluster is known under another label.
    KnownAs(ClusterName),
    /// The label belongs to another cluster, with this UID.
    TakenBy(String),
}

/// The conflicts of a cluster with the labels and UIDs that a destination knows. A cluster may be known under two labels
/// after a killed rename.
pub fn clashes<'a>(
    cluster: &ClusterName,
    uid: &str,
    known: impl IntoIterator<Item = (&'a ClusterName, &'a str)>,
) -> Vec<Clash> {
    known
        .into_iter()
        .filter_map(|(label, known_uid)| match (label == cluster, known_uid == uid) {
            (true, false) => Some(Clash::TakenBy(known_uid.to_owned())),
            (false, true) => Some(Clash::KnownAs(label.clone())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_and_uid_conflicts_are_detected() {
        let name = |text: &str| text.parse::<ClusterName>().unwrap();
        let known = [(name("east"), "1"), (name("west"), "2")];
        let clashes = |cluster: &str, uid| clashes(&name(cluster), uid, known.iter().map(|(name, uid)| (name, *uid)));
        assert_eq!(clashes("east", "1"), []);
        assert_eq!(clashes("north", "3"), []);
        assert_eq!(clashes("north", "1"), [Clash::KnownAs(name("east"))]);
        assert_eq!(clashes("east", "3"), [Clash::TakenBy("1".into())]);
        assert_eq!(clashes("west", "1"), [Clash::KnownAs(name("east")), Clash::TakenBy("2".into())]);
    }
}
