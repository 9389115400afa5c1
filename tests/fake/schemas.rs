//! What programs read is as `docs/schemas/` says. Beside these tests, each report that a command prints in any test is
//! compared with its schema ([`Run::new`]).

use crate::{Run, World, run::schema};
use prom_federate::{
    error::Reason,
    model::report::{checklist::CheckName, status::ProblemReason},
};
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schemas/{name}.json"))
}

fn schema(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(file(name)).expect("a schema")).expect("JSON")
}

/// The names of all fields below a schema.
fn fields(schema: &Value) -> Vec<String> {
    let below = |value: &Value| match value {
        Value::Object(map) => map.values().flat_map(fields).collect(),
        Value::Array(list) => list.iter().flat_map(fields).collect(),
        _ => Vec::new(),
    };
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    own.chain(below(schema)).collect()
}

/// `apiServer` in a schema is `pub api_server:` in a type.
#[test]
fn schemas_describe_no_field_that_does_not_exist() {
    let files =
        ["report/mod.rs", "report/status/report.rs", "report/checklist/mod.rs", "store/record.rs", "token/mod.rs"];
    let read = |file: &&str| {
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model").join(file)).expect("a source")
    };
    let types: String = files.iter().map(read).collect();
    for field in ["report", "record"].iter().flat_map(|name| fields(&schema(name))) {
        let snake: String = field
            .chars()
            .map(|c| if c.is_uppercase() { format!("_{}", c.to_ascii_lowercase()) } else { c.to_string() })
            .collect();
        assert!(types.contains(&format!("pub {snake}: ")), "{field}");
    }
}

/// The names are listed from the program: with `UPDATE=1` the schema is written anew.
#[test]
fn schema_has_every_reason_and_check() {
    let text = fs::read_to_string(file("report")).expect("a schema");
    let problems = ProblemReason::ALL.iter().map(|reason| format!("{reason:?}"));
    let listed = with_names(&text, "Reason", Reason::ALL.iter().map(ToString::to_string));
    let listed = with_names(&listed, "ProblemReason", problems);
    let checks = serde_json::to_value(CheckName::ALL).expect("JSON");
    let checks = checks.as_array().into_iter().flatten().map(|name| name.as_str().expect("a name").to_owned());
    let listed = with_names(&listed, "CheckName", checks);
    if env::var_os("UPDATE").is_some() {
        fs::write(file("report"), &listed).expect("it can be written");
    }
    assert!(listed == text, "UPDATE=1 cargo test --test fake -- schema_has_every_reason_and_check");
}

/// With these names in the `enum` of a definition.
fn with_names(schema: &str, definition: &str, names: impl Iterator<Item = String>) -> String {
    let begin = schema.find(&format!("\n    \"{definition}\": {{")).expect("a definition");
    let (before, rest) = schema.split_at(begin + schema[begin..].find("\"enum\": [").expect("an enum"));
    let (_, after) = rest.split_once(']').expect("an end");
    let names: Vec<String> = names.map(|name| format!("\n        \"{name}\"")).collect();
    format!("{before}\"enum\": [{}\n      ]{after}", names.join(","))
}

#[test]
fn records_and_reports_are_as_their_schemas_say() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("prometheus.yml"), "").expect("a file");
    let path = folder.path().to_str().expect("UTF-8");
    let said = |run: Run, kind: &str| {
        let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
        assert_eq!(report["kind"], kind);
        report
    };
    let to = ["-p", path, "--reload=none", "-o=json"];
    let command = |words: &[&str]| world.run(&[words, &to[..]].concat());
    let valid_record = || -> Value {
        let plugin = folder.path().join("prom-federate");
        let jobs = fs::read_to_string(plugin.join("east.scrape.yml")).expect("jobs");
        let token = jobs.lines().find_map(|line| line.trim().strip_prefix("credentials_file: ")).expect("its token");
        let record = plugin.join(token.trim_matches('"')).with_file_name("cluster.json");
        let record: Value = serde_json::from_str(&fs::read_to_string(record).expect("a record")).expect("JSON");
        schema::assert_valid("record", &record);
        record
    };
    said(command(&["join", "--owner=0:0"]), "JoinReport");
    assert_eq!(valid_record()["version"], 1);
    said(command(&["rotate", "--now"]), "RotateReport");
    assert!(valid_record()["replaces"].as_array().is_some_and(|replaced| !replaced.is_empty()));
    let unusual = [
        "--pin-nodes",
        "--node-selector=type!=virtual-kubelet",
        "--sample-limit=7000",
        "--body-size-limit=1MB",
        "--api-server=https://east.example:6443",
        "--scrape-interval=2m",
    ];
    said(command(&[&["join"][..], &unusual].concat()), "JoinReport");
    let record = valid_record();
    for field in ["route", "nodeSelector", "sampleLimit", "bodySizeLimit"] {
        assert!(!record[field].is_null(), "{field}: {record}");
    }
    said(world.run(&["status", "-p", path, "-o=json"]), "StatusReport");
    said(command(&["check"]), "CheckReport");
    said(command(&["leave", "east", "--dry-run=server"]), "LeaveReport");
}
