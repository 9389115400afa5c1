//! Kubernetes' label selectors: whether a selector selects an object, and which labels it requires
//! (`k8s.io/apimachinery/pkg/apis/meta/v1`, `LabelSelectorAsSelector`).

use serde_json::Value;
use std::collections::BTreeMap;

pub type Labels = BTreeMap<String, String>;

/// All requirements must hold. A selector without requirements selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    /// Also holds if the label is missing.
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

/// The value of a label that must exist with any value.
const ANY: &str = "true";

impl LabelSelector {
    /// From the field of an object. None if the field is absent, which differs from an empty selector.
    ///
    /// # Errors
    /// The part of the selector that is invalid.
    pub fn read(field: &Value) -> Result<Option<Self>, String> {
        let Some(field) = field.as_object() else {
            return if field.is_null() { Ok(None) } else { Err("it is not a selector".to_owned()) };
        };
        let mut requirements = Vec::new();
        for (key, value) in field.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().ok_or_else(|| format!("the label {key} has no value"))?;
            requirements.push(Requirement::In(key.clone(), vec![value.to_owned()]));
        }
        for expression in field.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let key = expression["key"].as_str().ok_or("an expression has no key")?.to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|value| value.as_str().map(str::to_owned)).collect();
            requirements.push(match expression["operator"].as_str() {
                Some("In") => Requirement::In(key, values),
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("Exists") => Requirement::Exists(key),
                Some("DoesNotExist") => Requirement::DoesNotExist(key),
                other => return Err(format!("unknown operator {}", other.unwrap_or_default())),
            });
        }
        Ok(Some(Self(requirements)))
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// `own`, unchanged, with the labels that this selector requires in addition.
    ///
    /// # Errors
    /// The requirement that conflicts with `own`.
    pub fn met_with(&self, own: &Labels) -> Result<Labels, String> {
        let mut labels = own.clone();
        for requirement in &self.0 {
            let candidates: &[String] = match requirement {
                Requirement::In(_, values) => values,
                Requirement::Exists(_) => &[ANY.to_owned()],
                Requirement::NotIn(..) | Requirement::DoesNotExist(_) => &[],
            };
            if requirement.holds(&labels) || own.contains_key(requirement.key()) {
                continue;
            }
            // A value that no other requirement on this label rejects.
            let fits = |value: &&String| {
                let with = Labels::from([(requirement.key().to_owned(), (*value).clone())]);
                self.0.iter().filter(|other| other.key() == requirement.key()).all(|other| other.holds(&with))
            };
            if let Some(value) = candidates.iter().find(fits) {
                labels.insert(requirement.key().to_owned(), value.clone());
            }
        }
        match self.0.iter().find(|requirement| !requirement.holds(&labels)) {
            None => Ok(labels),
            Some(unmet) => Err(unmet.to_string()),
        }
    }
}

impl Requirement {
    fn key(&self) -> &str {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::DoesNotExist(key) => key,
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key());
        match self {
            Self::In(_, values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(_, values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists(_) => value.is_some(),
            Self::DoesNotExist(_) => value.is_none(),
        }
    }
}

/// The syntax of `kubectl get --selector`.
impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::In(key, values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Self::In(key, values) => write!(f, "{key} in ({})", values.join(",")),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(",")),
            Self::Exists(key) => f.write_str(key),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn read(field: &Value) -> LabelSelector {
        LabelSelector::read(field).unwrap().unwrap()
    }

    #[test]
    fn absent_selector_selects_nothing_and_empty_selector_everything() {
        assert_eq!(LabelSelector::read(&Value::Null), Ok(None));
        let everything = read(&json!({}));
        assert!(everything.matches(&labels(&[])) && everything.matches(&labels(&[("a", "b")])));
        for garbage in [
            json!("a=b"),
            json!([]),
            json!({ "matchLabels": { "a": 1 } }),
            json!({ "matchExpressions": [{}] }),
            json!({ "matchExpressions": [{ "key": "a", "operator": "Near" }] }),
        ] {
            assert!(LabelSelector::read(&garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn required_labels_are_added_and_own_labels_stay() {
        let expression =
            |key: &str, operator: &str, values: &[&str]| json!({ "key": key, "operator": operator, "values": values });
        let expressions = |all: &[Value]| json!({ "matchExpressions": all });
        let ours = labels(&[("managed-by", "us")]);
        for (selector, expected) in [
            (json!({}), Ok(&[][..])),
            (json!({ "matchLabels": { "release": "kps" } }), Ok(&[("release", "kps")])),
            (json!({ "matchLabels": { "managed-by": "us" } }), Ok(&[])),
            (json!({ "matchLabels": { "managed-by": "Helm" } }), Err("managed-by=Helm")),
            (expressions(&[expression("team", "In", &["a", "b"])]), Ok(&[("team", "a")])),
            (
                expressions(&[expression("team", "In", &["a", "b"]), expression("team", "NotIn", &["a"])]),
                Ok(&[("team", "b")]),
            ),
            (expressions(&[expression("team", "Exists", &[])]), Ok(&[("team", "true")])),
            (expressions(&[expression("team", "Exists", &[]), expression("team", "In", &["x"])]), Ok(&[("team", "x")])),
            (expressions(&[expression("team", "DoesNotExist", &[])]), Ok(&[])),
            (expressions(&[expression("managed-by", "DoesNotExist", &[])]), Err("!managed-by")),
            (expressions(&[expression("managed-by", "NotIn", &["us", "them"])]), Err("managed-by notin (us,them)")),
            (expressions(&[expression("team", "In", &["a"]), expression("team", "NotIn", &["a"])]), Err("team=a")),
            (expressions(&[expression("team", "In", &[])]), Err("team in ()")),
        ] {
            let met = read(&selector).met_with(&ours);
            let expected = expected.map_err(str::to_owned).map(|more| {
                let mut all = ours.clone();
                all.extend(labels(more));
                all
            });
            assert_eq!(met, expected, "{selector}");
            if let Ok(met) = met {
                assert!(read(&selector).matches(&met), "{selector}");
            }
        }
    }
}
