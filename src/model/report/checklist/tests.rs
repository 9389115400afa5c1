use super::*;
use crate::error::{Error, Reason};
use crate::model::{
    access::{Access, CertificateAuthority, Origin},
    account::{
        Account,
        desired::{Desired, Fence},
        neighbours::{Neighbours, OthersBinding},
    },
    job::{Job, ScrapeTiming, limits::ScrapeLimits},
    kube::{
        object::{Existing, Kind, ObjectRef},
        permission::{Lacking, Permission, Permissions},
    },
    plan::{JoinPlan, request::JoinRequest},
    report::{
        PageReport, ProofReport,
        status::{
            ClusterFacts, ClusterStatus, Facts, FenceSeen, Recorded,
            tests::{facts, job},
        },
    },
    store::identity::Identity,
    text::duration::Seconds,
    token::bound_secret::BoundSecret,
};
use jiff::Timestamp;

fn request(fence: Fence) -> JoinRequest {
    JoinRequest {
        cluster: "east".parse().unwrap(),
        account: Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() },
        jobs: "default".parse().unwrap(),
        federate_match: Vec::new(),
        fence,
        pace: ScrapeTiming { interval: Seconds(60), timeout: Seconds(30) },
        limits: ScrapeLimits::default(),
        fallback: None,
        keep_all_metrics: false,
        long_lived: false,
        self_renew: false,
        duration: Seconds(604_800),
    }
}

fn desired() -> Desired {
    request(Fence::Required).desired()
}

fn access(url: &str) -> Access {
    let ca = CertificateAuthority { certificates: vec![], origin: "the kubeconfig".into() };
    Access {
        url: url.parse().unwrap(),
        origin: Origin::Kubeconfig,
        ca: Some(ca),
        tls_server_name: None,
        proxy: None,
        kubelet_ca: None,
    }
}

fn error(reason: Reason, message: &str) -> Error {
    Error::new(reason, message).hint(format!("what to do about {message}"))
}

/// Facts of a join without problems.
fn well(request: &JoinRequest) -> JoinFacts<'_> {
    let plan = JoinPlan::new(&request.desired(), &Existing::new()).unwrap();
    JoinFacts {
        request,
        clock: None,
        version: Ok("v1.37.2".into()),
        uid: Ok("7d0f".into()),
        unread: Vec::new(),
        nodes: Ok(Some(NodeFacts { total: 12, seen: 10, ready: 10 })),
        absent: Vec::new(),
        secrets: Ok(Vec::new()),
        left_fence: Ok(()),
        unopened: Vec::new(),
        reached: Ok(Reach::Proven("address proven".into())),
        label: Ok(()),
        clashes: Vec::new(),
        spared: Ok(()),
        admitted: Ok(()),
        escalation: None,
        permissions: Ok(Permissions { needed: 16, lacking: None }),
        destinations: vec![DestinationFacts::Directory {
            name: "/etc/one".into(),
            edits_main: Ok(false),
            files: Ok(()),
        }],
        plan: Ok(plan),
    }
}

fn shown(items: &[Item]) -> String {
    let line = |Item { name, status, message, hints, .. }: &Item| {
        let name = serde_json::to_value(name).unwrap();
        let name = name.as_str().unwrap();
        let hints: String = hints.iter().map(|hint| format!("    hint: {hint}\n")).collect();
        format!("{status:?} {name}: {message}\n{hints}")
    };
    items.iter().map(line).collect()
}

#[test]
fn checklist_of_a_join_passes() {
    let request = request(Fence::Required);
    let checklist = well(&request).checklist();
    assert_eq!(checklist.verdict(), Ok(()));
    insta::assert_snapshot!(shown(&checklist.0));
}

#[test]
fn checklist_names_every_obstacle_and_fails_with_the_first() {
    let request = request(Fence::Required);
    let permission = |verb| Permission {
        verb,
        group: "",
        resource: "secrets",
        subresource: None,
        namespace: Some("prom-federate".into()),
        name: None,
    };
    let all = error(Reason::Forbidden, "all").without_hints().hint("of the first").hint("of all");
    let lacking =
        Lacking { who: "jane".into(), missing: vec![permission("create"), permission("delete")], error: all.clone() };
    let facts = |answers: bool| JoinFacts {
        version: if answers { Ok("v1.29.0".into()) } else { Err(error(Reason::Timeout, "version")) },
        uid: Err(error(Reason::Forbidden, "uid")),
        unread: vec![
            (Kind::ValidatingAdmissionPolicy, error(Reason::PolicyApiMissing, "policy")),
            (Kind::ClusterRole, error(Reason::Forbidden, "role")),
        ],
        nodes: Ok(Some(NodeFacts { total: 2, seen: 2, ready: 0 })),
        secrets: Err(error(Reason::Forbidden, "secrets")),
        left_fence: Err(error(Reason::Forbidden, "left fence")),
        unopened: vec![error(Reason::DestinationUnusable, "destination")],
        reached: Err(error(Reason::CertificateNameMismatch, "address")),
        label: Err(error(Reason::ClusterKnown, "label")),
        clashes: vec![error(Reason::NotOurs, "one object"), error(Reason::BeingDeleted, "another")],
        spared: Err(error(Reason::AccountInUse, "account")),
        admitted: Err(error(Reason::FenceStands, "fence")),
        escalation: Some(error(Reason::EscalationForbidden, "escalation")),
        permissions: Ok(Permissions { needed: 16, lacking: Some(lacking.clone()) }),
        destinations: vec![DestinationFacts::Directory {
            name: "/etc/one".into(),
            edits_main: Err(error(Reason::DestinationUnusable, "main")),
            files: Err(error(Reason::NotReadable, "files")),
        }],
        ..well(&request)
    };
    assert_eq!(facts(false).checklist().verdict(), Err(error(Reason::Timeout, "version")));
    assert_eq!(facts(true).checklist().verdict(), Err(error(Reason::Forbidden, "uid")));
    let only =
        JoinFacts { permissions: Ok(Permissions { needed: 16, lacking: Some(lacking.clone()) }), ..well(&request) };
    assert_eq!(only.checklist().verdict(), Err(all), "one error with all permissions, as in join");
    insta::assert_snapshot!(shown(&facts(true).checklist().0));
}

#[test]
fn checklist_distinguishes_own_and_adopted_objects() {
    let request = request(Fence::Off);
    let mut existing = Existing::new();
    // The role as `manifests` prints it, applied by Git.
    let role = request.desired().grants.remove(0).role;
    let mut lent = serde_json::Value::clone(&role.manifest);
    lent["metadata"]["labels"]["app.kubernetes.io/managed-by"].take();
    existing.insert(role.reference, lent);
    let facts = JoinFacts { plan: JoinPlan::new(&request.desired(), &existing), ..well(&request) };
    insta::assert_snapshot!(shown(&facts.checklist().0));
}

#[test]
fn loopback_address_is_reported_only_for_printed_jobs() {
    let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    let names = |url, printed| address(&access(url), printed, now).iter().map(|item| item.name).collect::<Vec<_>>();
    assert_eq!(names("https://127.0.0.1:6443", true), [CheckName::Loopback]);
    assert_eq!(names("https://127.0.0.1:6443", false), [], "a Prometheus of this host may use it");
    assert_eq!(names("https://10.0.0.5:6443", true), []);
}

#[test]
fn load_is_estimated_and_warns_about_many_nodes() {
    let measured = Measured { node: "n".into(), bytes: 1_250_000, samples: 12_000, nodes_read: 1, without: Vec::new() };
    let items = [1, 100, 101, 5_000].map(|nodes| load(nodes, &measured, Seconds(60)));
    let small = load(2, &Measured { bytes: 900, samples: 0, ..measured.clone() }, Seconds(0));
    insta::assert_snapshot!(shown(&items.into_iter().chain([small]).collect::<Vec<_>>()));
}

#[test]
fn kubelet_stops_a_join_only_if_it_refuses_the_api_server() {
    let status = |reason| kubelet(&Err(error(reason, "it")))[0].status;
    assert_eq!(status(Reason::KubeletForbidden), Status::Fail);
    assert_eq!(status(Reason::ProofFailed), Status::Warn);
    assert_eq!(token_request(&Ok(false)).status, Status::Fail);
    assert_eq!(token_request(&Err(error(Reason::Forbidden, "it"))).status, Status::Warn);
}

#[test]
fn named_prometheus_must_answer() {
    let facts = ReaderFacts {
        name: "/etc/one".into(),
        reader: "Prometheus 3.16.0".into(),
        unseen: None,
        named_by: None,
        checker: Some("promtool"),
        is_collector: false,
        reload: Some("HTTP"),
        load: ReaderLoad { clusters: 1, series: Some(1_200), open_files: Some(20), most_files: Some(1_024) },
    };
    let mut items = reader(&facts);
    let silent = ReaderFacts { unseen: Some("no answer".into()), checker: None, reload: None, ..facts };
    items.extend(reader(&silent));
    items.extend(reader(&ReaderFacts { named_by: Some("--prometheus-url"), ..silent }).into_iter().take(1));
    insta::assert_snapshot!(shown(&items));
}

#[test]
fn load_of_a_reader_warns_before_it_is_too_much() {
    let files =
        |open| ReaderLoad { clusters: 400, open_files: Some(open), most_files: Some(1_000), ..ReaderLoad::default() };
    let loads = [
        ReaderLoad { clusters: 1_000, series: Some(10_000_000), ..files(800) },
        files(801),
        ReaderLoad { clusters: 1_001, ..ReaderLoad::default() },
        ReaderLoad { series: Some(10_000_001), ..ReaderLoad::default() },
    ];
    insta::assert_snapshot!(shown(&loads.map(|load| capacity("/etc/one", load))));
}

/// Facts of a healthy joined cluster.
fn token_facts() -> TokenFacts {
    let page = |job: Job| PageReport { job: job.to_string(), samples: 231 };
    TokenFacts {
        access: access("https://10.0.0.5:6443"),
        reached: Ok("address proven".into()),
        alive: Some(Ok(())),
        pages: Some(Ok(ProofReport {
            nodes: 2,
            node: Some("n".into()),
            nodes_read: 2,
            pages: vec![page(Job::Cadvisor), page(Job::Kubelet)],
            ..ProofReport::default()
        })),
        refused: Some(Ok(6)),
        dangers: Some(Ok(Vec::new())),
        excess: Some(Ok(Vec::new())),
    }
}

fn admin_facts() -> AdminFacts {
    AdminFacts {
        drift: Ok(Vec::new()),
        bindings: Ok(Vec::new()),
        others: vec![BoundSecret {
            name: "prometheus-x".into(),
            uid: "u".into(),
            destination: Identity::directory("h", "/etc/two", "k2", None),
            expires: None,
            terms: None,
        }],
        measured: Ok(Some((
            2,
            Measured { node: "n".into(), bytes: 1000, samples: 10, nodes_read: 2, without: Vec::new() },
        ))),
        namespace: namespace(&desired().account, true, &(Neighbours::default(), None)),
    }
}

fn of_joined(token: &TokenFacts, admin: &AdminFacts) -> String {
    let mut items = token.items("AGAIN", "RENEW", Timestamp::UNIX_EPOCH);
    items.extend(admin.items("AGAIN", Seconds(60)));
    shown(&items)
}

#[test]
fn checklist_of_a_healthy_cluster() {
    insta::assert_snapshot!(of_joined(&token_facts(), &admin_facts()));
}

#[test]
fn checklist_of_a_cluster_with_every_problem() {
    let binding = |kind, namespace: Option<&str>, name: &str| Binding {
        reference: ObjectRef { kind, namespace: namespace.map(str::to_owned), name: name.to_owned() },
        role: "ClusterRole/view".into(),
    };
    let token = TokenFacts {
        pages: Some(Err(error(Reason::ProofFailed, "page answers 403 to the new token"))),
        refused: Some(Err(error(Reason::FenceNotEnforced, "page answers 200 to the new token"))),
        dangers: Some(Ok(dangers().into_iter().skip(3).take(1).collect())),
        excess: Some(Ok(vec!["get,list pods".into()])),
        ..token_facts()
    };
    let role = desired().grants.remove(0).role.reference;
    let neighbours = Neighbours {
        pod: Some("web".into()),
        posing: vec!["one".into(), "two".into()],
        token_secrets: vec!["old $(x)".into()],
        bindings: vec![OthersBinding {
            name: "dev".into(),
            subjects: vec!["Group dev".into()],
            role: "ClusterRole/edit".into(),
        }],
    };
    let admin = AdminFacts {
        drift: Ok(vec![
            Drift { reference: role.clone(), paths: vec!["rules".into()] },
            Drift { reference: role, paths: Vec::new() },
        ]),
        bindings: Ok(vec![
            binding(Kind::ClusterRoleBinding, None, "extra $(x)"),
            binding(Kind::RoleBinding, Some("kube-system"), "extra"),
        ]),
        others: Vec::new(),
        measured: Err(error(Reason::ProofFailed, "a page")),
        namespace: namespace(&desired().account, false, &(neighbours, Some(error(Reason::Forbidden, "no pods")))),
    };
    insta::assert_snapshot!(of_joined(&token, &admin));
}

#[test]
fn refused_token_skips_the_other_checks() {
    let facts = TokenFacts {
        alive: Some(Err(error(Reason::AccountRefused, "401"))),
        pages: None,
        refused: None,
        dangers: None,
        excess: None,
        ..token_facts()
    };
    let items = facts.items("AGAIN", "RENEW", Timestamp::UNIX_EPOCH);
    assert_eq!(
        items.iter().map(|item| (item.name, item.status)).collect::<Vec<_>>(),
        [(CheckName::Address, Status::Pass), (CheckName::Token, Status::Fail),]
    );
    assert_eq!(items[1].hints.last().map(String::as_str), Some("RENEW"));
    let unknown = TokenFacts { dangers: Some(Err(error(Reason::ApiServerError, "it"))), ..token_facts() };
    let rights: Vec<Item> = unknown.items("", "", Timestamp::UNIX_EPOCH);
    let rights: Vec<Status> =
        rights.iter().filter(|item| item.name == CheckName::Rights).map(|item| item.status).collect();
    assert_eq!(rights, [Status::Warn], "an unknown fact does not pass");
}

#[test]
fn checklist_contains_the_verdict_of_status() {
    let now = "2026-11-24T12:00:00Z".parse().unwrap();
    let judged = |change: &dyn Fn(&mut Facts)| {
        let mut east = facts("east");
        change(&mut east);
        of_status(&ClusterStatus::new(&east, now))
    };
    let count = |items: &[Item], status| items.iter().filter(|item| item.status == status).count();
    let items = judged(&|_| {});
    assert_eq!((count(&items, Status::Warn), count(&items, Status::Fail)), (0, 0), "{}", shown(&items));
    let names: Vec<CheckName> = items.iter().map(|item| item.name).collect();
    assert_eq!(
        names,
        [CheckName::TokenLife, CheckName::BoundSecrets, CheckName::Fence, CheckName::Guard, CheckName::Scraped]
    );
    let wrong = judged(&|facts| {
        if let Ok(ClusterFacts { fence, .. }) = &mut facts.in_cluster {
            *fence = Ok(FenceSeen::Absent);
        }
        if let Ok(seen) = &mut facts.in_prometheus {
            seen.jobs = vec![job(Job::Cadvisor, 0, &["down"])];
        }
    });
    assert_eq!(
        wrong.iter().filter(|item| item.status == Status::Fail).map(|item| item.name).collect::<Vec<_>>(),
        [CheckName::Scraped, CheckName::Fence]
    );
    assert!(
        !wrong.iter().any(|item| item.name == CheckName::Scraped && item.status == Status::Pass),
        "a failed check does not pass too"
    );
    let unseen = judged(&|facts| facts.in_cluster = Err("no kubeconfig".into()));
    assert!(
        has(&unseen, CheckName::Cluster) && !has(&unseen, CheckName::BoundSecrets),
        "a source that was not seen does not pass"
    );
    let nothing = judged(&|facts| facts.recorded = Recorded::NoJobs);
    assert_eq!(nothing.iter().map(|item| item.name).collect::<Vec<_>>(), [CheckName::Record]);
}

#[test]
fn report_verdict_names_the_count_and_the_first_failure() {
    let check =
        |items| ClusterCheck { cluster: "east".into(), destination: None, api_server: None, items: Checklist(items) };
    let report =
        CheckReport::new(vec![check(vec![Item::pass(CheckName::Address, "a"), Item::warn(CheckName::Load, "b")])]);
    assert_eq!(report.verdict(), Ok(()));
    let report = CheckReport::new(vec![
        check(vec![Item::pass(CheckName::Address, "a")]),
        check(vec![Item::warn(CheckName::Load, "b"), Item::fail(CheckName::Nodes, &error(Reason::NoNodes, "c"))]),
    ]);
    let verdict = report.verdict().unwrap_err();
    assert_eq!((verdict.reason, verdict.to_string().as_str()), (Reason::CheckFailed, "1 of 3 checks failed"));
    assert_eq!(verdict.hints, ["east: what to do about c"]);
}
