//! Copies between layouts and dtypes, and fills: what every family's plan may need before or after its kernel.

use crate::cuda::plan::{Argument, Launch, Memory, Place, Plan, Step};
use crate::cuda::source::{c_type, file};
use crate::dtype::{DType, Scalar};
use crate::error::Result;
use crate::layout::{Strides, contiguous_strides};
use crate::tensor::Value;

/// Elements in memory, as a copy sees them.
#[derive(Clone, Copy, Debug)]
pub struct Elements {
    /// The first element.
    pub place: Place,
    /// Their type.
    pub dtype: DType,
    /// Element strides, one per axis of the copied shape.
    pub strides: Strides,
}

impl Elements {
    /// Input `index`.
    pub fn input(inputs: &[&Value], index: usize) -> Elements {
        let value = inputs[index];
        Elements { place: place(value, index), dtype: value.dtype(), strides: value.layout().strides }
    }

    /// Row-major elements of `shape` from `place`.
    pub fn dense(place: Place, dtype: DType, shape: &crate::layout::Shape) -> Elements {
        Elements { place, dtype, strides: contiguous_strides(shape) }
    }
}

/// The first element of input `index`.
pub fn place(value: &Value, index: usize) -> Place {
    Place { memory: Memory::Input(index), offset: value.layout().offset * value.dtype().size() }
}

/// The type in which elements of one size are moved.
pub fn moved(dtype: DType) -> &'static str {
    match dtype.size() {
        1 => "u8",
        2 => "u16",
        4 => "u32",
        _ => "u64",
    }
}

impl Plan {
    /// Copies elements of `shape` next, converting them.
    ///
    /// # Errors
    /// [`crate::Error::Overflow`] for more elements than a launch reaches.
    pub fn copy(&mut self, shape: &[usize], from: &Elements, to: &Elements) -> Result<()> {
        let count: usize = shape.iter().product();
        if count == 0 {
            return Ok(());
        }
        // Axes of size 1 are dropped, and neighbours that are evenly spaced on both sides are one.
        let mut axes: Vec<[i64; 3]> = Vec::new();
        for (axis, &size) in shape.iter().enumerate().filter(|&(_, &size)| size != 1) {
            let (size, a, b) = (size as i64, from.strides[axis] as i64, to.strides[axis] as i64);
            match axes.last_mut() {
                Some(last) if last[1] == a * size && last[2] == b * size => *last = [last[0] * size, a, b],
                _ => axes.push([size, a, b]),
            }
        }
        let same = from.dtype == to.dtype;
        if same && matches!(axes[..], [] | [[_, 1, 1]]) {
            self.steps.push(Step::Copy { from: from.place, to: to.place, bytes: count * from.dtype.size() });
            return Ok(());
        }
        if axes.is_empty() {
            axes.push([1, 0, 0]);
        }
        let rank = axes.len();
        let mut walk = [0i64; 24];
        for (axis, [size, a, b]) in axes.into_iter().enumerate() {
            (walk[axis], walk[8 + axis], walk[16 + axis]) = (size, a, b);
        }
        let (source, target) =
            if same { (moved(from.dtype), moved(to.dtype)) } else { (c_type(from.dtype), c_type(to.dtype)) };
        let index = if count <= i32::MAX as usize { "u32" } else { "u64" };
        let macros = [("S", source), ("T", target), ("RANK", &rank.to_string()), ("I", index)];
        let source = file("copy", include_str!("copy.cu"), &macros);
        let launch = Launch::over(source, "copy_strided", count)?;
        self.launch(launch.with(from.place).with(to.place).with(&walk[..]).with(count));
        Ok(())
    }

    /// Input `index` row-major and without gaps: where it lies, or a copy in scratch memory.
    ///
    /// # Errors
    /// As [`Plan::copy`].
    pub fn contiguous(&mut self, inputs: &[&Value], index: usize) -> Result<Place> {
        self.converted(inputs, index, inputs[index].dtype())
    }

    /// Input `index` as [`Plan::contiguous`] elements of another dtype.
    ///
    /// # Errors
    /// As [`Plan::copy`].
    pub fn converted(&mut self, inputs: &[&Value], index: usize, dtype: DType) -> Result<Place> {
        let value = inputs[index];
        if value.is_contiguous() && value.dtype() == dtype {
            return Ok(place(value, index));
        }
        self.copied(inputs, index, dtype)
    }

    /// Input `index` as row-major elements of a dtype in scratch memory, wherever it lies.
    ///
    /// # Errors
    /// As [`Plan::copy`].
    pub fn copied(&mut self, inputs: &[&Value], index: usize, dtype: DType) -> Result<Place> {
        let value = inputs[index];
        let to = self.scratch(value.count() * dtype.size());
        let target = Elements::dense(to, dtype, value.shape());
        self.copy(value.shape(), &Elements::input(inputs, index), &target)?;
        Ok(to)
    }

    /// Writes one value to `count` elements next.
    ///
    /// # Errors
    /// As [`Plan::copy`].
    pub fn fill(&mut self, to: Place, dtype: DType, value: Scalar, count: usize) -> Result<()> {
        if count == 0 {
            return Ok(());
        }
        let bytes = value.to_bytes(dtype);
        if bytes == [0; 8] {
            self.zero(to, count * dtype.size());
            return Ok(());
        }
        let macros = [("S", moved(dtype)), ("T", moved(dtype)), ("RANK", "1"), ("I", "u32")];
        let source = file("copy", include_str!("copy.cu"), &macros);
        let value = Argument::Bytes(bytes[..dtype.size()].into());
        self.launch(Launch::over(source, "fill", count)?.with(to).with(value).with(count));
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::layout::Shape;

    /// The steps of a copy of these strides to a dense place, with the rank that the kernel walks.
    fn steps(shape: &[usize], strides: &[isize], to: DType) -> Vec<Step> {
        let mut plan = Plan::new();
        let shape = Shape::from_slice(shape).unwrap();
        let from =
            Elements { place: Place::output(1), dtype: DType::F32, strides: Strides::from_slice(strides).unwrap() };
        plan.copy(&shape, &from, &Elements::dense(Place::output(0), to, &shape)).unwrap();
        plan.steps
    }

    fn rank(steps: &[Step]) -> Option<&str> {
        match steps {
            [Step::Launch(launch)] => launch.source.key.split_once("RANK=").map(|(_, rest)| &rest[..1]),
            _ => None,
        }
    }

    #[test]
    fn copies_walk_as_few_axes_as_there_are() {
        assert!(steps(&[2, 0], &[1, 1], DType::F32).is_empty());
        assert!(matches!(steps(&[2, 3, 4], &[12, 4, 1], DType::F32)[..], [Step::Copy { bytes: 96, .. }]));
        assert!(matches!(steps(&[], &[], DType::F32)[..], [Step::Copy { bytes: 4, .. }]));
        assert_eq!(rank(&steps(&[2, 3, 4], &[12, 4, 1], DType::F64)), Some("1"));
        assert_eq!(rank(&steps(&[4, 2, 3], &[1, 12, 4], DType::F32)), Some("2"));
        assert_eq!(rank(&steps(&[4, 1, 3], &[-3, 0, 1], DType::F32)), Some("2"));
        assert_eq!(rank(&steps(&[5, 3], &[0, 0], DType::F32)), Some("1"));
        assert_eq!(rank(&steps(&[2, 3, 4], &[4, 8, 1], DType::F32)), Some("3"));
    }

    #[test]
    fn fills_of_zeros_are_no_launches() {
        let mut plan = Plan::new();
        plan.fill(Place::output(0), DType::F16, Scalar::Float(0.0), 3).unwrap();
        plan.fill(Place::output(0), DType::F16, Scalar::Float(-0.0), 3).unwrap();
        plan.fill(Place::output(0), DType::F16, Scalar::Int(1), 0).unwrap();
        assert!(matches!(plan.steps[..], [Step::Zero { bytes: 6, .. }, Step::Launch(_)]));
    }
}
