//! Between a record's units and those of a template: pixels at 500 dpi and 1/256 of a turn.

use zeroize::Zeroizing;

use super::{
    CaptureTime, Device, MinutiaType, QualityBlock, Record, RecordError, RecordFamily, RecordFormat, RecordMinutia,
    View,
};
use crate::engine::Engine;
use crate::template::{MAX_SIDE_PIXELS, Minutia, MinutiaKind, Quality, Template};

/// What stands where an engine's name does, beside templates that no extractor of ours made.
pub const FOREIGN_ENGINE_NAME: &str = "foreign";
/// Engine version of those templates: numbers from 0xF000 are foreign, the rest counts changes of the conversion.
pub const FOREIGN_ENGINE_VERSION: u16 = 0xF001;
/// The same, as templates name it.
pub const FOREIGN_ENGINE: Engine = Engine::new(FOREIGN_ENGINE_NAME, FOREIGN_ENGINE_VERSION);
/// Quality of a view that reports none: what may just be enrolled, since nothing speaks against it.
pub const UNREPORTED_QUALITY: u8 = 60;
/// Quality of a minutia that reports none. Only the order of qualities within a template matters, and all are equal then.
pub const UNREPORTED_MINUTIA_QUALITY: u8 = 50;

/// 500 dpi in pixels per centimetre, rounded as both standards have it.
const WORKING_PER_CM: u16 = 197;
const WORKING_DPI: u32 = 500;
/// 250 to 1200 dpi, with one for rounding.
const PER_CM: std::ops::RangeInclusive<u16> = 98..=473;
/// Number of the registry of biometric organisations for those that have none.
const UNREGISTERED_VENDOR: u16 = 0x0103;
/// And of their quality algorithms.
const UNREGISTERED_ALGORITHM: u16 = 1;
/// A quality that nobody computed, in editions that can say so.
const NOT_REPORTED: u8 = 254;
/// An ending lies on the end of the ridge, as our extractor places it.
const ENDING_ON_RIDGE: u8 = 1;

impl Record {
    /// A record of one view: a template's minutiae under finger code `position`.
    ///
    /// Coordinates stay as they are, since 197 pixels per centimetre stand for 500 dpi. ANSI counts directions in
    /// 2 degrees, so up to one degree is lost. Before 2009 a quality of 0 would mean "not reported" and becomes 1.
    ///
    /// # Errors
    /// [`RecordError::BadField`] for a position above 10.
    pub fn of_template(format: RecordFormat, template: &Template, position: u8) -> Result<Self, RecordError> {
        if position > super::MAX_POSITION {
            return Err(RecordError::BadField("finger position"));
        }
        let (vendor, algorithm) =
            if format.has_one_geometry() { (0, 0) } else { (UNREGISTERED_VENDOR, UNREGISTERED_ALGORITHM) };
        let minutiae = template.minutiae().iter().map(|minutia| RecordMinutia {
            kind: match minutia.kind {
                MinutiaKind::Ending => MinutiaType::Ending,
                MinutiaKind::Bifurcation => MinutiaType::Bifurcation,
            },
            x: minutia.x,
            y: minutia.y,
            angle: format.angle_of(minutia.direction),
            quality: if format.has_one_geometry() { minutia.quality.max(1) } else { minutia.quality },
        });
        let view = View {
            position,
            number: 0,
            impression: 0,
            qualities: vec![QualityBlock { value: template.quality().value(), vendor, algorithm }],
            device: Device::default(),
            captured: CaptureTime::UNKNOWN,
            certificates: Vec::new(),
            width: template.width(),
            height: template.height(),
            resolution_x: WORKING_PER_CM,
            resolution_y: WORKING_PER_CM,
            ending_place: if format == RecordFormat::Iso2011 { ENDING_ON_RIDGE } else { 0 },
            minutiae: Zeroizing::new(minutiae.collect()),
            extensions: Vec::new(),
        };
        let owner = if format.family() == RecordFamily::Ansi378 { UNREGISTERED_VENDOR } else { 0 };
        Ok(Self { format, owner, product: 0, views: vec![view] })
    }

    /// The same views in another format. Pixels and resolution stay; angles change their unit; extended data, which the
    /// formats count in different units, and what only the old format has are left out.
    ///
    /// # Errors
    /// [`RecordError::Inexpressible`] for a view that reports no quality, when the format demands one.
    pub fn converted(&self, format: RecordFormat) -> Result<Self, RecordError> {
        let views = self.views.iter().map(|view| view.converted(self.format, format)).collect::<Result<Vec<_>, _>>()?;
        let is_ansi = format.family() == RecordFamily::Ansi378;
        let owner = if is_ansi && self.owner == 0 { UNREGISTERED_VENDOR } else { self.owner };
        let (owner, product) = if is_ansi { (owner, self.product) } else { (0, 0) };
        Ok(Self { format, owner, product, views })
    }
}

impl View {
    /// The quality that the view reports, 0 to 100; `None` if it does not.
    #[must_use]
    pub fn quality(&self) -> Option<u8> {
        self.qualities.iter().map(|quality| quality.value).find(|value| *value <= 100)
    }

    fn converted(&self, from: RecordFormat, to: RecordFormat) -> Result<Self, RecordError> {
        let first_edition = to.has_one_geometry();
        let quality = match self.qualities.iter().find(|quality| quality.value <= 100) {
            Some(quality) if first_edition => QualityBlock { vendor: 0, algorithm: 0, ..*quality },
            Some(quality) if quality.vendor > 0 => *quality,
            None if first_edition => {
                return Err(RecordError::Inexpressible { format: to, what: "a view without a quality" });
            }
            known => QualityBlock {
                value: known.map_or(NOT_REPORTED, |quality| quality.value),
                vendor: UNREGISTERED_VENDOR,
                algorithm: UNREGISTERED_ALGORITHM,
            },
        };
        let minutiae = self.minutiae.iter().map(|minutia| RecordMinutia {
            angle: if from.family() == to.family() {
                minutia.angle
            } else {
                to.angle_of(from.direction_of(minutia.angle))
            },
            quality: match from.reported(minutia.quality) {
                Some(quality) if first_edition => quality.max(1),
                Some(quality) => quality,
                None if first_edition => 0,
                None => NOT_REPORTED,
            },
            ..*minutia
        });
        let is_2011 = from == RecordFormat::Iso2011 && to == RecordFormat::Iso2011;
        let device = Device { id: self.device.id, compliance: self.device.compliance, ..Device::default() };
        Ok(Self {
            qualities: vec![quality],
            device: if is_2011 { self.device } else { device },
            captured: if is_2011 { self.captured } else { CaptureTime::UNKNOWN },
            certificates: if is_2011 { self.certificates.clone() } else { Vec::new() },
            ending_place: if is_2011 { self.ending_place } else { 0 },
            minutiae: Zeroizing::new(minutiae.collect()),
            extensions: Vec::new(),
            ..*self
        })
    }

    /// A template of the view's minutiae at 500 dpi, marked as foreign ([`FOREIGN_ENGINE`]).
    ///
    /// A minutia that is neither ending nor bifurcation becomes an ending, the more frequent kind. ANSI angles from 180
    /// on, which some writers produce, count on past a full turn. A resolution that 250, 500 or 1000 dpi is written as
    /// stands for it exactly.
    ///
    /// # Errors
    /// [`RecordError::Resolution`], [`RecordError::UnevenResolution`], [`RecordError::TooLargeImage`].
    pub fn to_template(&self, format: RecordFormat) -> Result<Template, RecordError> {
        let (x, y) = (Scale::of(self.resolution_x)?, Scale::of(self.resolution_y)?);
        if self.resolution_x.abs_diff(self.resolution_y) > self.resolution_x.max(self.resolution_y) / 100 {
            return Err(RecordError::UnevenResolution);
        }
        let (width, height) = (x.side(self.width)?, y.side(self.height)?);
        let minutiae = self.minutiae.iter().map(|minutia| Minutia {
            x: x.scaled(minutia.x).min(u32::from(width) - 1) as u16,
            y: y.scaled(minutia.y).min(u32::from(height) - 1) as u16,
            direction: format.direction_of(minutia.angle),
            kind: match minutia.kind {
                MinutiaType::Ending | MinutiaType::Other => MinutiaKind::Ending,
                MinutiaType::Bifurcation => MinutiaKind::Bifurcation,
            },
            quality: format.reported(minutia.quality).unwrap_or(UNREPORTED_MINUTIA_QUALITY),
        });
        let quality = Quality::new(self.quality().unwrap_or(UNREPORTED_QUALITY));
        Template::new(FOREIGN_ENGINE, width, height, quality, minutiae.collect()).map_err(|_| RecordError::OutsideImage)
    }
}

impl RecordFormat {
    /// From 1/256 of a turn.
    fn angle_of(self, direction: u8) -> u8 {
        match self.family() {
            RecordFamily::Iso19794 => direction,
            RecordFamily::Ansi378 => ((u16::from(direction) * 45 + 32) / 64 % 180) as u8,
        }
    }

    /// To 1/256 of a turn.
    fn direction_of(self, angle: u8) -> u8 {
        match self.family() {
            RecordFamily::Iso19794 => angle,
            RecordFamily::Ansi378 => ((u16::from(angle) * 64 + 22) / 45 % 256) as u8,
        }
    }

    fn reported(self, quality: u8) -> Option<u8> {
        let least = u8::from(self.has_one_geometry());
        (least..=100).contains(&quality).then_some(quality)
    }
}

/// From pixels of a record to pixels at 500 dpi, as a fraction.
struct Scale {
    numerator: u32,
    denominator: u32,
}

impl Scale {
    fn of(per_cm: u16) -> Result<Self, RecordError> {
        if !PER_CM.contains(&per_cm) {
            return Err(RecordError::Resolution { per_cm });
        }
        let hundredths = u32::from(per_cm) * 254;
        // A resolution in inches is written rounded, by some cut off.
        let written_as = (hundredths - 127)..(hundredths + 254);
        let hundredths =
            [25_000, 50_000, 100_000].into_iter().find(|dpi| written_as.contains(dpi)).unwrap_or(hundredths);
        Ok(Self { numerator: WORKING_DPI * 100, denominator: hundredths })
    }

    fn scaled(&self, pixels: u16) -> u32 {
        (u32::from(pixels) * self.numerator + self.denominator / 2) / self.denominator
    }

    fn side(&self, pixels: u16) -> Result<u16, RecordError> {
        let side = u16::try_from(self.scaled(pixels)).map_err(|_| RecordError::TooLargeImage)?;
        if side > MAX_SIDE_PIXELS { Err(RecordError::TooLargeImage) } else { Ok(side.max(1)) }
    }
}
