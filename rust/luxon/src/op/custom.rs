//! Calls with derivative rules of their own: users' rules, and recomputation (`checkpoint`).
//!
//! A rule sees its inputs lowered below the level that differentiates, so whatever it computes is
//! recorded by the outer levels: a custom rule is differentiable again. A rule for one mode serves the
//! other: it is linear in its (co)tangent, and the transpose of a linear map is its own pullback.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::tensor::Tensor;
use crate::transform::jet::{self, Series, differentiate};
use crate::transform::level::{Level, Mode, Node, Trace};
use crate::transform::{pull_back, reverse, vjp_through};

/// The linear map from cotangents of the outputs to cotangents of the inputs; none stands for zeros.
///
/// ```
/// use luxon::{DType, Tensor};
/// use luxon::custom::Pullback;
/// /// The map back through a product with a constant.
/// struct Scaled(f64);
/// impl Pullback for Scaled {
///     fn name(&self) -> &str { "scaled" }
///     fn pull(&self, dy: &[Option<Tensor>]) -> luxon::Result<Vec<Option<Tensor>>> {
///         Ok(vec![dy[0].as_ref().map(|dy| dy.mul(self.0)).transpose()?])
///     }
/// }
/// let one = Tensor::scalar(1.0, DType::F64);
/// assert_eq!(Scaled(3.0).pull(&[Some(one)])?.len(), 1);
/// # Ok::<(), luxon::Error>(())
/// ```
pub trait Pullback: Send + Sync {
    /// The name that errors show.
    fn name(&self) -> &str;
    /// Applies the map: one entry per output in, one per input out.
    fn pull(&self, cotangents: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>>;
}

/// What a rule for reverse mode gives: the outputs and the map back.
pub type Forward = (Vec<Tensor>, Arc<dyn Pullback>);
/// What a rule for forward mode gives: the outputs and their tangents.
pub type Pushed = (Vec<Tensor>, Vec<Option<Tensor>>);

/// A function with a derivative rule of its own.
///
/// ```
/// use luxon::{DType, Tensor, grad, jvp};
/// use luxon::custom::{self, CustomRule, Pushed};
/// use std::sync::Arc;
/// /// Rounds, and pretends in derivatives that it did not.
/// struct Straight;
/// impl CustomRule for Straight {
///     fn name(&self) -> &str { "straight" }
///     fn primal(&self, x: &[Tensor]) -> luxon::Result<Vec<Tensor>> { Ok(vec![x[0].round()?]) }
///     fn jvp(&self, x: &[Tensor], tangents: &[Option<Tensor>]) -> Option<luxon::Result<Pushed>> {
///         Some(self.primal(x).map(|y| (y, tangents.to_vec())))
///     }
/// }
/// let rule: Arc<dyn CustomRule> = Arc::new(Straight);
/// let slope = grad(|x| custom::call(&rule, x)?[0].mul(3.0), &[Tensor::scalar(0.7, DType::F64)])?;
/// assert_eq!(slope[0].to_vec::<f64>()?, [3.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
pub trait CustomRule: Send + Sync {
    /// The name that errors show.
    fn name(&self) -> &str;
    /// The function.
    fn primal(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>>;
    /// The rule for reverse mode; none where only [`CustomRule::jvp`] is given.
    fn vjp(&self, _inputs: &[Tensor]) -> Option<Result<Forward>> {
        None
    }
    /// The rule for forward mode; none where only [`CustomRule::vjp`] is given.
    fn jvp(&self, _inputs: &[Tensor], _tangents: &[Option<Tensor>]) -> Option<Result<Pushed>> {
        None
    }
}

/// The pullback that a forward rule implies.
struct Transposed {
    rule: Arc<dyn CustomRule>,
    inputs: Vec<Tensor>,
    wanted: Vec<bool>,
}

impl Pullback for Transposed {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn pull(&self, cotangents: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        let positions: Vec<usize> = (0..self.inputs.len()).filter(|&index| self.wanted[index]).collect();
        let zeros = positions.iter().map(|&index| self.inputs[index].zeros_like()).collect::<Result<Vec<_>>>()?;
        let push = |tangents: &[Tensor]| {
            let mut all = vec![None; self.inputs.len()];
            for (&index, tangent) in positions.iter().zip(tangents) {
                all[index] = Some(tangent.clone());
            }
            let Some(pushed) = self.rule.jvp(&self.inputs, &all) else {
                return Err(no_rule(self.rule.as_ref()));
            };
            Ok(pushed?.1)
        };
        let gradients = vjp_through(push, &zeros, cotangents)?;
        let mut all = vec![None; self.inputs.len()];
        for (index, gradient) in positions.into_iter().zip(gradients) {
            all[index] = gradient;
        }
        Ok(all)
    }
}

/// Refuses results that the level differentiates by another way than the rule: what the rule closes over
/// would silently get no gradient.
fn check_closed(rule: &dyn CustomRule, outputs: &[Tensor], stamp: u64) -> Result<()> {
    if !outputs.iter().any(|output| output.node_at(stamp).is_some()) {
        return Ok(());
    }
    let name = rule.name();
    Err(Error::Value(format!(
        "{name}: the function uses a tensor under differentiation that is not one of its arguments; pass it as one"
    )))
}

#[cold]
fn no_rule(rule: &dyn CustomRule) -> Error {
    Error::Value(format!("{}: has no derivative rule; define one with defvjp or defjvp", rule.name()))
}

/// Calls a function by its own derivative rules at every level that its inputs belong to.
///
/// ```
/// # use std::sync::Arc;
/// use luxon::{DType, Tensor, grad};
/// use luxon::custom::{self, CustomRule};
/// /// Without a rule: it is an error to differentiate it.
/// struct Opaque;
/// impl CustomRule for Opaque {
///     fn name(&self) -> &str { "opaque" }
///     fn primal(&self, x: &[Tensor]) -> luxon::Result<Vec<Tensor>> { Ok(vec![x[0].exp()?]) }
/// }
/// let rule: Arc<dyn CustomRule> = Arc::new(Opaque);
/// let x = Tensor::scalar(0.0, DType::F64);
/// assert_eq!(custom::call(&rule, &[x.clone()])?[0].to_vec::<f64>()?, [1.0]);
/// assert!(grad(|x| Ok(custom::call(&rule, x)?.swap_remove(0)), &[x]).is_err());
/// # Ok::<(), luxon::Error>(())
/// ```
pub fn call(rule: &Arc<dyn CustomRule>, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let top = inputs.iter().filter_map(Tensor::active_node).max_by_key(|node| node.level.stamp());
    let Some(top) = top else {
        return rule.primal(inputs);
    };
    let level = Arc::clone(&top.level);
    let stamp = level.stamp();
    let lowered: Vec<Tensor> = inputs.iter().map(|input| input.lower(stamp)).collect();
    match level.mode() {
        Mode::Reverse => {
            let nodes: Vec<Option<Arc<Node>>> = inputs.iter().map(|input| input.node_at(stamp).cloned()).collect();
            let (outputs, pullback) = match rule.vjp(&lowered) {
                Some(forward) => forward?,
                None => {
                    let wanted = nodes.iter().map(Option::is_some).collect();
                    let outputs = call(rule, &lowered)?;
                    let transposed = Transposed { rule: Arc::clone(rule), inputs: lowered, wanted };
                    (outputs, Arc::new(transposed) as Arc<dyn Pullback>)
                }
            };
            check_closed(rule.as_ref(), &outputs, stamp)?;
            Ok(attach(&level, nodes, &outputs, pullback))
        }
        Mode::Forward if matches!(top.trace, Trace::Jet(_)) => call_on_jets(rule, &level, inputs, &lowered),
        Mode::Forward => {
            let tangents: Vec<Option<Tensor>> = inputs
                .iter()
                .map(|input| match &input.node_at(stamp)?.trace {
                    Trace::Tangent(tangent) => Some(tangent.clone()),
                    _ => None,
                })
                .collect();
            let (outputs, pushed) = push(rule, &lowered, &tangents)?;
            check_closed(rule.as_ref(), &outputs, stamp)?;
            Ok(outputs
                .into_iter()
                .zip(pushed)
                .map(|(output, tangent)| match tangent {
                    Some(tangent) => level.record(&output.lower(stamp), Trace::Tangent(tangent)),
                    None => output,
                })
                .collect())
        }
    }
}

/// Outputs and tangents by whichever rule there is.
fn push(rule: &Arc<dyn CustomRule>, inputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Pushed> {
    match rule.jvp(inputs, tangents) {
        Some(pushed) => pushed,
        None => push_through(rule, inputs, tangents),
    }
}

/// A call at a forward level that carries derivatives along several directions: the rule is run for each.
fn call_on_jets(
    rule: &Arc<dyn CustomRule>,
    level: &Arc<Level>,
    inputs: &[Tensor],
    lowered: &[Tensor],
) -> Result<Vec<Tensor>> {
    let stamp = level.stamp();
    let outputs = call(rule, lowered)?;
    check_closed(rule.as_ref(), &outputs, stamp)?;
    let mut jets: Vec<Vec<Series>> = vec![Vec::new(); outputs.len()];
    for series in jet::gather(stamp, &inputs.iter().collect::<Vec<_>>()).unwrap_or_default() {
        let tangents = |inputs: &[Tensor], tangents: &[Option<Tensor>]| Ok(push(rule, inputs, tangents)?.1);
        let order = series.first().map_or(0, Series::len);
        for (jets, series) in jets.iter_mut().zip(differentiate(order, lowered, &series, &tangents)?) {
            jets.push(series);
        }
    }
    let tagged = outputs.into_iter().zip(jets).map(|(output, jets)| {
        let constant = jets.iter().flatten().all(Option::is_none);
        if constant { output } else { level.record(&output, Trace::Jet(jets)) }
    });
    Ok(tagged.collect())
}

/// Tangents by a reverse rule: the pullback is linear in the cotangent u, and transposing it once more,
/// as a function of u, is the derivative.
fn push_through(rule: &Arc<dyn CustomRule>, inputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Pushed> {
    let Some(forward) = rule.vjp(inputs) else {
        return Err(no_rule(rule.as_ref()));
    };
    let (outputs, pullback) = forward?;
    let floating: Vec<usize> = (0..outputs.len()).filter(|&index| outputs[index].dtype().is_float()).collect();
    let zeros = floating.iter().map(|&index| outputs[index].zeros_like()).collect::<Result<Vec<_>>>()?;
    let pull = |cotangents: &[Tensor]| {
        let mut all = vec![None; outputs.len()];
        for (&index, cotangent) in floating.iter().zip(cotangents) {
            all[index] = Some(cotangent.clone());
        }
        pullback.pull(&all)
    };
    let pushed = vjp_through(pull, &zeros, tangents)?;
    let mut all = vec![None; outputs.len()];
    for (index, tangent) in floating.into_iter().zip(pushed) {
        all[index] = tangent;
    }
    Ok((outputs, all))
}

/// Lays a call's node on its outputs.
fn attach(
    level: &Arc<Level>,
    inputs: Vec<Option<Arc<Node>>>,
    outputs: &[Tensor],
    pullback: Arc<dyn Pullback>,
) -> Vec<Tensor> {
    let lowered: Vec<Tensor> = outputs.iter().map(|output| output.lower(level.stamp())).collect();
    let Some(first) = lowered.first() else { return Vec::new() };
    let specs: Vec<(Shape, crate::DType)> = lowered.iter().map(|output| (*output.shape(), output.dtype())).collect();
    let call = level.node(&first.detach(), || Trace::Call { inputs, outputs: specs, pullback });
    lowered
        .iter()
        .enumerate()
        .map(|(slot, output)| {
            if output.dtype().is_float() {
                level.record(output, Trace::Part { call: Arc::clone(&call), slot })
            } else {
                output.clone()
            }
        })
        .collect()
}

/// A function that is run again in the backward pass instead of keeping what it computed.
pub type Function = Arc<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync>;

/// Runs the function again, recording it, and walks back to the tensors that it started from.
struct Recompute {
    function: Function,
    inputs: Vec<Tensor>,
    level: Arc<Level>,
    boundary: Vec<Option<Arc<Node>>>,
}

impl Pullback for Recompute {
    fn name(&self) -> &str {
        "checkpoint"
    }

    fn pull(&self, cotangents: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        let floor = self.level.size();
        let outputs = (self.function)(&self.inputs)?;
        let pairs =
            outputs.into_iter().zip(cotangents).filter_map(|(output, dy)| Some((output, dy.clone()?))).collect();
        reverse::pull_back_to(&self.level, floor, pairs, &self.boundary)
    }
}

/// Runs `function(inputs)` keeping only its inputs; the backward pass runs it again. Tensors that the
/// function closes over are differentiated too. In forward mode it is a plain call.
///
/// ```
/// use luxon::{DType, Tensor, grad};
/// use luxon::custom::{self, Function};
/// use std::sync::Arc;
/// // What happens inside is computed again on the way back instead of being kept.
/// let deep: Function = Arc::new(|x: &[Tensor]| Ok(vec![x[0].sin()?.exp()?.square()?]));
/// let at = [Tensor::scalar(0.3, DType::F64)];
/// let slope = grad(|x| Ok(custom::checkpoint(&deep, x)?.swap_remove(0)), &at)?;
/// let plain = grad(|x| Ok(deep(x)?.swap_remove(0)), &at)?;
/// assert!(slope[0].allclose(&plain[0], 1e-12, 0.0, false)?);
/// # Ok::<(), luxon::Error>(())
/// ```
pub fn checkpoint(function: &Function, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let before = Level::snapshot();
    let outputs = function(inputs)?;
    let top = outputs.iter().filter_map(Tensor::active_node).max_by_key(|node| node.level.stamp());
    let Some(level) = top.map(|node| Arc::clone(&node.level)) else {
        return Ok(outputs);
    };
    let known = before.iter().find(|(open, _)| open.stamp() == level.stamp());
    let (Mode::Reverse, Some(&(_, floor))) = (level.mode(), known) else {
        return Ok(outputs);
    };
    let boundary: Vec<Option<Arc<Node>>> = reverse::boundary(&level, floor, &outputs).into_iter().map(Some).collect();
    let pullback = Recompute {
        function: Arc::clone(function),
        inputs: inputs.to_vec(),
        level: Arc::clone(&level),
        boundary: boundary.clone(),
    };
    Ok(attach(&level, boundary, &outputs, Arc::new(pullback)))
}

/// The pullback of a recorded computation: a reverse level that stays recordable as long as it lives.
///
/// ```
/// # use luxon::custom::Recorded;
/// use luxon::{DType, Tensor, vjp};
/// let x = Tensor::scalar(3.0, DType::F64);
/// let (_, back): (_, Recorded) = vjp(|x| Ok(vec![x[0].square()?]), &[x])?;
/// // It can be asked as often as wanted.
/// for dy in [1.0, 10.0] {
///     let dx = back.pull(&[Some(Tensor::scalar(dy, DType::F64))])?;
///     assert_eq!(dx[0].as_ref().map(Tensor::to_vec::<f64>).transpose()?, Some(vec![6.0 * dy]));
/// }
/// # Ok::<(), luxon::Error>(())
/// ```
pub struct Recorded {
    level: Arc<Level>,
    outputs: Vec<Tensor>,
    inputs: Vec<Tensor>,
}

impl Recorded {
    /// Takes over a level whose `outputs` were computed from its tagged `inputs`.
    #[doc(hidden)]
    pub fn new(level: Arc<Level>, outputs: Vec<Tensor>, inputs: Vec<Tensor>) -> Recorded {
        level.leave();
        Recorded { level, outputs, inputs }
    }

    /// One gradient per input; none where no output depends on it.
    ///
    /// ```
    /// use luxon::{DType, Tensor, vjp};
    /// let x = Tensor::scalar(3.0, DType::F64);
    /// let (_, back) = vjp(|x| Ok(vec![x[0].square()?]), &[x])?;
    /// assert!(back.pull(&[None])?[0].is_none()); // Nothing stands for zeros.
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn pull(&self, cotangents: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
        let pairs = self.outputs.iter().zip(cotangents).filter_map(|(output, dy)| Some((output.clone(), dy.clone()?)));
        pull_back(&self.level, pairs.collect(), &self.inputs)
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        self.level.close();
    }
}
