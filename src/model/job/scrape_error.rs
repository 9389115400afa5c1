//! What the error of a scrape means, as Prometheus (`scrape/scrape.go`, `model/textparse`), vmagent
//! (`promscrape/scrapework.go`) and Go's HTTP client word it.

/// What is known of an error. What nothing is known of has no hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrapeError {
    TokenRefused,
    AccountForbidden,
    /// The certificate of the server.
    NotTrusted,
    FileUnreadable,
    Unreachable,
    /// What to do is independent of the cluster.
    Other(&'static str),
    Unknown,
}

const NOT_TEXT: &str =
    "The page is not in the text format of Prometheus: read it as an administrator (kubectl get --raw PATH)";

/// Words of an error, and the next step.
const OTHERS: [(&[&str], &str); 6] = [
    (
        &["body size limit exceeded", "promscrape.maxScrapeSize", "max_scrape_size"],
        "The page is larger than the job or the `global:` section of the configuration allows: inspect the page, then join with --body-size-limit (vmagent: also raise -promscrape.maxScrapeSize)",
    ),
    (
        &["sample limit exceeded", "sample_limit"],
        "The page has more samples than the job or the `global:` section of the configuration allows: inspect the page, then join with --sample-limit",
    ),
    (
        &["label_limit", "label_name_length_limit", "label_value_length_limit"],
        "A series has more or longer labels than the job or the `global:` section of the configuration allows: the target must drop these labels",
    ),
    (
        &["Content-Type", "content type"],
        "The target does not say that its page is metrics. Let it send Content-Type: text/plain; version=0.0.4, or join with --fallback-scrape-protocol",
    ),
    (
        &[
            "invalid metric type",
            "invalid UTF-8",
            "valid utf8",
            "invalid label",
            "invalid metric name",
            "# EOF",
            "expected text in",
            "cannot parse",
        ],
        NOT_TEXT,
    ),
    (
        &["duplicate timestamp", "out of order", "out of bounds", "duplicate sample"],
        "The samples themselves are refused: the target repeats series or sends old timestamps",
    ),
];

const UNREACHABLE: [&str; 12] = [
    "dial tcp",
    "connection refused",
    "connection reset",
    "no route to host",
    "network is unreachable",
    "i/o timeout",
    "no such host",
    "server misbehaving",
    "context deadline exceeded",
    "proxyconnect",
    "timeout",
    ": EOF",
];

impl ScrapeError {
    pub fn of(error: &str) -> Self {
        if error.contains(" while parsing: ") {
            return Self::Other(NOT_TEXT);
        }
        // What follows is text of the page.
        let quotes = [" (metric: ", "invalid metric name or label names: "];
        let error = quotes
            .iter()
            .filter_map(|quote| error.find(quote).map(|at| at + quote.len()))
            .min()
            .map_or(error, |end| &error[..end]);
        let says = |words: &[&str]| words.iter().any(|word| error.contains(word));
        match status(error) {
            Some(401) => return Self::TokenRefused,
            Some(403) => return Self::AccountForbidden,
            Some(404 | 405) => {
                return Self::Other(
                    "The target has no such page. A virtual node has no kubelet: kubectl get nodes -o wide",
                );
            }
            Some(500..) => {
                return Self::Other(
                    "The API server cannot reach the node or target: kubectl get nodes,pods -A -o wide",
                );
            }
            Some(300..=399) => {
                return Self::Other(
                    "A proxy in front of the API server redirects the scrape: name the API server itself with --api-server",
                );
            }
            Some(_) => return Self::Unknown,
            None => {}
        }
        if says(&["x509", "certificate", "tls:"]) {
            Self::NotTrusted
        } else if says(&["unable to read", "permission denied", "no such file"]) {
            Self::FileUnreadable
        } else if let Some((_, next)) = OTHERS.iter().find(|(words, _)| says(words)) {
            Self::Other(next)
        } else if says(&UNREACHABLE) {
            Self::Unreachable
        } else {
            Self::Unknown
        }
    }
}

/// `server returned HTTP status 401 Unauthorized`; `unexpected status code returned when scraping "URL": 403; …`.
fn status(error: &str) -> Option<u16> {
    let (_, after) = error.rsplit_once("HTTP status ").or_else(|| error.rsplit_once("\": "))?;
    let code = after.get(..3)?;
    let is_whole = !after[3..].starts_with(|next: char| next.is_ascii_alphanumeric());
    code.parse().ok().filter(|code| is_whole && (100..600).contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_scrapes_are_told_apart() {
        let other = |error: &str, next: &str| match ScrapeError::of(error) {
            ScrapeError::Other(hint) => assert!(hint.contains(next), "{error}: {hint}"),
            found => panic!("{error}: {found:?}"),
        };
        other("body size limit exceeded", "--body-size-limit");
        other("the response from \"x\" exceeds -promscrape.maxScrapeSize or max_scrape_size", "--body-size-limit");
        other("sample limit exceeded", "--sample-limit");
        other("the response from \"x\" exceeds sample_limit=7", "--sample-limit");
        other("label_limit exceeded (metric: \"x\", number of labels: 9, limit: 3)", "global:");
        other("label_value_length_limit exceeded (metric: \"x\")", "longer labels");
        other(
            "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified",
            "--fallback",
        );
        other("non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol", "--fallback");
        other("expected value after metric, got \"<\" (\"INVALID\") while parsing: \"<html\"", "text format");
        other("expected equal, got \"INVALID\" while parsing: \"x509_cert_not_after{\"", "text format");
        other("label_limit exceeded (metric: x509_certificate{a=\"tls:\"}, number of labels: 9)", "global:");
        other("invalid metric name or label names: certificate_x509", "text format");
        other("data does not end with # EOF", "text format");
        other("server returned HTTP status 404 Not Found", "no such page");
        other("server returned HTTP status 503 Service Unavailable", "cannot reach the node");
        other("server returned HTTP status 302 Found", "--api-server");
        for (error, expected) in [
            ("server returned HTTP status 401 Unauthorized", ScrapeError::TokenRefused),
            (
                "unexpected status code returned when scraping \"https://x/401\": 403; expecting 200",
                ScrapeError::AccountForbidden,
            ),
            ("Get \"https://x\": tls: failed to verify certificate: x509: unknown authority", ScrapeError::NotTrusted),
            ("unable to read authorization credentials: open /t: permission denied", ScrapeError::FileUnreadable),
            ("Get \"https://x\": context deadline exceeded", ScrapeError::Unreachable),
            ("Get \"https://x:6443\": dial tcp 10.0.0.5:6443: connect: connection refused", ScrapeError::Unreachable),
            ("Get \"https://x\": EOF", ScrapeError::Unreachable),
            ("server returned HTTP status 418 I'm a teapot", ScrapeError::Unknown),
            ("something new", ScrapeError::Unknown),
            ("", ScrapeError::Unknown),
        ] {
            assert_eq!(ScrapeError::of(error), expected, "{error}");
        }
    }
}
