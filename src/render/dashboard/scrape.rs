//! What Prometheus scrapes of a cluster, and what that costs.

use super::{
    panel::{Key, Section, always, lines, stat, table},
    variable::Variable,
};

pub(super) fn variables() -> Vec<Variable> {
    vec![Variable::DataSource, Variable::cluster()]
}

pub(super) fn sections() -> Vec<Section> {
    let key = |label, title| Key { label, title, url: None };
    let keys = vec![key("job", "Job"), key("metrics_path", "Page"), key("instance", "Target")];
    vec![always(vec![
        stat("Targets", "none", r#"count(scrape_samples_scraped{cluster="$cluster"})"#),
        stat("Targets up", "none", r#"sum(scrape_samples_scraped{cluster="$cluster"} > bool 0)"#),
        stat("Series", "short", r#"sum(scrape_samples_post_metric_relabeling{cluster="$cluster"})"#),
        stat(
            "Samples dropped",
            "percentunit",
            r#"1 - sum(scrape_samples_post_metric_relabeling{cluster="$cluster"}) / sum(scrape_samples_scraped{cluster="$cluster"})"#,
        )
        .about("By the drop lists of the jobs; join --keep-all-metrics drops none."),
        stat(
            "Samples/s",
            "short",
            r#"sum(sum_over_time(scrape_samples_post_metric_relabeling{cluster="$cluster"}[10m])) / 600"#,
        ),
        stat("Slowest scrape", "s", r#"max(scrape_duration_seconds{cluster="$cluster"})"#),
        lines("Series by job and page", "short", &[(
            r#"sum by (job, metrics_path) (scrape_samples_post_metric_relabeling{cluster="$cluster"})"#,
            "{{job}} {{metrics_path}}",
        )]),
        lines("Samples dropped by job and page", "short", &[(
            r#"sum by (job, metrics_path) (scrape_samples_scraped{cluster="$cluster"} - scrape_samples_post_metric_relabeling{cluster="$cluster"})"#,
            "{{job}} {{metrics_path}}",
        )]),
        lines("Slowest scrape by job and page", "s", &[(
            r#"max by (job, metrics_path) (scrape_duration_seconds{cluster="$cluster"})"#,
            "{{job}} {{metrics_path}}",
        )]),
        lines("Targets down by job and page", "none", &[(
            r#"sum by (job, metrics_path) (scrape_samples_scraped{cluster="$cluster"} == bool 0)"#,
            "{{job}} {{metrics_path}}",
        )]),
        lines("New series a minute", "short", &[(
            r#"sum by (job, metrics_path) (sum_over_time(scrape_series_added{cluster="$cluster"}[10m])) / 10"#,
            "{{job}} {{metrics_path}}",
        )])
        .size(24, 8),
        table("Targets", keys, &[
            ("Up", super::panel::YES_OR_NO, r#"max by (job, metrics_path, instance) (scrape_samples_scraped{cluster="$cluster"} > bool 0)"#),
            ("Scrape took", "s", r#"max by (job, metrics_path, instance) (scrape_duration_seconds{cluster="$cluster"})"#),
            ("Samples on the page", "short", r#"sum by (job, metrics_path, instance) (scrape_samples_scraped{cluster="$cluster"})"#),
            ("Samples kept", "short", r#"sum by (job, metrics_path, instance) (scrape_samples_post_metric_relabeling{cluster="$cluster"})"#),
        ]),
    ])]
}
