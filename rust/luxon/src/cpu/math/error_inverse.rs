//! `erfinv`.
//!
//! With `w = -ln(1 - x^2)` the quotient `erfinv(x) / x` is a smooth function of `w` near 0 and nearly linear in
//! `sqrt(w)` far out (M. Giles, *GPU Computing Gems*, 2011). Minimax polynomials of our own on two (f32) or three
//! (f64) intervals are all evaluated and one selected. `1 - x^2` is one fused multiply-add, so that nothing of `1 -
//! |x|` is lost.

use super::log::{ln_f32, ln_f64};

#[inline(always)]
pub(super) fn erfinv_f32(x: f32) -> f32 {
    let w = -ln_f32(x.mul_add(-x, 1.0));
    let t = w - 2.5;
    let centre = polynomial!(
        t,
        -8.235046e-9,
        2.820464e-8,
        4.5992482e-7,
        -3.5238722e-6,
        -4.9433766e-6,
        2.1857805e-4,
        -1.2527558e-3,
        -4.177669e-3,
        2.4664028e-1,
        1.5014094e0
    );
    let v = w.sqrt() - 3.125;
    let tail = polynomial!(
        v,
        1.1567828e-4,
        -1.7946832e-4,
        -3.0125942e-4,
        1.3189565e-3,
        -2.5325208e-3,
        3.777937e-3,
        -5.2988613e-3,
        7.049566e-3,
        1.0037186e0,
        2.9583201e0
    );
    let ratio = if w < 5.0 { centre } else { tail };
    let ratio = if x.abs() == 1.0 { f32::INFINITY } else { ratio };
    x * ratio
}

#[inline(always)]
pub(super) fn erfinv_f64(x: f64) -> f64 {
    let w = -ln_f64(x.mul_add(-x, 1.0));
    let t = w - 3.125;
    let centre = polynomial!(
        t,
        3.3599883894842464e-21,
        -9.97634253086653e-22,
        -3.566084393486743e-19,
        1.1436699083202952e-18,
        1.573524013399719e-17,
        -1.3001823887695633e-16,
        -4.2499731123139265e-17,
        6.5943672608251954e-15,
        -3.999321464169523e-14,
        -8.116675760829745e-14,
        2.630375654641651e-12,
        -1.297697994249022e-11,
        -5.414247470223728e-11,
        1.0512184903668857e-9,
        -4.112661760479736e-9,
        -2.907038302354881e-8,
        4.2347881874423717e-7,
        -1.3654691840303082e-6,
        -1.3882523395525273e-5,
        0.00018673420802390244,
        -0.0007407025341540289,
        -0.006033670871427623,
        0.24015818242558826,
        1.6536545626831027
    );
    let root = w.sqrt();
    let v = root - 3.25;
    let tail = polynomial!(
        v,
        3.231895105875096e-9,
        9.087663153984689e-8,
        -2.7775549582346646e-7,
        1.794835408560208e-8,
        1.5054665438806173e-6,
        -4.013576626113721e-6,
        2.921893022780669e-6,
        1.2475150349999727e-5,
        -4.7317714393314004e-5,
        6.828489796415377e-5,
        2.403101020738018e-5,
        -0.0003550375283221257,
        0.0009532893906831711,
        -0.0016882755553009705,
        0.0024914420955094684,
        -0.0037512085075987116,
        0.0053709145536026326,
        1.0052589676941597,
        3.0838856104922203
    );
    let v = root - 5.0625;
    let far = polynomial!(
        v,
        -1.5502890697860827e-11,
        2.594539880084825e-11,
        8.391744058328323e-11,
        -3.7297801642373473e-10,
        9.750892298840993e-10,
        -2.4499414549571656e-9,
        5.3962158664669005e-9,
        -1.037164667316663e-8,
        2.0336525130491483e-8,
        -5.2296128758003096e-8,
        1.9559035288906254e-7,
        -8.872286772448653e-7,
        4.115356593170338e-6,
        -1.8062951506228176e-5,
        7.010167463194089e-5,
        -0.00019677853807753673,
        -0.0001773033612976314,
        1.0102806778035613,
        4.913049587233785
    );
    let ratio = if w < 16.0 { tail } else { far };
    let ratio = if w < 6.25 { centre } else { ratio };
    let ratio = if x.abs() == 1.0 { f64::INFINITY } else { ratio };
    x * ratio
}

#[cfg(test)]
mod tests {
    use super::super::reference::{exact, measure};

    const INF: f64 = f64::INFINITY;
    const NAN: f64 = f64::NAN;

    measure!("error_inverse", unary: erfinv 2.6 1.9);

    #[test]
    fn exceptional_values() {
        exact!(erfinv: 0.0 => 0.0, -0.0 => -0.0, 1.0 => INF, -1.0 => -INF, 1.5 => NAN, -INF => NAN, NAN => NAN);
    }
}
