//! What is said about a service of AWS, by the names that its own tools use.

use lattice_core::provider::SecretText;

use super::keys::AwsKeys;
use super::source::{Origin, Role};

/// The region when none is said.
const REGION: &str = "us-east-1";
/// What the session of a role is called when nothing is said.
const SESSION: &str = "lattice";
/// The address that containers reach their lender at.
const CONTAINER: &str = "http://169.254.170.2";

/// Which service, where, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AwsOptions {
    /// The region.
    pub region: String,
    /// The address of a service that is not one of AWS itself, without a `/` at its end.
    pub endpoint: Option<String>,
    /// Whose keys.
    pub origin: Origin,
}

impl AwsOptions {
    /// Reads values by name. Each name is asked for as it is written in configs, such as
    /// `access_key_id`, and as the tools of AWS write it, such as `AWS_ACCESS_KEY_ID`.
    pub fn read(value: impl Fn(&str) -> Option<String>) -> Self {
        let any = |names: &[&str]| names.iter().find_map(|name| value(name));
        let region = any(&["region", "AWS_REGION", "AWS_DEFAULT_REGION"]);
        let region = region.unwrap_or_else(|| REGION.to_owned());
        let endpoint = any(&["endpoint", "AWS_ENDPOINT", "AWS_ENDPOINT_URL"]);
        let endpoint = endpoint.map(|url| url.trim_end_matches('/').to_owned());
        let own = own(&any);
        let origin = match (role(&any, &region), own) {
            (Some(role), Some(own)) => Origin::Role(role, Box::new(own)),
            (Some(role), None) => match value("AWS_WEB_IDENTITY_TOKEN_FILE") {
                Some(path) => Origin::WebIdentity(role, path),
                None => Origin::Role(role, Box::new(lent(&value))),
            },
            (None, Some(own)) => own,
            (None, None) => lent(&value),
        };
        Self {
            region,
            endpoint,
            origin,
        }
    }
}

fn own(any: &impl Fn(&[&str]) -> Option<String>) -> Option<Origin> {
    let id = any(&["access_key_id", "AWS_ACCESS_KEY_ID"])?;
    let secret = any(&["secret_access_key", "AWS_SECRET_ACCESS_KEY"])?;
    let token = any(&["session_token", "AWS_SESSION_TOKEN"]);
    Some(Origin::Fixed(AwsKeys {
        token: token.map(SecretText::new),
        ..AwsKeys::new(id.trim(), secret.trim())
    }))
}

fn role(any: &impl Fn(&[&str]) -> Option<String>, region: &str) -> Option<Role> {
    let arn = any(&["role_arn", "AWS_ROLE_ARN"])?;
    let region = any(&["role_region", "AWS_ROLE_REGION"]).unwrap_or_else(|| region.to_owned());
    let endpoint = any(&["sts_endpoint", "AWS_ENDPOINT_URL_STS"]);
    Some(Role {
        arn,
        session: any(&["role_session_name", "AWS_ROLE_SESSION_NAME"])
            .unwrap_or_else(|| SESSION.to_owned()),
        external_id: any(&["role_external_id", "AWS_ROLE_EXTERNAL_ID"]),
        endpoint: endpoint.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com/")),
        region,
    })
}

/// Who lends keys to a program that was told none.
fn lent(value: &impl Fn(&str) -> Option<String>) -> Origin {
    let full = value("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let short = || value("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let url = full.or_else(|| Some(format!("{CONTAINER}{}", short()?)));
    let token = value("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(SecretText::new);
    url.map_or(Origin::Instance, |url| Origin::Container { url, token })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, &str)]) -> AwsOptions {
        AwsOptions::read(|name| {
            let found = values.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn keys_are_found_in_their_order() {
        let options = read(&[
            ("AWS_ACCESS_KEY_ID", "env"),
            ("access_key_id", "link"),
            ("secret_access_key", "s3cr3t"),
            ("endpoint", "http://127.0.0.1:9000/"),
        ]);
        assert_eq!(options.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(options.region, "us-east-1");
        assert_eq!(
            options.origin,
            Origin::Fixed(AwsKeys::new("link", "s3cr3t"))
        );
        assert!(!format!("{options:?}").contains("s3cr3t"));
    }

    #[test]
    fn keys_that_are_not_there_are_lent() {
        assert_eq!(read(&[]).origin, Origin::Instance);
        let container = read(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x")]).origin;
        assert!(
            matches!(container, Origin::Container { url, .. } if url == "http://169.254.170.2/v2/x")
        );
        let values = [
            ("AWS_ROLE_ARN", "arn:x"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
            ("region", "eu-north-1"),
        ];
        let Origin::WebIdentity(role, path) = read(&values).origin else {
            panic!("no web identity");
        };
        assert_eq!(path, "/token");
        assert_eq!(role.endpoint, "https://sts.eu-north-1.amazonaws.com/");
    }
}
