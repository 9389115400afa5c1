//! Verifies that the running Prometheus scrapes the jobs since it read the new configuration.

use crate::{
    destination::{Health, PrometheusApi, Target},
    error::{Error, Reason, Result},
    model::{
        job::scrape_error::ScrapeError,
        report::{ScrapedTargets, Verification},
        store::record::Record,
        text::{line, names::ClusterName},
    },
    stages::poll::{Pauses, poll},
};
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

const PAUSES: Pauses = Pauses::growing(Duration::from_millis(250), Duration::from_secs(2));
/// Prometheus throttles discovery twice, by 5 s each, before new targets are scraped (`discovery/manager.go`, `updatert`;
/// `scrape/manager.go`, `DiscoveryReloadInterval`). The rest is for listing the nodes.
const DISCOVERED_WITHIN: Duration = Duration::from_secs(12);

/// The tolerated delay of a scrape, for discovery and a busy Prometheus.
pub(super) const SLACK: Duration = Duration::from_secs(15);

/// How long the first scrapes of these jobs may take.
pub(super) fn patience(record: &Record) -> Duration {
    Duration::from(record.scrape_interval) + Duration::from(record.scrape_timeout) + SLACK
}

/// The state of the jobs in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The number of targets that are up, and of all targets.
    pub up: usize,
    pub total: usize,
    /// Targets that were not scraped in time.
    pub silent: Vec<Target>,
    /// Targets whose scrapes failed.
    pub down: Vec<Target>,
}

/// Polls until every target of these jobs was scraped later than `since`, by Prometheus' clock, or until `patience` is
/// over. The first scrape of a job happens within its interval.
///
/// `is_former` recognises targets of previous jobs with the same name: Prometheus keeps the targets of a job until its
/// discovery has found new ones (see [`DISCOVERED_WITHIN`]), and scrapes them with the new token.
///
/// # Errors
/// [`Reason::NotScraped`] if a job is missing, has no targets, or none of them came up.
pub async fn verify(
    api: &PrometheusApi,
    pools: &[String],
    since: Timestamp,
    patience: Duration,
    is_former: impl Fn(&Target) -> bool,
) -> Result<Verdict> {
    let started = Instant::now();
    // Jobs that are already scraped are not polled again, to spare Prometheus the load.
    let mut seen: Vec<Vec<Target>> = vec![Vec::new(); pools.len()];
    let look = async || {
        for (pool, targets) in pools.iter().zip(&mut seen) {
            if !is_final(targets, since, started.elapsed()) {
                match api.targets(Some(pool)).await {
                    Ok(found) => *targets = found.into_iter().filter(|target| !is_former(target)).collect(),
                    Err(error) => return Ok(Err(error)),
                }
            }
        }
        if seen.iter().all(|targets| is_final(targets, since, started.elapsed())) { Ok(Ok(())) } else { Err(()) }
    };
    // Targets that nothing was seen of are judged below.
    poll(|()| patience, PAUSES, look).await.unwrap_or(Ok(()))?;
    for (pool, targets) in pools.iter().zip(&seen) {
        if targets.is_empty() {
            // vmagent has no list of jobs, so the two cases cannot be distinguished.
            let known = api.scrape_pools().await.ok();
            return Err(without_targets(pool, known.as_deref(), api.url()));
        }
        if !targets.iter().any(|target| is_scraped(target, since) && target.health == Health::Up) {
            return Err(none_up(pool, targets, since, patience, api.url()));
        }
    }
    Ok(judge(seen.into_iter().flatten().collect(), since))
}

fn is_scraped(target: &Target, since: Timestamp) -> bool {
    target.last_scrape.is_some_and(|time| time > since)
}

/// Whether the targets of a job are final after this time. If none is up, they may be targets of the previous discovery:
/// nodes of another cluster.
fn is_final(targets: &[Target], since: Timestamp, waited: Duration) -> bool {
    let is_up = |target: &Target| target.health == Health::Up;
    !targets.is_empty()
        && targets.iter().all(|target| is_scraped(target, since))
        && (targets.iter().any(is_up) || waited > DISCOVERED_WITHIN)
}

fn judge(targets: Vec<Target>, since: Timestamp) -> Verdict {
    let total = targets.len();
    let (scraped, silent): (Vec<Target>, Vec<Target>) =
        targets.into_iter().partition(|target| is_scraped(target, since));
    let (up, down): (Vec<Target>, Vec<Target>) = scraped.into_iter().partition(|target| target.health == Health::Up);
    Verdict { up: up.len(), total, silent, down }
}

/// The error of a job without targets: a failed discovery shows only in the log.
fn without_targets(pool: &str, known: Option<&[String]>, url: &str) -> Error {
    let shown = line::escaped(pool);
    if known.is_none_or(|known| known.iter().any(|known| known == pool)) {
        Error::new(Reason::NotScraped, format!("job {shown}: Prometheus at {url} has found no targets for it"))
            .hint("Prometheus' log says why it could not list the nodes (token refused, certificate, no connection)")
            .hint(format!("See {url}/service-discovery"))
    } else {
        Error::new(Reason::NotScraped, format!("job {shown}: Prometheus at {url} does not have it"))
            .hint("Does this Prometheus read the configuration? If its scrape_config_files does not include the file of the job any more, join adds it again")
            .hint("Prometheus before 3.0 omits a job whose nodes it could never list: see its log")
    }
}

fn none_up(pool: &str, targets: &[Target], since: Timestamp, patience: Duration, url: &str) -> Error {
    let (pool, count) = (line::escaped(pool), targets.len());
    let last = targets.iter().filter(|target| is_scraped(target, since)).find(|target| !target.last_error.is_empty());
    match last {
        Some(target) => {
            let error = Error::new(
                Reason::NotScraped,
                format!("job {pool}: 0 of {count} targets up in Prometheus at {url}: {}", target.last_error),
            );
            next_after(&target.last_error).into_iter().fold(error, Error::hint).hint(format!("See {url}/targets"))
        }
        None => Error::new(
            Reason::NotScraped,
            format!("job {pool}: Prometheus at {url} scraped none of its {count} targets within {patience:?}"),
        )
        .hint("If the scrape interval is longer than that, check again later")
        .hint(format!("See {url}/targets")),
    }
}

/// The next step after an error of a scrape, if it is known.
fn next_after(error: &str) -> Option<&'static str> {
    match ScrapeError::of(error) {
        ScrapeError::TokenRefused => {
            Some("The API server refuses the token: was it revoked, or is an old token still in the file of the job?")
        }
        ScrapeError::AccountForbidden => Some(
            "The API server or the kubelet refuses the account: kubectl prom-federate join restores missing rights",
        ),
        ScrapeError::NotTrusted => Some(
            "Prometheus does not trust the server: join again with --api-server-ca-file or --api-server-tls-name, for kubelets with --kubelet-ca-file",
        ),
        ScrapeError::FileUnreadable => Some(
            "Prometheus cannot read a file of the job: does it run as another user, or in a container with other folders?",
        ),
        ScrapeError::Unreachable => {
            Some("Can the host of Prometheus reach this address? Name another address with --api-server")
        }
        ScrapeError::Other(next) => Some(next),
        ScrapeError::Unknown => None,
    }
}

/// Whether a target belongs to the previous jobs, which had the same names. `of_nodes`: the pools of jobs of nodes.
pub(super) fn is_former(target: &Target, record: &Record, of_nodes: &[String], former: Option<&Record>) -> bool {
    if of_nodes.contains(&target.pool) && !record.route.leads_to(&record.access.api_server, &target.scrape_url) {
        return true;
    }
    former.is_some_and(|former| former.access.api_server.serves(&target.scrape_url))
        && !record.access.api_server.serves(&target.scrape_url)
}

impl From<Verdict> for Verification {
    fn from(Verdict { up, total, down, .. }: Verdict) -> Self {
        let shown = |target: Target| format!("{} {} is down: {}", target.pool, target.instance, target.last_error);
        Self::Verified(ScrapedTargets { up, total, down: down.into_iter().map(shown).collect() })
    }
}

/// Where only Prometheus can prove the access, an unverified delivery is an error.
///
/// # Errors
/// [`Reason::NotScraped`].
pub(super) fn required(verification: Verification, cluster: &ClusterName) -> Result<Verification> {
    let Verification::Unverified(why) = verification else { return Ok(verification) };
    Err(Error::new(
        Reason::NotScraped,
        format!("could not confirm that Prometheus can reach {cluster} (this host cannot): {why}"),
    )
    .hint("Name a way to reload and verify (--reload, --prometheus-url), or another address with --api-server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(node: &str, health: Health, last_scrape: Option<i64>, last_error: &str) -> Target {
        Target {
            pool: "prom-federate/east/kubelet".into(),
            node: node.into(),
            instance: node.into(),
            health,
            last_error: last_error.into(),
            last_scrape: last_scrape.map(|second| Timestamp::from_second(second).expect("a time")),
            scrape_url: format!("https://x/api/v1/nodes/{node}/proxy/metrics"),
        }
    }

    fn since() -> Timestamp {
        Timestamp::from_second(100).expect("a time")
    }

    #[test]
    fn scrapes_count_only_after_the_reload() {
        let verdict = judge(
            vec![
                target("a", Health::Up, Some(101), ""),
                target("b", Health::Up, Some(100), ""),
                target("c", Health::Down, Some(102), "401"),
                target("d", Health::Down, None, ""),
                target("e", Health::Unknown, None, ""),
            ],
            since(),
        );
        let nodes = |targets: &[Target]| targets.iter().map(|target| target.node.clone()).collect::<Vec<_>>();
        assert_eq!((verdict.up, verdict.total), (1, 5));
        assert_eq!(nodes(&verdict.silent), ["b", "d", "e"]);
        assert_eq!(nodes(&verdict.down), ["c"]);
    }

    #[test]
    fn targets_that_are_all_down_may_be_former_ones() {
        let (up, down) = (|| target("a", Health::Up, Some(101), ""), || target("b", Health::Down, Some(101), "404"));
        let silent = || target("c", Health::Up, Some(100), "");
        let soon = Duration::from_secs(1);
        for (what, targets, waited, expected) in [
            ("no targets are no proof", vec![], DISCOVERED_WITHIN * 2, false),
            ("all are up", vec![up()], soon, true),
            ("one node is gone", vec![up(), down()], soon, true),
            ("one was not scraped since", vec![up(), silent()], DISCOVERED_WITHIN * 2, false),
            ("discovery may find others yet", vec![down()], soon, false),
            ("it has found these", vec![down()], DISCOVERED_WITHIN * 2, true),
        ] {
            assert_eq!(is_final(&targets, since(), waited), expected, "{what}");
        }
    }

    #[test]
    fn failed_job_names_cause_and_next_step() {
        let (pool, url) = ("prom-federate/east/kubelet", "http://127.0.0.1:9090");
        let none = |targets: &[Target]| none_up(pool, targets, since(), Duration::from_secs(30), url);
        let down = |error: &str| none(&[target("a", Health::Down, Some(101), error)]);
        let errors = [
            without_targets(pool, Some(&[]), url),
            without_targets(pool, Some(&[pool.to_owned()]), url),
            without_targets(pool, None, url),
            down("server returned HTTP status 401 Unauthorized"),
            down("unexpected status code returned when scraping \"https://x/401\": 403; expecting 200"),
            down("Get \"https://x\": tls: failed to verify certificate: x509: certificate signed by unknown authority"),
            down("unable to read authorization credentials: open /t: permission denied"),
            down("context deadline exceeded"),
            down("body size limit exceeded"),
            down("sample limit exceeded"),
            down("something new"),
            none(&[target("a", Health::Unknown, None, ""), target("b", Health::Down, Some(9), "old")]),
        ];
        let shown = errors.map(|error| {
            assert_eq!(error.reason, Reason::NotScraped);
            format!("{error}\n{}", error.hints.iter().map(|hint| format!("  hint: {hint}\n")).collect::<String>())
        });
        insta::assert_snapshot!(shown.concat(), @r#"
        job prom-federate/east/kubelet: Prometheus at http://127.0.0.1:9090 does not have it
          hint: Does this Prometheus read the configuration? If its scrape_config_files does not include the file of the job any more, join adds it again
          hint: Prometheus before 3.0 omits a job whose nodes it could never list: see its log
        job prom-federate/east/kubelet: Prometheus at http://127.0.0.1:9090 has found no targets for it
          hint: Prometheus' log says why it could not list the nodes (token refused, certificate, no connection)
          hint: See http://127.0.0.1:9090/service-discovery
        job prom-federate/east/kubelet: Prometheus at http://127.0.0.1:9090 has found no targets for it
          hint: Prometheus' log says why it could not list the nodes (token refused, certificate, no connection)
          hint: See http://127.0.0.1:9090/service-discovery
        job prom-federate/east/kubelet: 0 of 1 targets up in Prometheus at http://127.0.0.1:9090: server returned HTTP status 401 Unauthorized
          hint: The API server refuses the token: was it revoked, or is an old token still in the file of the job?
          hint: See http://127.0.0.1:9090/targets
        job prom-federate/east/kubelet: 0 of 1 targets up in Prometheus at http://127.0.0.1:9090: unexpected status code returned when scraping "https://x/401": 403; expecting 200
          hint: The API server or the kubelet refuses the account: kubectl prom-federate join restores missing rights
          hint: See http://127.0.0.1:9090/targets
        job prom-federate/east/kubelet: 0 of 1 targets up in Prometheus at http://127.0.0.1:9090: Get "https://x": tls: failed to verify certificate: x509: certificate signed by unknown authority
          hint: Prometheus does not trust the server: join again with --api-server-ca-file or --api-server-tls-name, for kubelets with --kubelet-ca-file
          hint: See http://127.0.0.1:9090/targets
        job prom-federate/east/kubelet: 0 of 1 targets up in Prometheus at http://127.0.0.1:9090: unable to read authorization credentials: open /t: permission denied
          hint: Prometheus cannot read a file of the job: does it run as another user, or in a container with other folders?
          hint: See http://127.0.0.1:9090/targets
        job prom-federate/east/kubelet: 0 of 1 targets up in Prometheus at http://127.0.0.1:9090: context deadline exceeded
          hint: Can the host of Prometheus reach this address? Name another address with --api-server
          hint: See http://127.0.0.1:9090/targets
        job prom-federate/east/kubelet: 0 of 1 targets up in Prometheus at http://127.0.0.1:9090: body size limit exceeded
          hint: The page is larger than the job or the `global:` section of the configuration allows: inspect the page, then join with --body-size-limit (vmagent: also raise -promscrape.maxScrapeSize)
          hint: See http://127.0.0.1:9090/targets
        job prom-federate/east/kubelet: 0 of 1 targets up in Prometheus at http://127.0.0.1:9090: sample limit exceeded
          hint: The page has more samples than the job or the `global:` section of the configuration allows: inspect the page, then join with --sample-limit
          hint: See http://127.0.0.1:9090/targets
        job prom-federate/east/kubelet: 0 of 1 targets up in Prometheus at http://127.0.0.1:9090: something new
          hint: See http://127.0.0.1:9090/targets
        job prom-federate/east/kubelet: Prometheus at http://127.0.0.1:9090 scraped none of its 2 targets within 30s
          hint: If the scrape interval is longer than that, check again later
          hint: See http://127.0.0.1:9090/targets
        "#);
    }
}
