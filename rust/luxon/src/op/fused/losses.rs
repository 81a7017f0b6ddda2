//! The losses that users call: checks, dtypes, reductions, and the operation behind each.
//!
//! Formulas, smoothing, weights and the weighted mean are PyTorch's. Shapes that differ are an error, never
//! a silent broadcast. Half types are computed in f32 and the result rounded once.

use smallvec::{SmallVec, smallvec};

use super::loss::{Loss, Smoothing, distributions};
use super::{compute_dtype, joined_float, taken_dtype};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{resolve_axis, show};
use crate::op::elementwise::{Kernel, map};
use crate::op::{apply, apply_all};
use crate::tensor::Tensor;

/// How the losses of rows or elements become the result.
///
/// ```
/// use luxon::{LossReduction, Tensor, mse};
/// let (x, y) = (Tensor::new(&[1.0, 2.0], &[2])?, Tensor::new(&[1.0, 4.0], &[2])?);
/// assert_eq!(mse(&x, &y, LossReduction::Mean)?.to_vec::<f64>()?, [2.0]);
/// assert_eq!(mse(&x, &y, LossReduction::Sum)?.to_vec::<f64>()?, [4.0]);
/// assert_eq!(mse(&x, &y, LossReduction::None)?.to_vec::<f64>()?, [0.0, 4.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LossReduction {
    /// Their mean; for classes as targets, weighted by the rows' weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// As they are.
    None,
}

impl LossReduction {
    pub(super) fn apply(self, losses: &Tensor) -> Result<Tensor> {
        match self {
            LossReduction::Mean => losses.mean(None, false),
            LossReduction::Sum => losses.sum(None, false),
            LossReduction::None => Ok(losses.clone()),
        }
    }
}

/// What a cross entropy takes besides predictions and targets.
///
/// ```
/// use luxon::{CrossEntropyOptions, DType, Tensor, cross_entropy};
/// let (logits, classes) = (Tensor::zeros(&[2, 4], DType::F64)?, Tensor::new(&[3i64, -1], &[2])?);
/// let options = CrossEntropyOptions { ignore_index: Some(-1), ..Default::default() };
/// let loss = cross_entropy(&logits, &classes, &options)?;
/// assert!((loss.to_vec::<f64>()?[0] - 4.0f64.ln()).abs() < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropyOptions<'a> {
    /// The axis of the classes.
    pub axis: isize,
    /// The share of the uniform distribution that is mixed into each target, in \[0, 1\].
    pub label_smoothing: f64,
    /// A factor per class (classes,).
    pub weight: Option<&'a Tensor>,
    /// The class that marks rows to leave out.
    pub ignore_index: Option<i64>,
    /// How rows are reduced.
    pub reduction: LossReduction,
}

impl Default for CrossEntropyOptions<'_> {
    fn default() -> Self {
        CrossEntropyOptions {
            axis: -1,
            label_smoothing: 0.0,
            weight: None,
            ignore_index: None,
            reduction: LossReduction::Mean,
        }
    }
}

fn check_share(op: &str, share: f64) -> Result<()> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::value(op, format_args!("label_smoothing must lie in [0, 1], got {share}")))
}

/// `-sum_c w_c t_c log softmax(logits)_c` over the class axis.
///
/// Integer targets are classes and have the logits' shape without the class axis; floating ones are
/// distributions of the logits' shape. The formula, smoothing, weights and the weighted mean are PyTorch's.
///
/// ```
/// use luxon::{CrossEntropyOptions, Tensor, cross_entropy};
/// let logits = Tensor::new(&[0.0f64, 0.0, 0.0, 0.0], &[2, 2])?;
/// let classes = Tensor::new(&[0i64, 1], &[2])?;
/// let loss = cross_entropy(&logits, &classes, &CrossEntropyOptions::default())?;
/// assert!((loss.to_vec::<f64>()?[0] - 2.0f64.ln()).abs() < 1e-15);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where targets or weight do not fit, [`Error::Index`] for a class that is not there,
/// [`Error::Type`] for logits that are not floating, [`Error::Value`] for smoothing outside \[0, 1\].
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, options: &CrossEntropyOptions<'_>) -> Result<Tensor> {
    const NAME: &str = "cross_entropy";
    let axis = resolve_axis(NAME, options.axis, logits.rank())?;
    check_share(NAME, options.label_smoothing)?;
    let by_class = !targets.dtype().is_float();
    if targets.dtype() == DType::Bool {
        return Err(Error::unsupported(NAME, DType::Bool, "integer classes or floating distributions as targets"));
    }
    let mut expected = *logits.shape();
    let classes = expected[axis];
    if by_class {
        expected.remove(axis);
    }
    if *targets.shape() != expected || options.weight.is_some_and(|weight| weight.shape()[..] != [classes]) {
        let weight = options
            .weight
            .map_or(String::new(), |weight| format!(", weight {} (expected ({classes},))", show(weight.shape())));
        return Err(Error::shape(
            NAME,
            format_args!(
                "logits {} with classes on axis {axis}, targets {} (expected {}){weight}",
                show(logits.shape()),
                show(targets.shape()),
                show(&expected)
            ),
        ));
    }
    let mut floats: SmallVec<[&Tensor; 3]> = smallvec![logits];
    floats.extend((!by_class).then_some(targets));
    floats.extend(options.weight);
    let dtype = joined_float(NAME, &floats)?;
    let compute = compute_dtype(dtype);
    let last = |tensor: &Tensor, compute: DType| {
        let tensor = tensor.cast(compute)?;
        if axis == tensor.rank() - 1 {
            return Ok(tensor);
        }
        let mut order: Vec<isize> = (0..tensor.rank() as isize).collect();
        order.remove(axis);
        order.push(axis as isize);
        tensor.permute(&order)
    };
    let logits = last(logits, taken_dtype(logits, dtype))?;
    let targets = if by_class { targets.cast(DType::I64)? } else { last(targets, compute)? };
    let weight = options.weight.map(|weight| weight.cast(compute)).transpose()?;
    let mut operands: SmallVec<[&Tensor; 3]> = smallvec![&logits, &targets];
    operands.extend(weight.as_ref());
    let weighted = by_class && (weight.is_some() || options.ignore_index.is_some());
    let factor = match options.reduction {
        LossReduction::Sum => Some(1.0),
        LossReduction::Mean if !weighted => {
            Some(1.0 / logits.shape()[..logits.rank() - 1].iter().product::<usize>() as f64)
        }
        _ => None,
    };
    let smoothing = Smoothing {
        label_smoothing: options.label_smoothing,
        ignore_index: options.ignore_index,
        factor: factor.filter(|_| logits.device().is_none()),
    };
    let outputs = apply_all(Loss::CrossEntropy(smoothing).into(), &operands)?;
    let result = match options.reduction {
        _ if smoothing.factor.is_some() => outputs[0].clone(),
        LossReduction::Mean if weighted => {
            // The rows' weights are untracked; those of differentiated class weights are defined again.
            let rows = match &weight {
                Some(weight) if weight.is_tracked() => {
                    let plain = Smoothing { label_smoothing: 0.0, ..smoothing };
                    distributions(&plain, &logits.detach(), &targets, Some(weight))?
                }
                _ => outputs[1].clone(),
            };
            outputs[0].sum(None, false)?.div(&rows.sum(None, false)?)?
        }
        reduction => reduction.apply(&outputs[0])?,
    };
    result.cast(dtype)
}

/// What a binary cross entropy takes besides predictions and targets.
///
/// ```
/// use luxon::{BinaryCrossEntropyOptions, DType, LossReduction, Tensor, binary_cross_entropy};
/// let (logits, targets) = (Tensor::zeros(&[3], DType::F64)?, Tensor::new(&[0.0, 1.0, 1.0], &[3])?);
/// let options = BinaryCrossEntropyOptions { reduction: LossReduction::Sum, ..Default::default() };
/// let loss = binary_cross_entropy(&logits, &targets, &options)?;
/// assert!((loss.to_vec::<f64>()?[0] - 3.0 * 2.0f64.ln()).abs() < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct BinaryCrossEntropyOptions<'a> {
    /// The share of 1/2 that is mixed into each target, in \[0, 1\].
    pub label_smoothing: f64,
    /// A factor of the losses, broadcast to them.
    pub weight: Option<&'a Tensor>,
    /// A factor of positive targets: one number, or one per column (the last axis).
    pub pos_weight: Option<&'a Tensor>,
    /// How elements are reduced.
    pub reduction: LossReduction,
}

/// `-(p t log sigmoid(x) + (1 - t) log(1 - sigmoid(x)))` of logits x and targets t of the same shape.
///
/// ```
/// use luxon::{BinaryCrossEntropyOptions, Tensor, binary_cross_entropy};
/// let (logits, targets) = (Tensor::new(&[30.0, -30.0], &[2])?, Tensor::new(&[1.0, 0.0], &[2])?);
/// let loss = binary_cross_entropy(&logits, &targets, &BinaryCrossEntropyOptions::default())?;
/// assert!(loss.to_vec::<f64>()?[0] < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where shapes do not fit, [`Error::Type`] for logits that are not floating,
/// [`Error::Value`] for smoothing outside \[0, 1\].
pub fn binary_cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    options: &BinaryCrossEntropyOptions<'_>,
) -> Result<Tensor> {
    const NAME: &str = "binary_cross_entropy";
    check_share(NAME, options.label_smoothing)?;
    let columns = &logits.shape()[logits.rank().saturating_sub(1)..];
    let fits = |positive: &Tensor| positive.count() == 1 || positive.shape()[..] == *columns;
    if logits.shape() != targets.shape() || !options.pos_weight.is_none_or(fits) {
        let positive =
            options.pos_weight.map_or(String::new(), |positive| format!(", pos_weight {}", show(positive.shape())));
        return Err(Error::shape(
            NAME,
            format_args!("logits {} and targets {}{positive} do not fit", show(logits.shape()), show(targets.shape())),
        ));
    }
    let dtype = joined_float(NAME, &[logits])?;
    let compute = compute_dtype(dtype);
    let (logits, mut targets) = (logits.cast(compute)?, targets.cast(compute)?);
    if options.label_smoothing != 0.0 {
        targets = targets.mul(1.0 - options.label_smoothing)?.add(options.label_smoothing / 2.0)?;
    }
    let spread = |positive: &Tensor| match positive.count() {
        1 => positive.cast(compute)?.reshape(&[])?.broadcast_to(columns),
        _ => positive.cast(compute),
    };
    let positive = options.pos_weight.map(spread).transpose()?;
    let mut operands = vec![&logits, &targets];
    operands.extend(positive.as_ref());
    let mut losses = apply(Loss::BinaryCrossEntropy, &operands)?;
    if let Some(weight) = options.weight {
        losses = losses.mul(&weight.cast(compute)?.broadcast_to(losses.shape())?)?;
    }
    options.reduction.apply(&losses)?.cast(dtype)
}

/// Prediction and target in the dtype that a loss is computed in, and the dtype of its result.
fn pair(op: &str, prediction: &Tensor, target: &Tensor) -> Result<(Tensor, Tensor, DType)> {
    if prediction.shape() != target.shape() {
        return Err(Error::shape(
            op,
            format_args!("prediction {} and target {} differ", show(prediction.shape()), show(target.shape())),
        ));
    }
    let dtype = joined_float(op, &[prediction])?.promote(target.dtype());
    let compute = compute_dtype(dtype);
    Ok((prediction.cast(compute)?, target.cast(compute)?, dtype))
}

/// The squared error `(prediction - target)^2`.
///
/// ```
/// use luxon::{LossReduction, Tensor, mse};
/// let (x, y) = (Tensor::new(&[1.0, 2.0], &[2])?, Tensor::new(&[0.0, 4.0], &[2])?);
/// assert_eq!(mse(&x, &y, LossReduction::Mean)?.to_vec::<f64>()?, [2.5]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where the shapes differ, [`Error::Type`] for predictions that are not floating.
pub fn mse(prediction: &Tensor, target: &Tensor, reduction: LossReduction) -> Result<Tensor> {
    let (a, b, dtype) = pair("mse", prediction, target)?;
    let loss = match reduction {
        LossReduction::Sum => apply(Loss::SquaredDistance(1.0), &[&a, &b])?,
        LossReduction::Mean => apply(Loss::SquaredDistance(1.0 / a.count() as f64), &[&a, &b])?,
        LossReduction::None => a.sub(&b)?.square()?,
    };
    loss.cast(dtype)
}

/// The absolute error `|prediction - target|`.
///
/// ```
/// use luxon::{LossReduction, Tensor, mae};
/// let (x, y) = (Tensor::new(&[1.0, 2.0], &[2])?, Tensor::new(&[0.0, 4.0], &[2])?);
/// assert_eq!(mae(&x, &y, LossReduction::Mean)?.to_vec::<f64>()?, [1.5]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`mse`].
pub fn mae(prediction: &Tensor, target: &Tensor, reduction: LossReduction) -> Result<Tensor> {
    let (a, b, dtype) = pair("mae", prediction, target)?;
    reduction.apply(&a.sub(&b)?.abs()?)?.cast(dtype)
}

/// Half the squared error up to `delta`, `delta (|error| - delta / 2)` beyond (Huber 1964).
///
/// ```
/// use luxon::{DType, LossReduction, Tensor, huber};
/// let (x, y) = (Tensor::new(&[0.5, 5.0], &[2])?, Tensor::zeros(&[2], DType::F64)?);
/// assert_eq!(huber(&x, &y, 1.0, LossReduction::None)?.to_vec::<f64>()?, [0.125, 4.5]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// As [`mse`]; [`Error::Value`] where delta is not positive.
pub fn huber(prediction: &Tensor, target: &Tensor, delta: f64, reduction: LossReduction) -> Result<Tensor> {
    if delta.is_nan() || delta <= 0.0 {
        return Err(Error::value("huber", format_args!("delta must be positive, got {delta}")));
    }
    let (a, b, dtype) = pair("huber", prediction, target)?;
    let error = a.sub(&b)?.abs()?;
    let inside = error.less_equal(delta)?;
    let square = error.square()?.mul(0.5)?;
    let line = error.sub(0.5 * delta)?.mul(delta)?;
    let losses = map(Kernel::Where, &[(&inside).into(), (&square).into(), (&line).into()])?;
    reduction.apply(&losses)?.cast(dtype)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};

    fn zeros(shape: &[usize]) -> Tensor {
        Tensor::zeros(shape, DType::F32).unwrap()
    }

    fn number(tensor: &Tensor) -> f64 {
        tensor.item().unwrap().as_f64()
    }

    #[test]
    fn the_class_axis_and_the_weighted_mean() {
        let logits = sample(&[2, 3, 4], -2.0, 2.0, 1);
        let classes = Tensor::new(&[0i64, 1, 2, -100, 2, 1, 0, 0], &[2, 4]).unwrap();
        let weight = Tensor::new(&[0.5f64, 1.0, 2.0], &[3]).unwrap();
        let options =
            CrossEntropyOptions { axis: 1, weight: Some(&weight), ignore_index: Some(-100), ..Default::default() };
        let rows = cross_entropy(&logits, &classes, &CrossEntropyOptions { reduction: LossReduction::None, ..options })
            .unwrap();
        assert_eq!(rows.shape()[..], [2, 4]);
        let logs = logits.log_softmax(1).unwrap().to_vec::<f64>().unwrap();
        let (mut total, mut weights) = (0.0, 0.0);
        for (row, (&class, &loss)) in
            classes.to_vec::<i64>().unwrap().iter().zip(&rows.to_vec::<f64>().unwrap()).enumerate()
        {
            let factor = if class < 0 { 0.0 } else { [0.5, 1.0, 2.0][class as usize] };
            let expected = if class < 0 { 0.0 } else { -factor * logs[row / 4 * 12 + class as usize * 4 + row % 4] };
            assert!((loss - expected).abs() < 1e-12);
            total += expected;
            weights += factor;
        }
        assert!((number(&cross_entropy(&logits, &classes, &options).unwrap()) - total / weights).abs() < 1e-12);
        check_gradients(|x| cross_entropy(&x[0], &classes, &options), &[logits.clone()]);
        let weighted = |x: &[Tensor]| {
            cross_entropy(
                &x[0],
                &classes,
                &CrossEntropyOptions { weight: Some(&x[1]), label_smoothing: 0.1, ..options },
            )
        };
        check_gradients(weighted, &[logits.clone(), weight.clone()]);
        let soft = sample(&[2, 3, 4], -1.0, 1.0, 3).softmax(1).unwrap();
        let plain = CrossEntropyOptions { axis: 1, ..Default::default() };
        let expected = soft.mul(&logits.log_softmax(1).unwrap()).unwrap().sum(None, false).unwrap();
        assert!((number(&cross_entropy(&logits, &soft, &plain).unwrap()) + number(&expected) / 8.0).abs() < 1e-12);
    }

    #[test]
    fn elementwise_losses() {
        let (a, b) = (sample(&[3, 2], -2.0, 2.0, 1), sample(&[3, 2], 0.0, 1.0, 2));
        for reduction in [LossReduction::Mean, LossReduction::Sum, LossReduction::None] {
            check_gradients(|x| mse(&x[0], &x[1], reduction), &[a.clone(), b.clone()]);
            check_gradients(|x| mae(&x[0], &b, reduction), &[a.clone()]);
            check_gradients(|x| huber(&x[0], &b, 1.0, reduction), &[a.clone()]);
            let positive = Tensor::new(&[0.5f64, 2.0], &[2]).unwrap();
            let options = BinaryCrossEntropyOptions {
                label_smoothing: 0.1,
                weight: Some(&b),
                pos_weight: Some(&positive),
                reduction,
            };
            check_gradients(|x| binary_cross_entropy(&x[0], &b, &options), &[a.clone()]);
        }
        let ones = Tensor::ones(&[4], DType::BF16).unwrap();
        let loss = mse(&ones, &ones.add(2.0).unwrap(), LossReduction::Mean).unwrap();
        assert_eq!((loss.dtype(), number(&loss)), (DType::BF16, 4.0));
        let far = huber(&zeros(&[1]), &zeros(&[1]).add(3.0).unwrap(), 1.0, LossReduction::Sum).unwrap();
        assert_eq!(number(&far), 2.5);
    }

    #[test]
    fn refusals_name_every_shape() {
        let options = CrossEntropyOptions::default();
        let classes = |numbers: &[i64]| Tensor::new(numbers, &[numbers.len()]).unwrap();
        let text = |result: Result<Tensor>| result.unwrap_err().to_string();
        assert_eq!(
            text(cross_entropy(&zeros(&[4, 5]), &classes(&[0, 1, 2]), &options)),
            "cross_entropy: logits (4, 5) with classes on axis 1, targets (3,) (expected (4,))"
        );
        assert_eq!(
            text(cross_entropy(&zeros(&[2, 5]), &classes(&[0, 7]), &options)),
            "cross_entropy: target 7 in row 1 is not one of 5 classes"
        );
        assert_eq!(
            text(cross_entropy(&zeros(&[2, 5]), &classes(&[0, -1]), &options)),
            "cross_entropy: target -1 in row 1 is not one of 5 classes"
        );
        assert_eq!(
            text(mse(&zeros(&[2]), &zeros(&[3]), LossReduction::Mean)),
            "mse: prediction (2,) and target (3,) differ"
        );
        assert!(matches!(
            cross_entropy(&zeros(&[1, 2]), &classes(&[0]), &CrossEntropyOptions { label_smoothing: 1.5, ..options }),
            Err(Error::Value(_))
        ));
        assert!(matches!(huber(&zeros(&[1]), &zeros(&[1]), 0.0, LossReduction::Mean), Err(Error::Value(_))));
    }
}
