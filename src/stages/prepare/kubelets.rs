//! Kubelets: which of them this host reaches, and whether the CA vouches for them. A TLS handshake and no credentials.

use super::nodes::Nodes;
use crate::{
    cluster::{Connection, Scraper},
    error::{Error, Reason, Result},
    model::{
        access::{Access, Origin},
        job::route::{Node, Route},
    },
};
use futures_util::future::join_all;
use std::time::Duration;

/// The time limit for connecting to a kubelet. Nodes are near or unreachable: a firewall may drop packets.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A few kubelets as they are seen from here.
#[derive(Default)]
pub struct Kubelets {
    /// Those that the CA vouches for, each with a way to it.
    pub proven: Vec<(Node, Scraper)>,
    /// Those whose certificates Prometheus would refuse.
    pub distrusted: Vec<Error>,
}

impl Kubelets {
    /// Those that matter to a route: where jobs go directly to them, a CA must verify them; where they are to
    /// refuse the token, one that can be asked is worth a proof; else none.
    ///
    /// # Errors
    /// As [`Self::connect`]; what is wrong with the certificates of all that can be reached.
    pub async fn on(route: &Route, nodes: Option<&Nodes>, access: &Access, connection: &Connection) -> Result<Self> {
        let nodes = nodes.map(|nodes| &nodes.candidates[..]).unwrap_or_default();
        match route {
            Route::ApiServer => Ok(Self::default()),
            // That most of them sign their certificates themselves is no fault here.
            Route::Pinned(_) => {
                let found = Self::connect(nodes, access, connection).await.unwrap_or_default();
                Ok(Self { distrusted: Vec::new(), ..found })
            }
            Route::Kubelet => {
                let found = Self::connect(nodes, access, connection).await?;
                found.usable()?;
                Ok(found)
            }
        }
    }

    /// Tries all of these at the same time.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] if no CA can verify the kubelets.
    pub async fn connect(nodes: &[Node], access: &Access, connection: &Connection) -> Result<Self> {
        let Some(ca) = access.kubelet_ca.as_ref().or(access.ca.as_ref()) else {
            return Err(Error::usage("the API server has a public CA, which cannot verify kubelets")
                .hint("Name the CA of the kubelets with --kubelet-ca-file FILE"));
        };
        let timeout = Some(connection.timeout.map_or(ANSWERS_WITHIN, |timeout| timeout.min(ANSWERS_WITHIN)));
        let connection = Connection { timeout, ..connection.clone() };
        let tried = nodes.iter().map(|node| {
            let connection = &connection;
            async move {
                let access = Access {
                    url: format!("https://{}", node.address.as_ref()?).parse().ok()?,
                    origin: Origin::Kubeconfig,
                    ca: Some(ca.clone()),
                    tls_server_name: None,
                    proxy: None,
                    kubelet_ca: None,
                };
                let scraper = match Scraper::new(&access, connection) {
                    Ok(scraper) => scraper,
                    Err(error) => return Some((node, Err(error))),
                };
                match scraper.open().await {
                    Ok(()) => Some((node, Ok(scraper))),
                    Err(missed) if missed.is_unreachable => None,
                    Err(missed) => Some((node, Err(missed.error))),
                }
            }
        });
        let mut found = Self::default();
        for (node, outcome) in join_all(tried).await.into_iter().flatten() {
            match outcome {
                Ok(scraper) => found.proven.push((node.clone(), scraper)),
                Err(error) => found.distrusted.push(explained(error, node)),
            }
        }
        Ok(found)
    }

    /// Whether jobs scrape kubelets directly and this host could not verify that: then Prometheus must prove it.
    pub fn are_unseen(&self, route: &Route) -> bool {
        *route == Route::Kubelet && self.proven.is_empty()
    }

    /// What is wrong with some is for a warning, with all of them an error.
    fn usable(&self) -> Result<()> {
        let mut distrusted = self.distrusted.iter();
        match distrusted.next() {
            Some(first) if self.proven.is_empty() => {
                Err(distrusted.fold(first.clone(), |error, other| error.hint(format!("Also: {other}"))))
            }
            _ => Ok(()),
        }
    }
}

/// What is wrong with the certificate of a kubelet is mended elsewhere than with the API server's.
fn explained(error: Error, node: &Node) -> Error {
    let mended = error.without_hints();
    match mended.reason {
        Reason::CertificateNotTrusted => mended
            .hint("Name the CA of the kubelets with --kubelet-ca-file FILE")
            .hint("A kubelet without serverTLSBootstrap signs its own certificate; then --pin-nodes is the safer route"),
        Reason::CertificateNameMismatch => mended
            .hint("Prometheus scrapes the address of the node, so the kubelet's certificate must name it: set serverTLSBootstrap"),
        Reason::CertificateExpired => {
            mended.hint("Renew the kubelet's certificate (rotateCertificates), or check the clock of this machine")
        }
        _ => mended.hint("Check the kubelet: kubectl get --raw /api/v1/nodes/NODE/proxy/healthz"),
    }
    .about(format!("the kubelet of {}", node.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problem_of_all_kubelets_names_them() {
        let node = |name: &str| Node { name: name.into(), port: 10_250, address: None };
        let untrusted =
            Error::new(Reason::CertificateNotTrusted, "the certificate of https://10.0.0.7:10250 is not signed")
                .hint("name it with --api-server-ca-file");
        let kubelets = Kubelets {
            distrusted: vec![explained(untrusted.clone(), &node("a")), explained(untrusted, &node("b"))],
            ..Kubelets::default()
        };
        let error = kubelets.usable().unwrap_err();
        insta::assert_snapshot!(format!("{}: {error}\n{}", error.reason, error.hints.join("\n")), @"
        CertificateNotTrusted: the kubelet of a: the certificate of https://10.0.0.7:10250 is not signed
        Name the CA of the kubelets with --kubelet-ca-file FILE
        A kubelet without serverTLSBootstrap signs its own certificate; then --pin-nodes is the safer route
        Also: the kubelet of b: the certificate of https://10.0.0.7:10250 is not signed
        ");
        assert!(Kubelets::default().usable().is_ok(), "unknown");
    }
}
