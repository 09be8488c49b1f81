//! Which lane a key lives in: murmur2 as Java's producer computes it (and librdkafka with `murmur2_random`).
//! Other partitioners may put a record elsewhere; forwarding it home is the worker's work.

use crate::ids::LaneId;

/// The lane of a key among `lanes`: murmur2, masked positive, modulo. `lanes` of zero counts as one.
pub fn home_lane(key: &[u8], lanes: u16) -> LaneId {
    let positive = murmur2(key) & 0x7fff_ffff;
    let lane = positive % u32::from(lanes.max(1));
    LaneId(u16::try_from(lane).unwrap_or(0))
}

/// Murmur2 with Kafka's seed, 32 bits (org.apache.kafka.common.utils.Utils#murmur2).
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    let mut hash = SEED ^ u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    for (place, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values from Apache Kafka's own UtilsTest.
    #[test]
    fn hashes_are_those_of_the_java_producer() {
        let rows: [(&[u8], i32); 7] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
        ];
        for (key, expected) in rows {
            assert_eq!(
                i64::from(murmur2(key)),
                i64::from(expected.cast_unsigned()),
                "{}",
                String::from_utf8_lossy(key)
            );
        }
    }
}
