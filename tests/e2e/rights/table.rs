//! Every right of every token, generated: each resource and verb that the API server knows, and each path of a kubelet,
//! is asked for with the token of each job and route. SECURITY.md shows the answers.

use crate::{
    exporter::{aggregated_api, namespace},
    jobs::Workloads,
    plugin::Account,
    raw::{self, Session},
    secrets::administrator,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fmt,
    fmt::Write,
    fs, thread,
};
use testbed::{Cluster, ClusterSpec, KubeletCertificates};

trials! {
    rights_table:
    full {
        every_right_of_every_token_stands_in_security_md,
    }
}

/// An aggregated API, so that discovery has one.
const GROUP: &str = "metrics.rights.example";
const PAGES: &[(&str, &str)] = &[
    ("/apis/metrics.rights.example/v1", AGGREGATED_RESOURCES),
    ("/apis/metrics.rights.example/v1/kcm/container/metrics", "workqueue_depth 1\n"),
];
const AGGREGATED_RESOURCES: &str = "Content-Type: application/json\r\n\r\n\
    {\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":\"metrics.rights.example/v1\",\"resources\":[\
    {\"name\":\"kcm\",\"namespaced\":false,\"kind\":\"Page\",\"verbs\":[\"get\",\"list\"]},\
    {\"name\":\"kcm/metrics\",\"namespaced\":false,\"kind\":\"Page\",\"verbs\":[\"get\"]}]}";

/// Verbs that authorizers know and discovery does not, each with its resources.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/authorization/#request-verbs>.
const MORE_VERBS: [(&str, &[&str]); 4] = [
    ("impersonate", &["serviceaccounts"]),
    ("bind", &["roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io"]),
    ("escalate", &["roles.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io"]),
    ("use", &["validatingadmissionpolicies.admissionregistration.k8s.io"]),
];

/// Resources that authorizers know and discovery does not: of impersonation, and those by which a kubelet authorizes.
/// Source: <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/>.
const MORE_RESOURCES: [&str; 15] = [
    "users",
    "groups",
    "userextras.authentication.k8s.io",
    "uids.authentication.k8s.io",
    "signers.certificates.k8s.io",
    "nodes/metrics",
    "nodes/stats",
    "nodes/log",
    "nodes/spec",
    "nodes/checkpoint",
    "nodes/configz",
    "nodes/healthz",
    "nodes/pods",
    "nodes/statusz",
    "nodes/flagz",
];

/// Handlers of a kubelet that its `/statusz` does not list.
/// Source: `InstallAuthRequiredHandlers` and `InstallAuthNotRequiredHandlers` of Kubernetes' `pkg/kubelet/server`, 1.37.
const MORE_HANDLERS: [&str; 21] = [
    "/pods",
    "/allocatedPods",
    "/runningpods/",
    "/stats/summary",
    "/checkpoint/default/pod/container",
    "/run/default/pod/container",
    "/run/default/pod/uid/container",
    "/exec/default/pod/container",
    "/exec/default/pod/uid/container",
    "/attach/default/pod/container",
    "/attach/default/pod/uid/container",
    "/portForward/default/pod",
    "/portForward/default/pod/uid",
    "/containerLogs/default/pod/container",
    "/logs/",
    "/configz",
    "/statusz",
    "/flagz",
    "/debug/pprof/",
    "/debug/flags/v",
    "/",
];

/// Below these, the API server says what it serves, a path a group.
const DISCOVERY: [&str; 2] = ["/apis/", "/openapi/"];

/// What is asked about a resource.
struct Resource {
    /// As in `kubectl auth can-i`: `nodes/proxy`, `leases.coordination.k8s.io`.
    name: String,
    is_namespaced: bool,
    verbs: BTreeSet<String>,
}

impl Resource {
    /// Group, resource and subresource.
    fn parts(&self) -> [&str; 3] {
        let (whole, subresource) = self.name.split_once('/').unwrap_or((&self.name, ""));
        let (resource, group) = whole.split_once('.').unwrap_or((whole, ""));
        [group, resource, subresource]
    }

    /// As rules name it, whatever its group.
    fn in_rules(&self) -> String {
        let [_, resource, subresource] = self.parts();
        if subresource.is_empty() { resource.to_owned() } else { format!("{resource}/{subresource}") }
    }
}

/// An account that has joined with some arguments.
struct Subject {
    /// The arguments, as the table has them.
    label: String,
    namespace: String,
    policy: String,
    token: String,
}

/// A right, without its verb. The table has one line of them for each account.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Object {
    /// Empty for a path of the API server.
    resource: String,
    name: String,
    namespace: String,
}

type Rights = BTreeMap<Object, BTreeSet<String>>;

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resource, name, namespace } = self;
        let words: Vec<_> = [resource, name].into_iter().filter(|word| !word.is_empty()).collect();
        write!(f, "{}", words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" "))?;
        if namespace.is_empty() { Ok(()) } else { write!(f, " in {namespace}") }
    }
}

fn every_right_of_every_token_stands_in_security_md() {
    // Without a kube-proxy, no address of a Service leads anywhere.
    let spec = || {
        ClusterSpec::new("rights")
            .nodes(1)
            .kubelet_certificates(KubeletCertificates::Cluster)
            .api_server_flag("--enable-aggregator-routing=true")
    };
    let cluster = testbed::special("rights", spec);
    let _server = aggregated_api(cluster, GROUP, PAGES);
    let workloads = Workloads::start(cluster, "rights");
    let (resources, paths) = (resources(cluster), paths_of_the_api_server(cluster));
    let subjects = subjects(cluster, &workloads);
    let ours = |rights: &Subject| rights_of(cluster, rights, &workloads.namespace, &resources, &paths);
    let bare = bare(cluster);
    let of_everybody = ours(&bare);
    let rights: Vec<Rights> = thread::scope(|scope| {
        let asked: Vec<_> = subjects.iter().map(|subject| scope.spawn(|| ours(subject))).collect();
        asked.into_iter().map(|thread| thread.join().expect("its rights")).collect()
    });

    let mut table = format!(
        "Of {} resources and {} paths of the API server, a token may:\n\n| `join` | rights |\n|---|---|\n",
        resources.len(),
        paths.len()
    );
    let _ = writeln!(table, "| every service account | {} |", in_words(of_everybody.iter()));
    for (subject, rights) in subjects.iter().zip(&rights) {
        let added = rights.iter().filter(|(object, verbs)| of_everybody.get(object) != Some(verbs));
        let _ = writeln!(table, "| `{}` | {} |", subject.label, in_words(added));
    }
    let _ = write!(table, "\n{}", handlers(cluster, &subjects));
    stands_in_security_md(&table);
}

fn in_words<'a>(rights: impl Iterator<Item = (&'a Object, &'a BTreeSet<String>)>) -> String {
    let mut words: Vec<String> = rights
        .map(|(object, verbs)| {
            let verbs: Vec<&str> = verbs.iter().map(String::as_str).collect();
            let below = DISCOVERY.iter().find(|path| object.resource.is_empty() && object.name.starts_with(*path));
            let object = below.map_or_else(|| object.to_string(), |path| format!("`{path}…`"));
            format!("{} {object}", verbs.join(", "))
        })
        .collect();
    words.dedup();
    words.join("; ")
}

/// Compares, or with `UPDATE=1` replaces, what stands between the two marks.
fn stands_in_security_md(table: &str) {
    const BEGIN: &str = "<!-- made by rights_table -->\n\n";
    const END: &str = "\n<!-- end -->";
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/SECURITY.md");
    let text = fs::read_to_string(file).expect("SECURITY.md");
    let (before, rest) = text.split_once(BEGIN).expect("the first mark");
    let (written, after) = rest.split_once(END).expect("the second mark");
    if env::var_os("UPDATE").is_some() {
        fs::write(file, [before, BEGIN, table, END, after].concat()).expect("SECURITY.md");
    } else {
        assert_eq!(written, table, "SECURITY.md is not fresh: UPDATE=1 cargo test --test e2e -- rights_table");
    }
}

fn posted(cluster: &Cluster, path: &str, object: &Value) -> Value {
    let answer = cluster.api().post(path, object).expect("the API server answers");
    answer.success(path).expect("made").json()
}

/// Everything in the discovery of the API server, the aggregated API included, and what discovery lacks.
fn resources(cluster: &Cluster) -> Vec<Resource> {
    let get = |path: &str| cluster.api().get(path).expect("the API server answers").success(path).expect("read").json();
    let mut found: BTreeMap<String, Resource> = BTreeMap::new();
    let mut add = |name: String, is_namespaced, verbs: BTreeSet<String>| {
        let resource = found.entry(name.clone()).or_insert(Resource { name, is_namespaced, verbs: BTreeSet::new() });
        resource.verbs.extend(verbs);
    };
    let groups = get("/apis");
    let versions = groups["groups"].as_array().into_iter().flatten().flat_map(|group| {
        let versions = group["versions"].as_array().cloned().unwrap_or_default();
        versions.into_iter().map(|version| (text(&group["name"]), format!("/apis/{}", text(&version["groupVersion"]))))
    });
    for (group, path) in versions.chain([(String::new(), "/api/v1".to_owned())]) {
        for resource in get(&path)["resources"].as_array().into_iter().flatten() {
            let name = of_group(&text(&resource["name"]), &group);
            let verbs = resource["verbs"].as_array().into_iter().flatten().map(text);
            let more = MORE_VERBS.iter().filter(|(_, of)| of.contains(&name.as_str()));
            let verbs = verbs.chain(more.map(|(verb, _)| (*verb).to_owned())).collect();
            add(name, resource["namespaced"] == json!(true), verbs);
        }
    }
    assert!(found.contains_key(&format!("kcm.{GROUP}")), "the aggregated API is discovered");
    let verbs = ["get", "list", "create", "update", "impersonate", "sign", "approve"].map(str::to_owned);
    for name in MORE_RESOURCES {
        found.entry(name.to_owned()).or_insert(Resource {
            name: name.to_owned(),
            is_namespaced: false,
            verbs: verbs.clone().into(),
        });
    }
    found.into_values().collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// `deployments/scale` of `apps` as `deployments.apps/scale`, so that a group follows its resource.
fn of_group(resource: &str, group: &str) -> String {
    match (resource.split_once('/'), group) {
        (_, "") => resource.to_owned(),
        (None, _) => format!("{resource}.{group}"),
        (Some((resource, sub)), _) => format!("{resource}.{group}/{sub}"),
    }
}

fn paths_of_the_api_server(cluster: &Cluster) -> Vec<String> {
    let root = cluster.api().get("/").expect("the API server answers").json();
    let mut paths: Vec<String> = root["paths"].as_array().into_iter().flatten().map(text).collect();
    assert!(paths.iter().any(|path| path == "/metrics"), "{paths:?}");
    paths.extend(["/", "/logs/", "/debug/pprof/", "/debug/flags/v"].map(str::to_owned));
    paths.sort();
    paths.dedup();
    paths
}

fn subjects(cluster: &'static Cluster, workloads: &Workloads) -> Vec<Subject> {
    let (space, port) = (&workloads.namespace, workloads.node_exporter_port.to_string());
    let arguments = [
        "--jobs=kubelet",
        "--jobs=cadvisor",
        "--jobs=resource",
        "--jobs=probes",
        "--jobs=slis",
        "--jobs=apiserver",
        "--jobs=kube-state-metrics=NAMESPACE/kube-state-metrics:http",
        "--jobs=service=NAMESPACE/https:secure:https/m/x",
        "--jobs=node-exporter=NAMESPACE:PORT",
        "--jobs=pods=NAMESPACE",
        "--jobs=federate=NAMESPACE/prometheus-k8s:web",
        "--jobs=aggregated=metrics.rights.example/v1/kcm/container/metrics",
        "--fence=off",
        PINNED,
        DIRECT,
        "--self-renew",
        "--long-lived-token",
    ];
    let numbered: Vec<_> = (1..).zip(arguments).collect();
    // Each brings two policies, which the API server compiles beside everything else.
    let joined = numbered.chunks(4).flat_map(|some| {
        thread::scope(|scope| {
            let joining: Vec<_> = some
                .iter()
                .map(|&(number, label)| {
                    let argument = label.replace("NAMESPACE", space).replace("PORT", &port);
                    scope.spawn(move || {
                        let account = Account::new(cluster, &format!("rights-{number}"));
                        let token = account.join(&[&argument]).token();
                        let policy = account.cluster_scoped_name();
                        Subject { label: label.to_owned(), namespace: account.namespace, policy, token }
                    })
                })
                .collect();
            joining.into_iter().map(|thread| thread.join().expect("it joins")).collect::<Vec<_>>()
        })
    });
    joined.collect()
}

const PINNED: &str = "--pin-nodes";
const DIRECT: &str = "--route=kubelet";

/// A service account to which nobody has granted anything.
fn bare(cluster: &Cluster) -> Subject {
    namespace(cluster, "e2e-bare");
    let accounts = "/api/v1/namespaces/e2e-bare/serviceaccounts";
    posted(cluster, accounts, &json!({ "metadata": { "name": "bare" } }));
    let token = posted(cluster, &format!("{accounts}/bare/token"), &json!({ "spec": {} }));
    let token = text(&token["status"]["token"]);
    Subject { label: String::new(), namespace: "e2e-bare".to_owned(), policy: String::new(), token }
}

fn rights_of(cluster: &Cluster, subject: &Subject, space: &str, resources: &[Resource], paths: &[String]) -> Rights {
    let mut session = Session::new(cluster, &subject.token);
    let mut ask = |attributes: Value| {
        let review =
            json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": attributes });
        let answer = session.post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &review);
        answer["status"]["allowed"].as_bool().unwrap_or_else(|| panic!("{answer}"))
    };
    let mut rights = Rights::new();
    for path in paths {
        for verb in ["get", "post", "put", "delete"] {
            if ask(json!({ "nonResourceAttributes": { "path": path, "verb": verb } })) {
                let object = Object { resource: String::new(), name: path.clone(), namespace: String::new() };
                rights.entry(object).or_default().insert(verb.to_owned());
            }
        }
    }
    let names = names_in_rules(cluster, subject, space);
    let asked_about: BTreeSet<String> = resources.iter().map(Resource::in_rules).collect();
    let unknown: Vec<&String> = names.keys().filter(|resource| !asked_about.contains(*resource)).collect();
    assert!(unknown.is_empty(), "{}: rules about what is not asked about: {unknown:?}", subject.label);
    for asked in resources {
        let Resource { name: resource, is_namespaced, verbs } = asked;
        let [group, plain, subresource] = asked.parts();
        let mut spaces = vec![""];
        if *is_namespaced {
            spaces.extend([space, &subject.namespace]);
        }
        let these = names.get(&asked.in_rules()).into_iter().flatten();
        for name in [""].into_iter().chain(these.map(String::as_str)) {
            for namespace in &spaces {
                for verb in verbs {
                    let attributes = json!({
                        "group": group, "resource": plain, "subresource": subresource, "verb": verb, "name": name,
                        "namespace": namespace,
                    });
                    let object = |name: &str, namespace: &str| Object {
                        resource: resource.clone(),
                        name: name.to_owned(),
                        namespace: namespace.to_owned(),
                    };
                    let is_covered = |rights: &Rights, object| {
                        rights.get(&object).is_some_and(|verbs: &BTreeSet<String>| verbs.contains(verb))
                    };
                    // Whoever may do it to all may do it to one.
                    if is_covered(&rights, object("", ""))
                        || is_covered(&rights, object("", namespace))
                        || !ask(json!({ "resourceAttributes": attributes }))
                    {
                        continue;
                    }
                    rights.entry(object(name, namespace)).or_default().insert(verb.clone());
                }
            }
        }
    }
    rights.into_iter().map(|(object, verbs)| (without_own_names(object, subject, space), verbs)).collect()
}

/// The names of this run as the table has them.
fn without_own_names(object: Object, subject: &Subject, space: &str) -> Object {
    let namespace = object.namespace.replace(space, "NAMESPACE").replace(&subject.namespace, "its own namespace");
    let is_node = object.resource.starts_with("nodes") && !object.name.is_empty();
    let name = if is_node { "NODE:PORT".to_owned() } else { object.name };
    Object { resource: object.resource, name, namespace }
}

/// The names of objects for which the account has rights, by resource.
fn names_in_rules(cluster: &Cluster, subject: &Subject, space: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut session = Session::new(cluster, &subject.token);
    for namespace in [space, &subject.namespace] {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": namespace },
        });
        let answer = session.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &review);
        for rule in answer["status"]["resourceRules"].as_array().unwrap_or_else(|| panic!("{answer}")) {
            for resource in rule["resources"].as_array().into_iter().flatten() {
                let objects = rule["resourceNames"].as_array().into_iter().flatten().map(text);
                names.entry(text(resource)).or_default().extend(objects);
            }
        }
    }
    names
}

/// The table of the kubelet's handlers.
fn handlers(cluster: &Cluster, subjects: &[Subject]) -> String {
    let node = &cluster.node_names()[0];
    let administrator = administrator(cluster, "rights");
    let as_administrator = |path: &str| raw::request_at_kubelet(cluster, 0, &administrator, path).1;
    let statusz = as_administrator("/statusz");
    // What stands between a name and its value is another one each time, so that programs do not read it.
    let listed = statusz.lines().find_map(|line| line.strip_prefix("Paths")).unwrap_or_else(|| panic!("{statusz}"));
    let mut paths: BTreeSet<&str> = listed.split_whitespace().filter(|word| word.starts_with('/')).collect();
    assert!(paths.contains("/metrics"), "{paths:?}");
    paths.extend(["/metrics/cadvisor", "/metrics/resource", "/metrics/probes", "/metrics/slis"]);
    paths.extend(MORE_HANDLERS);
    // Handlers of features that are off.
    paths.retain(|path| as_administrator(path) != "404 page not found\n");
    let of = |label: &str| subjects.iter().find(|subject| subject.label == label).expect("it has joined");
    let port = cluster.kubelet_url(0).rsplit_once(':').expect("a port").1.to_owned();
    let through = |subject: &Subject, node: &str, path: &str| {
        let path = format!("/api/v1/nodes/{node}/proxy{path}");
        let (code, body) = raw::request(cluster, &subject.token, "GET", &path);
        match code {
            422 if body.contains(&format!("ValidatingAdmissionPolicy '{}'", subject.policy)) => "fence",
            403 if body.contains("\"reason\":\"Forbidden\"") => "RBAC",
            _ => "reached",
        }
    };
    let directly = |subject: &Subject, path: &str| {
        let (code, _) = raw::request_at_kubelet(cluster, 0, &subject.token, path);
        if [401, 403].contains(&code) { "403" } else { "reached" }
    };
    let by_job = ["kubelet", "cadvisor", "resource", "probes", "slis"].map(|job| of(&format!("--jobs={job}")));
    let mut table = String::from(
        "The paths of a kubelet, through the API server with the token of `--jobs=…`, and at the kubelet's\n\
         own port:\n\n\
         | path | kubelet | cadvisor | resource | probes | slis | `--pin-nodes` | `--route=kubelet` | `--fence=off` \
         | own port: nodes/proxy | `--pin-nodes` | `--route=kubelet` | `--jobs=pods=…` |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for path in paths {
        let mut cells: Vec<&str> = by_job.iter().map(|subject| through(subject, node, path)).collect();
        cells.push(through(of(PINNED), &format!("{node}:{port}"), path));
        cells.extend([DIRECT, "--fence=off"].map(|label| through(of(label), node, path)));
        cells
            .extend(["--jobs=kubelet", PINNED, DIRECT, "--jobs=pods=NAMESPACE"].map(|label| directly(of(label), path)));
        let _ = writeln!(table, "| `{path}` | {} |", cells.join(" | "));
    }
    table
}
