//! The API, the process and the reload of a real Prometheus.

use crate::needs;
use jiff::Timestamp;
use prom_federate::{
    destination::{
        Health, PrometheusApi, Reloaded,
        prometheus::{
            api::HttpReload,
            process::{self, ConsumerKind, PrometheusProcess},
            promtool::{self, Depth},
            reload::reload,
            sockets::listeners,
        },
    },
    error::{Reason, Result},
    host::{Host, Validation},
    model::store::{location::Format, reload::ReloadMode},
    render::main_config::MainConfig,
    stages::deliver::verify::{Verdict, verify},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};
use testbed::{Prometheus, PrometheusSpec, Tools};

trials! {
    prometheus_side:
    smoke {
        process_is_found_with_its_user_and_groups,
    }
    full {
        api_reports_version_and_flags,
        agent_is_recognized_and_answers_no_queries,
        process_is_found_by_every_spelling_of_its_configuration,
        process_is_found_in_another_mount_namespace,
        api_in_another_network_namespace_is_not_used,
        password_of_prometheus_is_named_at_its_own_address,
        process_of_another_configuration_is_not_found,
        http_reloads,
        signal_reloads_without_http_lifecycle,
        prometheus_may_reload_by_itself,
        reload_command_reloads,
        invalid_configuration_is_named,
        promtool_finds_errors_that_fail_a_reload,
        targets_are_verified,
        rejected_job_is_reported_with_the_reason,
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
/// It scrapes itself, beside what the files say.
const CONFIG: &str = "global: {scrape_interval: 1s}\n\
                      scrape_config_files: [jobs/*.yml]\n";

fn start(spec: &PrometheusSpec) -> Prometheus {
    Prometheus::start_with(spec).expect("Prometheus starts")
}

fn spec() -> PrometheusSpec {
    PrometheusSpec::new(CONFIG)
}

/// Asks Prometheus something. A client lives no longer than the event loop it was made on.
fn ask<T>(prometheus: &Prometheus, question: impl AsyncFnOnce(PrometheusApi) -> T) -> T {
    wait_for(async { question(api(prometheus.url())).await })
}

fn api(url: &str) -> PrometheusApi {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    PrometheusApi::from_here(url, Some(Duration::from_secs(10)), None).expect("an address")
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

fn this_host() -> Host {
    Host::Local { root: "/".into() }
}

fn processes(config: &Path) -> Vec<PrometheusProcess> {
    // As a destination names its file, whatever was typed.
    let config = fs::canonicalize(config).expect("the file is there");
    wait_for(async {
        let candidates = this_host().candidates().await?;
        let listeners = listeners(candidates.listening.as_deref().unwrap_or_default());
        let main = MainConfig::read("").expect("a configuration");
        process::processes(&this_host(), candidates, &listeners, &config, None, &main).await
    })
    .expect("/proc is read")
}

fn config(prometheus: &Prometheus) -> PathBuf {
    prometheus.dir().join("prometheus.yml")
}

fn holder(prometheus: &Prometheus) -> PrometheusProcess {
    let mut found = processes(&config(prometheus));
    assert_eq!(found.len(), 1, "{found:?}");
    let holder = found.remove(0);
    assert_eq!(holder.pid.cast_unsigned(), prometheus.pid());
    holder
}

/// A job without a target that answers, so that nothing but its presence matters.
fn job(name: &str) -> String {
    format!("scrape_configs:\n- job_name: {name}\n  static_configs: [{{targets: ['127.0.0.1:1']}}]\n")
}

/// A job that scrapes Prometheus itself.
fn own_job(prometheus: &Prometheus, name: &str, path: &str) -> String {
    format!(
        "scrape_configs:\n- job_name: {name}\n  metrics_path: {path}\n  \
         static_configs: [{{targets: ['{}'], labels: {{node: n1}}}}]\n",
        prometheus.address()
    )
}

/// Adds a file of jobs and has it read.
fn push(
    prometheus: &Prometheus,
    name: &str,
    jobs: &str,
    mode: &ReloadMode,
    holders: &[PrometheusProcess],
) -> Result<Reloaded> {
    prometheus.write(&format!("jobs/{name}.yml"), jobs).expect("the file is written");
    ask(prometheus, async |api| reload(&this_host(), mode, holders, Some(&api), Timestamp::now()).await)
}

/// Prometheus shows jobs some seconds after it has read them.
fn has_job(prometheus: &Prometheus, name: &str) {
    let pools = || ask(prometheus, async |api| api.scrape_pools().await).expect("a list");
    let has = || pools().iter().any(|pool| pool == name).then_some(());
    testbed::until(PATIENCE, has).unwrap_or_else(|| panic!("{name} is no job"));
}

fn verified(prometheus: &Prometheus, pool: &str, patience: Duration) -> Result<Verdict> {
    ask(prometheus, async |api| verify(&api, &[pool.to_owned()], Timestamp::now(), patience, |_| false).await)
}

fn api_reports_version_and_flags() {
    let prometheus = start(&spec());
    ask(&prometheus, async |api| {
        assert!(api.build_version().await.expect("a version").starts_with("3."));
        assert_eq!(api.ready().await, Ok(true));
        let flags = api.flags().await.expect("flags");
        assert_eq!(flags["config.file"], "prometheus.yml");
        assert_eq!(flags["web.enable-lifecycle"], "true");
        let samples =
            api.query("vector(1.5) or label_replace(vector(2), \"a\", \"ö+\", \"\", \"\")").await.expect("a vector");
        assert_eq!(samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [1.5, 2.0]);
        assert_eq!(samples[1].labels["a"], "ö+");
        let error = api.query("up[").await.expect_err("no PromQL");
        assert_eq!(error.reason, Reason::PrometheusError);
        assert!(error.to_string().contains("parse error"), "{error}");
        let state = api.config_state().await.expect("a state");
        assert!(state.successful && state.succeeded <= Timestamp::now() && state.attempts.is_none(), "{state:?}");

        let nobody = self::api(&format!("http://{}", testbed::refused_port()));
        let error = nobody.build_version().await.expect_err("nobody is there");
        assert_eq!(error.reason, Reason::PrometheusUnreachable);
        assert!(error.to_string().contains("refused"), "{error}");
        let other = self::api(&format!("{}/elsewhere", prometheus.url()));
        let error = other.build_version().await.expect_err("nothing is there");
        assert_eq!(error.reason, Reason::PrometheusError, "{error}");
        assert_eq!(other.config_state().await.expect_err("nothing is there").reason, Reason::PrometheusError);
    });
}

fn agent_is_recognized_and_answers_no_queries() {
    let remote_write = "remote_write: [{url: 'http://127.0.0.1:1'}]\n";
    let prometheus = start(&PrometheusSpec::new(format!("{CONFIG}{remote_write}")).agent());
    assert_eq!(holder(&prometheus).consumer, ConsumerKind::PrometheusAgent);
    let error = ask(&prometheus, async |api| api.query("up").await).expect_err("an agent has no data");
    assert!(error.to_string().contains("unavailable with Prometheus Agent"), "{error}");
    assert_eq!(
        push(&prometheus, "a", &job("a"), &ReloadMode::Auto, &processes(&config(&prometheus))),
        Ok(Reloaded::Http)
    );
    has_job(&prometheus, "a");
}

fn process_is_found_by_every_spelling_of_its_configuration() {
    for path in
        [None, Some("prometheus.yml"), Some("./data/../prometheus.yml"), Some("{dir}/prometheus.yml"), Some("link.yml")]
    {
        let spec = spec().config_file(path).file("data/keep", "");
        // A link that stays within the folder, as Kubernetes makes them.
        let linked = ["sh", "-c", "ln -s prometheus.yml link.yml && exec \"$@\"", "sh"];
        let prometheus = start(&spec.wrapper(&linked));
        let holder = holder(&prometheus);
        assert_eq!(holder.consumer, ConsumerKind::Prometheus);
        assert_eq!(holder.api.as_deref(), Some(prometheus.url()), "{path:?}");
        assert_eq!(holder.exe, Tools::get().ok().and_then(|tools| fs::canonicalize(&tools.prometheus).ok()));
        assert!(holder.shares_mounts, "{path:?}");
        let own = rustix::process::geteuid().as_raw();
        assert_eq!((holder.uid, holder.gid), (own, rustix::process::getegid().as_raw()));
        // By another name of the file, too.
        assert_eq!(processes(&prometheus.dir().join("link.yml")), [holder]);
    }
}

fn process_is_found_with_its_user_and_groups() {
    needs::root();
    // It cannot read the folder of this run as that user, but for this capability.
    let nobody = [
        "setpriv",
        "--reuid=65533",
        "--regid=65532",
        "--groups=7,65531",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
    ];
    let prometheus = start(&spec().wrapper(&nobody));
    let holder = holder(&prometheus);
    assert_eq!((holder.uid, holder.gid, holder.groups), (65533, 65532, vec![7, 65531]));
}

fn process_is_found_in_another_mount_namespace() {
    let alone = needs::namespace("mount");
    let alone: Vec<&str> = alone.iter().map(String::as_str).collect();
    let elsewhere = "mount --bind \"$PWD\" /mnt && exec \"$@\"";
    let hidden = "mount --bind \"$PWD\" /mnt && mount -t tmpfs none \"$PWD\" && cd /mnt && exec \"$@\"";
    // As a container: a root of its own, which an absolute link means too.
    let rooted = "mkdir -p root/etc/prometheus root/bin && ln -s /etc/prometheus/prometheus.yml root/link.yml && \
                  mount --bind \"$PWD\" root/etc/prometheus && mount --bind \"$(dirname \"$1\")\" root/bin && \
                  for lib in lib lib64 usr; do \
                  if test -e /$lib; then mkdir root/$lib && mount --bind /$lib root/$lib || exit; fi; done; \
                  shift && exec chroot root /bin/prometheus \"$@\"";
    for (script, path, shares_mounts) in [
        (elsewhere, "/mnt/prometheus.yml", true),
        (elsewhere, "prometheus.yml", true),
        (hidden, "/mnt/prometheus.yml", false),
        (hidden, "prometheus.yml", false),
        (rooted, "/etc/prometheus/prometheus.yml", false),
        (rooted, "etc/prometheus/prometheus.yml", false),
        (rooted, "/link.yml", false),
    ] {
        let spec = spec().config_file(Some(path)).without_lifecycle();
        let prometheus = start(&spec.wrapper(&[&alone[..], &["sh", "-c", script, "sh"]].concat()));
        let holder = holder(&prometheus);
        assert_eq!(holder.shares_mounts, shares_mounts, "{path} {script}");
        assert_eq!(holder.api.as_deref(), Some(prometheus.url()));
        let pids = vec![holder.pid];
        let reloaded = push(&prometheus, "a", &job("a"), &ReloadMode::Auto, &[holder]);
        assert_eq!(reloaded, Ok(Reloaded::Signal { pids, seen: true }), "{path} {script}");
    }
}

fn api_in_another_network_namespace_is_not_used() {
    let alone = needs::namespace("net");
    // The testbed could not reach it, so it is not the testbed's.
    let neighbour = start(&spec());
    let dir = neighbour.dir().join("alone");
    fs::create_dir(&dir).expect("a folder");
    let config = dir.join("prometheus.yml");
    fs::write(&config, CONFIG).expect("a file");
    let mut process = Command::new(&alone[0])
        .args(&alone[1..])
        .arg(&Tools::get().expect("tools").prometheus)
        .arg("--storage.tsdb.path=data")
        .arg(format!("--web.listen-address={}", neighbour.address()))
        .current_dir(&dir)
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let found = testbed::until(PATIENCE, || processes(&config).pop());
    process.kill().and_then(|()| process.wait()).expect("it ends");
    assert_eq!(found.expect("it is found").api, None);
}

fn password_of_prometheus_is_named_at_its_own_address() {
    // No password has this hash.
    let users = "basic_auth_users: {admin: $2y$10$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}\n";
    let spec = spec().file("web.yml", users).flag("--web.config.file=web.yml");
    let prometheus = start(&spec);
    assert_eq!(holder(&prometheus).api.as_deref(), Some(prometheus.url()));
    for error in [
        ask(&prometheus, async |api| api.ready().await).expect_err("401"),
        ask(&prometheus, async |api| api.config_state().await).expect_err("401"),
    ] {
        assert_eq!(error.reason, Reason::PrometheusError);
        assert!(error.to_string().contains(&format!("{} wants a password", prometheus.url())), "{error}");
    }
}

fn process_of_another_configuration_is_not_found() {
    let prometheus = start(&spec());
    let copy = prometheus.dir().join("copy.yml");
    fs::copy(config(&prometheus), &copy).expect("a copy");
    assert_eq!(processes(&copy), []);
    // An editor that replaces the file leaves Prometheus with the path, which leads to the new one.
    fs::rename(&copy, config(&prometheus)).expect("the file is replaced");
    let holder = holder(&prometheus);
    prometheus.stop();
    let error = wait_for(reload(&this_host(), &ReloadMode::Signal, &[holder], None, Timestamp::now()))
        .expect_err("it has ended");
    assert_eq!(error.reason, Reason::ReloadFailed);
    assert!(error.to_string().contains("it has ended"), "{error}");
}

fn http_reloads() {
    let prometheus = start(&spec());
    for (name, mode, holders) in [
        ("a", ReloadMode::Http, vec![]),
        ("b", ReloadMode::Auto, vec![]),
        ("c", ReloadMode::Auto, vec![holder(&prometheus)]),
    ] {
        assert_eq!(push(&prometheus, name, &job(name), &mode, &holders), Ok(Reloaded::Http), "{name}");
        has_job(&prometheus, name);
    }
    assert_eq!(ask(&prometheus, async |api| api.reload().await), Ok(HttpReload::Done));
}

fn signal_reloads_without_http_lifecycle() {
    let prometheus = start(&spec().without_lifecycle());
    assert_eq!(ask(&prometheus, async |api| api.reload().await), Ok(HttpReload::NotEnabled));
    let holder = holder(&prometheus);
    let (pids, holders) = (vec![holder.pid], [holder]);
    for mode in [ReloadMode::Signal, ReloadMode::Auto] {
        let name = mode.to_string();
        let reloaded = push(&prometheus, &name, &job(&name), &mode, &holders);
        assert_eq!(reloaded, Ok(Reloaded::Signal { pids: pids.clone(), seen: true }));
        has_job(&prometheus, &name);
    }
    // Without the API the reload cannot be verified.
    let reloaded = wait_for(reload(&this_host(), &ReloadMode::Auto, &holders, None, Timestamp::now()));
    assert_eq!(reloaded, Ok(Reloaded::Signal { pids, seen: false }));
    let error = push(&prometheus, "b", &job("b"), &ReloadMode::Http, &holders).expect_err("it is switched off");
    assert!(error.to_string().ends_with("does not allow a reload over HTTP"), "{error}");
    // From another host, say: no process to see, and no other way.
    let error = push(&prometheus, "c", &job("c"), &ReloadMode::Auto, &[]).expect_err("there is no way");
    assert_eq!(error.reason, Reason::ReloadFailed);
    assert!(error.hints.iter().any(|hint| hint.contains("--reload='command:")), "{:?}", error.hints);
}

fn prometheus_may_reload_by_itself() {
    let watches = ["--config.auto-reload", "--config.auto-reload-interval=1s"];
    let prometheus = start(&watches.iter().fold(spec().without_lifecycle(), |spec, flag| spec.flag(*flag)));
    assert_eq!(holder(&prometheus).auto_reload, Some(Duration::from_secs(1)));
    let reloaded = push(&prometheus, "a", &job("a"), &ReloadMode::Auto, &[]);
    assert_eq!(reloaded, Ok(Reloaded::AutoReload { seen: true }));
    has_job(&prometheus, "a");
    let error = push(&prometheus, "b", "scrape_configs: [{}]", &ReloadMode::Auto, &[]).expect_err("a job has a name");
    assert_eq!(error.reason, Reason::ReloadFailed, "{error}");
}

fn reload_command_reloads() {
    let prometheus = start(&spec().without_lifecycle());
    let command = ReloadMode::Command(format!("kill -HUP {}", prometheus.pid()));
    assert_eq!(push(&prometheus, "a", &job("a"), &command, &[]), Ok(Reloaded::Command { seen: true }));
    has_job(&prometheus, "a");
}

fn invalid_configuration_is_named() {
    let tools = Tools::get().expect("tools");
    for lifecycle in [true, false] {
        let spec = if lifecycle { spec() } else { spec().without_lifecycle() };
        let prometheus = start(&spec.file("jobs/a.yml", job("a")));
        let holder = holder(&prometheus);
        let refused = |holders: &[PrometheusProcess]| {
            let error =
                push(&prometheus, "b", &job("a"), &ReloadMode::Auto, holders).expect_err("a second job of the name");
            assert_eq!(error.reason, Reason::ReloadFailed);
            assert!(error.to_string().contains("keeps the previous one"), "{error}");
            error.to_string()
        };
        // The testbed keeps each program in a folder of its own, so promtool is not beside it here: make it so.
        let beside = PrometheusProcess { exe: Some(tools.promtool.with_file_name("prometheus")), ..holder };
        let message = refused(&[beside]);
        assert!(
            message.ends_with("found multiple scrape configs with job name \"a\", first found in \"jobs/a.yml\""),
            "{message}"
        );
        if lifecycle {
            // Without promtool there is what the API says, which is not much about a file of jobs.
            let message = refused(&[]);
            assert!(
                message.contains(": one or more errors occurred while applying the new configuration"),
                "{message}"
            );
            prometheus.write("prometheus.yml", "global: {scrape_interval: often}\n").expect("the file is written");
            let message = refused(&[]);
            assert!(message.ends_with("not a valid duration string: \"often\""), "{message}");
        }
    }
}

fn promtool_finds_errors_that_fail_a_reload() {
    let promtool = &Tools::get().expect("tools").promtool;
    let prometheus = start(&spec().file("jobs/a.yml", job("a")).file("good.rules.yml", "groups: []\n"));
    let dir = prometheus.dir();
    let host = Host::Local { root: dir.into() };
    // The testbed keeps each program in a folder of its own, so promtool is not beside it here: make it so.
    let beside =
        |promtool: &Path| PrometheusProcess { exe: Some(promtool.with_file_name("prometheus")), ..holder(&prometheus) };
    let process = beside(promtool);
    let outcome = |(_, verdict)| match verdict {
        Validation::Accepted => Ok(()),
        Validation::Rejected(why) | Validation::Undecided(why) => Err(why),
        Validation::Absent => Err("there is no promtool".to_owned()),
    };
    let check = |file: &str, agent, depth| {
        let checked = promtool::check_config(&host, Some(&process), file, Format::Prometheus, agent, depth);
        outcome(wait_for(checked).expect("it is looked at"))
    };
    let check_rules = |process: &PrometheusProcess, file: &str| {
        outcome(wait_for(promtool::check_rules(&host, Some(process), file)).expect("it is looked at"))
    };
    assert_eq!(check("prometheus.yml", false, Depth::Files), Ok(()));
    // A file of jobs is a configuration by itself.
    assert_eq!(check("jobs/a.yml", false, Depth::Syntax), Ok(()));

    prometheus.write("jobs/b.yml", &format!("{}  nonsense: 1\n", job("b"))).expect("the file is written");
    let nonsense = "yaml: unmarshal errors: line 4: field nonsense not found in type config.ScrapeConfig";
    let said = check("jobs/b.yml", false, Depth::Syntax).expect_err("no such field");
    assert!(said.ends_with(nonsense) && !said.contains(&*dir.to_string_lossy()), "{said}");
    let said = check("prometheus.yml", false, Depth::Files).expect_err("no such field");
    assert!(said.ends_with(nonsense) && said.contains("\"jobs/b.yml\""), "{said}");
    assert_eq!(check("prometheus.yml", false, Depth::Syntax), Ok(()), "--syntax-only opens no other file");

    prometheus.write("rules.yml", "rule_files: ['*.rules.yml']\n").expect("the file is written");
    assert_eq!(check("rules.yml", false, Depth::Files), Ok(()));
    let said = check("rules.yml", true, Depth::Syntax).expect_err("an agent has no rules");
    assert!(said.contains("rule_files"), "{said}");
    assert_eq!(check_rules(&process, "good.rules.yml"), Ok(()));
    let said = check_rules(&process, "prometheus.yml").expect_err("no rules");
    assert!(said.starts_with("prometheus.yml: "), "{said}");
    let none = beside(&dir.join("promtool"));
    assert_eq!(check_rules(&none, "prometheus.yml"), Err("there is no promtool".to_owned()));
}

fn targets_are_verified() {
    let prometheus = start(&spec());
    push(&prometheus, "up", &own_job(&prometheus, "a/up", "/metrics"), &ReloadMode::Http, &[]).expect("it reloads");
    let since = Timestamp::now();
    let verdict = verified(&prometheus, "a/up", PATIENCE).expect("its target is up");
    assert_eq!((verdict.up, verdict.total, verdict.silent.len(), verdict.down.len()), (1, 1, 0, 0));
    let target = ask(&prometheus, async |api| api.targets(Some("a/up")).await).expect("targets").remove(0);
    assert_eq!((target.pool.as_str(), target.node.as_str()), ("a/up", "n1"));
    assert_eq!(target.instance, prometheus.address().to_string());
    assert_eq!((target.health, target.last_error.as_str()), (Health::Up, ""));
    assert!(target.last_scrape.expect("it was scraped") > since);
    assert_eq!(target.scrape_url, format!("{}/metrics", prometheus.url()));

    // One of two targets is down: that is told and no failure.
    let two = format!(
        "{}  - targets: ['127.0.0.1:1']\n",
        own_job(&prometheus, "a/two", "/metrics").replace("[{", "\n  - {").replace("}]", "}")
    );
    push(&prometheus, "two", &two, &ReloadMode::Http, &[]).expect("it reloads");
    let verdict = verified(&prometheus, "a/two", PATIENCE).expect("one target is up");
    assert_eq!((verdict.up, verdict.total, verdict.down.len()), (1, 2, 1));
    assert!(verdict.down[0].last_error.contains("connection refused"), "{:?}", verdict.down);
}

fn rejected_job_is_reported_with_the_reason() {
    let server = testbed::shared().east.address();
    let ca = testbed::shared().east.ca_file();
    let at_server = |name: &str, ca: &str| {
        format!(
            "scrape_configs:\n- job_name: {name}\n  scheme: https\n  authorization: {{credentials: revoked}}\n{ca}  \
             static_configs: [{{targets: ['{server}']}}]\n"
        )
    };
    let trusted = format!("  tls_config: {{ca_file: '{}'}}\n", ca.display());
    let empty = "scrape_configs:\n- job_name: empty\n  file_sd_configs: [{files: [nothing.json]}]\n";
    let slow = "scrape_configs:\n- job_name: slow\n  scrape_interval: 7d\n  static_configs: [{targets: ['127.0.0.1:1', '127.0.0.1:2']}]\n";
    let prometheus = start(
        &spec()
            .file("jobs/401.yml", at_server("401", &trusted))
            .file("jobs/ca.yml", at_server("ca", ""))
            .file("jobs/empty.yml", empty)
            .file("jobs/slow.yml", slow),
    );
    has_job(&prometheus, "401");
    let patient = Duration::from_millis(600);
    for (pool, patience, says, hint) in [
        ("401", PATIENCE, "0 of 1 targets up", "refuses the token"),
        ("401", PATIENCE, "server returned HTTP status 401 Unauthorized", ""),
        ("ca", PATIENCE, "x509", "--api-server-ca-file"),
        ("empty", patient, "has found no targets for it", "service-discovery"),
        ("missing", patient, "does not have it", "scrape_config_files"),
        ("slow", patient, "scraped none of its 2 targets within 600ms", "scrape interval"),
    ] {
        let error = verified(&prometheus, pool, patience).expect_err(pool);
        assert_eq!(error.reason, Reason::NotScraped, "{pool}: {error}");
        assert!(error.to_string().contains(says), "{pool}: {error}");
        assert!(error.to_string().contains(&format!("job {pool}")), "{pool}: {error}");
        assert!(error.hints.iter().any(|given| given.contains(hint)), "{pool}: {:?}", error.hints);
    }
}
