//! Kubernetes objects as data: references, owners, differences, permissions.

pub mod contexts;
pub mod diff;
pub mod label_selector;
pub mod object;
pub mod owner;
pub mod permission;
