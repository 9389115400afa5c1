//! What an answer to the new token means: of the API server, of a kubelet behind it, or of what it forwards requests to.

use crate::{
    cluster::{Answer, List, MetricsPage, count},
    error::{Error, Reason, Result},
    model::{
        job::{
            Job,
            exposition::{Content, FallbackProtocol, Fault},
            pod,
        },
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
pub(in crate::stages) enum Miss {
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

impl Miss {
    pub(in crate::stages) fn into_error(self) -> Error {
        match self {
            Self::NotYet(error) | Self::OtherNode(error) | Self::Final(error) => error,
        }
    }
}

impl From<Error> for Miss {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

pub(super) fn count_nodes(answer: &Answer) -> Result<u64, Miss> {
    let path = List::Nodes(None).to_string();
    judge(answer, &path)?;
    let list = json::read(answer.body.as_bytes(), OBJECT.memory).unwrap_or_default();
    if list["items"].is_array() { Ok(count(&list)) } else { Err(front(answer, &path).into()) }
}

/// What the API server itself answered.
pub(super) fn judge(answer: &Answer, path: &str) -> Result<(), Miss> {
    if answer.code == 200 { Ok(()) } else { Err(refusal(answer, path)) }
}

/// The same for a page of its own.
pub(super) fn judge_page(page: &MetricsPage, job: &Job, path: &str) -> Result<usize, Miss> {
    judge(&page.answer, path)?;
    content(page, job, path)
}

fn refusal(answer: &Answer, path: &str) -> Miss {
    let message = answer.message();
    match answer.code {
        // An overloaded API server says so in plain text (apiserver `priority-and-fairness.go`).
        429 => Miss::NotYet(failed(path, &format!("answers 429: {message}"))),
        _ if !answer.is_of_the_api_server() => Miss::Final(front(answer, path)),
        401 => Miss::NotYet(
            Error::new(Reason::AccountRefused, format!("{path} answers 401 to the new token"))
                .hint("A proxy such as Rancher or Teleport may reject service account tokens: name the API server itself with --api-server"),
        ),
        403 => Miss::NotYet(failed(path, &format!("answers 403 to the new token: {message}"))),
        code => Miss::Final(failed(path, &format!("answers {code}: {message}"))),
    }
}

/// An API server answers a request that it refuses with a Status, and a list with a list: this is another program's
/// answer.
fn front(answer: &Answer, path: &str) -> Error {
    let reason = if answer.code < 500 { Reason::AccountRefused } else { Reason::ProofFailed };
    Error::new(reason, format!("{path} answers the new token with {}, which is not an answer of an API server", answer.shown()))
        .hint("A proxy or load balancer is in front of the API server and may reject service account tokens: name the API server itself with --api-server")
}

/// What a kubelet answered to the API server, or the API server in its place. What is the node's own says nothing of the
/// other nodes.
pub(in crate::stages) fn judge_node(page: &MetricsPage, path: &str) -> Result<usize, Miss> {
    let answer = &page.answer;
    let message = answer.message();
    match answer.code {
        200 => {}
        401 | 403 if answer.is_of_the_api_server() => return Err(refusal(answer, path)),
        401 => return Err(Miss::OtherNode(kubelet_unauthorized(path, &message))),
        403 if message.starts_with("Forbidden (user=") => {
            return Err(Miss::OtherNode(kubelet_forbidden(path, &message)));
        }
        code => return Err(Miss::OtherNode(failed(path, &format!("answers {code}: {message}")))),
    }
    match &page.content {
        Content { fault: Some(fault), .. } => Err(Miss::OtherNode(failed(path, &no_metrics(fault)))),
        Content { samples: 0, .. } => Err(Miss::OtherNode(failed(path, "answers without any sample"))),
        Content { samples, .. } => Ok(*samples),
    }
}

/// Why Prometheus takes nothing of a page.
pub(super) fn no_metrics(fault: &Fault) -> String {
    match fault {
        Fault::Text(why) => format!("answers with a page that Prometheus cannot parse: {why}"),
        Fault::ContentType(none) if none.is_empty() => {
            "answers with metrics, but without a content type, so Prometheus 3 refuses the page".to_owned()
        }
        Fault::ContentType(other) => {
            format!("answers with metrics, but with the content type {other:?}, so Prometheus 3 refuses the page")
        }
    }
}

/// What a Service or a pod answered, or the API server in its place.
pub(super) fn judge_target(page: &MetricsPage, job: &Job, path: &str) -> Result<usize, Miss> {
    let answer = &page.answer;
    let message = answer.message();
    Err(match answer.code {
        200 => return content(page, job, path),
        401 | 403 if answer.is_of_the_api_server() => refusal(answer, path),
        401 | 403 => Miss::Final(target_forbidden(path, answer.code)),
        404 if answer.is_of_the_api_server() => Miss::Final(
            Error::new(Reason::TargetNotFound, format!("{path}: {message}"))
                .hint("Check namespace and name: kubectl get services,pods --all-namespaces"),
        ),
        503 if message.contains("no endpoints available") => Miss::OtherNode(
            unavailable(path, "has no endpoints: the Service or its port does not exist, or none of its pods is ready")
                .hint("List the endpoints and ports of the Service: kubectl get endpointslices -n NAMESPACE -l kubernetes.io/service-name=SERVICE"),
        ),
        code if matches!(job, Job::Aggregated(_)) => Miss::OtherNode(
            unavailable(path, &format!("answers {code}: {message}"))
                .hint("Look for the API and whether it is available: kubectl get apiservices"),
        ),
        400 if message.contains("HTTP request to an HTTPS server") => {
            Miss::Final(unavailable(path, "speaks TLS").hint("Write https: before the Service's name"))
        }
        code if message.contains("tls:") && answer.is_of_the_api_server() => Miss::Final(
            unavailable(path, &format!("answers {code}: {message}")).hint("If the Service does not speak TLS, omit https: before its name"),
        ),
        code => Miss::OtherNode(unavailable(path, &format!("answers {code}: {message}"))),
    })
}

/// The samples of a page that Prometheus would take.
fn content(page: &MetricsPage, job: &Job, path: &str) -> Result<usize, Miss> {
    match &page.content {
        Content { fault: Some(fault), .. } => {
            let error = unavailable(path, &no_metrics(fault));
            let way_out =
                format!("Or let Prometheus 3 read it: --fallback-scrape-protocol={}", FallbackProtocol::Text0);
            let is_offered = matches!(fault, Fault::ContentType(_)) && job.takes_fallback();
            Err(Miss::OtherNode(if is_offered { error.hint(way_out) } else { error }))
        }
        Content { samples: 0, .. } => Err(Miss::OtherNode(without_samples(job, path))),
        Content { samples, .. } => Ok(*samples),
    }
}

fn unavailable(path: &str, what: &str) -> Error {
    Error::new(Reason::TargetUnavailable, format!("{path} {what}"))
        .hint(format!("Read the page as an administrator: kubectl get --raw {path}"))
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

/// A kubelet authenticates the API server by its client certificate (kube-apiserver `--kubelet-client-certificate`,
/// kubelet `authentication.x509.clientCAFile`).
fn kubelet_unauthorized(path: &str, message: &str) -> Error {
    Error::new(
        Reason::KubeletForbidden,
        format!("{path}: the kubelet does not accept the API server's client certificate: it answers 401: {message}"),
    )
    .hint("Set authentication.x509.clientCAFile of the kubelet to the CA of kube-apiserver's --kubelet-client-certificate")
}

pub(super) fn failed(path: &str, what: &str) -> Error {
    Error::new(Reason::ProofFailed, format!("{path} {what}"))
        .hint(format!("Read the page as an administrator: kubectl get --raw {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(code: u16, body: &str) -> MetricsPage {
        let content = Content { samples: 2, fault: None };
        MetricsPage { answer: Answer { code, body: body.into(), location: None }, content, bytes: body.len() }
    }

    fn status(message: &str) -> String {
        serde_json::json!({ "kind": "Status", "apiVersion": "v1", "message": message }).to_string()
    }

    /// What the API server says may change within seconds, and what a kubelet says is no word about other nodes.
    #[test]
    fn only_answers_of_the_target_or_about_it_got_through() {
        for (code, body, expected) in [
            (200, "{}".to_owned(), true),
            (400, "you must specify at least 1 of stdin, stdout, stderr".to_owned(), true),
            (403, "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes)".to_owned(), true),
            (404, status("pods \"prom-federate-no-such-pod\" not found"), true),
            (503, status("error trying to reach service: dial tcp 10.0.0.1:10250: connect: connection refused"), true),
            (503, status("no endpoints available for service \"web\""), true),
            (401, status("Unauthorized"), false),
            (403, status("nodes \"n\" is forbidden: User cannot get resource"), false),
            (422, status("ValidatingAdmissionPolicy 'other' with binding 'other' denied request: no"), false),
            (400, status("admission webhook \"x\" denied the request"), false),
            (429, status("too many requests"), false),
            (500, status("etcdserver: request timed out"), false),
            (503, "<html>upstream connect error</html>".to_owned(), false),
            (429, String::new(), false),
        ] {
            assert_eq!(got_through(&Answer { code, body: body.clone(), location: None }), expected, "{code} {body}");
        }
    }

    #[test]
    fn answers_of_a_kubelet_are_distinguished_from_those_of_the_api_server() {
        let forbidden =
            "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource(s)=[metrics])";
        for (code, body, reason, says, is_final) in [
            (401, "Unauthorized".to_owned(), Reason::KubeletForbidden, "client certificate", true),
            (403, forbidden.into(), Reason::KubeletForbidden, "kube-apiserver-kubelet-client", true),
            (403, "<html>no</html>".into(), Reason::ProofFailed, "<html>no</html>", true),
            (404, "404 page not found".into(), Reason::ProofFailed, "404 page not found", true),
            (404, status("nodes \"x\" not found"), Reason::ProofFailed, "not found", true),
            (405, String::new(), Reason::ProofFailed, "405", true),
            (429, status("too many"), Reason::ProofFailed, "too many", true),
            (502, "bad gateway".into(), Reason::ProofFailed, "bad gateway", true),
            (401, status("Unauthorized"), Reason::AccountRefused, "401", false),
            (403, status("nodes is forbidden"), Reason::ProofFailed, "is forbidden", false),
        ] {
            let (error, is_of_the_node) = match judge_node(&page(code, &body), "/p") {
                Err(Miss::OtherNode(error)) => (error, true),
                Err(Miss::NotYet(error)) => (error, false),
                _ => panic!("{code} {body}"),
            };
            assert_eq!((error.reason, is_of_the_node), (reason, is_final), "{error}");
            assert!(error.to_string().contains(says) && !error.hints.is_empty(), "{error}");
        }
        let Err(Miss::OtherNode(error)) = judge_node(&page(403, forbidden), "/p") else { panic!("not the node's") };
        assert!(error.hints[0].ends_with("--user=kube-apiserver-kubelet-client"), "{:?}", error.hints);
    }

    #[test]
    fn page_that_prometheus_refuses_proves_nothing() {
        let faults = [Fault::Text("line 1 is not a sample: <html>".into()), Fault::ContentType("text/html".into())];
        for (content, says) in [
            (Content { samples: 7, fault: Some(faults[0].clone()) }, "line 1 is not a sample"),
            (Content { samples: 7, fault: Some(faults[1].clone()) }, "\"text/html\""),
            (Content { samples: 7, fault: Some(Fault::ContentType(String::new())) }, "without a content type"),
            (Content { samples: 0, fault: None }, "without any sample"),
        ] {
            let page = MetricsPage { content, ..page(200, "") };
            for outcome in [
                judge_node(&page, "/p"),
                judge_target(&page, &Job::Apiserver, "/p"),
                judge_page(&page, &Job::Apiserver, "/p"),
            ] {
                let Err(Miss::OtherNode(error)) = outcome else { panic!("{says}") };
                assert!(error.to_string().contains(says), "{error}");
            }
        }
    }

    #[test]
    fn front_is_named_with_what_it_says() {
        for (code, body, location, reason, says) in [
            (401, "no", None, Reason::AccountRefused, "401: no"),
            (
                403,
                r#"{"Code":{"Code":"Forbidden"},"Message":"system:unauthenticated"}"#,
                None,
                Reason::AccountRefused,
                "Forbidden",
            ),
            (302, "", Some("https://login/?a"), Reason::AccountRefused, "302 to https://login/?a"),
            (200, "<html>Sign in</html>", None, Reason::AccountRefused, "200: <html>Sign in</html>"),
            (200, "{\"a\":1}", None, Reason::AccountRefused, "200: {\"a\":1}"),
            (400, "Bad Request", None, Reason::AccountRefused, "400: Bad Request"),
            (503, "<html>busy</html>", None, Reason::ProofFailed, "503: <html>busy</html>"),
        ] {
            let answer = Answer { code, body: body.into(), location: location.map(str::to_owned) };
            let Err(Miss::Final(error)) = count_nodes(&answer) else { panic!("{code} {body}") };
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.to_string().contains(says) && error.hints[0].contains("--api-server"), "{error}");
        }
    }

    #[test]
    fn answers_of_a_target_are_distinguished_from_those_of_the_api_server() {
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
                judge_target(&page(code, &body), &Job::Apiserver, "/p")
            else {
                panic!("{code} {says} is fine")
            };
            assert_eq!(error.reason, reason, "{error}");
            assert!(error.to_string().contains(says) && !error.hints.is_empty(), "{error}");
        }
    }
}
