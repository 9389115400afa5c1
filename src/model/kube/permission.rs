//! Permissions of the caller, as a question to an API server and as text.

use super::object::ObjectRef;
use crate::error::{Error, Result};
use std::fmt;

/// One permission: the question of a `SelfSubjectAccessReview`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    pub verb: &'static str,
    pub group: &'static str,
    pub resource: &'static str,
    pub subresource: Option<&'static str>,
    pub namespace: Option<String>,
    pub name: Option<String>,
}

impl Permission {
    pub(in crate::model) fn of(verb: &'static str, reference: &ObjectRef) -> Self {
        Self {
            verb,
            group: reference.kind.group(),
            resource: reference.kind.plural(),
            subresource: None,
            namespace: reference.namespace.clone(),
            name: Some(reference.name.clone()),
        }
    }

    /// The kubectl command that asks for this permission.
    pub fn can_i(&self) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let name = self.name.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        let subresource = self.subresource.map(|s| format!(" --subresource={s}")).unwrap_or_default();
        let namespace = self.namespace.as_ref().map(|n| format!(" -n {n}")).unwrap_or_default();
        format!("kubectl auth can-i {} {}{group}{name}{subresource}{namespace}", self.verb, self.resource)
    }
}

/// The answers about all permissions that a plan needs.
#[derive(Clone, Debug)]
pub struct Permissions {
    pub needed: usize,
    /// None if no permission is missing.
    pub lacking: Option<Lacking>,
}

/// The permissions that the caller lacks.
#[derive(Clone, Debug)]
pub struct Lacking {
    /// The user name of the caller at the API server.
    pub who: String,
    /// At least one permission.
    pub missing: Vec<Permission>,
    /// One error that names all missing permissions.
    pub error: Error,
}

impl Permissions {
    /// The number of permissions.
    ///
    /// # Errors
    /// [`crate::error::Reason::Forbidden`], naming all missing permissions.
    pub fn verdict(self) -> Result<usize> {
        match self.lacking {
            None => Ok(self.needed),
            Some(lacking) => Err(lacking.error),
        }
    }
}

/// `create serviceaccounts/token prometheus in namespace prom-federate`
impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(subresource) = self.subresource {
            write!(f, "/{subresource}")?;
        }
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in namespace {namespace}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kube::object::Kind;

    #[test]
    fn permission_shows_the_command_that_asks_for_it() {
        let role = ObjectRef { kind: Kind::ClusterRole, namespace: None, name: "r".into() };
        let token = Permission {
            verb: "create",
            group: "",
            resource: "serviceaccounts",
            subresource: Some("token"),
            namespace: Some("n".into()),
            name: Some("a".into()),
        };
        for (permission, shown, command) in [
            (
                Permission::of("patch", &role),
                "patch clusterroles.rbac.authorization.k8s.io r",
                "kubectl auth can-i patch clusterroles.rbac.authorization.k8s.io/r",
            ),
            (
                token,
                "create serviceaccounts/token a in namespace n",
                "kubectl auth can-i create serviceaccounts/a --subresource=token -n n",
            ),
        ] {
            assert_eq!((permission.to_string().as_str(), permission.can_i().as_str()), (shown, command));
        }
    }
}
