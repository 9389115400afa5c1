//! The one error type that reaches a person: a stable reason, one clear line, and what to do next.

use std::fmt;

/// The enum, and the list of all that is in it.
macro_rules! reasons {
    ($($name:ident),+ $(,)?) => {
        /// Why a command failed. The names are stable and listed in `docs/errors.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($name),+
        }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

reasons! {
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
    KubeconfigNotFound,
    KubeletForbidden,
    LeftoverObjects,
    NoNodes,
    NotFound,
    NotGenerated,
    NotOurs,
    NotReadable,
    NotScraped,
    OutputClosed,
    PolicyApiMissing,
    PrometheusError,
    PrometheusUnreachable,
    ProofFailed,
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
    WriteFailed,
}

impl Reason {
    /// Whether the API server may have done what was asked of it and only its answer is missing.
    pub fn is_without_answer(self) -> bool {
        matches!(self, Self::Timeout | Self::ConnectionFailed | Self::ConnectionRefused | Self::Interrupted)
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

/// A failure as it is shown: `error (REASON): MESSAGE`, then one `hint:` line each.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub reason: Reason,
    pub message: String,
    pub hints: Vec<String>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), hints: Vec::new() }
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

    /// Says which object or cluster the failure is about.
    #[must_use]
    pub fn about(mut self, subject: impl fmt::Display) -> Self {
        self.message = format!("{subject}: {}", self.message);
        self
    }
}
