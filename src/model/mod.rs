//! What is true about accounts, jobs, rights and plans. Pure: no I/O, no clock, knows no other module but `error`.

pub mod access;
pub mod account;
pub mod job;
pub mod kube;
pub mod plan;
pub mod report;
pub mod store;
pub mod text;
pub mod token;
