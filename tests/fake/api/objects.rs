//! Objects: server-side apply, lists, deletion.

use super::{Answer, Lack, State, target::Target};
use http::StatusCode;
use prom_federate::model::kube::label_selector::LabelSelector;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

impl State {
    /// Server-side apply, where a list is one field.
    pub(super) fn apply(
        &mut self,
        target: &Target,
        manifest: &Value,
        manager: &str,
        is_dry_run: bool,
    ) -> Result<Value, Answer> {
        let path = target.path();
        if let Some(namespace) = &target.namespace {
            let around = Target::parse(&format!("/api/v1/namespaces/{namespace}")).expect("a path");
            let around = self.objects.get(&around.path()).ok_or_else(|| around.not_found())?;
            if !around["metadata"]["deletionTimestamp"].is_null() && !self.objects.contains_key(&path) {
                let why = format!(
                    "is forbidden: unable to create new content in namespace {namespace} because it is being terminated"
                );
                return Err(target.refused(StatusCode::FORBIDDEN, "Forbidden", &why));
            }
        }
        let fields = leaves(manifest);
        let stored = self.objects.get(&path);
        if let Some(stored) = stored {
            for ((_, other), theirs) in self.owned.iter().filter(|((one, other), _)| *one == path && other != manager) {
                let conflict = fields.iter().find(|(field, value)| {
                    theirs.contains(*field) && stored.pointer(field).is_some_and(|stored| stored != *value)
                });
                if let Some((field, _)) = conflict {
                    let why =
                        format!("Apply failed with 1 conflict: conflict with \"{other}\": {}", field.replace('/', "."));
                    return Err(Answer::refusal(StatusCode::CONFLICT, "Conflict", &why, &json!({})));
                }
            }
        }
        let key = (path.clone(), manager.to_owned());
        let before = self.owned.get(&key).cloned().unwrap_or_default();
        let gone: Vec<&String> = before
            .iter()
            .filter(|field| !fields.contains_key(*field))
            .filter(|field| {
                !self
                    .owned
                    .iter()
                    .any(|((one, other), theirs)| *one == path && other != manager && theirs.contains(*field))
            })
            .collect();
        let mut object = stored.cloned().unwrap_or_else(|| {
            json!({ "metadata": {
                "uid": format!("uid-{}", self.count + 1),
                "creationTimestamp": self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
                "managedFields": [],
            } })
        });
        for field in gone {
            if let Some((parent, last)) = field.rsplit_once('/')
                && let Some(Value::Object(parent)) = object.pointer_mut(parent)
            {
                parent.remove(&last.replace("~1", "/").replace("~0", "~"));
            }
        }
        merge(&mut object, manifest);
        let managers = object["metadata"]["managedFields"].as_array_mut().expect("a list");
        if !managers.iter().any(|entry| entry["manager"] == manager) {
            managers.push(json!({ "manager": manager, "operation": "Apply" }));
        }
        object["kind"] = json!(target.kind());
        object["apiVersion"] = json!(target.root.trim_start_matches("/apis/").trim_start_matches("/api/"));
        if let Some(namespace) = &target.namespace {
            object["metadata"]["namespace"] = json!(namespace);
        }
        if is_dry_run {
            return Ok(object);
        }
        if stored != Some(&object) {
            object["metadata"]["resourceVersion"] = json!(self.count().to_string());
        }
        if object["type"] == "kubernetes.io/service-account-token" && !self.lacks.contains(&Lack::TokenController) {
            self.fill_in(target, &mut object);
        }
        self.owned.insert(key, fields.into_keys().collect());
        self.objects.insert(path, object.clone());
        Ok(object)
    }

    pub(super) fn delete(&mut self, target: &Target, options: &Value) -> Result<Answer, Answer> {
        let path = target.path();
        let object = self.objects.get(&path).ok_or_else(|| target.not_found())?.clone();
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != object["metadata"]["uid"] {
            return Err(target.refused(StatusCode::CONFLICT, "Conflict", "the UID in the precondition does not match"));
        }
        let version = &options["preconditions"]["resourceVersion"];
        if !version.is_null() && *version != object["metadata"]["resourceVersion"] {
            let why = "the ResourceVersion in the precondition does not match";
            return Err(target.refused(StatusCode::CONFLICT, "Conflict", why));
        }
        if options["dryRun"] != json!(["All"]) {
            if object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()) {
                let object = self.objects.get_mut(&path).expect("it is there");
                object["metadata"]["deletionTimestamp"] = json!("2026-11-29T00:00:00Z");
            } else {
                self.remove(&path);
            }
        }
        Ok(Answer::json(200, &object))
    }

    pub(super) fn list(&self, target: &Target, query: &BTreeMap<String, String>) -> Answer {
        let matching: Vec<&Value> = self
            .objects
            .iter()
            .filter(|(path, _)| {
                Target::parse(path).is_some_and(|one| {
                    one.root == target.root
                        && one.resource == target.resource
                        && (target.namespace.is_none() || one.namespace == target.namespace)
                })
            })
            .map(|(_, object)| object)
            .filter(|object| query.get("labelSelector").is_none_or(|selector| is_selected(selector, object)))
            .filter(|object| {
                let name = query.get("fieldSelector").and_then(|selector| selector.strip_prefix("metadata.name="));
                name.is_none_or(|name| object["metadata"]["name"] == name)
            })
            .collect();
        let from = query.get("continue").and_then(|from| from.parse().ok()).unwrap_or(0);
        let limit = query.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
        let page: Vec<&Value> = matching.iter().skip(from).take(limit).copied().collect();
        let left = matching.len() - (from + page.len()).min(matching.len());
        let mut metadata = json!({ "resourceVersion": self.count.to_string() });
        if left > 0 {
            metadata["continue"] = json!((from + page.len()).to_string());
            // Of a list with a selector an API server does not count the rest.
            if !query.contains_key("labelSelector") {
                metadata["remainingItemCount"] = json!(left);
            }
        }
        let kind = format!("{}List", target.kind().unwrap_or_default());
        Answer::json(200, &json!({ "kind": kind, "apiVersion": "v1", "metadata": metadata, "items": page }))
    }
}

fn is_selected(selector: &str, object: &Value) -> bool {
    let selector: LabelSelector = selector.parse().expect("a selector");
    let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
    selector.matches(&labels.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect())
}

/// The fields of a manifest by their JSON pointers; identifying fields have no manager.
fn leaves(manifest: &Value) -> BTreeMap<String, Value> {
    fn walk(value: &Value, at: &str, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                for (key, value) in fields {
                    walk(value, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), found);
                }
            }
            other => drop(found.insert(at.to_owned(), other.clone())),
        }
    }
    let mut found = BTreeMap::new();
    walk(manifest, "", &mut found);
    for known in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
        found.remove(known);
    }
    found
}

/// A merge patch.
pub(super) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key).or_insert(Value::Object(Map::new())), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}
