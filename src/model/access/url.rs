//! URLs of API servers and of proxies, safe to write into a destination.

use crate::model::text::limits::BASE_URL;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The address of an API server: `https://HOST[:PORT][/PREFIX]`, never with user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServerUrl {
    host: String,
    port: u16,
    prefix: String,
}

/// Why an address is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("has no scheme; write https://HOST:PORT")]
    NoScheme,
    #[error("is not https; the plugin sends tokens only over verified TLS")]
    NotHttps,
    #[error("is not a URL like https://HOST:PORT")]
    Malformed,
}

impl ApiServerUrl {
    /// `HOST:PORT`, an IPv6 address in brackets: Prometheus' `__address__`.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The path in front of `/api`, empty or like `/k8s/clusters/c-1` (Rancher).
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Whether a URL belongs to this API server. The URL may omit the port 443.
    pub fn serves(&self, url: &str) -> bool {
        let Some(rest) = url.strip_prefix("https://") else { return false };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let is_address = authority.eq_ignore_ascii_case(&self.address())
            || self.port == 443 && authority.eq_ignore_ascii_case(&self.host);
        is_address && path.strip_prefix(&self.prefix).is_some_and(|path| path.starts_with('/'))
    }

    /// Whether only this machine can reach the address.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse::<std::net::IpAddr>() {
            Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
            Err(_) => bare == "localhost" || bare.ends_with(".localhost"),
        }
    }
}

impl FromStr for ApiServerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        if !scheme.eq_ignore_ascii_case("https") {
            return Err(UrlError::NotHttps);
        }
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = self::authority(authority, 443).ok_or(UrlError::Malformed)?;
        // The alphabet of path prefixes that products use. Characters that need escaping in a job are rejected.
        let path_is_valid = path.chars().all(|c| c.is_ascii_alphanumeric() || "/-._~:".contains(c))
            && !path.split('/').any(|part| part == "." || part == "..")
            && text.len() <= BASE_URL;
        if !path_is_valid {
            return Err(UrlError::Malformed);
        }
        Ok(Self { host, port, prefix: path.trim_end_matches('/').to_owned() })
    }
}

/// `https://HOST:PORT/PREFIX`, always with the port.
impl fmt::Display for ApiServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.address(), self.prefix)
    }
}

/// The proxy between Prometheus and an API server: `http`, `https` or `socks5`, `://HOST[:PORT]`. Never with user and
/// password, because other users can read jobs and command lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyUrl {
    scheme: String,
    host: String,
    port: u16,
}

/// Why a proxy is invalid. The message omits the text, which may contain a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    #[error("has no scheme; write http://HOST:PORT")]
    NoScheme,
    #[error("is neither http, https nor socks5")]
    UnknownScheme,
    #[error("contains a user or password, which the jobs would show to all their readers")]
    Credentials,
    #[error("is not a URL like http://HOST:PORT")]
    Malformed,
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(ProxyUrlError::NoScheme)?;
        // The default ports of Go's HTTP client, and so of Prometheus (`net/http`, `portMap`).
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => ("http", 80),
            "https" => ("https", 443),
            "socks5" => ("socks5", 1080),
            _ => return Err(ProxyUrlError::UnknownScheme),
        };
        if rest.contains('@') {
            return Err(ProxyUrlError::Credentials);
        }
        let (host, port) =
            authority(rest.strip_suffix('/').unwrap_or(rest), default_port).ok_or(ProxyUrlError::Malformed)?;
        if text.len() > BASE_URL {
            return Err(ProxyUrlError::Malformed);
        }
        Ok(Self { scheme: scheme.to_owned(), host, port })
    }
}

/// `http://HOST:PORT`, always with the port.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl TryFrom<String> for ProxyUrl {
    type Error = ProxyUrlError;

    fn try_from(text: String) -> Result<Self, ProxyUrlError> {
        text.parse()
    }
}

impl From<ProxyUrl> for String {
    fn from(proxy: ProxyUrl) -> Self {
        proxy.to_string()
    }
}

/// Host, in lower case, and port of `HOST[:PORT]`.
fn authority(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = split_authority(text)?;
    let port = port.map_or(Ok(default_port), str::parse).ok()?;
    (port != 0).then(|| (host.to_ascii_lowercase(), port))
}

/// Host, and the text behind its colon, of `HOST[:PORT]`. An IPv6 address is in brackets.
pub fn split_authority(text: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_valid = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c)),
    };
    is_valid.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use crate::model::access::url::{ProxyUrlError, UrlError};
    use proptest::prelude::*;

    #[test]
    fn addresses_are_parsed() {
        for (text, address, prefix, shown) in [
            ("https://10.0.0.5:6443", "10.0.0.5:6443", "", "https://10.0.0.5:6443"),
            ("https://Api.Example.com", "api.example.com:443", "", "https://api.example.com:443"),
            ("https://[fd00::1]:6443/", "[fd00::1]:6443", "", "https://[fd00::1]:6443"),
            ("https://[fd00::1]", "[fd00::1]:443", "", "https://[fd00::1]:443"),
            ("HTTPS://r/k8s/clusters/c-1/", "r:443", "/k8s/clusters/c-1", "https://r:443/k8s/clusters/c-1"),
        ] {
            let url: ApiServerUrl = text.parse().unwrap();
            assert_eq!((url.address().as_str(), url.prefix(), url.to_string().as_str()), (address, prefix, shown));
        }
    }

    #[test]
    fn addresses_other_than_https_are_rejected() {
        for (text, error) in [
            ("10.0.0.5:6443", UrlError::NoScheme),
            ("http://10.0.0.5", UrlError::NotHttps),
            ("https://", UrlError::Malformed),
            ("https://a b", UrlError::Malformed),
            ("https://user@host", UrlError::Malformed),
            ("https://host:0", UrlError::Malformed),
            ("https://host:99999", UrlError::Malformed),
            ("https://host/?q", UrlError::Malformed),
            ("https://host/$1", UrlError::Malformed),
            ("https://host/../x", UrlError::Malformed),
            ("https://[host]", UrlError::Malformed),
            ("https://host\"\n", UrlError::Malformed),
        ] {
            assert_eq!(text.parse::<ApiServerUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn url_serves_only_its_own_server() {
        for (server, url, expected) in [
            ("https://10.0.0.5:6443", "https://10.0.0.5:6443/api/v1/nodes", true),
            ("https://10.0.0.5:6443", "https://10.0.0.5:64430/api/v1/nodes", false),
            ("https://10.0.0.5:6443", "https://10.0.0.5/api/v1/nodes", false),
            ("https://10.0.0.5:6443", "http://10.0.0.5:6443/api", false),
            ("https://10.0.0.5:6443", "https://10.0.0.5:6443", false),
            ("https://host", "https://Host/api", true),
            ("https://host", "https://host:443/api", true),
            ("https://[fd00::1]", "https://[fd00::1]/api", true),
            ("https://r/k8s/c-1", "https://r:443/k8s/c-1/api", true),
            ("https://r/k8s/c-1", "https://r:443/k8s/c-10/api", false),
            ("https://r/k8s/c-1", "", false),
        ] {
            assert_eq!(server.parse::<ApiServerUrl>().unwrap().serves(url), expected, "{url} of {server}");
        }
    }

    #[test]
    fn proxies_are_parsed_and_passwords_rejected() {
        for (text, shown) in [
            ("http://Proxy.Example.com:3128/", Ok("http://proxy.example.com:3128")),
            ("https://proxy", Ok("https://proxy:443")),
            ("SOCKS5://[fd00::1]", Ok("socks5://[fd00::1]:1080")),
            ("proxy:3128", Err(ProxyUrlError::NoScheme)),
            ("ftp://proxy", Err(ProxyUrlError::UnknownScheme)),
            ("http://user:hunter2@proxy:3128", Err(ProxyUrlError::Credentials)),
            ("http://user@proxy:3128", Err(ProxyUrlError::Credentials)),
            ("http://", Err(ProxyUrlError::Malformed)),
            ("http://proxy:0", Err(ProxyUrlError::Malformed)),
            ("http://proxy:99999", Err(ProxyUrlError::Malformed)),
            ("http://proxy/path", Err(ProxyUrlError::Malformed)),
            ("http://proxy?q", Err(ProxyUrlError::Malformed)),
            ("http://pro\nxy", Err(ProxyUrlError::Malformed)),
            ("http://[::1", Err(ProxyUrlError::Malformed)),
        ] {
            let parsed = text.parse::<ProxyUrl>();
            assert!(parsed.as_ref().err().is_none_or(|error| !error.to_string().contains("hunter2")));
            assert_eq!(parsed.map(|proxy| proxy.to_string()), shown.map(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn accepted_proxy_is_read_back(text in "(http|https|socks5)://.{0,30}") {
            if let Ok(proxy) = text.parse::<ProxyUrl>() {
                prop_assert_eq!(proxy.to_string().parse(), Ok(proxy));
            }
        }
    }

    #[test]
    fn loopback_addresses_are_recognised() {
        for (text, loopback) in [
            ("https://127.0.0.1:6443", true),
            ("https://localhost", true),
            ("https://0.0.0.0:6443", true),
            ("https://[::1]:6443", true),
            ("https://10.0.0.5", false),
            ("https://localhost.example.com", false),
        ] {
            assert_eq!(text.parse::<ApiServerUrl>().unwrap().is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn hostile_urls_are_survived() {
        let examples = ["https://[fd00::1]:6443/k8s/clusters/c-1", "https://api.example.com", "socks5://proxy:1080"];
        hostile::texts(&examples, |text| {
            if let Ok(url) = text.parse::<ApiServerUrl>() {
                assert_eq!(url.to_string().parse(), Ok(url.clone()));
                let _ = (url.is_loopback(), url.serves(text));
            }
            if let Ok(proxy) = text.parse::<ProxyUrl>() {
                assert_eq!(proxy.to_string().parse(), Ok(proxy));
            }
        });
    }
}
