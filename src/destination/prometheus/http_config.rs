//! The client configuration file for Prometheus' API, as promtool has it with `--http.config.file`: the part of it that the
//! plugin supports, by the rules of prometheus/common (`config/http_config.go`, `Validate`). No message shows a value.

use crate::{
    cluster::tls,
    error::{Error, Result},
    host::ClientAccess,
    kubeconfig::{Identity, identity, source},
    model::{
        access::certificate::certificates,
        text::{encoding::base64, header},
    },
    yaml,
};
use http::HeaderValue;
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What the file says. Contains credentials, so it has no Debug.
#[derive(Default)]
struct ClientConfig {
    authorization: Option<Authorization>,
    ca: Option<Text>,
    /// Certificate and key.
    identity: Option<(Text, Text)>,
    server_name: Option<ServerName<'static>>,
}

enum Authorization {
    Basic { username: Option<Text>, password: Option<Text> },
    Other { scheme: String, credentials: Option<Text> },
}

/// A text in the file, or in another file.
struct Text {
    /// `basic_auth.password_file`
    field: String,
    value: TextValue,
}

enum TextValue {
    Inline(SecretString),
    /// Relative to the folder of the file, until [`ClientConfig::resolve`].
    File(PathBuf),
}

/// Reads the file, and those that it names.
///
/// # Errors
/// [`crate::error::Reason::InvalidArgument`], naming the file and the field.
pub fn read(path: &Path) -> Result<ClientAccess> {
    parsed(path).and_then(ClientConfig::access).map_err(|why| refused(path, &why))
}

/// The other files that it names.
///
/// # Errors
/// As [`read`].
pub fn other_files(path: &Path) -> Result<Vec<PathBuf>> {
    parsed(path).map(ClientConfig::files).map_err(|why| refused(path, &why))
}

fn refused(path: &Path, why: &str) -> Error {
    Error::usage(format!("--prometheus-http-config {}: {why}", path.display())).hint(
        "The plugin takes basic_auth, authorization and tls_config as promtool does: see docs/destinations/host.md",
    )
}

fn parsed(path: &Path) -> Result<ClientConfig, String> {
    let content = source::read(path).map_err(|error| format!("cannot read it: {error}"))?;
    let text = String::from_utf8(content).map_err(|_| "it is not UTF-8 text")?;
    let mut config = ClientConfig::parse(&text)?;
    config.resolve(path.parent().unwrap_or(Path::new("")));
    Ok(config)
}

impl ClientConfig {
    fn parse(text: &str) -> Result<Self, String> {
        let document = match yaml::read_first_foreign(text)? {
            Value::Null => return Ok(Self::default()),
            Value::Object(document) => document,
            _ => return Err("it is not a mapping".to_owned()),
        };
        let top = Section { name: "", fields: &document };
        top.has_only(
            &["basic_auth", "authorization", "tls_config", "follow_redirects", "enable_http2"],
            &[
                "oauth2",
                "bearer_token",
                "bearer_token_file",
                "proxy_url",
                "no_proxy",
                "proxy_from_environment",
                "proxy_connect_header",
                "http_headers",
            ],
        )?;
        top.switch("enable_http2")?;
        if top.switch("follow_redirects")? == Some(true) {
            return Err("follow_redirects is true, and the plugin follows no redirect: delete it".to_owned());
        }
        let basic = top.section("basic_auth")?.map(basic_auth).transpose()?;
        let other = top.section("authorization")?.map(authorization).transpose()?;
        if basic.is_some() && other.is_some() {
            return Err("at most one of basic_auth and authorization may be configured".to_owned());
        }
        let mut config = match top.section("tls_config")? {
            Some(section) => tls_config(section)?,
            None => Self::default(),
        };
        config.authorization = basic.or(other);
        Ok(config)
    }

    fn texts(&mut self) -> impl Iterator<Item = &mut Text> {
        let of_authorization = match &mut self.authorization {
            Some(Authorization::Basic { username, password }) => [username.as_mut(), password.as_mut()],
            Some(Authorization::Other { credentials, .. }) => [credentials.as_mut(), None],
            None => [None, None],
        };
        let pair = self.identity.as_mut().map(|(certificate, key)| [certificate, key]);
        of_authorization.into_iter().flatten().chain(&mut self.ca).chain(pair.into_iter().flatten())
    }

    fn resolve(&mut self, folder: &Path) {
        for text in self.texts() {
            if let TextValue::File(path) = &mut text.value {
                *path = folder.join(&*path);
            }
        }
    }

    fn files(mut self) -> Vec<PathBuf> {
        let file = |text: &mut Text| match &text.value {
            TextValue::File(path) => Some(path.clone()),
            TextValue::Inline(_) => None,
        };
        self.texts().filter_map(file).collect()
    }

    /// With the content of all files.
    fn access(self) -> Result<ClientAccess, String> {
        let authorization = self.authorization.map(Authorization::header).transpose()?;
        let identity = self.identity.map(|(certificate, key)| read_identity(&certificate, &key)).transpose()?;
        let cas = self.ca.map(|ca| match certificates(&ca.content()?) {
            cas if cas.is_empty() => Err(format!("{} contains no certificate", ca.shown())),
            cas => Ok(cas),
        });
        let cas = cas.transpose()?;
        let tls = match tls::config(cas.as_deref(), identity) {
            Ok(tls) => tls,
            Err(_) if cas.is_some() => return Err("tls_config has no CA that the plugin can read".to_owned()),
            // A system without CAs: a Prometheus without TLS needs none.
            Err(_) => tls::trusting_none().ok_or("this program has no TLS")?,
        };
        Ok(ClientAccess { authorization, tls, server_name: self.server_name })
    }
}

impl Authorization {
    fn header(self) -> Result<HeaderValue, String> {
        let content = |text: Option<&Text>| text.map_or_else(|| Ok(Vec::new()), Text::trimmed);
        match self {
            Self::Basic { username, password } => {
                let pair = [content(username.as_ref())?, content(password.as_ref())?].join(&b':');
                let value = header::value(format!("Basic {}", base64(&pair)).as_bytes());
                value.map_err(|why| format!("basic_auth {why}"))
            }
            Self::Other { scheme, credentials } => {
                let secret = content(credentials.as_ref())?;
                header::value(scheme.as_bytes()).map_err(|why| format!("authorization.type {why}"))?;
                let value = header::value(&[scheme.as_bytes(), b" ", &secret].concat());
                value.map_err(|why| format!("{} {why}", credentials.map(|text| text.shown()).unwrap_or_default()))
            }
        }
    }
}

impl Text {
    fn content(&self) -> Result<Vec<u8>, String> {
        match &self.value {
            TextValue::Inline(text) => Ok(text.expose_secret().as_bytes().to_vec()),
            TextValue::File(path) => {
                source::read(path).map_err(|error| format!("{} cannot be read: {error}", self.shown()))
            }
        }
    }

    /// Of a file without white space around it (`FileSecret.Fetch`).
    fn trimmed(&self) -> Result<Vec<u8>, String> {
        let content = self.content()?;
        Ok(match (&self.value, std::str::from_utf8(&content)) {
            (TextValue::File(_), Ok(text)) => text.trim().as_bytes().to_vec(),
            (TextValue::File(_), Err(_)) => content.trim_ascii().to_vec(),
            (TextValue::Inline(_), _) => content,
        })
    }

    /// For messages.
    fn shown(&self) -> String {
        match &self.value {
            TextValue::File(path) => format!("{} {}", self.field, path.display()),
            TextValue::Inline(_) => self.field.clone(),
        }
    }
}

fn read_identity(certificate: &Text, key: &Text) -> Result<Identity, String> {
    identity(&certificate.content()?, &key.content()?).map_err(|fault| {
        let field = if fault.is_key { key } else { certificate };
        format!("{} {}", field.shown(), fault.why)
    })
}

fn basic_auth(section: Section) -> Result<Authorization, String> {
    section.has_only(&["username", "username_file", "password", "password_file"], &["username_ref", "password_ref"])?;
    Ok(Authorization::Basic {
        username: section.text_or_file("username")?,
        password: section.text_or_file("password")?,
    })
}

fn authorization(section: Section) -> Result<Authorization, String> {
    section.has_only(&["type", "credentials", "credentials_file"], &["credentials_ref"])?;
    let scheme = match section.text("type")?.trim() {
        "" => "Bearer",
        basic if basic.eq_ignore_ascii_case("basic") => {
            return Err("authorization.type cannot be \"basic\": use basic_auth instead".to_owned());
        }
        scheme => scheme,
    };
    Ok(Authorization::Other { scheme: scheme.to_owned(), credentials: section.text_or_file("credentials")? })
}

fn tls_config(section: Section) -> Result<ClientConfig, String> {
    section.has_only(
        &["ca", "ca_file", "cert", "cert_file", "key", "key_file", "server_name", "insecure_skip_verify"],
        &["ca_ref", "cert_ref", "key_ref", "min_version", "max_version"],
    )?;
    if section.switch("insecure_skip_verify")? == Some(true) {
        return Err("tls_config.insecure_skip_verify is true, and the plugin verifies every server: delete it and name the CA with ca_file".to_owned());
    }
    let identity = match (section.text_or_file("cert")?, section.text_or_file("key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err("tls_config has a client certificate and neither key nor key_file".to_owned()),
        (None, Some(_)) => return Err("tls_config has a client key and neither cert nor cert_file".to_owned()),
    };
    let server_name = match section.text("server_name")? {
        "" => None,
        name => Some(
            ServerName::try_from(name.to_owned())
                .map_err(|_| "tls_config.server_name is neither a DNS name nor an address")?,
        ),
    };
    Ok(ClientConfig { authorization: None, ca: section.text_or_file("ca")?, identity, server_name })
}

/// A mapping in the file. The name of the whole is empty.
#[derive(Clone, Copy)]
struct Section<'a> {
    name: &'a str,
    fields: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    /// Refuses fields that Prometheus does not know, and those of Prometheus that the plugin does not support.
    fn has_only(self, supported: &[&str], unsupported: &[&str]) -> Result<(), String> {
        for (key, value) in self.fields {
            let key = key.as_str();
            if unsupported.contains(&key) && !value.is_null() {
                return Err(format!("the plugin does not support {}: delete it", self.path(key)));
            }
            if !supported.contains(&key) && !unsupported.contains(&key) {
                // Another key could be a password that has lost its field.
                let is_name = key.len() <= 40 && key.chars().all(|c| c.is_ascii_alphabetic() || "-_".contains(c));
                let key = if is_name { key } else { "a field" };
                let of = if self.name.is_empty() { String::new() } else { format!(" of {}", self.name) };
                return Err(format!("{key}{of} is unknown; known: {}", supported.join(", ")));
            }
        }
        Ok(())
    }

    fn path(self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn section(self, key: &'a str) -> Result<Option<Self>, String> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self { name: key, fields })),
            Some(_) => Err(format!("{key} is not a mapping")),
        }
    }

    fn switch(self, key: &str) -> Result<Option<bool>, String> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(switch)) => Ok(Some(*switch)),
            Some(_) => Err(format!("{} is neither true nor false", self.path(key))),
        }
    }

    /// Empty where there is none, as in Go.
    fn text(self, key: &str) -> Result<&'a str, String> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text),
            // Prometheus takes a number as it is written, which is not known any more.
            Some(Value::Number(_) | Value::Bool(_)) => {
                Err(format!("{} is not a string: put it in quotes", self.path(key)))
            }
            Some(_) => Err(format!("{} is not a string", self.path(key))),
        }
    }

    fn text_or_file(self, key: &str) -> Result<Option<Text>, String> {
        let in_file = format!("{key}_file");
        let (field, value) = match (self.text(key)?, self.text(&in_file)?) {
            ("", "") => return Ok(None),
            (text, "") => (key, TextValue::Inline(text.into())),
            ("", path) => (in_file.as_str(), TextValue::File(path.into())),
            _ => return Err(format!("at most one of {} and {in_file} may be configured", self.path(key))),
        };
        Ok(Some(Text { field: self.path(field), value }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;
    use crate::hostile;
    use rcgen::{CertificateParams, KeyPair};
    use std::fs;

    const SECRET: &str = "hunter2";

    /// What is sent as `Authorization`, or why not, of a file in a folder with other files.
    fn authorization(text: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("http.yml");
        fs::write(&file, text).unwrap();
        fs::create_dir(folder.path().join("secrets")).unwrap();
        for (name, content) in
            [("user", " jane\n"), ("secrets/password", "hunter2\r\n\n"), ("two-lines", "hunter2\nhunter2")]
        {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let shown = |why: String| why.replace(&*folder.path().to_string_lossy(), "");
        tls::install();
        match read(&file) {
            Ok(access) => Ok(access
                .authorization
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .unwrap_or_default()),
            Err(error) => {
                assert_eq!(error.reason, Reason::InvalidArgument);
                let (message, hints) = (error.to_string(), error.hints.concat());
                assert!(!message.contains(SECRET) && !hints.contains(SECRET) && !hints.is_empty(), "{message}");
                assert_eq!(message.lines().count(), 1, "{message}");
                let why = message.strip_prefix(&format!("--prometheus-http-config {}: ", file.display()));
                Err(shown(why.unwrap_or_else(|| panic!("{message}")).to_owned()))
            }
        }
    }

    #[test]
    fn credentials_are_sent_as_prometheus_sends_them() {
        let jane = "Basic amFuZTpodW50ZXIy";
        for (text, sent) in [
            ("", ""),
            ("# nothing\n", ""),
            ("{}", ""),
            ("basic_auth:", ""),
            ("basic_auth: {}", "Basic Og=="),
            ("basic_auth: {username: jane, password: hunter2}", jane),
            ("{\"basic_auth\": {\"username\": \"jane\", \"password\": \"hunter2\"}}", jane),
            ("basic_auth: {username_file: user, password_file: secrets/password}", jane),
            ("basic_auth: {username: jane, username_file: '', password_file: ./secrets/../secrets/password}", jane),
            ("basic_auth: &a\n  username: jane\n  password: ' hunter2'\n", "Basic amFuZTogaHVudGVyMg=="),
            ("basic_auth: {username: 'j:ö', password: \"two\\nlines\"}", "Basic ajrDtjp0d28KbGluZXM="),
            ("authorization: {credentials: hunter2}", "Bearer hunter2"),
            ("authorization: {type: ' Token ', credentials: hunter2}", "Token hunter2"),
            ("authorization: {credentials_file: secrets/password}", "Bearer hunter2"),
            (
                "authorization: {credentials_file: secrets/password}\ntls_config: {insecure_skip_verify: false}\nfollow_redirects: false\nenable_http2: true\n",
                "Bearer hunter2",
            ),
            ("tls_config:\nproxy_url:\noauth2: null\n", ""),
        ] {
            assert_eq!(authorization(text).as_deref(), Ok(sent), "{text}");
        }
    }

    #[test]
    fn fault_of_the_file_names_the_field() {
        for (text, why) in [
            ("- hunter2", "it is not a mapping"),
            ("hunter2", "it is not a mapping"),
            ("basic_auth: hunter2", "basic_auth is not a mapping"),
            ("basic_auth: {username: jane, password: 12345}", "basic_auth.password is not a string: put it in quotes"),
            ("basic_auth: {username: [hunter2]}", "basic_auth.username is not a string"),
            (
                "basic_auht: {}",
                "basic_auht is unknown; known: basic_auth, authorization, tls_config, follow_redirects, enable_http2",
            ),
            (
                "basic_auth: {user: jane}",
                "user of basic_auth is unknown; known: username, username_file, password, password_file",
            ),
            (
                "basic_auth: {username: jane, hunter2: }",
                "a field of basic_auth is unknown; known: username, username_file, password, password_file",
            ),
            (
                "authorization: {token: hunter2}",
                "token of authorization is unknown; known: type, credentials, credentials_file",
            ),
            (
                "basic_auth: {username: jane}\nbasic_auth: {}",
                "the key basic_auth is there twice, on lines 1 and 2: delete one",
            ),
            (
                "basic_auth: {username: jane, username_file: user}",
                "at most one of basic_auth.username and username_file may be configured",
            ),
            (
                "basic_auth: {password: hunter2, password_file: x}",
                "at most one of basic_auth.password and password_file may be configured",
            ),
            (
                "authorization: {credentials: hunter2, credentials_file: x}",
                "at most one of authorization.credentials and credentials_file may be configured",
            ),
            (
                "basic_auth: {username: jane}\nauthorization: {credentials: hunter2}",
                "at most one of basic_auth and authorization may be configured",
            ),
            (
                "authorization: {type: bAsic, credentials: hunter2}",
                "authorization.type cannot be \"basic\": use basic_auth instead",
            ),
            (
                "authorization: {credentials: \"hunter2\\nx\"}",
                "authorization.credentials contains a line break, and no HTTP header may contain one",
            ),
            (
                "authorization: {type: \"hunter2\\0\", credentials: x}",
                "authorization.type contains the control character 0x00, and no HTTP header may contain it",
            ),
            (
                "authorization: {credentials_file: two-lines}",
                "authorization.credentials_file /two-lines contains a line break, and no HTTP header may contain one",
            ),
            (
                "basic_auth: {password_file: absent}",
                "basic_auth.password_file /absent cannot be read: No such file or directory (os error 2)",
            ),
            ("oauth2: {client_id: hunter2}", "the plugin does not support oauth2: delete it"),
            ("bearer_token: hunter2", "the plugin does not support bearer_token: delete it"),
            ("proxy_url: http://u:hunter2@h", "the plugin does not support proxy_url: delete it"),
            ("http_headers: {X: {secrets: [hunter2]}}", "the plugin does not support http_headers: delete it"),
            ("basic_auth: {password_ref: hunter2}", "the plugin does not support basic_auth.password_ref: delete it"),
            ("tls_config: {min_version: TLS13}", "the plugin does not support tls_config.min_version: delete it"),
            (
                "tls_config: {insecure_skip_verify: true}",
                "tls_config.insecure_skip_verify is true, and the plugin verifies every server: delete it and name the CA with ca_file",
            ),
            ("tls_config: {insecure_skip_verify: maybe}", "tls_config.insecure_skip_verify is neither true nor false"),
            ("follow_redirects: true", "follow_redirects is true, and the plugin follows no redirect: delete it"),
            ("tls_config: {ca_file: user}", "tls_config.ca_file /user contains no certificate"),
            ("tls_config: {ca: hunter2}", "tls_config.ca contains no certificate"),
            ("tls_config: {ca: x, ca_file: user}", "at most one of tls_config.ca and ca_file may be configured"),
            ("tls_config: {cert_file: user}", "tls_config has a client certificate and neither key nor key_file"),
            ("tls_config: {key: hunter2}", "tls_config has a client key and neither cert nor cert_file"),
            ("tls_config: {cert_file: user, key: hunter2}", "tls_config.cert_file /user contains no PEM certificate"),
            ("tls_config: {server_name: 'a b'}", "tls_config.server_name is neither a DNS name nor an address"),
        ] {
            assert_eq!(authorization(text), Err(why.to_owned()), "{text}");
        }
        assert!(authorization("basic_auth: {password: hunter2").unwrap_err().contains("line 1"));
        let absent = read(Path::new("/nowhere/http.yml")).err().unwrap().to_string();
        assert!(absent.starts_with("--prometheus-http-config /nowhere/http.yml: cannot read it: "), "{absent}");
    }

    #[test]
    fn certificates_and_keys_are_in_the_file_or_in_others() {
        let (folder, key) = (tempfile::tempdir().unwrap(), KeyPair::generate().unwrap());
        let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
        let indented = |pem: &str| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
        let (ca, pair) = (indented(&certificate), indented(&key.serialize_pem()));
        for (name, content) in [("ca.crt", &certificate), ("client.key", &key.serialize_pem())] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let file = folder.path().join("http.yml");
        for (text, files) in [
            (format!("tls_config:\n  ca: |\n{ca}  cert: |\n{ca}  key: |\n{pair}  server_name: prom\n"), &[][..]),
            (
                "tls_config: {ca_file: ca.crt, cert_file: ca.crt, key_file: client.key}".to_owned(),
                &["ca.crt", "ca.crt", "client.key"],
            ),
        ] {
            fs::write(&file, text).unwrap();
            let access = read(&file).unwrap_or_else(|error| panic!("{error}"));
            assert!(access.tls.client_auth_cert_resolver.has_certs());
            assert_eq!(access.server_name.is_some(), files.is_empty());
            let files: Vec<PathBuf> = files.iter().map(|name| folder.path().join(name)).collect();
            assert_eq!(other_files(&file), Ok(files));
        }
    }

    #[test]
    fn hostile_files_are_survived() {
        let basic =
            "basic_auth:\n  username: jane\n  password: hunter2\ntls_config: {ca_file: ca.crt, server_name: x}\n";
        let token = "authorization: {type: Token, credentials: hunter2}\nfollow_redirects: false\nenable_http2: true\n";
        hostile::texts(&[basic, token], |text| {
            let why = ClientConfig::parse(text).err().unwrap_or_default();
            assert!(!why.contains(SECRET) && !why.contains('\n'), "{why}");
        });
    }
}
