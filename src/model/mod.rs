//! What is true about accounts, jobs, rights and plans. Pure: no I/O, no clock, knows no other module but `error`.

pub mod access;
pub mod account;
pub mod certificate;
pub mod duration;
pub mod fence;
pub mod job;
pub mod names;
pub mod object;
pub mod owner;
pub mod permission;
pub mod plan;
pub mod renewal;
pub mod report;
pub mod request;
pub mod rights;
pub mod shell;
pub mod token;
