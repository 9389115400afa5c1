//! The same operations, executed on this host and as a script by every shell there is, leave the same trees: whole,
//! killed after each of them, and taken back after each of them.

use super::{LocalFolder, local::machine::machine_of};
use crate::{
    model::store::install::{
        Content, Edit, FileOwnership, Files as Delivered, Install, LeftOfEdit, Operation, Present, Step, edit,
        make_folder, removal,
    },
    render::script,
};
use proptest::prelude::*;
use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
    process::{Command, Output, Stdio},
    sync::LazyLock,
};

/// POSIX shells that a host may have as `sh`. `cargo verify` installs busybox; `cargo test --lib` does without.
pub(crate) static SHELLS: LazyLock<Vec<&[&str]>> = LazyLock::new(|| {
    let mut shells: Vec<&[&str]> = vec![&["sh"]];
    if Command::new("busybox").arg("true").output().is_ok() {
        shells.push(&["busybox", "sh"]);
    }
    shells
});

/// How a run ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Whole,
    /// By SIGKILL: nothing is undone.
    Killed,
    /// By SIGTERM.
    TakenBack,
}

/// Owner, mode and content of everything, and the names of one file; a link as where it leads.
fn tree(root: &Path) -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, metadata) = (entry.path(), entry.metadata().unwrap());
            let shown = path.strip_prefix(root).unwrap().display().to_string();
            let content = match fs::read_link(&path) {
                Ok(link) => format!("-> {}", link.display()),
                Err(_) => {
                    format!("{:?}", fs::read(&path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).ok())
                }
            };
            let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777);
            let names = if metadata.is_dir() { 1 } else { metadata.nlink() };
            found.push(format!("{shown} {uid}:{gid} {mode:o} {names} {content}"));
            if metadata.is_dir() {
                walk(&path, root, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

fn by_this_program(root: &Path, readers: FileOwnership, steps: &[Step], end: End) {
    let folder = LocalFolder::from(root);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut undo = Vec::new();
        let outcome = folder.run(readers, steps, |back| undo.push(back)).await;
        if matches!(end, End::TakenBack) || outcome.is_err() {
            for operation in undo.iter().rev() {
                let _ = folder.execute(readers, operation).await;
            }
        }
    });
}

fn by_script(shell: &[&str], root: &Path, readers: FileOwnership, steps: &[Step], end: End) -> Output {
    ran(shell, root, readers, &script::function("run", steps), end)
}

fn ran(shell: &[&str], root: &Path, readers: FileOwnership, run: &str, end: End) -> Output {
    let text = [
        script::OPERATIONS,
        &script::readers(readers),
        "failed() { echo \"cannot write $1: $2\" >&2; return 1; }\n",
        "trap take_back EXIT\ntrap 'exit 143' TERM\n",
        run,
        "run < /dev/null || exit 1\n",
        match end {
            End::Whole => "finished\n",
            End::Killed => "kill -KILL $$\n",
            End::TakenBack => "kill -TERM $$\n",
        },
    ]
    .concat();
    fed(shell, root, &text)
}

fn fed(shell: &[&str], folder: &Path, text: &str) -> Output {
    let mut command = Command::new(shell[0]);
    let command = command.args(&shell[1..]).current_dir(folder);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // One that ends before it has read everything says why.
    let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
    child.wait_with_output().unwrap()
}

/// Of jobs that name the link, if there is one.
fn install(number: u8, present: &Present, rules: bool) -> Vec<Step> {
    let text =
        |what: &str| format!("{what} {number}: it's $HOME `id` \\ \u{c1}\u{80}\u{7f}\r\nE\u{a1}\nEND\u{a1}\nEND_0\n\n");
    let delivered = Delivered {
        token: format!("ey.{number}").into(),
        ca: Some(text("ca")),
        kubelet_ca: Some(text("kubelet ca")),
        record: text("record"),
        fragment: Some(text("fragment")),
        through_current: present.current.is_some(),
        rules: rules.then(|| text("rules")),
        rotated: present.current.as_ref().map(|_| "rotated-x7k2.json".to_owned()),
    };
    let generation = format!("20261125t10150{number}z-x7k2").parse().unwrap();
    let Install { stage, commit } = Install::new(&"east".parse().unwrap(), &generation, delivered, present);
    [vec![make_folder()], stage, commit].concat()
}

/// A folder, its readers, what happened there before, and the steps.
struct Case {
    what: &'static str,
    readers: FileOwnership,
    before: fn(&Path),
    earlier: Vec<Step>,
    steps: Vec<Step>,
    at_every_step: bool,
}

fn cases() -> Vec<Case> {
    let ours = FileOwnership::default();
    let group = FileOwnership { group: Some(rustix::process::getegid().as_raw()), ..ours };
    let all = Present { fragment: true, rules: true, current: None };
    let linked = Present { current: "20261125t101501z-x7k2".parse().ok(), ..all.clone() };
    let first_linked = Present { current: linked.current.clone(), ..Present::default() };
    let write = |path: &str, text: &str| Operation::Write { path: path.into(), content: Content::Plain(text.into()) };
    let step = |operation| Step { operation, undo: None };
    let case =
        |what, readers, before, earlier, steps| Case { what, readers, before, earlier, steps, at_every_step: false };
    let nothing: fn(&Path) = |_| {};
    let mut cases = vec![
        case("a first delivery", ours, nothing, Vec::new(), install(1, &Present::default(), true)),
        case("a later one for a group", group, nothing, install(1, &Present::default(), true), install(2, &all, true)),
        case("a rotation of a link", ours, nothing, install(1, &first_linked, true), install(2, &linked, true)),
        case("without rules", ours, nothing, install(1, &Present::default(), true), install(2, &all, false)),
        case("a removal", ours, nothing, install(1, &Present::default(), true), {
            removal(&"east".parse().unwrap(), Some(&"20261125t101501z-x7k2".parse().unwrap()), &all)
        }),
        case(
            "the folder is there with another mode",
            group,
            |root| {
                fs::create_dir(root.join("prom-federate")).unwrap();
                fs::set_permissions(root.join("prom-federate"), Permissions::from_mode(0o3777)).unwrap();
            },
            Vec::new(),
            vec![make_folder()],
        ),
        case(
            "what a killed run left",
            ours,
            |root| {
                symlink("prometheus.yml", root.join("a")).unwrap();
                fs::write(root.join("b"), "a longer text than what is written over it").unwrap();
                fs::create_dir_all(root.join("c/d/e")).unwrap();
                symlink("c", root.join("f")).unwrap();
                symlink("c", root.join("g")).unwrap();
                symlink("nowhere", root.join("g.new")).unwrap();
            },
            Vec::new(),
            vec![
                step(write("a", "new")),
                step(write("b", "")),
                step(Operation::Copy { from: "b".into(), to: "it's a $copy".into() }),
                step(Operation::Point { link: "g".into(), to: "../nowhere it's".into() }),
                step(Operation::RemoveEmptyFolder { path: "c".into() }),
                step(Operation::RemoveFolder { path: "c".into() }),
                step(Operation::RemoveFolder { path: "nowhere".into() }),
                step(Operation::RemoveEmptyFolder { path: "nowhere".into() }),
                step(Operation::Remove { path: "nowhere".into() }),
                step(Operation::Remove { path: "f".into() }),
                step(Operation::RemoveCopy { path: "nowhere".into(), of: "b".into() }),
                step(Operation::RemoveCopy { path: "a".into(), of: "b".into() }),
                step(Operation::RemoveCopy { path: "it's a $copy".into(), of: "b".into() }),
            ],
        ),
    ];
    let put = |path: &str| Step { operation: write(path, "x"), undo: Some(Operation::Remove { path: path.into() }) };
    for (what, fails) in [
        ("a folder where a file goes", Operation::Rename { from: "prometheus.yml".into(), to: "folder".into() }),
        ("a file where a folder goes", Operation::MakeFolder { path: "prometheus.yml".into() }),
        ("a link where a folder goes", Operation::MakeFolder { path: "link".into() }),
        ("no folder for a file", write("nowhere/x", "x")),
        ("a file as a folder", Operation::RemoveFolder { path: "prometheus.yml".into() }),
        ("a folder as a file", Operation::Remove { path: "folder".into() }),
        ("nothing to copy", Operation::Copy { from: "nowhere".into(), to: "x".into() }),
        ("nothing to keep", Operation::Link { from: "nowhere".into(), to: "x".into() }),
        ("a link to keep", Operation::Link { from: "link".into(), to: "x".into() }),
        ("nothing to write into", Operation::Overwrite { path: "nowhere".into(), from: "prometheus.yml".into() }),
        ("a link to write into", Operation::Overwrite { path: "link".into(), from: "prometheus.yml".into() }),
        ("nothing to write", Operation::Overwrite { path: "prometheus.yml".into(), from: "nowhere".into() }),
        ("a file where a link goes", Operation::Point { link: "prometheus.yml".into(), to: "folder".into() }),
        ("a folder where a link goes", Operation::Point { link: "folder".into(), to: "link".into() }),
        ("nothing to rename", Operation::Rename { from: "nowhere".into(), to: "x".into() }),
    ] {
        let before: fn(&Path) = |root| {
            fs::create_dir(root.join("folder")).unwrap();
            symlink("folder", root.join("link")).unwrap();
        };
        cases.push(case(what, ours, before, Vec::new(), vec![put("y"), step(fails), put("z")]));
    }
    for case in &mut cases[1..5] {
        case.at_every_step = case.what != "without rules";
    }
    if rustix::process::geteuid().is_root() {
        let daemon = FileOwnership { owner: Some(65534), ..ours };
        cases.push(case("for a daemon", daemon, nothing, Vec::new(), install(1, &Present::default(), true)));
        let its_group = FileOwnership { group: Some(65534), ..ours };
        cases.push(case("for its group", its_group, nothing, Vec::new(), install(1, &Present::default(), true)));
    }
    cases.extend(edits());
    cases
}

/// Of the main configuration, each ended at every step.
fn edits() -> [Case; 3] {
    let case = |what, before, steps| Case {
        what,
        readers: FileOwnership::default(),
        before,
        earlier: Vec::new(),
        steps,
        at_every_step: true,
    };
    let edit = |how| {
        let Install { stage, commit } = edit("prometheus.yml", "edited", &how);
        [stage, commit].concat()
    };
    [
        case(
            "an edit",
            |root| fs::set_permissions(root.join("prometheus.yml"), Permissions::from_mode(0o4614)).unwrap(),
            edit(Edit::Replace),
        ),
        case(
            "an edit in place",
            |root| fs::hard_link(root.join("prometheus.yml"), root.join("other.yml")).unwrap(),
            edit(Edit::InPlace(String::new())),
        ),
        case(
            "an edit that leaves a shorter text",
            |root| fs::write(root.join("prometheus.yml.before-prom-federate"), "g").unwrap(),
            LeftOfEdit::Torn.mend("prometheus.yml"),
        ),
    ]
}

fn prepared(case: &Case) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let main = root.path().join("prometheus.yml");
    fs::write(&main, "global: {}").unwrap();
    fs::set_permissions(main, Permissions::from_mode(0o644)).unwrap();
    (case.before)(root.path());
    by_this_program(root.path(), case.readers, &case.earlier, End::Whole);
    root
}

#[test]
fn this_program_and_every_shell_do_the_same() {
    for case in cases() {
        // One of each kind ends at every step.
        let first = if case.at_every_step { 0 } else { case.steps.len() };
        for count in first..=case.steps.len() {
            let steps = &case.steps[..count];
            let whole: &[End] = &[End::Whole, End::TakenBack];
            let ends = if count == case.steps.len() { whole } else { &[End::Killed, End::TakenBack] };
            for end in ends {
                let expected = prepared(&case);
                by_this_program(expected.path(), case.readers, steps, *end);
                // In the midst they take turns.
                let turn = count % SHELLS.len();
                let shells = if count == case.steps.len() { &SHELLS[..] } else { &SHELLS[turn..=turn] };
                for shell in shells {
                    let root = prepared(&case);
                    let output = by_script(shell, root.path(), case.readers, steps, *end);
                    let said = String::from_utf8_lossy(&output.stderr);
                    let what =
                        format!("{}, {count} of {} steps, {end:?}, {shell:?}: {said}", case.what, case.steps.len());
                    assert_eq!(tree(root.path()), tree(expected.path()), "{what}");
                }
            }
        }
    }
}

/// A user who renames in the folder meanwhile puts a link in the place of any folder, at any moment.
#[test]
#[cfg(target_os = "linux")]
fn renames_meanwhile_lead_nowhere() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let root = tempfile::tempdir().unwrap();
    let (folder, outside) = (root.path().join("prometheus"), root.path().join("outside"));
    for path in [&folder, &outside] {
        fs::create_dir(path).unwrap();
    }
    fs::write(folder.join("prometheus.yml"), "global: {}").unwrap();
    fs::write(outside.join("cluster.json"), "{}").unwrap();
    fs::set_permissions(&outside, Permissions::from_mode(0o700)).unwrap();
    let everything = |path: &Path| (tree(path), fs::metadata(path).unwrap().mode());
    let before = everything(&outside);
    let readers = FileOwnership { group: Some(rustix::process::getegid().as_raw()), ..FileOwnership::default() };
    let link = folder.join("link");
    symlink(&outside, &link).unwrap();
    let (mut done, mut failed) = (0, 0);
    for exchanged in ["prom-federate", "prom-federate/east"] {
        by_this_program(&folder, readers, &install(1, &Present::default(), true), End::Whole);
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = renameat_with(CWD, folder.join(exchanged), CWD, &link, RenameFlags::EXCHANGE);
                }
            });
            let local = LocalFolder::from(folder.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let present = Present { fragment: true, rules: true, current: None };
            for number in 0..150 {
                let live = "20261125t101501z-x7k2".parse().unwrap();
                let removal = removal(&"east".parse().unwrap(), Some(&live), &present);
                for step in install(number % 10, &present, true).iter().chain(&removal) {
                    match runtime.block_on(local.run(readers, std::slice::from_ref(step), drop)) {
                        Ok(()) => done += 1,
                        Err(_) => failed += 1,
                    }
                }
                let old = format!("prom-federate/east/20261125t10150{}z-x7k2", number % 10);
                let _ = runtime.block_on(local.execute(readers, &Operation::RemoveFolder { path: old }));
            }
            over.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(everything(&outside), before, "{exchanged}");
        if fs::symlink_metadata(folder.join(exchanged)).unwrap().is_symlink() {
            renameat_with(CWD, folder.join(exchanged), CWD, &link, RenameFlags::EXCHANGE).unwrap();
        }
    }
    assert!(done > 100 && failed > 100, "{done} were done, {failed} failed");
}

/// A script for a folder with unknown content does the same as this program with the known content.
#[test]
fn a_script_finds_out_by_itself_what_is_there() {
    let (none, all) = (Present::default(), Present { fragment: true, rules: true, current: None });
    let delivery = |present: &Present, earlier: Vec<Step>| Case {
        what: "a delivery",
        readers: FileOwnership::default(),
        before: |_| {},
        earlier,
        steps: install(2, present, true),
        at_every_step: false,
    };
    let blind = script::function_for_any_folder("run", &install(2, &all, true));
    for case in [delivery(&none, Vec::new()), delivery(&all, install(1, &none, true))] {
        for end in [End::Whole, End::TakenBack] {
            let expected = prepared(&case);
            by_this_program(expected.path(), case.readers, &case.steps, end);
            for shell in SHELLS.iter() {
                let root = prepared(&case);
                let output = ran(shell, root.path(), case.readers, &blind, end);
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(tree(root.path()), tree(expected.path()), "{end:?}, {shell:?}: {said}");
            }
        }
    }
}

/// The ID of a machine is hashed here and on every host in the same way, and nothing else becomes a hash.
#[test]
fn this_program_and_every_shell_tell_a_machine_alike() {
    let id = "3d1219c7c4c5404aaa1f6d2a48adfda4";
    let hash = "ead9f0283bb86b8c02cd083d67fb4619";
    for (content, expected) in [
        (Some(format!("{id}\n")), hash),
        (Some(format!("{}\n", id.replace('3', "4"))), "52150199aceccd01904d5c0110ccc955"),
        (None, ""),
        (Some(String::new()), ""),
        (Some("uninitialized\n".to_owned()), ""),
        (Some(id.to_owned()), ""),
        (Some(format!("{id}0\n")), ""),
        (Some(format!("{}\n", id.to_uppercase())), ""),
        (Some(format!("{}\n", id.replace("12", "\n'"))), ""),
    ] {
        let folder = tempfile::tempdir().unwrap();
        if let Some(content) = &content {
            fs::write(folder.path().join("machine-id"), content).unwrap();
        }
        assert_eq!(machine_of(folder.path()).unwrap_or_default(), expected, "{content:?}");
        for shell in SHELLS.iter() {
            let text = [script::OPERATIONS, script::HOST, "machine_of .\n"].concat();
            let output = fed(shell, folder.path(), &text);
            let found = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            assert_eq!((found.as_str(), &*output.stderr), (expected, &b""[..]), "{shell:?}: {content:?}");
        }
    }
    // A valid ID on a file system of its own, as in a container.
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    fs::write(elsewhere.path().join("machine-id"), format!("{id}\n")).unwrap();
    assert!(machine_of(elsewhere.path()).is_some(), "it is valid there");
    symlink(elsewhere.path().join("machine-id"), folder.path().join("machine-id")).unwrap();
    assert_eq!(machine_of(folder.path()), None);
    for shell in SHELLS.iter() {
        let output = fed(shell, folder.path(), &[script::OPERATIONS, script::HOST, "machine_of .\n"].concat());
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "", "{shell:?}");
    }
}

/// Whatever of a script arrives, what it has not got to the end of does nothing.
#[test]
fn a_script_that_is_cut_off_does_nothing_or_is_taken_back() {
    let steps = install(1, &Present::default(), true);
    let readers = script::readers(FileOwnership::default());
    let text = [script::OPERATIONS, &readers, "failed() { :; }\ntrap take_back EXIT\n"].concat();
    let run = script::function("run", &steps) + "run < /dev/null || exit 1\n";
    for shell in SHELLS.iter() {
        for cut in (0..=run.len()).step_by(331).chain([run.len()]).filter(|cut| run.is_char_boundary(*cut)) {
            let root = tempfile::tempdir().unwrap();
            fed(shell, root.path(), &[&text, &run[..cut]].concat());
            assert_eq!(tree(root.path()), Vec::<String>::new(), "{shell:?} after {cut} of {} bytes", run.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Any name and any text: nothing in them is a command, nothing is lost.
    #[test]
    fn any_text_arrives_as_it_is(name in "[^/\0]{1,40}", text in "([^\0]|(E|EN|END_)[01\u{a1}]|\n|'|\\\\){0,60}") {
        prop_assume!(name != "." && name != ".." && !name.starts_with('-') && name.len() < 200);
        let write = Operation::Write { path: name.clone(), content: Content::Secret(text.clone().into()) };
        for shell in SHELLS.iter() {
            let root = tempfile::tempdir().unwrap();
            let steps = [Step { operation: write.clone(), undo: None }];
            let output = by_script(shell, root.path(), FileOwnership::default(), &steps, End::Whole);
            prop_assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            prop_assert_eq!(fs::read(root.path().join(&name)).unwrap(), text.as_bytes());
            prop_assert_eq!(tree(root.path()).len(), 1);
        }
    }
}
