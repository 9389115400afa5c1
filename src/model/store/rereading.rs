//! What a consumer reads again while it runs, by the Go modules that are linked into its program.

/// The files of a job's credentials that a consumer reads again by itself after they were replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rereading {
    /// None is known: only another path is certain to be read.
    #[default]
    Nothing,
    Token,
    TokenAndCa,
}

const PROMETHEUS: &str = "github.com/prometheus/prometheus/cmd/prometheus";
const PROMETHEUS_HTTP: &str = "github.com/prometheus/common";
/// Of OpenTelemetry Collectors, whose programs have any name.
const RECEIVER: &str = "github.com/open-telemetry/opentelemetry-collector-contrib/receiver/prometheusreceiver";
const VICTORIA_METRICS: &str = "github.com/VictoriaMetrics/VictoriaMetrics/app/";
const VICTORIA_METRICS_LIBRARY: &str = "github.com/VictoriaMetrics/metrics";

impl Rereading {
    /// From Go's build information, of which other lines do not matter: `path`, the package of the program, and `dep`, a
    /// module and its version. `=>` on the next line replaces the module. Words are separated by tabs.
    ///
    /// Prometheus reads token and CA again at each request, but for the releases with prometheus/common 0.68 to 0.72.0,
    /// which keep the first token (fixed by prometheus/common#982). A collector scrapes with the same module. vmagent reads the token again since 1.60, which has
    /// version 1.17.2 of its library for metrics; not every release reads the CA again.
    pub fn of(build_information: &str) -> Self {
        // Unreadable bytes stand before the first line. A module may be called like this, behind another word.
        let program = |(before, program): (&str, _)| (!before.contains('\t')).then_some(program);
        let mut programs = build_information.lines().filter_map(|line| line.split_once("path\t").and_then(program));
        let Some(program) = programs.next().filter(|program| programs.all(|other| other == *program)) else {
            return Self::Nothing;
        };
        if program == PROMETHEUS || version_of(RECEIVER, build_information).is_some() {
            let known = |version| version <= (0, 67, 5) || version >= (0, 72, 1);
            if version_of(PROMETHEUS_HTTP, build_information).is_some_and(known) {
                return Self::TokenAndCa;
            }
        } else if program.starts_with(VICTORIA_METRICS)
            && version_of(VICTORIA_METRICS_LIBRARY, build_information).is_some_and(|version| version > (1, 17, 2))
        {
            return Self::Token;
        }
        Self::Nothing
    }
}

/// The release of a module that is linked in; none where another module replaces it, or it is a commit between releases.
fn version_of(module: &str, build_information: &str) -> Option<(u64, u64, u64)> {
    let lines: Vec<&str> = build_information.lines().collect();
    let mut versions = lines.iter().enumerate().filter_map(|(at, line)| {
        let (name, version) = line.strip_prefix("dep\t")?.split_once('\t')?;
        let is_replaced = lines.get(at + 1).is_some_and(|next| next.starts_with("=>"));
        (name == module).then(|| if is_replaced { None } else { release(version.split('\t').next()?) })
    });
    let version = versions.next()??;
    versions.all(|other| other == Some(version)).then_some(version)
}

/// `v0.72.1`
fn release(text: &str) -> Option<(u64, u64, u64)> {
    let mut numbers = text.strip_prefix('v')?.split('.').map(|number| number.parse().ok());
    let release = (numbers.next()??, numbers.next()??, numbers.next()??);
    numbers.next().is_none().then_some(release)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hostile;

    const VMAGENT: &str = "github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent";

    #[test]
    fn consumer_reads_again_if_its_modules_say_so() {
        use Rereading::{Nothing, Token, TokenAndCa};
        for (program, module, version, expected) in [
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.44.0", TokenAndCa),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.67.5", TokenAndCa),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.67.6", Nothing),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.69.0", Nothing),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.70.1", Nothing),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.71.0", Nothing),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.72.0", Nothing),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.72.1", TokenAndCa),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.100.0", TokenAndCa),
            (PROMETHEUS, PROMETHEUS_HTTP, "v1.0.0", TokenAndCa),
            (PROMETHEUS, PROMETHEUS_HTTP, "v0.72.1-0.20260901101500-0123456789ab", Nothing),
            (PROMETHEUS, PROMETHEUS_HTTP, "(devel)", Nothing),
            (PROMETHEUS, "github.com/prometheus/client_golang", "v1.24.0", Nothing),
            ("github.com/grafana/alloy", PROMETHEUS_HTTP, "v0.72.1", Nothing),
            (VMAGENT, VICTORIA_METRICS_LIBRARY, "v1.17.2", Nothing),
            (VMAGENT, VICTORIA_METRICS_LIBRARY, "v1.17.3", Token),
            (VMAGENT, VICTORIA_METRICS_LIBRARY, "v1.40.2", Token),
            (VMAGENT, PROMETHEUS_HTTP, "v0.72.1", Nothing),
        ] {
            let said =
                format!("0w\u{fffd}path\t{program}\ndep\tx/jsonpath\tv1.0.0\t\ndep\t{module}\t{version}\th1:x=\n");
            assert_eq!(Rereading::of(&said), expected, "{program} with {module} {version}");
        }
    }

    #[test]
    fn collector_is_told_by_its_receiver() {
        for (receiver, version, expected) in [
            ("v0.154.0", "v0.67.5", Rereading::TokenAndCa),
            ("v0.160.0", "v0.70.0", Rereading::Nothing),
            ("v0.165.0", "v0.72.1", Rereading::TokenAndCa),
            ("(devel)", "v0.72.1", Rereading::Nothing),
        ] {
            let said = format!(
                "path\texample.com/otelcol\ndep\t{RECEIVER}\t{receiver}\th1:x=\ndep\t{PROMETHEUS_HTTP}\t{version}\th1:x=\n"
            );
            assert_eq!(Rereading::of(&said), expected, "{receiver} {version}");
        }
    }

    #[test]
    fn unclear_build_information_is_no_proof() {
        let path = format!("path\t{PROMETHEUS}\n");
        let dep = |version: &str| format!("dep\t{PROMETHEUS_HTTP}\t{version}\th1:x=\n");
        let good = dep("v0.72.1");
        assert_eq!(Rereading::of(&[&*path, &good, &path, &good].concat()), Rereading::TokenAndCa);
        for said in [
            String::new(),
            path.clone(),
            good.clone(),
            [&*path, &good, "=>\texample.com/fork\tv0.72.1\th1:x=\n"].concat(),
            [&*path, &good, &dep("v0.70.0")].concat(),
            [&*path, "path\texample.com/other\n", &good].concat(),
        ] {
            assert_eq!(Rereading::of(&said), Rereading::Nothing, "{said}");
        }
    }

    #[test]
    fn hostile_build_information_is_survived() {
        let text = "path\tgithub.com/prometheus/prometheus/cmd/prometheus\ndep\tgithub.com/prometheus/common\tv0.72.1\th1:x=\ndep\ta\tv1\n=>\tb\tv2\n";
        hostile::texts(&[text], |text| _ = Rereading::of(text));
    }
}
