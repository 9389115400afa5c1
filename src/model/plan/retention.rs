//! Retention: the old generations and bound Secrets to delete after a new generation is in place.

use crate::model::{
    store::{identity::Identity, layout::Generation, record::SecretRecord},
    token::bound_secret::BoundSecret,
};
use std::collections::BTreeMap;

/// Whether a copy of the destination replaced the token of a cluster: all Secrets of its generations here are gone, and
/// one with this identity exists. The copy is on a machine with the same ID, or with an unknown one.
pub fn is_replaced_by_a_copy(
    generations: &BTreeMap<Generation, Option<SecretRecord>>,
    identity: &Identity,
    secrets: &[BoundSecret],
) -> bool {
    let mut recorded = generations.values().flatten().peekable();
    let exists =
        |record: &SecretRecord| secrets.iter().any(|secret| secret.name == record.name && secret.uid == record.uid);
    recorded.peek().is_some() && !recorded.any(exists) && secrets.iter().any(|secret| identity.is(&secret.destination))
}

/// The old generations and Secrets to delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retirement {
    /// Deleting one revokes its token.
    pub secrets: Vec<BoundSecret>,
    pub generations: Vec<Generation>,
}

/// The generations of a cluster at a destination, and those that must stay.
pub struct RetentionInput<'a> {
    /// All generations with a folder, each with its Secret if its record names one.
    pub generations: &'a BTreeMap<Generation, Option<SecretRecord>>,
    /// The generations in use: the live one, and the previous one unless Prometheus verifiably stopped using it.
    pub in_use: &'a [Generation],
    pub identity: &'a Identity,
}

impl Retirement {
    /// `secrets`: the account's bound Secrets in the cluster. A Secret is deleted if it belongs to this destination by its
    /// annotation, and if no generation in use needs it. A killed run leaves such Secrets. A record names the Secrets of
    /// an earlier identity; of another destination's Secret it says nothing, because others may write records.
    pub fn new(input: &RetentionInput, secrets: &[BoundSecret]) -> Self {
        let is_used = |generation: &Generation| input.in_use.contains(generation);
        let used: Vec<&SecretRecord> = input
            .generations
            .iter()
            .filter(|(generation, _)| is_used(generation))
            .filter_map(|(_, secret)| secret.as_ref())
            .collect();
        let is = |secret: &BoundSecret, record: &SecretRecord| secret.name == record.name && secret.uid == record.uid;
        let was_ours = |secret: &BoundSecret| {
            input.identity.is(&secret.destination)
                || input.identity.is_kin(&secret.destination)
                    && input.generations.values().flatten().any(|record| is(secret, record))
        };
        Self {
            secrets: secrets
                .iter()
                .filter(|secret| was_ours(secret) && !used.iter().any(|record| is(secret, record)))
                .cloned()
                .collect(),
            generations: input.generations.keys().filter(|generation| !is_used(generation)).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u8) -> Generation {
        format!("20261125t10150{number}z-x7k2").parse().unwrap()
    }

    fn secret(name: &str, destination: &Identity) -> BoundSecret {
        BoundSecret {
            name: name.into(),
            uid: format!("uid-{name}"),
            destination: destination.clone(),
            expires: None,
            terms: None,
        }
    }

    fn record(name: &str) -> SecretRecord {
        SecretRecord { name: name.into(), uid: format!("uid-{name}") }
    }

    /// The deleted ones of the Secrets a to d in the cluster and the generations 1 to 3.
    fn retired(in_use: &[u8], generations: &[(u8, Option<SecretRecord>)]) -> String {
        let ours = Identity::directory("prom-0", "/etc/prometheus", "x7k2", Some("m-1"));
        let other = Identity::directory("prom-1", "/etc/prometheus", "b9d1", None);
        let generations = generations.iter().map(|(number, secret)| (generation(*number), secret.clone())).collect();
        let in_use: Vec<Generation> = in_use.iter().copied().map(generation).collect();
        let input = RetentionInput { generations: &generations, in_use: &in_use, identity: &ours };
        let moved = Identity::directory("prom-1", "/srv/prometheus", "x7k2", None);
        let secrets = [
            secret("a", &ours),
            secret("b", &ours),
            secret("c", &ours),
            secret("moved", &moved),
            secret("other", &other),
            secret("original", &Identity::directory("prom-0", "/etc/prometheus", "x7k2", Some("m-0"))),
        ];
        let retirement = Retirement::new(&input, &secrets);
        let names: Vec<&str> = retirement.secrets.iter().map(|secret| secret.name.as_str()).collect();
        format!("{} and {} generations", names.join(" "), retirement.generations.len())
    }

    #[test]
    fn copy_is_seen_by_the_token_that_it_replaced() {
        let ours = Identity::directory("prom-0", "/etc/prometheus", "x7k2", Some("a"));
        let elsewhere = Identity::directory("prom-0", "/etc/prometheus", "x7k2", Some("b"));
        for (what, generations, secrets, expected) in [
            ("not joined yet", vec![], vec![secret("b", &ours)], false),
            (
                "a run was killed",
                vec![(generation(1), Some(record("a")))],
                vec![secret("a", &ours), secret("b", &ours)],
                false,
            ),
            ("the Secret was deleted", vec![(generation(1), Some(record("a")))], vec![], false),
            ("replaced", vec![(generation(1), Some(record("a")))], vec![secret("b", &ours)], true),
            ("another machine", vec![(generation(1), Some(record("a")))], vec![secret("b", &elsewhere)], false),
        ] {
            let generations = generations.into_iter().collect();
            assert_eq!(is_replaced_by_a_copy(&generations, &ours, &secrets), expected, "{what}");
        }
    }

    #[test]
    fn retention_keeps_generations_in_use_and_foreign_secrets() {
        for (what, in_use, generations, expected) in [
            ("seen", &[2][..], &[(1, Some(record("a"))), (2, Some(record("b")))][..], "a c and 1 generations"),
            ("not seen", &[1, 2], &[(1, Some(record("a"))), (2, Some(record("b")))], "c and 0 generations"),
            (
                "never seen before",
                &[2, 3],
                &[(1, Some(record("a"))), (2, Some(record("b"))), (3, Some(record("c")))],
                "a and 1 generations",
            ),
            ("renewed by itself", &[2], &[(1, Some(record("a"))), (2, Some(record("a")))], "b c and 1 generations"),
            ("a record is missing", &[2], &[(1, None), (2, Some(record("b")))], "a c and 1 generations"),
            ("left", &[], &[(1, Some(record("a")))], "a b c and 1 generations"),
            (
                "a recorded one of an older identity",
                &[2],
                &[(1, Some(record("moved"))), (2, Some(record("a")))],
                "b c moved and 1 generations",
            ),
            (
                "a planted one of another destination",
                &[2],
                &[(1, Some(record("other"))), (2, Some(record("a")))],
                "b c and 1 generations",
            ),
            (
                "a copy's, of another machine",
                &[2],
                &[(1, Some(record("original"))), (2, Some(record("a")))],
                "b c and 1 generations",
            ),
        ] {
            assert_eq!(retired(in_use, generations), expected, "{what}");
        }
    }
}
