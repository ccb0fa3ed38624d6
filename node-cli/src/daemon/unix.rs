//! The Unix socket of the daemon: only its user can open it.

use std::convert::Infallible;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::{UnixListener, UnixStream};

use super::attach::{attach, turn_away};
use super::{Daemon, MAX_PROGRAMS};

/// The socket in the user's runtime directory, or home.
const FILE: &str = "daemon.sock";

/// Pause after the system could not give another socket.
const RETRY: Duration = Duration::from_millis(200);

/// Where the socket is, unless it is said: in `$XDG_RUNTIME_DIR/atoll`, or else in `~/.atoll`.
pub(crate) fn default_path() -> Option<PathBuf> {
    let folder = |name: &str, below: &str| {
        let folder = std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())?;
        Some(folder.join(below).join(FILE))
    };
    folder("XDG_RUNTIME_DIR", "atoll").or_else(|| folder("HOME", ".atoll"))
}

/// Connects to the daemon; `None` if none runs there.
pub(crate) async fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The socket that programs connect to. It goes when this does.
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
    /// Held as long as the daemon runs: so a socket that nobody holds the lock of is of a daemon that died.
    _lock: File,
}

impl Door {
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let private = |folder: &Path| DirBuilder::new().recursive(true).mode(0o700).create(folder);
        private(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let lock_path = with_ending(path, ".lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.with_context(|| format!("cannot open {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => bail!("a daemon runs at {shown} already"),
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).context(format!("cannot lock {}", lock_path.display()));
            }
        }
        // Bound where nobody else can look, and moved when its mode is right: it is never open to others.
        let nursery = with_ending(path, ".new");
        let _ = fs::remove_dir_all(&nursery);
        private(&nursery).with_context(|| format!("cannot make the folder {}", nursery.display()))?;
        let born = nursery.join("s");
        let opened = UnixListener::bind(&born).and_then(|listener| {
            fs::set_permissions(&born, Permissions::from_mode(0o600))?;
            fs::rename(&born, path)?;
            Ok(listener)
        });
        let _ = fs::remove_dir_all(&nursery);
        let listener = opened.with_context(|| format!("cannot open the socket {shown}"))?;
        Ok(Door { listener, path: path.to_owned(), _lock: lock })
    }

    pub(super) async fn serve(&self, daemon: &Arc<Daemon>) -> Infallible {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                // No socket left in the system, most likely: programs that go give some back.
                tokio::time::sleep(RETRY).await;
                continue;
            };
            let daemon = daemon.clone();
            let place = daemon.places.clone().try_acquire_owned();
            tokio::spawn(async move {
                let (reader, writer) = stream.into_split();
                match place {
                    Ok(_place) => attach(daemon, reader, writer).await,
                    Err(_) => turn_away(writer, MAX_PROGRAMS).await,
                }
            });
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
