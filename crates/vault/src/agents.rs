//! The agents a deployment trusts: their keys and what each may ask for.

use std::collections::{BTreeMap, BTreeSet};

use ridgeline_domain::{AgentId, Operation};

use crate::{ScanSignature, VaultError, VerifyingKey};

/// Registered agents. Who is not registered is allowed nothing.
#[derive(Debug, Clone, Default)]
pub struct AgentRegistry {
    agents: BTreeMap<AgentId, Agent>,
}

#[derive(Debug, Clone)]
struct Agent {
    key: VerifyingKey,
    operations: BTreeSet<Operation>,
}

impl AgentRegistry {
    /// A registry without agents.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers an agent with its public key and the operations it may ask for.
    ///
    /// # Errors
    /// [`VaultError::DuplicateAgent`] if the id is taken; the registered agent stays as it is.
    pub fn insert(
        &mut self,
        id: AgentId,
        key: VerifyingKey,
        operations: impl IntoIterator<Item = Operation>,
    ) -> Result<(), VaultError> {
        use std::collections::btree_map::Entry;
        match self.agents.entry(id) {
            Entry::Occupied(_) => Err(VaultError::DuplicateAgent),
            Entry::Vacant(entry) => {
                entry.insert(Agent { key, operations: operations.into_iter().collect() });
                Ok(())
            }
        }
    }

    /// The key of an agent.
    #[must_use]
    pub fn key(&self, agent: &AgentId) -> Option<&VerifyingKey> {
        self.agents.get(agent).map(|agent| &agent.key)
    }

    /// Whether the agent may ask for `operation`. Says nothing about a signature.
    #[must_use]
    pub fn allows(&self, agent: &AgentId, operation: Operation) -> bool {
        self.agents.get(agent).is_some_and(|agent| agent.operations.contains(&operation))
    }

    /// Checks that the agent named in `scan` signed it. Whether it may ask for that is [`AgentRegistry::allows`].
    ///
    /// # Errors
    /// [`VaultError::UnknownAgent`], [`VaultError::Authentication`].
    pub fn verify(&self, scan: &ScanSignature, signature: &[u8]) -> Result<(), VaultError> {
        scan.verify(self.key(&scan.agent).ok_or(VaultError::UnknownAgent)?, signature)
    }

    /// The ids of all agents, ascending.
    pub fn ids(&self) -> impl Iterator<Item = &AgentId> {
        self.agents.keys()
    }

    /// How many agents there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Whether there is no agent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;
    use crate::testing::{System, binding};

    #[test]
    fn only_registered_agents_with_their_own_key_are_believed() {
        let (ours, theirs) = (SigningKey::generate(&System).unwrap(), SigningKey::generate(&System).unwrap());
        let (agent, gateway): (AgentId, AgentId) = ("agent-1".parse().unwrap(), "gateway:a".parse().unwrap());
        let mut registry = AgentRegistry::new();
        assert!(registry.is_empty());
        registry.insert(agent.clone(), ours.verifying_key(), [Operation::Verify]).unwrap();
        registry.insert(gateway.clone(), theirs.verifying_key(), Operation::ALL.iter().copied()).unwrap();

        let scan = ScanSignature::new(&binding(), None, [0; 32]);
        registry.verify(&scan, &scan.sign(&ours).unwrap()).unwrap();
        let forged = registry.verify(&scan, &scan.sign(&theirs).unwrap());
        assert!(matches!(forged, Err(VaultError::Authentication)));
        let stranger = ScanSignature { agent: "agent-9".parse().unwrap(), ..scan };
        let unknown = registry.verify(&stranger, &stranger.sign(&ours).unwrap());
        assert!(matches!(unknown, Err(VaultError::UnknownAgent)));

        assert!(registry.allows(&agent, Operation::Verify));
        assert!(!registry.allows(&agent, Operation::Delete));
        assert!(registry.allows(&gateway, Operation::Delete));
        assert!(!registry.allows(&stranger.agent, Operation::Verify));
        assert_eq!(registry.ids().collect::<Vec<_>>(), [&agent, &gateway]);
    }

    #[test]
    fn a_second_registration_does_not_replace_the_first() {
        let (first, second) = (SigningKey::generate(&System).unwrap(), SigningKey::generate(&System).unwrap());
        let agent: AgentId = "agent-1".parse().unwrap();
        let mut registry = AgentRegistry::new();
        registry.insert(agent.clone(), first.verifying_key(), []).unwrap();
        let again = registry.insert(agent.clone(), second.verifying_key(), [Operation::Delete]);
        assert!(matches!(again, Err(VaultError::DuplicateAgent)));
        assert_eq!(registry.key(&agent), Some(&first.verifying_key()));
        assert!(!registry.allows(&agent, Operation::Delete));
        assert_eq!(registry.len(), 1);
    }
}
