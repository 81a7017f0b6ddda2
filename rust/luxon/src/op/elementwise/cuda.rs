//! Elementwise kernels for CUDA, printed from the table: one text a signature.
//!
//! A signature is a row, the dtypes, which arguments are numbers, and how memory is walked: the number of axes
//! left when neighbours are merged, the elements that a thread takes at once, and for each operand whether
//! these lie side by side, are all one, or are spread out. Sizes and strides are arguments. Where the
//! innermost axis allows it, a thread reads and writes 16 bytes of the widest operand at a time; a rest that
//! does not fill a pack is done element by element. Half types are computed in f32 and rounded once.

use std::fmt::Write;
use std::sync::Arc;

use smallvec::SmallVec;

use super::{Domain, MAX_ARITY, Map};
use crate::cuda::copy::place;
use crate::cuda::source::{MATH, c_type, source};
use crate::cuda::{Argument, Launch, Plan, Source};
use crate::dtype::DType;
use crate::error::Result;
use crate::op::Spec;
use crate::tensor::Value;

/// Threads of a block.
const THREADS: usize = 256;
/// Blocks of the largest launch; threads of larger problems take several packs.
const MOST_BLOCKS: usize = 1 << 14;
/// Bytes that a thread reads at once of the widest operand.
const PACK: usize = 16;

/// How the elements that a thread takes at once lie in an operand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Side by side.
    Pack,
    /// All are one.
    One,
    /// A fixed distance apart.
    Spread,
}

impl Access {
    fn of(stride: isize) -> Access {
        match stride {
            0 => Access::One,
            1 => Access::Pack,
            _ => Access::Spread,
        }
    }

    fn letter(self) -> char {
        match self {
            Access::Pack => 'p',
            Access::One => 'o',
            Access::Spread => 's',
        }
    }
}

/// An axis of the walk: its size and the operands' strides.
#[derive(Clone, Copy)]
struct Axis {
    size: usize,
    strides: [isize; MAX_ARITY],
}

/// The axes of the output with what the operands do along them, neighbours merged; at least one.
fn walk(inputs: &[&Value], output: &Spec) -> SmallVec<[Axis; 8]> {
    let rank = output.shape.len();
    let mut axes: SmallVec<[Axis; 8]> = SmallVec::new();
    for axis in 0..rank {
        let size = output.shape[axis];
        if size == 1 {
            continue;
        }
        let mut strides = [0; MAX_ARITY];
        for (stride, input) in strides.iter_mut().zip(inputs) {
            let lead = rank - input.shape().len();
            if axis >= lead && input.shape()[axis - lead] != 1 {
                *stride = input.layout().strides[axis - lead];
            }
        }
        match axes.last_mut() {
            Some(last) if last.strides.iter().zip(strides).all(|(&outer, inner)| outer == inner * size as isize) => {
                *last = Axis { size: last.size * size, strides };
            }
            _ => axes.push(Axis { size, strides }),
        }
    }
    if axes.is_empty() {
        axes.push(Axis { size: 1, strides: [0; MAX_ARITY] });
    }
    axes
}

/// The elements that a thread takes at once.
fn width(axes: &[Axis], inputs: &[&Value], output: &Spec) -> usize {
    let inner = axes[axes.len() - 1];
    let packed = |index: usize| inner.strides[index] == 1;
    let widest = (0..inputs.len()).filter(|&index| packed(index)).map(|index| inputs[index].dtype().size());
    let mut width = PACK / widest.fold(output.dtype.size(), usize::max);
    let fits = |width: usize| {
        (axes.len() == 1 || inner.size.is_multiple_of(width))
            && inputs.iter().enumerate().filter(|&(index, _)| packed(index)).all(|(index, input)| {
                input.layout().offset % width == 0
                    && axes[..axes.len() - 1].iter().all(|axis| axis.strides[index] % width as isize == 0)
            })
    };
    while width > 1 && !fits(width) {
        width /= 2;
    }
    width
}

/// What a text is printed from.
struct Signature<'a> {
    map: &'a Map,
    types: SmallVec<[DType; MAX_ARITY]>,
    accesses: SmallVec<[Access; MAX_ARITY]>,
    output: DType,
    rank: usize,
    width: usize,
    wide: bool,
}

impl Signature<'_> {
    /// Whether sizes and strides are needed.
    fn walks(&self) -> bool {
        self.rank > 1 || self.accesses.contains(&Access::Spread)
    }

    /// The dtype computed in.
    fn working(&self) -> DType {
        match self.map.kernel.domain() {
            Domain::Select => self.output,
            _ if self.types[0].is_half() => DType::F32,
            _ => self.types[0],
        }
    }

    fn source(&self) -> Arc<Source> {
        let mut key = format!("map {:?} {}", self.map.kernel, c_type(self.output));
        for (dtype, access) in self.types.iter().zip(&self.accesses) {
            let _ = write!(key, " {}{}", c_type(*dtype), access.letter());
        }
        for (argument, scalar) in self.map.scalars.iter().enumerate() {
            let _ = write!(key, "{}", if scalar.is_some() { ["a", "b", "c"][argument] } else { "" });
        }
        let _ = write!(key, " {} {} {}", self.rank, self.width, self.wide);
        source(key, || self.text())
    }

    fn text(&self) -> String {
        let (kernel, width, rank, inputs) = (self.map.kernel, self.width, self.rank, self.types.len());
        let select = kernel.domain() == Domain::Select;
        let (result, working) = (c_type(self.output), c_type(self.working()));
        let names = kernel.arguments();
        // A condition is no number.
        let type_of = |argument: usize| if select && argument == 0 { "bool" } else { working };
        let mut text = String::new();
        let _ = writeln!(text, "{MATH}\ntypedef {working} T;");
        let parameters: Vec<String> =
            names.iter().enumerate().map(|(argument, name)| format!("{} {name}", type_of(argument))).collect();
        let (open, close) = if select { (String::new(), "") } else { (format!("convert<{result}>("), ")") };
        let _ = writeln!(
            text,
            "__device__ inline {result} function({}) {{ return {open}{}{close}; }}",
            parameters.join(", "),
            kernel.cuda_text()
        );
        if self.walks() {
            let _ = writeln!(text, "struct Walk {{ i64 size[{rank}], step[{inputs}][{rank}], gap[{inputs}]; }};");
        }
        let mut signature: Vec<String> =
            (0..inputs).map(|i| format!("const {} *x{i}", c_type(self.types[i]))).collect();
        signature.push(format!("{result} *out"));
        for argument in (0..names.len()).filter(|&argument| self.map.scalars[argument].is_some()) {
            signature.push(format!("{} s{argument}", type_of(argument)));
        }
        signature.extend(self.walks().then(|| "Walk walk".to_owned()));
        signature.push("i64 packs, i64 rest".to_owned());
        let _ = writeln!(text, "extern \"C\" __global__ void map({}) {{", signature.join(", "));
        let _ = writeln!(text, "    for (i64 pack = thread_number(); pack < packs; pack += thread_count()) {{");
        self.places(&mut text);
        for (input, (dtype, access)) in self.types.iter().zip(&self.accesses).enumerate() {
            let element = c_type(*dtype);
            let _ = match access {
                Access::Pack => writeln!(
                    text,
                    "        Lanes<{element}, {width}> v{input} = *(const Lanes<{element}, {width}> *)(x{input} + at{input});"
                ),
                Access::One => writeln!(text, "        {element} v{input} = x{input}[at{input}];"),
                Access::Spread => writeln!(
                    text,
                    "        Lanes<{element}, {width}> v{input};\n#pragma unroll\n        for (int lane = 0; lane < {width}; lane++) \
                     v{input}.at[lane] = x{input}[at{input} + lane * walk.gap[{input}]];"
                ),
            };
        }
        let of_lane = self.call(|input| match self.accesses[input] {
            Access::One => format!("v{input}"),
            _ => format!("v{input}.at[lane]"),
        });
        let _ = writeln!(
            text,
            "        Lanes<{result}, {width}> y;\n#pragma unroll\n        for (int lane = 0; lane < {width}; lane++) y.at[lane] = {of_lane};\n        \
             *(Lanes<{result}, {width}> *)(out + pack * {width}) = y;\n    }}"
        );
        if rank == 1 && width > 1 {
            let of_rest = self.call(|input| match self.accesses[input] {
                Access::Pack => format!("x{input}[at]"),
                Access::One => format!("x{input}[0]"),
                Access::Spread => format!("x{input}[at * walk.gap[{input}]]"),
            });
            let _ = writeln!(
                text,
                "    i64 at = packs * {width} + thread_number();\n    if (thread_number() < rest) out[at] = {of_rest};"
            );
        }
        text.push_str("}\n");
        text
    }

    /// Says where the operands of a pack begin.
    fn places(&self, text: &mut String) {
        let (rank, width) = (self.rank, self.width);
        if rank == 1 {
            for (input, access) in self.accesses.iter().enumerate() {
                let _ = match access {
                    Access::Pack => writeln!(text, "        i64 at{input} = pack * {width};"),
                    Access::One => writeln!(text, "        i64 at{input} = 0;"),
                    Access::Spread => writeln!(text, "        i64 at{input} = pack * walk.step[{input}][0];"),
                };
            }
            return;
        }
        let index = if self.wide { "u64" } else { "u32" };
        let starts: Vec<String> = (0..self.types.len()).map(|input| format!("at{input} = 0")).collect();
        let _ = writeln!(text, "        {index} rest_of = ({index})pack;\n        i64 {};", starts.join(", "));
        for axis in (0..rank).rev() {
            let place = if axis > 0 {
                let _ = writeln!(
                    text,
                    "        {index} above{axis} = rest_of / ({index})walk.size[{axis}], index{axis} = rest_of - above{axis} * ({index})walk.size[{axis}];\n        \
                     rest_of = above{axis};"
                );
                format!("index{axis}")
            } else {
                "rest_of".to_owned()
            };
            for input in 0..self.types.len() {
                let _ = writeln!(text, "        at{input} += (i64){place} * walk.step[{input}][{axis}];");
            }
        }
    }

    /// The function of all arguments, the inputs as `input` writes them.
    fn call(&self, input: impl Fn(usize) -> String) -> String {
        let select = self.map.kernel.domain() == Domain::Select;
        let mut next = 0;
        let arguments: Vec<String> = (0..self.map.kernel.arity())
            .map(|argument| {
                if self.map.scalars[argument].is_some() {
                    return format!("s{argument}");
                }
                next += 1;
                let element = input(next - 1);
                if select { element } else { format!("plain({element})") }
            })
            .collect();
        format!("function({})", arguments.join(", "))
    }
}

/// The plan of an elementwise operation.
pub(super) fn plan(map: &Map, inputs: &[&Value], output: &Spec) -> Result<Plan> {
    let count: usize = output.shape.iter().product();
    if count == 0 {
        return Ok(Plan::new());
    }
    let axes = walk(inputs, output);
    let width = width(&axes, inputs, output);
    let inner = axes[axes.len() - 1];
    let signature = Signature {
        map,
        types: inputs.iter().map(|input| input.dtype()).collect(),
        accesses: (0..inputs.len()).map(|input| Access::of(inner.strides[input])).collect(),
        output: output.dtype,
        rank: axes.len(),
        width,
        wide: count > i32::MAX as usize,
    };
    let (packs, rest) = (count / width, count % width);
    let blocks = packs.max(rest).div_ceil(THREADS).min(MOST_BLOCKS);
    let mut launch = Launch::new(signature.source(), "map", blocks, THREADS as u32)?;
    for (index, input) in inputs.iter().enumerate() {
        launch = launch.with(place(input, index));
    }
    launch = launch.with(crate::cuda::Place::output(0));
    let select = map.kernel.domain() == Domain::Select;
    for (argument, scalar) in map.scalars.iter().enumerate() {
        if let Some(scalar) = scalar {
            let dtype = if select && argument == 0 { DType::Bool } else { signature.working() };
            launch = launch.with(Argument::Bytes(scalar.to_bytes(dtype)[..dtype.size()].into()));
        }
    }
    if signature.walks() {
        let last = axes.len() - 1;
        let pack = |axis: usize| if axis == last { width } else { 1 };
        let mut numbers: SmallVec<[i64; 32]> =
            axes.iter().enumerate().map(|(index, axis)| (axis.size / pack(index)) as i64).collect();
        for input in 0..inputs.len() {
            numbers.extend(axes.iter().enumerate().map(|(i, axis)| (axis.strides[input] * pack(i) as isize) as i64));
        }
        numbers.extend((0..inputs.len()).map(|input| inner.strides[input] as i64));
        launch = launch.with(&numbers[..]);
    }
    Ok(Plan::single(launch.with(packs).with(rest)))
}
