//! Huffman codes of coefficients and runs of zeros.

const LENGTHS: usize = 16;

/// What a code stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// So many zeros.
    Zeros(u8),
    /// A small coefficient.
    Value(i16),
    /// A coefficient in the bits that follow.
    LongValue { bits: u8, negative: bool },
    /// A number of zeros in the bits that follow.
    LongZeros { bits: u8 },
}

impl Symbol {
    /// `None` for the numbers that mean nothing.
    const fn of(number: u8) -> Option<Self> {
        Some(match number {
            1..=100 => Self::Zeros(number),
            101 => Self::LongValue { bits: 8, negative: false },
            102 => Self::LongValue { bits: 8, negative: true },
            103 => Self::LongValue { bits: 16, negative: false },
            104 => Self::LongValue { bits: 16, negative: true },
            105 => Self::LongZeros { bits: 8 },
            106 => Self::LongZeros { bits: 16 },
            107..=254 => Self::Value(number as i16 - 180),
            0 | 255 => return None,
        })
    }
}

/// Codes by length; equal lengths count upwards.
pub(super) struct HuffmanTable {
    /// For each length: first code, number of codes, place of the first symbol.
    ranges: [(u32, u32, usize); LENGTHS],
    symbols: Vec<Symbol>,
}

impl HuffmanTable {
    /// `None` when there are more codes than their lengths allow, or symbols that mean nothing.
    pub(super) fn new(counts: &[u8; LENGTHS], values: &[u8]) -> Option<Self> {
        let symbols = values.iter().map(|value| Symbol::of(*value)).collect::<Option<Vec<_>>>()?;
        let mut ranges = [(0, 0, 0); LENGTHS];
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, (range, count)) in (1_u32..).zip(ranges.iter_mut().zip(counts)) {
            let count = u32::from(*count);
            *range = (code, count, place);
            code += count;
            place += count as usize;
            if code > 1 << length {
                return None;
            }
            code <<= 1;
        }
        (place == symbols.len()).then_some(Self { ranges, symbols })
    }

    /// The next symbol; `None` when the bits run out, or no code begins with them.
    pub(super) fn decode(&self, bits: &mut BitReader<'_>) -> Option<Symbol> {
        let mut code = 0_u32;
        for (first, count, place) in &self.ranges {
            code = code << 1 | u32::from(bits.next_bit()?);
            if let Some(offset) = code.checked_sub(*first).filter(|offset| offset < count) {
                return self.symbols.get(place + offset as usize).copied();
            }
        }
        None
    }
}

/// Bits of a block, the most significant of each byte first.
pub(super) struct BitReader<'a> {
    rest: &'a [u8],
    byte: u8,
    left: u8,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self { rest: data, byte: 0, left: 0 }
    }

    fn next_bit(&mut self) -> Option<bool> {
        if self.left == 0 {
            let (&byte, rest) = self.rest.split_first()?;
            // Behind 0xFF stands a zero byte that is no data.
            self.rest = if byte == 0xFF { rest.split_first()?.1 } else { rest };
            self.byte = byte;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.byte >> self.left & 1 == 1)
    }

    /// The next `count` bits, at most 16, as a number.
    pub(super) fn take(&mut self, count: u8) -> Option<u16> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | u16::from(self.next_bit()?)))
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.left == 0 && self.rest.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_equal_length_count_upwards() {
        let mut counts = [0; 16];
        (counts[0], counts[1], counts[2]) = (1, 1, 1);
        let table = HuffmanTable::new(&counts, &[181, 7, 104]).unwrap();
        let mut bits = BitReader::new(&[0b0101_1000, 0xFF, 0x00, 0b0110_1111]);
        let mut next = || table.decode(&mut bits);
        assert_eq!(next(), Some(Symbol::Value(1)));
        assert_eq!(next(), Some(Symbol::Zeros(7)));
        assert_eq!(next(), Some(Symbol::LongValue { bits: 16, negative: true }));
        assert_eq!(bits.take(16), Some(0b0011_1111_1101_1011));
        assert_eq!(table.decode(&mut bits), None, "only ones are left");
        assert!(bits.is_at_end());
    }

    #[test]
    fn tables_that_promise_too_much_are_refused() {
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(HuffmanTable::new(&counts, &[1, 2, 3]).is_none(), "three codes of one bit");
        counts[0] = 1;
        assert!(HuffmanTable::new(&counts, &[0]).is_none(), "0 means nothing");
        assert!(HuffmanTable::new(&counts, &[1, 2]).is_none(), "a symbol without a code");
    }
}
