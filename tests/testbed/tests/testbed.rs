//! What the testbed promises its users.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::json;
use testbed::{
    Action, ClusterSpec, Delay, FaultProxy, Kubeconfig, Prometheus, Rule, Target, User, Vmagent, VmagentSpec,
};

/// Set for the process that the first test kills.
const VICTIM: &str = "TESTBED_TEST_VICTIM";
const SOON: Duration = Duration::from_secs(20);

type Outcome = Result<(), Failed>;

fn main() -> ExitCode {
    testbed::supervise_if_asked();
    if std::env::var_os(VICTIM).is_some() {
        victim();
    }
    let trials = vec![
        Trial::test("a_killed_user_leaves_nothing_behind", a_killed_user_leaves_nothing_behind),
        Trial::test("a_delay_adds_its_round_trip", a_delay_adds_its_round_trip),
        Trial::test("a_flag_reaches_the_api_server", a_flag_reaches_the_api_server),
        Trial::test("a_fault_proxy_records_and_injects", a_fault_proxy_records_and_injects),
        Trial::test("a_service_reaches_its_backend", a_service_reaches_its_backend),
        Trial::test("a_prometheus_scrapes_and_reloads", a_prometheus_scrapes_and_reloads),
        Trial::test("a_vmagent_scrapes_and_reloads", a_vmagent_scrapes_and_reloads),
        Trial::test("a_prometheus_follows_its_operator", a_prometheus_follows_its_operator),
        Trial::test("a_vmagent_follows_its_operator", a_vmagent_follows_its_operator),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// One cluster for all tests here.
fn cluster() -> &'static testbed::Cluster {
    testbed::special("capped", || ClusterSpec::new("capped").token_cap(Duration::from_secs(2 * 3600)))
}

/// Start something, say what, and wait to be killed.
fn victim() -> ! {
    let prometheus = Prometheus::start("scrape_configs: []").expect("prometheus");
    println!("{} {}", prometheus.pid(), testbed::run_dir().expect("run dir").display());
    loop {
        thread::park();
    }
}

fn a_killed_user_leaves_nothing_behind() -> Outcome {
    // Before the clock runs: the victim may need programs that are still to be built.
    testbed::tools();
    let mut user = Command::new(std::env::current_exe()?).env(VICTIM, "1").stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(user.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let (pid, dir) = line.trim().split_once(' ').ok_or_else(|| format!("unexpected: {line:?}"))?;
    let (process, dir) = (Path::new("/proc").join(pid), PathBuf::from(dir));
    assert!(process.exists() && dir.exists(), "the victim had no Prometheus running");
    user.kill()?;
    user.wait()?;
    let gone = testbed::until(SOON, || (!process.exists() && !dir.exists()).then_some(()));
    gone.ok_or_else(|| format!("still there: {} or {}", process.display(), dir.display()).into())
}

fn a_delay_adds_its_round_trip() -> Outcome {
    let rtt = Duration::from_millis(60);
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let server = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut byte = [0];
            while client.read_exact(&mut byte).is_ok() && std::io::Write::write_all(&mut client, &byte).is_ok() {}
        }
    });
    let delay = Delay::in_front_of(server, rtt)?;
    let echo = |stream: &mut TcpStream| -> std::io::Result<Duration> {
        let began = Instant::now();
        std::io::Write::write_all(stream, b"x")?;
        stream.read_exact(&mut [0])?;
        Ok(began.elapsed())
    };
    let mut stream = TcpStream::connect(delay.address())?;
    let (first, second) = (echo(&mut stream)?, echo(&mut stream)?);
    // A busy machine may add time and cannot take any away.
    assert!(first >= 2 * rtt, "set-up and echo took {first:?}");
    assert!(second >= rtt && second < first, "the second echo took {second:?}, the first {first:?}");
    assert_eq!(delay.connections(), 1);
    Ok(())
}

fn a_flag_reaches_the_api_server() -> Outcome {
    let asked = json!({"spec": {"expirationSeconds": 7 * 24 * 3600}});
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let granted = cluster().api().post(path, &asked)?.success("ask for a token")?.json();
    assert_eq!(granted["spec"]["expirationSeconds"], 2 * 3600);
    Ok(())
}

fn a_fault_proxy_records_and_injects() -> Outcome {
    let proxy = FaultProxy::in_front_of(cluster())?;
    let refused =
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "message": "not today"});
    proxy.rule(Rule::new("GET", "/api/v1/nodes", Action::Answer { status: 403, body: refused }).skip(1).times(1));
    let kubectl = |kubeconfig: &Path| {
        let mut command = Command::new(&testbed::tools().kubectl);
        command.args(["get", "--raw", "/api/v1/nodes"]).env("KUBECONFIG", kubeconfig);
        command.output()
    };
    let (first, second, third) =
        (kubectl(&proxy.kubeconfig())?, kubectl(&proxy.kubeconfig())?, kubectl(&proxy.kubeconfig())?);
    assert!(first.status.success(), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(String::from_utf8_lossy(&second.stderr).contains("not today"), "{second:?}");
    assert!(third.status.success(), "{}", String::from_utf8_lossy(&third.stderr));

    // A client with a token of its own is not made the administrator.
    let stranger = Kubeconfig { user: User::Token("nobody".into()), ..proxy.client() };
    let stranger = kubectl(&cluster().write_kubeconfig(&stranger)?)?;
    assert!(!stranger.status.success());
    let requests = proxy.requests();
    assert_eq!(requests.iter().filter(|request| request.path == "/api/v1/nodes").count(), requests.len());
    assert_eq!(requests.iter().map(|request| request.authorization).collect::<Vec<_>>(), [false, false, false, true]);

    proxy.rule(Rule::new("*", "/", Action::Close));
    let closed = kubectl(&proxy.kubeconfig())?;
    assert!(String::from_utf8_lossy(&closed.stderr).contains("EOF"), "{closed:?}");
    Ok(())
}

fn a_service_reaches_its_backend() -> Outcome {
    let backend =
        Prometheus::start_with(&testbed::PrometheusSpec::new("scrape_configs: []").reachable_from_clusters())?;
    let cluster = cluster();
    cluster.kubectl_ok(&["create", "namespace", "backend"]);
    cluster.service("backend", "prometheus", "web", 9090, backend.address())?;
    let path = "/api/v1/namespaces/backend/services/prometheus:web/proxy/-/ready";
    let reached = testbed::until(SOON, || cluster.api().get(path).ok().filter(testbed::Answer::is_success));
    reached.map(|_| ()).ok_or_else(|| format!("{:?}", cluster.api().get(path)).into())
}

fn a_prometheus_scrapes_and_reloads() -> Outcome {
    let prometheus = Prometheus::start("scrape_configs: []")?;
    assert!(prometheus.targets()?.is_empty());
    let own = prometheus.address();
    prometheus.write("prometheus.yml", &scrape("itself", own))?;
    prometheus.reload()?;
    let targets = prometheus.wait_for_targets(1, SOON)?;
    assert_eq!(targets[0].label("job"), "itself");
    // Prometheus calls a target up before it has stored the samples of that scrape.
    testbed::until(SOON, || prometheus.number("up{job=\"itself\"}").ok().flatten().filter(|up| *up > 0.0))
        .ok_or("no sample of a target that is up")?;

    prometheus.write("prometheus.yml", "scrape_configs: [{job_name: x}, {job_name: x}]")?;
    let refused = prometheus.reload().expect_err("two jobs of one name");
    assert!(format!("{refused:#}").contains("multiple scrape configs"), "{refused:#}");
    Ok(())
}

fn a_vmagent_scrapes_and_reloads() -> Outcome {
    let spec = VmagentSpec::new("scrape_config_files: ['jobs/*.yml']").file("jobs/none.yml", "[]");
    let vmagent = Vmagent::start_with(&spec)?;
    assert!(vmagent.targets()?.is_empty());
    // A version that nobody set is empty.
    let metrics = vmagent.get("/metrics")?.body;
    assert!(metrics.contains("short_version=\"v1."), "{metrics}");

    let own = vmagent.address();
    vmagent.write("jobs/own.yml", &format!("- {}", job("itself", own)))?;
    vmagent.reload()?;
    let targets = vmagent.wait_for_targets(1, SOON)?;
    assert_eq!((targets[0].pool.as_str(), targets[0].label("job")), ("itself", "itself"));
    vmagent.reload()?;

    vmagent.write("jobs/twice.yml", &format!("- {}", job("itself", own)))?;
    let refused = format!("{:#}", vmagent.reload().expect_err("two jobs of one name"));
    assert!(refused.contains("duplicate `job_name`") && refused.lines().count() == 1, "{refused}");
    assert_eq!(vmagent.targets()?.len(), 1);
    Ok(())
}

fn scrape(name: &str, target: SocketAddr) -> String {
    format!("scrape_configs: [{}]", job(name, target))
}

fn job(name: &str, target: SocketAddr) -> String {
    format!("{{job_name: {name}, scrape_interval: 1s, static_configs: [{{targets: ['{target}']}}]}}")
}

fn a_vmagent_follows_its_operator() -> Outcome {
    let hub = testbed::hub();
    hub.vmagent("follows-vm", "one", &json!({"scrapeConfigSelector": {}}))?;
    let apply = |name: &str, target: &str| {
        hub.cluster().apply(&format!(
            "{{apiVersion: operator.victoriametrics.com/v1beta1, kind: VMScrapeConfig, metadata: {{name: {name}, namespace: follows-vm}}, \
             spec: {{staticConfigs: [{{targets: ['{target}']}}]}}}}"
        ));
    };
    apply("a", "127.0.0.1:1");
    let operated = hub.run_vmagent("follows-vm", "one", |spec| spec)?;
    for target in ["127.0.0.1:1", "127.0.0.1:2"] {
        apply("a", target);
        let is_there = || {
            let targets = operated.vmagent().targets().ok()?;
            let is = |one: &Target| one.pool == "scrapeConfig/follows-vm/a" && one.label("instance") == target;
            targets.iter().any(is).then_some(())
        };
        testbed::until(SOON, is_there).ok_or_else(|| format!("{target} is no target"))?;
    }
    Ok(())
}

fn a_prometheus_follows_its_operator() -> Outcome {
    let hub = testbed::hub();
    hub.prometheus("follows", "one", &json!({"scrapeConfigSelector": {}}))?;
    let apply = |target: &str| {
        hub.cluster().apply(&format!(
            "{{apiVersion: monitoring.coreos.com/v1alpha1, kind: ScrapeConfig, metadata: {{name: a, namespace: follows}}, \
             spec: {{staticConfigs: [{{targets: ['{target}']}}]}}}}"
        ));
    };
    apply("127.0.0.1:1");
    let operated = hub.run("follows", "one", 0)?;
    for target in ["127.0.0.1:1", "127.0.0.1:2"] {
        apply(target);
        let is_there = |it: &Prometheus| {
            let targets = it.targets().ok()?;
            targets
                .iter()
                .any(|one| one.pool == "scrapeConfig/follows/a" && one.label("instance") == target)
                .then_some(())
        };
        operated.prometheus().wait_until(SOON, is_there).ok_or_else(|| format!("{target} is no target"))?;
    }
    Ok(())
}
