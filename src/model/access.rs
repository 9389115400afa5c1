//! Access: a cluster as Prometheus sees it. One value, used by proof, rendering and report alike.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Where an API server answers: `https://HOST[:PORT][/PREFIX]`, never with user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiServerUrl {
    host: String,
    port: u16,
    prefix: String,
}

/// Why an address was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    #[error("has no scheme; write https://HOST:PORT")]
    NoScheme,
    #[error("is not https; a token is only ever sent over verified TLS")]
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

    /// Whether a URL is one of this API server's; the port of https may be left out, as some write it.
    pub fn serves(&self, url: &str) -> bool {
        let Some(rest) = url.strip_prefix("https://") else { return false };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let is_address = authority.eq_ignore_ascii_case(&self.address())
            || self.port == 443 && authority.eq_ignore_ascii_case(&self.host);
        is_address && path.strip_prefix(&self.prefix).is_some_and(|path| path.starts_with('/'))
    }

    /// Whether only this very machine can reach the address.
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
        // The alphabet of path prefixes that products use; whatever would need escaping in a rendered job is refused.
        let path_is_valid = path.chars().all(|c| c.is_ascii_alphanumeric() || "/-._~:".contains(c))
            && !path.split('/').any(|part| part == "." || part == "..");
        if !path_is_valid {
            return Err(UrlError::Malformed);
        }
        Ok(Self { host, port, prefix: path.trim_end_matches('/').to_owned() })
    }
}

/// `https://HOST:PORT/PREFIX`, the port always written out.
impl fmt::Display for ApiServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.address(), self.prefix)
    }
}

/// The proxy between Prometheus and an API server: `http`, `https` or `socks5`, `://HOST[:PORT]`. Never with user and
/// password: it stands in jobs and command lines, which others can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProxyUrl {
    scheme: String,
    host: String,
    port: u16,
}

/// Why a proxy was refused. Never with the text itself, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    #[error("has no scheme; write http://HOST:PORT")]
    NoScheme,
    #[error("is neither http, https nor socks5")]
    UnknownScheme,
    #[error("holds a user or password, which the jobs would show to all who may read them")]
    Credentials,
    #[error("is not a URL like http://HOST:PORT")]
    Malformed,
}

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(ProxyUrlError::NoScheme)?;
        // The ports that Go's HTTP client, and so Prometheus, takes (`net/http`, `portMap`).
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
        Ok(Self { scheme: scheme.to_owned(), host, port })
    }
}

/// `http://HOST:PORT`, the port always written out.
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

/// Host, in lower case, and port of `HOST[:PORT]`; an IPv6 address stands in brackets.
fn authority(text: &str, default_port: u16) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()?),
        _ => (text, default_port),
    };
    let is_valid = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')),
    };
    (is_valid && port != 0).then(|| (host.to_ascii_lowercase(), port))
}

/// Who said that the API server is to be found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Kubeconfig,
    /// The object `kube-public/cluster-info`, where kubeadm writes down what nodes join with.
    ClusterInfo,
    /// What a destination remembers.
    Record,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "--api-server",
            Self::Kubeconfig => "the kubeconfig",
            Self::ClusterInfo => "kube-public/cluster-info",
            Self::Record => "the record",
        })
    }
}

/// The certificate authorities that vouch for the API server, as DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuthority {
    pub certificates: Vec<Vec<u8>>,
    /// For people: `the kubeconfig` or the file's name.
    pub origin: String,
}

/// Address, CA, server name and proxy: what a scrape job says about one API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub url: ApiServerUrl,
    pub origin: Origin,
    /// None: the CAs that the Prometheus host trusts anyway.
    pub ca: Option<CertificateAuthority>,
    /// The name to verify the certificate against, if it is not the host of the URL.
    pub tls_server_name: Option<String>,
    /// Prometheus' own; the administrator's is in the kubeconfig or the environment.
    pub proxy: Option<ProxyUrl>,
    /// Who vouches for the kubelets, where jobs go straight to them. None: the CA of the API server.
    pub kubelet_ca: Option<CertificateAuthority>,
}

/// Where Prometheus is, as far as it decides which addresses it can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vantage {
    /// On this host: what is loopback here is loopback there.
    ThisHost,
    /// On another one, or in a pod, which reaches what this one does not, and has a loopback of its own.
    AnotherHost,
    /// Nobody knows: the jobs are printed.
    Anywhere,
}

/// Addresses worth a handshake, the best first. What a flag names is not second-guessed. A loopback address comes last
/// where Prometheus may be on another host.
pub fn candidates(named: Access, cluster_info: Option<Access>, vantage: Vantage) -> Vec<Access> {
    if named.origin == Origin::Flag {
        return vec![named];
    }
    let mut candidates = vec![named];
    candidates.extend(cluster_info.filter(|other| other.url != candidates[0].url));
    if vantage != Vantage::ThisHost {
        candidates.sort_by_key(|access| access.url.is_loopback());
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn addresses_are_taken_apart() {
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
    fn what_is_no_https_address_is_refused() {
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
    fn a_url_is_told_from_one_of_another_server() {
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
    fn proxies_are_taken_apart_and_have_no_password() {
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
        fn a_proxy_that_is_taken_is_read_back(text in "(http|https|socks5)://.{0,30}") {
            if let Ok(proxy) = text.parse::<ProxyUrl>() {
                prop_assert_eq!(proxy.to_string().parse(), Ok(proxy));
            }
        }
    }

    #[test]
    fn candidates_come_in_order() {
        let access = |origin, url: &str| Access {
            url: url.parse().unwrap(),
            origin,
            ca: None,
            tls_server_name: None,
            proxy: None,
            kubelet_ca: None,
        };
        let (loopback, routed, other) = ("https://127.0.0.1:6443", "https://10.0.0.5:6443", "https://10.0.0.6:6443");
        let (flag, kubeconfig) = (Origin::Flag, Origin::Kubeconfig);
        for (what, named, info, vantage, expected) in [
            ("a flag is final", (flag, loopback), Some(routed), Vantage::Anywhere, &[flag][..]),
            ("nothing else is known", (kubeconfig, loopback), None, Vantage::Anywhere, &[kubeconfig]),
            (
                "first the kubeconfig",
                (kubeconfig, routed),
                Some(other),
                Vantage::Anywhere,
                &[kubeconfig, Origin::ClusterInfo],
            ),
            (
                "loopback last",
                (kubeconfig, loopback),
                Some(other),
                Vantage::Anywhere,
                &[Origin::ClusterInfo, kubeconfig],
            ),
            (
                "0.0.0.0 too",
                (kubeconfig, "https://0.0.0.0:1"),
                Some(other),
                Vantage::Anywhere,
                &[Origin::ClusterInfo, kubeconfig],
            ),
            (
                "but fine here",
                (kubeconfig, loopback),
                Some(other),
                Vantage::ThisHost,
                &[kubeconfig, Origin::ClusterInfo],
            ),
            (
                "not elsewhere",
                (kubeconfig, loopback),
                Some(routed),
                Vantage::AnotherHost,
                &[Origin::ClusterInfo, kubeconfig],
            ),
            ("once is enough", (kubeconfig, routed), Some(routed), Vantage::Anywhere, &[kubeconfig]),
        ] {
            let info = info.map(|url| access(Origin::ClusterInfo, url));
            let ordered = candidates(access(named.0, named.1), info, vantage);
            assert_eq!(ordered.iter().map(|one| one.origin).collect::<Vec<_>>(), expected, "{what}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
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
}
