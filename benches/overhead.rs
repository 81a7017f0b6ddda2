//! The cost of a call: operations so small that the arithmetic does not count, from Rust.
//!
//! `ndarray` allocates and adds without recording anything, so it shows what the allocation alone costs.
//!
//! `cargo bench --bench overhead`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use luxon::{Tensor, grad};
use luxon_benches::nanoseconds;

/// Ten operations to a number.
fn ten(x: &[Tensor], b: &Tensor) -> luxon::Result<Tensor> {
    let mut y = x[0].clone();
    for _ in 0..9 {
        y = y.add(b)?;
    }
    y.sum(None, false)
}

fn main() {
    luxon::runtime::threads::set_threads(1);
    let a = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], &[4]).unwrap();
    let b = a.clone();
    let (plain_a, plain_b) = (ndarray::arr1(&[1.0f32, 2.0, 3.0, 4.0]), ndarray::arr1(&[1.0f32; 4]));
    let mut rows = vec![
        ("ndarray: add 4", nanoseconds(|| drop(black_box(&plain_a + &plain_b)))),
        ("add 4", nanoseconds(|| drop(black_box(a.add(&b).unwrap())))),
        ("multiply 4 by a number", nanoseconds(|| drop(black_box(a.mul(2.0).unwrap())))),
    ];
    // Nodes are made and dropped, as in a loop whose results are not kept.
    let tracked = std::cell::Cell::new([0.0; 2]);
    grad(
        |x| {
            tracked.set(nanoseconds(|| drop(black_box(x[0].add(&b).unwrap()))));
            x[0].sum(None, false)
        },
        &[a.clone()],
    )
    .unwrap();
    rows.push(("add 4, tracked", tracked.get()));
    rows.push(("grad of 10 operations", nanoseconds(|| drop(black_box(grad(|x| ten(x, &b), &[a.clone()]).unwrap())))));
    println!("{:28}{:>12}{:>12}", "", "median ns", "least ns");
    for (name, [median, least]) in rows {
        println!("{name:28}{median:12.0}{least:12.0}");
    }
}
