//! The remainder of a huge number by `pi / 2`, exact before its final rounding.
//!
//! `x = m 2^e` with a 53-bit integer `m`. Of the bits of `2 / pi`, those that give multiples of 4 quadrants when
//! multiplied by `x` are skipped; the next 192 bits times `m`, kept to 192 bits, are `x (2 / pi) mod 4` with an
//! error below `2^-137` (Payne and Hanek, *ACM SIGNUM Newsletter* 18, 1983). No `f64` comes closer than `2^-62` to
//! a multiple of `pi / 2`, so the remainder is right to more than 70 bits. It serves f32 as well, which f64
//! contains.

/// A zero word, then the binary digits of `2 / pi`: enough for the largest exponent.
const TWO_OVER_PI: [u64; 21] = [
    0x0000000000000000,
    0xa2f9836e4e441529,
    0xfc2757d1f534ddc0,
    0xdb6295993c439041,
    0xfe5163abdebbc561,
    0xb7246e3a424dd2e0,
    0x06492eea09d1921c,
    0xfe1deb1cb129a73e,
    0xe88235f52ebb4484,
    0xe99c7026b45f7e41,
    0x3991d639835339f4,
    0x9c845f8bbdf9283b,
    0x1ff897ffde05980f,
    0xef2f118b5a0a6d1f,
    0x6d367ecf27cb09b7,
    0x4f463f669e5fea2d,
    0x7527bac7ebe5f17b,
    0x3d0739f78a5292ea,
    0x6bfb5fb11f8d5d08,
    0x56033046fc7b6bab,
    0xf0cfbc209af4361d,
];

/// `(r, low, q)`: `x` less the nearest multiple of `pi / 2`, as a sum of two numbers, and that multiple modulo 4;
/// for finite `x >= 2^14`.
pub(super) fn remainder(x: f64) -> (f64, f64, u64) {
    let bits = x.to_bits();
    let m = (bits & 0x000f_ffff_ffff_ffff) | 0x0010_0000_0000_0000;
    // x = m 2^e; the digits from weight 2^(1 - e) on matter, and the leading zero word shifts them by 64.
    let e = (bits >> 52) as i64 - 1075;
    let start = (e + 62).max(0) as usize;
    let (word, shift) = (start / 64, start % 64);
    let digits = |i: usize| {
        let high = TWO_OVER_PI.get(word + i).copied().unwrap_or(0);
        let low = TWO_OVER_PI.get(word + i + 1).copied().unwrap_or(0);
        if shift == 0 { high } else { (high << shift) | (low >> (64 - shift)) }
    };
    // (w0, w1, w2) m modulo 2^192, the most significant word first.
    let p2 = u128::from(digits(2)) * u128::from(m);
    let p1 = u128::from(digits(1)) * u128::from(m) + (p2 >> 64);
    let top = digits(0).wrapping_mul(m).wrapping_add((p1 >> 64) as u64);
    // Two bits of quadrant, the rest a fraction of one; above one half, the next quadrant and a negative rest.
    let quadrant = top >> 62;
    let mut fraction = (u128::from(top) << 64 | u128::from(p1 as u64)) << 2 | u128::from((p2 as u64) >> 62);
    let negative = fraction >> 127 == 1;
    if negative {
        fraction = fraction.wrapping_neg();
    }
    // The leading 53 bits, and the next.
    let zeros = fraction.leading_zeros();
    let normal = if zeros < 128 { fraction << zeros } else { 0 };
    let scale = f64::from_bits((1023 - 53 - u64::from(zeros)) << 52);
    let high = (normal >> 75) as u64 as f64 * scale;
    let low = ((normal >> 22) as u64 & 0x001f_ffff_ffff_ffff) as f64 * scale * 1.110_223_024_625_156_5e-16;
    let product = high * std::f64::consts::FRAC_PI_2;
    let error = high.mul_add(std::f64::consts::FRAC_PI_2, -product);
    let low = low.mul_add(std::f64::consts::FRAC_PI_2, high.mul_add(6.123_233_995_736_766e-17, error));
    if negative { (-product, -low, (quadrant + 1) & 3) } else { (product, low, quadrant) }
}
