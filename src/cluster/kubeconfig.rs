//! Which cluster and which credentials: the kubeconfig, read as kubectl reads it.

use crate::{
    error::{Error, Reason, Result},
    model::shell,
};
use jiff::Timestamp;
use kube::config::{AuthInfo, Kubeconfig, KubeconfigError, NamedContext};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{
    env,
    path::{Path, PathBuf},
};

/// What the command line says about the cluster to talk to.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    pub impersonation: Impersonation,
}

/// `--as`, `--as-group`, `--as-uid`.
#[derive(Clone, Debug, Default)]
pub struct Impersonation {
    pub user: Option<String>,
    pub groups: Vec<String>,
    pub uid: Option<String>,
}

/// One context of a kubeconfig, with the cluster and user that it names. Holds credentials: no Debug.
pub struct Selected {
    pub context: String,
    pub(super) kubeconfig: Kubeconfig,
    pub(super) user: AuthInfo,
    /// Where it was read, for people.
    pub files: String,
    pub insecure: bool,
}

/// Reads the kubeconfig and picks the context.
///
/// # Errors
/// [`Reason::KubeconfigNotFound`], [`Reason::InvalidKubeconfig`], [`Reason::ContextNotFound`].
pub fn select(choice: &Choice) -> Result<Selected> {
    let (mut kubeconfig, files) = read(choice.kubeconfig.as_deref())?;
    let context = choice
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone().filter(|name| !name.is_empty()))
        .ok_or_else(|| {
            Error::new(Reason::ContextNotFound, format!("{files} has no current context"))
                .hint(format!("Choose one with --context NAME: {}", names(&kubeconfig)))
        })?;
    if context.chars().any(char::is_control) {
        return Err(Error::new(
            Reason::ContextNotFound,
            format!("the context {context:?} has control characters in its name"),
        )
        .hint("Rename it with kubectl config rename-context"));
    }
    let entry = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context)
        .and_then(|named| named.context.clone())
        .ok_or_else(|| {
            Error::new(Reason::ContextNotFound, format!("there is no context {} in {files}", shell::word(&context)))
                .hint(format!("Choose one with --context NAME: {}", names(&kubeconfig)))
        })?;
    let cluster = kubeconfig
        .clusters
        .iter()
        .find(|named| named.name == entry.cluster)
        .and_then(|named| named.cluster.clone())
        .ok_or_else(|| {
            invalid(
                &files,
                &format!(
                    "context {} names the cluster {}, which is not there",
                    shell::word(&context),
                    shell::word(&entry.cluster)
                ),
            )
        })?;
    let named_user = kubeconfig.auth_infos.iter_mut().find(|named| Some(&named.name) == entry.user.as_ref());
    let user = match named_user {
        Some(named) => {
            let user = named.auth_info.get_or_insert_default();
            impersonate(user, &choice.impersonation);
            user.clone()
        }
        None if choice.impersonation.user.is_some() => {
            return Err(invalid(
                &files,
                &format!("context {} has no user that could impersonate another", shell::word(&context)),
            ));
        }
        None => AuthInfo::default(),
    };
    Ok(Selected { insecure: cluster.insecure_skip_tls_verify == Some(true), context, kubeconfig, user, files })
}

/// The names of all contexts, for completion; none where nothing can be read.
pub fn contexts() -> Vec<String> {
    read(None)
        .map(|(kubeconfig, _)| kubeconfig.contexts.into_iter().map(|named| named.name).collect())
        .unwrap_or_default()
}

impl Selected {
    /// Until when the client certificate of this context's user is valid, if it has one that can be read.
    pub(super) fn client_certificate_expires(&self) -> Option<Timestamp> {
        let pem = match (&self.user.client_certificate_data, &self.user.client_certificate) {
            (Some(data), _) => {
                // The API's own byte strings are base64 like this field.
                serde_json::from_value::<k8s_openapi::ByteString>(data.as_str().into()).ok()?.0
            }
            (None, Some(file)) => std::fs::read(file).ok()?,
            (None, None) => return None,
        };
        let certificate = CertificateDer::pem_slice_iter(&pem).next()?.ok()?;
        crate::model::certificate::valid_until(&certificate)
    }
}

/// A file named with `--kubeconfig` must be there; of the files in `KUBECONFIG` those that are missing are skipped,
/// as kubectl does (kube-rs does not).
fn read(file: Option<&Path>) -> Result<(Kubeconfig, String)> {
    let (files, all_must_exist) = match (file, env::var_os("KUBECONFIG").filter(|list| !list.is_empty())) {
        (Some(file), _) => (vec![file.to_owned()], true),
        (None, Some(list)) => (env::split_paths(&list).filter(|path| !path.as_os_str().is_empty()).collect(), false),
        (None, None) => (env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(), false),
    };
    let shown = files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    let mut merged: Option<Kubeconfig> = None;
    for path in &files {
        let next = match Kubeconfig::read_from(path) {
            Ok(next) => next,
            Err(KubeconfigError::ReadConfig(error, _))
                if error.kind() == std::io::ErrorKind::NotFound && !all_must_exist =>
            {
                continue;
            }
            Err(KubeconfigError::ReadConfig(error, _)) => {
                return Err(not_found(format!("cannot read the kubeconfig {}: {error}", path.display())));
            }
            Err(error) => return Err(invalid(&path.display().to_string(), &error.to_string())),
        };
        merged = Some(match merged {
            None => next,
            Some(merged) => merged.merge(next).map_err(|error| invalid(&shown, &error.to_string()))?,
        });
    }
    merged
        .map(|kubeconfig| (kubeconfig, shown.clone()))
        .ok_or_else(|| not_found(format!("no kubeconfig: {shown} is not there")))
}

fn not_found(message: String) -> Error {
    Error::new(Reason::KubeconfigNotFound, message).hint("Name one with --kubeconfig FILE or in KUBECONFIG")
}

fn invalid(files: &str, what: &str) -> Error {
    // After its first line the parser quotes the file, which may be a credential.
    let what = what.lines().next().unwrap_or_default();
    Error::new(Reason::InvalidKubeconfig, format!("{files}: {what}")).hint("Look at it with: kubectl config view")
}

fn names(kubeconfig: &Kubeconfig) -> String {
    let mut names: Vec<String> =
        kubeconfig.contexts.iter().map(|NamedContext { name, .. }| shell::word(name)).collect();
    names.sort();
    if names.is_empty() { "it has none".to_owned() } else { names.join(", ") }
}

fn impersonate(user: &mut AuthInfo, impersonation: &Impersonation) {
    let Impersonation { user: name, groups, uid } = impersonation;
    if let Some(name) = name {
        user.impersonate = Some(name.clone());
    }
    if !groups.is_empty() {
        user.impersonate_groups = Some(groups.clone());
    }
    if let Some(uid) = uid {
        user.impersonate_uid = Some(uid.clone());
    }
}
