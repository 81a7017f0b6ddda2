//! Reductions beside plain loops over random layouts.

use super::*;
use crate::cpu::copy::tests::{Random, View, random_shape};
use crate::cpu::isa::with_each_isa;
use crate::dtype::Scalar;
use proptest::prelude::*;

const KINDS: [Reduction; 13] = [
    Reduction::Sum,
    Reduction::Mean,
    Reduction::Product,
    Reduction::Max,
    Reduction::Min,
    Reduction::Any,
    Reduction::All,
    Reduction::CountNonzero,
    Reduction::ArgMax,
    Reduction::ArgMin,
    Reduction::SumSquares,
    Reduction::Variance { correction: 0.0 },
    Reduction::Variance { correction: 1.0 },
];

fn naive(kind: Reduction, values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let nan = values.iter().position(|value| value.is_nan());
    let first = |best: fn(f64, f64) -> f64| {
        let best = values.iter().copied().reduce(best).unwrap_or(0.0);
        nan.or(values.iter().position(|&value| value == best)).unwrap_or(0)
    };
    match kind {
        Reduction::Sum => values.iter().sum(),
        Reduction::Mean => values.iter().sum::<f64>() / count,
        Reduction::Product => values.iter().product(),
        Reduction::Max => values[first(f64::max)],
        Reduction::Min => values[first(f64::min)],
        Reduction::Any => f64::from(u8::from(values.iter().any(|&value| value != 0.0))),
        Reduction::All => f64::from(u8::from(values.iter().all(|&value| value != 0.0))),
        Reduction::CountNonzero => values.iter().filter(|&&value| value != 0.0).count() as f64,
        Reduction::ArgMax => first(f64::max) as f64,
        Reduction::ArgMin => first(f64::min) as f64,
        Reduction::SumSquares => values.iter().map(|value| value * value).sum(),
        Reduction::Variance { correction } => {
            let mean = values.iter().sum::<f64>() / count;
            values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - correction).max(0.0)
        }
    }
}

/// Fills a buffer with values of a dtype; returns it and the values.
fn buffer(random: &mut Random, dtype: DType, length: usize, nan: bool) -> (Vec<u64>, Vec<f64>) {
    let mut bytes = vec![0u64; length];
    let mut values = vec![0.0; length];
    for index in 0..length {
        let value = match dtype {
            DType::Bool => Scalar::Bool(random.below(4) > 0),
            DType::U8 => Scalar::Int(random.below(4) as i64),
            _ if dtype.is_int() => Scalar::Int(random.below(7) as i64 - 3),
            _ if nan && random.below(40) == 0 => Scalar::Float(f64::NAN),
            _ => Scalar::Float((random.real() * 16.0).round() / 8.0),
        };
        // SAFETY: eight bytes for each element.
        unsafe {
            let place = bytes.as_mut_ptr().cast::<u8>().add(index * dtype.size());
            place.copy_from_nonoverlapping(value.to_bytes(dtype).as_ptr(), dtype.size());
            values[index] = Scalar::read(dtype, place).as_f64();
        }
    }
    (bytes, values)
}

fn check(seed: u64) {
    let mut random = Random(seed);
    let shape = random_shape(&mut random);
    let view = View::random(&mut random, &shape, false);
    let reduced: Vec<bool> = shape.iter().map(|_| random.below(2) == 0).collect();
    let kind = KINDS[random.below(KINDS.len())];
    let dtype = DType::ALL[random.below(8)];
    if matches!(kind, Reduction::Mean | Reduction::Variance { .. }) && !dtype.is_float() {
        return;
    }
    if kind == Reduction::Product && dtype == DType::I64 {
        return;
    }
    let nan = random.below(3) == 0;
    let (bytes, values) = buffer(&mut random, dtype, view.length, nan);
    let positions = view.positions();
    let kept: usize = shape.iter().zip(&reduced).filter(|(_, gone)| !**gone).map(|(size, _)| size).product();
    let mut groups = vec![Vec::new(); kept];
    for (flat, &position) in positions.iter().enumerate() {
        let (mut rest, mut group, mut scale) = (flat, 0, 1);
        for axis in (0..shape.len()).rev() {
            if !reduced[axis] {
                group += rest % shape[axis] * scale;
                scale *= shape[axis];
            }
            rest /= shape[axis];
        }
        groups[group].push(values[position]);
    }
    let extremum = matches!(kind, Reduction::Max | Reduction::Min | Reduction::ArgMax | Reduction::ArgMin);
    // Long products overflow halfway, in an order that is free.
    let long = kind == Reduction::Product && groups.iter().any(|group| group.len() > 20);
    if long || extremum && groups.iter().any(Vec::is_empty) {
        return;
    }
    let to = kind.output(dtype);
    let mut out = vec![0u64; kept];
    // SAFETY: the buffers hold what is read and written.
    unsafe {
        let from = bytes.as_ptr().cast::<u8>().add(view.offset * dtype.size());
        reduce(kind, dtype, &shape, from, &view.strides, &reduced, out.as_mut_ptr().cast());
    }
    for (index, group) in groups.iter().enumerate() {
        let expected = naive(kind, group);
        // SAFETY: a result.
        let got = unsafe { Scalar::read(to, out.as_ptr().cast::<u8>().add(index * to.size())).as_f64() };
        let unit = match to {
            DType::BF16 => 0.01,
            DType::F16 => 0.002,
            // Sums of these eighths are exact, those of squared deviations are chains of 128 roundings.
            DType::F32 if matches!(kind, Reduction::Variance { .. }) => 130.0 * 0.5f64.powi(24),
            DType::F32 => 2e-6,
            _ => 1e-12,
        };
        let size = match kind {
            Reduction::Sum => group.iter().map(|value| value.abs()).sum::<f64>(),
            Reduction::Product => expected.abs() * group.len() as f64,
            _ => expected.abs(),
        };
        let overflow =
            to == DType::F16 && expected.abs() > 60_000.0 || kind == Reduction::Product && expected.abs() > 1e30;
        let close =
            got == expected || (got - expected).abs() <= unit * (size + 1e-3) || got.is_nan() && expected.is_nan();
        assert!(
            close || overflow || kind == Reduction::Product && dtype == DType::I32,
            "{kind:?} {dtype} {view:?} {reduced:?}: {got}, not {expected}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn any_layout(seed in any::<u64>()) {
        check(seed);
    }
}

/// Large ones, whose reduced positions are cut into chunks, on every set and several thread counts.
#[test]
fn bits_do_not_depend_on_the_machine() {
    let shapes: [(&[usize], &[bool]); 6] = [
        (&[1 << 20], &[true]),
        (&[1500, 700], &[true, false]),
        (&[700, 1500], &[false, true]),
        (&[300_001, 3], &[true, false]),
        (&[64, 33, 700], &[true, false, true]),
        (&[40, 8, 5000], &[false, true, false]),
    ];
    let mut random = Random(7);
    let count = shapes.iter().map(|(shape, _)| shape.iter().product::<usize>()).max().unwrap();
    let data: Vec<f32> = (0..count).map(|_| random.real() as f32).collect();
    for (shape, reduced) in shapes {
        let mut strides = vec![1isize; shape.len()];
        for axis in (0..shape.len() - 1).rev() {
            strides[axis] = strides[axis + 1] * shape[axis + 1] as isize;
        }
        let kept: usize = shape.iter().zip(reduced).filter(|(_, gone)| !**gone).map(|(size, _)| size).product();
        for kind in KINDS {
            let mut results = Vec::new();
            for threads in 1..4 {
                with_each_isa(threads, |_| {
                    let mut out = vec![0u64; kept];
                    // SAFETY: the buffers hold what is read and written.
                    unsafe {
                        let to = out.as_mut_ptr().cast();
                        reduce(kind, DType::F32, shape, data.as_ptr().cast(), &strides, reduced, to);
                    }
                    results.push(out);
                });
            }
            assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{kind:?} {shape:?}");
        }
    }
}

#[test]
fn sums_are_accurate() {
    let mut random = Random(3);
    let count = 4_000_000;
    let data: Vec<f32> = (0..count).map(|_| random.real() as f32 + 1.0).collect();
    let exact: f64 = data.iter().map(|&value| f64::from(value)).sum();
    let mut out = 0f32;
    // SAFETY: the buffers hold what is read and written.
    unsafe { reduce(Reduction::Sum, DType::F32, &[count], data.as_ptr().cast(), &[1], &[true], (&raw mut out).cast()) };
    assert!((f64::from(out) - exact).abs() < 3e-7 * exact);
    let mut columns = [0f32; 8];
    // SAFETY: as above.
    unsafe {
        let out = columns.as_mut_ptr().cast();
        reduce(Reduction::Sum, DType::F32, &[count / 8, 8], data.as_ptr().cast(), &[8, 1], &[true, false], out);
    }
    let total: f64 = columns.iter().map(|&value| f64::from(value)).sum();
    assert!((total - exact).abs() < 3e-7 * exact);
}

/// Equal terms, whose roundings go one way for as long as a sum keeps its exponent.
#[test]
fn no_chain_of_roundings_is_long() {
    let data = vec![0.1f32; 1 << 17];
    let layouts: [(&[usize], &[isize], &[bool]); 4] = [
        (&[16384, 8], &[8, 1], &[true, false]),
        (&[8192, 8], &[16, 1], &[true, false]),
        (&[450, 36, 5], &[190, 5, 1], &[true, true, false]),
        (&[450, 36, 5], &[190, 1, 36], &[true, true, false]),
    ];
    for (shape, strides, reduced) in layouts {
        let rows: usize = shape.iter().zip(reduced).filter(|(_, gone)| **gone).map(|(size, _)| size).product();
        let mut sums = [0f32; 8];
        // SAFETY: the buffers hold what is read and written.
        unsafe {
            let sums = sums.as_mut_ptr().cast();
            reduce(Reduction::Sum, DType::F32, shape, data.as_ptr().cast(), strides, reduced, sums);
        }
        let exact = rows as f64 * f64::from(data[0]);
        for sum in &sums[..*shape.last().unwrap()] {
            let error = (f64::from(*sum) - exact).abs() / exact;
            assert!(error < 1.5e-6, "{shape:?} {strides:?}: {error:e}");
        }
    }
}
