//! How many threads take a row, and whether they can hold it.
//!
//! A part of a warp takes a short row, a warp or a block a longer one, so that each thread holds a few packs of 16
//! bytes in registers and memory is read once. Rows beyond that are read twice.

use crate::cuda::{Launch, Place, Source};
use crate::dtype::DType;
use crate::error::Result;
use std::sync::Arc;

/// The cut of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Threads of a row.
    pub group: usize,
    /// Elements that are read at once.
    pub vector: usize,
    /// Packs that a thread holds; 0 where it holds none and reads again.
    pub packs: usize,
}

/// Bytes that a thread holds of one operand.
const HELD: usize = 64;
/// Packs that a thread holds where a row does not need a whole warp.
const FEW: usize = 2;
/// Threads of a block of short rows.
const SHORT: usize = 128;

impl Rows {
    /// The cut of rows of `length` elements of a dtype that lie at these places.
    pub fn new(length: usize, dtype: DType, places: &[Place]) -> Rows {
        let mut vector = 16 / dtype.size();
        let aligned = |vector: usize| {
            length.is_multiple_of(vector) && places.iter().all(|place| place.offset % (vector * dtype.size()) == 0)
        };
        while vector > 1 && !aligned(vector) {
            vector /= 2;
        }
        let few = [4, 8, 16, 32].into_iter().find(|group| group * FEW * vector >= length);
        // The largest block leaves too few registers to hold elements of 8 bytes.
        let groups = if dtype.size() > 4 { &[32, 128, 256, 512][..] } else { &[32, 128, 256, 512, 1024] };
        let group = few.or_else(|| groups.iter().copied().find(|group| group * HELD >= length * dtype.size()));
        match group {
            Some(group) => Rows { group, vector, packs: length.div_ceil(group * vector).next_power_of_two() },
            None => Rows { group: 1024, vector, packs: 0 },
        }
    }

    /// The macros that kernels read: GROUP, VECTOR and PACKS.
    pub fn macros(&self) -> [(&'static str, String); 3] {
        [("GROUP", self.group.to_string()), ("VECTOR", self.vector.to_string()), ("PACKS", self.packs.to_string())]
    }

    /// A launch with as many threads as these rows take.
    ///
    /// # Errors
    /// As [`Launch::new`].
    pub fn launch(&self, source: Arc<Source>, name: &'static str, rows: usize) -> Result<Launch> {
        let threads = self.group.max(SHORT);
        Launch::new(source, name, rows.div_ceil(threads / self.group), threads as u32)
    }
}
