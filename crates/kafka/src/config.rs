//! How the clients are set up.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use ridgeline_domain::Sensitive;

/// Longest batch that the producer makes of several records. A topic's `max.message.bytes` bounds batches, not records, so topics
/// are made with this much room above their largest record.
pub(crate) const BATCH_BYTES_MAX: usize = 256 * 1024;
/// Largest record of any topic with its envelope: a dead letter of 13 MiB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Time in which the polling thread must come back; librdkafka leaves the group otherwise.
const POLL_INTERVAL_MAX: Duration = Duration::from_secs(300);
/// Statistics of the clients are taken this often.
const STATISTICS: Duration = Duration::from_secs(5);

/// How to reach the brokers and how to behave there.
#[derive(Clone)]
pub struct KafkaConfig {
    /// Bootstrap addresses, `host:port` separated by commas.
    pub brokers: String,
    /// What the brokers call this client in their logs and quotas. Also begins the name of the group that reads without
    /// committing (`<client_id>.tail`), which ACLs must allow.
    pub client_id: String,
    /// Encryption and authentication.
    pub security: Security,
    /// What to be quick at.
    pub profile: Profile,
    /// A member that is not heard of for so long is out of its group.
    pub session_timeout: Duration,
    /// How often a member reports; also how soon it hears of a rebalance.
    pub heartbeat: Duration,
    /// How long a member may take to answer `Control::Revoked`, and at most three fifths of the session timeout.
    pub revoke_deadline: Duration,
    /// How long a record may wait for its acknowledgement before the publish fails.
    pub publish_timeout: Duration,
    /// Deliveries that may wait in the channel of one subscription.
    pub delivery_capacity: usize,
    /// Bytes of records that may wait in the channel of one subscription; one record always fits.
    pub delivery_bytes_max: usize,
    /// Settings of librdkafka, applied over ours, except for those that the port's promises rest on.
    pub overrides: Vec<(String, String)>,
    /// Copies of each partition of a new topic.
    pub replication: u16,
    /// Copies that must have a record before it is acknowledged, for new topics.
    pub min_insync: u16,
}

impl KafkaConfig {
    /// Defaults for a cluster: three copies of which two must have a record, 10 s sessions, 5 s to answer a revocation.
    #[must_use]
    pub fn new(brokers: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: client_id.into(),
            security: Security::Plaintext,
            profile: Profile::Latency,
            session_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_millis(500),
            revoke_deadline: Duration::from_secs(6),
            publish_timeout: Duration::from_secs(30),
            delivery_capacity: 256,
            delivery_bytes_max: 32 << 20,
            overrides: Vec::new(),
            replication: 3,
            min_insync: 2,
        }
    }
}

impl fmt::Debug for KafkaConfig {
    /// Overrides by name only: a value may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let overrides: Vec<_> = self.overrides.iter().map(|(name, _)| name).collect();
        f.debug_struct("KafkaConfig")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("security", &self.security)
            .field("profile", &self.profile)
            .field("session_timeout", &self.session_timeout)
            .field("revoke_deadline", &self.revoke_deadline)
            .field("publish_timeout", &self.publish_timeout)
            .field("overrides", &overrides)
            .field("replication", &self.replication)
            .field("min_insync", &self.min_insync)
            .finish_non_exhaustive()
    }
}

/// Encryption and authentication of the connections.
#[derive(Debug, Clone)]
pub enum Security {
    /// Neither.
    Plaintext,
    /// Encrypted; the client is known by its certificate, if it has one.
    Tls(Tls),
    /// Encrypted, with a user and a password.
    SaslTls(Tls, Sasl),
    /// A user and a password over an open line; for closed networks.
    Sasl(Sasl),
}

/// Who is trusted, and who we are.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// PEM file of the authorities that sign the brokers' certificates; the system's by default.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate.
    pub client: Option<ClientCertificate>,
}

/// A certificate of the client.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// PEM file of the certificate.
    pub certificate_file: PathBuf,
    /// PEM file of its private key.
    pub key_file: PathBuf,
}

/// A user of the cluster.
#[derive(Debug, Clone)]
pub struct Sasl {
    /// How the password is proven.
    pub mechanism: Mechanism,
    /// User name.
    pub username: String,
    /// Password.
    pub password: Sensitive<String>,
}

/// How a password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// SCRAM-SHA-256.
    ScramSha256,
    /// SCRAM-SHA-512.
    ScramSha512,
    /// Sent as it is; only over TLS.
    Plain,
}

impl Mechanism {
    /// By the name that Kafka gives it, for instance `SCRAM-SHA-512`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::ScramSha256, Self::ScramSha512, Self::Plain].into_iter().find(|mechanism| mechanism.name() == name)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Plain => "PLAIN",
        }
    }
}

/// What the clients are quick at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Records go out at once; brokers hold an empty fetch for 100 ms, so that a partition that begins or goes on is soon read.
    Latency,
    /// Records wait 5 ms for company and fetches are larger.
    Throughput,
}

/// Kilobytes that librdkafka may read ahead for one subscription, all partitions together. It exceeds this by one answer of
/// each broker ([`FETCH_BYTES_MAX`]).
const fn read_ahead_kbytes(profile: Profile) -> usize {
    match profile {
        Profile::Latency => 8 << 10,
        Profile::Throughput => 32 << 10,
    }
}
/// Bytes of one answer of a broker; librdkafka wants at least the largest message.
const FETCH_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

impl KafkaConfig {
    /// A setting that the user chose.
    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.overrides.iter().rfind(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// How long a member may take to answer a revocation: as set, but at most three fifths of the session that it would lose otherwise,
    /// which an override may have shortened.
    pub(crate) fn revocation(&self) -> Duration {
        let chosen = self.option("session.timeout.ms");
        let chosen = chosen.and_then(|value| value.trim().parse().ok().map(Duration::from_millis));
        self.revoke_deadline.min(chosen.unwrap_or(self.session_timeout) * 3 / 5)
    }

    /// A consumer in a group. `instance` makes it a static member.
    pub(crate) fn consumer(&self, group: &str, instance: Option<&str>) -> ClientConfig {
        let mut config = self.base();
        let (wait_ms, partition_bytes, records, full_ms) = match self.profile {
            Profile::Latency => (100, 256 << 10, 2_000, 10),
            Profile::Throughput => (500, 1 << 20, 20_000, 50),
        };
        set(&mut config, "fetch.wait.max.ms", wait_ms);
        set(&mut config, "fetch.message.max.bytes", partition_bytes);
        set(&mut config, "fetch.max.bytes", FETCH_BYTES_MAX);
        set(&mut config, "queued.min.messages", records);
        set(&mut config, "queued.max.messages.kbytes", read_ahead_kbytes(self.profile));
        set(&mut config, "fetch.queue.backoff.ms", full_ms);
        set(&mut config, "fetch.error.backoff.ms", 100);
        set(&mut config, "session.timeout.ms", self.session_timeout.as_millis());
        set(&mut config, "heartbeat.interval.ms", self.heartbeat.as_millis());
        set(&mut config, "max.poll.interval.ms", POLL_INTERVAL_MAX.max(self.session_timeout).as_millis());
        self.apply_overrides(&mut config);
        set(&mut config, "group.id", group);
        if let Some(instance) = instance {
            set(&mut config, "group.instance.id", instance);
        }
        set(&mut config, "group.protocol", "classic");
        set(&mut config, "partition.assignment.strategy", "cooperative-sticky");
        set(&mut config, "enable.auto.commit", false);
        set(&mut config, "enable.auto.offset.store", false);
        set(&mut config, "auto.offset.reset", "earliest");
        set(&mut config, "enable.partition.eof", true);
        set(&mut config, "isolation.level", "read_committed");
        set(&mut config, "allow.auto.create.topics", false);
        config
    }

    /// A client for metadata and offsets, without a group.
    pub(crate) fn questions(&self) -> ClientConfig {
        let mut config = self.base();
        self.apply_overrides(&mut config);
        config.remove("group.id");
        set(&mut config, "enable.auto.commit", false);
        set(&mut config, "isolation.level", "read_committed");
        set(&mut config, "allow.auto.create.topics", false);
        config
    }

    pub(crate) fn admin(&self) -> ClientConfig {
        let mut config = self.base();
        self.apply_overrides(&mut config);
        set(&mut config, "statistics.interval.ms", 0);
        config
    }

    /// The producer of the process.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.base();
        let linger_ms = match self.profile {
            Profile::Latency => 0,
            Profile::Throughput => 5,
        };
        set(&mut config, "linger.ms", linger_ms);
        // Bounds what a process holds while the brokers are away.
        set(&mut config, "queue.buffering.max.kbytes", 64 << 10);
        set(&mut config, "message.timeout.ms", self.publish_timeout.as_millis());
        set(&mut config, "request.timeout.ms", Duration::from_secs(10).min(self.publish_timeout).as_millis());
        self.apply_overrides(&mut config);
        set(&mut config, "batch.size", BATCH_BYTES_MAX);
        set(&mut config, "enable.idempotence", true);
        set(&mut config, "acks", "all");
        config
    }

    fn base(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        set(&mut config, "bootstrap.servers", &self.brokers);
        set(&mut config, "client.id", &self.client_id);
        set(&mut config, "statistics.interval.ms", STATISTICS.as_millis());
        set(&mut config, "message.max.bytes", MESSAGE_BYTES_MAX);
        set(&mut config, "socket.keepalive.enable", true);
        set(&mut config, "socket.timeout.ms", 15_000);
        set(&mut config, "reconnect.backoff.max.ms", 2_000);
        // A broker closes idle connections; that is no error.
        set(&mut config, "log.connection.close", false);
        self.security(&mut config);
        config
    }

    fn security(&self, config: &mut ClientConfig) {
        let (protocol, tls, sasl) = match &self.security {
            Security::Plaintext => ("plaintext", None, None),
            Security::Tls(tls) => ("ssl", Some(tls), None),
            Security::SaslTls(tls, sasl) => ("sasl_ssl", Some(tls), Some(sasl)),
            Security::Sasl(sasl) => ("sasl_plaintext", None, Some(sasl)),
        };
        set(config, "security.protocol", protocol);
        if let Some(Tls { ca_file, client }) = tls {
            if let Some(file) = ca_file {
                set(config, "ssl.ca.location", file.display());
            }
            if let Some(ClientCertificate { certificate_file, key_file }) = client {
                set(config, "ssl.certificate.location", certificate_file.display());
                set(config, "ssl.key.location", key_file.display());
            }
        }
        if let Some(Sasl { mechanism, username, password }) = sasl {
            set(config, "sasl.mechanism", mechanism.name());
            set(config, "sasl.username", username);
            set(config, "sasl.password", password.expose());
        }
    }

    fn apply_overrides(&self, config: &mut ClientConfig) {
        for (name, value) in &self.overrides {
            set(config, name, value);
        }
        // Who we are to a group and to the brokers is said in one place, and is the same for all processes nowhere.
        for name in ["group.id", "group.instance.id", "transactional.id"] {
            config.remove(name);
        }
        self.security(config);
    }
}

fn set(config: &mut ClientConfig, name: &str, value: impl ToString) {
    config.set(name, value.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_outlives_the_answer_to_a_revocation() {
        let mut config = KafkaConfig::new("localhost:9092", "test");
        assert_eq!(config.revocation(), Duration::from_secs(6));
        config.overrides = vec![("session.timeout.ms".into(), "3000".into())];
        assert_eq!(config.revocation(), Duration::from_millis(1800));
        config.overrides = vec![("session.timeout.ms".into(), "60000".into())];
        assert_eq!(config.revocation(), Duration::from_secs(6));
    }

    #[test]
    fn overrides_win_except_where_promises_rest_on_a_setting() {
        let mut config = KafkaConfig::new("localhost:9092", "test");
        let poison = [
            ("enable.auto.commit", "true"),
            ("enable.auto.offset.store", "true"),
            ("auto.offset.reset", "latest"),
            ("enable.partition.eof", "false"),
            ("isolation.level", "read_uncommitted"),
            ("partition.assignment.strategy", "range"),
            ("group.id", "other"),
            ("group.instance.id", "other"),
            ("security.protocol", "ssl"),
            ("allow.auto.create.topics", "true"),
            ("enable.idempotence", "false"),
            ("acks", "0"),
            ("batch.size", "1000000"),
            ("fetch.wait.max.ms", "7"),
            ("linger.ms", "9"),
        ];
        config.overrides = poison.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let consumer = config.consumer("group", None);
        assert_eq!(consumer.get("group.instance.id"), None);
        assert_eq!(consumer.get("security.protocol"), Some("plaintext"));
        for (name, value) in [
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "earliest"),
            ("enable.partition.eof", "true"),
            ("isolation.level", "read_committed"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("group.id", "group"),
            ("allow.auto.create.topics", "false"),
            ("fetch.wait.max.ms", "7"),
        ] {
            assert_eq!(consumer.get(name), Some(value), "{name}");
        }
        let producer = config.producer();
        for (name, value) in
            [("enable.idempotence", "true"), ("acks", "all"), ("batch.size", "262144"), ("linger.ms", "9")]
        {
            assert_eq!(producer.get(name), Some(value), "{name}");
        }
    }

    #[test]
    fn debug_tells_no_secret() {
        let mut config = KafkaConfig::new("localhost:9092", "test");
        config.overrides.push(("ssl.key.password".into(), "hush".into()));
        let password = Sensitive::new("hush".to_owned());
        let sasl = Sasl { mechanism: Mechanism::Plain, username: "alice".into(), password };
        config.security = Security::SaslTls(Tls::default(), sasl);
        let text = format!("{config:?}");
        assert!(!text.contains("hush"), "{text}");
        assert!(text.contains("ssl.key.password") && text.contains("alice"), "{text}");
    }
}
