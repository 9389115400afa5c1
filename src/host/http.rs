//! HTTP requests to one server from a host: by this process, or by a program of another host.

use super::{Attempt, Fetched, NO_HTTP_PROGRAM, Remote};
use crate::{
    error::{Error, Result},
    model::text::line,
};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use http::{Method, Request, Uri};
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
        let call = async {
            let response = client.send(request.map_err(kube::Error::HttpError)?).await?;
            let code = response.status().as_u16();
            let body = response.into_body().collect_bytes().await?;
            Ok::<_, kube::Error>(Fetched { code, body: String::from_utf8_lossy(&body).into_owned() })
        };
        within(limit, call).await?.map_err(|error| failed(&error))
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
        let request = Request::get(path).body(Vec::new());
        let call = async {
            let mut lines = client.request_stream(request.map_err(kube::Error::HttpError)?).await?.lines();
            while let Some(line) = lines.try_next().await.map_err(|error| kube::Error::Service(error.into()))? {
                if read(&line) {
                    break;
                }
            }
            Ok(200)
        };
        match within(limit, call).await? {
            Err(kube::Error::Api(status)) => Ok(status.code),
            outcome => outcome.map_err(|error| failed(&error)),
        }
    }
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
