//! Commands beside each other, with random pauses between their requests: none deletes what another uses, and at the end
//! each destination has one token that works, behind the fence.

use crate::{Run, World};
use serde_json::{Value, json};
use std::{collections::BTreeSet, env, fs, path::PathBuf, time::Duration};
use tempfile::TempDir;

/// How often each pair runs. `CONCURRENCY=100 cargo test --test fake -- concurrency` runs it as often as
/// `docs/reliability.md` counts.
const TIMES: u64 = 4;

/// Destinations are A and B, folders of a Prometheus that does not run.
const JOIN_A: &[&str] = &["join", "-p", "A", "--owner=0:0", "--reload=none"];
const JOIN_B: &[&str] = &["join", "-p", "B", "--owner=0:0", "--reload=none"];
const JOIN_BOTH: &[&str] = &["join", "-p", "A", "-p", "B", "--owner=0:0", "--reload=none"];
const PRINT: &[&str] = &["join"];
/// It fails when everything is granted, and is undone.
const FAIL_A: &[&str] = &["join", "-p", "A", "--owner=0:0", "--reload=command:false"];
const ROTATE_A: &[&str] = &["rotate", "--now", "-p", "A", "--reload=none"];
const ROTATE_B: &[&str] = &["rotate", "--now", "-p", "B", "--reload=none"];
const WATCH_A: &[&str] = &["rotate", "--watch", "-p", "A", "--reload=none"];
const LEAVE_A: &[&str] = &["leave", "east", "-p", "A", "--reload=none"];
const LEAVE_B: &[&str] = &["leave", "east", "-p", "B", "--reload=none"];
const LEAVE: &[&str] = &["leave"];
/// Another account of the same namespace.
const JOIN_OTHER: &[&str] = &["join", "-p", "B", "--owner=0:0", "--reload=none", "--service-account=other"];

/// Two folders.
struct Scene {
    world: World,
    folders: TempDir,
}

impl Scene {
    fn after(before: &[&[&str]]) -> Self {
        let scene = Self { world: World::new(), folders: tempfile::tempdir().expect("a folder") };
        for name in ["A", "B"] {
            fs::create_dir(scene.folder(name)).expect("a folder");
            fs::write(scene.folder(name).join("prometheus.yml"), "global: {}\n").expect("a file");
        }
        for words in before {
            scene.world.run(&scene.words(words)).succeeded();
        }
        scene
    }

    /// A command beside no other. A killed watch, or a process that another test has just forked, may still have the lock.
    fn alone(&self, words: &[&str]) -> Run {
        let free = || Some(self.world.run(words)).filter(|run| !run.stderr.contains("error (DestinationBusy)"));
        testbed::until(Duration::from_secs(5), free).unwrap_or_else(|| panic!("the lock of {words:?} is never free"))
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folders.path().join(name)
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let folder = |name: &str| Box::leak(self.folder(name).display().to_string().into_boxed_str());
        words.iter().map(|word| if matches!(*word, "A" | "B") { &*folder(word) } else { word }).collect()
    }

    /// The token that a Prometheus would use.
    fn token(&self, folder: &str) -> Option<String> {
        let folder = self.folder(folder).join("prom-federate");
        let jobs = fs::read_to_string(folder.join("east.scrape.yml")).ok()?;
        let file = jobs.lines().find_map(|line| line.trim().strip_prefix("credentials_file: "))?;
        Some(fs::read_to_string(folder.join(file.trim_matches('"'))).expect("the jobs name a token that is there"))
    }

    /// The destinations that have jobs; each has a token that scrapes, and that the fence keeps to its jobs.
    fn scraped(&self) -> Result<BTreeSet<&'static str>, String> {
        let mut scraped = BTreeSet::new();
        for name in ["A", "B"] {
            let Some(token) = self.token(name) else { continue };
            for (path, expected) in [
                ("/api/v1/nodes", 200),
                ("/api/v1/nodes/node-1/proxy/metrics/cadvisor", 200),
                // The fence's own answer: RBAC alone would say 403.
                ("/api/v1/nodes/node-1/proxy/configz", 422),
            ] {
                let (status, body) = self.world.get(&token, path);
                if status != expected {
                    return Err(format!("{name} gets {status} of {path}: {body}"));
                }
            }
            scraped.insert(name);
        }
        Ok(scraped)
    }

    fn record_files(&self, name: &str) -> Vec<PathBuf> {
        let generations = fs::read_dir(self.folder(name).join("prom-federate/east")).into_iter().flatten().flatten();
        generations.map(|entry| entry.path().join("cluster.json")).filter(|path| path.exists()).collect()
    }

    /// The records of both destinations: of the live generation, and of the one before it until a run can verify that
    /// Prometheus does not use that one any more.
    fn records(&self) -> Vec<String> {
        let files = ["A", "B"].into_iter().flat_map(|name| self.record_files(name));
        // The thread of a run that stopped waiting for its files may still delete a generation, after the Secret.
        files.filter_map(|file| fs::read_to_string(file).ok()).collect()
    }

    /// The tokens of a destination are due, and expire late.
    fn is_due(&self, name: &str) {
        for path in self.record_files(name) {
            let mut record: Value = serde_json::from_str(&fs::read_to_string(&path).expect("a record")).expect("JSON");
            record["token"]["issued"] = json!("2026-01-01T00:00:00Z");
            fs::write(path, record.to_string()).expect("a record");
        }
    }
}

/// Two commands, and the destinations that may have jobs at the end, once each command has succeeded.
struct Pair {
    before: &'static [&'static [&'static str]],
    commands: &'static [&'static [&'static str]],
    ends: &'static [&'static [&'static str]],
    /// Bound Secrets beside those of the destinations.
    printed: usize,
}

impl Pair {
    fn often(&self) {
        let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
        let again = number("CONCURRENCY_SEED");
        let first = again.unwrap_or_else(|| getrandom::u64().expect("random bytes") % 1_000_000_000);
        let times = if again.is_some() { 1 } else { number("CONCURRENCY").unwrap_or(TIMES) };
        let mut failed = Vec::new();
        for seed in first..first + times {
            if let Err(why) = self.once(seed) {
                failed.push(format!("CONCURRENCY_SEED={seed}: {why}"));
            }
        }
        println!("{:?}: {times} times from CONCURRENCY_SEED={first}", self.commands);
        assert!(failed.is_empty(), "{} of {times} failed, as {}", failed.len(), failed[0]);
    }

    fn once(&self, seed: u64) -> Result<(), String> {
        let scene = Scene::after(self.before);
        let east = scene.world.east();
        if self.commands.contains(&WATCH_A) {
            scene.is_due("A");
        }
        let commands: Vec<Vec<&str>> = self.commands.iter().map(|words| scene.words(words)).collect();
        let runs = scene.world.beside(seed, &commands);
        let told = || -> String { runs.iter().map(|run| format!("\n{:?}: {}", run.code, run.stderr)).collect() };
        let says = |what: String| Err(format!("{what}{}", told()));
        // Whatever became of the commands, nothing in use was deleted.
        if let Err(why) = scene.scraped() {
            return says(why);
        }
        if self.commands.contains(&WATCH_A) {
            // It was killed, maybe in a rotation.
            scene.alone(&scene.words(ROTATE_A)).succeeded();
        }
        for (words, run) in commands.iter().zip(&runs) {
            let fails = self.commands.contains(&FAIL_A) && words.contains(&"--reload=command:false");
            let is_told = |run: &Run| run.stderr.contains("error (") && run.stderr.contains("\nhint: ");
            match run.code {
                Some(0) | None => continue,
                Some(1) if fails => continue,
                Some(1) if is_told(run) => {}
                _ => return says("it ended without an error that has a hint".to_owned()),
            }
            // Another run was in its way: the same again.
            let again = scene.alone(words);
            let is_left = words[0] == "leave" && again.stderr.contains("error (ClusterUnknown)");
            let is_left = is_left || words[0] == "rotate" && again.stderr.contains("error (ClusterUnknown)");
            if again.code != Some(0) && !is_left {
                return says(format!("the next run fails: {}", again.stderr));
            }
        }
        let scraped = match scene.scraped() {
            Ok(scraped) => scraped,
            Err(why) => return says(format!("after the next run: {why}")),
        };
        if !self.ends.iter().any(|end| end.iter().copied().collect::<BTreeSet<_>>() == scraped) {
            return says(format!("there are jobs at {scraped:?}"));
        }
        let records = scene.records();
        let unknown: Vec<String> =
            east.secrets().into_iter().filter(|secret| !records.iter().any(|one| one.contains(secret))).collect();
        if unknown.len() != self.printed {
            return says(format!("the tokens {unknown:?} are in no record"));
        }
        // A rotation deletes what runs that gave way have left: a destination has its token and the one before, which goes
        // when a Prometheus is seen to scrape with the new one. There is none here.
        for destination in &scraped {
            let rotated = scene.alone(&scene.words(if *destination == "A" { ROTATE_A } else { ROTATE_B }));
            if rotated.code != Some(0) {
                return says(format!("{destination} cannot be rotated: {}", rotated.stderr));
            }
        }
        let tokens = east.secrets();
        if tokens.len() > scraped.len() * 2 + self.printed {
            return says(format!("{scraped:?} and {} printed jobs have the tokens {tokens:?}", self.printed));
        }
        // The namespace stays, and is told of, if a rotation has just written a Secret into it.
        let namespace_stays = told().contains("namespace/prom-federate is not deleted");
        if scraped.is_empty() && self.printed == 0 && !namespace_stays && !east.ours().is_empty() {
            return says(format!("left: {:?}", east.ours()));
        }
        for words in [LEAVE_A, LEAVE_B, LEAVE] {
            let left = scene.alone(&scene.words(words));
            let is_left = left.code == Some(0) || left.stderr.contains("error (ClusterUnknown)");
            if !is_left {
                return says(format!("it cannot be left: {}", left.stderr));
            }
        }
        if east.ours().is_empty() { Ok(()) } else { says(format!("leave leaves {:?}", east.ours())) }
    }
}

macro_rules! pairs {
    ($($name:ident: $before:expr, $commands:expr, $ends:expr, $printed:expr;)+) => {
        $(
            #[test]
            fn $name() {
                Pair { before: $before, commands: $commands, ends: $ends, printed: $printed }.often();
            }
        )+
    };
}

pairs! {
    first_joins_to_two_destinations: &[], &[JOIN_A, JOIN_B], &[&["A", "B"]], 0;
    joins_in_place_to_two_destinations: &[JOIN_A, JOIN_B], &[JOIN_A, JOIN_B], &[&["A", "B"]], 0;
    first_joins_to_one_destination: &[], &[JOIN_A, JOIN_A], &[&["A"]], 0;
    joins_in_place_to_one_destination: &[JOIN_A], &[JOIN_A, JOIN_A], &[&["A"]], 0;
    join_beside_a_printed_join: &[], &[JOIN_A, PRINT], &[&["A"]], 1;
    join_beside_a_leave_of_another_destination: &[JOIN_B], &[JOIN_A, LEAVE_B], &[&["A"]], 0;
    join_beside_a_leave_of_the_same_destination: &[JOIN_A], &[JOIN_A, LEAVE_A], &[&["A"], &[]], 0;
    join_beside_a_leave_of_printed_jobs: &[PRINT], &[JOIN_A, LEAVE], &[&["A"]], 0;
    join_beside_a_leave_and_a_join: &[JOIN_B], &[JOIN_A, LEAVE_B, PRINT], &[&["A"]], 1;
    join_beside_a_join_that_fails: &[], &[FAIL_A, JOIN_B], &[&["B"]], 0;
    join_beside_a_rotation: &[JOIN_B], &[JOIN_A, ROTATE_B], &[&["A", "B"]], 0;
    join_beside_a_rotation_of_the_same_destination: &[JOIN_A], &[JOIN_A, ROTATE_A], &[&["A"]], 0;
    leaves_of_two_destinations: &[JOIN_A, JOIN_B], &[LEAVE_A, LEAVE_B], &[&[]], 0;
    leaves_of_one_destination: &[JOIN_A], &[LEAVE_A, LEAVE_A], &[&[]], 0;
    rotation_beside_a_leave: &[JOIN_A, JOIN_B], &[ROTATE_A, LEAVE_B], &[&["A"]], 0;
    rotation_beside_a_leave_of_the_same_destination: &[JOIN_A], &[ROTATE_A, LEAVE_A], &[&["A"], &[]], 0;
    rotations_of_two_destinations: &[JOIN_A, JOIN_B], &[ROTATE_A, ROTATE_B], &[&["A", "B"]], 0;
    rotations_of_one_destination: &[JOIN_A], &[ROTATE_A, ROTATE_A], &[&["A"]], 0;
    watch_beside_a_rotation: &[JOIN_A], &[WATCH_A, ROTATE_A], &[&["A"]], 0;
    watch_beside_a_join_and_a_leave: &[JOIN_A, JOIN_B], &[WATCH_A, JOIN_A, LEAVE_B], &[&["A"]], 0;
    join_of_a_pair_beside_a_join_of_one: &[JOIN_BOTH], &[JOIN_BOTH, JOIN_A], &[&["A", "B"]], 0;
    join_of_a_pair_beside_a_rotation_of_one: &[JOIN_BOTH], &[JOIN_BOTH, ROTATE_B], &[&["A", "B"]], 0;
    join_of_another_account_beside_a_leave: &[JOIN_A], &[JOIN_OTHER, LEAVE_A], &[&["B"]], 0;
}

/// The files of the former label are cleared with the Secrets that a join finds when it has stored its own.
#[test]
fn renamed_cluster_keeps_its_new_token() {
    let scene = Scene::after(&[JOIN_A]);
    let renamed = [JOIN_A, &["--cluster-name=levant", "--rename"]].concat();
    for _ in 0..2 {
        scene.world.run(&scene.words(&renamed)).succeeded();
    }
    let folder = scene.folder("A").join("prom-federate");
    assert!(!folder.join("east").exists(), "the former label is cleared");
    let generations = fs::read_dir(folder.join("levant")).expect("a folder").flatten();
    let records: Vec<String> =
        generations.filter_map(|entry| fs::read_to_string(entry.path().join("cluster.json")).ok()).collect();
    let secrets = scene.world.east().secrets();
    assert_eq!(secrets.len(), 2, "the token in use, and the one before it");
    assert!(secrets.iter().all(|secret| records.iter().any(|record| record.contains(secret))), "{secrets:?}");
}
