//! What is there before anything changes: discovery of jobs, the look at cluster and destinations, what would stop a join.

pub mod discover;
pub mod inspect;
pub mod kubelets;
pub mod observe;
