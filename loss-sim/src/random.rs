//! The simulator's random numbers: xoshiro256++ seeded by SplitMix64.
//!
//! Both generators are by Blackman and Vigna ("Scrambled Linear Pseudorandom Number Generators",
//! ACM TOMS 47(4), 2021). They are small, fast and give the same sequence on every platform, which is
//! all that a repeatable simulation needs; they are no source of secrets.

/// Increment of SplitMix64: 2⁶⁴ divided by the golden ratio, made odd.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// One step of SplitMix64: advances `state` and returns the next value.
fn split_mix_64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(GOLDEN_GAMMA);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seeded generator (xoshiro256++). Equal seeds give equal sequences, on every platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator whose whole sequence follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut split_mix = seed;
        Self {
            state: std::array::from_fn(|_| split_mix_64(&mut split_mix)),
        }
    }

    /// Stream number `stream` of `seed`: streams of one seed are independent of each other, so that
    /// drawing more from one never shifts another.
    #[must_use]
    pub fn stream(seed: u64, stream: u64) -> Self {
        let mut mixer = seed;
        let mixed_seed = split_mix_64(&mut mixer);
        let mut mixer = mixed_seed ^ stream;
        Self::new(split_mix_64(&mut mixer))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let result = s0.wrapping_add(*s3).rotate_left(23).wrapping_add(*s0);
        let shifted = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= shifted;
        *s3 = s3.rotate_left(45);
        result
    }

    /// A number in `[0, 1)` with 53 random bits. Takes one draw.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// A whole number in `[0, bound)`, or 0 when `bound` is 0. Takes one draw, whatever the bound,
    /// at the price of a bias of at most `bound` / 2⁶⁴.
    pub fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(u64::MAX)
    }

    /// True with the given probability: never for 0, always for 1. Takes one draw.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A value of the standard normal distribution, approximated by the sum of twelve uniform ones
    /// (so it never leaves ±6). Takes six draws. No logarithm or cosine: those differ in the last bit
    /// between platforms, and the sequence should not.
    pub fn standard_normal(&mut self) -> f64 {
        const HALF_SCALE: f64 = 1.0 / (1_u64 << 32) as f64;
        let mut sum = -6.0;
        for _ in 0..6 {
            let bits = self.next_u64();
            sum += (bits >> 32) as f64 * HALF_SCALE + (bits & 0xffff_ffff) as f64 * HALF_SCALE;
        }
        sum
    }

    /// A value with a Pareto tail of shape 4 (type II, also called Lomax), shifted and scaled to mean 0
    /// and standard deviation 1: at least -0.71, rarely very large, cut at 30. Takes one draw. Shape 4 because its inverse needs only square roots, which are exact everywhere.
    pub fn standard_pareto(&mut self) -> f64 {
        // Lomax of shape a, scale 1: mean 1 / (a - 1) = 1/3, variance a / ((a - 1)² (a - 2)) = 2/9.
        const MEAN: f64 = 1.0 / 3.0;
        const STANDARD_DEVIATION: f64 = std::f64::consts::SQRT_2 / 3.0;
        let survival = 1.0 - self.unit();
        let lomax = 1.0 / survival.sqrt().sqrt() - 1.0;
        ((lomax - MEAN) / STANDARD_DEVIATION).min(PARETO_CUT)
    }
}

/// Where the Pareto distribution is cut, in standard deviations: beyond it lies one value in 57,000.
const PARETO_CUT: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_mix_gives_the_published_values() {
        let mut state = 1_234_567;
        let values: Vec<u64> = (0..3).map(|_| split_mix_64(&mut state)).collect();
        assert_eq!(
            values,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn xoshiro_gives_the_published_values() {
        let mut random = Random {
            state: [1, 2, 3, 4],
        };
        let values: Vec<u64> = (0..4).map(|_| random.next_u64()).collect();
        assert_eq!(
            values,
            [
                41_943_041,
                58_720_359,
                3_588_806_011_781_223,
                3_591_011_842_654_386
            ]
        );
    }

    #[test]
    fn streams_of_a_seed_differ_and_repeat() {
        let first = |stream| Random::stream(7, stream).next_u64();
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
        assert_ne!(first(1), Random::stream(8, 1).next_u64());
    }

    #[test]
    fn chance_is_exact_at_both_ends() {
        let mut random = Random::new(1);
        assert!((0..1000).all(|_| !random.chance(0.0)));
        assert!((0..1000).all(|_| random.chance(1.0)));
    }

    #[test]
    fn below_stays_below_and_reaches_every_value() {
        let mut random = Random::new(2);
        let mut seen = [false; 7];
        for _ in 0..1000 {
            seen[usize::try_from(random.below(7)).unwrap()] = true;
        }
        assert!(seen.iter().all(|value| *value));
        assert_eq!(random.below(0), 0);
    }

    fn mean_and_deviation(mut draw: impl FnMut() -> f64) -> (f64, f64) {
        const COUNT: u32 = 200_000;
        let values: Vec<f64> = (0..COUNT).map(|_| draw()).collect();
        let mean = values.iter().sum::<f64>() / f64::from(COUNT);
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>();
        (mean, (variance / f64::from(COUNT)).sqrt())
    }

    #[test]
    fn normal_and_pareto_are_standardised() {
        let mut random = Random::new(3);
        let (mean, deviation) = mean_and_deviation(|| random.standard_normal());
        assert!(mean.abs() < 0.01 && (deviation - 1.0).abs() < 0.01);
        let (mean, deviation) = mean_and_deviation(|| random.standard_pareto());
        assert!(mean.abs() < 0.02 && (deviation - 1.0).abs() < 0.1);
    }
}
