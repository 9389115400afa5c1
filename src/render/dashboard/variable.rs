//! The variables of a dashboard: the choices above its panels.

use serde_json::{Value, json};

/// The data source that each panel and variable asks.
pub(super) fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// No value yet: Grafana takes the first one that there is.
fn first() -> Value {
    json!({ "text": "", "value": "" })
}

pub(super) enum Variable {
    /// Which Prometheus is asked.
    DataSource,
    /// One value of a label; or all, as `.+`, at first.
    Label { name: &'static str, title: &'static str, query: &'static str, has_all: bool },
}

impl Variable {
    pub(super) fn cluster() -> Self {
        Self::Label {
            name: "cluster",
            title: "Cluster",
            query: "label_values(up{cluster!=\"\"}, cluster)",
            has_all: false,
        }
    }

    pub(super) fn node() -> Self {
        Self::Label {
            name: "node",
            title: "Node",
            query: "label_values(up{cluster=\"$cluster\",node!=\"\"}, node)",
            has_all: true,
        }
    }

    pub(super) fn namespace() -> Self {
        Self::Label {
            name: "namespace",
            title: "Namespace",
            query: "label_values(container_memory_working_set_bytes{cluster=\"$cluster\",namespace!=\"\"}, namespace)",
            has_all: true,
        }
    }

    pub(super) fn pod() -> Self {
        Self::Label {
            name: "pod",
            title: "Pod",
            query: "label_values(container_memory_working_set_bytes{cluster=\"$cluster\",namespace=~\"$namespace\",pod!=\"\"}, pod)",
            has_all: true,
        }
    }

    pub(super) fn model(&self) -> Value {
        match self {
            Self::DataSource => json!({
                "type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
                "regex": "", "refresh": 1, "hide": 0, "multi": false, "includeAll": false, "options": [], "current": first(),
            }),
            Self::Label { name, title, query, has_all } => {
                let mut model = json!({
                    "type": "query", "name": name, "label": title, "datasource": datasource(),
                    "query": { "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1 },
                    "definition": query, "regex": "", "sort": 1, "refresh": 2, "hide": 0, "multi": false,
                    "includeAll": has_all, "options": [], "current": first(),
                });
                if *has_all {
                    model["allValue"] = ".+".into();
                    model["current"] = json!({ "text": "All", "value": "$__all" });
                }
                model
            }
        }
    }
}
