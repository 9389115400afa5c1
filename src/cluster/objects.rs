//! Reading, applying and deleting objects, and tokens.

use super::{
    client::{Cluster, Failure},
    list::{List, count},
};
use crate::{
    error::{Error, Reason, Result},
    model::{
        account::{Account, guard},
        job::route::{Node, NodesByReadiness},
        kube::{
            label_selector::LabelSelector,
            object::{Deletion, FIELD_MANAGER, Kind, MANAGED_BY, Object, ObjectRef},
        },
        report::checklist::Binding,
        text::{
            duration::Seconds,
            encoding::is_base64_url,
            json,
            limits::{CONTINUE, LIST_MEMORY, LIST_PAGE, LIST_PAGES, NODES, OBJECT, PAGE_ITEMS, RIGHTS_MEMORY, size},
        },
        token::{
            self, Token,
            bound_secret::{ACCOUNT_LABEL, BoundSecret, Claims, label_value},
        },
    },
};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

/// Whether a write is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DryRun {
    No,
    /// The server goes through all of it and stores nothing.
    Server,
}

impl DryRun {
    fn query(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Server => "&dryRun=All",
        }
    }
}

/// What became of asking for an object.
pub enum Found {
    Object(Value),
    Absent,
    /// The server does not know the kind at all.
    KindUnknown,
}

/// An object as it is after an apply.
pub struct Applied {
    /// Whether this request created it, not another client a moment before.
    pub created: bool,
    pub object: Value,
}

const JSON: &str = "application/json";

/// Who manages an object matters, not which fields: they are often most of it.
fn without_owned_fields(mut object: Value) -> Value {
    let entries = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("fieldsV1");
        }
    }
    object
}

impl Cluster {
    /// One object as it is stored.
    pub async fn get(&self, reference: &ObjectRef) -> Result<Found> {
        match self.get_path(&reference.path()).await {
            Ok(object) => Ok(Found::Object(without_owned_fields(self.of_kind(reference, object)?))),
            Err(Failure { code: Some(404), details, .. }) => {
                Ok(if details { Found::Absent } else { Found::KindUnknown })
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// The object, if it is one of this kind: something between here and the API server may answer in its place.
    fn of_kind(&self, reference: &ObjectRef, object: Value) -> Result<Value> {
        let kind = reference.kind.to_string();
        if object["kind"] == kind {
            return Ok(object);
        }
        Err(about(self.garbled(&reference.path(), &format!("it is no {kind}")), reference))
    }

    pub(super) async fn get_path(&self, path: &str) -> Result<Value, Failure> {
        self.request(Method::GET, path, JSON, None).await.map(Response::into_body)
    }

    /// Reads a list page by page and hands over its items with the memory that each takes.
    async fn each_item(
        &self,
        path: &str,
        mut take: impl FnMut(Value, usize) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let and = if path.contains('?') { '&' } else { '?' };
        let first = format!("{path}{and}limit={PAGE_ITEMS}");
        let mut before = String::new();
        for _ in 0..LIST_PAGES {
            let next = if before.is_empty() { first.clone() } else { format!("{first}&continue={before}") };
            let text = self.exchange(Method::GET, &next, JSON, None, LIST_PAGE).await?.into_body();
            let mut refused = None;
            let page = json::list(&text, OBJECT.memory, |item, memory| {
                take(item, memory).map_err(|why| {
                    refused = Some(why);
                    String::new()
                })
            });
            if let Some(why) = refused {
                return Err(self.exceeded(path, &why));
            }
            let more = page.map_err(|why| self.garbled(path, &why))?.more;
            if more.is_empty() {
                return Ok(());
            }
            if more == before || more.len() > CONTINUE || !is_base64_url(&more) {
                return Err(self.garbled(path, "its continue leads nowhere"));
            }
            before = more;
        }
        Err(self.exceeded(path, &format!("has more than {LIST_PAGES} pages")))
    }

    /// What `take` makes of the items of a list. Those that it keeps may take `most` of memory.
    pub(super) async fn items<T>(
        &self,
        path: &str,
        most: usize,
        take: impl Fn(Value) -> Option<T>,
    ) -> Result<Vec<T>, Failure> {
        let (mut taken, mut left) = (Vec::new(), most);
        let keep = |item, memory| {
            if let Some(kept) = take(item) {
                left = left.checked_sub(memory).ok_or_else(|| format!("takes more than {} of memory", size(most)))?;
                taken.push(kept);
            }
            Ok(())
        };
        self.each_item(path, keep).await?;
        Ok(taken)
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.request(Method::POST, path, JSON, Some(body)).await.map(Response::into_body)
    }

    /// The server's version, `v1.37.2`.
    pub async fn version(&self) -> Result<String> {
        let version = self.get_path("/version").await?;
        version["gitVersion"].as_str().map(str::to_owned).ok_or_else(|| self.unexpected("/version"))
    }

    /// The UID of the namespace `kube-system`: what identifies a cluster.
    pub async fn uid(&self) -> Result<String> {
        let path = "/api/v1/namespaces/kube-system";
        let namespace = self.get_path(path).await?;
        namespace["metadata"]["uid"].as_str().map(str::to_owned).ok_or_else(|| self.unexpected(path))
    }

    /// The object with which kubeadm tells nodes where the API server is. None where there is none to be had.
    pub async fn cluster_info(&self) -> Option<Value> {
        self.get_path("/api/v1/namespaces/kube-public/configmaps/cluster-info").await.ok()
    }

    /// The first few nodes, and how many there are in all.
    pub async fn nodes(&self, selector: Option<&LabelSelector>) -> Result<(Vec<Value>, u64)> {
        let list = self.get_path(&List::Nodes(selector).first(10)).await?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let total = if selector.is_some() && count(&list) > items.len() as u64 {
            self.all_nodes(selector).await?.len() as u64
        } else {
            count(&list)
        };
        Ok((items, total))
    }

    /// Every node, as far as its kubelet has to be found.
    pub async fn all_nodes(&self, selector: Option<&LabelSelector>) -> Result<Vec<Node>> {
        let NodesByReadiness { ready, others } = self.nodes_by_readiness(selector).await?;
        Ok([ready, others].concat())
    }

    /// The same by their readiness.
    pub async fn nodes_by_readiness(&self, selector: Option<&LabelSelector>) -> Result<NodesByReadiness> {
        let mut nodes = NodesByReadiness::default();
        let take = |node: Value, _| {
            nodes.add(&node);
            if nodes.ready.len() + nodes.others.len() > NODES {
                Err(format!("has more than {NODES} items"))
            } else {
                Ok(())
            }
        };
        self.each_item(&List::Nodes(selector).to_string(), take).await?;
        Ok(nodes)
    }

    /// The bound Secrets of an account.
    pub async fn bound_secrets(&self, account: &Account) -> Result<Vec<BoundSecret>> {
        Ok(self.claims(account).await?.secrets)
    }

    /// The same, and the runs that remove the account.
    pub async fn claims(&self, account: &Account) -> Result<Claims> {
        let label = format!(",{ACCOUNT_LABEL}={}", label_value(account.name.as_str()));
        self.claims_of(account, &label).await
    }

    /// The same, and the runs that remove any account of the namespace, because they may remove the namespace.
    pub async fn claims_in_namespace(&self, account: &Account) -> Result<Claims> {
        self.claims_of(account, "").await
    }

    async fn claims_of(&self, account: &Account, label: &str) -> Result<Claims> {
        let selector = format!("{MANAGED_BY}={FIELD_MANAGER}{label}");
        let path = format!("/api/v1/namespaces/{}/secrets?labelSelector={selector}", account.namespace);
        let (prefix, label) = (format!("{}-", account.name), label_value(account.name.as_str()));
        let bound = |object: Value| {
            let is_own = object["metadata"]["labels"][ACCOUNT_LABEL] == label;
            BoundSecret::from_object(&object)
                .filter(|secret| secret.is_leaving() || is_own && secret.name.starts_with(&prefix))
        };
        let all = self.items(&path, RIGHTS_MEMORY, bound).await?;
        let (leaving, secrets) = all.into_iter().partition(BoundSecret::is_leaving);
        Ok(Claims { secrets, leaving })
    }

    /// The objects of a kind that have this name, in whatever namespace.
    pub async fn named(&self, kind: Kind, name: &str) -> Result<Vec<(ObjectRef, Value)>> {
        let path = format!("/apis/{}/{}?fieldSelector=metadata.name={name}", kind.api_version(), kind.plural());
        Ok(self
            .items(&path, RIGHTS_MEMORY, |item| item.is_object().then_some(item))
            .await?
            .into_iter()
            .map(|mut object| {
                // What is in a list does not say what it is.
                object["apiVersion"] = json!(kind.api_version());
                object["kind"] = json!(kind.to_string());
                let namespace = object["metadata"]["namespace"].as_str().map(str::to_owned);
                (ObjectRef { kind, namespace, name: name.to_owned() }, object)
            })
            .collect())
    }

    /// The items of a list with these labels, as `key=value` or `key in (a,b)`.
    pub async fn list(&self, list: List<'_>, selector: &str) -> Result<Vec<Value>> {
        Ok(self.items(&list.with_labels(selector), LIST_MEMORY, Some).await?)
    }

    /// Looks at the items of a list, one after the other.
    pub async fn for_each(&self, list: List<'_>, mut look: impl FnMut(&Value)) -> Result<()> {
        let look = |item: Value, _| {
            look(&item);
            Ok(())
        };
        Ok(self.each_item(&list.to_string(), look).await?)
    }

    /// Warning events about an object, each with what changes when it comes again.
    pub async fn warnings(&self, namespace: &str, uid: &str) -> Result<Vec<(String, String)>> {
        let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.uid={uid},type=Warning");
        let read = |event: Value| {
            let metadata = &event["metadata"];
            let key = format!("{}@{}", metadata["uid"].as_str()?, metadata["resourceVersion"].as_str()?);
            Some((key, event["message"].as_str()?.to_owned()))
        };
        Ok(self.items(&path, RIGHTS_MEMORY, read).await?)
    }

    /// Server-side apply. It takes fields of other managers only in the plugin's own policies.
    pub async fn apply(&self, object: &Object, dry_run: DryRun) -> Result<Applied> {
        // A policy of ours is a limit, which no other manager of a field may widen.
        let force = if object.reference.kind.is_fence() { "&force=true" } else { "" };
        let path = format!("{}?fieldManager={FIELD_MANAGER}{force}{}", object.reference.path(), dry_run.query());
        let applied = self.request(Method::PATCH, &path, "application/apply-patch+yaml", Some(&object.manifest)).await;
        let response = applied.map_err(|failure| about(failure, &object.reference))?;
        let created = response.status() == StatusCode::CREATED;
        Ok(Applied { created, object: self.of_kind(&object.reference, response.into_body())? })
    }

    /// Removes the fields of an object's `spec` that a merge patch (RFC 7396) names.
    pub async fn remove_fields(&self, reference: &ObjectRef, spec: &Value) -> Result<()> {
        self.merge(reference, &json!({ "spec": spec })).await.map(drop)
    }

    /// Sets one annotation; returns the object.
    pub async fn annotate(&self, reference: &ObjectRef, key: &str, value: &str) -> Result<Value> {
        self.merge(reference, &json!({ "metadata": { "annotations": { key: value } } })).await
    }

    async fn merge(&self, reference: &ObjectRef, change: &Value) -> Result<Value> {
        let path = format!("{}?fieldManager={FIELD_MANAGER}", reference.path());
        let patched = self.request(Method::PATCH, &path, "application/merge-patch+json", Some(change)).await;
        let patched = patched.map_err(|failure| about(failure, reference))?;
        self.of_kind(reference, patched.into_body())
    }

    /// Deletes the very object that was seen; one that is gone already is fine, as is another that took its name.
    pub async fn delete(&self, deletion: &Deletion, dry_run: DryRun) -> Result<()> {
        match self.delete_if(deletion, &json!({ "uid": deletion.uid }), dry_run).await? {
            None => Ok(()),
            Some(conflict) => Err(about(conflict, &deletion.reference)),
        }
    }

    /// The same, only if the object still has this version. False if it has another one.
    pub async fn delete_unchanged(&self, deletion: &Deletion, version: &str) -> Result<bool> {
        let conditions = json!({ "uid": deletion.uid, "resourceVersion": version });
        self.delete_if(deletion, &conditions, DryRun::No).await.map(|conflict| conflict.is_none())
    }

    /// The conflict, if the object that was seen is still there.
    async fn delete_if(&self, deletion: &Deletion, conditions: &Value, dry_run: DryRun) -> Result<Option<Failure>> {
        // All of it in the body: with one, the server ignores the query, a dry run included.
        let mut options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": conditions,
            "propagationPolicy": "Background",
        });
        if dry_run == DryRun::Server {
            options["dryRun"] = json!(["All"]);
        }
        match self.request(Method::DELETE, &deletion.reference.path(), JSON, Some(&options)).await {
            // The API server answers with a Status, or with the object if something keeps it for now.
            Ok(answer) if answer.body()["kind"] == "Status" => Ok(None),
            Ok(answer) => self.of_kind(&deletion.reference, answer.into_body()).map(|_| None),
            Err(Failure { code: Some(404), .. }) => Ok(None),
            Err(failure @ Failure { code: Some(409), .. }) => match self.get(&deletion.reference).await? {
                Found::Object(there) if there["metadata"]["uid"] == deletion.uid => Ok(Some(failure)),
                _ => Ok(None),
            },
            Err(failure) => Err(about(failure, &deletion.reference)),
        }
    }

    /// A token of the account; bound to the Secret, if one is named with its UID.
    ///
    /// Never in a dry run: the server ignores `dryRun` here and mints a real token (`storage/token.go`).
    pub async fn issue(&self, account: &Account, asked: Seconds, bound_to: Option<&Deletion>) -> Result<Token> {
        let path = account.token_path();
        let answer = match self.post(&path, &token::request(asked, bound_to)).await {
            Ok(answer) => answer,
            Err(Failure { code: Some(404), details: false, .. }) => {
                return Err(Error::new(
                    Reason::TokenRequestMissing,
                    "the API server has no TokenRequest; it needs Kubernetes 1.22 or later",
                )
                .about(&self.context)
                .hint("If it cannot be upgraded: join --long-lived-token uses a token that never expires"));
            }
            Err(failure) => {
                let error = failure.about(format!("a token of service account {account}"));
                let is_guarded = error.to_string().contains(&guard::denial(account));
                return Err(if is_guarded { error.hint(guard::needs_trust(account)) } else { error });
            }
        };
        Token::from_answer(asked, &answer).ok_or_else(|| self.unexpected(&path))
    }

    /// The token that a controller has put into a Secret of type `kubernetes.io/service-account-token`; none until it has.
    pub async fn token_in(&self, secret: &Deletion, asked: Seconds) -> Result<Option<Token>> {
        let object =
            self.get_path(&secret.reference.path()).await.map_err(|failure| about(failure, &secret.reference))?;
        // A new object of the same name may have any content.
        let is_ours = object["metadata"]["uid"] == secret.uid.as_str();
        Ok(if is_ours { Token::from_secret(asked, &object) } else { None })
    }

    /// Whether the server has `TokenRequest`, by discovery: to try it would mint a real token.
    pub async fn has_token_request(&self) -> Result<bool> {
        let list = self.get_path("/api/v1").await?;
        Ok(list["resources"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "serviceaccounts/token")))
    }

    /// Every binding that names the account, or all accounts of its namespace.
    pub async fn bindings_of(&self, account: &Account) -> Result<Vec<Binding>> {
        let (user, group) = (account.user(), format!("system:serviceaccounts:{}", account.namespace));
        let names_it = |subject: &Value| match subject["kind"].as_str() {
            Some("ServiceAccount") => {
                subject["name"] == account.name.as_str() && subject["namespace"] == account.namespace.as_str()
            }
            Some("User") => subject["name"] == user.as_str(),
            Some("Group") => subject["name"] == group.as_str(),
            _ => false,
        };
        let list = async |kind: Kind| {
            let path = format!("/apis/{}/v1/{}", kind.group(), kind.plural());
            let take = |binding: Value| {
                let names_it = binding["subjects"].as_array().into_iter().flatten().any(names_it);
                names_it.then(|| Binding {
                    reference: ObjectRef {
                        kind,
                        namespace: binding["metadata"]["namespace"].as_str().map(str::to_owned),
                        name: binding["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
                    },
                    role: format!(
                        "{}/{}",
                        binding["roleRef"]["kind"].as_str().unwrap_or_default(),
                        binding["roleRef"]["name"].as_str().unwrap_or_default()
                    ),
                })
            };
            self.items(&path, RIGHTS_MEMORY, take).await
        };
        let (cluster_wide, namespaced) = tokio::try_join!(list(Kind::ClusterRoleBinding), list(Kind::RoleBinding))?;
        Ok([cluster_wide, namespaced].concat())
    }

    /// Every path under which namespaced objects can be listed, for [`Self::first_in_namespace`].
    async fn namespaced_lists(&self, namespace: &str) -> Result<Vec<String>> {
        let mut lists = Vec::new();
        let groups = self.get_path("/apis").await?;
        let mut roots = vec!["/api/v1".to_owned()];
        for group in groups["groups"].as_array().into_iter().flatten() {
            if let Some(version) = group["preferredVersion"]["groupVersion"].as_str() {
                roots.push(format!("/apis/{version}"));
            }
        }
        let resources = roots.iter().map(async |root| {
            let unread = |failure| Error::from(failure).reworded(|message| format!("cannot read {root}: {message}"));
            self.get_path(root).await.map_err(unread)
        });
        let resources = futures_util::future::try_join_all(resources).await?;
        for (root, list) in roots.iter().zip(resources) {
            for resource in list["resources"].as_array().into_iter().flatten() {
                let listable =
                    resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|verb| verb == "list"));
                if let (true, true, Some(name)) = (resource["namespaced"] == true, listable, resource["name"].as_str())
                {
                    lists.push(format!("{root}/namespaces/{namespace}/{name}"));
                }
            }
        }
        Ok(lists)
    }

    /// Something in a namespace that is neither there by itself nor among `ours`: `configmaps/shop`. The announcement of a
    /// run that removes an account is nothing.
    /// None: nothing else is in it.
    ///
    /// # Errors
    /// Also if a kind of object cannot be listed, because the answer is unknown then.
    pub async fn first_in_namespace(&self, namespace: &str, ours: &[String]) -> Result<Option<String>> {
        let lists = self.namespaced_lists(namespace).await?;
        let found = lists.iter().map(|path| async move {
            let kind = path.rsplit('/').next().unwrap_or_default();
            let mut first = None;
            let look = |item: Value, _| {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                let by_itself = matches!(
                    (kind, name),
                    ("serviceaccounts", "default")
                        | ("configmaps", "kube-root-ca.crt" | "openshift-service-ca.crt")
                        | ("events", _)
                ) || !item["metadata"]["deletionTimestamp"].is_null()
                    || BoundSecret::from_object(&item).is_some_and(|secret| secret.is_leaving());
                let found = format!("{kind}/{name}");
                if first.is_none() && !by_itself && !ours.contains(&found) {
                    first = Some(found);
                }
                Ok(())
            };
            let unread = |failure| Error::from(failure).reworded(|message| format!("cannot read {path}: {message}"));
            self.each_item(path, look).await.map_err(unread)?;
            Ok::<_, Error>(first)
        });
        Ok(futures_util::future::try_join_all(found).await?.into_iter().flatten().next())
    }

    pub(super) fn unexpected(&self, path: &str) -> Error {
        Error::new(Reason::ApiServerError, format!("the answer to {path} is incomplete"))
            .about(&self.context)
            .hint(format!("Is {} the address of an API server? Check with: kubectl get --raw /version", self.url))
    }
}

fn about(failure: Failure, reference: &ObjectRef) -> Error {
    failure.about(reference)
}
