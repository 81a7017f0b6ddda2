//! The recurrence that users call: checks, dtypes, the input's product, and the parts of the result.

use smallvec::SmallVec;

use super::{Cell, Recurrent};
use crate::error::{Error, Result};
use crate::layout::show;
use crate::op::fused::dense::linear;
use crate::op::fused::{compute_dtype, joined_float};
use crate::op::{Family, apply};
use crate::tensor::Tensor;

/// The weights of a cell, in PyTorch's layouts: (gates * hidden, in), (gates * hidden, hidden), (gates * hidden,).
///
/// ```
/// use luxon::{Cell, DType, Key, RecurrentOptions, RecurrentWeights, Tensor, random, recurrent};
/// let weights = |shape: &[usize]| random::uniform(Key::new(0), shape, -0.1, 0.1, DType::F32);
/// let (input, hidden) = (weights(&[3 * 8, 4])?, weights(&[3 * 8, 8])?);
/// let gru = RecurrentWeights { input: &input, hidden: &hidden, input_bias: None, hidden_bias: None };
/// let x = Tensor::ones(&[2, 5, 4], DType::F32)?;
/// let (last, _) = recurrent(Cell::Gru, &x, &gru, None, RecurrentOptions::default())?;
/// assert_eq!(last.shape()[..], [2, 8]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Weights<'a> {
    /// Of the input.
    pub input: &'a Tensor,
    /// Of the hidden state.
    pub hidden: &'a Tensor,
    /// Added to the input's product.
    pub input_bias: Option<&'a Tensor>,
    /// Added to the hidden state's product.
    pub hidden_bias: Option<&'a Tensor>,
}

/// The state between steps, (batch, hidden) each.
///
/// ```
/// use luxon::{Carry, DType, Tensor};
/// let carry = Carry { hidden: Tensor::zeros(&[2, 8], DType::F32)?, memory: None };
/// assert_eq!(carry.hidden.shape()[..], [2, 8]);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone)]
pub struct Carry {
    /// The hidden state.
    pub hidden: Tensor,
    /// The memory of an LSTM.
    pub memory: Option<Tensor>,
}

/// How a sequence is gone through, and what comes out.
///
/// ```
/// use luxon::{Cell, DType, RecurrentOptions, RecurrentWeights, Tensor, recurrent};
/// let (x, w) = (Tensor::ones(&[2, 5, 3], DType::F32)?, Tensor::ones(&[3, 3], DType::F32)?);
/// let weights = RecurrentWeights { input: &w, hidden: &w, input_bias: None, hidden_bias: None };
/// let options = RecurrentOptions { sequence: true, carry: true, ..Default::default() };
/// let (states, carry) = recurrent(Cell::Tanh, &x, &weights, None, options)?;
/// assert_eq!(states.shape()[..], [2, 5, 3]);
/// assert_eq!(carry.map(|carry| carry.hidden.shape()[..] == [2, 3]), Some(true));
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether x is (time, batch, in), not (batch, time, in).
    pub time_major: bool,
    /// Whether the last element comes first.
    pub reverse: bool,
    /// Whether the hidden states of all steps are wanted, or that after the last.
    pub sequence: bool,
    /// Whether the carry after the last step is wanted.
    pub carry: bool,
}

/// A recurrent cell along a sequence x, or for the one step of an x (batch, in), from zeros where no carry is given.
///
/// Returns the hidden states of all steps, or that after the last, and the carry where it is wanted. LSTM:
/// `c = f c + i g`, `h = o tanh(c)` with gates i, f, g, o; GRU: `h = (1 - z) n + z h` with gates r, z, n and the
/// reset gate on the product (Cho et al. 2014, in cuDNN's form).
///
/// ```
/// use luxon::{Cell, DType, RecurrentOptions, RecurrentWeights, Tensor, recurrent};
/// let (x, one) = (Tensor::new(&[1.0, 2.0], &[1, 2, 1])?, Tensor::ones(&[1, 1], DType::F64)?);
/// let weights = RecurrentWeights { input: &one, hidden: &one, input_bias: None, hidden_bias: None };
/// let (last, _) = recurrent(Cell::Tanh, &x, &weights, None, RecurrentOptions::default())?;
/// assert!((last.to_vec::<f64>()?[0] - (2.0 + 1.0f64.tanh()).tanh()).abs() < 1e-12);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit, [`Error::Value`] for a sequence without steps,
/// [`Error::Type`] for operands that are not floating.
pub fn recurrent(
    cell: Cell,
    x: &Tensor,
    weights: &Weights<'_>,
    carry: Option<&Carry>,
    options: Options,
) -> Result<(Tensor, Option<Carry>)> {
    let lstm = cell == Cell::Lstm;
    let mut op = Recurrent {
        cell,
        time_major: options.time_major,
        reverse: options.reverse,
        sequence: options.sequence,
        memory: lstm && options.carry,
        bias: false,
        kept: false,
    };
    check(&op, x, weights, carry)?;
    let mut operands: SmallVec<[&Tensor; 7]> = [x, weights.input, weights.hidden].into_iter().collect();
    operands.extend(weights.input_bias);
    operands.extend(weights.hidden_bias);
    operands.extend(carry.map(|carry| &carry.hidden));
    operands.extend(carry.and_then(|carry| carry.memory.as_ref()));
    let dtype = joined_float(op.name(), &operands)?;
    let compute = compute_dtype(dtype);
    let cast = |tensor: &Tensor| tensor.cast(compute);
    op.kept = operands.iter().any(|operand| operand.is_tracked());

    let mut x = cast(x)?;
    let single = x.rank() == 2;
    if single {
        (op.time_major, op.sequence) = (true, false);
        x = x.expand_dims(0)?;
    }
    let (mut input_bias, mut hidden_bias) =
        (weights.input_bias.map(cast).transpose()?, weights.hidden_bias.map(cast).transpose()?);
    if cell != Cell::Gru {
        // Only a reset gate keeps the two apart.
        input_bias = match (input_bias, hidden_bias.take()) {
            (Some(a), Some(b)) => Some(a.add(&b)?),
            (a, b) => a.or(b),
        };
    }
    let z = linear(&x, &cast(weights.input)?, input_bias.as_ref(), None)?;
    let (time, units) = (op.time(), weights.hidden.shape()[1]);
    let batch = x.shape()[1 - time];
    let zeros = || match x.value().is_host() {
        true => Tensor::zeros(&[batch, units], compute),
        // Abstract, or on the input's device.
        false => z.narrow(time, 0, 1)?.squeeze(&[time as isize])?.narrow(1, 0, units)?.detach().zeros_like(),
    };
    let hidden = carry.map_or_else(zeros, |carry| cast(&carry.hidden))?;
    let mut inputs: SmallVec<[Tensor; 5]> = [z.clone(), cast(weights.hidden)?, hidden].into_iter().collect();
    if lstm {
        inputs.push(carry.and_then(|carry| carry.memory.as_ref()).map_or_else(zeros, cast)?);
    }
    op.bias = hidden_bias.is_some();
    inputs.extend(hidden_bias);
    let all = apply(op, &inputs.iter().collect::<SmallVec<[&Tensor; 5]>>())?.cast(dtype)?;

    let axis = [time as isize];
    let states = all.shape()[time] - usize::from(op.memory);
    let y = match (op.sequence, op.memory) {
        (true, false) => all.clone(),
        (true, true) => all.narrow(time, 0, states)?,
        (false, _) => all.narrow(time, 0, 1)?.squeeze(&axis)?,
    };
    if !options.carry {
        return Ok((y, None));
    }
    let hidden = match op.sequence {
        true => all.narrow(time, if op.reverse { 0 } else { states - 1 }, 1)?.squeeze(&axis)?,
        false => y.clone(),
    };
    let memory = op.memory.then(|| all.narrow(time, states, 1)?.squeeze(&axis)).transpose()?;
    Ok((y, Some(Carry { hidden, memory })))
}

/// Refuses operands that do not fit each other, naming them all.
fn check(op: &Recurrent, x: &Tensor, weights: &Weights<'_>, carry: Option<&Carry>) -> Result<()> {
    let describe = || {
        let mut named = vec![("x", x), ("weight_ih", weights.input), ("weight_hh", weights.hidden)];
        named.extend(weights.input_bias.map(|bias| ("bias_ih", bias)));
        named.extend(weights.hidden_bias.map(|bias| ("bias_hh", bias)));
        named.extend(carry.map(|carry| ("hidden state", &carry.hidden)));
        named.extend(carry.and_then(|carry| carry.memory.as_ref()).map(|memory| ("memory", memory)));
        let texts: Vec<String> =
            named.iter().map(|(name, tensor)| format!("{name} {}", show(tensor.shape()))).collect();
        texts.join(", ")
    };
    let refuse = |what: String| Error::shape(op.name(), format_args!("{} do not fit: {what}", describe()));
    if !(2..=3).contains(&x.rank()) {
        let axes = if op.time_major { "(time, batch, in)" } else { "(batch, time, in)" };
        return Err(refuse(format!("expected x {axes}, or (batch, in) for one step")));
    }
    let (features, gates) = (x.shape()[x.rank() - 1], op.cell.gates());
    let fits = weights.hidden.rank() == 2
        && weights.input.rank() == 2
        && gates.checked_mul(weights.hidden.shape()[1]) == Some(weights.hidden.shape()[0])
        && weights.input.shape()[0] == weights.hidden.shape()[0];
    if !fits {
        let rows = if gates == 1 { "hidden".into() } else { format!("{gates} * hidden") };
        return Err(refuse(format!("expected weight_ih ({rows}, in) and weight_hh ({rows}, hidden)")));
    }
    if features != weights.input.shape()[1] {
        return Err(refuse(format!("{features} features against {}", weights.input.shape()[1])));
    }
    let rows = weights.hidden.shape()[0];
    if [weights.input_bias, weights.hidden_bias].into_iter().flatten().any(|bias| bias.shape()[..] != [rows]) {
        return Err(refuse(format!("expected each bias ({rows},)")));
    }
    let Some(carry) = carry else { return Ok(()) };
    let batch = if x.rank() == 2 { x.shape()[0] } else { x.shape()[1 - op.time()] };
    let state = [batch, weights.hidden.shape()[1]];
    if std::iter::once(&carry.hidden).chain(&carry.memory).any(|part| part.shape()[..] != state) {
        return Err(refuse(format!("expected a carry of shape {}", show(&state))));
    }
    if carry.memory.is_some() != (op.cell == Cell::Lstm) {
        let wanted = if carry.memory.is_some() { "the hidden state alone" } else { "hidden state and memory" };
        return Err(Error::value(op.name(), format_args!("the carry is {wanted}")));
    }
    Ok(())
}
