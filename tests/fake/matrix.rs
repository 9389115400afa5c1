//! Every request of every command, spoiled in every way: none hangs, each says what it is about, and whatever a run left
//! the next one mends. The requests are those that a run without faults makes, so that a new one is in here too.

use crate::{Run, World, prometheus_folder};
use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};
use tempfile::TempDir;
use testbed::{Action, REDIRECTED, Rule, faults, share};

/// `--request-timeout` of every run.
const REQUEST: Duration = Duration::from_secs(2);
/// What a command may take for its one cluster: fifteen times the request timeout, three times for what it takes back,
/// and the time that a new fence takes.
const AT_MOST: Duration = Duration::from_secs(15 * 2 + 3 * 2 + 10);
/// `leave` waits for 24 answers one after the other, and ten seconds for API servers to forget the token.
const LEAVE_AT_MOST: Duration = Duration::from_secs(24 * 2 + 10);

/// One in so many cells is run, spread over all requests and faults. All of them, as `docs/reliability.md` counts them,
/// with `FAULT_MATRIX=all`: `FAULT_MATRIX=all cargo test --test fake -- matrix`.
const SHARE: usize = 64;

/// For how long.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lasting {
    Once,
    /// Until the end of the run, for this request and all after it.
    FromThenOn,
}

/// A cluster, and the folder of a Prometheus that does not run.
pub(crate) struct Scene {
    pub(crate) world: World,
    folder: TempDir,
}

impl Scene {
    /// Where these commands have run without a fault.
    pub(crate) fn after(before: &[&[&str]]) -> Self {
        let scene = Self { world: World::new(), folder: prometheus_folder() };
        for words in before {
            scene.run(words).0.succeeded();
        }
        scene.world.east().forget_requests();
        scene
    }

    /// `DIR` stands for the folder.
    pub(crate) fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        let folder = self.folder.path().to_str().expect("UTF-8");
        words.iter().map(|word| if *word == "DIR" { folder } else { word }).collect()
    }

    pub(crate) fn run(&self, words: &[&str]) -> (Run, Duration) {
        let mut words = self.words(words);
        words.push("--request-timeout=2s");
        // A process that another test begins has the open files of this one, a lock too, until it executes its program.
        let is_free = |(run, _): &(Run, Duration)| !run.stderr.contains("error (DestinationBusy)");
        testbed::until(AT_MOST, || Some(self.world.timed(&words)).filter(is_free)).expect("no other run has the lock")
    }

    /// Whether a record at the destination has this Secret.
    fn is_in_use(&self, secret: &str) -> bool {
        let files = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut records = files(self.folder.path().join("prom-federate/east")).map(|one| one.join("cluster.json"));
        records.any(|record| fs::read_to_string(record).is_ok_and(|text| text.contains(secret)))
    }

    /// The token that Prometheus would use.
    pub(crate) fn token_in_use(&self) -> Option<String> {
        let jobs = self.folder.path().join("prom-federate/east.scrape.yml");
        let jobs = fs::read_to_string(jobs).ok()?;
        let file = jobs.lines().find_map(|line| line.trim().strip_prefix("credentials_file: "))?;
        let file = self.folder.path().join("prom-federate").join(PathBuf::from(file.trim_matches('"')));
        Some(fs::read_to_string(file).expect("the jobs name a token that is there"))
    }
}

/// What must hold of a command.
struct Row {
    /// The commands before it.
    before: &'static [&'static [&'static str]],
    words: &'static [&'static str],
    /// What ends with nothing left.
    leave: &'static [&'static str],
    /// Whether it fails although nothing fails: it says what is seen.
    only_reads: bool,
}

pub(crate) const PRINT: &[&str] = &["join"];
pub(crate) const PUSH: &[&str] = &["join", "-p", "DIR", "--owner=0:0", "--reload=none"];
pub(crate) const ROTATE: &[&str] = &["rotate", "--now", "-p", "DIR", "--reload=none"];
pub(crate) const LEAVE: &[&str] = &["leave"];
pub(crate) const LEAVE_DIR: &[&str] = &["leave", "east", "-p", "DIR", "--reload=none"];

#[test]
fn join_that_prints() {
    Row { before: &[], words: PRINT, leave: LEAVE, only_reads: false }.all();
}

#[test]
fn join_that_prints_in_place() {
    Row { before: &[PRINT], words: PRINT, leave: LEAVE, only_reads: false }.all();
}

#[test]
fn join_to_a_destination() {
    Row { before: &[], words: PUSH, leave: LEAVE_DIR, only_reads: false }.all();
}

#[test]
fn rotate() {
    Row { before: &[PUSH], words: ROTATE, leave: LEAVE_DIR, only_reads: false }.all();
}

#[test]
fn leave() {
    Row { before: &[PRINT], words: LEAVE, leave: LEAVE, only_reads: false }.all();
}

#[test]
fn leave_of_a_destination() {
    Row { before: &[PUSH], words: LEAVE_DIR, leave: LEAVE, only_reads: false }.all();
}

#[test]
fn check() {
    Row { before: &[], words: &["check"], leave: LEAVE, only_reads: true }.all();
}

#[test]
fn check_of_a_joined_cluster() {
    Row { before: &[PUSH], words: &["check", "-p", "DIR"], leave: LEAVE_DIR, only_reads: true }.all();
}

#[test]
fn status_of_a_destination() {
    Row { before: &[PUSH], words: &["status", "-p", "DIR"], leave: LEAVE_DIR, only_reads: true }.all();
}

impl Row {
    /// All cells of this row; each is told by what was asked, the fault and how long it lasts.
    fn all(&self) {
        let clean = Scene::after(self.before);
        clean.run(self.words).0.succeeded();
        let requests: Vec<String> =
            clean.world.east().requests().iter().map(|one| format!("{} {}", one.method, one.path)).collect();
        let mut failures: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut cells = 0;
        for (number, (fault, action)) in faults(REQUEST).into_iter().enumerate() {
            let Some(share) = share(fault, SHARE) else { continue };
            for lasting in [Lasting::Once, Lasting::FromThenOn] {
                for (index, request) in requests.iter().enumerate() {
                    if !(index * 7 + number * 5 + lasting as usize).is_multiple_of(share) {
                        continue;
                    }
                    cells += 1;
                    if let Err(why) = self.cell((fault, &action), lasting, (index, request)) {
                        failures.entry(why).or_default().push(format!("{fault} {lasting:?} {index}: {request}"));
                    }
                }
            }
        }
        println!("{:?}: {} requests, {cells} cells", self.words, requests.len());
        assert!(cells > 0, "no fault has the name that FAULT_MATRIX says");
        let shown: String =
            failures.iter().map(|(why, cells)| format!("\n{} times, as {}: {why}", cells.len(), cells[0])).collect();
        assert!(failures.is_empty(), "{shown}");
    }

    /// A run that says so has done all, but for what it names.
    fn succeeded(&self, scene: &Scene, run: &Run) -> Result<(), String> {
        let says = |what: &str| Err(format!("{what}: {}{}", run.stdout, run.stderr));
        let unnamed = |path: &String| !run.stderr.contains(path.rsplit('/').next().unwrap_or(path));
        if self.words[0] == "leave"
            && let Some(left) = scene.world.east().ours().iter().find(|path| unnamed(path))
        {
            return says(&format!("{left} is left and not named"));
        }
        if self.words == PRINT {
            let token = run.stdout.split(['"', '\'', ' ', '\n']).find(|word| word.starts_with("fake.token."));
            let Some(token) = token else { return says("no token is printed") };
            if scene.world.get(token, "/api/v1/nodes").0 != 200 {
                return says("the printed token is refused");
            }
        }
        Ok(())
    }

    fn cell(
        &self,
        (fault, action): (&str, &Action),
        lasting: Lasting,
        (index, request): (usize, &str),
    ) -> Result<(), String> {
        let scene = Scene::after(self.before);
        let east = scene.world.east();
        let known = east.secrets();
        let rule = Rule::new("*", "/", action.clone()).skip(index);
        east.rule(if lasting == Lasting::Once { rule.times(1) } else { rule });
        let (run, took) = scene.run(self.words);
        let asked = east.requests().into_iter().skip(index);
        let asked = asked.map(|one| one.path.split('?').next().unwrap_or_default().to_owned());
        let spoiled: Vec<String> = asked.take(if lasting == Lasting::Once { 1 } else { usize::MAX }).collect();
        east.clear_rules();
        let says = |what: &str| Err(format!("{what}: {:?} {}{}", run.code, run.stdout, run.stderr));
        let at_most = if self.words[0] == "leave" { LEAVE_AT_MOST } else { AT_MOST };
        if took > at_most {
            return says(&format!("it took {took:?}"));
        }
        if east.requests().iter().any(|request| request.path.contains(REDIRECTED)) {
            return says("a redirect is followed");
        }
        match run.code {
            // What it says that it did is done.
            Some(0) => self.succeeded(&scene, &run)?,
            Some(1)
                if run.stderr.contains("error (") && run.stderr.contains("\nhint: ") && run.stderr.contains("east") => {
            }
            Some(1) if self.only_reads && run.stdout.contains("east") => {}
            _ => return says("no error that names the cluster, with a hint"),
        }
        if run.code == Some(1) && !self.only_reads && !names_what_failed(&run.stderr, fault, &spoiled) {
            return says("the error does not name what failed");
        }
        if run.stderr.contains("fake.token.") || run.stderr.contains("Bearer") {
            return says("a token is shown");
        }
        if run.code == Some(1) && run.stdout.contains("fake.token.") {
            return says("a token is printed by a run that failed");
        }
        // Whatever the fault: Prometheus has a token that works, until a run has taken it away.
        if let Some(token) = scene.token_in_use()
            && scene.world.get(&token, "/api/v1/nodes").0 != 200
        {
            return says("the token in use is refused");
        }
        // A token that a failed run leaves is in use, or its Secret is named.
        let is_known =
            |secret: &String| known.contains(secret) || scene.is_in_use(secret) || run.stderr.contains(secret.as_str());
        if run.code == Some(1)
            && let Some(unnamed) = east.secrets().iter().find(|secret| !is_known(secret))
        {
            return says(&format!("the token of {unnamed} is left and not named"));
        }
        // The announcement of a removal stays only where it cannot be deleted, until it expires.
        let is_deletion = request.starts_with("DELETE ") && request.contains("/secrets/");
        if lasting == Lasting::Once && !is_deletion && !east.announcements().is_empty() {
            return says("the announcement of a removal is left");
        }
        let (again, _) = scene.run(self.words);
        let is_done = self.words[0] == "leave" && again.stderr.contains("error (ClusterUnknown)");
        if again.code != Some(0) && !is_done {
            return Err(format!("the next run fails: {} after {}", again.stderr, run.stderr));
        }
        let (left, _) = scene.run(self.leave);
        if left.code != Some(0) || !east.ours().is_empty() {
            return Err(format!("leave leaves {:?}: {}", east.ours(), left.stderr));
        }
        Ok(())
    }
}

/// Whether an error names the object or the path of a request that was spoiled. Where there is no answer it names the
/// server, and where the credentials are refused the context.
fn names_what_failed(stderr: &str, fault: &str, spoiled: &[String]) -> bool {
    let errors = stderr.split_once("error (").map_or("", |(_, errors)| errors);
    let named =
        |path: &String| errors.contains(path.as_str()) || errors.contains(path.rsplit('/').next().expect("one"));
    spoiled.iter().any(named)
        || match fault {
            "refused" | "reset" | "answer lost" | "hang" | "cut" => errors.contains("the server https://"),
            "401" => errors.contains("(Unauthorized)"),
            _ => false,
        }
}
