use candle_core::{Device, Module, ModuleT, Result, Tensor};
use candle_nn::{BatchNorm, Linear};
use luxon_rivals::{Outcome, race};

struct Network(Linear, BatchNorm, Linear, BatchNorm, Linear);

fn load(path: &str) -> Outcome<Network> {
    let all = candle_core::safetensors::load(path, &Device::Cpu)?;
    let of = |path: String| all.get(&path).cloned().ok_or_else(|| format!("{path} is missing"));
    let dense = |name: &str| -> Outcome<Linear> {
        Ok(Linear::new(of(format!("ps.{name}.weight"))?, Some(of(format!("ps.{name}.bias"))?)))
    };
    let norm = |name: &str| -> Outcome<BatchNorm> {
        let (mean, variance) = (of(format!("st.{name}.running_mean"))?, of(format!("st.{name}.running_var"))?);
        let (weight, bias) = (of(format!("ps.{name}.weight"))?, of(format!("ps.{name}.bias"))?);
        Ok(BatchNorm::new(mean.dims1()?, mean, variance, weight, bias, 1e-5)?)
    };
    Ok(Network(dense("layer_1")?, norm("layer_2")?, dense("layer_4")?, norm("layer_5")?, dense("layer_7")?))
}

fn predict(Network(a, b, c, d, e): &Network, x: &[f32]) -> Result<Vec<f32>> {
    let x = Tensor::from_slice(x, (1, 64), &Device::Cpu)?;
    let x = b.forward_t(&a.forward(&x)?, false)?.relu()?;
    let x = d.forward_t(&c.forward(&x)?, false)?.relu()?;
    e.forward(&x)?.flatten_all()?.to_vec1()
}

fn main() -> Outcome<()> {
    race(load, |network, x| Ok(predict(network, x)?))
}
