//! How long what was granted may take to arrive.

use std::time::Duration;

/// RBAC reaches each API server through a watch of its own; until then a right that was granted is refused.
pub(in crate::stages) const RIGHTS_ARRIVE_WITHIN: Duration = Duration::from_secs(5);
/// An API server reads its policies once a second (apiserver `policy_source.go`, `policyRefreshIntervalDefault`),
/// each on its own clock: a fence that holds nowhere after this does not hold.
pub(in crate::stages) const FENCE_HOLDS_WITHIN: Duration = Duration::from_secs(3);
/// A new policy must hold for longer than that second, on connections that may reach other API servers.
pub(in crate::stages) const POLICY_HOLDS_FOR: Duration = Duration::from_millis(1100);
/// Between two looks.
pub(in crate::stages) const BETWEEN_TRIES: Duration = Duration::from_millis(150);
