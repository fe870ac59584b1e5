//! Before a deployment: what is registered, and registering it.

use crate::RegistryError;
use crate::client::{Level, Registered, Registry, RegistryId};
use crate::subject::{Subject, subjects};

/// Where this version's schema stands under its subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is the newest version.
    Current(Registered),
    /// It is there, and a newer one after it: the registry is ahead of this program.
    Older {
        /// This program's.
        ours: Registered,
        /// The newest version's number.
        latest: u32,
    },
    /// The newest version is another one.
    Differs {
        /// The newest version's number.
        latest: u32,
        /// Whether ours may follow the versions there are.
        compatible: bool,
    },
    /// The subject does not exist.
    Missing,
}

/// One subject as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub subject: Subject,
    /// How its schema stands.
    pub standing: Standing,
    /// The level in force; `None`: not even the registry's own is known.
    pub level: Option<Level>,
}

impl Finding {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self.standing, Standing::Current(_)) && self.level.as_ref() == Some(&self.subject.level())
    }
}

/// Compares every subject under a prefix of topics with this version. Changes nothing.
///
/// # Errors
/// What the registry says, or that it says nothing.
pub async fn check(registry: &Registry, prefix: &str) -> Result<Vec<Finding>, RegistryError> {
    let mut findings = Vec::new();
    for subject in subjects(prefix) {
        let standing = standing(registry, &subject).await?;
        let level = registry.level(&subject.name).await?;
        findings.push(Finding { subject, standing, level });
    }
    Ok(findings)
}

async fn standing(registry: &Registry, subject: &Subject) -> Result<Standing, RegistryError> {
    let Some(latest) = registry.latest(&subject.name).await? else { return Ok(Standing::Missing) };
    if let Some(ours) = registry.find(&subject.name, subject.schema).await? {
        let current = ours.version == latest.version;
        return Ok(if current { Standing::Current(ours) } else { Standing::Older { ours, latest: latest.version } });
    }
    // A subject that vanished since has nothing to be incompatible with.
    let compatible = registry.compatible(&subject.name, subject.schema).await?.unwrap_or(true);
    Ok(Standing::Differs { latest: latest.version, compatible })
}

/// Sets the levels and registers every schema of this version; repeating it changes nothing. Nothing is registered if one of them
/// is refused.
///
/// # Errors
/// `Incompatible`, and what the registry says.
pub async fn register(registry: &Registry, prefix: &str) -> Result<Vec<(Subject, RegistryId)>, RegistryError> {
    let subjects = subjects(prefix);
    let refused = |subjects| Err(RegistryError::Incompatible { address: registry.address().to_owned(), subjects });
    let mut incompatible = Vec::new();
    for subject in &subjects {
        // First the level, then the comparison: it follows the level.
        if registry.latest(&subject.name).await?.is_some() {
            set_level(registry, subject).await?;
        }
        if matches!(standing(registry, subject).await?, Standing::Differs { compatible: false, .. }) {
            incompatible.push(subject.name.clone());
        }
    }
    if !incompatible.is_empty() {
        return refused(incompatible);
    }
    let mut registered = Vec::new();
    for subject in subjects {
        let Some(id) = registry.add(&subject.name, subject.schema).await? else { return refused(vec![subject.name]) };
        // Some registries forget the level of a subject that does not exist yet.
        set_level(registry, &subject).await?;
        registered.push((subject, id));
    }
    Ok(registered)
}

/// Removes every subject under a prefix, as something that leaves nothing behind does. Ids stay known to most registries.
///
/// # Errors
/// What the registry says.
pub async fn remove(registry: &Registry, prefix: &str) -> Result<(), RegistryError> {
    for subject in subjects(prefix) {
        registry.remove(&subject.name).await?;
    }
    Ok(())
}

async fn set_level(registry: &Registry, subject: &Subject) -> Result<(), RegistryError> {
    let wanted = subject.level();
    if registry.level(&subject.name).await?.as_ref() == Some(&wanted) {
        return Ok(());
    }
    registry.set_level(&subject.name, &wanted).await
}
