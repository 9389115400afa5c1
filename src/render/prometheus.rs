//! The scrape jobs as Prometheus reads them: a mapping `scrape_configs:` that is a `scrape_config_files` fragment as
//! it stands, and whose items can be pasted under an existing `scrape_configs:`. vmagent reads the bare list.
//!
//! Written out by hand rather than serialised: this text is the product, people read and review it. Every value that
//! comes from outside goes through [`yaml::quoted`].

use crate::{
    model::{
        access::Access,
        destination::Format,
        job::Job,
        request::{JoinRequest, command},
        shell, token,
    },
    yaml,
};
use jiff::Timestamp;
use std::fmt::Write;

/// What the jobs of one cluster say.
#[derive(Clone, Copy, Debug)]
pub struct ScrapeJobs<'a> {
    pub request: &'a JoinRequest,
    pub access: &'a Access,
}

/// What the comment on top of printed jobs says.
#[derive(Clone, Debug)]
pub struct Header<'a> {
    pub context: &'a str,
    pub bound_secret: &'a str,
    pub made: Timestamp,
    pub expires: Timestamp,
}

/// Where the jobs have token and CA from.
#[derive(Clone, Copy)]
enum Credentials<'a> {
    /// In the jobs themselves: they are a secret then.
    Inline {
        token: &'a str,
    },
    Files {
        token: &'a str,
        ca: &'a str,
    },
}

/// The files of a delivery as its jobs name them.
#[derive(Clone, Debug)]
pub struct CredentialFiles<'a> {
    pub token: &'a str,
    pub ca: &'a str,
    pub expires: Timestamp,
    /// The command that renews the token, and the one that takes the cluster away.
    pub rotate: &'a str,
    pub leave: &'a str,
}

/// The fragment, with token and CA inline (Prometheus 2.45 or later): it holds a secret.
pub fn printed(jobs: ScrapeJobs, header: &Header, token: &str) -> String {
    comment(jobs, header) + "scrape_configs:\n" + &items(jobs, Credentials::Inline { token }, Format::Prometheus)
}

/// The fragment of a directory, with the paths of token and CA (Prometheus 2.43 or later, or vmagent).
pub fn fragment(jobs: ScrapeJobs, files: &CredentialFiles, format: Format) -> String {
    let comment = format!(
        "\
# Scrape jobs for cluster {cluster} ({url}), written by kubectl prom-federate {version}.
# Not to be edited: the next rotate writes it anew. The token is {expires}.
# New token:      {rotate}
# Take all away:  {leave}
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
    comment + list + &items(jobs, Credentials::Files { token: files.token, ca: files.ca }, format)
}

pub(super) fn validity(expires: Timestamp) -> String {
    if expires == token::NEVER {
        "valid until its Secret is deleted".to_owned()
    } else {
        format!("valid until {}", expires.strftime("%Y-%m-%d %H:%M UTC"))
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
# Holds a token of service account {account}, {expires}: readable by Prometheus, by nobody else.
# Use as a file of scrape_config_files, or paste the items below under scrape_configs (Prometheus 2.45 or later).
# New token:        {join}
# Revoke this one:  kubectl --context {context} --namespace {namespace} delete secret {secret}
# Take all away:    {leave}
",
        cluster = jobs.request.cluster,
        url = jobs.access.url,
        made = header.made.strftime("%Y-%m-%d"),
        version = env!("CARGO_PKG_VERSION"),
        expires = validity(header.expires),
        join = command("join", header.context, account),
        leave = command("leave", header.context, account),
        context = shell::word(header.context),
        namespace = account.namespace,
        secret = header.bound_secret,
    )
}

fn item(text: &mut String, jobs: ScrapeJobs, job: Job, with: Credentials, format: Format) {
    let cluster = jobs.request.cluster.as_str();
    let name = yaml::quoted(&format!("prom-federate/{cluster}/{job}"));
    // Without follow_redirects: false a redirecting target gets the token (Prometheus before 3.13).
    let _ = write!(
        text,
        "- job_name: {name}
  scheme: https
  scrape_interval: {interval}
  scrape_timeout: {timeout}
  follow_redirects: false
",
        interval = jobs.request.pace.interval,
        timeout = jobs.request.pace.timeout,
    );
    if !job.honors_timestamps() {
        *text += "  honor_timestamps: false\n";
    }
    credentials(text, "  ", jobs.access, with);
    // Byte-identical in every job of a cluster: Prometheus then shares one watch among them.
    *text += "  kubernetes_sd_configs:\n  - role: node\n";
    let _ = writeln!(text, "    api_server: {}", yaml::quoted(&jobs.access.url.to_string()));
    // vmagent takes a token to no other host, and its older releases refuse the field here.
    if format == Format::Prometheus {
        *text += "    follow_redirects: false\n";
    }
    credentials(text, "    ", jobs.access, with);
    relabelling(text, jobs, job);
}

fn credentials(text: &mut String, indent: &str, access: &Access, with: Credentials) {
    let (key, value) = match with {
        Credentials::Inline { token } => ("credentials", token),
        Credentials::Files { token, .. } => ("credentials_file", token),
    };
    let _ = write!(text, "{indent}authorization:\n{indent}  {key}: {}\n", yaml::quoted(value));
    if let Some(proxy) = &access.proxy {
        let _ = writeln!(text, "{indent}proxy_url: {}", yaml::quoted(&proxy.to_string()));
    }
    if access.ca.is_none() && access.tls_server_name.is_none() {
        return;
    }
    let _ = writeln!(text, "{indent}tls_config:");
    if let Some(name) = &access.tls_server_name {
        let _ = writeln!(text, "{indent}  server_name: {}", yaml::quoted(name));
    }
    match (&access.ca, with) {
        (None, _) => {}
        (Some(_), Credentials::Files { ca, .. }) => {
            let _ = writeln!(text, "{indent}  ca_file: {}", yaml::quoted(ca));
        }
        (Some(ca), Credentials::Inline { .. }) => {
            let _ = writeln!(text, "{indent}  ca: |");
            for line in pem(&ca.certificates).lines() {
                let _ = writeln!(text, "{indent}    {line}");
            }
        }
    }
}

fn relabelling(text: &mut String, jobs: ScrapeJobs, job: Job) {
    // A replacement is a template: a literal dollar is written twice.
    let literal = |value: &str| yaml::quoted(&value.replace('$', "$$"));
    let path =
        format!("{}/api/v1/nodes/${{1}}/proxy{}", jobs.access.url.prefix().replace('$', "$$"), job.metrics_path());
    let _ = write!(
        text,
        "  relabel_configs:
  - {{target_label: __address__, replacement: {address}}}
  - {{source_labels: [__meta_kubernetes_node_name], target_label: __metrics_path__, replacement: {path}}}
  - {{source_labels: [__meta_kubernetes_node_name], target_label: node}}
  - {{source_labels: [__meta_kubernetes_node_name], target_label: instance}}
  - {{target_label: job, replacement: {job_label}}}
  - {{target_label: metrics_path, replacement: {metrics_path}}}
  - {{target_label: cluster, replacement: {cluster}}}
",
        address = literal(&jobs.access.url.address()),
        path = yaml::quoted(&path),
        job_label = job.job_label(),
        metrics_path = job.metrics_path(),
        cluster = literal(jobs.request.cluster.as_str()),
    );
    if job == Job::Cadvisor && !jobs.request.keep_all_metrics {
        *text += CADVISOR_DROPS;
    }
}

/// What kube-prometheus-stack drops by default (its values.yaml, `cAdvisorMetricRelabelings`), except that the root
/// cgroup stays: it is the node's own CPU and memory.
const CADVISOR_DROPS: &str = "  metric_relabel_configs:
  - {action: drop, source_labels: [__name__], regex: 'container_cpu_(cfs_throttled_seconds_total|load_average_10s|system_seconds_total|user_seconds_total)'}
  - {action: drop, source_labels: [__name__], regex: 'container_fs_(io_current|io_time_seconds_total|io_time_weighted_seconds_total|reads_merged_total|sector_reads_total|sector_writes_total|writes_merged_total)'}
  - {action: drop, source_labels: [__name__], regex: 'container_memory_(mapped_file|swap)'}
  - {action: drop, source_labels: [__name__], regex: 'container_(file_descriptors|tasks_state|threads_max)'}
  - {action: drop, source_labels: [__name__], regex: 'container_spec.*'}
  - {action: drop, source_labels: [id, pod], regex: '/.+;'}
";

/// PEM of DER certificates: what we emit is certificates and nothing else, whatever stood between them in the file.
pub fn pem(certificates: &[Vec<u8>]) -> String {
    use x509_cert::der::pem::{LineEnding, encode_string};
    certificates.iter().filter_map(|der| encode_string("CERTIFICATE", LineEnding::LF, der).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Origin},
        account::Account,
        duration::Seconds,
        job::Pace,
        object::Fence,
    };

    fn request(jobs: &str) -> JoinRequest {
        JoinRequest {
            cluster: "east".parse().unwrap(),
            account: Account { namespace: "prom-federate".parse().unwrap(), name: "prometheus".parse().unwrap() },
            jobs: jobs.parse().unwrap(),
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
        }
    }

    #[test]
    fn both_jobs() {
        insta::assert_snapshot!(rendered(&access(), "default"));
    }

    #[test]
    fn a_public_ca_a_server_name_a_path_prefix_and_a_proxy() {
        let access = Access {
            url: "https://rancher.example.com/k8s/clusters/c-1".parse().unwrap(),
            ca: None,
            tls_server_name: Some("api.internal".into()),
            proxy: Some("socks5://[fd00::1]:1080".parse().unwrap()),
            ..access()
        };
        insta::assert_snapshot!(rendered(&access, "kubelet"));
    }

    fn delivered(format: Format) -> String {
        let request = request("default");
        let files = CredentialFiles {
            token: "east/20261125t101500z-x7k2/token",
            ca: "east/20261125t101500z-x7k2/ca.crt",
            expires: "2026-12-01T09:12:00Z".parse().unwrap(),
            rotate: "kubectl prom-federate rotate east --now -p /etc/prometheus",
            leave: "kubectl prom-federate leave east -p /etc/prometheus",
        };
        fragment(ScrapeJobs { request: &request, access: &access() }, &files, format)
    }

    #[test]
    fn jobs_of_a_directory_name_their_files() {
        insta::assert_snapshot!(delivered(Format::Prometheus));
    }

    #[test]
    fn a_token_that_never_expires_says_so() {
        assert_eq!(validity(token::NEVER), "valid until its Secret is deleted");
    }

    #[test]
    fn vmagent_reads_a_bare_list_without_the_fields_it_refuses() {
        let text = delivered(Format::Vmagent);
        assert_eq!(yaml::read(&text).unwrap().as_array().map(Vec::len), Some(2));
        assert_eq!(text.matches("follow_redirects").count(), 2, "only of the jobs: {text}");
    }

    #[test]
    fn the_discovery_block_is_the_same_in_every_job() {
        let value = yaml::read(&rendered(&access(), "default")).unwrap();
        let jobs = value["scrape_configs"].as_array().unwrap();
        assert_eq!(jobs.len(), 2);
        assert_eq!(jobs[0]["kubernetes_sd_configs"], jobs[1]["kubernetes_sd_configs"]);
    }
}
