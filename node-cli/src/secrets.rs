//! The secrets that a node needs, read from the files that hold them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use atoll::Identity;

use crate::args::NodeArgs;

/// Bytes in a passphrase or a network's secret at most.
const MAX_SECRET_BYTES: u64 = 4096;

impl NodeArgs {
    /// The passphrase of the key file, if one is set.
    pub(crate) fn passphrase(&self) -> anyhow::Result<Option<Vec<u8>>> {
        self.passphrase_file.as_deref().map(|path| read("passphrase", path)).transpose()
    }

    /// The secret that the members of the network share, if one is set.
    pub(crate) fn secret(&self) -> anyhow::Result<Option<Vec<u8>>> {
        self.secret_file.as_deref().map(|path| read("secret", path)).transpose()
    }

    /// The identity in the key file; a new one where none is set.
    pub(crate) fn identity(&self) -> anyhow::Result<Identity> {
        match &self.key {
            Some(path) => load(path, self.passphrase()?.as_deref()),
            None => Ok(Identity::generate()),
        }
    }
}

/// Loads a key file, and tells which flags mend what is missing.
pub(crate) fn load(path: &Path, passphrase: Option<&[u8]>) -> anyhow::Result<Identity> {
    use atoll::key::KeyFileError;
    Identity::load(path, passphrase).map_err(|error| match &error {
        KeyFileError::NotFound { .. } => {
            anyhow::anyhow!("{error} with node-cli key create {}", path.display())
        }
        KeyFileError::NeedsPassphrase { .. } => anyhow::anyhow!("{error} with --passphrase-file FILE"),
        _ => error.into(),
    })
}

/// The content of the file without the line end that editors leave. A pipe will do: `--passphrase-file <(pass atoll)`.
pub(crate) fn read(what: &str, path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = || format!("the {what} file {}", path.display());
    let mut content = Vec::new();
    File::open(path).with_context(name)?.take(MAX_SECRET_BYTES + 1).read_to_end(&mut content).with_context(name)?;
    if content.len() as u64 > MAX_SECRET_BYTES {
        bail!("{} is longer than {MAX_SECRET_BYTES} bytes", name());
    }
    for line_end in [b'\n', b'\r'] {
        content.pop_if(|last| *last == line_end);
    }
    if content.is_empty() {
        bail!("{} is empty: write the {what} into it", name());
    }
    Ok(content)
}
