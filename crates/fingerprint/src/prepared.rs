//! A template in the form that is compared: one array for each property.

use zeroize::Zeroize;

use crate::cylinder::cylinder;
use crate::template::{Minutia, MinutiaKind, Template};

/// Most minutiae used for comparing; the strongest are taken.
pub(crate) const MAX_COMPARED: usize = 96;
/// Most minutiae with a cylinder, from which motions are proposed; the strongest are taken.
pub(crate) const MAX_CYLINDERS: usize = 48;
/// Words of a cylinder.
pub(crate) const CYLINDER_WORDS: usize = 4;
/// Rank of a minutia without a cylinder.
pub(crate) const UNRANKED: u8 = u8::MAX;
/// Least set bits of a cylinder worth comparing: about two neighbours.
const MIN_WEIGHT: u32 = 10;
/// Coordinates beyond this are cut: no finger is larger, and differences stay inside `i16`.
const MAX_COORDINATE: u16 = 16_383;

/// The minutiae of a template by rising x, and the cylinders of the strongest.
///
/// 7 bytes a minutia and 34 a cylinder: 1.4 KB for 35 minutiae, at most 2.3 KB.
#[derive(Clone, Default)]
pub(crate) struct Prepared {
    pub(crate) x: Vec<i16>,
    pub(crate) y: Vec<i16>,
    pub(crate) direction: Vec<u8>,
    /// 1 for a bifurcation.
    pub(crate) kind: Vec<u8>,
    /// Index of the minutia's cylinder.
    pub(crate) rank: Vec<u8>,
    /// Index of each cylinder's minutia.
    pub(crate) slot: Vec<u8>,
    /// Set bits of each cylinder.
    pub(crate) weight: Vec<u8>,
    /// First words of all cylinders, then second words, and so on.
    pub(crate) words: Vec<u64>,
}

/// What is read of a [`Prepared`] or of an entry of a gallery.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) x: &'a [i16],
    pub(crate) y: &'a [i16],
    pub(crate) direction: &'a [u8],
    pub(crate) kind: &'a [u8],
    pub(crate) rank: &'a [u8],
    pub(crate) slot: &'a [u8],
    pub(crate) weight: &'a [u8],
    pub(crate) words: &'a [u64],
}

impl Prepared {
    pub(crate) fn new(template: &Template) -> Self {
        let strongest = template.minutiae();
        let strongest = strongest.get(..MAX_COMPARED).unwrap_or(strongest);
        let mut order: Vec<usize> = (0..strongest.len()).collect();
        order.sort_unstable_by_key(|&index| strongest[index]);
        let chosen = order.iter().map(|&index| &strongest[index]);
        let cut = |value: u16| value.min(MAX_COORDINATE) as i16;
        let mut out = Self {
            x: chosen.clone().map(|m| cut(m.x)).collect(),
            y: chosen.clone().map(|m| cut(m.y)).collect(),
            direction: chosen.clone().map(|m| m.direction).collect(),
            kind: chosen.map(|m| u8::from(m.kind == MinutiaKind::Bifurcation)).collect(),
            rank: vec![UNRANKED; order.len()],
            slot: Vec::with_capacity(MAX_CYLINDERS),
            weight: Vec::with_capacity(MAX_CYLINDERS),
            words: Vec::new(),
        };
        out.describe(strongest, &order);
        out
    }

    /// Gives the strongest minutiae that have neighbours their cylinders.
    fn describe(&mut self, strongest: &[Minutia], order: &[usize]) {
        let mut cylinders = Vec::with_capacity(MAX_CYLINDERS);
        for (place, &index) in order.iter().enumerate() {
            if index >= MAX_CYLINDERS {
                continue;
            }
            let (words, bits) = cylinder(strongest, &strongest[index]);
            if bits >= MIN_WEIGHT {
                self.rank[place] = cylinders.len() as u8;
                self.slot.push(place as u8);
                self.weight.push(bits as u8);
                cylinders.push(words);
            }
        }
        self.words = (0..CYLINDER_WORDS).flat_map(|word| cylinders.iter().map(move |c| c[word])).collect();
        cylinders.zeroize();
    }

    pub(crate) fn at(&self, index: u8) -> (f32, f32) {
        self.side().at(index)
    }

    pub(crate) fn side(&self) -> Side<'_> {
        let Self { x, y, direction, kind, rank, slot, weight, words } = self;
        Side { x, y, direction, kind, rank, slot, weight, words }
    }
}

impl Side<'_> {
    pub(crate) fn len(&self) -> usize {
        self.x.len()
    }

    pub(crate) fn at(&self, index: u8) -> (f32, f32) {
        let index = usize::from(index);
        (f32::from(self.x[index]), f32::from(self.y[index]))
    }

    /// Smallest box around the minutiae: left, right, top, bottom.
    pub(crate) fn bounds(&self) -> [f32; 4] {
        let span = |values: &[i16]| {
            let low = values.iter().copied().min().unwrap_or(0);
            let high = values.iter().copied().max().unwrap_or(0);
            (f32::from(low), f32::from(high))
        };
        let ((left, right), (top, bottom)) = (span(self.x), span(self.y));
        [left, right, top, bottom]
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        self.x.zeroize();
        self.y.zeroize();
        self.direction.zeroize();
        self.kind.zeroize();
        self.rank.zeroize();
        self.slot.zeroize();
        self.weight.zeroize();
        self.words.zeroize();
    }
}
