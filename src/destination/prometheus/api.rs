//! What a running Prometheus says about itself over HTTP, and the request to read its configuration again. vmagent
//! answers some of the same questions at the same paths.

use crate::{
    error::{Error, Reason, Result},
    host::{Attempt, Fetched, Host, NO_HTTP_PROGRAM, Remote},
    model::text::{encoding::query_value, line},
    yaml,
};
use futures_util::{AsyncBufReadExt, TryStreamExt};
use http::{Method, Request, Uri};
use jiff::{SignedDuration, Timestamp};
use kube::{Client, Config, client::Body};
use serde_json::Value;
use std::{collections::BTreeMap, error::Error as StdError, future::Future, time::Duration};

/// A reload answers when all of it is done: 18 s were seen with 5,000 clusters.
const RELOAD_LIMIT: Duration = Duration::from_secs(60);

/// The API of one Prometheus.
#[derive(Clone)]
pub struct PrometheusApi {
    way: Way,
    url: String,
    timeout: Option<Duration>,
}

/// Who asks it.
#[derive(Clone)]
enum Way {
    /// This process.
    Here(Client),
    /// A program of the host that Prometheus is on.
    Elsewhere(Remote),
}

/// One line of Prometheus' page of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The name of its scrape job.
    pub pool: String,
    /// These two labels, empty if it has none of the name.
    pub node: String,
    pub instance: String,
    pub health: Health,
    /// What went wrong at the last scrape, on one line that no terminal minds; empty if nothing did.
    pub last_error: String,
    /// When the last scrape began, by Prometheus' clock; `None` before the first.
    pub last_scrape: Option<Timestamp>,
    pub scrape_url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    Down,
    /// Not yet scraped; vmagent says down then.
    Unknown,
}

/// One element of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// How the last attempts to read the configuration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigState {
    /// Whether the last one worked.
    pub successful: bool,
    /// When one last worked. vmagent gives whole seconds, and none for one that changed nothing.
    pub succeeded: Timestamp,
    /// How many changed something or failed: only vmagent counts them.
    pub attempts: Option<u64>,
    /// Whether it tells of those that failed. A vmagent of 2022 counts changes and nothing else: then
    /// [`Self::successful`] is as good as a guess, and [`Self::succeeded`] long ago.
    pub tells_failures: bool,
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

/// An answer, whatever its code.
struct Answer {
    code: u16,
    body: String,
}

impl PrometheusApi {
    /// A client on the event loop that runs; nothing is sent yet. `timeout` is for one request, `None` waits for ever.
    ///
    /// # Errors
    /// [`Reason::InvalidArgument`] if it is not an http or https URL of a host and maybe a path.
    ///
    /// # Panics
    /// Outside of an event loop.
    pub fn new(host: &Host, url: &str, timeout: Option<Duration>) -> Result<Self> {
        match host {
            Host::Local { .. } => Self::from_here(url, timeout),
            Host::Ssh(remote) => Self::from(Some(remote), url, timeout),
        }
    }

    /// The same, asked from this host.
    pub fn from_here(url: &str, timeout: Option<Duration>) -> Result<Self> {
        Self::from(None, url, timeout)
    }

    fn from(remote: Option<&Remote>, url: &str, timeout: Option<Duration>) -> Result<Self> {
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
        let url = uri.to_string().trim_end_matches('/').to_owned();
        let way = if let Some(remote) = remote {
            Way::Elsewhere(remote.clone())
        } else {
            let mut config = Config::new(uri);
            config.connect_timeout = timeout;
            config.default_retry = false;
            Way::Here(Client::try_from(config).map_err(|error| unreachable(&error, &url))?)
        };
        Ok(Self { way, url, timeout })
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
        let targets = data["activeTargets"].as_array().into_iter().flatten().map(target);
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
        let client = match &self.way {
            Way::Here(client) => client,
            Way::Elsewhere(remote) => {
                let answer = self.fetch(remote, "GET", path, self.timeout, Some(RELOAD_METRICS)).await?;
                let mut metrics = Metrics::default();
                let _ = answer.body.lines().any(|line| metrics.read(line));
                return metrics.state().ok_or_else(|| self.strange(path, &answer));
            }
        };
        let request =
            Request::get(path).body(Vec::new()).map_err(|_| self.error(&format!("{path} cannot be asked for")))?;
        let read = async {
            let mut lines = client.request_stream(request).await?.lines();
            let mut metrics = Metrics::default();
            while let Some(line) = lines.try_next().await.map_err(|error| kube::Error::Service(error.into()))? {
                if metrics.read(&line) {
                    break;
                }
            }
            Ok(metrics.state())
        };
        let state = self.within(self.timeout, read).await.map_err(|error| error.about(path))?;
        state.ok_or_else(|| self.error(&format!("{path} has no metrics about the last reload")))
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
        let mut body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let path = path.split('?').next().unwrap_or(path);
        match body["status"].as_str() {
            Some("success") => Ok(body["data"].take()),
            Some("error") => Err(self.error(&format!("{path}: {}", line::first(text(&body, "error"))))),
            _ => Err(self.strange(path, &answer)),
        }
    }

    async fn fetch(
        &self,
        remote: &Remote,
        method: &str,
        path: &str,
        limit: Option<Duration>,
        only: Option<&str>,
    ) -> Result<Answer> {
        let url = format!("{}{path}", self.url);
        let why = match remote.fetch(method, &url, limit, only).await? {
            Attempt::Done(Fetched { code, body }) => return Ok(Answer { code, body }),
            Attempt::Refused(why) => why,
            Attempt::Absent => NO_HTTP_PROGRAM.to_owned(),
        };
        Err(without_answer(&format!("{} from {}", self.url, remote.host()), &why))
    }

    async fn send(&self, method: Method, path: &str, limit: Option<Duration>) -> Result<Answer> {
        let client = match &self.way {
            Way::Here(client) => client,
            Way::Elsewhere(remote) => return self.fetch(remote, method.as_str(), path, limit, None).await,
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .map_err(|_| self.error(&format!("{path} cannot be asked for")))?;
        let call = async {
            let response = client.send(request).await?;
            let code = response.status().as_u16();
            let body = response.into_body().collect_bytes().await?;
            Ok(Answer { code, body: String::from_utf8_lossy(&body).into_owned() })
        };
        self.within(limit, call).await
    }

    async fn within<T>(&self, limit: Option<Duration>, call: impl Future<Output = kube::Result<T>>) -> Result<T> {
        let outcome = match limit {
            None => call.await,
            Some(limit) => tokio::time::timeout(limit, call).await.map_err(|_| {
                let message = format!("Prometheus at {} did not answer within {limit:?}", self.url);
                Error::new(Reason::PrometheusUnreachable, message)
                    .hint("Is it still starting, or out of memory? See its log. To wait longer: --request-timeout")
            })?,
        };
        outcome.map_err(|error| match error {
            kube::Error::Api(status) => self.error(&format!("HTTP {}", status.code)),
            error => unreachable(&error, &self.url),
        })
    }

    fn error(&self, what: &str) -> Error {
        Error::new(Reason::PrometheusError, format!("Prometheus at {}: {what}", self.url))
            .hint("Is this the address of a Prometheus, with its path prefix? Name the address with --prometheus-url")
    }

    fn strange(&self, path: &str, answer: &Answer) -> Error {
        let said: String = line::first(&answer.body).chars().take(200).collect();
        let said = if said.is_empty() { said } else { format!(" {said}") };
        self.error(&format!("{path} answers HTTP {}{said}", answer.code))
    }
}

/// No answer; the cause is at the end of a chain of wrappers.
fn unreachable(error: &(dyn StdError + 'static), url: &str) -> Error {
    let mut deepest = error;
    while let Some(cause) = deepest.source() {
        deepest = cause;
    }
    without_answer(url, &line::first(&deepest.to_string()))
}

fn without_answer(url: &str, why: &str) -> Error {
    Error::new(Reason::PrometheusUnreachable, format!("no answer from Prometheus at {url}: {why}"))
        .hint("Is Prometheus running, and is this its address? Name the address with --prometheus-url URL")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn strings(value: &Value) -> BTreeMap<String, String> {
    let entries = value.as_object().into_iter().flatten();
    entries.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// One of `activeTargets`. Never scraped is the year 1 to Prometheus, 1970 to vmagent.
fn target(value: &Value) -> Target {
    let last_scrape: Option<Timestamp> = text(value, "lastScrape").parse().ok();
    Target {
        pool: pool(value).to_owned(),
        node: text(&value["labels"], "node").to_owned(),
        instance: text(&value["labels"], "instance").to_owned(),
        health: match text(value, "health") {
            "up" => Health::Up,
            "down" => Health::Down,
            _ => Health::Unknown,
        },
        last_error: line::escaped(text(value, "lastError")),
        last_scrape: last_scrape.filter(|time| *time > Timestamp::UNIX_EPOCH),
        scrape_url: text(value, "scrapeUrl").to_owned(),
    }
}

/// The name of the scrape job. A vmagent of 2022 gives the label `job` here, which relabelling makes; what it was before
/// is the name.
fn pool(target: &Value) -> &str {
    let (pool, before) = (text(target, "scrapePool"), text(&target["discoveredLabels"], "job"));
    if pool == text(&target["labels"], "job") && !before.is_empty() { before } else { pool }
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

/// What begins them.
const RELOAD_METRICS: &str = "^(prometheus_config_last_reload_|vm_promscrape_config_)";

/// The few lines of /metrics that we look for.
#[derive(Debug, Default)]
struct Metrics {
    successful: Option<f64>,
    succeeded: Option<f64>,
    attempts: Option<f64>,
}

impl Metrics {
    /// Takes a line in; says whether no other line matters. Names are those of Prometheus' cmd/prometheus/main.go and
    /// of `VictoriaMetrics`' lib/promscrape/scraper.go.
    fn read(&mut self, line: &str) -> bool {
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(Ok(value))) = (words.next(), words.next().map(str::parse::<f64>)) else { return false };
        match name {
            "prometheus_config_last_reload_successful" | "vm_promscrape_config_last_reload_successful" => {
                self.successful = Some(value);
            }
            "prometheus_config_last_reload_success_timestamp_seconds"
            | "vm_promscrape_config_last_reload_success_timestamp_seconds" => self.succeeded = Some(value),
            "vm_promscrape_config_reloads_total" | "vm_promscrape_config_reloads_errors_total" => {
                *self.attempts.get_or_insert_default() += value;
            }
            _ => return false,
        }
        name.starts_with("prometheus_") && self.successful.is_some() && self.succeeded.is_some()
    }

    fn state(&self) -> Option<ConfigState> {
        let tells_failures = self.successful.is_some();
        // Prometheus has both, and so has every vmagent that tells of failures.
        let (successful, succeeded) = match (self.successful, self.succeeded, self.attempts) {
            (Some(successful), Some(succeeded), _) => (successful > 0.0, succeeded),
            (None, None, Some(_)) => (true, 0.0),
            _ => return None,
        };
        let succeeded = SignedDuration::try_from_secs_f64(succeeded).ok()?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a count; a cast of floats saturates"
        )]
        let attempts = self.attempts.map(|count| count as u64);
        let succeeded = Timestamp::from_duration(succeeded).ok()?;
        Some(ConfigState { successful, succeeded, attempts, tells_failures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn state(metrics: &str) -> Option<ConfigState> {
        let mut found = Metrics::default();
        let _ = metrics.lines().any(|line| found.read(line));
        found.state()
    }

    fn at(time: &str) -> Timestamp {
        time.parse().expect("a time")
    }

    #[test]
    fn reload_state_is_read_from_the_metrics() {
        let prometheus = "# TYPE prometheus_config_last_reload_successful gauge\n\
                          prometheus_config_last_reload_success_timestamp_seconds 1.7956017550865254e+09\n\
                          prometheus_config_last_reload_successful 0\n\
                          prometheus_config_last_reload_successful nonsense after the end\n";
        let seen = state(prometheus).expect("a state");
        assert_eq!((seen.successful, seen.attempts), (false, None));
        assert!(seen.succeeded > at("2026-11-25T10:15:55.08Z") && seen.succeeded < at("2026-11-25T10:15:55.09Z"));
        let vmagent = "vm_promscrape_config_last_reload_success_timestamp_seconds 1700000000\n\
                       vm_promscrape_config_last_reload_successful 1\n\
                       vm_promscrape_config_reloads_errors_total 2\n\
                       vm_promscrape_config_reloads_total 3\n";
        let succeeded = at("2023-11-14T22:13:20Z");
        assert_eq!(
            state(vmagent),
            Some(ConfigState { successful: true, succeeded, attempts: Some(5), tells_failures: true })
        );
        // 1.79.5 has no other line about it.
        let seen = state("vm_promscrape_config_reloads_total 2\n").expect("a state");
        assert_eq!((seen.successful, seen.attempts, seen.tells_failures), (true, Some(2), false));
        for nothing in ["", "prometheus_config_last_reload_successful 1", "up 1\nvm_app_version 2"] {
            assert_eq!(state(nothing), None, "{nothing:?}");
        }
        let absurd =
            "prometheus_config_last_reload_success_timestamp_seconds 1e300\nprometheus_config_last_reload_successful 1";
        assert_eq!(state(absurd), None);
    }

    #[test]
    fn targets_are_read() {
        let raw = json!({
            "labels": {"node": "n1", "instance": "n1", "job": "kubelet"},
            "scrapePool": "prom-federate/east/kubelet",
            "scrapeUrl": "https://x/metrics",
            "lastError": "server returned\u{1b}[2J HTTP status 401 Unauthorized",
            "lastScrape": "2026-11-25T11:15:55.5+01:00",
            "health": "down",
        });
        let read = target(&raw);
        assert_eq!((read.pool.as_str(), read.node.as_str()), ("prom-federate/east/kubelet", "n1"));
        assert_eq!(read.health, Health::Down);
        assert_eq!(read.last_error, "server returned\\u{1b}[2J HTTP status 401 Unauthorized");
        assert_eq!(read.last_scrape, Some(at("2026-11-25T10:15:55.5Z")));
        // Never scraped, as Prometheus and as vmagent say it, and nonsense.
        for never in ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "", "yesterday"] {
            assert_eq!(target(&json!({"lastScrape": never, "health": "unknown"})).last_scrape, None, "{never}");
        }
        assert_eq!(target(&json!(null)).health, Health::Unknown);
        // As vmagent 1.79.5 has it.
        let job = "prom-federate/east/kubelet";
        let old = json!({"discoveredLabels": {"job": job}, "labels": {"job": "kubelet"}, "scrapePool": "kubelet"});
        assert_eq!(target(&old).pool, job);
    }

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
            let error = PrometheusApi::from_here(url, None).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert_eq!(error.reason, Reason::InvalidArgument, "{url}");
            assert!(!error.to_string().contains("secret") && !error.hints.is_empty(), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_line_of_metrics_panics(lines in proptest::collection::vec("(prometheus_config_last_reload_successful|vm_promscrape_config_reloads_total)? ?.{0,20}", 0..4)) {
            let _ = state(&lines.join("\n"));
        }
    }
}
