//! The token of an account as a secret: no `Debug` shows it, and it leaves by two ways only.

use crate::model::text::header::{self, Unfit};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

#[derive(Clone, Debug)]
pub struct BearerToken(SecretString);

impl BearerToken {
    /// The value of the header `Authorization`, marked so that no log of a library shows it.
    ///
    /// # Errors
    /// For characters that no header can have.
    pub fn authorization(&self) -> Result<HeaderValue, Unfit> {
        header::value(format!("Bearer {}", self.0.expose_secret()).as_bytes())
    }

    /// What is written for Prometheus: its file, its Secret, the printed jobs or the script.
    pub fn written(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for BearerToken {
    fn from(token: String) -> Self {
        Self(token.into())
    }
}

impl From<&str> for BearerToken {
    fn from(token: &str) -> Self {
        Self(token.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_not_in_debug_output() {
        let token = BearerToken::from("hunter2");
        let header = token.authorization().unwrap();
        assert_eq!((header.to_str().unwrap(), token.written()), ("Bearer hunter2", "hunter2"));
        assert!(!format!("{token:?} {header:?}").contains("hunter2"));
        assert!(BearerToken::from("a\nb").authorization().is_err());
    }
}
