use luxon::io::safetensors;
use luxon::tree::Tree;
use luxon::{Result, Tensor, batch_norm_inference, linear};
use luxon_rivals::{Outcome, race};

struct Dense {
    weight: Tensor,
    bias: Tensor,
}

struct Norm {
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
}

struct Network(Dense, Norm, Dense, Norm, Dense);

impl Dense {
    fn load(all: &Tree<Tensor>, name: &str) -> Result<Dense> {
        let of = |part: &str| Ok(all.get(&format!("ps.{name}.{part}"))?.tensor()?.clone());
        Ok(Dense { weight: of("weight")?, bias: of("bias")? })
    }

    fn of(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.weight, Some(&self.bias), None)
    }
}

impl Norm {
    fn load(all: &Tree<Tensor>, name: &str) -> Result<Norm> {
        let of = |path: String| Ok(all.get(&path)?.tensor()?.clone());
        Ok(Norm {
            weight: of(format!("ps.{name}.weight"))?,
            bias: of(format!("ps.{name}.bias"))?,
            mean: of(format!("st.{name}.running_mean"))?,
            variance: of(format!("st.{name}.running_var"))?,
        })
    }

    fn of(&self, x: &Tensor) -> Result<Tensor> {
        batch_norm_inference(x, &self.mean, &self.variance, Some(&self.weight), Some(&self.bias), 1e-5)?.relu()
    }
}

fn load(path: &str) -> Outcome<Network> {
    let (tensors, _) = safetensors::read(path.as_ref())?;
    let all = Tree::from_paths(tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())))?;
    let (dense, norm) = (|name: &str| Dense::load(&all, name), |name: &str| Norm::load(&all, name));
    Ok(Network(dense("layer_1")?, norm("layer_2")?, dense("layer_4")?, norm("layer_5")?, dense("layer_7")?))
}

fn main() -> Outcome<()> {
    race(load, |Network(a, b, c, d, e), x| {
        let x = Tensor::new(x, &[1, 64])?;
        Ok(e.of(&d.of(&c.of(&b.of(&a.of(&x)?)?)?)?)?.to_vec::<f32>()?)
    })
}
