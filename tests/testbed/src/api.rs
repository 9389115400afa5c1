//! A blocking client of one API server, for what the testbed itself does there: starting kubectl for each question
//! would cost most of a cluster's start.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::http::{Answer, connect, exchange};
use crate::pki::Client;

/// A client of an API server with the rights of its administrator.
#[derive(Clone, Debug)]
pub struct Api {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

impl Api {
    pub(crate) fn new(address: SocketAddr, ca: &Path, admin: &Client) -> Result<Self> {
        Ok(Self { address, tls: tls(ca, Some(admin))? })
    }

    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, None)
    }

    pub fn delete(&self, path: &str) -> Result<Answer> {
        self.send("DELETE", path, None)
    }

    pub fn post(&self, path: &str, object: &Value) -> Result<Answer> {
        self.send("POST", path, Some(("application/json", &object.to_string())))
    }

    /// A merge patch.
    pub fn patch(&self, path: &str, change: &Value) -> Result<Answer> {
        self.send("PATCH", path, Some(("application/merge-patch+json", &change.to_string())))
    }

    fn send(&self, method: &str, path: &str, content: Option<(&str, &str)>) -> Result<Answer> {
        let session = ClientConnection::new(Arc::clone(&self.tls), ServerName::from(self.address.ip()))?;
        exchange(StreamOwned::new(session, connect(self.address)?), method, path, content)
    }
}

/// The client side of TLS towards an API server whose certificate comes from `ca`.
pub(crate) fn tls(ca: &Path, client: Option<&Client>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).with_context(|| format!("read {}", ca.display()))?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    Ok(Arc::new(match client {
        Some(client) => {
            let (certificates, key) = client.load()?;
            config.with_client_auth_cert(certificates, key)?
        }
        None => config.with_no_client_auth(),
    }))
}
