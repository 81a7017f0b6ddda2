//! Optimiser steps over one leaf, in place, in GB/s of the memory that a step reads and writes.
//!
//! A step of Adam reads four arrays and writes three, so it moves 28 bytes an element of f32.
//!
//! `cargo bench --bench optim -- [threads] [filter]`

#![allow(clippy::unwrap_used, missing_docs)]

use luxon::optim::{Kept, Optimizer, rules};
use luxon::{DType, Tensor};
use luxon_benches::{Table, arguments};

const ELEMENTS: usize = 4_000_000;

fn main() {
    let filter = arguments();
    let gradient = Tensor::full(&[ELEMENTS], 0.5, DType::F32).unwrap();
    let rules: [(&str, Optimizer); 9] = [
        ("SGD", rules::Sgd::default().into()),
        ("SGD momentum", rules::Sgd { momentum: 0.9, ..Default::default() }.into()),
        ("Adam", rules::Adam::default().into()),
        ("AdamW", rules::AdamW::default().into()),
        ("Adam amsgrad", rules::Adam { amsgrad: true, ..Default::default() }.into()),
        ("RMSProp", rules::RmsProp::default().into()),
        ("AdaBelief", rules::AdaBelief::default().into()),
        ("Lion", rules::Lion::default().into()),
        ("Lamb", rules::Lamb::default().into()),
    ];
    let table = Table::new("GB/s, steps of 4 M numbers", &["luxon"], &filter);
    for (name, rule) in rules {
        let parameter = Tensor::ones(&[ELEMENTS], DType::F32).unwrap();
        let state = rule.start("p", &parameter).unwrap();
        let kept = state.kept.iter().filter(|kept| matches!(kept, Kept::Tensor(_))).count();
        let mut leaf = Some((parameter, state));
        let mut step = || {
            let (parameter, state) = leaf.take().unwrap();
            let mut moved = rule.update(0, vec![("p".into(), parameter, gradient.clone(), state)]).unwrap();
            leaf = Some(moved.remove(0));
        };
        table.bytes(name, 4 * ELEMENTS * (3 + 2 * kept), &mut [&mut step]);
    }
}
