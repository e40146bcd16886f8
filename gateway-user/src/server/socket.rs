//! The Unix socket of a node: one agent a node holds it.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tokio::net::UnixListener;

/// Where the sockets of all nodes on this machine are.
const DIRECTORY: &str = "/run/lingyun";

/// Where a node's socket is unless `--socket` says otherwise.
pub fn default_path(node: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{node}.sock"))
}

/// Sockets in the default directory with an agent behind them.
pub fn running() -> Vec<PathBuf> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let sockets = entries.map(|entry| entry.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "sock")
            && UnixStream::connect(path).is_ok()
    });
    let mut sockets: Vec<_> = sockets.collect();
    sockets.sort();
    sockets
}

/// A socket that is removed when the agent ends.
pub struct Socket {
    path: PathBuf,
}

impl Socket {
    /// Binds the socket. One that a crashed agent left behind is replaced; one
    /// with an agent behind it is not.
    pub fn bind(path: &Path) -> Result<(Self, UnixListener)> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        match UnixStream::connect(path) {
            Ok(_) => bail!(
                "an agent is running already and listens on {}: stop it first, or give this one \
                 another --socket and --pin-dir",
                path.display()
            ),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)
                    .with_context(|| format!("cannot remove the stale {}", path.display()))?;
            }
            // Nothing there; whatever else is wrong, binding will say.
            Err(_) => {}
        }
        let listener = UnixListener::bind(path)
            .with_context(|| format!("cannot listen on {}", path.display()))?;
        let socket = Self { path: path.into() };
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        Ok((socket, listener))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            log::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_agent_holds_the_socket() {
        let path = std::env::temp_dir().join(format!("ly-socket-{}", std::process::id()));
        let (held, listener) = Socket::bind(&path).unwrap();
        let error = Socket::bind(&path).err().expect("taken").to_string();
        assert!(error.contains("running already"), "{error}");

        // The agent was killed: the file stays, nobody listens.
        drop(listener);
        let (socket, _listener) = Socket::bind(&path).unwrap();
        std::mem::forget(held);
        drop(socket);
        assert!(!path.exists(), "removed at the end");
    }
}
