//! The entries of a kubeconfig, and the merge of several kubeconfigs. This module opens no files.
//!
//! The rules are client-go's: `tools/clientcmd/loader.go` (`Load`, `ResolveLocalPaths`), `validation.go`
//! (`validateClusterInfo`, `validateAuthInfo`) and `api/v1/conversion.go`. One rule is stricter here: a duplicate key in a
//! mapping is an error, where kubectl uses the last one.

use super::{plugin::CredentialPlugin, proxy};
use crate::model::{access::url::ApiServerUrl, text::names::ClusterName};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{MAIN_SEPARATOR, Path, PathBuf},
};

/// One file, or several merged files. Contains credentials, so it has no Debug.
#[derive(Default)]
pub struct Kubeconfig {
    /// Empty without a current context.
    pub current_context: String,
    pub contexts: BTreeMap<String, Context>,
    pub clusters: BTreeMap<String, Cluster>,
    pub users: BTreeMap<String, User>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Context {
    pub cluster: String,
    pub user: String,
    pub namespace: String,
}

/// An empty text means an absent field, here and in [`User`], as in Go.
#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Cluster {
    pub server: String,
    pub certificate_authority: PathBuf,
    /// PEM in base64.
    pub certificate_authority_data: String,
    pub insecure_skip_tls_verify: bool,
    pub tls_server_name: String,
    /// May contain a password.
    pub proxy_url: String,
    pub disable_compression: bool,
    pub extensions: Vec<Extension>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Extension {
    pub name: String,
    pub extension: Value,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct User {
    #[serde(deserialize_with = "secret")]
    pub token: SecretString,
    #[serde(rename = "tokenFile")]
    pub token_file: PathBuf,
    pub username: String,
    #[serde(deserialize_with = "secret")]
    pub password: SecretString,
    pub client_certificate: PathBuf,
    /// PEM in base64.
    pub client_certificate_data: String,
    pub client_key: PathBuf,
    /// PEM in base64.
    #[serde(deserialize_with = "secret")]
    pub client_key_data: SecretString,
    #[serde(rename = "as")]
    pub impersonate: String,
    #[serde(rename = "as-uid")]
    pub impersonate_uid: String,
    #[serde(rename = "as-groups")]
    pub impersonate_groups: Vec<String>,
    #[serde(rename = "as-user-extra")]
    pub impersonate_extra: BTreeMap<String, Vec<String>>,
    pub auth_provider: Option<AuthProvider>,
    pub exec: Option<CredentialPlugin>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct AuthProvider {
    pub name: String,
    pub config: BTreeMap<String, String>,
}

impl Kubeconfig {
    /// From a YAML document.
    ///
    /// # Errors
    /// One line that names the entry. It quotes no value, because the value may be a credential.
    pub fn read(document: Value) -> Result<Self, String> {
        let mut document = without_nulls(document);
        if document.is_null() {
            return Ok(Self::default());
        }
        if !document.is_object() {
            return Err("it is not a mapping".to_owned());
        }
        for (key, known) in [("apiVersion", "v1"), ("kind", "Config")] {
            match &document[key] {
                Value::Null => {}
                Value::String(text) if text.is_empty() || text == known => {}
                _ => return Err(format!("its {key} is not {known}")),
            }
        }
        let current_context = match &document["current-context"] {
            Value::Null => String::new(),
            Value::String(name) => name.clone(),
            _ => return Err("its current-context is not a string".to_owned()),
        };
        Ok(Self {
            current_context,
            contexts: entries(&mut document, "contexts", "context")?,
            clusters: entries(&mut document, "clusters", "cluster")?,
            users: entries(&mut document, "users", "user")?,
        })
    }

    /// Makes the paths in the file absolute; `folder` is the folder of the file. A command without a slash stays, because
    /// it is searched in `PATH`.
    pub fn resolve(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        };
        self.clusters.values_mut().for_each(|cluster| resolve(&mut cluster.certificate_authority));
        for user in self.users.values_mut() {
            resolve(&mut user.client_certificate);
            resolve(&mut user.client_key);
            resolve(&mut user.token_file);
            if let Some(plugin) = &mut user.exec
                && plugin.command.to_string_lossy().contains(MAIN_SEPARATOR)
            {
                resolve(&mut plugin.command);
            }
        }
    }

    /// Another context that yields the same cluster name but leads to another cluster.
    pub fn namesake(&self, context: &str) -> Option<&str> {
        // The name becomes a file name, and some file systems ignore case.
        let name = |context: &str| Some(ClusterName::from_context(context).ok()?.as_str().to_ascii_lowercase());
        let cluster = |context: &str| self.clusters.get(&self.contexts.get(context)?.cluster);
        let (own, here) = (name(context)?, cluster(context)?);
        let is_namesake = |other: &&String| {
            *other != context
                && name(other).as_ref() == Some(&own)
                && cluster(other).is_some_and(|there| there.is_other_than(here))
        };
        self.contexts.keys().find(is_namesake).map(String::as_str)
    }

    /// Merges by entry, as kubectl does: an entry of the first file replaces the entry of the second as a whole.
    pub fn merge(&mut self, second: Self) {
        if self.current_context.is_empty() {
            self.current_context = second.current_context;
        }
        add(&mut self.contexts, second.contexts);
        add(&mut self.clusters, second.clusters);
        add(&mut self.users, second.users);
    }
}

/// The entries whose name is new.
fn add<T>(entries: &mut BTreeMap<String, T>, more: BTreeMap<String, T>) {
    for (name, entry) in more {
        entries.entry(name).or_insert(entry);
    }
}

impl Cluster {
    /// The problem of this entry, if there is one.
    pub fn fault(&self) -> Option<String> {
        if self.server.is_empty() {
            return Some("has no server".to_owned());
        }
        // Go would send the user as credentials.
        if self
            .server
            .split("://")
            .last()
            .and_then(|rest| rest.split('/').next())
            .is_some_and(|host| host.contains('@'))
        {
            return Some("has a user in the server's address; put credentials under users".to_owned());
        }
        let ca = is_both(&self.certificate_authority, &self.certificate_authority_data, "certificate-authority");
        if ca.is_some() {
            return ca;
        }
        match proxy::Proxy::of(&self.proxy_url, &proxy::Environment::default(), "", 0) {
            // The scheme socks5h is only allowed in the environment.
            Ok(_) if self.proxy_url.to_ascii_lowercase().starts_with("socks5h:") => {
                Some(format!("has a proxy-url that {}", proxy::ProxyError::Scheme))
            }
            Ok(_) => None,
            Err(error) => Some(format!("has a proxy-url that {error}")),
        }
    }

    /// Whether the two entries lead to two clusters: by the server and, since one address may lead to several, by the
    /// way to it. An address of this machine may be a tunnel, so there the CA tells the clusters apart.
    fn is_other_than(&self, other: &Self) -> bool {
        let server = |cluster: &Self| match cluster.server.parse::<ApiServerUrl>() {
            Ok(url) => (url.to_string(), url.is_loopback()),
            Err(_) => (cluster.server.clone(), false),
        };
        let way = |cluster: &Self| (cluster.proxy_url.clone(), cluster.tls_server_name.clone());
        let ca = |cluster: &Self| cluster.certificate_authority_data.clone();
        let (here, is_tunnel) = server(self);
        here != server(other).0 || way(self) != way(other) || is_tunnel && ca(self) != ca(other)
    }

    /// The description of the cluster for a credential plugin that requests it (client-go `rest/exec.go`); `ca` is PEM in
    /// base64.
    pub fn for_plugin(&self, ca: &str) -> Value {
        let mut told = json!({ "server": self.server });
        for (key, text) in [
            ("tls-server-name", self.tls_server_name.as_str()),
            ("certificate-authority-data", ca),
            ("proxy-url", &self.proxy_url),
        ] {
            if !text.is_empty() {
                told[key] = text.into();
            }
        }
        for (key, is_set) in [
            ("insecure-skip-tls-verify", self.insecure_skip_tls_verify),
            ("disable-compression", self.disable_compression),
        ] {
            if is_set {
                told[key] = true.into();
            }
        }
        // The reserved name (client-go `tools/clientcmd/client_config.go`, `clusterExtensionKey`).
        if let Some(config) = self.extensions.iter().find(|entry| entry.name == "client.authentication.k8s.io/exec") {
            told["config"] = config.extension.clone();
        }
        told
    }
}

impl User {
    /// The problem of this entry, if there is one.
    pub fn fault(&self) -> Option<String> {
        let has_token = !self.token.expose_secret().is_empty() || !self.token_file.as_os_str().is_empty();
        let has_password = !self.username.is_empty() || !self.password.expose_secret().is_empty();
        let has_key = !self.client_key.as_os_str().is_empty() || !self.client_key_data.expose_secret().is_empty();
        if has_token && has_password {
            return Some("has both a token and a password, and only one is allowed".to_owned());
        }
        if self.has_certificate() {
            if !has_key {
                return Some("has a client-certificate without a client-key".to_owned());
            }
            let twice = is_both(&self.client_certificate, &self.client_certificate_data, "client-certificate")
                .or_else(|| is_both(&self.client_key, self.client_key_data.expose_secret(), "client-key"));
            if twice.is_some() {
                return twice;
            }
        }
        if let Some(plugin) = &self.exec {
            if self.auth_provider.is_some() {
                return Some("has both an auth-provider and a credential plugin".to_owned());
            }
            if let Some(fault) = plugin.fault() {
                return Some(format!("has a credential plugin that {fault}"));
            }
        }
        // client-go has removed the providers of Azure and Google too (`plugin/pkg/client/auth`).
        if let Some(provider) = self.auth_provider.as_ref().filter(|provider| provider.name != "oidc") {
            return Some(format!("has the auth-provider {:?}, which no longer exists", provider.name));
        }
        if self.impersonate.is_empty()
            && !(self.impersonate_uid.is_empty()
                && self.impersonate_groups.is_empty()
                && self.impersonate_extra.is_empty())
        {
            return Some("impersonates a uid, groups or user extras without a user".to_owned());
        }
        None
    }

    pub fn has_certificate(&self) -> bool {
        !self.client_certificate.as_os_str().is_empty() || !self.client_certificate_data.is_empty()
    }
}

fn is_both(file: &Path, data: &str, what: &str) -> Option<String> {
    (!file.as_os_str().is_empty() && !data.is_empty())
        .then(|| format!("has both {what} and {what}-data, and only one is allowed"))
}

/// The entries of a list by their name.
fn entries<T: DeserializeOwned>(document: &mut Value, list: &str, field: &str) -> Result<BTreeMap<String, T>, String> {
    let items = match document[list].take() {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        _ => return Err(format!("its {list} are not a list")),
    };
    let mut entries = BTreeMap::new();
    for mut item in items {
        if !item.is_object() {
            return Err(format!("one of its {list} is not a mapping"));
        }
        let name = match item["name"].take() {
            Value::Null => String::new(),
            Value::String(name) => name,
            _ => return Err(format!("one of its {list} has a name that is not a string")),
        };
        let entry = match item[field].take() {
            Value::Null => json!({}),
            entry => entry,
        };
        let entry = serde_json::from_value(entry)
            .map_err(|error| format!("the {field} {name:?} is invalid: {}", complaint(&error)))?;
        if entries.insert(name.clone(), entry).is_some() {
            return Err(format!("the {field} {name:?} is defined twice"));
        }
    }
    Ok(entries)
}

/// The expected type without the value: `invalid type: string "PASSWORD", expected a sequence`.
fn complaint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let expected = text.rsplit(", expected ").next().unwrap_or_default();
    format!("a field must be {expected}")
}

/// Removes nulls, which Go treats as absent.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .filter(|(_, field)| !field.is_null())
            .map(|(key, field)| (key, without_nulls(field)))
            .collect(),
        Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(name: &str, current: &str) -> Kubeconfig {
        Kubeconfig::read(json!({
            "current-context": current,
            "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
            "clusters": [{ "name": name, "cluster": { "server": format!("https://{name}"), "certificate-authority": "ca.crt" } }],
            "users": [{ "name": name, "user": { "token": format!("token-of-{name}") } }],
        }))
        .unwrap()
    }

    #[test]
    fn first_file_wins_for_each_entry() {
        let mut merged = file("east", "");
        let mut other = file("east", "east");
        other.users.get_mut("east").unwrap().username = "jane".to_owned();
        other.users.get_mut("east").unwrap().token = "another".into();
        merged.merge(other);
        merged.merge(file("west", "west"));
        assert_eq!(merged.current_context, "east", "the first that is not empty");
        assert_eq!(merged.contexts.keys().collect::<Vec<_>>(), ["east", "west"]);
        let east = &merged.users["east"];
        assert_eq!((east.token.expose_secret(), east.username.as_str()), ("token-of-east", ""));
    }

    #[test]
    fn paths_are_relative_to_their_file() {
        let read = |user: Value| {
            let mut read = Kubeconfig::read(json!({ "users": [{ "name": "a", "user": user }] })).unwrap();
            read.resolve(Path::new("/etc/kube"));
            read.users.remove("a").unwrap()
        };
        let user = read(json!({ "tokenFile": "token", "client-certificate": "../a.crt", "client-key": "/a.key" }));
        assert_eq!(user.token_file, Path::new("/etc/kube/token"));
        assert_eq!(user.client_certificate, Path::new("/etc/kube/../a.crt"));
        assert_eq!(user.client_key, Path::new("/a.key"));
        for (command, resolved) in [("aws", "aws"), ("./bin/get", "/etc/kube/bin/get"), ("/bin/get", "/bin/get")] {
            let plugin = read(json!({ "exec": { "command": command } })).exec.unwrap();
            assert_eq!(plugin.command, Path::new(resolved), "{command}");
        }
        assert_eq!(read(json!({})).token_file, Path::new(""), "an absent path stays absent");
    }

    #[test]
    fn namesakes_are_contexts_of_other_clusters_with_one_name() {
        // Contexts, each with the fields of its cluster.
        let read = |contexts: &[(&str, Value)]| {
            let each = |entry: &dyn Fn(&(&str, Value)) -> Value| contexts.iter().map(entry).collect::<Vec<_>>();
            Kubeconfig::read(json!({
                "contexts": each(&|(name, _)| json!({ "name": name, "context": { "cluster": name } })),
                "clusters": each(&|(name, cluster)| json!({ "name": name, "cluster": cluster })),
            }))
            .unwrap()
        };
        let server = |url: &str| json!({ "server": url });
        let (one, two) = (server("https://one:6443"), server("https://two:6443"));
        let ca = |server: &str, ca: &str| json!({ "server": server, "certificate-authority-data": ca });
        for (first, second, are_namesakes) in [
            (("a@b", one.clone()), ("a-b", two.clone()), true),
            (("shop@", one.clone()), ("shop", two.clone()), true),
            (("East", one.clone()), ("east", two.clone()), true),
            (
                ("arn:aws:eks:eu-west-1:1:cluster/shop", one.clone()),
                ("arn:aws:eks:us-east-1:1:cluster/shop", two.clone()),
                true,
            ),
            (("x/api-one:6443/u1", one.clone()), ("y/api-one-6443", two.clone()), true),
            (("x/api-one:6443/u1", one.clone()), ("y/api-one:6443/u2", one.clone()), false),
            (("a@b", one.clone()), ("a-b", server("HTTPS://ONE:6443/")), false),
            (("a@b", server("https://one")), ("a-b", server("https://one:443")), false),
            (("a@b", one.clone()), ("a-b", server("https://one:6443/k8s/clusters/c-1")), true),
            (
                ("a@b", one.clone()),
                ("a-b", json!({ "server": "https://one:6443", "proxy-url": "http://bastion" })),
                true,
            ),
            (("a@b", one.clone()), ("a-b", json!({ "server": "https://one:6443", "tls-server-name": "b" })), true),
            (("a@b", ca("https://one", "YQ==")), ("a-b", ca("https://one", "Yg==")), false),
            (("a@b", ca("https://127.0.0.1:6443", "YQ==")), ("a-b", ca("https://127.0.0.1:6443", "Yg==")), true),
            (("a@b", one.clone()), ("c", two.clone()), false),
        ] {
            let names = (first.0, second.0);
            let kubeconfig = read(&[first, second]);
            assert_eq!(kubeconfig.namesake(names.0), are_namesakes.then_some(names.1), "{names:?}");
            assert_eq!(kubeconfig.namesake(names.1), are_namesakes.then_some(names.0), "{names:?}");
        }
        let mut dangling = read(&[("a@b", one.clone()), ("a-b", two)]);
        dangling.clusters.remove("a-b");
        assert_eq!(dangling.namesake("a@b"), None, "a context without a cluster leads nowhere");
    }

    #[test]
    fn invalid_kubeconfigs_are_rejected_without_quoting_values() {
        let user = |user: Value| json!({ "users": [{ "name": "jane", "user": user }] });
        for (document, says) in [
            (json!(["hunter2"]), "not a mapping"),
            (json!({ "apiVersion": "v2" }), "apiVersion is not v1"),
            (json!({ "kind": "Pod" }), "kind is not Config"),
            (json!({ "current-context": 3 }), "current-context is not a string"),
            (json!({ "users": "hunter2" }), "users are not a list"),
            (json!({ "users": ["hunter2"] }), "one of its users is not a mapping"),
            (json!({ "users": [{ "name": ["hunter2"] }] }), "a name that is not a string"),
            (json!({ "users": [{ "name": "jane" }, { "name": "jane" }] }), "the user \"jane\" is defined twice"),
            (user(json!({ "token": 42_424 })), "the user \"jane\" is invalid: a field must be a string"),
            (user(json!({ "token": ["hunter2"] })), "the user \"jane\""),
            (user(json!({ "as-groups": "hunter2, expected" })), "a sequence"),
            (user(json!({ "exec": { "args": [{ "hunter2": "hunter2" }] } })), "a string"),
            (user(json!("hunter2")), "the user \"jane\""),
        ] {
            let error = Kubeconfig::read(document.clone()).err().unwrap_or_default();
            assert!(error.contains(says), "{document}: {error:?} does not say {says:?}");
            assert!(!error.contains("hunter2") && !error.contains("42424"), "{error}");
        }
    }

    #[test]
    fn empty_documents_and_nulls_count_as_absent() {
        for document in [
            json!(null),
            json!({}),
            json!({ "users": null, "current-context": null, "kind": "" }),
            json!({ "users": [{ "name": "a", "user": { "token": null, "exec": null } }, { "name": null, "user": null }] }),
        ] {
            assert!(Kubeconfig::read(document.clone()).is_ok(), "{document}");
        }
    }

    #[test]
    fn contradictory_entries_are_named() {
        let exec = |mode: &str| json!({ "apiVersion": "client.authentication.k8s.io/v1", "command": "x", "interactiveMode": mode });
        for (user, says) in [
            (json!({ "token": "a" }), None),
            (
                json!({ "token": "a", "tokenFile": "b", "client-certificate": "c", "client-key": "d", "exec": exec("Never") }),
                None,
            ),
            (json!({ "token": "a", "username": "b" }), Some("a token and a password")),
            (json!({ "tokenFile": "a", "password": "b" }), Some("a token and a password")),
            (json!({ "client-certificate": "a" }), Some("without a client-key")),
            (
                json!({ "client-certificate": "a", "client-certificate-data": "b", "client-key": "c" }),
                Some("client-certificate-data"),
            ),
            (json!({ "client-certificate": "a", "client-key": "b", "client-key-data": "c" }), Some("client-key-data")),
            (json!({ "exec": exec("") }), Some("has a credential plugin that has no interactiveMode")),
            (json!({ "exec": exec("Never"), "auth-provider": { "name": "oidc" } }), Some("both an auth-provider")),
            (json!({ "auth-provider": { "name": "gcp" } }), Some("auth-provider \"gcp\"")),
            (json!({ "as-groups": ["a"] }), Some("without a user")),
            (json!({ "as": "jane", "as-groups": ["a"], "as-user-extra": { "b": ["c"] } }), None),
        ] {
            let read: User = serde_json::from_value(user.clone()).unwrap();
            let fault = read.fault();
            assert_eq!(fault.is_some(), says.is_some(), "{user}: {fault:?}");
            assert!(fault.unwrap_or_default().contains(says.unwrap_or_default()), "{user}");
        }
        for (cluster, says) in [
            (json!({ "server": "https://a" }), None),
            (json!({}), Some("has no server")),
            (json!({ "server": "https://me:hunter2@a/b" }), Some("a user in the server's address")),
            (json!({ "server": "https://a/b@c" }), None),
            (
                json!({ "server": "a", "certificate-authority": "b", "certificate-authority-data": "c" }),
                Some("certificate-authority-data"),
            ),
            (json!({ "server": "a", "proxy-url": "ftp://me:hunter2@x" }), Some("proxy-url that is not of scheme")),
            (json!({ "server": "a", "proxy-url": "socks5h://x" }), Some("proxy-url that is not of scheme")),
            (json!({ "server": "a", "proxy-url": "socks5://x" }), None),
        ] {
            let read: Cluster = serde_json::from_value(cluster.clone()).unwrap();
            let fault = read.fault();
            assert_eq!(fault.is_some(), says.is_some(), "{cluster}: {fault:?}");
            let fault = fault.unwrap_or_default();
            assert!(fault.contains(says.unwrap_or_default()) && !fault.contains("hunter2"), "{cluster}: {fault}");
        }
    }

    #[test]
    fn plugin_gets_the_same_cluster_description_as_from_client_go() {
        let cluster: Cluster = serde_json::from_value(json!({
            "server": "https://a/prefix", "tls-server-name": "b", "proxy-url": "http://p:1", "disable-compression": true,
            "extensions": [{ "name": "other", "extension": 1 }, { "name": "client.authentication.k8s.io/exec", "extension": { "region": "eu" } }],
        }))
        .unwrap();
        let told = json!({
            "server": "https://a/prefix", "tls-server-name": "b", "proxy-url": "http://p:1", "disable-compression": true,
            "certificate-authority-data": "Y2E=", "config": { "region": "eu" },
        });
        assert_eq!(cluster.for_plugin("Y2E="), told);
        assert_eq!(Cluster { server: "a".into(), ..Cluster::default() }.for_plugin(""), json!({ "server": "a" }));
    }

    proptest! {
        #[test]
        fn errors_quote_no_value(value in "[a-z]{9,20}", key in "token|as-groups|exec|client-key|as|as-user-extra") {
            for value in [json!([&value]), json!({ "x": &value }), json!(&value)] {
                let document = json!({ "users": [{ "name": "a", "user": { &key: value.clone() } }] });
                if let Err(error) = Kubeconfig::read(document) {
                    prop_assert!(!error.contains(value.as_str().unwrap_or("not to be found")), "{}", error);
                }
            }
        }
    }
}
