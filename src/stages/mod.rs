//! The stages of commands. Each stage uses the results of the previous one.

pub mod cluster_time;
pub mod collect;
pub mod connect;
pub mod deliver;
pub mod events;
pub mod grant;
pub mod interrupt;
pub mod leaving;
pub mod metrics_file;
pub mod poll;
pub mod prepare;
pub mod prove;
pub mod renew;
pub mod rotate;
pub mod side_by_side;
pub mod uninstall;
mod usage;
