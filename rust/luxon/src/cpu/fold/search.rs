//! Finding where an extremum lies.

use super::{LANES, Ranked, STRIP};
use crate::cpu::cast::{Arithmetic, Number};
use crate::cpu::isa::per_isa;

/// `(source, run, run stride, lanes, lane stride, extrema, positions, base)`: where a position is still
/// negative and the run holds the lane's extremum, the position becomes `base` plus its first index.
pub(crate) type SearchKernel = unsafe fn(*const u8, usize, isize, usize, isize, *const u8, *mut i64, i64);

/// The two search functions of a dtype: runs denser than lanes, lanes denser than runs.
pub(super) fn searches<T: Ranked>() -> (SearchKernel, SearchKernel) {
    (search_rows::<T>, search_columns::<T>)
}

/// Whether an element is the extremum: equal, or both not a number.
#[inline(always)]
fn is_extremum<T: Number>(value: T, extremum: T::Wide) -> bool {
    let value = value.widen();
    (value == extremum) | (value.is_nan() & extremum.is_nan())
}

per_isa! {
    unsafe fn search_rows<T: Ranked>(source: *const u8, run: usize, run_stride: isize, lanes: usize, lane_stride: isize, extrema: *const u8, positions: *mut i64, base: i64) {
        for lane in 0..lanes {
            if *positions.add(lane) >= 0 {
                continue;
            }
            let extremum = T::unrank(*extrema.cast::<T::Rank>().add(lane)).widen();
            let source = source.cast::<T>().offset(lane as isize * lane_stride);
            let mut index = 0;
            if run_stride == 1 {
                while index + LANES <= run {
                    let mut found = false;
                    for step in 0..LANES {
                        found |= is_extremum(*source.add(index + step), extremum);
                    }
                    if found {
                        break;
                    }
                    index += LANES;
                }
            }
            while index < run && !is_extremum(*source.offset(index as isize * run_stride), extremum) {
                index += 1;
            }
            if index < run {
                *positions.add(lane) = base + index as i64;
            }
        }
    }
}

/// Rows that a column search goes through before it looks at the next lanes: many rows at a large
/// stride would fall on one another in the cache.
const SEARCHED: usize = 4;

/// Searches rows of `WIDTH` lanes, unless all their positions are known.
#[inline(always)]
unsafe fn search_strip<T: Ranked, const WIDTH: usize>(
    source: *const T,
    rows: usize,
    row_stride: isize,
    extrema: *const T::Rank,
    positions: *mut i64,
    base: i64,
) {
    // SAFETY: the caller vouches for the rows, the extrema and the positions.
    unsafe {
        let mut known = true;
        for lane in 0..WIDTH {
            known &= *positions.add(lane) >= 0;
        }
        if known {
            return;
        }
        let mut wanted = [T::Wide::ZERO; WIDTH];
        for lane in 0..WIDTH {
            wanted[lane] = T::unrank(*extrema.add(lane)).widen();
        }
        let mut found = [u32::MAX; WIDTH];
        for row in 0..rows {
            let source = source.offset(row as isize * row_stride);
            for lane in 0..WIDTH {
                let fits = is_extremum(*source.add(lane), wanted[lane]);
                found[lane] = found[lane].min(if fits { row as u32 } else { u32::MAX });
            }
        }
        for lane in 0..WIDTH {
            let place = positions.add(lane);
            if *place < 0 && found[lane] != u32::MAX {
                *place = base + i64::from(found[lane]);
            }
        }
    }
}

per_isa! {
    unsafe fn search_columns<T: Ranked>(source: *const u8, run: usize, run_stride: isize, lanes: usize, lane_stride: isize, extrema: *const u8, positions: *mut i64, base: i64) {
        let extrema = extrema.cast::<T::Rank>();
        for start in (0..run).step_by(SEARCHED) {
            let rows = SEARCHED.min(run - start);
            let source = source.cast::<T>().offset(start as isize * run_stride);
            let base = base + start as i64;
            let mut lane = 0;
            while lane < lanes {
                let (source, extrema, positions) = (source.offset(lane as isize * lane_stride), extrema.add(lane), positions.add(lane));
                if lane_stride == 1 && lane + STRIP <= lanes {
                    search_strip::<T, STRIP>(source, rows, run_stride, extrema, positions, base);
                    lane += STRIP;
                } else {
                    search_strip::<T, 1>(source, rows, run_stride, extrema, positions, base);
                    lane += 1;
                }
            }
        }
    }
}
