//! Access: a cluster as Prometheus sees it. One value, used by proof, rendering and report alike.

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
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| UrlError::Malformed)?),
            _ => (authority, 443),
        };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let host_is_valid = match bracketed {
            Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_')),
        };
        // The alphabet of path prefixes that products use; whatever would need escaping in a rendered job is refused.
        let path_is_valid = path.chars().all(|c| c.is_ascii_alphanumeric() || "/-._~:".contains(c))
            && !path.split('/').any(|part| part == "." || part == "..");
        if !host_is_valid || !path_is_valid || port == 0 {
            return Err(UrlError::Malformed);
        }
        Ok(Self { host: host.to_ascii_lowercase(), port, prefix: path.trim_end_matches('/').to_owned() })
    }
}

/// `https://HOST:PORT/PREFIX`, the port always written out.
impl fmt::Display for ApiServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}{}", self.address(), self.prefix)
    }
}

/// Who said that the API server is to be found there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Kubeconfig,
    /// What a destination remembers.
    Record,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "--api-server",
            Self::Kubeconfig => "the kubeconfig",
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

/// Address, CA and server name: what a scrape job says about one API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub url: ApiServerUrl,
    pub origin: Origin,
    /// None: the CAs that the Prometheus host trusts anyway.
    pub ca: Option<CertificateAuthority>,
    /// The name to verify the certificate against, if it is not the host of the URL.
    pub tls_server_name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

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
