//! What is published beside the binary: krew's manifest, the list of reasons, kubectl's completion program, and the
//! workflows that publish it.
//!
//! krew's rules are those of krew `internal/index/validation/validate.go` and `cmd/validate-krew-manifest/main.go`.

use prom_federate::{error::Reason, yaml};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

const PLATFORMS: [(&str, &str); 4] = [("linux", "amd64"), ("linux", "arm64"), ("darwin", "amd64"), ("darwin", "arm64")];

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn manifest() -> Value {
    yaml::read(&read("plugin.yaml")).expect("plugin.yaml is YAML")
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer} is no string"))
}

fn platforms(manifest: &Value) -> &Vec<Value> {
    manifest["spec"]["platforms"].as_array().expect("spec.platforms is a list")
}

#[test]
fn the_manifest_is_of_a_plugin_that_kubectl_finds() {
    let manifest = manifest();
    assert_eq!(text(&manifest, "/apiVersion"), "krew.googlecontainertools.github.com/v1alpha2");
    assert_eq!(text(&manifest, "/kind"), "Plugin");
    let name = text(&manifest, "/metadata/name");
    assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{name}");
    // krew links `kubectl-` and the name with each `-` turned into `_`.
    assert_eq!(format!("kubectl-{}", name.replace('-', "_")), "kubectl-prom_federate");
}

#[test]
fn the_manifest_is_of_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(text(&manifest(), "/spec/version"), format!("v{version}"));
    let mut numbers = version.split(['-', '+']).next().unwrap_or_default().split('.');
    assert!(
        numbers.by_ref().take(3).all(|number| number.parse::<u64>().is_ok()) && numbers.next().is_none(),
        "{version}"
    );
    assert!(read("CHANGELOG.md").contains(&format!("## [{version}]")), "CHANGELOG.md has a section for {version}");
}

#[test]
fn the_descriptions_fit() {
    let manifest = manifest();
    let short = text(&manifest, "/spec/shortDescription");
    assert!((1..=50).contains(&short.chars().count()) && !short.contains(['\n', '\r']), "{short:?}");
    let description = text(&manifest, "/spec/description");
    assert!(description.lines().all(|line| line.chars().count() <= 80), "description is wrapped at 80 columns");
    assert!(!description.contains("$ "), "usage examples belong into the README");
    assert_eq!(text(&manifest, "/spec/homepage"), env!("CARGO_PKG_REPOSITORY"));
}

#[test]
fn every_platform_is_complete_known_and_there_once() {
    let manifest = manifest();
    let version = text(&manifest, "/spec/version");
    let mut seen = BTreeSet::new();
    for platform in platforms(&manifest) {
        let selector = platform["selector"]["matchLabels"].as_object().expect("a selector by labels");
        assert!(selector.keys().all(|key| key == "os" || key == "arch"), "{selector:?}");
        let (os, arch) = (text(platform, "/selector/matchLabels/os"), text(platform, "/selector/matchLabels/arch"));
        assert!(PLATFORMS.contains(&(os, arch)), "{os}/{arch}");
        assert!(seen.insert((os, arch)), "{os}/{arch} is there twice");

        let archive = format!("kubectl-prom_federate-{version}-{os}-{arch}.tar.gz");
        let uri = format!("{}/releases/download/{version}/{archive}", env!("CARGO_PKG_REPOSITORY"));
        assert_eq!(text(platform, "/uri"), uri);
        let sha256 = text(platform, "/sha256");
        assert!(sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{sha256}");

        let bin = text(platform, "/bin");
        let files: Vec<&str> =
            platform["files"].as_array().expect("a list of files").iter().map(|file| text(file, "/from")).collect();
        assert!(platform["files"].as_array().is_some_and(|files| files.iter().all(|file| file["to"].is_string())));
        assert!(files.contains(&bin), "{bin} is not among the files");
        assert!(files.contains(&"LICENSE"), "krew wants the licence extracted");
    }
    assert_eq!(seen, BTreeSet::from(PLATFORMS));
}

/// The workflows, each with its name and text.
fn workflows() -> Vec<(String, String)> {
    let files = fs::read_dir(path(".github/workflows")).expect("a folder").map(|entry| entry.expect("readable").path());
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (file.file_name().expect("a name").to_string_lossy().into_owned(), text)
    };
    files.map(read).collect()
}

/// The owner of an action can move its tags, but not a commit.
#[test]
fn every_action_is_pinned_by_commit() {
    let mut count = 0;
    for (file, text) in workflows() {
        for line in text.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix("uses: ")) {
            count += 1;
            if line.starts_with("./") {
                continue;
            }
            let (action, version) = line.split_once(" # v").unwrap_or_else(|| panic!("{file}: {line} has no version"));
            let (_, commit) = action.split_once('@').unwrap_or_else(|| panic!("{file}: {line} has no commit"));
            let is_commit = commit.len() == 40 && commit.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            assert!(is_commit && version.split('.').count() == 3, "{file}: {line}");
        }
    }
    assert!(count > 10, "{count}");
}

/// What is more than reading the repository, by workflow and job.
const PERMISSIONS: [(&str, &str, &str); 3] = [
    ("release.yml", "attest", "attestations: write"),
    ("release.yml", "attest", "id-token: write"),
    ("release.yml", "publish", "contents: write"),
];

#[test]
fn no_job_may_do_more_than_it_needs() {
    let mut more = Vec::new();
    for (file, text) in workflows() {
        let workflow = yaml::read(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert_eq!(
            workflow["permissions"],
            Value::Object(serde_json::Map::new()),
            "{file}: each job says what it may do"
        );
        for (name, job) in workflow["jobs"].as_object().expect("jobs") {
            let permissions = job["permissions"].as_object().unwrap_or_else(|| panic!("{file}: {name} has none"));
            for (scope, access) in permissions {
                let permission = format!("{scope}: {}", access.as_str().expect("a word"));
                if permission != "contents: read" {
                    more.push((file.clone(), name.clone(), permission));
                }
            }
            for step in job["steps"].as_array().into_iter().flatten() {
                let is_checkout = step["uses"].as_str().is_some_and(|action| action.starts_with("actions/checkout@"));
                assert!(!is_checkout || step["with"]["persist-credentials"] == false, "{file}: {name} keeps its token");
                // Text of a tag or a title is no text of a script.
                let script = step["run"].as_str().unwrap_or_default();
                assert!(!script.contains("${{"), "{file}: {name}: {script}");
            }
        }
    }
    more.sort();
    let allowed = PERMISSIONS.map(|(file, job, permission)| (file.to_owned(), job.to_owned(), permission.to_owned()));
    assert_eq!(more, allowed);
}

#[test]
fn release_is_tested_built_by_one_compiler_and_attested() {
    let workflow = yaml::read(&read(".github/workflows/release.yml")).expect("YAML");
    let compiler = text(&workflow, "/env/RUST");
    assert!(compiler.split('.').filter(|number| number.parse::<u32>().is_ok()).count() == 3, "{compiler}");
    let jobs = workflow["jobs"].as_object().expect("jobs");
    assert_eq!(jobs["tests"]["uses"], "./.github/workflows/ci.yml");
    let needs = |job: &str| serde_json::to_string(&jobs[job]["needs"]).expect("JSON");
    for (job, needed) in [("publish", "attest"), ("attest", "tests"), ("attest", "assemble"), ("assemble", "build")] {
        assert!(needs(job).contains(&format!("\"{needed}\"")), "{job} does not need {needed}");
    }
    for (name, job) in jobs {
        for script in job["steps"].as_array().into_iter().flatten().filter_map(|step| step["run"].as_str()) {
            for line in script.lines().filter(|line| line.contains("cargo ") || line.contains("rustup ")) {
                assert!(line.contains("$RUST"), "{name}: {line}");
            }
        }
    }
}

#[test]
fn the_docs_list_every_reason_with_its_exit_code() {
    let listed: Vec<(String, String)> = read("docs/errors.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .filter_map(|(reason, rest)| Some((reason.to_owned(), rest.split_once(" |")?.0.to_owned())))
        .collect();
    let all: Vec<(String, String)> =
        Reason::ALL.iter().map(|reason| (reason.to_string(), reason.exit_code().to_string())).collect();
    assert_eq!(listed, all);
}

#[test]
fn kubectl_completes_by_the_binary_itself() {
    let shim = read("completions/kubectl_complete-prom_federate");
    assert!(shim.starts_with("#!/bin/sh\n"));
    assert_eq!(shim.lines().last(), Some("exec kubectl-prom_federate __complete \"$@\""));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode =
            fs::metadata(path("completions/kubectl_complete-prom_federate")).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "kubectl runs only what is executable");
    }
}

/// Every Markdown file of the repository, with its text.
fn papers() -> impl Iterator<Item = (PathBuf, String)> {
    let mut papers = Vec::new();
    for folder in ["", "docs", "docs/decisions", "docs/destinations"] {
        let files = fs::read_dir(path(folder)).expect("a folder").map(|entry| entry.expect("readable").path());
        papers.extend(files.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    }
    papers.into_iter().map(|paper| {
        let text = fs::read_to_string(&paper).unwrap_or_else(|error| panic!("{}: {error}", paper.display()));
        (paper, text)
    })
}

#[test]
fn every_relative_link_leads_somewhere() {
    for (paper, text) in papers() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link) {
            let (target, anchor) = link.split_once('#').unwrap_or((link, ""));
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let target = if target.is_empty() { paper.clone() } else { paper.with_file_name("").join(target) };
            assert!(target.exists(), "{}: {link}", paper.display());
            if !anchor.is_empty() {
                let page = fs::read_to_string(&target).expect("a page");
                assert!(headings(&page).any(|heading| heading == anchor), "{}: {link}", paper.display());
            }
        }
    }
}

#[test]
fn readme_has_at_most_150_lines() {
    assert!(read("README.md").lines().count() <= 150, "details belong into docs/");
}

/// Tables and code blocks may be wider, and so may a line of one word, such as a link.
#[test]
fn prose_wraps_at_100_columns() {
    for (paper, text) in papers() {
        let mut in_code = false;
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start().starts_with("```");
            in_code ^= code;
            let prose = !in_code && !code && !line.starts_with('|');
            assert!(
                !prose || line.chars().count() <= 100 || line.split_whitespace().count() == 1,
                "{}:{}: {line}",
                paper.display(),
                number + 1
            );
        }
    }
}

/// The anchors that GitHub gives to the headings of a page.
fn headings(page: &str) -> impl Iterator<Item = String> {
    page.lines().filter(|line| line.starts_with('#')).map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        title
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
            .map(|c| if c == ' ' { '-' } else { c })
            .collect()
    })
}
