use super::*;
use crate::error::{Error, Reason};
use crate::model::{
    access::Given,
    job::{Job, Jobs, route::Node},
    kube::object::ObjectRef,
    report::Line,
    store::{
        identity::Identity,
        record::{self, Record, SecretRecord, StoredCas},
        terms::{Terms, Unconfirmed},
    },
    text::duration::Seconds,
    token::{TokenLife, bound_secret::BoundSecret, clock::ClockLead, expiry},
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

/// A record whose token lives for 24 hours, from 9 o'clock.
pub(crate) fn record(cluster: &str) -> Record {
    Record {
        cluster: cluster.parse().unwrap(),
        context: format!("admin@{cluster}"),
        token: TokenLife { issued: at("2026-11-24T09:00:00Z"), expires: at("2026-11-25T09:00:00Z") },
        replaces: Vec::new(),
        ..record::tests::record()
    }
}

pub(crate) fn job(job: Job, up: usize, down: &[&str]) -> JobFacts {
    let down = down.iter().enumerate();
    let down = down.map(|(index, error)| DownTarget { instance: format!("node-{index}"), error: (*error).to_owned() });
    JobFacts { job, is_known: true, up, down: down.collect(), pending: 0 }
}

/// Facts of a healthy cluster.
pub(crate) fn facts(cluster: &str) -> Facts {
    Facts {
        cluster: cluster.parse().unwrap(),
        destination: "/etc/prometheus".into(),
        write: crate::cli::next,
        recorded: Recorded::Record(Box::new(record(cluster))),
        leftovers: Vec::new(),
        refused: Vec::new(),
        clock: Some(ClockLead::default()),
        in_cluster: Ok(ClusterFacts {
            nodes: Ok(Some(2)),
            fence: Ok(FenceSeen::Present),
            guard: Ok(Some(FenceSeen::Present)),
            renewal: Ok(None),
            pins: Ok(None),
            secrets: Ok(SecretFacts { in_use_exists: true, leftovers: Vec::new() }),
            terms: Some(Ok(())),
        }),
        in_prometheus: Ok(PrometheusFacts {
            is_included: true,
            url: "http://localhost:9090".into(),
            jobs: vec![job(Job::Cadvisor, 2, &[]), job(Job::Kubelet, 2, &[])],
            usage: Usage {
                cpu_cores: Some(1.2504),
                cpu_capacity_cores: Some(4.0),
                memory_bytes: Some(3_435_973_837),
                memory_capacity_bytes: Some(16 << 30),
            },
        }),
    }
}

#[test]
fn expiry_is_judged_by_the_clock_of_the_api_server() {
    let [before, after] = ["2026-11-25T08:00:00Z", "2026-11-25T10:00:00Z"].map(at);
    let [yesterday, tomorrow] = [-24, 24].map(|hours| ClockLead::new(after + SignedDuration::from_hours(hours), after));
    let agrees = Some(ClockLead::default());
    for (what, clock, now, up, state, reasons) in [
        ("all agree", agrees, before, 2, TokenState::Late, &[ProblemReason::TokenNotRenewed][..]),
        ("all agree", agrees, after, 2, TokenState::Expired, &[ProblemReason::TokenExpired]),
        ("this clock is ahead", Some(yesterday), after, 2, TokenState::Fresh, &[ProblemReason::ClocksDiffer]),
        (
            "this clock is behind",
            Some(tomorrow),
            before,
            2,
            TokenState::Expired,
            &[ProblemReason::TokenExpired, ProblemReason::ClocksDiffer],
        ),
        (
            "the API server does not answer, Prometheus scrapes",
            None,
            after,
            2,
            TokenState::Late,
            &[ProblemReason::ClocksDiffer],
        ),
        ("nothing answers", None, after, 0, TokenState::Expired, &[ProblemReason::TokenExpired]),
    ] {
        let mut east = Facts { clock, ..facts("east") };
        jobs(&mut east, vec![JobFacts { pending: 1, ..job(Job::Kubelet, up, &[]) }]);
        let status = ClusterStatus::new(&east, now);
        assert_eq!(status.token.as_ref().unwrap().state, state, "{what}");
        let seen: Vec<ProblemReason> = status.problems.iter().map(|problem| problem.reason).collect();
        assert_eq!(seen, reasons, "{what}");
    }
}

fn seen(facts: &mut Facts) -> &mut ClusterFacts {
    facts.in_cluster.as_mut().unwrap()
}

fn jobs(facts: &mut Facts, jobs: Vec<JobFacts>) {
    facts.in_prometheus.as_mut().unwrap().jobs = jobs;
}

fn change(facts: &mut Facts, change: impl FnOnce(&mut Record)) {
    if let Recorded::Record(record) = &mut facts.recorded {
        change(record);
    }
}

/// `STATUS: reasons`, with `!` if the cluster needs attention, at 12 o'clock: nothing is due.
fn judged(damage: impl FnOnce(&mut Facts)) -> String {
    judged_at("2026-11-24T12:00:00Z", damage)
}

fn judged_at(now: &str, damage: impl FnOnce(&mut Facts)) -> String {
    let mut facts = facts("east");
    damage(&mut facts);
    let status = ClusterStatus::new(&facts, at(now));
    let reasons: Vec<String> = status.problems.iter().map(|problem| format!("{:?}", problem.reason)).collect();
    let broken = if status.needs_attention { "!" } else { "" };
    format!("{}{broken}: {}", status.status, reasons.join(" ")).trim_end().to_owned()
}

#[test]
fn verdict_follows_the_life_of_the_token() {
    for (now, expected) in [
        ("2026-11-24T09:00:00Z", "ok:"),
        ("2026-11-24T21:00:00Z", "ok:"),
        ("2026-11-25T02:59:59Z", "ok:"),
        ("2026-11-25T03:00:00Z", "token not renewed!: TokenNotRenewed"),
        ("2026-11-25T08:59:59Z", "token not renewed!: TokenNotRenewed"),
        ("2026-11-25T09:00:00Z", "token expired!: TokenExpired"),
        ("2030-01-01T00:00:00Z", "token expired!: TokenExpired"),
    ] {
        assert_eq!(judged_at(now, |_| {}), expected, "{now}");
    }
}

#[test]
fn verdict_follows_the_facts_in_the_cluster() {
    assert_eq!(judged(|facts| seen(facts).fence = Ok(FenceSeen::Absent)), "fence absent!: FenceAbsent");
    assert_eq!(judged(|facts| seen(facts).fence = Ok(FenceSeen::Changed)), "fence changed: FenceChanged");
    assert_eq!(judged(|facts| seen(facts).fence = Err("forbidden".into())), "ok:");
    assert_eq!(judged(|facts| seen(facts).renewal = Ok(Some(FenceSeen::Present))), "ok:");
    assert_eq!(judged(|facts| seen(facts).renewal = Ok(Some(FenceSeen::Changed))), "fence changed: FenceChanged");
    assert_eq!(judged(|facts| seen(facts).renewal = Ok(Some(FenceSeen::Absent))), "fence absent!: FenceAbsent");
    for fence in [FenceSeen::Absent, FenceSeen::Changed, FenceSeen::Present] {
        let unfenced = judged(|facts| {
            change(facts, |record| record.fenced = false);
            seen(facts).fence = Ok(fence);
        });
        assert_eq!(unfenced, "ok:", "{fence:?}");
    }
    let secrets = |in_use_exists, leftovers: &[&str]| {
        let leftovers = leftovers.iter().map(ToString::to_string).collect();
        judged(|facts| seen(facts).secrets = Ok(SecretFacts { in_use_exists, leftovers }))
    };
    assert_eq!(secrets(false, &[]), "token revoked!: TokenRevoked");
    assert_eq!(secrets(true, &["prometheus-b9d1"]), "leftovers: Leftovers");
    assert_eq!(secrets(false, &["prometheus-b9d1"]), "token revoked!: TokenRevoked Leftovers");
}

#[test]
fn verdict_follows_the_targets_in_prometheus() {
    let unauthorized = "server returned HTTP status 401 Unauthorized";
    let targets = |cadvisor: JobFacts, kubelet: JobFacts| judged(|facts| jobs(facts, vec![cadvisor, kubelet]));
    let up = || job(Job::Kubelet, 2, &[]);
    assert_eq!(targets(job(Job::Cadvisor, 1, &["timeout"]), up()), "targets down: TargetsDown");
    assert_eq!(targets(job(Job::Cadvisor, 0, &["timeout", "timeout"]), up()), "job down!: JobDown");
    assert_eq!(targets(job(Job::Cadvisor, 0, &[unauthorized, "timeout"]), up()), "job down!: JobDown JobDown");
    assert_eq!(
        targets(job(Job::Cadvisor, 0, &["timeout"]), job(Job::Kubelet, 1, &["timeout"])),
        "job down!: JobDown TargetsDown"
    );
    assert_eq!(targets(job(Job::Cadvisor, 0, &[]), up()), "no targets!: NoTargets");
    let missing = JobFacts { is_known: false, ..job(Job::Cadvisor, 0, &[]) };
    assert_eq!(targets(missing, up()), "job missing!: JobMissing");
    let rewritten = judged(|facts| {
        let seen = facts.in_prometheus.as_mut().unwrap();
        (seen.is_included, seen.jobs[0].is_known) = (false, false);
    });
    assert_eq!(rewritten, "job missing!: JobMissing");
    // Right after a join.
    assert_eq!(targets(JobFacts { pending: 2, ..job(Job::Cadvisor, 0, &[]) }, up()), "ok:");
    assert_eq!(
        targets(JobFacts { pending: 1, ..job(Job::Cadvisor, 0, &["timeout"]) }, up()),
        "targets down: TargetsDown"
    );
}

#[test]
fn job_without_targets_names_the_reasons() {
    for (word, why) in [
        ("probes", "Prometheus' log says why it cannot list the nodes"),
        (
            "pods=shop/m",
            "no running pod in namespace shop belongs to the job, or Prometheus cannot list the pods (see its log)",
        ),
        (
            "node-exporter=ops",
            "no running pod in namespace ops belongs to the job, or Prometheus cannot list the pods (see its log)",
        ),
        ("federate=ops/k8s:web", "Prometheus has loaded a different configuration"),
    ] {
        let mut east = facts("east");
        let wanted: Jobs = word.parse().unwrap();
        change(&mut east, |record| record.jobs = wanted.clone());
        let found = wanted.iter().map(|one| job(one.clone(), 0, &[])).collect();
        jobs(&mut east, found);
        let status = ClusterStatus::new(&east, at("2026-11-24T12:00:00Z"));
        let [problem] = &status.problems[..] else { panic!("{:?}", status.problems) };
        let pool = wanted.to_string().replace('=', "/");
        let said = format!(
            "Prometheus at http://localhost:9090 has found no targets for the job prom-federate/east/{pool}: {why}"
        );
        assert_eq!((problem.reason, &problem.message), (ProblemReason::NoTargets, &said));
        assert_eq!(serde_json::to_value(&status).unwrap()["jobs"], serde_json::json!([wanted.to_string()]));
    }
}

#[test]
fn unread_sources_are_neither_broken_nor_ok() {
    assert_eq!(judged(|facts| facts.in_prometheus = Err("stopped".into())), "Prometheus not seen:");
    assert_eq!(judged(|facts| facts.in_cluster = Err("no context".into())), "cluster not seen:");
    assert_eq!(
        judged_at("2026-11-25T09:00:00Z", |facts| {
            facts.in_cluster = Err("no context".into());
            facts.in_prometheus = Err("stopped".into());
        }),
        "token expired!: TokenExpired"
    );
}

#[test]
fn verdict_follows_the_record() {
    let leftover = || vec!["20261125t101500z-x7k2".parse().unwrap()];
    assert_eq!(judged(|facts| facts.leftovers = leftover()), "leftovers: Leftovers");
    let no_jobs = |facts: &mut Facts| {
        facts.recorded = Recorded::NoJobs;
        facts.leftovers = leftover();
    };
    assert_eq!(judged(no_jobs), "no jobs: NoJobs");
    for (reason, expected) in [
        (Reason::DestinationUnusable, "record unreadable!: RecordUnreadable"),
        (Reason::RecordTooNew, "record unreadable!: RecordUnreadable"),
        (Reason::NotOurs, "not ours: NotOurs"),
    ] {
        let error = Error::new(reason, "cluster.json").hint("Next");
        assert_eq!(judged(|facts| facts.recorded = Recorded::Unreadable(error)), expected, "{reason}");
    }
}

#[test]
fn leftovers_are_only_unrecorded_secrets_of_this_destination() {
    let ours = Identity::directory("prom-0", "/etc/prometheus", "x7k2", None);
    let other = Identity::directory("prom-0", "/etc/prometheus", "b9d1", None);
    let secret = |name: &str, destination: &Identity| BoundSecret {
        name: name.into(),
        uid: format!("uid-{name}"),
        destination: destination.clone(),
        expires: None,
        terms: None,
    };
    let recorded = |name: &str| SecretRecord { name: name.into(), uid: format!("uid-{name}") };
    let existing = [
        secret("in-use", &ours),
        secret("old", &ours),
        secret("left", &ours),
        secret("reborn", &ours),
        secret("other", &other),
        secret("printed", &Identity::printed()),
        secret("by-hand", &Identity::read("")),
    ];
    // A new Secret with the name of the recorded one, which was deleted.
    let reborn = SecretRecord { uid: "before".into(), ..recorded("reborn") };
    let (in_use, old) = (recorded("in-use"), recorded("old"));
    let known = [&in_use, &old, &reborn];
    let facts = SecretFacts::new(&existing, &in_use, &ours, &known);
    assert_eq!(facts, SecretFacts { in_use_exists: true, leftovers: vec!["left".into(), "reborn".into()] });
    let facts = SecretFacts::new(&existing, &reborn, &Identity::directory("prom-9", "/", "", None), &known);
    assert_eq!(facts, SecretFacts { in_use_exists: false, leftovers: vec![] });
}

/// Otherwise the writer of a record would write the command that an administrator pastes.
#[test]
fn commands_have_the_terms_of_the_cluster() {
    let identity = Identity::directory("prom-0", "/etc/prometheus", "x7k2", None);
    let honest = record("east");
    let secret = BoundSecret {
        name: honest.bound_secret.name.clone(),
        uid: honest.bound_secret.uid.clone(),
        destination: identity.clone(),
        expires: None,
        terms: Some(
            Terms::new(&honest.request(), &honest.access(StoredCas::default()), Given { address: false, ca: false })
                .note(),
        ),
    };
    let mut planted = facts("east");
    change(&mut planted, |record| {
        record.jobs = "pods=kube-system/metrics".parse().unwrap();
        record.fenced = false;
        record.self_renew = true;
        record.token.expires = expiry::NEVER;
    });
    let Recorded::Record(claim) = &planted.recorded else { panic!() };
    let terms = Terms::confirm(claim, StoredCas::default(), &identity, &[secret]);
    let in_cluster = seen(&mut planted);
    (in_cluster.fence, in_cluster.renewal) = (Ok(FenceSeen::Changed), Ok(Some(FenceSeen::Absent)));
    in_cluster.terms = Some(terms);
    jobs(&mut planted, vec![job(Job::Cadvisor, 0, &["server returned HTTP status 403 Forbidden"])]);
    let status = ClusterStatus::new(&planted, at("2026-11-25T00:00:00Z"));
    assert_eq!((status.status, status.needs_attention), ("record not confirmed", true));
    let joins: Vec<&str> =
        status.problems.iter().map(|one| one.next.as_str()).filter(|next| next.contains(" join ")).collect();
    assert!(joins.len() > 2, "{:?}", status.problems);
    for next in joins {
        assert!(next.contains("with the terms that the cluster has noted: kubectl prom-federate join "), "{next}");
        for planted in ["pods=", "--fence", "--self-renew", "--long-lived-token"] {
            assert!(!next.contains(planted), "{next}");
        }
    }
}

/// Every kind of problem, with its next step.
#[test]
fn problem_is_one_line_with_the_next_command() {
    let mut east = facts("east");
    east.destination = "/srv/my prometheus".into();
    change(&mut east, |record| {
        record.jobs = "default".parse().unwrap();
        record.scrape_interval = Seconds(20);
        record.scrape_timeout = Seconds(20);
        record.namespace = "monitoring".parse().unwrap();
        record.access.address_given = true;
    });
    *seen(&mut east) = ClusterFacts {
        nodes: Err("forbidden".into()),
        fence: Ok(FenceSeen::Absent),
        guard: Ok(Some(FenceSeen::Absent)),
        renewal: Ok(None),
        pins: Ok(None),
        secrets: Ok(SecretFacts { in_use_exists: false, leftovers: vec!["prometheus-b9d1".into()] }),
        terms: Some(Err(Unconfirmed::NoSecret(ObjectRef::secret(&record("east").account(), "prometheus-x7k2")))),
    };
    east.leftovers = vec!["20261125t101500z-x7k2".parse().unwrap()];
    let timeout = |node: &str| format!("Get \"https://10.0.0.5:6443/api/v1/nodes/{node}/proxy/metrics\": timeout");
    let (a, b) = (timeout("a"), timeout("b"));
    let reset: Vec<String> = (0..7).map(|port| format!("read tcp :{port}: reset")).collect();
    let mut down =
        vec!["server returned HTTP status 401 Unauthorized", "server returned HTTP status 403 Forbidden", &a, &b, ""];
    down.extend(reset.iter().map(String::as_str));
    let missing = JobFacts { is_known: false, ..job(Job::Kubelet, 0, &[]) };
    jobs(&mut east, vec![job(Job::Cadvisor, 1, &down), missing, job(Job::Kubelet, 0, &[])]);
    let now = at("2026-11-25T04:00:00Z");
    let mut west = facts("west");
    west.in_cluster = Err("no kubeconfig".into());
    west.in_prometheus = Err("it does not answer".into());
    let mut north = facts("north");
    north.recorded = Recorded::NoJobs;
    let mut south = facts("south");
    change(&mut south, |record| record.token.expires = now);
    south.in_prometheus = Err("it does not answer".into());
    seen(&mut south).fence = Ok(FenceSeen::Changed);
    let clusters = [&east, &west, &north, &south].map(|facts| ClusterStatus::new(facts, now)).to_vec();
    let destination = DestinationStatus { destination: "/etc/prometheus".into(), reader: "Prometheus".into() };
    let report = StatusReport::new(now, vec![destination], clusters);
    let lines: Vec<String> = report
        .lines()
        .into_iter()
        .map(|line| match line {
            Line::Said(text) | Line::Done(text) | Line::Awaited(text, _) => text,
            Line::Warned(text) => format!("Warning: {text}"),
        })
        .collect();
    let error = report.verdict().unwrap_err();
    insta::assert_snapshot!(format!("{}\n\n{error}\n{}", lines.join("\n"), error.hints.join("\n")));
}

#[test]
fn new_and_removed_nodes_are_named() {
    let node = |name: &str| Node { name: name.into(), port: 10_250, address: None };
    let naming = |names: Value| json!({ "verbs": ["get"], "resources": ["nodes/proxy"], "resourceNames": names });
    let role = json!({ "rules": [naming(json!(["a:10250", "b:10250"])), naming(Value::Null)] });
    let pins = PinFacts::new(&role, &[node("b"), node("c"), node("d"), node("e")]);
    assert_eq!(pins.new, ["c:10250", "d:10250", "e:10250"]);
    assert_eq!((pins.gone.as_slice(), pins.is_open), (["a:10250".to_owned()].as_slice(), true));
    let nothing = PinFacts::new(&Value::Null, &[node("b")]);
    assert_eq!((nothing.new.len(), nothing.gone.len(), nothing.is_open), (1, 0, false));
    let role = json!({ "rules": [naming(json!(["b:10250"]))] });
    assert_eq!(PinFacts::new(&role, &[node("b")]), PinFacts::default());

    let mut east = facts("east");
    seen(&mut east).pins = Ok(Some(pins));
    let status = ClusterStatus::new(&east, at("2026-11-24T12:00:00Z"));
    let shown = |problem: &Problem| format!("{:?}: {}\n  {}", problem.reason, problem.message, problem.next);
    insta::assert_snapshot!(status.problems.iter().map(shown).collect::<Vec<_>>().join("\n"), @"
    NodesOpen: the right to all nodes by their bare names still exists: the token works at a kubelet itself
      The next rotate revokes it: kubectl prom-federate rotate east --now -p /etc/prometheus
    NodesNotPinned: 3 nodes are not pinned: c:10250, d:10250 and 1 more; they are not scraped
      An administrator can pin them: kubectl prom-federate rotate east --now -p /etc/prometheus
    NodesGone: 1 pinned node has gone: a:10250
      The next rotate by an administrator removes them: kubectl prom-federate rotate east --now -p /etc/prometheus
    ");
    assert!(!status.needs_attention, "everything that is known is scraped");
    seen(&mut east).pins = Ok(Some(nothing));
    assert_eq!(ClusterStatus::new(&east, at("2026-11-24T12:00:00Z")).status, "nodes not pinned");
}

#[test]
fn verdict_counts_clusters_not_rows() {
    let verdict = |rows: &[(&str, bool)]| {
        let clusters = rows.iter().map(|(cluster, needs_attention)| {
            let status = ClusterStatus::new(&facts(cluster), at("2026-11-24T12:00:00Z"));
            ClusterStatus { needs_attention: *needs_attention, ..status }
        });
        let report = StatusReport::new(Timestamp::UNIX_EPOCH, Vec::new(), clusters.collect());
        report.verdict().err().map(|error| error.to_string())
    };
    assert_eq!(verdict(&[]), None);
    assert_eq!(verdict(&[("a", false)]), None);
    assert_eq!(verdict(&[("a", true)]).as_deref(), Some("1 of 1 cluster needs attention"));
    assert_eq!(verdict(&[("a", true), ("a", true)]).as_deref(), Some("1 of 1 cluster needs attention"));
    assert_eq!(
        verdict(&[("a", true), ("a", false), ("b", true), ("c", false)]).as_deref(),
        Some("2 of 3 clusters need attention")
    );
}

proptest! {
    #[test]
    fn target_errors_and_clocks_cause_no_panic(
        errors in proptest::collection::vec("(Get \")?.{0,20}(\": )?.{0,9}", 0..12),
        seconds in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
        issued in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
    ) {
        let mut facts = facts("east");
        change(&mut facts, |record| record.token.issued = Timestamp::from_second(issued).unwrap());
        let errors: Vec<&str> = errors.iter().map(String::as_str).collect();
        jobs(&mut facts, vec![job(Job::Cadvisor, 0, &errors)]);
        let status = ClusterStatus::new(&facts, Timestamp::from_second(seconds).unwrap());
        prop_assert_eq!(status.targets.unwrap().down, errors.len());
        prop_assert!(status.problems.iter().all(|problem| !problem.message.is_empty() && !problem.next.is_empty()));
    }
}
