//! `join`: observe, plan, confirm, apply, issue, prove, print; and undo if the proof fails.

use super::{connection, formatted, until_interrupted};
use crate::{
    cli::{DryRunArg, HowArgs, JoinArgs, Output},
    cluster::{self, Cluster, Connection, Scraper},
    error::{Error, Reason, Result},
    model::{
        access::Access,
        account::Account,
        certificate,
        duration::Seconds,
        fence,
        job::{Jobs, Pace},
        names::ClusterName,
        object::{Desired, Fence, Kind, ManagedBy},
        plan::{Deletion, JoinPlan, Step, Verb},
        report::{API_VERSION, JoinReport, ObjectReport, ProofReport, TokenReport, life},
        shell,
        token::Token,
    },
    render::{
        self,
        prometheus::{Header, ScrapeJobs, fragment},
    },
    stages::{
        apply::{Journal, apply, uid_of, validate},
        issue::{expired, fresh_secret, issue, note_expiry},
        observe::{Observed, observe, permissions},
        prove::{FenceState, Proof},
        undo::undo,
    },
    ui::{self, Ui},
    yaml,
};
use jiff::Timestamp;
use secrecy::ExposeSecret;

pub(super) async fn run(args: JoinArgs, ui: Ui) -> Result<()> {
    let JoinArgs { what, cluster_name, scrape_interval, scrape_timeout, keep_all_metrics, duration, seen, how, kube } = args;
    let pace = pace(scrape_interval, scrape_timeout)?;
    let prints_token = how.dry_run == DryRunArg::None;
    if prints_token && how.output == Some(Output::Name) {
        return Err(Error::usage("--output=name leaves out the scrape jobs, so the new token would be lost")
            .hint("Use it with --dry-run=server; --output=json shows names and jobs"));
    }
    let unsafe_output = if prints_token { ui::standard_output()? } else { None };

    let (choice, connection) = connection(&kube, &seen, ui);
    let selected = cluster::select(&choice)?;
    let name = cluster_name.map_or_else(|| name_after(&selected.context), Ok)?;
    let (cluster, access) = cluster::connect(selected, &connection).await?;
    let join = Join {
        account: what.account.account(),
        fence: what.fence.into(),
        jobs: what.jobs,
        name,
        pace,
        keep_all_metrics,
        duration,
        connection,
        access,
        cluster,
        ui,
    };
    join.run(&how, unsafe_output).await
}

fn pace(interval: Seconds, timeout: Option<Seconds>) -> Result<Pace> {
    let timeout = timeout.unwrap_or(interval.min(Seconds(30)));
    if timeout > interval {
        return Err(Error::usage(format!("--scrape-timeout {timeout} is longer than --scrape-interval {interval}; Prometheus refuses such a job")));
    }
    Ok(Pace { interval, timeout })
}

fn name_after(context: &str) -> Result<ClusterName> {
    ClusterName::from_context(context).ok_or_else(|| {
        Error::usage(format!("no cluster name can be made of the context {}", shell::word(context)))
            .hint("Name the cluster with --cluster-name NAME")
    })
}

/// One cluster's join, with all that was decided before the cluster was asked.
struct Join {
    account: Account,
    fence: Fence,
    jobs: Jobs,
    name: ClusterName,
    pace: Pace,
    keep_all_metrics: bool,
    duration: Seconds,
    connection: Connection,
    access: Access,
    cluster: Cluster,
    ui: Ui,
}

/// What a join has in hand once the token is proven.
struct Joined {
    objects: Vec<ObjectReport>,
    token: Token,
    bound_secret: String,
    proof: ProofReport,
}

impl Join {
    async fn run(&self, how: &HowArgs, unsafe_output: Option<String>) -> Result<()> {
        let desired = Desired::new(&self.account, &self.jobs, self.fence, ManagedBy::Us);
        let scraper = Scraper::new(&self.access, &self.connection)?;
        let proof_connections = if how.dry_run == DryRunArg::None { 1 + self.jobs.iter().len() + 6 } else { 1 };
        let (observed, reached) = tokio::join!(observe(&self.cluster, &self.account, &desired), scraper.open(proof_connections));
        let observed = observed?;
        reached.map_err(|error| error.about(format!("{}: as Prometheus would see it ({})", self.cluster.context, self.access.origin)))?;
        let plan = JoinPlan::new(&desired, &observed.existing).map_err(|error| error.about(&self.cluster.context))?;
        let permitted = permissions(&self.cluster, &self.account, &plan, observed.may_everything).await?;

        let mut warnings = self.warnings(&plan);
        warnings.extend(unsafe_output);
        self.say_found(&observed, permitted, &warnings);
        if let Some((suffix, mode)) = how.dry_run.suffix() {
            return self.dry_run(&observed, &plan, how.output, suffix, mode, warnings).await;
        }
        if !how.yes {
            self.ui.confirm(&self.question(&plan), "join")?;
        }

        let journal = Journal::default();
        let outcome = until_interrupted(async {
            let joined = self.change(&observed, &plan, &scraper, &journal).await?;
            self.print(&joined, &observed, how.output, &warnings)?;
            Ok(joined)
        })
        .await;
        match outcome {
            Ok(joined) => {
                self.say_joined(&joined);
                Ok(())
            }
            Err(error) => Err(undo(&self.cluster, &journal, error, &self.command("leave"), self.ui).await),
        }
    }

    /// Everything that writes: objects, then the token, then the proof.
    async fn change(&self, observed: &Observed, plan: &JoinPlan, scraper: &Scraper, journal: &Journal) -> Result<Joined> {
        let secret = fresh_secret(&self.account, Timestamp::now(), self.duration);
        let bound_secret = secret.reference.clone();
        let mut objects = Vec::new();
        let mut deletion = None;
        let mut made = None;
        let [first, mut second] = plan.waves.clone();
        second.push(Step { object: secret, verb: Verb::Created, used_as_is: false });
        for wave in [first, second] {
            for done in apply(&self.cluster, &wave, journal).await? {
                self.ui.say(&format!("  {} {}", done.report.name, done.report.verb));
                if let Some(object) = done.object.filter(|_| done.report.name == bound_secret.to_string()) {
                    // The cluster's own clock, by which tokens expire.
                    made = object["metadata"]["creationTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
                    deletion = Some(Deletion { reference: bound_secret.clone(), uid: uid_of(&object) });
                }
                objects.push(done.report);
            }
        }
        let deletion = deletion.ok_or_else(|| Error::new(Reason::ApiServerError, format!("{bound_secret} was not stored")))?;
        let expired = made.map(|now| expired(&self.account, &observed.secrets, now)).unwrap_or_default();
        let (token, cleared) = issue(&self.cluster, &self.account, self.duration, &deletion, expired).await?;
        for deletion in cleared {
            let report = ObjectReport { name: deletion.reference.to_string(), verb: Verb::Deleted };
            self.ui.say(&format!("  {} {} (its token had expired)", report.name, report.verb));
            objects.push(report);
        }

        let fence = match self.fence {
            Fence::Off => FenceState::Off,
            Fence::Required if plan.changes_fence() => FenceState::New,
            Fence::Required => FenceState::Standing,
        };
        let proof = Proof {
            access: &self.access,
            connection: &self.connection,
            account: &self.account,
            jobs: &self.jobs,
            nodes: &observed.nodes,
            fence,
        };
        let (proof, ()) = tokio::join!(proof.run(scraper, &token.secret), note_expiry(&self.cluster, &deletion, &token));
        let proof = proof.map_err(|error| error.about(&self.cluster.context))?;
        Ok(Joined { objects, token, bound_secret: bound_secret.name, proof })
    }

    fn print(&self, joined: &Joined, observed: &Observed, output: Option<Output>, warnings: &[String]) -> Result<()> {
        let header = Header {
            account: &self.account,
            context: &self.cluster.context,
            bound_secret: &joined.bound_secret,
            made: Timestamp::now(),
            expires: joined.token.expires,
        };
        let jobs = ScrapeJobs {
            cluster: &self.name,
            access: &self.access,
            jobs: &self.jobs,
            pace: self.pace,
            keep_all_metrics: self.keep_all_metrics,
        };
        let text = fragment(&jobs, &header, joined.token.secret.expose_secret());
        let Some(output) = output else {
            return self.ui.print(&text);
        };
        let mut report = self.report(observed, joined.objects.clone(), warnings.to_vec());
        report.token = Some(TokenReport {
            bound_secret: joined.bound_secret.clone(),
            asked_seconds: joined.token.asked.0,
            granted_seconds: joined.token.granted.0,
            expires: joined.token.expires,
        });
        report.proof = Some(joined.proof.clone());
        report.scrape_configs = yaml::read(&text).ok().map(|mut value| value["scrape_configs"].take());
        self.ui.print(&formatted(output, &report, &report.objects))
    }

    async fn dry_run(
        &self,
        observed: &Observed,
        plan: &JoinPlan,
        output: Option<Output>,
        suffix: &str,
        mode: &'static str,
        warnings: Vec<String>,
    ) -> Result<()> {
        let steps: Vec<&Step> = plan.steps().collect();
        let validated = if mode == "server" {
            validate(&self.cluster, &steps, plan.creates(Kind::Namespace)).await?
        } else {
            steps.iter().map(|step| (ObjectReport::of(step), true)).collect()
        };
        let Some(output) = output else {
            let lines: String = validated
                .into_iter()
                .map(|(report, validated)| {
                    let suffix = if validated { suffix } else { " (server dry run, not validated)" };
                    render::report::verbs(&[report], suffix)
                })
                .collect();
            return self.ui.print(&lines);
        };
        let objects = validated.into_iter().map(|(report, _)| report).collect();
        let report = JoinReport { dry_run: Some(mode), ..self.report(observed, objects, warnings) };
        self.ui.print(&formatted(output, &report, &report.objects))
    }

    fn report(&self, observed: &Observed, objects: Vec<ObjectReport>, warnings: Vec<String>) -> JoinReport {
        JoinReport {
            api_version: API_VERSION,
            kind: "JoinReport",
            cluster: self.name.to_string(),
            cluster_uid: observed.uid.clone(),
            api_server: self.access.url.to_string(),
            version: observed.version.clone(),
            dry_run: None,
            objects,
            token: None,
            proof: None,
            warnings,
            scrape_configs: None,
        }
    }

    fn warnings(&self, plan: &JoinPlan) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.access.url.is_loopback() {
            warnings.push(format!(
                "{} is a loopback address: only a Prometheus on this very machine can use it; name another with --api-server",
                self.access.url
            ));
        }
        if self.fence == Fence::Off {
            warnings.push(format!("--fence=off: {}", fence::WITHOUT));
        }
        for step in plan.steps().filter(|step| step.used_as_is && step.object.reference.kind != Kind::Namespace) {
            warnings.push(format!("{} belongs to somebody else and is used as it is", step.object.reference));
        }
        warnings
    }

    fn say_found(&self, observed: &Observed, permitted: usize, warnings: &[String]) {
        let ui = self.ui;
        ui.say(&format!("{}  {}  Kubernetes {}", self.name, self.access.url, observed.version));
        ui.done(&format!("address ({}) and {} proven by TLS handshake", self.access.origin, self.vouching_ca()));
        ui.done(&format!("you may make every change below ({permitted} permissions)"));
        for warning in warnings {
            ui.warn(warning);
        }
    }

    fn vouching_ca(&self) -> String {
        let Some(ca) = &self.access.ca else {
            return "public CA".to_owned();
        };
        let until = ca.certificates.iter().filter_map(|der| certificate::valid_until(der)).min();
        let until = until.map(|end| format!(", valid until {}", end.strftime("%Y-%m-%d"))).unwrap_or_default();
        format!("CA (from {}{until})", ca.origin)
    }

    fn say_joined(&self, joined: &Joined) {
        let Joined { token, proof, .. } = joined;
        let pages: Vec<String> = proof.pages.iter().map(|page| format!("{} {}", page.job, page.samples)).collect();
        let refused = match proof.refused {
            0 => "no fence: nothing else is refused".to_owned(),
            n => format!("{n} other requests refused by the fence"),
        };
        self.ui.done(&format!(
            "token until {}: {}",
            token.expires.strftime("%Y-%m-%d %H:%M UTC"),
            life(token.asked, token.granted)
        ));
        self.ui.done(&format!("proven with that token: {} nodes, {} samples from {}; {refused}", proof.nodes, pages.join(" and "), proof.node));
        if self.fence == Fence::Required {
            self.ui.say(&format!("    {}", fence::LIMIT));
        }
        let samples: usize = proof.pages.iter().map(|page| page.samples).sum();
        self.ui.done(&format!(
            "scrape jobs for {} nodes × {samples} samples every {} are on standard output",
            proof.nodes, self.pace.interval
        ));
    }

    fn question(&self, plan: &JoinPlan) -> String {
        let count = |verb| plan.steps().filter(|step| step.verb == verb).count();
        let (created, configured) = (count(Verb::Created), count(Verb::Configured));
        let mut lines: Vec<String> = plan
            .steps()
            .filter(|step| step.verb != Verb::Unchanged)
            .map(|step| format!("  {} will be {}", step.object.reference, step.verb))
            .collect();
        lines.push(format!("  a token of service account {} for {} will be issued, bound to a new Secret", self.account, self.duration));
        for line in &lines {
            self.ui.say(line);
        }
        format!("Create {created} and configure {configured} objects in {} ({}) and print a token?", self.name, self.access.url)
    }

    /// A command about this account, ready to paste.
    fn command(&self, verb: &str) -> String {
        format!("kubectl prom-federate {verb} --context {}{}", shell::word(&self.cluster.context), self.account.flags())
    }
}
