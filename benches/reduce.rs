//! Reductions, scans and orders of a 2048 x 2048 matrix beside `ndarray`, in GB/s of what is read and written.
//!
//! `cargo bench --bench reduce -- [threads] [filter]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use luxon::{DType, Key, Result, Tensor, random};
use luxon_benches::{Table, arguments};
use ndarray::{ArrayView2, Axis};

const SIDE: usize = 2048;

type Ours = fn(&Tensor) -> Result<Tensor>;
type Theirs = fn(ArrayView2<'_, f32>);

fn main() {
    let filter = arguments();
    let x = random::normal(Key::new(0), &[SIDE, SIDE], DType::F32).unwrap();
    let plain = x.to_vec::<f32>().unwrap();
    let view = ArrayView2::from_shape((SIDE, SIDE), &plain).unwrap();
    let table = Table::new("GB/s", &["luxon", "ndarray"], &filter);
    // Reads and writes an element.
    let cases: [(&str, usize, Ours, Option<Theirs>); 12] = [
        (
            "sum",
            1,
            |x| x.sum(None, false),
            Some(|x| {
                black_box(x.sum());
            }),
        ),
        ("sum of columns", 1, |x| x.sum(Some(&[0]), false), Some(|x| drop(black_box(x.sum_axis(Axis(0)))))),
        ("sum of rows", 1, |x| x.sum(Some(&[1]), false), Some(|x| drop(black_box(x.sum_axis(Axis(1)))))),
        ("max of rows", 1, |x| x.max(Some(&[1]), false), None),
        ("var of columns", 1, |x| x.var(Some(&[0]), 0.0, false), Some(|x| drop(black_box(x.var_axis(Axis(0), 0.0))))),
        ("var of rows", 1, |x| x.var(Some(&[1]), 0.0, false), Some(|x| drop(black_box(x.var_axis(Axis(1), 0.0))))),
        ("argmax of rows", 1, |x| x.argmax(Some(1), false), None),
        ("logsumexp of rows", 1, |x| x.logsumexp(Some(&[1]), false), None),
        ("cumulative sum of rows", 2, |x| x.cumulative_sum(1, false, false), None),
        ("sort of rows", 2, |x| x.sort(1, false), None),
        (
            "copy of the transpose",
            2,
            |x| x.matrix_transpose()?.contiguous(),
            Some(|x| {
                drop(black_box(x.t().as_standard_layout().into_owned()));
            }),
        ),
        ("cast to f64", 3, |x| x.cast(DType::F64), Some(|x| drop(black_box(x.mapv(f64::from))))),
    ];
    for (name, moved, ours, theirs) in cases {
        let mut luxon = || drop(black_box(ours(&x).unwrap()));
        let mut rival = || theirs.into_iter().for_each(|theirs| theirs(view));
        let mut all: Vec<&mut dyn FnMut()> = vec![&mut luxon];
        if theirs.is_some() {
            all.push(&mut rival);
        }
        table.bytes(name, 4 * moved * SIDE * SIDE, &mut all);
    }
}
