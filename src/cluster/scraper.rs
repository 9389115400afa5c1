//! A client that has only what Prometheus will have: address, CA, server name and token. Nothing of the admin's.

use super::{
    Cluster, Connection,
    error::{from_status, from_transport, is_unreachable, timeout},
    http::{
        Answer, Client, Extent, Log, MetricsPage, NoAnswer, bound, send, send_for_head, send_for_metrics, status,
        too_long,
    },
    network::{Network, Protocols},
};
use crate::model::token::bearer::BearerToken;
use crate::{
    error::{Error, Reason, Result},
    model::{
        access::Access,
        account::Account,
        job::exposition::FallbackProtocol,
        kube::object::Deletion,
        text::{
            duration::Seconds,
            limits::{LIST_PAGE, OBJECT},
        },
        token::{self, Token, clock::ClockLead},
    },
};
use http::{Request, header, request::Builder};
use kube::{Config, client::Body, core::Status};
use serde_json::Value;
use std::time::Duration;

/// See the module.
#[derive(Clone)]
pub struct Scraper {
    client: Client,
    network: Network,
    log: Option<Log>,
    /// The server, and the proxy on the way to it: what an error is about.
    url: String,
    timeout: Option<Duration>,
}

/// No answer.
pub struct Missed {
    pub error: Error,
    /// Whether there was no connection at all; otherwise TLS failed.
    pub is_unreachable: bool,
}

impl From<Missed> for Error {
    fn from(missed: Missed) -> Self {
        missed.error
    }
}

impl Scraper {
    /// A client with connections of its own; nothing is sent yet.
    pub fn new(access: &Access, connection: &Connection) -> Result<Self> {
        let url = access.url.to_string();
        let uri =
            |url: &str| url.parse().map_err(|_| Error::new(Reason::InvalidArgument, format!("{url} is not a URL")));
        let mut config = Config::new(uri(&url)?);
        config.root_cert = access.ca.as_ref().map(|ca| ca.certificates.clone());
        config.tls_server_name.clone_from(&access.tls_server_name);
        config.proxy_url = access.proxy.as_ref().map(|proxy| uri(&proxy.to_string())).transpose()?;
        let url = match &access.proxy {
            None => url,
            Some(proxy) => format!("{url} through the proxy {proxy}"),
        };
        Self::of(config, url, connection)
    }

    /// By the administrator's own address, CA and proxy, with none of the credentials: another way to the same API
    /// server.
    pub fn as_administrator_connects(cluster: &Cluster, connection: &Connection) -> Result<Self> {
        Self::of(cluster.anonymous.clone(), cluster.url.clone(), connection)
    }

    fn of(mut config: Config, url: String, connection: &Connection) -> Result<Self> {
        bound(&mut config, connection.timeout);
        let (network, log) = (Network::new(config, None)?, connection.log.clone());
        let client = Client::new(&network, Protocols::Any, log.clone());
        Ok(Self { client, network, log, url, timeout: connection.timeout })
    }

    /// The same with connections of its own, which may lead to other API servers.
    #[must_use]
    pub fn fresh(&self) -> Self {
        self.over(Protocols::Any)
    }

    fn over(&self, protocols: Protocols) -> Self {
        Self { client: Client::new(&self.network, protocols, self.log.clone()), ..self.clone() }
    }

    /// The clock of the API server. None before the first answer.
    pub fn clock(&self) -> Option<ClockLead> {
        self.client.clock()
    }

    /// Proves address and CA by a TLS handshake, and leaves a connection open for what follows: that saves it two
    /// round trips. Nothing is sent over it.
    pub async fn open(&self) -> Result<(), Missed> {
        self.client.open(self.timeout).await.map_err(|missed| self.missed(missed))
    }

    /// Reads an object, whatever the status of the answer.
    ///
    /// # Errors
    /// Only if there is no answer, or too much of it.
    pub async fn get(&self, path: &str, token: Option<&BearerToken>) -> Result<Answer> {
        Ok(self.send(Request::get(path), path, token, Body::empty(), OBJECT.bytes).await?)
    }

    /// The same for a page of a list.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn page_of_list(&self, path: &str, token: &BearerToken) -> Result<Answer> {
        Ok(self.send(Request::get(path), path, Some(token), Body::empty(), LIST_PAGE.bytes).await?)
    }

    /// The same for a page of metrics.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub async fn page(
        &self,
        path: &str,
        token: &BearerToken,
        extent: Extent,
        fallback: Option<FallbackProtocol>,
    ) -> Result<MetricsPage> {
        let request = authorized(Request::get(path), path, Some(token), Body::empty())?;
        let page = send_for_metrics(&self.client, request, self.timeout, extent, fallback).await;
        Ok(page.map_err(|missed| self.missed(missed))?)
    }

    /// What a path is answered with, of which only the beginning is read: a refusal is what is wanted.
    ///
    /// # Errors
    /// Only if there is no answer.
    pub async fn try_path(&self, path: &str, token: &BearerToken) -> Result<Answer> {
        Ok(self.look(Request::get(path), path, Some(token)).await?)
    }

    /// Asks for a WebSocket, as `kubectl exec` does; nothing is said over it.
    ///
    /// # Errors
    /// Only if there is no answer.
    pub async fn upgrade(&self, path: &str, token: &BearerToken) -> Result<Answer> {
        let request = Request::get(path)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, "cHJvbS1mZWRlcmF0ZS4uLg==")
            .header(header::SEC_WEBSOCKET_PROTOCOL, "v4.channel.k8s.io");
        // HTTP/2 has no such upgrade.
        Ok(self.over(Protocols::Http1).look(request, path, Some(token)).await?)
    }

    /// Writes to a path, whatever the status of the answer: also where a refusal is what is wanted. The answer may
    /// hold a token.
    ///
    /// # Errors
    /// Only if there is no answer.
    pub async fn post(&self, path: &str, body: &Value, token: &BearerToken) -> Result<Answer> {
        let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
        let body = Body::from(body.to_string().into_bytes());
        Ok(self.send(request, path, Some(token), body, OBJECT.bytes).await?)
    }

    /// The account's next token, asked for with nothing but the one that it has.
    ///
    /// # Errors
    /// [`Reason::AccountRefused`] if this one is dead; [`Reason::Forbidden`] if it may not renew itself; whatever else
    /// the server says.
    pub async fn renew(
        &self,
        account: &Account,
        secret: &Deletion,
        asked: Seconds,
        token: &BearerToken,
    ) -> Result<Token> {
        let answer = self.post(&account.token_path(), &token::request(asked, Some(secret)), token).await?;
        let subject = format!("a renewed token of service account {account}");
        match answer.code {
            200..300 => Token::from_answer(asked, &answer.json()).ok_or_else(|| {
                Error::new(Reason::ApiServerError, format!("{subject}: the answer is incomplete")).hint(format!(
                    "Is {} the address of an API server? Check with: kubectl get --raw /version",
                    self.url
                ))
            }),
            401 => Err(Error::new(
                Reason::AccountRefused,
                format!("{subject}: the server answers 401: the token has expired or was revoked"),
            )
            .hint("An administrator of the cluster can issue a new token: kubectl prom-federate join")),
            code => {
                let status = status(answer.body.as_bytes())
                    .unwrap_or_else(|| Status { message: answer.message(), ..Status::default() });
                Err(from_status(&Status { code, ..status }).about(subject))
            }
        }
    }

    async fn send(
        &self,
        request: Builder,
        path: &str,
        token: Option<&BearerToken>,
        body: Body,
        bytes: usize,
    ) -> Result<Answer, Missed> {
        let request = authorized(request, path, token, body)?;
        let answer = send(&self.client, request, self.timeout, bytes).await.map_err(|missed| self.missed(missed))?;
        Ok(answer.into())
    }

    async fn look(&self, request: Builder, path: &str, token: Option<&BearerToken>) -> Result<Answer, Missed> {
        let request = authorized(request, path, token, Body::empty())?;
        send_for_head(&self.client, request, self.timeout).await.map_err(|missed| self.missed(missed))
    }

    fn missed(&self, missed: NoAnswer) -> Missed {
        match missed {
            NoAnswer::InTime => Missed { error: self.explained(timeout(&self.url)), is_unreachable: true },
            NoAnswer::TooLong(path, bytes) => Missed { error: too_long(&path, bytes), is_unreachable: false },
            NoAnswer::Failed(error) => {
                let is_unreachable = is_unreachable(&error);
                let told = from_transport(error, &self.url);
                Missed { error: if is_unreachable { self.explained(told) } else { told }, is_unreachable }
            }
        }
    }

    /// Between here and the server there may be one more who can be to blame.
    fn explained(&self, error: Error) -> Error {
        if self.network.config().proxy_url.is_none() {
            return error;
        }
        error.hint("Does the proxy run, and does it allow this connection?")
    }
}

/// A request with a token.
fn authorized(
    mut request: Builder,
    path: &str,
    token: Option<&BearerToken>,
    body: Body,
) -> Result<Request<Body>, Missed> {
    let unfit = |why: String| Missed { error: Error::new(Reason::ProofFailed, why), is_unreachable: false };
    if let Some(token) = token {
        let value = token.authorization().map_err(|why| unfit(format!("the token {why}")))?;
        request = request.header(header::AUTHORIZATION, value);
    }
    request.body(body).map_err(|_| unfit(format!("{path:?} is not a path")))
}
