//! The proxy to an API server: the kubeconfig's `proxy-url`, else the proxy of the environment, as in kubectl.
//!
//! The rules are those of Go's `golang.org/x/net/http/httpproxy` in Go 1.26 (`proxyForURL`, `init`, `useProxy`) and
//! client-go's `tools/clientcmd/helpers.go` (`parseProxyURL`). Not supported: names that are not ASCII, which Go converts
//! to punycode.

use crate::model::access::url::split_authority;
use secrecy::{ExposeSecret, SecretString};
use std::{fmt, net::IpAddr};

/// `HTTPS_PROXY` and `NO_PROXY`; empty if unset. No Debug, because the first may contain a password.
#[derive(Clone, Default)]
pub struct Environment {
    pub https_proxy: String,
    pub no_proxy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    /// The proxy resolves the name, also for `socks5`, as in Go.
    Socks5,
}

/// Why a proxy is invalid. The message quotes nothing of it, because it may contain a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    #[error("is not of scheme http, https or socks5")]
    Scheme,
    #[error("is not a URL like http://HOST:PORT")]
    Malformed,
}

/// A proxy, always with its port. Shown without user and password.
#[derive(Clone)]
pub struct Proxy {
    scheme: Scheme,
    /// `USER:PASSWORD`, percent-encoded.
    user: Option<SecretString>,
    /// An IPv6 address in brackets.
    host: String,
    port: u16,
}

impl Proxy {
    /// The proxy for a server at this host (an IPv6 address without brackets) and port.
    ///
    /// # Errors
    /// For an invalid `proxy-url`, and for a proxy of the environment with an unknown scheme.
    pub fn of(proxy_url: &str, environment: &Environment, host: &str, port: u16) -> Result<Option<Self>, ProxyError> {
        if !proxy_url.is_empty() {
            // NO_PROXY does not apply to a proxy of the kubeconfig (client-go's transport).
            return Self::parse(proxy_url).map(Some);
        }
        if environment.https_proxy.is_empty() || is_bypassed(&environment.no_proxy, host, port) {
            return Ok(None);
        }
        let text = &environment.https_proxy;
        let text = if text.contains("://") { text.clone() } else { format!("http://{text}") };
        match Self::parse(&text) {
            // Go ignores an invalid proxy.
            Err(ProxyError::Malformed) => Ok(None),
            other => other.map(Some),
        }
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// With user and password, `http://USER:PASSWORD@HOST:PORT`. Must not be shown.
    pub fn exposed(&self) -> SecretString {
        let user = self.user.as_ref().map(|user| format!("{}@", user.expose_secret())).unwrap_or_default();
        format!("{}://{user}{}:{}", self.scheme, self.host, self.port).into()
    }

    pub fn has_user(&self) -> bool {
        self.user.is_some()
    }

    fn parse(text: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = text.split_once("://").ok_or(ProxyError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "socks5" | "socks5h" => Scheme::Socks5,
            _ => return Err(ProxyError::Scheme),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, address) = match authority.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, authority),
        };
        let (host, port) = split_authority(address).ok_or(ProxyError::Malformed)?;
        // The characters that Go accepts before the @ (net/url `validUserinfo`).
        let user_is_valid =
            |user: &str| user.chars().all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c));
        if !user.is_none_or(user_is_valid) {
            return Err(ProxyError::Malformed);
        }
        let port = match port {
            None | Some("") => scheme.port(),
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(ProxyError::Malformed)?,
        };
        let user = user.filter(|user| !user.is_empty()).map(|user| {
            let colon = if user.contains(':') { "" } else { ":" };
            SecretString::from(format!("{}{colon}", user.replace('@', "%40")))
        });
        Ok(Self { scheme, user, host: host.to_owned(), port })
    }
}

/// `http://HOST:PORT`, without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.scheme, self.host, self.port)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Socks5 => "socks5",
        })
    }
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }
}

/// Whether the proxy of the environment is bypassed for this host: for this machine, and for the hosts in `NO_PROXY`.
fn is_bypassed(no_proxy: &str, host: &str, port: u16) -> bool {
    // Go treats an IPv4-mapped IPv6 address as the IPv4 address.
    let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    let host = host.to_lowercase();
    no_proxy.split(',').any(|entry| {
        let entry = entry.trim().to_lowercase();
        match (entry.as_str(), ip) {
            ("", _) => false,
            ("*", _) => true,
            (entry, Some(ip)) => is_network_of(entry, ip) || is_address(entry, ip, port),
            (entry, None) => is_domain_of(entry, &host, port),
        }
    })
}

/// Whether `10.0.0.0/8` or `fd00::/8` contains this address.
fn is_network_of(entry: &str, ip: IpAddr) -> bool {
    let Some((network, length)) = entry.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (u128::from(ip.to_bits()), 32),
        IpAddr::V6(ip) => (ip.to_bits(), 128),
    };
    let ((network, width), (ip, ip_width)) = (bits(network), bits(ip));
    // A shift by all bits has no result: /0 contains every address.
    width == ip_width && length <= width && (network ^ ip).checked_shr(width - length).unwrap_or(0) == 0
}

/// Whether `10.0.0.5`, `10.0.0.5:6443`, `fd00::5` or `[fd00::5]:6443` is this address.
fn is_address(entry: &str, ip: IpAddr, port: u16) -> bool {
    let (host, its_port) = with_port(entry);
    host.parse::<IpAddr>().is_ok_and(|its_ip| its_ip.to_canonical() == ip) && is_port(its_port, port)
}

/// Whether a domain covers this host: `example.com` covers itself and its subdomains, `.example.com` and `*.example.com`
/// cover only subdomains.
fn is_domain_of(entry: &str, host: &str, port: u16) -> bool {
    let (domain, its_port) = with_port(entry);
    let domain = if domain.starts_with("*.") { &domain[1..] } else { domain };
    let matches = match domain.strip_prefix('.') {
        Some(_) => host.ends_with(domain),
        None => {
            !domain.is_empty()
                && host.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        }
    };
    matches && is_port(its_port, port)
}

fn is_port(entry: &str, port: u16) -> bool {
    entry.is_empty() || entry == port.to_string()
}

/// Host and port as Go's `net.SplitHostPort` splits them; the whole text and no port if it fails.
fn with_port(entry: &str) -> (&str, &str) {
    match entry.rsplit_once(':') {
        Some((host, port)) => match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(host) if !host.contains(['[', ']']) => (host, port),
            None if !host.contains([':', '[', ']']) && !port.contains(']') => (host, port),
            _ => (entry, ""),
        },
        None => (entry, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use proptest::prelude::*;

    fn environment(https_proxy: &str, no_proxy: &str) -> Environment {
        Environment { https_proxy: https_proxy.to_owned(), no_proxy: no_proxy.to_owned() }
    }

    #[test]
    fn no_proxy_is_read_as_in_go() {
        for (no_proxy, host, port, is_direct) in [
            ("", "api.corp", 443, false),
            ("", "localhost", 443, true),
            ("", "127.8.9.10", 443, true),
            ("", "::1", 443, true),
            ("", "::ffff:127.0.0.1", 443, true),
            ("", "localhost.corp", 443, false),
            ("*", "api.corp", 443, true),
            ("*", "10.0.0.5", 443, true),
            ("other,*", "api.corp", 443, true),
            ("*corp", "api.corp", 443, false),
            ("corp", "api.corp", 443, true),
            ("corp", "corp", 443, true),
            ("corp", "apicorp", 443, false),
            (".corp", "api.corp", 443, true),
            (".corp", "corp", 443, false),
            ("*.corp", "a.b.corp", 443, true),
            ("*.corp", "corp", 443, false),
            ("CORP", "api.Corp", 443, true),
            ("api.corp:443", "api.corp", 443, true),
            ("api.corp:6443", "api.corp", 443, false),
            ("corp:6443", "api.corp", 6443, true),
            ("api.corp:", "api.corp", 443, true),
            (" , ,\tapi.corp ,", "api.corp", 443, true),
            (",,", "api.corp", 443, false),
            (":443", "api.corp", 443, false),
            ("10.0.0.5", "10.0.0.5", 443, true),
            ("10.0.0.5:443", "10.0.0.5", 443, true),
            ("10.0.0.5:80", "10.0.0.5", 443, false),
            ("0.0.5", "10.0.0.5", 443, false),
            ("10.0.0.0/8", "10.9.9.9", 443, true),
            ("10.0.0.0/8", "11.0.0.1", 443, false),
            ("10.0.0.7/32", "10.0.0.7", 443, true),
            ("0.0.0.0/0", "10.0.0.7", 443, true),
            ("0.0.0.0/0", "fd00::1", 443, false),
            ("10.0.0.0/33", "10.0.0.1", 443, false),
            ("10.0.0.0/8", "api.corp", 443, false),
            ("fd00::/8", "fd12::5", 443, true),
            ("::/0", "fd12::5", 443, true),
            ("fd00::5", "fd00::5", 443, true),
            ("fd00::5", "fd00::6", 443, false),
            ("[fd00::5]:6443", "fd00::5", 6443, true),
            ("[fd00::5]:6443", "fd00::5", 443, false),
            // Brackets without a port form a name that no host has.
            ("[fd00::5]", "fd00::5", 443, false),
            ("::ffff:10.0.0.5", "10.0.0.5", 443, true),
        ] {
            let proxy = Proxy::of("", &environment("proxy:3128", no_proxy), host, port).unwrap();
            assert_eq!(proxy.is_none(), is_direct, "NO_PROXY={no_proxy:?} for {host} {port}");
        }
    }

    #[test]
    fn proxy_is_shown_without_its_password_and_used_with_it() {
        for (text, shown, exposed) in [
            ("http://proxy.corp:3128", "http://proxy.corp:3128", "http://proxy.corp:3128"),
            ("http://proxy.corp/x?y#z", "http://proxy.corp:80", "http://proxy.corp:80"),
            ("HTTPS://proxy.corp", "https://proxy.corp:443", "https://proxy.corp:443"),
            ("socks5://10.0.0.1", "socks5://10.0.0.1:1080", "socks5://10.0.0.1:1080"),
            ("socks5h://10.0.0.1:9", "socks5://10.0.0.1:9", "socks5://10.0.0.1:9"),
            ("http://me:hunter2@proxy:1", "http://proxy:1", "http://me:hunter2@proxy:1"),
            // Go sends an empty password, and splits at the last @.
            ("http://me@proxy:1", "http://proxy:1", "http://me:@proxy:1"),
            ("http://me:a@b@proxy:1", "http://proxy:1", "http://me:a%40b@proxy:1"),
            ("http://@proxy:1", "http://proxy:1", "http://proxy:1"),
            ("http://[fd00::1]:3128", "http://[fd00::1]:3128", "http://[fd00::1]:3128"),
            ("http://proxy:", "http://proxy:80", "http://proxy:80"),
        ] {
            let proxy = Proxy::of(text, &Environment::default(), "api.corp", 443).unwrap().unwrap();
            assert_eq!((proxy.to_string().as_str(), proxy.exposed().expose_secret()), (shown, exposed), "{text}");
        }
    }

    #[test]
    fn proxy_of_the_kubeconfig_ignores_the_environment() {
        let environment = environment("http://of-the-environment:1", "*");
        let proxy = Proxy::of("http://of-the-kubeconfig:2", &environment, "localhost", 443).unwrap();
        assert_eq!(proxy.unwrap().to_string(), "http://of-the-kubeconfig:2");
    }

    #[test]
    fn invalid_proxies_of_a_kubeconfig_are_rejected() {
        for (text, error) in [
            ("proxy:3128", ProxyError::Scheme),
            ("ftp://proxy", ProxyError::Scheme),
            ("http://", ProxyError::Malformed),
            ("http://me:hunter2@", ProxyError::Malformed),
            ("http://proxy:0", ProxyError::Malformed),
            ("http://proxy:99999", ProxyError::Malformed),
            ("http://pro xy", ProxyError::Malformed),
            ("http://a b:c@proxy", ProxyError::Malformed),
            ("http://[fd00]:1", ProxyError::Malformed),
        ] {
            assert_eq!(Proxy::of(text, &Environment::default(), "x", 1).err(), Some(error), "{text}");
        }
    }

    #[test]
    fn proxy_of_the_environment_needs_no_scheme() {
        for (text, shown) in [
            ("proxy.corp", Some("http://proxy.corp:80")),
            ("proxy.corp:3128", Some("http://proxy.corp:3128")),
            ("me:hunter2@10.0.0.1:3128", Some("http://10.0.0.1:3128")),
            ("https://proxy.corp", Some("https://proxy.corp:443")),
            // Go ignores these.
            ("http://", None),
            ("pro xy", None),
        ] {
            let proxy = Proxy::of("", &environment(text, ""), "api.corp", 443).unwrap();
            assert_eq!(proxy.map(|proxy| proxy.to_string()).as_deref(), shown, "{text}");
        }
        assert_eq!(Proxy::of("", &environment("ftp://x", ""), "api.corp", 443).err(), Some(ProxyError::Scheme));
    }

    #[test]
    fn hostile_proxies_are_survived() {
        let examples = ["http://jane:hunter2@[::1]:3128/x?y", "10.0.0.0/8,fd00::/8,.corp:443,*.example.com,[::1]:80,*"];
        hostile::texts(&examples, |text| {
            let _ = Proxy::of(text, &Environment::default(), text, 443).map(|proxy| proxy.map(|proxy| proxy.exposed()));
            for host in ["10.0.0.5", "fd00::5", "api.corp", text] {
                let _ = Proxy::of("", &environment(text, text), host, 443);
            }
        });
    }

    proptest! {
        #[test]
        fn passwords_are_never_shown(user in "[a-z]{1,8}", password in "[a-zA-Z0-9@!%$]{12,20}") {
            let text = format!("http://{user}:{password}@proxy:3128");
            let proxy = Proxy::of(&text, &Environment::default(), "x", 1).unwrap().unwrap();
            prop_assert_eq!(proxy.to_string(), "http://proxy:3128");
        }
    }
}
