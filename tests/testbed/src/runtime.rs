//! The threads on which all proxies run, apart from the callers' own.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

pub(crate) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Option<Runtime>> = OnceLock::new();
    RUNTIME
        .get_or_init(|| Builder::new_multi_thread().worker_threads(2).thread_name("testbed").enable_all().build().ok())
        .as_ref()
        .context("start the threads of the testbed's proxies")
}
