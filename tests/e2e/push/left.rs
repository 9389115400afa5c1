//! What a push leaves: files for the running Prometheus alone, one token, and the rest of the world as
//! it was.

use super::{
    MAIN, SCRAPED_WITHIN, Scene, as_nobody, assert_same, but_what_stays, folder_of_nobody, is_root, signature, tree,
};
use crate::{
    needs,
    plugin::{Account, Run, command},
};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, process::Stdio, time::Duration};
use testbed::{Action, FaultProxy, PrometheusSpec, Rule, Target};

trials! {
    push_left:
    smoke {
        targets_come_up,
        second_push_replaces_token_and_secret,
    }
    full {
        token_is_only_in_its_file,
        other_destinations_are_not_touched,
        known_cluster_keeps_its_label,
        jobs_of_an_account_are_those_of_all,
        another_user_reads_by_group_only,
        prometheus_in_another_mount_namespace_is_delivered_to,
        stopped_prometheus_gets_jobs_without_verification,
        concurrent_edits_stay,
    }
}

fn targets_come_up() {
    let scene = Scene::new("up");
    let run = scene.join(&[]);
    assert_eq!(run.stdout, "");
    assert!(run.stderr.contains("prom-federate/east.scrape.yml in place, Prometheus 3."), "{}", run.stderr);
    assert!(run.stderr.contains("reloaded, 4 of 4 targets up"), "{}", run.stderr);
    let label = |target: &Target, name| target.label(name).to_owned();
    let mut labels: Vec<String> = scene
        .all_up(4)
        .iter()
        .map(|target| ["cluster", "job", "node", "instance", "metrics_path"].map(|name| label(target, name)).join(" "))
        .collect();
    labels.sort();
    insta::assert_snapshot!(labels.join("\n"), @r"
    east kubelet east-node-0 east-node-0 /metrics
    east kubelet east-node-0 east-node-0 /metrics/cadvisor
    east kubelet east-node-1 east-node-1 /metrics
    east kubelet east-node-1 east-node-1 /metrics/cadvisor
    ");

    // The two patterns are in the main configuration, its comments too, and what it was is beside it.
    assert_eq!(scene.read("prometheus.yml.before-prom-federate"), MAIN);
    insta::assert_snapshot!(scene.read("prometheus.yml"), @"
    # The main thing.
    global:
      scrape_interval: 1s # often
    rule_files: [prom-federate/*.rules.yml] # none yet
    scrape_configs:
    - job_name: self
      static_configs: [{targets: ['localhost:1']}] # is down
    scrape_config_files:
    - prom-federate/*.scrape.yml
    ");
    // Its alerting rules are loaded.
    let rules = scene.prometheus.get("/api/v1/rules").expect("Prometheus answers").body;
    assert!(rules.contains("PromFederateClusterAbsent") && rules.contains("cluster=\\\"east\\\""), "{rules}");

    // Other users can read none of it.
    let (generation, id) = (scene.generations("east").remove(0), scene.read("prom-federate/.id"));
    let modes: Vec<String> = tree(scene.dir())
        .iter()
        .map(|(name, said)| {
            format!(
                "{} {}",
                said.split(' ').nth(1).expect("a mode"),
                name.replace(&generation, "GEN").replace(id.trim(), "ID")
            )
        })
        .collect();
    insta::assert_snapshot!(modes.join("\n"), @"
    700 prom-federate
    600 prom-federate/.id
    600 prom-federate/.lock
    600 prom-federate/.owner
    700 prom-federate/east
    600 prom-federate/east.rules.yml
    600 prom-federate/east.scrape.yml
    700 prom-federate/east/GEN
    600 prom-federate/east/GEN/ca.crt
    600 prom-federate/east/GEN/cluster.json
    600 prom-federate/east/GEN/rotated-ID.json
    600 prom-federate/east/GEN/token
    777 prom-federate/east/current
    644 prometheus.yml
    644 prometheus.yml.before-prom-federate
    ");

    let record = scene.record("east");
    let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let east = scene.account.cluster;
    let uid = east.api().get("/api/v1/namespaces/kube-system").expect("the API server answers").json();
    assert_eq!(uid["metadata"]["uid"], record["uid"]);
    assert_eq!(text("/access/apiServer"), east.url());
    assert_eq!(
        [text("/cluster"), text("/context"), text("/namespace"), text("/serviceAccount"), text("/jobs")],
        ["east", "east", "e2e-push-up", "prometheus", "cadvisor,kubelet"]
    );
    assert_eq!(record["replaces"], serde_json::json!([]));
    scene.is_tidy("east");
}

fn second_push_replaces_token_and_secret() {
    let scene = Scene::new("twice");
    scene.join(&[]);
    let (token, secret, main) = (scene.token_path("east"), scene.secrets(), scene.read("prometheus.yml"));
    let objects = scene.account.objects().len();
    let run = scene.join(&[]);
    assert_eq!(run.stderr.matches(" unchanged\n").count(), 8, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("secret/{} deleted (its token was replaced)", secret[0])), "{}", run.stderr);
    assert_ne!(scene.token_path("east"), token, "a new token has a folder of its own");
    assert_ne!(scene.secrets(), secret);
    assert_eq!(scene.read("prometheus.yml"), main);
    assert_eq!(scene.account.objects().len(), objects);
    scene.is_tidy("east");
    scene.all_up(4);
}

/// Not in what is said, not in what is reported, and no program that is run gets it.
fn token_is_only_in_its_file() {
    let scene = Scene::new("secrecy");
    let tools = tempfile::tempdir().expect("a folder");
    let (spy, seen) = (tools.path().join("promtool"), tools.path().join("seen"));
    let promtool = testbed::tools().promtool.display();
    let said = format!(
        "#!/bin/sh\nenv >> {seen}\necho promtool \"$@\" >> {seen}\nexec {promtool} \"$@\"\n",
        seen = seen.display()
    );
    fs::write(&spy, said).expect("a script");
    fs::set_permissions(&spy, fs::Permissions::from_mode(0o755)).expect("a mode");
    let reload = format!("--reload=command:env >> {seen}; kill -HUP {}", scene.prometheus.pid(), seen = seen.display());
    for (more, reports) in [(&["-v", "9"][..], false), (&["-v", "9", "--output=json"], true), (&[&reload], false)] {
        let mut join = command(scene.account.cluster.kubeconfig(), &scene.arguments(more));
        let path = std::env::join_paths([tools.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).expect("a PATH");
        let run: Run = join.env("PATH", path).output().expect("the plugin starts").into();
        let run = run.succeeded();
        assert!(run.stderr.contains("checked by promtool"), "{}", run.stderr);
        let token = scene.read(&scene.token_path("east").expect("jobs"));
        let holds = |text: &str| text.contains(signature(&token)) || text.contains(token.trim());
        assert!(!holds(&run.stderr) && !holds(&run.stdout), "the token was said");
        assert!(!holds(&fs::read_to_string(&seen).expect("what was run")), "a program was given the token");
        let with_token: Vec<String> =
            tree(scene.dir()).into_iter().filter(|(_, said)| holds(said)).map(|(name, _)| name).collect();
        assert_eq!(with_token, [scene.token_path("east").expect("jobs")]);
        if reports {
            let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
            let destination = &report["destinations"][0];
            assert_eq!(destination["destination"], scene.typed());
            assert_eq!(destination["token"]["boundSecret"], scene.record("east")["boundSecret"]["name"]);
            assert_eq!((&destination["targetsUp"], &destination["targets"]), (&4.into(), &4.into()));
            assert_eq!(report["scrape_configs"], Value::Null);
        }
    }
    let seen = fs::read_to_string(&seen).expect("what was run");
    assert!(seen.contains("promtool check config --syntax-only"), "{seen}");
}

fn other_destinations_are_not_touched() {
    let one = Scene::new("two");
    let two = Scene::beside(&one);
    one.join(&[]);
    two.join(&[]);
    let (files, secrets) = (tree(one.dir()), one.secrets());
    two.join(&[]);
    two.join(&["--cluster-name=orient", "--rename"]);
    assert_same(&tree(one.dir()), &files, "");
    assert_eq!(one.secrets(), secrets);
    one.is_tidy("east");
    two.is_tidy("orient");
    one.all_up(4);
    two.all_up(4);
    // Printed jobs are a destination of their own.
    one.account.join(&[]);
    assert_eq!((one.secrets().len(), two.secrets().len(), one.account.secrets().len()), (1, 1, 3));
}

fn jobs_of_an_account_are_those_of_all() {
    let one = Scene::new("jobs");
    let two = Scene::beside(&one);
    one.join(&[]);
    let before = (tree(one.dir()), one.account.secrets());
    let run = two.try_join(&["--jobs=kubelet"]).failed("AccountInUse", &[one.typed(), "--service-account"]);
    assert!(!run.stderr.contains(" configured\n"), "{}", run.stderr);
    assert_same(&tree(one.dir()), &before.0, "");
    assert_eq!(one.account.secrets(), before.1);
    assert_eq!(but_what_stays(tree(two.dir())).into_keys().collect::<Vec<_>>(), ["prometheus.yml"]);
    // Its only user may.
    one.join(&["--jobs=kubelet"]);
    one.all_up(2);
    one.is_tidy("east");
    // Another account is another matter.
    two.join(&["--jobs=cadvisor", "--service-account=second"]);
    two.all_up(2);
    one.all_up(2);
}

fn known_cluster_keeps_its_label() {
    let scene = Scene::new("label");
    scene.join(&["--cluster-name=orient"]);
    scene.join(&[]);
    assert_eq!(scene.record("orient")["cluster"], "orient");
    assert_eq!(scene.token_path("east"), None);

    let before = (tree(scene.dir()), scene.account.secrets());
    scene
        .try_join(&["--cluster-name=east"])
        .failed("ClusterKnown", &["knows this cluster", "as orient", "--cluster-name orient", "--rename"]);
    // The label is another cluster's.
    let west = Account { cluster: &testbed::shared().west, namespace: scene.account.namespace.clone() };
    let join_west = |more: &[&str]| {
        let mut all = scene.arguments(more);
        all.push("--cluster-name=orient");
        crate::plugin::run(west.cluster.kubeconfig(), &all)
    };
    join_west(&[]).failed("ClusterKnown", &["knows another cluster as orient", "--replace"]);
    assert_same(&tree(scene.dir()), &before.0, "");
    assert_eq!(scene.account.secrets(), before.1);
    assert_eq!(west.objects(), Vec::<String>::new());

    join_west(&["--replace"]).succeeded();
    assert_eq!(scene.record("orient")["context"], "west");
    assert_eq!(scene.addresses(), [west.cluster.url()]);
    assert_eq!(scene.generations("orient").len(), 1);

    // Back again under a label of its own, and then another.
    scene.join(&[]);
    let run = scene.join(&["--cluster-name=levant", "--rename"]);
    assert!(run.stderr.contains("east.scrape.yml") || scene.token_path("east").is_none(), "{}", run.stderr);
    assert_eq!((scene.token_path("east"), scene.generations("east")), (None, vec![]));
    assert_eq!(scene.record("levant")["context"], "east");
    scene.all_up(8);
    let fragments: Vec<String> = tree(scene.dir())
        .into_keys()
        .filter(|name| name.matches('/').count() == 1)
        .filter(|name| name.contains(".yml"))
        .collect();
    assert_eq!(fragments.len(), 4, "{fragments:?}");
}

fn another_user_reads_by_group_only() {
    needs::root();
    let folder = folder_of_nobody();
    let spec = PrometheusSpec::new(MAIN).wrapper(&as_nobody()).in_folder(folder.path().join("prometheus"));
    let scene = Scene::with("nobody", &spec);

    // It could not come here.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
    let before = tree(scene.dir());
    scene.try_join(&["--owner=65534"]).failed("NotReadable", &["runs as user 65534 and cannot enter", "chmod o+x"]);
    assert_same(&tree(scene.dir()), &before, "");
    assert_eq!(scene.account.objects(), Vec::<String>::new());

    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let run = scene.join(&["--owner=65534"]);
    assert!(run.stderr.contains("user 65534"), "{}", run.stderr);
    scene.all_up(4);
    let (generation, id) = (scene.generations("east").remove(0), scene.read("prom-federate/.id"));
    let owners: Vec<String> = tree(scene.dir())
        .iter()
        .filter(|(name, _)| name.starts_with("prom-federate"))
        .map(|(name, said)| {
            let mut parts = said.split(' ');
            format!(
                "{} {} {}",
                parts.next().unwrap(),
                parts.next().unwrap(),
                name.replace(&generation, "GEN").replace(id.trim(), "ID")
            )
        })
        .collect();
    insta::assert_snapshot!(owners.join("\n"), @"
    0:65534 750 prom-federate
    0:65534 640 prom-federate/.id
    0:0 600 prom-federate/.lock
    0:65534 750 prom-federate/east
    0:65534 640 prom-federate/east.rules.yml
    0:65534 640 prom-federate/east.scrape.yml
    0:65534 750 prom-federate/east/GEN
    0:65534 640 prom-federate/east/GEN/ca.crt
    0:65534 640 prom-federate/east/GEN/cluster.json
    0:65534 640 prom-federate/east/GEN/rotated-ID.json
    0:65534 640 prom-federate/east/GEN/token
    0:0 777 prom-federate/east/current
    ");
    drop(scene);
}

/// As in a container that has the folder elsewhere, and a host whose own way there is closed to it.
fn prometheus_in_another_mount_namespace_is_delivered_to() {
    needs::root();
    let folder = folder_of_nobody();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).expect("a mode");
    // What is below /tmp is not to be seen there.
    let script = "mount --bind . /mnt && cd /mnt && mount -t tmpfs none /tmp && exec 3< \"$0\" && \
                  exec setpriv --reuid=65534 --regid=65534 --clear-groups /proc/self/fd/3 \"$@\"";
    let spec = PrometheusSpec::new(MAIN)
        .wrapper(&["unshare", "--mount", "sh", "-c", script])
        .config_file(Some("/mnt/prometheus.yml"))
        .in_folder(folder.path().join("prometheus"));
    let scene = Scene::with("mounts", &spec);
    scene.join(&["--owner=65534"]);
    scene.all_up(4);
    scene.is_tidy("east");
    drop(scene);
}

/// Root must name the owner of the files; another user owns them.
fn stopped_prometheus_gets_jobs_without_verification() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("prometheus.yml"), MAIN).expect("a file");
    let account = Account::new(&testbed::shared().east, "push-nobody-runs");
    let join = |more: &[&str]| {
        let mut all = vec!["join", "-p", folder.path().to_str().expect("UTF-8")];
        all.extend(more);
        account.run(&all)
    };
    let owner = format!("--owner={}", rustix::process::geteuid().as_raw());
    if is_root() {
        let before = tree(folder.path());
        join(&[]).failed("NotReadable", &["no running Prometheus uses", "--owner prometheus"]);
        assert_same(&tree(folder.path()), &before, "");
        assert_eq!(account.objects(), Vec::<String>::new());
    }
    let run = join(&[&owner]).succeeded();
    assert!(run.stderr.contains("does not run; it will read the jobs when it starts"), "{}", run.stderr);
    assert!(run.stderr.contains("no scrape with the new token was observed"), "{}", run.stderr);
    // It is unknown whether the first token is in use.
    join(&[&owner]).succeeded();
    assert_eq!(account.secrets().len(), 2);
    join(&[&owner]).succeeded();
    assert_eq!(account.secrets().len(), 2);
    // Nor whether the jobs of an old label are.
    let labels = || ["east", "levant"].map(|label| folder.path().join("prom-federate").join(label).exists());
    let rename = &[&owner, "--cluster-name=levant", "--rename"];
    join(rename).succeeded();
    assert_eq!((account.secrets().len(), labels()), (2, [true, true]));
    join(rename).succeeded();
    assert_eq!((account.secrets().len(), labels()), (2, [false, true]));
}

/// A question, which may wait for long, lies between reading the main configuration and editing it.
fn concurrent_edits_stay() {
    let scene = Scene::new("meanwhile");
    let proxy = FaultProxy::in_front_of(scene.account.cluster).expect("a proxy");
    let ask = "/selfsubjectaccessreviews";
    proxy.rule(Rule::new("POST", ask, Action::Delay(Duration::from_secs(1))));
    let api_server = format!("--api-server={}", scene.account.cluster.url());
    let child = command(&proxy.kubeconfig(), &scene.arguments(&[&api_server]))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let asked = || proxy.requests().iter().any(|request| request.path.contains(ask)).then_some(());
    testbed::until(SCRAPED_WITHIN, asked).expect("it asks for permissions");
    let mine = "# Mine.\nrule_files: [mine.yml]\nscrape_config_files: [prom-federate/*.scrape.yml]\n";
    fs::write(scene.dir().join("prometheus.yml"), mine).expect("a file");
    Run::from(child.wait_with_output().expect("it ends")).succeeded();
    assert_eq!(scene.read("prometheus.yml"), mine.replace("[mine.yml]", "[mine.yml, prom-federate/*.rules.yml]"),);
}
