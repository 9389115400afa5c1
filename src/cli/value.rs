//! Values of flags with their own range.

use crate::model::{
    job::exposition::FallbackProtocol,
    store::reload::ReloadMode,
    text::{duration::Seconds, header},
    token::{self, schedule::LONGEST_PROOF_INTERVAL},
};
use clap::{
    Arg, Command,
    builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser},
};
use std::ffi::OsStr;

/// Text that becomes the value of an HTTP header.
pub(super) fn header(text: &str) -> Result<String, String> {
    header::value(text.as_bytes()).map(|_| text.to_owned()).map_err(|why| why.to_string())
}

/// `KEY=VALUE`; the value may be empty and may contain `=`. It becomes the value of an HTTP header.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), header(value)?)),
        _ => Err("is not KEY=VALUE".to_owned()),
    }
}

/// An interval or timeout of Prometheus, which rejects 0.
pub(super) fn pace(text: &str) -> Result<Seconds, String> {
    match text.parse() {
        Ok(Seconds(0)) => Err("must be at least 1s".to_owned()),
        Ok(seconds) => Ok(seconds),
        Err(error) => Err(error.to_string()),
    }
}

/// The life of a token, within the limits of API servers.
pub fn lifetime(text: &str) -> Result<Seconds, String> {
    match text.parse::<Seconds>() {
        Ok(seconds) if seconds < token::MINIMUM => {
            Err(format!("must be at least {}, the minimum of API servers", token::MINIMUM))
        }
        Ok(seconds) if seconds > token::MAXIMUM => {
            Err(format!("must be at most {}s (2^32), the maximum of API servers", token::MAXIMUM.0))
        }
        Ok(seconds) => Ok(seconds),
        Err(error) => Err(error.to_string()),
    }
}

/// Zero is never.
pub(super) fn proof_interval(text: &str) -> Result<Seconds, String> {
    match text.parse() {
        Ok(seconds) if seconds > LONGEST_PROOF_INTERVAL => {
            Err(format!("must be at most {LONGEST_PROOF_INTERVAL}: the alerting rules report older proofs"))
        }
        Ok(seconds) => Ok(seconds),
        Err(error) => Err(error.to_string()),
    }
}

/// A protocol by the name that Prometheus has for it.
pub(super) fn fallback_protocol() -> impl TypedValueParser<Value = FallbackProtocol> {
    let all = FallbackProtocol::ALL;
    PossibleValuesParser::new(all.map(FallbackProtocol::name))
        .try_map(move |name| all.into_iter().find(|protocol| protocol.name() == name).ok_or("is not a protocol"))
}

/// `--reload`. clap completes what [`TypedValueParser::possible_values`] has; the parser accepts more: a command.
#[derive(Clone)]
pub(super) struct Reload;

impl TypedValueParser for Reload {
    type Value = ReloadMode;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<ReloadMode, clap::Error> {
        StringValueParser::new().try_map(|text| text.parse::<ReloadMode>()).parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(ReloadMode::WORDS.into_iter().map(PossibleValue::new)))
    }
}

/// A DNS name or an address, as in certificates.
pub(super) fn server_name(text: &str) -> Result<String, String> {
    rustls::pki_types::ServerName::try_from(text)
        .map(|_| text.to_owned())
        .map_err(|_| "is neither a DNS name nor an address".to_owned())
}

/// The base of Prometheus' API: `http://HOST:PORT/PREFIX`, without a slash at the end.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "is not a URL like http://localhost:9090".to_owned())?;
    match (uri.scheme_str(), uri.authority(), uri.query()) {
        (None, ..) => Err("has no scheme; write http://HOST:PORT".to_owned()),
        (Some("http" | "https"), Some(authority), None) if !authority.as_str().contains('@') => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("is not a URL like http://localhost:9090".to_owned()),
    }
}
