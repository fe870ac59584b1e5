//! Tokens and challenges of devices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ridgeline_client::{AuthClient, ClientOptions, NewDevice, Tokens};
use ridgeline_domain::{AuthOperation, DecidedOperation, DeviceFingerprint, DeviceType, KeyAlgorithm, Sensitive};
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_vault::dpop::DpopKey;
use ridgeline_vault::{Challenge, DeviceSigner};
use ridgeline_wire::Topic;
use ridgeline_wire::auth_row::{FamilyRow, table};
use ridgeline_wire::decode;
use ridgeline_wire::message::{Audit, Decision};

use crate::member::Member;
use crate::oracle::Verdict;
use crate::place::Place;
use crate::records::set_back;
use crate::site::{PUBLIC_URL, Site};

const PHONES: usize = 6;
const REFRESHES: usize = 4;
const EMAIL: &str = "linh@example.vn";
const PASSWORD: &str = "correct horse battery";
const PATIENCE: Duration = Duration::from_secs(60);

struct Phone {
    key: DeviceSigner,
    proof: DpopKey,
    fingerprint: DeviceFingerprint,
}

impl Phone {
    async fn register(client: &AuthClient, web: &Sensitive<String>, number: usize) -> Self {
        let (key, proof) =
            (DeviceSigner::generate(&SystemEntropy).unwrap(), DpopKey::generate(&SystemEntropy).unwrap());
        let fingerprint: DeviceFingerprint = format!("phone-{number}").parse().unwrap();
        let device = NewDevice {
            name: &"Phone".parse().unwrap(),
            device_type: DeviceType::Mobile,
            fingerprint: &fingerprint,
            public_key: &key.public_pem().unwrap(),
            algorithm: KeyAlgorithm::Es256,
            language: None,
            proof_key: Some(&proof),
        };
        let challenge = client.register_challenge(web, &device).await.unwrap();
        let signed = key.sign(&Challenge::from_text(challenge.text.expose()).unwrap());
        client.register_verify(challenge.session_id, &signed, Some(&proof)).await.unwrap();
        Self { key, proof, fingerprint }
    }

    async fn login(&self, client: &AuthClient) -> Tokens {
        let challenge = client.login_challenge(&self.fingerprint, None).await.unwrap();
        let signed = self.key.sign(&Challenge::from_text(challenge.text.expose()).unwrap());
        client.login(challenge.session_id, &signed, true).await.unwrap()
    }

    /// The next tokens; an answer that is lost is asked for again with a fresh proof.
    async fn refresh(&self, client: &AuthClient, tokens: &Tokens) -> Tokens {
        let token = tokens.refresh_token.as_ref().unwrap();
        let limit = tokio::time::Instant::now() + PATIENCE;
        loop {
            match client.refresh(token, Some(&self.proof)).await {
                Ok(tokens) => return tokens,
                Err(error) if error.is_transient() && tokio::time::Instant::now() < limit => {}
                Err(error) => panic!("a refresh is refused: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn worker(site: &Site, name: &str, clock_off_ms: i64) -> Member {
    let mut command = site.command("auth", name);
    command.env("RIDGELINE_CLOCK_OFFSET_MS", clock_off_ms.to_string());
    site.spawn(command, name).ready().await
}

/// Two auth workers, one clock ten minutes late, the other early. Phones register, sign in and refresh while one worker is killed; then
/// all offsets are set back: no second pair of tokens, no second family, and the live tokens go on.
pub(crate) async fn tokens(place: &Place) -> Verdict {
    let site = Site::new(place).await;
    let gateway = site.gateway("gw1").await;
    let (late, early) = (worker(&site, "late", 600_000).await, worker(&site, "early", -600_000).await);
    site.add_user(&gateway, EMAIL, PASSWORD);
    let client = ClientOptions::new(gateway.url(), None);
    let client = AuthClient::new(client, Arc::new(SystemClock), Arc::new(SystemEntropy)).unwrap();
    let client = client.with_public_url(PUBLIC_URL).unwrap();
    let web = client.web_login(EMAIL, &Sensitive::new(PASSWORD.to_owned())).await.unwrap().access_token;
    let mut sessions = Vec::new();
    for number in 0..PHONES {
        let phone = Phone::register(&client, &web, number).await;
        let tokens = phone.login(&client).await;
        sessions.push((phone, tokens));
    }
    let mut late = Some(late);
    for round in 0..REFRESHES {
        if round == 1
            && let Some(late) = late.take()
        {
            late.kill();
        }
        for (phone, tokens) in &mut sessions {
            *tokens = phone.refresh(&client, tokens).await;
        }
        if round == 2 {
            late = Some(worker(&site, "late", 600_000).await);
        }
    }
    early.stop().await;
    if let Some(late) = late {
        late.stop().await;
    }
    let (before, published) = (families(&site).await, decisions(&site).await);
    let asked = published.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len();
    let again = u64::try_from(asked).unwrap();
    set_back(&site, Topic::AuthCommands, "auth", again).await;
    let _workers = [worker(&site, "late", 600_000).await, worker(&site, "early", -600_000).await];
    crate::within(PATIENCE, "every decision again", async || decisions(&site).await.len() >= published.len() + asked)
        .await;
    let all = decisions(&site).await;
    let mut by_id: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (id, bytes) in &all {
        by_id.entry(id.clone()).or_default().insert(bytes.clone());
    }
    let doubled = by_id.values().filter(|told| told.len() > 1).count();
    let decided = by_id.iter().filter_map(|(id, told)| Some((id.clone(), decode(told.first()?).ok()?))).collect();
    let mut verdict = Verdict::counted(decided, asked, doubled, audited(&site).await);
    if doubled > 0 {
        verdict.fault("D-1, a command has two decisions", doubled.to_string());
    }
    if families(&site).await != before {
        verdict.fault("T-1, a family was changed again", "");
    }
    let wanted = i32::try_from(REFRESHES).unwrap();
    if before.len() != PHONES
        || before.values().any(|family| (family.rotation_count, family.revoked_by) != (wanted, None))
    {
        verdict.fault("T-1, a family is not where its phone is", format!("{} families", before.len()));
    }
    for (phone, tokens) in &sessions {
        phone.refresh(&client, tokens).await;
    }
    verdict
}

/// The families of all phones.
async fn families(site: &Site) -> BTreeMap<String, FamilyRow> {
    let (mut all, mut from) = (BTreeMap::new(), None);
    loop {
        let page = site.store.scan(table::FAMILIES, from.as_ref(), 100).await.unwrap();
        for (key, row) in page.rows {
            all.insert(key.partition, decode(&row.value).unwrap());
        }
        from = page.next;
        if from.is_none() {
            return all;
        }
    }
}

/// Every decision of an auth worker, as often as it was published.
async fn decisions(site: &Site) -> Vec<(String, Vec<u8>)> {
    let records = crate::oracle::records(&*site.log, &site.prefix, Topic::Decisions).await;
    let of_auth = |bytes: &[u8]| {
        let decision: Decision = decode(bytes).ok()?;
        // What is due is decided when it is due.
        let DecidedOperation::Auth(operation) = decision.operation else { return None };
        (operation != AuthOperation::Expire).then(|| decision.confirmation_id.to_string())
    };
    let values = records.into_iter().filter_map(|record| record.value).map(|value| value.to_vec());
    values.filter_map(|bytes| Some((of_auth(&bytes)?, bytes))).collect()
}

async fn audited(site: &Site) -> usize {
    let records = crate::oracle::records(&*site.log, &site.prefix, Topic::Audit).await;
    let events = records.into_iter().filter_map(|record| decode::<Audit>(record.value.as_ref()?).ok());
    let ids: BTreeSet<_> =
        events.filter(|event| event.event_type.starts_with("auth.")).map(|event| event.event_id).collect();
    ids.len()
}
