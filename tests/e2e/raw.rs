//! Requests exactly as written, which no client library would send: nothing cleans the path or drops a header.

use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
    WantsVerifier,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use serde_json::Value;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};
use testbed::Cluster;

/// Sends a request with a bearer token and returns status and body.
pub(crate) fn request(cluster: &Cluster, token: &str, method: &str, path: &str) -> (u16, String) {
    send(cluster, token, method, path, "Connection: close\r\nContent-Length: 0\r\n")
}

/// The same with a body of JSON.
pub(crate) fn post(cluster: &Cluster, token: &str, path: &str, body: &Value) -> (u16, String) {
    send_json(cluster, token, "POST", path, body)
}

/// The same by another method.
pub(crate) fn send_json(cluster: &Cluster, token: &str, method: &str, path: &str, body: &Value) -> (u16, String) {
    send(cluster, token, method, path, &with_body("", body))
}

/// The same as another user.
pub(crate) fn impersonating(
    cluster: &Cluster,
    token: &str,
    user: &str,
    method: &str,
    path: &str,
    body: &Value,
) -> (u16, String) {
    send(cluster, token, method, path, &with_body(&format!("Impersonate-User: {user}\r\n"), body))
}

fn with_body(headers: &str, body: &Value) -> String {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let headers = format!("{headers}Connection: close\r\nContent-Type: application/json\r\n");
    format!("{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Starts a WebSocket, as `kubectl exec` does: by RBAC a mere `get`.
pub(crate) fn websocket(cluster: &Cluster, token: &str, path: &str) -> (u16, String) {
    send(cluster, token, "GET", path, UPGRADE)
}

/// The same straight at the kubelet's own port. Its certificate is self-signed, as it is by default everywhere, so it
/// is not checked: the token is the test's own.
pub(crate) fn websocket_at_kubelet(cluster: &Cluster, node: usize, token: &str, path: &str) -> (u16, String) {
    exchange(kubelet(cluster, node), Unverified::config(), token, "GET", path, UPGRADE)
}

/// A request straight at the kubelet's own port.
pub(crate) fn request_at_kubelet(cluster: &Cluster, node: usize, token: &str, path: &str) -> (u16, String) {
    exchange(kubelet(cluster, node), Unverified::config(), token, "GET", path, "Connection: close\r\n")
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGVzdGJlZC10ZXN0YmVkIQ==\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n";

/// A connection for many requests with one token.
pub(crate) struct Session {
    stream: StreamOwned<ClientConnection, TcpStream>,
    token: String,
}

impl Session {
    pub(crate) fn new(cluster: &Cluster, token: &str) -> Self {
        Self { stream: connect(cluster.address(), verified(cluster)), token: token.to_owned() }
    }

    /// The answer as JSON; it has to be short, so that the server states its length.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        write!(
            self.stream,
            "POST {path} HTTP/1.1\r\nHost: cluster\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .expect("the request goes out");
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let count = self.stream.read(&mut chunk).expect("an answer");
            assert!(count > 0, "the connection has ended: {}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&chunk[..count]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            let length: usize = length.unwrap_or_else(|| panic!("no length: {head}")).parse().expect("a length");
            if body.len() >= length {
                return serde_json::from_str(body).expect("JSON");
            }
        }
    }
}

fn kubelet(cluster: &Cluster, node: usize) -> SocketAddr {
    cluster.kubelet_url(node).trim_start_matches("https://").parse().expect("an address")
}

fn send(cluster: &Cluster, token: &str, method: &str, path: &str, headers: &str) -> (u16, String) {
    exchange(cluster.address(), verified(cluster), token, method, path, headers)
}

fn verified(cluster: &Cluster) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cluster.ca_file()).expect("a CA")).expect("a CA that can be used");
    builder().with_root_certificates(roots).with_no_client_auth()
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("it has TLS")
}

fn connect(address: SocketAddr, config: ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let session = ClientConnection::new(Arc::new(config), ServerName::from(address.ip())).expect("a session");
    let socket = TcpStream::connect(address).expect("the server listens");
    socket.set_nodelay(true).expect("a socket sends at once");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket has a timeout");
    StreamOwned::new(session, socket)
}

fn exchange(
    address: SocketAddr,
    config: ClientConfig,
    token: &str,
    method: &str,
    path: &str,
    headers: &str,
) -> (u16, String) {
    let mut stream = connect(address, config);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{headers}\r\n")
        .expect("the request goes out");
    let mut bytes = Vec::new();
    // An open WebSocket or an unclean end of TLS is an error only after the answer has been read.
    let mut chunk = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        bytes.extend_from_slice(&chunk[..count]);
        if bytes.starts_with(b"HTTP/1.1 101") {
            break;
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default();
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (code, body)
}

/// Takes any certificate.
#[derive(Debug)]
struct Unverified(Vec<SignatureScheme>);

impl Unverified {
    fn config() -> ClientConfig {
        let schemes = aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes();
        builder().dangerous().with_custom_certificate_verifier(Arc::new(Self(schemes))).with_no_client_auth()
    }
}

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}
