//! The writer of a record is not an administrator: what a record claims gives no right and sends no token anywhere, and
//! `rotate` grants nothing.

use super::{Place, Scene, keeps_old_token};
use crate::plugin::{Account, Run};
use serde_json::json;
use std::{fs, path::Path, process::Command};
use testbed::{FaultProxy, Kubeconfig, Trust};

trials! {
    rotate_records:
    smoke {
        planted_terms_are_refused,
    }
    full {
        planted_addresses_get_no_token,
        secret_of_another_destination_is_neither_used_nor_deleted,
        record_of_another_release_needs_one_join,
        missing_right_is_not_granted_and_a_wider_one_stays,
        recorded_ca_never_verifies_the_administrators_connection,
    }
}

/// The command of a hint.
fn hinted(run: &Run, hint: &str) -> Vec<String> {
    let line = run.stderr.lines().find_map(|line| line.split_once(hint)).unwrap_or_else(|| panic!("{}", run.stderr));
    let words = line.1.strip_prefix(": kubectl prom-federate ").expect("a command of the plugin");
    let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    words.retain(|word| !word.is_empty());
    words
}

/// All roles and policies of the plugin, by name and version.
fn rights(account: &Account) -> String {
    let kinds = "clusterroles,clusterrolebindings,roles,rolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings";
    let columns =
        "custom-columns=KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name,VERSION:.metadata.resourceVersion";
    let all = account.cluster.kubectl_ok(&["get", kinds, "-A", "-o", columns]);
    // Not as wide as the objects of other trials make the columns.
    let rows = all.lines().filter(|line| line.contains(&account.namespace));
    rows.map(|row| row.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

fn planted_terms_are_refused() {
    let scene = Scene::joined("planted", &[]);
    let Scene { account, place } = &scene;
    let (rights_before, secrets) = (rights(account), account.secrets());
    let honest = place.record("east");
    for (field, claim, says) in [
        (
            "jobs",
            json!("cadvisor,kubelet,pods=kube-system/metrics"),
            "--jobs is cadvisor,kubelet,pods=kube-system/metrics instead of cadvisor,kubelet",
        ),
        ("fenced", json!(false), "--fence is off instead of required"),
        ("selfRenew", json!(true), "--self-renew is on instead of off"),
        ("duration", json!("49710d"), "--duration is 49710d instead of 7d"),
        ("route", json!("kubelet"), "the route is kubelet instead of apiserver"),
        ("serviceAccount", json!("metrics"), "the cluster has no secret/"),
        ("namespace", json!("kube-system"), "the cluster has no secret/"),
    ] {
        place.change_record("east", |record| record[field] = claim);
        let run = scene.rotate(&["--now"]);
        let hints = run.stderr.clone();
        keeps_old_token(run, &["error (RecordNotConfirmed): east: cannot verify the record of east: ", says]);
        assert!(hints.contains("kubectl prom-federate join --context "), "{hints}");
        // No command that an administrator pastes has the claim, where the cluster has noted the terms.
        if says.contains(" instead of ") {
            for command in ["status", "check"] {
                let run = place.run(account.cluster.kubeconfig(), &[command]);
                let all = format!("{}{}", run.stdout, run.stderr);
                assert!(run.code == Some(1) && all.contains(&format!("rotate will not follow the record: it differs from the terms that the cluster has noted: {says}")), "{command} {field}: {all}");
                for join in all.lines().filter_map(|line| line.split_once(" join --context ")) {
                    for claim in ["--jobs", "--fence", "--self-renew", "--route", "--duration"] {
                        assert!(!join.1.contains(claim), "{command} {field}: {all}");
                    }
                }
            }
        }
        place.change_record("east", |record| record.clone_from(&honest));
        assert_eq!((rights(account), account.secrets()), (rights_before.clone(), secrets.clone()), "{field}");
    }
    assert!(
        !account
            .cluster
            .kubectl_ok(&["get", "clusterroles", "-o", "name"])
            .contains(&format!("prom-federate.{}.metrics", account.namespace))
    );
    // The hint restores what was agreed.
    place.change_record("east", |record| record["jobs"] = "kubelet".into());
    let run = scene.rotate(&["--now"]).failed("RotationFailed", &["--jobs is kubelet instead of cadvisor,kubelet"]);
    let mut join = hinted(&run, "To restore the noted terms");
    join.truncate(join.iter().position(|word| word == "-p").expect("a destination"));
    join.push("--yes".to_owned());
    let join: Vec<&str> = join.iter().map(String::as_str).collect();
    place.run(account.cluster.kubeconfig(), &join).succeeded();
    assert_eq!(place.record("east")["jobs"], honest["jobs"]);
    scene.rotate(&["--now"]).succeeded();
    place.is_tidy(account, "east");
    assert_eq!(rights(account), rights_before);
}

/// No token, neither a new one nor one that `leave` uses to see the end.
fn planted_addresses_get_no_token() {
    let scene = Scene::joined("recorded-address", &[]);
    let Scene { account, place } = &scene;
    let elsewhere = FaultProxy::in_front_of(account.cluster).expect("a proxy");
    let no_token = |what: &str| {
        let sent = elsewhere.requests();
        assert!(!sent.iter().any(|request| request.authorization), "{what}: {sent:?}");
    };
    let ca = fs::read_to_string(elsewhere_ca(&elsewhere)).expect("a CA");
    place.change_record("east", |record| {
        record["access"]["apiServer"] = elsewhere.url().into();
        record["access"]["addressGiven"] = true.into();
        record["access"]["caGiven"] = true.into();
    });
    fs::write(place.ours().join("east").join(place.live("east")).join("ca.crt"), ca).expect("a CA");
    keeps_old_token(
        scene.rotate(&["--now"]),
        &[
            "error (RecordNotConfirmed): ",
            &format!("--api-server is {}", elsewhere.url()),
            "--api-server-ca-file is sha256:",
        ],
    );
    no_token("rotate");
    let leave = ["leave", "east", "--yes"];
    place.run(account.cluster.kubeconfig(), &leave).succeeded();
    no_token("leave");
    assert_eq!(account.objects(), Vec::<String>::new());
}

/// The CA of the address that a fault proxy shows.
fn elsewhere_ca(proxy: &FaultProxy) -> std::path::PathBuf {
    match proxy.client().trust {
        Trust::File(path) => path,
        other => panic!("{other:?}"),
    }
}

fn secret_of_another_destination_is_neither_used_nor_deleted() {
    let scene = Scene::joined("others", &[]);
    let Scene { account, place } = &scene;
    let other = Place::new();
    other.join(account, &[]);
    let theirs = other.record("east")["boundSecret"].clone();
    let name = theirs["name"].as_str().expect("a name").to_owned();
    let honest = place.record("east");
    place.change_record("east", |record| record["boundSecret"].clone_from(&theirs));
    keeps_old_token(
        scene.rotate(&["--now"]),
        &["error (RecordNotConfirmed): ", &format!("secret/{name} belongs to another destination: directory://")],
    );
    place.change_record("east", |record| record.clone_from(&honest));
    // As if it were one that this destination had replaced.
    let old = place.ours().join("east/20260101t000000z-aaaaaa");
    fs::create_dir(&old).expect("a folder");
    let planted = json!({ "boundSecret": theirs });
    let mut record = honest.clone();
    record.as_object_mut().expect("a record").extend(planted.as_object().expect("fields").clone());
    fs::write(old.join("cluster.json"), record.to_string()).expect("a record");
    scene.rotate(&["--now"]).succeeded();
    assert!(account.secrets().contains(&name), "{:?}", account.secrets());
    assert!(!old.exists(), "its folder is an old generation");
    fs::create_dir(&old).expect("a folder");
    fs::write(old.join("cluster.json"), record.to_string()).expect("a record");
    place.run(account.cluster.kubeconfig(), &["leave", "east", "--yes"]).succeeded();
    assert_eq!(account.secrets(), [name]);
    other.all_up("east", 4);
}

fn record_of_another_release_needs_one_join() {
    let scene = Scene::joined("release", &["--jobs=kubelet"]);
    let Scene { account, place } = &scene;
    let secret = place.secret("east");
    let annotate = |note: &str| {
        let arguments = ["annotate", "secret", &secret, note, "--overwrite", "-n", &account.namespace];
        account.cluster.kubectl_ok(&arguments);
    };
    for note in ["prom-federate.io/terms-", "prom-federate.io/terms={\"terms\":\"of a later release\"}"] {
        annotate(note);
        keeps_old_token(
            scene.rotate(&["--now"]),
            &[
                "error (RecordNotConfirmed): east: cannot verify the record of east: ",
                "has no terms that this release can read, because another release made it",
                "hint: Check each of these terms, which only the record has: kubectl prom-federate join --context ",
                "--jobs kubelet",
            ],
        );
    }
    place.join(account, &["--jobs=kubelet"]);
    scene.rotate(&["--now"]).succeeded();
    assert_eq!(account.secrets(), [place.secret("east")]);
}

fn missing_right_is_not_granted_and_a_wider_one_stays() {
    let scene = Scene::joined("granted", &[]);
    let Scene { account, place } = &scene;
    let name = account.cluster_scoped_name();
    let cluster = account.cluster;
    let wider = r#"[{"op":"add","path":"/rules/-","value":{"apiGroups":[""],"resources":["pods"],"verbs":["list"]}}]"#;
    let agreed = cluster.kubectl_ok(&["get", "clusterrole", &name, "-o", "jsonpath={.rules}"]);
    cluster.kubectl_ok(&["patch", "clusterrole", &name, "--type=json", "-p", wider]);
    let before = rights(account);
    let run = scene.rotate(&["--now"]).succeeded();
    assert!(
        run.stderr.contains(&format!(
            "Warning: east: clusterrole.rbac.authorization.k8s.io/{name} differs from what join makes; rotate changes no rights. To restore it: kubectl prom-federate join "
        )),
        "{}",
        run.stderr
    );
    assert_eq!(rights(account), before);
    let agreed = format!("{{\"rules\":{agreed}}}");
    cluster.kubectl_ok(&["patch", "clusterrole", &name, "--type=merge", "-p", &agreed]);
    cluster.kubectl_ok(&["delete", "clusterrolebinding", &name]);
    cluster.kubectl_ok(&["delete", "validatingadmissionpolicybinding", &name]);
    let before = rights(account);
    keeps_old_token(
        scene.rotate(&["--now"]),
        &[
            "error (NotFound): east: ",
            &format!("clusterrolebinding.rbac.authorization.k8s.io/{name}"),
            &format!("validatingadmissionpolicybinding.admissionregistration.k8s.io/{name}"),
            "is missing, and rotate grants no rights",
            "hint: To restore it: kubectl prom-federate join ",
        ],
    );
    assert_eq!(rights(account), before);
    place.join(account, &[]);
    scene.rotate(&["--now"]).succeeded();
    place.is_tidy(account, "east");
}

/// Otherwise the writer of a record could read the administrator's credentials.
fn recorded_ca_never_verifies_the_administrators_connection() {
    let account = Account::new(&testbed::shared().east, "rotate-recorded-ca");
    let place = Place::new();
    let cluster = account.cluster;
    let ca = cluster.ca_file().display().to_string();
    place.join(&account, &["--api-server-ca-file", &ca]);
    let front = FaultProxy::in_front_of(cluster).expect("a proxy");
    let skips = Kubeconfig { trust: Trust::Skip, ..front.client() };
    let path = cluster.write_kubeconfig(&skips).expect("a kubeconfig");
    for arguments in [&["rotate", "--now"][..], &["status"], &["leave", "east", "--yes"]] {
        let run = place.run(&path, arguments);
        assert!(
            format!("{}{}", run.stdout, run.stderr)
                .contains("has insecure-skip-tls-verify; the plugin sends tokens only over verified TLS"),
            "{arguments:?}: {}{}",
            run.stdout,
            run.stderr
        );
    }
    assert!(front.requests().is_empty(), "{:?}", front.requests());
    // The way on that the hint names.
    let skips = Kubeconfig { trust: Trust::Skip, ..cluster.admin() };
    let path = cluster.write_kubeconfig(&skips).expect("a kubeconfig");
    let run = place.rotate(&path, &["--now"]);
    let hint = "kubectl config set-cluster NAME --certificate-authority=FILE";
    assert!(run.stderr.contains(hint), "{}", run.stderr);
    kubectl_config(&path, &["set-cluster", &skips.context, &format!("--certificate-authority={ca}")]);
    place.rotate(&path, &["--now"]).succeeded();
    place.is_tidy(&account, "east");
    // Nor does a recorded name, with a CA from a flag.
    place.change_record("east", |record| {
        record["access"]["addressGiven"] = true.into();
        record["access"]["tlsServerName"] = "another.example".into();
    });
    let path = cluster.write_kubeconfig(&skips).expect("a kubeconfig");
    place.run(&path, &["leave", "east", "--yes", &format!("--api-server-ca-file={ca}")]).succeeded();
}

fn kubectl_config(kubeconfig: &Path, arguments: &[&str]) {
    let mut kubectl = Command::new(&testbed::tools().kubectl);
    let output = kubectl.arg("--kubeconfig").arg(kubeconfig).arg("config").args(arguments).output().expect("kubectl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
