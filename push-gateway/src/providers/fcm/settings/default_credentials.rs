//! Application default credentials: where Google's own libraries find credentials that nothing names.
//!
//! Invariant: pure; the environment and the file system are arguments.

use std::path::{Path, PathBuf};

use shared::text_file::unquoted;

/// The host of the metadata server.
const METADATA_HOST: &str = "metadata.google.internal";

/// The file that `gcloud` writes, below its folder.
const GCLOUD_FILE: &str = "application_default_credentials.json";

/// What the environment of the process names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultCredentials {
    pub(crate) source: DefaultSource,
    /// The project, if the environment names one.
    pub(crate) project_id: Option<String>,
}

/// The source of access tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DefaultSource {
    /// A credential file.
    File {
        path: PathBuf,
        /// The variable or program that the path comes from.
        origin: &'static str,
    },
    /// The metadata server with this host.
    Metadata { host: String },
}

impl DefaultCredentials {
    /// Looks in the order of Google's libraries.
    ///
    /// # Errors
    /// The problem with its key, if the environment names no source.
    pub(super) fn find(
        variable: impl Fn(&str) -> Option<String>,
        is_file: impl Fn(&Path) -> bool,
    ) -> Result<Self, String> {
        let value = |name: &str| {
            let value = variable(name)?;
            let value = unquoted(&value);
            (!value.is_empty()).then(|| value.to_owned())
        };
        let project_id = value("GOOGLE_CLOUD_PROJECT").or_else(|| value("GCLOUD_PROJECT"));
        let source = match value("GOOGLE_APPLICATION_CREDENTIALS") {
            // A missing file is an error of its own and never leads to another source.
            Some(path) => DefaultSource::File { path: path.into(), origin: "GOOGLE_APPLICATION_CREDENTIALS" },
            None => match gcloud_file(&value).filter(|path| is_file(path)) {
                Some(path) => DefaultSource::File { path, origin: "gcloud" },
                None if value("NO_GCE_CHECK").is_some_and(|value| value.eq_ignore_ascii_case("true")) => {
                    return Err(String::from(
                        "credentials: found no application default credentials (NO_GCE_CHECK excludes the metadata \
                         server); set GOOGLE_APPLICATION_CREDENTIALS to a credential file",
                    ));
                }
                None => {
                    let host = value("GCE_METADATA_HOST").unwrap_or_else(|| METADATA_HOST.to_owned());
                    DefaultSource::Metadata { host }
                }
            },
        };
        Ok(Self { source, project_id })
    }

    /// The credential file.
    pub(crate) fn file(&self) -> Option<&Path> {
        match &self.source {
            DefaultSource::File { path, .. } => Some(path),
            DefaultSource::Metadata { .. } => None,
        }
    }

    /// The source, for the operator.
    pub(super) fn describe(&self) -> String {
        match &self.source {
            DefaultSource::File { path, origin } => {
                format!("application default credentials {} (from {origin})", path.display())
            }
            DefaultSource::Metadata { host } => {
                format!("application default credentials of the metadata server {host}")
            }
        }
    }
}

fn gcloud_file(value: &impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let of_user = || {
        if cfg!(windows) {
            value("APPDATA").map(|folder| Path::new(&folder).join("gcloud"))
        } else {
            value("HOME").map(|home| Path::new(&home).join(".config/gcloud"))
        }
    };
    value("CLOUDSDK_CONFIG").map(PathBuf::from).or_else(of_user).map(|folder| folder.join(GCLOUD_FILE))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{DefaultCredentials, DefaultSource};

    fn find(variables: &[(&str, &str)], files: &[&str]) -> Result<DefaultCredentials, String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        DefaultCredentials::find(variable, |path| files.iter().any(|file| Path::new(file) == path))
    }

    fn source(variables: &[(&str, &str)], files: &[&str]) -> String {
        match find(variables, files).unwrap().source {
            DefaultSource::File { path, origin } => format!("{origin}:{}", path.display()),
            DefaultSource::Metadata { host } => format!("metadata:{host}"),
        }
    }

    #[test]
    fn the_first_of_variable_gcloud_and_metadata_server_counts() {
        let named = ("GOOGLE_APPLICATION_CREDENTIALS", "/keys/a.json");
        let home = ("HOME", "/u");
        let of_home = "/u/.config/gcloud/application_default_credentials.json";
        let of_sdk = "/sdk/application_default_credentials.json";
        for (variables, files, expected) in [
            (vec![named, home], vec![of_home], "GOOGLE_APPLICATION_CREDENTIALS:/keys/a.json".to_owned()),
            (vec![home], vec![of_home], format!("gcloud:{of_home}")),
            (vec![home, ("CLOUDSDK_CONFIG", "/sdk")], vec![of_home, of_sdk], format!("gcloud:{of_sdk}")),
            (vec![home, ("CLOUDSDK_CONFIG", "/sdk")], vec![of_home], "metadata:metadata.google.internal".to_owned()),
            (vec![home], vec![], "metadata:metadata.google.internal".to_owned()),
            (vec![("GCE_METADATA_HOST", "10.0.0.9:80")], vec![], "metadata:10.0.0.9:80".to_owned()),
            (vec![("GOOGLE_APPLICATION_CREDENTIALS", " ")], vec![], "metadata:metadata.google.internal".to_owned()),
        ] {
            assert_eq!(source(&variables, &files), expected);
        }
    }

    #[test]
    fn no_source_is_a_problem_with_an_action() {
        let error = find(&[("NO_GCE_CHECK", "True")], &[]).unwrap_err();
        assert!(error.starts_with("credentials: ") && error.contains("GOOGLE_APPLICATION_CREDENTIALS"), "{error}");
        assert!(find(&[("NO_GCE_CHECK", "false")], &[]).is_ok());
    }

    #[test]
    fn the_environment_may_name_the_project() {
        let project = |variables: &[(&str, &str)]| find(variables, &[]).unwrap().project_id;
        assert_eq!(project(&[("GCLOUD_PROJECT", "b"), ("GOOGLE_CLOUD_PROJECT", "a")]).as_deref(), Some("a"));
        assert_eq!(project(&[("GCLOUD_PROJECT", "b"), ("GOOGLE_CLOUD_PROJECT", "")]).as_deref(), Some("b"));
        assert_eq!(project(&[]), None);
    }
}
