//! Thinning on packed bits: 64 pixels take part in each operation (Zhang & Suen 1984).

use crate::plane::Plane;

/// A pattern as rows of bits, with a word of zeros before and after each row and a row of zeros above and below.
pub(crate) struct Bits {
    width: usize,
    height: usize,
    stride: usize,
    words: Vec<u64>,
}

impl Bits {
    /// The cells of a plane that belong to a pattern, without the outermost ring.
    pub(crate) fn of<T: Copy>(plane: &Plane<T>, belongs: impl Fn(T) -> bool) -> Self {
        let (width, height) = (plane.width, plane.height);
        let stride = width.div_ceil(64) + 2;
        let mut words = vec![0_u64; stride * (height + 2)];
        for y in 1..height.saturating_sub(1) {
            let target = &mut words[(y + 1) * stride + 1..];
            for (word, cells) in target.iter_mut().zip(plane.row(y).chunks(64)) {
                *word = cells.iter().rev().fold(0, |bits, &cell| bits << 1 | u64::from(belongs(cell)));
            }
            target[0] &= !1;
            target[(width - 1) / 64] &= !(1 << ((width - 1) % 64));
        }
        Self { width, height, stride, words }
    }

    /// Removes outlines in two alternating ways until lines one pixel wide are left.
    pub(crate) fn thin(&mut self) {
        // A row can change only after a change in it or beside it since the same way was last tried on it.
        let mut everywhere = vec![true; self.height + 2];
        (everywhere[0], everywhere[self.height + 1]) = (false, false);
        let (mut before, mut last) = (everywhere.clone(), everywhere);
        let mut now = vec![false; self.height + 2];
        let mut second = false;
        loop {
            self.strip(second, &before, &last, &mut now);
            let idle = !now.contains(&true) && !last.contains(&true);
            if idle {
                return;
            }
            std::mem::swap(&mut before, &mut last);
            std::mem::swap(&mut last, &mut now);
            second = !second;
        }
    }

    /// One sub-iteration; `now` says which rows it changed.
    fn strip(&mut self, second: bool, before: &[bool], last: &[bool], now: &mut [bool]) {
        let stride = self.stride;
        let mut above = vec![0_u64; stride];
        let mut here = vec![0_u64; stride];
        for (y, changed) in now.iter_mut().enumerate().skip(1).take(self.height) {
            let start = y * stride;
            here.copy_from_slice(&self.words[start..start + stride]);
            let touched = (y - 1..=y + 1).any(|row| before[row] || last[row]);
            *changed = touched && {
                let (rows, below) = self.words[start..].split_at_mut(stride);
                strip_row(second, rows, [&above, &here, &below[..stride]])
            };
            std::mem::swap(&mut above, &mut here);
        }
    }

    /// Set cells, in rows from the top.
    pub(crate) fn cells(&self) -> Vec<u32> {
        let mut out = Vec::new();
        for y in 0..self.height {
            let row = &self.words[(y + 1) * self.stride + 1..(y + 2) * self.stride - 1];
            for (column, &word) in row.iter().enumerate() {
                let mut rest = word;
                while rest != 0 {
                    let x = column * 64 + rest.trailing_zeros() as usize;
                    out.push((y * self.width + x) as u32);
                    rest &= rest - 1;
                }
            }
        }
        out
    }
}

fn strip_row(second: bool, row: &mut [u64], lines: [&[u64]; 3]) -> bool {
    let mut changed = 0;
    let windows = lines[0].windows(3).zip(lines[1].windows(3)).zip(lines[2].windows(3));
    for (((above, here), below), word) in windows.zip(&mut row[1..]) {
        if here[1] == 0 {
            continue;
        }
        let (west, east) = (|w: &[u64]| w[1] << 1 | w[0] >> 63, |w: &[u64]| w[1] >> 1 | w[2] << 63);
        let ring = [above[1], east(above), east(here), east(below), below[1], west(below), west(here), west(above)];
        let dies = here[1] & removable(&ring, second);
        changed |= dies;
        *word = here[1] & !dies;
    }
    changed != 0
}

/// The pixels, of 64, that one way removes; the ring goes clockwise from north.
#[inline]
fn removable(ring: &[u64; 8], second: bool) -> u64 {
    let (mut once, mut again, mut pair, mut covered) = (0, 0, 0, u64::MAX);
    for i in 0..8 {
        let (a, b) = (ring[i], ring[(i + 1) % 8]);
        let rise = !a & b;
        again |= once & rise;
        once |= rise;
        // In a single run of neighbours, two adjacent ones make at least 2, two adjacent gaps at most 6.
        pair |= a & b;
        covered &= a | b;
    }
    let [n, _, e, _, s, _, w, _] = *ring;
    let kept = if second { n & w & (e | s) } else { e & s & (n | w) };
    once & !again & pair & !covered & !kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published rule, pixel by pixel.
    fn thinned_plainly(plane: &mut Plane<u8>) {
        let (width, height) = (plane.width, plane.height);
        let ring = [(0_i32, -1_i32), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)];
        let mut idle = 0;
        let mut second = false;
        while idle < 2 {
            let mut doomed = Vec::new();
            for y in 1..height - 1 {
                for x in 1..width - 1 {
                    let p: Vec<bool> = ring
                        .iter()
                        .map(|(dx, dy)| plane.at((x as i32 + dx) as usize, (y as i32 + dy) as usize) == 1)
                        .collect();
                    let count = p.iter().filter(|set| **set).count();
                    let rises = (0..8).filter(|&i| !p[i] && p[(i + 1) % 8]).count();
                    let (n, e, s, w) = (p[0], p[2], p[4], p[6]);
                    let stays = if second { n && w && (e || s) } else { e && s && (n || w) };
                    if plane.at(x, y) == 1 && (2..=6).contains(&count) && rises == 1 && !stays {
                        doomed.push((x, y));
                    }
                }
            }
            idle = if doomed.is_empty() { idle + 1 } else { 0 };
            for (x, y) in doomed {
                plane.set(x, y, 0);
            }
            second = !second;
        }
    }

    #[test]
    fn packed_thinning_follows_the_published_rule() {
        for (seed, width, height) in [(1_u32, 150, 90), (2, 64, 70), (3, 65, 33), (4, 129, 40)] {
            let mut state = seed;
            let mut plane = Plane::filled(width, height, 0_u8);
            for _ in 0..width * height / 60 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (left, top) = ((state >> 8) as usize % width, (state >> 20) as usize % height);
                let (wide, high) = (1 + (state >> 4) as usize % 14, 1 + (state >> 12) as usize % 9);
                for y in top..(top + high).min(height) {
                    for x in left..(left + wide).min(width) {
                        plane.set(x, y, 1);
                    }
                }
            }
            for edge in 0..width {
                plane.set(edge, 0, 0);
                plane.set(edge, height - 1, 0);
            }
            for edge in 0..height {
                plane.set(0, edge, 0);
                plane.set(width - 1, edge, 0);
            }
            let mut bits = Bits::of(&plane, |cell| cell == 1);
            bits.thin();
            thinned_plainly(&mut plane);
            let expected: Vec<u32> = (0..plane.data.len()).filter(|&i| plane.data[i] == 1).map(|i| i as u32).collect();
            assert!(expected.len() > 50);
            assert_eq!(bits.cells(), expected);
        }
    }
}
