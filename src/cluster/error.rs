//! What went wrong between us and an API server, in kubectl's words with our reasons and hints.

use super::unverified::Unverified;
use crate::{
    error::{Error, Reason},
    model::{
        access::certificate::tls_error,
        text::{
            line::{escaped, first as first_line},
            shell,
        },
    },
};
use kube::core::Status;
use rustls::{AlertDescription, CertificateError};
use std::{error::Error as StdError, io};
use tower::BoxError;

/// There was no answer.
pub(super) fn from_transport(error: BoxError, url: &str) -> Error {
    without_answer(&*error, url).caused_by(error)
}

/// A refusal by the API server itself.
pub(super) fn from_status(status: &Status) -> Error {
    refusal(status).caused_by(status.clone())
}

/// Whether the API server has surely not done what was asked of it: it refused the request. An error of the server's own
/// (5xx), such as a store that timed out, says nothing of what was stored, and nor does half an answer.
pub fn is_refusal(error: &Error) -> bool {
    error.cause().is_some_and(|status: &Status| (400..500).contains(&status.code))
}

/// Whether a write came to nothing because the object is not any more what it was read as. Fields of another manager,
/// which server-side apply answers with 409 too, are named one by one.
pub fn is_outdated(error: &Error) -> bool {
    let causes = |status: &Status| status.details.as_ref().is_none_or(|details| details.causes.is_empty());
    error.cause().is_some_and(|status: &Status| status.code == 409 && causes(status))
}

/// Whether the API server knows the kind, but not a field: with server-side apply it ignores none
/// (`structured-merge-diff`, `typed/validate.go`). Its answer says so in its message alone.
pub fn is_about_unknown_field(error: &Error) -> bool {
    error.cause().is_some_and(|status: &Status| status.message.contains("field not declared in schema"))
}

/// Whether an admission policy or webhook of the cluster refuses an object. The API server says that in its message alone
/// (apiserver `pkg/admission/plugin/policy/validating`, `plugin/webhook/errors/statuserror.go`).
pub fn is_about_admission(error: &Error) -> bool {
    error.cause().is_some_and(|status: &Status| admission(&status.message).is_some())
}

/// The next steps where another's policy or webhook stands in the way.
fn admission(message: &str) -> Option<[String; 2]> {
    let between = |from: &str, to: &str| {
        let (_, rest) = message.split_once(from)?;
        rest.split_once(to).map(|(name, _)| escaped(name).trim().to_owned())
    };
    let refuses = |who: String| {
        [
            format!("{who} of this cluster refuses the object: ask its owner for an exception"),
            "Or create the object yourself as it demands, then run this command again; see kubectl prom-federate manifests"
                .to_owned(),
        ]
    };
    between("ValidatingAdmissionPolicy ", " denied request")
        // Our own limit an account; they have words of their own.
        .filter(|name| !name.starts_with("'prom-federate"))
        .map(|name| refuses(format!("The ValidatingAdmissionPolicy {name}")))
        .or_else(|| {
            between("admission webhook ", " denied the request")
                .map(|name| refuses(format!("The admission webhook {name}")))
        })
        .or_else(|| {
            let name = between("failed calling webhook ", ":")?;
            Some([
                format!("The admission webhook {name} of this cluster does not answer, so no such object can be made"),
                "Find its owner: kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations".to_owned(),
            ])
        })
}

fn refusal(status: &Status) -> Error {
    let message = escaped(&status.message);
    if let Some(next) = admission(&status.message) {
        let reason = if status.code == 403 { Reason::Forbidden } else { Reason::ApiServerError };
        return next.into_iter().fold(Error::new(reason, format!("Error from server: {message}")), Error::hint);
    }
    match status.code {
        401 => Error::new(Reason::Unauthorized, "you must be logged in to the server (Unauthorized)")
            .hint("The API server refuses the credentials of this context; check with: kubectl auth whoami"),
        403 if message.contains("attempting to grant RBAC permissions not currently held") => {
            Error::new(Reason::EscalationForbidden, format!("the API server forbids granting rights that you do not have: {message}"))
                .hint("Ask an administrator of the cluster to run this, or to apply what `kubectl prom-federate manifests` prints")
        }
        // Kubernetes `pkg/admission/plugin/namespace/lifecycle`.
        403 if message.ends_with("because it is being terminated") => {
            Error::new(Reason::BeingDeleted, format!("Error from server (Forbidden): {message}"))
                .hint("Wait until the namespace is gone and run the command again")
        }
        403 => Error::new(Reason::Forbidden, format!("Error from server (Forbidden): {message}"))
            .hint("Ask an administrator of the cluster for this permission, or to run the command"),
        404 => Error::new(Reason::NotFound, format!("Error from server (NotFound): {message}"))
            .hint("Is this the address of an API server? Check with: kubectl cluster-info"),
        409 => Error::new(Reason::NotOurs, format!("Error from server (Conflict): {message}"))
            .hint("Another field manager owns these fields; nothing is overwritten"),
        _ => {
            let reason = if status.reason.is_empty() { "InternalError" } else { &status.reason };
            Error::new(Reason::ApiServerError, format!("Error from server ({}): {message}", escaped(reason)))
                .hint("Is the API server healthy? Check with: kubectl get --raw '/readyz?verbose'")
        }
    }
}

/// The cause is at the end of a chain of wrappers.
fn without_answer(error: &(dyn StdError + 'static), url: &str) -> Error {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    let mut deepest = error.to_string();
    while let Some(current) = cause {
        if let Some(tls) = tls_error(current) {
            return from_tls(tls, url);
        }
        if let Some(io) = current.downcast_ref::<io::Error>() {
            match io.kind() {
                io::ErrorKind::ConnectionRefused => {
                    return Error::new(
                        Reason::ConnectionRefused,
                        format!(
                            "the connection to the server {url} was refused - did you specify the right host or port?"
                        ),
                    )
                    .hint("Check with: kubectl cluster-info");
                }
                io::ErrorKind::TimedOut => return timeout(url),
                _ => {}
            }
        }
        deepest = current.to_string();
        cause = current.source();
    }
    Error::new(Reason::ConnectionFailed, format!("unable to connect to the server {url}: {}", first_line(&deepest)))
        .hint("Check with: kubectl cluster-info")
}

/// Whether there was no answer, so that TLS did not even begin.
pub(super) fn is_unreachable(error: &BoxError) -> bool {
    let first: &(dyn StdError + 'static) = &**error;
    !std::iter::successors(Some(first), |&error| error.source()).any(|error| tls_error(error).is_some())
}

/// No answer in time.
pub(super) fn timeout(url: &str) -> Error {
    Error::new(Reason::Timeout, format!("the server {url} did not answer in time"))
        .hint("Is a VPN or proxy missing? To wait longer: --request-timeout")
}

/// The name of a certificate in webpki's spelling, `DnsName("kubernetes")` or `IpAddress(10.0.0.5)`.
fn bare_name(presented: &str) -> &str {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(presented);
    inner.trim_matches('"')
}

fn from_tls(error: &rustls::Error, url: &str) -> Error {
    use CertificateError as Certificate;
    let wrong_ca = || {
        Error::new(
            Reason::CertificateNotTrusted,
            format!("the certificate of {url} is not signed by the given CA"),
        )
        .hint("Is this the right cluster? Name its CA with --api-server-ca-file, or correct certificate-authority in the kubeconfig: without one, the CAs of this system count")
    };
    match error {
        rustls::Error::InvalidCertificate(invalid) => match invalid {
            Certificate::UnknownIssuer | Certificate::BadSignature => wrong_ca(),
            Certificate::Expired | Certificate::ExpiredContext { .. } => Error::new(
                Reason::CertificateExpired,
                format!("the certificate of {url} has expired by the clock of this machine"),
            )
            .hint("Renew the API server's certificate, or check the clock of this machine"),
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                let names = names(invalid);
                let detail = valid_for(&names);
                let proposed = names.iter().find(|name| !name.contains('*') && *name == &shell::word(name));
                Error::new(
                    Reason::CertificateNameMismatch,
                    format!("the certificate of {url} is not valid for this name{detail}"),
                )
                .hint(match proposed {
                    Some(name) => format!("If that is your cluster: --api-server-tls-name {name}"),
                    None => "Name one of its names with --api-server-tls-name NAME".to_owned(),
                })
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => Error::new(
                Reason::CertificateNotTrusted,
                format!("the certificate of {url} is not valid yet by the clock of this machine"),
            )
            .hint("Check the clock of this machine: date"),
            other => Error::new(
                Reason::CertificateNotTrusted,
                format!("the certificate of {url} {}", Unverified::words(other)),
            )
            .hint("Renew the API server's certificate; docs/compatibility.md lists what the plugin verifies"),
        },
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA,
        ) => Error::new(Reason::Unauthorized, format!("{url} refuses the client certificate of this context"))
            .hint("Renew the credentials in the kubeconfig"),
        rustls::Error::AlertReceived(alert) => {
            no_tls(url, &format!("the server ends the handshake with \"{}\"", said(*alert))).hint(match alert {
                AlertDescription::UnrecognisedName => {
                    "It serves no such name: give the right one with tls-server-name in the kubeconfig"
                }
                _ => CIPHERS,
            })
        }
        rustls::Error::PeerIncompatible(_) => {
            no_tls(url, "the server has no TLS version, cipher or signature in common with the plugin").hint(CIPHERS)
        }
        rustls::Error::InvalidMessage(_) => no_tls(url, "the answer is not TLS").hint(WHO),
        rustls::Error::PeerMisbehaved(_) => no_tls(url, "the server breaks the protocol").hint(WHO),
        other => no_tls(url, &first_line(&other.to_string())).hint(WHO),
    }
}

/// Why there is no TLS with another server than an API server, as a sentence about that server goes on.
pub fn tls_words(error: &rustls::Error) -> String {
    use CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(invalid) => match invalid {
            Certificate::UnknownIssuer | Certificate::BadSignature => {
                "has a certificate that is signed by no CA that the plugin trusts".to_owned()
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "has a certificate that has expired by the clock of this machine".to_owned()
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                format!("has a certificate that is not valid for this name{}", valid_for(&names(invalid)))
            }
            other => format!("has a certificate that {}", Unverified::words(other)),
        },
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => "wants a client certificate".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("ends TLS with \"{}\"", said(*alert)),
        rustls::Error::PeerIncompatible(_) => {
            "has no TLS version, cipher or signature in common with the plugin".to_owned()
        }
        rustls::Error::InvalidMessage(_) => "does not answer with TLS".to_owned(),
        other => format!("breaks the protocol of TLS: {}", first_line(&other.to_string())),
    }
}

/// The names that a certificate has, where it has not the one that was asked for.
fn names(invalid: &CertificateError) -> Vec<String> {
    match invalid {
        CertificateError::NotValidForNameContext { presented, .. } => {
            presented.iter().map(|name| escaped(bare_name(name))).collect()
        }
        _ => Vec::new(),
    }
}

fn valid_for(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!("; it is valid for {}", names.join(", ")) }
}

fn said(alert: AlertDescription) -> String {
    alert.as_str().map_or_else(|| format!("alert {}", u8::from(alert)), spaced)
}

const CIPHERS: &str = "The plugin has TLS 1.2 and 1.3 with the ciphers that docs/compatibility.md lists";
const WHO: &str = "Does an API server answer there with TLS? Check with: kubectl cluster-info";

fn no_tls(url: &str, why: &str) -> Error {
    Error::new(Reason::ConnectionFailed, format!("no TLS connection to {url}: {why}"))
}

/// `handshake failure` of rustls' `HandshakeFailure`.
fn spaced(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn server_text_cannot_control_a_terminal() {
        let status = Status { code: 500, message: "a\u{1b}[2Jb\nc".into(), ..Status::default() };
        assert_eq!(from_status(&status).to_string(), "Error from server (InternalError): a\\u{1b}[2Jb c");
    }

    #[test]
    fn conflicts_of_managers_are_told_from_outdated_writes() {
        let conflict = |causes: serde_json::Value| {
            let details = serde_json::json!({ "name": "jobs", "kind": "secrets", "causes": causes });
            let status = serde_json::json!({ "code": 409, "reason": "Conflict", "details": details });
            from_status(&serde_json::from_value(status).unwrap()).about("east")
        };
        assert!(is_outdated(&conflict(serde_json::json!([]))));
        assert!(!is_outdated(&conflict(serde_json::json!([{ "reason": "FieldManagerConflict", "field": ".data" }]))));
        assert!(!is_outdated(&Error::new(Reason::NotOurs, "the object has been modified")));
    }

    #[test]
    fn tls_failure_counts_as_reached() {
        for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut, io::ErrorKind::UnexpectedEof] {
            assert!(is_unreachable(&io::Error::new(kind, "underneath").into()), "{kind}");
        }
        for tls in [
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
            rustls::Error::HandshakeNotComplete,
            rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
        ] {
            assert!(!is_unreachable(&io::Error::other(tls).into()));
        }
    }

    #[test]
    fn tls_failure_is_found_inside_an_io_error() {
        let tls = rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let once = io::Error::new(io::ErrorKind::InvalidData, tls);
        let wrapped = io::Error::other(once).into();
        assert_eq!(from_transport(wrapped, "https://x:1").reason, Reason::CertificateNotTrusted);
    }

    /// Every way in which an API server refuses or cannot be reached, as it is shown.
    #[test]
    fn every_failure_has_a_reason_a_line_and_a_next_command() {
        let status = |code, message: &str| {
            from_status(&Status { code, reason: "Because".into(), message: message.into(), ..Status::default() })
        };
        let tls = |error: rustls::Error| from_tls(&error, "https://x:1");
        let io = |kind: io::ErrorKind| from_transport(io::Error::new(kind, "underneath").into(), "https://x:1");
        let errors = [
            status(401, "Unauthorized"),
            status(403, "nodes is forbidden: User \"jane\" cannot list resource \"nodes\""),
            status(
                403,
                "secrets \"a\" is forbidden: unable to create new content in namespace x because it is being terminated",
            ),
            status(403, "user \"jane\" is attempting to grant RBAC permissions not currently held: {...}"),
            status(404, "404 page not found"),
            status(409, "Apply failed with 1 conflict"),
            status(500, "etcd is gone"),
            status(
                422,
                "namespaces \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no team",
            ),
            status(400, "admission webhook \"v.kyverno.svc\" denied the request: no team"),
            status(
                500,
                "Internal error occurred: failed calling webhook \"w.example.com\": failed to call webhook: Post \"https://x\": dial tcp: refused",
            ),
            tls(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
            tls(rustls::Error::InvalidCertificate(CertificateError::Expired)),
            tls(rustls::Error::InvalidCertificate(CertificateError::NotValidForName)),
            tls(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected: ServerName::try_from("x").unwrap(),
                presented: ["DnsName(\"*.example.com\")", "DnsName(\"kubernetes\")", "IpAddress(10.0.0.5)"]
                    .map(str::to_owned)
                    .to_vec(),
            })),
            tls(rustls::Error::InvalidCertificate(CertificateError::Revoked)),
            tls(rustls::Error::AlertReceived(AlertDescription::CertificateExpired)),
            tls(rustls::Error::HandshakeNotComplete),
            tls(rustls::Error::InvalidCertificate(CertificateError::NotValidYet)),
            tls(rustls::Error::InvalidCertificate(
                CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: vec![1],
                    public_key_algorithm_id: vec![2],
                },
            )),
            tls(rustls::Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(std::sync::Arc::new(
                webpki::Error::PathLenConstraintViolated,
            ))))),
            tls(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)),
            tls(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)),
            tls(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered)),
            tls(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)),
            tls(rustls::Error::General("of a library".into())),
            io(io::ErrorKind::ConnectionRefused),
            io(io::ErrorKind::TimedOut),
            io(io::ErrorKind::ConnectionReset),
        ];
        let shown = errors.map(|error| {
            assert!(!error.hints.is_empty(), "no next command: {error}");
            format!("error ({}): {error}\n{}", error.reason, hints(&error))
        });
        insta::assert_snapshot!(shown.join("\n"));
    }

    fn hints(error: &Error) -> String {
        error.hints.iter().map(|hint| format!("hint: {hint}\n")).collect()
    }
}
