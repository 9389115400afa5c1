//! Access: how Prometheus reaches a cluster. Proof, rendering and report use the same value.

use url::{ApiServerUrl, ProxyUrl};
pub mod certificate;
pub mod url;

use std::fmt;

/// The source of an API server's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Kubeconfig,
    /// The object `kube-public/cluster-info`, in which kubeadm stores the address for joining nodes.
    ClusterInfo,
    /// The record of a destination.
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

/// The certificate authorities of the API server, as DER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuthority {
    pub certificates: Vec<Vec<u8>>,
    /// Shown to users: `the kubeconfig` or the file's name.
    pub origin: String,
}

/// The connection settings of a scrape job: address, CA, server name and proxy of one API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub url: ApiServerUrl,
    pub origin: Origin,
    /// None: the CAs that the Prometheus host trusts.
    pub ca: Option<CertificateAuthority>,
    /// The name to verify the certificate against, if it differs from the host of the URL.
    pub tls_server_name: Option<String>,
    /// The proxy that Prometheus uses. The administrator's proxy is in the kubeconfig or the environment.
    pub proxy: Option<ProxyUrl>,
    /// The CA of the kubelets, for jobs with `--route=kubelet`. None: the CA of the API server.
    pub kubelet_ca: Option<CertificateAuthority>,
}

/// The parts of an access that flags of the join gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    pub address: bool,
    pub ca: bool,
}

/// The location of Prometheus, which decides the addresses that it can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrometheusLocation {
    /// On this host: Prometheus can use loopback addresses of this host.
    ThisHost,
    /// On another host or in a pod, which reaches other addresses and has its own loopback interface.
    AnotherHost,
    /// Unknown: the jobs are printed.
    Anywhere,
}

/// The addresses to try, the best first. An address from a flag is the only candidate. A loopback address comes last if
/// Prometheus may be on another host.
pub fn candidates(named: Access, cluster_info: Option<Access>, location: PrometheusLocation) -> Vec<Access> {
    if named.origin == Origin::Flag {
        return vec![named];
    }
    let mut candidates = vec![named];
    candidates.extend(cluster_info.filter(|other| other.url != candidates[0].url));
    if location != PrometheusLocation::ThisHost {
        candidates.sort_by_key(|access| access.url.is_loopback());
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_ordered_by_origin_and_reach() {
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
        for (what, named, info, location, expected) in [
            ("a flag is final", (flag, loopback), Some(routed), PrometheusLocation::Anywhere, &[flag][..]),
            ("nothing else is known", (kubeconfig, loopback), None, PrometheusLocation::Anywhere, &[kubeconfig]),
            (
                "first the kubeconfig",
                (kubeconfig, routed),
                Some(other),
                PrometheusLocation::Anywhere,
                &[kubeconfig, Origin::ClusterInfo],
            ),
            (
                "loopback last",
                (kubeconfig, loopback),
                Some(other),
                PrometheusLocation::Anywhere,
                &[Origin::ClusterInfo, kubeconfig],
            ),
            (
                "0.0.0.0 too",
                (kubeconfig, "https://0.0.0.0:1"),
                Some(other),
                PrometheusLocation::Anywhere,
                &[Origin::ClusterInfo, kubeconfig],
            ),
            (
                "but fine here",
                (kubeconfig, loopback),
                Some(other),
                PrometheusLocation::ThisHost,
                &[kubeconfig, Origin::ClusterInfo],
            ),
            (
                "not elsewhere",
                (kubeconfig, loopback),
                Some(routed),
                PrometheusLocation::AnotherHost,
                &[Origin::ClusterInfo, kubeconfig],
            ),
            ("once is enough", (kubeconfig, routed), Some(routed), PrometheusLocation::Anywhere, &[kubeconfig]),
        ] {
            let info = info.map(|url| access(Origin::ClusterInfo, url));
            let ordered = candidates(access(named.0, named.1), info, location);
            assert_eq!(ordered.iter().map(|one| one.origin).collect::<Vec<_>>(), expected, "{what}");
        }
    }
}
