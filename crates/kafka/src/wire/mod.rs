//! The few requests to a broker that the client library's safe interface does not have: reading and making access rules.
//!
//! One connection, one request at a time, in the oldest versions that brokers from 2.0 to 4 have in common: all fields at fixed places.
//! Sources: Kafka's protocol guide; RFC 5802 and 7677 for SCRAM.
#![deny(clippy::indexing_slicing)]

mod codec;
mod scram;

use std::path::{Path, PathBuf};
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslConnector, SslMethod};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use ridgeline_domain::Sensitive;
use ridgeline_ports::LogError;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_openssl::SslStream;

use self::codec::{Reader, Writer};
use self::scram::Scram;
use crate::admin::{Granted, Rule};
use crate::config::{KafkaConfig, Mechanism, Sasl, Security, Tls};

/// Time for connecting, and for each answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Largest answer that is read: some hundred thousand rules.
const ANSWER_BYTES_MAX: usize = 32 << 20;

const SASL_HANDSHAKE: (i16, i16) = (17, 1);
const DESCRIBE_ACLS: (i16, i16) = (29, 1);
const CREATE_ACLS: (i16, i16) = (30, 1);
const SASL_AUTHENTICATE: (i16, i16) = (36, 0);

/// No rules are checked by this cluster.
const SECURITY_DISABLED: i16 = 54;
const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
const ANY: i8 = 1;
const TOPIC: i8 = 2;
const GROUP: i8 = 3;
/// A pattern of names that is one name.
const LITERAL: i8 = 3;
const PREFIXED: i8 = 4;
const ALLOW: i8 = 3;

trait Line: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Line for T {}

/// A connection to a broker, authenticated as the process is.
pub(crate) struct Broker {
    line: Box<dyn Line>,
    client_id: String,
    requests: i32,
}

impl Broker {
    /// Connects to the first of the brokers that answers.
    ///
    /// # Errors
    /// What the last of them said.
    pub(crate) async fn connect(config: &KafkaConfig) -> Result<Self, LogError> {
        let mut last = away("no broker is named");
        for address in config.brokers.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match timeout(ANSWER_MAX, Self::open(config, address)).await {
                Ok(Ok(broker)) => return Ok(broker),
                Ok(Err(error)) => last = error,
                Err(_) => last = away(&format!("{address}: no answer within {} s", ANSWER_MAX.as_secs())),
            }
        }
        Err(last)
    }

    async fn open(config: &KafkaConfig, address: &str) -> Result<Self, LogError> {
        let (host, _) = address.rsplit_once(':').ok_or_else(|| away(&format!("{address:?} is not host:port")))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let named = |error: &dyn std::fmt::Display| away(&format!("{address}: {error}"));
        let stream = TcpStream::connect(address).await.map_err(|error| named(&error))?;
        let (tls, sasl) = match &config.security {
            Security::Plaintext => (None, None),
            Security::Tls(tls) => (Some(tls), None),
            Security::SaslTls(tls, sasl) => (Some(tls), Some(sasl)),
            Security::Sasl(sasl) => (None, Some(sasl)),
        };
        let line: Box<dyn Line> = match tls {
            None => Box::new(stream),
            Some(tls) => Box::new(encrypted(stream, config, tls, host).await.map_err(|error| named(&error))?),
        };
        let mut broker = Self { line, client_id: config.client_id.clone(), requests: 0 };
        if let Some(sasl) = sasl {
            broker.authenticate(sasl).await?;
        }
        Ok(broker)
    }

    /// All rules about topics and groups; `None` if the cluster checks none.
    ///
    /// # Errors
    /// When the broker refuses or goes away.
    pub(crate) async fn granted(&mut self) -> Result<Option<Vec<Granted>>, LogError> {
        let mut all = Vec::new();
        for kind in [TOPIC, GROUP] {
            let mut filter = Writer::default();
            filter.i8(kind).absent().i8(ANY).absent().absent().i8(ANY).i8(ANY);
            let answer = self.ask(DESCRIBE_ACLS, filter).await?;
            match granted(&answer)? {
                Some(some) => all.extend(some),
                None => return Ok(None),
            }
        }
        Ok(Some(all))
    }

    /// Makes rules; one that exists already stays as it is.
    ///
    /// # Errors
    /// When the broker refuses one, or goes away. Others may have been made.
    pub(crate) async fn allow(&mut self, rules: &[Rule]) -> Result<(), LogError> {
        let mut list = Writer::default();
        list.count(rules.len());
        for rule in rules {
            let kind = if rule.resource.is_topic() { TOPIC } else { GROUP };
            list.i8(kind).text(rule.resource.name()).i8(LITERAL).text(&rule.principal).text("*");
            list.i8(rule.operation.code()).i8(ALLOW);
        }
        let answer = self.ask(CREATE_ACLS, list).await?;
        let mut answer = Reader::new(&answer);
        let _throttled = answer.i32()?;
        for _ in 0..answer.count()? {
            let (code, text) = (answer.i16()?, answer.text()?);
            refused(code, text.as_deref())?;
        }
        answer.end()
    }

    async fn authenticate(&mut self, sasl: &Sasl) -> Result<(), LogError> {
        let mut handshake = Writer::default();
        handshake.text(sasl.mechanism.name());
        let answer = self.ask(SASL_HANDSHAKE, handshake).await?;
        if Reader::new(&answer).i16()? != 0 {
            return Err(away(&format!("the broker does not take {}", sasl.mechanism.name())));
        }
        if sasl.mechanism == Mechanism::Plain {
            let token = Sensitive::new(format!("\0{}\0{}", sasl.username, sasl.password.expose()));
            return self.token(token.expose().as_bytes()).await.map(drop);
        }
        let mut scram = Scram::new(sasl).map_err(|error| away(&error))?;
        let first = self.token(scram.first().as_bytes()).await?;
        let proof = scram.proof(&first).map_err(|error| away(&error))?;
        let last = self.token(proof.as_bytes()).await?;
        scram.verify(&last).map_err(|error| away(&error))
    }

    async fn token(&mut self, token: &[u8]) -> Result<Vec<u8>, LogError> {
        let mut request = Writer::default();
        request.bytes(token);
        let answer = self.ask(SASL_AUTHENTICATE, request).await?;
        let mut answer = Reader::new(&answer);
        let (code, text) = (answer.i16()?, answer.text()?);
        if code != 0 {
            return Err(away(&format!("authentication failed: {}", text.unwrap_or_default())));
        }
        answer.bytes().map(<[u8]>::to_vec)
    }

    async fn ask(&mut self, (api, version): (i16, i16), body: Writer) -> Result<Vec<u8>, LogError> {
        self.requests += 1;
        let mut head = Writer::default();
        head.i16(api).i16(version).i32(self.requests).text(&self.client_id);
        let frame = head.followed_by(body).framed()?;
        let talk = async {
            self.line.write_all(&frame).await?;
            self.line.flush().await?;
            let length = usize::try_from(self.line.read_i32().await?).unwrap_or(usize::MAX);
            if length > ANSWER_BYTES_MAX {
                return Err(std::io::Error::other("an answer of impossible length: is this port Kafka's?"));
            }
            let mut answer = vec![0; length];
            self.line.read_exact(&mut answer).await?;
            Ok(answer)
        };
        let answer = timeout(ANSWER_MAX, talk).await.map_err(|_| away("the broker does not answer"))?;
        let mut answer = answer.map_err(|error| away(&error.to_string()))?;
        if Reader::new(&answer).i32()? != self.requests {
            return Err(away("an answer to another request"));
        }
        Ok(answer.split_off(4))
    }
}

async fn encrypted(
    stream: TcpStream,
    config: &KafkaConfig,
    tls: &Tls,
    host: &str,
) -> Result<SslStream<TcpStream>, String> {
    let ssl = prepared(config, tls, host).map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let mut stream = SslStream::new(ssl, stream).map_err(|error| error.to_string())?;
    std::pin::Pin::new(&mut stream).connect().await.map_err(|error| format!("TLS: {error}"))?;
    Ok(stream)
}

/// As the client library is set up, by its own options too.
fn prepared(config: &KafkaConfig, tls: &Tls, host: &str) -> Result<Ssl, String> {
    let told = |error: ErrorStack| error.to_string();
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let option = |name: &str| config.option(name).map(PathBuf::from);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(told)?;
    if let Some(file) = tls.ca_file.clone().or_else(|| option("ssl.ca.location")) {
        // The builder begins with the system's authorities; a new store has none.
        let mut store = X509StoreBuilder::new().map_err(told)?;
        for authority in X509::stack_from_pem(&read(&file)?).map_err(told)? {
            store.add_cert(authority).map_err(told)?;
        }
        builder.set_cert_store(store.build());
    }
    let own = tls.client.as_ref();
    let certificate = own.map(|own| own.certificate_file.clone()).or_else(|| option("ssl.certificate.location"));
    let key = own.map(|own| own.key_file.clone()).or_else(|| option("ssl.key.location"));
    if let (Some(certificate), Some(key)) = (certificate, key) {
        let password = config.option("ssl.key.password").unwrap_or_default();
        let pem = Sensitive::new(read(&key)?);
        let key = PKey::private_key_from_pem_passphrase(pem.expose(), password.as_bytes()).map_err(told)?;
        builder.set_certificate_chain_file(&certificate).map_err(told)?;
        builder.set_private_key(&key).map_err(told)?;
    }
    builder.build().configure().and_then(|configured| configured.into_ssl(host)).map_err(told)
}

fn granted(answer: &[u8]) -> Result<Option<Vec<Granted>>, LogError> {
    let mut answer = Reader::new(answer);
    let _throttled = answer.i32()?;
    let (code, text) = (answer.i16()?, answer.text()?);
    if code == SECURITY_DISABLED {
        return Ok(None);
    }
    refused(code, text.as_deref())?;
    let mut all = Vec::new();
    for _ in 0..answer.count()? {
        let (kind, name, pattern) = (answer.i8()?, answer.required()?, answer.i8()?);
        for _ in 0..answer.count()? {
            let (principal, host) = (answer.required()?, answer.required()?);
            let (operation, permission) = (answer.i8()?, answer.i8()?);
            all.push(Granted {
                is_topic: kind == TOPIC,
                name: name.clone(),
                is_prefix: pattern == PREFIXED,
                principal,
                host,
                operation,
                is_allowed: permission == ALLOW,
            });
        }
    }
    answer.end()?;
    Ok(Some(all))
}

fn refused(code: i16, text: Option<&str>) -> Result<(), LogError> {
    match (code, text) {
        (0, _) => Ok(()),
        (CLUSTER_AUTHORIZATION_FAILED, _) => {
            Err(away("access rules need Describe and Alter on the cluster, which this user does not have"))
        }
        (SECURITY_DISABLED, _) => Err(away("this cluster checks no access rules: it has no authorizer")),
        (code, Some(text)) => Err(away(&format!("refused with code {code}: {text}"))),
        (code, None) => Err(away(&format!("refused with code {code}"))),
    }
}

fn away(text: &str) -> LogError {
    LogError::Unavailable(text.to_owned())
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "the lengths are the test's own")]
mod tests {
    use super::*;

    fn described() -> Vec<u8> {
        let mut answer = Writer::default();
        answer.i32(0).i16(0).absent().count(1).i8(TOPIC).text("scans").i8(3).count(1);
        answer.text("User:gateway").text("*").i8(4).i8(3);
        answer.into_bytes()
    }

    #[test]
    fn rules_are_read() {
        let rules = granted(&described()).unwrap().unwrap();
        let [rule] = &rules[..] else { panic!("one rule") };
        assert_eq!((rule.name.as_str(), rule.principal.as_str(), rule.operation), ("scans", "User:gateway", 4));
        assert!(rule.is_topic && rule.is_allowed && !rule.is_prefix);
    }

    #[test]
    fn every_cut_answer_and_every_longer_one_is_refused() {
        let whole = described();
        for end in 0..whole.len() {
            assert!(granted(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(granted(&[&whole[..], &[0]].concat()).is_err());
        let mut lying = whole;
        lying[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
        assert!(granted(&lying).is_err());
    }

    #[test]
    fn refusals_say_what_is_missing() {
        let answer = |code: i16| {
            let mut answer = Writer::default();
            answer.i32(0).i16(code).absent().count(0);
            granted(&answer.into_bytes())
        };
        assert!(answer(SECURITY_DISABLED).unwrap().is_none());
        let error = answer(CLUSTER_AUTHORIZATION_FAILED).unwrap_err().to_string();
        assert!(error.contains("Describe and Alter"), "{error}");
        assert!(answer(87).unwrap_err().to_string().contains("87"));
    }

    #[tokio::test]
    async fn what_is_no_broker_is_said_to_be_none() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut line, _) = listener.accept().await.unwrap();
            line.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
        let mut broker = Broker::connect(&KafkaConfig::new(address, "test")).await.unwrap();
        let error = broker.granted().await.unwrap_err().to_string();
        assert!(error.contains("is this port Kafka's"), "{error}");
    }
}
