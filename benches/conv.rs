//! Convolution: forward, data gradient and weight gradient of several shapes, in GFLOP/s.
//!
//! `cargo bench --bench conv -- [threads] [filter]`

#![allow(clippy::unwrap_used, missing_docs)]

use luxon::cpu::conv::{Axis, Operands, Problem, data, forward, weight};
use luxon_benches::{Table, arguments, peak};

struct Shape {
    name: &'static str,
    problem: Problem,
}

fn square(
    name: &'static str,
    (batch, channels, filters, groups): (usize, usize, usize, usize),
    (size, kernel, stride, padding): (usize, usize, usize, usize),
) -> Shape {
    let out = (size + 2 * padding - kernel) / stride + 1;
    let axis = Axis { size, kernel, out, stride, dilation: 1, before: padding as isize };
    let problem = Problem {
        batch,
        groups,
        channels: channels / groups,
        filters: filters / groups,
        axes: [Axis::NONE, axis, axis],
    };
    Shape { name, problem }
}

fn main() {
    let filter = arguments();
    let best = peak();
    let shapes = [
        square("32x64x32x32 k3 p1 -> 64", (32, 64, 64, 1), (32, 3, 1, 1)),
        square("32x64x32x32 k1 -> 64", (32, 64, 64, 1), (32, 1, 1, 0)),
        square("32x64x32x32 k3 s2 p1 -> 128", (32, 64, 128, 1), (32, 3, 2, 1)),
        square("32x3x32x32 k3 p1 -> 64", (32, 3, 64, 1), (32, 3, 1, 1)),
        square("128x1x28x28 k5 p2 -> 6", (128, 1, 6, 1), (28, 5, 1, 2)),
        square("128x6x14x14 k5 -> 16", (128, 6, 16, 1), (14, 5, 1, 0)),
        square("8x512x7x7 k3 p1 -> 512", (8, 512, 512, 1), (7, 3, 1, 1)),
        square("32x64x32x32 k3 p1 depthwise", (32, 64, 64, 64), (32, 3, 1, 1)),
        square("1x64x56x56 k3 p1 -> 64", (1, 64, 64, 1), (56, 3, 1, 1)),
        square("8x3x224x224 k16 s16 -> 192", (8, 3, 192, 1), (224, 16, 16, 0)),
    ];
    println!("multiply-adds in registers: {:.0} GFLOP/s of f32", best / 1e9);
    let table = Table::new("GFLOP/s", &["forward", "data", "weight"], &filter);
    for Shape { name, problem } in &shapes {
        let size = |axes: fn(&Axis) -> usize| problem.axes.iter().map(axes).product::<usize>();
        let (planes, places, taps) = (problem.batch * problem.groups, size(|axis| axis.size), size(|axis| axis.kernel));
        let numbers = |count: usize| (0..count).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect::<Vec<f32>>();
        let mut x = numbers(planes * problem.channels * places);
        let mut w = numbers(problem.groups * problem.filters * problem.channels * taps);
        let mut y = numbers(planes * problem.filters * size(|axis| axis.out));
        let (x, w, y) = (x.as_mut_ptr(), w.as_mut_ptr(), y.as_mut_ptr());
        let flops = 2.0 * (planes * problem.filters * size(|axis| axis.out)) as f64 * (problem.channels * taps) as f64;
        let operands = Operands { from: x.cast_const(), weight: w, bias: std::ptr::null(), to: y, finish: None };
        // SAFETY: the vectors have the sizes of the problem.
        let run = |pass: usize| unsafe {
            match pass {
                0 => forward(problem, operands),
                1 => data(problem, Operands { from: y, to: x, ..operands }),
                _ => weight(problem, x, y, w),
            }
            .unwrap();
        };
        let (mut first, mut second, mut third) = (|| run(0), || run(1), || run(2));
        table.operations(name, flops, best, &mut [&mut first, &mut second, &mut third]);
    }
}
