//! What a command of the plugin said, whether it ran in a process of its own or in that of the test.

#[path = "schema.rs"]
pub(crate) mod schema;

/// A command of the plugin that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// # Panics
    /// If it printed a report that its schema does not describe.
    #[track_caller]
    pub(crate) fn new(code: Option<i32>, stdout: String, stderr: String) -> Self {
        if stdout.starts_with("{\n  \"apiVersion\": \"prom-federate.io/") {
            schema::assert_valid("report", &serde_json::from_str(&stdout).expect("JSON"));
        }
        Self { code, stdout, stderr }
    }

    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// It failed with exit code 1, for this reason, saying all of these, and printed nothing.
    #[track_caller]
    pub(crate) fn failed(self, reason: &str, says: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "{}", self.stderr);
        assert!(self.stderr.contains(&format!("error ({reason}): ")), "not {reason}: {}", self.stderr);
        for text in says {
            assert!(self.stderr.contains(text), "does not say {text:?}: {}", self.stderr);
        }
        assert!(self.stderr.contains("\nhint: "), "no hint: {}", self.stderr);
        assert_eq!(self.stdout, "");
        self
    }

    /// The printed jobs.
    pub(crate) fn jobs(&self) -> serde_json::Value {
        prom_federate::yaml::read(&self.stdout).expect("the output is YAML")["scrape_configs"].take()
    }

    /// The token in the printed jobs.
    pub(crate) fn token(&self) -> String {
        self.jobs()[0]["authorization"]["credentials"].as_str().expect("a token").to_owned()
    }
}
