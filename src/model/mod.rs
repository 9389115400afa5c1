//! What is true about accounts, jobs, rights and plans. Pure: no I/O, no clock, knows no other module but `error`.

pub mod access;
pub mod account;
pub mod certificate;
pub mod destination;
pub mod duration;
pub mod fence;
pub mod install;
pub mod job;
pub mod layout;
pub mod left_fence;
pub mod line;
pub mod names;
pub mod object;
pub mod owner;
pub mod permission;
pub mod plan;
pub mod record;
pub mod reload;
pub mod renewal;
pub mod report;
pub mod request;
pub mod retirement;
pub mod rights;
pub mod schedule;
pub mod shell;
mod text;
pub mod token;
