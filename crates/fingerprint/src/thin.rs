//! Thinning to one-pixel skeletons (Zhang & Suen 1984, then reduced to mixed adjacency) and walks along them.

use std::sync::OnceLock;

use crate::bits::Bits;
use crate::plane::Plane;

/// Offsets of the eight neighbours, clockwise from north; the index is the bit in a neighbourhood code.
pub(crate) const RING: [(i32, i32); 8] = [(0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1)];

struct Tables {
    /// Whether a pixel is a corner that its neighbours stay joined without.
    redundant: [bool; 256],
    /// Branches that meet at a pixel with this neighbourhood.
    branches: [u8; 256],
}

fn tables() -> &'static Tables {
    static TABLES: OnceLock<Tables> = OnceLock::new();
    TABLES.get_or_init(|| {
        let mut tables = Tables { redundant: [false; 256], branches: [0; 256] };
        for code in 0..=255_u8 {
            let branches = ring_components(code);
            let inner = code & 0b0101_0101 == 0b0101_0101;
            tables.redundant[usize::from(code)] = code.count_ones() >= 2 && branches == 1 && !inner;
            tables.branches[usize::from(code)] = branches;
        }
        tables
    })
}

/// Groups of ring pixels that touch one another, corner to corner included.
fn ring_components(code: u8) -> u8 {
    let bit = |i: usize| code & (1 << (i % 8)) != 0;
    let mut group = [0_usize, 1, 2, 3, 4, 5, 6, 7];
    for _ in 0..8 {
        for i in 0..8 {
            let reach = if i % 2 == 0 { 2 } else { 1 };
            for step in 1..=reach {
                let j = (i + step) % 8;
                if bit(i) && bit(j) {
                    let low = group[i].min(group[j]);
                    (group[i], group[j]) = (low, low);
                }
            }
        }
    }
    (0..8).filter(|&i| bit(i) && group[i] == i).count() as u8
}

/// A thinned pattern; pixels are 0 or 1 and the outermost ring is 0.
pub(crate) struct Skeleton {
    plane: Plane<u8>,
    /// Cells that thinning left, in rows from the top.
    cells: Vec<u32>,
}

/// How a walk along a skeleton stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At the free end of a line.
    End,
    /// At a pixel where three or more branches meet.
    Junction,
    /// After the greatest number of steps.
    Length,
}

/// Longest walk in pixels.
pub(crate) const MAX_WALK: usize = 24;

/// The pixels of a walk, the start excluded.
pub(crate) struct Walk {
    points: [(i32, i32); MAX_WALK],
    len: usize,
    pub(crate) stop: Stop,
}

impl Walk {
    pub(crate) fn points(&self) -> &[(i32, i32)] {
        &self.points[..self.len]
    }
}

impl Skeleton {
    /// Thins the cells of a plane that belong to a pattern.
    pub(crate) fn of<T: Copy>(plane: &Plane<T>, belongs: impl Fn(T) -> bool) -> Self {
        let mut bits = Bits::of(plane, belongs);
        bits.thin();
        let mut plane = Plane::filled(plane.width, plane.height, 0_u8);
        let mut cells = bits.cells();
        for &cell in &cells {
            plane.data[cell as usize] = 1;
        }
        let tables = tables();
        cells.retain(|&cell| {
            let redundant = tables.redundant[usize::from(code_at(&plane, cell as usize))];
            plane.data[cell as usize] = u8::from(!redundant);
            !redundant
        });
        Self { plane, cells }
    }

    pub(crate) fn is_set(&self, x: i32, y: i32) -> bool {
        self.plane.get(x, y) == Some(1)
    }

    /// Branches that meet at a set pixel: 1 at an end, 2 on a line, 3 or more at a junction.
    pub(crate) fn branches(&self, x: i32, y: i32) -> u8 {
        let cell = y as usize * self.plane.width + x as usize;
        tables().branches[usize::from(code_at(&self.plane, cell))]
    }

    /// Set pixels with one branch, or with three and more.
    pub(crate) fn special(&self) -> Vec<(i32, i32, u8)> {
        let table = tables();
        let width = self.plane.width;
        let mut out = Vec::new();
        for cell in self.cells.iter().map(|&cell| cell as usize).filter(|&cell| self.plane.data[cell] != 0) {
            let branches = table.branches[usize::from(code_at(&self.plane, cell))];
            if branches != 2 {
                out.push(((cell % width) as i32, (cell / width) as i32, branches));
            }
        }
        out
    }

    /// The first pixels of the branches at a pixel, at most one for each direction it may leave.
    pub(crate) fn exits(&self, x: i32, y: i32) -> impl Iterator<Item = (i32, i32)> + '_ {
        (0..8).filter_map(move |i| {
            let here = (x + RING[i].0, y + RING[i].1);
            if !self.is_set(here.0, here.1) {
                return None;
            }
            // A corner pixel beside a set edge pixel belongs to the edge pixel's branch.
            let beside = |j: usize| self.is_set(x + RING[j % 8].0, y + RING[j % 8].1);
            (i % 2 == 0 || !(beside(i + 1) || beside(i + 7))).then_some(here)
        })
    }

    /// Walks from `start` through its neighbour `first` for at most `limit` ≤ [`MAX_WALK`] pixels.
    pub(crate) fn walk(&self, start: (i32, i32), first: (i32, i32), limit: usize) -> Walk {
        let mut walk = Walk { points: [(0, 0); MAX_WALK], len: 0, stop: Stop::Length };
        let (mut previous, mut current) = (start, first);
        while walk.len < limit.min(MAX_WALK) {
            walk.points[walk.len] = current;
            walk.len += 1;
            match self.branches(current.0, current.1) {
                2 => {}
                0 | 1 => {
                    walk.stop = Stop::End;
                    break;
                }
                _ => {
                    walk.stop = Stop::Junction;
                    break;
                }
            }
            let onward = self
                .exits(current.0, current.1)
                .find(|next| *next != start && ((next.0 - previous.0).abs() > 1 || (next.1 - previous.1).abs() > 1));
            let Some(next) = onward else {
                walk.stop = Stop::End;
                break;
            };
            (previous, current) = (current, next);
        }
        walk
    }

    /// Removes side branches shorter than `limit` pixels.
    pub(crate) fn prune(&mut self, limit: usize) {
        for (x, y, branches) in self.special() {
            if branches != 1 || !self.is_set(x, y) {
                continue;
            }
            let Some(first) = self.exits(x, y).next() else { continue };
            let walk = self.walk((x, y), first, limit);
            if walk.stop == Stop::Junction {
                self.plane.set(x as usize, y as usize, 0);
                let last = walk.points().len().saturating_sub(1);
                for &(px, py) in &walk.points()[..last] {
                    self.plane.set(px as usize, py as usize, 0);
                }
            }
        }
    }
}

/// Neighbourhood code of a pixel that is not on the border.
#[inline]
fn code_at(plane: &Plane<u8>, cell: usize) -> u8 {
    let width = plane.width;
    let above = &plane.data[cell - width - 1..cell - width + 2];
    let here = &plane.data[cell - 1..cell + 2];
    let below = &plane.data[cell + width - 1..cell + width + 2];
    above[1]
        | above[2] << 1
        | here[2] << 2
        | below[2] << 3
        | below[1] << 4
        | below[0] << 5
        | here[0] << 6
        | above[0] << 7
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(rows: &[&str]) -> Plane<u8> {
        let data = rows.iter().flat_map(|r| r.bytes().map(|b| u8::from(b == b'#'))).collect();
        Plane { width: rows[0].len(), height: rows.len(), data }
    }

    #[test]
    fn a_thick_bar_becomes_a_line_with_two_ends() {
        let mut plane = Plane::filled(40, 12, 0_u8);
        for y in 4..8 {
            for x in 5..35 {
                plane.set(x, y, 1);
            }
        }
        let skeleton = Skeleton::of(&plane, |cell| cell == 1);
        let special = skeleton.special();
        assert_eq!(special.len(), 2);
        assert!(special.iter().all(|s| s.2 == 1));
    }

    #[test]
    fn a_fork_has_one_junction_and_three_ends() {
        let skeleton = Skeleton::of(
            &drawn(&[
                "...............",
                ".#.............",
                "..#............",
                "...#...........",
                "....#########..",
                "...#...........",
                "..#............",
                ".#.............",
                "...............",
            ]),
            |cell| cell == 1,
        );
        let special = skeleton.special();
        assert_eq!(special.iter().filter(|s| s.2 == 3).count(), 1);
        let junction = special.iter().find(|s| s.2 == 3).copied().unwrap();
        assert_eq!(skeleton.exits(junction.0, junction.1).count(), 3);
    }

    #[test]
    fn short_side_branches_are_pruned() {
        let mut plane = Plane::filled(40, 20, 0_u8);
        for x in 3..36 {
            plane.set(x, 12, 1);
        }
        for y in 8..12 {
            plane.set(20, y, 1);
        }
        let mut skeleton = Skeleton::of(&plane, |cell| cell == 1);
        assert_eq!(skeleton.special().len(), 4);
        skeleton.prune(8);
        assert_eq!(skeleton.special().len(), 2);
    }
}
