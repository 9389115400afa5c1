//! Clusters that tests have in common, because a start costs seconds and a namespace costs nothing.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;

use crate::cluster::{Cluster, ClusterSpec};

/// The two clusters of ordinary tests, each with two nodes. A test takes a namespace and names of its own in them.
#[derive(Debug)]
pub struct Shared {
    pub east: Cluster,
    pub west: Cluster,
}

/// Both start at the same time when the first test asks.
///
/// # Panics
/// When one does not start, with the reason.
pub fn shared() -> &'static Shared {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    let started = SHARED.get_or_init(|| {
        let start = |name: &str| Cluster::start(&ClusterSpec::new(name).nodes(2)).map_err(|error| format!("{error:#}"));
        thread::scope(|scope| {
            let west = scope.spawn(|| start("west"));
            let east = start("east")?;
            let west = west.join().map_err(|_| "the start of west panicked".to_owned())??;
            Ok(Shared { east, west })
        })
    });
    match started {
        Ok(shared) => shared,
        Err(error) => panic!("{error}"),
    }
}

type Slot = OnceLock<Result<Cluster, String>>;

/// The cluster called `key`, started with `spec` by the first who asks for it. Different ones start side by side.
///
/// # Panics
/// When it does not start, with the reason.
pub fn special(key: &str, spec: impl FnOnce() -> ClusterSpec) -> &'static Cluster {
    static SLOTS: Mutex<Option<HashMap<String, &'static Slot>>> = Mutex::new(None);
    let slot: &'static Slot = {
        let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        // It lives as long as the process, like every shared cluster.
        slots.get_or_insert_default().entry(key.to_owned()).or_insert_with(|| Box::leak(Box::default()))
    };
    match slot.get_or_init(|| Cluster::start(&spec()).map_err(|error| format!("{error:#}"))) {
        Ok(cluster) => cluster,
        Err(error) => panic!("{error}"),
    }
}
