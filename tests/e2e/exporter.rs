//! What a cluster runs: a server of pages on this machine's own address, over plain HTTP or TLS, and pods that stand for
//! it.

use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};
use testbed::{Cluster, Validity, machine_address};

/// A server that answers some paths with a page, every other with 404, until it is dropped. A page can begin with
/// headers of its own, up to an empty line.
pub(crate) struct Exporter {
    pub(crate) address: SocketAddr,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    pub(crate) fn http(pages: &'static [(&'static str, &'static str)]) -> Self {
        Self::start(pages, None)
    }

    /// With an untrusted certificate: the API server does not verify it.
    pub(crate) fn https(cluster: &Cluster, pages: &'static [(&'static str, &'static str)]) -> Self {
        let files = cluster.client_certificate("exporter", &[], Validity::current()).expect("a certificate");
        let certificates = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect).expect("PEM");
        let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .expect("a certificate with its key");
        Self::start(pages, Some(Arc::new(config)))
    }

    fn start(pages: &'static [(&'static str, &'static str)], tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind((machine_address().expect("an address"), 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let ends = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if until.load(Ordering::SeqCst) {
                    break;
                }
                // A client that goes away is no concern of ours.
                let _ = match &tls {
                    None => answer(stream, pages),
                    Some(tls) => ServerConnection::new(Arc::clone(tls))
                        .map_err(std::io::Error::other)
                        .and_then(|session| answer(StreamOwned::new(session, stream), pages)),
                };
            }
        });
        Self { address, ends, thread: Some(thread) }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // It waits for a connection.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(5));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: impl Read + Write, pages: &[(&str, &str)]) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            count => head.extend_from_slice(&chunk[..count]),
        }
        // TLS where none is spoken: Go's servers say so at once, too.
        if !head[0].is_ascii_uppercase() {
            return stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let (status, body) = match pages.iter().find(|(page, _)| *page == path) {
        Some((_, body)) => ("200 OK", *body),
        None => ("404 Not Found", "404 page not found\n"),
    };
    let (headers, body) = body.split_once("\r\n\r\n").unwrap_or(("Content-Type: text/plain; version=0.0.4", body));
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")?;
    stream.flush()
}

/// Serves version 1 of a group behind the API server, until it is dropped: the group's own page first, then one that is
/// waited for, then others.
pub(crate) fn aggregated_api(
    cluster: &Cluster,
    group: &str,
    pages: &'static [(&'static str, &'static str)],
) -> Exporter {
    namespace(cluster, "e2e-run-aggregated");
    let server = Exporter::https(cluster, pages);
    cluster.service("e2e-run-aggregated", "metrics", "https", 443, server.address).expect("a service");
    let service = json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": format!("v1.{group}") },
        "spec": {
            "group": group, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 15,
            "insecureSkipTLSVerify": true,
            "service": { "namespace": "e2e-run-aggregated", "name": "metrics", "port": 443 },
        },
    });
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    cluster.api().post(services, &service).expect("the API server answers").success("register it").expect("registered");
    let is_there = || {
        let groups = cluster.api().get("/apis").ok()?.body;
        let page = cluster.api().get(pages[1].0).ok()?;
        (groups.contains(group) && page.is_success()).then_some(())
    };
    testbed::until(Duration::from_secs(30), is_there).expect("the API server forwards to it");
    server
}

/// Makes a namespace before the join.
pub(crate) fn namespace(cluster: &Cluster, name: &str) {
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    cluster
        .api()
        .post("/api/v1/namespaces", &namespace)
        .expect("the API server answers")
        .success("make it")
        .expect("made");
}

/// A running pod at an address of this machine; no kubelet takes charge of it.
pub(crate) fn pod(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    annotations: &Value,
    labels: &Value,
    address: SocketAddr,
) {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "annotations": annotations, "labels": labels },
        "spec": {
            "automountServiceAccountToken": false,
            "containers": [{ "name": "c", "image": "e2e.invalid/c", "ports": [{ "containerPort": address.port() }] }],
        },
    });
    // A fresh namespace gets the service account that every pod needs within moments.
    let made = testbed::until(Duration::from_secs(20), || {
        let answer = cluster.api().post(&path, &pod).expect("the API server answers");
        (answer.status != 403).then_some(answer)
    });
    made.expect("a service account").success("make the pod").expect("made");
    let ip = address.ip();
    let status = json!({ "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "hostIP": ip } });
    let path = format!("{path}/{name}/status");
    cluster.api().patch(&path, &status).expect("the API server answers").success("write its status").expect("written");
}

/// Labels a Service as its usual deployment would.
pub(crate) fn label(cluster: &Cluster, namespace: &str, service: &str, labels: &Value) {
    let path = format!("/api/v1/namespaces/{namespace}/services/{service}");
    let change = json!({ "metadata": { "labels": labels } });
    cluster.api().patch(&path, &change).expect("the API server answers").success("label it").expect("labelled");
}
