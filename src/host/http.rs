//! HTTP requests to one server from a host: by this process, or by a program of another host.

use super::{Attempt, Fetched, NO_HTTP_PROGRAM, Remote};
use crate::{
    error::{Error, Result},
    model::text::{
        limits::{METRICS_LINE, PROMETHEUS, size},
        line,
    },
};
use http::{Method, Request, Uri};
use http_body_util::BodyExt;
use kube::{Client, Config, client::Body};
use std::{error::Error as StdError, time::Duration};

/// A client of one server.
#[derive(Clone)]
pub(crate) enum HttpClient {
    Local(Client),
    /// The URL has no slash at its end.
    Ssh {
        remote: Remote,
        url: String,
    },
}

/// Why a request has no answer.
pub(crate) enum NoAnswer {
    Late(Duration),
    /// It was not read to its end.
    TooLong(String),
    Failed {
        /// The other host that sent the request.
        from: Option<String>,
        why: String,
    },
    /// The connection to the other host is lost.
    HostLost(Error),
}

impl HttpClient {
    /// A client on the event loop that runs. `timeout` is for the connection.
    ///
    /// # Errors
    /// [`NoAnswer::Failed`] where there is no TLS.
    pub(crate) fn local(url: Uri, timeout: Option<Duration>) -> Result<Self, NoAnswer> {
        let mut config = Config::new(url);
        config.connect_timeout = timeout;
        config.default_retry = false;
        Client::try_from(config).map(Self::Local).map_err(|error| failed(&error))
    }

    /// An answer, whatever its code. `path` follows the URL of the server.
    pub(crate) async fn send(&self, method: Method, path: &str, limit: Option<Duration>) -> Result<Fetched, NoAnswer> {
        let client = match self {
            Self::Local(client) => client,
            Self::Ssh { remote, url } => return fetch(remote, &method, &format!("{url}{path}"), limit, None).await,
        };
        let request = Request::builder().method(method).uri(path).body(Body::empty());
        let mut body = Vec::new();
        let take = |piece: &[u8]| {
            body.extend_from_slice(piece);
            if body.len() > PROMETHEUS.bytes { Err(too_long(path)) } else { Ok(true) }
        };
        let code = within(limit, receive(client, request, take)).await??;
        Ok(Fetched { code, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Reads a page line by line until `read` has enough, and returns its code. Another host leaves out the lines that do
    /// not match the extended regular expression `only`.
    pub(crate) async fn lines(
        &self,
        path: &str,
        limit: Option<Duration>,
        only: &str,
        mut read: impl FnMut(&str) -> bool,
    ) -> Result<u16, NoAnswer> {
        let client = match self {
            Self::Local(client) => client,
            Self::Ssh { remote, url } => {
                let page = fetch(remote, &Method::GET, &format!("{url}{path}"), limit, Some(only)).await?;
                let _ = page.body.lines().any(read);
                return Ok(page.code);
            }
        };
        let request = Request::get(path).body(Body::empty());
        let mut begun = Vec::new();
        let take = |piece: &[u8]| {
            for part in piece.split_inclusive(|byte| *byte == b'\n') {
                begun.extend_from_slice(part);
                if begun.len() > METRICS_LINE {
                    let limit = size(METRICS_LINE);
                    return Err(NoAnswer::TooLong(format!("a line of the answer to {path} has more than {limit}")));
                }
                if part.ends_with(b"\n") {
                    if read(String::from_utf8_lossy(&begun).trim_end()) {
                        return Ok(false);
                    }
                    begun.clear();
                }
            }
            Ok(true)
        };
        let code = within(limit, receive(client, request, take)).await??;
        // A text may end without the end of a line.
        let _ = !begun.is_empty() && read(&String::from_utf8_lossy(&begun));
        Ok(code)
    }
}

/// Hands over the body of an answer as it comes, until `take` wants no more, and returns the code.
async fn receive(
    client: &Client,
    request: http::Result<Request<Body>>,
    mut take: impl FnMut(&[u8]) -> Result<bool, NoAnswer>,
) -> Result<u16, NoAnswer> {
    let request = request.map_err(|error| failed(&error))?;
    let (head, mut body) = client.send(request).await.map_err(|error| failed(&error))?.into_parts();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failed(&error))?;
        if let Some(piece) = frame.data_ref()
            && !take(piece)?
        {
            break;
        }
    }
    Ok(head.status.as_u16())
}

fn too_long(path: &str) -> NoAnswer {
    let path = path.split('?').next().unwrap_or(path);
    NoAnswer::TooLong(format!("the answer to {path} has more than {}", size(PROMETHEUS.bytes)))
}

async fn fetch(
    remote: &Remote,
    method: &Method,
    url: &str,
    limit: Option<Duration>,
    only: Option<&str>,
) -> Result<Fetched, NoAnswer> {
    let from = Some(remote.host().to_owned());
    match remote.fetch(method.as_str(), url, limit, only).await.map_err(NoAnswer::HostLost)? {
        Attempt::Done(fetched) => Ok(fetched),
        Attempt::Refused(why) => Err(NoAnswer::Failed { from, why }),
        Attempt::Absent => Err(NoAnswer::Failed { from, why: NO_HTTP_PROGRAM.to_owned() }),
    }
}

async fn within<T>(limit: Option<Duration>, call: impl Future<Output = T>) -> Result<T, NoAnswer> {
    match limit {
        None => Ok(call.await),
        Some(limit) => tokio::time::timeout(limit, call).await.map_err(|_| NoAnswer::Late(limit)),
    }
}

/// The cause is at the end of a chain of wrappers.
fn failed(error: &(dyn StdError + 'static)) -> NoAnswer {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    NoAnswer::Failed { from: None, why: line::first(&deepest.to_string()) }
}
