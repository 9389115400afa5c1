//! The commands of the pages for users: run in order, as a reader would, on the real thing.
//!
//! A page is what CONTRIBUTING.md says ("Pages"); [`page`] reads it, [`Desk`] is where its commands run. A test of a page
//! sets the desk up as the page tells its reader that things are, and calls [`Desk::follow`].

mod desk;
mod page;

use desk::Desk;
use serde_json::json;
use std::{fs, path::Path, time::Duration};
use testbed::{
    Collector, CollectorSpec, FaultProxy, Front, Kubeconfig, Prometheus, PrometheusSpec, Scraper, Sshd, Vmagent,
    VmagentSpec, hub, machine_address, shared,
};

trials! {
    pages:
    full {
        scale,
        host,
        ssh,
        vmagent,
        otel,
        operator,
        vmoperator,
        from_the_recipe,
        leave,
        rules,
        gitops,
        dashboards,
        commands_and_their_output_are_read,
        shown_lines_match_with_wildcards,
        wrong_page_fails,
    }
}

/// Of Prometheus and vmagent alike.
const PROMETHEUS: &str = "global:\n  scrape_interval: 15s\n";

fn host() {
    let mut desk = Desk::new("host");
    let prometheus = Prometheus::start(PROMETHEUS).expect("Prometheus starts");
    desk.folder("/etc/prometheus", prometheus.dir());
    desk.stands_for("localhost:9090", &prometheus.address().to_string());
    desk.systemd();
    let cron = desk.home().join("cron");
    fs::create_dir(&cron).expect("a folder");
    desk.folder("/etc/cron.d", &cron);
    desk.follow("docs/destinations/host.md");
}

/// A kubeconfig with addresses that another host has too, and one such host.
fn ssh() {
    let mut desk = Desk::new("ssh");
    let prometheus = Prometheus::start(PROMETHEUS).expect("Prometheus starts");
    desk.folder("/etc/prometheus", prometheus.dir());
    let sshd = Sshd::start().unwrap_or_else(|error| panic!("{error:#}"));
    let client = sshd.path();
    desk.program("ssh", &Path::new(client.split(':').next().expect("a folder")).join("ssh"));
    let mut kubeconfig = fs::read_to_string(desk.home().join(".kube/config")).expect("a kubeconfig");
    let address = machine_address().expect("an address");
    let clusters = [(&shared().east, "10.0.0.5"), (&shared().west, "10.0.0.6")];
    let proxies = clusters.map(|(cluster, shown)| {
        let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
        let proxy = FaultProxy::with(cluster, front).expect("a proxy");
        let own = fs::read_to_string(cluster.kubeconfig()).expect("a kubeconfig");
        let server = own.split("https://").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a server");
        kubeconfig = kubeconfig.replace(&format!("https://{}", server.trim_matches('"')), &proxy.url());
        desk.stands_for(&format!("https://{shown}:6443"), &proxy.url());
        proxy
    });
    desk.write(".kube/config", &kubeconfig, 0o600);
    desk.follow("docs/destinations/ssh.md");
    drop(proxies);
}

fn vmagent() {
    let mut desk = Desk::new("vmagent");
    let vmagent = Vmagent::start(PROMETHEUS).expect("vmagent starts");
    desk.folder("/etc/vmagent", vmagent.dir());
    desk.stands_for("localhost:8429", &vmagent.address().to_string());
    desk.program("vmagent", vmagent.program());
    let single = Vmagent::start_with(&VmagentSpec::new("scrape_configs: []\n").scraper(Scraper::SingleNode));
    let single = single.unwrap_or_else(|error| panic!("{error:#}"));
    desk.program("vmalert", &single.program().with_file_name("vmalert"));
    desk.follow("docs/destinations/vmagent.md");
}

fn otel() {
    let mut desk = Desk::new("otel");
    let collector = Collector::start(&CollectorSpec::plain()).unwrap_or_else(|error| panic!("{error:#}"));
    desk.folder("/etc/otelcol", collector.dir());
    desk.follow("docs/destinations/otel.md");
}

/// The desk has the contexts of the hub and of a cluster whose address the hub's pods could use: no loopback address.
fn beside_the_hub(desk: &mut Desk) -> FaultProxy {
    let address = machine_address().expect("an address");
    let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
    let east = FaultProxy::with(&shared().east, front).expect("a proxy");
    let contexts = [east.client(), hub().cluster().admin()];
    desk.write(".kube/config", &Kubeconfig::merged(&contexts), 0o600);
    desk.stands_for("https://10.0.0.5:6443", &east.url());
    east
}

fn operator() {
    let mut desk = Desk::new("operator");
    let spec = json!({ "version": "v3.13.0", "scrapeConfigSelector": {}, "ruleSelector": {} });
    hub().prometheus("monitoring", "k8s", &spec).expect("a Prometheus");
    let _east = beside_the_hub(&mut desk);
    let operated = hub().run("monitoring", "k8s", 0).expect("Prometheus starts");
    desk.stands_for("localhost:9090", &operated.prometheus().address().to_string());
    desk.follow("docs/destinations/operator.md");
}

fn vmoperator() {
    let mut desk = Desk::new("vmoperator");
    hub().vmagent("monitoring", "main", &json!({ "scrapeConfigSelector": {} })).expect("a VMAgent");
    let _east = beside_the_hub(&mut desk);
    let operated = hub().run_vmagent("monitoring", "main", |spec| spec).expect("vmagent starts");
    desk.stands_for("localhost:8429", &operated.vmagent().address().to_string());
    desk.follow("docs/destinations/vmoperator.md");
}

/// What a reader has who followed the recipe by hand: its objects, its token in a file, and its job.
fn from_the_recipe() {
    let mut desk = Desk::new("recipe");
    let east = &shared().east;
    east.apply(include_str!("pages/recipe.yaml"));
    let secret = [
        "get",
        "secret",
        "prometheus-test-token",
        "-n",
        "kube-system",
        "-o",
        "go-template={{.data.token | base64decode}}",
    ];
    let token = testbed::until(Duration::from_secs(30), || {
        let token = String::from_utf8(east.kubectl(&secret).stdout).ok()?;
        token.starts_with("ey").then_some(token)
    });
    let job = include_str!("pages/recipe.prometheus.yml").replace("10.0.0.5:6443", &east.address().to_string());
    let spec = PrometheusSpec::new(job).file("k8s_token", token.expect("a token"));
    let prometheus = Prometheus::start_with(&spec).unwrap_or_else(|error| panic!("{error:#}"));
    let scraped = prometheus.wait_for_targets(2, Duration::from_secs(30));
    scraped.unwrap_or_else(|error| panic!("{error:#}"));
    desk.folder("/etc/prometheus", prometheus.dir());
    desk.stands_for("localhost:9090", &prometheus.address().to_string());
    desk.stands_for("https://10.0.0.5:6443", east.url());
    // A test has no editor: this one deletes what the page says.
    desk.script("sudoedit", "sed -i '/k8s_cAdvisor: begin/,/k8s_cAdvisor: end/d' \"$1\"\n");
    desk.follow("docs/guides/from-the-recipe.md");
}

/// The page is about printed jobs first, then about those of a destination.
fn leave() {
    let mut desk = Desk::new("leave");
    let prometheus = Prometheus::start(PROMETHEUS).expect("Prometheus starts");
    desk.folder("/etc/prometheus", prometheus.dir());
    let printed = "$ kubectl prom-federate join --context east --yes > east.yml\n";
    let delivered = ["east", "west"].map(|context| {
        format!("$ kubectl prom-federate join --context {context} --cluster-name {context} -p /etc/prometheus --yes\n")
    });
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/leave.md")).expect("a page");
    let (first, second) = page.split_once("## Delivered jobs").expect("a heading");
    let typed = |commands: &str| format!("```console\n{commands}```\n");
    let whole = [&typed(printed), first, &typed(&delivered.concat()), second].concat();
    desk.try_follow(&whole).unwrap_or_else(|error| panic!("docs/leave.md: {error}"));
    assert_eq!(desk::left(), Vec::<String>::new());
}

fn rules() {
    let mut desk = Desk::new("rules");
    let folder = desk.home().join("prometheus");
    fs::create_dir_all(folder.join("prom-federate")).expect("a folder");
    desk.folder("/etc/prometheus", &folder);
    desk.follow("docs/rules.md");
    let rules = fs::read_to_string(folder.join("prom-federate/clusters.rules.yml")).expect("rules");
    assert!(rules.contains("PromFederateClusterAbsent"), "{rules}");
}

/// What was applied by other means stays until the same means delete it.
fn gitops() {
    let desk = Desk::new("gitops");
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gitops.md")).expect("a page");
    let followed = desk.try_follow(&page);
    let deleted = desk.try_follow(
        "```console\n$ kubectl prom-federate leave --context east --yes\n\
         $ kubectl --context east delete --ignore-not-found -f prom-federate.yaml\n```\n",
    );
    followed.and(deleted).unwrap_or_else(|error| panic!("docs/gitops.md: {error}"));
    let jobs = fs::read_to_string(desk.home().join("east.new")).expect("jobs");
    assert!(jobs.contains("scrape_configs:"), "{jobs}");
}

fn dashboards() {
    let desk = Desk::new("dashboards");
    desk.follow("docs/dashboards.md");
    let dashboard = fs::read_to_string(desk.home().join("fleet.json")).expect("a dashboard");
    assert!(dashboard.contains("\"panels\""), "{dashboard}");
}

fn scale() {
    let mut desk = Desk::new("scale");
    let start = |spec: &PrometheusSpec| Prometheus::start_with(spec).unwrap_or_else(|error| panic!("{error:#}"));
    let central = start(&PrometheusSpec::new(PROMETHEUS).flag("--web.enable-remote-write-receiver"));
    desk.stands_for("central:9090", &central.address().to_string());
    let receiver = format!("{}/api/v1/write", central.url());
    let regions = ["a", "b"].map(|region| {
        let labels = format!("  external_labels:\n    region: {region}\n");
        start(&PrometheusSpec::new(format!("{PROMETHEUS}{labels}remote_write:\n- url: {receiver}\n")))
    });
    desk.folder("/etc/prometheus-a", regions[0].dir());
    desk.folder("/etc/prometheus-b", regions[1].dir());

    // Two members of which each scrapes everything: a hash distributes so few targets arbitrarily.
    let member = |number: u8| {
        let flags = ["membersCount=2".to_owned(), "replicationFactor=2".to_owned(), format!("memberNum={number}")];
        let spec = VmagentSpec::new(PROMETHEUS);
        flags.iter().fold(spec, |spec, flag| spec.flag(format!("-promscrape.cluster.{flag}")))
    };
    let start = |spec: &VmagentSpec| Vmagent::start_with(spec).unwrap_or_else(|error| panic!("{error:#}"));
    let one = start(&member(0));
    let config = one.dir().join("vmagent.yml");
    let other = start(&member(1).flag(format!("-promscrape.config={}", config.display())));
    desk.folder("/etc/vmagent", one.dir());
    desk.stands_for("localhost:8429", &one.address().to_string());
    desk.stands_for("localhost:8430", &other.address().to_string());
    desk.follow("docs/scale.md");
}

fn commands_and_their_output_are_read() {
    let text = "\
# A page

```console
$ cd /etc/x          # a comment is the shell's
$ kubectl a \\
    --b
shown
  ...
$ cat > f <<'END'
> one
> END
```

```yaml
not: run
```
";
    let steps = page::steps(text).expect("a page");
    let read: Vec<(usize, &str, &[String])> =
        steps.iter().map(|step| (step.line, step.command.as_str(), &*step.shows)).collect();
    let shown = ["shown".to_owned()];
    assert_eq!(
        read,
        [
            (4, "cd /etc/x          # a comment is the shell's", &[][..]),
            (5, "kubectl a \\\n    --b", &shown[..]),
            (9, "cat > f <<'END'\none\nEND", &[][..]),
        ]
    );
    for (wrong, why) in [
        ("```console\nshown\n```\n", "line 2: nothing was typed before this is shown"),
        ("```sh\nls\n```\n", "line 1: commands stand in a block of the language console, with a prompt"),
        ("```\n$ ls\n```\n", "line 1: commands stand in a block of the language console, with a prompt"),
        ("```console\n$ ls\n", "line 1: this block has no end"),
    ] {
        assert_eq!(page::steps(wrong).expect_err(wrong), why);
    }
}

fn shown_lines_match_with_wildcards() {
    let output = "east  https://127.0.0.1:20133  Kubernetes v1.37.2\n  ✔ token until 2026-12-02 14:12 UTC: 7d\nsecret/p-x7k2 created\n";
    for (shown, missing) in [
        (&[][..], None),
        (&["  ✔ token until 2026-12-01 05:01 UTC: 7d"][..], None),
        (&["east https://10.0.0.5:6443 Kubernetes v1.37.2", "secret/p-... created"][..], None),
        (&["secret/p-... created", "east https://10.0.0.5:6443 Kubernetes v1.37.2"][..], Some(1)),
        (&["secret/p- created"][..], Some(0)),
        (&["token until 2026-12-01 05:01 UTC: 7d"][..], Some(0)),
        (&["... token ... 7d"][..], None),
        (&["... until 1 UTC: 7d"][..], Some(0)),
    ] {
        let shown: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
        let expected = missing.map(|index: usize| shown[index].clone());
        assert_eq!(page::first_missing(&shown, output).cloned(), expected, "{shown:?}");
    }
}

fn wrong_page_fails() {
    let mut desk = Desk::new("wrong");
    let folder = testbed::run_dir().expect("a folder").join("page-of-a-test");
    fs::create_dir_all(&folder).expect("a folder");
    desk.folder("/etc/somewhere", &folder);
    for (text, why) in [
        ("$ false\n", "line 2: \"false\" ended with 1"),
        ("$ echo here\nthere\n", "line 2: \"echo here\" does not show \"there\""),
        // What fails shows so.
        ("$ echo 'error (X): 1' && false\nerror (X): 2\n", ""),
        ("$ echo 'error (X): 1'\nerror (X): 2\n", "ended with 0"),
        // One shell, and paths by the page's names.
        ("$ cd /etc/somewhere && umask 077\n$ pwd && umask\n/etc/somewhere\n0077\n", ""),
        ("$ exit 0\n$ true\n", "the shell has ended"),
    ] {
        match desk.try_follow(&format!("```console\n{text}```\n")) {
            Ok(()) => assert_eq!(why, "", "{text}"),
            Err(error) => assert!(!why.is_empty() && error.contains(why), "{text}: {error}"),
        }
    }
}
