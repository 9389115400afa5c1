//! Which contexts of a kubeconfig a command line means.

use crate::{
    error::{Error, Reason, Result},
    model::text::{figures::counted, names::ClusterName, shell},
};
use std::{collections::BTreeMap, fmt};

/// A context, and the label of its cluster where one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenContext {
    pub name: String,
    pub label: Option<ClusterName>,
    /// The label otherwise, unless a destination has one for the cluster.
    pub derived: Option<ClusterName>,
}

/// What was typed and fits no context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchContext(pub String);

impl fmt::Display for NoSuchContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no context of the kubeconfig is called or matches {:?}", self.0)
    }
}

/// Whether a text is more than the name of one context: a pattern, or a pattern to leave out.
pub fn is_pattern(text: &str) -> bool {
    text.starts_with('^') || text.contains(['*', '?'])
}

/// The contexts that the patterns mean, each once: in the order of the patterns, and in that of `known` within one. `*`
/// stands for any text, `?` for any character, and `^` leaves out what follows it. Patterns that only leave out begin with
/// all contexts.
///
/// # Errors
/// The pattern that no context matches.
pub fn matching(patterns: &[String], known: &[String]) -> Result<Vec<String>, NoSuchContext> {
    let excluded: Vec<&str> = patterns.iter().filter_map(|pattern| pattern.strip_prefix('^')).collect();
    let included: Vec<&str> = patterns.iter().map(String::as_str).filter(|pattern| !pattern.starts_with('^')).collect();
    let included = if included.is_empty() { vec!["*"] } else { included };
    if let Some(unmatched) =
        included.iter().chain(&excluded).find(|pattern| !known.iter().any(|name| matches(pattern, name)))
    {
        return Err(NoSuchContext((*unmatched).to_owned()));
    }
    let mut chosen: Vec<String> = Vec::new();
    for pattern in included {
        for name in known.iter().filter(|name| matches(pattern, name)) {
            if !excluded.iter().any(|pattern| matches(pattern, name)) && !chosen.contains(name) {
                chosen.push(name.clone());
            }
        }
    }
    Ok(chosen)
}

/// The contexts of a file: one on each line, or `LABEL=CONTEXT`. Empty lines and those that begin with # are comments.
///
/// # Errors
/// The line that names no context.
pub fn listed(text: &str, known: &[String]) -> Result<Vec<ChosenContext>, NoSuchContext> {
    let is_known = |name: &str| known.iter().any(|known| known == name);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            // A context may have an = in its name.
            if is_known(line) {
                return Ok(ChosenContext { name: line.to_owned(), label: None, derived: None });
            }
            let labelled =
                line.split_once('=').and_then(|(label, name)| Some((label.trim().parse().ok()?, name.trim())));
            match labelled.filter(|(_, name)| is_known(name)) {
                Some((label, name)) => Ok(ChosenContext { name: name.to_owned(), label: Some(label), derived: None }),
                None => Err(NoSuchContext(line.to_owned())),
            }
        })
        .collect()
}

/// The contexts of a command by the cluster that each leads to.
#[derive(Debug, Default)]
pub struct ContextsOfClusters {
    /// By the UID of the cluster's kube-system.
    by_uid: BTreeMap<String, Vec<String>>,
    /// Those whose cluster is not known.
    unknown: BTreeMap<String, Error>,
}

impl ContextsOfClusters {
    /// From the contexts, each with the UID of its cluster.
    pub fn new(seen: impl IntoIterator<Item = (String, Result<String>)>) -> Self {
        let mut contexts = Self::default();
        for (name, uid) in seen {
            match uid {
                Ok(uid) => contexts.by_uid.entry(uid).or_default().push(name),
                Err(error) => drop(contexts.unknown.insert(name, error)),
            }
        }
        contexts
    }

    /// The context that leads to this cluster: the one that is preferred, or the first.
    ///
    /// # Errors
    /// That of the preferred context if its cluster is not known, or [`Reason::ContextNotFound`].
    pub fn leading_to(&self, uid: &str, preferred: &str) -> Result<&str> {
        if let Some(contexts) = self.by_uid.get(uid) {
            let own = contexts.iter().find(|name| *name == preferred);
            return Ok(own.unwrap_or(&contexts[0]));
        }
        if let Some(error) = self.unknown.get(preferred) {
            return Err(error.clone());
        }
        let count = self.by_uid.values().map(Vec::len).sum::<usize>() + self.unknown.len();
        let none = format!("none of the {} leads to this cluster", counted(count, "context"));
        let error = Error::new(Reason::ContextNotFound, none)
            .hint(format!("It was joined with the context {}: add --context NAME", shell::word(preferred)));
        let unknown: Vec<&str> = self.unknown.keys().map(String::as_str).collect();
        Err(if unknown.is_empty() { error } else { error.hint(format!("Not reached: {}", unknown.join(", "))) })
    }
}

/// Without backtracking further than to the last `*`, so no pattern takes long.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut of, mut star) = (0, 0, None);
    while at < name.len() {
        match pattern.get(of) {
            Some('*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(c) if *c == '?' || *c == name[at] => (at, of) = (at + 1, of + 1),
            _ => match star {
                Some((star_at, taken)) => {
                    (at, of) = (taken + 1, star_at + 1);
                    star = Some((star_at, taken + 1));
                }
                None => return false,
            },
        }
    }
    pattern[of..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn patterns_choose_contexts() {
        let known = texts(&["prod-a", "prod-b", "prod-old", "test", "arn:aws:eks:eu:1:cluster/x"]);
        for (patterns, chosen) in [
            (&["prod-*", "^prod-old"][..], &["prod-a", "prod-b"][..]),
            (&["test", "prod-?"], &["test", "prod-a", "prod-b"]),
            (&["prod-a", "*-a"], &["prod-a"]),
            (&["^prod-*"], &["test", "arn:aws:eks:eu:1:cluster/x"]),
            (&["arn:*:cluster/*"], &["arn:aws:eks:eu:1:cluster/x"]),
            (&["*"], &["prod-a", "prod-b", "prod-old", "test", "arn:aws:eks:eu:1:cluster/x"]),
            (&["test", "^test"], &[]),
        ] {
            assert_eq!(matching(&texts(patterns), &known), Ok(texts(chosen)), "{patterns:?}");
        }
        for patterns in [&["nowhere"][..], &["prod-*", "stage-*"], &["*", "^stage-*"], &["prod"]] {
            assert!(matching(&texts(patterns), &known).is_err(), "{patterns:?}");
        }
    }

    #[test]
    fn lines_name_contexts_and_labels() {
        let known = texts(&["admin@east", "a=b", "west"]);
        let (plain, labelled) = ("\n# all\n west \na=b\n", "east=admin@east\r\nb = a=b\n");
        let chosen = |name: &str, label: Option<&str>| ChosenContext {
            name: name.to_owned(),
            label: label.map(|label| label.parse().unwrap()),
            derived: None,
        };
        assert_eq!(listed(plain, &known), Ok(vec![chosen("west", None), chosen("a=b", None)]));
        assert_eq!(listed(labelled, &known), Ok(vec![chosen("admin@east", Some("east")), chosen("a=b", Some("b"))]));
        for bad in ["nowhere", "east=nowhere", "not a label=west", "=west"] {
            assert_eq!(listed(bad, &known), Err(NoSuchContext(bad.to_owned())));
        }
    }

    #[test]
    fn context_of_a_cluster_is_the_preferred_one_that_leads_to_it() {
        let lost = Error::new(Reason::Timeout, "no answer");
        let seen = [("a", Ok("1")), ("b", Ok("1")), ("c", Ok("2")), ("d", Err(lost))];
        let contexts = ContextsOfClusters::new(seen.map(|(name, uid)| (name.to_owned(), uid.map(str::to_owned))));
        for (uid, preferred, found) in [
            ("1", "b", Ok("b")),
            ("1", "elsewhere", Ok("a")),
            // A context may lead to another cluster by now.
            ("2", "a", Ok("c")),
            ("3", "d", Err(Reason::Timeout)),
            ("3", "a", Err(Reason::ContextNotFound)),
        ] {
            assert_eq!(contexts.leading_to(uid, preferred).map_err(|error| error.reason), found, "{uid} {preferred}");
        }
    }

    proptest! {
        #[test]
        fn name_matches_itself_with_any_part_as_a_star(name in "[a-z*?^/:.-]{0,12}", from in 0usize..12, to in 0usize..12) {
            let (from, to) = (from.min(name.len()), to.min(name.len()));
            let (from, to) = (from.min(to), from.max(to));
            let pattern = format!("{}*{}", &name[..from], &name[to..]);
            prop_assert!(matches(&pattern, &name), "{pattern}");
        }
    }
}
