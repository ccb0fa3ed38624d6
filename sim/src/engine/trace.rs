//! One number that stands for everything that happened in a run: two runs with the same number did the same.

/// The hash of a run so far. Not for adversaries: for telling runs apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trace(u64);

impl Trace {
    pub(super) fn note(&mut self, word: u64) {
        self.0 = mixed(self.0 ^ word);
    }

    pub(super) fn hash(self) -> u64 {
        self.0
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): each bit of the result depends on each bit of `word`.
pub(super) fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
