//! The event log over Apache Kafka: the only crate that names `rdkafka`.
