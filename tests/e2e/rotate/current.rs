//! A rotation by the link that the jobs name: what Prometheus reads again, and a link that is not as it should be.

use super::{MAIN, Place, Scene};
use crate::{needs::WITHOUT_INOTIFY, plugin::Account};
use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};
use testbed::{Delay, Kubeconfig, PrometheusSpec, Trust};

trials! {
    rotate_current:
    smoke {
        prometheus_that_scrapes_itself_is_not_reloaded,
    }
    full {
        prometheus_without_inotify_is_reloaded,
        changed_ca_is_read_again,
        jobs_of_an_earlier_release_get_the_link,
        distant_jobs_of_an_earlier_release_lose_no_scrape,
        link_that_leads_elsewhere_is_named_and_join_makes_it_anew,
        jobs_that_were_never_loaded_are_loaded_by_a_rotation,
    }
}

const SOON: Duration = Duration::from_secs(90);

impl Place {
    fn fragment(&self) -> String {
        self.read("prom-federate/east.scrape.yml")
    }

    /// Prometheus scrapes itself too.
    fn scrapes_itself(&self) {
        let main = self.read("prometheus.yml");
        let address = self.prometheus.address();
        let own = format!(
            "scrape_configs:\n- {{job_name: self, scrape_interval: 1s, static_configs: [{{targets: ['{address}']}}]}}\n"
        );
        self.prometheus.write("prometheus.yml", &(main + &own)).expect("a file");
        self.prometheus.reload().expect("it reads that");
    }

    /// As an earlier release left it.
    pub(super) fn names_the_generation(&self) {
        let jobs = self.fragment().replace("east/current/", &format!("east/{}/", self.live("east")));
        self.prometheus.write("prom-federate/east.scrape.yml", &jobs).expect("a file");
        fs::remove_file(self.ours().join("east/current")).expect("a link");
    }

    /// By its rules.
    fn knows_the_expiry(&self, cluster: &str) {
        let expires = self.record(cluster)["token"]["expires"].as_str().expect("a time").parse::<jiff::Timestamp>();
        let expires =
            Duration::try_from(expires.expect("a time").as_duration()).expect("later than 1970").as_secs_f64();
        self.waits_for("prom_federate_token_expiry_timestamp_seconds", |value| (value - expires).abs() < 3.0);
    }

    fn waits_for(&self, query: &str, expected: impl Fn(f64) -> bool) {
        let found = || self.prometheus.number(query).ok().flatten();
        let is_expected = || found().filter(|value| expected(*value));
        testbed::until(SOON, is_expected).unwrap_or_else(|| panic!("{query}: {:?}", found()));
    }
}

/// Its rules know of the rotation all the same.
fn prometheus_that_scrapes_itself_is_not_reloaded() {
    let scene = Scene::joined("quiet", &[]);
    let Scene { account, place } = &scene;
    place.scrapes_itself();
    place.all_up("east", 4);
    place.waits_for("count(prometheus_sd_file_mtime_seconds)", |count| count > 0.0);
    let (fragment, reloads, started) = (place.fragment(), place.reloads(), Instant::now());
    for _ in 0..2 {
        let old = place.live("east");
        let run = scene.rotate(&["--now"]).succeeded();
        assert!(run.stderr.contains("reads the new token without a reload, 4 of 4 targets up"), "{}", run.stderr);
        assert_ne!(place.live("east"), old);
        place.is_tidy(account, "east");
    }
    assert_eq!((place.fragment(), place.reloads()), (fragment, reloads));
    let passed = started.elapsed().as_secs() + 1;
    place.lost_no_scrape("east", passed);

    // The rules that Prometheus has loaded name the expiry of a token that is gone.
    place.knows_the_expiry("east");
    assert_eq!(place.prometheus.number("count(ALERTS)").expect("Prometheus answers"), None);
}

/// Without inotify it reads no file with targets, so that it does not know when the files of rotations were written.
fn prometheus_without_inotify_is_reloaded() {
    let place = Place::with(&PrometheusSpec::new(MAIN).wrapper(&WITHOUT_INOTIFY));
    let account = Account::new(&testbed::shared().east, "rotate-unwatched");
    place.scrapes_itself();
    place.join(&account, &[]);
    place.all_up("east", 4);
    let refused = || place.prometheus.log().contains("Error adding file watcher").then_some(());
    testbed::until(SOON, refused).expect("Prometheus watches no file");
    let started = Instant::now();
    for _ in 0..2 {
        let run = place.rotate(account.cluster.kubeconfig(), &["--now"]).succeeded();
        assert!(run.stderr.contains("Prometheus 3.16.0 reloaded, 4 of 4 targets up"), "{}", run.stderr);
        place.is_tidy(&account, "east");
    }
    place.lost_no_scrape("east", started.elapsed().as_secs() + 1);
    place.knows_the_expiry("east");
}

fn changed_ca_is_read_again() {
    let shared = testbed::shared();
    let scene = Scene::joined("ca", &[]);
    let Scene { account, place } = &scene;
    let (fragment, ca) = (place.fragment(), place.file("east", "ca.crt"));
    let pem = |admin: &Kubeconfig| match &admin.trust {
        Trust::File(path) => fs::read_to_string(path).expect("a CA"),
        other => panic!("{other:?}"),
    };
    let (east, west) = (shared.east.admin(), shared.west.admin());
    let both = Trust::Inline(format!("{}{}", pem(&west), pem(&east)));
    let kubeconfig = place.dir().join("data/kubeconfig");
    Kubeconfig { trust: both, ..east }.write(&kubeconfig).expect("a kubeconfig");
    place.rotate(&kubeconfig, &["--now"]).succeeded();
    assert_ne!(place.file("east", "ca.crt"), ca);
    assert_eq!(place.fragment(), fragment);
    place.is_tidy(account, "east");
}

fn jobs_of_an_earlier_release_get_the_link() {
    let scene = Scene::joined("earlier", &[]);
    let Scene { account, place } = &scene;
    place.names_the_generation();
    place.prometheus.reload().expect("it reads that");
    assert_eq!(place.current("east"), None);
    scene.rotate(&["--now"]).succeeded();
    assert_eq!(place.current("east"), Some(place.live("east")));
    place.is_tidy(account, "east");
    // A link that a killed run left is not the one in use.
    place.names_the_generation();
    symlink("20200101t000000z-x7k2w1", place.ours().join("east/current")).expect("a link");
    scene.rotate(&["--now"]).succeeded();
    place.is_tidy(account, "east");
}

/// A new discovery takes its time there, and the old one goes on meanwhile. So far away that an end of the old one that
/// does not wait is seen: by 3 to 8 s without a scrape.
fn distant_jobs_of_an_earlier_release_lose_no_scrape() {
    let east = &testbed::shared().east;
    let delay = Delay::in_front_of(east.address(), Duration::from_millis(600)).expect("a delay");
    let (account, place) = (Account::new(east, "rotate-distant"), Place::new());
    let kubeconfig = place.dir().join("data/kubeconfig");
    Kubeconfig { server: delay.url(), ..east.admin() }.write(&kubeconfig).expect("a kubeconfig");
    let join = ["join", "--scrape-interval=1s", "--yes", "--namespace", &account.namespace];
    place.run(&kubeconfig, &join).succeeded();
    place.names_the_generation();
    // One that has run before would lose the targets for a moment by this change.
    let place = Place { prometheus: place.prometheus.restart().expect("Prometheus starts") };
    place.all_up("east", 4);
    let started = Instant::now();
    for _ in 0..2 {
        place.rotate(&kubeconfig, &["--now"]).succeeded();
        assert_eq!(place.fragment().matches("role: node").count(), 2, "each job has its own discovery alone");
    }
    // The last reload has been passed on to the scrapes.
    let found = || place.prometheus.get("/metrics").expect("Prometheus answers").body;
    let alone = "prometheus_sd_discovered_targets{config=\"prom-federate/east/kubelet\",name=\"scrape\"} 2";
    testbed::until(SOON, || found().contains(alone).then_some(())).unwrap_or_else(|| panic!("{}", found()));
    place.is_tidy(&account, "east");
    let pause = place.prometheus.longest_pause("east", started.elapsed().as_secs()).expect("scrapes");
    // It scrapes every second. Targets that a new discovery has not found yet would wait for the next time that it passes
    // on what it has found, which is every 5 s.
    assert!(pause < Duration::from_millis(2500), "{pause:?} without a scrape");
}

/// Puts something in the place of the link.
type Plant<'a> = &'a dyn Fn(&Path);

fn link_that_leads_elsewhere_is_named_and_join_makes_it_anew() {
    let scene = Scene::joined("elsewhere", &[]);
    let Scene { account, place } = &scene;
    let link = place.ours().join("east/current");
    let to = |to: &'static str| move |path: &Path| symlink(to, path).expect("a link");
    let cases: [(Plant, &str); 6] = [
        (&to("../.."), "east/current leads to ../.. and not to a generation beside it"),
        (&to("/etc"), "east/current leads to /etc and not to a generation beside it"),
        (&to("20200101t000000z-x7k2w1"), "east/20200101t000000z-x7k2w1/cluster.json does not exist"),
        (&|path| fs::write(path, "a file").expect("a file"), "east/current exists and has another owner; it stays"),
        (&|path| fs::create_dir(path).expect("a folder"), "east/current exists and has another owner; it stays"),
        (&|_| {}, "east/current does not exist"),
    ];
    for (plant, says) in cases {
        fs::remove_file(&link).expect("a link");
        plant(&link);
        let before = place.files();
        let is_foreign = says.ends_with("it stays");
        let hint = if is_foreign { "hint: Rename it" } else { "hint: Join the cluster again to write it" };
        scene.rotate(&["--now"]).failed("RotationFailed", &[says, hint]);
        assert!(place.files() == before, "{says}");
        if is_foreign {
            place.try_join(account, &[]).failed("NotOurs", &[says, hint]);
            assert!(place.files() == before, "{says}");
            fs::remove_file(&link).or_else(|_| fs::remove_dir(&link)).expect("it is there");
        }
        place.join(account, &[]);
        place.is_tidy(account, "east");
    }
}

/// Nothing that Prometheus has loaded names the link.
fn jobs_that_were_never_loaded_are_loaded_by_a_rotation() {
    let place = Place::with(&PrometheusSpec::new(MAIN).agent());
    let account = Account::new(&testbed::shared().east, "rotate-never-loaded");
    place.join(&account, &["--reload=none"]);
    let reloads = place.reloads();
    place.rotate(account.cluster.kubeconfig(), &["--now"]).succeeded();
    assert!(place.reloads() > reloads);
    place.is_tidy(&account, "east");
}
