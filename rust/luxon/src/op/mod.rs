//! What can be done with tensors: one file a family, one place an operation.
//!
//! An [`Op`] is a small plain payload. Its family says which shapes and dtypes come out, how the CPU
//! fills them, and how the operation is differentiated; what a family can derive for all its members it
//! derives once. [`apply`] carries an operation out and lets the levels of differentiation record it.
//!
//! Rules are written with tensor operations, never with kernels: they are differentiated like any code.
//! The functions that users call stand beside their family; the crate re-exports them.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::cuda::Plan;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::Shape;
use crate::runtime::interrupt;
use crate::tensor::{Tensor, Value};
use crate::transform::jet::{self, Series, differentiate, differentiate_by_output};
use crate::transform::level::{InputRecord, Level, Mode, Record, Trace};

pub mod band;
pub mod create;
pub mod custom;
pub mod einsum;
pub mod elementwise;
mod elsewhere;
pub mod fused;
pub mod index;
pub mod linalg;
pub mod linear;
pub mod manipulate;
pub mod matmul;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod search;
pub mod singular;
pub mod sort;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
pub(crate) mod testing;

/// The dtype and shape of one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Element type.
    pub dtype: DType,
    /// Sizes.
    pub shape: Shape,
}

/// Results of an operation before they are computed. The first is differentiated; the others are
/// indices, or statistics for the backward rule.
pub type Specs = SmallVec<[Spec; 1]>;
/// Results of an operation.
pub type Outputs = SmallVec<[Tensor; 1]>;
/// One optional gradient per input.
pub type Gradients = SmallVec<[Option<Tensor>; 3]>;

/// Which values the backward rule of an operation reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saves {
    /// Bit i: input i.
    pub inputs: u32,
    /// The first output.
    pub output: bool,
}

impl Saves {
    /// No value: shapes suffice.
    pub const NOTHING: Saves = Saves { inputs: 0, output: false };
    /// Every input.
    pub const INPUTS: Saves = Saves { inputs: u32::MAX, output: false };
    /// The output.
    pub const OUTPUT: Saves = Saves { inputs: 0, output: true };
    /// Inputs and output.
    pub const ALL: Saves = Saves { inputs: u32::MAX, output: true };
}

/// What a backward rule sees: the values that it asked to save, and the shapes of what it differentiates.
/// All tensors are lowered below the level that runs the rule.
pub struct Saved<'a> {
    record: &'a Record,
}

impl<'a> Saved<'a> {
    pub(crate) fn new(record: &'a Record) -> Saved<'a> {
        Saved { record }
    }

    /// The number of inputs.
    pub fn arity(&self) -> usize {
        self.record.inputs.len()
    }

    /// Whether input `index` is differentiated.
    #[inline]
    pub fn wants(&self, index: usize) -> bool {
        self.record.inputs[index].node.is_some()
    }

    /// Whether the gradient of input `index` is a result of the backward pass, which no rule reads.
    pub(crate) fn is_result(&self, index: usize) -> bool {
        self.record.inputs[index].node.as_ref().is_some_and(|node| matches!(node.trace, Trace::Input))
    }

    /// The value of input `index`.
    #[inline]
    pub fn input(&self, index: usize) -> Result<&'a Tensor> {
        self.record.inputs[index].saved.as_ref().ok_or_else(|| self.missing("input"))
    }

    /// The value of input `index` where it was saved.
    #[inline]
    pub fn find_input(&self, index: usize) -> Option<&'a Tensor> {
        self.record.inputs[index].saved.as_ref()
    }

    /// The first output where it was saved.
    #[inline]
    pub fn find_output(&self) -> Option<&'a Tensor> {
        self.record.output.as_ref()
    }

    /// The first output.
    #[inline]
    pub fn output(&self) -> Result<&'a Tensor> {
        self.record.output.as_ref().ok_or_else(|| self.missing("output"))
    }

    /// A further output: 0 is the second.
    pub fn extra(&self, index: usize) -> Result<&'a Tensor> {
        self.record.extra.get(index).ok_or_else(|| self.missing("extra output"))
    }

    /// The shape of a differentiated input.
    #[inline]
    pub fn shape(&self, index: usize) -> &'a Shape {
        match &self.record.inputs[index].node {
            Some(node) => &node.shape,
            None => self.record.inputs[index].saved.as_ref().map_or(const { &EMPTY }, |saved| saved.shape()),
        }
    }

    /// The dtype of a differentiated input.
    #[inline]
    pub fn dtype(&self, index: usize) -> DType {
        match &self.record.inputs[index].node {
            Some(node) => node.dtype,
            None => self.record.inputs[index].saved.as_ref().map_or(DType::F32, Tensor::dtype),
        }
    }

    #[cold]
    fn missing(&self, what: &str) -> Error {
        Error::Value(format!(
            "{}: its backward rule reads an {what} that was not saved (a defect of luxon)",
            self.record.op.name()
        ))
    }
}

static EMPTY: Shape = Shape::EMPTY;

/// What every family says of its operations.
pub(crate) trait Family {
    /// The operation's name, as users know it.
    fn name(&self) -> &'static str;
    /// Dtypes and shapes of the results; refuses inputs that do not fit. Reads no element.
    fn outputs(&self, inputs: &[&Value]) -> Result<Specs>;
    /// The result as a view of the first input, where layouts suffice.
    fn view(&self, _inputs: &[&Value]) -> Result<Option<Value>> {
        Ok(None)
    }
    /// Fills the outputs on the CPU.
    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()>;
    /// What the backward rule reads, given which inputs are differentiated (bit i: input i).
    fn saves(&self, wanted: u32) -> Saves;
    /// Gradients of the wanted inputs from the cotangent of the first output.
    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients>;
    /// The tangent of the first output, none for an exact zero.
    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>>;
    /// Derivatives of the first output of order 1 to `order` along a line, from those of the inputs.
    fn series(&self, inputs: &[Tensor], outputs: &[Tensor], series: &[Series], order: usize) -> Result<Series> {
        if self.saves(u32::MAX).output {
            let rule = |all: &[Tensor], tangents: &[Option<Tensor>]| {
                let (inputs, output) = all.split_at(inputs.len());
                let mut outputs = Outputs::from(outputs);
                outputs[0] = output[0].clone();
                Ok(vec![self.jvp(inputs, &outputs, &tangents[..inputs.len()])?])
            };
            return differentiate_by_output(order, inputs, &outputs[0], series, &rule);
        }
        let rule = |inputs: &[Tensor], tangents: &[Option<Tensor>]| Ok(vec![self.jvp(inputs, outputs, tangents)?]);
        Ok(differentiate(order, inputs, series, &rule)?.swap_remove(0))
    }
    /// The definition in other operations, for operations that have a kernel of their own besides.
    fn expand(&self, _inputs: &[Tensor]) -> Option<Result<Outputs>> {
        None
    }
    /// How a CUDA device fills the outputs; none where it cannot, and the operation is expanded.
    fn cuda(&self, _inputs: &[&Value], _outputs: &[Spec]) -> Option<Result<Plan>> {
        None
    }
}

/// Large payloads are boxed: every recorded operation holds an [`Op`].
impl<F: Family> Family for Box<F> {
    fn name(&self) -> &'static str {
        (**self).name()
    }
    fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        (**self).outputs(inputs)
    }
    fn view(&self, inputs: &[&Value]) -> Result<Option<Value>> {
        (**self).view(inputs)
    }
    fn execute(&self, inputs: &[&Value], outputs: &mut [&mut Value]) -> Result<()> {
        (**self).execute(inputs, outputs)
    }
    fn saves(&self, wanted: u32) -> Saves {
        (**self).saves(wanted)
    }
    fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        (**self).vjp(saved, dy)
    }
    fn jvp(&self, inputs: &[Tensor], outputs: &[Tensor], tangents: &[Option<Tensor>]) -> Result<Option<Tensor>> {
        (**self).jvp(inputs, outputs, tangents)
    }
    fn series(&self, inputs: &[Tensor], outputs: &[Tensor], series: &[Series], order: usize) -> Result<Series> {
        (**self).series(inputs, outputs, series, order)
    }
    fn expand(&self, inputs: &[Tensor]) -> Option<Result<Outputs>> {
        (**self).expand(inputs)
    }
    fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        (**self).cuda(inputs, outputs)
    }
}

macro_rules! ops {
    ($($(#[$meta:meta])* $variant:ident($payload:ty)),* $(,)?) => {
        /// An operation with its parameters: comparable, printable, a thing that a device can match on.
        ///
        /// ```
        /// use luxon::device::{Op, Value};
        /// fn runs_here(op: &Op, inputs: &[&Value]) -> bool {
        ///     matches!(op, Op::Map(_) | Op::Matmul(_)) && inputs.iter().all(|input| input.is_contiguous())
        /// }
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op { $($(#[$meta])* $variant($payload)),* }

        $(impl From<$payload> for Op {
            #[inline]
            fn from(payload: $payload) -> Op { Op::$variant(payload) }
        })*

        impl Op {
            #[inline]
            fn family(&self) -> &dyn Family {
                match self { $(Op::$variant(payload) => payload),* }
            }
        }
    };
}

ops! {
    /// An elementwise operation.
    Map(elementwise::Map),
    /// An operation linear in each argument that moves or adds elements.
    Linear(linear::Linear),
    /// Gathering and scattering by index tensors.
    Gather(Box<index::Gather>),
    /// A cumulative operation, or a linear recurrence.
    Scan(scan::Scan),
    /// Sorting and searching.
    Order(sort::Order),
    /// Bands and diagonals of matrices.
    Band(band::Band),
    /// A reduction over axes.
    Reduce(reduce::Reduce),
    /// A product of matrices.
    Matmul(matmul::Matmul),
    /// Singular values.
    Singular(singular::Singular),
    /// A dense layer.
    Dense(fused::dense::Dense),
    /// A convolution, or one of its gradients.
    Conv(Box<fused::conv::Conv>),
    /// A function of rows.
    Softmax(fused::softmax::Softmax),
    /// A loss or its gradient.
    Loss(fused::loss::Loss),
    /// The loss of a label sequence, or its gradient.
    Ctc(fused::ctc::Ctc),
    /// A normalisation.
    Norm(fused::norm::Norm),
    /// The gradients of a normalisation.
    NormGradient(fused::norm::NormGradient),
    /// Elements zeroed at random.
    Dropout(fused::dropout::Dropout),
    /// A pooling of windows.
    Pool(Box<fused::pool::Pool>),
    /// A sparse matrix along an axis.
    Resample(fused::resample::Resample),
    /// Scaled dot-product attention.
    Attention(fused::attention::Attention),
    /// Its gradients.
    AttentionGradient(fused::attention::AttentionGradient),
    /// A recurrence over a sequence.
    Recurrent(fused::recurrent::Recurrent),
    /// The gradients of a recurrence.
    RecurrentGradient(fused::recurrent::RecurrentGradient),
}

impl Op {
    /// The operation's name, as users know it.
    ///
    /// ```
    /// use luxon::Kernel;
    /// use luxon::device::Op;
    /// assert_eq!(Op::from(Kernel::Exp).name(), "exp");
    /// ```
    pub fn name(&self) -> &'static str {
        self.family().name()
    }

    /// Dtypes and shapes of the results for these inputs; reads no element.
    ///
    /// ```
    /// use luxon::{DType, Kernel, Tensor};
    /// use luxon::device::Op;
    /// let (a, b) = (Tensor::zeros(&[3, 1], DType::F32)?, Tensor::zeros(&[4], DType::F32)?);
    /// let specs = Op::from(Kernel::Less).outputs(&[a.value(), b.value()])?;
    /// assert_eq!((specs[0].dtype, &specs[0].shape[..]), (DType::Bool, &[3, 4][..]));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    pub fn outputs(&self, inputs: &[&Value]) -> Result<Specs> {
        self.family().outputs(inputs)
    }

    /// How a CUDA device fills outputs of these dtypes and shapes; none where it has no kernel.
    #[doc(hidden)]
    pub fn cuda(&self, inputs: &[&Value], outputs: &[Spec]) -> Option<Result<Plan>> {
        self.family().cuda(inputs, outputs)
    }

    pub(crate) fn vjp(&self, saved: &Saved<'_>, dy: &Tensor) -> Result<Gradients> {
        self.family().vjp(saved, dy)
    }
}

macro_rules! boxed {
    ($($variant:ident($payload:ty)),* $(,)?) => {
        $(impl From<$payload> for Op {
            fn from(payload: $payload) -> Op { Op::$variant(Box::new(payload)) }
        })*
    };
}

boxed! { Gather(index::Gather), Conv(fused::conv::Conv), Pool(fused::pool::Pool) }

// Every recorded operation holds one, and it is moved a few times before that.
const _: () = assert!(size_of::<Op>() <= 104, "box the payload that made an operation this large");

/// Carries out an operation with one result.
#[inline]
pub fn apply(op: impl Into<Op>, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut outputs = apply_all(op.into(), inputs)?;
    Ok(outputs.swap_remove(0))
}

/// The highest level that inputs belong to, and whether a lower one may take part as well.
#[inline]
fn highest<'a>(inputs: &[&'a Tensor]) -> Option<(&'a Arc<Level>, bool)> {
    let mut top: Option<(&Arc<Level>, bool)> = None;
    for input in inputs {
        let Some(node) = input.active_node() else { continue };
        let below = node.below.is_some();
        top = Some(match top {
            None => (&node.level, below),
            Some((level, nested)) if Arc::ptr_eq(level, &node.level) => (level, nested | below),
            Some((level, _)) => (if node.level.stamp() > level.stamp() { &node.level } else { level }, true),
        });
    }
    top
}

/// Carries out an operation and records it at every level that its inputs belong to.
pub fn apply_all(op: Op, inputs: &[&Tensor]) -> Result<Outputs> {
    let Some((level, nested)) = highest(inputs) else {
        return execute(&op, inputs);
    };
    let mut outputs = if nested {
        let lowered: SmallVec<[Tensor; 3]> = inputs.iter().map(|input| input.lower(level.stamp())).collect();
        apply_all(op.clone(), &lowered.iter().collect::<SmallVec<[&Tensor; 3]>>())?
    } else {
        execute(&op, inputs)?
    };
    if !outputs[0].dtype().is_float() {
        return Ok(outputs);
    }
    match level.mode() {
        Mode::Forward => push_forward(level, &op, inputs, &mut outputs)?,
        Mode::Reverse => {
            let extra = if outputs.len() > 1 { listed(outputs[1..].iter().cloned()) } else { SmallVec::new() };
            record(level, op, inputs, &mut outputs[0], extra);
        }
    }
    Ok(outputs)
}

/// Carries out an operation whose one result `compute` gives for host tensors: what [`apply`] does, without lists of
/// outputs in the case of small programs in tight loops, under one reverse level or none.
#[inline]
pub(crate) fn apply_computed(
    op: impl Into<Op>,
    inputs: &[&Tensor],
    compute: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    if inputs.iter().all(|input| input.value.is_host()) {
        match highest(inputs) {
            None => return compute(),
            Some((level, false)) if level.mode() == Mode::Reverse => {
                let mut output = compute()?;
                if output.dtype().is_float() {
                    record(level, op.into(), inputs, &mut output, SmallVec::new());
                }
                return Ok(output);
            }
            _ => {}
        }
    }
    apply(op, inputs)
}

/// Gives the first output its tangent.
fn push_forward(level: &Arc<Level>, op: &Op, inputs: &[&Tensor], outputs: &mut Outputs) -> Result<()> {
    let stamp = level.stamp();
    let lowered: SmallVec<[Tensor; 3]> = inputs.iter().map(|input| input.lower(stamp)).collect();
    if let Some(directions) = jet::gather(stamp, inputs) {
        let push = |series: SmallVec<[Series; 4]>| {
            let order = series.first().map_or(0, Series::len);
            op.family().series(&lowered, outputs, &series, order)
        };
        let jets = directions.into_iter().map(push).collect::<Result<Vec<_>>>()?;
        if jets.iter().flatten().any(Option::is_some) {
            outputs[0] = level.record(&outputs[0], Trace::Jet(jets));
        }
        return Ok(());
    }
    let tangents: SmallVec<[Option<Tensor>; 3]> = inputs
        .iter()
        .map(|input| match &input.node_at(stamp)?.trace {
            Trace::Tangent(tangent) => Some(tangent.clone()),
            _ => None,
        })
        .collect();
    if let Some(tangent) = op.family().jvp(&lowered, outputs, &tangents)? {
        outputs[0] = level.record(&outputs[0], Trace::Tangent(tangent));
    }
    Ok(())
}

/// Lays the operation's node of a reverse level on the output.
#[inline]
fn record(level: &Arc<Level>, op: Op, inputs: &[&Tensor], output: &mut Tensor, extra: SmallVec<[Tensor; 1]>) {
    let stamp = level.stamp();
    let mut wanted = 0u32;
    for (index, input) in inputs.iter().enumerate() {
        wanted |= u32::from(input.node_at(stamp).is_some()) << index.min(31);
    }
    let saves = op.family().saves(wanted);
    let records = listed(inputs.iter().enumerate().map(|(index, input)| InputRecord {
        node: input.node_at(stamp).cloned(),
        saved: (saves.inputs >> index.min(31) & 1 == 1).then(|| input.lower(stamp)),
    }));
    let saved = saves.output.then(|| output.clone());
    let node = level.node(output, || Trace::Op(Record { op, inputs: records, output: saved, extra }));
    output.node = Some(node);
}

/// Computes the results: the core allocates, the kernel (or the device) fills.
fn execute(op: &Op, inputs: &[&Tensor]) -> Result<Outputs> {
    let values: SmallVec<[&Value; 3]> = listed(inputs.iter().map(|input| &**input.value()));
    if values.iter().any(|value| !value.is_host()) {
        return elsewhere::execute(op, inputs, &values);
    }
    let family = op.family();
    if let Some(view) = family.view(&values)? {
        return Ok(smallvec![view.into()]);
    }
    let mut outputs = Outputs::new();
    for spec in &family.outputs(&values)? {
        outputs.push(Tensor::empty(spec.dtype, &spec.shape)?);
    }
    family.execute(&values, &mut fresh(&mut outputs))?;
    if interrupt::take() { Err(Error::Interrupted) } else { Ok(outputs) }
}

/// The values of tensors that were just made, to be filled.
fn fresh(outputs: &mut Outputs) -> SmallVec<[&mut Value; 1]> {
    listed(outputs.iter_mut().filter_map(|output| Arc::get_mut(&mut output.value)))
}

/// A short list, pushed entry by entry: that compiles to a store and a comparison each, which collecting
/// into a `SmallVec` does not, and every operation makes several such lists.
#[inline]
pub(crate) fn listed<A: smallvec::Array>(entries: impl Iterator<Item = A::Item>) -> SmallVec<A> {
    let mut list = SmallVec::new();
    for entry in entries {
        list.push(entry);
    }
    list
}
