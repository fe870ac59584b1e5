//! A command to the auth workers, sealed, as a record of `auth.commands`.

use bytes::Bytes;
use ridgeline_domain::{AgentId, AuthOperation, RequestId, Sensitive};
use ridgeline_ports::{Entropy, NewRecord, TopicName, TraceContext};
use ridgeline_vault::command::{CommandBinding, CommandKey};
use ridgeline_wire::auth::{AuthBody, AuthCommand};
use ridgeline_wire::encode;
use ridgeline_wire::message::SealedPart;

use crate::IntakeError;

/// What is asked of the auth workers.
pub struct AskedCommand {
    /// Confirmation id.
    pub id: RequestId,
    /// What is asked.
    pub operation: AuthOperation,
    /// The aggregate: commands about one are carried out one after the other.
    pub key: String,
    /// Fields and credentials.
    pub body: AuthBody,
    /// What it is part of.
    pub trace: TraceContext,
}

/// Seals commands. Who has sealed one cannot read it.
#[derive(Clone)]
pub struct CommandSealer {
    /// What commands are sealed to.
    pub commands: CommandKey,
    /// Who publishes them.
    pub sender: AgentId,
    /// `auth.commands`, under the deployment's prefix.
    pub topic: TopicName,
}

impl CommandSealer {
    /// The record of a command. CPU work of half a millisecond.
    ///
    /// # Errors
    /// `Seal` for a body beyond its limit, `Encode`.
    pub fn record(&self, command: AskedCommand, entropy: &dyn Entropy) -> Result<NewRecord, IntakeError> {
        let AskedCommand { id, operation, key, body, trace } = command;
        let plain = Sensitive::new(encode(&body).map_err(IntakeError::Encode)?);
        let binding = CommandBinding { request_id: id, kind: operation.as_str(), key: &key };
        let sealed = self.commands.seal(&binding, plain.expose(), entropy).map_err(IntakeError::Seal)?;
        let event_id = format!("{id}:command");
        let attributes = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", event_id.clone()),
            ("ce_type", "dev.ridgeline.auth-command.v1".to_owned()),
            ("ce_source", format!("/agents/{}", self.sender)),
            ("content-type", "avro/binary".to_owned()),
        ];
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value)));
        let body = SealedPart { key_id: sealed.key_id, sealed: sealed.bytes };
        let command = AuthCommand { request_id: id, operation, sender: self.sender.clone(), body };
        Ok(NewRecord {
            topic: self.topic.clone(),
            partition: None,
            key: key.into(),
            value: Some(encode(&command).map_err(IntakeError::Encode)?.into()),
            headers: attributes.chain([trace.child(&event_id).header()]).collect(),
        })
    }
}
