//! Kernels printed from element rules, so that an optimiser's rule is written once.
//!
//! A rule runs on [`Traced`] symbols instead of numbers and leaves the text of what it computes. Where it
//! compares two symbols it is told an answer, and runs again for the other one: the text gets an `if` with
//! both. The numbers of a step (learning rate, bias corrections) are read from the device's memory, so the
//! text is the same for every step.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::fmt::Write;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::plan::{Launch, Place, Plan};
use super::source::{c_type, source};
use crate::cpu::optimize::Field;
use crate::error::{Error, Result};
use crate::tensor::Value;

/// The most comparisons on one way through a rule.
const MOST_CHOICES: usize = 12;

/// A symbol: a value of the kernel by its number.
#[derive(Clone, Copy, Debug)]
pub struct Traced(u32);

/// One thing that happened while a rule ran.
enum Event {
    /// A statement.
    Statement(String),
    /// A comparison.
    Choice(String),
}

#[derive(Default)]
struct Recorder {
    events: Vec<Event>,
    symbols: u32,
    /// Answers to the first comparisons; later ones hold.
    answers: Vec<bool>,
    choices: usize,
    /// The step's numbers, while they are made; constants of the rule after that.
    numbers: Vec<f64>,
    numbering: bool,
}

thread_local! {
    static RECORDER: RefCell<Recorder> = RefCell::default();
}

fn record<R>(work: impl FnOnce(&mut Recorder) -> R) -> R {
    RECORDER.with_borrow_mut(work)
}

impl Recorder {
    fn value(&mut self, text: &str) -> Traced {
        let symbol = Traced(self.symbols);
        self.symbols += 1;
        self.events.push(Event::Statement(format!("T v{} = {text};", symbol.0)));
        symbol
    }
}

impl Traced {
    fn text(self) -> String {
        match self.0 {
            ZERO => "(T)0".to_owned(),
            ONE => "(T)1".to_owned(),
            number => format!("v{number}"),
        }
    }

    fn compare(self, sign: &str, other: Traced) -> bool {
        record(|recorder| {
            let answer = recorder.answers.get(recorder.choices).copied().unwrap_or(true);
            recorder.choices += 1;
            recorder.events.push(Event::Choice(format!("{} {sign} {}", self.text(), other.text())));
            answer
        })
    }

    fn joined(self, sign: &str, other: Traced) -> Traced {
        record(|recorder| recorder.value(&format!("{} {sign} {}", self.text(), other.text())))
    }
}

const ZERO: u32 = u32::MAX;
const ONE: u32 = u32::MAX - 1;

macro_rules! joined {
    ($($operator:ident $name:ident $sign:literal)*) => { $(impl $operator for Traced {
        type Output = Traced;
        fn $name(self, other: Traced) -> Traced { self.joined($sign, other) }
    })* };
}
joined! { Add add "+" Sub sub "-" Mul mul "*" Div div "/" }

impl Neg for Traced {
    type Output = Traced;
    fn neg(self) -> Traced {
        record(|recorder| recorder.value(&format!("-{}", self.text())))
    }
}

impl PartialEq for Traced {
    fn eq(&self, other: &Traced) -> bool {
        self.compare("==", *other)
    }
}

impl PartialOrd for Traced {
    fn partial_cmp(&self, other: &Traced) -> Option<Ordering> {
        match () {
            () if self.compare("<", *other) => Some(Ordering::Less),
            () if self.compare(">", *other) => Some(Ordering::Greater),
            () => self.compare("==", *other).then_some(Ordering::Equal),
        }
    }
    fn lt(&self, other: &Traced) -> bool {
        self.compare("<", *other)
    }
    fn le(&self, other: &Traced) -> bool {
        self.compare("<=", *other)
    }
    fn gt(&self, other: &Traced) -> bool {
        self.compare(">", *other)
    }
    fn ge(&self, other: &Traced) -> bool {
        self.compare(">=", *other)
    }
}

impl Field for Traced {
    const ZERO: Traced = Traced(ZERO);
    const ONE: Traced = Traced(ONE);
    fn from_f64(value: f64) -> Traced {
        record(|recorder| {
            if recorder.numbering {
                recorder.numbers.push(value);
                return recorder.value(&format!("(T)numbers[{}]", recorder.numbers.len() - 1));
            }
            recorder.value(&format!("(T)f64_of_bits({:#x}ull)", value.to_bits()))
        })
    }
    fn sqrt(self) -> Traced {
        record(|recorder| recorder.value(&format!("square_root({})", self.text())))
    }
    fn abs(self) -> Traced {
        record(|recorder| recorder.value(&format!("magnitude({})", self.text())))
    }
}

/// The body of the kernel from the choice after `answers` on, and the step's numbers.
fn body<N, const SLOTS: usize>(
    answers: &[bool],
    numbers: &impl Fn() -> N,
    rule: &impl Fn(&N, Traced, Traced, [Traced; SLOTS]) -> (Traced, [Traced; SLOTS]),
) -> Result<(String, Vec<f64>)> {
    if answers.len() > MOST_CHOICES {
        return Err(Error::value("optim", "a rule compares too often for a device"));
    }
    record(|recorder| {
        *recorder = Recorder { answers: answers.to_vec(), numbering: true, ..Recorder::default() };
    });
    let numbers_now = numbers();
    let (parameter, gradient, kept) = record(|recorder| {
        recorder.numbering = false;
        let parameter = recorder.value("parameter[at]");
        let gradient = recorder.value("gradient[at]");
        (parameter, gradient, std::array::from_fn(|slot| recorder.value(&format!("kept{slot}[at]"))))
    });
    let (new, new_kept) = rule(&numbers_now, parameter, gradient, kept);
    let done = record(std::mem::take);
    let mut text = String::new();
    let mut choices = 0;
    for event in &done.events {
        match event {
            Event::Statement(statement) if choices == answers.len() => {
                let _ = writeln!(text, "    {statement}");
            }
            Event::Choice(condition) => {
                if choices == answers.len() {
                    let branch = |answer| Ok::<_, Error>(body(&[answers, &[answer]].concat(), numbers, rule)?.0);
                    let _ = write!(
                        text,
                        "    if ({condition}) {{\n{}    }} else {{\n{}    }}\n",
                        branch(true)?,
                        branch(false)?
                    );
                    return Ok((text, done.numbers));
                }
                choices += 1;
            }
            Event::Statement(_) => {}
        }
    }
    let _ = writeln!(text, "    new_parameter[at] = {};", new.text());
    for (slot, kept) in new_kept.iter().enumerate() {
        let _ = writeln!(text, "    new_kept{slot}[at] = {};", kept.text());
    }
    Ok((text, done.numbers))
}

/// The plan of a pass over a parameter, its gradient and what is kept of it: the inputs, in this order. The
/// outputs are the new parameter and what is kept now.
///
/// # Errors
/// [`Error::Value`] for a rule with too many comparisons.
pub fn plan<N, const SLOTS: usize>(
    numbers: impl Fn() -> N,
    inputs: &[&Value],
    rule: impl Fn(&N, Traced, Traced, [Traced; SLOTS]) -> (Traced, [Traced; SLOTS]),
) -> Result<Plan> {
    let (body, numbers) = body(&[], &numbers, &rule)?;
    let (element, count) = (c_type(inputs[0].dtype()), inputs[0].count());
    let mut plan = Plan::new();
    if count == 0 {
        return Ok(plan);
    }
    let key = format!("optimise {element}\n{body}");
    let source = source(key, || {
        let mut text = format!(
            "typedef {element} T;\n\
             __device__ inline f32 square_root(f32 x) {{ return sqrtf(x); }}\n\
             __device__ inline f64 square_root(f64 x) {{ return sqrt(x); }}\n\
             __device__ inline T magnitude(T x) {{ return x < (T)0 ? -x : x + (T)0; }}\n\
             extern \"C\" __global__ void optimise(const T *parameter, const T *gradient"
        );
        (0..SLOTS).for_each(|slot| text += &format!(", const T *kept{slot}"));
        text += ", T *new_parameter";
        (0..SLOTS).for_each(|slot| text += &format!(", T *new_kept{slot}"));
        text += ", const f64 *numbers, i64 count) {\n    i64 at = thread_number();\n    if (at >= count) return;\n";
        text + &body + "}\n"
    });
    let table = plan.write(numbers.iter().flat_map(|number| number.to_ne_bytes()).collect());
    let mut launch = Launch::over(source, "optimise", count)?;
    for index in 0..inputs.len() {
        launch = launch.with(plan.contiguous(inputs, index)?);
    }
    for output in 0..=SLOTS {
        launch = launch.with(Place::output(output));
    }
    plan.launch(launch.with(table).with(count));
    Ok(plan)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cuda::plan::Step;
    use crate::dtype::DType;
    use crate::layout::Shape;

    /// A rule with a number, a constant and a choice.
    fn plan_of(rate: f64) -> Plan {
        let value = Value::abstract_of(DType::F32, &Shape::from_slice(&[5]).unwrap()).unwrap();
        let rule = |rate: &Traced, p: Traced, g: Traced, [kept]: [Traced; 1]| {
            let half = Traced::from_f64(0.5);
            let largest = if kept > g.abs() { kept } else { g };
            (p - *rate * g / (largest.sqrt() + half), [largest])
        };
        plan(|| Traced::from_f64(rate), &[&value, &value, &value], rule).unwrap()
    }

    #[test]
    fn both_answers_are_printed_and_numbers_are_read() {
        let made = plan_of(0.25);
        let [Step::Write { bytes, .. }, Step::Launch(launch)] = &made.steps[..] else { unreachable!() };
        assert_eq!(bytes[..], 0.25f64.to_ne_bytes());
        let text = &launch.source.text;
        for part in ["(T)numbers[0]", "if (v3 > v5) {", "} else {", "new_kept0[at] = v3;", "new_kept0[at] = v2;"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        // Another rate is the same kernel.
        let Step::Launch(again) = &plan_of(0.5).steps[1] else { unreachable!() };
        assert_eq!(launch.source.key, again.source.key);
    }
}
