//! Records of the store in a file of redb, which a crash leaves as it was after the last change that was acknowledged.
//!
//! A thread of its own writes: what came while it wrote goes into the next transaction, so one wait for the disk serves many
//! records. All that it has not written is kept in one queue, which the protocol bounds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use tokio::sync::mpsc;

use crate::id::Id;
use crate::record::{Place, Record};

/// Point and slot of each record, and the record in postcard.
const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records-1");

/// The file in the directory that is named.
const FILE: &str = "records.redb";

/// Memory that redb may use to remember pages of the file.
const CACHE: usize = 4 << 20;

/// A store on a disk that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The directory or the file cannot be used.
    #[error("cannot use {0} as a store: {1}")]
    Io(PathBuf, String),
    /// Another process has it open.
    #[error("{0} is used by another node; give each node a store of its own")]
    InUse(PathBuf),
    /// The file is damaged.
    #[error(
        "{0} is damaged ({1}); move it away to begin with an empty store: the ring still has what other nodes keep"
    )]
    Damaged(PathBuf, String),
}

/// What is to be changed on a disk.
#[derive(Debug)]
pub(crate) enum Change {
    Save { number: u64, record: Record },
    Forget { place: Place },
}

/// A file of records, and the thread that writes it.
#[derive(Debug)]
pub(crate) struct Disk {
    waiting: Vec<Change>,
    /// To the thread; at most one batch at a time.
    batches: Option<std::sync::mpsc::SyncSender<Vec<Change>>>,
    busy: bool,
    /// From the thread: the number up to which all is saved.
    done: mpsc::Receiver<Result<u64, String>>,
}

impl Disk {
    /// Opens the store in this directory, or makes it. Gives what it holds; whether that is valid is not looked at.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Vec<Record>), DiskError> {
        let path = directory.join(FILE);
        std::fs::create_dir_all(directory).map_err(|error| DiskError::Io(path.clone(), error.to_string()))?;
        // A file that is damaged enough makes redb panic.
        let opened = catch_unwind(AssertUnwindSafe(|| open(&path)))
            .unwrap_or_else(|_| Err(DiskError::Damaged(path.clone(), "it is no file of records".to_owned())));
        let (database, records) = opened?;
        let (batches, batches_out) = std::sync::mpsc::sync_channel(1);
        let (done_in, done) = mpsc::channel(1);
        let thread = std::thread::Builder::new().name("atoll-store".to_owned());
        thread
            .spawn(move || run(&database, &batches_out, &done_in))
            .map_err(|error| DiskError::Io(path, error.to_string()))?;
        Ok((Disk { waiting: Vec::new(), batches: Some(batches), busy: false, done }, records))
    }

    /// Has something changed, soon.
    pub(crate) fn change(&mut self, change: Change) {
        self.waiting.push(change);
        self.hand_over();
    }

    fn hand_over(&mut self) {
        if self.busy || self.waiting.is_empty() {
            return;
        }
        if let Some(batches) = &self.batches {
            self.busy = batches.try_send(std::mem::take(&mut self.waiting)).is_ok();
        }
    }

    /// Waits until more is saved: gives the number up to which all is; or why no more ever will be. Not to be called again after that.
    pub(crate) async fn saved(&mut self) -> Result<u64, String> {
        loop {
            match self.done.recv().await {
                Some(Ok(number)) => {
                    self.busy = false;
                    self.hand_over();
                    if number > 0 {
                        return Ok(number);
                    }
                }
                Some(Err(error)) => {
                    self.batches = None;
                    return Err(error);
                }
                None => return Err("the thread that writes is gone".to_owned()),
            }
        }
    }

    /// Writes what is left, and gives the file free.
    pub(crate) async fn close(mut self) {
        while self.busy && matches!(self.done.recv().await, Some(Ok(_))) {
            self.busy = false;
            self.hand_over();
        }
        self.batches = None;
        while self.done.recv().await.is_some() {}
    }
}

fn open(path: &Path) -> Result<(Database, Vec<Record>), DiskError> {
    let damaged = |error: &dyn std::fmt::Display| DiskError::Damaged(path.to_owned(), error.to_string());
    let mut database = Database::builder().set_cache_size(CACHE).create(path).map_err(|error| match &error {
        redb::DatabaseError::DatabaseAlreadyOpen => DiskError::InUse(path.to_owned()),
        redb::DatabaseError::Storage(redb::StorageError::Io(io)) if io.kind() != std::io::ErrorKind::InvalidData => {
            DiskError::Io(path.to_owned(), error.to_string())
        }
        _ => damaged(&error),
    })?;
    database.check_integrity().map_err(|error| damaged(&error))?;
    let records = read(&database).map_err(|error| damaged(&error))?;
    Ok((database, records))
}

fn read(database: &Database) -> Result<Vec<Record>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(RECORDS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut records = Vec::new();
    for entry in table.iter()? {
        let (_, value) = entry?;
        match postcard::from_bytes::<Record>(value.value()) {
            Ok(record) if record.check_sizes().is_ok() => records.push(record),
            _ => tracing::warn!("a record of another version in the store is left out"),
        }
    }
    Ok(records)
}

fn run(
    database: &Database,
    batches: &std::sync::mpsc::Receiver<Vec<Change>>,
    done: &mpsc::Sender<Result<u64, String>>,
) {
    while let Ok(batch) = batches.recv() {
        let saved = write(database, &batch).map_err(|error| error.to_string());
        let failed = saved.is_err();
        if done.blocking_send(saved).is_err() || failed {
            return;
        }
    }
}

/// Gives the largest number that it wrote; 0 where it wrote none.
fn write(database: &Database, batch: &[Change]) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let mut saved = 0;
    {
        let mut table = transaction.open_table(RECORDS)?;
        for change in batch {
            match change {
                Change::Save { number, record } => {
                    let value = postcard::to_allocvec(record).expect("plain data always encodes");
                    table.insert(&key(Place::of(&record.key()))[..], &value[..])?;
                    saved = *number;
                }
                Change::Forget { place } => {
                    table.remove(&key(*place)[..])?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(saved)
}

fn key(place: Place) -> [u8; Id::BYTES + 16] {
    let mut key = [0; Id::BYTES + 16];
    let (point, slot) = key.split_at_mut(Id::BYTES);
    point.copy_from_slice(&place.point.to_bytes());
    slot.copy_from_slice(&place.slot);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Seconds;

    fn directory() -> PathBuf {
        std::env::temp_dir().join(format!("atoll-store-{:016x}", rand::random::<u64>()))
    }

    fn record(number: u64) -> Record {
        Record::value_of(number.to_be_bytes().to_vec(), Seconds(u64::MAX)).unwrap()
    }

    async fn save_all(disk: &mut Disk, numbers: std::ops::RangeInclusive<u64>) {
        let last = *numbers.end();
        for number in numbers {
            disk.change(Change::Save { number, record: record(number) });
        }
        while disk.saved().await.expect("it is written") < last {}
    }

    #[tokio::test]
    async fn what_was_saved_is_there_again_and_what_was_forgotten_is_not() {
        let directory = directory();
        let (mut disk, records) = Disk::open(&directory).unwrap();
        assert_eq!(records, []);
        assert!(matches!(Disk::open(&directory), Err(DiskError::InUse(_))));
        save_all(&mut disk, 1..=500).await;
        disk.change(Change::Forget { place: Place::of(&record(7).key()) });
        disk.close().await;
        let (disk, records) = Disk::open(&directory).unwrap();
        assert_eq!(records.len(), 499);
        assert!(records.contains(&record(8)) && !records.contains(&record(7)));
        disk.close().await;
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_is_an_error_that_says_what_to_do() {
        let directory = directory();
        let (mut disk, _) = Disk::open(&directory).unwrap();
        save_all(&mut disk, 1..=2000).await;
        disk.close().await;
        let path = directory.join(FILE);
        let good = std::fs::read(&path).unwrap();
        let mut broken = good.clone();
        // In its middle, where the records are; and all of it.
        let length = broken.len();
        broken[length / 4..length / 4 * 3].fill(0xa5);
        for bad in [broken, vec![0xa5; length], b"hello".to_vec()] {
            std::fs::write(&path, bad).unwrap();
            let error = Disk::open(&directory).map(|_| ()).expect_err("the file is damaged").to_string();
            assert!(error.contains("is damaged") && error.contains("move it away"), "{error}");
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
