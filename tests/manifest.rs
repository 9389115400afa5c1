//! What is published beside the binary: krew's manifest, the pages, the list of reasons, kubectl's completion program, and the
//! workflows that publish it.
//!
//! krew's rules are those of krew `internal/index/validation/validate.go` and `cmd/validate-krew-manifest/main.go`.

use clap::Parser;
use prom_federate::{cli::Cli, error::Reason, model::report::status::ProblemReason, yaml};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

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

/// The sections of docs/troubleshooting.md below a heading of the second level: the heading and the text of each.
fn troubleshooting(part: &str) -> Vec<(String, String)> {
    let page = read("docs/troubleshooting.md");
    let (_, part) = page.split_once(&format!("\n## {part}\n")).unwrap_or_else(|| panic!("no part {part}"));
    let part = part.split("\n## ").next().unwrap_or_default();
    let sections = part.split("\n### ").skip(1).filter_map(|section| section.split_once('\n'));
    sections.map(|(heading, text)| (heading.to_owned(), text.to_owned())).collect()
}

#[test]
fn troubleshooting_has_every_reason_with_its_exit_code() {
    let exit = |text: &str| match text.split_once("Exit code ") {
        Some((_, rest)) => rest.chars().take_while(char::is_ascii_digit).collect(),
        None => "1".to_owned(),
    };
    let explained: Vec<(String, String)> =
        troubleshooting("Errors").into_iter().map(|(reason, text)| (reason, exit(&text))).collect();
    let all: Vec<(String, String)> =
        Reason::ALL.iter().map(|reason| (reason.to_string(), reason.exit_code().to_string())).collect();
    assert_eq!(explained, all);
}

/// The message by which a reader finds the section, what it means, and what to type.
#[test]
fn troubleshooting_has_message_meaning_and_command_of_every_reason() {
    for (reason, text) in troubleshooting("Errors") {
        let (mut messages, mut commands, mut prose, mut block) = (0, 0, 0, None);
        for line in text.lines() {
            match (block, line.strip_prefix("```")) {
                (None, Some(language)) => block = Some(language),
                (Some(_), Some(_)) => block = None,
                (Some("text"), None) => messages += usize::from(line.starts_with(&format!("error ({reason}): "))),
                (Some("console"), None) => commands += usize::from(line.starts_with("$ ")),
                (Some(language), None) => panic!("{reason}: a block of {language:?}"),
                (None, None) => prose += line.split_whitespace().count(),
            }
        }
        assert!(messages > 0, "{reason} has no message of the program");
        assert!(commands > 0, "{reason} has no command");
        assert!(prose >= 10, "{reason}: {prose} words");
    }
}

#[test]
fn troubleshooting_has_every_problem_of_status() {
    let name = |(_, text): (String, String)| text.trim().trim_start_matches('`').split('`').next().map(str::to_owned);
    let explained: Vec<String> = troubleshooting("Problems that status shows").into_iter().filter_map(name).collect();
    let all: Vec<String> = ProblemReason::ALL.iter().map(|reason| format!("{reason:?}")).collect();
    assert_eq!(explained, all);
    for (heading, text) in troubleshooting("Problems that status shows") {
        assert!(!typed(&text).is_empty(), "{heading} has no command");
    }
}

/// The words between the variable parts (`…`) of each message stand so in a file of `src`.
#[test]
fn messages_in_troubleshooting_are_those_of_the_program() {
    let source = sources(&path("src"));
    let mut unknown = Vec::new();
    for (heading, text) in troubleshooting("Errors").into_iter().chain(troubleshooting("Problems that status shows")) {
        for block in text.split("```text\n").skip(1) {
            for line in block.lines().take_while(|line| *line != "```") {
                let message = line.strip_prefix(&format!("error ({heading}): ")).unwrap_or(line);
                let words = message.split('…').map(str::trim).filter(|words| words.chars().any(char::is_alphanumeric));
                unknown
                    .extend(words.filter(|words| !source.contains(words)).map(|words| format!("{heading}: {words}")));
            }
        }
    }
    assert!(unknown.is_empty(), "the program does not say: {unknown:#?}");
}

/// All Rust files of a folder, with their texts in one line and without escapes.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path());
    let text = |file: PathBuf| {
        if file.is_dir() {
            return sources(&file);
        }
        let text =
            if file.extension().is_some_and(|it| it == "rs") { fs::read_to_string(&file) } else { Ok(String::new()) };
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display())).replace("\\\"", "\"");
        // A text is continued behind `\` at the end of a line.
        let mut lines = text.split("\\\n");
        let first = lines.next().unwrap_or_default().to_owned();
        lines.fold(first, |text, line| text + line.trim_start())
    };
    entries.map(text).collect()
}

/// What a reader types: the command lines of the blocks of a page, continued lines as one.
fn typed(page: &str) -> Vec<String> {
    let blocks = page.split("```console\n").skip(1).filter_map(|block| block.split("```").next());
    let joined = blocks.map(|block| block.replace("\\\n", " ")).collect::<String>();
    joined.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// Pages whose commands run prove more; this holds for those that need a broken cluster, too.
#[test]
fn commands_of_the_papers_are_commands_of_the_plugin() {
    let mut count = 0;
    for (paper, text) in papers() {
        for line in typed(&text) {
            let words = shlex::split(&line).unwrap_or_else(|| panic!("{}: {line}: quotes", paper.display()));
            let ends = |word: &String| matches!(word.as_str(), "|" | ">" | ">>" | "<" | "&&" | "||" | "&" | "2>&1");
            for command in words.split(ends) {
                let Some(start) = command.windows(2).position(|pair| pair == ["kubectl", "prom-federate"]) else {
                    continue;
                };
                count += 1;
                let parsed = Cli::try_parse_from(&command[start + 1..]);
                let is_help = |error: &clap::Error| error.exit_code() == 0;
                assert!(
                    parsed.as_ref().err().is_none_or(is_help),
                    "{}: {line}\n{}",
                    paper.display(),
                    parsed.expect_err("an error")
                );
            }
        }
    }
    assert!(count > 100, "{count}");
}

/// A page with commands is run by a trial, or CONTRIBUTING.md says why not.
#[test]
fn every_page_is_run_or_has_a_reason() {
    let (run, contributing) = (read("tests/e2e/pages.rs"), read("CONTRIBUTING.md"));
    let listed: Vec<&str> = contributing
        .lines()
        .skip_while(|line| !line.starts_with("| page | why its commands"))
        .skip(2)
        .map_while(|line| line.strip_prefix("| "))
        .filter_map(|line| line.split(" | ").next())
        .flat_map(|pages| pages.split(", "))
        .map(|page| page.trim_matches('`'))
        .collect();
    assert!(listed.len() > 5, "{listed:?}");
    for (paper, text) in papers() {
        let commands = typed(&text).len();
        let name = paper.strip_prefix(path("")).expect("it is in here").to_str().expect("UTF-8").to_owned();
        let is_run = run.contains(&format!("\"{name}\""));
        let is_listed = listed.contains(&name.as_str());
        assert!(
            commands == 0 || is_run != is_listed,
            "{name}: run {is_run}, in the list of CONTRIBUTING.md {is_listed}"
        );
        assert!(commands > 0 || !is_listed, "{name} has no commands");
    }
    assert!(listed.iter().all(|page| path(page).exists()), "{listed:?}");
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
    for folder in ["", "docs", "docs/decisions", "docs/destinations", "docs/guides", "docs/schemas"] {
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
fn every_dependency_says_what_it_is_for() {
    let cargo = read("Cargo.toml");
    let (_, rest) = cargo.split_once("\n[dependencies]\n").expect("dependencies");
    let lines = rest.lines().take_while(|line| !line.starts_with('['));
    let mut needed: Vec<&str> = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, rest) = line.split_once(" = ")?;
            Some(rest.split_once("package = \"").map_or(name, |(_, rest)| rest.split('"').next().unwrap_or(name)))
        })
        .collect();
    let page = read("docs/dependencies.md");
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let mut named: Vec<&str> = cells.flat_map(|cell| cell.split(", ").map(|name| name.trim_matches('`'))).collect();
    needed.sort_unstable();
    named.sort_unstable();
    assert_eq!(named, needed);
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
