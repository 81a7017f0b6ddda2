//! The backend is the feature that the program is built with: `flex`, or `ndarray`.

use burn::module::{Param, RunningState};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use luxon_rivals::{Outcome, race};
use safetensors::SafeTensors;

struct Network(Linear, BatchNorm, Linear, BatchNorm, Linear);

fn device() -> Device {
    #[cfg(feature = "flex")]
    return Device::flex();
    #[cfg(not(feature = "flex"))]
    #[allow(deprecated)]
    return Device::ndarray();
}

/// A tensor's shape and numbers.
fn read(all: &SafeTensors<'_>, path: &str) -> Outcome<(Vec<usize>, Vec<f32>)> {
    let view = all.tensor(path)?;
    let numbers = view.data().chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    Ok((view.shape().to_vec(), numbers.collect()))
}

fn vector(all: &SafeTensors<'_>, path: &str) -> Outcome<Tensor<1>> {
    let (shape, numbers) = read(all, path)?;
    Ok(Tensor::from_data(TensorData::new(numbers, shape), &device()))
}

fn dense(all: &SafeTensors<'_>, name: &str) -> Outcome<Linear> {
    let (shape, numbers) = read(all, &format!("ps.{name}.weight"))?;
    let [outputs, inputs] = shape[..] else { return Err("a matrix is expected".into()) };
    // Burn's weights are (inputs, outputs), in memory too.
    let turned: Vec<f32> = (0..inputs * outputs).map(|at| numbers[at % outputs * inputs + at / outputs]).collect();
    let mut layer = LinearConfig::new(inputs, outputs).init(&device());
    layer.weight = Param::from_data(TensorData::new(turned, [inputs, outputs]), &device());
    layer.bias = Some(Param::from_tensor(vector(all, &format!("ps.{name}.bias"))?));
    Ok(layer)
}

fn norm(all: &SafeTensors<'_>, name: &str) -> Outcome<BatchNorm> {
    let mean = vector(all, &format!("st.{name}.running_mean"))?;
    let mut layer = BatchNormConfig::new(mean.dims()[0]).init(&device());
    layer.gamma = Param::from_tensor(vector(all, &format!("ps.{name}.weight"))?);
    layer.beta = Param::from_tensor(vector(all, &format!("ps.{name}.bias"))?);
    layer.running_mean = RunningState::new(mean);
    layer.running_var = RunningState::new(vector(all, &format!("st.{name}.running_var"))?);
    Ok(layer)
}

fn load(path: &str) -> Outcome<Network> {
    let bytes = std::fs::read(path)?;
    let all = SafeTensors::deserialize(&bytes)?;
    Ok(Network(
        dense(&all, "layer_1")?,
        norm(&all, "layer_2")?,
        dense(&all, "layer_4")?,
        norm(&all, "layer_5")?,
        dense(&all, "layer_7")?,
    ))
}

fn main() -> Outcome<()> {
    let device = device();
    race(load, |Network(a, b, c, d, e), x| {
        let x = Tensor::<2>::from_data(TensorData::new(x.to_vec(), [1, 64]), &device);
        let x = relu(b.forward(a.forward(x)));
        let x = relu(d.forward(c.forward(x)));
        Ok(e.forward(x).into_data().to_vec().map_err(|error| format!("{error:?}"))?)
    })
}
