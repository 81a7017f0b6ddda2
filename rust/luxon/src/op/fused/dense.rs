//! The dense layer as one operation: `activation(x W^T + b)`.
//!
//! The bias is added in the product's epilogue, and the activation runs on every finished block of the
//! result while it is in cache. Backward reads the activation's slope off the output where the table's
//! rule allows it (identity, relu, tanh, sigmoid, ...). Where the rule reads the activation's argument,
//! [`linear`] records product and activation apart, which keeps that argument anyway. The gradients are
//! three: `dz W`, `dz^T x` directly in the weight's layout, and the column sums of `dz`; a plain backward pass
//! gets them from the kernels at once (`by_kernels`).

use std::ops::Range;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::activation::{Activation, Epilogue};
use super::dense_gradient::{Matrix, as_rows, by_kernels};
use super::{compute_dtype, joined_float, with_real};
use crate::cpu::gemm::{Finish, Gemm, gemm};
use crate::cuda::copy::{Elements, place};
use crate::cuda::{self, Place, Plan};
use crate::error::{Error, Result};
use crate::layout::{Axes, Shape, show};
use crate::op::elementwise::{Map, accumulate};
use crate::op::matmul::{Matmul, converted, filled_in, laid_out, matmul};
use crate::op::reduce::sum_axes;
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply, apply_computed};
use crate::runtime::interrupt;
use crate::tensor::{Tensor, Value};
use crate::transform::jet::{Series, differentiate};

/// `activation(x W^T + b)` of x (..., in), W (out, in) and, as an optional third input, b (out,).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dense {
    /// A function of one tensor, its first argument; none for the identity.
    pub activation: Option<Map>,
}

impl Dense {
    fn activation(&self) -> Activation {
        Activation(self.activation)
    }

    /// The shape of the result; refuses operands that do not fit.
    fn shape(&self, x: &Value, weight: &Value, bias: Option<&Value>) -> Result<Shape> {
        let refuse = |what: String| {
            let bias = bias.map_or(String::new(), |bias| format!(", bias {}", show(bias.shape())));
            let (x, weight) = (show(x.shape()), show(weight.shape()));
            Err(Error::shape("linear", format_args!("x {x}, weight {weight}{bias} do not fit: {what}")))
        };
        let (Some(&features), &[out, columns]) = (x.shape().last(), &weight.shape()[..]) else {
            return refuse("expected x (..., in) and weight (out, in)".into());
        };
        if features != columns {
            return refuse(format!("{features} against {columns}"));
        }
        if bias.is_some_and(|bias| bias.shape()[..] != [out]) {
            return refuse(format!("expected bias ({out},)"));
        }
        self.activation().check("linear")?;
        let mut shape = *x.shape();
        shape[x.shape().len() - 1] = out;
        Ok(shape)
    }

    /// What the CPU does with host tensors of one type, in one step: the path of small programs in tight loops.
    fn compute(&self, inputs: &[&Tensor]) -> Result<Tensor> {
        let (x, weight) = (inputs[0].value(), inputs[1].value());
        let bias = inputs.get(2).map(|bias| &**bias.value());
        let mut y = Tensor::empty(x.dtype(), &self.shape(x, weight, bias)?)?;
        if let Some(y) = Arc::get_mut(&mut y.value) {
            self.fill(x, weight, bias, y)?;
        }
        if interrupt::take() { Err(Error::Interrupted) } else { Ok(y) }
    }

    /// Computes the result in the type that kernels compute in.
    fn fill(&self, x: &Value, weight: &Value, bias: Option<&Value>, y: &mut Value) -> Result<()> {
        let compute = compute_dtype(y.dtype());
        if y.dtype() == compute && bias.is_none_or(Value::is_contiguous) {
            return self.multiply(x, weight, bias, y);
        }
        let (x, weight) = (converted(x, compute)?, converted(weight, compute)?);
        let bias = bias.map(|bias| laid_out(bias, compute)).transpose()?;
        filled_in(y, compute, |y| self.multiply(&x, &weight, bias.as_deref(), y))
    }

    /// The product and its epilogue, for operands of one type that the kernels take and a contiguous bias.
    fn multiply(&self, x: &Value, weight: &Value, bias: Option<&Value>, y: &mut Value) -> Result<()> {
        if y.count() == 0 {
            return Ok(());
        }
        let (n, k) = (weight.shape()[0], weight.shape()[1]);
        let m = y.count() / n;
        let copy;
        let x = match as_rows(x, m, k) {
            Some(matrix) => matrix,
            None => {
                copy = x.to_contiguous()?;
                Matrix { start: copy.pointer(), row: k as isize, column: 1 }
            }
        };
        let (dtype, c) = (y.dtype(), y.pointer_mut());
        let epilogue = Epilogue::new(self.activation(), dtype, c)?;
        let run = epilogue.as_ref().map(|epilogue| {
            move |rows: Range<usize>, columns: Range<usize>| {
                if columns.len() == n {
                    return epilogue.run(rows.start * n, rows.len() * n);
                }
                for row in rows {
                    epilogue.run(row * n + columns.start, columns.len());
                }
            }
        });
        let finish: Finish<'_> = run.as_ref().map(|run| run as &(dyn Fn(Range<usize>, Range<usize>) + Sync));
        with_real!(dtype, T => {
            let problem = Gemm::<T> {
                m,
                n,
                k,
                a: x.start.cast(),
                a_row: x.row,
                a_column: x.column,
                b: weight.pointer().cast(),
                b_row: weight.layout().strides[1],
                b_column: weight.layout().strides[0],
                c: c.cast(),
                c_row: n as isize,
                accumulate: false,
                bias: bias.map_or(std::ptr::null(), |bias| bias.pointer().cast()),
            };
            // SAFETY: layouts lie within their storages; C is fresh, contiguous and m x n; the bias has n elements.
            unsafe { gemm(&problem, finish) };
        });
        Ok(())
    }
}

/// A vector as a matrix of one row; others as they are.
fn rows(tensor: &Tensor) -> Result<Tensor> {
    if tensor.rank() == 1 { tensor.expand_dims(0) } else { Ok(tensor.clone()) }
}

impl Family for Dense {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        let shape = self.shape(inputs[0], inputs[1], inputs.get(2).copied())?;
        Ok(smallvec![Spec { dtype: inputs[0].dtype(), shape }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        self.fill(inputs[0], inputs[1], inputs.get(2).copied(), outputs[0])
    }

    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        // The activation is an operation of its own there.
        self.activation.is_none().then(|| plan(inputs, &outputs[0]))
    }

    fn saves(&self, wanted: u32) -> Saves {
        let all = if self.activation().reads_argument() { u32::MAX } else { 0 };
        Saves { inputs: all | (wanted & 1) << 1 | (wanted >> 1 & 1), output: self.activation().reads_output() }
    }

    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        if let Some(gradients) = by_kernels(self.activation(), saved, dy)? {
            return Ok(gradients);
        }
        let mut gradients: Gradients = (0..saved.arity()).map(|_| None).collect();
        let z = match self.activation().reads_argument() {
            false => None,
            true => {
                let inputs =
                    (0..saved.arity()).map(|index| saved.input(index)).collect::<Result<SmallVec<[&Tensor; 3]>>>()?;
                Some(apply(Dense { activation: None }, &inputs)?)
            }
        };
        // Rules that do not read the output are given the cotangent in its place.
        let Some(dz) = self.activation().slope(z.as_ref(), saved.output().unwrap_or(dy), dy)? else {
            return Ok(gradients);
        };
        if saved.wants(0) || saved.wants(1) {
            let matrix = rows(&dz)?;
            if saved.wants(0) {
                let dx = apply(Matmul::default(), &[&matrix, saved.input(1)?])?;
                gradients[0] = Some(dx.reshape_to(saved.shape(0))?);
            }
            if saved.wants(1) {
                let product = Matmul { transpose_a: true, transpose_b: false, sum_batch: matrix.rank() > 2 };
                gradients[1] = Some(apply(product, &[&matrix, &rows(saved.input(0)?)?])?);
            }
        }
        if saved.arity() > 2 && saved.wants(2) {
            gradients[2] = Some(sum_axes(&dz, &Axes::collect(0..dz.rank() - 1)?)?);
        }
        Ok(gradients)
    }

    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        let plain = Dense { activation: None };
        let dbias = tangents.get(2).and_then(Option::as_ref);
        let by_x = match (&tangents[0], dbias) {
            (Some(dx), Some(dbias)) => Some(apply(plain, &[dx, &inputs[1], dbias])?),
            (Some(dx), None) => Some(apply(plain, &[dx, &inputs[1]])?),
            (None, Some(dbias)) => Some(dbias.broadcast_to(outputs[0].shape())?),
            (None, None) => None,
        };
        let by_weight = tangents[1].as_ref().map(|dweight| apply(plain, &[&inputs[0], dweight])).transpose()?;
        let dz = match (by_x, by_weight) {
            (Some(x), Some(weight)) => accumulate(weight, &x)?,
            (Some(dz), None) | (None, Some(dz)) => dz,
            (None, None) => return Ok(None),
        };
        let z = match self.activation().reads_argument() {
            false => None,
            true => Some(apply(plain, &inputs.iter().collect::<SmallVec<[&Tensor; 3]>>())?),
        };
        self.activation().slope(z.as_ref(), &outputs[0], &dz)
    }

    fn series(&self, inputs: &[Tensor], outputs: &[Tensor], series: &[Series], order: usize) -> Result<Series> {
        let plain = |inputs: &[Tensor], tangents: &[Option<Tensor>]| {
            Ok(vec![Dense { activation: None }.jvp(inputs, outputs, tangents)?])
        };
        let z = differentiate(order, inputs, series, &plain)?.swap_remove(0);
        let Some(map) = &self.activation else { return Ok(z) };
        let argument = match self.activation().reads_argument() {
            // Nobody reads it: the result stands for it.
            false => outputs[0].clone(),
            true => apply(Dense { activation: None }, &inputs.iter().collect::<SmallVec<[&Tensor; 3]>>())?,
        };
        map.series(&[argument], outputs, &[z], order)
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        let define = || {
            if self.activation.is_some() {
                let y = apply(Dense { activation: None }, &inputs.iter().collect::<SmallVec<[&Tensor; 3]>>())?;
                return Ok(smallvec![self.activation().apply(y)?]);
            }
            let mut y = matmul(&inputs[0], &inputs[1].matrix_transpose()?)?;
            if let Some(bias) = inputs.get(2) {
                y = y.add(bias)?;
            }
            Ok(smallvec![y])
        };
        Some(define())
    }
}

/// The bias in every row, and one product onto it.
fn plan(inputs: &[&Value], output: &Spec) -> Result<Plan> {
    let mut plan = Plan::new();
    let (n, k) = (inputs[1].shape()[0], inputs[1].shape()[1]);
    let (dtype, count) = (output.dtype, output.shape.iter().product::<usize>());
    if count == 0 {
        return Ok(plan);
    }
    let (to, rows) = (Place::output(0), count / n);
    if inputs.len() > 2 {
        let shape = Shape::from_slice(&[rows, n])?;
        let bias =
            Elements { strides: inputs[2].layout().broadcast("linear", &shape)?.strides, ..Elements::input(inputs, 2) };
        plan.copy(&shape, &bias, &Elements::dense(to, dtype, &shape))?;
    } else if k == 0 {
        plan.zero(to, count * dtype.size());
    }
    if k > 0 {
        let x = plan.contiguous(inputs, 0)?;
        // A weight that lies transposed is read as it lies.
        let layout = inputs[1].layout();
        let lies_transposed = layout.strides[..] == [1, n as isize] && n > 1;
        let weight = if lies_transposed { place(inputs[1], 1) } else { plan.contiguous(inputs, 1)? };
        let matrix = |place, stride, transposed| cuda::Matrix { place, stride, batch_stride: 0, transposed };
        let weight = if lies_transposed { matrix(weight, n, false) } else { matrix(weight, k, true) };
        let beta = if inputs.len() > 2 { 1.0 } else { 0.0 };
        let (a, c) = (matrix(x, k, false), matrix(to, n, false));
        plan.gemm(cuda::Gemm { dtype, rows, columns: n, inner: k, batch: 1, a, b: weight, c, alpha: 1.0, beta });
    }
    Ok(plan)
}

/// `activation(x W^T + b)` with x (..., in), weight (out, in) and bias (out,).
///
/// ```
/// use luxon::{Kernel, Tensor, activation, linear};
/// let x = Tensor::new(&[1.0f32, 2.0], &[1, 2])?;
/// let weight = Tensor::new(&[1.0f32, 0.0, 0.0, -1.0, 1.0, 1.0], &[3, 2])?;
/// let y = linear(&x, &weight, None, Some(activation(Kernel::Relu, &[])?))?;
/// assert_eq!(y.to_vec::<f32>()?, [1.0, 0.0, 3.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Type`] for operands that are not floating.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, activation: Option<Map>) -> Result<Tensor> {
    let all = [x, weight, bias.unwrap_or(x)];
    let mut operands = &all[..2 + usize::from(bias.is_some())];
    let dtype = joined_float("linear", operands)?;
    let (cast, borrowed): (SmallVec<[Tensor; 3]>, SmallVec<[&Tensor; 3]>);
    if operands.iter().any(|operand| operand.dtype() != dtype) {
        cast = operands.iter().map(|operand| operand.cast(dtype)).collect::<Result<_>>()?;
        borrowed = cast.iter().collect();
        operands = &borrowed;
    }
    let function = Activation(activation);
    if function.reads_argument() && operands.iter().any(|operand| operand.is_tracked()) {
        function.check("linear")?;
        return function.apply(apply(Dense { activation: None }, operands)?);
    }
    let dense = Dense { activation };
    apply_computed(dense, operands, || dense.compute(operands))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::dtype::{DType, Scalar};
    use crate::op::elementwise::Kernel;
    use crate::op::fused::activation::activation;
    use crate::op::testing::{assert_threads_change_no_bit, check_gradients, sample};

    fn activations() -> Vec<Option<Map>> {
        let plain = [Kernel::Relu, Kernel::Tanh, Kernel::Sigmoid, Kernel::Gelu, Kernel::Silu, Kernel::Exp];
        let mut all: Vec<Option<Map>> =
            plain.into_iter().map(|kernel| Some(activation(kernel, &[]).unwrap())).collect();
        all.push(Some(activation(Kernel::LeakyRelu, &[Scalar::Float(0.1)]).unwrap()));
        all.push(Some(activation(Kernel::Softplus, &[Scalar::Float(2.0), Scalar::Float(20.0)]).unwrap()));
        all.push(None);
        all
    }

    fn operands(x: &[usize], out: usize) -> Vec<Tensor> {
        let features = x[x.len() - 1];
        vec![sample(x, -1.0, 1.0, 1), sample(&[out, features], -1.0, 1.0, 2), sample(&[out], -1.0, 1.0, 3)]
    }

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        let (a, b) = (a.cast(DType::F64).unwrap(), b.cast(DType::F64).unwrap());
        assert_eq!(a.shape(), b.shape());
        a.to_vec::<f64>()
            .unwrap()
            .iter()
            .zip(b.to_vec::<f64>().unwrap())
            .map(|(a, b)| (a - b).abs() / (1.0 + b.abs()))
            .fold(0.0, f64::max)
    }

    #[test]
    fn the_kernel_equals_the_definition() {
        let shapes: [(&[usize], usize); 8] = [
            (&[3], 4),
            (&[5, 7], 1),
            (&[1, 3], 2),
            (&[2, 3, 5], 17),
            (&[64, 33], 50),
            (&[0, 3], 2),
            (&[4, 0], 3),
            (&[130, 40], 1100),
        ];
        for (x, out) in shapes {
            for map in activations() {
                let inputs = operands(x, out);
                for dtype in [DType::F64, DType::F32, DType::BF16] {
                    let cast: Vec<Tensor> = inputs.iter().map(|input| input.cast(dtype).unwrap()).collect();
                    let wide: Vec<Tensor> = cast.iter().map(|input| input.cast(DType::F64).unwrap()).collect();
                    let op = Dense { activation: map };
                    for count in [2, 3] {
                        let y = apply(op, &cast[..count].iter().collect::<Vec<_>>()).unwrap();
                        assert_eq!(y.dtype(), dtype);
                        let expected = op.expand(&wide[..count]).unwrap().unwrap().swap_remove(0);
                        let bound = match dtype {
                            DType::F64 => 1e-13,
                            DType::F32 => 2e-5,
                            _ => 1e-2,
                        };
                        assert!(difference(&y, &expected) < bound, "{map:?} {x:?} {dtype}");
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_are_right_to_second_order() {
        for map in activations() {
            check_gradients(|x| linear(&x[0], &x[1], Some(&x[2]), map), &operands(&[3, 2], 2));
        }
        let tanh = Some(activation(Kernel::Tanh, &[]).unwrap());
        check_gradients(|x| linear(&x[0], &x[1], None, tanh), &operands(&[2, 2, 3], 2)[..2]);
        check_gradients(|x| linear(&x[0], &x[1], Some(&x[2]), tanh), &operands(&[3], 2));
        check_gradients(|x| linear(&x[0], &x[1], Some(&x[2]), tanh), &operands(&[0, 3], 2));
        // The fused rule of an activation that reads its argument works too, should anybody record it.
        let gelu = Dense { activation: Some(activation(Kernel::Gelu, &[]).unwrap()) };
        check_gradients(|x| apply(gelu, &[&x[0], &x[1], &x[2]]), &operands(&[3, 2], 2));
    }

    #[test]
    fn the_kernels_give_the_bits_of_the_rule() {
        use crate::transform::vjp;
        for (x, out) in [(&[5, 7][..], 3), (&[1, 300], 200), (&[40, 33], 50), (&[6], 4), (&[2, 3, 5], 17), (&[0, 3], 2)]
        {
            for map in activations() {
                for dtype in [DType::F64, DType::F32] {
                    let inputs: Vec<Tensor> = operands(x, out).iter().map(|input| input.cast(dtype).unwrap()).collect();
                    let y = linear(&inputs[0], &inputs[1], Some(&inputs[2]), map).unwrap();
                    let dy = sample(y.shape(), -1.0, 1.0, 4).cast(dtype).unwrap();
                    let pull = |dy: &Tensor| {
                        let layer = |x: &[Tensor]| Ok(vec![linear(&x[0], &x[1], Some(&x[2]), map)?]);
                        let (_, pullback) = vjp(layer, &inputs).unwrap();
                        pullback.pull(&[Some(dy.clone())]).unwrap()
                    };
                    let plain = pull(&dy);
                    // A cotangent that is differentiated itself goes by the rule.
                    let (by_rule, _) = vjp(|dy| Ok(pull(&dy[0]).into_iter().flatten().collect()), &[dy]).unwrap();
                    for (a, b) in plain.iter().flatten().zip(&by_rule) {
                        assert_eq!(a.shape(), b.shape());
                        let bits = |x: &Tensor| x.cast(DType::F64).unwrap().to_vec::<f64>().unwrap();
                        assert_eq!(bits(a), bits(b), "{map:?} {x:?} {dtype}");
                    }
                }
            }
        }
    }

    #[test]
    fn gradients_that_were_put_aside_are_complete() {
        let of = |shape: &[usize], seed| sample(shape, -0.3, 0.3, seed).cast(DType::F32).unwrap();
        let inputs =
            [of(&[32, 64], 1), of(&[64, 64], 2), of(&[64], 3), of(&[64, 64], 4), of(&[64], 5), of(&[50, 64], 6)];
        let tanh = Some(activation(Kernel::Tanh, &[]).unwrap());
        // The first layer comes twice, so that a gradient that was put aside is added to.
        let network = |x: &[Tensor]| {
            let y = [1, 3, 1, 3].iter().try_fold(x[0].clone(), |y, &at| linear(&y, &x[at], Some(&x[at + 1]), tanh))?;
            linear(&y, &x[5], None, tanh)
        };
        for _ in 0..40 {
            // Workers are awake after it.
            crate::runtime::threads::parallel(8, 1e6, &|_| {});
            assert_threads_change_no_bit(network, &inputs, "dense");
        }
    }

    #[test]
    fn views_are_read_in_place() {
        let inputs = operands(&[4, 3, 5], 6);
        let x = inputs[0].swap_axes(0, 1).unwrap();
        let weight = inputs[1].matrix_transpose().unwrap().contiguous().unwrap().matrix_transpose().unwrap();
        let y = linear(&x, &weight, Some(&inputs[2]), None).unwrap();
        let expected = linear(&x.contiguous().unwrap(), &inputs[1], Some(&inputs[2]), None).unwrap();
        assert!(difference(&y, &expected) < 1e-14);
    }

    #[test]
    fn refusals_name_every_shape() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32).unwrap();
        let text = linear(&zeros(&[32, 8]), &zeros(&[4, 16]), Some(&zeros(&[4])), None).unwrap_err().to_string();
        assert_eq!(text, "linear: x (32, 8), weight (4, 16), bias (4,) do not fit: 8 against 16");
        let text = linear(&zeros(&[32, 8]), &zeros(&[4, 8]), Some(&zeros(&[1])), None).unwrap_err().to_string();
        assert_eq!(text, "linear: x (32, 8), weight (4, 8), bias (1,) do not fit: expected bias (4,)");
        let text = linear(&zeros(&[2]).cast(DType::I64).unwrap(), &zeros(&[4, 2]), None, None).unwrap_err().to_string();
        assert_eq!(text, "linear: dtype int64 is not supported (takes floating types; cast with astype)");
        assert!(activation(Kernel::IsNan, &[]).is_err());
        assert!(activation(Kernel::LeakyRelu, &[]).is_err());
    }
}
