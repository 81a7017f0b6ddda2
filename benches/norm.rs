//! Softmax, normalisations, pooling and losses, forward and with their gradients, in GB/s of what has to be read and
//! written: an input and a result forward; besides, with gradients, a cotangent, the input again and its gradient.
//!
//! `cargo bench --bench norm -- [threads] [filter]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use luxon::{CrossEntropyOptions, DType, Key, PoolWindow, Result, Tensor};
use luxon::{batch_norm, cross_entropy, group_norm, layer_norm, max_pool, mean_pool, random, rms_norm, vjp};
use luxon_benches::{Table, arguments};

type Function = fn(&Tensor, &Tensor) -> Result<Tensor>;

fn main() {
    let filter = arguments();
    let rows = random::normal(Key::new(0), &[4096, 1024], DType::F32).unwrap();
    let images = rows.reshape(&[32, 64, 32, 64]).unwrap();
    let classes = random::randint(Key::new(1), &[4096], 0, 1024, DType::I64).unwrap();
    let table = Table::new("GB/s", &["luxon"], &filter);
    let cases: [(&str, &Tensor, Function); 9] = [
        ("softmax, 4096 x 1024", &rows, |x, _| x.softmax(-1)),
        ("log softmax, 4096 x 1024", &rows, |x, _| x.log_softmax(-1)),
        ("cross entropy, 4096 x 1024", &rows, |x, y| cross_entropy(x, y, &CrossEntropyOptions::default())),
        ("layer norm, 4096 x 1024", &rows, |x, _| layer_norm(x, None, None, 1, 1e-5)),
        ("rms norm, 4096 x 1024", &rows, |x, _| rms_norm(x, None, 1, 1e-5)),
        ("batch norm, 32 x 64 x 32 x 64", &images, |x, _| Ok(batch_norm(x, None, None, 1e-5)?.0)),
        ("group norm, 32 x 64 x 32 x 64", &images, |x, _| group_norm(x, 8, None, None, 1e-5)),
        ("max pool 2 x 2, 32 x 64 x 32 x 64", &images, |x, _| max_pool(x, &PoolWindow::new(&[2, 2]))),
        ("mean pool 2 x 2, 32 x 64 x 32 x 64", &images, |x, _| mean_pool(x, &PoolWindow::new(&[2, 2]), true)),
    ];
    for (name, x, function) in cases {
        let shape = function(x, &classes).unwrap();
        let (input, output) = (4 * x.count(), 4 * shape.count());
        let ones = shape.ones_like().unwrap();
        let mut forward = || drop(black_box(function(x, &classes).unwrap()));
        let mut both = || {
            let (_, back) = vjp(|x| Ok(vec![function(&x[0], &classes)?]), &[x.clone()]).unwrap();
            drop(black_box(back.pull(&[Some(ones.clone())]).unwrap()));
        };
        table.bytes(name, input + output, &mut [&mut forward]);
        table.bytes(&format!("{name}, with gradient"), 3 * input + 2 * output, &mut [&mut both]);
    }
}
