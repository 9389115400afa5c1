//! Connects to a cluster, with the options of the command line or of the record of a join.

use crate::{
    cluster::{self, Cluster, Connection},
    error::Result,
    kubeconfig::{self, Choice, ReadKubeconfig},
    model::{access::Access, kube::contexts::ContextsOfClusters, store::record::Record},
};
use std::sync::Arc;

/// The context and the credentials, and how Prometheus reaches the API server.
#[derive(Clone)]
pub struct ConnectOptions {
    pub choice: Choice,
    pub connection: Connection,
    /// Where the command line means several contexts: each joined cluster uses the one that leads to it.
    pub contexts: Option<Arc<ContextsOfClusters>>,
    /// Clusters that are worked on at the same time.
    pub at_once: usize,
}

impl ConnectOptions {
    /// Prepares the connection without sending a request. Also returns how Prometheus reaches the cluster.
    ///
    /// # Errors
    /// As [`kubeconfig::select`] and [`cluster::connect`].
    pub async fn connect(&self) -> Result<(Cluster, Access)> {
        cluster::connect(kubeconfig::select(&self.choice)?, &self.connection).await
    }

    /// The same, with the kubeconfig read now, once for all clusters of a run. Where it cannot be read, each cluster that
    /// needs it says why.
    #[must_use]
    pub fn reading_once(&self) -> Self {
        let mut options = self.clone();
        let read = || ReadKubeconfig::read(self.choice.kubeconfig.as_deref()).ok().map(Arc::new);
        options.choice.read = options.choice.read.or_else(read);
        options
    }

    /// The options for a joined cluster. `seen` is the access in its record, with the CAs that could be read.
    ///
    /// For Prometheus' connection, values from flags of the join count again: address with its TLS name, CA, proxy, the CA
    /// of the kubelets. Other values follow the kubeconfig, and the administrator's connection follows nothing else. A
    /// context on the command line overrides the recorded one.
    ///
    /// # Errors
    /// As [`ContextsOfClusters::leading_to`].
    pub fn of_record(&self, record: &Record, seen: Access) -> Result<Self> {
        let (address_given, ca_given) = (record.access.address_given, record.access.ca_given);
        let Access { url, origin: _, ca, tls_server_name, proxy, kubelet_ca } = seen;
        let context = match &self.contexts {
            Some(contexts) => contexts.leading_to(&record.uid, &record.context)?.to_owned(),
            None => self.choice.context.clone().unwrap_or_else(|| record.context.clone()),
        };
        Ok(Self {
            choice: Choice { context: Some(context), ..self.choice.clone() },
            connection: Connection {
                timeout: self.connection.timeout,
                log: self.connection.log.clone(),
                api_server: address_given.then_some(url),
                tls_server_name: tls_server_name.filter(|_| address_given),
                ca_file: None,
                ca: ca.filter(|_| ca_given),
                is_recorded: true,
                kubelet_ca_file: None,
                kubelet_ca,
                api_server_proxy: proxy,
            },
            contexts: None,
            at_once: self.at_once,
        })
    }

    /// Whether the address of the API server comes from a flag, now or at the join.
    pub fn gives_address(&self) -> bool {
        self.connection.api_server.is_some()
    }

    /// Whether the CA of the API server comes from a flag, now or at the join.
    pub fn gives_ca(&self) -> bool {
        self.connection.ca_file.is_some() || self.connection.ca.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        access::{CertificateAuthority, Origin},
        report::status::tests::record,
    };
    use std::time::Duration;

    #[test]
    fn connection_reuses_only_the_flags_of_the_join() {
        let ca = |byte: u8| CertificateAuthority { certificates: vec![vec![byte]], origin: "the record".into() };
        let seen = Access {
            url: "https://10.0.0.5:6443".parse().unwrap(),
            origin: Origin::Record,
            ca: Some(ca(1)),
            tls_server_name: Some("kubernetes".into()),
            proxy: "http://proxy:3128".parse().ok(),
            kubelet_ca: Some(ca(2)),
        };
        let flags = ConnectOptions {
            choice: Choice::default(),
            connection: Connection {
                timeout: Some(Duration::from_secs(3)),
                // The current context leads to another cluster.
                ca_file: Some("/etc/other.pem".into()),
                kubelet_ca_file: Some("/etc/other.pem".into()),
                ..Connection::default()
            },
            contexts: None,
            at_once: 1,
        };
        for (address_given, ca_given) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut record = record("east");
            (record.access.address_given, record.access.ca_given) = (address_given, ca_given);
            let options = flags.of_record(&record, seen.clone()).unwrap();
            let Connection { timeout, api_server, ca_file, ca, tls_server_name, .. } = &options.connection;
            assert_eq!(options.choice.context.as_deref(), Some(record.context.as_str()));
            assert_eq!(*timeout, Some(Duration::from_secs(3)));
            assert_eq!(*api_server, address_given.then(|| seen.url.clone()));
            assert_eq!(tls_server_name.is_some(), address_given, "a name belongs to its address");
            assert_eq!(ca.as_ref().map(|ca| &ca.certificates), ca_given.then_some(&vec![vec![1]]));
            assert_eq!(options.connection.api_server_proxy, seen.proxy, "no kubeconfig has Prometheus' proxy");
            assert_eq!(options.connection.kubelet_ca.as_ref().map(|ca| &ca.certificates), Some(&vec![vec![2]]));
            assert_eq!((ca_file, &options.connection.kubelet_ca_file), (&None, &None));
            assert_eq!((options.gives_address(), options.gives_ca()), (address_given, ca_given));

            let named = ConnectOptions {
                choice: Choice { context: Some("named".into()), ..Choice::default() },
                ..flags.clone()
            };
            assert_eq!(named.of_record(&record, seen.clone()).unwrap().choice.context.as_deref(), Some("named"));
        }
    }
}
