//! Clocks that are a day apart: of the administrator who joins, of the host that rotates, and of the API server, by which
//! tokens expire. Nothing is renewed too late, nothing is called expired that is not, and what is seen is said.
//!
//! The clock of this process is that of whoever runs a command. Another machine's turn, or an hour that passes, moves the
//! API server's clock and everything that was noted instead.

use crate::{Run, World, prometheus_folder, refusal};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use testbed::{Action, Rule};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const MADE: &str = "%Y%m%dt%H%M%Sz";

/// How many hours a clock is ahead of the API server's.
const AHEAD: [i64; 3] = [-24, 0, 24];

/// A cluster and the folder of a Prometheus, seen from a machine whose clock may differ.
struct Scene {
    world: World,
    folder: TempDir,
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

impl Scene {
    /// On a machine whose clock is so many hours ahead of the API server's.
    fn on(ahead: i64) -> Self {
        let scene = Self { world: World::new(), folder: prometheus_folder() };
        scene.world.east().state().clock = HOUR * -i32::try_from(ahead).expect("hours");
        scene
    }

    /// `DIR` stands for the folder.
    fn run(&self, words: &[&str]) -> Run {
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "DIR" { text(self.folder.path()) } else { word }).collect();
        self.world.run(&words)
    }

    fn join(&self, flags: &[&str]) -> Run {
        self.run(&[&["join", "-p", "DIR", "--owner=0:0", "--reload=none"], flags].concat()).succeeded()
    }

    /// Another machine has its turn.
    fn turn_of(&self, ahead: i64) {
        let clock = HOUR * -i32::try_from(ahead).expect("hours");
        let before = std::mem::replace(&mut self.world.east().state().clock, clock);
        self.shift(clock - before);
    }

    fn hours_pass(&self, hours: i64) {
        self.shift(HOUR * -i32::try_from(hours).expect("hours"));
    }

    /// Moves everything that was noted.
    fn shift(&self, by: SignedDuration) {
        self.world.east().state().move_ends(by);
        let ours = self.folder.path().join("prom-federate");
        let moved = |name: &str| {
            let (made, random) = name.split_once('-').expect("a generation");
            let made = DateTime::strptime(MADE, made).expect("a time").to_zoned(TimeZone::UTC).expect("a time");
            format!("{}-{random}", (made.timestamp() + by).strftime(MADE))
        };
        let names: BTreeMap<String, String> =
            self.generations().into_iter().map(|name| (name.clone(), moved(&name))).collect();
        let renamed = |text: String| names.iter().fold(text, |text, (before, now)| text.replace(before, now));
        for (before, now) in &names {
            let record = ours.join("east").join(before).join("cluster.json");
            let mut json: Value = serde_json::from_str(&read(&record)).expect("JSON");
            for moment in ["issued", "expires"] {
                let time: Timestamp = json["token"][moment].as_str().expect("a time").parse().expect("a time");
                json["token"][moment] = json!((time + by).to_string());
            }
            fs::write(&record, renamed(json.to_string())).expect("a record");
            fs::rename(ours.join("east").join(before), ours.join("east").join(now)).expect("a folder");
        }
        let jobs = ours.join("east.scrape.yml");
        fs::write(&jobs, renamed(read(&jobs))).expect("jobs");
        let current = ours.join("east/current");
        if let Ok(to) = fs::read_link(&current) {
            fs::remove_file(&current).expect("a link");
            symlink(renamed(text(&to).to_owned()), &current).expect("a link");
        }
    }

    fn generations(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("prom-federate/east")).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
        names.filter(|name| name != "current").collect()
    }

    /// Whether the API server takes the token that Prometheus would use.
    fn is_token_valid(&self) -> bool {
        let jobs = read(&self.folder.path().join("prom-federate/east.scrape.yml"));
        let file = jobs.lines().find_map(|line| line.trim().strip_prefix("credentials_file: ")).expect("a file");
        let file = self.folder.path().join("prom-federate").join(PathBuf::from(file.trim_matches('"')));
        self.world.get(&read(&file), "/api/v1/nodes").0 == 200
    }

    /// The only cluster in the report of `status`.
    fn status(&self) -> Value {
        let run = self.run(&["status", "-p", "DIR", "--output=json"]);
        let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
        report["clusters"][0].clone()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is said of a clock that is so many hours ahead.
fn told(ahead: i64) -> Option<String> {
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    (ahead != 0).then(|| format!("the clock of this machine is 24h {side} the clock of the API server"))
}

#[track_caller]
fn assert_told(text: &str, ahead: i64) {
    match told(ahead) {
        Some(told) => assert!(text.contains(&told), "no {told:?}: {text}"),
        None => assert!(!text.contains("the clock of"), "{text}"),
    }
}

fn reasons(status: &Value) -> Vec<&str> {
    let problems = status["problems"].as_array().expect("problems");
    problems.iter().filter_map(|problem| problem["reason"].as_str()).collect()
}

#[test]
fn every_command_tells_of_a_clock_that_differs() {
    for ahead in AHEAD {
        let scene = Scene::on(ahead);
        assert_told(&scene.run(&["check"]).succeeded().stdout, ahead);
        assert_told(&scene.run(&["join"]).succeeded().stderr, ahead);
        assert_told(&scene.join(&[]).stderr, ahead);
        assert_told(&scene.run(&["check", "-p", "DIR"]).stdout, ahead);
        assert_told(&scene.run(&["rotate", "--now", "-p", "DIR", "--reload=none"]).succeeded().stderr, ahead);
        assert_told(&scene.run(&["status", "-p", "DIR"]).stderr, ahead);
        let expected: &[&str] = if ahead == 0 { &[] } else { &["ClocksDiffer"] };
        assert_eq!(reasons(&scene.status()), expected, "{ahead}");
        assert_told(&scene.run(&["leave", "east", "-p", "DIR", "--reload=none"]).succeeded().stderr, ahead);
    }
}

/// `status` counts by the API server's clock.
#[test]
fn status_calls_only_tokens_expired_that_are() {
    for admin in AHEAD {
        for host in AHEAD {
            let scene = Scene::on(admin);
            scene.join(&["--duration=24h"]);
            scene.turn_of(host);
            for (hours, state) in [(1, "fresh"), (12, "due"), (6, "late"), (6, "expired")] {
                scene.hours_pass(hours);
                let status = scene.status();
                assert_eq!(status["token"]["state"], state, "admin {admin}, host {host}: {status}");
                let is_expired = state == "expired";
                assert_eq!(scene.is_token_valid(), !is_expired, "the trial itself");
                assert_eq!(reasons(&status).contains(&"TokenExpired"), is_expired, "admin {admin}, host {host}");
            }
        }
    }
}

/// Rotates every four hours, for 60 hours. A host with a clock that is ahead may renew too often, and no more.
#[test]
fn rotation_is_never_too_late() {
    let mut counts = Vec::new();
    let admins = [
        (&["--duration=24h"][..], &AHEAD[..]),
        (&["--duration=24h", "--self-renew"], &[0]),
        (&["--duration=60h"], &[0]),
    ];
    for (flags, admins) in admins {
        for &admin in admins {
            for host in AHEAD {
                let scene = Scene::on(admin);
                scene.join(flags);
                scene.turn_of(host);
                // The host of Prometheus has no administrator's credentials.
                let empty = scene.world.file("empty", r#"{"apiVersion":"v1","kind":"Config"}"#);
                let mut rotations = 0;
                for hour in (4..=60).step_by(4) {
                    scene.hours_pass(4);
                    let words = ["rotate", "-p", text(scene.folder.path()), "--reload=none"];
                    let run = if flags.len() > 1 { scene.world.with(&empty, &words) } else { scene.world.run(&words) };
                    let run = run.succeeded();
                    assert!(
                        scene.is_token_valid(),
                        "{flags:?}, admin {admin}, host {host}, hour {hour}: {}",
                        run.stderr
                    );
                    if run.stderr.contains("new token until") {
                        rotations += 1;
                        assert_told(&run.stderr, host);
                    } else {
                        assert!(run.stderr.contains("not due before"), "{}", run.stderr);
                    }
                }
                counts.push(format!("{:<35} admin {admin:>3}, host {host:>3}: {rotations:>2}", flags.join(" ")));
            }
        }
    }
    insta::assert_snapshot!(counts.join("\n"), @"
    --duration=24h                      admin -24, host -24:  5
    --duration=24h                      admin -24, host   0:  5
    --duration=24h                      admin -24, host  24: 15
    --duration=24h                      admin   0, host -24:  5
    --duration=24h                      admin   0, host   0:  5
    --duration=24h                      admin   0, host  24: 15
    --duration=24h                      admin  24, host -24:  5
    --duration=24h                      admin  24, host   0:  5
    --duration=24h                      admin  24, host  24: 15
    --duration=24h --self-renew         admin   0, host -24:  5
    --duration=24h --self-renew         admin   0, host   0:  5
    --duration=24h --self-renew         admin   0, host  24: 15
    --duration=60h                      admin   0, host -24:  2
    --duration=60h                      admin   0, host   0:  1
    --duration=60h                      admin   0, host  24:  7
    ");
}

/// The clock of a host that is turned back, when the token has any age.
#[test]
fn clock_that_is_turned_back_delays_no_renewal_beyond_the_life() {
    for back in [6, 10, 24] {
        for age in [0, 8, 10] {
            let scene = Scene::on(0);
            scene.join(&["--duration=24h"]);
            scene.hours_pass(age);
            scene.turn_of(-back);
            for hour in (age + 2..=30).step_by(2) {
                scene.hours_pass(2);
                let run = scene.run(&["rotate", "-p", "DIR", "--reload=none"]).succeeded();
                assert!(scene.is_token_valid(), "{back} h back at {age} h, hour {hour}: {}", run.stderr);
            }
        }
    }
}

/// The account stays as long as another destination has a valid token, and no longer.
#[test]
fn leave_spares_an_account_in_use() {
    for ahead in AHEAD {
        let scene = Scene::on(ahead);
        let other = prometheus_folder();
        scene.join(&["--duration=24h"]);
        let join = ["join", "-p", text(other.path()), "--owner=0:0", "--reload=none", "--duration=24h"];
        scene.world.run(&join).succeeded();
        let leave = ["leave", "east", "-p", text(other.path()), "--reload=none"];
        scene.hours_pass(23);
        let run = scene.world.run(&leave).succeeded();
        assert_told(&run.stderr, ahead);
        assert!(run.stderr.contains("other destinations use it"), "{ahead}: {}", run.stderr);
        assert!(scene.is_token_valid(), "{ahead}: {}", run.stderr);
        scene.world.run(&join).succeeded();
        scene.hours_pass(2);
        scene.world.run(&leave).succeeded();
        assert_eq!(scene.world.east().ours(), Vec::<String>::new(), "{ahead}: the other token has expired");
    }
}

/// Without an answer of the API server, nothing but the clock of this machine tells what has expired.
#[test]
fn failed_rotation_tells_by_which_clock_the_old_token_expired() {
    let (closed, forbidden) = (Action::Close, refusal(403, "Forbidden", "you may not"));
    for (ahead, hours, action, says) in [
        (0, 13, &forbidden, "The old token stays in use and expires on "),
        (24, 13, &forbidden, "The old token stays in use and expires on "),
        (-24, 25, &forbidden, "The old token expired on "),
        (0, 13, &closed, "The old token stays in use and expires on "),
        (24, 13, &closed, "By the clock of this machine, the old token expired on "),
    ] {
        let scene = Scene::on(ahead);
        scene.join(&["--duration=24h"]);
        scene.hours_pass(hours);
        scene.world.east().rule(Rule::new("*", "/", action.clone()));
        scene.run(&["rotate", "-p", "DIR", "--now", "--reload=none"]).failed("RotationFailed", &[says]);
    }
}
