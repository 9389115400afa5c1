//! HTTP requests that another host sends, by curl or wget.

use super::{
    answer::{Answer, Item},
    remote::{Remote, SLACK, SOON},
};
use crate::{
    error::Result,
    host::Attempt,
    model::text::{
        limits::{PROMETHEUS, size},
        line,
        shell::word,
    },
    render::script::{self, Question},
};
use std::time::Duration;

/// The problem of a host that cannot send HTTP requests.
pub(crate) const NO_HTTP_PROGRAM: &str = "neither curl nor wget is installed on that host";

/// A response.
pub(crate) struct Fetched {
    pub code: u16,
    pub body: String,
}

impl Remote {
    /// Whether that host can send HTTP requests.
    pub(in crate::host) fn can_ask(&self) -> bool {
        self.tools.curl || self.tools.wget
    }

    /// Sends a request with curl, or with wget if curl is missing. Without a response it is refused, with the error of
    /// curl or wget; it is absent if both are missing. `only` is an extended regular expression: lines that do not match
    /// are left out.
    pub(crate) async fn fetch(
        &self,
        method: &str,
        url: &str,
        limit: Option<Duration>,
        only: Option<&str>,
    ) -> Result<Attempt<Fetched>> {
        let waits = limit.map_or(SOON, |limit| limit + SLACK);
        if self.tools.curl {
            return self.curl(&self.plain(method, url, limit), only, waits).await;
        }
        if !self.tools.wget {
            return Ok(Attempt::Absent);
        }
        Ok(by_wget(&self.session.ask(&self.request(method, url, limit), waits).await?))
    }

    /// The same request as a shell command; empty if curl and wget are missing.
    pub(in crate::host) fn request(&self, method: &str, url: &str, limit: Option<Duration>) -> String {
        if self.tools.curl {
            return self.curl_text(&self.plain(method, url, limit), None);
        }
        if !self.tools.wget {
            return String::new();
        }
        let post = if method == "POST" { "--post-data= " } else { "" };
        let seconds = seconds(limit).unwrap_or(900);
        let on_error = if self.tools.gnu_wget { "-nv --tries=1 --content-on-error --no-proxy " } else { "" };
        format!("fetch_by_wget {} {seconds} {on_error}{post}{}", PROMETHEUS.bytes, word(url))
    }

    fn plain(&self, method: &str, url: &str, limit: Option<Duration>) -> String {
        script::curl(&[("url", url), ("request", method)], seconds(limit), &self.code())
    }

    /// What curl prints after a response.
    fn code(&self) -> String {
        format!("\\n{} code %{{http_code}}\\n", self.session.mark())
    }

    fn curl_text(&self, configuration: &str, only: Option<&str>) -> String {
        let only = only.map(|only| word(&format!("{only}|^{} ", self.session.mark()))).unwrap_or_default();
        format!("{}fetch {} {only}\n", script::text(configuration), PROMETHEUS.bytes)
    }

    async fn curl(&self, config: &str, only: Option<&str>, waits: Duration) -> Result<Attempt<Fetched>> {
        let answer = self.session.ask(&self.curl_text(config, only), waits).await?;
        let code = answer.first("code").and_then(|item| item.of.trim().parse().ok()).unwrap_or(0_u16);
        Ok(match (code, answer.first("body"), answer.first("fetched")) {
            (1.., Some(body), _) => Attempt::Done(Fetched { code, body: body.text() }),
            (_, Some(body), _) if is_cut(body) => Attempt::Refused(too_long()),
            (_, _, Some(said)) => Attempt::Refused(line::last(&said.text())),
            _ => Attempt::Refused("no output from curl".to_owned()),
        })
    }

    /// Whether that host can verify an API server: with curl, or with GNU wget, which cannot expect another server name.
    pub(in crate::host) fn can_prove(&self, tls_server_name: Option<&str>) -> bool {
        self.tools.curl || self.tools.gnu_wget && tls_server_name.is_none()
    }

    /// Sends a request with a token to an API server, and verifies it by a CA in the plugin's folder. The token is in no
    /// argument. Without a verified response it is refused, with the error of curl or wget.
    pub(in crate::host) async fn ask_api_server(&self, question: &Question<'_>) -> Result<Attempt<u16>> {
        let waits = question.seconds.map_or(SOON, |seconds| Duration::from_secs(seconds) + SLACK);
        if self.tools.curl {
            let fetched = self.curl(&question.curl(&self.code()), None, waits).await?;
            return Ok(fetched.map(|fetched| fetched.code));
        }
        let asked = format!(
            "{}with_configuration fetch_by_wget {} {} -nv --tries=1 --max-redirect=0 {}\n",
            script::text(&question.wget()),
            PROMETHEUS.bytes,
            question.seconds.unwrap_or(900),
            word(question.url)
        );
        let answer = self.session.ask(&asked, waits).await?;
        match answer.first("failed") {
            Some(failed) => Err(self.write_failed(failed)),
            None => Ok(by_wget(&answer).map(|fetched| fetched.code)),
        }
    }
}

/// At least one, because 0 is no limit for curl and wget.
fn seconds(limit: Option<Duration>) -> Option<u64> {
    limit.map(|limit| limit.as_secs().max(1))
}

/// Whether that host has read no further.
fn is_cut(body: &Item) -> bool {
    body.body.len() >= PROMETHEUS.bytes
}

fn too_long() -> String {
    format!("the answer has more than {}", size(PROMETHEUS.bytes))
}

/// wget prints the status code in its error only: `ERROR 404: Not Found.`, `server returned error: HTTP/1.1 404`.
fn by_wget(answer: &Answer) -> Attempt<Fetched> {
    let said = answer.first("fetched").map(Item::text).unwrap_or_default();
    let succeeded = answer.first("fetched").is_some_and(|item| item.of == "0");
    let code = if succeeded {
        Some(200)
    } else if said.contains("Authentication Failed") {
        // GNU wget prints no code for it.
        Some(401)
    } else {
        let after = ["ERROR ", "HTTP/1.1 ", "HTTP/1.0 "].iter().find_map(|word| Some(said.split_once(word)?.1));
        after.and_then(|rest| rest.get(..3)?.parse().ok())
    };
    match (code, answer.first("body")) {
        (_, Some(body)) if is_cut(body) => Attempt::Refused(too_long()),
        (Some(code), Some(body)) => Attempt::Done(Fetched { code, body: body.text() }),
        _ => Attempt::Refused(line::last(&said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    fn item(kind: &str, of: &str, body: &str) -> Item {
        Item { kind: kind.into(), of: of.into(), body: body.into() }
    }

    /// Errors of GNU wget 1.21 and busybox 1.35.
    #[test]
    fn status_code_is_read_from_wget() {
        let answer = |ended: &str, said: &str| Answer {
            items: vec![item("body", "", "text"), item("fetched", ended, said)],
            succeeded: true,
        };
        for (ended, said, expected) in [
            ("0", "2026-11-25 10:15:00 URL:http://x/ [4/4] -> \"-\" [1]", Attempt::Done(200)),
            ("8", "http://x/:\n2026-11-25 10:15:00 ERROR 403: Forbidden.", Attempt::Done(403)),
            (
                "1",
                "Connecting to x (10.0.0.1:80)\nwget: server returned error: HTTP/1.1 405 Method Not Allowed",
                Attempt::Done(405),
            ),
            ("6", "Username/Password Authentication Failed.", Attempt::Done(401)),
            ("4", "failed: Connection refused.\n", Attempt::Refused("failed: Connection refused.".to_owned())),
            (
                "5",
                "ERROR: cannot verify x's certificate",
                Attempt::Refused("ERROR: cannot verify x's certificate".to_owned()),
            ),
        ] {
            let code = by_wget(&answer(ended, said)).map(|fetched| fetched.code);
            assert_eq!(code, expected, "{said}");
        }
    }

    #[test]
    fn hostile_answers_are_survived() {
        let examples =
            ["http://x/:\n2026-11-25 10:15:00 ERROR 403: Forbidden.", "server returned error: HTTP/1.1 405 No"];
        hostile::texts(&examples, |said| {
            let items = vec![item("fetched", "1", said), item("body", "", said)];
            let _ = by_wget(&Answer { items, succeeded: false });
        });
    }
}
