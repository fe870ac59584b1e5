//! What travels and what is stored: the topic table, the messages, the rows, and their Avro encoding.
//!
//! `schemas/` is the source of truth; the structs here mirror it field by field, and a golden test holds the two together.
//! Every encoded value starts with the Confluent frame: a zero byte and the schema id, four bytes big endian.

pub mod action;
pub mod action_row;
pub mod auth;
pub mod auth_row;
mod codec;
pub mod message;
pub mod row;
mod text;
mod topic;

pub use codec::{Encoded, SchemaId, WireError, decode, encode, schema_of, schemas};
pub use topic::{GALLERY_VERSION, Role, SUBJECT, Topic, TopicRow, Topology};
