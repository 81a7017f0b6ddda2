//! Looking at derivatives on their way, without touching them.
//!
//! [`watch`] gives the same tensor with a watcher on it: every cotangent that arrives through it, and its
//! tangent in forward mode, is shown to the watcher, which may end the differentiation with an error. A
//! watched tensor is no place where cotangents are summed: each goes straight on to the tensor itself, so
//! that sums are formed in the same order, and have the same bits, as without the watcher.

use std::sync::Arc;

use crate::error::Result;
use crate::tensor::Tensor;
use crate::transform::level::Trace;

/// What is shown the derivatives that pass a watched tensor.
pub trait Watcher: Send + Sync {
    /// A cotangent on its way back (one of the contributions that are summed).
    ///
    /// # Errors
    /// Whatever is to end the differentiation.
    fn cotangent(&self, cotangent: &Tensor) -> Result<()>;

    /// The tangent of the tensor, or each of its derivatives.
    ///
    /// # Errors
    /// Whatever is to end the differentiation.
    fn tangent(&self, tangent: &Tensor) -> Result<()>;
}

/// The tensor with `watcher` on it, at every level that it takes part in.
///
/// # Errors
/// What the watcher makes of a tangent.
pub fn watch(tensor: &Tensor, watcher: &Arc<dyn Watcher>) -> Result<Tensor> {
    let Some(top) = tensor.active_node() else { return Ok(tensor.clone()) };
    let below = watch(&tensor.lower(top.level.stamp()), watcher)?;
    let trace = match &top.trace {
        Trace::Tangent(tangent) => {
            watcher.tangent(tangent)?;
            Trace::Tangent(tangent.clone())
        }
        Trace::Jet(jets) => {
            jets.iter().flatten().flatten().try_for_each(|derivative| watcher.tangent(derivative))?;
            Trace::Jet(jets.clone())
        }
        _ => Trace::Watch { input: Arc::clone(top), watcher: Arc::clone(watcher) },
    };
    Ok(top.level.record(&below, trace))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::error::Error;
    use crate::op::custom::checkpoint;
    use crate::transform::{grad, jvp};

    #[derive(Default)]
    struct Seen {
        cotangents: Mutex<Vec<f64>>,
        tangents: Mutex<Vec<f64>>,
        limit: Option<f64>,
    }

    fn first(tensor: &Tensor) -> f64 {
        tensor.detach().to_vec::<f64>().unwrap()[0]
    }

    impl Watcher for Seen {
        fn cotangent(&self, cotangent: &Tensor) -> Result<()> {
            self.cotangents.lock().unwrap().push(first(cotangent));
            match self.limit {
                Some(limit) if first(cotangent) > limit => Err(Error::Value("too large".into())),
                _ => Ok(()),
            }
        }

        fn tangent(&self, tangent: &Tensor) -> Result<()> {
            self.tangents.lock().unwrap().push(first(tangent));
            Ok(())
        }
    }

    fn watched(x: &Tensor, seen: &Arc<Seen>) -> Result<Tensor> {
        watch(x, &(Arc::clone(seen) as Arc<dyn Watcher>))
    }

    #[test]
    fn contributions_are_seen_and_pass_unchanged() {
        let x = Tensor::new(&[3.0f64], &[1]).unwrap();
        let seen = Arc::new(Seen::default());
        let cube = |x: &Tensor| -> Result<Tensor> { x.mul(x)?.mul(x)?.sum(None, false) };
        let gradient = grad(|xs| cube(&watched(&watched(&xs[0], &seen)?, &seen)?), std::slice::from_ref(&x)).unwrap();
        assert_eq!(first(&gradient[0]), 27.0);
        // Three contributions, each past both watchers.
        let sum: f64 = seen.cotangents.lock().unwrap().iter().sum();
        assert_eq!((sum, seen.cotangents.lock().unwrap().len()), (54.0, 6));
        let (_, tangents) = jvp(|xs| Ok(vec![cube(&watched(&xs[0], &seen)?)?]), &[x.clone()], &[x]).unwrap();
        assert_eq!(first(&tangents[0]), 81.0);
        assert_eq!(*seen.tangents.lock().unwrap(), [3.0]);
    }

    #[test]
    fn nested_levels_and_recomputation() {
        let x = Tensor::new(&[2.0f64], &[1]).unwrap();
        let seen = Arc::new(Seen::default());
        let cube = |x: &Tensor| -> Result<Tensor> { x.mul(x)?.mul(x)?.sum(None, false) };
        let slope = |xs: &[Tensor]| grad(|inner| cube(&watched(&inner[0], &seen)?), xs)?.remove(0).sum(None, false);
        assert_eq!(first(&grad(slope, std::slice::from_ref(&x)).unwrap()[0]), 12.0);
        let kept = Arc::clone(&seen);
        let body: crate::op::custom::Function = Arc::new(move |xs| Ok(vec![watched(&xs[0], &kept)?.exp()?]));
        let through = |xs: &[Tensor]| checkpoint(&body, &[watched(&xs[0], &seen)?])?.remove(0).sum(None, false);
        assert!((first(&grad(through, std::slice::from_ref(&x)).unwrap()[0]) - 2f64.exp()).abs() < 1e-12);
    }

    #[test]
    fn an_error_ends_the_walk() {
        let seen = Arc::new(Seen { limit: Some(1.0), ..Seen::default() });
        let x = Tensor::new(&[2.0f64], &[1]).unwrap();
        let error = grad(|xs| watched(&xs[0], &seen)?.mul(5.0)?.sum(None, false), &[x]).unwrap_err();
        assert_eq!(error.to_string(), "too large");
    }
}
