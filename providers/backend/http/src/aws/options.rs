//! What is said about a service of AWS, by the names that its own tools use.

use lattice_core::provider::SecretText;

use super::keys::AwsKeys;
use super::profile::{NoProfile, Profile};
use super::source::{Origin, Role, region_of_machine};
use crate::{HttpBackend, HttpOptions, TlsError};

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
    /// Whether it is not said, and the machine may know better.
    pub asks_machine: bool,
    /// The address of a service that is not one of AWS itself, without a `/` at its end.
    pub endpoint: Option<String>,
    /// Whose keys.
    pub origin: Origin,
}

impl AwsOptions {
    /// Reads values by name. Each name is asked for as it is written in configs, such as
    /// `access_key_id`, and as the tools of AWS write it, such as `AWS_ACCESS_KEY_ID`; what none of
    /// them says, the profile in the files of those tools may say, below `HOME`.
    ///
    /// # Errors
    ///
    /// [`NoProfile`] when a profile is named that is not there.
    pub fn read(value: impl Fn(&str) -> Option<String>) -> Result<Self, NoProfile> {
        let any = |names: &[&str]| names.iter().find_map(|name| value(name));
        let profile = Profile::read(&value)?;
        let region = any(&["region", "AWS_REGION", "AWS_DEFAULT_REGION"]);
        let region = region.or_else(|| profile.region());
        let is_off = any(&["AWS_EC2_METADATA_DISABLED"]);
        let is_off = is_off.is_some_and(|text| text.eq_ignore_ascii_case("true"));
        let endpoint = any(&["endpoint", "AWS_ENDPOINT", "AWS_ENDPOINT_URL"]);
        let endpoint = endpoint.map(|url| url.trim_end_matches('/').to_owned());
        let asks_machine = region.is_none() && endpoint.is_none() && !is_off;
        let region = region.unwrap_or_else(|| REGION.to_owned());
        let own = own(&any).or_else(|| profile.keys().map(Origin::Fixed));
        let origin = match (role(&any, &region), own) {
            (Some(role), Some(own)) => Origin::Role(role, Box::new(own)),
            (Some(role), None) => match value("AWS_WEB_IDENTITY_TOKEN_FILE") {
                Some(path) => Origin::WebIdentity(role, path),
                None => Origin::Role(role, Box::new(lent(&value))),
            },
            (None, Some(own)) => own,
            (None, None) => lent(&value),
        };
        Ok(Self {
            region,
            asks_machine,
            endpoint,
            origin,
        })
    }

    /// With the region that the machine is in, where nothing else is said and it is one of AWS.
    ///
    /// # Errors
    ///
    /// [`TlsError`] as for any client with these options.
    pub async fn located(self, http: &HttpOptions) -> Result<Self, TlsError> {
        if !self.asks_machine {
            return Ok(self);
        }
        let http = HttpBackend::new(http.clone())?;
        Ok(match region_of_machine(&http).await {
            Some(region) => self.at(region),
            None => self,
        })
    }

    fn at(mut self, region: String) -> Self {
        if let Origin::Role(role, _) | Origin::WebIdentity(role, _) = &mut self.origin
            && role.endpoint == sts(&self.region)
        {
            role.endpoint = sts(&region);
            role.region.clone_from(&region);
        }
        self.region = region;
        self
    }
}

/// What the process knows for [`AwsOptions::read`]: variables of AWS's tools, and the home of its
/// user as `HOME`.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    match name {
        "HOME" => Some(std::env::home_dir()?.to_str()?.to_owned()),
        _ if name.starts_with("AWS_") => std::env::var(name).ok(),
        _ => None,
    }
}

/// Who lends the keys of roles in a region.
fn sts(region: &str) -> String {
    format!("https://sts.{region}.amazonaws.com/")
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
        endpoint: endpoint.unwrap_or_else(|| sts(&region)),
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
        .unwrap()
    }

    #[test]
    fn the_machine_is_asked_for_a_region_that_nothing_says() {
        let options = read(&[("role_arn", "arn:x")]);
        assert!(options.asks_machine);
        let options = options.at("eu-north-1".to_owned());
        assert_eq!(options.region, "eu-north-1");
        let Origin::Role(role, _) = options.origin else {
            panic!("no role");
        };
        assert_eq!(role.endpoint, "https://sts.eu-north-1.amazonaws.com/");
        for said in [
            ("AWS_REGION", "eu-west-1"),
            ("endpoint", "http://127.0.0.1:9000"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            assert!(!read(&[said]).asks_machine, "{said:?}");
        }
    }

    #[test]
    fn a_profile_comes_after_what_is_said_and_before_what_is_lent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let text =
            "[default]\naws_access_key_id = profile\naws_secret_access_key = k\nregion = eu-west-3";
        std::fs::write(&path, text).unwrap();
        let file = ("AWS_SHARED_CREDENTIALS_FILE", path.to_str().unwrap());
        let container = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x");
        let options = read(&[file, container]);
        assert_eq!(options.region, "eu-west-3");
        let Origin::Fixed(keys) = options.origin else {
            panic!("no keys");
        };
        assert_eq!((&*keys.id, keys.secret.expose()), ("profile", "k"));
        let said = [
            ("AWS_ACCESS_KEY_ID", "env"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
        ];
        let options = read(&[&[file][..], &said].concat());
        assert_eq!(options.region, "eu-west-1");
        assert_eq!(options.origin, Origin::Fixed(AwsKeys::new("env", "s")));
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
