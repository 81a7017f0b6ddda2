//! Descriptions of rules, transforms and schedules, as the core's values.

use std::sync::Arc;

use luxon::optim::{Anneal, Height, Mask, Schedule, Setting, Transform};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyString};

use super::PySchedule;
use crate::error::{carry, raise};

/// The settings of a rule.
pub fn settings(settings: &Bound<'_, PyDict>) -> PyResult<Vec<(String, Setting)>> {
    settings.iter().map(|(name, value)| Ok((name.extract()?, setting(&value)?))).collect()
}

fn setting(value: &Bound<'_, PyAny>) -> PyResult<Setting> {
    if value.is_none() {
        return Ok(Setting::Missing);
    }
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(Setting::Flag(flag.is_true()));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Setting::Text(text.to_string()));
    }
    if let Ok(number) = value.extract::<f64>() {
        return Ok(Setting::Number(number));
    }
    if value.is_callable() || value.is_instance_of::<PySchedule>() {
        return Ok(Setting::Schedule(as_schedule(value)?));
    }
    Ok(Setting::Several(value.extract::<Vec<Option<f64>>>()?))
}

/// A schedule of the core, a number, or any callable from a step to a rate.
fn as_schedule(value: &Bound<'_, PyAny>) -> PyResult<Schedule> {
    if let Ok(known) = value.cast::<PySchedule>() {
        return Ok(known.get().0.clone());
    }
    if let Ok(rate) = value.extract::<f64>() {
        return Ok(Schedule::Constant(rate));
    }
    if !value.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "a schedule is a number or a function of the step, got {}",
            value.get_type().name()?
        )));
    }
    let function = value.clone().unbind();
    Ok(Schedule::Custom(Arc::new(move |step| {
        Python::attach(|py| function.call1(py, (step,))?.bind(py).call_method0("__float__")?.extract::<f64>())
            .map_err(carry)
    })))
}

/// A schedule by its name.
pub fn schedule(kind: &str, settings: &Bound<'_, PyDict>) -> PyResult<Schedule> {
    let get = |name: &str| {
        settings.get_item(name)?.ok_or_else(|| PyTypeError::new_err(format!("schedules.{kind} lacks {name}")))
    };
    let number = |name: &str| get(name)?.extract::<f64>();
    let count = |name: &str| {
        let value = get(name)?;
        value.extract::<u64>().map_err(|_| {
            PyValueError::new_err(format!("schedules.{kind}: {name} must be a count of steps, got {value}"))
        })
    };
    let counts = |name: &str| get(name)?.extract::<Vec<u64>>();
    let schedule = match kind {
        "constant" => Schedule::Constant(number("lr")?),
        "step" => Schedule::Step { lr: number("lr")?, step_size: count("step_size")?, gamma: number("gamma")? },
        "multi_step" => {
            Schedule::MultiStep { lr: number("lr")?, milestones: counts("milestones")?, gamma: number("gamma")? }
        }
        "exponential" => Schedule::Exponential { lr: number("lr")?, gamma: number("gamma")? },
        "polynomial" => Schedule::Polynomial {
            lr: number("lr")?,
            total_steps: count("total_steps")?,
            power: number("power")?,
            end: number("end")?,
        },
        "linear" => {
            Schedule::Linear { start: number("start")?, end: number("end")?, total_steps: count("total_steps")? }
        }
        "cosine" => Schedule::Cosine { lr: number("lr")?, total_steps: count("total_steps")?, end: number("end")? },
        "cosine_restarts" => Schedule::CosineRestarts {
            lr: number("lr")?,
            period: count("period")?,
            multiplier: count("multiplier")?,
            end: number("end")?,
        },
        "one_cycle" => Schedule::OneCycle {
            max_lr: number("max_lr")?,
            total_steps: count("total_steps")?,
            pct_start: number("pct_start")?,
            anneal: match get("anneal_strategy")?.extract::<String>()?.as_str() {
                "cos" => Anneal::Cosine,
                "linear" => Anneal::Linear,
                other => return Err(unknown(kind, "anneal_strategy", "\"cos\" or \"linear\"", other)),
            },
            div_factor: number("div_factor")?,
            final_div_factor: number("final_div_factor")?,
            three_phase: get("three_phase")?.extract()?,
        },
        "warmup" => Schedule::Warmup {
            schedule: Box::new(as_schedule(&get("schedule")?)?),
            steps: count("steps")?,
            start: number("start")?,
        },
        "join" => {
            let parts = get("schedules")?.extract::<Vec<Bound<'_, PyAny>>>()?;
            let schedules = parts.iter().map(as_schedule).collect::<PyResult<_>>()?;
            Schedule::Join { schedules, boundaries: counts("boundaries")? }
        }
        "triangular" => Schedule::Triangular {
            low: number("low")?,
            high: number("high")?,
            up: count("half_period")?,
            down: if get("half_period_down")?.is_none() { count("half_period")? } else { count("half_period_down")? },
            height: match get("mode")?.extract::<String>()?.as_str() {
                "triangular" => Height::Constant,
                "triangular2" => Height::Halved,
                "exp_range" => Height::Exponential(number("gamma")?),
                other => {
                    return Err(unknown(kind, "mode", "\"triangular\", \"triangular2\" or \"exp_range\"", other));
                }
            },
        },
        "inverse_sqrt" => Schedule::InverseSqrt { lr: number("lr")?, warmup_steps: count("warmup_steps")? },
        "piecewise" => Schedule::Piecewise { boundaries: counts("boundaries")?, values: get("values")?.extract()? },
        _ => return Err(PyValueError::new_err(format!("there is no schedule {kind:?}"))),
    };
    schedule.check().map_err(raise)?;
    Ok(schedule)
}

fn unknown(kind: &str, name: &str, known: &str, got: &str) -> PyErr {
    PyValueError::new_err(format!("{kind}: {name} is {known}, got {got:?}"))
}

/// A transform by its name.
pub fn transform(kind: &str, settings: &Bound<'_, PyDict>) -> PyResult<Transform> {
    let get =
        |name: &str| settings.get_item(name)?.ok_or_else(|| PyTypeError::new_err(format!("optim.{kind} lacks {name}")));
    let number = |name: &str| get(name)?.extract::<f64>();
    let mask = || -> PyResult<Mask> {
        match get("mask")? {
            all if all.is_none() => Ok(Mask::default()),
            one if one.is_instance_of::<PyString>() => Mask::new(&[one.extract()?]).map_err(raise),
            several => Mask::new(&several.extract::<Vec<String>>()?).map_err(raise),
        }
    };
    Ok(match kind {
        "clip_value" => Transform::ClipValue { c: number("c")? },
        "clip_norm" => Transform::ClipNorm { c: number("c")? },
        "clip_global_norm" => Transform::ClipGlobalNorm { c: number("c")?, p: number("p")? },
        "weight_decay" => Transform::WeightDecay { d: number("d")?, mask: mask()? },
        "sign_decay" => Transform::SignDecay { d: number("d")?, mask: mask()? },
        "accumulate" => Transform::Accumulate {
            n: get("n")?.extract().map_err(|_| PyValueError::new_err("accumulate: n must be a positive integer"))?,
        },
        "ema" => Transform::Ema { decay: number("decay")?, debias: get("debias")?.extract()? },
        _ => return Err(PyValueError::new_err(format!("there is no transform {kind:?}"))),
    })
}
