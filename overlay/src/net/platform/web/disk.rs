//! A page keeps no records beyond its life: there is never a disk.

use crate::record::{Place, Record};

/// What is to be changed on a disk: nobody looks at it.
#[derive(Debug)]
#[expect(dead_code, reason = "there is no disk to carry it out")]
pub(crate) enum Change {
    Save { number: u64, record: Record },
    Forget { place: Place },
}

/// No disk.
#[derive(Debug)]
pub(crate) enum Disk {}

impl Disk {
    pub(crate) fn change(&mut self, _: Change) {
        match *self {}
    }

    pub(crate) async fn saved(&mut self) -> Result<u64, String> {
        match *self {}
    }

    pub(crate) async fn close(self) {
        match self {}
    }
}
