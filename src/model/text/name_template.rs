//! Cluster names from what a kubeconfig says of their contexts.

use super::names::{ClusterName, Underivable};
use std::{fmt, str::FromStr};

/// What stands in braces in a template.
pub const PLACEHOLDERS: [&str; 4] = ["context", "cluster", "user", "namespace"];

/// What a kubeconfig says of a context: its name, and the names in its entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextEntry {
    pub context: String,
    pub cluster: String,
    pub user: String,
    /// Empty where the entry has none.
    pub namespace: String,
}

impl ContextEntry {
    fn value(&self, placeholder: &str) -> Option<&str> {
        Some(match placeholder {
            "context" => &self.context,
            "cluster" => &self.cluster,
            "user" => &self.user,
            "namespace" => &self.namespace,
            _ => return None,
        })
    }
}

/// Text with at least one of `{context}`, `{cluster}`, `{user}` and `{namespace}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameTemplate {
    /// Each text with the placeholder behind it.
    parts: Vec<(String, String)>,
    end: String,
}

impl NameTemplate {
    /// The cluster name. Each value comes in as [`ClusterName::from_context`] makes it, so that `{context}` alone is the
    /// name without a template.
    ///
    /// # Errors
    /// Why there is none, on one line.
    pub fn name(&self, entry: &ContextEntry) -> Result<ClusterName, String> {
        let mut name = String::new();
        for (text, placeholder) in &self.parts {
            let value = entry.value(placeholder).unwrap_or_default();
            let value = ClusterName::from_context(value).map_err(|why| match why {
                Underivable::Empty if value.is_empty() => format!("{{{placeholder}}} is empty"),
                Underivable::Empty => format!("{{{placeholder}}} has no letter or digit"),
                Underivable::TooLong => format!("{{{placeholder}}} is longer than 63 characters"),
            })?;
            name += text;
            name += value.as_str();
        }
        name += &self.end;
        name.parse().map_err(|error| format!("{name:?}: {error}"))
    }
}

impl FromStr for NameTemplate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const KNOWN: &str = "there are {context}, {cluster}, {user} and {namespace}";
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (placeholder, after) = after.split_once('}').ok_or_else(|| format!("a {{ has no }}; {KNOWN}"))?;
            if ContextEntry::default().value(placeholder).is_none() {
                return Err(format!("{{{placeholder}}} is no placeholder; {KNOWN}"));
            }
            parts.push((before.to_owned(), placeholder.to_owned()));
            rest = after;
        }
        if parts.is_empty() {
            return Err(format!("it has no placeholder; {KNOWN}"));
        }
        Ok(Self { parts, end: rest.to_owned() })
    }
}

impl fmt::Display for NameTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts.iter().try_for_each(|(text, placeholder)| write!(f, "{text}{{{placeholder}}}"))?;
        f.write_str(&self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use proptest::prelude::*;

    fn entry() -> ContextEntry {
        ContextEntry {
            context: "arn:aws:eks:eu-central-1:1:cluster/shop".to_owned(),
            cluster: "shop.example".to_owned(),
            user: "jane@example".to_owned(),
            namespace: String::new(),
        }
    }

    #[test]
    fn placeholders_stand_for_what_the_kubeconfig_says() {
        for (template, name) in [
            ("{context}", "shop"),
            ("prod-{context}", "prod-shop"),
            ("{cluster}_{user}.x", "shop.example_jane-example.x"),
            ("{context}{context}", "shopshop"),
        ] {
            let template: NameTemplate = template.parse().unwrap();
            assert_eq!(template.name(&entry()).unwrap().as_str(), name, "{template}");
        }
    }

    #[test]
    fn placeholders_are_known() {
        for name in PLACEHOLDERS {
            assert!(format!("{{{name}}}").parse::<NameTemplate>().is_ok(), "{name}");
        }
    }

    #[test]
    fn template_without_a_name_says_why() {
        for (template, why) in [
            ("x", "it has no placeholder; there are "),
            ("{context", "a { has no }; there are "),
            ("{Context}", "{Context} is no placeholder; there are {context}, "),
            ("{}", "{} is no placeholder"),
        ] {
            let error = template.parse::<NameTemplate>().unwrap_err();
            assert!(error.starts_with(why), "{template}: {error}");
        }
        for (template, why) in [
            ("{namespace}", "{namespace} is empty"),
            ("-{context}", "\"-shop\": a cluster name must be 1 to 63 letters"),
            ("{context}/x", "\"shop/x\": a cluster name must "),
        ] {
            let error = template.parse::<NameTemplate>().unwrap().name(&entry()).unwrap_err();
            assert!(error.starts_with(why), "{template}: {error}");
        }
    }

    proptest! {
        #[test]
        fn template_is_shown_as_it_was_typed(text in "[a-z{}-]{0,4}(\\{(context|user|cluster|namespace)\\}[a-z{}-]{0,4}){1,3}") {
            if let Ok(template) = text.parse::<NameTemplate>() {
                prop_assert_eq!(template.to_string(), text);
            }
        }
    }

    #[test]
    fn hostile_templates_and_contexts_are_survived() {
        hostile::texts(
            &["prod-{context}_{cluster}.{user}", "arn:aws:eks:x:1:cluster/{context}", "a/h:6443/b"],
            |text| {
                if let Ok(template) = text.parse::<NameTemplate>() {
                    assert_eq!(template.to_string(), text);
                    let _ = template.name(&entry());
                }
                if let Ok(name) = ClusterName::from_context(text) {
                    assert_eq!(name.as_str().parse(), Ok(name.clone()));
                }
            },
        );
    }
}
