//! Model to text. Pure: the same input gives the same bytes.

pub mod conversation;
pub mod main_config;
pub mod manifests;
pub mod operator;
pub mod prometheus;
pub mod report;
pub mod rules;
