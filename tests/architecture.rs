//! The graph of modules has no circle, and each room of `src` knows only the rooms below it.
//!
//! It reads `use` declarations and paths in the text, at the level of files. A parent that declares,
//! exports or calls a child by its path does not import it. An import of what a parent exports leads to the file that
//! has it. Tests are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
};

/// What each room may import, beside itself.
const ROOMS: [(&str, &[&str]); 16] = [
    ("clock", &[]),
    ("error", &[]),
    ("yaml", &["model"]),
    ("model", &["error"]),
    ("cli", &["error", "model"]),
    ("render", &["error", "model", "yaml"]),
    ("kubeconfig", &["clock", "error", "model", "yaml"]),
    ("cluster", &["clock", "error", "kubeconfig", "model", "yaml"]),
    ("completion", &["cli", "cluster", "destination", "error", "kubeconfig", "model"]),
    ("host", &["clock", "error", "model", "render"]),
    ("destination", &["clock", "cluster", "error", "host", "kubeconfig", "model", "render", "yaml"]),
    ("stages", &["clock", "cluster", "destination", "error", "host", "kubeconfig", "model", "render", "yaml"]),
    ("ui", &["clock", "error", "model", "render"]),
    (
        "commands",
        &[
            "cli",
            "clock",
            "cluster",
            "destination",
            "error",
            "host",
            "kubeconfig",
            "model",
            "render",
            "stages",
            "ui",
            "yaml",
        ],
    ),
    ("lib", &[]),
    ("main", &["cli", "commands", "completion", "ui"]),
];

/// What only some modules may use: API servers, files, processes, the environment, the clock, the event loop.
const RESERVED: [(&str, &[&str]); 8] = [
    // Prometheus is asked with the same HTTP client.
    ("kube", &["cluster", "host::http"]),
    ("std::fs", &["cluster::client", "destination", "host", "kubeconfig"]),
    ("std::process::Command", &["destination", "host", "kubeconfig"]),
    ("tokio::process", &["destination", "host", "kubeconfig"]),
    (
        "std::env",
        &[
            "cluster::client",
            "cluster::network",
            "commands::print_unit",
            "destination",
            "host",
            "kubeconfig",
            "main",
            "ui",
        ],
    ),
    ("std::time::SystemTime", &["destination", "host"]),
    ("jiff::Timestamp::now", &["clock"]),
    (
        "tokio",
        &["clock", "cluster", "commands", "completion::look", "destination", "host", "kubeconfig", "stages", "ui"],
    ),
];

/// A path as its words: `crate::model::job` is `[crate, model, job]`.
type Words = Vec<String>;

#[derive(Default)]
struct Module {
    /// Paths of `use` declarations that export nothing, each with the name that it has here.
    uses: Vec<(Words, String)>,
    /// What it exports of other modules, by the name that it has here.
    exports: BTreeMap<String, Words>,
    /// Everything else.
    body: String,
}

#[test]
fn modules_have_no_circle() {
    let circles = circles(&imports(&modules()));
    assert!(circles.is_empty(), "circles of modules:\n{}", circles.join("\n"));
}

#[test]
fn rooms_know_only_those_below_them() {
    let modules = modules();
    let mut broken = Vec::new();
    for (module, targets) in &imports(&modules) {
        let allowed = allowed(module);
        let above = targets.iter().filter(|target| room(target) != room(module) && !allowed.contains(&room(target)));
        broken.extend(above.map(|target| format!("{module} imports {target}")));
    }
    assert!(broken.is_empty(), "layers are broken:\n{}", broken.join("\n"));
}

#[test]
fn only_some_modules_touch_what_is_outside() {
    let modules = modules();
    let mut broken = Vec::new();
    for (name, module) in &modules {
        let used = module.externals(&modules, name);
        for (reserved, owners) in RESERVED {
            let is_owner = |owner: &&str| name == owner || name.starts_with(&format!("{owner}::"));
            let is_it = |path: &&String| *path == reserved || path.starts_with(&format!("{reserved}::"));
            if !owners.iter().any(is_owner) {
                broken.extend(used.iter().find(is_it).map(|path| format!("{name} uses {path}")));
            }
        }
    }
    assert!(broken.is_empty(), "RESERVED does not name them:\n{}", broken.join("\n"));
}

/// Objects and pages have their paths in the model. Commands for users do not count.
#[test]
fn only_cluster_builds_requests_to_an_api_server() {
    let mut broken = Vec::new();
    for (name, module) in &modules() {
        let is_its_own = name == "destination::prometheus::api" || ["cluster", "model"].contains(&room(name));
        let is_path = |line: &&str| {
            let code = line.replace("kubectl get --raw /", "");
            code.contains("/apis/") || code.contains("/api/v1")
        };
        broken.extend(module.body.lines().filter(|_| !is_its_own).find(is_path).map(|line| format!("{name}: {line}")));
    }
    assert!(broken.is_empty(), "requests are built outside of cluster:\n{}", broken.join("\n"));
}

#[test]
fn circles_and_imports_are_seen() {
    let of = |files: [(&str, &str); 4]| {
        let mut modules = BTreeMap::new();
        for (name, text) in files {
            modules.insert(name.to_owned(), Module::read(text));
        }
        imports(&modules).into_iter().map(|(name, targets)| format!("{name}: {targets:?}")).collect::<Vec<_>>()
    };
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::b;\n}\n";
    let seen = of([
        ("a", &format!("mod b;\npub use b::{{self as other, Thing}};\nfn f(_: Thing) {{}}\n{tests}")),
        ("a::b", "use super::c::{self, X as Y};\n// crate::d\npub(in crate::a) fn f() { c::g(); }\n"),
        ("a::c", "use crate::a::Thing;\n"),
        ("d", "fn f() { crate::a::c::g(); prom::x(); }\n"),
    ]);
    assert_eq!(seen, ["a: {\"a::b\"}", "a::b: {\"a::c\"}", "a::c: {\"a::b\"}", "d: {\"a::c\"}"]);
    let imports = BTreeMap::from([("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["b", "d"]), ("d", vec![])])
        .into_iter()
        .map(|(name, targets)| (name.to_owned(), targets.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(circles(&imports), ["b -> c -> b"]);
    let module = Module::read(
        "use std::{fs::File, process as p};\nuse jiff::Timestamp;\nfn f() { Timestamp::now(); kube::x(); p::Command::new(); }\n",
    );
    let seen: Vec<String> = module.externals(&BTreeMap::new(), "a").into_iter().collect();
    assert_eq!(
        seen,
        [
            "jiff::Timestamp",
            "jiff::Timestamp::now",
            "kube::x",
            "std::fs::File",
            "std::process",
            "std::process::Command::new"
        ]
    );
}

fn room(module: &str) -> &str {
    module.split([':', ' ']).next().unwrap_or_default()
}

fn allowed(module: &str) -> &'static [&'static str] {
    let found = ROOMS.iter().find(|(name, _)| *name == room(module));
    found.unwrap_or_else(|| panic!("{module} is in no room that ROOMS names")).1
}

/// By name: `model::job`. The root is `lib`.
fn modules() -> BTreeMap<String, Module> {
    let src = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo runs this")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    let read: Vec<(String, String)> = files
        .iter()
        .map(|file| {
            let inside = file.strip_prefix(&src).expect("it is inside").with_extension("");
            let mut words: Vec<&str> = inside.iter().filter_map(|word| word.to_str()).collect();
            words.pop_if(|word| *word == "mod");
            (words.join("::"), fs::read_to_string(file).expect("it can be read"))
        })
        .collect();
    let tests: BTreeSet<String> = read
        .iter()
        .flat_map(|(name, text)| {
            let declared = text.split("#[cfg(test)]\n").skip(1).filter_map(|rest| rest.lines().next());
            let child = |line: &str| Some(line.split_once("mod ")?.1.strip_suffix(';')?.to_owned());
            declared.filter_map(child).map(move |child| if name == "lib" { child } else { format!("{name}::{child}") })
        })
        .collect();
    let kept = read.into_iter().filter(|(name, _)| !tests.contains(name));
    kept.map(|(name, text)| (name, Module::read(&text))).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Module {
    fn read(text: &str) -> Self {
        let mut module = Self::default();
        let lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        while let Some(line) = lines.get(at) {
            let code = line.trim_start();
            if *line == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|next| next.ends_with('{')) {
                // A module or function of tests, up to the brace in its own column.
                at += lines[at..].iter().position(|line| *line == "}").unwrap_or(lines.len() - at);
            } else if code.starts_with("use ") || (code.starts_with("pub") && code.contains(" use ")) {
                let length = lines[at..].iter().position(|line| line.contains(';')).unwrap_or_default();
                let declaration = lines[at..=at + length].concat();
                let tree = declaration.split_once("use ").expect("it is one").1.trim_end_matches(';');
                for (path, alias) in tree_paths(tree) {
                    if code.starts_with("pub") {
                        module.exports.insert(alias, path);
                    } else {
                        module.uses.push((path, alias));
                    }
                }
                at += length;
            } else if !(code.starts_with("//") || code.contains("mod ") && code.ends_with(';')) {
                // `pub(in crate::host)` names who may see it, and imports nothing.
                let seen_by = line.find("pub(in ").and_then(|start| Some(start..=start + line[start..].find(')')?));
                module.body += &seen_by.map_or_else(|| (*line).to_owned(), |range| line.replacen(&line[range], "", 1));
                module.body.push('\n');
            }
            at += 1;
        }
        module
    }

    /// What it uses of other crates, in full.
    fn externals(&self, modules: &BTreeMap<String, Self>, name: &str) -> BTreeSet<String> {
        let outside = self.uses.iter().filter(|(path, _)| resolve(modules, name, path).is_none());
        let scope: BTreeMap<&String, &Words> = outside.map(|(path, alias)| (alias, path)).collect();
        let inline = paths(&self.body).into_iter().map(|path| match scope.get(&path[0]) {
            Some(full) => full.iter().chain(&path[1..]).cloned().collect(),
            None => path,
        });
        let declared = scope.values().map(|path| (*path).clone());
        declared.chain(inline).map(|path: Words| path.join("::")).collect()
    }
}

/// The paths of a `use` tree, each with the name that it brings.
fn tree_paths(tree: &str) -> Vec<(Words, String)> {
    let tree = tree.trim();
    if let Some((prefix, inner)) = tree.split_once('{') {
        let prefix: Words =
            prefix.split("::").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let inner = inner.trim_end().strip_suffix('}').expect("braces fit");
        let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    parts.push(&inner[start..at]);
                    start = at + 1;
                }
                _ => {}
            }
        }
        parts.push(&inner[start..]);
        let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
        return parts
            .flat_map(tree_paths)
            .map(|(path, name)| {
                let is_self = path == ["self"];
                let name = if is_self && name == "self" { prefix.last().cloned().unwrap_or_default() } else { name };
                (prefix.iter().cloned().chain(path.into_iter().filter(|_| !is_self)).collect(), name)
            })
            .collect();
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias)));
    let path: Words = path.split("::").map(|word| word.trim().to_owned()).collect();
    let name = alias.map_or_else(|| path.last().cloned().unwrap_or_default(), |alias| alias.trim().to_owned());
    vec![(path, name)]
}

/// The paths of two and more words in code.
fn paths(code: &str) -> Vec<Words> {
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let split = code.split(|c| !is_path(c)).filter(|word| word.contains("::"));
    let words = split.map(|path| path.split("::").filter(|word| !word.is_empty()).map(str::to_owned).collect());
    words.filter(|words: &Words| !words.is_empty()).collect()
}

/// Which modules each one imports.
fn imports(modules: &BTreeMap<String, Module>) -> BTreeMap<String, BTreeSet<String>> {
    let one = |(name, module): (&String, &Module)| {
        let mut targets = BTreeSet::new();
        // Modules that are in scope by a name of their own: what is meant stands in the body.
        let mut scope: BTreeMap<String, String> = BTreeMap::new();
        for (path, alias) in &module.uses {
            match resolve(modules, name, path) {
                Some((target, true)) => {
                    scope.insert(alias.clone(), target);
                }
                Some((target, false)) => {
                    targets.insert(target);
                }
                None => {}
            }
        }
        for mut path in paths(&module.body) {
            if let Some(module) = scope.get(&path[0]) {
                path.splice(..1, std::iter::once("crate".to_owned()).chain(module.split("::").map(str::to_owned)));
            }
            // A parent may call its children by their names: that is what it is for.
            let is_child = |target: &str| target.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with("::"));
            targets.extend(resolve(modules, name, &path).map(|(target, _)| target).filter(|target| !is_child(target)));
        }
        let word = |name: &str| module.body.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == name);
        for (exported, path) in module.exports.iter().filter(|(exported, _)| word(exported)) {
            let found = resolve(modules, name, path);
            targets.extend(found.filter(|(_, is_module)| !is_module || word(exported)).map(|(target, _)| target));
        }
        targets.remove(name);
        (name.clone(), targets)
    };
    modules.iter().map(one).collect()
}

/// The module that a path leads to, and whether the path is that module itself. None for another crate.
fn resolve(modules: &BTreeMap<String, Module>, from: &str, path: &[String]) -> Option<(String, bool)> {
    let mut module: Words = from.split("::").filter(|word| *word != "lib").map(str::to_owned).collect();
    let mut rest = path;
    match rest.first()?.as_str() {
        "crate" | "prom_federate" => {
            module.clear();
            rest = &rest[1..];
        }
        "self" => rest = &rest[1..],
        "super" => {
            while rest.first().is_some_and(|word| word == "super") {
                module.pop();
                rest = &rest[1..];
            }
        }
        first => {
            module.push(first.to_owned());
            if !modules.contains_key(&module.join("::")) {
                return None;
            }
            rest = &rest[1..];
        }
    }
    while let Some(word) = rest.first() {
        module.push(word.clone());
        if !modules.contains_key(&module.join("::")) {
            module.pop();
            break;
        }
        rest = &rest[1..];
    }
    let name = module.join("::");
    let exported = rest.first().and_then(|word| Some((word, modules.get(&name)?.exports.get(word)?)));
    match exported {
        Some((word, path)) if path.last() != Some(word) || path.len() > 1 => {
            let path: Words = path.iter().chain(&rest[1..]).cloned().collect();
            resolve(modules, &name, &path)
        }
        _ => (!name.is_empty()).then_some((name, rest.is_empty())),
    }
}

/// One shortest circle for each module that is in one and in none before.
fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for start in imports.keys() {
        if seen.contains(start) {
            continue;
        }
        let mut ways: Vec<Vec<&String>> = vec![vec![start]];
        let mut visited = BTreeSet::new();
        let mut at = 0;
        while let Some(way) = ways.get(at).cloned() {
            at += 1;
            let last = way[way.len() - 1];
            if imports[last].contains(start) {
                seen.extend(way.iter().map(|name| (*name).clone()));
                let names: Vec<&str> = way.iter().chain([&start]).map(|name| name.as_str()).collect();
                found.push(names.join(" -> "));
                break;
            }
            let next = imports[last].iter().filter(|name| imports.contains_key(*name));
            ways.extend(
                next.filter(|name| visited.insert(*name))
                    .map(|name| way.iter().copied().chain([name]).collect::<Vec<_>>()),
            );
        }
    }
    found
}
