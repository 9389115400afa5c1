//! A credential plugin: the program that a kubeconfig names for credentials, what it is told and what it answers.
//!
//! The contract is `client.authentication.k8s.io`, v1 and v1beta1, as client-go keeps it
//! (`plugin/pkg/client/auth/exec/exec.go`, `pkg/apis/clientauthentication/v1/types.go`).

use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;

/// In the environment of the plugin: what it is told, as JSON.
pub const EXEC_INFO: &str = "KUBERNETES_EXEC_INFO";

const V1: &str = "client.authentication.k8s.io/v1";
const V1BETA1: &str = "client.authentication.k8s.io/v1beta1";

/// `exec` of a user in a kubeconfig. Arguments and environment may hold secrets: no Debug.
#[derive(Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CredentialPlugin {
    pub api_version: String,
    /// A name to look for in `PATH`, or a path.
    pub command: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<Variable>,
    /// For people, where the command is not there.
    pub install_hint: String,
    pub interactive_mode: String,
    pub provide_cluster_info: bool,
}

/// Added to our own environment.
#[derive(Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct Variable {
    pub name: String,
    pub value: String,
}

/// Whether the plugin talks to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interaction {
    Never,
    IfAvailable,
    Always,
}

/// What a plugin gave: a token, a certificate, or both.
#[derive(Clone)]
pub struct Credential {
    pub token: Option<SecretString>,
    /// PEM, with its key.
    pub certificate: Option<(String, SecretString)>,
    /// For ever, if the plugin says nothing.
    pub expires: Option<Timestamp>,
}

impl CredentialPlugin {
    /// What is wrong with it before it is run, as client-go's `validateAuthInfo` has it.
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

    /// `None` if it says nothing that is known; only v1beta1 may be silent.
    pub fn interaction(&self) -> Option<Interaction> {
        match (self.interactive_mode.as_str(), self.api_version.as_str()) {
            ("Never", _) => Some(Interaction::Never),
            ("IfAvailable", _) | ("", V1BETA1) => Some(Interaction::IfAvailable),
            ("Always", _) => Some(Interaction::Always),
            _ => None,
        }
    }

    /// [`EXEC_INFO`]: an `ExecCredential` without status. `cluster` if it is to know.
    pub fn told(&self, is_interactive: bool, cluster: Option<&Value>) -> String {
        let mut spec = json!({ "interactive": is_interactive });
        if let Some(cluster) = cluster {
            spec["cluster"] = cluster.clone();
        }
        json!({ "kind": "ExecCredential", "apiVersion": self.api_version, "spec": spec }).to_string()
    }

    /// Takes what the plugin printed, read as JSON or YAML.
    ///
    /// # Errors
    /// Says what is wrong and quotes nothing: it may be a credential.
    pub fn answered(&self, printed: &Value) -> Result<Credential, &'static str> {
        if printed["kind"] != "ExecCredential" {
            return Err("what it printed is no ExecCredential");
        }
        if printed["apiVersion"] != self.api_version.as_str() {
            return Err("its answer is not of the apiVersion that the kubeconfig names");
        }
        let status = &printed["status"];
        let text = |key: &str| match &status[key] {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            _ => Err("something in its answer is not a string that should be one"),
        };
        let certificate = match (text("clientCertificateData")?, text("clientKeyData")?) {
            (Some(certificate), Some(key)) => Some((certificate, key.into())),
            (None, None) => None,
            _ => return Err("it gave only one of certificate and key"),
        };
        let token = text("token")?.map(SecretString::from);
        if token.is_none() && certificate.is_none() {
            return Err("it gave neither a token nor a certificate");
        }
        let expires = text("expirationTimestamp")?
            .map(|end| end.parse().map_err(|_| "its expirationTimestamp is no time"))
            .transpose()?;
        Ok(Credential { token, certificate, expires })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
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
    fn what_a_plugin_lacks_is_named() {
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
    fn a_plugin_is_told_about_the_cluster_only_if_it_asks() {
        let told = |cluster| -> Value { serde_json::from_str(&plugin(V1, "Never").told(true, cluster)).unwrap() };
        let alone = json!({ "kind": "ExecCredential", "apiVersion": V1, "spec": { "interactive": true } });
        assert_eq!(told(None), alone);
        let cluster = json!({ "server": "https://east" });
        assert_eq!(told(Some(&cluster))["spec"]["cluster"], cluster);
    }

    #[test]
    fn an_answer_is_taken_or_it_is_said_what_is_wrong() {
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
            (V1, json!({ "token": ["hunter2"] }), "not a string"),
            (V1, json!({ "token": "hunter2", "clientKeyData": "hunter2" }), "only one"),
            (V1, json!({ "token": "hunter2", "expirationTimestamp": "hunter2" }), "no time"),
        ] {
            let error = answered(version, status).err().unwrap();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error:?} does not say {says:?}");
        }
        assert!(plugin(V1, "Never").answered(&json!("hunter2")).is_err());
    }

    proptest! {
        #[test]
        fn no_answer_panics(text in ".*", key in "kind|apiVersion|status") {
            let _ = plugin(V1, "Never").answered(&json!({ key: text }));
        }
    }
}
