//! Records in the ring, by a node.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::Node;
use super::keep::Schedule;
use super::names::{now, since_1970};
use crate::key::Identity;
use crate::net::driver::Command;
use crate::net::platform;
use crate::proto::{Answer, StoreError};
use crate::record::{Key, MAX_TTL, Record, RecordError};
use crate::wire::StoreRefusal;

/// A record that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Put {
    /// Where it is found.
    pub key: Key,
    /// How many nodes keep it now. The owner of the key goes on until [`Config::replicas`](crate::proto::Config::replicas) do.
    pub copies: u8,
}

/// A record that this node keeps alive: it writes it again three times in its life, until this is dropped. Then the record stays until its end.
#[derive(Debug)]
#[must_use = "a record that is kept ends some time after this is dropped"]
pub struct Kept {
    put: Put,
    /// Dropped to let the record go.
    _held: oneshot::Sender<()>,
    lost: watch::Receiver<bool>,
}

impl Kept {
    /// Where it is found, and how many nodes kept it at first.
    pub fn put(&self) -> &Put {
        &self.put
    }

    /// Waits until it is lost: it was written from elsewhere with a larger sequence number; or the node is closed.
    pub async fn lost(&mut self) {
        let _ = self.lost.wait_for(|&lost| lost).await;
    }
}

impl Node {
    /// Stores a value of at most [`MAX_VALUE`](crate::record::MAX_VALUE) bytes for so long, [`MAX_TTL`] at most: under its hash, so it cannot be
    /// changed nor deleted. [`keep`](Self::keep) makes it last.
    ///
    /// ```no_run
    /// # async fn example(node: atoll::Node) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let put = node.put("hello", Duration::from_secs(3600)).await?;
    /// assert_eq!(node.get(&put.key).await?.as_deref(), Some(&b"hello"[..]));
    /// # Ok(()) }
    /// ```
    pub async fn put(&self, value: impl Into<Bytes>, ttl: Duration) -> Result<Put, StoreError> {
        self.put_record(Record::value_of(value, now().after(ttl))?).await
    }

    /// Stores a value as [`put`](Self::put) does, and again three times in each `ttl`, until what this gives is dropped, or the node closes: so it
    /// lasts, and comes back should all nodes that keep it be lost.
    pub async fn keep(&self, value: impl Into<Bytes>, ttl: Duration) -> Result<Kept, StoreError> {
        let value = value.into();
        self.keep_record(ttl, move |_, expires| Record::value_of(value.clone(), expires)).await
    }

    /// Stores a value under a name of this node's own as [`put_entry`](Self::put_entry) does, and again three times in each `ttl`, until what this gives
    /// is dropped, or the node closes.
    pub async fn keep_entry(
        &self,
        name: impl Into<String>,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<Kept, StoreError> {
        let (name, value, sequence) = (name.into(), value.into(), since_1970().as_micros() as u64);
        let entry = move |identity: &Identity, expires| {
            // With the number that it had at first: what this node writes under the name meanwhile counts.
            Record::entry(identity, name.clone(), sequence, expires, Some(value.clone()))
        };
        self.keep_record(ttl, entry).await
    }

    async fn keep_record(
        &self,
        ttl: Duration,
        record: impl Fn(&Identity, crate::record::Seconds) -> Result<Record, RecordError> + Send + Sync + 'static,
    ) -> Result<Kept, StoreError> {
        let identity = self.inner.identity.clone();
        let put = self.put_record(record(&identity, now().after(ttl))?).await?;
        let (held, dropped) = oneshot::channel();
        let (lost_in, lost) = watch::channel(false);
        // The node may go: it is not held by what it keeps.
        let (commands, closing) = (self.inner.commands.downgrade(), self.inner.book.closing());
        platform::spawn(async move {
            let mut schedule = Schedule::new(ttl, dropped, closing);
            while schedule.next().await {
                let (Ok(record), Some(commands)) = (record(&identity, now().after(ttl)), commands.upgrade()) else {
                    break;
                };
                let written = self::put(&commands, record).await;
                schedule.wrote(written.is_ok());
                match written {
                    Ok(_) => {}
                    Err(StoreError::Refused(StoreRefusal::Older)) => break,
                    Err(error) => tracing::debug!(%error, "a record was not written again"),
                }
            }
            lost_in.send_replace(true);
        });
        Ok(Kept { put, _held: held, lost })
    }

    /// Stores a value under a name of this node's own, 1 to [`MAX_ENTRY_NAME`](crate::record::MAX_ENTRY_NAME) bytes, in place of what was there:
    /// only the holder of this node's key can. Others find it under [`Key::Entry`].
    pub async fn put_entry(
        &self,
        name: impl Into<String>,
        value: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<Put, StoreError> {
        let (sequence, expires) = (since_1970().as_micros() as u64, now().after(ttl));
        let record = Record::entry(&self.inner.identity, name, sequence, expires, Some(value.into()))?;
        self.put_record(record).await
    }

    /// Deletes what this node stored under a name of its own. What says so is stored for [`MAX_TTL`], so that no old copy comes back.
    pub async fn delete(&self, name: impl Into<String>) -> Result<Put, StoreError> {
        let (sequence, expires) = (since_1970().as_micros() as u64, now().after(MAX_TTL));
        self.put_record(Record::entry(&self.inner.identity, name, sequence, expires, None)?).await
    }

    /// Stores a record, whoever made it. It answers when the owner of its key and those successors of it that answer within a second
    /// keep it.
    pub async fn put_record(&self, record: Record) -> Result<Put, StoreError> {
        let key = record.key();
        let copies = put(&self.inner.commands, record).await?;
        Ok(Put { key, copies })
    }

    /// The value under a key, verified; `None` where there is none.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        Ok(self.get_record(key).await?.and_then(|record| record.value().cloned()))
    }

    /// The record under a key, verified. One without a value says that it was deleted.
    pub async fn get_record(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        get(&self.inner.commands, key.clone()).await
    }
}

pub(super) async fn put(commands: &mpsc::Sender<Command>, record: Record) -> Result<u8, StoreError> {
    let (reply, answer) = oneshot::channel();
    let asked = commands.send(Command::Put { record: Box::new(record), reply }).await;
    match (asked, answer.await) {
        (Ok(()), Ok(Answer::Put(kept))) => kept,
        _ => Err(StoreError::NotJoined),
    }
}

pub(super) async fn get(commands: &mpsc::Sender<Command>, key: Key) -> Result<Option<Record>, StoreError> {
    let (reply, answer) = oneshot::channel();
    let asked = commands.send(Command::Get { key: Box::new(key), reply }).await;
    match (asked, answer.await) {
        (Ok(()), Ok(Answer::Get(found))) => found.map(|record| record.map(|record| *record)),
        _ => Err(StoreError::NotJoined),
    }
}
