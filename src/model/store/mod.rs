//! Destinations: their location, the stored state of each cluster, and the steps that change it.

pub mod identity;
pub mod install;
pub mod label_conflict;
pub mod layout;
pub mod location;
pub mod operator;
pub mod record;
pub mod reload;
pub mod rereading;
pub mod terms;
