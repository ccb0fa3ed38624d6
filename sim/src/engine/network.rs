//! What the simulated network does to frames, links and nodes.

use std::time::Duration;

use atoll::id::Id;
use rand::RngExt;
use rand_pcg::Pcg32;

/// What the network does. Shares are from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// How long a frame travels. A signalling message takes twice as long: it goes by the server.
    pub latency: Latency,
    /// The share of frames and signalling messages that is lost.
    pub loss: f64,
    /// Frames on one link may overtake each other. Possible only where latency varies from frame to frame.
    pub reorder: bool,
    /// How long a link takes to open once both ends have described themselves.
    pub link_setup: Duration,
    /// The share of links that do not open though both ends agreed.
    pub failing_links: f64,
    /// After so long the links of a killed node are closed at the other end, without anybody asking; `None`: never, only
    /// heartbeats find out.
    pub links_notice: Option<Duration>,
    /// The share of nodes that are slow.
    pub slow_nodes: f64,
    /// How much longer a frame takes to reach a slow node.
    pub slowness: Duration,
}

impl Default for Network {
    /// 5 to 30 ms, and nothing goes wrong.
    fn default() -> Self {
        let ms = Duration::from_millis;
        Network {
            latency: Latency::Uniform(ms(5), ms(30)),
            loss: 0.0,
            reorder: false,
            link_setup: ms(30),
            failing_links: 0.0,
            links_notice: None,
            slow_nodes: 0.0,
            slowness: ms(500),
        }
    }
}

/// How long frames travel, one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Always as long.
    Constant(Duration),
    /// Drawn for each frame between these two, both included.
    Uniform(Duration, Duration),
    /// As between hosts on the internet: the same for two nodes each time, with a median round trip of 156 ms as in the King data set
    /// (Gummadi, Saroiu, Gribble, IMW 2002). Each node stands in a square with sides of 184 ms of round trip, and its access line adds an
    /// exponentially distributed time.
    King,
}

/// The side of the square, as a round trip in milliseconds.
const KING_SIDE: f64 = 184.0;

/// The mean share of a node's access line in each round trip, in milliseconds.
const KING_ACCESS: f64 = 32.5;

/// Where a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Place {
    x: f32,
    y: f32,
    access: f32,
}

impl Place {
    /// The signalling server's: in the middle, with a line of its own.
    pub(super) const SERVER: Place = Place { x: 0.5, y: 0.5, access: 0.0 };

    /// The place of the node with this id: always the same.
    pub(super) fn of(id: Id) -> Self {
        let mut bits = id.number();
        let mut unit = || {
            bits = super::trace::mixed(bits);
            (bits >> 11) as f64 / (1u64 << 53) as f64
        };
        let (x, y) = (unit() as f32, unit() as f32);
        // The platform's logarithm may differ in the last bit from machine to machine.
        let access = (-libm::log(1.0 - unit()) * KING_ACCESS) as f32;
        Place { x, y, access }
    }
}

impl Latency {
    /// How long one frame travels between two nodes.
    pub(super) fn between(self, a: Place, b: Place, rng: &mut Pcg32) -> Duration {
        self.anywhere(rng).unwrap_or_else(|| {
            let (dx, dy) = (f64::from(a.x - b.x), f64::from(a.y - b.y));
            let round_trip = (dx * dx + dy * dy).sqrt() * KING_SIDE + f64::from(a.access + b.access);
            Duration::from_micros((round_trip * 500.0) as u64)
        })
    }

    /// The same, where it does not matter which nodes they are.
    pub(super) fn anywhere(self, rng: &mut Pcg32) -> Option<Duration> {
        match self {
            Latency::Constant(latency) => Some(latency),
            Latency::Uniform(least, most) => Some(rng.random_range(least..=most.max(least))),
            Latency::King => None,
        }
    }

    /// Whether two frames between the same nodes may take differently long.
    pub(super) fn varies(self) -> bool {
        matches!(self, Latency::Uniform(least, most) if least < most)
    }

    /// A time that frames seldom exceed.
    pub(super) fn high(self) -> Duration {
        match self {
            Latency::Constant(latency) => latency,
            Latency::Uniform(least, most) => most.max(least),
            Latency::King => Duration::from_millis(300),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn round_trips_are_as_in_the_king_data_set() {
        let mut rng = Pcg32::seed_from_u64(1);
        let places: Vec<Place> = (0..2000).map(|_| Place::of(Id::random(&mut rng))).collect();
        let mut round_trips: Vec<f64> = (0..20_000)
            .map(|_| {
                let (a, b) = (rng.random_range(0..places.len()), rng.random_range(0..places.len()));
                2e3 * Latency::King.between(places[a], places[b], &mut rng).as_secs_f64()
            })
            .collect();
        round_trips.sort_unstable_by(f64::total_cmp);
        let median = round_trips[round_trips.len() / 2];
        assert!((151.0..161.0).contains(&median), "the median is {median} ms");
        let (low, high) = (round_trips[round_trips.len() / 10], round_trips[round_trips.len() * 9 / 10]);
        assert!(low > 60.0 && high < 300.0, "from {low} to {high} ms");
    }
}
