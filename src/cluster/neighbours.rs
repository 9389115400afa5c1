//! What others have in the namespace of an account.

use super::{
    client::{Cluster, Failure},
    list::List,
    objects::Found,
};
use crate::{
    error::Error,
    model::{
        account::{
            Account,
            neighbours::{Neighbours, OthersBinding, lets_become},
        },
        kube::object::{FIELD_MANAGER, Kind, MANAGED_BY, ObjectRef},
        text::limits::RIGHTS_MEMORY,
        token::bound_secret::{ACCOUNT_LABEL, LEGACY_ACCOUNT_ANNOTATION, LEGACY_TYPE, label_value},
    },
};
use futures_util::future::join_all;
use serde_json::Value;

/// The roles of Kubernetes itself, whose rights in a namespace are known.
const KNOWN_ROLES: [(&str, bool); 4] = [("cluster-admin", true), ("admin", true), ("edit", true), ("view", false)];
/// As many other roles are read.
const ROLES: usize = 16;
/// As many pods that run as the account are read.
const PODS: u32 = 10;

impl Cluster {
    /// As far as the caller may read it, with the first error. Three lists at once; the rest only where others have
    /// something in the namespace.
    pub async fn neighbours(&self, account: &Account) -> (Neighbours, Option<Error>) {
        let (pods, token_secrets, bindings) =
            tokio::join!(self.pods(account), self.foreign_tokens(account), self.becoming(account));
        let mut first_error = None;
        let (pod, posing) = or_none(pods, &mut first_error);
        let token_secrets = or_none(token_secrets, &mut first_error);
        let bindings = or_none(bindings, &mut first_error);
        (Neighbours { pod, posing, token_secrets, bindings }, first_error)
    }

    /// Some pod, and those that run as the account.
    async fn pods(&self, account: &Account) -> Result<(Option<String>, Vec<String>), Failure> {
        let Some(pod) = self.pods_named(&List::Pods(&account.namespace).first(1)).await?.pop() else {
            return Ok((None, Vec::new()));
        };
        let some = List::Pods(&account.namespace).first(PODS);
        let posing = self.pods_named(&format!("{some}&fieldSelector=spec.serviceAccountName={}", account.name)).await?;
        Ok((Some(pod), posing))
    }

    async fn pods_named(&self, path: &str) -> Result<Vec<String>, Failure> {
        let list = self.get_path(path).await?;
        let name = |pod: &Value| pod["metadata"]["name"].as_str().map(str::to_owned);
        Ok(list["items"].as_array().into_iter().flatten().filter_map(name).collect())
    }

    async fn foreign_tokens(&self, account: &Account) -> Result<Vec<String>, Failure> {
        let path = ObjectRef::list(Kind::Secret, Some(account.namespace.as_str()));
        let foreign = |secret: Value| {
            let metadata = &secret["metadata"];
            let is_its = metadata["annotations"][LEGACY_ACCOUNT_ANNOTATION] == account.name.as_str();
            // Everything that the list of bound Secrets goes by; any label alone is easily set.
            let (labels, name) = (&metadata["labels"], metadata["name"].as_str().unwrap_or_default());
            let is_ours = labels[MANAGED_BY] == FIELD_MANAGER
                && labels[ACCOUNT_LABEL] == label_value(account.name.as_str())
                && name.strip_prefix(account.name.as_str()).is_some_and(|rest| rest.starts_with('-'));
            (is_its && !is_ours).then(|| name.to_owned())
        };
        self.items(&format!("{path}?fieldSelector=type={LEGACY_TYPE}"), RIGHTS_MEMORY, foreign).await
    }

    async fn becoming(&self, account: &Account) -> Result<Vec<OthersBinding>, Failure> {
        let path = ObjectRef::list(Kind::RoleBinding, Some(account.namespace.as_str()));
        let mut bindings = self.items(&path, RIGHTS_MEMORY, |binding| OthersBinding::new(account, &binding)).await?;
        let mut roles: Vec<String> = bindings.iter().map(|binding| binding.role.clone()).collect();
        roles.sort_unstable();
        roles.dedup();
        let become_it = join_all(roles.iter().take(ROLES).map(|role| self.lets_become(account, role))).await;
        let known: Vec<(&String, bool)> = roles.iter().zip(become_it).collect();
        // A role that cannot be read may have any rights.
        bindings.retain(|binding| known.iter().all(|(role, lets)| **role != binding.role || *lets));
        Ok(bindings)
    }

    async fn lets_become(&self, account: &Account, role: &str) -> bool {
        let (kind, name) = role.split_once('/').unwrap_or_default();
        let known = KNOWN_ROLES.iter().find(|(known, _)| *known == name && kind == "ClusterRole");
        if let Some((_, lets)) = known {
            return *lets;
        }
        let reference = match kind {
            "ClusterRole" => ObjectRef { kind: Kind::ClusterRole, namespace: None, name: name.to_owned() },
            _ => ObjectRef { kind: Kind::Role, namespace: Some(account.namespace.to_string()), name: name.to_owned() },
        };
        match self.get(&reference).await {
            Ok(Found::Object(role)) => lets_become(account, &role),
            Ok(_) => false,
            Err(_) => true,
        }
    }
}

fn or_none<T: Default>(found: Result<T, Failure>, first_error: &mut Option<Error>) -> T {
    found.unwrap_or_else(|failure| {
        first_error.get_or_insert(failure.into());
        T::default()
    })
}
