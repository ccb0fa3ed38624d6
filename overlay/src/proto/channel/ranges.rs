//! Which numbers of a stream a node has: a few ranges, nearly always one.

use crate::wire::MAX_RANGES;

/// Ranges `[from, to)` in rising order that neither touch nor overlap, at most [`MAX_RANGES`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// What somebody says that it has: in any order, and maybe nonsense.
    pub(super) fn of(told: &[(u64, u64)]) -> Self {
        let mut ranges = Ranges::default();
        told.iter().filter(|(from, to)| from < to).for_each(|&(from, to)| ranges.insert(from, to));
        ranges
    }

    /// Adds a range. Where there are too many the two lowest become one: what lies between them is not asked for any more.
    pub(super) fn insert(&mut self, from: u64, to: u64) {
        let first = self.0.partition_point(|range| range.1 < from);
        let behind = self.0.partition_point(|range| range.0 <= to);
        let joined =
            self.0[first..behind].iter().fold((from, to), |all, range| (all.0.min(range.0), all.1.max(range.1)));
        self.0.splice(first..behind, [joined]);
        if self.0.len() > MAX_RANGES {
            let lowest = self.0.remove(0);
            self.0[0].0 = lowest.0;
        }
    }

    /// Whether a part of this is in them.
    pub(super) fn meets(&self, from: u64, to: u64) -> bool {
        let at = self.0.partition_point(|range| range.1 <= from);
        self.0.get(at).is_some_and(|range| range.0 < to)
    }

    /// The number behind the largest; 0 where there is none.
    pub(super) fn end(&self) -> u64 {
        self.0.last().map_or(0, |range| range.1)
    }

    pub(super) fn to_vec(&self) -> Vec<(u64, u64)> {
        self.0.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let mut ranges = Ranges::default();
        for (from, to) in [(4, 6), (0, 2), (8, 9), (2, 4)] {
            ranges.insert(from, to);
        }
        assert_eq!(ranges.to_vec(), [(0, 6), (8, 9)]);
        assert!(ranges.meets(5, 8) && !ranges.meets(6, 8) && ranges.meets(8, 20) && !ranges.meets(9, 20));
        assert_eq!(ranges.end(), 9);
    }

    proptest! {
        #[test]
        fn what_was_put_in_is_in_it(told in prop::collection::vec((0u64..60, 1u64..5), 0..MAX_RANGES)) {
            let ranges = Ranges::of(&told.iter().map(|&(from, length)| (from, from + length)).collect::<Vec<_>>());
            for number in 0..70 {
                let had = told.iter().any(|&(from, length)| (from..from + length).contains(&number));
                prop_assert_eq!(ranges.meets(number, number + 1), had, "{}", number);
            }
        }
    }
}
