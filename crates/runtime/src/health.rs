//! The health of the process: one state for each component, with a reason that holds no secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// How a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthState {
    /// Works.
    Healthy,
    /// Works in part, or late.
    Degraded,
    /// Does not work.
    Unhealthy,
}

impl HealthState {
    /// The word used by `/health` and in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A component's state as last reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Component {
    /// Name of the component, for instance `matcher`.
    pub name: String,
    /// Its state.
    pub state: HealthState,
    /// Why, for operators; empty when healthy.
    pub reason: String,
}

/// The registry. Clones share the same components.
#[derive(Debug, Clone, Default)]
pub struct Health {
    components: Arc<Mutex<BTreeMap<String, (HealthState, String)>>>,
}

impl Health {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a component as healthy and returns the handle it reports through. Handles of one name share one entry.
    #[must_use]
    pub fn component(&self, name: &str) -> HealthHandle {
        self.components.lock().entry(name.to_owned()).or_insert((HealthState::Healthy, String::new()));
        HealthHandle { health: self.clone(), name: name.into() }
    }

    /// Every component, by name.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Component> {
        let components = self.components.lock();
        components
            .iter()
            .map(|(name, (state, reason))| Component { name: name.clone(), state: *state, reason: reason.clone() })
            .collect()
    }

    /// The worst state of all components; healthy if there is none.
    #[must_use]
    pub fn overall(&self) -> HealthState {
        self.components.lock().values().map(|(state, _)| *state).max().unwrap_or(HealthState::Healthy)
    }
}

/// What a component reports through.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    health: Health,
    name: Arc<str>,
}

impl HealthHandle {
    /// The component works.
    pub fn healthy(&self) {
        self.set(HealthState::Healthy, "");
    }

    /// Reports a state; `reason` names no content, key or secret.
    pub fn set(&self, state: HealthState, reason: &str) {
        let mut components = self.health.components.lock();
        let entry = components.entry(self.name.to_string()).or_insert((state, String::new()));
        if entry.0 != state {
            tracing::info!(component = %self.name, state = state.as_str(), reason, "health changed");
        }
        *entry = (state, reason.to_owned());
    }

    /// The state last reported.
    #[must_use]
    pub fn state(&self) -> HealthState {
        self.health.components.lock().get(&*self.name).map_or(HealthState::Healthy, |(state, _)| *state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_component_decides_and_reasons_are_kept() {
        let health = Health::new();
        assert_eq!(health.overall(), HealthState::Healthy);
        let (log, matcher) = (health.component("log"), health.component("matcher"));
        matcher.set(HealthState::Degraded, "2 records are being retried");
        assert_eq!(health.overall(), HealthState::Degraded);
        log.set(HealthState::Unhealthy, "disk full");
        assert_eq!(health.overall(), HealthState::Unhealthy);
        let names: Vec<_> = health.snapshot().into_iter().map(|part| (part.name, part.reason)).collect();
        assert_eq!(names[0], ("log".to_owned(), "disk full".to_owned()));
        assert_eq!(names[1], ("matcher".to_owned(), "2 records are being retried".to_owned()));
        log.healthy();
        matcher.healthy();
        assert_eq!(health.overall(), HealthState::Healthy);
        assert!(health.snapshot().iter().all(|part| part.reason.is_empty()));
    }
}
