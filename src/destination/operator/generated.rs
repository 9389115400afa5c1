//! The configuration that an operator generates: YAML, compressed, in a Secret.

use crate::{model::text::encoding::from_base64, yaml};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;

/// The key of the Secret (`pkg/prometheus/common.go`, `ConfigFilename`).
pub(super) const PROMETHEUS: &str = "prometheus.yaml.gz";
/// The key of the Secret (`internal/controller/operator/factory/vmagent/vmagent.go`, `scrapeGzippedFilename`).
pub(super) const VMAGENT: &str = "vmagent.yaml.gz";
/// The key of the Secrets with the jobs for which this Secret has no room (`vmscrapes/extra_config.go`).
pub(super) const MORE_JOBS: &str = "jobs.yaml";
/// A Secret has at most a mebibyte; YAML of jobs that are all alike compresses to a hundredth.
const LARGEST: u64 = 512 << 20;

/// What is under this key of the Secret as the API server returned it. Null before the first one was generated.
///
/// # Errors
/// Why it is not to be understood. It quotes nothing, for there are tokens in it.
pub(super) fn read(secret: &Value, key: &str) -> Result<Value, String> {
    let packed = &secret["data"][key];
    if packed.is_null() {
        return Ok(Value::Null);
    }
    let packed = packed.as_str().and_then(from_base64).ok_or("it is not base64")?;
    let mut unpacked = Vec::new();
    GzDecoder::new(&packed[..]).take(LARGEST).read_to_end(&mut unpacked).map_err(|_| "it cannot be decompressed")?;
    let text = String::from_utf8(unpacked).map_err(|_| "it is no text")?;
    yaml::read_foreign(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use crate::model::text::encoding::base64;
    use flate2::{Compression, GzBuilder};
    use serde_json::json;
    use std::io::Write;

    fn secret(packed: &[u8]) -> Value {
        json!({ "data": { PROMETHEUS: base64(packed) } })
    }

    fn packed(text: &str) -> Vec<u8> {
        let builder = GzBuilder::new().filename("prometheus.yaml").comment("generated").extra("x");
        let mut encoder = builder.write(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn configuration_is_unpacked_and_its_checksum_verified() {
        let mut packed = packed("a: 1\n");
        assert_eq!(read(&secret(&packed), PROMETHEUS), Ok(json!({ "a": 1 })));
        assert_eq!(read(&secret(&packed), VMAGENT), Ok(Value::Null));
        let checksum = packed.len() - 8;
        packed[checksum] ^= 1;
        assert_eq!(read(&secret(&packed), PROMETHEUS), Err("it cannot be decompressed".into()));
        assert_eq!(read(&json!({ "data": {} }), PROMETHEUS), Ok(Value::Null));
        assert_eq!(read(&json!({ "data": { PROMETHEUS: "?" } }), PROMETHEUS), Err("it is not base64".into()));
    }

    #[test]
    fn hostile_secrets_are_survived() {
        hostile::bytes(&[&packed("a: &a [1, 2]\nb: *a\n")], |packed| drop(read(&secret(packed), PROMETHEUS)));
        hostile::texts(&["a: &a [1, 2]\nb: *a\n"], |text| drop(read(&secret(&packed(text)), PROMETHEUS)));
    }
}
