//! Secrets at rest and on the wire: key ring, ciphertexts, sealed samples and templates, signatures of agents and devices,
//! API keys.
//!
//! * [`Vault`] seals what is stored or published (`RL1`, AES-256-GCM under keys of a [`KeyRing`]) and is bound by an
//!   [`Aad`] to the place where it lies, so that a ciphertext moved elsewhere does not open.
//! * [`seal_sample`] and [`SampleOpener`] carry a sample from an agent, which holds no secret of the matchers, to a
//!   matcher (HPKE, RFC 9180), bound to its request by a [`ScanBinding`].
//! * [`CommandKey`](command::CommandKey) and [`CommandOpener`](command::CommandOpener) carry a command from a gateway to the
//!   auth workers in the same way.
//! * [`ScanSignature`] is what an agent signs (ES256); [`AgentRegistry`] knows the agents and what each may ask for.
//! * [`seal_template`] makes the opaque templates that callers keep.
//! * [`DeviceKey`] verifies what a registered device signs (ES256, RS256, PS256): the text of a [`Challenge`].
//!   [`DeviceSigner`] is the other side, for a device in software.
//! * [`action_digest`] says what the challenge of an action approves, from its canonical JSON ([`canonical_json`]).
//! * [`evidence`] proves to others that an action was approved.
//! * [`ApiKey`] and [`ApiKeyDigest`]: credentials of callers and their stored form; [`password`]: those of the service's own
//!   users.
//!
//! In everything signed or authenticated a text field is its length (u16, big endian) and its UTF-8 bytes, a time is
//! milliseconds since the epoch (i64, big endian), and an absent text is empty.
//!
//! Randomness is an argument; the only I/O is reading and writing key files ([`mod@file`], [`keyring::load`], [`SigningKey::load`]).
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod agents;
mod api_key;
mod canonical;
mod cipher;
pub mod command;
mod derive;
mod device;
mod digest;
pub mod dpop;
mod encode;
mod error;
pub mod evidence;
pub mod file;
mod jose;
pub mod keyring;
pub mod password;
mod purpose;
mod random;
mod ring_text;
mod sample;
mod sealing;
mod signature;
mod template;
pub mod token;

pub use agents::AgentRegistry;
pub use api_key::{ApiKey, ApiKeyDigest};
pub use canonical::{CANONICAL_BYTES_MAX, CANONICAL_DEPTH_MAX, CanonicalError, action_digest, canonical_json};
pub use cipher::{Aad, CIPHERTEXT_BYTES_MAX, CIPHERTEXT_OVERHEAD_BYTES, Vault};
pub use derive::derive_id;
pub use device::{
    CHALLENGE_RANDOM_BYTES, Challenge, DEVICE_JWK_BYTES_MAX, DEVICE_KEY_BYTES_MAX, DEVICE_SIGNATURE_BYTES_MAX,
    DEVICE_SIGNATURE_CHARS_MAX, DeviceKey, DeviceKeyError, DeviceSignature, DeviceSigner,
};
pub use digest::{image_digest, order_seal, request_digest, sha256_hex};
pub use error::VaultError;
pub use keyring::{KeyRing, KeyState, KeyVersion};
pub use purpose::Purpose;
pub use ridgeline_domain::ScanBinding;
pub use sample::{SEALED_SAMPLE_BYTES_MAX, SEALED_SAMPLE_OVERHEAD_BYTES, SampleOpener, SealedSample, seal_sample};
pub use sealing::SealingKey;
pub use signature::{SIGNATURE_BYTES, ScanSignature, SigningKey, VerifyingKey, sealed_digest};
pub use template::{ENGINE_BYTES_MAX, TemplateHeader, TemplateKind, open_template, peek_template, seal_template};

#[cfg(test)]
mod testing;
