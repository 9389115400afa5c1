//! As much of CEL as the policies of the fence and of renewals are written in. What the expressions mean to a real API
//! server is proven there (`tests/e2e`); here they must only tell the same requests apart.

use serde_json::Value;

/// Why a policy refuses a request that it is about.
pub(crate) fn refusal(spec: &Value, operation: &str, resource: &str, context: &Value) -> Option<String> {
    let has = |rule: &Value, key: &str, value: &str| {
        rule[key].as_array().is_some_and(|all| all.iter().any(|one| one == value))
    };
    let rules = spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten();
    if !rules.into_iter().any(|rule| has(rule, "operations", operation) && has(rule, "resources", resource)) {
        return None;
    }
    let is_met = |condition: &Value| holds(condition["expression"].as_str().unwrap_or_default(), context);
    if !spec["matchConditions"].as_array().into_iter().flatten().all(is_met) {
        return None;
    }
    let mut validations = spec["validations"].as_array().into_iter().flatten();
    let broken = validations.find(|one| !is_met(one))?;
    Some(broken["message"].as_str().unwrap_or_default().to_owned())
}

/// `A && B`, or `(A && B) || (C)`.
fn holds(expression: &str, context: &Value) -> bool {
    if expression.contains(") || (") {
        let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(expression);
        return inner.split(") || (").any(|clause| holds(clause, context));
    }
    expression.split(" && ").all(|atom| is_true(atom, context))
}

fn is_true(atom: &str, context: &Value) -> bool {
    let field = |path: &str| context.pointer(&format!("/{}", path.replace('.', "/"))).filter(|value| !value.is_null());
    let text = |path: &str| field(path).and_then(Value::as_str).unwrap_or_default();
    let call = |name: &str| {
        let (path, argument) = atom.split_once(&format!(".{name}('"))?;
        Some((path, argument.strip_suffix("')")?))
    };
    if atom == "true" || atom == "false" {
        return atom == "true";
    }
    if let Some(path) = atom.strip_prefix("has(").and_then(|rest| rest.strip_suffix(')')) {
        return field(path).is_some_and(|value| value != "");
    }
    if let Some((path, part)) = call("contains") {
        return match path.strip_prefix('!') {
            Some(path) => !text(path).contains(part),
            None => text(path).contains(part),
        };
    }
    if let Some((path, pattern)) = call("matches") {
        return regex::Regex::new(pattern).expect("a pattern").is_match(text(path));
    }
    if let Some((path, list)) = atom.split_once(" in ") {
        return literal(list).as_array().expect("a list").iter().any(|one| Some(one) == field(path));
    }
    if let Some((path, most)) = atom.split_once(" <= ") {
        return field(path).and_then(Value::as_u64) <= Some(most.parse().expect("a number"));
    }
    if let Some((path, value)) = atom.split_once(" == ") {
        return Some(&literal(value)) == field(path);
    }
    panic!("this is no CEL that the fake understands: {atom}");
}

/// A text, or a list of texts.
fn literal(cel: &str) -> Value {
    let unescaped = |text: &str| {
        let mut parts = text.split("\\U");
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let (code, rest) = part.split_at(8);
            let code = u32::from_str_radix(code, 16).ok().and_then(char::from_u32).expect("a code point");
            format!("{text}{code}{rest}")
        })
    };
    let quoted = |text: &str| Value::String(unescaped(text.trim_matches('\'')));
    match cel.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        None => quoted(cel),
        Some("") => Value::Array(Vec::new()),
        Some(list) => Value::Array(list.split(", ").map(quoted).collect()),
    }
}
