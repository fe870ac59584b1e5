//! T-1: at most one live refresh generation for each family; an older one ends the family, except the immediate predecessor within
//! [`GRACE`], with a valid proof and its successor unused, which is given that successor again.

use ridgeline_domain::{DeviceId, DurationMs, Refusal, RequestId, Timestamp};

/// How long the predecessor of the live generation is forgiven where possession is proven: the answer may have been lost.
pub const GRACE: DurationMs = DurationMs::from_secs(30);

/// A refresh token family as stored. Generations count; no clock orders them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The device whose tokens these are.
    pub device: DeviceId,
    /// The live generation.
    pub generation: u32,
    /// The request that made it: a login, then refreshes.
    pub made_by: RequestId,
    /// Append time of that request.
    pub made_at: Timestamp,
    /// Whether the family has ended.
    pub revoked: bool,
}

/// A refresh token whose signature, kind and times are in order, and what came with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// Its device.
    pub device: DeviceId,
    /// Its generation.
    pub generation: u32,
    /// Proof of possession: `None` if the tokens are not bound to a key, else whether a fresh, unused proof by that key came along.
    pub proof: Option<bool>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// This generation is next; nothing follows unless the family is written with it.
    Next(u32),
    /// The live generation's tokens are given again: to the request that made it, or to a forgiven predecessor.
    Repeat {
        /// The request whose answer holds them.
        made_by: RequestId,
    },
    /// The family ends; nothing is given.
    End(Refusal),
}

/// What a refresh token is worth at `now`, the append time of `request`.
///
/// # Errors
/// Why it is refused where the family stays as it is.
pub fn rotate(family: &Family, presented: &Presented, request: RequestId, now: Timestamp) -> Result<Rotation, Refusal> {
    if family.revoked {
        return Err(Refusal::Revoked);
    }
    // Its own record again: what the first time led to stands. A login's id on a refresh is somebody else's.
    if family.made_by == request {
        let is_own =
            presented.device == family.device && presented.generation.checked_add(1) == Some(family.generation);
        return if is_own { Ok(Rotation::Repeat { made_by: request }) } else { Err(Refusal::Revoked) };
    }
    if presented.device != family.device {
        return Ok(Rotation::End(Refusal::ForeignDevice));
    }
    let is_live = presented.generation == family.generation;
    let is_predecessor = presented.generation.checked_add(1) == Some(family.generation);
    let is_young = now.since(family.made_at) <= GRACE && now >= family.made_at;
    match presented.proof {
        // A thief without the key learns nothing and ends nothing by the live token.
        Some(false) if is_live => Err(Refusal::BadProof),
        _ if is_live => family.generation.checked_add(1).map(Rotation::Next).ok_or(Refusal::Revoked),
        Some(true) if is_predecessor && is_young => Ok(Rotation::Repeat { made_by: family.made_by }),
        _ => Ok(Rotation::End(Refusal::RefreshTokenReused)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use ridgeline_testkit::covers;

    use super::*;

    fn request(number: u64) -> RequestId {
        RequestId::from_bytes(u128::from(number).to_be_bytes())
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const OURS: DeviceId = DeviceId::from_bytes([1; 16]);
    const OTHER: DeviceId = DeviceId::from_bytes([2; 16]);

    fn family(generation: u32) -> Family {
        Family { device: OURS, generation, made_by: request(9), made_at: at(0), revoked: false }
    }

    fn present(generation: u32, proof: Option<bool>) -> Presented {
        Presented { device: OURS, generation, proof }
    }

    #[test]
    fn t1_the_live_generation_rotates_and_an_older_one_ends_the_family() {
        covers!("R-094");
        let decide = |generation, proof, now| rotate(&family(5), &present(generation, proof), request(1), at(now));
        for proof in [None, Some(true)] {
            assert_eq!(decide(5, proof, 1_000_000), Ok(Rotation::Next(6)));
            assert_eq!(decide(3, proof, 0), Ok(Rotation::End(Refusal::RefreshTokenReused)));
        }
        assert_eq!(decide(5, Some(false), 0), Err(Refusal::BadProof));
        assert_eq!(decide(4, None, 0), Ok(Rotation::End(Refusal::RefreshTokenReused)));
        assert_eq!(decide(4, Some(false), 0), Ok(Rotation::End(Refusal::RefreshTokenReused)));
        assert_eq!(decide(6, None, 0), Ok(Rotation::End(Refusal::RefreshTokenReused)), "of a future that was lost");
    }

    #[test]
    fn t1_a_lost_answer_is_forgiven_for_half_a_minute_where_possession_is_proven() {
        let decide = |now| rotate(&family(5), &present(4, Some(true)), request(1), at(now));
        let again = Ok(Rotation::Repeat { made_by: request(9) });
        assert_eq!((decide(0), decide(30_000)), (again, again));
        assert_eq!(decide(30_001), Ok(Rotation::End(Refusal::RefreshTokenReused)));
    }

    #[test]
    fn another_device_ends_the_family() {
        covers!("R-092");
        let presented = Presented { device: OTHER, ..present(5, Some(true)) };
        assert_eq!(rotate(&family(5), &presented, request(1), at(0)), Ok(Rotation::End(Refusal::ForeignDevice)));
        let ended = Family { revoked: true, ..family(5) };
        assert_eq!(rotate(&ended, &present(5, None), request(1), at(0)), Err(Refusal::Revoked));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// T-1 for any order of refresh calls on two workers, repeated records and lost races included. A call presents any
        /// generation that was ever given out, with any proof; what is given out is remembered by who holds it.
        #[test]
        fn t1_one_live_generation_whatever_the_order(
            bound in any::<bool>(),
            steps in proptest::collection::vec((0_u64..6, 0_usize..8, any::<bool>(), 0_i64..40_000, any::<bool>()), 1..60),
        ) {
            let mut row = Family { device: OURS, generation: 0, made_by: request(1_000), made_at: at(0), revoked: false };
            let mut stale = row;
            let mut now = 0;
            // Generations that somebody holds, and by which request each was made.
            let mut given = BTreeSet::from([0_u32]);
            let mut made: BTreeMap<u32, RequestId> = BTreeMap::from([(0, request(1_000))]);
            for (number, pick, proven, wait, old_view) in steps {
                now += wait;
                let seen = if old_view { stale } else { row };
                stale = row;
                let held: Vec<_> = given.iter().copied().collect();
                let generation = held[pick % held.len()];
                let presented = present(generation, bound.then_some(proven));
                let decided = rotate(&seen, &presented, request(number), at(now));
                // A conditional write applies only over the row that was read.
                let applies = seen == row;
                match decided {
                    Ok(Rotation::Next(next)) => {
                        prop_assert!(!seen.revoked && generation == seen.generation);
                        prop_assert!(!bound || proven);
                        if applies {
                            prop_assert_eq!(next, row.generation + 1, "never twice the same");
                            row = Family { generation: next, made_by: request(number), made_at: at(now), ..row };
                            given.insert(next);
                            made.insert(next, request(number));
                        }
                    }
                    Ok(Rotation::Repeat { made_by }) => {
                        prop_assert_eq!(made.get(&seen.generation), Some(&made_by), "the tokens of the live generation, no others");
                        let own = made_by == request(number);
                        prop_assert!(own || (bound && proven && generation + 1 == seen.generation));
                    }
                    Ok(Rotation::End(_)) => {
                        prop_assert_ne!(generation, seen.generation, "the live token of the right device ends nothing");
                        if applies { row.revoked = true; }
                    }
                    Err(_) => {}
                }
            }
        }
    }
}
