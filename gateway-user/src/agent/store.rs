//! What an agent remembers beside the maps: which index each thing has, and what an
//! operator drains. A file, since maps hold indices and no names. It is written whole
//! before the maps are, and renamed into place: whenever an agent dies, the file knows
//! every index that the maps mention.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use gateway_common::ABI_VERSION;
use serde::{Deserialize, Serialize};

use crate::model::Course;

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Content<C> {
    /// Layout of the maps whose indices these are.
    abi: u32,
    /// Start of the machine that the maps and the clock belong to.
    boot: String,
    course: C,
}

/// The file of one node.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    boot: String,
    /// What the file holds, so that it is written only when that changes.
    written: String,
}

impl Store {
    /// The file beside a node's socket.
    pub(super) fn beside(socket: &Path) -> Self {
        // Unreadable where /proc is not mounted: then no file is ever believed.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            path: socket.with_extension("state"),
            boot: boot.trim().to_owned(),
            written: String::new(),
        }
    }

    /// What an earlier agent remembered, and the maps that it left, if they go together:
    /// without the file's indices nobody knows whom the maps mean, and without the maps
    /// the indices mean nothing. Otherwise only what is drained is kept.
    pub(super) fn load<Maps>(&self, left: Option<Maps>) -> (Course, Option<Maps>) {
        let Ok(text) = fs::read_to_string(&self.path) else {
            return (Course::default(), None);
        };
        let content: Content<Course> = match serde_json::from_str(&text) {
            Ok(content) => content,
            Err(error) => {
                let path = self.path.display();
                log::warn!("{path} makes no sense, starting without it: {error}");
                return (Course::default(), None);
            }
        };
        let course = content.course;
        let is_ours = content.abi == ABI_VERSION && content.boot == self.boot;
        if left.is_some() && is_ours && !self.boot.is_empty() && course.allocation.is_sound() {
            return (course, left);
        }
        (Course::draining(course.drains), None)
    }

    /// Writes what is to be remembered, if it is not written already.
    pub(super) fn save(&mut self, course: &Course) -> Result<()> {
        let text = serde_json::to_string(&Content {
            abi: ABI_VERSION,
            boot: self.boot.clone(),
            course,
        })?;
        if text == self.written {
            return Ok(());
        }
        let new = self.path.with_extension("state.new");
        fs::write(&new, &text).with_context(|| format!("cannot write {}", new.display()))?;
        fs::rename(&new, &self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.written = text;
        Ok(())
    }

    /// The node was given back: there are no maps any more. What an operator drains
    /// stays so when the agent starts again.
    pub(super) fn leave(&mut self, course: &Course) -> Result<()> {
        if course.drains.is_empty() {
            // It is not there if nothing was ever written.
            let _ = fs::remove_file(&self.path);
            return Ok(());
        }
        self.save(&Course::draining(course.drains.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Drain;

    fn store(test: &str) -> Store {
        let name = format!("ly-store-{test}-{}.sock", std::process::id());
        Store::beside(&std::env::temp_dir().join(name))
    }

    fn course() -> Course {
        let mut course = Course::default();
        course.allocation.tunnels.hold([[10, 0, 1, 2].into()], 5);
        let drain = Drain { now: true };
        course.drains.insert("shop/web-1".into(), drain);
        course
    }

    #[test]
    fn what_is_written_is_read() {
        let mut store = store("read");
        assert_eq!(store.load(Some(1)), (Course::default(), None), "no file");
        store.save(&course()).unwrap();
        assert_eq!(store.load(Some(1)), (course(), Some(1)));
        let drained = (Course::draining(course().drains), None);
        assert_eq!(store.load(None), drained, "indices of maps that are gone");
        store.boot = "another".into();
        assert_eq!(store.load(Some(1)), drained, "another start of the machine");
        fs::remove_file(&store.path).unwrap();
    }

    #[test]
    fn nonsense_is_not_believed() {
        let mut store = store("nonsense");
        for text in ["", "{", r#"{"abi":1}"#] {
            fs::write(&store.path, text).unwrap();
            assert_eq!(store.load(Some(1)), (Course::default(), None), "{text}");
        }
        let mut twice = course();
        let hosts = [[10, 0, 1, 2].into(), [10, 0, 1, 3].into()];
        twice.allocation.tunnels.hold(hosts, 5);
        store.save(&twice).unwrap();
        let text = fs::read_to_string(&store.path).unwrap();
        fs::write(
            &store.path,
            text.replace("\"10.0.1.3\",2", "\"10.0.1.3\",1"),
        )
        .unwrap();
        let (course, left) = store.load(Some(1));
        assert_eq!(
            (course.allocation, left),
            (Course::default().allocation, None)
        );
        fs::remove_file(&store.path).unwrap();
    }

    #[test]
    fn a_stopped_agent_leaves_what_is_drained() {
        let mut store = store("leave");
        store.save(&course()).unwrap();
        store.leave(&course()).unwrap();
        assert_eq!(store.load(Some(1)).0.drains, course().drains);
        store.leave(&Course::default()).unwrap();
        assert!(!store.path.exists(), "nothing to remember");
    }
}
