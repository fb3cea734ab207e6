//! Where the figures are kept: a JSON file for each measurement, with every run of it.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A folder of results.
#[derive(Debug, Clone)]
pub(crate) struct Results(PathBuf);

impl Results {
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub(crate) fn write(&self, name: &str, result: &impl Serialize) {
        fs::create_dir_all(&self.0).expect("a folder that can be written to");
        let json = serde_json::to_vec_pretty(result).expect("plain data is JSON");
        fs::write(self.file(name), json).expect("a file that can be written to");
    }

    /// None when it was not measured yet.
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let json = fs::read(self.file(name)).ok()?;
        Some(serde_json::from_slice(&json).expect("a result of this version"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.json"))
    }
}

/// The middle one.
pub(crate) fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
