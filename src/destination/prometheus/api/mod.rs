//! What a running Prometheus says about itself over HTTP, and the request to read its configuration again. vmagent
//! answers some of the same questions at the same paths.

mod config_state;
mod target;

use crate::{
    cluster::tls_words,
    error::{Error, Reason, Result},
    host::{ClientAccess, Fetched, Host, HttpClient, NoAnswer},
    model::{
        report::checklist::ReaderLoad,
        text::{
            encoding::query_value,
            json,
            limits::{BASE_URL, PROMETHEUS},
            line,
        },
        token::clock::ClockLead,
    },
    yaml,
};
use config_state::{Metrics, RELOAD_METRICS};
use http::{Method, Uri};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::OnceCell;

pub use config_state::ConfigState;
pub use target::{Health, Target};

/// A reload answers when all of it is done: 18 s were seen with 5,000 clusters.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

/// `discovery/metrics.go` of Prometheus.
const DISCOVERED: &str = "prometheus_sd_discovered_targets";

/// `receiver/receiverhelper` of the collector; some releases add an ending.
const ACCEPTED: &str = "otelcol_receiver_accepted_metric_points";

/// The API of one Prometheus.
#[derive(Clone)]
pub struct PrometheusApi {
    http: HttpClient,
    url: String,
    timeout: Option<Duration>,
    /// Asked for once in a run.
    load: Arc<OnceCell<ReaderLoad>>,
    /// Whether a client configuration file says how it is asked.
    pub has_client_config: bool,
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// What came of `POST /-/reload`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpReload {
    /// Prometheus has the new configuration; vmagent has only been told to read it.
    Done,
    /// It runs without `--web.enable-lifecycle`, or wants a key.
    NotEnabled,
    /// In its own words.
    Refused(String),
}

impl PrometheusApi {
    /// A client on the event loop that runs; nothing is sent yet. `timeout` is for one request, `None` waits for ever.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] if it is not an http or https URL of a host and maybe a path.
    ///
    /// # Panics
    /// Outside of an event loop.
    pub fn new(host: &Host, url: &str, timeout: Option<Duration>, access: Option<&ClientAccess>) -> Result<Self> {
        let api = Self::by(url, timeout, |uri| host.http_client(uri, timeout, access))?;
        Ok(Self { has_client_config: access.is_some(), ..api })
    }

    /// The same, asked from this host.
    pub fn from_here(url: &str, timeout: Option<Duration>, access: Option<&ClientAccess>) -> Result<Self> {
        let api = Self::by(url, timeout, |uri| HttpClient::local(uri, timeout, access))?;
        Ok(Self { has_client_config: access.is_some(), ..api })
    }

    fn by(
        url: &str,
        timeout: Option<Duration>,
        client: impl FnOnce(Uri) -> Result<HttpClient, NoAnswer>,
    ) -> Result<Self> {
        let wrong = |why: &str| {
            Error::usage(format!("the address of Prometheus {why}"))
                .hint("Write --prometheus-url http://HOST:9090/PREFIX")
        };
        let uri: Uri = url.trim_end_matches('/').parse().map_err(|_| wrong("is not a URL"))?;
        let Some(authority) = uri.authority() else { return Err(wrong("names no host")) };
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong("begins with neither http:// nor https://"));
        }
        // Not repeated: it may be a password.
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong("has more than host, port and path"));
        }
        if url.len() > BASE_URL {
            return Err(wrong("is too long"));
        }
        let url = uri.to_string().trim_end_matches('/').to_owned();
        let http = client(uri).map_err(|why| without_answer(&url, why))?;
        Ok(Self { http, url, timeout, load: Arc::default(), has_client_config: false })
    }

    /// Its clock, when the clock of its host, as far as that is known, is not earlier and not later than these. The date of
    /// an answer is in whole seconds.
    pub fn now(&self, (earliest, latest): (Timestamp, Timestamp)) -> (Timestamp, Timestamp) {
        let lead = self.http.clock().unwrap_or_default();
        let fraction = SignedDuration::from_secs((lead != ClockLead::default()).into());
        (lead.at(earliest), lead.at(latest) + fraction)
    }

    /// Without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Like `3.16.0`.
    pub async fn build_version(&self) -> Result<String> {
        let data = self.data("/api/v1/status/buildinfo").await?;
        Ok(line::escaped(text(&data, "version")))
    }

    /// Its command line with all defaults, as `config.file` and what it is.
    pub async fn flags(&self) -> Result<BTreeMap<String, String>> {
        Ok(strings(&self.data("/api/v1/status/flags").await?))
    }

    /// Whether it has started and does not stop.
    pub async fn ready(&self) -> Result<bool> {
        let path = "/-/ready";
        let answer = self.send(Method::GET, path, self.timeout).await?;
        match answer.code {
            200 => Ok(true),
            425 | 503 => Ok(false),
            _ => Err(self.strange(path, &answer)),
        }
    }

    /// Whether it answers, and takes the password of a client configuration file.
    ///
    /// # Errors
    /// [`Reason::PrometheusUnreachable`], [`Reason::PrometheusError`].
    pub async fn accepts(&self) -> Result<()> {
        self.ready().await?;
        if self.has_client_config {
            // vmagent shows without a password that it is ready, and no other page.
            let path = "/api/v1/status/buildinfo";
            let answer = self.send(Method::GET, path, self.timeout).await?;
            if answer.code == 401 {
                return Err(self.strange(path, &answer));
            }
        }
        Ok(())
    }

    /// Whether it is a server of TLS that is asked without.
    pub async fn wants_tls(&self) -> bool {
        let answer = self.send(Method::GET, "/-/ready", self.timeout).await;
        answer.is_ok_and(|answer| is_answer_of_tls(&answer))
    }

    /// The names of the jobs that it scrapes. vmagent has no such list; Prometheus 2.53 leaves out those whose targets
    /// it never got to know.
    pub async fn scrape_pools(&self) -> Result<Vec<String>> {
        let data = self.data("/api/v1/scrape_pools").await?;
        Ok(data["scrapePools"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The targets that are scraped, of one job unless `pool` is `None`: that is a lot to ask of a big Prometheus.
    pub async fn targets(&self, pool: Option<&str>) -> Result<Vec<Target>> {
        let of_pool = pool.map(|pool| format!("&scrapePool={}", query_value(pool))).unwrap_or_default();
        let data = self.data(&format!("/api/v1/targets?state=active{of_pool}")).await?;
        let targets = data["activeTargets"].as_array().into_iter().flatten().map(Target::read);
        // An older vmagent takes no notice of the parameter.
        Ok(targets.filter(|target| pool.is_none_or(|pool| pool == target.pool)).collect())
    }

    /// The configuration that it runs with, its secrets hidden.
    pub async fn loaded_config(&self) -> Result<Value> {
        let path = "/api/v1/status/config";
        let data = self.data(path).await?;
        yaml::read_foreign(text(&data, "yaml")).map_err(|why| self.error(&format!("{path}: {why}")))
    }

    /// An instant query that gives a vector or a scalar.
    pub async fn query(&self, promql: &str) -> Result<Vec<Sample>> {
        let path = "/api/v1/query";
        let data = self.data(&format!("{path}?query={}", query_value(promql))).await?;
        samples(&data).ok_or_else(|| {
            self.error(&format!("{path} returns a {} instead of numbers", line::escaped(text(&data, "resultType"))))
        })
    }

    /// From its own metrics, of which no more is read than it takes: they are many where jobs are.
    pub async fn config_state(&self) -> Result<ConfigState> {
        let path = "/metrics";
        let mut metrics = Metrics::default();
        let asked = self.http.lines(path, self.timeout, RELOAD_METRICS, |line| metrics.read(line)).await;
        let code = asked.map_err(|why| without_answer(&self.url, why).about(path))?;
        metrics.state().ok_or_else(|| match code {
            200..300 => self.error(&format!("{path} has no metrics about the last reload")),
            401 => self.strange(path, &Fetched { code, body: String::new() }),
            _ => self.error(&format!("{path} answers HTTP {code}")),
        })
    }

    /// From its own metrics (Prometheus `tsdb/head.go`; the process metrics of Go's client and of vmagent).
    pub async fn load(&self) -> Result<ReaderLoad> {
        self.load.get_or_try_init(|| self.read_load()).await.copied()
    }

    async fn read_load(&self) -> Result<ReaderLoad> {
        let (path, mut load) = ("/metrics", ReaderLoad::default());
        let read = |line: &str| {
            if let Some((name, value)) = line.split_once(' ')
                && let Ok(value) = value.trim().parse::<f64>()
            {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
                let value = Some(value as u64);
                match name {
                    "prometheus_tsdb_head_series" => load.series = value,
                    "process_open_fds" => load.open_files = value,
                    "process_max_fds" => load.most_files = value,
                    _ => {}
                }
            }
            load.series.is_some() && load.open_files.is_some() && load.most_files.is_some()
        };
        let only = "^(prometheus_tsdb_head_series|process_(open|max)_fds) ";
        let asked = self.http.lines(path, self.timeout, only, read).await;
        asked.map_err(|why| without_answer(&self.url, why).about(path))?;
        Ok(load)
    }

    /// How many targets the discoveries of each job have found, from its own metrics: one that two of them have found
    /// counts twice. vmagent tells nothing.
    pub async fn discovered(&self) -> Result<BTreeMap<String, u64>> {
        let path = "/metrics";
        let mut found = BTreeMap::new();
        let read = |line: &str| {
            found.extend(discovered_targets(line));
            false
        };
        let asked = self.http.lines(path, self.timeout, &format!("^{DISCOVERED}"), read).await;
        asked.map_err(|why| without_answer(&self.url, why).about(path))?;
        Ok(found)
    }

    /// How many metric points the receiver of a collector has accepted since the collector has read its configuration, from
    /// the collector's own metrics.
    pub async fn accepted_points(&self, receiver: &str) -> Result<f64> {
        let (path, mut sum) = ("/metrics", 0.0);
        let label = format!("receiver={}", yaml::quoted(receiver));
        let read = |line: &str| {
            let value = line.rsplit_once("} ").filter(|(labels, _)| labels.contains(&label));
            sum += value.and_then(|(_, value)| value.trim().parse::<f64>().ok()).unwrap_or_default();
            false
        };
        let asked = self.http.lines(path, self.timeout, &format!("^{ACCEPTED}"), read).await;
        asked.map_err(|why| without_answer(&self.url, why).about(path))?;
        Ok(sum)
    }

    /// Has it read its configuration again.
    pub async fn reload(&self) -> Result<HttpReload> {
        let limit = self.timeout.map(|timeout| timeout.max(RELOAD_LIMIT));
        let answer = self.send(Method::POST, "/-/reload", limit).await?;
        Ok(match answer.code {
            200..300 => HttpReload::Done,
            401 | 403 | 404 | 405 => HttpReload::NotEnabled,
            _ => {
                let said = line::first(&answer.body);
                HttpReload::Refused(said.trim_start_matches("failed to reload config: ").to_owned())
            }
        })
    }

    /// What the API gives in its envelope `{"status": "success", "data": …}`.
    async fn data(&self, path: &str) -> Result<Value> {
        let answer = self.send(Method::GET, path, self.timeout).await?;
        let path = path.split('?').next().unwrap_or(path);
        let mut body = json::read(answer.body.as_bytes(), PROMETHEUS.memory).unwrap_or_default();
        match body["status"].as_str() {
            Some("success") => Ok(body["data"].take()),
            Some("error") => Err(self.error(&format!("{path}: {}", line::first(text(&body, "error"))))),
            _ => Err(self.strange(path, &answer)),
        }
    }

    async fn send(&self, method: Method, path: &str, limit: Option<Duration>) -> Result<Fetched> {
        self.http.send(method, path, limit).await.map_err(|why| without_answer(&self.url, why))
    }

    fn error(&self, what: &str) -> Error {
        Error::new(Reason::PrometheusError, format!("Prometheus at {}: {what}", self.url))
            .hint("Is this the address of a Prometheus, with its path prefix? Name the address with --prometheus-url")
    }

    fn strange(&self, path: &str, answer: &Fetched) -> Error {
        if let Some((guard, hint)) = guard(answer, self.has_client_config) {
            return Error::new(Reason::PrometheusError, format!("Prometheus at {} {guard}", self.url)).hint(hint);
        }
        let said: String = line::first(&answer.body).chars().take(200).collect();
        let said = if said.is_empty() { said } else { format!(" {said}") };
        self.error(&format!("{path} answers HTTP {}{said}", answer.code))
    }
}

/// Of a line of metrics: a job and its count.
fn discovered_targets(line: &str) -> Option<(String, u64)> {
    let labels = line.strip_prefix(DISCOVERED)?.strip_prefix("{config=\"")?;
    let (job, count) = labels.split_once("\",name=\"scrape\"} ")?;
    Some((job.to_owned(), count.trim().parse().ok()?))
}

/// What it wants of its clients, as a sentence about it goes on, and what to do.
fn guard(answer: &Fetched, has_client_config: bool) -> Option<(&'static str, &'static str)> {
    match answer.code {
        401 if has_client_config => Some((
            "refuses the credentials of --prometheus-http-config",
            "Correct basic_auth or authorization there; test them: promtool query instant --http.config.file=FILE URL up",
        )),
        401 => Some((
            "wants a password (such as by --web.config.file): give it in --prometheus-http-config FILE",
            "FILE has the format of promtool --http.config.file: basic_auth: {username: USER, password_file: PATH}",
        )),
        400 if is_answer_of_tls(answer) => Some((
            "accepts only TLS (such as by --web.config.file): name it with --prometheus-url https://HOST:PORT",
            "HOST is a name in its certificate; a CA of your own or a client certificate: --prometheus-http-config FILE",
        )),
        _ => None,
    }
}

/// Of Go's net/http.
fn is_answer_of_tls(answer: &Fetched) -> bool {
    answer.code == 400 && answer.body.starts_with("Client sent an HTTP request to an HTTPS server")
}

fn without_answer(url: &str, why: NoAnswer) -> Error {
    let unreachable = |what: String| Error::new(Reason::PrometheusUnreachable, what);
    match why {
        NoAnswer::HostLost(error) => error,
        NoAnswer::Late(limit) => unreachable(format!("Prometheus at {url} did not answer within {limit:?}"))
            .hint("Is it still starting, or out of memory? See its log. To wait longer: --request-timeout"),
        NoAnswer::TooLong(what) => Error::new(Reason::LimitExceeded, format!("Prometheus at {url}: {what}"))
            .hint("Is this the address of a Prometheus? Name the address with --prometheus-url"),
        NoAnswer::Untrusted(error) => unreachable(format!("Prometheus at {url} {}", tls_words(&error))).hint(
            "Its CA, another name of it and a client certificate: ca_file, server_name, cert_file and key_file in tls_config of --prometheus-http-config FILE",
        ),
        NoAnswer::Failed { from, why } => {
            let from = from.map(|host| format!(" from {host}")).unwrap_or_default();
            unreachable(format!("no answer from Prometheus at {url}{from}: {why}"))
                .hint("Is Prometheus running, and is this its address? Name the address with --prometheus-url URL")
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// `None` for what has no single number: a matrix or a string. Native histograms are left out.
fn samples(data: &Value) -> Option<Vec<Sample>> {
    let number = |pair: &Value| pair[1].as_str()?.parse().ok();
    match text(data, "resultType") {
        "scalar" => Some(vec![Sample { labels: BTreeMap::new(), value: number(&data["result"])? }]),
        "vector" => Some(
            data["result"]
                .as_array()?
                .iter()
                .filter_map(|one| Some(Sample { labels: strings(&one["metric"]), value: number(&one["value"])? }))
                .collect(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hostile, model::job::scrape_error::ScrapeError};
    use serde_json::json;

    #[test]
    fn vectors_and_scalars_are_numbers() {
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"cluster": "east"}, "value": [1.5, "2"]},
            {"metric": {}, "value": [1.5, "+Inf"]},
            {"metric": {}, "histogram": [1.5, {}]},
        ]});
        let labels = BTreeMap::from([("cluster".to_owned(), "east".to_owned())]);
        assert_eq!(
            samples(&vector),
            Some(vec![Sample { labels, value: 2.0 }, Sample { labels: BTreeMap::new(), value: f64::INFINITY }])
        );
        let scalar = json!({"resultType": "scalar", "result": [1.5, "3"]});
        assert_eq!(samples(&scalar), Some(vec![Sample { labels: BTreeMap::new(), value: 3.0 }]));
        assert_eq!(samples(&json!({"resultType": "matrix", "result": []})), None);
        assert_eq!(samples(&json!({})), None);
    }

    #[test]
    fn guarded_server_is_named_as_such() {
        let https = "Client sent an HTTP request to an HTTPS server.\n";
        for (code, body, has_client_config, says) in [
            (401, "Unauthorized\n", false, Some("wants a password")),
            (401, "Unauthorized\n", true, Some("refuses the credentials of --prometheus-http-config")),
            (400, https, false, Some("accepts only TLS")),
            (400, https, true, Some("accepts only TLS")),
            (400, "bad request", false, None),
            (200, https, false, None),
            (403, "", true, None),
            (404, "", false, None),
        ] {
            let said = guard(&Fetched { code, body: body.to_owned() }, has_client_config);
            assert_eq!(said.is_some(), says.is_some(), "{code} {body}");
            let both = |(guard, hint): (&str, &str)| {
                guard.starts_with(says.unwrap_or_default())
                    && format!("{guard}{hint}").contains("--prometheus-http-config")
            };
            assert!(said.is_none_or(both), "{said:?}");
        }
    }

    #[test]
    fn only_server_addresses_are_accepted() {
        for url in [
            "",
            "localhost:9090",
            "/prom",
            "ftp://h",
            "http://",
            "http://user:secret@h:9090",
            "https://h/?token=secret",
        ] {
            let error = PrometheusApi::from_here(url, None, None).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert_eq!(error.reason, Reason::InvalidArgument, "{url}");
            assert!(!error.to_string().contains("secret") && !error.hints.is_empty(), "{error}");
        }
    }

    #[test]
    fn hostile_answers_are_survived() {
        let vector = r#"{"resultType":"vector","result":[{"metric":{"cluster":"east"},"value":[1.5,"2"]}]}"#;
        let target = r#"{"labels":{"node":"n"},"scrapePool":"p","scrapeUrl":"https://x/m","lastError":"Get \"x\": server returned HTTP status 401","lastScrape":"2026-11-25T10:15:55Z","health":"down"}"#;
        let found = "prometheus_sd_discovered_targets{config=\"a\",name=\"scrape\"} 7";
        hostile::texts(&[vector, target, found], |text| {
            let value = serde_json::from_str(text).unwrap_or_default();
            let (target, _) = (Target::read(&value), samples(&value));
            assert!(!target.last_error.contains(line::drives_a_terminal));
            let _ = (ScrapeError::of(&target.last_error), ScrapeError::of(text), discovered_targets(text));
        });
    }
}
