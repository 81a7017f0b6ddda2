//! Equations of letters: what `einsum` reads, checked against its operands.
//!
//! A letter is its own label; the axes that an ellipsis stands for are labelled from the last, so that
//! ellipses of different lengths broadcast from the right.

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::layout::show;
use crate::tensor::Tensor;

/// An index: a letter, or an axis that an ellipsis stands for, counted from its last.
pub(super) type Label = u8;
/// The label of the last axis of an ellipsis; letters of ASCII are below.
pub(super) const ELLIPSIS: Label = 128;

/// The labels of a tensor's axes.
pub(super) type Labels = SmallVec<[Label; 8]>;

fn shown(label: Label) -> String {
    if label < ELLIPSIS { format!("'{}'", label as char) } else { "an axis of '...'".into() }
}

/// A term of an equation: the letters before and after its ellipsis, if there is one.
struct Term<'a> {
    text: &'a str,
    before: Labels,
    after: Option<Labels>,
}

impl<'a> Term<'a> {
    fn parse(equation: &str, text: &'a str) -> Result<Term<'a>> {
        let refuse = |what: &str| Error::value("einsum", format_args!("equation {equation:?}: {what}"));
        let mut term = Term { text, before: Labels::new(), after: None };
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            if let Some(tail) = rest.strip_prefix("...") {
                if term.after.is_some() {
                    return Err(refuse(&format!("term '{text}' has more than one ellipsis")));
                }
                term.after = Some(Labels::new());
                rest = tail;
            } else if next.is_ascii_alphabetic() {
                term.after.as_mut().unwrap_or(&mut term.before).push(next as Label);
                rest = &rest[1..];
            } else {
                return Err(refuse(&format!("'{next}' in term '{text}' is neither a letter nor '...'")));
            }
        }
        Ok(term)
    }

    /// The labels with an ellipsis of `width` axes written out.
    fn labels(&self, width: usize) -> Labels {
        let mut labels = self.before.clone();
        if let Some(after) = &self.after {
            labels.extend((0..width).rev().map(|axis| ELLIPSIS + axis as Label));
            labels.extend(after.iter().copied());
        }
        labels
    }

    fn letters(&self) -> usize {
        self.before.len() + self.after.as_ref().map_or(0, SmallVec::len)
    }
}

/// An equation applied to operands of known shapes.
pub(super) struct Equation {
    /// The labels of each operand.
    pub inputs: Vec<Labels>,
    /// The labels of the result, each once.
    pub output: Labels,
}

impl Equation {
    /// Reads an equation for these operands.
    pub fn parse(equation: &str, operands: &[&Tensor]) -> Result<Equation> {
        let refuse = |what: String| Error::value("einsum", format_args!("equation {equation:?}: {what}"));
        let compact: String = equation.chars().filter(|letter| !letter.is_whitespace()).collect();
        let (left, right) = match compact.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (compact.as_str(), None),
        };
        let terms = left.split(',').map(|text| Term::parse(equation, text)).collect::<Result<Vec<_>>>()?;
        if terms.len() != operands.len() {
            return Err(refuse(format!("it has {} terms for {} operands", terms.len(), operands.len())));
        }
        let mut inputs = Vec::new();
        let mut widest = 0;
        for (index, (term, operand)) in terms.iter().zip(operands).enumerate() {
            let width = operand.rank().checked_sub(term.letters()).filter(|&width| width == 0 || term.after.is_some());
            let Some(width) = width else {
                return Err(refuse(format!(
                    "term '{}' does not name the axes of operand {index} of shape {}",
                    term.text,
                    show(operand.shape())
                )));
            };
            widest = widest.max(width);
            inputs.push(term.labels(width));
        }
        let output = match right {
            Some(right) => {
                let term = Term::parse(equation, right)?;
                let output = term.labels(widest);
                for (position, &label) in output.iter().enumerate() {
                    if output[..position].contains(&label) {
                        return Err(refuse(format!("the output names {} twice", shown(label))));
                    }
                    if !inputs.iter().any(|labels| labels.contains(&label)) {
                        return Err(refuse(format!("the output names {}, which no operand has", shown(label))));
                    }
                }
                output
            }
            None => implicit_output(&inputs, widest),
        };
        Ok(Equation { inputs, output })
    }
}

/// The axes of ellipses, then the letters that appear exactly once, in alphabetical order.
fn implicit_output(inputs: &[Labels], widest: usize) -> Labels {
    let mut output: Labels = (0..widest).rev().map(|axis| ELLIPSIS + axis as Label).collect();
    let all: Labels = inputs.iter().flatten().copied().filter(|&label| label < ELLIPSIS).collect();
    let mut once: Labels =
        all.iter().copied().filter(|label| all.iter().filter(|other| *other == label).count() == 1).collect();
    once.sort_unstable();
    output.extend(once);
    output
}

/// The size of every label; 1 gives way to any other.
pub(super) fn sizes(equation: &str, operands: &[&Tensor], inputs: &[Labels]) -> Result<[usize; 256]> {
    let mut full = [1usize; 256];
    for (labels, operand) in inputs.iter().zip(operands) {
        for (axis, &label) in labels.iter().enumerate() {
            let (size, known) = (operand.shape()[axis], full[label as usize]);
            let within = labels[..axis]
                .iter()
                .position(|&other| other == label)
                .is_some_and(|other| operand.shape()[other] != size);
            if within || (size != known && size != 1 && known != 1) {
                let shapes: Vec<String> = operands.iter().map(|operand| show(operand.shape())).collect();
                return Err(Error::shape(
                    "einsum",
                    format_args!(
                        "equation {equation:?} gives {} the sizes {known} and {size} in shapes {}",
                        shown(label),
                        shapes.join(", ")
                    ),
                ));
            }
            if size != 1 {
                full[label as usize] = size;
            }
        }
    }
    Ok(full)
}
