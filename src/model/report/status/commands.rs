//! Commands about one cluster of one destination.

use crate::model::{
    job::{Job, Selector, route::Route},
    store::record::Record,
    text::{duration::Seconds, names::ClusterName, shell},
    token,
};

/// Commands about one cluster of one destination, ready to paste.
pub(crate) struct Commands<'a> {
    pub(in crate::model) cluster: &'a ClusterName,
    pub(in crate::model) destination: &'a str,
}

impl Commands<'_> {
    pub(in crate::model) fn command(&self, verb: &str, flags: &str) -> String {
        format!("kubectl prom-federate {verb} {}{flags} -p {}", self.cluster, shell::word(self.destination))
    }

    /// A rotation whether it is due or not.
    pub(crate) fn now(&self) -> String {
        self.command("rotate", " --now")
    }

    /// The join that was recorded. A CA that was given is not in it: nobody remembers the names of files.
    pub(crate) fn join(&self, record: &Record) -> String {
        let context = shell::word(&record.context);
        let mut join = format!("kubectl prom-federate join --context {context} --cluster-name {}", record.cluster);
        join += &record.account().flags();
        if record.jobs.iter().ne(&Job::DEFAULT) {
            join += &format!(" --jobs {}", record.jobs);
        }
        if record.jobs.have_federate() && record.federate_match != Selector::defaults() {
            for selector in &record.federate_match {
                join += &format!(" --federate-match {}", shell::word(selector.as_str()));
            }
        }
        match &record.route {
            Route::ApiServer => {}
            Route::Pinned(_) => join += " --pin-nodes",
            Route::Kubelet => join += " --route kubelet",
        }
        if !record.fenced {
            join += " --fence=off";
        }
        if record.scrape_interval != Seconds(60) {
            join += &format!(" --scrape-interval {}", record.scrape_interval);
        }
        if record.scrape_timeout != record.scrape_interval.min(Seconds(30)) {
            join += &format!(" --scrape-timeout {}", record.scrape_timeout);
        }
        if record.keep_all_metrics {
            join += " --keep-all-metrics";
        }
        if record.self_renew {
            join += " --self-renew";
        }
        if record.token.never_expires() {
            join += " --long-lived-token";
        }
        if record.duration != token::DEFAULT {
            join += &format!(" --duration {}", record.duration);
        }
        if record.access.address_given {
            join += &format!(" --api-server {}", shell::word(&record.access.api_server.to_string()));
            if let Some(name) = &record.access.tls_server_name {
                join += &format!(" --api-server-tls-name {}", shell::word(name));
            }
        }
        if let Some(proxy) = &record.access.proxy {
            join += &format!(" --api-server-proxy {}", shell::word(&proxy.to_string()));
        }
        join + &format!(" -p {}", shell::word(self.destination))
    }
}
