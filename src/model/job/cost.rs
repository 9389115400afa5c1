//! What each job costs, for a person who chooses jobs.

/// One word of `--jobs`.
pub struct Cost {
    pub word: &'static str,
    /// The series that Prometheus stores, after the drop lists. Counts are those of `docs/decisions/drop-lists.md`.
    pub series: &'static str,
    pub rights: &'static str,
}

impl Cost {
    /// For a list of jobs, in columns.
    pub fn line(&self) -> String {
        let Self { word, series, rights } = self;
        format!("{word:<18} {series:<26} {rights}")
    }
}

const fn cost(word: &'static str, series: &'static str, rights: &'static str) -> Cost {
    Cost { word, series, rights }
}

/// The words that need no place; with the others, you know what you scrape.
pub const COSTS: [Cost; 9] = [
    cost("cadvisor", "67 a node, more with pods", "nodes/proxy"),
    cost("kubelet", "235 a node", "nodes/proxy"),
    cost("resource", "some for each node and pod", "nodes/proxy"),
    cost("probes", "some for each probe", "nodes/proxy"),
    cost("apiserver", "5,292 and more", "the URL /metrics"),
    cost("slis", "some for each health check", "nodes/proxy, /metrics/slis"),
    cost("kube-state-metrics", "some for each object", "one port of one Service"),
    cost("node-exporter", "455 a node", "pods/proxy, one namespace"),
    cost("federate", "recording rules and up", "one port of one Service"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::job::{DEFAULT_JOBS, JobSpecs, WORDS};

    #[test]
    fn every_word_that_needs_no_place_has_its_cost() {
        let without_place = WORDS.iter().filter(|word| !word.ends_with('=') && **word != DEFAULT_JOBS);
        assert!(without_place.copied().eq(COSTS.iter().map(|cost| cost.word)));
        for cost in &COSTS {
            cost.word.parse::<JobSpecs>().unwrap();
            // With a mark before it, it is shorter than a line of 80 columns.
            let line = cost.line();
            assert!(line.len() <= 73, "{line}");
        }
    }
}
