//! The scrape jobs for Prometheus: a mapping `scrape_configs:`, which is a complete `scrape_config_files` fragment. Its
//! items can also be pasted under an existing `scrape_configs:`. vmagent reads the list alone.
//!
//! The text is written by hand rather than serialised, because users read and review it. Every outside value goes
//! through [`yaml::quoted`].

use crate::{
    model::{
        access::{Access, CertificateAuthority, url::ProxyUrl},
        job::{Discovery, Endpoint, Job, pod, target::Target},
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
use jiff::Timestamp;
use std::fmt::Write;

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
    pub bound_secret: &'a str,
    pub made: Timestamp,
    pub expires: Timestamp,
}

/// The source of token and CA in the jobs.
#[derive(Clone, Copy)]
enum Credentials<'a> {
    /// In the jobs themselves, which are then a secret.
    Inline {
        token: &'a str,
    },
    Files {
        token: &'a str,
        ca: &'a str,
        kubelet_ca: &'a str,
    },
}

/// The paths of a delivery's files in its jobs.
#[derive(Clone, Debug)]
pub struct CredentialFiles<'a> {
    pub token: &'a str,
    pub ca: &'a str,
    /// The CA of the kubelets, if they have their own.
    pub kubelet_ca: &'a str,
    pub expires: Timestamp,
    /// The command that renews the token, and the command that removes the cluster.
    pub rotate: &'a str,
    pub leave: &'a str,
}

/// The fragment with token and CA inline (Prometheus 2.45 or later). It contains a secret.
pub fn printed(jobs: ScrapeJobs, header: &Header, token: &str) -> String {
    comment(jobs, header) + "scrape_configs:\n" + &items(jobs, Credentials::Inline { token }, Format::Prometheus)
}

/// The fragment of a directory, with the paths of token and CA (Prometheus 2.43 or later, or vmagent).
pub fn fragment(jobs: ScrapeJobs, files: &CredentialFiles, format: Format) -> String {
    let comment = format!(
        "\
# Scrape jobs for cluster {cluster} ({url}), written by kubectl prom-federate {version}.
# Do not edit: the next rotate overwrites this file. The token is {expires}.
# New token:   {rotate}
# Remove all:  {leave}
",
        cluster = jobs.request.cluster,
        url = jobs.access.url,
        version = env!("CARGO_PKG_VERSION"),
        expires = validity(files.expires),
        rotate = files.rotate,
        leave = files.leave,
    );
    let list = match format {
        Format::Prometheus => "scrape_configs:\n",
        Format::Vmagent => "",
    };
    comment
        + list
        + &items(jobs, Credentials::Files { token: files.token, ca: files.ca, kubelet_ca: files.kubelet_ca }, format)
}

pub(super) fn validity(expires: Timestamp) -> String {
    if expires == token::expiry::NEVER {
        "valid until its Secret is deleted".to_owned()
    } else {
        format!("valid until {}", minute(expires))
    }
}

fn items(jobs: ScrapeJobs, with: Credentials, format: Format) -> String {
    let mut text = String::new();
    for job in jobs.request.jobs.iter() {
        item(&mut text, jobs, job, with, format);
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
        join = command("join", header.context, account),
        leave = command("leave", header.context, account),
        context = shell::word(header.context),
        namespace = account.namespace,
        secret = header.bound_secret,
    )
}

fn item(text: &mut String, jobs: ScrapeJobs, job: &Job, with: Credentials, format: Format) {
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
    discovery(text, jobs, job, with, format);
    *text += "  relabel_configs:\n";
    address(text, jobs, &target);
    relabelling(text, jobs, job, &target);
    for (label, value) in
        [("job", job.job_label()), ("metrics_path", job.metrics_path()), ("cluster", jobs.request.cluster.as_str())]
    {
        // Constants need no quotes.
        let is_ours = label == "metrics_path" || (label == "job" && !matches!(job, Job::Service(..)));
        let value = if is_ours { value.to_owned() } else { literal(value) };
        let _ = writeln!(text, "  - {{target_label: {label}, replacement: {value}}}");
    }
    metric_relabelling(text, jobs, job);
}

/// Doubles each dollar, because a replacement is a template.
fn literal(value: &str) -> String {
    yaml::quoted(&value.replace('$', "$$"))
}

fn discovery(text: &mut String, jobs: ScrapeJobs, job: &Job, with: Credentials, format: Format) {
    let role = match job.discovery() {
        Discovery::Static => {
            let address = yaml::quoted(&jobs.access.url.address());
            let _ = writeln!(text, "  static_configs:\n  - targets: [{address}]");
            return;
        }
        Discovery::Nodes => "node",
        Discovery::Pods(_) => "pod",
    };
    // Byte-identical in all jobs of a cluster with the same discovery, so that Prometheus shares one watch among them.
    let _ = writeln!(text, "  kubernetes_sd_configs:\n  - role: {role}");
    let _ = writeln!(text, "    api_server: {}", yaml::quoted(&jobs.access.url.to_string()));
    // vmagent does not need this field, and releases before 1.91.1 stop with a fatal error on it. It is not known which
    // release will read this file: docs/destinations/vmagent.md, "Redirects".
    if format == Format::Prometheus {
        *text += "    follow_redirects: false\n";
    }
    if let Discovery::Pods(namespace) = job.discovery() {
        let _ = writeln!(text, "    namespaces:\n      names: [{}]", yaml::quoted(namespace.as_str()));
    }
    credentials(text, "    ", Server::api_server(jobs.access, with), with);
}

/// How a server that gets the token is verified.
#[derive(Clone, Copy)]
struct Server<'a> {
    ca: Option<&'a CertificateAuthority>,
    /// The file of its CA, if credentials are in files.
    ca_file: &'a str,
    tls_server_name: Option<&'a str>,
    proxy: Option<&'a ProxyUrl>,
}

impl<'a> Server<'a> {
    fn api_server(access: &'a Access, with: Credentials<'a>) -> Self {
        let ca_file = if let Credentials::Files { ca, .. } = with { ca } else { "" };
        let tls_server_name = access.tls_server_name.as_deref();
        Self { ca: access.ca.as_ref(), ca_file, tls_server_name, proxy: access.proxy.as_ref() }
    }

    /// Each kubelet has a certificate for its own address. Prometheus does not use the API server's proxy for kubelets.
    fn kubelets(access: &'a Access, with: Credentials<'a>) -> Self {
        let of_api_server = Self { tls_server_name: None, proxy: None, ..Self::api_server(access, with) };
        match (&access.kubelet_ca, with) {
            (None, _) => of_api_server,
            (ca, Credentials::Files { kubelet_ca, .. }) => {
                Self { ca: ca.as_ref(), ca_file: kubelet_ca, ..of_api_server }
            }
            (ca, Credentials::Inline { .. }) => Self { ca: ca.as_ref(), ..of_api_server },
        }
    }
}

fn credentials(text: &mut String, indent: &str, server: Server, with: Credentials) {
    let (key, value) = match with {
        Credentials::Inline { token } => ("credentials", token),
        Credentials::Files { token, .. } => ("credentials_file", token),
    };
    let _ = write!(text, "{indent}authorization:\n{indent}  {key}: {}\n", yaml::quoted(value));
    if let Some(proxy) = server.proxy {
        let _ = writeln!(text, "{indent}proxy_url: {}", yaml::quoted(&proxy.to_string()));
    }
    if server.ca.is_none() && server.tls_server_name.is_none() {
        return;
    }
    let _ = writeln!(text, "{indent}tls_config:");
    if let Some(name) = server.tls_server_name {
        let _ = writeln!(text, "{indent}  server_name: {}", yaml::quoted(name));
    }
    match (server.ca, with) {
        (None, _) => {}
        (Some(_), Credentials::Files { .. }) => {
            let _ = writeln!(text, "{indent}  ca_file: {}", yaml::quoted(server.ca_file));
        }
        (Some(ca), Credentials::Inline { .. }) => {
            let _ = writeln!(text, "{indent}  ca: |");
            for line in pem(&ca.certificates).lines() {
                let _ = writeln!(text, "{indent}    {line}");
            }
        }
    }
}

/// The address of the requests: the API server, or the discovered address of a kubelet.
fn address(text: &mut String, jobs: ScrapeJobs, target: &Target) {
    let address = literal(&jobs.access.url.address());
    let api_server = format!("  - {{target_label: __address__, replacement: {address}}}\n");
    // A kubelet that reports no port has the default port.
    let with_port =
        "  - {source_labels: [__address__], regex: '(.+):0', target_label: __address__, replacement: '${1}:10250'}\n";
    match target {
        Target::Kubelets { .. } => *text += with_port,
        Target::PinnedNodes { .. } => {
            let path = path(jobs, target, "${1}:${2}");
            // The port is in the discovered address, which a later rule replaces with the API server's.
            let _ = write!(
                text,
                "{with_port}  - {{source_labels: [__meta_kubernetes_node_name, __address__], regex: '(.+);.+:(\\d+)', target_label: __metrics_path__, replacement: {path}}}
{api_server}"
            );
        }
        _ => *text += &api_server,
    }
}

/// `__metrics_path__`, quoted.
fn path(jobs: ScrapeJobs, target: &Target, subject: &str) -> String {
    let prefix = if let Target::Kubelets { .. } = target { "" } else { jobs.access.url.prefix() };
    yaml::quoted(&format!("{}{}", prefix.replace('$', "$$"), target.page(subject)))
}

/// The selection of targets, their path, and the labels that distinguish them.
fn relabelling(text: &mut String, jobs: ScrapeJobs, job: &Job, target: &Target) {
    let path = path(jobs, target, "${1}");
    match target {
        Target::Nodes { .. } => {
            let _ = writeln!(
                text,
                "  - {{source_labels: [__meta_kubernetes_node_name], target_label: __metrics_path__, replacement: {path}}}"
            );
        }
        Target::Kubelets { .. } => {
            let _ = writeln!(text, "  - {{target_label: __metrics_path__, replacement: {path}}}");
        }
        _ => {}
    }
    match job {
        Job::Cadvisor | Job::Kubelet | Job::Resource | Job::Probes => {
            let _ = write!(
                text,
                "  - {{source_labels: [__meta_kubernetes_node_name], target_label: node}}
  - {{source_labels: [__meta_kubernetes_node_name], target_label: instance}}
"
            );
        }
        Job::Apiserver => static_target(text, &path, &jobs.access.url.address()),
        // kube-prometheus has no more labels here: the namespaces and Services on the page are those of other objects.
        Job::KubeStateMetrics(endpoint) | Job::Federate(endpoint) => static_target(text, &path, &endpoint.instance()),
        Job::Service(endpoint, _) => {
            static_target(text, &path, &endpoint.instance());
            service_labels(text, endpoint);
        }
        Job::NodeExporter(_, port) => {
            let labels: Vec<String> =
                pod::APP_LABELS.iter().map(|label| format!("{POD}label_{}", meta(label))).collect();
            let _ = write!(
                text,
                "  - {{action: keep, source_labels: [{labels}], regex: '(.*;)?({names})(;.*)?'}}
  - {{action: keep, source_labels: [{POD}phase], regex: Running}}
  - {{action: keep, source_labels: [{POD}container_port_number], regex: '{port}'}}
  - {{source_labels: [{POD}name, {POD}container_port_number], separator: ':', target_label: __metrics_path__, replacement: {path}}}
  - {{source_labels: [{POD}node_name], target_label: node}}
  - {{source_labels: [{POD}name, {POD}container_port_number], separator: ':', target_label: instance}}
  - {{source_labels: [{POD}node_name], regex: '(.+)', target_label: instance}}
",
                labels = labels.join(", "),
                names = pod::NODE_EXPORTERS.join("|"),
            );
            pod_labels(text);
        }
        Job::Pods(_, annotated) => {
            let annotation = |key: &str| format!("{POD}annotation_{}", meta(key));
            let (scrape, port) = (annotation(pod::SCRAPE), annotation(pod::PORT));
            let (at, scheme) = (annotation(pod::PATH), annotation(pod::SCHEME));
            // A missing annotation means the default path.
            let usual = if annotated.as_str() == "/metrics" { "()|" } else { "" };
            let _ = write!(
                text,
                "  - {{action: keep, source_labels: [{scrape}], regex: 'true'}}
  - {{action: keep, source_labels: [{POD}phase], regex: Running}}
  - {{action: keep, source_labels: [{at}], regex: '{usual}{regex}'}}
  - {{source_labels: [{port}, {POD}container_port_number], regex: '(\\d+);.*|.*;(\\d+)', target_label: __tmp_port, replacement: '${{1}}${{2}}'}}
  - {{action: keep, source_labels: [__tmp_port], regex: '\\d+'}}
  - {{source_labels: [{POD}name, __tmp_port], separator: ':', target_label: __tmp_pod}}
  - {{source_labels: [__tmp_pod], target_label: instance}}
  # The scheme of the target is part of its name; __scheme__ is the scheme of the API server.
  - {{source_labels: [{scheme}, __tmp_pod], regex: 'https;(.+)', target_label: __tmp_pod, replacement: 'https:${{1}}'}}
  - {{source_labels: [__tmp_pod], target_label: __metrics_path__, replacement: {path}}}
",
                regex = annotated.as_str().replace('.', "\\."),
            );
            pod_labels(text);
        }
    }
}

const POD: &str = "__meta_kubernetes_pod_";

/// The name of a label or annotation in Prometheus (`util/strutil`, `SanitizeLabelName`).
fn meta(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn static_target(text: &mut String, path: &str, instance: &str) {
    let _ = writeln!(text, "  - {{target_label: __metrics_path__, replacement: {path}}}");
    let _ = writeln!(text, "  - {{target_label: instance, replacement: {}}}", literal(instance));
}

fn service_labels(text: &mut String, endpoint: &Endpoint) {
    for (label, value) in [("namespace", endpoint.namespace().as_str()), ("service", endpoint.service())] {
        let _ = writeln!(text, "  - {{target_label: {label}, replacement: {}}}", literal(value));
    }
}

fn pod_labels(text: &mut String) {
    let _ = writeln!(text, "  - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}");
    let _ = writeln!(text, "  - {{source_labels: [{POD}name], target_label: pod}}");
}

fn metric_relabelling(text: &mut String, jobs: ScrapeJobs, job: &Job) {
    if *job == Job::Cadvisor && !jobs.request.keep_all_metrics {
        *text += CADVISOR_DROPS;
    }
    if job.honors_labels() {
        let cluster = literal(jobs.request.cluster.as_str());
        let _ = write!(
            text,
            "  metric_relabel_configs:
  # The page's own labels win, except for this one.
  - {{target_label: cluster, replacement: {cluster}}}
"
        );
    }
    if matches!(job, Job::Federate(_)) {
        *text += "  # Remove the label from federated series; up of this job keeps it.
  - {source_labels: [metrics_path], regex: /federate, target_label: metrics_path, replacement: ''}
";
    }
}

/// The series that kube-prometheus-stack drops by default (its values.yaml, `cAdvisorMetricRelabelings`). The root cgroup
/// stays, because it has the node's own CPU and memory.
const CADVISOR_DROPS: &str = "  metric_relabel_configs:
  - {action: drop, source_labels: [__name__], regex: 'container_cpu_(cfs_throttled_seconds_total|load_average_10s|system_seconds_total|user_seconds_total)'}
  - {action: drop, source_labels: [__name__], regex: 'container_fs_(io_current|io_time_seconds_total|io_time_weighted_seconds_total|reads_merged_total|sector_reads_total|sector_writes_total|writes_merged_total)'}
  - {action: drop, source_labels: [__name__], regex: 'container_memory_(mapped_file|swap)'}
  - {action: drop, source_labels: [__name__], regex: 'container_(file_descriptors|tasks_state|threads_max)'}
  - {action: drop, source_labels: [__name__], regex: 'container_spec.*'}
  - {action: drop, source_labels: [id, pod], regex: '/.+;'}
";

/// PEM of DER certificates, without any other text of the file.
pub fn pem(certificates: &[Vec<u8>]) -> String {
    use x509_cert::der::pem::{LineEnding, encode_string};
    certificates.iter().filter_map(|der| encode_string("CERTIFICATE", LineEnding::LF, der).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Origin},
        account::{Account, desired::Fence},
        job::{
            EVERY_JOB, Pace, Selector,
            route::{Pins, Route},
        },
        text::duration::Seconds,
    };

    fn request(jobs: &str) -> JoinRequest {
        JoinRequest {
            cluster: "east".parse().unwrap(),
            account: Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() },
            jobs: jobs.parse().unwrap(),
            federate_match: Selector::defaults(),
            fence: Fence::Required,
            pace: Pace { interval: Seconds(60), timeout: Seconds(30) },
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

    fn delivered(format: Format, jobs: &str) -> String {
        let request = request(jobs);
        let files = CredentialFiles {
            token: "east/20261125t101500z-x7k2/token",
            ca: "east/20261125t101500z-x7k2/ca.crt",
            kubelet_ca: "east/20261125t101500z-x7k2/kubelet-ca.crt",
            expires: "2026-12-01T09:12:00Z".parse().unwrap(),
            rotate: "kubectl prom-federate rotate east --now -p /etc/prometheus",
            leave: "kubectl prom-federate leave east -p /etc/prometheus",
        };
        fragment(ScrapeJobs { request: &request, access: &access() }, &files, format)
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
            expires: "2026-12-01T09:12:00Z".parse().unwrap(),
            rotate: "rotate",
            leave: "leave",
        };
        let proxy = Some("http://proxy:3128".parse().unwrap());
        let url = "https://rancher.example.com/k8s/clusters/c-1".parse().unwrap();
        let access = Access { url, proxy, tls_server_name: Some("api.internal".into()), kubelet_ca, ..access() };
        fragment(ScrapeJobs { request: &request, access: &access }, &files, format)
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
        assert_eq!(yaml::read(&text).unwrap().as_array().map(Vec::len), Some(12));
        assert_eq!(text.matches("follow_redirects").count(), 12, "only of the jobs: {text}");
    }
}
