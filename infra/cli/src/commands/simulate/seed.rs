//! Reproducible random numbers: SplitMix64 (Steele, Lea, Flood 2014). Its numbers do not change, so a seed means the same users in
//! every release.

/// A generator of random numbers.
pub(super) struct Rng(u64);

impl Rng {
    /// Returns a generator for one purpose, so that the numbers for one purpose do not depend on another.
    pub(super) fn new(seed: u64, purpose: &str, index: usize) -> Self {
        let mut rng = Rng(seed);
        for byte in purpose.bytes() {
            rng.0 = rng.next() ^ u64::from(byte);
        }
        rng.0 = rng.next() ^ index as u64;
        rng
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`, or 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    pub(super) fn one_of<T: Copy + Default>(&mut self, choices: &[T]) -> T {
        let chosen = self.below(choices.len());
        choices.get(chosen).copied().unwrap_or_default()
    }

    /// Returns `count` letters and digits.
    pub(super) fn letters(&mut self, count: usize) -> String {
        const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        (0..count)
            .map(|_| char::from(self.one_of(LETTERS)))
            .collect()
    }

    /// Returns the indexes below `count` in random order.
    pub(super) fn shuffled(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of the reference implementation for the seed 1234567.
    #[test]
    fn the_numbers_never_change() {
        let mut rng = Rng(1_234_567);
        let numbers = [rng.next(), rng.next(), rng.next()];
        let reference = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(numbers, reference);
    }

    #[test]
    fn an_order_has_everybody_once() {
        let mut order = Rng::new(1, "order", 0).shuffled(100);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
