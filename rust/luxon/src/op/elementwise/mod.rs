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
use crate::op::{Family, Gradients, Op, Saved, Saves, Spec, Specs, apply_map};
use crate::tensor::{Tensor, Value};

mod cuda;
mod define;
mod slopes;
pub mod table;

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

/// What the CPU does with host tensors, in one step: this is the path of small programs in tight loops.
pub(super) fn compute(map: &Map, inputs: &[&Tensor]) -> Result<Tensor> {
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

impl Tensor {
    /// Elementwise sum.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1.0, 2.0], &[2, 1])?;
    /// assert_eq!(x.add(&Tensor::new(&[10.0, 20.0], &[2])?)?.to_vec::<f64>()?, [11.0, 21.0, 12.0, 22.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn add<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        map(Kernel::Add, &[self.into(), other.into()])
    }

    /// Elementwise difference.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[5, 7], &[2])?.sub(2)?.to_vec::<i32>()?, [3, 5]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn sub<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        map(Kernel::Subtract, &[self.into(), other.into()])
    }

    /// Elementwise product.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[5, 7], &[2])?.mul(2)?.to_vec::<i32>()?, [10, 14]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn mul<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        map(Kernel::Multiply, &[self.into(), other.into()])
    }

    /// Elementwise quotient.
    ///
    /// ```
    /// use luxon::Tensor;
    /// let x = Tensor::new(&[1, 3], &[2])?.div(2)?; // Integers give floats.
    /// assert_eq!(x.to_vec::<f32>()?, [0.5, 1.5]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn div<'a>(&'a self, other: impl Into<Operand<'a>>) -> Result<Tensor> {
        map(Kernel::Divide, &[self.into(), other.into()])
    }

    /// The negative.
    ///
    /// ```
    /// use luxon::Tensor;
    /// assert_eq!(Tensor::new(&[1, -2], &[2])?.neg()?.to_vec::<i32>()?, [-1, 2]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    #[inline]
    pub fn neg(&self) -> Result<Tensor> {
        map(Kernel::Negative, &[self.into()])
    }
}

/// `base` to the power `exponent`; squares, roots and reciprocals by scalar exponents take their own kernels.
///
/// ```
/// use luxon::{Tensor, pow};
/// let x = Tensor::new(&[2.0, 3.0], &[2])?;
/// assert!(pow(&x, 3)?.allclose(&Tensor::new(&[8.0, 27.0], &[2])?, 1e-14, 0.0, false)?);
/// assert!(pow(2.0, &x)?.allclose(&Tensor::new(&[4.0, 8.0], &[2])?, 1e-14, 0.0, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for integers to a negative integer scalar, and those of [`map`].
pub fn pow<'a>(base: impl Into<Operand<'a>>, exponent: impl Into<Operand<'a>>) -> Result<Tensor> {
    let (base, exponent) = (base.into(), exponent.into());
    if let (Operand::Tensor(x), Operand::Scalar(power)) = (base, exponent) {
        let integral = !x.dtype().is_float();
        match (power.as_f64(), power) {
            (value, Scalar::Int(_)) if value < 0.0 && integral => {
                return Err(Error::value(
                    "pow",
                    "integers to a negative integer power are not integers; cast the base to a float",
                ));
            }
            (2.0, _) if !integral || matches!(power, Scalar::Int(_)) => return x.square(),
            (1.0, _) if !integral => return Ok(x.clone()),
            (0.5, _) if !integral => return x.sqrt(),
            (-0.5, _) if !integral => return x.rsqrt(),
            (-1.0, _) if !integral => return x.reciprocal(),
            (3.0, _) if !integral => return x.square()?.mul(x),
            _ => {}
        }
    }
    let integral = |operand: &Operand<'_>| match operand {
        Operand::Tensor(tensor) => !tensor.dtype().is_float(),
        Operand::Scalar(scalar) => !matches!(scalar, Scalar::Float(_)),
    };
    let kernel = if integral(&base) && integral(&exponent) { Kernel::IntegerPow } else { Kernel::Pow };
    map(kernel, &[base, exponent])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};
    use crate::transform::{grad, value_and_grad};

    /// Where a kernel is smooth and defined: bounds for its arguments.
    fn bounds(kernel: Kernel) -> (f64, f64) {
        match kernel {
            Kernel::Log
            | Kernel::Log2
            | Kernel::Log10
            | Kernel::Sqrt
            | Kernel::Rsqrt
            | Kernel::Reciprocal
            | Kernel::Pow
            | Kernel::Entr
            | Kernel::Divide
            | Kernel::XLogY
            | Kernel::Gammaln
            | Kernel::Digamma
            | Kernel::Remainder
            | Kernel::Fmod
            | Kernel::FloorDivide => (0.6, 2.3),
            Kernel::Acosh => (1.2, 3.0),
            Kernel::Logit => (0.1, 0.9),
            Kernel::XLog1pY => (-0.8, 2.2),
            Kernel::Asin | Kernel::Acos | Kernel::Atanh | Kernel::Erfinv | Kernel::Log1p => (-0.8, 0.8),
            _ => (-2.1, 2.2),
        }
    }

    #[test]
    fn every_row_has_right_derivatives() {
        for &kernel in Kernel::ALL {
            let derivable = !kernel.derivatives().is_empty();
            if !derivable || matches!(kernel.domain(), Domain::Select) {
                continue;
            }
            if kernel == Kernel::Polygamma {
                // Its order is a whole number, so there is no slope in it.
                check_gradients(|x| map(kernel, &[1.0.into(), (&x[0]).into()]), &[sample(&[3], 0.6, 2.3, 1)]);
                continue;
            }
            // Functions that round have zero slopes almost everywhere, which differences confirm.
            let (low, high) = bounds(kernel);
            let x = sample(&[3], low, high, kernel as u64 + 1);
            match (kernel.arity(), kernel.derivatives().len()) {
                (1, _) => check_gradients(|x| map(kernel, &[(&x[0]).into()]), &[x]),
                (2, 1) => check_gradients(|x| map(kernel, &[(&x[0]).into(), 0.7.into()]), &[x]),
                (2, _) => {
                    let y = sample(&[2, 1], low, high, kernel as u64 + 50);
                    check_gradients(|x| map(kernel, &[(&x[0]).into(), (&x[1]).into()]), &[x, y]);
                }
                _ => check_gradients(|x| map(kernel, &[(&x[0]).into(), (-1.1).into(), 1.3.into()]), &[x]),
            }
        }
    }

    #[test]
    fn select_and_clip_route_gradients() {
        let condition = Tensor::new(&[true, false, true], &[3]).unwrap();
        let (x, y) = (sample(&[3], -1.0, 1.0, 1), sample(&[2, 3], -1.0, 1.0, 2));
        check_gradients(
            |a| map(Kernel::Where, &[(&condition).into(), (&a[0]).into(), (&a[1]).into()]),
            &[x.clone(), y],
        );
        let edges = Tensor::new(&[-1.0, 0.0, 1.0, 3.0], &[4]).unwrap();
        let slope =
            grad(|x| map(Kernel::Clip, &[(&x[0]).into(), (-1.0).into(), 1.0.into()])?.sum(None, false), &[edges])
                .unwrap();
        assert_eq!(slope[0].to_vec::<f64>().unwrap(), [1.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn kinks_follow_the_stated_conventions() {
        let zero = Tensor::new(&[0.0f64], &[1]).unwrap();
        for kernel in [Kernel::Relu, Kernel::Abs, Kernel::LeakyRelu] {
            let f = |x: &[Tensor]| match kernel.arity() {
                1 => map(kernel, &[(&x[0]).into()]),
                _ => map(kernel, &[(&x[0]).into(), 0.0.into()]),
            };
            let slope = grad(|x| f(x)?.sum(None, false), &[zero.clone()]).unwrap();
            assert_eq!(slope[0].to_vec::<f64>().unwrap(), [0.0], "{kernel:?}");
        }
        let slopes = grad(|x| x[0].maximum(&x[1])?.sum(None, false), &[zero.clone(), zero]).unwrap();
        assert_eq!(slopes[0].to_vec::<f64>().unwrap(), [0.5]);
        assert_eq!(slopes[1].to_vec::<f64>().unwrap(), [0.5]);
    }

    #[test]
    fn layouts_do_not_matter() {
        // Every access path of the loops: contiguous, tiles, runs, gathers, negative strides.
        let x = sample(&[5, 40, 33], -2.0, 2.0, 3);
        let views = [
            x.clone(),
            x.permute(&[2, 1, 0]).unwrap(),
            x.flip(&[0, 2]).unwrap(),
            x.narrow(1, 3, 20).unwrap(),
            x.narrow(2, 0, 1).unwrap(),
        ];
        for view in &views {
            let dense = Tensor::new(&view.to_vec::<f64>().unwrap(), view.shape()).unwrap();
            let row = sample(&view.shape()[2..], -1.0, 1.0, 9);
            let column = sample(&[view.shape()[1], 1], -1.0, 1.0, 10);
            for other in [&row, &column] {
                let a = view.mul(other).unwrap().to_vec::<f64>().unwrap();
                let b = dense.mul(&other.broadcast_to(dense.shape()).unwrap().contiguous().unwrap()).unwrap();
                assert_eq!(a, b.to_vec::<f64>().unwrap());
            }
            let half = view.cast(DType::BF16).unwrap().add(1.0).unwrap();
            let expected =
                dense.cast(DType::BF16).unwrap().cast(DType::F32).unwrap().add(1.0).unwrap().cast(DType::BF16).unwrap();
            assert_eq!(half.dtype(), DType::BF16);
            assert_eq!(half.to_vec::<half::bf16>().unwrap(), expected.to_vec::<half::bf16>().unwrap());
        }
    }

    #[test]
    fn integers_and_truth_values() {
        let a = Tensor::new(&[7i32, -7, 5, 0], &[4]).unwrap();
        let b = Tensor::new(&[2i32, 2, 0, -3], &[4]).unwrap();
        assert_eq!(a.floor_divide(&b).unwrap().to_vec::<i32>().unwrap(), [3, -4, 0, 0]);
        assert_eq!(a.remainder(&b).unwrap().to_vec::<i32>().unwrap(), [1, 1, 0, 0]);
        assert_eq!(a.div(2i64).unwrap().dtype(), DType::F32);
        let mask = a.greater(0i64).unwrap();
        assert_eq!(mask.to_vec::<bool>().unwrap(), [true, false, true, false]);
        assert_eq!(mask.mul(2.0).unwrap().to_vec::<f32>().unwrap(), [2.0, 0.0, 2.0, 0.0]);
        assert!(mask.sub(&mask).unwrap_err().to_string().contains("subtract: dtype bool"));
        assert!(pow(&a, -1i64).is_err());
        assert!(a.add(1i64 << 40).is_err());
    }

    #[test]
    fn a_million_nodes_are_walked_and_dropped() {
        let x = Tensor::scalar(1.0, DType::F32);
        let (y, slope) = value_and_grad(
            |x| {
                let mut y = x[0].clone();
                for _ in 0..1_000_000 {
                    y = y.add(1.0)?;
                }
                Ok(y)
            },
            &[x],
        )
        .unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), [1_000_001.0]);
        assert_eq!(slope[0].to_vec::<f32>().unwrap(), [1.0]);
    }
}
