//! What a join may not do to the clusters that a destination knows already.

use super::{Destination, Installed};
use crate::{
    error::{Error, Reason, Result},
    model::{
        plan::request::JoinRequest,
        store::{
            label_conflict::{Clash, Consent, clashes},
            layout,
        },
        text::{names::ClusterName, shell},
    },
};
use std::collections::BTreeMap;

/// Every destination's view of a label and a UID must agree with the user's. Returns the labels that are given up.
pub fn resolve(
    request: &JoinRequest,
    uid: &str,
    destinations: &[Destination],
    consent: Consent,
) -> Result<Vec<ClusterName>> {
    let mut renamed = Vec::new();
    for destination in destinations {
        if layout::is_confusing(&request.cluster) {
            return Err(Error::usage(format!(
                "the cluster name {} looks like a file of another cluster",
                request.cluster
            ))
            .hint("Choose another name with --cluster-name NAME"));
        }
        renamed.extend(labels_given_up(&request.cluster, uid, destination.installed(), consent, destination.name())?);
        let installed = match destination.installed().get(&request.cluster) {
            // Written anew by this join, whatever it says.
            Some(Err(error)) if error.reason != Reason::DestinationUnusable => return Err(error.clone()),
            Some(Ok(installed)) => installed,
            _ => continue,
        };
        if let Some(Err(error)) = installed.live.as_ref().map(|live| &live.record)
            && error.reason == Reason::RecordTooNew
        {
            return Err(error.clone());
        }
        if let Some(record) =
            installed.record().filter(|record| record.uid == uid && record.account() != request.account)
        {
            return Err(Error::new(
                Reason::ClusterKnown,
                format!(
                    "{} scrapes {} as service account {} already",
                    destination.name(),
                    request.cluster,
                    record.account()
                ),
            )
            .hint(match record.account().flags() {
                flags if flags.is_empty() => {
                    "Join with the same account: omit --namespace and --service-account".to_owned()
                }
                flags => format!("Join with the same account:{flags}"),
            })
            .hint(format!(
                "Or leave first: {}",
                shell::plugin(["leave", request.cluster.as_str(), "-p", destination.name()])
            )));
        }
    }
    renamed.sort_unstable();
    renamed.dedup();
    Ok(renamed)
}

/// Refuses a label or a UID that is taken, unless the user consented. Returns the labels that this one replaces.
///
/// # Errors
/// [`Reason::ClusterKnown`].
fn labels_given_up(
    cluster: &ClusterName,
    uid: &str,
    installed: &BTreeMap<ClusterName, Result<Installed>>,
    consent: Consent,
    destination: &str,
) -> Result<Vec<ClusterName>> {
    let known = installed.values().flatten().filter_map(|installed| {
        let record = installed.record()?;
        Some((&record.cluster, record.uid.as_str()))
    });
    let mut renamed = Vec::new();
    for clash in clashes(cluster, uid, known) {
        match clash {
            Clash::KnownAs(label) if consent.rename => renamed.push(label),
            Clash::KnownAs(label) => {
                return Err(Error::new(
                    Reason::ClusterKnown,
                    format!("{cluster}: {destination} knows this cluster as {label}"),
                )
                .hint(format!("Keep its label with --cluster-name {label}"))
                .hint("Or change its label with --rename: dashboards and alerts then show a new cluster"));
            }
            Clash::TakenBy(_) if consent.replace => {}
            Clash::TakenBy(other) => {
                return Err(Error::new(
                    Reason::ClusterKnown,
                    format!("{destination} knows another cluster as {cluster} (its kube-system has the UID {other})"),
                )
                .hint("Choose another label with --cluster-name NAME")
                .hint("Or replace the other cluster with --replace, if it is gone"));
            }
        }
    }
    Ok(renamed)
}
