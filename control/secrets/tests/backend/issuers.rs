//! Who signs a token about somebody else's component, and asks for its secrets with it.

use lattice_claims::{KeyKind, SigningKey};
use lattice_core::secrets::{GetSecretError, SecretRequest};

use super::{Scene, VALUE, name};

impl Scene {
    /// A good token about the component, signed by somebody.
    fn signed_by(&self, issuer: &SigningKey) -> SecretRequest {
        let mut request = self.request("db");
        request.context.entity_jwt = self.entity_token(issuer);
        request
    }

    async fn is_refused(&self, issuer: &SigningKey) {
        let refused = self.get(&self.signed_by(issuer)).await;
        let Err(GetSecretError::InvalidEntityJWT(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains(&issuer.public_key()), "{why}");
        assert!(why.contains(&self.entity.public_key()), "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_foreign_account_about_the_victim_gets_nothing() {
    let scene = Scene::start().await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    assert_eq!(scene.get(&scene.request("db")).await.unwrap(), VALUE);
    let stranger = SigningKey::generate(KeyKind::Account);
    scene.is_refused(&stranger).await;
    // It is not let in by a further secret either, and the victim goes on.
    scene.put("more", VALUE).await;
    scene.allow(&["more"]).await;
    scene.is_refused(&stranger).await;
    assert_eq!(scene.get(&scene.request("more")).await.unwrap(), VALUE);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_first_does_not_count_once_others_are_named() {
    let scene = Scene::start().await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    let stranger = SigningKey::generate(KeyKind::Account);
    assert_eq!(scene.get(&scene.signed_by(&stranger)).await.unwrap(), VALUE);
    scene.is_refused(&scene.issuer).await;
    let (id, keys) = (scene.entity.public_key(), ["db".to_owned()]);
    let name_also = async |issuer: &SigningKey| {
        let issuer = issuer.public_key();
        let secrets = &scene.secrets;
        let added = secrets.add_mapping_of(&name(), &id, &issuer, &keys).await;
        added.unwrap();
    };
    name_also(&scene.issuer).await;
    assert_eq!(scene.get(&scene.request("db")).await.unwrap(), VALUE);
    scene.is_refused(&stranger).await;
    // Those who are named stand beside each other.
    name_also(&stranger).await;
    assert_eq!(scene.get(&scene.signed_by(&stranger)).await.unwrap(), VALUE);
    assert_eq!(scene.get(&scene.request("db")).await.unwrap(), VALUE);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_issuer_is_named_nobody_is_faster() {
    let scene = Scene::start().await;
    scene.put("db", VALUE).await;
    let (id, keys) = (scene.entity.public_key(), ["db".to_owned()]);
    let issuer = scene.issuer.public_key();
    let secrets = &scene.secrets;
    let added = secrets.add_mapping_of(&name(), &id, &issuer, &keys).await;
    added.unwrap();
    let stranger = SigningKey::generate(KeyKind::Account);
    scene.is_refused(&stranger).await;
    assert_eq!(scene.get(&scene.request("db")).await.unwrap(), VALUE);
    let nonsense = secrets.add_mapping_of(&name(), &id, "A", &keys).await;
    assert!(nonsense.is_err());
    // Who has none left is as one who never had any.
    let removed = secrets.remove_mapping(&name(), &id, &keys).await;
    removed.unwrap();
    scene.allow(&["db"]).await;
    assert_eq!(scene.get(&scene.signed_by(&stranger)).await.unwrap(), VALUE);
    scene.is_refused(&scene.issuer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_issuer_counts_where_that_is_said() {
    let scene = Scene::start_with(|config, _| config.any_issuer = true).await;
    scene.put("db", VALUE).await;
    scene.allow(&["db"]).await;
    assert_eq!(scene.get(&scene.request("db")).await.unwrap(), VALUE);
    let stranger = SigningKey::generate(KeyKind::Account);
    assert_eq!(scene.get(&scene.signed_by(&stranger)).await.unwrap(), VALUE);
}
