//! How many connections there are, in total and from each address: whoever takes a place gives it back by dropping it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// All places of a server.
#[derive(Debug)]
pub(crate) struct Places {
    taken: Mutex<Taken>,
    empty: Notify,
    limit: usize,
    limit_per_address: usize,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: BTreeMap<IpAddr, usize>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    Total,
    Address,
}

impl Places {
    pub(crate) fn new(limit: usize, limit_per_address: usize) -> Arc<Self> {
        Arc::new(Places { taken: Mutex::default(), empty: Notify::new(), limit, limit_per_address })
    }

    /// A place for a connection from `address`, until it is dropped.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, NoPlace> {
        let address = whose(address);
        let mut taken = self.lock();
        if taken.total >= self.limit {
            return Err(NoPlace::Total);
        }
        let from_here = taken.by_address.entry(address).or_default();
        if *from_here >= self.limit_per_address {
            return Err(NoPlace::Address);
        }
        *from_here += 1;
        taken.total += 1;
        Ok(Place { places: Arc::clone(self), address })
    }

    pub(crate) fn taken(&self) -> usize {
        self.lock().total
    }

    /// Returns when no place is taken any more.
    pub(crate) async fn all_free(&self) {
        loop {
            let freed = self.empty.notified();
            if self.taken() == 0 {
                return;
            }
            freed.await;
        }
    }

    /// A panic elsewhere cannot leave the counts half changed: each change is complete before anything can panic.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(from_here) = taken.by_address.get_mut(&self.address) {
            *from_here -= 1;
            if *from_here == 0 {
                taken.by_address.remove(&self.address);
            }
        }
        if taken.total == 0 {
            self.places.empty.notify_waiters();
        }
    }
}

/// An IPv6 subscriber holds a whole /64, so that counts as one address (RFC 6177).
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_all_places() {
        let places = Places::new(3, 2);
        let _one = places.take(address("10.0.0.1")).unwrap();
        let two = places.take(address("::ffff:10.0.0.1")).unwrap();
        assert_eq!(places.take(address("10.0.0.1")).unwrap_err(), NoPlace::Address);
        let _three = places.take(address("10.0.0.2")).unwrap();
        assert_eq!(places.take(address("10.0.0.3")).unwrap_err(), NoPlace::Total);
        drop(two);
        assert!(places.take(address("10.0.0.1")).is_ok());
    }

    #[test]
    fn an_ipv6_subnet_counts_as_one_address() {
        let places = Places::new(9, 1);
        let _one = places.take(address("2001:db8:1:2::1")).unwrap();
        assert_eq!(places.take(address("2001:db8:1:2:ffff::9")).unwrap_err(), NoPlace::Address);
        assert!(places.take(address("2001:db8:1:3::1")).is_ok());
    }

    #[tokio::test]
    async fn the_last_one_out_is_noticed() {
        let places = Places::new(1, 1);
        let place = places.take(address("10.0.0.1")).unwrap();
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.all_free().await }
        });
        drop(place);
        waiting.await.unwrap();
    }
}
