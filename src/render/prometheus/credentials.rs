//! Token and CA in the jobs, and how Prometheus verifies a server that gets the token.

use crate::{
    model::access::{Access, CertificateAuthority, url::ProxyUrl},
    yaml,
};
use std::fmt::Write;

/// The source of token and CA in the jobs.
#[derive(Clone, Copy)]
pub(super) enum Credentials<'a> {
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

/// How a server that gets the token is verified.
#[derive(Clone, Copy)]
pub(super) struct Server<'a> {
    ca: Option<&'a CertificateAuthority>,
    /// The file of its CA, if credentials are in files.
    ca_file: &'a str,
    tls_server_name: Option<&'a str>,
    proxy: Option<&'a ProxyUrl>,
}

impl<'a> Server<'a> {
    pub(super) fn api_server(access: &'a Access, with: Credentials<'a>) -> Self {
        let ca_file = if let Credentials::Files { ca, .. } = with { ca } else { "" };
        let tls_server_name = access.tls_server_name.as_deref();
        Self { ca: access.ca.as_ref(), ca_file, tls_server_name, proxy: access.proxy.as_ref() }
    }

    /// Each kubelet has a certificate for its own address. Prometheus does not use the API server's proxy for kubelets.
    pub(super) fn kubelets(access: &'a Access, with: Credentials<'a>) -> Self {
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

pub(super) fn credentials(text: &mut String, indent: &str, server: Server, with: Credentials) {
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

/// PEM of DER certificates, without any other text of the file.
pub fn pem(certificates: &[Vec<u8>]) -> String {
    use x509_cert::der::pem::{LineEnding, encode_string};
    certificates.iter().filter_map(|der| encode_string("CERTIFICATE", LineEnding::LF, der).ok()).collect()
}
