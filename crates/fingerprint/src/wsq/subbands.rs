//! Where the 64 subbands lie in the plane of coefficients, and which splits led to them.
//!
//! Each split halves an area both ways. The first half holds the low band of the filter, unless the area itself is a high
//! band in that direction: decimation turned its spectrum round, so there the first half holds the high band. Subbands
//! thus lie in the order of their frequency.

/// A rectangle of the plane, and in which directions it is a high band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    /// The left half of this area holds its high band.
    pub(super) turned_x: bool,
    /// The upper half of this area holds its high band.
    pub(super) turned_y: bool,
}

impl Area {
    /// Length of the first half of a side: the low band has the odd sample.
    pub(super) const fn first_half(length: usize, turned: bool) -> usize {
        if turned { length / 2 } else { length.div_ceil(2) }
    }

    /// Upper left, upper right, lower left, lower right.
    fn quarters(&self) -> [Self; 4] {
        let (left, top) = (Self::first_half(self.width, self.turned_x), Self::first_half(self.height, self.turned_y));
        let part = |right: bool, lower: bool| Self {
            x: if right { self.x + left } else { self.x },
            y: if lower { self.y + top } else { self.y },
            width: if right { self.width - left } else { left },
            height: if lower { self.height - top } else { top },
            turned_x: right,
            turned_y: lower,
        };
        [part(false, false), part(true, false), part(false, true), part(true, true)]
    }
}

/// Splits and subbands of an image.
pub(super) struct Layout {
    /// Width of the plane.
    pub(super) width: usize,
    /// Every area that was split, after the one it is part of.
    pub(super) splits: Vec<Area>,
    /// The 64 subbands in the order in which they are coded.
    pub(super) bands: Vec<Area>,
}

impl Layout {
    pub(super) fn new(width: usize, height: usize) -> Self {
        let whole = Area { x: 0, y: 0, width, height, turned_x: false, turned_y: false };
        let mut layout = Self { width, splits: Vec::new(), bands: Vec::new() };
        let [low, right, lower, highest] = layout.split(whole);
        let [lowest, low_right, low_lower, low_high] = layout.split(low);
        let mut parts = layout.split(lowest).into_iter();
        if let Some(smallest) = parts.next() {
            let mut parts = layout.split(smallest).into_iter();
            if let Some(centre) = parts.next() {
                layout.split_into_bands(centre);
            }
            layout.bands.extend(parts);
        }
        parts.for_each(|part| layout.split_into_bands(part));
        for area in [low_right, low_lower] {
            for part in layout.split(area) {
                layout.split_into_bands(part);
            }
        }
        layout.bands.push(low_high);
        layout.split_into_bands(right);
        layout.split_into_bands(lower);
        // Never coded, so it need not be split back either.
        layout.bands.extend(highest.quarters());
        layout
    }

    fn split(&mut self, area: Area) -> [Area; 4] {
        self.splits.push(area);
        area.quarters()
    }

    fn split_into_bands(&mut self, area: Area) {
        let quarters = self.split(area);
        self.bands.extend(quarters);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_tile_the_plane() {
        for (width, height) in [(32, 32), (33, 47), (300, 301), (388, 374), (545, 622)] {
            let layout = Layout::new(width, height);
            assert_eq!((layout.bands.len(), layout.splits.len()), (64, 20));
            let mut covered = vec![0_u8; width * height];
            for band in &layout.bands {
                for y in band.y..band.y + band.height {
                    covered[y * width + band.x..][..band.width].iter_mut().for_each(|cell| *cell += 1);
                }
            }
            assert!(covered.iter().all(|count| *count == 1), "{width}x{height}");
        }
    }
}
