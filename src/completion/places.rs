//! What a cluster has, as values of `--jobs`: namespaces and Services.

use crate::{
    cluster::{self, Cluster, Connection, List},
    completion::look,
    error::Result,
    kubeconfig::{self, Choice},
    model::{
        job::{NODE_EXPORTER_PORT, discovery},
        kube::object::Kind,
        text::names::Namespace,
    },
};
use serde_json::Value;
use std::iter;

/// The values that go on from one such as `service=mon` or `service=monitoring/ku`. None where the cluster does not answer
/// in time.
pub(super) fn places(typed: &str, choice: &Choice) -> Vec<String> {
    let Some((job, place)) = typed.split_once('=') else { return Vec::new() };
    let looked = match (job, place.split_once('/')) {
        ("service" | "kube-state-metrics" | "federate", None) => Looked::Namespaces("/".to_owned()),
        ("pods", None) => Looked::Namespaces(String::new()),
        ("node-exporter", None) => Looked::Namespaces(format!(":{NODE_EXPORTER_PORT}")),
        ("service" | "kube-state-metrics" | "federate", Some((namespace, _))) => match namespace.parse() {
            Ok(namespace) => Looked::Services(namespace),
            Err(_) => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let found = look::found(iter::once(looked.look(choice)));
    found.into_iter().map(|place| format!("{job}={place}")).filter(|value| value.starts_with(typed)).collect()
}

enum Looked {
    /// And what follows each.
    Namespaces(String),
    Services(Namespace),
}

impl Looked {
    async fn look(&self, choice: &Choice) -> Result<Vec<String>> {
        let (cluster, _) = cluster::connect(kubeconfig::select_silent(choice)?, &Connection::default()).await?;
        match self {
            Self::Namespaces(end) => {
                let name = |namespace: &Value| Some(format!("{}{end}", namespace["metadata"]["name"].as_str()?));
                each(&cluster, List::Objects(Kind::Namespace, None), |object| name(object).into_iter().collect()).await
            }
            Self::Services(namespace) => {
                each(&cluster, List::ServicesOf(namespace), |service| {
                    discovery::endpoints(service, &[]).iter().map(ToString::to_string).collect()
                })
                .await
            }
        }
    }
}

async fn each(cluster: &Cluster, list: List<'_>, texts: impl Fn(&Value) -> Vec<String>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    cluster.for_each(list, |object| found.extend(texts(object))).await?;
    Ok(found)
}
