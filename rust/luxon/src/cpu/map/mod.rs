//! Elementwise loops over any layout.
//!
//! A kernel's scalar function is instantiated once per dtype and instruction set, as a loop over
//! contiguous blocks. Everything about layouts is done here, for all kernels alike: operands that are
//! contiguous are read in place, those that repeat (scalars, broadcast rows) are laid out once in a
//! short tile, all others are gathered block by block into memory that stays in the first-level cache.
//! Half types are converted block by block and computed in f32.
//!
//! The loops copy a short chunk of every operand into locals before they store a result: an output may
//! be one of its inputs, and the compiler vectorises without alias checks.

use std::mem::MaybeUninit;

use half::{bf16, f16};

use crate::cpu::cast;
use crate::dtype::{DType, Scalar};
use crate::layout::{MAX_RANK, Strides};
use crate::op::elementwise::{Kernel, MAX_ARITY, Map};
use crate::runtime::threads::parallel;
use crate::tensor::Value;

mod kernel;
mod number;

pub(crate) use kernel::{Kernel1, Kernel2, Kernel3, blocks, erased, loop1, loop2, loop3, scalar_kernel};
pub(crate) use number::{Bits, Number, Truth};

/// A loop over `count` contiguous elements: operands, output, count.
pub(crate) type Block = unsafe fn(operands: &[*const u8; MAX_ARITY], output: *mut u8, count: usize);

/// Elements in a gathered block; three of f64 fill 24 KiB.
const BLOCK: usize = 1024;
/// Elements up to which a scalar operand is simply laid out in full.
const SMALL: usize = 32;
/// Elements in a task of the pool.
const TASK: usize = 32 * BLOCK;
/// Below this length an inner run is not worth a call of its own.
const SHORT_RUN: usize = 16;

/// An operand over the common, merged index space.
#[derive(Clone, Copy)]
struct Source {
    pointer: *const u8,
    strides: Strides,
    /// Bytes of an element as stored.
    size: usize,
    /// The half type that is to be widened to f32.
    half: Option<DType>,
    access: Access,
}

/// How the elements of an operand follow the output's.
#[derive(Clone, Copy, PartialEq)]
enum Access {
    /// One after the other.
    Linear,
    /// The same `usize` elements over and over.
    Tile(usize),
    /// Any other way.
    Gather,
}

// SAFETY: sources are read only, and live through the call that made them.
unsafe impl Sync for Source {}
#[derive(Clone, Copy)]
struct Target {
    pointer: *mut u8,
    size: usize,
    half: Option<DType>,
}
// SAFETY: tasks write disjoint ranges.
unsafe impl Sync for Target {}

/// A block of gathered or converted elements; not initialised, since clearing it would cost more than a
/// small operation.
#[repr(align(64))]
struct Scratch(MaybeUninit<[u64; BLOCK]>);

impl Scratch {
    const fn new() -> Scratch {
        Scratch(MaybeUninit::uninit())
    }

    fn pointer(&mut self) -> *mut u8 {
        self.0.as_mut_ptr().cast()
    }
}

/// The index space shared by output and operands: sizes with neighbouring axes merged where possible.
struct Space {
    shape: [usize; MAX_RANK],
    rank: usize,
    count: usize,
}

/// Computes `map` on host values; shapes and dtypes have been checked. `even` says that every input has
/// the output's shape.
///
/// Returns whether the work was small and done at once, so that nothing can have interrupted it.
#[inline]
pub(crate) fn run(map: &Map, inputs: &[&Value], output: &mut Value, even: bool) -> bool {
    let small = even && run_plain(map.kernel, inputs, output);
    if !small {
        run_any(map, inputs, output, even);
    }
    small
}

/// The common case: tensors only, all contiguous and of one shape, no half types, one call of the loop.
/// False, and nothing done, where that does not hold.
#[inline]
fn run_plain(kernel: Kernel, inputs: &[&Value], output: &mut Value) -> bool {
    let (dtype, count) = (inputs[0].dtype(), output.count());
    let select = kernel.domain() == crate::op::elementwise::Domain::Select;
    if inputs.len() != kernel.arity() || select || dtype.is_half() || count > TASK {
        return false;
    }
    let mut pointers = [std::ptr::null::<u8>(); MAX_ARITY];
    for (pointer, input) in pointers.iter_mut().zip(inputs) {
        if !input.is_contiguous() {
            return false;
        }
        *pointer = input.pointer();
    }
    let Some(block) = kernel.block(dtype) else { return false };
    // SAFETY: every operand has `count` contiguous elements of the block's dtype, as has the output.
    unsafe { block(&pointers, output.pointer_mut(), count) };
    true
}

/// Any layouts, scalars and sizes.
fn run_any(map: &Map, inputs: &[&Value], output: &mut Value, even: bool) {
    let kernel = map.kernel;
    let count = output.count();
    if count == 0 {
        return;
    }
    let select = kernel.domain() == crate::op::elementwise::Domain::Select;
    let stored = if select { output.dtype() } else { inputs[0].dtype() };
    let half = stored.is_half().then_some(stored).filter(|_| !select);
    let compute = if half.is_some() { DType::F32 } else { stored };
    let Some(block) = kernel.block(compute) else { return };
    let mut scalars = [[0u8; 8]; MAX_ARITY];
    let mut pointers = [std::ptr::null::<u8>(); MAX_ARITY];
    let target = Target {
        pointer: output.pointer_mut(),
        size: output.dtype().size(),
        half: half.filter(|_| output.dtype().is_half()),
    };
    let arity = kernel.arity();

    // Small tensors with a number: it is laid out beside them.
    if even && count <= SMALL && half.is_none() && !select && inputs.iter().all(|input| input.is_contiguous()) {
        let mut tiles = [[0u64; SMALL]; 2];
        let (mut input, mut tile) = (0, 0);
        for argument in 0..arity {
            pointers[argument] = match map.scalars[argument] {
                Some(scalar) => {
                    let place = tiles[tile].as_mut_ptr().cast::<u8>();
                    // SAFETY: a tile has room for `count` elements of at most 8 bytes.
                    unsafe { cast::fill(compute.size(), scalar_bytes(scalar, compute), count, place) };
                    tile += 1;
                    place
                }
                None => {
                    input += 1;
                    inputs[input - 1].pointer()
                }
            };
        }
        // SAFETY: every operand and the output have `count` contiguous elements of the block's dtype.
        unsafe { block(&pointers, target.pointer, count) };
        return;
    }

    let shape = *output.shape();
    let mut sources =
        [Source { pointer: std::ptr::null(), strides: Strides::new(), size: 0, half: None, access: Access::Gather };
            MAX_ARITY];
    let mut input = 0;
    for argument in 0..arity {
        let condition = select && argument == 0;
        sources[argument] = match map.scalars[argument] {
            Some(scalar) => {
                let dtype = if condition { DType::Bool } else { compute };
                scalars[argument] = scalar_bytes(scalar, dtype);
                Source {
                    pointer: scalars[argument].as_ptr(),
                    strides: zero_strides(shape.len()),
                    size: dtype.size(),
                    half: None,
                    access: Access::Gather,
                }
            }
            None => {
                let value = inputs[input];
                input += 1;
                let mut strides = zero_strides(shape.len());
                let lead = shape.len() - value.shape().len();
                for axis in 0..value.shape().len() {
                    if value.shape()[axis] != 1 {
                        strides[lead + axis] = value.layout().strides[axis];
                    }
                }
                let half = value.dtype().is_half().then_some(value.dtype()).filter(|_| !select);
                Source { pointer: value.pointer(), strides, size: value.dtype().size(), half, access: Access::Gather }
            }
        };
    }
    let space = merge(&shape, &mut sources[..arity]);
    run_space(kernel, block, &space, &mut sources[..arity], target);
}

fn zero_strides(rank: usize) -> Strides {
    Strides::filled(0, rank).unwrap_or_default()
}

fn scalar_bytes(scalar: Scalar, dtype: DType) -> [u8; 8] {
    scalar.to_bytes(dtype)
}

/// `sum += part` for a contiguous value that nobody else sees; `part` has the same shape and dtype.
pub(crate) fn add_in_place(sum: &mut Value, part: &Value) {
    let map = Map { kernel: Kernel::Add, scalars: [None; MAX_ARITY] };
    let view = Value::view(sum, *sum.layout());
    if matches!(sum.storage(), crate::buffer::Storage::Inline(_)) {
        // An inline view is a copy of the bytes, which is what the loop needs.
        run(&map, &[&view, part], sum, true);
    } else {
        // The view shares the buffer that is written: legal because loops read a chunk before they store it.
        run(&map, &[&view, part], sum, true);
    }
}

/// Drops axes of size 1 and merges neighbours that every operand walks evenly.
fn merge(shape: &[usize], sources: &mut [Source]) -> Space {
    let mut space = Space { shape: [1; MAX_RANK], rank: 0, count: shape.iter().product() };
    for axis in 0..shape.len() {
        if shape[axis] == 1 {
            continue;
        }
        let rank = space.rank;
        let joins = rank > 0
            && sources.iter().all(|source| source.strides[rank - 1] == source.strides[axis] * shape[axis] as isize);
        if joins {
            space.shape[rank - 1] *= shape[axis];
            for source in sources.iter_mut() {
                source.strides[rank - 1] = source.strides[axis];
            }
        } else {
            space.shape[rank] = shape[axis];
            for source in sources.iter_mut() {
                source.strides[rank] = source.strides[axis];
            }
            space.rank += 1;
        }
    }
    for source in sources {
        source.access = access(&space, source);
    }
    space
}

fn access(space: &Space, source: &Source) -> Access {
    let mut expected = 1isize;
    let mut axis = space.rank;
    while axis > 0 && source.strides[axis - 1] == expected {
        expected *= space.shape[axis - 1] as isize;
        axis -= 1;
    }
    if axis == 0 {
        return Access::Linear;
    }
    if expected as usize <= BLOCK && source.strides[..axis].iter().all(|&stride| stride == 0) {
        return Access::Tile(expected as usize);
    }
    Access::Gather
}

fn run_space(kernel: Kernel, block: Block, space: &Space, sources: &mut [Source], target: Target) {
    // Tiles of different lengths: keep the longest that the shorter ones divide, gather the others.
    let longest = sources
        .iter()
        .map(|source| if let Access::Tile(length) = source.access { length } else { 1 })
        .max()
        .unwrap_or(1);
    for source in sources.iter_mut() {
        if let Access::Tile(length) = source.access {
            if longest % length != 0 {
                source.access = Access::Gather;
            }
        }
    }
    let nanoseconds = space.count as f64 * f64::from(kernel.cost()) * 1.2;
    let inner = space.shape[space.rank.max(1) - 1];
    let gathers = sources.iter().any(|source| source.access == Access::Gather);
    if gathers && inner >= SHORT_RUN {
        // Runs of the innermost axis, in tasks of whole runs, or pieces of one long run.
        let runs = space.count / inner;
        let pieces = inner.div_ceil(TASK);
        let piece = inner.div_ceil(pieces).next_multiple_of(BLOCK).min(inner);
        let pieces = inner.div_ceil(piece);
        let runs_per_task = (TASK / inner).max(1);
        let tasks = runs.div_ceil(runs_per_task) * pieces;
        let sources = &*sources;
        parallel(tasks, nanoseconds * 1.5, &|task| {
            let (first, start) = (task / pieces * runs_per_task, task % pieces * piece);
            let length = piece.min(inner - start);
            for run in first..(first + runs_per_task).min(runs) {
                run_inner(block, space, sources, target, run, start, length);
            }
        });
        return;
    }
    let step = longest * (BLOCK / longest);
    let task_elements = step * (TASK / step);
    let sources = &*sources;
    parallel(space.count.div_ceil(task_elements), nanoseconds, &|task| {
        let start = task * task_elements;
        run_flat(block, space, sources, target, start, task_elements.min(space.count - start), step);
    });
}

/// `count` elements from flat position `start` (a multiple of every tile), in blocks of `step`.
fn run_flat(block: Block, space: &Space, sources: &[Source], target: Target, start: usize, count: usize, step: usize) {
    let mut scratch = [const { Scratch::new() }; MAX_ARITY];
    let mut out_scratch = Scratch::new();
    let mut pointers = [std::ptr::null::<u8>(); MAX_ARITY];
    let direct =
        target.half.is_none() && sources.iter().all(|source| source.access == Access::Linear && source.half.is_none());
    let step = if direct { count } else { step };
    for (source, scratch) in sources.iter().zip(&mut scratch) {
        if let Access::Tile(length) = source.access {
            fill_tile(source, scratch.pointer(), length, step.min(count));
        }
    }
    let mut done = 0;
    while done < count {
        let length = step.min(count - done);
        let position = start + done;
        for ((source, scratch), pointer) in sources.iter().zip(&mut scratch).zip(&mut pointers) {
            *pointer = match source.access {
                Access::Tile(_) => scratch.pointer(),
                Access::Linear => {
                    let from = source.pointer.wrapping_add(position * source.size);
                    widen(source, from, scratch.pointer(), length)
                }
                Access::Gather => {
                    gather(space, source, position, length, scratch.pointer());
                    scratch.pointer()
                }
            };
        }
        store(block, &pointers, target, position, length, out_scratch.pointer());
        done += length;
    }
}

/// `length` elements of inner run `run` from `start`.
fn run_inner(block: Block, space: &Space, sources: &[Source], target: Target, run: usize, start: usize, length: usize) {
    let mut scratch = [const { Scratch::new() }; MAX_ARITY];
    let mut out_scratch = Scratch::new();
    let mut pointers = [std::ptr::null::<u8>(); MAX_ARITY];
    let inner_axis = space.rank - 1;
    let inner = space.shape[inner_axis];
    let mut bases = [std::ptr::null::<u8>(); MAX_ARITY];
    for (source, base) in sources.iter().zip(&mut bases) {
        let mut rest = run;
        let mut offset = 0isize;
        for axis in (0..inner_axis).rev() {
            offset += (rest % space.shape[axis]) as isize * source.strides[axis];
            rest /= space.shape[axis];
        }
        offset += start as isize * source.strides[inner_axis];
        *base = source.pointer.wrapping_offset(offset * source.size as isize);
    }
    let direct =
        target.half.is_none() && sources.iter().all(|source| source.strides[inner_axis] == 1 && source.half.is_none());
    let step = if direct { length } else { BLOCK };
    let mut done = 0;
    while done < length {
        let part = step.min(length - done);
        for index in 0..sources.len() {
            let source = &sources[index];
            let stride = source.strides[inner_axis];
            let from = bases[index].wrapping_offset(done as isize * stride * source.size as isize);
            pointers[index] = match stride {
                1 => widen(source, from, scratch[index].pointer(), part),
                0 if done > 0 => scratch[index].pointer(),
                _ => {
                    gather_strided(source, from, stride, part, scratch[index].pointer());
                    scratch[index].pointer()
                }
            };
        }
        store(block, &pointers, target, run * inner + start + done, part, out_scratch.pointer());
        done += part;
    }
}

/// Runs the kernel on one block and stores the result, narrowed where it is a half type.
#[inline]
fn store(
    block: Block,
    pointers: &[*const u8; MAX_ARITY],
    target: Target,
    position: usize,
    length: usize,
    scratch: *mut u8,
) {
    let to = target.pointer.wrapping_add(position * target.size);
    // SAFETY: the operands hold `length` elements each, the target range lies in the output, and the
    // scratch holds a block.
    unsafe {
        match target.half {
            None => block(pointers, to, length),
            Some(half) => {
                block(pointers, scratch, length);
                cast::cast(DType::F32, half, length, scratch, to);
            }
        }
    }
}

/// `length` contiguous elements as the kernel reads them: in place, or widened into `scratch`.
#[inline]
fn widen(source: &Source, from: *const u8, scratch: *mut u8, length: usize) -> *const u8 {
    match source.half {
        None => from,
        Some(half) => {
            // SAFETY: `from` holds `length` halves, the scratch a block of f32.
            unsafe { cast::cast(half, DType::F32, length, from, scratch) };
            scratch
        }
    }
}

/// Reads one element, widened where it is a half, and writes it to position `to` of the scratch.
#[inline(always)]
unsafe fn put(source: &Source, from: *const u8, scratch: *mut u8, to: usize) {
    // SAFETY: the caller gives an address inside the operand and a position inside the scratch.
    unsafe {
        match (source.half, source.size) {
            (Some(DType::BF16), _) => *scratch.cast::<f32>().add(to) = (*from.cast::<bf16>()).to_f32(),
            (Some(_), _) => *scratch.cast::<f32>().add(to) = (*from.cast::<f16>()).to_f32(),
            (None, 1) => *scratch.add(to) = *from,
            (None, 2) => *scratch.cast::<u16>().add(to) = *from.cast::<u16>(),
            (None, 4) => *scratch.cast::<u32>().add(to) = *from.cast::<u32>(),
            (None, _) => *scratch.cast::<u64>().add(to) = *from.cast::<u64>(),
        }
    }
}

/// The first `count` elements of an operand that repeats every `length`.
fn fill_tile(source: &Source, scratch: *mut u8, length: usize, count: usize) {
    let wanted = count.min(BLOCK);
    let mut filled = length.min(wanted);
    for index in 0..filled {
        // SAFETY: a tile is contiguous over its length and fits a block.
        unsafe { put(source, source.pointer.wrapping_add(index * source.size), scratch, index) };
    }
    let size = if source.half.is_some() { DType::F32.size() } else { source.size };
    while filled < wanted {
        // What is there is a whole number of tiles, so appending a copy of its start goes on in step.
        let more = filled.min(wanted - filled);
        // SAFETY: both ranges lie in the block, the second after the first.
        unsafe { std::ptr::copy_nonoverlapping(scratch, scratch.add(filled * size), more * size) };
        filled += more;
    }
}

/// `length` elements at a constant stride.
fn gather_strided(source: &Source, from: *const u8, stride: isize, length: usize, scratch: *mut u8) {
    let step = stride * source.size as isize;
    macro_rules! run {
        ($word:ty) => {
            for index in 0..length {
                // SAFETY: the run lies inside the operand, the scratch holds a block.
                unsafe {
                    *scratch.cast::<$word>().add(index) = *from.wrapping_offset(index as isize * step).cast::<$word>()
                };
            }
        };
    }
    match (source.half, source.size) {
        (Some(_), _) => {
            for index in 0..length {
                // SAFETY: as above.
                unsafe { put(source, from.wrapping_offset(index as isize * step), scratch, index) };
            }
        }
        (None, 1) => run!(u8),
        (None, 2) => run!(u16),
        (None, 4) => run!(u32),
        (None, _) => run!(u64),
    }
}

/// `length` elements from flat position `position`, following the index space.
fn gather(space: &Space, source: &Source, position: usize, length: usize, scratch: *mut u8) {
    let mut index = [0usize; MAX_RANK];
    let mut rest = position;
    let mut offset = 0isize;
    for axis in (0..space.rank).rev() {
        index[axis] = rest % space.shape[axis];
        rest /= space.shape[axis];
        offset += index[axis] as isize * source.strides[axis];
    }
    for to in 0..length {
        // SAFETY: the offset is that of a valid index.
        unsafe { put(source, source.pointer.wrapping_offset(offset * source.size as isize), scratch, to) };
        for axis in (0..space.rank).rev() {
            index[axis] += 1;
            offset += source.strides[axis];
            if index[axis] < space.shape[axis] {
                break;
            }
            offset -= source.strides[axis] * space.shape[axis] as isize;
            index[axis] = 0;
        }
    }
}
