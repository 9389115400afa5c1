//! The status of each cluster at a destination: facts in, verdict out.

mod commands;
mod facts;
mod report;
#[cfg(test)]
pub(crate) mod tests;
mod verdict;

pub(crate) use commands::Commands;
pub use commands::{Next, Write, made_anew};
pub use facts::{
    ClusterFacts, DownTarget, Facts, FenceSeen, JobFacts, PinFacts, PrometheusFacts, Recorded, SecretFacts, Usage,
};
pub use report::{
    ClusterStatus, DestinationStatus, FenceStatus, Problem, ProblemReason, Severity, Source, StatusReport, Summary,
    TargetsStatus, TokenState, TokenStatus, Unseen,
};
