//! Which devices a user has: one for each installation, and not too many.

use ridgeline_domain::{DeviceId, Refusal};

/// Devices of one user at most.
pub const DEVICES_MAX: usize = 20;

/// One of a user's devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownDevice {
    /// Which.
    pub device: DeviceId,
    /// Digest of the installation's fingerprint.
    pub fingerprint: Vec<u8>,
}

/// A device whose owner has proven that he holds its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newcomer {
    /// The id it would have.
    pub device: DeviceId,
    /// Digest of the installation's fingerprint.
    pub fingerprint: Vec<u8>,
    /// Whether its key belongs to another installation.
    pub key_is_foreign: bool,
}

/// The user's devices afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// All of them.
    pub devices: Vec<KnownDevice>,
    /// The device that the newcomer replaces: the one of the same installation.
    pub replaces: Option<DeviceId>,
}

/// Adds a device to those of its user.
///
/// # Errors
/// [`Refusal::KeyInUse`], [`Refusal::TooManyDevices`].
pub fn admit(devices: &[KnownDevice], newcomer: &Newcomer) -> Result<Admission, Refusal> {
    if newcomer.key_is_foreign {
        return Err(Refusal::KeyInUse);
    }
    let same = |known: &&KnownDevice| known.fingerprint == newcomer.fingerprint;
    let replaces = devices.iter().find(same).map(|known| known.device);
    let mut devices: Vec<_> = devices.iter().filter(|known| !same(known)).cloned().collect();
    if devices.len() >= DEVICES_MAX {
        return Err(Refusal::TooManyDevices);
    }
    devices.push(KnownDevice { device: newcomer.device, fingerprint: newcomer.fingerprint.clone() });
    Ok(Admission { devices, replaces })
}

/// The devices without one of them; `None` if it is not among them.
#[must_use]
pub fn without(devices: &[KnownDevice], device: DeviceId) -> Option<Vec<KnownDevice>> {
    let rest: Vec<_> = devices.iter().filter(|known| known.device != device).cloned().collect();
    (rest.len() < devices.len()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ridgeline_testkit::covers;

    fn known(number: u8) -> KnownDevice {
        KnownDevice { device: DeviceId::from_bytes([number; 16]), fingerprint: vec![number] }
    }

    fn newcomer(number: u8, fingerprint: u8) -> Newcomer {
        Newcomer { device: DeviceId::from_bytes([number; 16]), fingerprint: vec![fingerprint], key_is_foreign: false }
    }

    #[test]
    fn an_installation_has_one_device() {
        covers!("R-079");
        let first = admit(&[], &newcomer(1, 7)).unwrap();
        assert_eq!((first.devices.len(), first.replaces), (1, None));
        let second = admit(&first.devices, &newcomer(2, 7)).unwrap();
        assert_eq!((second.devices.len(), second.replaces), (1, Some(DeviceId::from_bytes([1; 16]))));
        let other = admit(&second.devices, &newcomer(3, 8)).unwrap();
        assert_eq!((other.devices.len(), other.replaces), (2, None));
    }

    #[test]
    fn the_twenty_first_is_refused_unless_it_replaces_one() {
        let full: Vec<_> = (0..20).map(known).collect();
        assert_eq!(admit(&full, &newcomer(30, 30)), Err(Refusal::TooManyDevices));
        assert_eq!(admit(&full, &newcomer(30, 5)).unwrap().devices.len(), 20);
        let foreign = Newcomer { key_is_foreign: true, ..newcomer(1, 1) };
        assert_eq!(admit(&[], &foreign), Err(Refusal::KeyInUse));
    }

    #[test]
    fn a_device_leaves_once() {
        let two = [known(1), known(2)];
        assert_eq!(without(&two, DeviceId::from_bytes([1; 16])), Some(vec![known(2)]));
        assert_eq!(without(&two, DeviceId::from_bytes([3; 16])), None);
    }
}
