//! Sums of products named by letters (`einsum`), and `tensordot`.
//!
//! An equation is reduced to tensor operations: repeated letters to diagonals, letters of one operand to
//! sums, and then pair by pair, the cheapest first, to a matrix product or a broadcast multiplication. So
//! derivatives of every order come from those, and a contraction runs at the speed of the matrix product.

use crate::dtype::{DType, Kind};
use crate::error::{Error, Result};
use crate::layout::{resolve_axis, show};
use crate::op::matmul::matmul;
use crate::tensor::Tensor;

mod equation;

use equation::{ELLIPSIS, Equation, Label, Labels, sizes};

/// A tensor whose axes have labels.
#[derive(Clone)]
struct Named {
    tensor: Tensor,
    labels: Labels,
}

impl Named {
    fn has(&self, label: Label) -> bool {
        self.labels.contains(&label)
    }

    fn size(&self, label: Label) -> usize {
        self.labels.iter().position(|&own| own == label).map_or(1, |axis| self.tensor.shape()[axis])
    }

    /// Axes of one label become their diagonal.
    fn without_repeats(mut self) -> Result<Named> {
        while let Some((first, second)) = repeated(&self.labels) {
            let label = self.labels[first];
            self.tensor = self.tensor.diagonal(0, first as isize, second as isize)?;
            self.labels.remove(second);
            self.labels.remove(first);
            self.labels.push(label);
        }
        Ok(self)
    }

    /// The sum over the labels that are not to be kept, in the same dtype.
    fn summed(mut self, keep: impl Fn(Label) -> bool) -> Result<Named> {
        let axes: Vec<isize> =
            (0..self.labels.len()).filter(|&axis| !keep(self.labels[axis])).map(|axis| axis as isize).collect();
        if !axes.is_empty() {
            self.tensor = self.tensor.sum(Some(&axes), false)?.cast(self.tensor.dtype())?;
            self.labels.retain(|label| keep(*label));
        }
        Ok(self)
    }

    /// The tensor with its axes in the order of `labels`, all of which it has.
    fn ordered(&self, labels: &[Label]) -> Result<Tensor> {
        let order: Vec<isize> = labels
            .iter()
            .filter_map(|label| self.labels.iter().position(|own| own == label))
            .map(|axis| axis as isize)
            .collect();
        self.tensor.permute(&order)
    }

    /// The tensor with one axis per label, of size 1 where it does not have the label.
    fn spread(&self, labels: &[Label]) -> Result<Tensor> {
        let own: Labels = labels.iter().copied().filter(|&label| self.has(label)).collect();
        let shape: Vec<isize> = labels.iter().map(|&label| self.size(label) as isize).collect();
        self.ordered(&own)?.reshape(&shape)
    }
}

fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|second| {
        labels[..second].iter().position(|label| *label == labels[second]).map(|first| (first, second))
    })
}

/// The sum of products over the labels of both that are not kept; labels of one alone are all kept.
fn contract(a: &Named, b: &Named, keep: impl Fn(Label) -> bool, output: &[Label]) -> Result<Named> {
    let pick = |from: &Named, condition: &dyn Fn(Label) -> bool| -> Labels {
        from.labels.iter().copied().filter(|&label| condition(label)).collect()
    };
    let place = |label: &Label| output.iter().position(|other| other == label).unwrap_or(usize::MAX);
    // The operand whose own labels come first in the output gives the rows, so that no transpose is left.
    let first = |one: &Named, other: &Named| one.labels.iter().filter(|label| !other.has(**label)).map(place).min();
    let (a, b) = match (first(a, b), first(b, a)) {
        (Some(by_a), Some(by_b)) if by_b < by_a => (b, a),
        _ => (a, b),
    };
    let mut batch = pick(a, &|label| b.has(label) && keep(label));
    batch.sort_by_key(place);
    let inner = pick(a, &|label| b.has(label) && !keep(label));
    let (rows, columns) = (pick(a, &|label| !b.has(label)), pick(b, &|label| !a.has(label)));
    let mut labels = batch.clone();
    labels.extend(rows.iter().chain(&columns).copied());
    if inner.is_empty() || (!batch.is_empty() && rows.is_empty() && columns.is_empty()) {
        let mut all = labels.clone();
        all.extend(inner.iter().copied());
        let product = Named { tensor: a.spread(&all)?.mul(&b.spread(&all)?)?, labels: all };
        return product.summed(|label| !inner.contains(&label));
    }
    let matrices = |from: &Named, left: &Labels, right: &Labels| {
        let order: Labels = batch.iter().chain(left).chain(right).copied().collect();
        let product = |labels: &Labels| labels.iter().map(|&label| from.size(label)).product::<usize>() as isize;
        let mut shape: Vec<isize> = batch.iter().map(|&label| from.size(label) as isize).collect();
        shape.extend([product(left), product(right)]);
        from.ordered(&order)?.reshape(&shape)
    };
    let product = matmul(&matrices(a, &rows, &inner)?, &matrices(b, &inner, &columns)?)?;
    let shape: Vec<isize> =
        labels.iter().map(|&label| if a.has(label) { a.size(label) } else { b.size(label) } as isize).collect();
    Ok(Named { tensor: product.reshape(&shape)?, labels })
}

/// The pair whose contraction shrinks the memory in use the most.
fn cheapest(operands: &[Named], keep: &dyn Fn(usize, usize, Label) -> bool) -> (usize, usize) {
    let elements =
        |labels: &mut dyn Iterator<Item = (Label, usize)>| labels.map(|(_, size)| size as f64).product::<f64>();
    let mut best = (f64::INFINITY, (0, 1));
    for second in 1..operands.len() {
        for first in 0..second {
            let (a, b) = (&operands[first], &operands[second]);
            let own = a.labels.iter().map(|&label| (label, a.size(label)));
            let others = b.labels.iter().filter(|label| !a.has(**label)).map(|&label| (label, b.size(label)));
            let result = elements(&mut own.chain(others).filter(|&(label, _)| keep(first, second, label)));
            let cost = result - a.tensor.count() as f64 - b.tensor.count() as f64;
            if cost < best.0 {
                best = (cost, (first, second));
            }
        }
    }
    best.1
}

/// One dtype for all operands.
fn promoted(op: &str, operands: &[&Tensor]) -> Result<DType> {
    let dtype = operands.iter().fold(None, |joined: Option<DType>, operand| {
        Some(joined.map_or(operand.dtype(), |dtype| dtype.promote(operand.dtype())))
    });
    match dtype {
        Some(dtype) if dtype.kind() != Kind::Bool => Ok(dtype),
        Some(dtype) => Err(Error::unsupported(op, dtype, "numbers; cast with astype")),
        None => Err(Error::value(op, "needs at least one operand")),
    }
}

/// The sum of products that an equation of letters says: `einsum("bij,bjk->bik", ..)`.
///
/// Each operand has a term of letters, one an axis; a letter that is not in the output is summed over. A
/// letter twice in a term takes a diagonal; `...` stands for any axes, broadcast. Without `->` the output
/// has the ellipsis and the letters that appear once, in alphabetical order.
///
/// ```
/// use luxon::{Tensor, einsum};
/// let a = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2])?;
/// assert_eq!(einsum("ii", &[&a])?.to_vec::<f32>()?, [5.0]);
/// assert_eq!(einsum("ij,j->i", &[&a, &a.narrow(0, 0, 1)?.reshape(&[2])?])?.to_vec::<f32>()?, [5.0, 11.0]);
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Value`] for an equation that cannot be read or does not fit the operands, [`Error::Shape`]
/// where a letter has two sizes, [`Error::Type`] for truth values.
pub fn einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
    let dtype = promoted("einsum", operands)?;
    let Equation { inputs, output } = Equation::parse(equation, operands)?;
    let full = sizes(equation, operands, &inputs)?;
    let mut named = Vec::new();
    for (labels, operand) in inputs.into_iter().zip(operands) {
        // An axis of size 1 that is to be broadcast says nothing: without it the operand repeats.
        let thin: Vec<isize> = (0..labels.len())
            .filter(|&axis| operand.shape()[axis] != full[labels[axis] as usize])
            .map(|axis| axis as isize)
            .collect();
        let kept = labels
            .iter()
            .enumerate()
            .filter(|(axis, _)| !thin.contains(&(*axis as isize)))
            .map(|(_, &label)| label)
            .collect();
        named.push(Named { tensor: operand.cast(dtype)?.squeeze(&thin)?, labels: kept }.without_repeats()?);
    }
    for index in 0..named.len() {
        let others: Labels = named
            .iter()
            .enumerate()
            .filter(|&(other, _)| other != index)
            .flat_map(|(_, operand)| operand.labels.iter().copied())
            .collect();
        named[index] = named[index].clone().summed(|label| output.contains(&label) || others.contains(&label))?;
    }
    while named.len() > 1 {
        let keep = |first: usize, second: usize, label: Label| {
            let elsewhere = named
                .iter()
                .enumerate()
                .any(|(index, operand)| index != first && index != second && operand.has(label));
            elsewhere || output.contains(&label)
        };
        let (first, second) = cheapest(&named, &keep);
        let result = contract(&named[first], &named[second], |label| keep(first, second, label), &output)?;
        named.remove(second);
        named[first] = result;
    }
    match named.pop() {
        Some(result) => result.ordered(&output),
        None => Err(Error::value("einsum", "needs at least one operand")),
    }
}

/// The sum of products over pairs of axes; the axes that remain are those of `a`, then those of `b`.
///
/// ```
/// use luxon::{DType, Tensor, tensordot};
/// let (a, b) = (Tensor::ones(&[2, 3, 4], DType::F32)?, Tensor::ones(&[4, 3, 5], DType::F32)?);
/// let c = tensordot(&a, &b, &[1, 2], &[1, 0])?;
/// assert_eq!((&c.shape()[..], c.to_vec::<f32>()?[0]), (&[2, 5][..], 12.0));
/// # Ok::<(), luxon::Error>(())
/// ```
///
/// # Errors
/// [`Error::Shape`] where paired axes differ in size, [`Error::Value`] for lists of different lengths or
/// an axis given twice, [`Error::Index`] for one that is not there.
pub fn tensordot(a: &Tensor, b: &Tensor, a_axes: &[isize], b_axes: &[isize]) -> Result<Tensor> {
    const NAME: &str = "tensordot";
    if a_axes.len() != b_axes.len() {
        return Err(Error::value(
            NAME,
            format_args!("{} axes of the first operand against {} of the second", a_axes.len(), b_axes.len()),
        ));
    }
    let dtype = promoted(NAME, &[a, b])?;
    let mut labels: [Labels; 2] =
        [(0..a.rank() as Label).collect(), (0..b.rank() as Label).map(|axis| 64 + axis).collect()];
    for (&by_a, &by_b) in a_axes.iter().zip(b_axes) {
        let (first, second) = (resolve_axis(NAME, by_a, a.rank())?, resolve_axis(NAME, by_b, b.rank())?);
        if labels[0][first] >= ELLIPSIS || labels[1][second] >= ELLIPSIS {
            return Err(Error::value(NAME, format_args!("axes {by_a} and {by_b}: one of them is given twice")));
        }
        if a.shape()[first] != b.shape()[second] {
            return Err(Error::shape(
                NAME,
                format_args!(
                    "shapes {} and {} do not fit: axis {by_a} of size {} against axis {by_b} of size {}",
                    show(a.shape()),
                    show(b.shape()),
                    a.shape()[first],
                    b.shape()[second]
                ),
            ));
        }
        let label = ELLIPSIS + labels[0][first];
        labels[0][first] = label;
        labels[1][second] = label;
    }
    let output: Labels = labels.iter().flatten().copied().filter(|&label| label < ELLIPSIS).collect();
    let [for_a, for_b] = labels;
    let (a, b) = (Named { tensor: a.cast(dtype)?, labels: for_a }, Named { tensor: b.cast(dtype)?, labels: for_b });
    contract(&a, &b, |label| label < ELLIPSIS, &output)?.ordered(&output)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::op::testing::{check_gradients, sample};

    /// The sum of products from its definition: one loop over all index values.
    fn reference(inputs: &[(&str, &Tensor)], output: &str) -> Vec<f64> {
        let mut letters: Vec<char> = output.chars().collect();
        for (term, _) in inputs {
            letters.extend(term.chars());
        }
        let mut seen = Vec::new();
        letters.retain(|letter| {
            !seen.contains(letter) && {
                seen.push(*letter);
                true
            }
        });
        let size = |letter: char| {
            inputs.iter().find_map(|(term, tensor)| term.find(letter).map(|axis| tensor.shape()[axis])).unwrap()
        };
        let sizes: Vec<usize> = letters.iter().map(|&letter| size(letter)).collect();
        let data: Vec<Vec<f64>> = inputs.iter().map(|(_, tensor)| tensor.to_vec().unwrap()).collect();
        let kept: usize = output.chars().map(size).product();
        let total: usize = sizes.iter().product();
        let mut result = vec![0.0; kept];
        for flat in 0..total {
            let (mut rest, mut index) = (flat, vec![0; sizes.len()]);
            for axis in (0..sizes.len()).rev() {
                index[axis] = rest % sizes[axis];
                rest /= sizes[axis];
            }
            let at = |letter: char| index[letters.iter().position(|&other| other == letter).unwrap()];
            let place = |term: &str| term.chars().fold(0, |sum, letter| sum * size(letter) + at(letter));
            let product: f64 = inputs.iter().zip(&data).map(|((term, _), data)| data[place(term)]).product();
            result[place(output)] += product;
        }
        result
    }

    fn check(equation: &str, shapes: &[&[usize]]) {
        let tensors: Vec<Tensor> =
            shapes.iter().enumerate().map(|(seed, shape)| sample(shape, -1.0, 1.0, seed as u64 + 1)).collect();
        let (left, output) = equation.split_once("->").unwrap();
        let inputs: Vec<(&str, &Tensor)> = left.split(',').zip(&tensors).collect();
        let y = einsum(equation, &tensors.iter().collect::<Vec<_>>()).unwrap();
        let expected = reference(&inputs, output);
        let got = y.to_vec::<f64>().unwrap();
        assert_eq!(got.len(), expected.len(), "{equation}");
        for (x, y) in got.iter().zip(&expected) {
            assert!((x - y).abs() < 1e-12, "{equation}: {x} against {y}");
        }
    }

    #[test]
    fn equations_equal_the_loop() {
        check("ij,jk->ik", &[&[3, 4], &[4, 5]]);
        check("ij,jk->ki", &[&[3, 4], &[4, 5]]);
        check("ji,kj->ik", &[&[4, 3], &[5, 4]]);
        check("bij,bjk->bik", &[&[2, 3, 4], &[2, 4, 5]]);
        check("bhqd,bhkd->bhqk", &[&[2, 3, 4, 5], &[2, 3, 6, 5]]);
        check("bqhd,bkhd->bhqk", &[&[2, 4, 3, 5], &[2, 6, 3, 5]]);
        check("ijkl,jmln->imkn", &[&[2, 3, 4, 5], &[3, 2, 5, 3]]);
        check("i,i->", &[&[5], &[5]]);
        check("i,i->i", &[&[5], &[5]]);
        check("ij,ij->i", &[&[3, 5], &[3, 5]]);
        check("i,j->ij", &[&[3], &[5]]);
        check("i,j->ji", &[&[3], &[5]]);
        check("ii->i", &[&[4, 4]]);
        check("ii->", &[&[4, 4]]);
        check("iji->j", &[&[4, 3, 4]]);
        check("iijj->ij", &[&[2, 2, 3, 3]]);
        check("ijk->ki", &[&[2, 3, 4]]);
        check("ij->", &[&[2, 3]]);
        check("ij,jk,kl->il", &[&[2, 30], &[30, 4], &[4, 5]]);
        check("ab,bc,cd,da->", &[&[2, 3], &[3, 4], &[4, 5], &[5, 2]]);
        check("ijk,ilm,njm,nlk,abc->", &[&[2, 3, 2], &[2, 4, 2], &[3, 3, 2], &[3, 4, 2], &[1, 2, 1]]);
        check("ij,k->ik", &[&[2, 3], &[4]]);
        check("ij,jk->ik", &[&[2, 0], &[0, 3]]);
        check("nlk,nij,ijk->nl", &[&[2, 3, 4], &[2, 2, 3], &[2, 3, 4]]);
    }

    #[test]
    fn ellipses_broadcast_and_outputs_are_implied() {
        let (a, b) = (sample(&[2, 1, 3, 4], -1.0, 1.0, 1), sample(&[5, 4, 2], -1.0, 1.0, 2));
        let expected = matmul(&a, &b).unwrap().to_vec::<f64>().unwrap();
        for equation in ["...ij,...jk->...ik", " ...ij , ...jk ", "b...ij,...jk->b...ik"] {
            let y = einsum(equation, &[&a, &b]).unwrap();
            assert_eq!(y.shape()[..], [2, 5, 3, 2]);
            for (x, y) in y.to_vec::<f64>().unwrap().iter().zip(&expected) {
                assert!((x - y).abs() < 1e-12);
            }
        }
        let x = sample(&[2, 3], -1.0, 1.0, 1);
        assert_eq!(
            einsum("ba", &[&x]).unwrap().to_vec::<f64>().unwrap(),
            x.matrix_transpose().unwrap().to_vec::<f64>().unwrap()
        );
        assert_eq!(einsum("ij->i...", &[&x]).unwrap().shape()[..], [2]);
        let thin = einsum("ij,ij->ij", &[&x, &sample(&[2, 1], 1.0, 2.0, 3)]).unwrap();
        assert_eq!(thin.shape()[..], [2, 3]);
        let whole = Tensor::new(&[1i32, 2, 3, 4], &[2, 2]).unwrap();
        assert_eq!(einsum("ij,jk->i", &[&whole, &whole]).unwrap().to_vec::<i32>().unwrap(), [17, 37]);
    }

    #[test]
    fn derivatives_come_for_free() {
        let pair = [sample(&[2, 3, 2], -1.0, 1.0, 1), sample(&[3, 2, 2], -1.0, 1.0, 2)];
        check_gradients(|x| einsum("ijk,jkl->li", &[&x[0], &x[1]]), &pair);
        check_gradients(|x| einsum("iji,jkk->jk", &[&x[0], &x[1]]), &pair);
        check_gradients(|x| tensordot(&x[0], &x[1], &[1, 2], &[0, -1]), &pair);
    }

    #[test]
    fn tensordot_pairs_axes() {
        let (a, b) = (sample(&[2, 3, 4], -1.0, 1.0, 1), sample(&[4, 3, 5], -1.0, 1.0, 2));
        let y = tensordot(&a, &b, &[1, 2], &[1, 0]).unwrap();
        let expected = einsum("ijk,kjl->il", &[&a, &b]).unwrap();
        assert_eq!(y.to_vec::<f64>().unwrap(), expected.to_vec::<f64>().unwrap());
        assert_eq!(tensordot(&a, &b, &[], &[]).unwrap().shape()[..], [2, 3, 4, 4, 3, 5]);
        let text = tensordot(&a, &b, &[0], &[0]).unwrap_err().to_string();
        assert_eq!(
            text,
            "tensordot: shapes (2, 3, 4) and (4, 3, 5) do not fit: axis 0 of size 2 against axis 0 of size 4"
        );
        assert!(tensordot(&a, &b, &[1, 1], &[1, 1]).is_err());
        assert!(tensordot(&a, &b, &[1], &[]).is_err());
    }

    #[test]
    fn refusals_show_the_equation() {
        let x = Tensor::zeros(&[2, 3], DType::F32).unwrap();
        let text = |equation: &str, operands: &[&Tensor]| einsum(equation, operands).unwrap_err().to_string();
        assert_eq!(text("ij,jk", &[&x]), "einsum: equation \"ij,jk\": it has 2 terms for 1 operands");
        assert_eq!(
            text("ijk->i", &[&x]),
            "einsum: equation \"ijk->i\": term 'ijk' does not name the axes of operand 0 of shape (2, 3)"
        );
        assert_eq!(
            text("i->i", &[&x]),
            "einsum: equation \"i->i\": term 'i' does not name the axes of operand 0 of shape (2, 3)"
        );
        assert_eq!(text("ij->k", &[&x]), "einsum: equation \"ij->k\": the output names 'k', which no operand has");
        assert_eq!(text("ij->ii", &[&x]), "einsum: equation \"ij->ii\": the output names 'i' twice");
        assert_eq!(text("i$->i", &[&x]), "einsum: equation \"i$->i\": '$' in term 'i$' is neither a letter nor '...'");
        assert_eq!(text("i..j", &[&x]), "einsum: equation \"i..j\": '.' in term 'i..j' is neither a letter nor '...'");
        assert_eq!(text("......", &[&x]), "einsum: equation \"......\": term '......' has more than one ellipsis");
        assert_eq!(
            text("ij,ij", &[&x, &x.matrix_transpose().unwrap()]),
            "einsum: equation \"ij,ij\" gives 'i' the sizes 2 and 3 in shapes (2, 3), (3, 2)"
        );
        assert_eq!(text("ii", &[&x]), "einsum: equation \"ii\" gives 'i' the sizes 2 and 3 in shapes (2, 3)");
        assert_eq!(text("", &[]), "einsum: needs at least one operand");
        assert_eq!(
            text("ij->->", &[&x]),
            "einsum: equation \"ij->->\": '-' in term '->' is neither a letter nor '...'"
        );
    }
}
