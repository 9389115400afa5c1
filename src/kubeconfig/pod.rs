//! The account of the pod in which this process runs (client-go `rest.InClusterConfig`): kubectl takes it without a
//! kubeconfig, and so does the plugin.

use super::{
    entries::{Cluster, User},
    selected::Selected,
};
use std::{env, path::Path};

/// What to call it: a pod has no context.
pub(super) const CONTEXT: &str = "in-cluster";
/// Where a kubelet mounts the account.
const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// None outside of a pod.
pub(super) fn account() -> Option<Selected> {
    let variable = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
    mounted(Path::new(MOUNTED), &variable("KUBERNETES_SERVICE_HOST")?, &variable("KUBERNETES_SERVICE_PORT")?)
}

fn mounted(folder: &Path, host: &str, port: &str) -> Option<Selected> {
    let (token_file, ca) = (folder.join("token"), folder.join("ca.crt"));
    if !token_file.is_file() {
        return None;
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Some(Selected {
        context: CONTEXT.to_owned(),
        namesake: None,
        cluster: Cluster {
            server: format!("https://{host}:{port}"),
            // Without it Go takes the CAs of the system.
            certificate_authority: if ca.is_file() { ca } else { Path::new("").to_owned() },
            ..Cluster::default()
        },
        user_name: "of this pod".to_owned(),
        user: User { token_file, ..User::default() },
        files: folder.display().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn account_is_that_of_the_mounted_token() {
        let folder = tempfile::tempdir().unwrap();
        assert!(mounted(folder.path(), "10.96.0.1", "443").is_none(), "no token is mounted");
        fs::write(folder.path().join("token"), "t").unwrap();
        let selected = mounted(folder.path(), "fd00::1", "443").unwrap();
        assert_eq!(
            (selected.cluster.server.as_str(), selected.context.as_str()),
            ("https://[fd00::1]:443", "in-cluster")
        );
        assert_eq!(selected.cluster.certificate_authority, Path::new(""), "then the CAs of the system");
        fs::write(folder.path().join("ca.crt"), "c").unwrap();
        let selected = mounted(folder.path(), "10.96.0.1", "443").unwrap();
        assert_eq!(selected.cluster.certificate_authority, folder.path().join("ca.crt"));
        assert_eq!(
            (selected.cluster.server.as_str(), selected.user.token_file),
            ("https://10.96.0.1:443", folder.path().join("token"))
        );
    }
}
