//! What an answer to the new token means: of the API server, of a kubelet behind it, or of what it forwards requests to.

use crate::{
    cluster::{Answer, List},
    error::{Error, Reason, Result},
    model::{
        job::{Job, pod},
        text::{json, limits::OBJECT, names::Namespace},
    },
};

/// Whether the token came as far as it should. An API server waits for a target that is gone for longer than we do.
pub(super) fn is_of_the_target(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TargetForbidden
            | Reason::TargetNotFound
            | Reason::TargetUnavailable
            | Reason::Timeout
            | Reason::LimitExceeded
    )
}

/// A request that did not give what it should, and whether it is worth another try.
pub(super) enum Miss {
    NotYet(Error),
    OtherNode(Error),
    Final(Error),
}

/// What is worth waiting for comes outside, as [`super::super::poll::poll`] wants it.
pub(super) fn unless_not_yet<T>(outcome: Result<T, Miss>) -> Result<Result<T>, Error> {
    match outcome {
        Err(Miss::NotYet(error)) => Err(error),
        Err(Miss::OtherNode(error) | Miss::Final(error)) => Ok(Err(error)),
        Ok(found) => Ok(Ok(found)),
    }
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

pub(super) fn count_nodes(answer: &Answer) -> Result<u64, Miss> {
    let path = List::Nodes.to_string();
    judge(answer, &path)?;
    let list = json::read(answer.body.as_bytes(), OBJECT.memory)
        .map_err(|_| Miss::Final(failed(&path, "does not answer with a list of nodes")))?;
    let remaining = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default();
    Ok(list["items"].as_array().map_or(0, Vec::len) as u64 + remaining)
}

pub(super) fn judge(answer: &Answer, path: &str) -> Result<(), Miss> {
    let message = answer.message();
    match answer.code {
        200 => Ok(()),
        401 => Err(Miss::NotYet(
            Error::new(Reason::AccountRefused, format!("{path} answers 401 to the new token"))
                .hint("A proxy such as Rancher or Teleport may reject service account tokens: name the API server itself with --api-server"),
        )),
        403 if message.starts_with("Forbidden (user=") => Err(Miss::Final(kubelet_forbidden(path, &message))),
        403 => Err(Miss::NotYet(failed(path, &format!("answers 403 to the new token: {message}")))),
        500 | 502 | 503 | 504 => Err(Miss::OtherNode(failed(path, &format!("answers {}: {message}", answer.code)))),
        code => Err(Miss::Final(failed(path, &format!("answers {code}: {message}")))),
    }
}

/// What a Service or a pod answered, or the API server in its place.
pub(super) fn judge_target(answer: &Answer, path: &str) -> Result<(), Miss> {
    let message = answer.message();
    let unavailable = |what: &str| {
        Error::new(Reason::TargetUnavailable, format!("{path} {what}"))
            .hint(format!("Read the page as an administrator: kubectl get --raw {path}"))
    };
    match answer.code {
        200 => Ok(()),
        401 | 403 if !answer.is_of_the_api_server() => Err(Miss::Final(target_forbidden(path, answer.code))),
        401 | 403 => judge(answer, path),
        404 if answer.is_of_the_api_server() => Err(Miss::Final(
            Error::new(Reason::TargetNotFound, format!("{path}: {message}"))
                .hint("Check namespace and name: kubectl get services,pods --all-namespaces"),
        )),
        503 if message.contains("no endpoints available") => Err(Miss::OtherNode(
            unavailable("has no endpoints: the Service or its port does not exist, or none of its pods is ready")
                .hint("List the endpoints and ports of the Service: kubectl get endpointslices -n NAMESPACE -l kubernetes.io/service-name=SERVICE"),
        )),
        400 if message.contains("HTTP request to an HTTPS server") => {
            Err(Miss::Final(unavailable("speaks TLS").hint("Write https: before the Service's name")))
        }
        code if message.contains("tls:") && answer.is_of_the_api_server() => Err(Miss::Final(
            unavailable(&format!("answers {code}: {message}")).hint("If the Service does not speak TLS, omit https: before its name"),
        )),
        code => Err(Miss::OtherNode(unavailable(&format!("answers {code}: {message}")))),
    }
}

/// An API server takes the Authorization header off before it forwards a request (apiserver
/// `pkg/endpoints/filters/authentication.go`), so the target never sees the token.
fn target_forbidden(path: &str, code: u16) -> Error {
    Error::new(
        Reason::TargetForbidden,
        format!(
            "{path}: the target itself answers {code}. It authenticates its clients, as kube-rbac-proxy and oauth-proxy do, and an \
            API server forwards no credentials"
        ),
    )
    .hint("Name a port of the target without authentication, or let the target serve its metrics on such a port")
    .hint("Or federate its series from a Prometheus in the cluster: --jobs=federate")
}

/// Whether an answer shows that the API server's policies let a request through: its target gave the answer, or the API
/// server speaks of the target. An API server that refuses the caller, or that is overloaded, asks no policy first; an
/// answer of another policy or webhook says nothing about ours.
pub(super) fn got_through(answer: &Answer) -> bool {
    if !answer.is_of_the_api_server() {
        return !matches!(answer.code, 429 | 500..);
    }
    // apimachinery `util/proxy/transport.go`, Kubernetes `registry/core/service/storage/storage.go`
    let is_about_the_target = |message: String| {
        message.contains("error trying to reach service") || message.contains("no endpoints available for service")
    };
    matches!(answer.code, 200..300 | 404) || is_about_the_target(answer.message())
}

pub(super) fn no_pod(job: &Job, namespace: &Namespace) -> Error {
    let error = match job {
        Job::NodeExporter(_, port) => Error::new(
            Reason::TargetNotFound,
            format!("{job}: no running pod in namespace {namespace} has a node-exporter label and the port {port}"),
        )
        .hint("Find its namespace: kubectl get daemonsets --all-namespaces --show-labels"),
        _ => Error::new(
            Reason::TargetNotFound,
            format!(
                "{job}: no running pod in namespace {namespace} has the annotation {}: \"true\" and the path {}",
                pod::SCRAPE,
                job.metrics_path()
            ),
        ),
    };
    error.hint(format!("List the pods: kubectl get pods -n {namespace} -o yaml"))
}

pub(super) fn without_samples(job: &Job, path: &str) -> Error {
    let error = Error::new(Reason::TargetUnavailable, format!("{path} answers without any sample"));
    match job {
        Job::Federate(_) => error.hint("No series matches: choose other series with --federate-match"),
        _ => error.hint(format!("Read the page as an administrator: kubectl get --raw {path}")),
    }
}

/// The kubelet asks who may read it, and a proxied request carries the API server's identity, not the account's
/// (prometheus#4633).
pub(in crate::stages) fn kubelet_forbidden(path: &str, message: &str) -> Error {
    let user =
        message.strip_prefix("Forbidden (user=").and_then(|rest| rest.split(',').next()).unwrap_or("the API server");
    let user = crate::model::text::shell::word(user);
    Error::new(
        Reason::KubeletForbidden,
        format!("{path}: the kubelet refuses the API server's own identity {user}, not the account: {message}"),
    )
    .hint(format!(
        "Create the binding that kubeadm creates: kubectl create clusterrolebinding kubelet-api-admin --clusterrole=system:kubelet-api-admin --user={user}"
    ))
    .hint("A kubelet caches a refusal for half a minute: run the command again after that")
}

pub(super) fn failed(path: &str, what: &str) -> Error {
    Error::new(Reason::ProofFailed, format!("{path} {what}"))
        .hint("Read the page as an administrator: kubectl get --raw PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_of_the_target_or_about_it_got_through() {
        let status = |message: &str| format!(r#"{{"kind":"Status","apiVersion":"v1","message":"{message}"}}"#);
        for (code, body, expected) in [
            (200, "{}".to_owned(), true),
            (400, "you must specify at least 1 of stdin, stdout, stderr".to_owned(), true),
            (403, "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes)".to_owned(), true),
            (404, status("pods \\\"prom-federate-no-such-pod\\\" not found"), true),
            (503, status("error trying to reach service: dial tcp 10.0.0.1:10250: connect: connection refused"), true),
            (503, status("no endpoints available for service \\\"web\\\""), true),
            (401, status("Unauthorized"), false),
            (403, status("nodes \\\"n\\\" is forbidden: User cannot get resource"), false),
            (422, status("ValidatingAdmissionPolicy 'other' with binding 'other' denied request: no"), false),
            (400, status("admission webhook \\\"x\\\" denied the request"), false),
            (429, status("too many requests"), false),
            (500, status("etcdserver: request timed out"), false),
            (503, "<html>upstream connect error</html>".to_owned(), false),
            (429, String::new(), false),
        ] {
            assert_eq!(got_through(&Answer { code, body: body.clone() }), expected, "{code} {body}");
        }
    }

    #[test]
    fn kubelet_that_refuses_the_api_server_is_distinguished_from_missing_rights() {
        let body = "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource(s)=[metrics])";
        let Err(Miss::Final(error)) = judge(&Answer { code: 403, body: body.into() }, "/p") else {
            panic!("not final")
        };
        assert_eq!(error.reason, Reason::KubeletForbidden);
        assert!(error.hints[0].ends_with("--user=kube-apiserver-kubelet-client"), "{:?}", error.hints);
    }

    #[test]
    fn answers_of_a_target_are_distinguished_from_those_of_the_api_server() {
        let status =
            |message: &str| serde_json::json!({ "kind": "Status", "apiVersion": "v1", "message": message }).to_string();
        for (code, body, reason, says) in [
            (401, "Unauthorized\n".to_owned(), Reason::TargetForbidden, "kube-rbac-proxy"),
            (
                403,
                "Forbidden (user=system:anonymous, verb=get, resource=, subresource=)".into(),
                Reason::TargetForbidden,
                "403",
            ),
            (401, status("Unauthorized"), Reason::AccountRefused, "401"),
            (403, status("services \"x\" is forbidden"), Reason::ProofFailed, "is forbidden"),
            (404, status("services \"x\" not found"), Reason::TargetNotFound, "\"x\" not found"),
            (404, "404 page not found".into(), Reason::TargetUnavailable, "answers 404"),
            (503, status("no endpoints available for service \"x\""), Reason::TargetUnavailable, "no endpoints"),
            (503, status("error trying to reach service: dial tcp"), Reason::TargetUnavailable, "dial tcp"),
            (400, "Client sent an HTTP request to an HTTPS server.".into(), Reason::TargetUnavailable, "speaks TLS"),
        ] {
            let Err(Miss::Final(error) | Miss::OtherNode(error) | Miss::NotYet(error)) =
                judge_target(&Answer { code, body }, "/p")
            else {
                panic!("{code} {says} is fine")
            };
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.to_string().contains(says) && !error.hints.is_empty(), "{error}");
        }
    }
}
