//! The network of `examples/digits.py`, as a function of the trees that Python saved.

use luxon::io::safetensors::{self, Metadata};
use luxon::optim::{Schedule, Stepper, rules};
use luxon::tree::Tree;
use luxon::{CrossEntropyOptions, Error, Key, Result, Tensor, batch_norm_inference, cross_entropy, linear, random};

/// Parameters and states, and the text that Python needs to read them again.
pub struct Digits {
    ps: Tree<Tensor>,
    st: Tree<Tensor>,
    metadata: Metadata,
}

impl Digits {
    /// From the tensors of a file that `lx.io.save(path, ps=ps, st=st)` wrote.
    pub fn new((tensors, metadata): (safetensors::Named, Metadata)) -> Result<Digits> {
        let all = Tree::from_paths(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())))?;
        Ok(Digits { ps: all.get("ps")?, st: all.get("st")?, metadata })
    }

    /// Everything under the names under which it was loaded.
    pub fn save(&self, path: &std::path::Path) -> Result<()> {
        let part = |name: &'static str, tree: &Tree<Tensor>| {
            tree.places().map(|(path, tensor)| (format!("{name}.{path}"), tensor.clone())).collect::<Vec<_>>()
        };
        let tensors = [part("ps", &self.ps), part("st", &self.st)].concat();
        safetensors::write(path, &tensors, &self.metadata)
    }

    /// The logits of images (n, 64), in testing mode.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        forward(&self.ps, &self.st, x)
    }

    /// Trains on images (n, 64) and classes (n,) with Adam and a falling rate; gives the mean loss of each epoch.
    /// The statistics of the batch norms stay.
    pub fn tune(&mut self, x: &Tensor, y: &Tensor, epochs: u32, batch: usize) -> Result<Vec<f64>> {
        let rows = x.shape().first().copied().unwrap_or(0);
        if rows == 0 || batch == 0 {
            return Err(Error::Value("there is nothing to train on".into()));
        }
        let batches = rows.div_ceil(batch);
        let rate = Schedule::Cosine { lr: 1e-3, total_steps: u64::from(epochs) * batches as u64, end: 0.0 };
        let mut stepper = Stepper::new(rules::Adam { lr: rate.into(), ..Default::default() }, &self.ps)?;

        let mut losses = Vec::new();
        for epoch in 0..epochs {
            let order = random::permutation(Key::new(0).fold_in(epoch), rows)?;
            let mut total = 0.0;
            for first in (0..rows).step_by(batch) {
                let chosen = order.narrow(0, first, batch.min(rows - first))?;
                let (images, classes) = (x.take(&chosen, 0)?, y.take(&chosen, 0)?);
                let (loss, slope) = self.ps.value_and_grad(|ps| {
                    cross_entropy(&forward(ps, &self.st, &images)?, &classes, &CrossEntropyOptions::default())
                })?;
                stepper.step(&mut self.ps, slope)?;
                total += loss.item()?.as_f64();
            }
            losses.push(total / batches as f64);
        }
        Ok(losses)
    }
}

/// linear, norm, relu; linear, norm, relu; linear. Dropout is the identity when testing.
fn forward(ps: &Tree<Tensor>, st: &Tree<Tensor>, x: &Tensor) -> Result<Tensor> {
    let dense = |x: &Tensor, name: &str| {
        let layer = ps.get(name)?;
        linear(x, layer.get("weight")?.tensor()?, Some(layer.get("bias")?.tensor()?), None)
    };
    let norm = |x: &Tensor, name: &str| {
        let (layer, seen) = (ps.get(name)?, st.get(name)?);
        let (mean, variance) = (seen.get("running_mean")?, seen.get("running_var")?);
        let (weight, bias) = (layer.get("weight")?, layer.get("bias")?);
        let (mean, variance) = (mean.tensor()?, variance.tensor()?);
        batch_norm_inference(x, mean, variance, Some(weight.tensor()?), Some(bias.tensor()?), 1e-5)?.relu()
    };
    let x = norm(&dense(x, "layer_1")?, "layer_2")?;
    let x = norm(&dense(&x, "layer_4")?, "layer_5")?;
    dense(&x, "layer_7")
}
