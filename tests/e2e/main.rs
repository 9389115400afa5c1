//! The binary against real clusters and a real Prometheus: a module a command.

#[macro_use]
mod trial;

mod access;
mod archive;
mod check;
mod client_config;
mod clocks;
mod collector;
mod completion;
mod concurrency;
mod consumers;
mod dashboard;
mod exporter;
mod guard;
mod hostile;
mod interactive;
mod interrupt;
mod jobs;
mod join;
mod kubeconfig;
mod leave;
mod leave_destination;
mod long_lived;
mod needs;
mod operator;
mod pages;
mod plugin;
mod prometheus_side;
mod push;
mod raw;
mod reader;
mod rights;
mod rotate;
mod routes;
mod rules;
mod scrape;
mod secrets;
mod self_renew;
mod servers;
mod ssh;
mod status;
mod terminal;
mod vmagent;
mod vmoperator;
mod watch;
mod weather;

use libtest_mimic::{Arguments, Trial};
use std::{num::NonZero, process::ExitCode, thread};

/// Trials that run at the same time on one core, unless `--test-threads` says otherwise. They mostly wait: for scrapes,
/// for the ten seconds of a token cache, for a namespace to go. On two cores, four at a time take a third longer than eight,
/// and sixteen take no less and let scrapes miss their timeouts.
const ON_A_CORE: usize = 4;

fn main() -> ExitCode {
    testbed::supervise_if_asked();
    testbed::cut_ssh_if_asked();
    let mut arguments = Arguments::from_args();
    if !arguments.list
        && let Err(error) = testbed::check()
    {
        eprintln!("error: {error}");
        return ExitCode::FAILURE;
    }
    // Those with the longest trials first: one that begins last is waited for alone.
    let modules = [
        operator::trials(),
        operator::ended::trials(),
        ssh::trials(),
        ssh::cut::trials(),
        ssh::interrupted::trials(),
        ssh::main_file::trials(),
        ssh::questions::trials(),
        push::trials(),
        watch::trials(),
        rotate::trials(),
        vmagent::trials(),
        consumers::trials(),
        collector::trials(),
        completion::trials(),
        concurrency::trials(),
        jobs::trials(),
        routes::trials(),
        access::trials(),
        archive::trials(),
        check::trials(),
        client_config::trials(),
        clocks::trials(),
        dashboard::trials(),
        guard::trials(),
        hostile::trials(),
        interactive::trials(),
        join::trials(),
        kubeconfig::trials(),
        leave::trials(),
        leave_destination::trials(),
        long_lived::trials(),
        prometheus_side::trials(),
        reader::trials(),
        rights::trials(),
        rights::table::trials(),
        rules::trials(),
        scrape::trials(),
        secrets::trials(),
        self_renew::trials(),
        servers::trials(),
        status::trials(),
        vmoperator::trials(),
        rotate::trials_with_clusters(),
        weather::trials(),
    ];
    let mut trials: Vec<Trial> = modules.into_iter().flatten().collect();
    // They take turns; far from each other they keep no thread waiting that another trial could have.
    let pages = pages::trials();
    let apart = trials.len() / pages.len();
    for (number, page) in pages.into_iter().enumerate() {
        trials.insert(number * (apart + 1), page);
    }
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    arguments.test_threads.get_or_insert(ON_A_CORE * cores);
    trial::show_panics_once();
    let outcome = libtest_mimic::run(&arguments, trials);
    for said in [trial::second_attempts(), trial::slowest()].into_iter().flatten() {
        eprintln!("\n{said}");
    }
    testbed::shutdown();
    outcome.exit_code()
}
