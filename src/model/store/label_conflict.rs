//! Labels and UIDs that a destination knows already, against those of a join.

use crate::model::text::names::ClusterName;

/// What a new job must not do to the clusters that a destination knows already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// `--rename`: a cluster that is known under another label gets this one.
    pub rename: bool,
    /// `--replace`: another cluster may take over a label.
    pub replace: bool,
}

/// What a destination says about a label and a UID that are to go there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clash {
    /// The cluster is known under another label.
    KnownAs(ClusterName),
    /// The label belongs to another cluster, with this UID.
    TakenBy(String),
}

/// The clashes of a cluster with what is known, a list of labels and UIDs. A cluster may be known under two labels:
/// a run that was to rename it was killed.
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
    fn a_uid_keeps_its_label_and_a_label_its_uid() {
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
