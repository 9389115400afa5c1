//! The alerting rules in the real promtool: every alert fires when it must, and no other does.

use crate::plugin::Account;
use jiff::Timestamp;
use prom_federate::{
    model::{
        job::{Jobs, ScrapeTiming},
        text::{duration::Seconds, names::ClusterName},
        token::TokenLife,
    },
    render::rules::{ClusterRules, file, joint_file},
};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command, time::Duration};
use testbed::{Prometheus, PrometheusSpec};

trials! {
    rules:
    smoke {
        promtool_accepts_every_file,
        a_joined_cluster_is_watched_by_its_rules,
    }
    full {
        the_expiry_warns_at_three_quarters_and_is_critical_at_nine_tenths,
        a_healthy_cluster_gives_no_alert,
        a_cluster_without_targets_is_absent,
        one_absent_job_is_named,
        a_cluster_is_down_when_more_than_half_of_it_is,
        rare_scrapes_are_watched_too,
        alert_names_cluster_cause_and_command,
        absent_job_is_named_by_its_place,
        account_without_limits_is_reported,
        unknown_limits_are_reported_after_an_hour,
        rules_without_the_cluster_mix_clusters_and_miss_an_absent_one,
    }
}

const SOON: Duration = Duration::from_secs(30);

fn cluster(name: &str) -> ClusterName {
    name.parse().expect("a cluster name")
}

fn rules<'a>(cluster: &'a ClusterName, jobs: &'a Jobs, interval: u64, token: Option<TokenLife>) -> ClusterRules<'a> {
    let interval = Seconds(interval);
    let pace = ScrapeTiming { interval, timeout: interval };
    ClusterRules { cluster, jobs, pace, token, rotated: None, destination: None }
}

/// promtool's time begins at 0, and so does this token; its life is 100 minutes.
fn life() -> TokenLife {
    TokenLife { issued: Timestamp::UNIX_EPOCH, expires: Timestamp::from_second(6_000).expect("a timestamp") }
}

/// The rules of east and west, both jobs every minute, in two files as a destination has them.
fn east_and_west() -> Vec<String> {
    let jobs: Jobs = "default".parse().expect("jobs");
    ["east", "west"].map(|name| file(&rules(&cluster(name), &jobs, 60, None))).to_vec()
}

/// `up` of one target: cluster, page, node.
fn up(cluster: &str, page: &str, node: &str) -> String {
    format!("up{{cluster=\"{cluster}\",job=\"kubelet\",metrics_path=\"{page}\",node=\"{node}\"}}")
}

/// Both pages of the two nodes of west, which is healthy throughout.
fn healthy_west() -> Vec<(String, &'static str)> {
    [("/metrics", "a"), ("/metrics", "b"), ("/metrics/cadvisor", "a"), ("/metrics/cadvisor", "b")]
        .map(|(page, node)| (up("west", page, node), "1x200"))
        .to_vec()
}

/// The rule files in a folder of their own.
fn folder(name: &str, files: &[String]) -> (PathBuf, Vec<String>) {
    let folder = testbed::run_dir().expect("a run").join(format!("rules-{name}"));
    fs::create_dir_all(&folder).expect("a folder");
    let names: Vec<String> = (1..=files.len()).map(|number| format!("{number}.rules.yml")).collect();
    for (name, text) in names.iter().zip(files) {
        fs::write(folder.join(name), text).expect("a file");
    }
    (folder, names)
}

fn promtool(folder: &PathBuf, arguments: &[&str]) {
    let output = Command::new(&testbed::tools().promtool).args(arguments).current_dir(folder).output();
    let output = output.expect("promtool runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// `promtool test rules`, a sample a minute: at each of these minutes exactly these alerts fire, each by the labels it
/// has beside its own name.
fn fires(name: &str, files: &[String], series: &[(String, &str)], moments: &[(u32, &[&str])]) {
    let expected: Vec<Value> = moments
        .iter()
        .map(|(minute, alerts)| {
            let samples: Vec<Value> = alerts
                .iter()
                .map(|alert| json!({"labels": format!("ALERTS{{alertstate=\"firing\",{alert}}}"), "value": 1}))
                .collect();
            json!({"expr": "ALERTS{alertstate=\"firing\"}", "eval_time": format!("{minute}m"), "exp_samples": samples})
        })
        .collect();
    test_rules(name, files, series, "promql_expr_test", &expected);
}

fn test_rules(name: &str, files: &[String], series: &[(String, &str)], kind: &str, expected: &[Value]) {
    let (folder, names) = folder(name, files);
    let series: Vec<Value> =
        series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let test = json!({
        "rule_files": names,
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, kind: expected}],
    });
    // JSON is YAML.
    fs::write(folder.join("test.yml"), test.to_string()).expect("a file");
    promtool(&folder, &["test", "rules", "test.yml"]);
}

fn promtool_accepts_every_file() {
    let (east, odd, on) = (cluster("east"), cluster("1_000"), cluster("on"));
    let both: Jobs = "default".parse().expect("jobs");
    let one = "kubelet".parse().expect("jobs");
    let files = [
        file(&rules(&east, &both, 60, Some(life()))),
        file(&rules(&odd, &one, 1, None)),
        file(&rules(&on, &both, 86_400, Some(life()))),
        joint_file(&[rules(&east, &both, 60, None), rules(&odd, &one, 3_661, None), rules(&on, &both, 60, None)]),
    ];
    let (folder, names) = folder("accepted", &files);
    let names = names.iter().map(String::as_str);
    let arguments: Vec<&str> = ["check", "rules", "--lint=all", "--lint-fatal"].into_iter().chain(names).collect();
    promtool(&folder, &arguments);
}

fn the_expiry_warns_at_three_quarters_and_is_critical_at_nine_tenths() {
    let jobs: Jobs = "default".parse().expect("jobs");
    let files = ["east", "west"].map(|name| file(&rules(&cluster(name), &jobs, 60, (name == "east").then(life))));
    let east: Vec<(String, &str)> =
        healthy_west().into_iter().map(|(series, values)| (series.replace("west", "east"), values)).collect();
    let warning = r#"alertname="PromFederateTokenExpiring",cluster="east",severity="warning""#;
    let critical = r#"alertname="PromFederateTokenExpiring",cluster="east",severity="critical""#;
    fires(
        "expiry",
        &files,
        &[healthy_west(), east].concat(),
        // The token ends with minute 100: expired is no reason to be quiet.
        &[(74, &[]), (75, &[warning]), (89, &[warning]), (90, &[warning, critical]), (150, &[warning, critical])],
    );
    let recorded = json!({
        "expr": "prom_federate_token_expiry_timestamp_seconds",
        "eval_time": "1m",
        "exp_samples": [{"labels": "prom_federate_token_expiry_timestamp_seconds{cluster=\"east\"}", "value": 6_000}],
    });
    test_rules("recorded", &files, &healthy_west(), "promql_expr_test", &[recorded]);
}

fn a_healthy_cluster_gives_no_alert() {
    let mut series = healthy_west();
    // Half of east is down: that is not more than half.
    for page in ["/metrics", "/metrics/cadvisor"] {
        series.push((up("east", page, "a"), "1x200"));
        series.push((up("east", page, "b"), "0x200"));
    }
    // A blackbox probe with the same label is none of our targets.
    series.push(("up{cluster=\"east\",job=\"blackbox\",instance=\"x\"}".to_owned(), "0x200"));
    // An upgrade of the API server takes nine minutes.
    for (series, values) in &mut series {
        if series.contains("node=\"a\"") {
            *values = "1x49 0x8 1x140";
        }
    }
    fires("healthy", &east_and_west(), &series, &[(0, &[]), (30, &[]), (58, &[]), (59, &[]), (100, &[]), (190, &[])]);
}

const CADVISOR_ABSENT: &str = r#"alertname="PromFederateClusterAbsent",cluster="east",job="kubelet",metrics_path="/metrics/cadvisor",severity="critical""#;
const KUBELET_ABSENT: &str =
    r#"alertname="PromFederateClusterAbsent",cluster="east",job="kubelet",metrics_path="/metrics",severity="critical""#;
const DOWN: &str = r#"alertname="PromFederateClusterDown",cluster="east",severity="critical""#;

fn a_cluster_without_targets_is_absent() {
    // Prometheus restarts at minute 20 with a token that is dead: the series end.
    let mut series = healthy_west();
    for page in ["/metrics", "/metrics/cadvisor"] {
        series.push((up("east", page, "a"), "1x19 stale"));
    }
    let absent: &[&str] = &[CADVISOR_ABSENT, KUBELET_ABSENT];
    fires("absent", &east_and_west(), &series, &[(19, &[]), (29, &[]), (30, absent), (200, absent)]);
}

fn one_absent_job_is_named() {
    let mut series = healthy_west();
    series.push((up("east", "/metrics", "a"), "1x200"));
    fires("one-absent", &east_and_west(), &series, &[(9, &[]), (10, &[CADVISOR_ABSENT]), (200, &[CADVISOR_ABSENT])]);
}

fn a_cluster_is_down_when_more_than_half_of_it_is() {
    // Three of four from minute 20 on, and all from minute 60 on; it recovers at minute 100.
    let mut series = healthy_west();
    for (page, node, values) in [
        ("/metrics", "a", "1x59 0x39 1x100"),
        ("/metrics", "b", "1x19 0x79 1x100"),
        ("/metrics/cadvisor", "a", "1x19 0x79 1x100"),
        ("/metrics/cadvisor", "b", "1x19 0x79 1x100"),
    ] {
        series.push((up("east", page, node), values));
    }
    fires(
        "down",
        &east_and_west(),
        &series,
        &[(19, &[]), (29, &[]), (30, &[DOWN]), (80, &[DOWN]), (99, &[DOWN]), (100, &[])],
    );
}

/// Every ten minutes, so that an instant query finds no sample half of the time.
fn rare_scrapes_are_watched_too() {
    let jobs: Jobs = "default".parse().expect("jobs");
    let files = ["east", "west", "south"].map(|name| file(&rules(&cluster(name), &jobs, 600, None)));
    let every_ten_minutes = |value: &str| vec![format!("{value} _x8"); 40].join(" ");
    let (good, bad) = (every_ten_minutes("1"), every_ten_minutes("0"));
    let mut series = Vec::new();
    for page in ["/metrics", "/metrics/cadvisor"] {
        series.push((up("west", page, "a"), good.as_str()));
        series.push((up("east", page, "a"), bad.as_str()));
    }
    let south = [CADVISOR_ABSENT, KUBELET_ABSENT].map(|alert| alert.replace("east", "south"));
    let both: Vec<&str> = south.iter().map(String::as_str).chain([DOWN]).collect();
    fires("rare", &files, &series, &[(99, &[]), (100, &both), (107, &both), (300, &both)]);
}

fn alert_names_cluster_cause_and_command() {
    let (east, jobs): (_, Jobs) = (cluster("east"), "default".parse().expect("jobs"));
    // A folder whose name is to be quoted for the shell and is no template.
    let destination = Some("/srv/it's {{ $labels.x }}");
    let files = [file(&ClusterRules { destination, ..rules(&east, &jobs, 60, Some(life())) })];
    let [status, rotate] = ["status", "rotate"]
        .map(|verb| format!(r"kubectl prom-federate {verb} east -p '/srv/it'\''s {{{{ $labels.x }}}}'"));
    let alert = |labels: Value, summary: &str, description: String| json!({"exp_labels": labels, "exp_annotations": {"summary": summary, "description": description}});
    let expiring = |minute: &str, summary: &str| {
        let alerts = [("warning", 75), ("critical", 90)].map(|(severity, percent)| {
            let description = format!(
                "More than {percent} % of the lifetime of the token for cluster east (1h40m) has passed and it was not renewed. \
                 After it expires, the API server refuses every scrape with 401. Find the cause: {status}. Renew the token: \
                 {rotate}"
            );
            alert(json!({"cluster": "east", "severity": severity}), summary, description)
        });
        json!({"alertname": "PromFederateTokenExpiring", "eval_time": minute, "exp_alerts": alerts})
    };
    let absent = alert(
        json!({"cluster": "east", "job": "kubelet", "metrics_path": "/metrics/cadvisor", "severity": "critical"}),
        "Prometheus has no target of cluster east for /metrics/cadvisor",
        format!(
            "Prometheus has no target in cluster east for /metrics/cadvisor: its discovery has failed since it started, \
             usually because the token had expired, or its configuration does not have the job any more. Find the cause \
             and the command that solves it: {status}"
        ),
    );
    let down = alert(
        json!({"cluster": "east", "severity": "critical"}),
        "Only 33.33% of the targets of cluster east can be scraped",
        format!(
            "More than half of the targets of cluster east are down: Prometheus cannot reach its API server, the API server \
             refuses the token, or the nodes do not answer. Find the cause and the command that solves it: {status}"
        ),
    );
    let series =
        [("a", "1x200"), ("b", "0x200"), ("c", "0x200")].map(|(node, values)| (up("east", "/metrics", node), values));
    let expected = [
        expiring("91m", "The token for cluster east expires in 9m 0s"),
        expiring("120m", "The token for cluster east has expired"),
        json!({"alertname": "PromFederateClusterAbsent", "eval_time": "20m", "exp_alerts": [absent]}),
        json!({"alertname": "PromFederateClusterDown", "eval_time": "20m", "exp_alerts": [down]}),
    ];
    test_rules("annotations", &files, &series, "alert_rule_test", &expected);
}

fn absent_job_is_named_by_its_place() {
    let jobs: Jobs = "kubelet,apiserver,service=shop/web:http,pods=shop/m,federate=ops/k8s:web".parse().expect("jobs");
    let east = cluster("east");
    let files = [file(&rules(&east, &jobs, 60, None))];
    // What is federated of a kubelet's page is not what the job itself scrapes.
    let federated =
        "up{cluster=\"east\",job=\"kubelet\",metrics_path=\"/metrics\",endpoint=\"https-metrics\"}".to_owned();
    let absent = |place: Value, what: &str| {
        let mut labels = json!({"cluster": "east", "severity": "critical"});
        labels.as_object_mut().expect("labels").extend(place.as_object().expect("labels").clone());
        let description = format!(
            "Prometheus has no target in cluster east for {}: its discovery has failed since it started, usually because the \
             token had expired, or its configuration does not have the job any more, or none of the scraped pods runs any \
             more. Find the cause and the command that solves it: kubectl prom-federate status east -p DESTINATION",
            place["metrics_path"].as_str().expect("a path")
        );
        let summary = format!("Prometheus has no target of cluster east for {what}");
        json!({"exp_labels": labels, "exp_annotations": {"summary": summary, "description": description}})
    };
    let alerts = [
        absent(json!({"job": "kubelet", "metrics_path": "/metrics"}), "/metrics of kubelet"),
        absent(json!({"job": "apiserver", "metrics_path": "/metrics"}), "/metrics of apiserver"),
        absent(
            json!({"job": "web", "metrics_path": "/metrics", "instance": "web.shop:http"}),
            "/metrics of web at web.shop:http",
        ),
        absent(
            json!({"job": "kubernetes-pods", "metrics_path": "/m", "namespace": "shop"}),
            "/m of kubernetes-pods in namespace shop",
        ),
        absent(
            json!({"job": "federate", "metrics_path": "/federate", "instance": "k8s.ops:web"}),
            "/federate of federate at k8s.ops:web",
        ),
    ];
    let expected = [json!({"alertname": "PromFederateClusterAbsent", "eval_time": "20m", "exp_alerts": alerts})];
    test_rules("places", &files, &[(federated, "1x200")], "alert_rule_test", &expected);
}

/// The rules of west alone, and its targets, which are up.
fn west() -> ([String; 1], Vec<(String, &'static str)>) {
    (["west"].map(|name| file(&rules(&cluster(name), &"default".parse().expect("jobs"), 60, None))), healthy_west())
}

/// A metric of `rotate --watch` as an exporter on each host of an HA pair has it.
fn of_watch(name: &str, host: &str) -> String {
    format!("prom_federate_{name}{{cluster=\"west\",destination=\"/{host}\",instance=\"{host}:9100\",job=\"node\"}}")
}

fn account_without_limits_is_reported() {
    let fence = r#"alertname="PromFederateFenceNotEnforced",cluster="west",severity="critical""#;
    let rights = r#"alertname="PromFederateRightsTooWide",cluster="west",severity="warning""#;
    let (files, mut series) = west();
    // Both hosts see the same cluster, and it is one alert.
    for host in ["a", "b"] {
        // A join may leave old and new jobs admitted for some minutes; from minute 100 on it is unknown.
        series.push((of_watch("fence_enforced", host), "1x9 0x3 1x5 0x79 _x100"));
        series.push((of_watch("rights_narrow", host), "1x59 0x39 1x100"));
    }
    // Another account of the same cluster is as it should be.
    series.push((of_watch("fence_enforced", "c"), "1x200"));
    // Another cluster is not asked for.
    series.push((of_watch("fence_enforced", "d").replace("west", "south"), "0x200"));
    let moments: &[(u32, &[&str])] = &[
        (0, &[]),
        (9, &[]),
        (14, &[]),
        (24, &[]),
        (25, &[fence]),
        (74, &[fence]),
        (75, &[fence, rights]),
        (98, &[fence, rights]),
        (101, &[fence]),
        (150, &[]),
    ];
    fires("limits", &files, &series, moments);
    let description = "The API server of cluster west answers requests that the fence of the account should refuse: a stolen token \
                       can read more than the metrics. Find what differs and the command that restores it: kubectl \
                       prom-federate check west -p DESTINATION";
    let told = json!({
        "exp_labels": {"cluster": "west", "severity": "critical"},
        "exp_annotations": {
            "summary": "The fence of the account in cluster west is not enforced",
            "description": description,
        },
    });
    let expected = [json!({"alertname": "PromFederateFenceNotEnforced", "eval_time": "30m", "exp_alerts": [told]})];
    test_rules("limits-told", &files, &series, "alert_rule_test", &expected);
}

fn unknown_limits_are_reported_after_an_hour() {
    let unknown = r#"alertname="PromFederateLimitsNotProven",cluster="west",severity="warning""#;
    for name in ["fence", "rights"] {
        let (files, mut series) = west();
        let other = if name == "fence" { "rights" } else { "fence" };
        // The last one is of minute 30. From minute 150 on there are proofs again.
        series.push((of_watch(&format!("{name}_last_check_timestamp_seconds"), "a"), "0+60x30 1800x118 9000+60x50"));
        series.push((of_watch(&format!("{other}_last_check_timestamp_seconds"), "a"), "0+60x200"));
        fires(
            &format!("unknown-{name}"),
            &files,
            &series,
            &[(0, &[]), (89, &[]), (105, &[]), (106, &[unknown]), (149, &[unknown]), (151, &[]), (199, &[])],
        );
    }
    // After a restart of the watch there is none yet, for a while; a cluster that has left has no series.
    let (files, mut series) = west();
    series.push((of_watch("rights_last_check_timestamp_seconds", "a"), "0+60x99 0x10 6600+60x30 _x60"));
    fires("unknown-restart", &files, &series, &[(99, &[]), (110, &[]), (140, &[]), (199, &[])]);
}

/// The alerts that Prometheus holds at least for pending, with the page where they have one; None until it has
/// evaluated every rule.
fn alerts(prometheus: &Prometheus) -> Option<Vec<String>> {
    let answer = prometheus.get("/api/v1/rules").expect("Prometheus answers").json();
    let rules = answer["data"]["groups"][0]["rules"].as_array()?;
    if rules.iter().any(|rule| rule["health"] != "ok") {
        return None;
    }
    let mut alerts = Vec::new();
    for alert in rules.iter().flat_map(|rule| rule["alerts"].as_array().into_iter().flatten()) {
        let label = |name| alert["labels"][name].as_str().unwrap_or_default();
        assert_eq!(label("cluster"), "east");
        alerts.push(format!("{} {}", label("alertname"), label("metrics_path")).trim_end().to_owned());
    }
    alerts.sort();
    Some(alerts)
}

/// What is scraped has the labels that the rules ask for, and a dead token is seen before and after a restart.
fn a_joined_cluster_is_watched_by_its_rules() {
    let account = Account::new(&testbed::shared().east, "watched");
    let (east, jobs): (_, Jobs) = (cluster("east"), "default".parse().expect("jobs"));
    let config = "global: {evaluation_interval: 1s}\n\
                  scrape_config_files: [prom-federate/*.scrape.yml]\n\
                  rule_files: [prom-federate/*.rules.yml]\n";
    let spec = PrometheusSpec::new(config)
        .file("prom-federate/east.scrape.yml", account.join(&["--scrape-interval=1s"]).stdout.clone())
        .file("prom-federate/east.rules.yml", file(&rules(&east, &jobs, 1, None)));
    let becomes = |prometheus: &Prometheus, expected: &[&str]| {
        testbed::until(SOON, || alerts(prometheus).filter(|alerts| alerts == expected))
            .unwrap_or_else(|| panic!("not {expected:?} but {:?}", alerts(prometheus)))
    };

    let prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
    prometheus.wait_for_targets(4, SOON).expect("all nodes are up");
    becomes(&prometheus, &[]);

    let secret = account.secrets().remove(0);
    account.cluster.kubectl_ok(&["--namespace", &account.namespace, "delete", "secret", &secret]);
    becomes(&prometheus, &["PromFederateClusterDown"]);

    let restarted = Prometheus::start_with(&spec).expect("Prometheus starts");
    becomes(&restarted, &["PromFederateClusterAbsent /metrics", "PromFederateClusterAbsent /metrics/cadvisor"]);
}

/// Rules in the form that docs/dashboards.md calls wrong, or in the one that it advises, by the labels that they keep.
fn rules_of_others(name: &str, cluster: &str) -> String {
    let busy = "node_cpu_seconds_total{mode=\"user\"}";
    let rate = format!("sum by ({cluster} instance) (rate({busy}[3m]))");
    let cpus = format!("count by ({cluster} instance) (sum by ({cluster} instance, cpu) (node_cpu_seconds_total))");
    let ratio = format!("sum without (cpu, mode) (rate({busy}[5m])) / on ({cluster} instance) group_left () {cpus}");
    let total = format!("sum by ({cluster}) (rate({busy}[5m]))");
    let inhibitor =
        format!("ALERTS{{severity=\"info\"}} == 1 unless on ({cluster} namespace) ALERTS{{severity=\"warning\"}} == 1");
    let rules = json!([
        { "record": format!("{name}:instance_cpu:rate"), "expr": rate },
        { "record": format!("{name}:instance_cpu:ratio"), "expr": ratio },
        { "record": format!("{name}:cpu:rate"), "expr": total },
        { "alert": format!("{name}Inhibitor"), "expr": inhibitor, "labels": { "severity": "none" } },
    ]);
    json!({ "groups": [{ "name": name, "rules": rules }] }).to_string()
}

/// East and west have a node `a`: four CPUs in east, two in west. The API server of east is gone after ten minutes.
fn rules_without_the_cluster_mix_clusters_and_miss_an_absent_one() {
    let absent = json!({ "groups": [{ "name": "absent", "rules": [
        { "alert": "ApiServerDown", "expr": "absent(up{job=\"apiserver\"} == 1)" },
        { "alert": "SchedulerDown", "expr": "absent(up{job=\"kube-scheduler\"} == 1)" },
    ] }] });
    let jobs: Jobs = "apiserver".parse().expect("jobs");
    let ours = ["east", "west"].map(|name| file(&rules(&cluster(name), &jobs, 60, None)));
    let others = [absent.to_string(), rules_of_others("theirs", ""), rules_of_others("advised", "cluster,")];

    let api_server = |cluster: &str| format!("up{{cluster=\"{cluster}\",job=\"apiserver\",metrics_path=\"/metrics\"}}");
    let alert = |cluster: &str, severity: &str| {
        format!(
            "ALERTS{{alertname=\"X\",alertstate=\"firing\",cluster=\"{cluster}\",namespace=\"kube-system\",severity=\"{severity}\"}}"
        )
    };
    let cpu = |cluster: &str, number: u32| {
        format!("node_cpu_seconds_total{{cluster=\"{cluster}\",instance=\"a\",cpu=\"{number}\",mode=\"user\"}}")
    };
    let mut series = vec![
        (api_server("east"), "1x9 stale"),
        (api_server("west"), "1x60"),
        (alert("east", "warning"), "1x60"),
        (alert("west", "info"), "1x60"),
        (cpu("east", 0), "0+60x60"),
        (cpu("west", 0), "0+30x60"),
        (cpu("west", 1), "0x60"),
    ];
    series.extend((1..4).map(|number| (cpu("east", number), "0x60")));

    let firing = |name: &str| format!("count by (cluster) (ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}})");
    let (east, west) = ("{cluster=\"east\"}", "{cluster=\"west\"}");
    let sum = |record: &str| format!("sum by (cluster) ({record})");
    let expected: Vec<Value> = [
        (firing("ApiServerDown"), &[][..]),
        (firing("PromFederateClusterAbsent"), &[(east, 1.0)]),
        (firing("SchedulerDown"), &[("{}", 1.0)]),
        (firing("theirsInhibitor"), &[]),
        (firing("advisedInhibitor"), &[(west, 1.0)]),
        (sum("theirs:instance_cpu:rate"), &[("{}", 1.5)]),
        (sum("advised:instance_cpu:rate"), &[(east, 1.0), (west, 0.5)]),
        // Half of a CPU is a quarter of two, and an eighth of four.
        (sum("theirs:instance_cpu:ratio"), &[(east, 0.25), (west, 0.125)]),
        (sum("advised:instance_cpu:ratio"), &[(east, 0.25), (west, 0.25)]),
        (sum("theirs:cpu:rate"), &[("{}", 1.5)]),
        (sum("advised:cpu:rate"), &[(east, 1.0), (west, 0.5)]),
    ]
    .into_iter()
    .map(|(expr, samples)| {
        let samples: Vec<Value> =
            samples.iter().map(|(labels, value)| json!({ "labels": labels, "value": value })).collect();
        json!({ "expr": expr, "eval_time": "30m", "exp_samples": samples })
    })
    .collect();
    test_rules("of-others", &[others.to_vec(), ours.to_vec()].concat(), &series, "promql_expr_test", &expected);
}
