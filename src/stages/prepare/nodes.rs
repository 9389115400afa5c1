//! The nodes of a cluster, as an administrator or the account itself sees them.

use crate::model::token::bearer::BearerToken;
use crate::{
    cluster::{List, Scraper, count},
    error::{Error, Reason, Result},
    model::{
        job::route::{Node, NodesByReadiness, Pins},
        kube::label_selector::LabelSelector,
        report::checklist::NodeFacts,
        text::shell,
    },
};
use serde_json::Value;

/// The nodes of a cluster, as far as a proof needs them.
pub struct Nodes {
    pub total: u64,
    /// A few of them, those that are ready first. Never empty.
    pub candidates: Vec<Node>,
    /// How many of the candidates are ready.
    pub ready: usize,
}

impl Nodes {
    /// As the account itself sees them.
    pub async fn seen_by(scraper: &Scraper, token: &BearerToken, selector: Option<&LabelSelector>) -> Result<Self> {
        let path = List::Nodes(selector).first(10);
        let answer = scraper.get(&path, Some(token)).await?;
        let list = answer.json();
        let Some(items) = list["items"].as_array().filter(|_| answer.code == 200) else {
            return Err(Error::new(
                Reason::ProofFailed,
                format!("{path} answers {} to the new token: {}", answer.code, answer.message()),
            )
            .hint("Read the list as an administrator: kubectl get --raw /api/v1/nodes"));
        };
        Self::new(items, count(&list), selector)
    }

    pub(super) fn new(items: &[Value], total: u64, selector: Option<&LabelSelector>) -> Result<Self> {
        let mut found = NodesByReadiness::default();
        for node in items {
            found.add(node);
        }
        let ready = found.ready.len();
        let candidates = [found.ready, found.others].concat();
        if candidates.is_empty() {
            return Err(no_nodes(selector));
        }
        Ok(Self { total, candidates, ready })
    }

    /// Without those that came since these were pinned, which prove nothing.
    pub(in crate::stages) fn keep_pinned(&mut self, pins: &Pins) {
        let ready = self.ready().iter().filter(|node| pins.contains(node)).count();
        let pinned: Vec<Node> = self.candidates.iter().filter(|node| pins.contains(node)).cloned().collect();
        if !pinned.is_empty() {
            (self.candidates, self.ready) = (pinned, ready);
        }
    }

    /// Those of the few that are ready.
    pub fn ready(&self) -> &[Node] {
        &self.candidates[..self.ready]
    }

    /// The few, in their groups.
    pub fn few(&self) -> NodesByReadiness {
        let (ready, others) = self.candidates.split_at(self.ready);
        NodesByReadiness { ready: ready.to_vec(), others: others.to_vec() }
    }

    /// Whether there are more than the few.
    pub fn are_more(&self) -> bool {
        self.total > self.candidates.len() as u64
    }

    pub(super) fn facts(&self) -> NodeFacts {
        NodeFacts { total: self.total, seen: self.candidates.len(), ready: self.ready }
    }
}

fn no_nodes(selector: Option<&LabelSelector>) -> Error {
    match selector {
        None => {
            Error::new(Reason::NoNodes, "the cluster has no nodes, so nothing could be proven; nothing was written")
                .hint("Run the command again when the first node has joined: kubectl get nodes")
        }
        Some(selector) => {
            let shown = shell::word(&selector.to_string());
            Error::new(
                Reason::NoNodes,
                format!("--node-selector {shown} selects no node, so nothing could be proven; nothing was written"),
            )
            .hint(format!("List the nodes that it selects: kubectl get nodes --selector {shown}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ready_nodes_come_first_and_invalid_names_are_skipped() {
        let node = |name: &str, ready: &str| json!({ "metadata": { "name": name }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
        let nodes = Nodes::new(&[node("a", "Unknown"), node("b", "True"), node("../x", "True")], 3, None).unwrap();
        assert_eq!(nodes.candidates.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(Nodes::new(&[], 0, None).err().map(|error| error.reason), Some(Reason::NoNodes));
    }
}
