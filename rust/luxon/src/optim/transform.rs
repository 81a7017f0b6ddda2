//! Transforms: what happens to a gradient (or to the step of a rule before them) on its way.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::optim::leaf::{First, Form, Kept, Leaf, Slot, Slots, Spec};
use crate::optim::pass::{blend, norm_of_order, working};
use crate::tensor::Tensor;
use crate::tree::Pattern;

/// The leaves that a transform concerns: those that a pattern covers, or all.
///
/// ```
/// use luxon::optim::{Mask, Transform};
/// let weights = Mask::new(&["**.weight".to_string()])?; // Biases do not decay.
/// let decay = Transform::WeightDecay { d: 1e-4, mask: weights };
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mask(Option<Vec<Pattern>>);

impl Mask {
    /// The leaves that any of these patterns covers.
    ///
    /// ```
    /// use luxon::optim::Mask;
    /// assert!(Mask::new(&["encoder.**".to_string()]).is_ok() && Mask::new(&["a..b".to_string()]).is_err());
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`] for a malformed pattern.
    pub fn new(patterns: &[String]) -> Result<Mask> {
        Ok(Mask(Some(patterns.iter().map(|text| Pattern::new(text)).collect::<Result<_>>()?)))
    }

    fn covers(&self, path: &str) -> bool {
        self.0.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.covers(path)))
    }

    /// The patterns.
    #[doc(hidden)]
    pub fn patterns(&self) -> &[Pattern] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// A transform of gradients.
///
/// ```
/// use luxon::Tensor;
/// use luxon::optim::{Optimizer, Stepper, Transform, rules::Sgd};
/// use luxon::tree::Tree;
/// let clip = Transform::ClipGlobalNorm { c: 1.0, p: 2.0 };
/// let optimizer = Optimizer::chain(vec![clip.into(), Sgd { lr: 1.0.into(), ..Sgd::default() }.into()])?;
/// let mut ps = Tree::leaf(Tensor::new(&[30.0, 40.0], &[2])?);
/// let (slope, mut stepper) = (ps.clone(), Stepper::new(optimizer, &ps)?);
/// stepper.step(&mut ps, slope)?; // A step of length 1.
/// assert!(ps.tensor()?.allclose(&Tensor::new(&[29.4, 39.2], &[2])?, 1e-6, 0.0, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub enum Transform {
    /// Cuts every element to `[-c, c]`.
    ClipValue {
        /// The largest magnitude.
        c: f64,
    },
    /// Shortens each leaf's gradient to the length `c`.
    ClipNorm {
        /// The largest norm.
        c: f64,
    },
    /// Shortens all gradients together, as one vector, to the length `c` (PyTorch's formula).
    ClipGlobalNorm {
        /// The largest norm.
        c: f64,
        /// The order of the norm.
        p: f64,
    },
    /// Adds `d` times the parameter.
    WeightDecay {
        /// The factor.
        d: f64,
        /// The leaves that decay.
        mask: Mask,
    },
    /// Adds `d` times the parameter's sign.
    SignDecay {
        /// The factor.
        d: f64,
        /// The leaves that decay.
        mask: Mask,
    },
    /// Holds back until a leaf has seen `n` gradients, then passes their mean on.
    Accumulate {
        /// How many.
        n: u64,
    },
    /// The exponential moving average of gradients.
    Ema {
        /// What is kept of the average.
        decay: f64,
        /// Whether it is corrected for its start at 0.
        debias: bool,
    },
}

/// Added to a norm before the division, as PyTorch does.
const CLIP_EPS: f64 = 1e-6;

/// The factor that shortens a gradient of this norm to `c`.
///
/// # Errors
/// [`Error::Value`] for a norm that is no number, or infinite.
fn shorten(name: &str, total: f64, c: f64, path: Option<&str>) -> Result<f64> {
    if !total.is_finite() {
        let whose = path.map_or("the gradients".to_string(), |path| format!("the gradient of {path}"));
        return Err(Error::value(
            name,
            format_args!(
                "the norm of {whose} is {total}; nothing was updated (training.locate_nonfinite finds the layer)"
            ),
        ));
    }
    Ok((c / (total + CLIP_EPS)).min(1.0))
}

fn scaled(gradient: Tensor, factor: f64) -> Result<Tensor> {
    if factor == 1.0 { Ok(gradient) } else { gradient.mul(factor) }
}

impl Transform {
    /// What is kept of a leaf.
    #[doc(hidden)]
    pub fn slots(&self, spec: &Spec) -> Slots {
        let names = match self {
            Transform::Accumulate { .. } => ["accumulated", "accumulate_count"],
            Transform::Ema { .. } => ["ema", "ema_count"],
            _ => return Slots::new(),
        };
        let form = Form::Tensor { shape: spec.shape, dtype: working(spec.dtype), first: First::Filled(0.0) };
        [Slot { name: names[0], form }, Slot { name: names[1], form: Form::Number(0.0) }].into_iter().collect()
    }

    /// Refuses settings out of their bounds.
    ///
    /// # Errors
    /// [`Error::Value`] naming the setting.
    #[doc(hidden)]
    pub fn check(&self) -> Result<()> {
        let (name, holds, need) = match self {
            Transform::ClipValue { c } => ("clip_value", *c > 0.0, "c must be positive"),
            Transform::ClipNorm { c } => ("clip_norm", *c > 0.0, "c must be positive"),
            Transform::ClipGlobalNorm { c, p } => {
                ("clip_global_norm", *c > 0.0 && *p > 0.0, "c and p must be positive")
            }
            Transform::WeightDecay { d, .. } => ("weight_decay", d.is_finite(), "d must be finite"),
            Transform::SignDecay { d, .. } => ("sign_decay", d.is_finite(), "d must be finite"),
            Transform::Accumulate { n } => ("accumulate", *n > 0, "n must be positive"),
            Transform::Ema { decay, .. } => ("ema", (0.0..1.0).contains(decay), "decay must be in [0, 1)"),
        };
        if holds { Ok(()) } else { Err(Error::value(name, need)) }
    }

    /// Whether a gradient may be refused.
    #[doc(hidden)]
    pub fn can_fail(&self) -> bool {
        matches!(self, Transform::ClipNorm { .. } | Transform::ClipGlobalNorm { .. })
    }

    /// The patterns that must cover something.
    #[doc(hidden)]
    pub fn mask(&self) -> Option<(&'static str, &Mask)> {
        match self {
            Transform::WeightDecay { mask, .. } => Some(("weight_decay", mask)),
            Transform::SignDecay { mask, .. } => Some(("sign_decay", mask)),
            _ => None,
        }
    }

    /// Changes the gradients of the leaves that have one.
    ///
    /// # Errors
    /// [`Error::Value`] for a norm that is not finite, [`Error::Memory`].
    #[doc(hidden)]
    pub fn run(&self, leaves: &mut [Leaf]) -> Result<()> {
        if let Transform::ClipGlobalNorm { c, p } = self {
            let norms = leaves.iter().filter_map(|leaf| leaf.gradient.as_ref());
            let norms = norms.map(|gradient| norm_of_order(gradient, *p)).collect::<Result<Vec<f64>>>()?;
            let factor = shorten("clip_global_norm", together(&norms, *p), *c, None)?;
            for leaf in leaves {
                leaf.gradient = leaf.gradient.take().map(|gradient| scaled(gradient, factor)).transpose()?;
            }
            return Ok(());
        }
        for leaf in leaves {
            let count = self.slots(&leaf.spec()).len();
            let Some(gradient) = leaf.gradient.take() else {
                leaf.pass(count);
                continue;
            };
            let kept = leaf.take(count);
            leaf.gradient = self.one(leaf, gradient, kept)?;
        }
        Ok(())
    }

    fn one(&self, leaf: &mut Leaf, gradient: Tensor, kept: Vec<Kept>) -> Result<Option<Tensor>> {
        let dtype = gradient.dtype();
        let mut kept = kept.into_iter();
        let mut memory = || -> Result<(Tensor, f64)> {
            let tensor = kept.next().unwrap_or(Kept::Nothing).tensor()?;
            Ok((tensor, kept.next().unwrap_or(Kept::Nothing).number() + 1.0))
        };
        let parameter = leaf.parameter.as_ref();
        Ok(Some(match self {
            Transform::ClipValue { c } => gradient.clip(Some((-c).into()), Some((*c).into()))?,
            Transform::ClipNorm { c } => {
                let factor = shorten("clip_norm", norm_of_order(&gradient, 2.0)?, *c, Some(&leaf.path))?;
                scaled(gradient, factor)?
            }
            Transform::WeightDecay { d, mask } => match parameter {
                Some(parameter) if mask.covers(&leaf.path) => blend(1.0, gradient, *d, parameter)?,
                _ => gradient,
            },
            Transform::SignDecay { d, mask } => match parameter {
                Some(parameter) if mask.covers(&leaf.path) => blend(1.0, gradient, *d, &parameter.detach().sign()?)?,
                _ => gradient,
            },
            Transform::Accumulate { n } => {
                let (sum, count) = memory()?;
                let wide = gradient.cast(sum.dtype())?;
                let sum = if count == 1.0 { wide } else { blend(1.0, sum, 1.0, &wide)? };
                if count < *n as f64 {
                    leaf.after.extend([sum.into(), Kept::Number(count)]);
                    return Ok(None);
                }
                leaf.after.extend([sum.zeros_like()?.into(), Kept::Number(0.0)]);
                (if *n == 1 { sum } else { sum.div(*n as f64)? }).cast(dtype)?
            }
            Transform::Ema { decay, debias } => {
                let (average, count) = memory()?;
                let wide = gradient.cast(average.dtype())?;
                let average = blend(*decay, average, 1.0 - decay, &wide)?;
                leaf.after.extend([average.clone().into(), Kept::Number(count)]);
                let correction = if *debias { 1.0 - decay.powf(count) } else { 1.0 };
                average.div(correction)?.cast(dtype)?
            }
            Transform::ClipGlobalNorm { .. } => gradient,
        }))
    }
}

/// The norm of the vector of which these are the norms of the parts.
fn together(norms: &[f64], order: f64) -> f64 {
    if norms.iter().any(|norm| norm.is_nan()) {
        return f64::NAN;
    }
    let largest = norms.iter().copied().fold(0.0, f64::max);
    if order == f64::INFINITY || !largest.is_finite() || largest == 0.0 {
        return largest;
    }
    // Scaled, so that no power overflows.
    largest * norms.iter().map(|norm| (norm / largest).powf(order)).sum::<f64>().powf(1.0 / order)
}

/// The type in which `mixed_precision` keeps a parameter of another; none where it keeps nothing.
pub(super) fn master(spec: &Spec, dtype: DType) -> Option<DType> {
    (spec.dtype != dtype).then_some(dtype)
}
