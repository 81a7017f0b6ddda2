//! Transposes in registers, tile by tile.
//!
//! Interleaving row i with row i + n/2 rotates the bits of (row, column) by one, so that doing it log2(n) times to all
//! rows swaps the two.

#[cfg(target_arch = "x86_64")]
pub(super) use x86::*;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    macro_rules! tile {
        ($name:ident, $features:literal, $element:ty, $vector:ty, $side:literal, $load:ident, $store:ident, $low:expr, $high:expr) => {
            #[target_feature(enable = $features)]
            pub unsafe fn $name(
                source: *const u8,
                source_stride: isize,
                destination: *mut u8,
                destination_stride: isize,
                rows: usize,
                columns: usize,
            ) {
                const SIDE: usize = $side;
                let (source, destination) = (source.cast::<$element>(), destination.cast::<$element>());
                for row in (0..rows).step_by(SIDE) {
                    for column in (0..columns).step_by(SIDE) {
                        // SAFETY: the caller vouches for the whole block.
                        unsafe {
                            let from = source.offset(row as isize + column as isize * source_stride);
                            let to = destination.offset(row as isize * destination_stride + column as isize);
                            let mut tile: [$vector; SIDE] =
                                std::array::from_fn(|index| $load(from.offset(index as isize * source_stride).cast()));
                            let mut round = 1;
                            while round < SIDE {
                                let mut next = tile;
                                for index in 0..SIDE / 2 {
                                    next[2 * index] = $low(tile[index], tile[index + SIDE / 2]);
                                    next[2 * index + 1] = $high(tile[index], tile[index + SIDE / 2]);
                                }
                                tile = next;
                                round *= 2;
                            }
                            for (index, &vector) in tile.iter().enumerate() {
                                $store(to.offset(index as isize * destination_stride).cast(), vector);
                            }
                        }
                    }
                }
            }
        };
    }

    macro_rules! tile_128 {
        ($name:ident, $element:ty, $side:literal, $low:ident, $high:ident) => {
            tile!($name, "sse2", $element, __m128i, $side, _mm_loadu_si128, _mm_storeu_si128, $low, $high);
        };
    }
    tile_128!(bytes, u8, 16, _mm_unpacklo_epi8, _mm_unpackhi_epi8);
    tile_128!(halves, u16, 8, _mm_unpacklo_epi16, _mm_unpackhi_epi16);
    tile_128!(words_128, u32, 4, _mm_unpacklo_epi32, _mm_unpackhi_epi32);
    tile_128!(doubles_128, u64, 2, _mm_unpacklo_epi64, _mm_unpackhi_epi64);

    macro_rules! tile_256 {
        ($name:ident, $element:ty, $side:literal, $low:ident, $high:ident) => {
            tile!(
                $name,
                "avx2",
                $element,
                __m256i,
                $side,
                _mm256_loadu_si256,
                _mm256_storeu_si256,
                |a, b| _mm256_permute2x128_si256::<0x20>($low(a, b), $high(a, b)),
                |a, b| _mm256_permute2x128_si256::<0x31>($low(a, b), $high(a, b))
            );
        };
    }
    tile_256!(words_256, u32, 8, _mm256_unpacklo_epi32, _mm256_unpackhi_epi32);
    tile_256!(doubles_256, u64, 4, _mm256_unpacklo_epi64, _mm256_unpackhi_epi64);

    macro_rules! tile_512 {
        ($name:ident, $element:ty, $side:literal, $permute:ident, $low:expr, $high:expr) => {
            tile!(
                $name,
                "avx512f",
                $element,
                __m512i,
                $side,
                _mm512_loadu_si512,
                _mm512_storeu_si512,
                |a, b| $permute(a, $low, b),
                |a, b| $permute(a, $high, b)
            );
        };
    }
    tile_512!(
        words_512,
        u32,
        16,
        _mm512_permutex2var_epi32,
        _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
        _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
    );
    tile_512!(
        doubles_512,
        u64,
        8,
        _mm512_permutex2var_epi64,
        _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11),
        _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15)
    );
}

/// Eight rows at a time, left to the compiler.
#[cfg(not(target_arch = "x86_64"))]
pub(super) unsafe fn portable<T>(
    source: *const u8,
    source_stride: isize,
    destination: *mut u8,
    destination_stride: isize,
    rows: usize,
    columns: usize,
) {
    let (source, destination) = (source.cast::<T>(), destination.cast::<T>());
    for row in (0..rows).step_by(8) {
        for column in (0..columns).step_by(8) {
            for r in row as isize..row as isize + 8 {
                for c in column as isize..column as isize + 8 {
                    // SAFETY: the caller vouches for the whole block.
                    unsafe {
                        let from = source.offset(r + c * source_stride);
                        destination.offset(r * destination_stride + c).copy_from_nonoverlapping(from, 1);
                    }
                }
            }
        }
    }
}
