//! The one error type that reaches a person: a stable reason, one clear line, and what to do next.

use std::{error::Error as StdError, fmt, sync::Arc};

/// An enum, and the list of all that is in it.
macro_rules! listed {
    ($(#[$about:meta])* pub enum $Enum:ident { $($name:ident),+ $(,)? }) => {
        $(#[$about])*
        pub enum $Enum {
            $($name),+
        }

        impl $Enum {
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}
pub(crate) use listed;

listed! {
    /// Why a command failed. The names are stable and listed in `docs/troubleshooting.md`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub enum Reason {
        AccountInUse,
        AccountRefused,
        ApiServerError,
        BeingDeleted,
        Cancelled,
        CertificateExpired,
        CertificateNameMismatch,
        CertificateNotTrusted,
        CheckFailed,
        ClientCertificateExpired,
        ClusterKnown,
        ClusterUnknown,
        ConfigRefused,
        ConfirmationNeeded,
        ConnectionFailed,
        ConnectionRefused,
        ContextNotFound,
        CredentialPluginFailed,
        DestinationBusy,
        DestinationUnusable,
        EscalationForbidden,
        FenceNotEnforced,
        FenceStands,
        Forbidden,
        HostKeyUnknown,
        HostUnreachable,
        InsecureKubeconfig,
        Interrupted,
        InvalidArgument,
        InvalidKubeconfig,
        JoinFailed,
        KubeconfigNotFound,
        KubeletForbidden,
        LeftoverObjects,
        LimitExceeded,
        NoNodes,
        NotFound,
        NotGenerated,
        NotOurs,
        NotReadable,
        NotScraped,
        OutputClosed,
        OutputReadable,
        PolicyApiMissing,
        PrometheusError,
        PrometheusUnreachable,
        ProofFailed,
        RecordNotConfirmed,
        RecordTooNew,
        ReloadFailed,
        RotationFailed,
        SshFailed,
        SshRefused,
        StatusBroken,
        TargetForbidden,
        TargetNotFound,
        TargetUnavailable,
        TargetUnclear,
        Timeout,
        TokenNotIssued,
        TokenRequestMissing,
        TooManyNodes,
        Unauthorized,
        UnsafeFolder,
        WriteFailed,
    }
}

impl Reason {
    /// Whether the API server may have done what was asked of it and only its answer is missing.
    pub fn is_without_answer(self) -> bool {
        matches!(
            self,
            Self::Timeout | Self::ConnectionFailed | Self::ConnectionRefused | Self::Interrupted | Self::LimitExceeded
        )
    }

    /// The exit code that kubectl users expect: 1 failed, 2 usage, 130 interrupted.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::InvalidArgument => 2,
            Self::Interrupted => 130,
            _ => 1,
        }
    }
}

/// `FenceNotEnforced`: the variant's own name is the stable name.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The cause of a failure after which a destination may have kept what was delivered, or not.
#[derive(Debug)]
struct InDoubt;

impl fmt::Display for InDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is unknown what the destination has kept")
    }
}

impl StdError for InDoubt {}

/// A failure as it is shown: `error (REASON): SUBJECT: MESSAGE`, then one `hint:` line each.
#[derive(Clone, Debug)]
pub struct Error {
    pub reason: Reason,
    /// Clusters, destinations, objects; the widest first.
    subjects: Vec<String>,
    message: String,
    pub hints: Vec<String>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, subjects: Vec::new(), message: message.into(), hints: Vec::new(), cause: None }
    }

    /// A mistake in the command line: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidArgument, message)
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// For a caller that knows better what to do next.
    #[must_use]
    pub fn without_hints(self) -> Self {
        Self { hints: Vec::new(), ..self }
    }

    /// Names the object or cluster that the failure is about.
    #[must_use]
    pub fn about(mut self, subject: impl fmt::Display) -> Self {
        self.subjects.insert(0, subject.to_string());
        self
    }

    /// Whether this is the widest of its subjects.
    pub fn is_about(&self, subject: &impl fmt::Display) -> bool {
        self.subjects.first().is_some_and(|first| *first == subject.to_string())
    }

    /// Whether both report the same failure, of whatever subject.
    pub fn is_same_failure(&self, other: &Self) -> bool {
        (self.reason, &self.message) == (other.reason, &other.message)
    }

    #[must_use]
    pub fn because(self, reason: Reason) -> Self {
        Self { reason, ..self }
    }

    #[must_use]
    pub fn reworded(self, reword: impl FnOnce(&str) -> String) -> Self {
        Self { message: reword(&self.message), ..self }
    }

    /// Keeps the error of a library for code that decides on it; it is not shown.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { cause: Some(Arc::from(cause.into())), ..self }
    }

    /// A destination may have kept what was delivered, so that the new token must stay valid.
    #[must_use]
    pub fn in_doubt(self) -> Self {
        self.caused_by(InDoubt)
    }

    pub fn is_in_doubt(&self) -> bool {
        self.cause::<InDoubt>().is_some()
    }

    /// The error of a library that it was made of, if it is of this type.
    pub fn cause<E: StdError + 'static>(&self) -> Option<&E> {
        self.source()?.downcast_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.subjects.iter().try_for_each(|subject| write!(f, "{subject}: "))?;
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

/// Equal if they are shown alike.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        let shown = |error: &Self| (error.reason, error.to_string(), error.hints.clone());
        shown(self) == shown(other)
    }
}

impl Eq for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn subjects_stand_before_the_message_and_causes_are_kept() {
        let error = Error::new(Reason::Timeout, "no answer").about("node/a").about("east");
        assert_eq!(error.to_string(), "east: node/a: no answer");
        assert!(error.is_about(&"east") && !error.is_about(&"node/a") && !error.is_about(&"eas"));
        let other = Error::new(Reason::Timeout, "no answer").hint("wait");
        assert!(error.is_same_failure(&other) && error != other);
        assert!(error.cause::<io::Error>().is_none());
        let caused = error.caused_by(io::Error::from(io::ErrorKind::TimedOut));
        assert_eq!(caused.cause::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::TimedOut));
        assert!(caused.cause::<fmt::Error>().is_none() && !caused.is_in_doubt());
        assert!(caused.in_doubt().about("prom").is_in_doubt());
    }
}
