//! Every request to the API of a real Prometheus, spoiled in every way: each run ends, says what is wrong, and leaves a
//! token that Prometheus uses and that is valid.

use crate::{
    plugin::{Account, Run, command},
    raw,
};
use std::{
    fs,
    time::{Duration, Instant},
};
use testbed::{FaultProxy, Prometheus, PrometheusSpec, Rule, share};

trials! {
    weather_prometheus:
    full {
        each_fault_of_the_api_of_prometheus_is_survived,
    }
}

const LIMIT: Duration = Duration::from_secs(2);
/// What a run may take: a minute for a reload that does not answer, another for that of the undo.
const AT_MOST: Duration = Duration::from_secs(2 * 60 + 30);
/// One in so many cells is run; all with `FAULT_MATRIX=all`.
const SHARE: usize = 24;

/// A cluster that is joined to a Prometheus, whose API is asked through a proxy.
struct Scene {
    account: Account<'static>,
    prometheus: Prometheus,
    proxy: FaultProxy,
}

impl Scene {
    fn new() -> Self {
        let spec = PrometheusSpec::new("global: {scrape_interval: 1s}\n");
        let prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
        let proxy = FaultProxy::of_http(prometheus.address()).expect("a proxy");
        let scene = Self { account: Account::new(&testbed::shared().east, "api-faults"), prometheus, proxy };
        scene.run(JOIN).succeeded();
        scene
    }

    fn run(&self, words: &[&str]) -> Run {
        let mut command = command(self.account.cluster.kubeconfig(), words);
        command.arg("-p").arg(self.prometheus.dir()).arg(format!("--prometheus-url={}", self.proxy.url()));
        if words[0] == "join" {
            command.args(["--yes", "--namespace", &self.account.namespace]);
        }
        command.arg(format!("--request-timeout={}s", LIMIT.as_secs())).output().expect("the plugin starts").into()
    }

    /// Runs it without a fault, and returns what it asked Prometheus.
    fn asked(&self, words: &[&str]) -> Vec<(String, String)> {
        self.proxy.forget_requests();
        self.run(words).succeeded();
        let path = |path: &str| path.split('?').next().unwrap_or_default().to_owned();
        let mut asked: Vec<_> =
            self.proxy.requests().into_iter().map(|request| (request.method, path(&request.path))).collect();
        asked.sort();
        asked.dedup();
        asked
    }

    /// The token that the jobs name.
    fn token(&self) -> String {
        let ours = self.prometheus.dir().join("prom-federate");
        let jobs = fs::read_to_string(ours.join("east.scrape.yml")).expect("jobs");
        let file = jobs.lines().find_map(|line| line.trim().strip_prefix("credentials_file: ")).expect("a token");
        fs::read_to_string(ours.join(file.trim_matches('"'))).expect("a token")
    }

    fn survives(&self, cell: &str, words: &[&str]) {
        let started = Instant::now();
        let run = self.run(words);
        self.proxy.clear_rules();
        assert!(started.elapsed() < AT_MOST, "{cell}: {:?}", started.elapsed());
        for text in [&run.stdout, &run.stderr] {
            assert!(!text.contains("eyJ"), "{cell}: a token is shown: {text}");
            assert!(!text.contains("panicked"), "{cell}: {text}");
        }
        if run.code != Some(0) {
            assert_eq!(run.code, Some(1), "{cell}: {}", run.stderr);
            // A command that only reads says what it sees on standard output.
            let said = format!("{}{}", run.stdout, run.stderr);
            let is_named = said.contains("east") || said.contains(&self.proxy.url());
            assert!(said.contains("Prometheus") && is_named, "{cell}: {said}");
        }
        if words[0] != "leave" {
            let (code, body) = raw::request(self.account.cluster, self.token().trim(), "GET", "/api/v1/nodes");
            assert_eq!(code, 200, "{cell}: the token in use: {body}{}", run.stderr);
        }
    }
}

const JOIN: &[&str] = &["join", "--cluster-name=east", "--scrape-interval=1s", "--reload=http"];
const LEAVE: &[&str] = &["leave", "east", "--yes"];

fn each_fault_of_the_api_of_prometheus_is_survived() {
    let scene = Scene::new();
    let mut cells = 0;
    for words in [&["status"][..], &["check"], &["rotate", "--now"], JOIN, LEAVE] {
        let asked = scene.asked(words);
        assert!(!asked.is_empty(), "{words:?} asks Prometheus");
        for (request, (method, path)) in asked.iter().enumerate() {
            for (fault, (name, action)) in testbed::faults(LIMIT).into_iter().enumerate() {
                // Shifted, so that each request meets other faults.
                if share(name, SHARE).is_none_or(|share| (fault + request * 5) % share != 0) {
                    continue;
                }
                cells += 1;
                if words == LEAVE {
                    scene.run(JOIN).succeeded();
                }
                scene.proxy.rule(Rule::new(method, path, action));
                scene.survives(&format!("{}: {method} {path}: {name}", words[0]), words);
            }
        }
        if words == LEAVE {
            scene.run(JOIN).succeeded();
        } else {
            scene.run(&["rotate", "--now"]).succeeded();
        }
        assert_eq!(scene.account.secrets().len(), 1, "{words:?}: tokens that nobody uses are left");
    }
    assert!(cells > 10, "{cells} cells: no fault has the name that FAULT_MATRIX says");
    eprintln!("{cells} cells");
    scene.run(LEAVE).succeeded();
    assert_eq!(scene.account.objects(), Vec::<String>::new());
}
