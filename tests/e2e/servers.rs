//! API servers that people have, each joined as far as it allows and scraped by the real Prometheus with the printed jobs.

use crate::plugin::{Account, Run};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P521_SHA512,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use testbed::{ClusterSpec, Kubeconfig, Kubernetes, Prometheus, PrometheusSpec, Trust, special};

trials! {
    servers:
    full {
        tokens_end_after_a_day,
        no_policy_api,
        policies_that_are_not_enforced,
        kubernetes_1_29,
        certificates_that_go_verifies_are_verified,
        connections_that_close_at_random_lose_no_request,
        api_server_without_http2_is_joined,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);
const UNFENCED: [&str; 2] = ["--fence=off", "--scrape-interval=1s"];

/// Both jobs of its one node.
fn scraped(joined: &Run) {
    let printed = joined.stdout.clone();
    let spec = PrometheusSpec::new("scrape_config_files: [a.scrape.yml]\n").file("a.scrape.yml", printed);
    let prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
    prometheus.wait_for_targets(2, SCRAPED_WITHIN).unwrap_or_else(|error| panic!("{error:#}\n{}", prometheus.log()));
}

/// Nothing stays behind, and the token is dead.
fn left(account: &Account) {
    let left = account.run(&["leave"]).succeeded();
    assert!(left.stderr.contains("a token that worked before now gets 401 (after "), "{}", left.stderr);
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn tokens_end_after_a_day() {
    let day = Duration::from_secs(24 * 3600);
    let account = Account::new(special("day", || ClusterSpec::new("day").token_cap(day)), "day");
    let joined = account.join(&["--scrape-interval=1s"]);
    assert!(joined.stderr.contains("7d asked, 24h granted by this server"), "{}", joined.stderr);
    scraped(&joined);
    left(&account);
}

fn no_policy_api() {
    let account = Account::new(special("old", || ClusterSpec::new("old").without_policies()), "old");
    account.run(&["join"]).failed("PolicyApiMissing", &["hint: To join without a fence: --fence=off; but "]);
    scraped(&account.join(&UNFENCED));
    left(&account);
}

fn policies_that_are_not_enforced() {
    let cluster = special("ignoring", || ClusterSpec::new("ignoring").policies_ignored());
    Account::new(cluster, "unenforced").run(&["join"]).failed("FenceNotEnforced", &["--fence=off"]);
    // The namespace of the one that was undone is still ending.
    let account = Account::new(cluster, "unfenced");
    scraped(&account.join(&UNFENCED));
    left(&account);
}

fn kubernetes_1_29() {
    let account = Account::new(special("v1-29", || ClusterSpec::new("v1-29").kubernetes(Kubernetes::V1_29)), "v1-29");
    account.run(&["join"]).failed(
        "PolicyApiMissing",
        &["it needs Kubernetes 1.30 or later", "hint: To join without a fence: --fence=off; but "],
    );
    let joined = account.join(&UNFENCED);
    assert!(joined.stderr.contains("Kubernetes v1.29.6"), "{}", joined.stderr);
    scraped(&joined);
    left(&account);
}

fn with_flag(name: &str, flag: &str) -> ClusterSpec {
    ClusterSpec { api_server_flags: vec![flag.to_owned()], ..ClusterSpec::new(name) }
}

/// A load balancer's API servers send clients away now and then, so that these spread.
fn connections_that_close_at_random_lose_no_request() {
    let cluster = special("goaway", || with_flag("goaway", "--goaway-chance=0.02"));
    let account = Account::new(cluster, "goaway");
    scraped(&account.join(&["--scrape-interval=1s"]));
    for _ in 0..10 {
        account.join(&["--scrape-interval=1s"]);
    }
    left(&account);
}

fn api_server_without_http2_is_joined() {
    let cluster = special("http1", || with_flag("http1", "--disable-http2-serving"));
    let account = Account::new(cluster, "http1");
    scraped(&account.join(&["--scrape-interval=1s"]));
    left(&account);
}

/// A serving certificate for a name of its own, and the CA file that kubectl and Prometheus verify it with.
struct Serving {
    name: &'static str,
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

/// The same API server with five certificates, chosen by the name that a client asks for.
fn certificates_that_go_verifies_are_verified() {
    let folder = testbed::run_dir().expect("a folder").join("certificates");
    fs::create_dir_all(&folder).expect("a folder");
    let issuer = |kind| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate_for(kind).expect("a key")).expect("a CA")
    };
    let (p256, p521) = (issuer(&PKCS_ECDSA_P256_SHA256), issuer(&PKCS_ECDSA_P521_SHA512));
    let marked = IsCa::Ca(BasicConstraints::Unconstrained);
    let serving: Vec<Serving> = [
        ("ca-p521.example", &PKCS_ECDSA_P256_SHA256, IsCa::NoCa, Some(&p521), Some(&p521)),
        ("p521.example", &PKCS_ECDSA_P521_SHA512, IsCa::NoCa, Some(&p256), Some(&p256)),
        ("self-signed.example", &PKCS_ECDSA_P256_SHA256, marked, None, None),
        ("pinned.example", &PKCS_ECDSA_P256_SHA256, IsCa::NoCa, Some(&p256), None),
        ("marked.example", &PKCS_ECDSA_P256_SHA256, marked, Some(&p256), Some(&p256)),
    ]
    .into_iter()
    .map(|(name, kind, is_ca, issuer, ca)| {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.is_ca = is_ca;
        let key = KeyPair::generate_for(kind).expect("a key");
        let certificate = match issuer {
            Some(issuer) => params.signed_by(&key, issuer),
            None => params.self_signed(&key),
        };
        let certificate = certificate.expect("a certificate").pem();
        let write = |what: &str, text: &str| {
            let path = folder.join(format!("{name}.{what}"));
            fs::write(&path, text).expect("a file");
            path
        };
        let ca = write("ca", &ca.map_or_else(|| certificate.clone(), CertifiedIssuer::pem));
        Serving { name, certificate: write("crt", &certificate), key: write("key", &key.serialize_pem()), ca }
    })
    .collect();
    let cluster = special("certificates", || {
        serving.iter().fold(ClusterSpec::new("certificates"), |spec, Serving { name, certificate, key, .. }| {
            spec.api_server_flag(format!("--tls-sni-cert-key={},{}:{name}", certificate.display(), key.display()))
        })
    });
    let kubectl = |kubeconfig: &Path| {
        let mut kubectl = Command::new(&testbed::tools().kubectl);
        kubectl.arg("--kubeconfig").arg(kubeconfig).args(["get", "--raw", "/version"]).output().expect("kubectl starts")
    };
    for Serving { name, ca, .. } in &serving {
        let account = Account::new(cluster, name.trim_end_matches(".example"));
        let kubeconfig = |ca: &Path, name: &str| {
            let context = Kubeconfig {
                trust: Trust::File(ca.to_owned()),
                tls_server_name: Some(name.to_owned()),
                ..cluster.admin()
            };
            cluster.write_kubeconfig(&context).expect("a kubeconfig")
        };
        let good = kubeconfig(ca, name);
        let theirs = kubectl(&good);
        assert!(theirs.status.success(), "{name}: {}", String::from_utf8_lossy(&theirs.stderr));
        let joined = account.run_with(&good, &["join", "--scrape-interval=1s"]).succeeded();
        scraped(&joined);
        account.run_with(&good, &["leave"]).succeeded();
        for (bad, reason) in [
            (kubeconfig(ca, "127.0.0.1"), "CertificateNotTrusted"),
            (kubeconfig(cluster.ca_file(), name), "CertificateNotTrusted"),
        ] {
            assert!(!kubectl(&bad).status.success(), "{name}");
            let run = account.run_with(&bad, &["join"]).failed(reason, &[]);
            assert!(!run.stderr.contains("Context") && !run.stderr.contains("OtherError"), "{}", run.stderr);
        }
    }
}
