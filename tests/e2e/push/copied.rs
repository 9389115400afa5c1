//! A folder that was copied with its host: the copy says so, and neither side takes the token of the other.

use super::{Scene, generations};
use crate::{
    needs,
    plugin::{Run, command},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;
use testbed::PrometheusSpec;

trials! {
    push_copied:
    smoke {
        copy_on_another_machine_gets_a_token_of_its_own,
    }
    full {
        copy_on_a_machine_with_the_same_id_gets_a_token_of_its_own,
        folder_moves_with_its_machine_and_where_no_machine_is_known,
        copy_of_what_a_script_delivered_is_told,
        copy_that_renews_itself_is_told_and_ends_nothing,
    }
}

/// Another machine: its `/etc`, and its folder in the place of the original.
pub(crate) struct Machine {
    etc: TempDir,
    folder: TempDir,
    original: PathBuf,
}

impl Machine {
    /// With an ID and the folder itself.
    pub(crate) fn of(original: &Path, id: Option<&str>) -> Self {
        needs::root();
        let etc = tempfile::tempdir().expect("a folder");
        let copied = Command::new("cp").args(["--archive", "/etc/."]).arg(etc.path()).status();
        assert!(copied.is_ok_and(|status| status.success()), "cp copies /etc");
        let path = etc.path().join("machine-id");
        let _ = fs::remove_file(&path);
        if let Some(id) = id {
            fs::write(path, format!("{id}\n")).expect("a file");
        }
        Self { etc, folder: tempfile::tempdir().expect("a folder"), original: original.to_owned() }
    }

    /// The folder becomes a copy of the original as it is now.
    pub(crate) fn copy(&self) {
        let copied = Command::new("cp").arg("--archive").arg(&self.original).arg(self.folder.path()).status();
        assert!(copied.is_ok_and(|status| status.success()), "cp copies the folder");
    }

    fn copied(&self) -> PathBuf {
        self.folder.path().join(self.original.file_name().expect("a name"))
    }

    /// The words before a command that runs there.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words: Vec<String> =
            ["unshare", "--mount", "--propagation", "private", "sh", "-euc"].map(str::to_owned).into();
        let (copy, original) = (self.copied(), self.original.display().to_string());
        words.push(
            "mount --bind \"$0\" /etc; [ ! -d \"$1\" ] || mount --bind \"$1\" \"$2\"; shift 2; exec \"$@\"".into(),
        );
        words.extend([self.etc.path().display().to_string(), copy.display().to_string(), original]);
        words
    }

    /// Runs a program there.
    fn run(&self, program: &Command) -> Run {
        let words = self.words();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program.get_program()).args(program.get_args()).env_clear();
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.output().expect("unshare starts").into()
    }

    fn plugin(&self, scene: &Scene, arguments: &[&str]) -> Run {
        self.run(&command(scene.account.cluster.kubeconfig(), arguments))
    }

    fn join(&self, scene: &Scene) -> Run {
        self.plugin(scene, &scene.arguments(&["--cluster-name=east", "--owner=0"]))
    }

    fn rotate(&self, scene: &Scene) -> Run {
        self.plugin(scene, &["rotate", "--now", "-p", scene.typed()])
    }
}

const ONE: &str = "00000000000000000000000000000001";
const OTHER: &str = "00000000000000000000000000000002";

/// The Secrets to which the tokens in use here and there are bound exist, and the original is scraped.
fn assert_both_live(scene: &Scene, there: &Machine, run: &Run) {
    let in_use = [scene.dir().to_owned(), there.copied()].map(|folder| bound_secret(&folder));
    assert_ne!(in_use[0], in_use[1], "{}", run.stderr);
    let secrets = scene.account.secrets();
    assert!(in_use.iter().all(|name| secrets.contains(name)), "{in_use:?} of {secrets:?}: {}", run.stderr);
    scene.all_up(4);
}

/// By the newest record, whose folder begins with its time.
fn bound_secret(folder: &Path) -> String {
    let newest = generations(folder, "east").pop().expect("a generation");
    let record = fs::read_to_string(newest.join("cluster.json")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&record).expect("JSON");
    record["boundSecret"]["name"].as_str().expect("a name").to_owned()
}

fn copy_on_another_machine_gets_a_token_of_its_own() {
    let scene = Scene::new("copied");
    let (here, there) = (Machine::of(scene.dir(), Some(ONE)), Machine::of(scene.dir(), Some(OTHER)));
    here.join(&scene).succeeded();
    scene.all_up(4);
    there.copy();

    // Before the original has rotated and after it: neither says that a right was lost, both say what to do.
    let before = scene.secrets();
    let of_another = "on another machine, of which this folder is a copy";
    let join = "Give this folder a token of its own, which leaves the other token as it is: kubectl prom-federate join";
    there.rotate(&scene).failed("RecordNotConfirmed", &[of_another, join]);
    assert_eq!(scene.secrets(), before);
    let status = there.plugin(&scene, &["status", "-p", scene.typed()]);
    assert!(status.code == Some(1) && status.stderr.contains(of_another), "{}{}", status.stdout, status.stderr);
    here.rotate(&scene).succeeded();
    there.rotate(&scene).failed("RecordNotConfirmed", &["but one of another run: this folder may be a copy", join]);
    scene.is_tidy("east");

    let run = there.join(&scene).succeeded();
    assert!(run.stderr.contains("this folder is a copy of directory://"), "{}", run.stderr);
    assert_both_live(&scene, &there, &run);
    // From here on each goes its own way.
    for machine in [&here, &there, &here, &there] {
        let run = machine.rotate(&scene).succeeded();
        assert_both_live(&scene, &there, &run);
    }
    let left = there.plugin(&scene, &["leave", "east", "-p", scene.typed(), "--yes"]).succeeded();
    assert!(left.stderr.contains("other destinations use it"), "{}", left.stderr);
    scene.is_tidy("east");
    scene.all_up(4);
}

/// The host was cloned with its ID.
fn copy_on_a_machine_with_the_same_id_gets_a_token_of_its_own() {
    let scene = Scene::new("cloned");
    let (here, there) = (Machine::of(scene.dir(), Some(ONE)), Machine::of(scene.dir(), Some(ONE)));
    here.join(&scene).succeeded();
    there.copy();
    here.rotate(&scene).succeeded();
    there.rotate(&scene).failed(
        "RecordNotConfirmed",
        &["but one of another run: this folder may be a copy", ": kubectl prom-federate join"],
    );
    let run = there.join(&scene).succeeded();
    assert_both_live(&scene, &there, &run);
    for machine in [&here, &there, &here, &there] {
        let run = machine.rotate(&scene).succeeded();
        assert_both_live(&scene, &there, &run);
    }
}

/// The ID is unknown in many containers, and older Secrets name no machine.
fn folder_moves_with_its_machine_and_where_no_machine_is_known() {
    let scene = Scene::new("no-machine");
    let (known, unknown) = (Machine::of(scene.dir(), Some(ONE)), Machine::of(scene.dir(), None));
    unknown.join(&scene).succeeded();
    for machine in [&unknown, &known, &unknown, &known] {
        machine.rotate(&scene).succeeded();
        scene.is_tidy("east");
    }
    scene.all_up(4);
    // Jobs by another set of rights: an older Secret is none of another destination.
    let run = known.plugin(&scene, &scene.arguments(&["--cluster-name=east", "--owner=0", "--jobs=cadvisor"]));
    run.succeeded();
    scene.is_tidy("east");
}

/// Without an administrator no Secret can be read or made, so both go on with one.
fn copy_that_renews_itself_is_told_and_ends_nothing() {
    let scene = Scene::new("copied-itself");
    let (here, there) = (Machine::of(scene.dir(), Some(ONE)), Machine::of(scene.dir(), Some(OTHER)));
    here.plugin(&scene, &scene.arguments(&["--cluster-name=east", "--owner=0", "--self-renew"])).succeeded();
    scene.all_up(4);
    there.copy();
    let itself = |machine: &Machine| {
        machine.run(&command(Path::new("/nowhere"), &["rotate", "--now", "-p", scene.typed()])).succeeded()
    };
    let told = "this folder is a copy of another machine's";
    for _ in 0..2 {
        let run = itself(&there);
        assert!(run.stderr.contains(told) && run.stderr.contains("--self-renew"), "{}", run.stderr);
        let run = itself(&here);
        assert!(!run.stderr.contains(told), "{}", run.stderr);
    }
    assert_eq!(scene.secrets().len(), 1);
    assert_eq!(bound_secret(scene.dir()), bound_secret(&there.copied()));
    scene.all_up(4);
    let run = there.plugin(&scene, &scene.arguments(&["--cluster-name=east", "--owner=0", "--self-renew"])).succeeded();
    assert_both_live(&scene, &there, &run);
    let run = itself(&there);
    assert!(!run.stderr.contains(told), "{}", run.stderr);
    assert_both_live(&scene, &there, &run);
}

fn copy_of_what_a_script_delivered_is_told() {
    let scene = Scene::with("copied-script", &PrometheusSpec::new("global: {}\n"));
    let (here, there) = (Machine::of(scene.dir(), Some(ONE)), Machine::of(scene.dir(), Some(OTHER)));
    let printed = scene.account.join(&["--format=script", "--cluster-name=east", "--scrape-interval=1s"]);
    let script = tempfile::NamedTempFile::new().expect("a file");
    fs::write(script.path(), printed.stdout).expect("a file");
    let mut delivery = Command::new("sh");
    delivery.arg(script.path()).args(["--edit", scene.typed()]);
    here.run(&delivery).succeeded();
    scene.all_up(4);
    there.copy();
    let secrets = scene.account.secrets();
    there.rotate(&scene).failed("RecordNotConfirmed", &["on another machine, of which this folder is a copy"]);
    assert_eq!(scene.account.secrets(), secrets);
    let run = there.join(&scene).succeeded();
    assert_both_live(&scene, &there, &run);
    for machine in [&here, &there] {
        let run = machine.rotate(&scene).succeeded();
        assert_both_live(&scene, &there, &run);
    }
}
