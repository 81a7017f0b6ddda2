//! Operations on values that are not in host memory.
//!
//! Abstract values give abstract results. On a device an operation goes the first way that there is: a view,
//! the device's plan, the definition in other operations, and at last the host. All inputs are on one device;
//! numbers without axes may come from the host and are moved.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::{Op, Outputs, fresh, listed};
use crate::device::Device;
use crate::device::report::{self, Way};
use crate::dtype::Scalar;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, Value};

/// Abstract values give abstract results; a device runs what it supports and expands the rest.
#[cold]
pub(super) fn execute(op: &Op, inputs: &[&Tensor], values: &[&Value]) -> Result<Outputs> {
    let family = op.family();
    if values.iter().any(|value| value.is_abstract()) {
        let specs = family.outputs(values)?;
        return specs.iter().map(|spec| Ok(Value::abstract_of(spec.dtype, &spec.shape)?.into())).collect();
    }
    let devices = || values.iter().filter_map(|value| value.device());
    let Some(device) = devices().next() else {
        return Err(Error::Device(format!("{}: no device found among its inputs", op.name())));
    };
    if let Some(other) = devices().find(|other| !Arc::ptr_eq(other, device)) {
        return Err(Error::Device(format!(
            "{}: inputs are on {} and {}; move one with to_device",
            op.name(),
            device.name(),
            other.name()
        )));
    }
    if let Some(host) = values.iter().find(|value| value.device().is_none() && value.layout().rank() > 0) {
        let shape = crate::layout::show(host.shape());
        return Err(Error::Device(format!(
            "{}: an input of shape {shape} is on the CPU, another on {}; move one with to_device",
            op.name(),
            device.name()
        )));
    }
    if let Some(view) = family.view(values)? {
        return Ok(smallvec![view.into()]);
    }
    // Numbers from the host take part as tensors of the device.
    let moved = values.iter().map(|value| match value.device() {
        Some(_) => Ok(None),
        // SAFETY: a host value without axes has one element at its address.
        None => Value::filled_on(device, value.dtype(), value.shape(), unsafe {
            Scalar::read(value.dtype(), value.pointer())
        })
        .map(Some),
    });
    let moved: SmallVec<[Option<Value>; 3]> = moved.collect::<Result<_>>()?;
    let values: SmallVec<[&Value; 3]> =
        listed(values.iter().zip(&moved).map(|(value, moved)| moved.as_ref().unwrap_or(value)));
    let values = &values[..];
    let specs = family.outputs(values)?;
    if let Some(plan) = device.plan(op, values, &specs) {
        report::note(op, Way::Kernel);
        let plan = plan?;
        let mut outputs = Outputs::new();
        for spec in &specs {
            outputs.push(Value::empty_on(device, spec.dtype, &spec.shape)?.into());
        }
        device.execute(
            &plan,
            values,
            &fresh(&mut outputs).iter().map(|value| &**value).collect::<SmallVec<[&Value; 1]>>(),
        )?;
        return Ok(outputs);
    }
    let owned: Vec<Tensor> = inputs.iter().map(|input| (*input).clone()).collect();
    if let Some(expanded) = family.expand(&owned) {
        report::note(op, Way::Expansion);
        return expanded;
    }
    report::note(op, Way::Host);
    through_host(op, inputs, device)
}

/// What a device has neither a kernel nor an expansion for: its inputs are brought to the host, where the
/// caller waits for them, and its results back. That is for operations on small data, as decompositions are.
fn through_host(op: &Op, inputs: &[&Tensor], device: &Arc<dyn Device>) -> Result<Outputs> {
    // Views come as they lie: to make them contiguous may be what the device has no kernel for.
    let hosted = inputs.iter().map(|input| {
        if input.value.is_contiguous() { input.detach().to_host() } else { input.detach().to_host_as_it_lies() }
    });
    let hosted = hosted.collect::<Result<SmallVec<[Tensor; 3]>>>()?;
    let outputs = super::execute(op, &hosted.iter().collect::<SmallVec<[&Tensor; 3]>>())?;
    outputs.iter().map(|output| output.to_device(device)).collect()
}
