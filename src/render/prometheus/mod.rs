//! The scrape jobs for Prometheus: a mapping `scrape_configs:`, which is a complete `scrape_config_files` fragment. Its
//! items can also be pasted under an existing `scrape_configs:`. vmagent reads the list alone.
//!
//! The text is written by hand rather than serialised, because users read and review it. Every outside value goes
//! through [`yaml::quoted`].

mod credentials;
mod drops;
mod relabelling;

use crate::{
    model::{
        access::Access,
        job::{
            Discovery, Job,
            limits::{LABEL_NAME, LABEL_VALUE, LABELS},
            target::Target,
        },
        plan::request::{JoinRequest, command},
        store::location::Format,
        text::{
            figures::{day, minute},
            shell,
        },
        token,
    },
    yaml,
};
use credentials::{Credentials, Server, credentials};
use jiff::Timestamp;
use std::{fmt::Write, iter};

pub use credentials::pem;

/// The data of one cluster's jobs.
#[derive(Clone, Copy, Debug)]
pub struct ScrapeJobs<'a> {
    pub request: &'a JoinRequest,
    pub access: &'a Access,
}

/// The data of the comment above printed jobs.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    pub context: &'a str,
    /// The command that prints the same jobs with another token.
    pub join: &'a str,
    pub bound_secret: &'a str,
    pub made: Timestamp,
    pub expires: Timestamp,
}

/// The paths of a delivery's files in its jobs.
#[derive(Clone, Debug)]
pub struct CredentialFiles<'a> {
    pub token: &'a str,
    pub ca: &'a str,
    /// The CA of the kubelets, if they have their own.
    pub kubelet_ca: &'a str,
    /// Of the file by whose time Prometheus tells of a rotation, if the rules ask for it.
    pub rotated: Option<&'a str>,
    /// None where a rotation replaces the files and leaves the jobs as they are.
    pub expires: Option<Timestamp>,
    /// The command that renews the token, and the command that removes the cluster.
    pub rotate: &'a str,
    pub leave: &'a str,
}

/// The discovery of the jobs in place. It goes on until the new one has found the targets: without it, Prometheus drops
/// them for that time.
#[derive(Clone, Copy, Debug)]
pub struct FormerDiscovery<'a> {
    pub jobs: ScrapeJobs<'a>,
    pub token: &'a str,
    pub ca: &'a str,
}

/// The fragment with token and CA inline (Prometheus 2.45 or later). It contains a secret.
pub fn printed(jobs: ScrapeJobs, header: &Header, token: &str) -> String {
    comment(jobs, header)
        + "scrape_configs:\n"
        + &items(jobs, Credentials::Inline { token }, Beside::default(), Format::Prometheus)
}

/// How every fragment begins.
pub const BEGINNING: &str = "# Scrape jobs for cluster ";

/// The fragment of a directory, with the paths of token and CA (Prometheus 2.43 or later, or vmagent).
pub fn fragment(jobs: ScrapeJobs, files: &CredentialFiles, former: Option<FormerDiscovery>, format: Format) -> String {
    let comment = format!(
        "\
{BEGINNING}{cluster} ({url}), written by kubectl prom-federate {version}.
# Do not edit: {next}.
# New token:   {rotate}
# Remove all:  {leave}
",
        cluster = jobs.request.cluster,
        url = jobs.access.url,
        version = env!("CARGO_PKG_VERSION"),
        next = match files.expires {
            Some(expires) => format!("the next rotate overwrites this file. The token is {}", validity(expires)),
            None => "the next join overwrites this file. A rotation replaces the token behind its path".to_owned(),
        },
        rotate = files.rotate,
        leave = files.leave,
    );
    let list = match format {
        Format::Prometheus | Format::Otel => "scrape_configs:\n",
        Format::Vmagent => "",
    };
    comment
        + list
        + &items(
            jobs,
            Credentials::Files { token: files.token, ca: files.ca, kubelet_ca: files.kubelet_ca },
            Beside { rotated: files.rotated, former },
            format,
        )
}

/// Whether two fragments differ in nothing but their comment.
pub fn same_jobs(one: &str, other: &str) -> bool {
    let jobs = |text: &str| text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    jobs(one) == jobs(other)
}

pub(super) fn validity(expires: Timestamp) -> String {
    if expires == token::expiry::NEVER {
        "valid until its Secret is deleted".to_owned()
    } else {
        format!("valid until {}", minute(expires))
    }
}

/// What discovers targets beside the discovery of a job.
#[derive(Clone, Copy, Default)]
struct Beside<'a> {
    rotated: Option<&'a str>,
    former: Option<FormerDiscovery<'a>>,
}

/// The first job alone has the file of the rotation: each has its own watch of it.
fn items(jobs: ScrapeJobs, with: Credentials, beside: Beside, format: Format) -> String {
    let mut text = String::new();
    let others = iter::repeat(Beside { rotated: None, ..beside });
    for (job, beside) in jobs.request.jobs.iter().zip([beside].into_iter().chain(others)) {
        item(&mut text, jobs, job, with, beside, format);
    }
    text
}

fn comment(jobs: ScrapeJobs, header: &Header) -> String {
    let account = &jobs.request.account;
    format!(
        "\
# Scrape jobs for cluster {cluster} ({url}), made on {made} by kubectl prom-federate {version}.
# Contains a token of service account {account}, {expires}: let only Prometheus read this file.
# Use as a file of scrape_config_files, or paste the items below under scrape_configs (Prometheus 2.45 or later).
# New token:          {join}
# Revoke this token:  kubectl --context {context} --namespace {namespace} delete secret {secret}
# Remove all:         {leave}
",
        cluster = jobs.request.cluster,
        url = jobs.access.url,
        made = day(header.made),
        version = env!("CARGO_PKG_VERSION"),
        expires = validity(header.expires),
        join = header.join,
        leave = command("leave", header.context, account),
        context = shell::word(header.context),
        namespace = account.namespace,
        secret = header.bound_secret,
    )
}

fn item(text: &mut String, jobs: ScrapeJobs, job: &Job, with: Credentials, beside: Beside, format: Format) {
    // Without follow_redirects: false, Prometheus before 3.13 sends the token to the target of a redirect.
    let _ = write!(
        text,
        "- job_name: {name}
  scheme: https
  scrape_interval: {interval}
  scrape_timeout: {timeout}
  follow_redirects: false
",
        name = yaml::quoted(&job.scrape_job(&jobs.request.cluster)),
        interval = jobs.request.pace.interval,
        timeout = jobs.request.pace.timeout,
    );
    limits(text, jobs, job, format);
    if !job.honors_timestamps() {
        *text += "  honor_timestamps: false\n";
    }
    if job.honors_labels() {
        *text += "  honor_labels: true\n";
    }
    if matches!(job, Job::Federate(_)) {
        let selectors: Vec<String> =
            jobs.request.federate_match.iter().map(|selector| yaml::quoted(selector.as_str())).collect();
        let _ = writeln!(text, "  params:\n    'match[]': [{}]", selectors.join(", "));
    }
    let target = jobs.request.jobs.target(job);
    let server = match target {
        Target::Kubelets { .. } => Server::kubelets(jobs.access, with),
        _ => Server::api_server(jobs.access, with),
    };
    credentials(text, "  ", server, with);
    discovery(text, jobs, job, with, beside.former, format);
    if let Some(file) = beside.rotated {
        let _ = write!(
            text,
            "  # No targets: the rules ask Prometheus when this file was written, which is the time of the rotation.
  file_sd_configs:
  - files: [{}]
    refresh_interval: 1m
",
            yaml::quoted(file),
        );
    }
    *text += "  relabel_configs:\n";
    relabelling::address(text, jobs, &target);
    relabelling::targets(text, jobs, job, &target);
    for (label, value) in
        [("job", job.job_label()), ("metrics_path", job.metrics_path()), ("cluster", jobs.request.cluster.as_str())]
    {
        // Constants need no quotes.
        let is_ours =
            label == "metrics_path" || (label == "job" && !matches!(job, Job::Service(..) | Job::Aggregated(_)));
        let value = if is_ours { value.to_owned() } else { relabelling::literal(value) };
        let _ = writeln!(text, "  - {{target_label: {label}, replacement: {value}}}");
    }
    relabelling::metrics(text, jobs, job);
}

/// vmagent rejects fields that its release does not know, so that of the others it gets only what flags ask for. Its own
/// default for a page is 16 MiB (`-promscrape.maxScrapeSize`).
fn limits(text: &mut String, jobs: ScrapeJobs, job: &Job, format: Format) {
    let limits = jobs.request.limits;
    let (body, samples) = (limits.body(job), limits.samples(job));
    if samples > 0 {
        let _ = writeln!(text, "  sample_limit: {samples}");
    }
    if format == Format::Vmagent {
        if limits.body.is_some() && body.0 > 0 {
            // Units of 1024 have another name there.
            let _ = writeln!(text, "  max_scrape_size: {}", body.to_string().replace('B', "iB"));
        }
        return;
    }
    if body.0 > 0 {
        let _ = writeln!(text, "  body_size_limit: {body}");
    }
    if let Some(protocol) = jobs.request.fallback.filter(|_| job.takes_fallback()) {
        let _ = writeln!(text, "  fallback_scrape_protocol: {protocol}");
    }
    let _ = writeln!(
        text,
        "  label_limit: {LABELS}\n  label_name_length_limit: {LABEL_NAME}\n  label_value_length_limit: {LABEL_VALUE}"
    );
}

fn discovery(
    text: &mut String,
    jobs: ScrapeJobs,
    job: &Job,
    with: Credentials,
    former: Option<FormerDiscovery>,
    format: Format,
) {
    if job.discovery() == Discovery::Static {
        let address = yaml::quoted(&jobs.access.url.address());
        let _ = writeln!(text, "  static_configs:\n  - targets: [{address}]");
        return;
    }
    *text += "  kubernetes_sd_configs:\n";
    kubernetes(text, jobs, job, with, format);
    if let Some(FormerDiscovery { jobs, token, ca }) = former {
        *text += "  # As before, until the one above has found the targets.\n";
        kubernetes(text, jobs, job, Credentials::Files { token, ca, kubelet_ca: "" }, format);
    }
}

/// Byte-identical in all jobs of a cluster with the same discovery, so that Prometheus shares one watch among them, and
/// goes on with it if a later configuration has the same.
fn kubernetes(text: &mut String, jobs: ScrapeJobs, job: &Job, with: Credentials, format: Format) {
    let role = if let Discovery::Pods(_) = job.discovery() { "pod" } else { "node" };
    let _ = writeln!(text, "  - role: {role}");
    let _ = writeln!(text, "    api_server: {}", yaml::quoted(&jobs.access.url.to_string()));
    // vmagent does not need this field, and releases before 1.91.1 stop with a fatal error on it. It is not known which
    // release will read this file: docs/destinations/vmagent.md, "Redirects".
    if format != Format::Vmagent {
        *text += "    follow_redirects: false\n";
    }
    if let Some(selector) = jobs.request.jobs.node_selector().filter(|_| job.is_of_nodes()) {
        let selector = yaml::quoted(&selector.to_string());
        let _ = writeln!(text, "    selectors:\n    - {{role: node, label: {selector}}}");
    }
    if let Discovery::Pods(namespace) = job.discovery() {
        let _ = writeln!(text, "    namespaces:\n      names: [{}]", yaml::quoted(namespace.as_str()));
    }
    credentials(text, "    ", Server::api_server(jobs.access, with), with);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Origin},
        account::{Account, desired::Fence},
        job::{
            EVERY_JOB, ScrapeTiming, Selector,
            limits::ScrapeLimits,
            route::{Pins, Route},
        },
        store::layout::Layout,
        text::duration::Seconds,
    };
    use regex::Regex;
    use serde_json::Value;
    use std::collections::{BTreeMap, BTreeSet};

    fn request(jobs: &str) -> JoinRequest {
        JoinRequest {
            cluster: "east".parse().unwrap(),
            account: Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() },
            jobs: jobs.parse().unwrap(),
            federate_match: Selector::defaults(),
            fence: Fence::Required,
            pace: ScrapeTiming { interval: Seconds(60), timeout: Seconds(30) },
            limits: ScrapeLimits::default(),
            fallback: None,
            keep_all_metrics: false,
            self_renew: false,
            long_lived: false,
            duration: Seconds(604_800),
        }
    }

    fn rendered(access: &Access, jobs: &str) -> String {
        let request = request(jobs);
        let header = Header {
            context: "admin@east",
            join: "kubectl prom-federate join --context admin@east",
            bound_secret: "prometheus-x7k2p",
            made: "2026-11-24T09:12:00Z".parse().unwrap(),
            expires: "2026-12-01T09:12:00Z".parse().unwrap(),
        };
        printed(ScrapeJobs { request: &request, access }, &header, "TOKEN")
    }

    fn access() -> Access {
        Access {
            url: "https://10.0.0.5:6443".parse().unwrap(),
            origin: Origin::Kubeconfig,
            ca: Some(CertificateAuthority {
                certificates: vec![b"not looked into".to_vec()],
                origin: "the kubeconfig".into(),
            }),
            tls_server_name: None,
            proxy: None,
            kubelet_ca: None,
        }
    }

    /// The series of a table of docs/dashboards.md, by job: `name` or `name{label="value"}`.
    fn listed(section: &str) -> Vec<(&'static str, Vec<&'static str>)> {
        let page = include_str!("../../../docs/dashboards.md");
        let (_, rest) = page.split_once(&format!("\n## {section}\n")).expect(section);
        let rows = rest.split("\n## ").next().unwrap().lines().filter_map(|line| line.strip_prefix("| `"));
        rows.map(|row| {
            let mut cells = row.split(" | ");
            let job = cells.next().unwrap().trim_end_matches('`');
            (job, cells.next().unwrap().split('`').skip(1).step_by(2).collect())
        })
        .collect()
    }

    /// By the rules of a rendered job, as Prometheus reads them: the whole of the joined values must match.
    fn is_dropped(job: &Value, series: &str) -> bool {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let mut labels: BTreeMap<&str, &str> =
            labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('=')).collect();
        // What the series of a pod and of a usual interface have beside these.
        for (label, value) in [("id", "/kubepods/x"), ("pod", "web"), ("interface", "eth0"), ("device", "eth0")] {
            labels.entry(label).or_insert(value);
        }
        labels.insert("__name__", name);
        let rules = job["metric_relabel_configs"].as_array().into_iter().flatten();
        rules.filter(|rule| rule["action"] == "drop").any(|rule| {
            let sources = rule["source_labels"].as_array().unwrap().iter().map(|source| source.as_str().unwrap());
            let values: Vec<&str> =
                sources.map(|source| labels.get(source).copied().unwrap_or_default().trim_matches('"')).collect();
            Regex::new(&format!("^(?s:{})$", rule["regex"].as_str().unwrap())).unwrap().is_match(&values.join(";"))
        })
    }

    #[test]
    fn drop_lists_agree_with_the_page_of_dashboards() {
        let jobs = yaml::read(&rendered(&access(), "default,apiserver,slis,node-exporter=monitoring:9100")).unwrap();
        let jobs = jobs["scrape_configs"].as_array().unwrap();
        for (section, expected) in
            [("Series that drop lists keep", false), ("Series that are dropped although dashboards ask for them", true)]
        {
            let listed = listed(section);
            assert!(!listed.is_empty(), "{section}");
            for (name, series) in listed {
                let is_named = |job: &&Value| job["job_name"].as_str().unwrap().split('/').nth(2) == Some(name);
                let job = jobs.iter().find(is_named).expect(name);
                assert!(!series.is_empty(), "{name}");
                for one in series {
                    assert_eq!(is_dropped(job, one), expected, "{name}: {one}");
                }
            }
        }
        let is_node_exporter = |job: &&Value| job["job_name"].as_str().unwrap().contains("/node-exporter");
        let node_exporter = jobs.iter().find(is_node_exporter).unwrap();
        for series in include_str!("asked_by_1860.txt").lines().filter(|line| !line.starts_with('#')) {
            assert!(!is_dropped(node_exporter, &format!("{series}{{mountpoint=\"/\"}}")), "{series}");
        }
        // Every job with a list has its row.
        let rows: BTreeSet<&str> = listed("Series that drop lists keep").into_iter().map(|(name, _)| name).collect();
        let dropping = jobs.iter().filter(|job| job["metric_relabel_configs"].to_string().contains("drop"));
        let names: BTreeSet<&str> =
            dropping.map(|job| job["job_name"].as_str().unwrap().split('/').nth(2).unwrap()).collect();
        assert_eq!(rows, names);
    }

    #[test]
    fn both_jobs() {
        insta::assert_snapshot!(rendered(&access(), "default"));
    }

    #[test]
    fn jobs_with_public_ca_server_name_path_prefix_and_proxy() {
        let access = Access {
            url: "https://rancher.example.com/k8s/clusters/c-1".parse().unwrap(),
            ca: None,
            tls_server_name: Some("api.internal".into()),
            proxy: Some("socks5://[fd00::1]:1080".parse().unwrap()),
            ..access()
        };
        insta::assert_snapshot!(rendered(&access, "kubelet"));
    }

    #[test]
    fn jobs_that_name_the_link_stay_the_same() {
        let (request, access) = (request("default"), access());
        let path = |name: &str| Layout(&request.cluster).current_file(name);
        let (token, ca) = (path("token"), path("ca.crt"));
        let rotated = Some("east/current/rotated-x7k2.json");
        let files =
            CredentialFiles { token: &token, ca: &ca, kubelet_ca: "", rotated, expires: None, rotate: "r", leave: "l" };
        let jobs = ScrapeJobs { request: &request, access: &access };
        let text = fragment(jobs, &files, None, Format::Prometheus);
        let former = FormerDiscovery { jobs, token: "east/old/token", ca: "east/old/ca.crt" };
        let both = yaml::read(&fragment(jobs, &files, Some(former), Format::Prometheus)).unwrap();
        let old = CredentialFiles { token: former.token, ca: former.ca, ..files.clone() };
        let old = yaml::read(&fragment(jobs, &old, None, Format::Prometheus)).unwrap();
        for job in 0..2 {
            let discovery = |jobs: &serde_json::Value| jobs["scrape_configs"][job]["kubernetes_sd_configs"].clone();
            assert_eq!(discovery(&both)[1], discovery(&old)[0], "Prometheus goes on with the very same");
        }
        insta::assert_snapshot!(text.lines().take(5).collect::<Vec<_>>().join("\n"), @r"
        # Scrape jobs for cluster east (https://10.0.0.5:6443), written by kubectl prom-federate 0.1.0.
        # Do not edit: the next join overwrites this file. A rotation replaces the token behind its path.
        # New token:   r
        # Remove all:  l
        scrape_configs:
        ");
        let jobs = yaml::read(&text).unwrap();
        let watched = |job: usize| jobs["scrape_configs"][job]["file_sd_configs"][0]["files"][0].as_str();
        assert_eq!([watched(0), watched(1)], [rotated, None], "one job is enough");
        let renamed = text.replace("# New token:   r", "# New token:   another");
        assert!(same_jobs(&text, &renamed) && text != renamed);
        assert!(!same_jobs(&text, &text.replace("role: node", "role: pod")));
    }

    fn delivered(format: Format, jobs: &str) -> String {
        let request = request(jobs);
        let files = CredentialFiles {
            token: "east/20261125t101500z-x7k2/token",
            ca: "east/20261125t101500z-x7k2/ca.crt",
            kubelet_ca: "east/20261125t101500z-x7k2/kubelet-ca.crt",
            rotated: None,
            expires: "2026-12-01T09:12:00Z".parse().ok(),
            rotate: "kubectl prom-federate rotate east --now -p /etc/prometheus",
            leave: "kubectl prom-federate leave east -p /etc/prometheus",
        };
        fragment(ScrapeJobs { request: &request, access: &access() }, &files, None, format)
    }

    #[test]
    fn jobs_of_a_directory_name_their_files() {
        insta::assert_snapshot!(delivered(Format::Prometheus, "default"));
    }

    #[test]
    fn long_lived_token_is_valid_until_its_secret_is_deleted() {
        assert_eq!(validity(token::expiry::NEVER), "valid until its Secret is deleted");
    }

    #[test]
    fn vmagent_fragment_is_a_list_without_unknown_fields() {
        let text = delivered(Format::Vmagent, "default");
        assert_eq!(yaml::read(&text).unwrap().as_array().map(Vec::len), Some(2));
        assert_eq!(text.matches("follow_redirects").count(), 2, "only of the jobs: {text}");
    }

    #[test]
    fn every_other_job() {
        let others: Vec<&str> = EVERY_JOB.split(',').filter(|job| !["cadvisor", "kubelet"].contains(job)).collect();
        insta::assert_snapshot!(delivered(Format::Prometheus, &others.join(",")));
    }

    #[test]
    fn jobs_with_the_same_discovery_have_the_same_block() {
        let jobs = "default,resource,pods=shop/metrics,pods=shop/m,node-exporter=shop";
        let value = yaml::read(&rendered(&access(), jobs)).unwrap();
        let blocks: Vec<String> = value["scrape_configs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["kubernetes_sd_configs"].to_string())
            .collect();
        assert_eq!(blocks.len(), 6);
        assert!(blocks[..3].iter().all(|block| *block == blocks[0]), "nodes");
        assert!(blocks[3..].iter().all(|block| *block == blocks[3]), "pods");
    }

    #[test]
    fn jobs_have_the_labels_that_the_rules_select() {
        let value = yaml::read(&rendered(&access(), EVERY_JOB)).unwrap();
        let jobs: crate::model::job::Jobs = EVERY_JOB.parse().unwrap();
        for (job, written) in jobs.iter().zip(value["scrape_configs"].as_array().unwrap()) {
            let rules = written["relabel_configs"].as_array().unwrap();
            for (label, value) in job.identity() {
                let sets = |rule: &&serde_json::Value| rule["target_label"] == label;
                let rule = rules.iter().find(sets).unwrap_or_else(|| panic!("{job} has no label {label}"));
                let is_found = rule["source_labels"].is_array() && label == "namespace";
                assert!(is_found || rule["replacement"] == value, "{job}: {label} is not {value}: {rule}");
            }
            assert_eq!(written["job_name"], job.scrape_job(&"east".parse().unwrap()));
            assert_eq!(written["follow_redirects"], false);
        }
    }

    fn by(route: Route, kubelet_ca: Option<CertificateAuthority>, format: Format) -> String {
        let mut request = request("cadvisor,apiserver");
        request.jobs = request.jobs.by(route);
        let files = CredentialFiles {
            token: "east/20261125t101500z-x7k2/token",
            ca: "east/20261125t101500z-x7k2/ca.crt",
            kubelet_ca: "east/20261125t101500z-x7k2/kubelet-ca.crt",
            rotated: None,
            expires: "2026-12-01T09:12:00Z".parse().ok(),
            rotate: "rotate",
            leave: "leave",
        };
        let proxy = Some("http://proxy:3128".parse().unwrap());
        let url = "https://rancher.example.com/k8s/clusters/c-1".parse().unwrap();
        let access = Access { url, proxy, tls_server_name: Some("api.internal".into()), kubelet_ca, ..access() };
        fragment(ScrapeJobs { request: &request, access: &access }, &files, None, format)
    }

    #[test]
    fn jobs_of_the_kubelet_route() {
        let ca = CertificateAuthority { certificates: vec![b"kubelets".to_vec()], origin: "a flag".into() };
        insta::assert_snapshot!(by(Route::Kubelet, Some(ca.clone()), Format::Prometheus));
        let with_that_of_the_api_server = by(Route::Kubelet, None, Format::Prometheus);
        assert!(!with_that_of_the_api_server.contains("kubelet-ca.crt"), "{with_that_of_the_api_server}");
        assert_eq!(with_that_of_the_api_server.matches("/ca.crt").count(), 3, "discovery, apiserver, and the kubelets");
        for format in [Format::Prometheus, Format::Vmagent] {
            let text = by(Route::Kubelet, Some(ca.clone()), format);
            assert_eq!(text.matches("proxy_url").count(), 2, "kubelets are not behind the API server's proxy: {text}");
        }
    }

    #[test]
    fn jobs_of_the_pinned_route() {
        insta::assert_snapshot!(by(Route::Pinned(Pins::of_names(["n:10250"])), None, Format::Prometheus));
    }

    #[test]
    fn vmagent_fragment_has_every_job() {
        let text = delivered(Format::Vmagent, EVERY_JOB);
        assert_eq!(yaml::read(&text).unwrap().as_array().map(Vec::len), Some(15));
        assert_eq!(text.matches("follow_redirects").count(), 15, "only of the jobs: {text}");
    }
}
