//! What composition promises; formulas are tested from Python against other libraries.
#![allow(clippy::unwrap_used)]

use super::rules::{Adam, Lbfgs, Sgd};
use super::*;
use crate::dtype::DType;
use crate::tensor::Tensor;

fn sgd(lr: f64) -> Optimizer {
    Sgd { lr: lr.into(), ..Sgd::default() }.into()
}

fn one(optimizer: &Optimizer, step: u64, p: Tensor, g: &Tensor, state: State) -> (Tensor, State) {
    optimizer.update(step, vec![("p".into(), p, g.clone(), state)]).unwrap().remove(0)
}

#[test]
fn moved_state_is_overwritten_and_shared_state_is_not() {
    let rule = Optimizer::from(Adam { lr: 0.1.into(), ..Adam::default() });
    let p = Tensor::ones(&[100], DType::F32).unwrap();
    let g = Tensor::full(&[100], 0.5, DType::F32).unwrap();
    let address = p.value().pointer();
    let state = rule.start("p", &p).unwrap();
    let kept = p.clone();
    let (q, state) = one(&rule, 0, p, &g, state);
    assert_ne!(q.value().pointer(), address);
    assert_eq!(kept.to_vec::<f32>().unwrap(), [1.0; 100]);
    assert!((q.to_vec::<f32>().unwrap()[3] - 0.9).abs() < 1e-6);
    let address = q.value().pointer();
    let (r, state) = one(&rule, 1, q, &g, state);
    assert_eq!(r.value().pointer(), address);
    assert_eq!(state.step, 2);
    assert!(rule.update(2, vec![("p".into(), r, Tensor::ones(&[3], DType::F32).unwrap(), state)]).is_err());
}

#[test]
fn held_back_leaves_count_no_step() {
    let optimizer = Optimizer::chain(vec![Transform::Accumulate { n: 2 }.into(), sgd(1.0)]).unwrap();
    let p = Tensor::zeros(&[2], DType::F64).unwrap();
    let state = optimizer.start("p", &p).unwrap();
    let (p, state) = one(&optimizer, 0, p, &Tensor::new(&[1.0, 2.0], &[2]).unwrap(), state);
    assert_eq!((p.to_vec::<f64>().unwrap(), state.step), (vec![0.0, 0.0], 0));
    let (p, state) = one(&optimizer, 0, p, &Tensor::new(&[3.0, 6.0], &[2]).unwrap(), state);
    assert_eq!((p.to_vec::<f64>().unwrap(), state.step), (vec![-2.0, -4.0], 1));
}

#[test]
fn what_stands_after_a_rule_works_on_its_step() {
    let optimizer = Optimizer::chain(vec![sgd(10.0), Transform::ClipValue { c: 1.0 }.into()]).unwrap();
    let p = Tensor::zeros(&[2], DType::F64).unwrap();
    let state = optimizer.start("p", &p).unwrap();
    let (p, state) = one(&optimizer, 0, p, &Tensor::new(&[1.0, -0.05], &[2]).unwrap(), state);
    assert_eq!((p.to_vec::<f64>().unwrap(), state.step), (vec![-1.0, 0.5], 1));
}

#[test]
fn lbfgs_finds_the_minimum_of_rosenbrocks_function() {
    let search = Some("strong_wolfe".into());
    let rule = Lbfgs { line_search_fn: search, max_iter: 100, tolerance_change: 1e-14, ..Lbfgs::default() };
    let optimizer = Optimizer::from(rule);
    let x = Tensor::new(&[-1.2, 1.0], &[2]).unwrap();
    let state = optimizer.start("x", &x).unwrap();
    let mut evaluate = |at: &[Tensor]| {
        let x = at[0].to_vec::<f64>()?;
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        let gradient = Tensor::new(&[-2.0 * a - 400.0 * x[0] * b, 200.0 * b], &[2])?;
        Ok((a * a + 100.0 * b * b, vec![gradient]))
    };
    let (value, _, mut moved) = optimizer.minimize(0, vec![("x".into(), x.clone(), x, state)], &mut evaluate).unwrap();
    assert!((value - 24.2).abs() < 1e-9);
    for x in moved.remove(0).0.to_vec::<f64>().unwrap() {
        assert!((x - 1.0).abs() < 1e-6, "{x}");
    }
}

#[test]
fn a_stepper_keeps_what_it_refuses_and_overwrites_what_is_its_own() {
    use crate::tree::Tree;
    let leaf = |value: f32| Tree::leaf(Tensor::full(&[100], value, DType::F32).unwrap());
    let mut ps = Tree::mapping([("a", leaf(1.0)), ("b", leaf(2.0))]).unwrap();
    let slope = ps.map(|leaf| leaf.ones_like().unwrap());
    let mut stepper = Stepper::new(Adam { lr: 0.1.into(), ..Adam::default() }, &ps).unwrap();
    let address = |ps: &Tree<Tensor>| ps.at(0).value().pointer();
    let first = address(&ps);
    stepper.step(&mut ps, slope.clone()).unwrap();
    assert_eq!(address(&ps), first);
    let kept = ps.clone();
    stepper.step(&mut ps, slope.clone()).unwrap();
    assert_ne!(address(&ps), first);
    assert!((kept.at(0).to_vec::<f32>().unwrap()[0] - 0.9).abs() < 1e-6);
    assert!((ps.at(1).to_vec::<f32>().unwrap()[0] - 1.8).abs() < 1e-6);
    for bad in [leaf(1.0), Tree::mapping([("a", leaf(1.0)), ("b", Tree::leaf(Tensor::scalar(1, DType::F32)))]).unwrap()]
    {
        assert!(stepper.step(&mut ps, bad).is_err());
    }
    // What a rule refuses, here a gradient that is no number, leaves everything as it was.
    let clip = Transform::ClipGlobalNorm { c: 1.0, p: 2.0 };
    let careful = Optimizer::chain(vec![clip.into(), sgd(1.0)]).unwrap();
    let mut careful = Stepper::new(careful, &ps).unwrap();
    assert!(careful.step(&mut ps, slope.map(|leaf| leaf.mul(f64::NAN).unwrap())).is_err());
    assert_eq!((stepper.steps(), careful.steps(), ps.at(1).dtype()), (2, 0, DType::F32));
    assert!((ps.at(1).to_vec::<f32>().unwrap()[0] - 1.8).abs() < 1e-6);
    // A leaf in two places is one parameter.
    let mut tied = ps.tie(&[vec!["a".into(), "b".into()]]).unwrap();
    let slope = tied.map(|leaf| leaf.ones_like().unwrap());
    Stepper::new(sgd(1.0), &tied).unwrap().step(&mut tied, slope).unwrap();
    assert!((tied.get("b").unwrap().tensor().unwrap().to_vec::<f32>().unwrap()[0] + 0.2).abs() < 1e-6);
    assert!(Stepper::new(sgd(1.0), &Tree::leaf(Tensor::scalar(1, DType::I64))).is_err());
}
