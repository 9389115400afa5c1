//! Kubeconfig files: how a client reaches a cluster, and as whom.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use crate::pki::Client;

/// One context with its cluster and user. Take a cluster's own and change what the test is about:
/// `Kubeconfig { user: User::Token(token), ..east.admin() }`.
#[derive(Clone, Debug)]
pub struct Kubeconfig {
    pub context: String,
    pub server: String,
    pub trust: Trust,
    pub user: User,
    pub namespace: Option<String>,
    pub proxy_url: Option<String>,
    pub tls_server_name: Option<String>,
}

/// How the server's certificate is checked.
#[derive(Clone, Debug)]
pub enum Trust {
    File(PathBuf),
    /// PEM, written into the file itself.
    Inline(String),
    System,
    Skip,
}

#[derive(Clone, Debug)]
pub enum User {
    Certificate(Client),
    Token(String),
    TokenFile(PathBuf),
    Exec {
        command: String,
        args: Vec<String>,
    },
    /// No credentials at all.
    Nobody,
}

impl Kubeconfig {
    /// The file's content. JSON, which is YAML too.
    pub fn content(&self) -> String {
        Self::merged(std::slice::from_ref(self))
    }

    /// Several contexts in one file; the first is the current one.
    pub fn merged(all: &[Self]) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": all.first().map(|first| first.context.as_str()).unwrap_or_default(),
            "clusters": all.iter().map(|one| json!({"name": one.context, "cluster": one.cluster()})).collect::<Vec<_>>(),
            "users": all.iter().map(|one| json!({"name": one.user_name(), "user": one.credentials()})).collect::<Vec<_>>(),
            "contexts": all.iter().map(|one| json!({"name": one.context, "context": one.link()})).collect::<Vec<_>>(),
        });
        format!("{config:#}\n")
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.content()).with_context(|| format!("write {}", path.display()))
    }

    fn user_name(&self) -> String {
        format!("{}-admin", self.context)
    }

    fn link(&self) -> Value {
        let mut link = json!({"cluster": self.context, "user": self.user_name()});
        set(&mut link, "namespace", self.namespace.as_ref());
        link
    }

    fn cluster(&self) -> Value {
        let mut cluster = json!({"server": self.server});
        match &self.trust {
            Trust::File(path) => cluster["certificate-authority"] = json!(path),
            Trust::Inline(pem) => {
                cluster["certificate-authority-data"] = json!(BASE64_STANDARD.encode(pem));
            }
            Trust::System => {}
            Trust::Skip => cluster["insecure-skip-tls-verify"] = json!(true),
        }
        set(&mut cluster, "proxy-url", self.proxy_url.as_ref());
        set(&mut cluster, "tls-server-name", self.tls_server_name.as_ref());
        cluster
    }

    fn credentials(&self) -> Value {
        match &self.user {
            User::Certificate(client) => {
                json!({"client-certificate": client.certificate, "client-key": client.key})
            }
            User::Token(token) => json!({"token": token}),
            User::TokenFile(path) => json!({"tokenFile": path}),
            User::Exec { command, args } => json!({"exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": command, "args": args, "interactiveMode": "Never",
            }}),
            User::Nobody => json!({}),
        }
    }
}

fn set(object: &mut Value, key: &str, value: Option<&String>) {
    if let Some(value) = value {
        object[key] = json!(value);
    }
}
