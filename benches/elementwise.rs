//! Elementwise operations, results and all, beside `ndarray`, in GB/s of what is read and written.
//!
//! `ndarray` works on one thread and calls the system's functions element by element.
//!
//! `cargo bench --bench elementwise -- [threads] [filter]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use luxon::{Key, Result, Tensor, random, where_};
use luxon_benches::{Table, arguments};
use ndarray::ArrayView1;

type Ours = fn(&Tensor, &Tensor) -> Result<Tensor>;
type Theirs = fn(ArrayView1<'_, f32>, ArrayView1<'_, f32>) -> ndarray::Array1<f32>;

fn main() {
    let filter = arguments();
    let table = Table::new("GB/s", &["luxon", "ndarray"], &filter);
    // Reads and writes an element, then what is done.
    let cases: [(&str, usize, Ours, Option<Theirs>); 12] = [
        ("add", 3, |x, y| x.add(y), Some(|x, y| &x + &y)),
        ("multiply by a number", 2, |x, _| x.mul(2.0), Some(|x, _| &x * 2.0)),
        ("divide", 3, |x, y| x.div(y), Some(|x, y| &x / &y)),
        ("maximum", 3, |x, y| x.maximum(y), None),
        ("where x > 0", 4, |x, y| where_(&x.greater(0.0)?, x, y), None),
        ("relu", 2, |x, _| x.relu(), Some(|x, _| x.mapv(|x| x.max(0.0)))),
        ("sqrt of squares", 4, |x, _| x.square()?.sqrt(), Some(|x, _| x.mapv(|x| (x * x).sqrt()))),
        ("exp", 2, |x, _| x.exp(), Some(|x, _| x.mapv(f32::exp))),
        ("log of magnitude", 4, |x, _| x.abs()?.log(), Some(|x, _| x.mapv(|x| x.abs().ln()))),
        ("sin", 2, |x, _| x.sin(), Some(|x, _| x.mapv(f32::sin))),
        ("tanh", 2, |x, _| x.tanh(), Some(|x, _| x.mapv(f32::tanh))),
        ("gelu", 2, |x, _| x.gelu(), None),
    ];
    for count in [1 << 14, 1 << 22] {
        let numbers = |seed| random::normal(Key::new(seed), &[count], luxon::DType::F32).unwrap();
        let (x, y) = (numbers(0), numbers(1));
        let (plain_x, plain_y) = (x.to_vec::<f32>().unwrap(), y.to_vec::<f32>().unwrap());
        let size = if count < 1 << 20 { "16 K" } else { "4 M" };
        for (name, moved, ours, theirs) in cases {
            let mut luxon = || drop(black_box(ours(&x, &y).unwrap()));
            let mut rival = || {
                if let Some(theirs) = theirs {
                    drop(black_box(theirs(ArrayView1::from(&plain_x), ArrayView1::from(&plain_y))));
                }
            };
            let mut all: Vec<&mut dyn FnMut()> = vec![&mut luxon];
            if theirs.is_some() {
                all.push(&mut rival);
            }
            table.bytes(&format!("{name}, {size}"), 4 * moved * count, &mut all);
        }
    }
}
