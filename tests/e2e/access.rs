//! The cluster as Prometheus sees it: addresses, CAs, names and proxies, each scraped by the real Prometheus.

use crate::plugin::{Account, Run, command};
use serde_json::json;
use std::{
    net::{IpAddr, Ipv6Addr, TcpListener},
    path::Path,
    time::Duration,
};
use testbed::{
    Action, Delay, FaultProxy, ForwardProxy, Front, Kubeconfig, Prometheus, PrometheusSpec, Rule, Trust,
    machine_address,
};

trials! {
    access:
    full {
        path_prefix_is_in_every_url,
        proxy_flag_is_for_prometheus_only,
        socks_proxy_is_used,
        absent_proxy_is_named,
        certificate_for_other_names_is_rejected,
        cluster_info_replaces_a_loopback_address,
        cluster_info_is_verified_before_use,
        address_reached_only_by_prometheus_is_proven_by_its_scrapes,
        address_without_a_proven_scrape_is_undone,
        unverified_server_gets_no_credentials,
        public_ca_is_not_stored,
        ipv6_address_is_used,
        invalid_flags_are_rejected,
    }
}

const SCRAPED_WITHIN: Duration = Duration::from_secs(30);

/// A Prometheus that scrapes what was printed, the kubelets of both nodes.
fn scraped(printed: &str) {
    let spec = PrometheusSpec::new("scrape_config_files: [a.scrape.yml]\n").file("a.scrape.yml", printed);
    let prometheus = Prometheus::start_with(&spec).expect("Prometheus starts");
    prometheus.wait_for_targets(2, SCRAPED_WITHIN).unwrap_or_else(|error| panic!("{error:#}\n{}", prometheus.log()));
}

/// A Prometheus that waits for jobs.
fn waiting() -> Prometheus {
    Prometheus::start("global: {scrape_interval: 15s}\n").expect("Prometheus starts")
}

const JOB: [&str; 2] = ["--jobs=kubelet", "--scrape-interval=1s"];

fn path_prefix_is_in_every_url() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "prefix");
    let front = Front { prefix: "/k8s/clusters/c-1".to_owned(), ..Front::default() };
    let proxy = FaultProxy::with(east, front).expect("a proxy");
    let run = account.run_with(&proxy.kubeconfig(), &["join", JOB[0], JOB[1]]).succeeded();
    let job = &run.jobs()[0];
    assert_eq!(job["kubernetes_sd_configs"][0]["api_server"], proxy.url());
    let path = job["relabel_configs"][1]["replacement"].as_str().expect("a path");
    assert_eq!(path, "/k8s/clusters/c-1/api/v1/nodes/${1}/proxy/metrics");
    scraped(&run.stdout);
}

/// Beyond the proxy is another network: the name means nothing here.
fn proxy_flag_is_for_prometheus_only() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "proxy");
    let proxy = ForwardProxy::to(east.address()).expect("a proxy");
    let prometheus = waiting();
    let dir = prometheus.dir().display().to_string();
    let seen = ["--api-server=https://east.internal:6443", "--api-server-tls-name=localhost", "--api-server-proxy"];
    let url = format!("http://{}", proxy.address());
    let run = account.join(&[&JOB[..], &seen, &[&url]].concat());
    assert!(run.stderr.contains(&format!("proven by TLS handshake, through the proxy {url}")), "{}", run.stderr);
    for job in [&run.jobs()[0], &run.jobs()[0]["kubernetes_sd_configs"][0]] {
        assert_eq!(job["proxy_url"], url, "{job}");
    }
    // The administrator's own requests take the administrator's way.
    assert!(proxy.tunnels().iter().all(|tunnel| tunnel.to == "east.internal:6443"), "{:?}", proxy.tunnels());

    account.join(&[&JOB[..], &seen, &[&url, "-p", &dir]].concat());
    prometheus.wait_for_targets(2, SCRAPED_WITHIN).expect("both nodes are up");
    proxy.forget_tunnels();
    let rotated = crate::plugin::run(east.kubeconfig(), &["rotate", "--now", "-p", &dir]).succeeded();
    assert!(rotated.stderr.contains("2 of 2 targets up"), "{}", rotated.stderr);
    assert!(!proxy.tunnels().is_empty(), "the record knows the proxy");
    let left = crate::plugin::run(east.kubeconfig(), &["leave", "east", "--yes", "-p", &dir]).succeeded();
    assert!(left.stderr.contains("a token that worked before now gets 401 (after "), "{}", left.stderr);
}

fn socks_proxy_is_used() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "socks");
    let proxy = ForwardProxy::to(east.address()).expect("a proxy");
    let url = format!("socks5://{}", proxy.address());
    let seen =
        ["--api-server=https://east.internal:6443", "--api-server-tls-name=localhost", "--api-server-proxy", &url];
    let run = account.join(&[&JOB[..], &seen].concat());
    assert!(run.stderr.contains(&format!("proven by TLS handshake, through the proxy {url}")), "{}", run.stderr);
    proxy.forget_tunnels();
    scraped(&run.stdout);
    assert!(proxy.tunnels().iter().any(|tunnel| tunnel.to == "east.internal:6443"), "{:?}", proxy.tunnels());
}

fn absent_proxy_is_named() {
    let account = Account::new(&testbed::shared().east, "no-proxy");
    for (scheme, reason) in [("http", "ConnectionRefused"), ("socks5", "ConnectionFailed")] {
        let proxy = format!("{scheme}://{}", testbed::refused_port());
        account.run(&["join", "--api-server-proxy", &proxy]).failed(
            reason,
            &["as Prometheus would see it", &format!("through the proxy {proxy}"), "hint: Does the proxy run"],
        );
    }
    assert_eq!(account.objects(), Vec::<String>::new());
}

fn certificate_for_other_names_is_rejected() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "other-names");
    let hosts = ["*.example.com", "east.example.com", "10.1.2.3"].map(str::to_owned).to_vec();
    let proxy = FaultProxy::with(east, Front { hosts, ..Front::default() }).expect("a proxy");
    let seen = ["join", JOB[0], JOB[1], "--api-server", &proxy.url()];
    let run = account.run(&seen).failed(
        "CertificateNameMismatch",
        &[&proxy.url(), "it is valid for *.example.com, east.example.com, 10.1.2.3"],
    );
    let flag = run.stderr.split("If that is your cluster: ").nth(1).expect("a proposal").trim();
    assert_eq!(flag, "--api-server-tls-name east.example.com");
    let with_flag: Vec<&str> = seen.into_iter().chain(flag.split(' ')).collect();
    scraped(&account.run(&with_flag).succeeded().stdout);
}

/// `kube-public/cluster-info` as kubeadm writes it, without a CA.
fn cluster_info(server: &str) -> Action {
    let kubeconfig =
        format!("apiVersion: v1\nkind: Config\nclusters: [{{name: '', cluster: {{server: '{server}'}}}}]\n");
    let body = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "kubeconfig": kubeconfig } });
    Action::Answer { status: 200, body }
}

const CLUSTER_INFO: &str = "/api/v1/namespaces/kube-public/configmaps/cluster-info";

fn cluster_info_replaces_a_loopback_address() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "cluster-info");
    let address = machine_address().expect("an address");
    let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
    let routed = FaultProxy::with(east, front).expect("a proxy");
    let loopback = FaultProxy::in_front_of(east).expect("a proxy");
    loopback.rule(Rule::new("GET", CLUSTER_INFO, cluster_info(&routed.url())));
    let run = account.run_with(&loopback.kubeconfig(), &["join", JOB[0], JOB[1]]).succeeded();
    assert!(
        run.stderr.contains("address (from kube-public/cluster-info) and CA (from the kubeconfig"),
        "{}",
        run.stderr
    );
    assert!(!run.stderr.contains("loopback"), "{}", run.stderr);
    assert_eq!(run.jobs()[0]["kubernetes_sd_configs"][0]["api_server"], routed.url());
    scraped(&run.stdout);
    let asked = routed.requests();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.method == "GET"), "only the proof goes there");

    // A Prometheus on this host can use what the kubeconfig says.
    let prometheus = waiting();
    let dir = prometheus.dir().display().to_string();
    let run = account.run_with(&loopback.kubeconfig(), &["join", JOB[0], JOB[1], "-p", &dir]).succeeded();
    assert!(run.stderr.contains("address (from the kubeconfig)"), "{}", run.stderr);
    prometheus.wait_for_targets(2, SCRAPED_WITHIN).expect("both nodes are up");
}

fn cluster_info_is_verified_before_use() {
    let shared = testbed::shared();
    let account = Account::new(&shared.east, "wrong-info");
    let proxy = FaultProxy::in_front_of(&shared.east).expect("a proxy");
    let address = machine_address().expect("an address");
    let front = Front { address, hosts: vec![address.to_string()], ..Front::default() };
    // Another cluster: its CA is not the one that the kubeconfig knows.
    let other = FaultProxy::with(&shared.west, front).expect("a proxy");
    for server in
        [other.url(), format!("https://{}", testbed::refused_port()), "https://no-such-host.invalid".to_owned()]
    {
        proxy.clear_rules();
        proxy.rule(Rule::new("GET", CLUSTER_INFO, cluster_info(&server)));
        let run = account.run_with(&proxy.kubeconfig(), &["join", "--dry-run=client"]).succeeded();
        assert!(run.stderr.contains("address (from the kubeconfig)"), "{server}: {}", run.stderr);
        assert!(run.stderr.contains("is a loopback address"), "{server}: {}", run.stderr);
    }
    assert!(other.requests().is_empty(), "nothing was sent to it");
    // Where none works, each is named with the reason.
    proxy.clear_rules();
    proxy.rule(Rule::new("GET", CLUSTER_INFO, cluster_info("https://no-such-host.invalid")));
    let wrong = shared.west.ca_file().display().to_string();
    account.run_with(&proxy.kubeconfig(), &["join", "--dry-run=client", "--api-server-ca-file", &wrong]).failed(
        "CertificateNotTrusted",
        &[
            &format!("east: as Prometheus would see it (the kubeconfig): the certificate of {}", proxy.url()),
            "hint: Also tried: https://no-such-host.invalid:443 (kube-public/cluster-info): unable to connect",
        ],
    );
}

/// The port is closed until the token is requested; the plugin tried it before.
fn address_reached_only_by_prometheus_is_proven_by_its_scrapes() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "unreachable");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let prometheus = waiting();
    let (dir, address) = (prometheus.dir().display().to_string(), testbed::refused_port());
    let url = format!("https://{address}");
    let arguments = ["join", JOB[0], JOB[1], "--api-server", &url, "-p", &dir];
    let run = std::thread::scope(|scope| {
        let join = scope.spawn(|| account.run_with(&proxy.kubeconfig(), &arguments));
        let asked = || proxy.requests().iter().any(|request| request.path.contains("/token")).then_some(());
        let asked = testbed::until(Duration::from_secs(20), asked);
        let _open = Delay::listening_on(address, east.address(), Duration::ZERO).expect("it listens now");
        let run = join.join().expect("it ends");
        assert!(asked.is_some(), "{}", run.stderr);
        prometheus.wait_for_targets(2, SCRAPED_WITHIN).expect("both nodes are up");
        run.succeeded()
    });
    let warning = format!(
        "Warning: east: as Prometheus would see it (--api-server): the connection to the server {url} was refused"
    );
    assert!(run.stderr.contains(&warning), "{}", run.stderr);
    assert!(run.stderr.contains("Prometheus itself must prove them"), "{}", run.stderr);
    assert!(run.stderr.contains("9 other requests refused by the fence"), "by the other way: {}", run.stderr);
    assert!(run.stderr.contains("2 of 2 targets up"), "{}", run.stderr);
    // It is closed again: the witness takes the other way too.
    let left = account.run_with(&proxy.kubeconfig(), &["leave", "-p", &dir]).succeeded();
    assert!(left.stderr.contains("a token that worked before now gets 401 (after "), "{}", left.stderr);
}

/// Everything is as it was before.
fn address_without_a_proven_scrape_is_undone() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "unseen");
    let prometheus = waiting();
    let dir = prometheus.dir().display().to_string();
    let url = format!("https://{}", testbed::refused_port());
    let join =
        |more: &[&str]| account.run(&[&["join", JOB[0], JOB[1], "--api-server", &url, "-p", &dir], more].concat());
    let untouched = || {
        // A namespace takes its time.
        let gone = || account.objects().is_empty().then_some(());
        testbed::until(SCRAPED_WITHIN, gone).unwrap_or_else(|| panic!("left behind: {:?}", account.objects()));
        assert!(!prometheus.dir().join("prom-federate/east.scrape.yml").exists());
    };
    // Prometheus does not reach it either.
    let run = join(&[]);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    assert!(run.stderr.contains("error (NotScraped): "), "{}", run.stderr);
    untouched();
    // No reload, so no verification.
    join(&["--reload=none"])
        .failed("NotScraped", &["could not confirm that Prometheus can reach east (this host cannot)"]);
    untouched();
    // No API, so no verification.
    let folder = testbed::run_dir().expect("a folder").join("no-prometheus");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("prometheus.yml"), "global: {}\n").expect("a file");
    let folder = folder.display().to_string();
    let arguments = ["join", "--api-server", &url, "--owner=root", "-p", &folder];
    let run = account
        .run(&arguments)
        .failed("ConnectionRefused", &[&url, "hint: Prometheus may reach it, but this could not be confirmed at "]);
    assert!(!run.stderr.contains("created"), "{}", run.stderr);
    // A server with another name is no matter of reach.
    let other =
        FaultProxy::with(east, Front { hosts: vec!["x.example".to_owned()], ..Front::default() }).expect("a proxy");
    account.run(&["join", "--api-server", &other.url(), "-p", &dir]).failed("CertificateNameMismatch", &[]);
    untouched();
}

/// Not a byte of the credentials, nor any request at all.
fn unverified_server_gets_no_credentials() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "insecure");
    let proxy = FaultProxy::in_front_of(east).expect("a proxy");
    let kubeconfig = Kubeconfig { trust: Trust::Skip, ..proxy.client() };
    let path = east.write_kubeconfig(&kubeconfig).expect("a kubeconfig");
    account.run_with(&path, &["join"]).failed(
        "InsecureKubeconfig",
        &["--api-server-ca-file FILE", "kubectl get configmap kube-root-ca.crt -o jsonpath='{.data.ca\\.crt}' > FILE"],
    );
    assert!(proxy.requests().is_empty());
    // What the hint says works, and the CA is proven before anything is sent.
    let pem = east.kubectl_ok(&["get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"]);
    let file = testbed::run_dir().expect("a folder").join("kube-root-ca.crt");
    std::fs::write(&file, pem).expect("a file");
    let ca = file.display().to_string();
    let run = account.run_with(&path, &["join", JOB[0], JOB[1], "--api-server-ca-file", &ca]).succeeded();
    scraped(&run.stdout);
    proxy.forget_requests();
    let wrong = testbed::shared().west.ca_file().display().to_string();
    account.run_with(&path, &["join", "--api-server-ca-file", &wrong]).failed("CertificateNotTrusted", &[]);
    assert!(proxy.requests().is_empty());
}

/// The CAs that this host trusts stand for those that everybody does.
fn public_ca_is_not_stored() {
    let east = &testbed::shared().east;
    let account = Account::new(east, "public-ca");
    let path = east.write_kubeconfig(&Kubeconfig { trust: Trust::System, ..east.admin() }).expect("a kubeconfig");
    let join = |ca: &Path| {
        let arguments = ["join", "--yes", "--namespace", &account.namespace];
        Run::from(command(&path, &arguments).env("SSL_CERT_FILE", ca).output().expect("it starts"))
    };
    let run = join(east.ca_file()).succeeded();
    assert!(run.stderr.contains("and public CA proven by TLS handshake"), "{}", run.stderr);
    assert!(!run.stdout.contains("tls_config"), "{}", run.stdout);
    join(testbed::shared().west.ca_file()).failed("CertificateNotTrusted", &["east: "]);
}

fn ipv6_address_is_used() {
    let loopback = IpAddr::from(Ipv6Addr::LOCALHOST);
    let bound = TcpListener::bind((loopback, 0));
    assert!(bound.is_ok(), "this machine has no ::1: sysctl net.ipv6.conf.lo.disable_ipv6=0");
    let east = &testbed::shared().east;
    let account = Account::new(east, "ipv6");
    let front = Front { address: loopback, hosts: vec!["::1".to_owned()], ..Front::default() };
    let proxy = FaultProxy::with(east, front).expect("a proxy");
    assert!(proxy.url().starts_with("https://[::1]:"), "{}", proxy.url());
    let run = account.run_with(&proxy.kubeconfig(), &["join", JOB[0], JOB[1]]).succeeded();
    assert_eq!(run.jobs()[0]["kubernetes_sd_configs"][0]["api_server"], proxy.url());
    scraped(&run.stdout);
}

fn invalid_flags_are_rejected() {
    let account = Account::new(&testbed::shared().east, "bad-input");
    for (arguments, says) in [
        (["--api-server=10.0.0.5:6443"], "has no scheme; write https://HOST:PORT"),
        (["--api-server-proxy=proxy:3128"], "has no scheme; write http://HOST:PORT"),
        (["--api-server-proxy=ftp://proxy"], "is neither http, https nor socks5"),
        (["--api-server-proxy=http://me:hunter2@proxy"], "contains a user or password"),
        (["--api-server=https://me:hunter2@10.0.0.5"], "is not a URL"),
        (["--duration=4294967297s"], "must be at most 4294967296s (2^32)"),
        (["--duration=99999999999999999999d"], "is too long"),
    ] {
        let run = account.run(&[&["join"][..], &arguments].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        assert!(run.stderr.contains(says), "{arguments:?}: {}", run.stderr);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
    }
    let empty = testbed::run_dir().expect("a folder").join("empty.crt");
    std::fs::write(&empty, "no certificate").expect("a file");
    let run = account.run(&["join", "--api-server-ca-file", &empty.display().to_string()]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("empty.crt contains no PEM certificate\nhint: "), "{}", run.stderr);
    assert_eq!(account.objects(), Vec::<String>::new());
}
