//! One Kubernetes cluster: etcd, kube-apiserver, kube-controller-manager and its nodes.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::json;

use crate::api::Api;
use crate::kubeconfig::{Kubeconfig, Trust, User};
use crate::pki::{Client, KUBELET_CLIENT, Pki, Validity};
use crate::process::{Process, run_dir};
use crate::tools::{Tools, kube_apiserver_1_29};
use crate::{ports, wait};

/// A busy machine with two cores starts several clusters at once.
const START: Duration = Duration::from_secs(120);
/// How often a start is tried when another process takes a port that we found free.
const TRIES: usize = 4;
const PORT_TAKEN: &str = "address already in use";

/// What the testbed needs of the controller manager. Controllers that act on pods have nothing to do here.
const CONTROLLERS: &str = "--controllers=clusterrole-aggregation-controller,namespace-controller,\
    root-ca-certificate-publisher-controller,serviceaccount-controller,serviceaccount-token-controller";

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct ClusterSpec {
    pub name: String,
    pub nodes: usize,
    pub api_server_flags: Vec<String>,
    pub controllers: Vec<String>,
    pub kubernetes: Kubernetes,
    /// Whether the kubelets let the API server in. Without it every scrape through the API server is forbidden.
    pub kubelet_admin_binding: bool,
    pub kubelet_certificates: KubeletCertificates,
}

/// Who signs the certificates that the kubelets serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubeletCertificates {
    /// Each its own, for its host's name, as without `serverTLSBootstrap`.
    Themselves,
    /// The cluster's authority, for the node's address.
    Cluster,
    /// One that signs for kubelets alone, for the node's address.
    Own,
}

/// The release of the API server; everything else is always the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kubernetes {
    Current,
    /// The last without `ValidatingAdmissionPolicy` in `v1`.
    V1_29,
}

impl ClusterSpec {
    /// One node and nothing special.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            nodes: 1,
            api_server_flags: Vec::new(),
            controllers: Vec::new(),
            kubernetes: Kubernetes::Current,
            kubelet_admin_binding: true,
            kubelet_certificates: KubeletCertificates::Themselves,
        }
    }

    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// A flag for kube-apiserver, after the testbed's own.
    #[must_use]
    pub fn api_server_flag(mut self, flag: impl Into<String>) -> Self {
        self.api_server_flags.push(flag.into());
        self
    }

    /// A controller of kube-controller-manager, beside those that the testbed needs.
    #[must_use]
    pub fn controller(mut self, name: impl Into<String>) -> Self {
        self.controllers.push(name.into());
        self
    }

    /// No token lives longer than `limit`, as on managed clusters.
    #[must_use]
    pub fn token_cap(self, limit: Duration) -> Self {
        self.api_server_flag("--service-account-extend-token-expiration=false")
            .api_server_flag(format!("--service-account-max-token-expiration={}s", limit.as_secs()))
    }

    /// The kinds of `ValidatingAdmissionPolicy` are unknown, as in a cluster older than 1.30.
    #[must_use]
    pub fn without_policies(self) -> Self {
        let group = "admissionregistration.k8s.io/v1";
        self.policies_ignored().api_server_flag(format!(
            "--runtime-config={group}/validatingadmissionpolicies=false,{group}/validatingadmissionpolicybindings=false"
        ))
    }

    /// Policies are accepted and not enforced.
    #[must_use]
    pub fn policies_ignored(self) -> Self {
        self.api_server_flag("--disable-admission-plugins=ValidatingAdmissionPolicy")
    }

    #[must_use]
    pub fn kubelet_certificates(mut self, by: KubeletCertificates) -> Self {
        self.kubelet_certificates = by;
        self
    }

    #[must_use]
    pub fn kubernetes(mut self, release: Kubernetes) -> Self {
        self.kubernetes = release;
        self
    }

    #[must_use]
    pub fn without_kubelet_admin_binding(mut self) -> Self {
        self.kubelet_admin_binding = false;
        self
    }
}

/// A running cluster; dropping it stops it.
pub struct Cluster {
    name: String,
    dir: PathBuf,
    pki: Pki,
    address: SocketAddr,
    url: String,
    ca_file: PathBuf,
    kubeconfig: PathBuf,
    api: Api,
    nodes: Vec<Node>,
    spec: ClusterSpec,
    /// Signs for the kubelets, if they have an authority of their own.
    kubelet_pki: Option<Pki>,
    /// Stopped in this order.
    servers: Vec<Process>,
    files: AtomicUsize,
}

struct Node {
    name: String,
    kubelet: SocketAddr,
    process: Process,
}

impl Cluster {
    /// Start a cluster and wait until all its nodes are ready and their kubelets answer through the API server.
    pub fn start(spec: &ClusterSpec) -> Result<Self> {
        let tools = Tools::get()?;
        let mut tries = 1;
        loop {
            match Self::start_once(spec, tools) {
                Err(error) if tries < TRIES && format!("{error:#}").contains(PORT_TAKEN) => {
                    tries += 1;
                }
                Err(error) => return Err(error.context(format!("cluster {}", spec.name))),
                started => return started,
            }
        }
    }

    fn start_once(spec: &ClusterSpec, tools: &Tools) -> Result<Self> {
        let dir = new_dir(&spec.name)?;
        let pki = Pki::create(&dir.join("pki"), &spec.name)?;
        let kubelet_pki = (spec.kubelet_certificates == KubeletCertificates::Own)
            .then(|| Pki::create(&dir.join("kubelet-pki"), &format!("{}-kubelets", spec.name)))
            .transpose()?;
        let etcd_url = format!("http://127.0.0.1:{}", ports::free()?);
        let etcd = Process::start("etcd", &dir, etcd(tools, &etcd_url)?)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()?));
        let api_server = Process::start("kube-apiserver", &dir, api_server(tools, spec, &pki, address, &etcd_url)?)?;

        let url = format!("https://{address}");
        let api = Api::new(address, &pki.ca_file(), &pki.admin())?;
        let mut cluster = Self {
            name: spec.name.clone(),
            ca_file: pki.ca_file(),
            kubeconfig: dir.join("kubeconfig"),
            files: AtomicUsize::new(0),
            nodes: Vec::new(),
            spec: spec.clone(),
            kubelet_pki,
            servers: vec![api_server, etcd],
            dir,
            pki,
            address,
            url,
            api,
        };
        cluster.admin().write(&cluster.kubeconfig)?;
        cluster
            .until_ready("answers /readyz", || cluster.api.get("/readyz").is_ok_and(|answer| answer.status == 200))?;

        // The API server's own rights are set up by now, this one is the installer's task on a real cluster.
        if spec.kubelet_admin_binding {
            cluster.bind_kubelet_admin()?;
        }
        let manager = Process::start("kube-controller-manager", &cluster.dir, controller_manager(tools, &cluster))?;
        cluster.servers.insert(0, manager);
        for _ in 0..spec.nodes {
            cluster.start_node(tools)?;
        }
        for node in &cluster.nodes {
            cluster.until_node_is_ready(node)?;
        }
        cluster.until_ready("has a service account for pods", || {
            cluster
                .api
                .get("/api/v1/namespaces/default/serviceaccounts/default")
                .is_ok_and(|answer| answer.status == 200)
        })?;
        Ok(cluster)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn start_node(&mut self, tools: &Tools) -> Result<()> {
        let node = Node::start(tools, self, self.nodes.len(), ports::machine_address()?)?;
        self.nodes.push(node);
        Ok(())
    }

    fn until_node_is_ready(&self, node: &Node) -> Result<()> {
        let ready = || self.node_is_ready(node, self.spec.kubelet_admin_binding);
        self.until_ready(&format!("has the node {} ready", node.name), ready)
    }

    /// Start one node more and wait until it is ready. Returns its name.
    pub fn add_node(&mut self) -> Result<String> {
        self.start_node(Tools::get()?)?;
        let node = self.nodes.last().context("a node was started")?;
        self.until_node_is_ready(node)?;
        Ok(node.name.clone())
    }

    /// The administrator's kubeconfig, with one context called like the cluster.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn ca_file(&self) -> &Path {
        &self.ca_file
    }

    /// The authority that signs for the kubelets; their own certificates where they sign them themselves.
    ///
    /// # Panics
    /// When there is no node whose certificate that could be.
    pub fn kubelet_ca_file(&self) -> PathBuf {
        match self.spec.kubelet_certificates {
            KubeletCertificates::Cluster => self.ca_file.clone(),
            KubeletCertificates::Own => {
                self.kubelet_pki.as_ref().map(Pki::ca_file).expect("it was made with the cluster")
            }
            KubeletCertificates::Themselves => self.dir.join(&self.nodes[0].name).join("kubelet.crt"),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn node_names(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    /// The kubelet itself, not through the API server. Its certificate is its own.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn kubelet_url(&self, node: usize) -> String {
        format!("https://{}", self.nodes[node].kubelet)
    }

    /// End one node as a power cut would. It stays in the API server's list.
    ///
    /// # Panics
    /// When there is no such node.
    pub fn kill_node(&self, node: usize) {
        self.nodes[node].process.stop();
    }

    /// The API server, with all rights, without a kubectl in between.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// How the administrator reaches this cluster, to be varied.
    pub fn admin(&self) -> Kubeconfig {
        Kubeconfig {
            context: self.name.clone(),
            server: self.url.clone(),
            trust: Trust::File(self.ca_file.clone()),
            user: User::Certificate(self.pki.admin()),
            namespace: None,
            proxy_url: None,
            tls_server_name: None,
        }
    }

    /// Write a kubeconfig into the cluster's folder.
    pub fn write_kubeconfig(&self, kubeconfig: &Kubeconfig) -> Result<PathBuf> {
        let path = self.dir.join(format!("kubeconfig-{}", self.files.fetch_add(1, Ordering::Relaxed)));
        kubeconfig.write(&path)?;
        Ok(path)
    }

    /// A kubeconfig with a client certificate for `user` in `groups`.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let client = self.client_certificate(user, groups, Validity::current())?;
        self.write_kubeconfig(&Kubeconfig { user: User::Certificate(client), ..self.admin() })
    }

    /// The administrator's kubeconfig, but for another address and, if given, another authority.
    pub fn kubeconfig_with(&self, server: &str, ca: Option<&Path>) -> Result<PathBuf> {
        let trust = Trust::File(ca.unwrap_or(&self.ca_file).to_owned());
        self.write_kubeconfig(&Kubeconfig { server: server.to_owned(), trust, ..self.admin() })
    }

    /// A kubeconfig with a bearer token.
    pub fn kubeconfig_with_token(&self, token: &str) -> Result<PathBuf> {
        self.write_kubeconfig(&Kubeconfig { user: User::Token(token.to_owned()), ..self.admin() })
    }

    /// A client certificate of this cluster's authority, for at most two groups.
    pub fn client_certificate(&self, user: &str, groups: &[&str], valid: Validity) -> Result<Client> {
        let file = format!("client-{}", self.files.fetch_add(1, Ordering::Relaxed));
        self.pki.client(&file, user, groups, valid)
    }

    pub(crate) fn server_certificate(&self, hosts: &[String]) -> Result<Client> {
        self.pki.server(&format!("server-{}", self.files.fetch_add(1, Ordering::Relaxed)), hosts)
    }

    /// Run kubectl as the administrator.
    ///
    /// # Panics
    /// When kubectl cannot be started.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        self.kubectl_with(arguments, "").expect("kubectl")
    }

    /// The output of a kubectl that must succeed.
    ///
    /// # Panics
    /// When it does not, with what it said.
    pub fn kubectl_ok(&self, arguments: &[&str]) -> String {
        succeeded(&self.kubectl(arguments), arguments)
    }

    /// `kubectl apply` of a manifest.
    ///
    /// # Panics
    /// When it fails, with what kubectl said.
    pub fn apply(&self, manifest: &str) {
        let arguments = ["apply", "--server-side", "--filename=-"];
        succeeded(&self.kubectl_with(&arguments, manifest).expect("kubectl"), &arguments);
    }

    fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut child = Command::new(&Tools::get()?.kubectl)
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBECACHEDIR", self.dir.join("kubectl-cache"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // kubectl reads all of its input before it says anything; one that does not read it fails by itself.
            let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
        }
        Ok(child.wait_with_output()?)
    }

    /// The processes of all servers.
    pub fn pids(&self) -> Vec<u32> {
        self.processes().map(Process::pid).collect()
    }

    /// Stop all servers and wait for their end, as dropping does.
    pub fn stop(self) {
        drop(self);
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        self.nodes.iter().map(|node| &node.process).chain(&self.servers)
    }

    /// Wait for a condition, but not for one that cannot come any more because a server has ended.
    fn until_ready(&self, what: &str, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + START;
        let state = wait::until(START, || {
            let ended = self.processes().find_map(|process| process.exited().map(|status| (process, status)));
            match ended {
                Some((process, status)) => Some(Err(process.error(&format!("ended ({status})")))),
                None => ready().then_some(Ok(())),
            }
        });
        state.unwrap_or_else(|| {
            let waited = START.saturating_sub(deadline.saturating_duration_since(Instant::now()));
            let newest = self.nodes.first().map(|node| &node.process).or(self.servers.first());
            let what = format!("runs, but after {} s no cluster {what}", waited.as_secs());
            Err(newest.map_or_else(|| anyhow!("{what}"), |process| process.error(&what)))
        })
    }

    fn bind_kubelet_admin(&self) -> Result<()> {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "testbed:kubelet-api-admin"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": KUBELET_CLIENT}],
        });
        let path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
        self.api.post(path, &binding)?.success("bind system:kubelet-api-admin")?;
        Ok(())
    }

    fn node_is_ready(&self, node: &Node, answers: bool) -> bool {
        let path = format!("/api/v1/nodes/{}", node.name);
        let Ok(object) = self.api.get(&path) else {
            return false;
        };
        let object = object.json();
        let ready = object["status"]["conditions"].as_array().is_some_and(|conditions| {
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        // A kubelet asks the API server about each caller; until it can, it refuses all.
        let scraped = || self.api.get(&format!("{path}/proxy/metrics/cadvisor"));
        ready && (!answers || scraped().is_ok_and(|answer| answer.status == 200 && answer.body.contains("container_")))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes() {
            process.stop();
        }
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Cluster").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Node {
    fn start(tools: &Tools, cluster: &Cluster, number: usize, machine: IpAddr) -> Result<Self> {
        let name = format!("{}-node-{number}", cluster.name);
        let kubelet = SocketAddr::new(machine, ports::free()?);
        let cert_dir = cluster.dir.join(&name);
        let signs = match cluster.spec.kubelet_certificates {
            KubeletCertificates::Themselves => None,
            KubeletCertificates::Cluster => Some(&cluster.pki),
            KubeletCertificates::Own => cluster.kubelet_pki.as_ref(),
        };
        // A kubelet signs its own certificate unless there is one by this name.
        if let Some(pki) = signs {
            fs::create_dir_all(&cert_dir)?;
            let Client { certificate, key } = pki.server(&format!("serving-{name}"), &[machine.to_string()])?;
            fs::copy(certificate, cert_dir.join("kubelet.crt"))?;
            fs::copy(key, cert_dir.join("kubelet.key"))?;
        }
        let argv = command(
            &tools.node,
            [
                format!("-name={name}"),
                format!("-address={machine}"),
                format!("-port={}", kubelet.port()),
                format!("-cert-dir={}", cert_dir.display()),
                format!("-client-ca-file={}", cluster.ca_file.display()),
                format!("-kubeconfig={}", cluster.kubeconfig.display()),
            ],
        );
        let process = Process::start(&name, &cluster.dir, argv)?;
        Ok(Self { name, kubelet, process })
    }
}

/// A folder of the run for a server of this name. Two may have the same name.
pub(crate) fn new_dir(name: &str) -> Result<PathBuf> {
    let run = run_dir()?;
    for number in 1.. {
        let dir = run.join(if number == 1 { name.to_owned() } else { format!("{name}-{number}") });
        match fs::create_dir(&dir) {
            Ok(()) => return Ok(dir),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("make {}", dir.display())),
        }
    }
    Err(anyhow!("no name left for {name}"))
}

pub(crate) fn command(program: &Path, flags: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut argv = vec![program.to_string_lossy().into_owned()];
    argv.extend(flags);
    argv
}

fn succeeded(output: &Output, arguments: &[&str]) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {} ({}): {error}", arguments.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn etcd(tools: &Tools, client_url: &str) -> Result<Vec<String>> {
    let peer_url = format!("http://127.0.0.1:{}", ports::free()?);
    Ok(command(
        &tools.etcd,
        [
            "--data-dir=etcd".into(),
            // Nothing here outlives the run, so nothing need survive a power cut.
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
        ],
    ))
}

fn api_server(
    tools: &Tools,
    spec: &ClusterSpec,
    pki: &Pki,
    address: SocketAddr,
    etcd_url: &str,
) -> Result<Vec<String>> {
    let file = |flag: &str, name: &str| format!("--{flag}={}", pki.path(name).display());
    let own = [
        format!("--etcd-servers={etcd_url}"),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        format!("--advertise-address={}", address.ip()),
        // It would refuse to publish a loopback address as the endpoint of the Service `kubernetes`.
        "--endpoint-reconciler-type=none".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        file("client-ca-file", "ca.crt"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        file("service-account-key-file", "sa.pub"),
        file("service-account-signing-key-file", "sa.key"),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        file("kubelet-client-certificate", "kubelet-client.crt"),
        file("kubelet-client-key", "kubelet-client.key"),
        "--kubelet-preferred-address-types=InternalIP".into(),
    ];
    let program = match spec.kubernetes {
        Kubernetes::Current => &tools.kube_apiserver,
        Kubernetes::V1_29 => kube_apiserver_1_29()?,
    };
    Ok(command(program, own.into_iter().chain(spec.api_server_flags.iter().cloned())))
}

fn controller_manager(tools: &Tools, cluster: &Cluster) -> Vec<String> {
    command(
        &tools.kube_controller_manager,
        [
            format!("--kubeconfig={}", cluster.kubeconfig.display()),
            "--leader-elect=false".into(),
            "--secure-port=0".into(),
            format!("--service-account-private-key-file={}", cluster.pki.path("sa.key").display()),
            format!("--root-ca-file={}", cluster.ca_file.display()),
            cluster.spec.controllers.iter().fold(CONTROLLERS.into(), |all, one| format!("{all},{one}")),
        ],
    )
}
