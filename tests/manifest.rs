//! What is published beside the binary: krew's manifest, the list of reasons, kubectl's completion program.
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

/// Each release fills in version and checksums from `.krew.yaml`; but for those the two say the same.
#[test]
fn the_template_gives_this_manifest() {
    let manifest = manifest();
    let version = text(&manifest, "/spec/version");
    let mut rendered = String::new();
    for line in read(".krew.yaml").lines() {
        let line = line.replace("{{ .TagName }}", version);
        // {{addURIAndSha "URI" .TagName }}
        match line.trim_start().strip_prefix("{{addURIAndSha \"").and_then(|rest| rest.split_once('"')) {
            Some((uri, rest)) => {
                assert_eq!(rest, " .TagName }}");
                let found = platforms(&manifest)
                    .iter()
                    .find(|platform| platform["uri"] == uri)
                    .unwrap_or_else(|| panic!("{uri}"));
                rendered += &format!("    uri: {uri}\n    sha256: \"{}\"\n", text(found, "/sha256"));
            }
            None => rendered += &format!("{line}\n"),
        }
    }
    assert_eq!(yaml::read(&rendered).expect("the rendered template is YAML"), manifest);
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
