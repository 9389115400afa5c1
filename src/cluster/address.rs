//! The address that Prometheus is to use: candidates with their origin, each tried by a TLS handshake without credentials.

use super::{
    client::{Cluster, Connection},
    scraper::{Missed, Scraper},
};
use crate::{
    error::{Error, Result},
    model::{
        access::{Access, CertificateAuthority, Origin, PrometheusLocation, candidates, certificate::certificates},
        text::encoding::from_base64,
    },
    yaml,
};
use serde_json::Value;

/// The access that was chosen, and what proves it.
pub struct Reached {
    pub access: Access,
    /// Goes where `access` says, or where that is `unreachable`, to the administrator's own address: another way to the
    /// same API server.
    pub scraper: Scraper,
    /// Why this host cannot reach the address; Prometheus itself must show that it can.
    pub unreachable: Option<Error>,
}

/// Tries the candidates until one answers, and leaves a connection open.
///
/// # Errors
/// What the first candidate failed with, the others as hints. Where the jobs are pushed, an address that cannot be
/// reached is none.
pub async fn reach(
    cluster: &Cluster,
    named: Access,
    connection: &Connection,
    location: PrometheusLocation,
) -> Result<Reached> {
    let scraper = Scraper::new(&named, connection)?;
    // Only where the kubeconfig's own address may not do: others pay no round trip for it.
    let is_doubtful =
        named.origin != Origin::Flag && named.url.is_loopback() && location != PrometheusLocation::ThisHost;
    let (outcome, mut info) = if is_doubtful {
        tokio::join!(scraper.open(), cluster_info(cluster, &named, connection))
    } else {
        (scraper.open().await, None)
    };
    if outcome.is_err() && !is_doubtful && named.origin != Origin::Flag {
        info = cluster_info(cluster, &named, connection).await;
    }
    let mut of_named = Some((scraper, outcome));
    let origin = named.origin;
    let mut failures: Vec<(Access, Missed)> = Vec::new();
    for access in candidates(named, info, location) {
        let tried = if access.origin == origin { of_named.take() } else { None };
        let (scraper, outcome) = if let Some(tried) = tried {
            tried
        } else {
            let scraper = Scraper::new(&access, connection)?;
            let outcome = scraper.open().await;
            (scraper, outcome)
        };
        match outcome {
            Ok(()) if is_unusable_loopback(&access, location) => return Err(loopback(cluster, &access)),
            Ok(()) => return Ok(Reached { access, scraper, unreachable: None }),
            Err(missed) => failures.push((access, missed)),
        }
    }
    // People know the one that they named.
    failures.sort_by_key(|(access, _)| access.origin == Origin::ClusterInfo);
    let mut failures = failures.into_iter();
    let (access, Missed { error, is_unreachable }) = failures.next().expect("there is always the one that was named");
    if is_unusable_loopback(&access, location) {
        return Err(loopback(cluster, &access));
    }
    let mut error = error.about(format!("{}: as Prometheus would see it ({})", cluster.context, access.origin));
    for (other, missed) in failures {
        error = error.hint(format!("Also tried: {} ({}): {}", other.url, other.origin, missed.error));
    }
    if is_unreachable && location != PrometheusLocation::Anywhere {
        let scraper = Scraper::as_administrator_connects(cluster, connection)?;
        return Ok(Reached { access, scraper, unreachable: Some(error) });
    }
    Err(error)
}

/// A proxy may have the address on its own host.
fn is_unusable_loopback(access: &Access, location: PrometheusLocation) -> bool {
    location == PrometheusLocation::AnotherHost && access.proxy.is_none() && access.url.is_loopback()
}

fn loopback(cluster: &Cluster, access: &Access) -> Error {
    Error::usage(format!(
        "{}: {} ({}) is a loopback address, and Prometheus is on another host",
        cluster.context, access.url, access.origin
    ))
    .hint("Name an address that Prometheus reaches: --api-server https://HOST:PORT")
}

/// What the cluster itself says about its address; none where it does not or the administrator may not read it.
async fn cluster_info(cluster: &Cluster, named: &Access, connection: &Connection) -> Option<Access> {
    from_cluster_info(&cluster.cluster_info().await?, named, connection.tls_server_name.clone())
}

/// From the object `kube-public/cluster-info`, whose key `kubeconfig` has server and CA. Who may write it is no
/// administrator by that alone: a CA that is known already must vouch for this address too.
fn from_cluster_info(config_map: &Value, named: &Access, tls_server_name: Option<String>) -> Option<Access> {
    let kubeconfig = yaml::read(config_map["data"]["kubeconfig"].as_str()?).ok()?;
    let cluster = &kubeconfig["clusters"][0]["cluster"];
    let own_ca = || {
        let certificates = certificates(&from_base64(cluster["certificate-authority-data"].as_str()?)?);
        Some(CertificateAuthority { certificates, origin: Origin::ClusterInfo.to_string() })
            .filter(|ca| !ca.certificates.is_empty())
    };
    Some(Access {
        url: cluster["server"].as_str()?.parse().ok()?,
        origin: Origin::ClusterInfo,
        ca: named.ca.clone().or_else(own_ca),
        tls_server_name,
        proxy: named.proxy.clone(),
        kubelet_ca: named.kubelet_ca.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use crate::model::text::encoding::base64;
    use serde_json::json;

    fn named(ca: Option<CertificateAuthority>) -> Access {
        Access {
            url: "https://127.0.0.1:6443".parse().unwrap(),
            origin: Origin::Kubeconfig,
            ca,
            tls_server_name: Some("of-the-kubeconfig".into()),
            proxy: Some("http://proxy:3128".parse().unwrap()),
            kubelet_ca: None,
        }
    }

    fn config_map(server: &str, ca: &str) -> Value {
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: ''\n  cluster: {{server: \"{server}\", certificate-authority-data: \"{ca}\"}}\n"
        );
        json!({ "data": { "kubeconfig": kubeconfig } })
    }

    /// A certificate of `CN=a`, made for these tests; its key is not kept.
    const DER: &str = "MIIBbjCCARWgAwIBAgIUaK4U3zhz3WvqfU9uzBbUhgx9EpkwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAwwBYTAgFw0yNjExMjkwOTMy\
        MDhaGA8yMTI2MTEwNTA5MzIwOFowDDEKMAgGA1UEAwwBYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCJlMN235Lsp/Pq/+BzY\
        dxeUs9QgDs85xLdak1lb13eFYeiFy3L9Itwqp32ddnqjBYsL6FGiNXR4JetFspuTdlejUzBRMB0GA1UdDgQWBBTUz0sdvSxmGd4M\
        oWvdTIMy1Hq8zDAfBgNVHSMEGDAWgBTUz0sdvSxmGd4MoWvdTIMy1Hq8zDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cA\
        MEQCIBxk3Ps4PnGDkKiETEqnYCS0KWrJ7/ymZH4Is2FcbktvAiBJaa31IjrHTAGM4pYsq+R6EK+bsAOtwWhCyT8zAabJRA==";

    fn pem() -> String {
        base64(format!("-----BEGIN CERTIFICATE-----\n{DER}\n-----END CERTIFICATE-----\n").as_bytes())
    }

    #[test]
    fn cluster_info_has_server_and_ca_and_a_known_ca_goes_first() {
        let info = config_map("https://10.0.0.5:6443", &pem());
        let access = from_cluster_info(&info, &named(None), None).unwrap();
        assert_eq!(access.url.address(), "10.0.0.5:6443");
        assert_eq!(access.ca.map(|ca| ca.certificates), from_base64(DER).map(|der| vec![der]));
        assert_eq!((access.tls_server_name, access.proxy), (None, named(None).proxy));

        let known = CertificateAuthority { certificates: vec![b"known".to_vec()], origin: "the kubeconfig".into() };
        let access = from_cluster_info(&info, &named(Some(known.clone())), Some("by-flag".into())).unwrap();
        assert_eq!((access.ca, access.tls_server_name.as_deref()), (Some(known), Some("by-flag")));
    }

    #[test]
    fn invalid_cluster_info_yields_no_address() {
        for info in [
            json!(null),
            json!({ "data": {} }),
            json!({ "data": { "kubeconfig": "[" } }),
            json!({ "data": { "kubeconfig": "clusters: []" } }),
            config_map("http://10.0.0.5", &pem()),
            config_map("https://10.0.0.5/$1", &pem()),
        ] {
            assert!(from_cluster_info(&info, &named(None), None).is_none(), "{info}");
        }
        let without_ca = from_cluster_info(&config_map("https://10.0.0.5", "!"), &named(None), None).unwrap();
        assert_eq!(without_ca.ca, None, "then public CAs verify the server");
    }

    #[test]
    fn hostile_cluster_info_is_survived() {
        let info = config_map("https://10.0.0.5:6443", &pem());
        hostile::texts(&[info["data"]["kubeconfig"].as_str().unwrap()], |text| {
            let _ = from_cluster_info(&json!({ "data": { "kubeconfig": text } }), &named(None), None);
        });
    }
}
