//! The partitioner of Java Kafka clients, so that every writer of a topic agrees on the partition of a key.

use crate::Partition;

/// The 32-bit murmur2 hash of `data` with the seed that Kafka's default partitioner uses.
/// Source: A. Appleby, `MurmurHash2` (public domain); seed and masking as in Apache Kafka's client.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "keys are far below 4 GiB; the algorithm takes 32 bits of the length"
    )]
    let mut hash = SEED ^ (data.len() as u32);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of `key` among `partitions` (at least 1).
#[must_use]
pub fn partition_of(key: &[u8], partitions: u32) -> Partition {
    Partition((murmur2(key) & 0x7fff_ffff) % partitions.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values published with Apache Kafka's own tests of its partitioner.
    #[test]
    fn agrees_with_java_clients() {
        #[expect(clippy::cast_possible_wrap, reason = "Java prints the hash as a signed number")]
        let signed = |text: &str| murmur2(text.as_bytes()) as i32;
        assert_eq!(signed("21"), -973_932_308);
        assert_eq!(signed("foobar"), -790_332_482);
        assert_eq!(signed("a-little-bit-long-string"), -985_981_536);
        assert_eq!(signed("a-little-bit-longer-string"), -1_486_304_829);
        assert_eq!(signed("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"), -58_897_971);
        assert_eq!(signed("abc"), 479_470_107);
    }

    #[test]
    fn every_key_has_a_partition_even_of_one() {
        assert_eq!(partition_of(b"", 1), Partition(0));
        assert!(partition_of(b"abc", 8).0 < 8);
    }
}
