//! The guard: a user with `edit` in the account's namespace is not the account.

use crate::{plugin::Account, raw};
use serde_json::{Value, json};
use std::time::Duration;
use testbed::{Cluster, Prometheus};

trials! {
    guard:
    smoke {
        tenant_with_edit_gets_no_pod_token_or_secret_of_the_account,
    }
    full {
        tenant_with_edit_is_the_account_without_a_guard,
        impersonated_account_gets_no_token,
        secret_that_a_tenant_changes_holds_no_token_of_the_account,
        user_of_the_guard_joins_and_rotates_what_git_applied,
        guard_is_compared_exactly_and_restored_by_join,
        rotation_of_an_earlier_join_works_without_a_guard,
        join_and_check_name_the_neighbours,
        leave_ends_an_account_without_a_bound_secret,
    }
}

const EVERY_SECOND: &str = "--scrape-interval=1s";
const RIGHTS_ARRIVE_WITHIN: Duration = Duration::from_secs(10);

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Created,
    Rbac,
    /// Our policy, by its own message.
    Guard,
    Other(u16),
}

fn answer(account: &Account, (code, body): &(u16, String)) -> Answer {
    let guard = account.guard_name();
    let denied = format!("ValidatingAdmissionPolicy '{guard}' with binding '{guard}' denied request");
    match code {
        200 | 201 => Answer::Created,
        403 => Answer::Rbac,
        422 if body.contains(&denied) => Answer::Guard,
        other => Answer::Other(*other),
    }
}

/// A tenant of a namespace, by the token of a service account elsewhere.
struct Tenant<'a> {
    account: &'a Account<'a>,
    token: String,
}

impl<'a> Tenant<'a> {
    /// With this cluster role in the namespace of the account, which must exist.
    fn new(account: &'a Account<'a>, role: &str) -> Self {
        let cluster = account.cluster;
        let (namespace, name) = (&account.namespace, format!("dev-{}", account.namespace));
        cluster.kubectl_ok(&["--namespace=default", "create", "serviceaccount", &name]);
        let binding = format!("--serviceaccount=default:{name}");
        let role = format!("--clusterrole={role}");
        cluster.kubectl_ok(&["--namespace", namespace, "create", "rolebinding", "dev", &role, &binding]);
        let token = cluster.kubectl_ok(&["--namespace=default", "create", "token", &name]).trim().to_owned();
        let tenant = Self { account, token };
        let arrived = || (tenant.get("configmaps") == 200).then_some(());
        testbed::until(RIGHTS_ARRIVE_WITHIN, arrived).expect("the rights arrive");
        tenant
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.account.namespace)
    }

    fn get(&self, rest: &str) -> u16 {
        raw::request(self.account.cluster, &self.token, "GET", &self.path(rest)).0
    }

    fn send(&self, method: &str, rest: &str, object: &Value) -> (u16, String) {
        raw::send_json(self.account.cluster, &self.token, method, &self.path(rest), object)
    }

    fn as_account(&self, method: &str, path: &str, object: &Value) -> (u16, String) {
        let user = format!("system:serviceaccount:{}:prometheus", self.account.namespace);
        raw::impersonating(self.account.cluster, &self.token, &user, method, path, object)
    }

    /// Asserts the answer to an object that is created.
    fn is_answered(&self, what: &str, rest: &str, object: &Value, expected: Answer) {
        let got = self.send("POST", rest, object);
        assert_eq!(answer(self.account, &got), expected, "{what}: {got:?}");
    }
}

fn pod(name: &str, spec: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "example.org/none" }] },
    });
    for (key, value) in spec.as_object().into_iter().flatten() {
        pod["spec"][key] = value.clone();
    }
    pod
}

fn token_request(bound: &Value) -> Value {
    let mut spec = json!({ "expirationSeconds": 600 });
    if !bound.is_null() {
        spec["boundObjectRef"] = bound.clone();
    }
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec })
}

/// As an account with `--self-renew --duration=1d` renews its token.
fn renewal(secret: &str) -> Value {
    let mut request = token_request(&secret_ref(secret));
    request["spec"]["expirationSeconds"] = json!(86_400);
    request
}

fn secret_ref(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "name": name })
}

fn secret(name: &str, kind: &str, account: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind,
        "metadata": { "name": name, "annotations": { "kubernetes.io/service-account.name": account } },
    })
}

const LEGACY: &str = "kubernetes.io/service-account-token";
const TOKEN: &str = "serviceaccounts/prometheus/token";
/// A name as `join` gives to its Secrets.
const ALIKE: &str = "prometheus-bcdfghjklmnpqrst";

/// What makes a user of the namespace the account.
fn ways(ours: &str) -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("a pod", "pods", pod("one", &json!({ "serviceAccountName": "prometheus" }))),
        ("a pod by the former field", "pods", pod("two", &json!({ "serviceAccount": "prometheus" }))),
        ("an unbound token", TOKEN, token_request(&Value::Null)),
        ("a token with an empty reference", TOKEN, token_request(&json!({}))),
        ("a token bound to the tenant's Secret", TOKEN, token_request(&secret_ref("own"))),
        ("a token bound to a Secret named like ours", TOKEN, token_request(&secret_ref(ALIKE))),
        ("a token bound to our Secret", TOKEN, token_request(&secret_ref(ours))),
        ("a token bound to a pod", TOKEN, token_request(&json!({ "apiVersion": "v1", "kind": "Pod", "name": "one" }))),
        ("a Secret with a token", "secrets", secret("legacy", LEGACY, "prometheus")),
        (
            "a Secret with a token, named like ours",
            "secrets",
            secret("prometheus-bbbbbbbbbbbbbbbb", LEGACY, "prometheus"),
        ),
    ]
}

/// What a tenant has in the namespace besides.
fn furnish(tenant: &Tenant) {
    tenant.is_answered("a Secret", "secrets", &secret("own", "Opaque", "prometheus"), Answer::Created);
    tenant.is_answered("a Secret named like ours", "secrets", &secret(ALIKE, "Opaque", "x"), Answer::Created);
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "shop" } });
    tenant.is_answered("an account", "serviceaccounts", &account, Answer::Created);
    tenant.is_answered("a pod", "pods", &pod("shop", &json!({ "serviceAccountName": "shop" })), Answer::Created);
}

fn ours(account: &Account) -> String {
    let bound = |name: &String| name.starts_with("prometheus-") && name != ALIKE;
    account.secrets().into_iter().find(bound).expect("a bound Secret")
}

fn tenant_with_edit_gets_no_pod_token_or_secret_of_the_account() {
    let account = Account::new(&testbed::shared().east, "guard");
    let token = account.join(&[]).token();
    let tenant = Tenant::new(&account, "edit");
    furnish(&tenant);
    let bound = ours(&account);
    for (what, rest, object) in ways(&bound) {
        tenant.is_answered(what, rest, &object, Answer::Guard);
    }
    // A controller makes the pods of a workload.
    let replicas = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": "posing" },
        "spec": { "replicas": 1, "selector": { "app": "posing" }, "template": {
            "metadata": { "labels": { "app": "posing" } },
            "spec": { "serviceAccountName": "prometheus", "containers": [{ "name": "c", "image": "example.org/none" }] },
        }},
    });
    tenant.is_answered("a template", "replicationcontrollers", &replicas, Answer::Created);
    // Other accounts of the namespace are as before, and so is the same name in another namespace.
    let of_shop = "serviceaccounts/shop/token";
    tenant.is_answered("a token of another account", of_shop, &token_request(&Value::Null), Answer::Created);
    tenant.is_answered("its Secret with a token", "secrets", &secret("theirs", LEGACY, "shop"), Answer::Created);
    let elsewhere = Account::new(account.cluster, "guard-elsewhere");
    account.cluster.kubectl_ok(&["create", "namespace", &elsewhere.namespace]);
    account.cluster.kubectl_ok(&["--namespace", &elsewhere.namespace, "create", "serviceaccount", "prometheus"]);
    account.cluster.kubectl_ok(&["--namespace", &elsewhere.namespace, "create", "token", "prometheus"]);
    // An administrator gets tokens only bound to a Secret of ours, and no pod either.
    let by_admin = |rest: &str, object: &Value| {
        let got = account.cluster.api().post(&tenant.path(rest), object).expect("the API server answers");
        answer(&account, &(got.status, got.body))
    };
    assert_eq!(by_admin(TOKEN, &token_request(&Value::Null)), Answer::Guard);
    assert_eq!(by_admin(TOKEN, &token_request(&secret_ref("own"))), Answer::Guard);
    assert_eq!(by_admin("pods", &pod("three", &json!({ "serviceAccountName": "prometheus" }))), Answer::Guard);
    assert_eq!(by_admin(TOKEN, &token_request(&secret_ref(&bound))), Answer::Created);

    assert_eq!(raw::request(account.cluster, &token, "GET", "/api/v1/nodes").0, 200);
}

/// What the guard is for, and that the trial above could fail: RBAC alone admits all of it.
fn tenant_with_edit_is_the_account_without_a_guard() {
    let account = Account::new(&testbed::shared().east, "guard-off");
    let run = account.join(&["--fence=off", "--self-renew", "--duration=1d"]);
    assert!(!run.stderr.contains("prom-federate-guard"), "{}", run.stderr);
    let tenant = Tenant::new(&account, "edit");
    furnish(&tenant);
    let bound = ours(&account);
    for (what, rest, object) in ways(&bound) {
        // The API server itself refuses an empty reference.
        if what != "a token with an empty reference" {
            tenant.is_answered(what, rest, &object, Answer::Created);
        }
    }
    let minted = |(code, body): (u16, String)| {
        assert_eq!(code, 201, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["status"]["token"].as_str().expect("a token").to_owned()
    };
    let unbound = minted(tenant.send("POST", TOKEN, &token_request(&Value::Null)));
    assert_eq!(raw::request_at_kubelet(account.cluster, 0, &unbound, "/configz").0, 200, "all of its rights");
    let impersonated = tenant.as_account("POST", &tenant.path(TOKEN), &renewal(&bound));
    assert_eq!(raw::request_at_kubelet(account.cluster, 0, &minted(impersonated), "/configz").0, 200);
    let pods = ["delete", "pods", "--all", "--force", "--grace-period=0"];
    account.cluster.kubectl_ok(&[&["--namespace", &account.namespace], &pods[..]].concat());
}

/// `edit` includes impersonation, which no policy sees: the fence limits it, and it gets no token.
fn impersonated_account_gets_no_token() {
    let account = Account::new(&testbed::shared().east, "guard-as");
    account.join(&["--self-renew", "--duration=1d"]);
    let tenant = Tenant::new(&account, "edit");
    assert_eq!(tenant.as_account("GET", "/api/v1/nodes", &Value::Null).0, 200, "the limit that SECURITY.md states");
    let configz = format!("/api/v1/nodes/{}/proxy/configz", account.cluster.node_names()[0]);
    assert_eq!(tenant.as_account("GET", &configz, &Value::Null).0, 422, "the fence");
    let got = tenant.as_account("POST", &tenant.path(TOKEN), &renewal(&ours(&account)));
    assert_eq!(answer(&account, &got), Answer::Guard, "{got:?}");
}

fn secret_that_a_tenant_changes_holds_no_token_of_the_account() {
    let account = Account::new(&testbed::shared().east, "guard-secrets");
    account.join(&[]);
    let tenant = Tenant::new(&account, "edit");
    furnish(&tenant);
    tenant.is_answered("a Secret of another account", "secrets", &secret("legacy", LEGACY, "shop"), Answer::Created);
    let put = |rest: &str, object: &Value| tenant.send("PUT", rest, object);
    let got = put("secrets/legacy", &secret("legacy", LEGACY, "prometheus"));
    assert_eq!(answer(&account, &got), Answer::Guard, "another account: {got:?}");
    let got = put("secrets/own", &secret("own", LEGACY, "prometheus"));
    assert!(matches!(answer(&account, &got), Answer::Guard | Answer::Other(422)), "another type: {got:?}");
    // The Secret of a long-lived token is an administrator's, and its controller goes on with it.
    let before = account.secrets();
    account.join(&["--long-lived-token"]);
    let made = account.secrets().into_iter().find(|name| !before.contains(name)).expect("a Secret");
    assert_eq!(tenant.get(&format!("secrets/{made}")), 200, "the limit that SECURITY.md states");
    let got = put("secrets/legacy", &secret("legacy", LEGACY, "shop"));
    assert_eq!(answer(&account, &got), Answer::Created, "{got:?}");
}

/// A user with these rights everywhere, as `docs/gitops.md` lists them.
fn git_user(account: &Account, name: &str, verbs: &[&str]) -> std::path::PathBuf {
    let cluster = account.cluster;
    let rule = |group: &str, resources: &[&str], verbs: &[&str]| json!({ "apiGroups": [group], "resources": resources, "verbs": verbs });
    let rules = json!([
        rule("", &["namespaces", "serviceaccounts"], &["get"]),
        rule("", &["nodes"], &["list"]),
        rule("", &["secrets"], &["list", "create", "patch", "delete"]),
        rule("", &["serviceaccounts/token"], &["create"]),
        rule("rbac.authorization.k8s.io", &["clusterroles", "clusterrolebindings"], &["get"]),
        rule(
            "admissionregistration.k8s.io",
            &["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
            verbs
        ),
    ]);
    let cluster_role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": name }, "rules": rules,
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": name },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
    });
    cluster.apply(&format!("{cluster_role}\n---\n{binding}\n"));
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": { "user": name, "resourceAttributes": { "resource": "nodes", "verb": "list" } },
    });
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let arrived = || {
        let answer = cluster.api().post(path, &review).expect("the API server answers").json();
        (answer["status"]["allowed"] == true).then_some(())
    };
    testbed::until(RIGHTS_ARRIVE_WITHIN, arrived).expect("the rights arrive");
    cluster.kubeconfig_for(name, &[]).expect("a kubeconfig")
}

fn user_of_the_guard_joins_and_rotates_what_git_applied() {
    let account = Account::new(&testbed::shared().east, "guard-git");
    let cluster = account.cluster;
    let manifests = crate::plugin::run(cluster.kubeconfig(), &["manifests", "--namespace", &account.namespace]);
    cluster.apply(&manifests.succeeded().stdout);
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let dir = prometheus.dir().to_str().expect("a path");

    let reader = git_user(&account, "git-reads", &["get"]);
    let run = account.run_with(&reader, &["join", "-p", dir]).failed(
        "Forbidden",
        &[
            "git-reads may not use validatingadmissionpolicies.admissionregistration.k8s.io prom-federate-guard.",
            "nothing was written",
        ],
    );
    assert!(account.secrets().is_empty(), "{}", run.stderr);

    let user = git_user(&account, "git-uses", &["get", "use"]);
    account.run_with(&user, &["join", "-p", dir, EVERY_SECOND]).succeeded();
    let rotate = crate::plugin::run(&user, &["rotate", "--now", "-p", dir]).succeeded();
    assert!(!rotate.stderr.contains("Warning"), "{}", rotate.stderr);
    // An administrator adds the right to renew to what Git owns.
    account.join(&["-p", dir, EVERY_SECOND, "--self-renew", "--duration=1d"]);
    let home = prometheus.dir().join("data/home");
    std::fs::create_dir_all(&home).expect("a folder");
    let mut alone = crate::plugin::command(&home, &["rotate", "--now", "-p", dir]);
    alone.env_remove("KUBECONFIG").env("HOME", &home);
    crate::plugin::Run::from(alone.output().expect("it starts")).succeeded();
}

fn guard_is_compared_exactly_and_restored_by_join() {
    let account = Account::new(&testbed::shared().east, "guard-hollow");
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let dir = prometheus.dir().to_str().expect("a path");
    let cluster = account.cluster;
    account.join(&["-p", dir, EVERY_SECOND]);
    let status = || crate::plugin::run(cluster.kubeconfig(), &["status", "-p", dir]);
    assert!(!status().stderr.contains("guard"), "{}", status().stderr);
    let guard = account.guard_name();
    let policy = format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/{guard}");
    let exception = json!({ "apiGroups": [""], "apiVersions": ["*"], "operations": ["*"], "resources": ["pods"] });
    let hole = json!({ "spec": { "matchConstraints": { "excludeResourceRules": [exception] } } });
    assert!(cluster.api().patch(&policy, &hole).expect("the API server answers").is_success());
    let differs = format!("{guard} differs from what this release's join makes");
    assert!(status().stderr.contains(&differs), "{}", status().stderr);
    let checked = crate::plugin::run(cluster.kubeconfig(), &["check", "-p", dir]);
    let what = format!("{guard} differs from what join makes in spec.matchConstraints.excludeResourceRules");
    assert!(checked.stdout.contains(&what), "{}", checked.stdout);
    // A rotation changes no policy, and says so.
    let rotated = crate::plugin::run(cluster.kubeconfig(), &["rotate", "--now", "-p", dir]).succeeded();
    assert!(rotated.stderr.contains(&format!("{guard} differs from what join makes")), "{}", rotated.stderr);
    assert!(status().stderr.contains(&differs), "{}", status().stderr);
    let joined = account.join(&["-p", dir, EVERY_SECOND]);
    assert!(joined.stderr.contains(&format!("{guard} configured")), "{}", joined.stderr);
    assert!(!status().stderr.contains("guard"), "{}", status().stderr);
}

/// As an earlier release left the cluster.
fn rotation_of_an_earlier_join_works_without_a_guard() {
    let account = Account::new(&testbed::shared().east, "guard-earlier");
    let prometheus = Prometheus::start("global: {}\n").expect("Prometheus starts");
    let dir = prometheus.dir().to_str().expect("a path");
    let cluster = account.cluster;
    account.join(&["-p", dir, EVERY_SECOND]);
    let guard = account.guard_name();
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        cluster.kubectl_ok(&["delete", kind, &guard]);
    }
    let exists = || cluster.kubectl(&["get", "validatingadmissionpolicy", &guard]).status.success();
    let rotated = crate::plugin::run(cluster.kubeconfig(), &["rotate", "--now", "-p", dir]).succeeded();
    let missing = format!(
        "{guard} do not exist, or you may not get them; rotate creates nothing. An administrator can create them: \
         kubectl prom-federate join"
    );
    assert!(rotated.stderr.contains(&missing), "{}", rotated.stderr);
    assert!(!exists(), "rotate creates nothing");
    let status = crate::plugin::run(cluster.kubeconfig(), &["status", "-p", dir, "-o", "json"]);
    let report: Value = serde_json::from_str(&status.stdout).expect("JSON");
    assert_eq!(report["clusters"][0]["guard"], "absent", "{}", status.stdout);
    let joined = account.join(&["-p", dir, EVERY_SECOND]);
    assert_eq!(joined.stderr.matches(&format!("{guard} created")).count(), 2, "{}", joined.stderr);
    account.run(&["leave", "-p", dir]).succeeded();
    assert!(!exists(), "leave deletes it");
}

fn join_and_check_name_the_neighbours() {
    let account = Account::new(&testbed::shared().east, "guard-shared");
    let (cluster, namespace) = (account.cluster, account.namespace.as_str());
    let dry = || account.run(&["join", "--dry-run=server"]).succeeded().stderr;
    assert!(!dry().contains("not the account's alone"), "{}", dry());
    account.join(&[]);
    assert!(!dry().contains("not the account's alone"), "{}", dry());
    let tenant = Tenant::new(&account, "edit");
    cluster.kubectl_ok(&["--namespace", namespace, "create", "role", "reads", "--verb=get", "--resource=pods"]);
    cluster.kubectl_ok(&["--namespace", namespace, "create", "rolebinding", "reader", "--role=reads", "--group=ops"]);
    tenant.is_answered(
        "an account",
        "serviceaccounts",
        &json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "shop" } }),
        Answer::Created,
    );
    tenant.is_answered("a pod", "pods", &pod("shop", &json!({ "serviceAccountName": "shop" })), Answer::Created);
    let shared = format!(
        "namespace {namespace} is not the account's alone (pod/shop runs there; rolebinding/dev gives ServiceAccount \
         default/dev-{namespace} ClusterRole/edit): the guard refuses pods and tokens"
    );
    let next = "Give the account a namespace of its own: --namespace NAME";
    let warned = dry();
    assert!(warned.contains(&shared) && warned.contains(next), "{warned}");
    assert!(!warned.contains("reader"), "{warned}");
    let checked = account.run_with(cluster.kubeconfig(), &["join", "--dry-run=client", "--fence=off"]).succeeded();
    assert!(checked.stderr.contains("without the guard, users who may create pods"), "{}", checked.stderr);
    let checked = crate::plugin::run(cluster.kubeconfig(), &["check", "--namespace", namespace]);
    assert!(checked.stdout.contains(&shared) && checked.stdout.contains(next), "{}", checked.stdout);
    // What is there from the time before the guard.
    unguarded(cluster, &account, || {
        tenant.is_answered(
            "a pod",
            "pods",
            &pod("posing", &json!({ "serviceAccountName": "prometheus" })),
            Answer::Created,
        );
        tenant.is_answered("a Secret", "secrets", &secret("legacy", LEGACY, "prometheus"), Answer::Created);
    });
    let warned = dry();
    for text in ["pod/posing in namespace", "secret/legacy in namespace", "kubectl delete secret legacy -n"] {
        assert!(warned.contains(text), "no {text:?}: {warned}");
    }
    cluster.kubectl_ok(&["--namespace", namespace, "delete", "pods", "--all", "--force", "--grace-period=0"]);
}

/// Does something while the account has no guard.
fn unguarded(cluster: &Cluster, account: &Account, what: impl FnOnce()) {
    let guard = account.guard_name();
    cluster.kubectl_ok(&["delete", "validatingadmissionpolicybinding", &guard]);
    let admitted = || {
        let pod = pod("probe", &json!({ "serviceAccountName": "prometheus" }));
        let path = format!("/api/v1/namespaces/{}/pods?dryRun=All", account.namespace);
        cluster.api().post(&path, &pod).expect("the API server answers").is_success().then_some(())
    };
    testbed::until(RIGHTS_ARRIVE_WITHIN, admitted).expect("the guard is gone");
    what();
}

/// A deleted Secret ends its token; the account is left as any other.
fn leave_ends_an_account_without_a_bound_secret() {
    let account = Account::new(&testbed::shared().east, "guard-bare");
    account.join(&[]);
    account.cluster.kubectl_ok(&["--namespace", &account.namespace, "delete", "secret", &ours(&account)]);
    let left = account.run(&["leave"]).succeeded();
    assert!(left.stderr.contains("a token that worked before now gets 401 (after "), "{}", left.stderr);
    assert_eq!(account.objects(), Vec::<String>::new());
}
