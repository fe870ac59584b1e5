//! Several impressions of one finger as one template.

use crate::align::Pair;
use crate::calibration;
use crate::matcher::{Candidate, Matcher, Probe};
use crate::template::{MAX_SIDE_PIXELS, Minutia, Template, TemplateError};

/// Rate of strangers that agree as well, above which two impressions are not taken for one finger.
const CONSISTENT_FMR: f64 = 1e-3;
/// Least quality of a minutia that only one impression shows.
const ALONE_QUALITY: u8 = 20;
/// Quality gained by being found again.
const SEEN_AGAIN: u8 = 10;
/// Merged minutiae closer than this, in pixels, and of one direction are the same one found twice.
const SAME_PIXELS: f32 = 8.0;

/// Why impressions are not merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is nothing to merge.
    #[error("no impressions were given")]
    Empty,
    /// Two impressions come from different engines or versions.
    #[error("the impressions come from different engines")]
    MixedVersions,
    /// The merged minutiae make no template.
    #[error("the merged impressions do not fit into a template")]
    Template(#[from] TemplateError),
}

/// What became of several impressions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The best impression with what the consistent others add.
    pub template: Template,
    /// Index of the impression that fits the others best, in whose frame the template is.
    pub base: usize,
    /// Impressions that were found to be of the same finger, the base among them, by rising index.
    pub used: Vec<usize>,
}

/// Merges impressions of one finger: the one that agrees best with the others is kept whole, the
/// others are laid over it, paired minutiae become their mean, unpaired ones of some quality join.
///
/// An impression that agrees with the base no better than 1 in 1 000 strangers would is left out; ask
/// [`Merged::used`] for it. At most 255 minutiae are kept, those seen most often and of best quality.
///
/// # Errors
/// [`MergeError`] without impressions, or when they come from different engines or versions.
pub fn merge(impressions: &[Template]) -> Result<Merged, MergeError> {
    let first = impressions.first().ok_or(MergeError::Empty)?;
    if impressions.iter().any(|one| one.engine() != first.engine()) {
        return Err(MergeError::MixedVersions);
    }
    let mut matcher = Matcher::new();
    let base = best_of(impressions, &mut matcher);
    let mut merged = Growing::new(&impressions[base]);
    let mut used = vec![base];
    for (index, other) in impressions.iter().enumerate() {
        if index != base && merged.take(&impressions[base], other, &mut matcher) {
            used.push(index);
        }
    }
    used.sort_unstable();
    Ok(Merged { template: merged.finish(&impressions[base])?, base, used })
}

/// The impression of greatest summed similarity to the others; of one or two, the better quality.
fn best_of(impressions: &[Template], matcher: &mut Matcher) -> usize {
    let probes: Vec<Probe> = impressions.iter().map(Probe::new).collect();
    let candidates: Vec<Candidate> = impressions.iter().map(Candidate::new).collect();
    let mut best = (0, (-1.0_f32, 0_u8));
    for (index, probe) in probes.iter().enumerate() {
        let others = candidates.iter().enumerate().filter(|(other, _)| *other != index && impressions.len() > 2);
        let sum = others.map(|(_, candidate)| matcher.compare(probe, candidate).value()).sum();
        let rank = (sum, impressions[index].quality().value());
        if rank > best.1 {
            best = (index, rank);
        }
    }
    best.0
}

/// A minutia of the merged finger, in the base's frame, which other impressions may leave.
struct Spot {
    x: f32,
    y: f32,
    minutia: Minutia,
    seen: u8,
}

struct Growing {
    spots: Vec<Spot>,
}

impl Growing {
    fn new(base: &Template) -> Self {
        let spot = |m: &Minutia| Spot { x: f32::from(m.x), y: f32::from(m.y), minutia: *m, seen: 1 };
        Self { spots: base.minutiae().iter().map(spot).collect() }
    }

    /// Lays an impression over the base; false if it does not agree with it.
    fn take(&mut self, base: &Template, other: &Template, matcher: &mut Matcher) -> bool {
        let (probe, candidate) = (Probe::new(other), Candidate::new(base));
        if calibration::fmr(matcher.compare(&probe, &candidate)) > CONSISTENT_FMR {
            return false;
        }
        let Some(found) = matcher.alignment(&probe, &candidate) else { return false };
        let from = |pair: &Pair| (probe.0.at(pair.a), candidate.0.at(pair.b));
        let anchors: Vec<_> = found.pairs.iter().map(from).collect();
        for minutia in other.minutiae() {
            let at = (f32::from(minutia.x), f32::from(minutia.y));
            let rigid = found.motion.place(at);
            // Skin stretches: the shift of the nearest pairs is the shift here.
            let (sx, sy) = local_shift(at, &anchors, |p| found.motion.place(p));
            let (x, y) = (rigid.0 + sx, rigid.1 + sy);
            let direction = minutia.direction.wrapping_add(found.motion.turn());
            self.add(x, y, Minutia { direction, ..*minutia });
        }
        true
    }

    fn add(&mut self, x: f32, y: f32, minutia: Minutia) {
        let distance = |spot: &Spot| (spot.x - x) * (spot.x - x) + (spot.y - y) * (spot.y - y);
        let same = |spot: &&mut Spot| {
            let off = crate::align::turn_distance(spot.minutia.direction, minutia.direction);
            distance(spot) <= SAME_PIXELS * SAME_PIXELS && off <= 24
        };
        let nearest = self.spots.iter_mut().filter(same).min_by(|p, q| distance(p).total_cmp(&distance(q)));
        match nearest {
            Some(spot) => {
                let share = 1.0 / (f32::from(spot.seen) + 1.0);
                spot.x += (x - spot.x) * share;
                spot.y += (y - spot.y) * share;
                spot.minutia.quality = spot.minutia.quality.max(minutia.quality).saturating_add(SEEN_AGAIN).min(100);
                spot.seen = spot.seen.saturating_add(1);
            }
            None if minutia.quality >= ALONE_QUALITY => self.spots.push(Spot { x, y, minutia, seen: 1 }),
            None => {}
        }
    }

    /// The template, shifted so that every minutia lies inside.
    fn finish(mut self, base: &Template) -> Result<Template, TemplateError> {
        let least = |value: fn(&Spot) -> f32| self.spots.iter().map(value).fold(0.0_f32, f32::min).floor();
        let (left, top) = (least(|spot| spot.x), least(|spot| spot.y));
        let place = |value: f32, low: f32| (value - low).round().clamp(0.0, f32::from(MAX_SIDE_PIXELS - 1)) as u16;
        let minutiae: Vec<Minutia> = self
            .spots
            .iter_mut()
            .map(|spot| Minutia { x: place(spot.x, left), y: place(spot.y, top), ..spot.minutia })
            .collect();
        let side = |own: u16, low: f32, far: u16| place(f32::from(own), low).max(far + 1).min(MAX_SIDE_PIXELS);
        let far = |value: fn(&Minutia) -> u16| minutiae.iter().map(value).max().unwrap_or(0).min(MAX_SIDE_PIXELS - 1);
        let (width, height) = (side(base.width(), left, far(|m| m.x)), side(base.height(), top, far(|m| m.y)));
        Template::new(base.engine().clone(), width, height, base.quality(), minutiae)
    }
}

/// Pixels from the left and from the top.
type Place = (f32, f32);

/// Mean of what the three nearest pairs are off the rigid motion, weighted by nearness.
fn local_shift((x, y): Place, anchors: &[(Place, Place)], place: impl Fn(Place) -> Place) -> Place {
    let squared = |from: Place| (from.0 - x) * (from.0 - x) + (from.1 - y) * (from.1 - y);
    let mut nearest: Vec<_> = anchors.iter().map(|(from, to)| (squared(*from), *from, *to)).collect();
    nearest.sort_by(|p, q| p.0.total_cmp(&q.0));
    let (mut weight, mut sx, mut sy) = (0.0, 0.0, 0.0);
    for (squared, from, to) in nearest.into_iter().take(3) {
        let near = 1.0 / (400.0 + squared);
        let rigid = place(from);
        weight += near;
        sx += near * (to.0 - rigid.0);
        sy += near * (to.1 - rigid.1);
    }
    if weight > 0.0 { (sx / weight, sy / weight) } else { (0.0, 0.0) }
}

impl Drop for Growing {
    fn drop(&mut self) {
        for spot in &mut self.spots {
            (spot.x, spot.y) = (0.0, 0.0);
            (spot.minutia.x, spot.minutia.y, spot.minutia.direction, spot.minutia.quality) = (0, 0, 0, 0);
        }
    }
}
