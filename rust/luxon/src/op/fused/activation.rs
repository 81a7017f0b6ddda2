//! An elementwise function applied to what a kernel has just computed.
//!
//! The function runs on finished blocks of the result while they are in cache. Backward reads its slope off
//! the output where the table's rule allows it (relu, tanh, sigmoid, ...); where the rule reads the function's
//! argument, users' functions record product and activation apart, which keeps that argument anyway.

use crate::cpu::map::Block;
use crate::dtype::{DType, Scalar};
use crate::error::{Error, Result};
use crate::op::apply;
use crate::op::elementwise::{Domain, Kernel, MAX_ARITY, Map};
use crate::tensor::Tensor;

/// A function of one tensor, its first argument; none for the identity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Activation(pub Option<Map>);

/// Bits of what a derivative rule reads: the activation's argument, and its result.
const READS_ARGUMENT: u32 = 1;
const READS_OUTPUT: u32 = 1 << MAX_ARITY;

/// A table row as an activation, with its further arguments in order.
///
/// ```
/// use luxon::{DType, Kernel, Tensor, activation, linear};
/// let leaky = activation(Kernel::LeakyRelu, &[0.1.into()])?;
/// let (x, weight) = (Tensor::new(&[1.0, -1.0], &[2, 1])?, Tensor::ones(&[1, 1], DType::F64)?);
/// assert_eq!(linear(&x, &weight, None, Some(leaky))?.to_vec::<f64>()?, [1.0, -0.1]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] where the count of parameters is not the row's, or its results are not numbers of
/// its argument's dtype.
pub fn activation(kernel: Kernel, parameters: &[Scalar]) -> Result<Map> {
    if parameters.len() + 1 != kernel.arity() {
        let wanted = kernel.arity() - 1;
        return Err(Error::value(
            kernel.name(),
            format_args!("as an activation it takes {wanted} parameters, got {}", parameters.len()),
        ));
    }
    let mut map = Map { kernel, scalars: [None; MAX_ARITY] };
    for (slot, &parameter) in map.scalars[1..].iter_mut().zip(parameters) {
        *slot = Some(parameter);
    }
    Activation(Some(map)).check("linear")?;
    Ok(map)
}

impl Activation {
    /// The identity.
    pub const NONE: Activation = Activation(None);

    /// Refuses what is not a function from one tensor of numbers to another.
    pub(super) fn check(&self, op: &str) -> Result<()> {
        let Some(map) = &self.0 else { return Ok(()) };
        let one_tensor = map.scalars[0].is_none() && map.scalars[1..map.kernel.arity()].iter().all(Option::is_some);
        if one_tensor && matches!(map.kernel.domain(), Domain::Float | Domain::Number) {
            return Ok(());
        }
        let name = map.kernel.name();
        Err(Error::value(op, format_args!("{name} is not a function from one tensor of numbers to another")))
    }

    /// What the derivative reads.
    fn reads(&self) -> u32 {
        self.0.and_then(|map| map.kernel.derivatives().first()).map_or(0, |derivative| derivative.reads)
    }

    /// Whether the derivative reads the argument.
    pub(super) fn reads_argument(&self) -> bool {
        self.reads() & READS_ARGUMENT != 0
    }

    /// Whether the derivative reads the result.
    pub(super) fn reads_output(&self) -> bool {
        self.reads() & READS_OUTPUT != 0
    }

    /// The function of a tensor.
    pub(super) fn apply(&self, z: Tensor) -> Result<Tensor> {
        match self.0 {
            Some(map) => apply(map, &[&z]),
            None => Ok(z),
        }
    }

    /// The derivative at `z` (where read) with result `y`, times `g`; none for an exact zero.
    pub(super) fn slope(&self, z: Option<&Tensor>, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let Some(map) = &self.0 else { return Ok(Some(g.clone())) };
        let Some(derivative) = map.kernel.derivatives().first() else { return Ok(None) };
        (derivative.rule)(&map.args(y.dtype(), std::iter::once(z)), y, g).map(Some)
    }
}

/// An activation over blocks of a finished result.
pub(super) struct Epilogue {
    block: Block,
    size: usize,
    /// Every parameter repeated for [`Epilogue::TILE`] elements.
    tiles: [Vec<u64>; MAX_ARITY - 1],
    result: *mut u8,
}

// SAFETY: blocks of the result are finished once each, by one thread.
unsafe impl Sync for Epilogue {}

impl Epilogue {
    const TILE: usize = 1024;

    /// The activation over a result of this dtype; none for the identity.
    pub(super) fn new(activation: Activation, dtype: DType, result: *mut u8) -> Result<Option<Epilogue>> {
        let Some(map) = &activation.0 else { return Ok(None) };
        let Some(block) = map.kernel.block(dtype) else {
            return Err(Error::unsupported(map.kernel.name(), dtype, "floating types"));
        };
        let size = dtype.size();
        let mut tiles = [Vec::new(), Vec::new()];
        for (tile, scalar) in tiles.iter_mut().zip(&map.scalars[1..]) {
            let Some(scalar) = scalar else { continue };
            let element = scalar.to_bytes(dtype);
            let mut word = [0u8; 8];
            for part in word.chunks_exact_mut(size) {
                part.copy_from_slice(&element[..size]);
            }
            *tile = vec![u64::from_ne_bytes(word); Epilogue::TILE * size / 8];
        }
        Ok(Some(Epilogue { block, size, tiles, result }))
    }

    /// Applies the activation to `count` elements from element `start` on.
    pub(super) fn run(&self, start: usize, count: usize) {
        let step = if self.tiles.iter().all(Vec::is_empty) { count.max(1) } else { Epilogue::TILE };
        for from in (0..count).step_by(step) {
            let target = self.result.wrapping_add((start + from) * self.size);
            let operands = [target.cast_const(), self.tiles[0].as_ptr().cast(), self.tiles[1].as_ptr().cast()];
            // SAFETY: the elements lie within the result, loops may overwrite their operand, and tiles are as long as
            // a step.
            unsafe { (self.block)(&operands, target, step.min(count - from)) };
        }
    }
}
