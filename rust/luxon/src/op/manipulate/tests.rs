use super::*;
use crate::cpu::copy::tests::Random;
use crate::op::testing::{check_gradients, sample};
use proptest::prelude::*;
use std::slice::from_ref;

fn counting(shape: &[usize]) -> Tensor {
    let numbers: Vec<i64> = (0..shape.iter().product::<usize>() as i64).collect();
    Tensor::new(&numbers, shape).unwrap()
}

fn read(x: &Tensor) -> Vec<i64> {
    x.cast(DType::I64).unwrap().to_vec::<i64>().unwrap()
}

/// What `source` (per axis, from the place in the result) reads of a counting tensor.
fn naive(from: &[usize], to: &[usize], source: impl Fn(usize, usize) -> usize) -> Vec<i64> {
    let mut out = vec![0usize];
    for axis in 0..to.len() {
        out = out
            .iter()
            .flat_map(|&base| (0..to[axis]).map(move |at| (base, at)))
            .map(|(base, at)| base * from[axis] + source(axis, at))
            .collect();
    }
    out.into_iter().map(|at| at as i64).collect()
}

proptest! {
    #[test]
    fn movements_equal_the_naive_ones(seed in any::<u64>()) {
        let random = &mut Random(seed);
        let shape: Vec<usize> = (0..1 + random.below(3)).map(|_| 1 + random.below(4)).collect();
        let dtype = DType::ALL[1 + random.below(7)];
        let x = counting(&shape).cast(dtype).unwrap();
        let rank = shape.len();

        let shifts: Vec<isize> = (0..rank).map(|_| random.below(12) as isize - 6).collect();
        let axes: Vec<isize> = (0..rank as isize).collect();
        let rolled = x.roll(&shifts, Some(&axes)).unwrap();
        let size = |axis: usize| shape[axis] as isize;
        prop_assert_eq!(read(&rolled), naive(&shape, &shape, |axis, at| (at as isize - shifts[axis]).rem_euclid(size(axis)) as usize));

        let times: Vec<usize> = (0..rank).map(|_| random.below(4)).collect();
        let tiled = x.tile(&times).unwrap();
        let result: Vec<usize> = shape.iter().zip(&times).map(|(size, times)| size * times).collect();
        prop_assert_eq!(tiled.shape()[..].to_vec(), result.clone());
        prop_assert_eq!(read(&tiled), naive(&shape, &result, |axis, at| at % shape[axis]));

        let axis = random.below(rank);
        let repeated = x.repeat(Repeats::Each(times[axis]), Some(axis as isize)).unwrap();
        let mut result = shape.clone();
        result[axis] *= times[axis];
        prop_assert_eq!(read(&repeated), naive(&shape, &result, |at_axis, at| if at_axis == axis { at / times[axis] } else { at }));
        let counts: Vec<i32> = (0..shape[axis]).map(|_| random.below(3) as i32).collect();
        let list = Tensor::new(&counts, &[counts.len()]).unwrap();
        let places: Vec<usize> = counts.iter().enumerate().flat_map(|(at, &count)| vec![at; count as usize]).collect();
        result[axis] = places.len();
        let repeated = x.repeat(Repeats::List(&list), Some(axis as isize - rank as isize)).unwrap();
        prop_assert_eq!(read(&repeated), naive(&shape, &result, |at_axis, at| if at_axis == axis { places[at] } else { at }));

        let widths: Vec<(usize, usize)> = (0..rank).map(|_| (random.below(9), random.below(9))).collect();
        let result: Vec<usize> = shape.iter().zip(&widths).map(|(size, (before, after))| size + before + after).collect();
        for padding in [Padding::Reflect, Padding::Edge, Padding::Wrap] {
            let padded = x.pad(&widths, padding).unwrap();
            prop_assert_eq!(padded.shape()[..].to_vec(), result.clone());
            let expected = naive(&shape, &result, |axis, at| {
                let (at, size) = (at as isize - widths[axis].0 as isize, size(axis));
                let place = match padding {
                    Padding::Edge => at.clamp(0, size - 1),
                    Padding::Wrap => at.rem_euclid(size),
                    _ if size == 1 => 0,
                    _ => {
                        let at = at.rem_euclid(2 * size - 2);
                        if at < size { at } else { 2 * size - 2 - at }
                    }
                };
                place as usize
            });
            prop_assert_eq!(read(&padded), expected, "{:?}", padding);
        }

        let times = random.below(9) as isize - 4;
        if rank >= 2 {
            let turned = x.rot90(times, (0, 1)).unwrap();
            let mut expected = x.clone();
            for _ in 0..times.rem_euclid(4) {
                // One turn by definition: (i, j) reads (j, last - i).
                let last = expected.shape()[1];
                let columns = (0..last).map(|i| expected.narrow(1, last - 1 - i, 1).unwrap().squeeze(&[1]).unwrap()).collect::<Vec<_>>();
                expected = crate::op::linear::stack(&columns.iter().collect::<Vec<_>>(), 0).unwrap();
            }
            prop_assert_eq!(turned.shape(), expected.shape());
            prop_assert_eq!(read(&turned), read(&expected));
        }
    }
}

#[test]
fn parts_are_numpys() {
    let x = counting(&[2, 5]);
    let sizes = |parts: Vec<Tensor>| parts.iter().map(|part| part.shape()[1]).collect::<Vec<_>>();
    assert_eq!(sizes(x.split(Sections::At(&[1, -2, 2, 9]), 1).unwrap()), [1, 2, 0, 3, 0]);
    assert_eq!(sizes(x.split(Sections::Equal(5), -1).unwrap()), [1; 5]);
    assert!(x.split(Sections::Equal(2), 1).is_err());
    assert!(x.split(Sections::Equal(0), 1).is_err());
    let parts = x.unstack(0).unwrap();
    assert_eq!(read(&parts[1]), [5, 6, 7, 8, 9]);
    let y = counting(&[2, 3, 4, 5]);
    assert_eq!(y.moveaxis(&[0, -1], &[-1, 0]).unwrap().shape()[..], [5, 3, 4, 2]);
    assert_eq!(y.moveaxis(&[0], &[2]).unwrap().shape()[..], [3, 4, 2, 5]);
    assert!(y.moveaxis(&[0, 0], &[1, 2]).is_err());
    assert_eq!(x.roll(&[12], None).unwrap().to_vec::<i64>().unwrap(), [8, 9, 0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(x.atleast(4).unwrap().shape()[..], [1, 1, 2, 5]);
    assert_eq!(read(&x.diff(2, 1).unwrap()), [0; 6]);
    assert_eq!(x.diff(9, 0).unwrap().shape()[..], [0, 5]);
    assert_eq!(counting(&[0, 2]).roll(&[1], Some(&[0])).unwrap().shape()[..], [0, 2]);
    assert_eq!(counting(&[0, 2]).tile(&[3, 2]).unwrap().shape()[..], [0, 4]);
    assert_eq!(Tensor::scalar(1.0, DType::F32).tile(&[2, 1]).unwrap().shape()[..], [2, 1]);
}

#[test]
fn large_results_are_refused() {
    let x = counting(&[3]);
    for size in [1usize << 62, usize::MAX, 1 << 58] {
        assert!(x.tile(&[size]).is_err());
        assert!(x.repeat(Repeats::Each(size), None).is_err());
        for padding in [Padding::Constant(Scalar::Int(0)), Padding::Edge, Padding::Wrap, Padding::Reflect] {
            assert!(x.pad(&[(size, 1)], padding).is_err());
            assert!(x.pad(&[(size, size)], padding).is_err());
        }
    }
    assert!(counting(&[0, 3]).tile(&[usize::MAX, usize::MAX]).is_err());
    let long = Tensor::full(&[3], i64::MAX / 2, DType::I64).unwrap();
    assert!(x.repeat(Repeats::List(&long), None).is_err());
    assert!(x.repeat(Repeats::List(&x.neg().unwrap()), None).is_err());
    assert!(counting(&[0]).pad(&[(1, 0)], Padding::Edge).is_err());
    assert!(x.roll(&[isize::MIN], Some(&[0])).is_ok() && x.roll(&[isize::MIN, isize::MIN], None).is_ok());
}

#[test]
fn numbers_are_limited_and_compared() {
    let x = Tensor::new(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0], &[4]).unwrap();
    assert_eq!(x.nan_to_num(0.0, None, Some(-7.0)).unwrap().to_vec::<f32>().unwrap(), [0.0, f32::MAX, -7.0, 1.0]);
    assert_eq!(
        x.cast(DType::F16)
            .unwrap()
            .nan_to_num(0.0, None, None)
            .unwrap()
            .cast(DType::F32)
            .unwrap()
            .to_vec::<f32>()
            .unwrap()[1],
        65504.0
    );
    let close = x.isclose(&x, 1e-5, 1e-8, false).unwrap();
    assert_eq!(close.to_vec::<bool>().unwrap(), [false, true, true, true]);
    assert!(x.allclose(&x, 0.0, 0.0, true).unwrap());
    let y = Tensor::new(&[1.0f32, f32::INFINITY, f32::INFINITY, 1.1], &[4]).unwrap();
    assert_eq!(x.isclose(&y, 0.1, 0.0, true).unwrap().to_vec::<bool>().unwrap(), [false, true, false, true]);
    let n = counting(&[4]);
    assert_eq!(n.clip(Some(1i64.into()), None).unwrap().to_vec::<i64>().unwrap(), [1, 1, 2, 3]);
    assert_eq!(n.clip(None, Some(1.5.into())).unwrap().to_vec::<f32>().unwrap(), [0.0, 1.0, 1.5, 1.5]);
    assert_eq!(n.clip(Some(3i64.into()), Some(1i64.into())).unwrap().to_vec::<i64>().unwrap(), [1; 4]);
    let slope =
        crate::grad(|x| x[0].clip(Some(1.0.into()), None)?.sum(None, false), &[n.cast(DType::F32).unwrap()]).unwrap();
    assert_eq!(slope[0].to_vec::<f32>().unwrap(), [0.0, 1.0, 1.0, 1.0]);
    let chosen = where_(&n.greater(1i64).unwrap(), &n, -1i64).unwrap();
    assert_eq!(read(&chosen), [-1, -1, 2, 3]);
}

#[test]
fn derivatives() {
    let x = sample(&[2, 3], -1.0, 1.0, 6);
    let counts = Tensor::new(&[2i64, 0, 1], &[3]).unwrap();
    check_gradients(|x| x[0].roll(&[1, -1], Some(&[0, 1]))?.square(), from_ref(&x));
    check_gradients(|x| x[0].tile(&[2, 1, 2])?.square(), from_ref(&x));
    check_gradients(|x| x[0].repeat(Repeats::List(&counts), Some(1))?.square(), from_ref(&x));
    check_gradients(|x| x[0].repeat(Repeats::Each(3), None)?.square(), from_ref(&x));
    for padding in [Padding::Constant(Scalar::Int(2)), Padding::Reflect, Padding::Edge, Padding::Wrap] {
        check_gradients(|x| x[0].pad(&[(1, 3), (4, 0)], padding)?.square(), from_ref(&x));
    }
    check_gradients(|x| x[0].diff(1, 1)?.square(), from_ref(&x));
    check_gradients(|x| x[0].rot90(3, (1, 0))?.square(), from_ref(&x));
    check_gradients(|x| x[0].split(Sections::At(&[1]), 1)?[1].square(), &[x]);
}
