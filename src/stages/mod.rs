//! The stages that commands are made of: each takes what the one before it found and adds one thing.

pub mod apply;
pub mod grant;
pub mod inspect;
pub mod interrupt;
pub mod issue;
pub mod look;
pub mod metrics_file;
pub mod observe;
pub mod prove;
pub mod prove_renewal;
pub mod push;
pub mod renew;
pub mod self_renew;
pub mod take_away;
pub mod undo;
pub mod verify;
