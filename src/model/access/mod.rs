//! Access: a cluster as Prometheus sees it. One value, used by proof, rendering and report alike.

use url::{ApiServerUrl, ProxyUrl};
pub mod certificate;
pub mod url;

use std::fmt;

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
}
