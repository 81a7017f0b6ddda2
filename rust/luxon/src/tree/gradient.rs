//! Gradients with respect to a whole tree of tensors.

use std::sync::Arc;

use super::Tree;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::transform;

impl Tree<Tensor> {
    /// The value of a scalar function of the tree, and its gradient in the tree's structure.
    ///
    /// ```
    /// use luxon::Tensor;
    /// use luxon::tree::Tree;
    /// let ps = Tree::from_paths([
    ///     ("a", Tensor::new(&[3.0f64], &[1])?),
    ///     ("b", Tensor::new(&[2.0f64], &[1])?),
    /// ])?;
    /// let (value, slope) = ps.value_and_grad(|ps| {
    ///     ps.get("a")?.tensor()?.square()?.mul(ps.get("b")?.tensor()?)?.sum(None, false)
    /// })?;
    /// assert_eq!(value.to_vec::<f64>()?, [18.0]);
    /// assert_eq!(slope.get("a")?.tensor()?.to_vec::<f64>()?, [12.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`transform::value_and_grad`].
    pub fn value_and_grad(
        &self,
        function: impl FnOnce(&Tree<Tensor>) -> Result<Tensor>,
    ) -> Result<(Tensor, Tree<Tensor>)> {
        let inputs: Vec<Tensor> = self.leaves().cloned().collect();
        let structure = self.structure();
        let of_tree = |inputs: &[Tensor]| function(&Tree::new(Arc::clone(structure), inputs.to_vec())?);
        let (value, gradients) = transform::value_and_grad(of_tree, &inputs)?;
        Ok((value, Tree::new(Arc::clone(structure), gradients)?))
    }

    /// The gradient of a scalar function of the tree, in the tree's structure.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// use luxon::tree::Tree;
    /// let ps = Tree::mapping([("x", Tree::leaf(Tensor::scalar(3.0, DType::F64)))])?;
    /// let slope = ps.grad(|ps| ps.get("x")?.tensor()?.square())?;
    /// assert_eq!(slope.get("x")?.tensor()?.to_vec::<f64>()?, [6.0]);
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Tree::value_and_grad`].
    pub fn grad(&self, function: impl FnOnce(&Tree<Tensor>) -> Result<Tensor>) -> Result<Tree<Tensor>> {
        Ok(self.value_and_grad(function)?.1)
    }

    /// The tensor, where this is a lone leaf.
    ///
    /// ```
    /// use luxon::{DType, Tensor};
    /// use luxon::tree::Tree;
    /// let ps = Tree::mapping([("x", Tree::leaf(Tensor::scalar(3.0, DType::F64)))])?;
    /// assert_eq!(ps.get("x")?.tensor()?.rank(), 0);
    /// assert!(ps.tensor().unwrap_err().to_string().contains("container of 1 leaves: x"));
    /// # Ok::<(), luxon::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Value`](crate::Error::Value) where this is a container.
    pub fn tensor(&self) -> Result<&Tensor> {
        let names =
            || self.structure().paths().into_iter().take(3).map(|(path, _)| path).collect::<Vec<_>>().join(", ");
        self.value().ok_or_else(|| {
            crate::Error::Value(format!(
                "expected a tensor, found a container of {} leaves: {}",
                self.structure().places(),
                names()
            ))
        })
    }
}
