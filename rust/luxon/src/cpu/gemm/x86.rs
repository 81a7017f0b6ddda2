//! The vectors of x86-64: AVX-512 and AVX2 with fused multiply-add.

use super::vector::Vector;
use std::arch::x86_64::*;

/// The methods that are an instruction, or a function, of the same form whatever the width.
macro_rules! plain_methods {
    ($item:ty, $zero:ident, $splat:ident, $fma:ident, $add:ident, $load:ident, $store:ident, $transpose:ident) => {
        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { $zero() }
        }
        #[inline(always)]
        unsafe fn splat(value: $item) -> Self {
            unsafe { $splat(value) }
        }
        #[inline(always)]
        unsafe fn multiply_add(self, b: Self, c: Self) -> Self {
            unsafe { $fma(self, b, c) }
        }
        #[inline(always)]
        unsafe fn add(self, b: Self) -> Self {
            unsafe { $add(self, b) }
        }
        #[inline(always)]
        unsafe fn load(from: *const $item) -> Self {
            unsafe { $load(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut $item) {
            unsafe { $store(to, self) }
        }
        #[inline(always)]
        unsafe fn transpose(square: &mut [Self; 16]) {
            unsafe { $transpose(square) }
        }
    };
}

macro_rules! avx512 {
    ($vector:ty, $item:ty, $mask:ty, $lanes:literal, $zero:ident, $splat:ident, $fma:ident, $add:ident, $load:ident, $store:ident, $masked_load:ident, $masked_store:ident, $compress:ident, $transpose:ident) => {
        // SAFETY: each method is one instruction of AVX-512F; masked accesses suppress faults.
        unsafe impl Vector for $vector {
            type Item = $item;
            type Mask = $mask;
            const LANES: usize = $lanes;
            plain_methods!($item, $zero, $splat, $fma, $add, $load, $store, $transpose);
            #[inline(always)]
            unsafe fn mask(count: usize) -> $mask {
                if count >= $lanes { <$mask>::MAX } else { (1 << count) - 1 }
            }
            #[inline(always)]
            unsafe fn load_masked(from: *const $item, mask: $mask) -> Self {
                unsafe { $masked_load(mask, from) }
            }
            #[inline(always)]
            unsafe fn store_masked(self, to: *mut $item, mask: $mask) {
                unsafe { $masked_store(to, mask, self) }
            }
            #[inline(always)]
            unsafe fn store_selected(self, to: *mut $item, lanes: u32) {
                unsafe { $masked_store(to, Self::mask(lanes.count_ones() as usize), $compress(lanes as $mask, self)) }
            }
        }
    };
}

avx512!(
    __m512,
    f32,
    __mmask16,
    16,
    _mm512_setzero_ps,
    _mm512_set1_ps,
    _mm512_fmadd_ps,
    _mm512_add_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_maskz_loadu_ps,
    _mm512_mask_storeu_ps,
    _mm512_maskz_compress_ps,
    transpose_16_f32
);
avx512!(
    __m512d,
    f64,
    __mmask8,
    8,
    _mm512_setzero_pd,
    _mm512_set1_pd,
    _mm512_fmadd_pd,
    _mm512_add_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_maskz_loadu_pd,
    _mm512_mask_storeu_pd,
    _mm512_maskz_compress_pd,
    transpose_8_f64
);

/// The first `i` lanes of 32 (or pairs of lanes of 64) bits are set from element `8 - i` on.
static FIRST: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

macro_rules! avx2 {
    ($vector:ty, $item:ty, $lanes:literal, $zero:ident, $splat:ident, $fma:ident, $add:ident, $load:ident, $store:ident, $masked_load:ident, $masked_store:ident, $transpose:ident) => {
        // SAFETY: each method is one instruction of AVX2 or FMA; masked accesses suppress faults.
        unsafe impl Vector for $vector {
            type Item = $item;
            type Mask = __m256i;
            const LANES: usize = $lanes;
            plain_methods!($item, $zero, $splat, $fma, $add, $load, $store, $transpose);
            #[inline(always)]
            unsafe fn mask(count: usize) -> __m256i {
                let words = count.min($lanes) * (8 / $lanes);
                // SAFETY: `words` is at most 8, so the eight words read lie in the table.
                unsafe { _mm256_loadu_si256(FIRST.as_ptr().add(8 - words).cast()) }
            }
            #[inline(always)]
            unsafe fn load_masked(from: *const $item, mask: __m256i) -> Self {
                unsafe { $masked_load(from, mask) }
            }
            #[inline(always)]
            unsafe fn store_masked(self, to: *mut $item, mask: __m256i) {
                unsafe { $masked_store(to, mask, self) }
            }
        }
    };
}

avx2!(
    __m256,
    f32,
    8,
    _mm256_setzero_ps,
    _mm256_set1_ps,
    _mm256_fmadd_ps,
    _mm256_add_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_maskload_ps,
    _mm256_maskstore_ps,
    transpose_8_f32
);
avx2!(
    __m256d,
    f64,
    4,
    _mm256_setzero_pd,
    _mm256_set1_pd,
    _mm256_fmadd_pd,
    _mm256_add_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_maskload_pd,
    _mm256_maskstore_pd,
    transpose_4_f64
);

#[inline(always)]
unsafe fn transpose_16_f32(r: &mut [__m512; 16]) {
    // SAFETY: AVX-512F, by the contract of `Vector`.
    unsafe {
        let mut v = [_mm512_setzero_pd(); 16];
        for g in [0, 4, 8, 12] {
            let low = _mm512_castps_pd(_mm512_unpacklo_ps(r[g], r[g + 1]));
            let high = _mm512_castps_pd(_mm512_unpackhi_ps(r[g], r[g + 1]));
            let next_low = _mm512_castps_pd(_mm512_unpacklo_ps(r[g + 2], r[g + 3]));
            let next_high = _mm512_castps_pd(_mm512_unpackhi_ps(r[g + 2], r[g + 3]));
            v[g] = _mm512_unpacklo_pd(low, next_low);
            v[g + 1] = _mm512_unpackhi_pd(low, next_low);
            v[g + 2] = _mm512_unpacklo_pd(high, next_high);
            v[g + 3] = _mm512_unpackhi_pd(high, next_high);
        }
        // Block `b` of `v[g + c]` now has rows `g .. g + 4` of column `4 b + c`.
        for c in 0..4 {
            let blocks = transpose_blocks([v[c], v[4 + c], v[8 + c], v[12 + c]]);
            for b in 0..4 {
                r[4 * b + c] = _mm512_castpd_ps(blocks[b]);
            }
        }
    }
}

#[inline(always)]
unsafe fn transpose_8_f64(r: &mut [__m512d; 16]) {
    // SAFETY: AVX-512F, by the contract of `Vector`.
    unsafe {
        let mut v = [_mm512_setzero_pd(); 8];
        for g in [0, 2, 4, 6] {
            v[g] = _mm512_unpacklo_pd(r[g], r[g + 1]);
            v[g + 1] = _mm512_unpackhi_pd(r[g], r[g + 1]);
        }
        for c in 0..2 {
            let blocks = transpose_blocks([v[c], v[2 + c], v[4 + c], v[6 + c]]);
            for b in 0..4 {
                r[2 * b + c] = blocks[b];
            }
        }
    }
}

/// Swaps rows and columns of the square of 128-bit blocks.
#[inline(always)]
unsafe fn transpose_blocks(v: [__m512d; 4]) -> [__m512d; 4] {
    // SAFETY: AVX-512F, by the contract of `Vector`.
    unsafe {
        let even = _mm512_shuffle_f64x2::<0x88>(v[0], v[1]);
        let odd = _mm512_shuffle_f64x2::<0xdd>(v[0], v[1]);
        let next_even = _mm512_shuffle_f64x2::<0x88>(v[2], v[3]);
        let next_odd = _mm512_shuffle_f64x2::<0xdd>(v[2], v[3]);
        [
            _mm512_shuffle_f64x2::<0x88>(even, next_even),
            _mm512_shuffle_f64x2::<0x88>(odd, next_odd),
            _mm512_shuffle_f64x2::<0xdd>(even, next_even),
            _mm512_shuffle_f64x2::<0xdd>(odd, next_odd),
        ]
    }
}

#[inline(always)]
unsafe fn transpose_8_f32(r: &mut [__m256; 16]) {
    // SAFETY: AVX, by the contract of `Vector`.
    unsafe {
        let mut v = [_mm256_setzero_ps(); 8];
        for g in [0, 4] {
            let low = _mm256_castps_pd(_mm256_unpacklo_ps(r[g], r[g + 1]));
            let high = _mm256_castps_pd(_mm256_unpackhi_ps(r[g], r[g + 1]));
            let next_low = _mm256_castps_pd(_mm256_unpacklo_ps(r[g + 2], r[g + 3]));
            let next_high = _mm256_castps_pd(_mm256_unpackhi_ps(r[g + 2], r[g + 3]));
            v[g] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, next_low));
            v[g + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, next_low));
            v[g + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, next_high));
            v[g + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, next_high));
        }
        for c in 0..4 {
            r[c] = _mm256_permute2f128_ps::<0x20>(v[c], v[4 + c]);
            r[4 + c] = _mm256_permute2f128_ps::<0x31>(v[c], v[4 + c]);
        }
    }
}

#[inline(always)]
unsafe fn transpose_4_f64(r: &mut [__m256d; 16]) {
    // SAFETY: AVX, by the contract of `Vector`.
    unsafe {
        let low = _mm256_unpacklo_pd(r[0], r[1]);
        let high = _mm256_unpackhi_pd(r[0], r[1]);
        let next_low = _mm256_unpacklo_pd(r[2], r[3]);
        let next_high = _mm256_unpackhi_pd(r[2], r[3]);
        r[0] = _mm256_permute2f128_pd::<0x20>(low, next_low);
        r[1] = _mm256_permute2f128_pd::<0x20>(high, next_high);
        r[2] = _mm256_permute2f128_pd::<0x31>(low, next_low);
        r[3] = _mm256_permute2f128_pd::<0x31>(high, next_high);
    }
}
