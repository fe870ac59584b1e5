//! A process that dies between what it stored and what it was about to publish: the command comes again and ends the same (D-1, T-1, V-3).

use std::sync::Arc;
use std::time::Duration;

use ridgeline_client::{
    AuthClient, ClientError, ClientOptions, ConfirmationState, Credential, InitiateAction, NewDevice, Tokens,
};
use ridgeline_domain::{DeviceFingerprint, DeviceId, DeviceType, KeyAlgorithm, Sensitive};
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_vault::dpop::DpopKey;
use ridgeline_vault::{Challenge, DeviceSigner};
use serde_json::json;

use crate::service::Service;

const EMAIL: &str = "linh@example.vn";
const PASSWORD: &str = "correct horse battery";

struct Phone {
    key: DeviceSigner,
    proof: DpopKey,
    fingerprint: DeviceFingerprint,
    device: DeviceId,
    web: Sensitive<String>,
}

fn client(service: &Service) -> AuthClient {
    // Proofs name the address, which changes with every start of the test: the service is told none and goes by its own.
    AuthClient::new(ClientOptions::new(&service.url, None), Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap()
}

fn plain(text: &Sensitive<String>) -> Challenge {
    Challenge::from_text(text.expose()).unwrap()
}

impl Phone {
    async fn register(client: &AuthClient) -> Self {
        let web = client.web_login(EMAIL, &Sensitive::new(PASSWORD.to_owned())).await.unwrap().access_token;
        let (key, proof) =
            (DeviceSigner::generate(&SystemEntropy).unwrap(), DpopKey::generate(&SystemEntropy).unwrap());
        let fingerprint: DeviceFingerprint = "pixel-7".parse().unwrap();
        let device = NewDevice {
            name: &"Pixel".parse().unwrap(),
            device_type: DeviceType::Mobile,
            fingerprint: &fingerprint,
            public_key: &key.public_pem().unwrap(),
            algorithm: KeyAlgorithm::Es256,
            language: None,
            proof_key: Some(&proof),
        };
        let challenge = client.register_challenge(&web, &device).await.unwrap();
        let signed = key.sign(&plain(&challenge.text));
        let device = client.register_verify(challenge.session_id, &signed, Some(&proof)).await.unwrap().device_id;
        Self { key, proof, fingerprint, device, web }
    }

    async fn login(&self, client: &AuthClient) -> Tokens {
        let challenge = client.login_challenge(&self.fingerprint, None).await.unwrap();
        client.login(challenge.session_id, &self.key.sign(&plain(&challenge.text)), true).await.unwrap()
    }

    async fn refresh(&self, client: &AuthClient, tokens: &Tokens) -> Result<Tokens, ClientError> {
        client.refresh(tokens.refresh_token.as_ref().unwrap(), Some(&self.proof)).await
    }
}

fn generation(tokens: &Tokens) -> i64 {
    use base64::Engine as _;
    let token = tokens.refresh_token.as_ref().unwrap().expose().clone();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["rotation_count"].as_i64().unwrap()
}

/// A refresh whose worker dies behind the stored answer, and one whose worker dies before the decision.
#[tokio::test(flavor = "multi_thread")]
async fn d1_t1_a_kill_between_store_and_publish_gives_no_second_pair_of_tokens() {
    for point in ["after-store:1", "before-decision:1", "after-effects:1"] {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::start(dir.path()).await;
        service.add_user(dir.path(), EMAIL, PASSWORD);
        let phone = Phone::register(&client(&service)).await;
        let first = phone.login(&client(&service)).await;
        assert!(service.stop().await.success());

        let service = Service::start_to_fail(dir.path(), Some(point)).await;
        let lost = phone.refresh(&client(&service), &first).await;
        // Where the decision was published the answer may have come before the process died.
        assert!(lost.is_err() || point == "after-effects:1", "{point}");
        assert!(!service.ended().await.success(), "{point}: it killed itself");

        let service = Service::start(dir.path()).await;
        let client = client(&service);
        // The phone asks for the lost answer with a fresh proof, and is given the very tokens that were stored.
        let second = phone.refresh(&client, &first).await.unwrap();
        assert_eq!(generation(&second), 1, "{point}: one successor");
        if let Ok(lost) = lost {
            assert_eq!(lost.refresh_token.unwrap().expose(), second.refresh_token.as_ref().unwrap().expose());
        }
        let third = phone.refresh(&client, &second).await.unwrap();
        assert_eq!(generation(&third), 2, "{point}");
        assert!(phone.refresh(&client, &first).await.is_err(), "{point}: the first is over");
        assert!(service.stop().await.success());
    }
}

/// An approval whose worker dies: the action is approved once, its token redeemed once.
#[tokio::test(flavor = "multi_thread")]
async fn v3_a_kill_between_store_and_publish_approves_once() {
    for point in ["after-store:1", "before-decision:1"] {
        let dir = tempfile::tempdir().unwrap();
        let service = Service::start(dir.path()).await;
        service.add_user(dir.path(), EMAIL, PASSWORD);
        let phone = Phone::register(&client(&service)).await;
        let tokens = phone.login(&client(&service)).await;
        let action = InitiateAction {
            action_type: "payment_approval".parse().unwrap(),
            action_payload: json!({ "amount": 50_000, "currency": "VND" }).as_object().unwrap().clone(),
            language: None,
            display_code: false,
            callback_url: None,
            requested_expiry_seconds: None,
        };
        let started = client(&service).initiate(&phone.web, &action).await.unwrap();
        let (id, signed) = (started.confirmation_id, phone.key.sign(&plain(&started.challenge)));
        assert!(service.stop().await.success());

        let service = Service::start_to_fail(dir.path(), Some(point)).await;
        let bound = Credential::Bound { token: &tokens.access_token, key: &phone.proof };
        assert!(client(&service).verify(bound, id, phone.device, &signed, None).await.is_err(), "{point}");
        assert!(!service.ended().await.success(), "{point}: it killed itself");

        let service = Service::start(dir.path()).await;
        let client = client(&service);
        let status = client.status(Credential::Bearer(&phone.web), id, Duration::from_secs(20)).await.unwrap();
        assert_eq!((status.status, status.approvals.len()), (ConfirmationState::Approved, 1), "{point}");
        let token = status.confirmation_token.unwrap();
        client.redeem(&phone.web, id, &token).await.unwrap();
        assert_eq!(client.redeem(&phone.web, id, &token).await.unwrap_err().problem().unwrap().status, 409, "{point}");
        assert!(service.stop().await.success());
    }
}
