//! Repairs the one damage that a power cut can leave and the storage crate does not mend by itself.
//!
//! A batch that was being forced to the disk when the power went may be there with its end but with holes before it. It
//! was never acknowledged, so it is cut off. It can only be the last one: each batch is on the disk before the next is
//! written. Layout of a batch: start (1, items u32, number u64), items (2, type u8, compression u8, keyspace u64, key
//! length u16, value length u32, stored length u32, key, value) or clearings (4, keyspace u64), end (3, checksum u64,
//! magic of 4 bytes); little endian; zeros follow the last batch.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::codec::take;

/// What was cut off, so that it can be put back.
pub(crate) struct Cut {
    journal: PathBuf,
    from: u64,
    tail: Vec<u8>,
}

impl Cut {
    /// Cuts the last whole batch off the newest journal in the directory, if only zeros follow it.
    pub(crate) fn last_batch(dir: &Path) -> std::io::Result<Option<Self>> {
        let Some(journal) = newest(dir)? else { return Ok(None) };
        let bytes = std::fs::read(&journal)?;
        let Some((from, tail)) = last_batch(&bytes).and_then(|from| Some((from as u64, bytes.get(from..)?.to_vec())))
        else {
            return Ok(None);
        };
        let file = OpenOptions::new().write(true).open(&journal)?;
        file.set_len(from)?;
        file.sync_all()?;
        Ok(Some(Self { journal, from, tail }))
    }

    /// Puts it back: the damage was elsewhere.
    pub(crate) fn undo(self) -> std::io::Result<()> {
        let mut file: File = OpenOptions::new().write(true).open(&self.journal)?;
        file.set_len(self.from)?;
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(self.from))?;
        file.write_all(&self.tail)?;
        file.sync_all()
    }
}

fn newest(dir: &Path) -> std::io::Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".jnl"))
            .and_then(|stem| stem.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(highest, _)| number > *highest)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the last batch starts, if it is whole in form and only zeros follow it.
fn last_batch(journal: &[u8]) -> Option<usize> {
    let mut rest = journal;
    let (mut start, mut last) = (0, None);
    while !rest.is_empty() {
        let here = journal.len() - rest.len();
        let mut after = rest;
        let Some(entry) = skip_entry(&mut after) else { break };
        match entry {
            Entry::Start => start = here,
            Entry::End => last = Some(start),
            Entry::Inside => {}
        }
        rest = after;
    }
    last.filter(|_| rest.iter().all(|byte| *byte == 0))
}

enum Entry {
    Start,
    Inside,
    End,
}

fn skip_entry(rest: &mut &[u8]) -> Option<Entry> {
    let [tag] = take::<1>(rest)?;
    match tag {
        1 => take::<12>(rest).map(|_| Entry::Start),
        2 => {
            take::<10>(rest)?;
            let key = u16::from_le_bytes(take(rest)?);
            take::<4>(rest)?;
            let value = u32::from_le_bytes(take(rest)?);
            let len = usize::from(key).checked_add(usize::try_from(value).ok()?)?;
            *rest = rest.get(len..)?;
            Some(Entry::Inside)
        }
        3 => take::<12>(rest).map(|_| Entry::End),
        4 => take::<8>(rest).map(|_| Entry::Inside),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(value: &[u8]) -> Vec<u8> {
        let mut out = vec![1, 1, 0, 0, 0];
        out.extend(7_u64.to_le_bytes());
        out.extend([2, 0, 0]);
        out.extend(1_u64.to_le_bytes());
        out.extend(3_u16.to_le_bytes());
        let len = u32::try_from(value.len()).unwrap().to_le_bytes();
        out.extend(len);
        out.extend(len);
        out.extend(b"key");
        out.extend(value);
        out.push(3);
        out.extend(9_u64.to_le_bytes());
        out.extend(b"FJL\x03");
        out
    }

    #[test]
    fn finds_the_last_batch_before_zeros_only() {
        let (first, second) = (batch(b"one"), batch(&[0; 300]));
        let whole = [&first[..], &second, &[0; 1_000]].concat();
        assert_eq!(last_batch(&whole), Some(first.len()));
        assert_eq!(last_batch(&[&first[..], &second].concat()), Some(first.len()));
        assert_eq!(last_batch(&[&first[..], &second, &[0, 0, 5]].concat()), None);
        assert_eq!(last_batch(&[&first[..], &second[..40]].concat()), None);
        assert_eq!(last_batch(&[0; 64]), None);
        assert_eq!(last_batch(b""), None);
    }

    #[test]
    fn a_cut_can_be_undone() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("10.jnl");
        let whole = [batch(b"one"), batch(b"two"), vec![0; 100]].concat();
        std::fs::write(dir.path().join("9.jnl"), b"older").unwrap();
        std::fs::write(&journal, &whole).unwrap();
        let cut = Cut::last_batch(dir.path()).unwrap().unwrap();
        assert_eq!(std::fs::read(&journal).unwrap(), batch(b"one"));
        cut.undo().unwrap();
        assert_eq!(std::fs::read(&journal).unwrap(), whole);
    }
}
