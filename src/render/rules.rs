//! Alerting rules for Prometheus and vmalert, one group for each cluster: the token expires, the cluster is absent, most
//! targets of the cluster are down, the account is not limited any more or no proof shows that it is.
//!
//! The text is written by hand like that of the jobs, because users read and review it. The only outside values in the
//! expressions are names of clusters, namespaces and Services, and paths. Their alphabets have no quote.
//!
//! The rules are the same in both Prometheus of an HA pair, so that Alertmanager deduplicates their alerts.

use crate::{
    model::{
        job::{Discovery, Job, Jobs, ScrapeTiming},
        store::layout::{self, Layout},
        text::{duration::Seconds, figures::minute, names::ClusterName, shell},
        token::{TokenLife, schedule::LONGEST_PROOF_INTERVAL},
    },
    yaml,
};
use std::{fmt::Write, slice};

/// The data of one cluster's rules.
#[derive(Clone, Copy, Debug)]
pub struct ClusterRules<'a> {
    pub cluster: &'a ClusterName,
    pub jobs: &'a Jobs,
    pub pace: ScrapeTiming,
    /// None if the expiry is not known. Then no rule watches it.
    pub token: Option<TokenLife>,
    /// The random part of the destination's identity, if Prometheus reads a new token without a reload. Then the time of a
    /// file tells it of the rotation.
    pub rotated: Option<&'a str>,
    /// The value of `-p` for the commands in the descriptions; None if it is not known.
    pub destination: Option<&'a str>,
}

impl ClusterRules<'_> {
    /// The arguments of a command about this cluster, within a Go template: `east -p /etc/prometheus`.
    fn here(&self) -> String {
        let destination = self.destination.map_or("DESTINATION".to_owned(), shell::word);
        format!("{} -p {}", self.cluster, destination.replace("{{", "{{ \"{{\" }}"))
    }
}

/// The time over which an instant query looks back for a sample: the default of Prometheus' `--query.lookback-delta`.
/// With a longer scrape interval, `up` has gaps.
const LOOKBACK: Seconds = Seconds(300);
/// The number of scrapes before an alert fires.
const PATIENCE: u64 = 10;
/// The shortest time before an alert fires, because an API server is unavailable for minutes while it is upgraded.
const LEAST: Seconds = Seconds(300);
const MOST: Seconds = Seconds(86_400);

/// The rule file of one cluster.
pub fn file(rules: &ClusterRules) -> String {
    joint_file(slice::from_ref(rules))
}

/// One rule file for these clusters. Each cluster may occur once: Prometheus rejects a file with two groups of the same
/// name.
pub fn joint_file(clusters: &[ClusterRules]) -> String {
    let mut text = format!(
        "\
# Alerting rules of kubectl prom-federate {version}: a file for rule_files of Prometheus (2.45 or later) or vmalert.
groups:
",
        version = env!("CARGO_PKG_VERSION"),
    );
    for rules in clusters {
        group(&mut text, rules);
    }
    text
}

fn group(text: &mut String, rules: &ClusterRules) {
    let _ = writeln!(text, "- name: {}", yaml::quoted(&format!("prom-federate/{}", rules.cluster)));
    if rules.token.is_none() {
        *text += NO_EXPIRY;
    }
    *text += "  rules:\n";
    if let Some(life) = rules.token.filter(|life| !life.never_expires()) {
        expiring(text, rules, life);
    }
    absent(text, rules);
    down(text, rules);
    unlimited(text, rules);
}

const NO_EXPIRY: &str = "  \
  # No rule for the token's expiry, because the expiry was not known here. An expired token fires
  # PromFederateClusterDown, and after a restart of Prometheus PromFederateClusterAbsent.
";

/// The series of a Prometheus about itself: when the files of rotations were written. They are called after the
/// destination, so that another Prometheus that is scraped has no such series. `folder`: what stands before, as a regular
/// expression.
pub fn rotations(folder: &str, id: &str) -> String {
    let file = layout::rotated(id).replace('.', "[.]");
    format!("prometheus_sd_file_mtime_seconds{{filename=~\"{folder}{file}\"}}")
}

/// Each rule contains the expiry as a number, so that a series of another Prometheus in the same storage cannot be
/// confused with it. Rotation writes the rules again. Where Prometheus does not reload them then, they add the life of a
/// token to the time of the rotation, if Prometheus has it.
fn expiring(text: &mut String, rules: &ClusterRules, life: TokenLife) {
    let (cluster, here) = (rules.cluster, rules.here());
    let expires = life.expires.as_second();
    let length = expires - life.issued.as_second();
    let expiry = match rules.rotated {
        None => format!("vector({expires})"),
        Some(id) => {
            let folder = Layout(cluster).current_file("").replace('.', "[.]");
            format!("(max({}) + {length} or vector({expires}))", rotations(&format!("(.*/)?{folder}"), id))
        }
    };
    let _ = write!(
        text,
        "  - record: prom_federate_token_expiry_timestamp_seconds
    expr: {expiry}
    labels: {{cluster: {cluster}}}
",
        cluster = yaml::quoted(cluster.as_str()),
    );
    for (severity, percent, from) in [("warning", 75, life.warning()), ("critical", 90, life.critical())] {
        let left = expires - from.as_second();
        let summary = format!(
            "The token for cluster {cluster} \
             {{{{ if gt $value 0.0 }}}}expires in {{{{ $value | humanizeDuration }}}}{{{{ else }}}}has expired{{{{ end }}}}"
        );
        let description = format!(
            "More than {percent} % of the lifetime of the token for cluster {cluster} ({life}) has passed and it was not renewed. \
             After it expires, the API server refuses every scrape with 401. Find the cause: kubectl prom-federate status \
             {here}. Renew the token: kubectl prom-federate rotate {here}",
            life = Seconds((length.unsigned_abs() + 30) / 60 * 60),
        );
        let _ = write!(
            text,
            "  # {percent} % of the token's lifetime has passed at {from}.
  - alert: PromFederateTokenExpiring
    expr: {expiry} - time() <= {left}
",
            from = minute(from),
        );
        labels_and_annotations(text, cluster, severity, &summary, &description);
    }
}

/// Names the absent page of a job of nodes.
const PAGE: &str = "{{ $labels.metrics_path }}";
/// Names the absent page of another job, whose path is not unique, by the labels of [`Job::identity`].
const PAGE_OF_A_PLACE: &str = "{{ $labels.metrics_path }} of {{ $labels.job }}\
                               {{ with $labels.instance }} at {{ . }}{{ end }}{{ with $labels.namespace }} in namespace {{ . }}{{ end }}";

/// Fires if a job has no `up` series at all. A token that has expired before Prometheus starts yields no targets, and no
/// other sign.
fn absent(text: &mut String, rules: &ClusterRules) {
    let (cluster, here) = (rules.cluster, rules.here());
    let function = |job: &Job| match window(rules.pace) {
        None => format!("absent({})", up(rules, job)),
        Some(window) => format!("absent_over_time({}[{window}])", up(rules, job)),
    };
    let what = if rules.jobs.iter().all(Job::is_of_nodes) { PAGE } else { PAGE_OF_A_PLACE };
    let has_pods = rules.jobs.iter().any(|job| matches!(job.discovery(), Discovery::Pods(_)));
    let pods = if has_pods { ", or none of the scraped pods runs any more" } else { "" };
    let summary = format!("Prometheus has no target of cluster {cluster} for {what}");
    let description = format!(
        "Prometheus has no target in cluster {cluster} for {{{{ $labels.metrics_path }}}}: its discovery has failed since it \
         started, usually because the token had expired, or its configuration does not have the job any more{pods}. Find the \
         cause and the command that solves it: kubectl prom-federate status {here}"
    );
    *text += "  # absent() keeps the labels of its selector, so metrics_path names the job.\n";
    let _ = writeln!(text, "  - alert: PromFederateClusterAbsent\n    expr: |");
    let _ = writeln!(text, "      {}", each(rules.jobs, function).join("\n      or "));
    let _ = writeln!(text, "    for: {}", patience(rules.pace));
    labels_and_annotations(text, cluster, "critical", &summary, &description);
}

/// Fires if most targets do not answer. An expired or revoked token has the same effect until Prometheus restarts.
fn down(text: &mut String, rules: &ClusterRules) {
    let (cluster, here) = (rules.cluster, rules.here());
    let function = |job: &Job| match window(rules.pace) {
        None => up(rules, job),
        Some(window) => format!("last_over_time({}[{window}])", up(rules, job)),
    };
    let summary =
        format!("Only {{{{ $value | humanizePercentage }}}} of the targets of cluster {cluster} can be scraped");
    let description = format!(
        "More than half of the targets of cluster {cluster} are down: Prometheus cannot reach its API server, the API server \
         refuses the token, or the nodes do not answer. Find the cause and the command that solves it: kubectl \
         prom-federate status {here}"
    );
    *text += "  - alert: PromFederateClusterDown\n    expr: |\n      avg(\n";
    let _ = writeln!(text, "        {}", each(rules.jobs, function).join("\n        or "));
    *text += "      ) < 0.5\n";
    let _ = writeln!(text, "    for: {}", patience(rules.pace));
    labels_and_annotations(text, cluster, "critical", &summary, &description);
}

/// Fires by the metrics of `rotate --watch`; silent without them. The expressions aggregate, so that no label of the
/// exporter makes two alerts of one cluster.
fn unlimited(text: &mut String, rules: &ClusterRules) {
    let (cluster, here) = (rules.cluster, rules.here());
    let seen = |name: &str| format!("min(prom_federate_{name}{{cluster=\"{cluster}\"}})");
    let old = |name: &str| format!("time() - {} > {UNPROVEN}", seen(&format!("{name}_last_check_timestamp_seconds")));
    let check = format!("kubectl prom-federate check {here}");
    *text +=
        "  # By --metrics-file of rotate --watch. The job of the node exporter must not add a label \"cluster\".\n";
    for (name, expr, patience, severity, summary, description) in [
        (
            "PromFederateFenceNotEnforced",
            format!("{} == 0", seen("fence_enforced")),
            FENCE_BROKEN_FOR,
            "critical",
            format!("The fence of the account in cluster {cluster} is not enforced"),
            format!(
                "The API server of cluster {cluster} answers requests that the fence of the account should refuse: a stolen \
                 token can read more than the metrics. Find what differs and the command that restores it: {check}"
            ),
        ),
        (
            "PromFederateRightsTooWide",
            format!("{} == 0", seen("rights_narrow")),
            OTHERS_FOR,
            "warning",
            format!("The account in cluster {cluster} has rights that its jobs do not need"),
            format!(
                "A role or a binding in cluster {cluster} grants more to the account than its jobs need. The events limits of \
                 rotate --watch name these rights. Find the role or the binding: {check}"
            ),
        ),
        (
            "PromFederateLimitsNotProven",
            format!("{} or {}", old("fence"), old("rights")),
            OTHERS_FOR,
            "warning",
            format!("It is unknown whether fence and rights still limit the account in cluster {cluster}"),
            format!(
                "For more than an hour, or since its start, rotate --watch could not find out whether fence and rights limit the account in cluster \
                 {cluster}: it does not run, or it gets no answer. Find the cause: {check}"
            ),
        ),
    ] {
        let _ = writeln!(text, "  - alert: {name}\n    expr: {expr}\n    for: {patience}");
        labels_and_annotations(text, cluster, severity, &summary, &description);
    }
}

/// The age of a proof in seconds: twelve times the interval of a watch, and twice the longest one.
const UNPROVEN: u64 = 2 * LONGEST_PROOF_INTERVAL.0;
/// Longer than a join takes, which admits old and new jobs until the new ones are in use.
const FENCE_BROKEN_FOR: Seconds = Seconds(300);
/// Also longer than the first proofs after a start of the watch.
const OTHERS_FOR: Seconds = Seconds(900);

fn labels_and_annotations(text: &mut String, cluster: &ClusterName, severity: &str, summary: &str, description: &str) {
    let _ = write!(
        text,
        "    labels: {{cluster: {cluster}, severity: {severity}}}
    annotations:
      summary: {summary}
      description: {description}
",
        cluster = yaml::quoted(cluster.as_str()),
        summary = yaml::quoted(summary),
        description = yaml::quoted(description),
    );
}

/// The `up` series of one job, by the labels that identify it in the cluster.
fn up(rules: &ClusterRules, job: &Job) -> String {
    let labels = rules.jobs.selector(job).into_iter().map(|(name, value)| format!(",{name}=\"{value}\""));
    format!("up{{cluster=\"{}\"{}}}", rules.cluster, labels.collect::<String>())
}

fn each(jobs: &Jobs, function: impl Fn(&Job) -> String) -> Vec<String> {
    jobs.iter().map(function).collect()
}

/// The time before an alert fires.
fn patience(pace: ScrapeTiming) -> Seconds {
    Seconds(pace.interval.0.saturating_mul(PATIENCE)).clamp(LEAST, MOST)
}

/// The range for an interval so long that an instant query might find no sample although every scrape was on time.
fn window(pace: ScrapeTiming) -> Option<Seconds> {
    let interval = pace.interval.0;
    (interval.saturating_mul(2) > LOOKBACK.0).then(|| Seconds(interval.saturating_mul(3)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{job::EVERY_JOB, token};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn life() -> TokenLife {
        TokenLife { issued: "2026-11-24T09:12:00Z".parse().unwrap(), expires: "2026-12-01T09:12:00Z".parse().unwrap() }
    }

    fn rules<'a>(
        cluster: &'a ClusterName,
        jobs: &'a Jobs,
        interval: u64,
        token: Option<TokenLife>,
    ) -> ClusterRules<'a> {
        let interval = Seconds(interval);
        let pace = ScrapeTiming { interval, timeout: interval };
        ClusterRules { cluster, jobs, pace, token, rotated: None, destination: None }
    }

    #[test]
    fn rules_of_default_jobs_with_a_token() {
        let (cluster, jobs) = ("east".parse().unwrap(), "default".parse().unwrap());
        insta::assert_snapshot!(file(&rules(&cluster, &jobs, 60, Some(life()))));
    }

    #[test]
    fn rules_select_each_job_by_its_own_labels() {
        let (cluster, jobs): (_, Jobs) = ("east".parse().unwrap(), EVERY_JOB.parse().unwrap());
        let mut selectors = each(&jobs, |job| up(&rules(&cluster, &jobs, 60, None), job));
        insta::assert_snapshot!(selectors.join("\n"), @r#"
        up{cluster="east",job="kubelet",metrics_path="/metrics/cadvisor",endpoint=""}
        up{cluster="east",job="kubelet",metrics_path="/metrics",endpoint=""}
        up{cluster="east",job="kubelet",metrics_path="/metrics/resource",endpoint=""}
        up{cluster="east",job="kubelet",metrics_path="/metrics/probes",endpoint=""}
        up{cluster="east",job="kubelet",metrics_path="/metrics/slis",endpoint=""}
        up{cluster="east",job="apiserver",metrics_path="/metrics"}
        up{cluster="east",job="apiserver",metrics_path="/metrics/slis"}
        up{cluster="east",job="kube-controller-manager",metrics_path="/apis/metrics.eks.amazonaws.com/v1/kcm/container/metrics"}
        up{cluster="east",job="kube-state-metrics",metrics_path="/metrics",instance="kube-state-metrics.kube-system:http"}
        up{cluster="east",job="shop",metrics_path="/m/x",instance="shop.monitoring:8443"}
        up{cluster="east",job="shop",metrics_path="/metrics",instance="shop.monitoring:http"}
        up{cluster="east",job="node-exporter",metrics_path="/metrics",namespace="monitoring"}
        up{cluster="east",job="kubernetes-pods",metrics_path="/m.x",namespace="shop"}
        up{cluster="east",job="kubernetes-pods",metrics_path="/metrics",namespace="shop"}
        up{cluster="east",job="federate",metrics_path="/federate",instance="prometheus-k8s.monitoring:web"}
        "#);
        selectors.sort_unstable();
        selectors.dedup();
        assert_eq!(selectors.len(), jobs.iter().len());
    }

    #[test]
    fn rules_of_two_clusters_without_an_expiry() {
        let (first, second, jobs) = ("1_000".parse().unwrap(), "on".parse().unwrap(), "kubelet".parse().unwrap());
        insta::assert_snapshot!(joint_file(&[rules(&first, &jobs, 600, None), rules(&second, &jobs, 60, None)]));
    }

    #[test]
    fn commands_name_the_destination() {
        let (cluster, jobs) = ("east".parse().unwrap(), "kubelet".parse().unwrap());
        let told = |destination: &str| {
            let rules = ClusterRules { destination: Some(destination), ..rules(&cluster, &jobs, 60, Some(life())) };
            let read = yaml::read(&file(&rules)).unwrap();
            let alerts = read["groups"][0]["rules"].as_array().unwrap().clone();
            alerts.iter().filter_map(|rule| Some(rule["annotations"]["description"].as_str()?.to_owned())).collect()
        };
        let down = |told: Vec<String>| told[3].split_once("solves it: ").unwrap().1.to_owned();
        assert_eq!(down(told("/etc/prometheus")), "kubectl prom-federate status east -p /etc/prometheus");
        assert_eq!(
            down(told("/a b\"{{ .Values }}")),
            "kubectl prom-federate status east -p '/a b\"{{ \"{{\" }} .Values }}'"
        );
        let all: Vec<String> = told("/etc/prometheus");
        assert_eq!(all.len(), 7);
        let names = |told: &&String| told.contains(" east -p /etc/prometheus");
        assert_eq!(all.iter().filter(names).count(), 7, "{all:?}");
    }

    #[test]
    fn rules_without_a_reload_ask_for_the_time_of_the_rotation() {
        let (cluster, jobs) = ("east.1".parse().unwrap(), "kubelet".parse().unwrap());
        let text = file(&ClusterRules { rotated: Some("x7k2"), ..rules(&cluster, &jobs, 60, Some(life())) });
        let expressions: Vec<&str> = text.lines().filter(|line| line.contains("vector(")).collect();
        insta::assert_snapshot!(expressions.join("\n"), @r#"
        expr: (max(prometheus_sd_file_mtime_seconds{filename=~"(.*/)?prom-federate/east[.]1/current/rotated-x7k2[.]json"}) + 604800 or vector(1796116320))
        expr: (max(prometheus_sd_file_mtime_seconds{filename=~"(.*/)?prom-federate/east[.]1/current/rotated-x7k2[.]json"}) + 604800 or vector(1796116320)) - time() <= 151200
        expr: (max(prometheus_sd_file_mtime_seconds{filename=~"(.*/)?prom-federate/east[.]1/current/rotated-x7k2[.]json"}) + 604800 or vector(1796116320)) - time() <= 60480
        "#);
    }

    #[test]
    fn rules_for_a_long_lived_token_have_no_expiry() {
        let (cluster, jobs) = ("east".parse().unwrap(), "default".parse().unwrap());
        let text = file(&rules(&cluster, &jobs, 60, Some(TokenLife { expires: token::expiry::NEVER, ..life() })));
        assert!(!text.contains("PromFederateTokenExpiring") && !text.contains("No rule for"), "{text}");
        assert_eq!(yaml::read(&text).unwrap()["groups"][0]["rules"].as_array().map(Vec::len), Some(5));
    }

    #[test]
    fn time_before_an_alert_grows_with_the_interval() {
        for (interval, patient) in
            [(1, "5m"), (15, "5m"), (60, "10m"), (300, "50m"), (86_400, "24h"), (u64::MAX, "24h")]
        {
            let interval = Seconds(interval);
            assert_eq!(patience(ScrapeTiming { interval, timeout: interval }).to_string(), patient, "{interval}");
        }
    }

    proptest! {
        #[test]
        fn destinations_are_never_read_as_templates(destination in "[a{}'\" \n$]{1,20}") {
            let (cluster, jobs) = ("east".parse().unwrap(), "kubelet".parse().unwrap());
            let told = ClusterRules { destination: Some(&destination), ..rules(&cluster, &jobs, 60, None) }.here();
            let escape = "{{ \"{{\" }}";
            // What a template prints is what the shell is to read, and but for the escapes it has no action.
            prop_assert_eq!(told.replace(escape, "{{"), format!("east -p {}", shell::word(&destination)));
            prop_assert!(!told.replace(escape, "").contains("{{"));
        }

        #[test]
        fn clusters_have_their_own_group_and_label(
            cluster in "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?",
            interval in any::<u64>(),
            seconds in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
        ) {
            let (cluster, jobs) = (cluster.parse().unwrap(), EVERY_JOB.parse().unwrap());
            let token = TokenLife { expires: Timestamp::from_second(seconds).unwrap(), ..life() };
            let read = yaml::read(&file(&rules(&cluster, &jobs, interval, Some(token)))).unwrap();
            let group = &read["groups"][0];
            prop_assert_eq!(group["name"].as_str().unwrap(), format!("prom-federate/{cluster}"));
            let rules = group["rules"].as_array().unwrap();
            prop_assert_eq!(rules.len(), 8);
            for rule in rules {
                prop_assert_eq!(rule["labels"]["cluster"].as_str(), Some(cluster.as_str()));
            }
        }
    }
}
