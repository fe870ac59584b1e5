//! A run that was written before, of this engine or of another.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use ridgeline_evaluation::{Costs, CostsError, Run};

/// The end of the name of a scores file.
const SCORES: &str = ".scores.csv";
/// How this command calls its own runs: their folders tell them apart.
const OURS: &str = "ours";

/// Adds the text of a file to what is known of a run.
type Reader = fn(&mut Costs, &str) -> Result<(), CostsError>;

/// A run by its name.
pub(super) struct Other {
    pub(super) name: String,
    pub(super) run: Run,
    pub(super) costs: Costs,
}

/// Reads the scores of a folder, or a scores file, and what lies beside them of costs and qualities.
///
/// # Errors
/// If there are none, several, or one of the files is not understood.
pub(super) fn read(path: &Path) -> anyhow::Result<Other> {
    let scores = scores_file(path)?;
    let run = Run::read(&text(&scores)?).with_context(|| unread(&scores))?;
    if run.sets.is_empty() {
        bail!("{} holds no scores", scores.display());
    }
    let prefix = scores.file_name().and_then(|name| name.to_str()?.strip_suffix(SCORES)).unwrap_or(OURS).to_owned();
    let mut costs = Costs::default();
    let readers: [(&str, Reader); 3] =
        [("extract", Costs::read_extract), ("speed", Costs::read_speed), ("quality", Costs::read_quality)];
    for (kind, reader) in readers {
        let file = scores.with_file_name(format!("{prefix}.{kind}.csv"));
        if file.exists() {
            reader(&mut costs, &text(&file)?).with_context(|| unread(&file))?;
        }
    }
    let folder = scores.parent().and_then(|folder| folder.canonicalize().ok());
    let folder = folder.and_then(|folder| Some(folder.file_name()?.to_str()?.to_owned()));
    let name = if prefix == OURS { folder.unwrap_or(prefix) } else { prefix };
    Ok(Other { name, run, costs })
}

fn scores_file(path: &Path) -> anyhow::Result<PathBuf> {
    if !path.is_dir() {
        return Ok(path.to_owned());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| unread(path))? {
        let file = entry.with_context(|| unread(path))?.path();
        if file.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(SCORES)) {
            found.push(file);
        }
    }
    found.sort();
    match found.as_slice() {
        [file] => Ok(file.clone()),
        [] => bail!("{} holds no *{SCORES}", path.display()),
        [first, ..] => bail!("{} holds {} runs: name one, like {}", path.display(), found.len(), first.display()),
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| unread(path))
}

fn unread(path: &Path) -> String {
    format!("cannot read {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "set,finger_a,imp_a,finger_b,imp_b,score\ns,1,1,1,2,3\n";

    #[test]
    fn runs_are_named_after_their_folder_or_their_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let before = dir.path().join("before");
        std::fs::create_dir(&before).unwrap();
        assert!(read(&before).err().unwrap().to_string().contains("holds no *.scores.csv"));
        std::fs::write(before.join("ours.scores.csv"), TEXT).unwrap();
        std::fs::write(before.join("ours.quality.csv"), "set,finger,imp,quality\ns,1,1,70\n").unwrap();
        let ours = read(&before).unwrap();
        assert_eq!((ours.name.as_str(), ours.run.sets.len(), ours.costs.of("s").quality.len()), ("before", 1, 1));
        std::fs::write(before.join("peer.scores.csv"), TEXT).unwrap();
        assert!(read(&before).err().unwrap().to_string().contains("holds 2 runs"));
        let peer = read(&before.join("peer.scores.csv")).unwrap();
        assert_eq!((peer.name.as_str(), peer.costs), ("peer", Costs::default()));
    }

    #[test]
    fn files_that_are_not_understood_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let scores = dir.path().join("ours.scores.csv");
        let said = || format!("{:#}", read(dir.path()).err().unwrap());
        std::fs::write(&scores, "set,score\n").unwrap();
        assert!(said().contains("ours.scores.csv: the first line"));
        std::fs::write(&scores, &TEXT[..TEXT.find('\n').unwrap()]).unwrap();
        assert!(said().contains("holds no scores"));
        std::fs::write(&scores, TEXT).unwrap();
        std::fs::write(dir.path().join("ours.speed.csv"), "set,metric,value\ns,prepare_probe_cpu_us,x\n").unwrap();
        assert!(said().contains("ours.speed.csv: line 2"));
        assert!(format!("{:#}", read(&dir.path().join("none")).err().unwrap()).contains("cannot read"));
    }
}
