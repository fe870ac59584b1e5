//! Login of a device over HTTP in the embedded mode: a challenge, its signature, tokens; at 1 and 64 in flight.
//!
//! Beside it, in the same run, stands the way of one request whose worker decides nothing (`roundtrip`). A login is two such ways, six
//! signatures and checks of ES256, four sealed messages and some twelve rows.
#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::sync::Arc;

use anyhow::{Context, Result};
use ridgeline_benches::idle::{ask, echo};
use ridgeline_benches::{Service, Timed, identity, time};
use ridgeline_client::{AuthClient, ClientOptions, NewDevice};
use ridgeline_domain::{DeviceFingerprint, DeviceType, KeyAlgorithm, Sensitive, Timestamp, TrustPolicy};
use ridgeline_ports::RowKey;
use ridgeline_runtime::{SystemClock, SystemEntropy};
use ridgeline_vault::command::CommandOpener;
use ridgeline_vault::{Challenge, DeviceSigner, password};
use ridgeline_wire::auth_row::{UserRow, table};
use ridgeline_workers::{AuthConfig, AuthParts, run_auth};

const EMAIL: &str = "bench@ridgeline.example";
const PASSWORD: &str = "correct horse battery";
const PHONES: usize = 16;

struct Phone {
    key: DeviceSigner,
    fingerprint: DeviceFingerprint,
}

#[tokio::main]
async fn main() -> Result<()> {
    let service = Service::start().await?;
    tokio::spawn(echo(&service));
    work(&service)?;
    let client =
        AuthClient::new(ClientOptions::new(&service.url, None), Arc::new(SystemClock), Arc::new(SystemEntropy))?;
    let phones = Arc::new(phones(&service, &client).await?);
    println!("{:>9} {:>9} {:>9} {:>9} {:>12} {:>7}", "in flight", "what", "p50 ms", "p99 ms", "per second", "ratio");
    for (in_flight, calls) in [(1, 200), (64, 1_500)] {
        let http = service.client.clone();
        let way = time(calls, in_flight, move |_| ask(http.clone())).await?;
        let (client, phones) = (client.clone(), phones.clone());
        let login = time(calls, in_flight, move |number| {
            let (client, phones) = (client.clone(), phones.clone());
            async move { login(&client, phones.get(number % PHONES).context("a phone")?).await }
        })
        .await?;
        row(in_flight, "one way", &way, None);
        row(in_flight, "login", &login, Some(way.per_second() / login.per_second()));
    }
    service.stop.cancel();
    Ok(())
}

fn row(in_flight: usize, what: &str, timed: &Timed, ratio: Option<f64>) {
    let ratio = ratio.map(|ratio| format!("{ratio:.2}")).unwrap_or_default();
    let (p50, p99) = (timed.percentile_ms(0.5), timed.percentile_ms(0.99));
    println!("{in_flight:>9} {what:>9} {p50:>9.2} {p99:>9.2} {:>12.0} {ratio:>7}", timed.per_second());
}

fn work(service: &Service) -> Result<()> {
    let parts = AuthParts {
        opener: CommandOpener::new(&service.ring)?,
        commands: service.ring.command_key().context("command key")?,
        sender: "auth:bench".parse().context("agent id")?,
        identity: identity(service.platform.store.clone())?,
        config: AuthConfig {
            issuer: "bench".to_owned(),
            public_url: service.url.clone(),
            trust: TrustPolicy::default(),
            approvals: ridgeline_flow::auth::ApprovalPolicy::default(),
            private_callbacks: false,
        },
    };
    let (platform, stop) = (service.platform.clone(), service.stop.clone());
    tokio::spawn(async move { run_auth(platform, parts, "bench", stop).await });
    Ok(())
}

/// Registered phones of one user.
async fn phones(service: &Service, client: &AuthClient) -> Result<Vec<Phone>> {
    let hash = password::hash(&Sensitive::new(PASSWORD.to_owned()), &SystemEntropy)?;
    let row = UserRow {
        user_id: "bench".to_owned(),
        email: EMAIL.to_owned(),
        password: hash,
        roles: Vec::new(),
        department: None,
        disabled: false,
        created_at: Timestamp::from_millis(0),
    };
    let value = ridgeline_wire::encode(&row)?.into();
    service.platform.store.insert_new(table::USERS, &RowKey::single(EMAIL), value, None).await?;
    let web = client.web_login(EMAIL, &Sensitive::new(PASSWORD.to_owned())).await?.access_token;
    let mut phones = Vec::with_capacity(PHONES);
    for number in 0..PHONES {
        let key = DeviceSigner::generate(&SystemEntropy)?;
        let fingerprint: DeviceFingerprint = format!("bench-{number}").parse()?;
        let device = NewDevice {
            name: &"Bench".parse()?,
            device_type: DeviceType::Mobile,
            fingerprint: &fingerprint,
            public_key: &key.public_pem()?,
            algorithm: KeyAlgorithm::Es256,
            language: None,
            proof_key: None,
        };
        let challenge = client.register_challenge(&web, &device).await?;
        let signed = key.sign(&Challenge::from_text(challenge.text.expose())?);
        client.register_verify(challenge.session_id, &signed, None).await?;
        phones.push(Phone { key, fingerprint });
    }
    Ok(phones)
}

async fn login(client: &AuthClient, phone: &Phone) -> Result<()> {
    let challenge = client.login_challenge(&phone.fingerprint, None).await?;
    let signed = phone.key.sign(&Challenge::from_text(challenge.text.expose())?);
    client.login(challenge.session_id, &signed, true).await?;
    Ok(())
}
