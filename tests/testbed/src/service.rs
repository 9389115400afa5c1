//! Services whose endpoints are real servers on this machine.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::wait;

impl Cluster {
    /// Make a Service in front of `backend`, to be reached through the API server's `services/NAME:PORT_NAME/proxy`.
    ///
    /// The API server goes to an endpoint only if a Pod holds its address, and never to a loopback address: `backend` has
    /// to listen on [`crate::machine_address`]. The Pod is not run, its status is written here.
    pub fn service(&self, namespace: &str, name: &str, port_name: &str, port: u16, backend: SocketAddr) -> Result<()> {
        let core = format!("/api/v1/namespaces/{namespace}");
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                // Bound to no node, so that no kubelet takes charge of its status.
                "automountServiceAccountToken": false,
                "containers": [{"name": "server", "image": "testbed.invalid/server", "ports": [{"name": port_name, "containerPort": backend.port()}]}],
            },
        });
        // A fresh namespace gets the service account that every pod needs within moments.
        let made = wait::until(Duration::from_secs(20), || match self.api().post(&format!("{core}/pods"), &pod) {
            Ok(answer) if answer.status == 403 && answer.body.contains("serviceaccount") => None,
            answer => Some(answer),
        });
        let made = made.context("no service account appeared in the namespace")??.success("make the pod")?;
        let address = backend.ip().to_string();
        let status = json!({"status": {
            "phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        self.api().patch(&format!("{core}/pods/{name}/status"), &status)?.success("write the pod's status")?;
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name, "labels": {"app": name}},
            // Without a selector only the testbed writes its endpoints.
            "spec": {"ports": [{"name": port_name, "port": port, "targetPort": backend.port()}]},
        });
        self.api().post(&format!("{core}/services"), &service)?.success("make the service")?;
        let slice = slice(name, port_name, backend, &made.json()["metadata"]["uid"], namespace);
        let slices = format!("/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices");
        self.api().post(&slices, &slice)?.success("make the endpoint slice")?;
        Ok(())
    }
}

fn slice(name: &str, port_name: &str, backend: SocketAddr, pod: &Value, namespace: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": if backend.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{
            "addresses": [backend.ip()],
            "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": name, "uid": pod},
        }],
        "ports": [{"name": port_name, "port": backend.port(), "protocol": "TCP"}],
    })
}
