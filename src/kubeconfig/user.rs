//! The credentials of a kubeconfig's user, in client-go's order of preference. This module reads the files and runs the
//! plugin, so that kube reads no file and runs no program.

use super::{
    entries::{Cluster, User},
    files::Selected,
    run_plugin,
};
use crate::{
    error::{Error, Reason, Result},
    model::{
        access::certificate::certificates,
        text::encoding::{base64, from_base64},
    },
};
use kube::config::{AuthInfo, AuthProviderConfig};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use std::{fs, path::Path, time::Duration};

/// The credentials of this context for kube. `timeout` is the request timeout.
///
/// # Errors
/// [`Reason::CredentialPluginFailed`] for files and programs that the kubeconfig names, [`Reason::InvalidKubeconfig`] for
/// its own content.
pub async fn credentials(selected: &Selected, timeout: Option<Duration>) -> Result<AuthInfo> {
    let Selected { user, cluster, .. } = selected;
    let mut info = impersonation(user);
    if !cluster.server.to_ascii_lowercase().starts_with("https://") {
        // kubectl sends no credentials over an unencrypted connection (client-go `IsConfigTransportTLS`).
        return Ok(info);
    }
    info.token = token(user)?;
    if !user.username.is_empty() {
        info.username = Some(user.username.clone());
        info.password = Some(user.password.clone());
    }
    if user.has_certificate() {
        let pem = |data: &str, file: &Path, what: &str| {
            pem(data, file).map(Option::unwrap_or_default).map_err(|why| unusable(&format!("the {what} {why}")))
        };
        let certificate = pem(&user.client_certificate_data, &user.client_certificate, "client-certificate")?;
        let key = pem(user.client_key_data.expose_secret(), &user.client_key, "client-key")?;
        set_certificate(&mut info, &certificate, &key)?;
    }
    info.auth_provider = user.auth_provider.as_ref().map(|provider| AuthProviderConfig {
        name: provider.name.clone(),
        config: provider.config.clone().into_iter().collect(),
        ..AuthProviderConfig::default()
    });
    // A plugin runs only if there are no other credentials (`exec.UpdateTransportConfig`).
    let has_other = info.token.is_some() || info.username.is_some() || user.has_certificate();
    if let Some(plugin) = user.exec.as_ref().filter(|_| !has_other) {
        let told = if plugin.provide_cluster_info {
            Some(cluster.for_plugin(&base64(&certificate_authority(cluster)?.unwrap_or_default())))
        } else {
            None
        };
        let credential = run_plugin::credential(plugin, told.as_ref(), timeout).await?;
        info.token = credential.token;
        if let Some((certificate, key)) = credential.certificate {
            set_certificate(&mut info, certificate.as_bytes(), key.expose_secret().as_bytes())?;
        }
    }
    Ok(info)
}

/// The CA of the cluster as PEM, if it has its own CA.
///
/// # Errors
/// [`Reason::InvalidKubeconfig`].
pub fn certificate_authority(cluster: &Cluster) -> Result<Option<Vec<u8>>> {
    let pem = pem(&cluster.certificate_authority_data, &cluster.certificate_authority)
        .map_err(|why| invalid(&format!("the certificate-authority {why}")))?;
    match pem {
        Some(pem) if certificates(&pem).is_empty() => Err(invalid("the certificate-authority contains no certificate")),
        pem => Ok(pem),
    }
}

/// The token of the file, because it may have been renewed. If the file cannot be read, the token in the kubeconfig
/// (client-go `NewBearerAuthWithRefreshRoundTripper`).
fn token(user: &User) -> Result<Option<SecretString>> {
    let inline = Some(user.token.clone()).filter(|token| !token.expose_secret().is_empty());
    if user.token_file.as_os_str().is_empty() {
        return Ok(inline);
    }
    let why = match fs::read_to_string(&user.token_file).map(|text| text.trim().to_owned()) {
        Ok(token) if !token.is_empty() => return Ok(Some(token.into())),
        Ok(_) => "is empty".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    inline.map(Some).ok_or_else(|| unusable(&format!("the tokenFile {} {why}", user.token_file.display())))
}

fn impersonation(user: &User) -> AuthInfo {
    AuthInfo {
        impersonate: some(&user.impersonate),
        impersonate_uid: some(&user.impersonate_uid),
        impersonate_groups: Some(user.impersonate_groups.clone()),
        impersonate_user_extra: Some(user.impersonate_extra.clone().into_iter().collect()),
        ..AuthInfo::default()
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Checks certificate and key here, because kube's own error, at the connection, names neither.
fn set_certificate(info: &mut AuthInfo, certificate: &[u8], key: &[u8]) -> Result<()> {
    if certificates(certificate).is_empty() {
        return Err(unusable("the client-certificate is not a certificate"));
    }
    if PrivateKeyDer::from_pem_slice(key).is_err() {
        return Err(unusable("the client-key is not a private key"));
    }
    info.client_certificate_data = Some(base64(certificate));
    info.client_key_data = Some(base64(key).into());
    Ok(())
}

/// The content of a field that is base64 or the name of a file.
fn pem(data: &str, file: &Path) -> Result<Option<Vec<u8>>, String> {
    if !data.is_empty() {
        // Go's base64 ignores line breaks.
        let data: String = data.split(['\r', '\n']).collect();
        return from_base64(&data).map(Some).ok_or_else(|| "is not base64".to_owned());
    }
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    fs::read(file).map(Some).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

fn unusable(what: &str) -> Error {
    Error::new(Reason::CredentialPluginFailed, format!("no credentials: {what}"))
        .hint("The kubeconfig names it; test it: kubectl get --raw /version")
}

fn invalid(what: &str) -> Error {
    Error::new(Reason::InvalidKubeconfig, what).hint("Inspect it: kubectl config view")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_not_sent_over_an_unencrypted_connection() {
        for (server, is_sent) in
            [("https://east", true), ("HTTPS://east", true), ("http://east", false), ("east", false)]
        {
            let selected = Selected {
                context: "east".to_owned(),
                cluster: Cluster { server: server.to_owned(), ..Cluster::default() },
                user: User { token: "of-jane".into(), impersonate: "joe".to_owned(), ..User::default() },
                files: String::new(),
            };
            let info = credentials(&selected, None).await.unwrap();
            assert_eq!(info.token.is_some(), is_sent, "{server}");
            assert_eq!(info.impersonate.as_deref(), Some("joe"));
        }
    }
}
