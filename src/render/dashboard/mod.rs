//! Dashboards for Grafana, in the classic JSON model that every Grafana since 10 reads.
//!
//! Every query selects the label `cluster`, and those for one cluster select its value, so that no panel adds numbers of
//! two clusters. What the default jobs bring is always shown; what other jobs bring is in rows that are closed at first.

mod cluster;
mod fleet;
mod nodes;
mod panel;
mod pods;
mod scrape;
mod variable;

use crate::yaml;
use panel::Section;
use serde_json::{Value, json};
use variable::Variable;

/// A dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dashboard {
    /// A row for each cluster.
    Fleet,
    /// One cluster: its nodes and namespaces.
    Cluster,
    /// The nodes of a cluster, and their kubelets.
    Nodes,
    /// The pods of a namespace.
    Pods,
    /// What Prometheus scrapes of a cluster, and what that costs.
    Scrape,
}

/// The version of the JSON model (Grafana `kinds/dashboard/dashboard_kind.cue`, `schemaVersion`).
const SCHEMA: u32 = 41;
/// Grafana's sidecar of the usual charts loads `ConfigMap` objects with this label.
const SIDECAR: &str = "grafana_dashboard";

impl Dashboard {
    pub const ALL: [Self; 5] = [Self::Fleet, Self::Cluster, Self::Nodes, Self::Pods, Self::Scrape];

    /// `fleet`
    pub fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Cluster => "cluster",
            Self::Nodes => "nodes",
            Self::Pods => "pods",
            Self::Scrape => "scrape",
        }
    }

    /// The name of its file, and its key in a `ConfigMap`: `prom-federate-fleet.json`.
    pub fn file(self) -> String {
        format!("{}.json", self.uid())
    }

    /// The identity in Grafana: imported again, it replaces the one before.
    fn uid(self) -> String {
        format!("prom-federate-{}", self.name())
    }

    fn title(self) -> &'static str {
        match self {
            Self::Fleet => "Clusters / Fleet",
            Self::Cluster => "Clusters / Cluster",
            Self::Nodes => "Clusters / Nodes",
            Self::Pods => "Clusters / Pods",
            Self::Scrape => "Clusters / Scrape",
        }
    }

    fn content(self) -> (Vec<Variable>, Vec<Section>) {
        match self {
            Self::Fleet => (fleet::variables(), fleet::sections()),
            Self::Cluster => (cluster::variables(), cluster::sections()),
            Self::Nodes => (nodes::variables(), nodes::sections()),
            Self::Pods => (pods::variables(), pods::sections()),
            Self::Scrape => (scrape::variables(), scrape::sections()),
        }
    }

    fn model(self) -> Value {
        let (variables, sections) = self.content();
        json!({
            "uid": self.uid(),
            "title": self.title(),
            "description": format!("Made by kubectl prom-federate dashboard {}.", self.name()),
            "tags": ["prom-federate"],
            "schemaVersion": SCHEMA,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "1m",
            "time": { "from": "now-1h", "to": "now" },
            "timezone": "browser",
            "annotations": { "list": [] },
            "links": [{
                "type": "dashboards", "title": "Clusters", "tags": ["prom-federate"], "icon": "external link", "tooltip": "",
                "asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
            }],
            "templating": { "list": variables.iter().map(Variable::model).collect::<Vec<_>>() },
            "panels": panel::models(&sections),
        })
    }

    /// The JSON for Grafana's import, or for a file of its provisioning.
    pub fn json(self) -> String {
        let json = serde_json::to_string_pretty(&self.model()).expect("a dashboard has string keys");
        json + "\n"
    }
}

/// The `ConfigMap` of these dashboards for Grafana's sidecar.
pub fn config_map(dashboards: &[Dashboard]) -> String {
    let data: serde_json::Map<String, Value> =
        dashboards.iter().map(|dashboard| (dashboard.file(), dashboard.json().into())).collect();
    let name = match dashboards {
        [one] => one.uid(),
        _ => "prom-federate-dashboards".to_owned(),
    };
    yaml::write(&json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "labels": { SIDECAR: "1" } },
        "data": data,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn panels(dashboard: Dashboard) -> Vec<Value> {
        let model = dashboard.model();
        let outer = model["panels"].as_array().unwrap().clone();
        let inner = outer.iter().flat_map(|panel| panel["panels"].as_array().cloned().unwrap_or_default());
        outer.iter().cloned().chain(inner.collect::<Vec<_>>()).collect()
    }

    fn queries(dashboard: Dashboard) -> Vec<String> {
        let variables = dashboard.model()["templating"]["list"].as_array().unwrap().clone();
        let of_variables = variables.iter().filter_map(|one| one["query"]["query"].as_str().map(str::to_owned));
        let panels = panels(dashboard);
        let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
        of_variables.chain(targets.map(|target| target["expr"].as_str().unwrap().to_owned())).collect()
    }

    #[test]
    fn every_selector_names_its_cluster() {
        for dashboard in Dashboard::ALL {
            for query in queries(dashboard) {
                let selectors: Vec<&str> =
                    query.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(inner, _)| inner)).collect();
                assert!(!selectors.is_empty(), "{query}");
                for selector in selectors {
                    let of_one = selector.contains("cluster=\"$cluster\"");
                    let of_each = selector.contains("cluster!=\"\"") || selector.contains("filename=~");
                    let expected = if dashboard == Dashboard::Fleet { of_each } else { of_one };
                    let fills_the_variable = query.starts_with("label_values(up{cluster!=\"\"}, cluster)");
                    assert!(expected || fills_the_variable, "{}: {query}", dashboard.name());
                }
                // A sum over all clusters would have no label.
                if dashboard == Dashboard::Fleet && !query.starts_with("label_values") {
                    assert!(query.contains("by (cluster"), "{query}");
                }
            }
        }
    }

    #[test]
    fn panels_have_ids_of_their_own_and_do_not_overlap() {
        for dashboard in Dashboard::ALL {
            let panels = panels(dashboard);
            let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
            assert_eq!(ids.len(), panels.len(), "{}", dashboard.name());
            let outer = dashboard.model()["panels"].as_array().unwrap().clone();
            let mut cells = BTreeSet::new();
            for panel in outer.iter().chain(outer.iter().flat_map(|row| row["panels"].as_array().into_iter().flatten()))
            {
                let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
                assert!(at("x") + at("w") <= 24, "{panel}");
                for (x, y) in
                    (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
                {
                    assert!(cells.insert((x, y)), "{}: {} overlaps", dashboard.name(), panel["title"]);
                }
            }
        }
    }

    /// `/d/prom-federate-nodes?${datasource:queryparam}&var-node=…`
    #[test]
    fn links_lead_to_dashboards_with_these_variables() {
        let mut links = 0;
        for panel in Dashboard::ALL.into_iter().flat_map(panels) {
            let overrides = panel["fieldConfig"]["overrides"].as_array().cloned().unwrap_or_default();
            let properties = overrides.iter().flat_map(|one| one["properties"].as_array().unwrap());
            for url in properties.filter_map(|property| property["value"][0]["url"].as_str()) {
                let (path, query) = url.split_once('?').unwrap();
                let uid = path.strip_prefix("/d/").unwrap();
                let target = Dashboard::ALL.into_iter().find(|dashboard| dashboard.uid() == uid).expect(url);
                let model = target.model();
                let has =
                    |name: &str| model["templating"]["list"].as_array().unwrap().iter().any(|one| one["name"] == name);
                for part in query.split('&').filter(|part| *part != "${__url_time_range}") {
                    let passed_on = part.strip_prefix("${").and_then(|rest| rest.strip_suffix(":queryparam}"));
                    let name =
                        passed_on.or_else(|| part.strip_prefix("var-")?.strip_suffix("=${__value.raw}")).expect(url);
                    assert!(has(name), "{url}: {name}");
                }
                links += 1;
            }
        }
        assert_eq!(links, 5, "to a cluster, a node twice, a namespace and a pod");
    }

    #[test]
    fn config_map_has_the_label_of_the_sidecar() {
        let map = yaml::read(&config_map(&Dashboard::ALL)).unwrap();
        assert_eq!(map["metadata"]["labels"][SIDECAR], "1");
        for dashboard in Dashboard::ALL {
            let json: Value = serde_json::from_str(map["data"][dashboard.file()].as_str().unwrap()).unwrap();
            assert_eq!(json, dashboard.model());
        }
    }

    #[test]
    fn queries_of_each_dashboard() {
        let text: Vec<String> = Dashboard::ALL
            .into_iter()
            .map(|dashboard| format!("{}:\n{}\n", dashboard.name(), queries(dashboard).join("\n")))
            .collect();
        insta::assert_snapshot!(text.join("\n"));
    }
}
