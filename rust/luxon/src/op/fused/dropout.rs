//! Dropout: elements are zeroed by coins that belong to (key, index of the element).
//!
//! For a fixed key it is a linear map with a diagonal matrix, so it is its own derivative in both modes,
//! and nothing is saved: the backward pass tosses the same coins again.

use smallvec::smallvec;

use super::joined_float;
use crate::cpu::random::{Key, dropout as kernel};
use crate::cuda::source::{THREEFRY, c_type, c_working, kernel as text};
use crate::cuda::{Launch, Place, Plan};
use crate::dtype::{DType, Element};
use crate::error::{Error, Result};
use crate::layout::{Shape, resolve_axes};
use crate::op::{Family, Gradients, Outputs, Saved, Saves, Spec, Specs, apply};
use crate::tensor::{Tensor, Value};

/// Keeps each element with probability `keep`, divided by it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Whose coins are tossed.
    pub key: Key,
    /// The probability of 1.
    pub keep: f64,
}

impl Dropout {
    fn fill<T: crate::cpu::random::Sample + Element>(&self, x: &Value, y: &mut Value) {
        let count = x.count();
        let Some(x) = x.as_slice::<T>() else { return };
        // SAFETY: the output is fresh and contiguous and has the input's shape and dtype.
        let y = unsafe { std::slice::from_raw_parts_mut(y.pointer_mut().cast::<T>(), count) };
        kernel(self.key, self.keep, x, y);
    }
}

/// Threads of a block on a CUDA device, and blocks of its largest launch.
const THREADS: usize = 256;
const MOST_BLOCKS: usize = 1 << 14;

impl Dropout {
    /// The same coins on a CUDA device.
    fn plan(&self, inputs: &[&Value]) -> Result<Plan> {
        let mut plan = Plan::new();
        let (count, dtype) = (inputs[0].count(), inputs[0].dtype());
        if count == 0 {
            return Ok(plan);
        }
        let x = plan.contiguous(inputs, 0)?;
        if self.keep >= 1.0 {
            plan.steps.push(crate::cuda::Step::Copy { from: x, to: Place::output(0), bytes: count * dtype.size() });
            return Ok(plan);
        }
        let vector = if x.offset % 16 == 0 { 16 / dtype.size() } else { 1 };
        let (packs, rest) = (count / vector, count % vector);
        let macros = [("S", c_type(dtype)), ("T", c_working(dtype)), ("VECTOR", &vector.to_string())];
        let source = text("dropout", &[THREEFRY], &[include_str!("dropout/dropout.cu")], &macros);
        let blocks = packs.max(rest).div_ceil(THREADS).min(MOST_BLOCKS);
        let launch = Launch::new(source, "dropout", blocks, THREADS as u32)?.with(x).with(Place::output(0));
        let key = plan.write([self.key.0, self.key.1].iter().flat_map(|word| word.to_ne_bytes()).collect());
        let launch = launch.with(key).with(self.keep as f32).with(1.0 / self.keep);
        plan.launch(launch.with(packs).with(rest));
        Ok(plan)
    }
}

impl Family for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        Ok(smallvec![Spec { dtype: inputs[0].dtype(), shape: *inputs[0].shape() }])
    }

    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        if outputs[0].count() == 0 {
            return Ok(());
        }
        let x = inputs[0].to_contiguous()?;
        match x.dtype() {
            DType::BF16 => self.fill::<half::bf16>(&x, outputs[0]),
            DType::F16 => self.fill::<half::f16>(&x, outputs[0]),
            DType::F32 => self.fill::<f32>(&x, outputs[0]),
            DType::F64 => self.fill::<f64>(&x, outputs[0]),
            other => return Err(Error::unsupported("dropout", other, "floating types")),
        }
        Ok(())
    }

    fn cuda(&self, inputs: &[&Value], _outputs: &[Spec]) -> Option<Result<Plan>> {
        Some(self.plan(inputs))
    }

    fn saves(&self, _wanted: u32) -> Saves {
        Saves::NOTHING
    }

    fn vjp(&self, _saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        Ok(smallvec![Some(apply(*self, &[dy])?)])
    }

    fn jvp(&self, _inputs: &[Tensor], _outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        tangents[0].as_ref().map(|tangent| apply(*self, &[tangent])).transpose()
    }

    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        let define = || {
            // The coins are tossed on the host and moved to where the input is.
            let x = &inputs[0];
            let coins = apply(*self, &[&Tensor::ones(x.shape(), x.dtype())?])?;
            let coins = x.device().map_or(Ok(coins.clone()), |device| coins.to_device(device))?;
            let kept = coins.not_equal(0.0)?;
            let scaled = x.mul(&coins)?;
            let y = crate::op::elementwise::map(
                crate::op::elementwise::Kernel::Where,
                &[(&kept).into(), (&scaled).into(), 0.0.into()],
            )?;
            Ok(smallvec![y])
        };
        Some(define())
    }
}

/// Zeroes each element with probability `p` and divides the others by `1 - p`.
///
/// With `axes`, one coin is tossed for all elements that differ along the other axes only. The same key
/// gives the same coins; `p = 1` gives exact zeros.
///
/// ```
/// use luxon::{DType, Key, Tensor, dropout};
/// let x = Tensor::ones(&[1000], DType::F32)?;
/// let y = dropout(&x, Key::new(0), 0.25, None)?;
/// let kept = y.count_nonzero(None, false)?.to_vec::<i64>()?[0];
/// assert!((700..800).contains(&kept) && y.max(None, false)?.to_vec::<f32>()? == [4.0 / 3.0]);
/// // The same key gives the same coins; the next step takes another one.
/// assert!(dropout(&x, Key::new(0), 0.25, None)?.allclose(&y, 0.0, 0.0, false)?);
/// assert!(!dropout(&x, Key::new(0).fold_in(1), 0.25, None)?.allclose(&y, 0.0, 0.0, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for p outside \[0, 1\], [`Error::Type`] for dtypes that are not floating,
/// [`Error::Index`] for an axis that is not there.
pub fn dropout(x: &Tensor, key: Key, p: f64, axes: Option<&[isize]>) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&p) {
        return Err(Error::value("dropout", format_args!("p must lie in [0, 1], got {p}")));
    }
    let dtype = joined_float("dropout", &[x])?;
    let op = Dropout { key, keep: 1.0 - p };
    let Some(axes) = axes else {
        return if p == 0.0 { Ok(x.clone()) } else { apply(op, &[x]) };
    };
    let axes = resolve_axes("dropout", axes, x.rank())?;
    let shape =
        Shape::collect(x.shape().iter().enumerate().map(|(axis, &size)| if axes.contains(&axis) { size } else { 1 }))?;
    let ones = match x.device() {
        Some(device) => Value::filled_on(device, dtype, &shape, 1.0.into())?.into(),
        None => Tensor::ones(&shape, dtype)?,
    };
    let coins = apply(op, &[&ones])?;
    let kept = coins.not_equal(0.0)?;
    crate::op::elementwise::map(
        crate::op::elementwise::Kernel::Where,
        &[(&kept).into(), (&x.mul(&coins)?).into(), 0.0.into()],
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};

    #[test]
    fn it_keeps_scales_and_differentiates() {
        let x = sample(&[40, 50], 0.5, 1.5, 1);
        let op = Dropout { key: Key::new(3), keep: 0.75 };
        let y = apply(op, &[&x]).unwrap();
        let defined = op.expand(std::slice::from_ref(&x)).unwrap().unwrap();
        let (got, expected) = (y.to_vec::<f64>().unwrap(), defined[0].to_vec::<f64>().unwrap());
        assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-15));
        let kept = got.iter().filter(|&&value| value != 0.0).count();
        assert!((1350..1650).contains(&kept), "{kept}");
        check_gradients(|x| dropout(&x[0], Key::new(5), 0.4, None), &[sample(&[4, 3], -1.0, 1.0, 2)]);
        check_gradients(|x| dropout(&x[0], Key::new(5), 0.4, Some(&[0])), &[sample(&[4, 3], -1.0, 1.0, 2)]);
    }

    #[test]
    fn the_ends_of_the_range() {
        let x = Tensor::new(&[1.0f32, f32::NAN, f32::INFINITY], &[3]).unwrap();
        assert_eq!(dropout(&x, Key::new(1), 1.0, None).unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
        assert_eq!(dropout(&x, Key::new(1), 0.0, None).unwrap().to_vec::<f32>().unwrap()[0], 1.0);
        assert!(matches!(dropout(&x, Key::new(1), 1.5, None), Err(Error::Value(_))));
        assert!(matches!(dropout(&x, Key::new(1), f64::NAN, None), Err(Error::Value(_))));
        let rows = dropout(&Tensor::ones(&[64, 8], DType::F32).unwrap(), Key::new(9), 0.5, Some(&[0])).unwrap();
        for row in rows.to_vec::<f32>().unwrap().chunks(8) {
            assert!(row.iter().all(|&value| value == row[0]));
        }
        assert_eq!(
            dropout(&Tensor::ones(&[0, 3], DType::F16).unwrap(), Key::new(9), 0.5, None).unwrap().shape()[..],
            [0, 3]
        );
    }
}
