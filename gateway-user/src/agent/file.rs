//! The topology file: tells when it has changed.
//!
//! Editors and configuration managers replace a file by renaming another one over it,
//! and Kubernetes swaps a symbolic link beside it, so the folder is watched, not the
//! file. What counts is the text: an event without another text is none.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

/// A file is read this long after the last event of its folder ...
const QUIET: Duration = Duration::from_millis(100);
/// ... and no later than this after the first.
const BURST: Duration = Duration::from_secs(1);

/// A watched file.
pub(super) struct TopologyFile {
    name: String,
    changes: mpsc::Receiver<Result<String, String>>,
    watch: JoinHandle<()>,
}

impl TopologyFile {
    /// Watches a file whose text is known.
    pub(super) fn watch(path: &Path, text: String) -> Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .context("cannot watch files")?;
        // SAFETY: the descriptor is owned, and closed by nobody else while it is registered.
        let ready = unsafe {
            let own = inotify.as_fd().try_clone_to_owned()?;
            AsyncFd::register_with_interest(own, Interest::READABLE)?
        };
        let watch = Watch {
            path: path.into(),
            inotify,
            ready,
            text: Some(text),
        };
        watch.add_folders()?;
        let hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
        let (sender, changes) = mpsc::channel(1);
        Ok(Self {
            name: path.display().to_string(),
            changes,
            watch: tokio::spawn(watch.run(hangup, sender)),
        })
    }

    /// Name for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Waits for another text, or for SIGHUP. The text, or why it cannot be read.
    /// Nothing is lost if the wait is given up.
    pub(super) async fn changed(&mut self) -> Result<String, String> {
        match self.changes.recv().await {
            Some(change) => change,
            // The task panicked, which it said.
            None => std::future::pending().await,
        }
    }
}

impl Drop for TopologyFile {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// What the task that watches works with.
struct Watch {
    path: PathBuf,
    inotify: Inotify,
    /// The same descriptor once more: tells when there is something to read.
    ready: AsyncFd<OwnedFd>,
    /// What was read last; nothing if it could not be read.
    text: Option<String>,
}

impl Watch {
    async fn run(mut self, mut hangup: Signal, changes: mpsc::Sender<Result<String, String>>) {
        loop {
            let asked = tokio::select! {
                _ = hangup.recv() => true,
                () = self.settled() => false,
            };
            // A link may lead to another folder now.
            if let Err(error) = self.add_folders() {
                log::debug!("{error:#}");
            }
            let text = fs::read_to_string(&self.path);
            let new = text.as_ref().ok().cloned();
            if !asked && new == self.text {
                continue;
            }
            self.text = new;
            let path = self.path.display();
            let change = text.map_err(|error| format!("cannot read {path}: {error}"));
            if changes.send(change).await.is_err() {
                return;
            }
        }
    }

    /// Waits for an event.
    async fn event(&self) {
        loop {
            let Ok(mut guard) = self.ready.readable().await else {
                // The descriptor broke; SIGHUP still works.
                return std::future::pending().await;
            };
            match self.inotify.read_events() {
                Err(Errno::EAGAIN) => guard.clear_ready(),
                // An overrun is an event too.
                _ => return,
            }
        }
    }

    /// Waits for an event, and for its burst to end.
    async fn settled(&self) {
        self.event().await;
        let latest = Instant::now() + BURST;
        loop {
            let quiet = (Instant::now() + QUIET).min(latest);
            if timeout_at(quiet, self.event()).await.is_err() || quiet == latest {
                return;
            }
        }
    }

    /// Watches the folder of the file, and that of the file which a link leads to.
    fn add_folders(&self) -> Result<()> {
        let folder = |path: &Path| match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let target = fs::canonicalize(&self.path);
        let folders: BTreeSet<_> = [
            Some(folder(&self.path)),
            target.ok().map(|path| folder(&path)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let events = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_ATTRIB;
        for folder in folders {
            self.inotify
                .add_watch(&folder, events)
                .with_context(|| format!("cannot watch {}", folder.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own.
    fn folder(test: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("ly-file-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    async fn next(file: &mut TopologyFile) -> Result<String, String> {
        let change = tokio::time::timeout(Duration::from_secs(5), file.changed());
        change.await.expect("a change is heard of")
    }

    #[tokio::test]
    async fn every_way_to_replace_a_file_is_heard_of() {
        let folder = folder("ways");
        let path = folder.join("site.yaml");
        fs::write(&path, "one").unwrap();
        let mut file = TopologyFile::watch(&path, "one".into()).unwrap();

        fs::write(&path, "two").unwrap();
        assert_eq!(next(&mut file).await.unwrap(), "two", "written in place");

        fs::write(folder.join(".swp"), "three").unwrap();
        fs::rename(folder.join(".swp"), &path).unwrap();
        assert_eq!(next(&mut file).await.unwrap(), "three", "renamed over it");

        fs::remove_file(&path).unwrap();
        assert!(next(&mut file).await.unwrap_err().contains("cannot read"));

        let other = folder.join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("real.yaml"), "four").unwrap();
        std::os::unix::fs::symlink(other.join("real.yaml"), &path).unwrap();
        assert_eq!(next(&mut file).await.unwrap(), "four", "a link");
        fs::write(other.join("real.yaml"), "five").unwrap();
        assert_eq!(
            next(&mut file).await.unwrap(),
            "five",
            "where the link leads"
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn the_same_text_is_no_change() {
        let folder = folder("same");
        let path = folder.join("site.yaml");
        fs::write(&path, "one").unwrap();
        let mut file = TopologyFile::watch(&path, "one".into()).unwrap();
        fs::write(&path, "one").unwrap();
        fs::write(folder.join("other.yaml"), "two").unwrap();
        let change = tokio::time::timeout(Duration::from_millis(400), file.changed());
        assert!(change.await.is_err());
        fs::remove_dir_all(folder).unwrap();
    }
}
