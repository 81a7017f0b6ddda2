//! Random numbers, in GB/s of what is written, and dropout.
//!
//! The hash takes some eighty operations for two words, so what limits here is arithmetic, not memory.
//!
//! `cargo bench --bench random -- [threads] [filter]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use luxon::{DType, Key, Result, Tensor, dropout, random};
use luxon_benches::{Table, arguments};

const COUNT: usize = 1 << 21;

type Draw = fn(Key) -> Result<Tensor>;

fn main() {
    let filter = arguments();
    let table = Table::new("GB/s, 2 M numbers", &["luxon"], &filter);
    let cases: [(&str, usize, Draw); 9] = [
        ("bits, i32", 4, |key| random::bits(key, &[COUNT], DType::I32)),
        ("uniform, f32", 4, |key| random::uniform(key, &[COUNT], 0.0, 1.0, DType::F32)),
        ("uniform, f64", 8, |key| random::uniform(key, &[COUNT], 0.0, 1.0, DType::F64)),
        ("normal, f32", 4, |key| random::normal(key, &[COUNT], DType::F32)),
        ("normal, f64", 8, |key| random::normal(key, &[COUNT], DType::F64)),
        ("exponential, f32", 4, |key| random::exponential(key, &[COUNT], DType::F32)),
        ("bernoulli", 1, |key| random::bernoulli(key, &[COUNT], 0.3)),
        ("randint, i64", 8, |key| random::randint(key, &[COUNT], 0, 1000, DType::I64)),
        ("permutation", 8, |key| random::permutation(key, COUNT)),
    ];
    for (name, bytes, draw) in cases {
        let mut run = || drop(black_box(draw(Key::new(0)).unwrap()));
        table.bytes(name, bytes * COUNT, &mut [&mut run]);
    }
    let x = Tensor::ones(&[COUNT], DType::F32).unwrap();
    let mut run = || drop(black_box(dropout(&x, Key::new(0), 0.3, None).unwrap()));
    table.bytes("dropout, f32", 8 * COUNT, &mut [&mut run]);
}
