//! Numbers that were measured, and what they come to.

/// Numbers, in no order.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<f64>);

impl Samples {
    pub(super) fn push(&mut self, number: f64) {
        self.0.push(number);
    }

    pub(super) fn append(&mut self, other: Samples) {
        self.0.extend(other.0);
    }

    /// `None`: there are none.
    pub(super) fn mean(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().sum::<f64>() / self.0.len() as f64)
    }

    pub(super) fn max(&self) -> Option<f64> {
        self.0.iter().copied().reduce(f64::max)
    }

    /// The smallest number that this share of them does not exceed.
    pub(super) fn quantile(&mut self, share: f64) -> Option<f64> {
        self.0.sort_unstable_by(f64::total_cmp);
        let at = (share * self.0.len() as f64).ceil() as usize;
        self.0.get(at.max(1) - 1).copied()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(numbers: I) -> Self {
        Samples(numbers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_numbers_that_were_measured() {
        let mut samples: Samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!(samples.quantile(0.5), Some(50.0));
        assert_eq!(samples.quantile(0.99), Some(99.0));
        assert_eq!(samples.quantile(0.0), Some(1.0));
        assert_eq!((samples.mean(), samples.max()), (Some(50.5), Some(100.0)));
        assert_eq!(Samples::default().quantile(0.5), None);
    }
}
