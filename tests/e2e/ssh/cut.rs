//! The connection to another host ends at each request of each command: the run ends, names the host and loses no
//! token, and the next run mends what it left.

use super::{SCRAPED_WITHIN, Scene};
use crate::{
    interrupt::children,
    plugin::{Account, Run},
    push::{assert_same, generations, tree},
};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};
use testbed::{Cut, CutSsh};

trials! {
    ssh_cut:
    full {
        each_cut_of_a_connection_is_mended_by_the_next_run,
    }
}

/// What a run may take; a `leave` waits for the token cache of the API server, a `join` for scrapes.
const AT_MOST: Duration = Duration::from_secs(60);
/// Side by side, because most of each is waiting.
const LANES: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Join,
    Status,
    Check,
    Rotate,
    Leave,
}

/// In this order each finds what it needs.
const VERBS: [Verb; 5] = [Verb::Join, Verb::Status, Verb::Check, Verb::Rotate, Verb::Leave];

/// A host that is to join, or has joined.
struct Lane {
    scene: Scene,
    ssh: CutSsh,
}

/// A request is known by what it asks and by how many before it asked the same: some are repeated until it is time.
struct Cell {
    verb: Verb,
    asked: String,
    before: usize,
    cut: Cut,
}

fn bound_secret(record: &str) -> String {
    let record: Value = serde_json::from_str(record).expect("JSON");
    record["boundSecret"]["name"].as_str().expect("a name").to_owned()
}

impl Cell {
    fn name(&self) -> String {
        let Self { verb, asked, before, cut } = self;
        format!("{verb:?}: {asked} {before}: {cut:?}")
    }
}

impl Lane {
    fn new(number: usize) -> Self {
        let scene = Scene::new(&format!("cut-{number}"));
        let ssh = scene.sshd.cut_ssh().expect("a client");
        Self { scene, ssh }
    }

    fn run(&self, verb: Verb) -> Run {
        let (typed, namespace) = (self.scene.typed(), format!("--namespace={}", self.scene.account.namespace));
        let own: &[&str] = match verb {
            Verb::Join => &["join", "--scrape-interval=1s", "--cluster-name=east", "--yes", &namespace],
            Verb::Status => &["status"],
            Verb::Check => &["check"],
            Verb::Rotate => &["rotate", "--now"],
            Verb::Leave => &["leave", "east", "--yes"],
        };
        self.scene.run_on(&self.ssh.path(), &[own, &["-p", &typed, "--request-timeout=5s"]].concat())
    }

    fn asked(&self, verb: Verb) -> Vec<String> {
        self.ssh.cut(None).expect("a plan");
        self.run(verb).succeeded();
        self.ssh.asked().expect("a list")
    }

    fn files(&self) -> BTreeMap<String, String> {
        tree(self.scene.prometheus.dir())
    }

    /// The Secrets that the records of the host name.
    fn recorded(&self) -> Vec<String> {
        let generations = generations(self.scene.prometheus.dir(), "east").into_iter();
        let records = generations.filter_map(|folder| fs::read_to_string(folder.join("cluster.json")).ok());
        records.map(|record| bound_secret(&record)).collect()
    }

    /// Waits until the shell on the host has undone its work and ended, and until a deleted namespace is gone.
    fn is_at_rest(&self) {
        let lock = self.scene.prometheus.dir().join("prom-federate/.lock");
        let is_free =
            || File::open(&lock).map_or(true, |file| flock(file, FlockOperation::NonBlockingLockShared).is_ok());
        let rests = || (children(self.scene.sshd.pid()).is_empty() && is_free()).then_some(());
        testbed::until(SCRAPED_WITHIN, rests).expect("the shell ends");
        let Account { cluster, namespace } = &self.scene.account;
        let path = format!("/api/v1/namespaces/{namespace}");
        let asked = || cluster.api().get(&path).expect("the API server answers").json();
        let rests = || asked()["metadata"]["deletionTimestamp"].is_null().then_some(());
        testbed::until(SCRAPED_WITHIN, rests).expect("the namespace goes");
    }

    /// No token is valid that neither the host nor an error or warning names, and the token of the jobs is valid.
    fn tokens_are_known(&self, cell: &str, said: &str) {
        let is_told = |line: &&str| ["error (", "hint: ", "Warning: "].iter().any(|word| line.contains(word));
        let told: String = said.lines().filter(is_told).collect();
        let unknown = || -> Vec<String> {
            let recorded = self.recorded();
            let secrets = self.scene.account.secrets().into_iter();
            secrets.filter(|name| !recorded.contains(name) && !told.contains(name.as_str())).collect()
        };
        let all_known = || unknown().is_empty().then_some(());
        testbed::until(SCRAPED_WITHIN, all_known).unwrap_or_else(|| panic!("{cell}: {:?} are lost: {said}", unknown()));
        let ours = self.scene.prometheus.dir().join("prom-federate");
        let Ok(jobs) = fs::read_to_string(ours.join("east.scrape.yml")) else { return };
        let file = jobs.lines().find_map(|line| line.trim().strip_prefix("credentials_file: ")).expect("a token");
        let record = ours.join(file.trim_matches('"')).with_file_name("cluster.json");
        // The API server remembers for ten seconds that a revoked token was valid.
        let secret = bound_secret(&fs::read_to_string(record).expect("a record"));
        let secrets = self.scene.account.secrets();
        assert!(secrets.contains(&secret), "{cell}: the token of the jobs is revoked, {secret} of {secrets:?}: {said}");
    }

    /// One token, its files, and nothing else.
    fn is_joined(&self, cell: &str) {
        let (recorded, secrets) = (self.recorded(), self.scene.account.secrets());
        assert!(recorded.len() == 1 && recorded == secrets, "{cell}: {recorded:?} are recorded, {secrets:?} exist");
        let staged: Vec<String> = self.files().into_keys().filter(|name| name.contains(".new")).collect();
        assert!(staged.is_empty(), "{cell}: {staged:?}");
    }

    fn is_left(&self, cell: &str) {
        let files = self.files();
        let left: Vec<&String> = files.keys().filter(|name| name.contains("east")).collect();
        assert!(left.is_empty(), "{cell}: {left:?}");
        let gone = || self.scene.account.objects().is_empty().then_some(());
        testbed::until(SCRAPED_WITHIN, gone).unwrap_or_else(|| panic!("{cell}: {:?}", self.scene.account.objects()));
    }

    /// Whether the command has come to this request.
    fn survives(&self, cell: &Cell) -> bool {
        let (Cell { verb, asked, before: others, cut }, name) = (cell, cell.name());
        let reads = matches!(verb, Verb::Status | Verb::Check);
        let is_joined = !self.recorded().is_empty();
        if is_joined == (*verb == Verb::Join) {
            self.run(if is_joined { Verb::Leave } else { Verb::Join }).succeeded();
        }
        let before = (self.files(), self.scene.account.secrets());
        self.ssh.cut(Some((asked, *others, *cut))).expect("a plan");
        let started = Instant::now();
        let run = self.run(*verb);
        let took = started.elapsed();
        let came = self.ssh.asked().expect("a list").iter().filter(|one| *one == asked).count();
        self.ssh.cut(None).expect("a plan");
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(took < AT_MOST, "{name}: {took:?}: {said}");
        if came <= *others {
            assert_eq!(run.code, Some(0), "{name} did not come: {said}");
            return false;
        }
        assert!(!said.contains("eyJ") && !said.contains("panicked"), "{name}: {said}");
        // `status` asks Prometheus last for the use of CPU and memory, which it leaves out where it has no answer.
        let is_whole = *verb == Verb::Status && said.contains("4/4       -     -        ok");
        assert!(is_whole || said.contains("prom: "), "{name}: the host is not named: {said}");
        match run.code {
            // A command that only reads shows what it could not read.
            Some(0) => assert!(reads || said.contains("Warning: "), "{name}: {said}"),
            code => assert!(code == Some(1) && (reads || said.contains("\nhint: ")), "{name}: {code:?} {said}"),
        }
        self.is_at_rest();
        self.tokens_are_known(&name, &said);
        let mut next = self.run(*verb);
        if reads {
            assert_same(&self.files(), &before.0, &name);
            assert_eq!(self.scene.account.secrets(), before.1, "{name}");
            // On a busy machine a scrape misses its timeout of a second, and these commands say so.
            let succeeds = || Some(self.run(*verb)).filter(|next| next.code == Some(0));
            next = testbed::until(SCRAPED_WITHIN, succeeds).unwrap_or(next);
        }
        if *verb == Verb::Leave {
            let is_done = next.code == Some(0) || next.stderr.contains("error (ClusterUnknown): ");
            assert!(is_done, "{name}: the next run: {}\nafter: {said}", next.stderr);
            self.is_left(&name);
        } else {
            assert_eq!(next.code, Some(0), "{name}: the next run: {}{}\nafter: {said}", next.stdout, next.stderr);
            self.is_joined(&name);
        }
        true
    }
}

/// `FAULT_MATRIX=all` runs all cells, another text those whose name has it. Otherwise each command has one or two.
fn each_cut_of_a_connection_is_mended_by_the_next_run() {
    let wanted = env::var("FAULT_MATRIX").ok();
    let first = Lane::new(0);
    let mut rounds: Vec<Vec<Cell>> = Vec::new();
    for (number, verb) in VERBS.into_iter().enumerate() {
        let asked = first.asked(verb);
        assert!(asked.len() > 2, "{verb:?}: {asked:?}");
        let cells = asked.iter().enumerate().flat_map(|(at, one)| {
            let before = asked[..at].iter().filter(|other| *other == one).count();
            Cut::ALL.map(|cut| Cell { verb, asked: one.clone(), before, cut })
        });
        let mut cells: Vec<Cell> = cells.collect();
        match wanted.as_deref() {
            Some("all") => {}
            Some(part) => cells.retain(|cell| cell.name().contains(part)),
            None => {
                // The last request after which a host keeps its changes, and one in the middle, of another kind each.
                let keeps = |cell: &Cell| cell.asked.starts_with("finished") && cell.cut == Cut::After;
                let (middle, last) = (cells.len() / 2 + number, cells.iter().rposition(keeps));
                let mut at = 0..;
                cells.retain(|_| at.next().is_some_and(|at| at == middle || Some(at) == last));
            }
        }
        eprintln!("{verb:?}: {} requests, {} cells", asked.len(), cells.len());
        for (number, cell) in cells.into_iter().enumerate() {
            if rounds.len() == number {
                rounds.push(Vec::new());
            }
            rounds[number].push(cell);
        }
    }
    let lanes: Vec<Lane> = [first].into_iter().chain((1..LANES.min(rounds.len())).map(Lane::new)).collect();
    let (next, came) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // In a round, a command finds what the one before it has left.
    let failed: Vec<String> = thread::scope(|scope| {
        let work = |lane: &Lane| {
            let mut failed = Vec::new();
            while let Some(round) = rounds.get(next.fetch_add(1, Ordering::Relaxed)) {
                for cell in round {
                    let survived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lane.survives(cell)));
                    came.fetch_add(usize::from(matches!(survived, Ok(true))), Ordering::Relaxed);
                    if let Err(why) = survived {
                        let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
                        eprintln!("failed: {why}");
                        failed.push(why);
                    }
                }
            }
            failed
        };
        let running: Vec<_> = lanes.iter().map(|lane| scope.spawn(move || work(lane))).collect();
        running.into_iter().flat_map(|lane| lane.join().expect("it ends")).collect()
    });
    assert!(failed.is_empty(), "{} cells failed:\n{}", failed.len(), failed.join("\n\n"));
    let (cells, came) = (rounds.iter().flatten().count(), came.into_inner());
    eprintln!("{came} of {cells} cells came");
    assert!(came * 2 > cells, "{came} of {cells}");
    for lane in lanes {
        if !lane.recorded().is_empty() {
            lane.run(Verb::Leave).succeeded();
        }
        lane.is_left("the end");
    }
}
