//! Files: what is larger than a value, in blocks under their hashes, and a tree of the hashes above them.
//!
//! A file is cut into blocks of [`MAX_VALUE`] bytes, the last one shorter; each is stored as a value. *Manifests* name up to [`FANOUT`] of
//! them, or of manifests below, and are values, too: so the hash of the topmost stands for the whole file, and every block that comes is
//! checked by itself (Merkle, "A digital signature based on a conventional encryption function", CRYPTO 1987). A file has one tree
//! only: all of its blocks are full but the last, and all manifests but the last of each level.

use std::fmt;
use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use sha2::{Digest, Sha256};

use super::{Key, MAX_VALUE};
use crate::key::{hex, unhex};

/// Bytes of a file in one block.
pub const BLOCK: usize = MAX_VALUE;

/// Blocks, or manifests, that a manifest names at most.
pub const FANOUT: usize = 2000;

/// Levels of manifests at most: files of up to 512 TB.
pub const MAX_DEPTH: u8 = 3;

/// What a manifest begins with.
const PREFIX: &[u8] = b"atoll file 1\0";

/// The SHA-256 of a block or a manifest.
pub type Hash = [u8; 32];

/// Under which key a file is found: the hash of its topmost manifest. As text `file:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileKey(pub Hash);

impl FileKey {
    /// The key of the topmost manifest.
    pub fn manifest(&self) -> Key {
        Key::Value(self.0)
    }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file:{}", hex(&self.0))
    }
}

/// A text is not the key of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the key of a file is file: and 64 hexadecimal digits")]
pub struct FileKeyError;

impl FromStr for FileKey {
    type Err = FileKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hash = text.strip_prefix("file:").and_then(unhex).and_then(|bytes| bytes.try_into().ok());
        hash.map(FileKey).ok_or(FileKeyError)
    }
}

/// Bytes are not a manifest, or not the one that should stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is stored there is not a file")]
pub struct NotAManifest;

/// The hashes of a part of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// 1: of blocks; otherwise of manifests with one level less.
    pub depth: u8,
    /// Bytes of the part.
    pub bytes: u64,
    /// In their order.
    pub children: Vec<Hash>,
}

impl Manifest {
    /// As a value to be stored.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(PREFIX.len() + 9 + self.children.len() * size_of::<Hash>());
        out.put_slice(PREFIX);
        out.put_u8(self.depth);
        out.put_u64(self.bytes);
        self.children.iter().for_each(|child| out.put_slice(child));
        out.freeze()
    }

    /// Reads a value. Whoever calls has seen that it has the right hash.
    pub fn decode(value: &[u8]) -> Result<Self, NotAManifest> {
        let rest = value.strip_prefix(PREFIX).ok_or(NotAManifest)?;
        let (&depth, rest) = rest.split_first().ok_or(NotAManifest)?;
        let (bytes, rest) = rest.split_first_chunk().ok_or(NotAManifest)?;
        let bytes = u64::from_be_bytes(*bytes);
        let (children, rest) = rest.as_chunks::<32>();
        let fits = (1..=MAX_DEPTH).contains(&depth) && rest.is_empty() && bytes <= capacity(depth);
        if !fits || bytes.div_ceil(capacity(depth - 1)) != children.len() as u64 {
            return Err(NotAManifest);
        }
        Ok(Manifest { depth, bytes, children: children.to_vec() })
    }

    /// Bytes of the file below this child.
    pub fn bytes_of(&self, child: usize) -> u64 {
        let each = capacity(self.depth - 1);
        self.bytes.saturating_sub(child as u64 * each).min(each)
    }
}

/// Bytes below one hash at most: of a block, of a manifest of blocks, and so on.
fn capacity(depth: u8) -> u64 {
    BLOCK as u64 * (FANOUT as u64).pow(depth.into())
}

/// Makes the manifests of a file from the hashes of its blocks, in their order. Keeps one manifest a level in memory.
#[derive(Debug, Default)]
pub struct Tree {
    /// What is named by no manifest yet: of blocks, of the manifests above them, and so on.
    levels: Vec<Level>,
}

#[derive(Debug, Default)]
struct Level {
    children: Vec<Hash>,
    bytes: u64,
}

impl Level {
    fn manifest(&mut self, depth: u8) -> Manifest {
        let Level { children, bytes } = std::mem::take(self);
        Manifest { depth, bytes, children }
    }
}

/// A file is larger than any may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a file has at most {} bytes", capacity(MAX_DEPTH))]
pub struct FileTooLarge;

impl Tree {
    /// The next block has this hash and so many bytes; all blocks but the last are full. Gives the manifests that are complete now.
    pub fn push(&mut self, block: Hash, bytes: u64) -> Result<Vec<Bytes>, FileTooLarge> {
        let mut complete = Vec::new();
        self.push_at(0, block, bytes, &mut complete)?;
        Ok(complete)
    }

    fn push_at(&mut self, at: usize, child: Hash, bytes: u64, complete: &mut Vec<Bytes>) -> Result<(), FileTooLarge> {
        if at == usize::from(MAX_DEPTH) {
            return Err(FileTooLarge);
        }
        if self.levels.len() == at {
            self.levels.push(Level::default());
        }
        // Only when there is one more: the topmost of an exactly full tree has none above it.
        if self.levels[at].children.len() == FANOUT {
            self.complete(at, complete)?;
        }
        let level = &mut self.levels[at];
        level.children.push(child);
        level.bytes += bytes;
        Ok(())
    }

    fn complete(&mut self, at: usize, complete: &mut Vec<Bytes>) -> Result<(), FileTooLarge> {
        let manifest = self.levels[at].manifest(at as u8 + 1);
        let value = manifest.encode();
        let hash = Sha256::digest(&value).into();
        complete.push(value);
        self.push_at(at + 1, hash, manifest.bytes, complete)
    }

    /// The file is whole. Gives the manifests that were not yet, the topmost last, and the key of the file.
    pub fn finish(mut self) -> Result<(Vec<Bytes>, FileKey), FileTooLarge> {
        let mut complete = Vec::new();
        if self.levels.is_empty() {
            self.levels.push(Level::default());
        }
        let mut at = 0;
        while at + 1 < self.levels.len() {
            self.complete(at, &mut complete)?;
            at += 1;
        }
        let top = self.levels[at].manifest(at as u8 + 1).encode();
        let key = FileKey(Sha256::digest(&top).into());
        complete.push(top);
        Ok((complete, key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// All manifests of a file of so many bytes, by their hashes, and its key.
    fn tree_of(bytes: u64) -> (BTreeMap<Hash, Manifest>, FileKey) {
        let mut tree = Tree::default();
        let mut values = Vec::new();
        for block in 0..bytes.div_ceil(BLOCK as u64) {
            let length = (bytes - block * BLOCK as u64).min(BLOCK as u64);
            values.extend(tree.push(Sha256::digest(block.to_be_bytes()).into(), length).unwrap());
        }
        let (last, key) = tree.finish().unwrap();
        values.extend(last);
        let by_hash = |value: &Bytes| (Sha256::digest(value).into(), Manifest::decode(value).expect("a manifest"));
        (values.iter().map(by_hash).collect(), key)
    }

    fn blocks(manifests: &BTreeMap<Hash, Manifest>, hash: Hash, bytes: u64, blocks: &mut Vec<Hash>) {
        let manifest = &manifests[&hash];
        assert_eq!(manifest.bytes, bytes);
        for (at, &child) in manifest.children.iter().enumerate() {
            match manifest.depth {
                1 => blocks.push(child),
                _ => self::blocks(manifests, child, manifest.bytes_of(at), blocks),
            }
        }
    }

    #[test]
    fn the_tree_of_a_file_names_all_its_blocks_in_their_order() {
        let full = (BLOCK * FANOUT) as u64;
        for bytes in [0, 1, BLOCK as u64, BLOCK as u64 + 1, full - 1, full, full + 1, 3 * full + 7] {
            let (manifests, key) = tree_of(bytes);
            let mut found = Vec::new();
            blocks(&manifests, key.0, bytes, &mut found);
            let expected: Vec<Hash> =
                (0..bytes.div_ceil(BLOCK as u64)).map(|block| Sha256::digest(block.to_be_bytes()).into()).collect();
            assert!(found == expected, "{} of {} blocks of {bytes} bytes", found.len(), expected.len());
            assert_eq!(manifests[&key.0].depth, if bytes > full { 2 } else { 1 }, "{bytes} bytes");
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let (manifests, key) = tree_of(3 * BLOCK as u64);
        let good = manifests[&key.0].encode();
        assert!(good.len() <= MAX_VALUE);
        let mut missing = good.to_vec();
        missing.truncate(good.len() - 32);
        let mut deep = good.to_vec();
        deep[PREFIX.len()] = MAX_DEPTH + 1;
        for bad in [&b""[..], b"hello", &good[..20], &missing, &deep, &[&good[..], b"x"].concat()] {
            assert_eq!(Manifest::decode(bad), Err(NotAManifest));
        }
        let full = Manifest { depth: 1, bytes: (BLOCK * FANOUT) as u64, children: vec![[0; 32]; FANOUT] };
        assert!(full.encode().len() <= MAX_VALUE, "{} bytes", full.encode().len());
    }

    #[test]
    fn a_key_survives_its_text() {
        let (_, key) = tree_of(5);
        assert_eq!(key.to_string().parse(), Ok(key));
        for bad in ["", "file:", "file:00", &hex(&key.0), &format!("{key}00")] {
            assert_eq!(bad.parse::<FileKey>(), Err(FileKeyError), "{bad:?}");
        }
    }
}
