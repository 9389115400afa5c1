//! The stages that commands are made of: each takes what the one before it found and adds one thing.

pub mod apply;
pub mod discover;
pub mod grant;
pub mod inspect;
pub mod interrupt;
pub mod issue;
pub mod kubelets;
pub mod look;
pub mod metrics_file;
pub mod observe;
pub mod prove;
mod prove_kubelets;
pub mod prove_renewal;
pub mod push;
pub mod renew;
pub mod self_renew;
pub mod settle;
pub mod take_away;
pub mod undo;
pub mod verify;
