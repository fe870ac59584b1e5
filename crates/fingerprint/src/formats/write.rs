//! Writing: the inverse of reading, field by field.

use super::bytes::Writer;
use super::read::{EXTENSION_HEADER_BYTES, FORMAT_ID};
use super::{
    MAX_POSITION, MAX_VIEW_MINUTIAE, MinutiaType, QualityBlock, Record, RecordError, RecordFormat, RecordMinutia, View,
};

/// Bits that a coordinate has.
const COORDINATE_END: u16 = 1 << 14;

impl Record {
    /// Writes the record in its format. Reading gives the same record back.
    ///
    /// # Errors
    /// [`RecordError::Inexpressible`] for what the format has no room for, [`RecordError::OutsideImage`],
    /// [`RecordError::BadField`] and [`RecordError::NoViews`] for what no format may say.
    pub fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let format = self.format;
        if self.views.is_empty() {
            return Err(RecordError::NoViews);
        }
        for view in &self.views {
            check(format, view)?;
        }
        let rest = match format {
            RecordFormat::Iso2005 | RecordFormat::Ansi2004 => self.first_edition()?,
            RecordFormat::Iso2011 => self.iso_2011()?,
            RecordFormat::Ansi2009 | RecordFormat::Ansi2009Am1 => self.ansi_2009()?,
        };
        let mut out = Writer::default();
        out.bytes(&FORMAT_ID);
        out.bytes(match format {
            RecordFormat::Iso2005 | RecordFormat::Ansi2004 => b" 20\0",
            RecordFormat::Iso2011 | RecordFormat::Ansi2009 => b"030\0",
            RecordFormat::Ansi2009Am1 => b"035\0",
        });
        let too_long = |_| inexpressible(format, "so many bytes");
        match format {
            RecordFormat::Ansi2004 => match u16::try_from(out.len() + 2 + rest.len()) {
                Ok(length) => out.u16(length),
                Err(_) => {
                    out.u16(0);
                    out.u32(u32::try_from(out.len() + 4 + rest.len()).map_err(too_long)?);
                }
            },
            _ => out.u32(u32::try_from(out.len() + 4 + rest.len()).map_err(too_long)?),
        }
        out.bytes(&rest.into_inner());
        Ok(out.into_inner())
    }

    fn count_u8(&self) -> Result<u8, RecordError> {
        u8::try_from(self.views.len()).map_err(|_| inexpressible(self.format, "so many views"))
    }

    fn first_edition(&self) -> Result<Writer, RecordError> {
        let (format, mut out) = (self.format, Writer::default());
        let Some(first) = self.views.first() else { return Err(RecordError::NoViews) };
        let shared = |view: &View| (view.device, view.width, view.height, view.resolution_x, view.resolution_y);
        if self.views.iter().any(|view| shared(view) != shared(first)) {
            return Err(inexpressible(format, "views of different images"));
        }
        if format == RecordFormat::Ansi2004 {
            out.u16(self.owner);
            out.u16(self.product);
        }
        out.u16(u16::from(first.device.compliance & 0x0F) << 12 | first.device.id & 0x0FFF);
        for value in [first.width, first.height, first.resolution_x, first.resolution_y] {
            out.u16(value);
        }
        out.u8(self.count_u8()?);
        out.u8(0);
        for view in &self.views {
            out.u8(view.position);
            out.u8(view.number << 4 | view.impression);
            out.u8(only_quality(format, view)?.value);
            body(format, &mut out, view, true)?;
        }
        Ok(out)
    }

    fn ansi_2009(&self) -> Result<Writer, RecordError> {
        let (format, mut out) = (self.format, Writer::default());
        let Some(first) = self.views.first() else { return Err(RecordError::NoViews) };
        if self.views.iter().any(|view| view.device != first.device) {
            return Err(inexpressible(format, "views of different devices"));
        }
        out.u16(self.owner);
        out.u16(self.product);
        out.u8(first.device.compliance);
        out.u16(first.device.id);
        out.u8(self.count_u8()?);
        out.u8(0);
        for view in &self.views {
            let quality = only_quality(format, view)?;
            for value in [view.position, view.number, view.impression, quality.value] {
                out.u8(value);
            }
            let shorts = [quality.vendor, quality.algorithm, view.width, view.height];
            for value in shorts.into_iter().chain([view.resolution_x, view.resolution_y]) {
                out.u16(value);
            }
            body(format, &mut out, view, true)?;
        }
        Ok(out)
    }

    fn iso_2011(&self) -> Result<Writer, RecordError> {
        let (format, mut out) = (self.format, Writer::default());
        out.u16(u16::try_from(self.views.len()).map_err(|_| inexpressible(format, "so many views"))?);
        let certified = self.views.iter().any(|view| !view.certificates.is_empty());
        out.u8(u8::from(certified));
        for view in &self.views {
            let mut part = Writer::default();
            iso_2011_view(&mut part, view, certified)?;
            out.u32(u32::try_from(part.len() + 4).map_err(|_| inexpressible(format, "so many bytes"))?);
            out.bytes(&part.into_inner());
        }
        Ok(out)
    }
}

fn iso_2011_view(part: &mut Writer, view: &View, certified: bool) -> Result<(), RecordError> {
    let format = RecordFormat::Iso2011;
    let time = &view.captured;
    part.u16(time.year);
    for value in [time.month, time.day, time.hour, time.minute, time.second] {
        part.u8(value);
    }
    part.u16(time.millisecond);
    part.u8(view.device.technology);
    part.u16(view.device.vendor);
    part.u16(view.device.id);
    part.u8(u8::try_from(view.qualities.len()).map_err(|_| inexpressible(format, "so many qualities"))?);
    for quality in &view.qualities {
        part.u8(quality.value);
        part.u16(quality.vendor);
        part.u16(quality.algorithm);
    }
    if certified {
        part.u8(u8::try_from(view.certificates.len()).map_err(|_| inexpressible(format, "so many certificates"))?);
        for (authority, scheme) in &view.certificates {
            part.u16(*authority);
            part.u8(*scheme);
        }
    }
    part.u8(view.position);
    part.u8(view.number);
    part.u16(view.resolution_x);
    part.u16(view.resolution_y);
    part.u8(view.impression);
    part.u16(view.width);
    part.u16(view.height);
    part.u8(6 << 4 | view.ending_place & 0x0F);
    body(format, part, view, true)
}

fn body(format: RecordFormat, out: &mut Writer, view: &View, with_quality: bool) -> Result<(), RecordError> {
    out.u8(u8::try_from(view.minutiae.len()).map_err(|_| inexpressible(format, "so many minutiae"))?);
    for minutia in view.minutiae.iter() {
        let kind = match minutia.kind {
            MinutiaType::Other => 0,
            MinutiaType::Ending => 1,
            MinutiaType::Bifurcation => 2_u16,
        };
        out.u16(kind << 14 | minutia.x);
        out.u16(minutia.y);
        out.u8(minutia.angle);
        if with_quality {
            out.u8(minutia.quality);
        }
    }
    let lengths = view.extensions.iter().map(|extension| extension.data.len() + usize::from(EXTENSION_HEADER_BYTES));
    out.u16(u16::try_from(lengths.sum::<usize>()).map_err(|_| inexpressible(format, "so much extended data"))?);
    for extension in &view.extensions {
        out.u16(extension.kind);
        out.u16((extension.data.len() as u16).saturating_add(EXTENSION_HEADER_BYTES));
        out.bytes(&extension.data);
    }
    Ok(())
}

fn check(format: RecordFormat, view: &View) -> Result<(), RecordError> {
    let inside = |m: &RecordMinutia| m.x < view.width.min(COORDINATE_END) && m.y < view.height.min(COORDINATE_END);
    if !view.minutiae.iter().all(inside) {
        return Err(RecordError::OutsideImage);
    }
    if view.width == 0 || view.height == 0 {
        return Err(RecordError::BadField("image size"));
    }
    if view.resolution_x == 0 || view.resolution_y == 0 {
        return Err(RecordError::BadField("resolution"));
    }
    if view.position > MAX_POSITION {
        return Err(RecordError::BadField("finger position"));
    }
    if view.minutiae.len() > MAX_VIEW_MINUTIAE {
        return Err(inexpressible(format, "so many minutiae"));
    }
    let packed = format.has_one_geometry();
    if packed && (view.number > 0x0F || view.impression > 0x0F || view.device.id > 0x0FFF) {
        return Err(inexpressible(format, "a view number, impression or device of so many bits"));
    }
    Ok(())
}

fn only_quality(format: RecordFormat, view: &View) -> Result<QualityBlock, RecordError> {
    match view.qualities.as_slice() {
        [quality] => Ok(*quality),
        _ => Err(inexpressible(format, "none or several qualities of a view")),
    }
}

const fn inexpressible(format: RecordFormat, what: &'static str) -> RecordError {
    RecordError::Inexpressible { format, what }
}
