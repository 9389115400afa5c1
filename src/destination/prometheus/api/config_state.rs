//! The state of the last reload, from the metrics of Prometheus or vmagent.

use jiff::{SignedDuration, Timestamp};

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

/// What begins them.
pub(super) const RELOAD_METRICS: &str = "^(prometheus_config_last_reload_|vm_promscrape_config_)";

/// The relevant lines of /metrics.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    successful: Option<f64>,
    succeeded: Option<f64>,
    attempts: Option<f64>,
}

impl Metrics {
    /// Takes a line in; says whether no other line matters. Names are those of Prometheus' cmd/prometheus/main.go and
    /// of `VictoriaMetrics`' lib/promscrape/scraper.go.
    pub(super) fn read(&mut self, line: &str) -> bool {
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

    pub(super) fn state(&self) -> Option<ConfigState> {
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
    use crate::hostile;

    fn at(time: &str) -> Timestamp {
        time.parse().expect("a time")
    }

    fn state(metrics: &str) -> Option<ConfigState> {
        let mut found = Metrics::default();
        let _ = metrics.lines().any(|line| found.read(line));
        found.state()
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
    fn hostile_metrics_are_survived() {
        let examples = [
            "prometheus_config_last_reload_success_timestamp_seconds 1.79e+09\nprometheus_config_last_reload_successful 1\n",
            "vm_promscrape_config_reloads_errors_total 2\nvm_promscrape_config_reloads_total 3\n",
        ];
        hostile::texts(&examples, |metrics| _ = state(metrics));
    }
}
