//! Known answers from JAX (`tests/data/random_jax.txt`, format in `tests/make_random_reference.py`), and what holds
//! for every kernel: any cut, any instruction set, same elements.

#![allow(clippy::unwrap_used, clippy::panic)]

use half::{bf16, f16};

use super::*;
use crate::cpu::isa::with_each_isa;

const REFERENCE: &str = include_str!("../../../tests/data/random_jax.txt");

struct Case<'a> {
    what: &'a str,
    dtype: &'a str,
    key: Key,
    parameters: &'a str,
    count: usize,
    words: Vec<u64>,
}

fn cases() -> impl Iterator<Item = Case<'static>> {
    REFERENCE.lines().map(|line| {
        let mut fields = line.split(' ');
        let mut next = || fields.next().unwrap();
        let (what, dtype, key, parameters, count) = (next(), next(), next(), next(), next());
        let (first, second) = key.split_once(',').unwrap();
        let key = Key(hex(first) as u32, hex(second) as u32);
        let words = fields.map(hex).collect();
        Case { what, dtype, key, parameters, count: count.parse().unwrap(), words }
    })
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

impl Case<'_> {
    fn pair<N: std::str::FromStr<Err: std::fmt::Debug>>(&self) -> (N, N) {
        let (low, high) = self.parameters.split_once(',').unwrap();
        (low.parse().unwrap(), high.parse().unwrap())
    }

    /// Fills a slice and compares its bits, by checksum where the reference has only that.
    fn exact<T: Copy + Default>(&self, to_bits: impl Fn(T) -> u64, fill: impl FnOnce(&mut [T])) {
        let mut out = vec![T::default(); self.count];
        fill(&mut out);
        let mut bits: Vec<u64> = out.into_iter().map(to_bits).collect();
        if self.words.len() != self.count {
            let weighted = bits.iter().enumerate().map(|(index, bits)| bits.wrapping_mul(2 * index as u64 + 1));
            bits = vec![weighted.fold(0, u64::wrapping_add)];
        }
        let Case { what, dtype, key, parameters, .. } = self;
        assert_eq!(bits, self.words, "{what} {dtype} {key:?} {parameters}");
    }

    fn near(&self, fill32: impl FnOnce(&mut [f32]), fill64: impl FnOnce(&mut [f64])) {
        let (ours, theirs): (Vec<f64>, Vec<f64>) = if self.dtype == "float32" {
            let mut out = vec![0.0; self.count];
            fill32(&mut out);
            let theirs = self.words.iter().map(|&bits| f32::from_bits(bits as u32));
            (out.into_iter().map(f64::from).collect(), theirs.map(f64::from).collect())
        } else {
            let mut out = vec![0.0; self.count];
            fill64(&mut out);
            (out, self.words.iter().map(|&bits| f64::from_bits(bits)).collect())
        };
        assert_eq!(ours.len(), theirs.len());
        for (index, (ours, theirs)) in ours.into_iter().zip(theirs).enumerate() {
            let close = (ours - theirs).abs() <= 2e-5 * theirs.abs().max(1.0);
            let Case { what, dtype, key, parameters, .. } = self;
            assert!(close, "{what} {dtype} {key:?} {parameters}: [{index}] {ours} against {theirs}");
        }
    }
}

fn key_words(keys: &[Key]) -> Vec<u64> {
    keys.iter().flat_map(|key| [u64::from(key.0), u64::from(key.1)]).collect()
}

#[test]
fn equals_jax() {
    let mut seen = 0;
    for case in cases() {
        seen += 1;
        let key = case.key;
        match (case.what, case.dtype) {
            ("key", _) => assert_eq!(key_words(&[Key::new(hex(case.parameters))]), case.words),
            ("split", _) => {
                let mut keys = vec![Key::default(); case.count / 2];
                key.split_into(&mut keys);
                assert_eq!(key_words(&keys), case.words);
                assert_eq!(key.split(case.count / 2), keys);
            }
            ("fold_in", _) => {
                let folded = key.fold_in(case.parameters.parse().unwrap());
                assert_eq!(key_words(&[folded]), case.words);
            }
            // luxon's own rule; a change here would change how every model is initialised.
            ("fold_in_str", _) => {
                let name = case.parameters.trim_matches(['[', ']']);
                assert_eq!(key_words(&[key.fold_in_str(name)]), case.words);
            }
            ("words", _) => {
                let pairs: Vec<Key> = case.parameters.split(',').map(|index| key.child(hex(index))).collect();
                assert_eq!(key_words(&pairs), case.words);
            }
            ("bits", "uint8") => case.exact::<u8>(u64::from, |out| bits(key, out)),
            ("bits", "uint16") => case.exact::<u16>(u64::from, |out| bits(key, out)),
            ("bits", "uint32") => case.exact::<u32>(u64::from, |out| bits(key, out)),
            ("bits", "uint64") => case.exact::<u64>(u64::from, |out| bits(key, out)),
            ("uniform", dtype) => {
                let (low, high): (f64, f64) = case.pair();
                let half = (f16::from_f64(low), f16::from_f64(high));
                let brain = (bf16::from_f64(low), bf16::from_f64(high));
                match dtype {
                    "float16" => case.exact(|x: f16| x.to_bits().into(), |out| uniform(key, half.0, half.1, out)),
                    "bfloat16" => case.exact(|x: bf16| x.to_bits().into(), |out| uniform(key, brain.0, brain.1, out)),
                    "float32" => {
                        case.exact(|x: f32| x.to_bits().into(), |out| uniform(key, low as f32, high as f32, out))
                    }
                    _ => case.exact(f64::to_bits, |out| uniform(key, low, high, out)),
                }
            }
            (coin, _) if coin.starts_with("bernoulli") => {
                let probability: f64 = case.parameters.parse().unwrap();
                case.exact(u64::from, |out| match coin {
                    "bernoulli_float16" => bernoulli(key, f16::from_f64(probability), out),
                    "bernoulli_bfloat16" => bernoulli(key, bf16::from_f64(probability), out),
                    "bernoulli_float32" => bernoulli(key, probability as f32, out),
                    _ => bernoulli(key, probability, out),
                });
            }
            ("randint", dtype) => {
                let (low, high) = case.pair();
                match dtype {
                    "uint8" => case.exact::<u8>(u64::from, |out| randint(key, low, high, out)),
                    "int32" => case.exact(|x: i32| u64::from(x as u32), |out| randint(key, low, high, out)),
                    _ => case.exact(|x: i64| x as u64, |out| randint(key, low, high, out)),
                }
            }
            ("permutation", _) => case.exact(|x: i64| x as u64, |out| permutation(key, out).unwrap()),
            ("normal", _) => case.near(|out| normal(key, out), |out| normal(key, out)),
            ("exponential", _) => case.near(|out| exponential(key, out), |out| exponential(key, out)),
            ("gumbel", _) => case.near(|out| gumbel(key, out), |out| gumbel(key, out)),
            ("truncated_normal", _) => {
                let (lower, upper): (f64, f64) = case.pair();
                case.near(
                    |out| truncated_normal(key, lower as f32, upper as f32, out),
                    |out| truncated_normal(key, lower, upper, out),
                );
            }
            (drawn, _) if drawn.starts_with("categorical") => {
                let (classes, rows): (usize, usize) = case.pair();
                let logit = |index: usize| ((index % classes * 7 + index / classes * 3) % 11) as f64 / 4.0;
                let logits: Vec<f64> = (0..classes * rows).map(logit).collect();
                let logits32: Vec<f32> = logits.iter().map(|&logit| logit as f32).collect();
                case.exact(
                    |x: i64| x as u64,
                    |out| match drawn {
                        "categorical_float32" => categorical(key, &logits32, classes, out),
                        _ => categorical(key, &logits, classes, out),
                    },
                );
            }
            (what, dtype) => panic!("no such case: {what} {dtype}"),
        }
    }
    assert_eq!(seen, 544);
}

#[test]
fn a_slice_may_start_anywhere() {
    let key = Key::new(11);
    for start in [0, 1, 63, u64::from(u32::MAX) - 70, u64::from(u32::MAX), u64::MAX - 5] {
        let mut out = [0f64; 200];
        let kernel = Shaped::<f64, Exponential>::new(key, Exponential);
        // SAFETY: unsafe only because of how it is dispatched.
        unsafe { fill_serial(&kernel, start, &mut out) };
        for (offset, &value) in out.iter().enumerate() {
            let index = start.wrapping_add(offset as u64);
            assert_eq!(words(key, start, offset), words_at(key, index));
            let expected: f64 = Exponential::shape(f64::unit(words_at(key, index)));
            assert!((value - expected).abs() < 1e-12, "{index}");
        }
    }
}

#[test]
fn instruction_sets_agree() {
    let key = Key::new(3);
    let draw = || {
        let (mut single, mut double, mut halves, mut ints) =
            (vec![0f32; 1003], vec![0f64; 515], vec![f16::ZERO; 77], vec![0i32; 300]);
        uniform(key, -0.3, 1.1, &mut single);
        normal(key, &mut double);
        uniform(key, f16::from_f32(-0.7), f16::ONE, &mut halves);
        randint(key, -5, 1000, &mut ints);
        let mut normals = vec![0f32; 1003];
        normal(key, &mut normals);
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let double: Vec<u64> = double.into_iter().map(f64::to_bits).collect();
        (bits(single), bits(normals), double, halves, ints)
    };
    let best = draw();
    with_each_isa(1, |set| assert_eq!(draw(), best, "{set:?}"));
}

#[test]
fn dropout_keeps_what_bernoulli_keeps() {
    fn check<T: Sample + std::fmt::Debug>(key: Key, length: usize, keep: f64, from: impl Fn(f64) -> T) {
        let mut coins = vec![0u8; length];
        bernoulli(key, keep as f32, &mut coins);
        let nan = from(f64::NAN);
        let input: Vec<T> =
            coins.iter().enumerate().map(|(i, &c)| if c == 1 { from((i % 50) as f64 + 1.0) } else { nan }).collect();
        let mut out = vec![nan; length];
        dropout(key, keep, &input, &mut out);
        for (index, (&coin, &value)) in coins.iter().zip(&out).enumerate() {
            let expected = if coin == 1 { from(((index % 50) as f64 + 1.0) / keep) } else { from(0.0) };
            assert_eq!(value, expected, "{index} of {length}, keep {keep}");
        }
    }
    for length in [0, 1, 63, 64, 65, 1000, 3 * BLOCK + 17] {
        for keep in [0.0, 0.5, 0.25, 1.0] {
            let key = Key::new(length as u64).fold_in(3);
            check::<f32>(key, length, keep, |x| x as f32);
            check::<f64>(key, length, keep, |x| x);
            check::<f16>(key, length, keep, f16::from_f64);
            check::<bf16>(key, length, keep, bf16::from_f64);
        }
    }
}

#[test]
fn names_make_keys() {
    let key = Key::new(0);
    let names = ["", "a", "b", "ab", "a\0", "layer_1.weight", "layer_1.weight\0", "layer_1.bias", "layer_2.weight"];
    let mut keys: Vec<Key> = names.iter().map(|name| key.fold_in_str(name)).collect();
    keys.extend((0..100).map(|data| key.fold_in(data)));
    keys.extend([key, Key::new(1).fold_in_str("a")]);
    let distinct: std::collections::HashSet<Key> = keys.iter().copied().collect();
    assert_eq!(distinct.len(), keys.len());
}

#[test]
fn distributions_have_their_moments() {
    fn moments(values: &[f64]) -> (f64, f64) {
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64)
    }
    let key = Key::new(8);
    let near = |(mean, variance): (f64, f64), expected: (f64, f64)| {
        assert!((mean - expected.0).abs() < 0.01 && (variance - expected.1).abs() < 0.02, "{mean} {variance}");
    };
    let mut out = vec![0f64; 200_000];
    normal(key, &mut out);
    near(moments(&out), (0.0, 1.0));
    exponential(key, &mut out);
    near(moments(&out), (1.0, 1.0));
    gumbel(key, &mut out);
    near(moments(&out), (0.577_215_66, std::f64::consts::PI.powi(2) / 6.0));
    truncated_normal(key, -1.0, 1.0, &mut out);
    near(moments(&out), (0.0, 0.291_125));
    let mut halves = vec![bf16::ZERO; 200_000];
    normal(key, &mut halves);
    let halves: Vec<f64> = halves.into_iter().map(f64::from).collect();
    near(moments(&halves), (0.0, 1.0));
    assert!(halves.iter().any(|&value| value > 4.0), "bf16 has tails");
}

#[test]
fn edges_of_categorical_and_truncated_normal() {
    let mut drawn = [7i64; 3];
    categorical::<f32>(Key::new(0), &[], 0, &mut drawn);
    assert_eq!(drawn, [7; 3]);
    let infinity = f32::INFINITY;
    categorical(Key::new(0), &[-infinity, 0.0, -infinity], 3, &mut drawn);
    assert_eq!(drawn, [1; 3]);
    categorical(Key::new(0), &[-infinity, f32::NAN, infinity, f32::NAN], 4, &mut drawn);
    assert_eq!(drawn, [1; 3]);
    let mut halves = [f16::ZERO; 500];
    let (lower, upper) = (f16::from_f32(-0.1), f16::from_f32(0.1));
    truncated_normal(Key::new(1), lower, upper, &mut halves);
    assert!(halves.iter().all(|&value| value > lower && value < upper));
}
