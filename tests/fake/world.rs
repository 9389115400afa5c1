//! A test's own clusters, and commands of the plugin that run in this process: the same code as the binary's, from the
//! command line to the requests. Time is tokio's and passes at once when everything waits.

use crate::{
    api::{ApiServer, Verdict},
    run::Run,
};
use clap::Parser;
use futures_util::future::join_all;
use http::{Method, Request, Response};
use jiff::Timestamp;
use kube::client::Body;
use prom_federate::{
    cli::Cli,
    clock,
    cluster::network,
    commands,
    model::token::bound_secret::DESTINATION_ANNOTATION,
    ui::{Captured, Ui},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    future::pending,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tempfile::TempDir;
use testbed::{Action, REDIRECTED, Rule};
use tokio::{runtime::Runtime, time::Instant};
use tower::{BoxError, ServiceExt, util::BoxCloneSyncService};

pub(crate) struct World {
    clusters: BTreeMap<String, Arc<ApiServer>>,
    home: TempDir,
    runtime: Runtime,
    /// What the clock of this machine showed, and when by tokio's.
    started: (Timestamp, Instant),
    /// Before each request, if commands run beside each other.
    pauses: Arc<Mutex<Option<Pauses>>>,
    /// What a person at a terminal answers; none without a terminal.
    answer: Option<bool>,
}

impl World {
    /// One cluster, `east`.
    pub(crate) fn new() -> Self {
        Self::of(&["east"])
    }

    /// Clusters by these names, each with a context and an administrator.
    pub(crate) fn of(names: &[&str]) -> Self {
        let clusters = names.iter().map(|name| ((*name).to_owned(), Arc::new(ApiServer::new()))).collect();
        let home = tempfile::tempdir().expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("an event loop");
        let started = (Timestamp::now(), runtime.block_on(async { Instant::now() }));
        let world = Self { clusters, home, runtime, started, pauses: Arc::default(), answer: None };
        world.kubeconfig("config", names[0], &json!({ "token": "admin" }));
        world
    }

    #[must_use]
    pub(crate) fn answering(mut self, answer: bool) -> Self {
        self.answer = Some(answer);
        self
    }

    pub(crate) fn east(&self) -> &Arc<ApiServer> {
        self.cluster("east")
    }

    pub(crate) fn cluster(&self, name: &str) -> &Arc<ApiServer> {
        &self.clusters[name]
    }

    /// A kubeconfig with a context for each cluster, all of them with these credentials.
    pub(crate) fn kubeconfig(&self, file: &str, current: &str, user: &Value) -> String {
        let each = |entry: &dyn Fn(&String) -> Value| self.clusters.keys().map(entry).collect::<Vec<Value>>();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": current,
            "clusters": each(&|name| json!({ "name": name, "cluster": { "server": format!("https://{name}.example:6443") } })),
            "users": each(&|name| json!({ "name": name, "user": user })),
            "contexts": each(&|name| json!({ "name": name, "context": { "cluster": name, "user": name } })),
        });
        self.file(file, &config.to_string())
    }

    /// The path of a file with this content.
    pub(crate) fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the folder can be written to");
        path.display().to_string()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A command as the administrator who says yes where a command asks.
    pub(crate) fn run(&self, words: &[&str]) -> Run {
        self.asked(&[words, yes(words)].concat())
    }

    /// The same, and it asks.
    pub(crate) fn asked(&self, words: &[&str]) -> Run {
        let config = self.path("config").display().to_string();
        self.with(&config, words)
    }

    /// The same as a user whom [`State::grant`](crate::api::State::grant) made.
    pub(crate) fn run_as(&self, user: &str, words: &[&str]) -> Run {
        let config = self.kubeconfig(&format!("config-of-{user}"), "east", &json!({ "token": user }));
        self.with(&config, &[words, &["--yes"]].concat())
    }

    /// A command with this kubeconfig.
    pub(crate) fn with(&self, kubeconfig: &str, words: &[&str]) -> Run {
        self.runtime.block_on(self.awaited(kubeconfig, words))
    }

    async fn awaited(&self, kubeconfig: &str, words: &[&str]) -> Run {
        let captured: &'static Captured = Box::leak(Box::new(Captured { answer: self.answer, ..Captured::default() }));
        let code = Box::pin(self.command(kubeconfig, words, captured)).await;
        let text = |text: &Mutex<String>| text.lock().expect("nothing panicked").clone();
        Run::new(Some(code.into()), text(&captured.stdout), text(&captured.stderr))
    }

    /// A watch that is killed when `seen` ends, which is given what the watch says.
    pub(crate) fn watching<T>(&self, words: &[&str], seen: impl AsyncFnOnce(&Mutex<String>) -> T) -> T {
        let config = self.path("config").display().to_string();
        let captured: &'static Captured = Box::leak(Box::default());
        self.runtime.block_on(clock::stand_in(self.started, async {
            tokio::select! {
                code = Box::pin(self.command(&config, words, captured)) => panic!("it ended with {code}: {captured:?}"),
                seen = Box::pin(seen(&captured.stderr)) => seen,
            }
        }))
    }

    /// A command beside a watch, as the administrator.
    pub(crate) async fn run_beside(&self, words: &[&str]) -> Run {
        self.awaited(&self.path("config").display().to_string(), words).await
    }

    /// The same and how long it took, by the clock that passes when everything waits.
    pub(crate) fn timed(&self, words: &[&str]) -> (Run, Duration) {
        let now = || self.runtime.block_on(async { tokio::time::Instant::now() });
        let started = now();
        let run = self.run(words);
        (run, now() - started)
    }

    /// Lets this time pass.
    pub(crate) fn pass(&self, time: Duration) {
        self.runtime.block_on(tokio::time::advance(time));
    }

    /// A command that is killed as it waits for the answer to a request.
    pub(crate) fn killed_at(&self, words: &[&str], request: &Rule) {
        let config = self.path("config").display().to_string();
        for cluster in self.clusters.values() {
            cluster.rule(Rule { action: Action::Hang, ..request.clone() });
        }
        let captured: &'static Captured = Box::leak(Box::default());
        let words = [words, yes(words), &["--request-timeout=0"]].concat();
        let killed = self.runtime.block_on(async {
            let run = Box::pin(self.command(&config, &words, captured));
            tokio::time::timeout(Duration::from_secs(100), run).await
        });
        assert!(killed.is_err(), "it ended by itself: {captured:?}");
        self.clusters.values().for_each(|cluster| cluster.clear_rules());
    }

    /// Commands at the same time, with random pauses before each of them and before each of their requests. A watch is
    /// killed when the others have ended.
    pub(crate) fn beside(&self, seed: u64, commands: &[Vec<&str>]) -> Vec<Run> {
        let config = self.path("config").display().to_string();
        *self.lock_pauses() = Some(Pauses(seed));
        let is_watch = |words: &[&str]| words.contains(&"--watch");
        let captured: Vec<&'static Captured> =
            commands.iter().map(|_| -> &'static Captured { Box::leak(Box::default()) }).collect();
        let run = |watches: bool| {
            let chosen = commands.iter().zip(&captured).filter(move |(words, _)| is_watch(words) == watches);
            join_all(chosen.map(|(words, captured)| self.paused(&config, words, captured)))
        };
        let mut codes = self.runtime.block_on(async {
            let others = async {
                let codes = run(false).await;
                tokio::time::sleep(Duration::from_secs(90)).await;
                codes.into_iter()
            };
            let watches = async {
                run(true).await;
                pending::<()>().await;
            };
            tokio::select! {
                codes = others => codes,
                () = watches => unreachable!(),
            }
        });
        let mut code = |words: &[&str]| if is_watch(words) { None } else { codes.next().map(i32::from) };
        let codes: Vec<Option<i32>> = commands.iter().map(|words| code(words)).collect();
        *self.lock_pauses() = None;
        let text = |text: &Mutex<String>| text.lock().expect("nothing panicked").clone();
        let runs = codes.into_iter().zip(captured);
        runs.map(|(code, captured)| Run::new(code, text(&captured.stdout), text(&captured.stderr))).collect()
    }

    async fn paused(&self, config: &str, words: &[&str], captured: &'static Captured) -> u8 {
        let begins = self.lock_pauses().as_mut().map(Pauses::long).unwrap_or_default();
        tokio::time::sleep(begins).await;
        Box::pin(self.command(config, &[words, yes(words)].concat(), captured)).await
    }

    fn lock_pauses(&self) -> MutexGuard<'_, Option<Pauses>> {
        self.pauses.lock().expect("nothing panicked")
    }

    /// Says how it ended, and returns its exit code.
    async fn command(&self, kubeconfig: &str, words: &[&str], captured: &'static Captured) -> u8 {
        let line = ["kubectl-prom_federate"].iter().chain(words);
        let connects = !matches!(words[0], "manifests" | "rules" | "completion" | "version");
        let kubeconfig = connects.then(|| format!("--kubeconfig={kubeconfig}"));
        let line: Vec<&str> = line.copied().chain(kubeconfig.as_deref()).collect();
        let command = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}")).command;
        let ui = Ui::captured(commands::verbosity(&command), captured);
        let run = Box::pin(commands::execute(command, ui));
        let outcome = clock::stand_in(self.started, network::on(self.stand_in(), run)).await;
        outcome.map_or_else(
            |error| {
                ui.error(&error);
                error.reason.exit_code()
            },
            |()| 0,
        )
    }

    /// Leads to the clusters by the names of their hosts; any other refuses the connection.
    fn stand_in(&self) -> network::StandIn {
        let (clusters, pauses) = (self.clusters.clone(), self.pauses.clone());
        BoxCloneSyncService::new(tower::service_fn(move |request: Request<Body>| {
            let name = request.uri().host().and_then(|host| host.strip_suffix(".example"));
            let answer = answer(name.and_then(|name| clusters.get(name)).cloned(), request);
            let pause = pauses.lock().expect("nothing panicked").as_mut().map(Pauses::next);
            async move {
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
                answer.await
            }
        }))
    }

    /// What `east` answers to the holder of a token: the status, and the body as text.
    pub(crate) fn get(&self, token: &str, path: &str) -> (u16, String) {
        self.send(token, Method::GET, path, "")
    }

    /// The same to a request with a body.
    pub(crate) fn send(&self, token: &str, method: Method, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://east.example:6443{path}"))
            .header("authorization", format!("Bearer {token}"))
            .body(Body::from(body.as_bytes().to_vec()))
            .expect("a request");
        self.runtime.block_on(clock::stand_in(self.started, async {
            let response = self.stand_in().oneshot(request).await.expect("an answer");
            let status = response.status().as_u16();
            let body = response.into_body().collect_bytes().await.expect("a body");
            (status, String::from_utf8_lossy(&body).into_owned())
        }))
    }
}

/// Random pauses that a seed determines: splitmix64.
struct Pauses(u64);

impl Pauses {
    fn random(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// Mostly short, seldom of seconds.
    fn next(&mut self) -> Duration {
        let below = match self.random(10) {
            0..5 => 20,
            5..9 => 1000,
            _ => 8000,
        };
        Duration::from_millis(self.random(below))
    }

    /// As long as a leave takes.
    fn long(&mut self) -> Duration {
        Duration::from_millis(self.random(20_000))
    }
}

/// Where a command asks.
fn yes(words: &[&str]) -> &'static [&'static str] {
    if matches!(words[0], "join" | "leave") { &["--yes"] } else { &[] }
}

async fn answer(cluster: Option<Arc<ApiServer>>, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let Some(cluster) = cluster else { return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()) };
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let answer = match cluster.receive(&head, body.clone()) {
        Verdict::Answer(answer) => answer,
        Verdict::Close => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        Verdict::Refuse => return Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
        // As much as the plugin must not read: kube's body has one piece.
        Verdict::Endless => return Ok(Response::new(Body::from(vec![b'"'; 20 << 20]))),
        Verdict::Hang => std::future::pending().await,
        Verdict::Wait(duration) => {
            tokio::time::sleep(duration).await;
            cluster.answer_late(&head, body)
        }
    };
    let date = cluster.state().now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut response =
        Response::builder().status(answer.status).header("content-type", answer.content_type()).header("date", date);
    match answer.status {
        // As the API server does (apiserver `server/filters/maxinflight.go`, `tooManyRequests`).
        429 => response = response.header("retry-after", "1"),
        302 => response = response.header("location", REDIRECTED),
        _ => {}
    }
    Ok(response.body(Body::from(answer.body))?)
}

/// The folder of a Prometheus that does not run.
pub(crate) fn prometheus_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("prometheus.yml"), "global: {}\n").expect("a file");
    folder
}

/// The account of these tests, in kubectl's spelling and in the paths of the API server.
pub(crate) const NAME: &str = "prom-federate.prom-federate.prometheus";

impl ApiServer {
    /// Everything of the default account that is there.
    pub(crate) fn ours(&self) -> Vec<String> {
        let state = self.state();
        let all = state.objects.keys().filter(|path| path.contains("prom-federate"));
        all.cloned().collect()
    }

    /// The names of the account's bound Secrets.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.secrets_where(|destination| destination != "leave")
    }

    /// The names of the Secrets with which removals announce themselves.
    pub(crate) fn announcements(&self) -> Vec<String> {
        self.secrets_where(|destination| destination == "leave")
    }

    fn secrets_where(&self, is_meant: impl Fn(&Value) -> bool) -> Vec<String> {
        let state = self.state();
        let secrets = state.objects.iter().filter_map(|(path, object)| Some((path.split_once("/secrets/")?.1, object)));
        let meant = secrets.filter(|(_, secret)| is_meant(&secret["metadata"]["annotations"][DESTINATION_ANNOTATION]));
        meant.map(|(name, _)| name.to_owned()).collect()
    }
}
