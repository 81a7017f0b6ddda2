//! Optimiser steps over one leaf, in GB/s of the memory that a step reads and writes.
//!
//! Rules run in rotating order within a round, in place, beside a plain copy of as many bytes. A step of Adam
//! reads four arrays and writes three, so it moves 28 bytes an element of f32.
//!
//! `cargo bench --bench optim -- [threads] [elements]`

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use luxon::optim::{Kept, Optimizer, State, rules};
use luxon::runtime::threads;
use luxon::{DType, Tensor};

const ROUNDS: usize = 21;

struct Contestant {
    name: &'static str,
    rule: Optimizer,
    parameter: Option<Tensor>,
    state: Option<State>,
    bytes: usize,
    times: Vec<f64>,
}

impl Contestant {
    fn new(name: &'static str, rule: Optimizer, elements: usize) -> Contestant {
        let parameter = Tensor::ones(&[elements], DType::F32).unwrap();
        let state = rule.start("p", &parameter).unwrap();
        let kept = state.kept.iter().filter(|kept| matches!(kept, Kept::Tensor(_))).count();
        let bytes = 4 * elements * (3 + 2 * kept);
        Contestant { name, rule, parameter: Some(parameter), state: Some(state), bytes, times: Vec::new() }
    }

    fn run(&mut self, gradient: &Tensor) {
        let given = ("p".into(), self.parameter.take().unwrap(), gradient.clone(), self.state.take().unwrap());
        let since = Instant::now();
        let mut moved = self.rule.update(0, vec![given]).unwrap();
        self.times.push(since.elapsed().as_secs_f64());
        let (parameter, state) = moved.remove(0);
        (self.parameter, self.state) = (Some(parameter), Some(state));
    }
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|text| text.parse().ok()).collect();
    if let Some(&count) = numbers.first() {
        threads::set_threads(count);
    }
    let elements = numbers.get(1).copied().unwrap_or(1_000_000);
    let gradient = Tensor::full(&[elements], 0.5, DType::F32).unwrap();
    let mut contestants = vec![
        Contestant::new("SGD", rules::Sgd::default().into(), elements),
        Contestant::new("SGD momentum", rules::Sgd { momentum: 0.9, ..Default::default() }.into(), elements),
        Contestant::new("Adam", rules::Adam::default().into(), elements),
        Contestant::new("AdamW", rules::AdamW::default().into(), elements),
        Contestant::new("Adam amsgrad", rules::Adam { amsgrad: true, ..Default::default() }.into(), elements),
        Contestant::new("RMSProp", rules::RmsProp::default().into(), elements),
        Contestant::new("AdaBelief", rules::AdaBelief::default().into(), elements),
        Contestant::new("Lion", rules::Lion::default().into(), elements),
        Contestant::new("Lamb", rules::Lamb::default().into(), elements),
    ];
    // Three arrays in, three out: what the machine gives to a copy of that size.
    let source = vec![1.0f32; 3 * elements];
    let mut target = vec![0.0f32; 3 * elements];
    let mut copies = Vec::new();
    for round in 0..ROUNDS {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            contestants[index].run(&gradient);
        }
        let since = Instant::now();
        target.copy_from_slice(black_box(&source));
        copies.push(since.elapsed().as_secs_f64());
        black_box(&target);
    }
    println!("{} threads, {elements} elements of f32", threads::threads());
    println!("{:16}{:>10}{:>10}{:>10}", "rule", "us", "GB/s", "best GB/s");
    let row = |name: &str, bytes: usize, times: &[f64]| {
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        let middle = median(times);
        println!(
            "{name:16}{:10.1}{:10.1}{:10.1}",
            middle * 1e6,
            bytes as f64 / middle / 1e9,
            bytes as f64 / best / 1e9
        );
    };
    for contestant in &contestants {
        row(contestant.name, contestant.bytes, &contestant.times[1..]);
    }
    row("copy (1 thread)", 24 * elements, &copies[1..]);
}
