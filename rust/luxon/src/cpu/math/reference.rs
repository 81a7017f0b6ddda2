//! What the tests of this folder share: reference values, and the measurement of errors in ULPs.
//!
//! f64 is compared with values computed to 60 digits (`tests/make_math_reference.py`), which are stored with the
//! distance to the nearest f64, so that the measurement is good to a thousandth of an ULP. f32 is compared with
//! f64: on patterns spread over all of f32, on the interval where most functions bend, and on the exceptional
//! values. The full runs that the bounds come from took every 29th f32 and 20000 points per f64 function.

/// The spacing of f32 at a value given in f64.
fn ulp_f32(value: f64) -> f64 {
    let exponent = (value.abs().to_bits() >> 52) as i32 - 1023;
    2f64.powi(exponent.clamp(-126, 127) - 23)
}

/// The spacing of f64.
fn ulp_f64(value: f64) -> f64 {
    let exponent = (value.abs().to_bits() >> 52) as i32 - 1023;
    let exponent = exponent.clamp(-1022, 1023) - 52;
    if exponent < -1022 { f64::from_bits(1 << (exponent + 1074)) } else { 2f64.powi(exponent) }
}

/// The error of an f32, 0 for equals; infinite where one is NaN, or a zero of the wrong sign or an infinity is
/// unexpected.
fn error_f32(got: f32, want: f64) -> f64 {
    let overflows = want.abs() > f64::from(f32::MAX) - ulp_f32(f64::MAX);
    if got.to_bits() == (want as f32).to_bits() || (got.is_nan() && want.is_nan()) {
        return if want.is_finite() && got.is_finite() { (f64::from(got) - want).abs() / ulp_f32(want) } else { 0.0 };
    }
    if got.is_infinite() && overflows && got.is_sign_positive() == want.is_sign_positive() {
        return 0.0;
    }
    if got.is_nan() || !want.is_finite() || got.is_infinite() || (want == 0.0 && got == 0.0) {
        return f64::INFINITY;
    }
    (f64::from(got) - want).abs() / ulp_f32(want)
}

/// The error of an f64 whose true value is `want` and `residual` ULPs.
fn error_f64(got: f64, want: f64, residual: f64) -> f64 {
    if got.to_bits() == want.to_bits() {
        return residual.abs();
    }
    if got.is_nan() || got.is_infinite() || want.is_infinite() {
        return f64::INFINITY;
    }
    ((got - want) / ulp_f64(want) - residual).abs()
}

/// A reference value: arguments, nearest f64, thousandths of an ULP to the true value.
struct Point {
    arguments: Vec<f64>,
    value: f64,
    residual: f64,
}

#[allow(clippy::unwrap_used)]
fn points(file: &str, name: &str) -> Vec<Point> {
    let number = |text: &str| f64::from_bits(u64::from_str_radix(text, 16).unwrap());
    let lines = file.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|words| words[0] == name);
    lines
        .map(|words| {
            let last = words.len() - 2;
            Point {
                arguments: words[1..last].iter().map(|word| number(word)).collect(),
                value: number(words[last]),
                residual: words[last + 1].parse::<f64>().unwrap() / 1000.0,
            }
        })
        .collect()
}

/// Asserts that no error of a unary function exceeds its bound.
pub(super) fn unary(
    file: &str,
    name: &str,
    single: fn(f32) -> f32,
    double: fn(f64) -> f64,
    single_bound: f64,
    double_bound: f64,
) {
    let points = points(file, name);
    assert!(points.len() > 50, "{name}: {} reference values", points.len());
    for point in points {
        let x = point.arguments[0];
        let got = double(x);
        let error = error_f64(got, point.value, point.residual);
        assert!(error <= double_bound, "{name}({x:e}) = {got:e}, not {:e}: {error} ULP", point.value);
    }
    let everywhere = (0..=u32::MAX).step_by(20_011).map(f32::from_bits);
    let nearby = (0..=20_000).map(|i| (i as f32 - 10_000.0) * 0.002_001);
    let exceptional = [0.0, 1.0, f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), f32::INFINITY, f32::NAN];
    let exceptional = exceptional.into_iter().flat_map(|x| [x, -x]);
    for x in everywhere.chain(nearby).chain(exceptional) {
        let (got, want) = (single(x), double(f64::from(x)));
        let error = error_f32(got, want);
        assert!(error <= single_bound, "{name}({x:e}) = {got:e}, not {want:e}: {error} ULP");
    }
}

/// Asserts that no error of a binary function exceeds its bound.
pub(super) fn binary(
    file: &str,
    name: &str,
    single: fn(f32, f32) -> f32,
    double: fn(f64, f64) -> f64,
    single_bound: f64,
    double_bound: f64,
) {
    let points = points(file, name);
    assert!(points.len() > 50, "{name}: {} reference values", points.len());
    for point in points {
        let (x, y) = (point.arguments[0], point.arguments[1]);
        let got = double(x, y);
        let error = error_f64(got, point.value, point.residual);
        assert!(error <= double_bound, "{name}({x:e}, {y:e}) = {got:e}, not {:e}: {error} ULP", point.value);
        let (x, y) = (x as f32, y as f32);
        let (got, want) = (single(x, y), double(f64::from(x), f64::from(y)));
        let error = error_f32(got, want);
        assert!(error <= single_bound, "{name}({x:e}, {y:e}) = {got:e}, not {want:e}: {error} ULP");
    }
}

/// Whether two numbers are the same, signs of zero included, any NaN being the same as any other.
pub(super) fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// One test per function: `measure!("exp", unary: exp 0.9 0.8, ...)` with the bounds for f32 and f64.
macro_rules! measure {
    ($file:literal, $arity:ident: $($name:ident $single:literal $double:literal),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                let file = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/math_", $file, ".txt"));
                $crate::cpu::math::reference::$arity(
                    file, stringify!($name), $crate::cpu::math::Math::$name, $crate::cpu::math::Math::$name, $single, $double,
                );
            }
        )*
    };
}
pub(super) use measure;

/// Asserts exact values for both types: `exact!(exp: 0.0 => 1.0)`, `exact!(pow: (1.0, NAN) => 1.0)`.
macro_rules! exact {
    ($name:ident: $(($x:expr, $y:expr) => $want:expr),+ $(,)?) => {
        $(
            let got = $crate::cpu::math::Math::$name($x as f64, $y as f64);
            assert!($crate::cpu::math::reference::same(got, $want), "{}({}, {}) = {got}", stringify!($name), $x, $y);
            let got = $crate::cpu::math::Math::$name($x as f32, $y as f32);
            assert!($crate::cpu::math::reference::same(f64::from(got), $want), "{}({}, {}) = {got} in f32", stringify!($name), $x, $y);
        )+
    };
    ($name:ident: $($x:expr => $want:expr),+ $(,)?) => {
        $(
            let got = $crate::cpu::math::Math::$name($x as f64);
            assert!($crate::cpu::math::reference::same(got, $want), "{}({}) = {got}", stringify!($name), $x);
            let got = $crate::cpu::math::Math::$name($x as f32);
            assert!($crate::cpu::math::reference::same(f64::from(got), $want), "{}({}) = {got} in f32", stringify!($name), $x);
        )+
    };
}
pub(super) use exact;
