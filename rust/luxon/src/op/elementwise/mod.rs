//! Elementwise operations: what the whole family derives from a row of the [`table`].
//!
//! A row gives a kernel's name, its scalar function and one derivative per argument. From that come
//! broadcasting, dtype promotion, the loops over any layout, forward and backward rules, what to save,
//! and the functions and methods that users call. A scalar operand (`x * 2.0`) is a parameter of the
//! operation, not a tensor.

use smallvec::{SmallVec, smallvec};

use crate::cpu::map;
use crate::cuda::Plan;
use crate::dtype::{DType, Kind, Scalar};
use crate::error::{Error, Result};
use crate::layout::{Shape, broadcast_shapes};
use crate::op::linear::sum_to;
use crate::op::{Family, Gradients, Op, Saved, Saves, Spec, Specs, apply_computed};
use crate::tensor::{Tensor, Value};

mod cuda;
mod define;
mod methods;
mod slopes;
pub mod table;

pub use methods::pow;
pub use table::Kernel;

/// The most arguments of an elementwise operation.
pub const MAX_ARITY: usize = 3;

/// An argument: a tensor, or a weakly typed scalar.
///
/// ```
/// use luxon::Tensor;
/// let x = Tensor::new(&[1.0, 2.0], &[2])?;
/// assert_eq!(x.add(&x)?.to_vec::<f64>()?, [2.0, 4.0]); // A tensor,
/// assert_eq!(x.add(1)?.to_vec::<f64>()?, [2.0, 3.0]); // or a number.
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// A tensor.
    Tensor(&'a Tensor),
    /// A number.
    Scalar(Scalar),
}

impl<'a> From<&'a Tensor> for Operand<'a> {
    #[inline]
    fn from(tensor: &'a Tensor) -> Self {
        Operand::Tensor(tensor)
    }
}

impl<T: Into<Scalar>> From<T> for Operand<'_> {
    #[inline]
    fn from(scalar: T) -> Self {
        Operand::Scalar(scalar.into())
    }
}

/// Which dtypes a kernel takes, and what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// Floating types; integers and truth values become the default float.
    Float,
    /// Integers and floating types, each in itself.
    Number,
    /// Two numbers of one type in, a truth value out.
    Compare,
    /// A floating number in, a truth value out.
    Test,
    /// Truth values; numbers become `x != 0`.
    Logical,
    /// Integers and truth values.
    Bits,
    /// A truth value and two of any one type.
    Select,
}

/// The arguments of a recorded operation, as its derivative rules read them.
pub struct Args<'a> {
    map: &'a Map,
    dtype: DType,
    inputs: [Option<&'a Tensor>; MAX_ARITY],
}

impl<'a> Args<'a> {
    /// Argument `index`; the rule has declared that it reads it.
    #[inline]
    fn get(&self, index: usize) -> Operand<'a> {
        match self.map.scalars[index] {
            Some(scalar) => Operand::Scalar(scalar),
            None => match self.inputs[self.map.input_of(index)] {
                Some(tensor) => Operand::Tensor(tensor),
                // A rule that reads what it did not declare would meet NaN, which its test shows.
                None => Operand::Scalar(Scalar::Float(f64::NAN)),
            },
        }
    }

    /// Argument `index` as a tensor, for rules that compute with it alone: two scalars would meet in the
    /// default dtype.
    fn tensor(&self, index: usize) -> Result<Tensor> {
        match self.get(index) {
            Operand::Tensor(tensor) => Ok(tensor.clone()),
            Operand::Scalar(scalar) => Ok(Tensor::scalar(scalar, self.dtype)),
        }
    }

    /// The first argument.
    pub fn a(&self) -> Operand<'a> {
        self.get(0)
    }

    /// The second argument.
    pub fn b(&self) -> Operand<'a> {
        self.get(1)
    }

    /// The third argument.
    pub fn c(&self) -> Operand<'a> {
        self.get(2)
    }
}

/// The derivative in one argument, times `g`, in the shape of the output.
pub type Rule = fn(&Args<'_>, &Tensor, &Tensor) -> Result<Tensor>;

/// A derivative and what it reads: bits 0 to 2 the arguments, bit 3 the output.
#[derive(Clone, Copy)]
pub struct Derivative {
    /// What it reads.
    pub reads: u32,
    /// The rule.
    pub rule: Rule,
}

/// An elementwise operation: a kernel, and those of its arguments that are scalars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Map {
    /// The row of the table.
    pub kernel: Kernel,
    /// Scalar arguments; the others are the inputs, in order.
    pub scalars: [Option<Scalar>; MAX_ARITY],
}

impl Map {
    /// The input that is argument `argument`.
    #[inline]
    fn input_of(&self, argument: usize) -> usize {
        argument - self.scalars[..argument].iter().flatten().count()
    }

    /// The arguments that are inputs.
    #[inline]
    fn tensor_arguments(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.kernel.arity()).filter(|&argument| self.scalars[argument].is_none())
    }

    /// The arguments as rules read them; `dtype` is the one computed in.
    #[inline]
    pub(crate) fn args<'a>(&'a self, dtype: DType, inputs: impl Iterator<Item = Option<&'a Tensor>>) -> Args<'a> {
        let mut args = Args { map: self, dtype, inputs: [None; MAX_ARITY] };
        for (place, input) in args.inputs.iter_mut().zip(inputs) {
            *place = input;
        }
        args
    }
}

/// The dtype that the arguments are computed in, given the join of the tensors' dtypes.
fn compute_dtype(kernel: Kernel, joined: DType) -> Result<DType> {
    match (kernel.domain(), joined.kind()) {
        (Domain::Float | Domain::Test, _) => Ok(joined.to_float()),
        (Domain::Number, Kind::Bool) if !kernel.takes_bool() => {
            Err(Error::unsupported(kernel.name(), joined, "numbers; cast with astype, or use a logical operation"))
        }
        (Domain::Number | Domain::Compare | Domain::Select, _) => Ok(joined),
        (Domain::Logical, _) => Ok(DType::Bool),
        (Domain::Bits, Kind::Float) => Err(Error::unsupported(kernel.name(), joined, "integers and bool")),
        (Domain::Bits, _) => Ok(joined),
    }
}

/// Applies a kernel to tensors and scalars: promotes, broadcasts, computes, records.
///
/// # Errors
/// [`Error::Shape`] for shapes that do not broadcast, [`Error::Type`] for dtypes outside the kernel's
/// domain, [`Error::Overflow`] for an integer scalar that the tensor's dtype cannot hold.
pub fn map(kernel: Kernel, operands: &[Operand<'_>]) -> Result<Tensor> {
    debug_assert_eq!(operands.len(), kernel.arity());
    let mut map = Map { kernel, scalars: [None; MAX_ARITY] };
    let mut plain = matches!(kernel.domain(), Domain::Float | Domain::Number | Domain::Compare | Domain::Test);
    // The most common call of all, without a loop.
    if let [Operand::Tensor(a), Operand::Tensor(b)] = operands
        && plain
        && a.dtype() == b.dtype()
        && a.dtype().is_float()
    {
        return apply_map(map, &[a, b]);
    }
    let mut first: Option<&Tensor> = None;
    let mut inputs = [None; MAX_ARITY];
    let mut count = 0;
    for (index, operand) in operands.iter().enumerate() {
        match operand {
            Operand::Tensor(tensor) => {
                plain &= first.get_or_insert(tensor).dtype() == tensor.dtype();
                inputs[count] = Some(*tensor);
                count += 1;
            }
            Operand::Scalar(scalar) => map.scalars[index] = Some(*scalar),
        }
    }
    // Most calls have tensors of one floating type, to which every scalar adapts: nothing to convert.
    match first {
        Some(first) if plain && first.dtype().is_float() => {
            for input in &mut inputs[count..] {
                *input = Some(first);
            }
            let [Some(a), Some(b), Some(c)] = inputs else { return converted(kernel, operands) };
            apply_map(map, &[a, b, c][..count])
        }
        _ => converted(kernel, operands),
    }
}

/// Applies a kernel to operands that may have to be converted first.
fn converted(kernel: Kernel, operands: &[Operand<'_>]) -> Result<Tensor> {
    let condition = usize::from(kernel.domain() == Domain::Select);
    let mut joined: Option<DType> = None;
    for operand in &operands[condition..] {
        if let Operand::Tensor(tensor) = operand {
            joined = Some(joined.map_or(tensor.dtype(), |dtype| dtype.promote(tensor.dtype())));
        }
    }
    let only_scalars = joined.is_none();
    let mut dtype = joined.unwrap_or(DType::Bool);
    for operand in &operands[condition..] {
        if let Operand::Scalar(scalar) = operand {
            dtype = if only_scalars { dtype.promote(scalar.dtype()) } else { dtype.promote_scalar(*scalar) };
        }
    }
    let dtype = compute_dtype(kernel, dtype)?;
    let mut map = Map { kernel, scalars: [None; MAX_ARITY] };
    let mut inputs: SmallVec<[Tensor; MAX_ARITY]> = SmallVec::new();
    let some_tensor = operands.iter().any(|operand| matches!(operand, Operand::Tensor(_)));
    for (index, operand) in operands.iter().enumerate() {
        let wanted = if index < condition { DType::Bool } else { dtype };
        match operand {
            Operand::Tensor(tensor) => inputs.push(tensor.cast(wanted)?),
            Operand::Scalar(scalar) => {
                scalar.check_fits(wanted)?;
                // Something has to be an input: the first of nothing but numbers.
                if some_tensor || index > 0 {
                    map.scalars[index] = Some(*scalar);
                } else {
                    inputs.push(Tensor::scalar(*scalar, wanted));
                }
            }
        }
    }
    apply_map(map, &inputs.iter().collect::<SmallVec<[&Tensor; MAX_ARITY]>>())
}

#[inline]
fn apply_map(map: Map, inputs: &[&Tensor]) -> Result<Tensor> {
    apply_computed(map, inputs, || compute(&map, inputs))
}

/// What the CPU does with host tensors, in one step: this is the path of small programs in tight loops.
fn compute(map: &Map, inputs: &[&Tensor]) -> Result<Tensor> {
    let first: &Value = inputs[0].value();
    let mut values = [first; MAX_ARITY];
    let mut even = first.is_contiguous();
    for (value, input) in values.iter_mut().zip(inputs) {
        *value = input.value();
        even &= value.shape() == first.shape();
    }
    let values = &values[..inputs.len()];
    let dtype = output_dtype(map, values);
    let mut output = if even {
        // The first input's layout serves: its count was checked when it was made.
        Tensor::with_layout(dtype, first.layout(), first.count())?
    } else {
        Tensor::empty(dtype, &output_shape(map, values)?)?
    };
    let small = std::sync::Arc::get_mut(&mut output.value).is_some_and(|value| map::run(map, values, value, even));
    if !small && crate::runtime::interrupt::take() { Err(Error::Interrupted) } else { Ok(output) }
}

#[inline]
fn output_dtype(map: &Map, inputs: &[&Value]) -> DType {
    match map.kernel.domain() {
        Domain::Compare | Domain::Test | Domain::Logical => DType::Bool,
        // The last input is a value, never the condition of a select, unless both values are scalars.
        Domain::Select => match (map.scalars[1], map.scalars[2]) {
            (Some(a), Some(b)) => a.dtype().promote(b.dtype()),
            _ => inputs[inputs.len() - 1].dtype(),
        },
        _ => inputs[0].dtype(),
    }
}

#[inline]
fn output_shape(map: &Map, inputs: &[&Value]) -> Result<Shape> {
    let mut shape = *inputs[0].shape();
    for input in &inputs[1..] {
        if *input.shape() != shape {
            shape = broadcast_shapes(map.kernel.name(), &shape, input.shape())?;
        }
    }
    Ok(shape)
}

impl Family for Map {
    fn name(&self) -> &'static str {
        self.kernel.name()
    }

    #[inline]
    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let (dtype, shape) = (output_dtype(self, inputs), output_shape(self, inputs)?);
        Ok(smallvec![Spec { dtype, shape }])
    }

    #[inline]
    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        let even = inputs.iter().all(|input| input.shape() == outputs[0].shape());
        map::run(self, inputs, outputs[0], even);
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(cuda::plan(self, inputs, &outputs[0]))
    }

    fn saves(&self, wanted: u32) -> Saves {
        let derivatives = self.kernel.derivatives();
        let (mut reads, mut input) = (0, 0);
        for (scalar, derivative) in self.scalars.iter().zip(derivatives) {
            if scalar.is_none() {
                reads |= if wanted >> input & 1 == 1 { derivative.reads } else { 0 };
                input += 1;
            }
        }
        let (mut inputs, mut input) = (0, 0);
        for (argument, scalar) in self.scalars.iter().enumerate() {
            if scalar.is_none() {
                inputs |= (reads >> argument & 1) << input;
                input += 1;
            }
        }
        Saves { inputs, output: reads >> MAX_ARITY & 1 == 1 }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        let args = self.args(dy.dtype(), (0..saved.arity()).map(|input| saved.find_input(input)));
        let derivatives = self.kernel.derivatives();
        let mut gradients = Gradients::new();
        for argument in self.tensor_arguments() {
            let input = gradients.len();
            let derivative = derivatives.get(argument).filter(|_| saved.wants(input));
            gradients.push(match derivative {
                Some(derivative) => {
                    // Rules that do not read the output are given the cotangent in its place.
                    let y = saved.find_output().unwrap_or(dy);
                    let slope = (derivative.rule)(&args, y, dy)?;
                    let shape = saved.shape(input);
                    Some(if slope.shape() == shape { slope } else { sum_to(&slope, shape)? })
                }
                None => None,
            });
        }
        Ok(gradients)
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let y = &outputs[0];
        let args = self.args(y.dtype(), inputs.iter().map(Some));
        let mut sum: Option<Tensor> = None;
        for (argument, derivative) in self.kernel.derivatives().iter().enumerate() {
            if self.scalars[argument].is_some() {
                continue;
            }
            let Some(tangent) = &tangents[self.input_of(argument)] else { continue };
            let tangent = tangent.broadcast_to(y.shape())?;
            let part = (derivative.rule)(&args, y, &tangent)?;
            sum = Some(match sum {
                Some(sum) => accumulate(sum, &part)?,
                None => part,
            });
        }
        Ok(sum)
    }
}

/// `sum + part`, in the memory of `sum` where nobody else sees it.
pub fn accumulate(mut sum: Tensor, part: &Tensor) -> Result<Tensor> {
    if sum.node.is_none()
        && part.node.is_none()
        && sum.shape() == part.shape()
        && sum.value().is_host()
        && part.value().is_host()
    {
        if let Some(value) = std::sync::Arc::get_mut(&mut sum.value) {
            if value.is_contiguous() && value.is_unique() {
                map::add_in_place(value, part.value());
                return Ok(sum);
            }
        }
    }
    sum.add(part)
}

impl From<Kernel> for Op {
    fn from(kernel: Kernel) -> Op {
        Op::Map(Map { kernel, scalars: [None; MAX_ARITY] })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
