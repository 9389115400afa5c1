//! What systemd is told of a service of `Type=notify`: `sd_notify(3)`.

pub use sd_notify::NotifyState;

/// Tells the service manager that started this process, if one did. One that does not listen is no failure.
pub fn tell_service_manager(states: &[NotifyState]) {
    let _ = sd_notify::notify(states);
}
