//! Kubernetes' label selectors: whether a selector selects an object, and which labels it requires
//! (`k8s.io/apimachinery/pkg/apis/meta/v1`, `LabelSelectorAsSelector`). Their text is that of `kubectl get --selector`
//! (`k8s.io/apimachinery/pkg/labels`, `Parse`).

use crate::model::text::names::is_dns_subdomain;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, str::FromStr};

pub type Labels = BTreeMap<String, String>;

/// All requirements must hold. A selector without requirements selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    /// Also holds if the label is missing.
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
    /// The value is an integer that is greater or less.
    Greater(String, i64),
    Less(String, i64),
}

/// Why a text is no selector of labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("is empty, and would select everything")]
    Empty,
    #[error("is longer than {LONGEST} bytes")]
    TooLong,
    #[error(
        "has the requirement '{0}', which is none of KEY, !KEY, KEY=VALUE, KEY!=VALUE, KEY in (VALUE,…), KEY notin (VALUE,…), KEY>NUMBER and KEY<NUMBER"
    )]
    Requirement(String),
    #[error("has '{0}', which is no key of a label")]
    Key(String),
    #[error("has '{0}', which is no value of a label")]
    Value(String),
}

/// It becomes a part of URLs.
const LONGEST: usize = 2048;

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
                Requirement::NotIn(..)
                | Requirement::DoesNotExist(_)
                | Requirement::Greater(..)
                | Requirement::Less(..) => &[],
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
            Self::In(key, _)
            | Self::NotIn(key, _)
            | Self::Exists(key)
            | Self::DoesNotExist(key)
            | Self::Greater(key, _)
            | Self::Less(key, _) => key,
        }
    }

    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(self.key());
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Self::In(_, values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(_, values) => value.is_none_or(|value| !values.contains(value)),
            Self::Exists(_) => value.is_some(),
            Self::DoesNotExist(_) => value.is_none(),
            Self::Greater(_, limit) => number().is_some_and(|number| number > *limit),
            Self::Less(_, limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

/// The canonical spelling.
impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let requirements: Vec<String> = self.0.iter().map(Requirement::to_string).collect();
        f.write_str(&requirements.join(","))
    }
}

impl FromStr for LabelSelector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        if text.len() > LONGEST {
            return Err(SelectorError::TooLong);
        }
        if text.trim().is_empty() {
            return Err(SelectorError::Empty);
        }
        // Between the parentheses of a set a comma separates values.
        let mut in_set = false;
        let separates = |c: char| {
            in_set = (in_set || c == '(') && c != ')';
            c == ',' && !in_set
        };
        text.split(separates).map(|part| part.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Requirement {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let no_requirement = || SelectorError::Requirement(text.to_owned());
        if let Some(key) = text.strip_prefix('!') {
            return Ok(Self::DoesNotExist(label_key(key)?));
        }
        let Some(end) = text.find(|c: char| c.is_whitespace() || "=!<>(),".contains(c)) else {
            return Ok(Self::Exists(label_key(text)?));
        };
        let (key, rest) = (label_key(&text[..end])?, text[end..].trim_start());
        let number = |text: &str| text.trim().parse::<i64>().map_err(|_| no_requirement());
        let set = |text: &str| {
            let values = text.trim_start().strip_prefix('(').and_then(|values| values.strip_suffix(')'));
            values.ok_or_else(no_requirement)?.split(',').map(label_value).collect::<Result<Vec<_>, _>>()
        };
        Ok(if let Some(value) = rest.strip_prefix("!=") {
            Self::NotIn(key, vec![label_value(value)?])
        } else if let Some(value) = rest.strip_prefix("==").or_else(|| rest.strip_prefix('=')) {
            Self::In(key, vec![label_value(value)?])
        } else if let Some(limit) = rest.strip_prefix('>') {
            Self::Greater(key, number(limit)?)
        } else if let Some(limit) = rest.strip_prefix('<') {
            Self::Less(key, number(limit)?)
        } else if let Some(values) = rest.strip_prefix("notin") {
            Self::NotIn(key, set(values)?)
        } else if let Some(values) = rest.strip_prefix("in") {
            Self::In(key, set(values)?)
        } else {
            return Err(no_requirement());
        })
    }
}

/// `[PREFIX/]NAME` (Kubernetes `apimachinery/pkg/util/validation`, `IsQualifiedName`).
fn label_key(text: &str) -> Result<String, SelectorError> {
    let text = text.trim();
    let is_key = match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_value(name) && !name.is_empty(),
        None => is_label_value(text) && !text.is_empty(),
    };
    is_key.then(|| text.to_owned()).ok_or_else(|| SelectorError::Key(text.to_owned()))
}

fn label_value(text: &str) -> Result<String, SelectorError> {
    let text = text.trim();
    is_label_value(text).then(|| text.to_owned()).ok_or_else(|| SelectorError::Value(text.to_owned()))
}

/// `IsValidLabelValue` of the same package.
fn is_label_value(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let is_text = text.starts_with(edge) && text.ends_with(edge);
    text.is_empty() || text.len() <= 63 && is_text && text.chars().all(|c| edge(c) || "-_.".contains(c))
}

impl TryFrom<String> for LabelSelector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, SelectorError> {
        text.parse()
    }
}

impl From<LabelSelector> for String {
    fn from(selector: LabelSelector) -> Self {
        selector.to_string()
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(key, values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Self::In(key, values) => write!(f, "{key} in ({})", values.join(",")),
            Self::NotIn(key, values) if values.len() == 1 => write!(f, "{key}!={}", values[0]),
            Self::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(",")),
            Self::Exists(key) => f.write_str(key),
            Self::DoesNotExist(key) => write!(f, "!{key}"),
            Self::Greater(key, limit) => write!(f, "{key}>{limit}"),
            Self::Less(key, limit) => write!(f, "{key}<{limit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use proptest::prelude::*;
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

    #[test]
    fn text_is_that_of_kubectl() {
        for (text, spelled) in [
            ("type!=virtual-kubelet", "type!=virtual-kubelet"),
            ("!eks.amazonaws.com/compute-type", "!eks.amazonaws.com/compute-type"),
            (" a  in ( b , c ) , d == e,f ", "a in (b,c),d=e,f"),
            ("a in (b)", "a=b"),
            ("a notin(b,c),d", "a notin (b,c),d"),
            ("a=", "a="),
            ("a in (b,)", "a in (b,)"),
            ("kubernetes.io/os = linux", "kubernetes.io/os=linux"),
            ("cores>3,cores < 9", "cores>3,cores<9"),
            ("! a", "!a"),
            ("in,notin in (in)", "in,notin=in"),
        ] {
            assert_eq!(text.parse::<LabelSelector>().map(|selector| selector.to_string()).as_deref(), Ok(spelled));
        }
        for (text, says) in [
            ("", "is empty"),
            (" ", "is empty"),
            ("a,", "'', which is no key"),
            ("!", "'', which is no key"),
            ("=a", "'', which is no key"),
            ("a b", "'a b', which is none of"),
            ("a in b", "'a in b', which is none of"),
            ("a in (b", "'a in (b', which is none of"),
            ("a in (b) c", "'a in (b) c', which is none of"),
            ("a=b=c", "'b=c', which is no value"),
            ("a=b c", "'b c', which is no value"),
            ("a={}", "'{}', which is no value"),
            ("a>b", "'a>b', which is none of"),
            ("A.B/c", "'A.B/c', which is no key"),
            ("a/b/c", "'a/b/c', which is no key"),
            ("a=-b", "'-b', which is no value"),
            ("ä=b", "'ä', which is no key"),
            (&"a".repeat(64), "which is no key"),
            (&"a,".repeat(2000), "is longer than"),
        ] {
            let error = text.parse::<LabelSelector>().unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn selectors_select_by_the_labels() {
        let node = labels(&[("type", "virtual-kubelet"), ("cores", "4")]);
        for (selector, does_match) in [
            ("type!=virtual-kubelet", false),
            ("type=virtual-kubelet,cores>3", true),
            ("cores<4", false),
            ("type>1", false),
            ("other!=x,!other", true),
            ("type in (a,virtual-kubelet)", true),
            ("type notin (a,virtual-kubelet)", false),
        ] {
            assert_eq!(selector.parse::<LabelSelector>().unwrap().matches(&node), does_match, "{selector}");
        }
    }

    proptest! {
        /// It goes into YAML, URLs and shell commands, each with its own quotes.
        #[test]
        fn accepted_text_is_written_back_and_has_no_quotes(text in "[a-z0-9A-Z/=!<>(), .'\"\\\\\n{}$%-]{0,40}") {
            if let Ok(selector) = text.parse::<LabelSelector>() {
                let spelled = selector.to_string();
                prop_assert_eq!(spelled.parse::<LabelSelector>().unwrap(), selector);
                prop_assert!(!spelled.contains(|c: char| c.is_control() || "'\"\\{}$%".contains(c)), "{}", spelled);
            }
        }
    }

    #[test]
    fn hostile_selectors_are_survived() {
        let examples = ["a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1,m<2", "a.b/c==d"];
        hostile::texts(&examples, |text| {
            if let Ok(selector) = text.parse::<LabelSelector>() {
                assert_eq!(selector.to_string().parse(), Ok(selector));
            }
        });
        let field = r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"In","values":["b","c"]},{"key":"d","operator":"Exists"}]}"#;
        hostile::texts(&[field], |text| {
            let read = serde_json::from_str(text).ok().and_then(|field| LabelSelector::read(&field).ok().flatten());
            if let Some(selector) = read
                && let Ok(labels) = selector.met_with(&Labels::from([("own".to_owned(), "x".to_owned())]))
            {
                assert!(selector.matches(&labels));
            }
        });
    }
}
