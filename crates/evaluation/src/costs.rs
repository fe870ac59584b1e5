//! What a run cost and how good its images are, read from the files beside its scores.

use std::collections::BTreeMap;

/// Costs and qualities of one set. What no file tells is empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetCosts {
    /// CPU milliseconds of each extraction, ascending.
    pub extract_ms: Vec<f64>,
    /// Bytes of each template that there is.
    pub template_bytes: Vec<u64>,
    /// Images without a template.
    pub failed: usize,
    /// Comparisons in a CPU second, probes prepared once.
    pub matches_per_cpu_s: Option<f64>,
    /// CPU microseconds to prepare a probe.
    pub prepare_probe_us: Option<f64>,
    /// Quality of each image, by finger and impression; 0 where there is no template.
    pub quality: BTreeMap<(u32, u32), u8>,
}

/// The costs of a run, by set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costs {
    sets: BTreeMap<String, SetCosts>,
}

/// A file that is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CostsError {
    /// A column that is needed does not stand in the first line.
    #[error("the first line names no column `{0}`")]
    Column(&'static str),
    /// A line lacks a field, or a field is no number of its kind.
    #[error("line {line} is not understood")]
    Line {
        /// Number of the line, from 1.
        line: usize,
    },
}

impl Costs {
    /// The costs of a set; empty ones where nothing is known of it.
    pub fn of(&self, set: &str) -> SetCosts {
        self.sets.get(set).cloned().unwrap_or_default()
    }

    /// Adds the text of an `extract.csv`.
    ///
    /// # Errors
    /// [`CostsError`] names the first thing that is not understood.
    pub fn read_extract(&mut self, text: &str) -> Result<(), CostsError> {
        let columns = ["set", "cpu_ms", "template_bytes", "iso_bytes"];
        self.each(text, columns, |costs, [cpu_ms, own, iso]| {
            let cpu_ms = cpu_ms.parse().ok().filter(|ms: &f64| ms.is_finite() && *ms >= 0.0)?;
            let (own, iso): (u64, u64) = (own.parse().ok()?, iso.parse().ok()?);
            // Some engines write standard records and no format of their own.
            match if own > 0 { own } else { iso } {
                0 => costs.failed += 1,
                bytes => costs.template_bytes.push(bytes),
            }
            costs.extract_ms.push(cpu_ms);
            Some(())
        })?;
        self.sets.values_mut().for_each(|costs| costs.extract_ms.sort_by(f64::total_cmp));
        Ok(())
    }

    /// Adds the text of a `speed.csv`; metrics that no report shows are passed over.
    ///
    /// # Errors
    /// As [`read_extract`](Self::read_extract).
    pub fn read_speed(&mut self, text: &str) -> Result<(), CostsError> {
        self.each(text, ["set", "metric", "value"], |costs, [metric, value]| {
            let place = match metric {
                "identify_matches_per_cpu_s" => &mut costs.matches_per_cpu_s,
                "prepare_probe_cpu_us" => &mut costs.prepare_probe_us,
                _ => return Some(()),
            };
            *place = Some(value.parse().ok().filter(|value: &f64| value.is_finite() && *value >= 0.0)?);
            Some(())
        })
    }

    /// Adds the text of a `quality.csv`.
    ///
    /// # Errors
    /// As [`read_extract`](Self::read_extract).
    pub fn read_quality(&mut self, text: &str) -> Result<(), CostsError> {
        self.each(text, ["set", "finger", "imp", "quality"], |costs, [finger, impression, quality]| {
            let quality = quality.parse().ok().filter(|quality: &u8| *quality <= 100)?;
            costs.quality.insert((finger.parse().ok()?, impression.parse().ok()?), quality);
            Some(())
        })
    }

    /// Gives `take` the fields of every line that `columns` names, the set apart.
    fn each<const ALL: usize, const REST: usize>(
        &mut self,
        text: &str,
        columns: [&'static str; ALL],
        take: impl Fn(&mut SetCosts, [&str; REST]) -> Option<()>,
    ) -> Result<(), CostsError> {
        let mut lines = text.lines().zip(1..);
        let header: Vec<&str> = lines.next().map_or("", |(header, _)| header.trim_end()).split(',').collect();
        let mut places = Vec::with_capacity(ALL);
        for column in columns {
            places.push(header.iter().position(|name| *name == column).ok_or(CostsError::Column(column))?);
        }
        for (text, line) in lines {
            let fields: Vec<&str> = text.trim_end().split(',').collect();
            let named: Option<Vec<&str>> = places.iter().map(|place| fields.get(*place).copied()).collect();
            let taken = named.filter(|_| fields.len() == header.len()).and_then(|named| {
                let (set, rest) = named.split_first()?;
                let costs = self.sets.entry((*set).to_owned()).or_default();
                take(costs, rest.try_into().ok()?)
            });
            taken.ok_or(CostsError::Line { line })?;
        }
        Ok(())
    }
}

impl SetCosts {
    /// The median CPU time of an extraction, milliseconds.
    pub fn median_extract_ms(&self) -> Option<f64> {
        self.extract_ms.get(self.extract_ms.len() / 2).copied()
    }

    /// The mean length of a template.
    pub fn mean_template_bytes(&self) -> Option<f64> {
        let count = self.template_bytes.len();
        (count > 0).then(|| self.template_bytes.iter().map(|bytes| *bytes as f64).sum::<f64>() / count as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTRACT: &str = "set,finger,imp,wall_ms,cpu_ms,template_bytes,iso_bytes\n\
                           s,1,1,9,9.5,300,0\ns,1,2,3,3.5,0,0\ns,2,1,5,5.5,0,100\nt,1,1,1,1,20,0\n";

    #[test]
    fn files_fill_the_costs_of_their_sets() {
        let mut costs = Costs::default();
        costs.read_extract(EXTRACT).unwrap();
        costs
            .read_speed("set,metric,value\ns,identify_matches_per_cpu_s,9000\ns,other,x\nt,prepare_probe_cpu_us,7\n")
            .unwrap();
        costs.read_quality("set,finger,imp,quality\ns,1,1,70\ns,1,2,0\n").unwrap();
        let s = costs.of("s");
        assert_eq!((s.extract_ms.clone(), s.failed, s.median_extract_ms()), (vec![3.5, 5.5, 9.5], 1, Some(5.5)));
        assert_eq!(
            (s.mean_template_bytes(), s.matches_per_cpu_s, s.prepare_probe_us),
            (Some(200.0), Some(9000.0), None)
        );
        assert_eq!(s.quality.into_iter().collect::<Vec<_>>(), [((1, 1), 70), ((1, 2), 0)]);
        assert_eq!(costs.of("t").prepare_probe_us, Some(7.0));
        assert_eq!((costs.of("u"), costs.of("u").median_extract_ms()), (SetCosts::default(), None));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let mut costs = Costs::default();
        assert_eq!(costs.read_extract(""), Err(CostsError::Column("set")));
        assert_eq!(costs.read_speed("set,value\n"), Err(CostsError::Column("metric")));
        let speed = "set,metric,value\ns,identify_matches_per_cpu_s,";
        for value in ["", "x", "NaN", "inf", "-1", "1,2"] {
            assert_eq!(costs.read_speed(&format!("{speed}{value}\n")), Err(CostsError::Line { line: 2 }), "{value}");
        }
        let quality = "set,finger,imp,quality\ns,1,1,70\n";
        for line in ["s,1,1,101", "s,1,1,-1", "s,1,x,7", "s,1,1", "", "s,1,1,7,7"] {
            assert_eq!(costs.read_quality(&format!("{quality}{line}\n")), Err(CostsError::Line { line: 3 }), "{line}");
        }
        let extract = EXTRACT.replace("5.5", "NaN");
        assert_eq!(costs.read_extract(&extract), Err(CostsError::Line { line: 4 }));
    }
}
