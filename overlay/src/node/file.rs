//! Files in the ring: what is larger than a value, cut into blocks, streamed in and out.
//!
//! Several blocks are on their way at once, as many as get through: one more for each round of those that did, half as many after one that did
//! not. Memory is that of the blocks on their way, whatever the size of the file.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::Node;
use super::names::now;
use super::store::{get, put};
use crate::net::driver::Command;
use crate::net::platform;
use crate::proto::StoreError;
use crate::record::file::{BLOCK, FileKey, FileTooLarge, Hash, Manifest, NotAManifest, Tree};
use crate::record::{Key, Record};
use crate::wire::StoreRefusal;

/// Blocks on their way at once: at first, and at most. Each takes 64 KiB.
const FIRST_WINDOW: u32 = 8;
const MAX_WINDOW: u32 = 32;

/// Times that a block is tried, and the pause after the first failure; twice as long after each further one.
const TRIES: u32 = 6;
const RETRY: Duration = Duration::from_millis(200);

/// A file was not stored, or not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The ring does not store a block, or does not answer. What was stored of the file ends by itself.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be read, or what is read cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no such file.
    #[error("no such file is stored, or no longer")]
    Absent,
    /// A part of it is missing.
    #[error("a block of the file is stored no longer: {0}")]
    Missing(Key),
    /// What is stored under the key is something else.
    #[error(transparent)]
    NotAFile(#[from] NotAManifest),
    /// It is too large.
    #[error(transparent)]
    TooLarge(#[from] FileTooLarge),
}

/// A file that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilePut {
    /// Where it is found.
    pub key: FileKey,
    /// Its size.
    pub bytes: u64,
    /// Values that it takes: its blocks, and the manifests that name them.
    pub values: u64,
    /// How many nodes keep each of them, at least.
    pub copies: u8,
}

impl Node {
    /// Stores a file of any size for so long, [`MAX_TTL`](crate::record::MAX_TTL) at most, in blocks of 64 KiB under their hashes.
    ///
    /// ```no_run
    /// # async fn example(node: atoll::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let file = tokio::io::empty(); // or tokio::fs::File::open("film.mkv").await?
    /// let put = node.put_file(file, Duration::from_secs(3600)).await?;
    /// let mut copy = Vec::new(); // or tokio::fs::File::create("copy.mkv").await?
    /// node.get_file(&put.key, &mut copy).await?;
    /// # Ok(()) }
    /// ```
    pub async fn put_file(&self, file: impl AsyncRead + Unpin, ttl: Duration) -> Result<FilePut, FileError> {
        self.put_file_with(file, ttl, |_| ()).await
    }

    /// Stores a file as [`put_file`](Self::put_file) does, and tells after each block how many bytes of it are stored.
    pub async fn put_file_with(
        &self,
        mut file: impl AsyncRead + Unpin,
        ttl: Duration,
        mut progress: impl FnMut(u64),
    ) -> Result<FilePut, FileError> {
        let mut tree = Tree::default();
        let mut storing = Storing::new(&self.inner.commands, ttl);
        let mut bytes = 0;
        loop {
            let block = read_block(&mut file).await?;
            if block.is_empty() {
                break;
            }
            let (length, is_last) = (block.len() as u64, block.len() < BLOCK);
            bytes += length;
            let hash = storing.put(block).await?;
            for manifest in tree.push(hash, length)? {
                storing.put(manifest).await?;
            }
            progress(storing.stored.min(bytes));
            if is_last {
                break;
            }
        }
        let (manifests, key) = tree.finish()?;
        // The topmost comes last: whoever finds it finds all.
        for manifest in manifests {
            storing.finish().await?;
            storing.put(manifest).await?;
        }
        storing.finish().await?;
        progress(bytes);
        Ok(FilePut { key, bytes, values: storing.values, copies: storing.copies })
    }

    /// Writes a file that is stored out, each block verified. Gives its size.
    pub async fn get_file(&self, key: &FileKey, mut to: impl AsyncWrite + Unpin) -> Result<u64, FileError> {
        let mut reader = self.read_file(key).await?;
        while let Some(block) = reader.next().await? {
            to.write_all(&block).await?;
        }
        to.flush().await?;
        Ok(reader.bytes())
    }

    /// Reads a file that is stored, block by block.
    pub async fn read_file(&self, key: &FileKey) -> Result<FileReader, FileError> {
        let window = Window::new();
        let top = fetch(self.inner.commands.clone(), window.clone(), key.0).await.map_err(|error| match error {
            FileError::Missing(_) => FileError::Absent,
            other => other,
        })?;
        let top = Manifest::decode(&top)?;
        let bytes = top.bytes;
        let parts = vec![Part { manifest: top, next: 0 }];
        Ok(FileReader { commands: self.inner.commands.clone(), window, bytes, parts, blocks: FuturesOrdered::new() })
    }

    /// Stores a file again that is stored, for so long from now: reads each of its blocks from the ring, and writes it back. Gives its size. To be done before it
    /// ends, by whoever wants it to last.
    pub async fn renew_file(&self, key: &FileKey, ttl: Duration) -> Result<u64, FileError> {
        let mut reader = self.read_file(key).await?;
        let mut storing = Storing::new(&self.inner.commands, ttl);
        storing.put(reader.parts[0].manifest.encode()).await?;
        while let Some(found) = reader.next_value().await? {
            storing.put(found).await?;
        }
        storing.finish().await?;
        Ok(reader.bytes())
    }
}

async fn read_block(file: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut block = BytesMut::with_capacity(BLOCK);
    while block.len() < BLOCK {
        let room = BLOCK - block.len();
        if file.take(room as u64).read_buf(&mut block).await? == 0 {
            break;
        }
    }
    Ok(block.freeze())
}

/// How many requests may be under way: grows while they are answered, shrinks when they are not.
#[derive(Clone)]
struct Window(Arc<AtomicU32>);

/// A window is counted in such parts, so that it grows by one in a whole round.
const PARTS: u32 = 1024;

impl Window {
    fn new() -> Self {
        Window(Arc::new(AtomicU32::new(FIRST_WINDOW * PARTS)))
    }

    fn size(&self) -> usize {
        (self.0.load(Ordering::Relaxed) / PARTS) as usize
    }

    fn change(&self, change: impl Fn(u32) -> u32) {
        let bounded = |old| Some(change(old).clamp(PARTS, MAX_WINDOW * PARTS));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, bounded);
    }

    fn tries(&self) -> Tries<'_> {
        Tries { window: self, left: TRIES, pause: RETRY }
    }
}

/// What is left of the tries of one request.
struct Tries<'a> {
    window: &'a Window,
    left: u32,
    pause: Duration,
}

impl Tries<'_> {
    /// Whether this answer is the last; where another time it may be another, waits until then.
    async fn ends<T>(&mut self, answer: &Result<T, StoreError>) -> bool {
        self.left -= 1;
        let passing = matches!(
            answer,
            Err(StoreError::TimedOut | StoreError::Busy)
                | Err(StoreError::Refused(StoreRefusal::Busy | StoreRefusal::NotReady))
        );
        if !passing || self.left == 0 {
            self.window.change(|size| size + PARTS * PARTS / size);
            return true;
        }
        self.window.change(|size| size / 2);
        platform::sleep(self.pause).await;
        self.pause *= 2;
        false
    }
}

/// Values on their way into the ring.
struct Storing {
    commands: mpsc::Sender<Command>,
    ttl: Duration,
    window: Window,
    under_way: FuturesUnordered<Stored>,
    /// Bytes, and values, that are stored.
    stored: u64,
    values: u64,
    copies: u8,
}

type Stored = futures::future::BoxFuture<'static, Result<(u64, u8), StoreError>>;

impl Storing {
    fn new(commands: &mpsc::Sender<Command>, ttl: Duration) -> Self {
        let (commands, window) = (commands.clone(), Window::new());
        let under_way = FuturesUnordered::new();
        Storing { commands, ttl, window, under_way, stored: 0, values: 0, copies: u8::MAX }
    }

    /// Sends a value on its way, as soon as there is room. Gives its hash.
    async fn put(&mut self, value: Bytes) -> Result<Hash, StoreError> {
        while self.under_way.len() >= self.window.size() {
            self.one().await?;
        }
        let Key::Value(hash) = Key::of_value(&value) else { unreachable!("the key of a value is its hash") };
        let (commands, window, ttl) = (self.commands.clone(), self.window.clone(), self.ttl);
        self.under_way.push(Box::pin(async move {
            let bytes = value.len() as u64;
            let mut tries = window.tries();
            loop {
                let answer = put(&commands, Record::value_of(value.clone(), now().after(ttl))?).await;
                if tries.ends(&answer).await {
                    return Ok((bytes, answer?));
                }
            }
        }));
        Ok(hash)
    }

    async fn one(&mut self) -> Result<(), StoreError> {
        if let Some(done) = self.under_way.next().await {
            let (bytes, copies) = done?;
            self.stored += bytes;
            self.values += 1;
            self.copies = self.copies.min(copies);
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), StoreError> {
        while !self.under_way.is_empty() {
            self.one().await?;
        }
        Ok(())
    }
}

/// The value with this hash.
async fn fetch(commands: mpsc::Sender<Command>, window: Window, hash: Hash) -> Result<Bytes, FileError> {
    let key = Key::Value(hash);
    let mut tries = window.tries();
    loop {
        let answer = get(&commands, key.clone()).await;
        if tries.ends(&answer).await {
            return answer?.and_then(|record| record.value().cloned()).ok_or(FileError::Missing(key));
        }
    }
}

type Fetched = futures::future::BoxFuture<'static, Result<Found, FileError>>;

/// Something of a file that came.
enum Found {
    Block(Bytes),
    Manifest(Manifest),
}

/// A manifest, and which of its children comes next.
struct Part {
    manifest: Manifest,
    next: usize,
}

/// A file that is read. The blocks that come next are fetched ahead.
pub struct FileReader {
    commands: mpsc::Sender<Command>,
    window: Window,
    bytes: u64,
    /// From the topmost manifest down to the one whose children are fetched.
    parts: Vec<Part>,
    blocks: FuturesOrdered<Fetched>,
}

impl FileReader {
    /// Bytes of the whole file.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The next block, verified; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, FileError> {
        loop {
            match self.next_found().await? {
                Some(Found::Block(block)) => return Ok(Some(block)),
                Some(Found::Manifest(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next block or manifest below the topmost.
    async fn next_value(&mut self) -> Result<Option<Bytes>, FileError> {
        Ok(self.next_found().await?.map(|found| match found {
            Found::Block(block) => block,
            Found::Manifest(manifest) => manifest.encode(),
        }))
    }

    async fn next_found(&mut self) -> Result<Option<Found>, FileError> {
        self.fetch_ahead();
        let Some(found) = self.blocks.next().await else { return Ok(None) };
        let found = found?;
        if let Found::Manifest(manifest) = &found {
            self.parts.push(Part { manifest: manifest.clone(), next: 0 });
        }
        Ok(Some(found))
    }

    /// Asks for what comes next. Behind a manifest nothing is known until it has come.
    fn fetch_ahead(&mut self) {
        while self.blocks.len() < self.window.size() {
            while self.parts.last().is_some_and(|part| part.next == part.manifest.children.len()) {
                self.parts.pop();
            }
            let Some(Part { manifest, next }) = self.parts.last_mut() else { return };
            let (depth, length) = (manifest.depth - 1, manifest.bytes_of(*next));
            if depth > 0 && !self.blocks.is_empty() {
                return;
            }
            let hash = manifest.children[*next];
            *next += 1;
            let (commands, window) = (self.commands.clone(), self.window.clone());
            self.blocks.push_back(Box::pin(async move {
                let value = fetch(commands, window, hash).await?;
                if depth == 0 {
                    let right = value.len() as u64 == length;
                    return right.then_some(Found::Block(value)).ok_or(FileError::NotAFile(NotAManifest));
                }
                let manifest = Manifest::decode(&value)?;
                let right = (manifest.depth, manifest.bytes) == (depth, length);
                right.then_some(Found::Manifest(manifest)).ok_or(FileError::NotAFile(NotAManifest))
            }));
            if depth > 0 {
                return;
            }
        }
    }
}

impl std::fmt::Debug for FileReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileReader").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}
