//! The transforms of tiles: kernels, images, outputs, and back.
//!
//! With `d` a tile of 4 by 4 elements, `g` a kernel of 3 by 3 and `m` 4 by 4 products: `V = B' d B`, `U = G g G'` and
//! `y = A' m A`, where
//!
//! ```text
//! B' = 1  0 -1  0    G = 1    0    0     A' = 1  1  1  0
//!      0  1  1  0        1/2  1/2  1/2        0  1 -1 -1
//!      0 -1  1  0        1/2 -1/2  1/2
//!      0  1  0 -1        0    0    1
//! ```
//!
//! The gradient of a kernel is `G' (V * (A dy A')) G`.
//!
//! Tiles lie along vectors. Chunks are written whole: what is behind their end is written again, or never read.

use crate::cpu::isa::per_isa;
use crate::cpu::lanes::{SHORT, load, store};
use crate::cpu::real::Real;

/// Products of a tile.
pub const PRODUCTS: usize = 16;

/// A lane for each of some tiles.
type Lanes<T> = [T; SHORT];

#[inline(always)]
fn add<T: Real>(mut a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    for i in 0..SHORT {
        a[i] += b[i];
    }
    a
}

#[inline(always)]
fn sub<T: Real>(mut a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    for i in 0..SHORT {
        a[i] -= b[i];
    }
    a
}

/// `B'` times a column.
#[inline(always)]
fn image<T: Real>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 4] {
    [sub(a, c), add(b, c), sub(c, b), sub(b, d)]
}

/// `A'` times a column.
#[inline(always)]
fn output<T: Real>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 2] {
    [add(add(a, b), c), sub(sub(b, c), d)]
}

/// `A` times a column.
#[inline(always)]
fn cotangent<T: Real>([a, b]: [Lanes<T>; 2]) -> [Lanes<T>; 4] {
    [a, add(a, b), sub(a, b), sub([T::ZERO; SHORT], b)]
}

/// `G'` times a column.
#[inline(always)]
fn kernel<T: Real>([a, b, c, d]: [Lanes<T>; 4]) -> [Lanes<T>; 3] {
    let (mut even, mut odd) = (add(b, c), sub(b, c));
    let half = T::from_f64(0.5);
    for i in 0..SHORT {
        even[i] *= half;
        odd[i] *= half;
    }
    [add(a, even), odd, add(even, d)]
}

/// Some consecutive tiles, row by row.
#[derive(Clone, Copy)]
pub struct Tiles {
    /// The first.
    pub first: usize,
    /// How many.
    pub count: usize,
    /// Of a row.
    pub columns: usize,
}

/// Kernels to be transformed.
pub struct Kernels<T> {
    /// The first kernel.
    pub from: *const T,
    /// From a row to the next, and from a source to the next.
    pub strides: [usize; 2],
    /// Rows and sources.
    pub counts: [usize; 2],
    /// Whether kernels are turned around.
    pub turned: bool,
    /// By source and row.
    pub to: *mut T,
    /// From a product to the next.
    pub product: usize,
}

per_isa! {
    /// `G g G'` of every kernel.
    ///
    /// # Safety
    /// The kernels and the place of their products are valid.
    pub unsafe fn transform_kernels<T: Real>(call: Kernels<T>) {
        let half = T::from_f64(0.5);
        for source in 0..call.counts[1] {
            for row in 0..call.counts[0] {
                let from = call.from.add(row * call.strides[0] + source * call.strides[1]);
                let mut g = [T::ZERO; 9];
                for tap in 0..9 {
                    g[tap] = *from.add(if call.turned { 8 - tap } else { tap });
                }
                // Rows first.
                let mut part = [[T::ZERO; 3]; 4];
                for b in 0..3 {
                    let (ends, middle) = ((g[b] + g[6 + b]) * half, g[3 + b] * half);
                    part[0][b] = g[b];
                    part[1][b] = ends + middle;
                    part[2][b] = ends - middle;
                    part[3][b] = g[6 + b];
                }
                let to = call.to.add(source * call.counts[0] + row);
                for a in 0..4 {
                    let (ends, middle) = ((part[a][0] + part[a][2]) * half, part[a][1] * half);
                    *to.add(4 * a * call.product) = part[a][0];
                    *to.add((4 * a + 1) * call.product) = ends + middle;
                    *to.add((4 * a + 2) * call.product) = ends - middle;
                    *to.add((4 * a + 3) * call.product) = part[a][2];
                }
            }
        }
    }
}

/// Tiles of an image, whose rows and columns are split into even and odd ones.
pub struct Images<T> {
    /// The first channel.
    pub from: *const T,
    /// From a channel to the next, from a phase to the next, from a row of a phase to the next.
    pub strides: [usize; 3],
    /// Channels.
    pub channels: usize,
    /// The tiles.
    pub tiles: Tiles,
    /// By product and channel, tiles.
    pub to: *mut T,
    /// From a product to the next, and from a channel to the next.
    pub pitches: [usize; 2],
}

per_isa! {
    /// `B' d B` of every tile.
    ///
    /// # Safety
    /// The tiles lie in the image, behind which there is room for a chunk, as behind each channel's products.
    pub unsafe fn transform_images<T: Real>(call: Images<T>) {
        let Images { strides: [plane, phase, row], pitches: [product, pitch], tiles, .. } = call;
        for channel in 0..call.channels {
            let mut at = 0;
            while at < tiles.count {
                let (i, j) = ((tiles.first + at) / tiles.columns, (tiles.first + at) % tiles.columns);
                let from = call.from.add(channel * plane + i * row + j);
                let mut part = [[[T::ZERO; SHORT]; 4]; 4];
                for b in 0..4 {
                    let from = from.add(b % 2 * phase + b / 2);
                    let below = from.add(2 * phase);
                    let column = image([load(from), load(below), load(from.add(row)), load(below.add(row))]);
                    for a in 0..4 {
                        part[a][b] = column[a];
                    }
                }
                for a in 0..4 {
                    let line = image(part[a]);
                    for b in 0..4 {
                        store(call.to.add((4 * a + b) * product + channel * pitch + at), &line[b]);
                    }
                }
                at += SHORT.min(tiles.columns - j);
            }
        }
    }
}

per_isa! {
    /// `A dy A'` of every tile of 2 by 2; channels are those of a cotangent.
    ///
    /// # Safety
    /// As for [`transform_images`].
    pub unsafe fn transform_cotangents<T: Real>(call: Images<T>) {
        let Images { strides: [plane, phase, row], pitches: [product, pitch], tiles, .. } = call;
        for channel in 0..call.channels {
            let mut at = 0;
            while at < tiles.count {
                let (i, j) = ((tiles.first + at) / tiles.columns, (tiles.first + at) % tiles.columns);
                let from = call.from.add(channel * plane + i * row + j);
                let mut part = [[[T::ZERO; SHORT]; 2]; 4];
                for b in 0..2 {
                    let from = from.add(b * phase);
                    let column = cotangent([load(from), load(from.add(2 * phase))]);
                    for a in 0..4 {
                        part[a][b] = column[a];
                    }
                }
                for a in 0..4 {
                    let line = cotangent(part[a]);
                    for b in 0..4 {
                        store(call.to.add((4 * a + b) * product + channel * pitch + at), &line[b]);
                    }
                }
                at += SHORT.min(tiles.columns - j);
            }
        }
    }
}

/// Sums of products to be made the gradients of kernels.
pub struct Gradients<T> {
    /// By product, source and row; whole chunks of rows.
    pub from: *const T,
    /// From a product to the next, and from a source to the next.
    pub strides: [usize; 2],
    /// Rows and sources.
    pub counts: [usize; 2],
    /// The first kernel; rows of sources.
    pub to: *mut T,
    /// From a row to the next.
    pub row: usize,
}

per_isa! {
    /// `G' s G` of all sums.
    ///
    /// # Safety
    /// The sums and the place of the gradients are valid.
    pub unsafe fn transform_gradients<T: Real>(call: Gradients<T>) {
        for source in 0..call.counts[1] {
            for first in (0..call.counts[0]).step_by(SHORT) {
                let mut part = [[[T::ZERO; SHORT]; 4]; 3];
                for b in 0..4 {
                    let from = call.from.add(b * call.strides[0] + source * call.strides[1] + first);
                    let next = 4 * call.strides[0];
                    let column = kernel([load(from), load(from.add(next)), load(from.add(2 * next)), load(from.add(3 * next))]);
                    for a in 0..3 {
                        part[a][b] = column[a];
                    }
                }
                for a in 0..3 {
                    let line = kernel(part[a]);
                    for row in 0..SHORT.min(call.counts[0] - first) {
                        let to = call.to.add((first + row) * call.row + source * 9 + 3 * a);
                        for b in 0..3 {
                            *to.add(b) = line[b][row];
                        }
                    }
                }
            }
        }
    }
}

/// Products of a channel to be put together.
pub struct Outputs<T> {
    /// The first product, tile by tile.
    pub from: *const T,
    /// From a product to the next.
    pub product: usize,
    /// The tiles.
    pub tiles: Tiles,
    /// Added to every output.
    pub bias: T,
    /// Memory for two rows of outputs of all tiles and a chunk each.
    pub between: *mut T,
    /// From one of them to the other.
    pub between_row: usize,
    /// The channel of the output.
    pub to: *mut T,
    /// Its height and width.
    pub sizes: [usize; 2],
}

per_isa! {
    /// `A' m A` of every tile, each to its place.
    ///
    /// # Safety
    /// Products are valid for whole chunks, `between` as it says, and outputs of these sizes.
    pub unsafe fn transform_outputs<T: Real>(call: Outputs<T>) {
        let Outputs { tiles, sizes: [height, width], .. } = call;
        let bias = [call.bias; SHORT];
        for at in (0..tiles.count).step_by(SHORT) {
            let mut part = [[[T::ZERO; SHORT]; 4]; 2];
            for b in 0..4 {
                let from = call.from.add(b * call.product + at);
                let next = 4 * call.product;
                let column = output([load(from), load(from.add(next)), load(from.add(2 * next)), load(from.add(3 * next))]);
                for a in 0..2 {
                    part[a][b] = column[a];
                }
            }
            for a in 0..2 {
                let [even, odd] = output(part[a]);
                let (even, odd) = (add(even, bias), add(odd, bias));
                let mut both = [T::ZERO; 2 * SHORT];
                for i in 0..SHORT {
                    both[2 * i] = even[i];
                    both[2 * i + 1] = odd[i];
                }
                store(call.between.add(a * call.between_row + 2 * at), &both);
            }
        }
        let mut at = 0;
        while at < tiles.count {
            let (i, j) = ((tiles.first + at) / tiles.columns, (tiles.first + at) % tiles.columns);
            let count = (tiles.columns - j).min(tiles.count - at);
            let columns = (2 * count).min(width - 2 * j);
            for a in 0..2.min(height - 2 * i) {
                let from = call.between.add(a * call.between_row + 2 * at).cast_const();
                let to = call.to.add((2 * i + a) * width + 2 * j);
                let whole = columns / SHORT * SHORT;
                for column in (0..whole).step_by(SHORT) {
                    store::<T, SHORT>(to.add(column), &load(from.add(column)));
                }
                if columns > whole {
                    std::ptr::copy_nonoverlapping(from.add(whole), to.add(whole), columns - whole);
                }
            }
            at += count;
        }
    }
}
