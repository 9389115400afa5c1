//! Limits for what a less trusted side sends: API servers, the targets behind them, Prometheus, hosts, plugins. One that
//! exceeds a limit fails alone. A rotation with such a cluster stays below 100 MB of memory.

use std::time::Duration;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How much of an answer is read, and how much memory its JSON may take: a short text can hold very many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub bytes: usize,
    pub memory: usize,
}

/// One object, a review, a Status. etcd stores at most 1.5 MiB (etcd `--max-request-bytes`), and base64 in JSON makes a
/// Secret of 1 MiB (Kubernetes `core/types.go`, `MaxSecretSize`) a third longer. A role of 19,000 pinned nodes takes
/// 2.5 MiB of memory. Some twenty objects are read at the same time.
pub const OBJECT: Limit = Limit { bytes: 2 * MIB, memory: 4 * MIB };

/// One page of a list: [`PAGE_ITEMS`] with 64 KiB each. A node with its images is some 15 kB, a pod 5 to 20 kB. Items are
/// parsed one after the other.
pub const LIST_PAGE: Limit = Limit { bytes: 16 * MIB, memory: OBJECT.memory };
/// The items of a page that are asked for.
pub const PAGE_ITEMS: u32 = 250;
/// The pages of a list: 100,000 items. Kubernetes supports 5,000 nodes and 150,000 pods in all namespaces.
pub const LIST_PAGES: usize = 400;
/// The nodes that are kept, each by its name, address and port: a role of pinned nodes has no room for more than 19,000.
pub const NODES: usize = 50_000;
/// The memory of a list whose items are kept whole. A hub keeps 5,000 clusters with four objects each.
pub const LIST_MEMORY: usize = 256 * MIB;
/// The same for what belongs to one account: roles and bindings in the namespaces of its jobs, and bound Secrets, of some
/// 5 kB each.
pub const RIGHTS_MEMORY: usize = 8 * MIB;
/// `continue` of a list: a key of etcd and a revision in base64.
pub const CONTINUE: usize = 4 * KIB;

/// The address of a server: a request's path must still fit behind it, and a URL has at most 64 KiB (crate `http`).
pub const BASE_URL: usize = 4 * KIB;

/// A page of metrics. It is counted as it comes and never kept, so that the limit is for the time. The limits of the jobs
/// are lower by default: [`crate::model::job::limits`].
pub const METRICS_PAGE: usize = 1024 * MIB;
/// What is kept of an answer of which only the code and the first line matter.
pub const HEAD: usize = 16 * KIB;

/// An answer of Prometheus or vmagent. A target is some 1.5 kB, so that a job may have 40,000.
pub const PROMETHEUS: Limit = Limit { bytes: 64 * MIB, memory: 512 * MIB };
/// A line of the metrics of Prometheus or vmagent.
pub const METRICS_LINE: usize = 64 * KIB;

/// One answer of a shell on another host. The records and jobs of 5,000 clusters are a tenth of it.
pub const SSH: usize = 256 * MIB;

/// What a credential plugin prints: a token, or a certificate with its key. A chain of ten certificates is 20 kB.
pub const PLUGIN: Limit = Limit { bytes: MIB, memory: 4 * MIB };

/// The time of one cluster in a rotation. The others are delivered without a cluster that takes longer. It is fifteen
/// times the request timeout, 150 s by default: a credential plugin has six times, a renewal is some ten requests one
/// after the other, and a kubelet may remember a refusal for 35 s. Without a request timeout it is as by default.
pub fn for_cluster(request_timeout: Option<Duration>) -> Duration {
    request_timeout.unwrap_or(REQUEST) * 15
}

/// The time in which a failed renewal takes back what it created: the Secret, with two or three requests.
pub fn for_undo(request_timeout: Option<Duration>) -> Duration {
    request_timeout.unwrap_or(REQUEST) * 3
}

/// The default of `--request-timeout`.
const REQUEST: Duration = Duration::from_secs(10);

/// Appends a piece of an answer unless the answer would exceed `bytes`. Returns whether it did. The buffer grows to the
/// limit at most: a `Vec` doubles, and would take twice the limit for the last piece.
pub fn append(read: &mut Vec<u8>, piece: &[u8], bytes: usize) -> bool {
    let room = bytes.saturating_sub(read.len());
    if piece.len() > room {
        return false;
    }
    if piece.len() > read.capacity() - read.len() {
        read.reserve_exact(read.len().max(piece.len()).min(room));
    }
    read.extend_from_slice(piece);
    true
}

/// `2 MiB`, `16 KiB`.
pub fn size(bytes: usize) -> String {
    if bytes >= MIB { format!("{} MiB", bytes / MIB) } else { format!("{} KiB", bytes / KIB) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_takes_no_more_memory_than_its_limit() {
        for (bytes, piece) in [(MIB, 16 * KIB), (MIB, 999), (MIB + 1, 64 * KIB), (10, 3), (10, 10), (0, 1)] {
            let (mut read, sent) = (Vec::new(), vec![b' '; piece]);
            while append(&mut read, &sent, bytes) {
                assert!(read.capacity() <= bytes, "{} of {bytes}", read.capacity());
            }
            assert!(read.len() <= bytes && read.len() + piece > bytes, "{} of {bytes}", read.len());
        }
    }
}
