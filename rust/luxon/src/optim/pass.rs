//! One pass over a leaf: the bridge between rules and the kernel driver.
//!
//! A rule reduces a step to a struct of numbers (`numbers!`) computed in double precision and says in one
//! expression what they do to an element; [`fused`] casts them to the leaf's type and runs the kernel. What is
//! given by value and nobody else holds is overwritten. [`blend`], `a * x + b * y`, is the pass from which rules
//! with norms and the transforms are made.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::cpu::optimize::{Element, Field, Memory, update};
use crate::cpu::real::Real;
use crate::cuda::trace::{self, Traced};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::linalg::vector_norm;
use crate::optim::leaf::Kept;
use crate::tensor::{Tensor, Value};

/// The numbers of one step, in double precision; [`Numbers::at`] gives them in a leaf's type.
pub trait Numbers: Copy {
    /// The numbers in the type `T`.
    type At<T: Field>;

    /// Rounds every number.
    fn at<T: Field>(&self) -> Self::At<T>;
}

/// Declares the struct of a step's numbers, with flags that choose between expressions.
macro_rules! numbers {
    ($(#[$doc:meta])* $name:ident { $($number:ident,)* } { $($flag:ident,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name<T> {
            $(pub $number: T,)*
            $(pub $flag: bool,)*
        }

        impl $crate::optim::pass::Numbers for $name<f64> {
            type At<T: $crate::cpu::optimize::Field> = $name<T>;

            fn at<T: $crate::cpu::optimize::Field>(&self) -> $name<T> {
                $name { $($number: T::from_f64(self.$number),)* $($flag: self.$flag,)* }
            }
        }
    };
}
pub(super) use numbers;

/// Runs an element rule over a parameter, a gradient and what is kept, all of one shape and type.
///
/// # Errors
/// [`Error::Type`] for other than floating types, [`Error::Memory`].
pub fn fused<N: Numbers, const SLOTS: usize>(
    numbers: &N,
    parameter: Tensor,
    gradient: &Tensor,
    kept: [Tensor; SLOTS],
) -> Result<(Tensor, [Tensor; SLOTS])>
where
    N::At<f32>: Element<f32, SLOTS>,
    N::At<f64>: Element<f64, SLOTS>,
    N::At<Traced>: Element<Traced, SLOTS>,
{
    match parameter.dtype() {
        DType::F32 | DType::F64 if parameter.device().is_some() => device_pass(numbers, parameter, gradient, kept),
        DType::F32 => pass(&numbers.at::<f32>(), parameter, gradient, kept),
        DType::F64 => pass(&numbers.at::<f64>(), parameter, gradient, kept),
        dtype if dtype.is_half() => {
            // Half types keep their state in half as well; the arithmetic is in f32.
            let mut wide = kept;
            for tensor in &mut wide {
                *tensor = tensor.cast(DType::F32)?;
            }
            let parameter = parameter.cast(DType::F32)?;
            let (new, mut kept) = fused(numbers, parameter, &gradient.cast(DType::F32)?, wide)?;
            for tensor in &mut kept {
                *tensor = tensor.cast(dtype)?;
            }
            Ok((new.cast(dtype)?, kept))
        }
        dtype => Err(Error::unsupported("optim", dtype, "floating types; integer leaves are not trained")),
    }
}

/// [`fused`] for a rule's share of what is kept, which comes back in the list that it came in.
///
/// # Errors
/// As [`fused`], and [`Error::Value`] for a share of another rule.
pub fn fused_kept<N: Numbers, const SLOTS: usize>(
    numbers: &N,
    parameter: Tensor,
    gradient: &Tensor,
    mut kept: Vec<Kept>,
) -> Result<(Tensor, Vec<Kept>)>
where
    N::At<f32>: Element<f32, SLOTS>,
    N::At<f64>: Element<f64, SLOTS>,
    N::At<Traced>: Element<Traced, SLOTS>,
{
    let mut tensors: SmallVec<[Tensor; SLOTS]> = SmallVec::new();
    for kept in &mut kept {
        tensors.push(std::mem::replace(kept, Kept::Nothing).tensor()?);
    }
    let Ok(tensors) = tensors.into_inner() else {
        return Err(Error::value("optim", "the optimiser's state is another rule's"));
    };
    let (parameter, tensors) = fused(numbers, parameter, gradient, tensors)?;
    for (kept, tensor) in kept.iter_mut().zip(tensors) {
        *kept = Kept::Tensor(tensor);
    }
    Ok((parameter, kept))
}

/// A tensor that is being replaced by its successor.
struct Successor<T> {
    /// The source, where it keeps its memory.
    _source: Option<Arc<Value>>,
    /// The memory of the successor; the source's own where nobody else sees it.
    target: Arc<Value>,
    /// From where to read and where to write.
    from: *const T,
    to: *mut T,
}

impl<T> Successor<T> {
    fn of(tensor: Tensor) -> Result<Successor<T>> {
        let mut value = tensor.value;
        if let Some(own) = Arc::get_mut(&mut value)
            && own.is_replaceable()
        {
            let to: *mut T = own.pointer_mut().cast();
            return Ok(Successor { _source: None, target: value, from: to, to });
        }
        let (source, mut fresh) = match value.is_contiguous() {
            true => (Some(Arc::clone(&value)), Tensor::empty(value.dtype(), value.shape())?.value),
            false => (None, Arc::new(value.to_contiguous()?)),
        };
        let Some(target) = Arc::get_mut(&mut fresh) else {
            return Err(Error::value("optim", "fresh memory has another owner"));
        };
        let to: *mut T = target.pointer_mut().cast();
        let from = source.as_ref().map_or(to.cast_const(), |source| source.pointer().cast());
        Ok(Successor { _source: source, target: fresh, from, to })
    }
}

fn pass<T: Real + Field, R: Element<T, SLOTS>, const SLOTS: usize>(
    rule: &R,
    parameter: Tensor,
    gradient: &Tensor,
    slots: [Tensor; SLOTS],
) -> Result<(Tensor, [Tensor; SLOTS])> {
    let copy;
    let gradient = if gradient.value().is_contiguous() {
        &**gradient.value()
    } else {
        copy = gradient.value().to_contiguous()?;
        &copy
    };
    let parameter = Successor::of(parameter)?;
    let mut kept: SmallVec<[Successor<T>; SLOTS]> = SmallVec::new();
    for slot in slots {
        kept.push(Successor::of(slot)?);
    }
    let length = parameter.target.count();
    let mut leaf = Memory::<T, SLOTS> {
        parameter: parameter.from,
        gradient: gradient.pointer().cast(),
        state: [std::ptr::null(); SLOTS],
        new_parameter: parameter.to,
        new_state: [std::ptr::null_mut(); SLOTS],
        length,
    };
    for (index, slot) in kept.iter().enumerate() {
        debug_assert_eq!(slot.target.count(), length);
        (leaf.state[index], leaf.new_state[index]) = (slot.from, slot.to);
    }
    // SAFETY: every value is contiguous, of this type and count; a destination is its own source or fresh.
    unsafe { update(rule, &leaf) };
    let mut new_kept: SmallVec<[Tensor; SLOTS]> = SmallVec::new();
    for slot in kept {
        new_kept.push(Tensor { value: slot.target, node: None });
    }
    let new_kept = new_kept.into_inner().map_err(|_| Error::value("optim", "a slot was lost"))?;
    Ok((Tensor { value: parameter.target, node: None }, new_kept))
}

/// The same on a device: a kernel printed from the rule, whose numbers it reads from the device's memory. It reads
/// all of an element before it writes, so what nobody else sees is overwritten.
fn device_pass<N: Numbers, const SLOTS: usize>(
    numbers: &N,
    mut parameter: Tensor,
    gradient: &Tensor,
    mut slots: [Tensor; SLOTS],
) -> Result<(Tensor, [Tensor; SLOTS])>
where
    N::At<Traced>: Element<Traced, SLOTS>,
{
    let mut unique = |tensor: &mut Tensor| Arc::get_mut(&mut tensor.value).is_some_and(Value::is_unique_on_device);
    let own: SmallVec<[bool; 4]> = std::iter::once(&mut parameter).chain(&mut slots).map(&mut unique).collect();
    let Some(device) = parameter.device() else {
        return Err(Error::Device("optim: the parameter is on no device".into()));
    };
    let mut inputs: SmallVec<[&Value; 5]> = SmallVec::new();
    inputs.push(parameter.value());
    inputs.push(gradient.value());
    inputs.extend(slots.iter().map(|slot| &**slot.value()));
    if let Some(other) = inputs.iter().find(|value| !value.device().is_some_and(|own| Arc::ptr_eq(own, device))) {
        let place = other.device().map_or_else(|| "cpu".to_owned(), |other| other.name());
        return Err(Error::Device(format!(
            "optim: a parameter is on {}, its gradient or state on {place}; move them with to_device",
            device.name()
        )));
    }
    let plan = trace::plan(
        || numbers.at::<Traced>(),
        &inputs,
        |rule, parameter, gradient, kept| rule.element(parameter, gradient, kept),
    )?;
    let replaced = || std::iter::once(&parameter).chain(&slots);
    let outputs = replaced().zip(&own).map(|(tensor, &own)| match own {
        true => Ok(Arc::clone(&tensor.value)),
        false => Value::empty_on(device, parameter.dtype(), parameter.shape()).map(Arc::new),
    });
    let outputs = outputs.collect::<Result<SmallVec<[Arc<Value>; 4]>>>()?;
    device.execute(&plan, &inputs, &outputs.iter().map(|value| &**value).collect::<SmallVec<[&Value; 4]>>())?;
    let mut outputs = outputs.into_iter().map(|value| Tensor { value, node: None });
    let lost = || Error::value("optim", "a slot was lost");
    let parameter = outputs.next().ok_or_else(lost)?;
    let kept: SmallVec<[Tensor; SLOTS]> = outputs.collect();
    Ok((parameter, kept.into_inner().map_err(|_| lost())?))
}

numbers! {
    /// `a * parameter + b * gradient`.
    Blend { a, b, } {}
}

impl<T: Field> Element<T, 0> for Blend<T> {
    #[inline(always)]
    fn element(&self, parameter: T, gradient: T, _state: [T; 0]) -> (T, [T; 0]) {
        (self.a * parameter + self.b * gradient, [])
    }
}

/// `a * x + b * y` for tensors of one shape and type; `x` is overwritten where nobody else holds it.
///
/// # Errors
/// As [`fused`].
pub fn blend(a: f64, x: Tensor, b: f64, y: &Tensor) -> Result<Tensor> {
    Ok(fused(&Blend { a, b }, x, y, [])?.0)
}

/// The Euclidean norm of all elements.
///
/// # Errors
/// [`Error::Memory`].
pub fn norm(tensor: &Tensor) -> Result<f64> {
    norm_of_order(tensor, 2.0)
}

/// The norm of all elements of an order, with half types widened; 0 for no elements.
///
/// # Errors
/// [`Error::Memory`].
pub fn norm_of_order(tensor: &Tensor, order: f64) -> Result<f64> {
    if tensor.count() == 0 {
        return Ok(0.0);
    }
    let wide = tensor.cast(working(tensor.dtype()))?;
    Ok(vector_norm(&wide, None, false, order)?.item()?.as_f64())
}

/// The type in which arithmetic on a type is done.
pub fn working(dtype: DType) -> DType {
    if dtype.is_half() { DType::F32 } else { dtype }
}

/// The scalar product of two tensors of one shape.
///
/// # Errors
/// [`Error::Memory`].
pub fn dot(a: &Tensor, b: &Tensor) -> Result<f64> {
    let (a, b) = (a.cast(working(a.dtype()))?, b.cast(working(b.dtype()))?);
    Ok(a.mul(&b)?.sum(None, false)?.item()?.as_f64())
}
