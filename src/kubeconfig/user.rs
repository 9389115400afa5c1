//! The credentials of a kubeconfig's user, in client-go's order of preference. This module reads the files and runs the
//! plugin, so that kube reads no file and runs no program.

use super::{
    entries::{AuthProvider, Cluster, User},
    identity::{Identity, identity},
    run_plugin,
    selected::Selected,
    source,
};
use crate::{
    clock,
    error::{Error, Reason, Result},
    model::{
        access::certificate::certificates,
        text::{
            encoding::{base64, from_base64},
            figures::minute,
            header::{self, Unfit},
            shell,
        },
    },
};
use ::base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::{fmt, path::Path, time::Duration};

/// What identifies the administrator. Every text is checked: it can be sent as it is.
#[derive(Clone, Default)]
pub struct Credentials {
    /// `Authorization`, and whom to impersonate.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub identity: Option<Identity>,
}

/// An API server reads at most 1 MiB of headers (Go `http.DefaultMaxHeaderBytes`), and [`http::HeaderMap`] panics at more
/// than 32,768 names.
const HEADERS: usize = 10_000;

/// The characters of a key that client-go escapes in a header's name (`transport/round_trippers.go`, `headerKeyEscape`).
const ESCAPED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'*')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The credentials of this context. `timeout` is the request timeout.
///
/// # Errors
/// [`Reason::CredentialPluginFailed`] for files and programs that the kubeconfig names, [`Reason::InvalidKubeconfig`] for
/// its own content. The message names the user and the field.
pub async fn credentials(selected: &Selected, timeout: Option<Duration>) -> Result<Credentials> {
    let credentials = of_user(selected, timeout).await;
    credentials.map_err(|error| error.about(format!("user {}", selected.user_name)))
}

async fn of_user(selected: &Selected, timeout: Option<Duration>) -> Result<Credentials> {
    let Selected { user, cluster, context, .. } = selected;
    let mut credentials = Credentials { headers: impersonation(user)?, identity: None };
    if !cluster.server.to_ascii_lowercase().starts_with("https://") {
        // kubectl sends no credentials over an unencrypted connection (client-go `IsConfigTransportTLS`).
        return Ok(credentials);
    }
    let mut authorization = match token(user)? {
        None => password(user),
        token => token,
    };
    if user.has_certificate() {
        let certificate = Field::new("client-certificate", &user.client_certificate_data, &user.client_certificate);
        let key = Field::new("client-key", user.client_key_data.expose_secret(), &user.client_key);
        credentials.identity = Some(identity(&certificate.pem()?, &key.pem()?).map_err(|fault| {
            let field = if fault.is_key { key } else { certificate };
            unusable(&format!("the {field} {}", fault.why))
        })?);
    }
    // A provider sets no header where there is one (`plugin/pkg/client/auth/oidc`, `RoundTrip`).
    if authorization.is_none()
        && let Some(provider) = &user.auth_provider
    {
        authorization = Some(id_token(provider, context, clock::now())?);
    }
    // A plugin runs only if there are no other credentials (`exec.UpdateTransportConfig`).
    let has_other = authorization.is_some() || user.has_certificate();
    if let Some(plugin) = user.exec.as_ref().filter(|_| !has_other) {
        let told = if plugin.provide_cluster_info {
            Some(cluster.for_plugin(&base64(&certificate_authority(cluster)?.unwrap_or_default())))
        } else {
            None
        };
        let credential = run_plugin::credential(plugin, told.as_ref(), timeout).await?;
        authorization = match credential.token {
            None => None,
            Some(token) => Some(
                bearer(token.expose_secret().as_bytes())
                    .map_err(|why| run_plugin::failed(plugin, &format!("the token in its output {why}")))?,
            ),
        };
        if let Some((chain, key)) = credential.certificate {
            let read = identity(chain.as_bytes(), key.expose_secret().as_bytes());
            credentials.identity = Some(read.map_err(|fault| {
                let field = if fault.is_key { "clientKeyData" } else { "clientCertificateData" };
                run_plugin::failed(plugin, &format!("the {field} in its output {}", fault.why))
            })?);
        }
    }
    credentials.headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
    Ok(credentials)
}

/// The CA of the cluster as PEM, if it has its own CA.
///
/// # Errors
/// [`Reason::InvalidKubeconfig`].
pub fn certificate_authority(cluster: &Cluster) -> Result<Option<Vec<u8>>> {
    let field =
        Field::new("certificate-authority", &cluster.certificate_authority_data, &cluster.certificate_authority);
    match field.content().map_err(|why| invalid(&format!("the {field} {why}")))? {
        Some(pem) if certificates(&pem).is_empty() => Err(invalid(&format!("the {field} contains no certificate"))),
        pem => Ok(pem),
    }
}

/// The token of the file, because it may have been renewed. If the file cannot be read, the token in the kubeconfig
/// (client-go `NewBearerAuthWithRefreshRoundTripper`).
fn token(user: &User) -> Result<Option<HeaderValue>> {
    let inline = || match user.token.expose_secret() {
        "" => Ok(None),
        token => bearer(token.as_bytes()).map(Some).map_err(|why| invalid(&format!("the token {why}"))),
    };
    if user.token_file.as_os_str().is_empty() {
        return inline();
    }
    let unusable = |why: &str| unusable(&format!("the tokenFile {} {why}", user.token_file.display()));
    let missing = match source::read(&user.token_file) {
        Ok(text) => match trimmed(&text) {
            b"" => unusable("is empty"),
            token => return bearer(token).map(Some).map_err(|why| unusable(&why.to_string())),
        },
        Err(error) => unusable(&format!("cannot be read: {error}")),
    };
    inline()?.map(Some).ok_or(missing)
}

/// Without white space around it, as Go's `strings.TrimSpace` leaves it.
fn trimmed(text: &[u8]) -> &[u8] {
    std::str::from_utf8(text).map_or_else(|_| text.trim_ascii(), |text| text.trim().as_bytes())
}

fn bearer(token: &[u8]) -> Result<HeaderValue, Unfit> {
    header::value(&[b"Bearer ", token].concat())
}

fn password(user: &User) -> Option<HeaderValue> {
    if user.username.is_empty() && user.password.expose_secret().is_empty() {
        return None;
    }
    let pair = base64(format!("{}:{}", user.username, user.password.expose_secret()).as_bytes());
    header::value(format!("Basic {pair}").as_bytes()).ok()
}

/// kubectl renews an expired token and stores both tokens in the kubeconfig (`plugin/pkg/client/auth/oidc`). The plugin
/// writes to no kubeconfig, and a refresh token may be good for one use only.
fn id_token(provider: &AuthProvider, context: &str, now: Timestamp) -> Result<HeaderValue> {
    let field = |key: &str| provider.config.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let renewed = |why: &str| {
        let error = Error::new(Reason::CredentialPluginFailed, format!("the id-token of its auth-provider oidc {why}"));
        if field("refresh-token").is_none() {
            return error.hint("There is no refresh-token to renew it with: log in again");
        }
        let context = shell::word(context);
        error
            .hint(format!(
                "kubectl renews it and stores it in the kubeconfig: kubectl --context {context} get --raw /version"
            ))
            .hint(
                "Then run this command again. For rotate --watch use a credential plugin (kubectl oidc-login) instead",
            )
    };
    let token = field("id-token").ok_or_else(|| renewed("is missing"))?;
    let value = bearer(token.as_bytes()).map_err(|why| invalid(&format!("the id-token of its auth-provider {why}")))?;
    let expires = expiry(token).ok_or_else(|| renewed("is not a JWT with an expiry"))?;
    if expires < now {
        return Err(renewed(&format!("expired on {}", minute(expires))));
    }
    Ok(value)
}

/// Of a JWT.
#[expect(clippy::cast_possible_truncation, reason = "a cast of floats saturates")]
fn expiry(token: &str) -> Option<Timestamp> {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let seconds = claims["exp"].as_i64().or_else(|| claims["exp"].as_f64().map(|exp| exp as i64))?;
    Timestamp::from_second(seconds).ok()
}

fn impersonation(user: &User) -> Result<Vec<(HeaderName, HeaderValue)>> {
    let value =
        |field: &str, text: &str| header::value(text.as_bytes()).map_err(|why| invalid(&format!("its {field} {why}")));
    let mut headers = Vec::new();
    if !user.impersonate.is_empty() {
        headers.push((HeaderName::from_static("impersonate-user"), value("as", &user.impersonate)?));
    }
    if !user.impersonate_uid.is_empty() {
        headers.push((HeaderName::from_static("impersonate-uid"), value("as-uid", &user.impersonate_uid)?));
    }
    for group in &user.impersonate_groups {
        headers.push((HeaderName::from_static("impersonate-group"), value("as-groups", group)?));
    }
    for (key, values) in &user.impersonate_extra {
        let name = format!("impersonate-extra-{}", percent_encode(key.as_bytes(), &ESCAPED));
        let name = HeaderName::try_from(name).map_err(|_| invalid("its as-user-extra has a key that is too long"))?;
        for text in values {
            headers.push((name.clone(), value("as-user-extra", text)?));
        }
    }
    if headers.len() > HEADERS {
        return Err(invalid(&format!("it impersonates more than {HEADERS} groups and extras")));
    }
    Ok(headers)
}

/// A field that is base64, or the name of a file. Shown as the kubeconfig has it.
#[derive(Clone, Copy)]
struct Field<'a> {
    name: &'a str,
    data: &'a str,
    file: &'a Path,
}

impl<'a> Field<'a> {
    fn new(name: &'a str, data: &'a str, file: &'a Path) -> Self {
        Self { name, data, file }
    }

    fn content(&self) -> Result<Option<Vec<u8>>, String> {
        if !self.data.is_empty() {
            // Go's base64 ignores line breaks.
            let data: String = self.data.split(['\r', '\n']).collect();
            return from_base64(&data).map(Some).ok_or_else(|| "is not base64".to_owned());
        }
        if self.file.as_os_str().is_empty() {
            return Ok(None);
        }
        source::read(self.file).map(Some).map_err(|error| format!("cannot be read: {error}"))
    }

    fn pem(&self) -> Result<Vec<u8>> {
        self.content().map(Option::unwrap_or_default).map_err(|why| unusable(&format!("the {self} {why}")))
    }
}

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.data {
            "" => write!(f, "{} {}", self.name, self.file.display()),
            _ => write!(f, "{}-data", self.name),
        }
    }
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
    use crate::hostile;
    use futures_util::FutureExt;
    use proptest::prelude::*;
    use std::fs;

    #[tokio::test]
    async fn credentials_are_not_sent_over_an_unencrypted_connection() {
        for (server, is_sent) in
            [("https://east", true), ("HTTPS://east", true), ("http://east", false), ("east", false)]
        {
            let user = User { token: "of-jane".into(), impersonate: "joe".to_owned(), ..User::default() };
            let mut selected = selected(user);
            selected.cluster.server = server.to_owned();
            let info = credentials(&selected, None).await.unwrap();
            assert_eq!(info.headers.iter().any(|(name, _)| name == AUTHORIZATION), is_sent, "{server}");
            assert_eq!(info.headers[0], (HeaderName::from_static("impersonate-user"), HeaderValue::from_static("joe")));
        }
    }

    fn selected(user: User) -> Selected {
        Selected {
            context: "east".to_owned(),
            namesake: None,
            cluster: Cluster { server: "https://east".to_owned(), ..Cluster::default() },
            user_name: "jane".to_owned(),
            user,
            files: String::new(),
        }
    }

    fn outcome(user: User) -> Result<Credentials> {
        credentials(&selected(user), None).now_or_never().expect("no plugin runs")
    }

    #[test]
    fn credential_that_no_header_may_contain_is_named_with_its_user() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "hunter2\nhunter2\n").unwrap();
        let bad = || "hunter2\n".to_owned();
        let provider = AuthProvider { name: "oidc".to_owned(), config: [("id-token".to_owned(), bad())].into() };
        for (user, reason, says) in [
            (User { token: bad().into(), ..User::default() }, Reason::InvalidKubeconfig, "the token contains"),
            (User { token_file: file, ..User::default() }, Reason::CredentialPluginFailed, "token contains"),
            (User { impersonate: bad(), ..User::default() }, Reason::InvalidKubeconfig, "its as contains"),
            (User { impersonate_uid: bad(), ..User::default() }, Reason::InvalidKubeconfig, "its as-uid contains"),
            (User { impersonate_groups: vec![bad()], ..User::default() }, Reason::InvalidKubeconfig, "its as-groups"),
            (
                User { impersonate_extra: [("a".to_owned(), vec![bad()])].into(), ..User::default() },
                Reason::InvalidKubeconfig,
                "its as-user-extra contains",
            ),
            (
                User { impersonate_groups: vec![String::new(); HEADERS + 1], ..User::default() },
                Reason::InvalidKubeconfig,
                "more than 10000 groups",
            ),
            (User { auth_provider: Some(provider), ..User::default() }, Reason::InvalidKubeconfig, "the id-token of"),
        ] {
            let error = outcome(user).err().unwrap_or_else(|| panic!("accepted: {says}"));
            assert_eq!(error.reason, reason, "{error}");
            let shown = error.to_string();
            assert!(shown.starts_with("user jane: ") && shown.contains(says), "{shown}");
            assert!(!shown.contains("hunter2") && !shown.contains('\n') && !error.hints.is_empty(), "{error:?}");
        }
    }

    #[test]
    fn expired_id_token_names_the_command_that_renews_it() {
        let jwt = |claims: &str| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let outcome = |token: String, refresh: &str| {
            let config = [("id-token".to_owned(), token), ("refresh-token".to_owned(), refresh.to_owned())];
            outcome(User {
                auth_provider: Some(AuthProvider { name: "oidc".to_owned(), config: config.into() }),
                ..User::default()
            })
        };
        let valid = jwt(r#"{"exp": 32503680000}"#);
        assert_eq!(outcome(valid.clone(), "").unwrap().headers[0].1, format!("Bearer {valid}"));
        for (token, refresh, says, hint) in [
            (
                jwt(r#"{"exp": 1577836800}"#),
                "hunter2",
                "expired on 2020-01-01 00:00",
                "kubectl --context east get --raw",
            ),
            (jwt(r#"{"exp": 1577836800}"#), "", "expired on 2020-01-01 00:00", "log in again"),
            (String::new(), "hunter2", "is missing", "kubectl --context east get --raw /version"),
            ("hunter2".to_owned(), "hunter2", "is not a JWT", "kubectl --context east"),
            (jwt(r#"{"exp": "soon"}"#), "hunter2", "is not a JWT", "kubectl --context east"),
        ] {
            let error = outcome(token, refresh).err().unwrap();
            assert!(error.to_string().starts_with("user jane: the id-token of its auth-provider oidc "), "{error}");
            assert!(error.to_string().contains(says) && error.hints[0].contains(hint), "{error:?}");
            assert!(!format!("{error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn token_file_is_trimmed_as_in_go() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        for (content, sent) in [
            (&b"abc\n"[..], &b"Bearer abc"[..]),
            ("\u{a0} abc\r\n\n".as_bytes(), b"Bearer abc"),
            (b"a b\tc", b"Bearer a b\tc"),
            (b" \xff\n", b"Bearer \xff"),
        ] {
            fs::write(&file, content).unwrap();
            let credentials = outcome(User { token_file: file.clone(), ..User::default() }).unwrap();
            assert_eq!(credentials.headers[0].1.as_bytes(), sent);
        }
        fs::write(&file, " \n").unwrap();
        let error = outcome(User { token_file: file.clone(), ..User::default() }).err().unwrap();
        assert!(error.to_string().ends_with("token is empty"), "{error}");
        let inline = outcome(User { token_file: file, token: "inline".into(), ..User::default() }).unwrap();
        assert_eq!(inline.headers[0].1, "Bearer inline");
    }

    #[test]
    fn user_extra_is_escaped_as_in_client_go() {
        let extra = [("a/b %\u{f6}".to_owned(), vec!["1".to_owned(), "2".to_owned()])].into();
        let user = User { impersonate: "joe".to_owned(), impersonate_extra: extra, ..User::default() };
        let headers = outcome(user).unwrap().headers;
        let shown: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        let name = "impersonate-extra-a%2fb%20%25%c3%b6";
        assert_eq!(shown, [("impersonate-user", "joe"), (name, "1"), (name, "2")]);
    }

    proptest! {
        #[test]
        fn text_of_a_kubeconfig_is_sent_or_refused(texts: [String; 8], file: Vec<u8>, which in 0..6_usize) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("token");
            fs::write(&path, file).unwrap();
            let [token, username, password, name, uid, group, key, data] = texts;
            let mut user = User {
                impersonate: name,
                impersonate_uid: uid,
                impersonate_groups: vec![group],
                impersonate_extra: [(key, vec![data.clone()])].into(),
                ..User::default()
            };
            match which {
                0 => user.token = token.into(),
                1 => (user.username, user.password) = (username, password.into()),
                2 => user.token_file = path,
                3 => (user.client_certificate, user.client_key) = (path.clone(), path),
                4 => (user.client_certificate_data, user.client_key_data) = (data.clone(), data.into()),
                _ => {
                    let config = [("id-token".to_owned(), token)].into();
                    user.auth_provider = Some(AuthProvider { name: "oidc".to_owned(), config });
                }
            }
            if let Err(error) = outcome(user) {
                prop_assert!([Reason::InvalidKubeconfig, Reason::CredentialPluginFailed].contains(&error.reason));
                prop_assert!(!error.to_string().contains('\n') && !error.hints.is_empty(), "{error:?}");
            }
        }
    }

    #[test]
    fn hostile_tokens_are_survived() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJleHAiOjE3OTYxMTYzMjAuNSwiYXVkIjpbImEiXX0.c2ln";
        hostile::texts(&[token, r#"{"exp":1796116320,"aud":["a"]}"#], |text| {
            let payload = URL_SAFE_NO_PAD.encode(text);
            let _ = (expiry(text), expiry(&format!("x.{payload}.y")), bearer(text.as_bytes()));
            let user = User {
                impersonate: text.to_owned(),
                impersonate_extra: [(text.to_owned(), vec![text.to_owned()])].into(),
                ..User::default()
            };
            let _ = impersonation(&user);
        });
    }
}
