//! What a destination is made of: where it is, what it keeps of a cluster, and the steps that change it.

pub mod identity;
pub mod install;
pub mod label_conflict;
pub mod layout;
pub mod location;
pub mod operator;
pub mod record;
pub mod reload;
