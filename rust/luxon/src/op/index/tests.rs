use super::*;
use crate::cpu::copy::tests::Random;
use crate::op::testing::{check_gradients, sample};
use half::bf16;
use proptest::prelude::*;
use std::slice::from_ref;

fn counting(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let elements: Vec<i64> = (0..count as i64).collect();
    Tensor::new(&elements, shape).unwrap()
}

fn list(numbers: &[i64]) -> Tensor {
    Tensor::new(numbers, &[numbers.len()]).unwrap()
}

fn strides(shape: &[usize]) -> Vec<usize> {
    (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect()
}

/// Every index of a shape, in row-major order.
fn each(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut out = vec![vec![]];
    for &size in shape {
        out = out.iter().flat_map(|index| (0..size).map(|i| [index.clone(), vec![i]].concat())).collect();
    }
    out
}

/// What one axis of the tensor reads: nothing but a list of indices, or a position of the index tensors.
#[derive(Clone, Debug)]
enum Reads {
    Fixed(usize),
    Listed(Vec<usize>),
    /// Index by position in the broadcast index tensors.
    Picked(Tensor),
}

/// Shape and elements (as flat positions) of an expression, worked out element by element.
fn naive(shape: &[usize], expression: &[Index]) -> (Vec<usize>, Vec<i64>) {
    let picking = expression.iter().any(|index| matches!(index, Index::Array(_) | Index::Mask(_)));
    let used: usize = expression
        .iter()
        .map(|index| match index {
            Index::Mask(mask) => mask.rank(),
            Index::NewAxis | Index::Ellipsis => 0,
            _ => 1,
        })
        .sum();
    // Marks: 'k' a kept axis, 'n' a new one, 'g' a gap, 'p' picked.
    let (mut marks, mut reads) = (Vec::new(), Vec::new());
    let mut common = Shape::new();
    let keep = |reads: &mut Vec<Reads>| {
        let size = shape[reads.len()];
        reads.push(Reads::Listed((0..size).collect()));
    };
    for index in expression {
        match index {
            Index::Int(index) => {
                let size = shape[reads.len()] as i64;
                reads.push(Reads::Fixed(index.rem_euclid(size) as usize));
                marks.push(if picking { 'p' } else { '-' });
            }
            Index::Slice { start, stop, step } => {
                let (size, step) = (shape[reads.len()] as i64, step.unwrap_or(1));
                let fix = |bound: i64| if bound < 0 { bound + size } else { bound };
                let all: Vec<usize> = if step > 0 {
                    let (from, to) = (start.map_or(0, fix).max(0), stop.map_or(size, fix));
                    (from..to.min(size)).step_by(step as usize).map(|i| i as usize).collect()
                } else {
                    let (from, to) = (start.map_or(size - 1, fix).min(size - 1), stop.map_or(-1, fix).max(-1));
                    (to + 1..=from).rev().step_by(-step as usize).map(|i| i as usize).collect()
                };
                reads.push(Reads::Listed(all));
                marks.push('k');
            }
            Index::NewAxis => marks.push('n'),
            Index::Ellipsis => {
                marks.push('g');
                (0..shape.len() - used).for_each(|_| keep(&mut reads));
                marks.extend(std::iter::repeat_n('k', shape.len() - used));
            }
            Index::Array(tensor) => {
                common = broadcast_shapes_of(&common, tensor.shape());
                reads.push(Reads::Picked(tensor.clone()));
                marks.push('p');
            }
            Index::Mask(mask) => {
                let hits = mask.to_vec::<bool>().unwrap();
                let hits: Vec<Vec<usize>> =
                    each(mask.shape()).into_iter().zip(hits).filter_map(|(index, hit)| hit.then_some(index)).collect();
                common = broadcast_shapes_of(&common, &[hits.len()]);
                for axis in 0..mask.rank() {
                    reads.push(Reads::Picked(list(&hits.iter().map(|hit| hit[axis] as i64).collect::<Vec<_>>())));
                }
                marks.push('p');
            }
        }
    }
    while reads.len() < shape.len() {
        keep(&mut reads);
        marks.push('k');
    }
    let first = marks.iter().position(|&mark| mark == 'p');
    let last = marks.iter().rposition(|&mark| mark == 'p');
    let together = first.is_none_or(|first| marks[first..=last.unwrap()].iter().all(|&mark| mark == 'p'));
    // Where each axis of the result comes from: an axis of x, a new one, or the index tensors' axes.
    let mut sizes = Vec::new();
    let mut place = None;
    if !together {
        place = Some(0);
        sizes.extend_from_slice(&common);
    }
    let mut kept = reads.iter().filter_map(|reads| if let Reads::Listed(all) = reads { Some(all.len()) } else { None });
    let mut result_axis_of_kept = Vec::new();
    for mark in marks {
        match mark {
            'k' => {
                result_axis_of_kept.push(sizes.len());
                sizes.push(kept.next().unwrap());
            }
            'n' => sizes.push(1),
            'p' if place.is_none() => {
                place = Some(sizes.len());
                sizes.extend_from_slice(&common);
            }
            _ => {}
        }
    }
    let along = strides(shape);
    let mut flat = Vec::new();
    for index in each(&sizes) {
        let mut kept = result_axis_of_kept.iter();
        let mut position = 0;
        for (axis, reads) in reads.iter().enumerate() {
            let at = match reads {
                Reads::Fixed(at) => *at,
                Reads::Listed(all) => all[index[*kept.next().unwrap()]],
                Reads::Picked(tensor) => {
                    let place = place.unwrap();
                    let tail = &index[place..place + common.len()][common.len() - tensor.rank()..];
                    let offset: usize = tail
                        .iter()
                        .zip(tensor.shape().iter())
                        .zip(strides(tensor.shape()))
                        .map(|((&i, &size), stride)| if size == 1 { 0 } else { i * stride })
                        .sum();
                    tensor.to_vec::<i64>().unwrap()[offset].rem_euclid(shape[axis] as i64) as usize
                }
            };
            position += at * along[axis];
        }
        flat.push(position as i64);
    }
    (sizes, flat)
}

fn broadcast_shapes_of(a: &[usize], b: &[usize]) -> Shape {
    crate::layout::broadcast_shapes("test", a, b).unwrap()
}

/// A random expression for `shape`, all of whose axes have elements.
fn expression(random: &mut Random, shape: &[usize]) -> Vec<Index> {
    let mut out = Vec::new();
    let common = [vec![], vec![3], vec![2, 3]][random.below(3)].clone();
    let count: usize = common.iter().product();
    let (mut axis, mut gap) = (0, random.below(2) == 0);
    let mut picks = 0;
    while axis < shape.len() {
        let size = shape[axis] as i64;
        let any = |random: &mut Random| random.below(2 * size as usize) as i64 - size;
        match random.below(9) {
            0 | 1 => out.push(Index::Int(any(random))),
            2 | 3 => {
                let mut bound =
                    |wide: i64| (random.below(3) > 0).then(|| random.below(4 * wide as usize) as i64 - 2 * wide);
                let (start, stop, step) = (bound(size), bound(size), bound(2).filter(|&step| step != 0));
                out.push(Index::Slice { start, stop, step });
            }
            4 if gap => {
                gap = false;
                out.push(Index::Ellipsis);
                axis += random.below(shape.len() - axis + 1);
                continue;
            }
            5 => {
                out.push(Index::NewAxis);
                continue;
            }
            6 if picks == 0 && out.len() < 4 => {
                // One mask, alone among index tensors: its count is that of no other.
                let rank = 1 + random.below(shape.len() - axis);
                let sizes = &shape[axis..axis + rank];
                let mask: Vec<bool> = (0..sizes.iter().product()).map(|_| random.below(2) == 0).collect();
                out.push(Index::Mask(Tensor::new(&mask, sizes).unwrap()));
                axis += rank;
                picks = 9;
                continue;
            }
            7 | 8 if picks < 3 => {
                picks += 1;
                let numbers: Vec<i64> = (0..count).map(|_| any(random)).collect();
                out.push(Index::Array(Tensor::new(&numbers, &common).unwrap()));
            }
            _ => out.push(Index::ALL),
        }
        axis += 1;
    }
    out
}

/// A tensor of the same elements with gaps or another order in memory, now and then.
fn scattered(random: &mut Random, x: &Tensor) -> Tensor {
    match random.below(3) {
        0 => x.clone(),
        1 => {
            let order: Vec<isize> = (0..x.rank() as isize).rev().collect();
            x.permute(&order).unwrap().contiguous().unwrap().permute(&order).unwrap()
        }
        _ => {
            let wide = crate::op::linear::stack(&[x, x], -1).unwrap();
            wide.narrow(x.rank(), 1, 1).unwrap().squeeze(&[-1]).unwrap()
        }
    }
}

proptest! {
    #[test]
    fn expressions_equal_the_naive_ones(seed in any::<u64>()) {
        let random = &mut Random(seed);
        let shape: Vec<usize> = (0..1 + random.below(4)).map(|_| 1 + random.below(4)).collect();
        let parts = expression(random, &shape);
        let (sizes, flat) = naive(&shape, &parts);
        // What is picked keeps its axes until the integers, slices and new axes are done.
        let new = parts.iter().filter(|part| matches!(part, Index::NewAxis)).count();
        if sizes.len().max(shape.len() + new) > crate::layout::MAX_RANK {
            return Ok(());
        }
        let x = scattered(random, &counting(&shape));
        let got = x.index_nd(&parts).unwrap();
        prop_assert_eq!(&got.shape()[..], &sizes[..], "{:?} {:?}", shape, parts);
        prop_assert_eq!(&got.to_vec::<i64>().unwrap(), &flat, "{:?} {:?}", shape, parts);
        // Updates, one element after the other.
        for update in [Update::Set, Update::Add, Update::Multiply, Update::Min, Update::Max] {
            let values: Vec<i64> = flat.iter().map(|_| random.below(30) as i64 - 10).collect();
            let mut expected = counting(&shape).to_vec::<i64>().unwrap();
            for (&at, &value) in flat.iter().zip(&values) {
                let place = &mut expected[at as usize];
                *place = match update {
                    Update::Set => value,
                    Update::Add => *place + value,
                    Update::Multiply => place.wrapping_mul(value),
                    Update::Min => value.min(*place),
                    Update::Max => value.max(*place),
                };
            }
            let values = Tensor::new(&values, &sizes).unwrap();
            let got = x.index_update(&parts, &values, update).unwrap();
            prop_assert_eq!(&got.shape()[..], &shape[..]);
            prop_assert_eq!(got.to_vec::<i64>().unwrap(), expected, "{:?} {:?} {:?}", shape, parts, update);
        }
    }

    #[test]
    fn one_axis_equals_the_naive_loops(seed in any::<u64>()) {
        let random = &mut Random(seed);
        let shape: Vec<usize> = (0..1 + random.below(3)).map(|_| 1 + random.below(5)).collect();
        let axis = random.below(shape.len());
        let x = scattered(random, &counting(&shape)).cast(DType::ALL[1 + random.below(7)]).unwrap();
        let picked: Vec<usize> = (0..random.below(3)).map(|_| random.below(4)).collect();
        let numbers: Vec<i64> = (0..picked.iter().product())
            .map(|_| random.below(2 * shape[axis]) as i64 - shape[axis] as i64)
            .collect();
        let indices = Tensor::new(&numbers, &picked).unwrap();
        let wrapped: Vec<usize> = numbers.iter().map(|i| i.rem_euclid(shape[axis] as i64) as usize).collect();
        let mut sizes = shape.clone();
        sizes.splice(axis..=axis, picked.iter().copied());
        let (along, picks) = (strides(&shape), strides(&picked));
        let source = |index: &[usize]| -> usize {
            let middle: usize = index[axis..axis + picked.len()].iter().zip(&picks).map(|(i, s)| i * s).sum();
            let mut at = wrapped[middle] * along[axis];
            at += index[..axis].iter().zip(&along).map(|(i, s)| i * s).sum::<usize>();
            at + index[axis + picked.len()..].iter().zip(&along[axis + 1..]).map(|(i, s)| i * s).sum::<usize>()
        };
        let got = x.take(&indices.cast(DType::I32).unwrap(), axis as isize).unwrap();
        let expected: Vec<i64> = each(&sizes).iter().map(|index| source(index) as i64).collect();
        prop_assert_eq!(got.shape()[..].to_vec(), sizes.clone());
        prop_assert_eq!(got.cast(DType::I64).unwrap().to_vec::<i64>().unwrap(), expected);
        let updates = counting(&sizes);
        let mut expected = counting(&shape).to_vec::<i64>().unwrap();
        for (value, index) in each(&sizes).iter().enumerate() {
            expected[source(index)] += value as i64;
        }
        let got = counting(&shape).scatter_add(&indices, &updates, axis as isize - shape.len() as isize).unwrap();
        prop_assert_eq!(got.to_vec::<i64>().unwrap(), expected);
    }
}

#[test]
fn places_of_index_tensors_are_numpys() {
    let pick = || Index::Array(list(&[0, 1]));
    let shape = |shape: &[usize], parts: &[Index]| counting(shape).index_nd(parts).unwrap().shape()[..].to_vec();
    assert_eq!(shape(&[5, 3, 4], &[Index::ALL, pick(), Index::Ellipsis, pick()]), [2, 5]);
    assert_eq!(shape(&[5, 3, 4, 6], &[Index::ALL, Index::Int(0), Index::Ellipsis, pick()]), [2, 5, 4]);
    assert_eq!(shape(&[5, 3, 4], &[Index::ALL, Index::Int(0), pick()]), [5, 2]);
    let truth = |value: bool| Index::Mask(Tensor::scalar(value, DType::Bool));
    assert_eq!(shape(&[5, 3, 4], &[Index::ALL, truth(true), Index::NewAxis, pick()]), [2, 5, 1, 4]);
    assert_eq!(shape(&[5, 3, 4], &[Index::ALL, truth(false)]), [5, 0, 3, 4]);
    assert_eq!(shape(&[5, 3], &[truth(true)]), [1, 5, 3]);
    assert_eq!(shape(&[], &[Index::Ellipsis, Index::NewAxis]), [1]);
    assert_eq!(shape(&[0, 3], &[Index::Array(list(&[]))]), [0, 3]);
}

#[test]
fn wrong_indices_are_named() {
    let x = counting(&[4, 5]);
    let seven = list(&[0, 7]);
    let message = |result: Result<Tensor>| match result {
        Err(Error::Index(text)) => text,
        other => format!("{other:?}"),
    };
    assert_eq!(message(x.take(&seven, 1)), "take: index 7 is out of bounds for axis 1 with size 5");
    assert_eq!(message(x.take(&list(&[-6]), -1)), "take: index -6 is out of bounds for axis 1 with size 5");
    let last = [Index::ALL, Index::Array(seven.clone())];
    assert_eq!(message(x.index_nd(&last)), "take: index 7 is out of bounds for axis 1 with size 5");
    for update in [Update::Set, Update::Add, Update::Max] {
        let text = message(x.index_update(&last, 1i64, update));
        assert!(text.ends_with("index 7 is out of bounds for axis 1 with size 5"), "{text}");
    }
    assert_eq!(message(x.index_nd(&[Index::Int(-5)])), "index: index -5 is out of bounds for axis 0 with size 4");
    assert_eq!(
        message(x.index_nd(&[Index::Int(i64::MIN)])),
        format!("index: index {} is out of bounds for axis 0 with size 4", i64::MIN)
    );
    let ones = Tensor::ones(&[4, 2], DType::I64).unwrap();
    assert!(message(x.scatter_add(&seven, &ones, 1)).starts_with("scatter_add: index 7"));
    assert!(
        message(x.scatter_add_along(&counting(&[4, 6]), &Tensor::ones(&[4, 6], DType::I64).unwrap(), 1))
            .contains("index 5")
    );
    assert!(matches!(x.index_nd(&[Index::ALL, Index::ALL, Index::Int(0)]), Err(Error::Index(_))));
    assert!(matches!(x.index_nd(&[Index::Ellipsis, Index::Ellipsis]), Err(Error::Index(_))));
    assert!(matches!(x.index_nd(&[Index::Mask(Tensor::ones(&[3], DType::Bool).unwrap())]), Err(Error::Index(_))));
    assert!(matches!(x.take(&sample(&[2], 0.0, 1.0, 1), 0), Err(Error::Type(_))));
    assert!(matches!(x.index_update(&[Index::Int(0)], 1.5, Update::Set), Err(Error::Type(_))));
    assert!(matches!(x.index_update(&[Index::Int(0)], &counting(&[4]), Update::Set), Err(Error::Shape(_))));
    assert!(matches!(x.index_nd(&[Index::Slice { start: None, stop: None, step: Some(0) }]), Err(Error::Value(_))));
    let extreme = Index::Slice { start: Some(i64::MIN), stop: Some(i64::MAX), step: Some(i64::MAX) };
    assert_eq!(x.index_nd(&[extreme]).unwrap().shape()[..], [1, 5]);
    let extreme = Index::Slice { start: Some(i64::MAX), stop: Some(i64::MIN), step: Some(i64::MIN) };
    assert_eq!(x.index_nd(&[extreme]).unwrap().to_vec::<i64>().unwrap(), [15, 16, 17, 18, 19]);
}

#[test]
fn halves_are_added_in_single_precision() {
    let x = Tensor::zeros(&[1], DType::BF16).unwrap();
    let updates = Tensor::ones(&[1000], DType::BF16).unwrap();
    let zeros = Tensor::zeros(&[1000], DType::I64).unwrap();
    let sum = x.scatter_add(&zeros, &updates, 0).unwrap();
    assert_eq!(sum.to_vec::<bf16>().unwrap(), [bf16::from_f32(1000.0)]);
}

#[test]
fn derivatives_of_gathers() {
    let x = sample(&[4, 3], -1.0, 1.0, 1);
    let indices = Tensor::new(&[0i64, -1, 2, 0], &[2, 2]).unwrap();
    check_gradients(|x| x[0].take(&indices, 0)?.square(), from_ref(&x));
    check_gradients(|x| x[0].take(&indices, 1)?.exp(), &[sample(&[2, 3, 2], -1.0, 1.0, 2)]);
    let along = Tensor::new(&[0i64, 2, 2, 1, 1, 1], &[2, 3]).unwrap();
    check_gradients(|x| x[0].take_along_axis(&along, 0)?.square(), from_ref(&x));
    check_gradients(
        |x| x[0].scatter_add_along(&along, &x[1].square()?, 0)?.square(),
        &[x.clone(), sample(&[2, 3], -1.0, 1.0, 3)],
    );
    let rows = list(&[1, 1, -1]);
    check_gradients(
        |x| x[0].scatter_add(&rows, &x[1].square()?, 0)?.square(),
        &[x.clone(), sample(&[3, 3], -1.0, 1.0, 4)],
    );
    let mask = Index::Mask(Tensor::new(&[true, false, true, true], &[4]).unwrap());
    check_gradients(|x| x[0].index_nd(&[mask.clone(), Index::Int(1)])?.square(), &[x]);
}

#[test]
fn derivatives_of_updates() {
    let x = sample(&[3, 4], 0.5, 1.5, 1);
    let pairs = [Index::Array(list(&[0, 2, 0, 0, 2])), Index::Array(list(&[1, 3, 1, 1, 0]))];
    let values = sample(&[5], 0.4, 1.6, 2);
    let window = [Index::Slice { start: None, stop: None, step: Some(-2) }, Index::Int(2)];
    for update in [Update::Set, Update::Add, Update::Multiply, Update::Min, Update::Max] {
        let inputs = [x.clone(), values.clone()];
        check_gradients(|x| x[0].index_update(&pairs, &x[1].square()?, update)?.square(), &inputs);
        check_gradients(|x| x[0].index_update(&window, &x[1].narrow(0, 0, 2)?, update)?.square(), &inputs);
    }
    // Of two writes to one place, the first is lost and so is its gradient.
    let slope = crate::grad(
        |v| x.index_update(&[Index::Array(list(&[1, 1]))], &v[0], Update::Set)?.sum(None, false),
        &[sample(&[2, 1], 0.0, 1.0, 3)],
    );
    assert_eq!(slope.unwrap()[0].to_vec::<f64>().unwrap(), [0.0, 4.0]);
}

#[test]
fn abstract_tensors_have_shapes() {
    let x: Tensor = Value::abstract_of(DType::F32, &Shape::from_slice(&[4, 5]).unwrap()).unwrap().into();
    let rows = list(&[0, 3, 3]);
    assert_eq!(x.take(&rows, 1).unwrap().shape()[..], [4, 3]);
    for update in [Update::Set, Update::Add, Update::Max] {
        assert_eq!(x.index_update(&[Index::Array(rows.clone())], 1.0, update).unwrap().shape()[..], [4, 5]);
    }
    assert!(matches!(flat_of(&x), Err(Error::Value(_))));
}

fn flat_of(x: &Tensor) -> Result<Tensor> {
    x.index_nd(&[Index::Mask(x.isnan()?)])
}
