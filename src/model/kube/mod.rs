//! Kubernetes objects as data: which they are, whose, how they differ, who may write them.

pub mod diff;
pub mod label_selector;
pub mod object;
pub mod owner;
pub mod permission;
