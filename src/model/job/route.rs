//! The route: how the jobs of nodes reach the kubelets, and how the route names a node.

use crate::{
    error::{Error, Reason, Result},
    model::{access::url::ApiServerUrl, text::names::is_dns_subdomain},
};
use serde_json::Value;
use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

/// How the jobs of nodes reach the kubelets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// Through the API server, each node by its name.
    #[default]
    ApiServer,
    /// Through the API server, each node by name and port. This right is useless at a kubelet itself, because a kubelet
    /// asks RBAC about the bare name (Kubernetes `pkg/kubelet/server/auth.go`).
    Pinned(Pins),
    /// Directly to the port of each kubelet.
    Kubelet,
}

impl Route {
    /// The segment that names a node in the API server's URL. A kubelet's own URL has none.
    pub fn subject(&self, node: &Node) -> String {
        match self {
            Self::ApiServer | Self::Kubelet => node.name.clone(),
            Self::Pinned(_) => node.pin(),
        }
    }

    /// This route without the names of pinned nodes.
    #[must_use]
    pub fn unnamed(&self) -> Self {
        match self {
            Self::Pinned(_) => Self::Pinned(Pins::default()),
            other => other.clone(),
        }
    }

    /// Whether a target's URL belongs to this route, not to an earlier one.
    pub fn leads_to(&self, api_server: &ApiServerUrl, url: &str) -> bool {
        let node = url.split_once("/api/v1/nodes/").and_then(|(_, rest)| rest.split_once('/')).map(|(node, _)| node);
        match (self, node.filter(|_| api_server.serves(url))) {
            (Self::ApiServer, Some(node)) => !node.contains(':') && !node.contains("%3A"),
            (Self::Pinned(_), Some(node)) => node.contains(':') || node.contains("%3A"),
            (Self::Kubelet, node) => node.is_none(),
            (_, None) => false,
        }
    }

    /// Whether the jobs need the right to `nodes/proxy`.
    pub fn is_proxied(&self) -> bool {
        *self != Self::Kubelet
    }

    /// The pinned nodes, if this route pins nodes.
    pub fn pins(&self) -> Option<&Pins> {
        if let Self::Pinned(pins) = self { Some(pins) } else { None }
    }
}

/// The spelling in a record. The names of pinned nodes are only in the cluster.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ApiServer => "apiserver",
            Self::Pinned(_) => "pinned",
            Self::Kubelet => "kubelet",
        })
    }
}

/// Why a route is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is neither apiserver nor pinned nor kubelet")]
pub struct NoRoute;

impl FromStr for Route {
    type Err = NoRoute;

    fn from_str(text: &str) -> Result<Self, NoRoute> {
        match text {
            "apiserver" => Ok(Self::ApiServer),
            "pinned" => Ok(Self::Pinned(Pins::default())),
            "kubelet" => Ok(Self::Kubelet),
            _ => Err(NoRoute),
        }
    }
}

/// The port of a kubelet that reports none (Kubernetes `pkg/cluster/ports`, `KubeletPort`). The API server uses the same
/// default (`pkg/kubelet/client/kubelet_client.go`).
pub const KUBELET_PORT: u16 = 10_250;

/// The kinds of node addresses in the order in which Prometheus chooses one (prometheus `discovery/kubernetes/node.go`,
/// `nodeAddress`).
const ADDRESSES: [&str; 6] = ["InternalIP", "InternalDNS", "ExternalIP", "ExternalDNS", "LegacyHostIP", "Hostname"];

/// A node and the address of its kubelet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    pub name: String,
    /// The port of the kubelet.
    pub port: u16,
    /// `HOST:PORT` of the kubelet as Prometheus finds it, an IPv6 address in brackets. None if the node has no address.
    pub address: Option<String>,
}

impl Node {
    /// From an item of a list of nodes. None if the name is invalid, because it goes into paths and rules. The API server
    /// accepts only valid names.
    pub fn new(node: &Value) -> Option<Self> {
        let name = node["metadata"]["name"].as_str().filter(|name| is_dns_subdomain(name))?;
        let status = &node["status"];
        let port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
        let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0).unwrap_or(KUBELET_PORT);
        let addresses = status["addresses"].as_array();
        let of_kind = |kind: &&str| {
            let mut all = addresses.into_iter().flatten();
            all.find(|address| address["type"] == **kind).and_then(|address| address["address"].as_str())
        };
        let address = ADDRESSES
            .iter()
            .find_map(of_kind)
            .filter(|host| is_host(host))
            .map(|host| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
        Some(Self { name: name.to_owned(), port, address })
    }

    /// `NAME:PORT`, the literal segment of the URL and the `resourceName` of RBAC.
    pub fn pin(&self) -> String {
        format!("{}:{}", self.name, self.port)
    }
}

/// Nodes in two groups. A kubelet that is not ready can still answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodesByReadiness {
    pub ready: Vec<Node>,
    pub others: Vec<Node>,
}

impl NodesByReadiness {
    /// Adds an item of a list of nodes, if its name is valid.
    pub fn add(&mut self, node: &Value) {
        let conditions = node["status"]["conditions"].as_array();
        let is_ready = conditions.is_some_and(|all| {
            all.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        });
        let group = if is_ready { &mut self.ready } else { &mut self.others };
        group.extend(Node::new(node));
    }

    pub fn retain(&mut self, is_meant: impl Fn(&Node) -> bool) {
        self.ready.retain(&is_meant);
        self.others.retain(is_meant);
    }
}

fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || is_dns_subdomain(&text.to_ascii_lowercase())
}

/// The nodes that an account may reach, each by name and port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins(BTreeSet<String>);

/// The limit for the names in a role, in bytes of JSON. An API server rejects a request of 3 MiB, etcd one of 1.5 MiB
/// (etcd `--max-request-bytes`); a third of that is left for the rest of the object. The limit allows 19,000 nodes with
/// names of 50 characters; Kubernetes supports 5,000.
const MOST: usize = 1 << 20;

impl Pins {
    pub fn new<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Self {
        Self(nodes.into_iter().map(Node::pin).collect())
    }

    /// From the names in a rule of a role.
    pub fn of_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(str::to_owned).collect())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, node: &Node) -> bool {
        self.0.contains(&node.pin())
    }

    /// The nodes that are missing from `other`, in order.
    pub fn without<'a>(&'a self, others: &'a Self) -> impl Iterator<Item = &'a str> {
        self.0.difference(&others.0).map(String::as_str)
    }

    /// The ports of the kubelets, in order.
    pub fn ports(&self) -> Vec<u16> {
        let ports: BTreeSet<u16> = self.iter().filter_map(|pin| pin.rsplit_once(':')?.1.parse().ok()).collect();
        ports.into_iter().collect()
    }

    /// # Errors
    /// [`Reason::TooManyNodes`] if the names do not fit into one role.
    pub fn fit(&self) -> Result<()> {
        let bytes: usize = self.iter().map(|pin| pin.len() + "\"\",".len()).sum();
        if bytes <= MOST {
            return Ok(());
        }
        Err(Error::new(
            Reason::TooManyNodes,
            format!("the names of {} nodes need {bytes} bytes, and a role has room for {MOST}", self.0.len()),
        )
        .hint("Leave out --pin-nodes and keep port 10250 of the nodes closed, or choose --route=kubelet"))
    }
}

/// `a`, `a and b`, `a, b and 3 more`: the first names of a list.
pub fn some_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match &names[..] {
        [] => "none".to_owned(),
        [one] => (*one).to_owned(),
        [first, second] => format!("{first} and {second}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn node(name: &str, port: &Value, addresses: &Value) -> Value {
        json!({
            "metadata": { "name": name },
            "status": { "daemonEndpoints": { "kubeletEndpoint": { "Port": port } }, "addresses": addresses },
        })
    }

    #[test]
    fn kubelet_address_is_the_one_that_prometheus_chooses() {
        let address = |kind: &str, address: &str| json!({ "type": kind, "address": address });
        let both =
            json!([address("Hostname", "n1"), address("ExternalIP", "203.0.113.7"), address("InternalIP", "10.0.0.7")]);
        for (port, addresses, pin, found) in [
            (json!(10_250), both.clone(), "n1:10250", Some("10.0.0.7:10250")),
            (json!(10_260), json!([address("Hostname", "Node-1")]), "n1:10260", Some("Node-1:10260")),
            (json!(10_250), json!([address("InternalIP", "fd00::7")]), "n1:10250", Some("[fd00::7]:10250")),
            // A virtual kubelet, for example: the API server and kubectl use the default port.
            (json!(0), both, "n1:10250", Some("10.0.0.7:10250")),
            (json!(null), json!(null), "n1:10250", None),
            (json!(99_999), json!([]), "n1:10250", None),
            (json!(1), json!([address("InternalIP", "10.0.0.7/configz")]), "n1:1", None),
        ] {
            let node = Node::new(&node("n1", &port, &addresses)).unwrap();
            assert_eq!((node.pin().as_str(), node.address.as_deref()), (pin, found), "{port} {addresses}");
        }
        for nothing in
            [json!(null), json!({ "metadata": { "name": "../x" } }), json!({ "metadata": { "name": "a:1" } })]
        {
            assert_eq!(Node::new(&nothing), None);
        }
    }

    #[test]
    fn route_is_written_back_and_invalid_routes_are_rejected() {
        for text in ["apiserver", "pinned", "kubelet"] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), text);
        }
        for text in ["", "direct", "Kubelet", "pinned "] {
            assert_eq!(text.parse::<Route>(), Err(NoRoute), "{text}");
        }
    }

    #[test]
    fn target_belongs_to_one_route() {
        let api_server: ApiServerUrl = "https://10.0.0.5:6443/k8s/c-1".parse().unwrap();
        for (url, route) in [
            ("https://10.0.0.5:6443/k8s/c-1/api/v1/nodes/n/proxy/metrics", Route::ApiServer),
            ("https://10.0.0.5:6443/k8s/c-1/api/v1/nodes/n:10250/proxy/metrics", Route::Pinned(Pins::default())),
            ("https://10.0.0.5:6443/k8s/c-1/api/v1/nodes/n%3A10250/proxy/metrics", Route::Pinned(Pins::default())),
            ("https://10.0.0.7:10250/metrics", Route::Kubelet),
        ] {
            for other in [Route::ApiServer, Route::Pinned(Pins::default()), Route::Kubelet] {
                assert_eq!(other.leads_to(&api_server, url), other == route, "{other}: {url}");
            }
        }
    }

    #[test]
    fn pins_distinguish_new_nodes_from_removed_ones() {
        let node = |name: &str, port| Node { name: name.to_owned(), port, address: None };
        let before = Pins::new(&[node("a", 10_250), node("b", 10_250)]);
        let now = Pins::new(&[node("b", 10_250), node("c", 10_260), node("a.b", 10_250)]);
        assert_eq!(now.without(&before).collect::<Vec<_>>(), ["a.b:10250", "c:10260"]);
        assert_eq!(before.without(&now).collect::<Vec<_>>(), ["a:10250"]);
        assert_eq!(now.ports(), [10_250, 10_260]);
        assert_eq!(Pins::of_names(now.iter()), now);
    }

    #[test]
    fn pins_larger_than_a_role_are_rejected() {
        let nodes = |count: usize, length: usize| {
            let name = |number: usize| format!("{number:0>length$}");
            Pins::new(
                &(0..count).map(|number| Node { name: name(number), port: 10_250, address: None }).collect::<Vec<_>>(),
            )
        };
        assert_eq!(nodes(5_000, 60).fit(), Ok(()));
        let error = nodes(5_000, 253).fit().unwrap_err();
        assert_eq!(error.reason, Reason::TooManyNodes);
        assert!(error.to_string().contains("5000 nodes need 1310000 bytes"), "{error}");
    }

    #[test]
    fn long_list_shows_its_first_names() {
        for (names, text) in [("", "none"), ("a", "a"), ("a b", "a and b"), ("a b c d", "a, b and 2 more")] {
            assert_eq!(some_of(names.split_whitespace()), text);
        }
    }

    proptest! {
        /// The names of nodes go into URLs, RBAC and YAML.
        #[test]
        fn node_with_any_name_is_safe_or_rejected(name in ".{0,40}", host in ".{0,40}", port in any::<u64>()) {
            let addresses = json!([{ "type": "InternalIP", "address": host }]);
            if let Some(node) = Node::new(&node(&name, &json!(port), &addresses)) {
                let harmless = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
                prop_assert!(node.pin().chars().all(harmless));
                prop_assert!(node.address.is_none_or(|address| address.chars().all(harmless)));
            }
        }
    }
}
