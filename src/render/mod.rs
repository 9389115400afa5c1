//! Model to text. Pure: the same input gives the same bytes.

pub mod checklist;
pub mod conversation;
pub mod dashboard;
pub mod events;
pub mod fleet;
pub mod logfmt;
pub mod main_config;
pub mod manifests;
pub mod metrics;
pub mod operator;
pub mod paint;
pub mod prometheus;
pub mod report;
pub mod rules;
pub mod script;
pub mod status;
mod table;
pub mod unit;
