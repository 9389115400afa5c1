//! Limits of what Prometheus accepts of one target, so that a hostile or broken target takes a bounded amount of its
//! memory. Prometheus drops a scrape that exceeds a limit, and the target is down.

use super::Job;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A size, written `64MB` as in Prometheus: its units are powers of 1024 (`common/config`, `units.Base2Bytes`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 4] = [("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10), ("B", 1)];

/// Why a size is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a size like 64MB, 1GB or 0 for no limit")]
pub struct SizeError;

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        if text == "0" {
            return Ok(Self(0));
        }
        let unit = text.find(|c: char| !c.is_ascii_digit()).ok_or(SizeError)?;
        let (number, unit) = text.split_at(unit);
        let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(SizeError)?;
        let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*bytes)).ok_or(SizeError)?;
        // Prometheus keeps it in 64 bits with a sign.
        if i64::try_from(size).is_ok() { Ok(Self(size)) } else { Err(SizeError) }
    }
}

impl TryFrom<String> for Size {
    type Error = SizeError;

    fn try_from(text: String) -> Result<Self, SizeError> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, bytes)| self.0 > 0 && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => f.write_str("0"),
        }
    }
}

/// The limits from flags, for all jobs; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrapeLimits {
    pub body: Option<Size>,
    pub samples: Option<u64>,
}

/// The labels of a series, with those of its target.
pub const LABELS: u32 = 128;
/// Prometheus has no limit of its own. A long name is some 100 bytes.
pub const LABEL_NAME: u32 = 1024;
/// Paths of cgroups are up to 4 KiB, and values from annotations up to 256 KiB in all.
pub const LABEL_VALUE: u32 = 64 * 1024;

impl ScrapeLimits {
    /// The largest page of a job. cAdvisor's page of a node with 250 pods is 5 to 20 MB. The page of kube-state-metrics
    /// with 10,000 pods, or of a federation, can be 100 MB.
    pub fn body(self, job: &Job) -> Size {
        self.body.unwrap_or(Size(if job.is_of_nodes() { 64 << 20 } else { 256 << 20 }))
    }

    /// The most samples of a scrape of a job: a sample takes 150 to 200 bytes of a page.
    pub fn samples(self, job: &Job) -> u64 {
        self.samples.unwrap_or(if job.is_of_nodes() { 500_000 } else { 2_000_000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_prometheus_writes_them() {
        for (text, bytes, written) in
            [("64MB", 64 << 20, "64MB"), ("1024KB", 1 << 20, "1MB"), ("3B", 3, "3B"), ("0", 0, "0"), ("0MB", 0, "0")]
        {
            let size: Size = text.parse().unwrap();
            assert_eq!((size, size.to_string().as_str()), (Size(bytes), written));
        }
        for text in ["", "5", "MB", "5mb", "-5MB", "1.5MB", "5 MB", "99999999999GB", "8589934592GB"] {
            assert_eq!(text.parse::<Size>(), Err(SizeError), "{text}");
        }
    }
}
