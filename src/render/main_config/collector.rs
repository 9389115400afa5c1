//! The configuration of an OpenTelemetry Collector: which of its Prometheus receivers read which files, and how to add a
//! receiver.
//!
//! Receivers and pipelines are names of each other in one file or in several, see the collector's `confmap`. `$` is written
//! `$$` there. What `${…}` stands for is not known here.

use super::edit::{
    Edit, Line, NULLS, edited, edits_in, first_word, insertion, is_void, line_ending, lines, scalar, value_of,
};
use crate::yaml;
use serde_json::{Map, Value, json};

/// The receiver that reads the plugin's files.
pub const RECEIVER: &str = "prometheus/federate";

/// The sections of a configuration, `otelcol/config.go`.
const SECTIONS: [&str; 6] = ["connectors", "exporters", "extensions", "processors", "receivers", "service"];

/// The address of a receiver's API where the configuration names none: `internal/apiserver/config.go` of the receiver.
const DEFAULT_API: &str = "127.0.0.1:9090";

/// The address of a collector's own metrics where the configuration names none: `service/telemetry/otelconftelemetry` of
/// the collector.
const DEFAULT_METRICS: (&str, u64) = ("localhost", 8888);

/// Where a collector shows its own metrics, `HOST:PORT`; none where it does not, or another file says so.
pub(super) fn metrics(value: &Map<String, Value>) -> Option<String> {
    let metrics = &value.get("service")?["telemetry"]["metrics"];
    if metrics["level"] == "none" {
        return None;
    }
    let address = |exporter: &Value| {
        let host = exporter.get("host").map_or(Some(DEFAULT_METRICS.0), Value::as_str)?;
        Some(format!("{host}:{}", exporter.get("port").map_or(Some(DEFAULT_METRICS.1), Value::as_u64)?))
    };
    match &metrics["readers"] {
        Value::Null => Some(format!("{}:{}", DEFAULT_METRICS.0, DEFAULT_METRICS.1)),
        readers => readers.as_array()?.iter().find_map(|reader| address(reader.pointer("/pull/exporter/prometheus")?)),
    }
}

/// A receiver that scrapes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    pub id: String,
    /// Of files with jobs.
    pub patterns: Vec<String>,
    /// `HOST:PORT` of its API, if that is switched on.
    pub api: Option<String>,
    /// The names of its own jobs.
    pub jobs: Vec<String>,
}

/// Whether a mapping is the configuration of a collector, or a part of it.
pub(super) fn is_collectors(value: &Map<String, Value>) -> bool {
    !value.is_empty() && value.keys().all(|key| SECTIONS.contains(&key.as_str()))
}

/// The receivers that scrape. Pipelines may be in another file of the collector: then every receiver counts.
pub(super) fn receivers(value: &Map<String, Value>) -> Vec<Receiver> {
    let pipelines = metrics_pipelines(value);
    let is_used = |id: &str| {
        let lists = pipelines.iter().any(|(_, receivers)| receivers.contains(&id));
        lists || value.get("service").is_none_or(|service| service["pipelines"].is_null())
    };
    let all = value.get("receivers").and_then(Value::as_object).into_iter().flatten();
    all.filter(|(id, _)| is_prometheus(id) && is_used(id)).map(|(id, receiver)| read(id, receiver)).collect()
}

fn read(id: &str, receiver: &Value) -> Receiver {
    let config = &receiver["config"];
    let texts = |list: &Value, of: &dyn Fn(&Value) -> Option<String>| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(of).collect()
    };
    let api = &receiver["api_server"];
    let endpoint = api["server_config"]["endpoint"].as_str().unwrap_or(DEFAULT_API);
    Receiver {
        id: id.to_owned(),
        patterns: texts(&config["scrape_config_files"], &|pattern| Some(unescaped(pattern.as_str()?))),
        api: (api["enabled"] == true).then(|| endpoint.to_owned()),
        jobs: texts(&config["scrape_configs"], &|job| Some(unescaped(job["job_name"].as_str()?))),
    }
}

fn is_prometheus(id: &str) -> bool {
    id.split('/').next() == Some("prometheus")
}

/// Each with its receivers.
fn metrics_pipelines(value: &Map<String, Value>) -> Vec<(&str, Vec<&str>)> {
    let pipelines = value.get("service").and_then(|service| service["pipelines"].as_object()).into_iter().flatten();
    let of_metrics = pipelines.filter(|(id, _)| id.split('/').next() == Some("metrics"));
    of_metrics
        .map(|(id, pipeline)| {
            let receivers = pipeline["receivers"].as_array().into_iter().flatten().filter_map(Value::as_str);
            (id.as_str(), receivers.collect())
        })
        .collect()
}

fn unescaped(text: &str) -> String {
    text.replace("$$", "$")
}

/// A text as the collector reads it unchanged.
pub(super) fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// A configuration beside that of a collector, which gives a receiver the jobs of these fragments and of these other
/// files alone.
pub fn with_jobs(receiver: &str, others: &[String], fragments: &[&str]) -> String {
    let others: Vec<String> = others.iter().map(|path| yaml::quoted(&escaped(path))).collect();
    let is_of_jobs = |line: &&str| !line.starts_with('#') && *line != "scrape_configs:";
    let jobs = fragments.iter().flat_map(|fragment| fragment.lines().filter(is_of_jobs));
    let jobs: String = jobs.map(|line| format!("      {}\n", escaped(line))).collect();
    format!(
        "receivers:\n  {}:\n    config:\n      scrape_config_files: [{}]\n      scrape_configs:\n{jobs}",
        yaml::quoted(receiver),
        others.join(", ")
    )
}

/// The lines to add by hand, for people.
pub fn by_hand(pattern: &str) -> [String; 2] {
    let pattern = scalar(&escaped(pattern));
    [
        format!("receivers: {{{RECEIVER}: {{config: {{scrape_config_files: [{pattern}]}}}}}}"),
        format!("and {RECEIVER} in the receivers of a pipeline of metrics"),
    ]
}

/// The text and the value with a receiver of these files, in the only pipeline of metrics, or the only one that scrapes.
///
/// The error completes a sentence about the configuration.
pub(super) fn with_receiver(
    text: &str,
    value: &Map<String, Value>,
    pattern: &str,
    api: Option<&str>,
) -> Result<(String, Map<String, Value>), String> {
    let pipeline = pipeline(value)?;
    let mut wanted = value.clone();
    let mut text = text.to_owned();
    let found = wanted.get_mut("service").and_then(|service| service.get_mut("pipelines")?.get_mut(&pipeline));
    let used = found.and_then(|pipeline| pipeline.get_mut("receivers")?.as_array_mut());
    let used = used.ok_or_else(|| format!("has a pipeline {pipeline} without a list of receivers"))?;
    if !used.contains(&json!(RECEIVER)) {
        used.push(json!(RECEIVER));
        let steps = ["service", "pipelines", pipeline.as_str()];
        text = in_block(&text, &steps, |lines| edits_in(&text, lines, "receivers", RECEIVER))?;
    }
    let mut config = json!({ "config": { "scrape_config_files": [pattern] } });
    if let Some(api) = api {
        config["api_server"] = json!({ "enabled": true, "server_config": { "endpoint": api } });
    }
    let receivers = wanted.entry("receivers").or_insert_with(|| json!({}));
    let receivers = receivers.as_object_mut().ok_or("has receivers that are no mapping")?;
    match receivers.get(RECEIVER).map(|receiver| read(RECEIVER, receiver)) {
        None => {
            receivers.insert(RECEIVER.to_owned(), config);
            text = with_block(&text, pattern, api)?;
        }
        Some(found) if found.patterns.contains(&unescaped(pattern)) => {}
        Some(_) => return Err(format!("has a receiver {RECEIVER} of other files")),
    }
    Ok((text, wanted))
}

fn pipeline(value: &Map<String, Value>) -> Result<String, String> {
    let all = metrics_pipelines(value);
    let scraping: Vec<&str> =
        all.iter().filter(|(_, receivers)| receivers.iter().any(|id| is_prometheus(id))).map(|(id, _)| *id).collect();
    match (&all[..], &scraping[..]) {
        ([], _) => Err("has no pipeline of metrics: name the file that has it with -p".to_owned()),
        ([(only, _)], _) | (_, [only]) => Ok((*only).to_owned()),
        (all, _) => {
            let names: Vec<&str> = all.iter().map(|(id, _)| *id).collect();
            Err(format!("has several pipelines of metrics ({})", names.join(", ")))
        }
    }
}

/// The receiver below the last one, or with the key at the end of the document.
fn with_block(text: &str, pattern: &str, api: Option<&str>) -> Result<String, String> {
    let mut own = vec![
        format!("{RECEIVER}:"),
        "  config:".to_owned(),
        "    scrape_config_files:".to_owned(),
        format!("    - {}", scalar(pattern)),
    ];
    if let Some(api) = api {
        own.extend(["  api_server:", "    enabled: true", "    server_config:"].map(str::to_owned));
        own.push(format!("      endpoint: {api}"));
    }
    let eol = line_ending(text);
    let all = lines(text);
    let has_key = all.iter().any(|line| value_of(line.content, "receivers").is_some());
    if !has_key {
        let end = all.iter().find(|line| line.content == "..." || line.content.starts_with("... "));
        let at = end.map_or(text.len(), |line| line.start);
        let before = if text[..at].is_empty() || text[..at].ends_with(['\n', '\u{feff}']) { "" } else { eol };
        let margin = all.iter().find(|line| !line.is_void()).map_or("", |line| line.margin);
        let block: String = own.iter().map(|line| format!("{margin}  {line}{eol}")).collect();
        return Ok(edited(text, vec![insertion(at, format!("{before}{margin}receivers:{eol}{block}"))]));
    }
    in_block(text, &["receivers"], |lines| {
        let last = lines.iter().rev().find(|line| !line.is_void()).ok_or("is empty")?;
        let own: Vec<String> = own
            .iter()
            .enumerate()
            .map(|(at, line)| if at == 0 { line.clone() } else { format!("{}{line}", last.margin) })
            .collect();
        Ok(vec![last.followed_by(text, &own.join(eol))])
    })
}

/// The text after edits of the block below these keys, each of which has its value on the lines below it.
fn in_block<'t>(
    text: &'t str,
    keys: &[&str],
    edits: impl FnOnce(&[Line<'t>]) -> Result<Vec<Edit>, &'static str>,
) -> Result<String, String> {
    let path = keys.join(".");
    let about = |why: &str| format!("cannot be edited safely: {path} {why}");
    let mut block = lines(text);
    for key in keys {
        block = below(text, &block, key).map_err(about)?;
    }
    Ok(edited(text, edits(&block).map_err(about)?))
}

/// The lines of a key's value, with the indentation of the first as their margin.
fn below<'t>(text: &'t str, lines: &[Line<'t>], key: &str) -> Result<Vec<Line<'t>>, &'static str> {
    let mut keys = lines.iter().enumerate().filter_map(|(at, line)| Some((at, value_of(line.content, key)?)));
    let (at, value) = keys.next().ok_or("is missing")?;
    if keys.next().is_some() {
        return Err("occurs twice");
    }
    if !is_void(value) {
        let is_null = NULLS.contains(&first_word(value));
        return Err(if is_null { "is empty" } else { "is not a mapping on lines of its own" });
    }
    let body: Vec<&Line<'t>> = lines[at + 1..].iter().take_while(|line| line.is_void() || line.is_indented()).collect();
    let first = body.iter().find(|line| !line.is_void()).ok_or("is empty")?;
    let indentation = first.indentation();
    let margin = &text[first.start - first.margin.len()..first.start + indentation.len()];
    let inner = body.into_iter().map(|line| match line.content.strip_prefix(indentation) {
        Some(content) => Line { margin, start: line.start + indentation.len(), content, ending: line.ending },
        // A comment.
        None => Line { margin, start: line.start, content: line.content, ending: line.ending },
    });
    Ok(inner.collect())
}
