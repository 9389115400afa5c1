//! The objects of a cluster in the hub.

use crate::{
    destination::{Operator, Stored},
    error::Result,
    model::{
        access::Access,
        kube::{
            label_selector::Labels,
            object::{Deletion, Kind, Object, ObjectRef},
        },
        store::{
            layout::{CA, Generation, KUBELET_CA},
            record::Record,
        },
        token::bearer::BearerToken,
    },
    render::{operator::OperatorJobs, rules::ClusterRules},
};
use serde_json::Value;

/// The objects of a cluster.
pub(super) fn objects(
    operator: &Operator,
    record: &Record,
    access: &Access,
    generation: &Generation,
    token: &BearerToken,
) -> Result<Objects> {
    let labels = operator.job_labels(&record.cluster)?;
    let identity = operator.identity();
    let jobs = OperatorJobs {
        record,
        access,
        generation,
        identity: &identity,
        kind: operator.instance.job_kind(),
        place: &operator.place.0,
        labels: &labels,
    };
    let request = record.request();
    let rules = ClusterRules {
        rotated: None,
        cluster: &record.cluster,
        jobs: &record.jobs,
        pace: request.pace,
        token: Some(record.token),
        destination: Some(&operator.typed),
    };
    let rule_labels: Option<Labels> = operator.instance.rule_labels(&record.cluster, &operator.place);
    Ok(Objects {
        secret: jobs.secret(token),
        jobs: jobs.jobs()?,
        rules: rule_labels.map(|labels| jobs.rules(&labels, &rules)).transpose()?,
    })
}

pub(super) struct Objects {
    pub(super) secret: Object,
    pub(super) jobs: Vec<Object>,
    pub(super) rules: Option<Object>,
}

impl Objects {
    pub(super) fn all(&self) -> impl Iterator<Item = &Object> {
        [&self.secret].into_iter().chain(&self.jobs).chain(&self.rules)
    }
}

/// Keeps the CAs that existing jobs name: without them, an operator would drop these jobs until they are replaced. The
/// next delivery removes the CAs.
pub(super) fn keep_named_keys(secret: &mut Object, stored: &Stored) {
    for key in [CA, KUBELET_CA] {
        let Some(kept) = stored.secret.as_ref().and_then(|secret| secret["data"].get(key)) else { continue };
        let name = format!("\"key\":\"{key}\"");
        if secret.manifest["data"].get(key).is_none()
            && stored.jobs.values().any(|job| job["spec"].to_string().contains(&name))
        {
            secret.manifest_mut()["data"][key] = kept.clone();
        }
    }
}

/// Adds the resource version, so that the hub rejects the write if another client has written the object since.
pub(super) fn unless_changed(secret: &Object, stored: Option<&Value>) -> Object {
    let mut secret = secret.clone();
    if let Some(version) = stored.and_then(|stored| stored["metadata"].get("resourceVersion")) {
        secret.manifest_mut()["metadata"]["resourceVersion"] = version.clone();
    }
    secret
}

pub(super) fn deletion(reference: &ObjectRef, object: &Value) -> Deletion {
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    Deletion { reference: reference.clone(), uid }
}

pub(super) fn reference_of(kind: Kind, object: &Value) -> ObjectRef {
    let text = |key: &str| object["metadata"][key].as_str().map(str::to_owned);
    ObjectRef { kind, namespace: text("namespace"), name: text("name").unwrap_or_default() }
}
