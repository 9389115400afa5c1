//! What started a process: the cgroup that a process is in is chosen by the service manager or the container engine, and a
//! user without rights to these can move it only below its own.

/// What started a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starter {
    /// The service manager of the system, by a unit that is named after the program: only root makes units.
    Service,
    /// An engine that root runs.
    Container,
    /// A login, a user's own service manager, or a container that a user runs.
    Session,
    /// Another unit, which may run programs of any user, as cron does.
    Unit(String),
    Unknown,
}

/// Units of packages and of the projects' own pages, without `.service` and the instance behind an `@`.
const UNITS: [&str; 11] = [
    "opentelemetry-collector",
    "otel-collector",
    "otelcol",
    "otelcol-contrib",
    "prometheus",
    "prometheus-agent",
    "prometheus-server",
    "victoria-metrics",
    "victoriametrics",
    "vmagent",
    "vmsingle",
];

/// Of Docker, Podman, CRI-O and containerd; the id of the container follows.
const SCOPES: [&str; 4] = ["docker-", "libpod-", "crio-", "cri-containerd-"];

impl Starter {
    /// From /proc/PID/cgroup, see cgroups(7). A service manager tells its processes by the hierarchy `name=systemd`; where
    /// there is none, by the only one.
    pub fn of(cgroup: &str) -> Self {
        let lines = || cgroup.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let named = lines().find(|(controllers, _)| *controllers == "name=systemd");
        let Some((_, path)) = named.or_else(|| lines().find(|(controllers, _)| controllers.is_empty())) else {
            return Self::Unknown;
        };
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        // The process that looks is in a cgroup namespace that does not contain the other.
        if parts.clone().any(|part| part == "..") {
            return Self::Unknown;
        }
        let mut is_in_a_slice = false;
        for part in parts.by_ref() {
            if let Some(slice) = part.strip_suffix(".slice") {
                if slice == "user" || slice.starts_with("user-") {
                    return Self::Session;
                }
                is_in_a_slice = true;
                continue;
            }
            // What is below the first part that is no slice may be its own choice.
            let is_container = if let Some(scope) = part.strip_suffix(".scope") {
                SCOPES.iter().any(|engine| scope.strip_prefix(engine).is_some_and(is_container_id))
            } else {
                match part {
                    // The driver cgroupfs.
                    "docker" if !is_in_a_slice => parts.next().is_some_and(is_container_id),
                    "kubepods" if !is_in_a_slice => parts.next_back().is_some_and(is_container_id),
                    _ => false,
                }
            };
            return match part.strip_suffix(".service").map(|unit| unit.split('@').next().unwrap_or(unit)) {
                _ if is_container => Self::Container,
                Some(unit) if UNITS.contains(&unit) => Self::Service,
                Some("user") => Self::Session,
                _ if part.starts_with("session-") => Self::Session,
                _ => Self::Unit(part.to_owned()),
            };
        }
        Self::Unknown
    }
}

fn is_container_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;
    use crate::render::script::{HOST, OPERATIONS};
    use std::process::Command;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn cases() -> Vec<(String, Starter)> {
        let unit = |name: &str| Starter::Unit(name.to_owned());
        [
            ("0::/system.slice/prometheus.service", Starter::Service),
            ("0::/system.slice/system-prometheus.slice/prometheus@main.service", Starter::Service),
            ("0::/monitoring.slice/vmagent.service", Starter::Service),
            ("0::/prometheus.service", Starter::Service),
            ("0::/system.slice/prometheus.service/below", Starter::Service),
            ("9:name=systemd:/system.slice/prometheus.service\n4:memory:/\n0::/", Starter::Service),
            // Where there are both, the service manager's counts.
            ("9:name=systemd:/\n0::/system.slice/prometheus.service", Starter::Unknown),
            ("0::/system.slice/cron.service", unit("cron.service")),
            ("0::/system.slice/ssh.service", unit("ssh.service")),
            ("0::/system.slice/prometheus-node-exporter.service", unit("prometheus-node-exporter.service")),
            ("0::/system.slice/run@prometheus.service", unit("run@prometheus.service")),
            // A unit with a part of its own below it chooses the names there.
            ("0::/system.slice/ci.service/prometheus.service", unit("ci.service")),
            ("0::/system.slice/ci.service/docker-ID.scope", unit("ci.service")),
            ("0::/system.slice/ci.service/x.slice/prometheus.service", unit("ci.service")),
            ("0::/init.scope", unit("init.scope")),
            ("0::/user.slice/user-1000.slice/session-3.scope", Starter::Session),
            ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/prometheus.service", Starter::Session),
            ("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", Starter::Session),
            ("0::/user-1000.slice/prometheus.service", Starter::Session),
            ("0::/user@1000.service/prometheus.service", Starter::Session),
            ("9:name=systemd:/user.slice/docker/ID\n0::/system.slice/prometheus.service", Starter::Session),
            ("0::/system.slice/docker-ID.scope", Starter::Container),
            ("0::/machine.slice/libpod-ID.scope/container", Starter::Container),
            ("0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope", Starter::Container),
            ("0::/kubepods.slice/kubepods-pod1.slice/crio-ID.scope", Starter::Container),
            ("1:name=systemd:/docker/ID\n0::/", Starter::Container),
            ("1:name=systemd:/kubepods/burstable/pod1/ID", Starter::Container),
            ("0::/docker/short", unit("docker")),
            ("0::/system.slice/docker/ID", unit("docker")),
            ("0::/system.slice/docker-short.scope", unit("docker-short.scope")),
            ("0::/system.slice/evil-ID.scope", unit("evil-ID.scope")),
            ("0::/lxc.payload.one/system.slice/prometheus.service", unit("lxc.payload.one")),
            ("0::/../system.slice/prometheus.service", Starter::Unknown),
            ("0::/", Starter::Unknown),
            ("0::/system.slice", Starter::Unknown),
            ("", Starter::Unknown),
            ("0:/system.slice/prometheus.service", Starter::Unknown),
        ]
        .into_iter()
        .map(|(cgroup, starter)| {
            let starter = match starter {
                Starter::Unit(name) => Starter::Unit(name.replace("ID", ID)),
                starter => starter,
            };
            (cgroup.replace("ID", ID) + "\n", starter)
        })
        .collect()
    }

    #[test]
    fn starter_is_told_by_the_cgroup() {
        for (cgroup, starter) in cases() {
            assert_eq!(Starter::of(&cgroup), starter, "{cgroup}");
        }
    }

    #[test]
    fn script_tells_the_same_starters() {
        for (cgroup, starter) in cases() {
            let expected = match starter {
                Starter::Service => "service",
                Starter::Container => "container",
                Starter::Session | Starter::Unit(_) | Starter::Unknown => "",
            };
            for shell in crate::host::conformance::SHELLS.iter() {
                let text = format!("{OPERATIONS}{HOST}\nprintf %s \"$1\" | starter");
                let output = Command::new(shell[0]).args(&shell[1..]).args(["-c", &text, "sh", &cgroup]).output();
                let output = output.expect("a shell");
                let said = String::from_utf8_lossy(&output.stdout);
                assert_eq!(said.trim(), expected, "{shell:?} {cgroup} {}", String::from_utf8_lossy(&output.stderr));
            }
        }
    }

    #[test]
    fn hostile_cgroups_are_survived() {
        let cases: Vec<String> = cases().into_iter().map(|(cgroup, _)| cgroup).collect();
        hostile::texts(&cases.iter().map(String::as_str).collect::<Vec<_>>(), |cgroup| drop(Starter::of(cgroup)));
    }
}
