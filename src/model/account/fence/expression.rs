//! The CEL expression of the fence: written from targets, and read back.

use crate::model::job::{Job, target::Target};

/// The beginning of every clause about nodes.
const NODES: &str = "request.resource.resource == 'nodes' && ";
/// A node's name has no colon. The API server would accept `NODE:PORT` and `https:NODE:PORT` too, which name another
/// port of the node.
const BARE: &str = "!request.name.contains(':')";
/// A node's name with a port, and only a port of a kubelet. RBAC decides which node has which port.
const WITH_PORT: [&str; 2] = ["request.name.matches('^[a-z0-9.-]+:(", ")$')"];
/// The text before the list of pages.
const PAGES: &str = " && has(object.path) && object.path in [";

/// CEL: a clause for all pages of nodes by each of their spellings, and one for each other target.
pub(super) fn expression(targets: &[Target]) -> String {
    // Each spelling with its pages, in the order of the targets.
    let mut nodes: Vec<(String, Vec<String>)> = Vec::new();
    for target in targets {
        let (spelling, path) = match target {
            Target::Nodes { path } => (BARE.to_owned(), path),
            // No node is pinned, so the fence admits no node.
            Target::PinnedNodes { ports, .. } if ports.is_empty() => continue,
            Target::PinnedNodes { path, ports } => {
                let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
                ([WITH_PORT[0], &ports.join("|"), WITH_PORT[1]].concat(), path)
            }
            _ => continue,
        };
        match nodes.iter_mut().find(|(known, _)| *known == spelling) {
            Some((_, paths)) => paths.push(format!("'{path}'")),
            None => nodes.push((spelling, vec![format!("'{path}'")])),
        }
    }
    let nodes = nodes.into_iter().map(|(spelling, paths)| format!("{NODES}{spelling}{PAGES}{}]", paths.join(", ")));
    let clauses: Vec<String> = nodes.chain(targets.iter().filter_map(Target::clause)).collect();
    match &clauses[..] {
        // No job needs a proxy.
        [] => "false".to_owned(),
        [one] => one.clone(),
        several => format!("({})", several.join(") || (")),
    }
}

/// An expression without the ports of pinned nodes, because nodes come and go.
pub(in crate::model) fn without_ports(expression: &str) -> String {
    let mut rest = expression;
    let mut text = String::new();
    while let Some((before, after)) = rest.split_once(WITH_PORT[0]) {
        text += before;
        text += WITH_PORT[0];
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '|');
    }
    text + rest
}

/// The targets of an expression as [`expression()`] writes it.
pub(super) fn targets_of(expression: &str) -> Option<Vec<Target>> {
    if expression == "false" {
        return Some(Vec::new());
    }
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(expression);
    let mut targets = Vec::new();
    for clause in inner.split(") || (") {
        let Some(of_nodes) = clause.strip_prefix(NODES) else {
            targets.push(Target::of_clause(clause)?);
            continue;
        };
        let (spelling, pages) = of_nodes.split_once(PAGES)?;
        let ports: Option<Vec<u16>> = if spelling == BARE {
            None
        } else {
            let ports = spelling.strip_prefix(WITH_PORT[0])?.strip_suffix(WITH_PORT[1])?.split('|');
            Some(ports.map(|port| port.parse().ok()).collect::<Option<_>>()?)
        };
        let pages: Vec<&str> = pages.strip_suffix(']')?.split(", ").collect();
        // Each page has all ports, and an API server may answer with many of both.
        if pages.len() > Job::OF_NODES.len() {
            return None;
        }
        for page in pages {
            let path = page.strip_prefix('\'')?.strip_suffix('\'')?.to_owned();
            targets.push(match &ports {
                None => Target::Nodes { path },
                Some(ports) => Target::PinnedNodes { path, ports: ports.clone() },
            });
        }
    }
    Some(targets)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{targets, tests::pinned},
        *,
    };
    use crate::{
        hostile,
        model::job::{EVERY_JOB, Jobs},
    };

    #[test]
    fn expression_lists_exactly_the_chosen_pages() {
        let expression = |jobs: &str| expression(&targets(&jobs.parse().unwrap()));
        insta::assert_snapshot!(expression("cadvisor"), @"request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor']");
        insta::assert_snapshot!(expression("default"), @"request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor', '/metrics']");
        insta::assert_snapshot!(expression("apiserver"), @"false");
        insta::assert_snapshot!(expression("service=a/https:b:web/m/x"), @"request.resource.resource == 'services' && request.namespace == 'a' && request.name == 'https:b:web' && has(object.path) && object.path == '/m/x'");
        insta::assert_snapshot!(expression(EVERY_JOB).replace(") || (", ") ||\n("), @"
        (request.resource.resource == 'nodes' && !request.name.contains(':') && has(object.path) && object.path in ['/metrics/cadvisor', '/metrics', '/metrics/resource', '/metrics/probes', '/metrics/slis']) ||
        (request.resource.resource == 'services' && request.namespace == 'kube-system' && request.name == 'kube-state-metrics:http' && has(object.path) && object.path == '/metrics') ||
        (request.resource.resource == 'services' && request.namespace == 'monitoring' && request.name == 'https:shop:8443' && has(object.path) && object.path == '/m/x') ||
        (request.resource.resource == 'services' && request.namespace == 'monitoring' && request.name == 'shop:http' && has(object.path) && object.path == '/metrics') ||
        (request.resource.resource == 'pods' && request.namespace == 'monitoring' && request.name.matches('^[a-z0-9.-]+:9100$') && has(object.path) && object.path == '/metrics') ||
        (request.resource.resource == 'pods' && request.namespace == 'shop' && request.name.matches('^(https:)?[a-z0-9.-]+:[0-9]+$') && has(object.path) && object.path == '/m.x') ||
        (request.resource.resource == 'pods' && request.namespace == 'shop' && request.name.matches('^(https:)?[a-z0-9.-]+:[0-9]+$') && has(object.path) && object.path == '/metrics') ||
        (request.resource.resource == 'services' && request.namespace == 'monitoring' && request.name == 'prometheus-k8s:web' && has(object.path) && object.path == '/federate')
        ");
    }

    #[test]
    fn hostile_expressions_are_survived() {
        let jobs = || EVERY_JOB.parse::<Jobs>().unwrap();
        let examples = [jobs(), jobs().by(pinned())].map(|jobs| expression(&targets(&jobs)));
        hostile::texts(&[&examples[0], &examples[1]], |text| {
            if let Some(targets) = targets_of(text) {
                assert!(targets.len() <= text.len());
                let _ = (expression(&targets), super::super::described(&targets));
            }
            let _ = without_ports(text);
        });
        // Each page would have each port.
        let many = examples[1].replacen("']", &format!("'{}]", ", '/'".repeat(9)), 1);
        assert!(targets_of(&examples[1]).is_some() && targets_of(&many).is_none());
    }
}
