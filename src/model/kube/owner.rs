//! The owner of an object. The plugin owns an object that has its label and its field manager and no mark of a GitOps
//! tool.

use super::object::{FIELD_MANAGER, MANAGED_BY};
use serde_json::Value;

/// The owner of an existing object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Us,
    Other,
}

/// Marks by which GitOps tools and Helm recognise their own objects.
const FOREIGN_MARKS: [(&str, &str); 6] = [
    ("annotations", "argocd.argoproj.io/tracking-id"),
    ("labels", "argocd.argoproj.io/instance"),
    ("labels", "kustomize.toolkit.fluxcd.io/name"),
    ("labels", "helm.toolkit.fluxcd.io/name"),
    ("annotations", "meta.helm.sh/release-name"),
    ("annotations", "configmanagement.gke.io/managed"),
];

/// The owner of an object as the API server returned it.
pub fn owner(object: &Value) -> Owner {
    let metadata = &object["metadata"];
    let labelled = metadata["labels"][MANAGED_BY] == FIELD_MANAGER;
    let managed = metadata["managedFields"]
        .as_array()
        .is_some_and(|entries| entries.iter().any(|entry| entry["manager"] == FIELD_MANAGER));
    let claimed = FOREIGN_MARKS.iter().any(|(map, key)| metadata[map].get(key).is_some());
    if labelled && managed && !claimed { Owner::Us } else { Owner::Other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn own_objects_need_label_and_field_manager_and_no_foreign_mark() {
        let label = json!({ MANAGED_BY: FIELD_MANAGER });
        let manager = json!([{ "manager": "kubectl" }, { "manager": FIELD_MANAGER }]);
        for (what, metadata, expected) in [
            ("both", json!({ "labels": label, "managedFields": manager }), Owner::Us),
            ("a label copied from elsewhere", json!({ "labels": label, "managedFields": [] }), Owner::Other),
            ("no label", json!({ "managedFields": manager }), Owner::Other),
            ("bare", json!({}), Owner::Other),
            (
                "claimed by Argo CD",
                json!({ "labels": label, "managedFields": manager, "annotations": { "argocd.argoproj.io/tracking-id": "x" } }),
                Owner::Other,
            ),
        ] {
            assert_eq!(owner(&json!({ "metadata": metadata })), expected, "{what}");
        }
    }
}
