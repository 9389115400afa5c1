//! The panels of a dashboard and where they are.

use super::variable::datasource;
use serde_json::{Value, json};

/// The columns of Grafana's grid.
const WIDTH: u64 = 24;

/// Panels below each other; with a title they are in a row, which is closed at first.
pub(super) struct Section {
    title: Option<&'static str>,
    panels: Vec<Panel>,
}

pub(super) fn always(panels: Vec<Panel>) -> Section {
    Section { title: None, panels }
}

/// What other jobs than the default ones bring.
pub(super) fn with(title: &'static str, panels: Vec<Panel>) -> Section {
    Section { title: Some(title), panels }
}

pub(super) struct Panel {
    title: &'static str,
    /// Shown as a tooltip; empty for none.
    about: &'static str,
    size: (u64, u64),
    kind: Kind,
}

enum Kind {
    /// One number.
    Stat { unit: &'static str, expr: &'static str },
    /// Lines over time: each an expression and its legend.
    Lines { unit: &'static str, queries: Vec<(&'static str, &'static str)> },
    /// A row for each value of the keys.
    Table { keys: Vec<Key>, columns: Vec<Column> },
}

/// A label that identifies a row, its title, and where a click on a value leads.
pub(super) struct Key {
    pub(super) label: &'static str,
    pub(super) title: &'static str,
    pub(super) url: Option<&'static str>,
}

/// A number of a row.
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    pub(super) expr: &'static str,
}

pub(super) fn stat(title: &'static str, unit: &'static str, expr: &'static str) -> Panel {
    Panel { title, about: "", size: (4, 4), kind: Kind::Stat { unit, expr } }
}

pub(super) fn lines(title: &'static str, unit: &'static str, queries: &[(&'static str, &'static str)]) -> Panel {
    Panel { title, about: "", size: (12, 8), kind: Kind::Lines { unit, queries: queries.to_vec() } }
}

pub(super) fn table(
    title: &'static str,
    keys: Vec<Key>,
    columns: &[(&'static str, &'static str, &'static str)],
) -> Panel {
    let columns = columns.iter().map(|(title, unit, expr)| Column { title, unit, expr }).collect();
    Panel { title, about: "", size: (WIDTH, 10), kind: Kind::Table { keys, columns } }
}

impl Panel {
    pub(super) fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    pub(super) fn size(self, width: u64, height: u64) -> Self {
        Self { size: (width, height), ..self }
    }

    fn model(&self, id: u64, x: u64, y: u64) -> Value {
        let (w, h) = self.size;
        let mut model = match &self.kind {
            Kind::Stat { unit, expr } => json!({
                "type": "stat",
                "targets": [instant(0, expr)],
                "fieldConfig": { "defaults": { "unit": unit, "thresholds": thresholds(unit) }, "overrides": [] },
                "options": {
                    "colorMode": "value", "percentChangeColorMode": "standard", "showPercentChange": false, "graphMode": "none", "justifyMode": "auto", "textMode": "auto", "wideLayout": true,
                    "orientation": "auto", "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                },
            }),
            Kind::Lines { unit, queries } => json!({
                "type": "timeseries",
                "targets": queries.iter().enumerate().map(|(index, (expr, legend))| json!({
                    "refId": reference(index), "datasource": datasource(), "expr": expr, "legendFormat": legend, "range": true,
                })).collect::<Vec<_>>(),
                "fieldConfig": {
                    "defaults": {
                        "unit": unit, "min": 0,
                        "custom": { "drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": false },
                    },
                    "overrides": [],
                },
                "options": {
                    "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [] },
                    "tooltip": { "mode": "multi", "sort": "desc" },
                },
            }),
            Kind::Table { keys, columns } => rows(keys, columns),
        };
        model["id"] = id.into();
        model["title"] = self.title.into();
        model["description"] = self.about.into();
        model["datasource"] = datasource();
        model["gridPos"] = json!({ "x": x, "y": y, "w": w, "h": h });
        model
    }
}

/// `A`, `B`, and so on: a panel has fewer queries than letters.
fn reference(index: usize) -> String {
    char::from(b'A' + u8::try_from(index).expect("fewer than 26 queries")).to_string()
}

fn instant(index: usize, expr: &str) -> Value {
    json!({ "refId": reference(index), "datasource": datasource(), "expr": expr, "instant": true, "range": false })
}

fn thresholds(unit: &str) -> Value {
    let mut steps = vec![json!({ "color": "green", "value": null })];
    if unit == "percentunit" {
        steps.extend([json!({ "color": "orange", "value": 0.8 }), json!({ "color": "red", "value": 0.9 })]);
    }
    json!({ "mode": "absolute", "steps": steps })
}

/// A value that is `0` or `1`.
pub(super) const YES_OR_NO: &str = "bool_yes_no";

fn rows(keys: &[Key], columns: &[Column]) -> Value {
    let targets: Vec<Value> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let mut target = instant(index, column.expr);
            target["format"] = "table".into();
            target
        })
        .collect();
    let mut names = serde_json::Map::new();
    let mut overrides = Vec::new();
    let property = |id: &str, value: Value| json!({ "id": id, "value": value });
    for Key { label, title, url } in keys {
        names.insert((*label).to_owned(), (*title).into());
        if let Some(url) = url {
            let links = json!([{ "title": format!("Open {label} ${{__value.text}}"), "url": url }]);
            overrides.push(
                json!({ "matcher": { "id": "byName", "options": title }, "properties": [property("links", links)] }),
            );
        }
    }
    for (index, Column { title, unit, .. }) in columns.iter().enumerate() {
        names.insert(format!("Value #{}", reference(index)), (*title).into());
        let mut properties = vec![property("unit", (*unit).into())];
        if *unit == "percentunit" {
            properties.extend([
                property("thresholds", thresholds(unit)),
                property("custom.cellOptions", json!({ "type": "color-text" })),
            ]);
        }
        overrides.push(json!({ "matcher": { "id": "byName", "options": title }, "properties": properties }));
    }
    json!({
        "type": "table",
        "targets": targets,
        "fieldConfig": { "defaults": { "custom": { "align": "auto", "filterable": true, "inspect": false } }, "overrides": overrides },
        "options": { "frameIndex": 0, "showHeader": true, "cellHeight": "sm" },
        "transformations": [
            { "id": "merge", "options": {} },
            { "id": "organize", "options": { "excludeByName": { "Time": true }, "indexByName": {}, "renameByName": names } },
        ],
    })
}

/// All panels with their places, from left to right and from top to bottom.
pub(super) fn models(sections: &[Section]) -> Vec<Value> {
    let (mut models, mut id, mut y) = (Vec::new(), 0, 0);
    for Section { title, panels } in sections {
        if title.is_some() {
            y += 1;
        }
        let row = y - u64::from(title.is_some());
        let (mut x, mut height, mut inner) = (0, 0, Vec::new());
        for panel in panels {
            let (w, h) = panel.size;
            if x + w > WIDTH {
                (x, y, height) = (0, y + height, 0);
            }
            id += 1;
            inner.push(panel.model(id, x, y));
            (x, height) = (x + w, height.max(h));
        }
        y += height;
        let Some(title) = title else {
            models.extend(inner);
            continue;
        };
        id += 1;
        models.push(json!({
            "type": "row", "id": id, "title": title, "collapsed": true, "panels": inner,
            "gridPos": { "x": 0, "y": row, "w": WIDTH, "h": 1 },
        }));
    }
    models
}
