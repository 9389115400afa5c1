//! A credential plugin: the program that a kubeconfig names for credentials, its input and its output.
//!
//! The contract is `client.authentication.k8s.io`, v1 and v1beta1, as client-go keeps it
//! (`plugin/pkg/client/auth/exec/exec.go`, `pkg/apis/clientauthentication/v1/types.go`).

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// The environment variable with the plugin's input, as JSON.
pub const EXEC_INFO: &str = "KUBERNETES_EXEC_INFO";

const V1: &str = "client.authentication.k8s.io/v1";
const V1BETA1: &str = "client.authentication.k8s.io/v1beta1";

/// `exec` of a user in a kubeconfig. Arguments and environment may contain secrets, so it has no Debug.
#[derive(Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CredentialPlugin {
    pub api_version: String,
    /// A name to search in `PATH`, or a path.
    pub command: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<Variable>,
    /// Shown to the user if the command does not exist.
    pub install_hint: String,
    pub interactive_mode: String,
    pub provide_cluster_info: bool,
}

/// A variable in addition to this process' environment.
#[derive(Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

/// Whether the plugin is interactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interaction {
    Never,
    IfAvailable,
    Always,
}

/// The output of a plugin: a token, a certificate, or both.
#[derive(Clone)]
pub struct Credential {
    pub token: Option<SecretString>,
    /// A certificate as PEM, with its key.
    pub certificate: Option<(String, SecretString)>,
    /// None if the plugin gives no expiry; the credential then never expires.
    pub expires: Option<Timestamp>,
}

impl CredentialPlugin {
    /// The problem of the configuration, by the rules of client-go's `validateAuthInfo`.
    pub fn fault(&self) -> Option<String> {
        if self.command.as_os_str().is_empty() {
            Some("names no command".to_owned())
        } else if self.api_version.is_empty() {
            Some("has no apiVersion".to_owned())
        } else if ![V1, V1BETA1].contains(&self.api_version.as_str()) {
            Some(format!("has the apiVersion {:?}; known are {V1} and {V1BETA1}", self.api_version))
        } else if self.env.iter().any(|variable| variable.name.is_empty()) {
            Some("has a variable without a name in its env".to_owned())
        } else if self.interaction().is_none() {
            let mode = if self.interactive_mode.is_empty() {
                "has no interactiveMode".to_owned()
            } else {
                format!("has the interactiveMode {:?}", self.interactive_mode)
            };
            Some(format!("{mode}; known are Never, IfAvailable and Always"))
        } else {
            None
        }
    }

    /// `None` if the value is unknown or missing; only v1beta1 may omit it.
    pub fn interaction(&self) -> Option<Interaction> {
        match (self.interactive_mode.as_str(), self.api_version.as_str()) {
            ("Never", _) => Some(Interaction::Never),
            ("IfAvailable", _) | ("", V1BETA1) => Some(Interaction::IfAvailable),
            ("Always", _) => Some(Interaction::Always),
            _ => None,
        }
    }

    /// Whether it may ask at the terminal.
    pub fn may_ask(&self) -> bool {
        self.interaction() != Some(Interaction::Never)
    }

    /// The value of [`EXEC_INFO`]: an `ExecCredential` without status, with `cluster` if the plugin requests it.
    pub fn told(&self, is_interactive: bool, cluster: Option<&Value>) -> String {
        let mut spec = json!({ "interactive": is_interactive });
        if let Some(cluster) = cluster {
            spec["cluster"] = cluster.clone();
        }
        json!({ "kind": "ExecCredential", "apiVersion": self.api_version, "spec": spec }).to_string()
    }

    /// From the parsed output of the plugin.
    ///
    /// # Errors
    /// The problem. It quotes nothing of the output, which may contain a credential.
    pub fn answered(&self, printed: &Value) -> Result<Credential, &'static str> {
        if printed["kind"] != "ExecCredential" {
            return Err("its output is not an ExecCredential");
        }
        if printed["apiVersion"] != self.api_version.as_str() {
            return Err("its output does not have the apiVersion that the kubeconfig names");
        }
        let status = &printed["status"];
        let text = |key: &str| match &status[key] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            _ => Err("a field of its output must be a string"),
        };
        let certificate = match (text("clientCertificateData")?, text("clientKeyData")?) {
            (Some(certificate), Some(key)) => Some((certificate, key.into())),
            (None, None) => None,
            _ => return Err("its output has only one of certificate and key"),
        };
        let token = text("token")?.map(SecretString::from);
        if token.is_none() && certificate.is_none() {
            return Err("its output has neither a token nor a certificate");
        }
        let expires = text("expirationTimestamp")?
            .map(|end| end.parse().map_err(|_| "its expirationTimestamp is not a time"))
            .transpose()?;
        Ok(Credential { token, certificate, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use secrecy::ExposeSecret;

    fn plugin(api_version: &str, mode: &str) -> CredentialPlugin {
        CredentialPlugin {
            api_version: api_version.to_owned(),
            command: "get-token".into(),
            interactive_mode: mode.to_owned(),
            ..CredentialPlugin::default()
        }
    }

    #[test]
    fn missing_fields_of_a_plugin_are_named() {
        assert_eq!(plugin(V1, "Never").fault(), None);
        assert_eq!(plugin(V1BETA1, "").fault(), None);
        let nameless = vec![Variable::default()];
        for (plugin, says) in [
            (CredentialPlugin::default(), "names no command"),
            (plugin("", "Never"), "has no apiVersion"),
            (
                plugin("client.authentication.k8s.io/v1alpha1", "Never"),
                "apiVersion \"client.authentication.k8s.io/v1alpha1\"",
            ),
            (plugin(V1, ""), "has no interactiveMode"),
            (plugin(V1, "Sometimes"), "interactiveMode \"Sometimes\""),
            (CredentialPlugin { env: nameless, ..plugin(V1, "Never") }, "without a name"),
        ] {
            let fault = plugin.fault().unwrap_or_default();
            assert!(fault.contains(says), "{fault:?} does not say {says:?}");
        }
    }

    #[test]
    fn plugin_gets_the_cluster_only_if_it_requests_it() {
        let told = |cluster| -> Value { serde_json::from_str(&plugin(V1, "Never").told(true, cluster)).unwrap() };
        let alone = json!({ "kind": "ExecCredential", "apiVersion": V1, "spec": { "interactive": true } });
        assert_eq!(told(None), alone);
        let cluster = json!({ "server": "https://east" });
        assert_eq!(told(Some(&cluster))["spec"]["cluster"], cluster);
    }

    #[test]
    fn output_is_accepted_or_its_problem_is_named() {
        let answered = |version: &str, status: Value| {
            plugin(V1, "Never").answered(&json!({ "kind": "ExecCredential", "apiVersion": version, "status": status }))
        };
        let taken = answered(V1, json!({ "token": "t", "expirationTimestamp": "2030-01-02T03:04:05Z" })).ok().unwrap();
        assert_eq!(taken.token.unwrap().expose_secret(), "t");
        assert_eq!(taken.expires, Some("2030-01-02T03:04:05Z".parse().unwrap()));
        let both = json!({ "token": "t", "clientCertificateData": "c", "clientKeyData": "k" });
        let taken = answered(V1, both).ok().unwrap();
        assert!(taken.token.is_some() && taken.certificate.is_some() && taken.expires.is_none());
        for (version, status, says) in [
            (V1BETA1, json!({ "token": "hunter2" }), "apiVersion"),
            (V1, Value::Null, "neither"),
            (V1, json!({ "token": "" }), "neither"),
            (V1, json!({ "token": ["hunter2"] }), "must be a string"),
            (V1, json!({ "token": "hunter2", "clientKeyData": "hunter2" }), "only one"),
            (V1, json!({ "token": "hunter2", "expirationTimestamp": "hunter2" }), "not a time"),
        ] {
            let error = answered(version, status).err().unwrap();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error:?} does not say {says:?}");
        }
        assert!(plugin(V1, "Never").answered(&json!("hunter2")).is_err());
    }

    #[test]
    fn hostile_output_is_survived() {
        let output = r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"hunter2","expirationTimestamp":"2026-11-25T09:12:00Z","clientCertificateData":"a","clientKeyData":"b"}}"#;
        hostile::texts(&[output], |text| {
            let _ = plugin(V1, "Never").answered(&serde_json::from_str(text).unwrap_or_default());
        });
    }
}
