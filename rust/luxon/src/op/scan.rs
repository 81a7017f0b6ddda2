//! Cumulative operations along an axis (being written).
use crate::error::{Error, Result};
use crate::tensor::Tensor;
impl Tensor {
    /// Placeholder.
    pub fn cumulative_prod(&self, _axis: isize) -> Result<Tensor> {
        Err(Error::Value("cumulative_prod: not there yet".into()))
    }
}
