//! The binary against real clusters and a real Prometheus: a module a command.

mod exporter;
mod jobs;
mod join;
mod leave;
mod plugin;
mod prometheus_side;
mod raw;
mod rights;
mod rules;
mod scrape;
mod self_renew;
mod weather;

use libtest_mimic::{Arguments, Trial};

fn main() {
    testbed::supervise_if_asked();
    let modules = [
        jobs::trials(),
        join::trials(),
        leave::trials(),
        prometheus_side::trials(),
        rights::trials(),
        rules::trials(),
        scrape::trials(),
        self_renew::trials(),
        weather::trials(),
    ];
    let trials: Vec<Trial> = modules.into_iter().flatten().collect();
    let outcome = libtest_mimic::run(&Arguments::from_args(), trials);
    testbed::shutdown();
    outcome.exit();
}

/// Trials named after their functions: `join::prints_jobs`. A function that is in no such list is dead code, and that
/// is an error.
#[macro_export]
macro_rules! trials {
    ($module:ident: $($test:ident),* $(,)?) => {
        pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
            vec![$(libtest_mimic::Trial::test(concat!(stringify!($module), "::", stringify!($test)), || { $test(); Ok(()) })),*]
        }
    };
}
