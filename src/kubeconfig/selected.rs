//! What a command connects with.

use super::entries::{Cluster, User};

/// One context of a kubeconfig with its cluster and user. Contains credentials, so it has no Debug.
pub struct Selected {
    pub context: String,
    /// Another context of the kubeconfig that yields the same cluster name for another cluster.
    pub namesake: Option<String>,
    pub cluster: Cluster,
    /// The name of the user's entry, for messages.
    pub user_name: String,
    pub user: User,
    /// The files that were read, for messages.
    pub files: String,
}
