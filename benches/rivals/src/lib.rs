//! What the programs share: the sample, the clock, and the line that `compare.py` reads.

use std::hint::black_box;
use std::time::{Duration, Instant};

pub type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A sample that every program makes alike.
fn sample() -> Vec<f32> {
    (0..64).map(|i| ((i * 37) % 64) as f32 / 64.0).collect()
}

/// Loads a network from the file that the command line names, predicts again and again for as many milliseconds as
/// it says, and prints what came out and how long it took.
///
/// A prediction is everything from 64 numbers to 10 numbers: making the input's tensor and reading the result count.
pub fn race<M>(load: impl FnOnce(&str) -> Outcome<M>, predict: impl Fn(&M, &[f32]) -> Outcome<Vec<f32>>) -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, milliseconds] = &arguments[..] else { return Err("usage: PROGRAM WEIGHTS MILLISECONDS".into()) };
    let (x, start) = (sample(), Instant::now());
    let model = load(path)?;
    let logits = predict(&model, &x)?;
    let first = start.elapsed();

    let (until, mut samples) = (Instant::now() + Duration::from_millis(milliseconds.parse()?), Vec::new());
    while Instant::now() < until {
        let start = Instant::now();
        for _ in 0..16 {
            black_box(predict(&model, black_box(&x))?);
        }
        samples.push(start.elapsed().as_secs_f64() * 1e6 / 16.0);
    }
    samples.sort_by(f64::total_cmp);
    let (median, least) = (samples[samples.len() / 2], samples[0]);
    let first = first.as_secs_f64() * 1e6;
    println!(r#"{{"logits": {logits:?}, "median_us": {median}, "least_us": {least}, "load_and_first_us": {first}}}"#);
    Ok(())
}
