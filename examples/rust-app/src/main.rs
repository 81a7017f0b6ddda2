//! Predicts with, and goes on training, the network that `examples/digits.py` saved.
//!
//! ```sh
//! cargo run --release -p rust-app -- predict output/digits.safetensors images.safetensors logits.safetensors
//! cargo run --release -p rust-app -- tune output/digits.safetensors images.safetensors tuned.safetensors
//! ```
//!
//! `images.safetensors` holds `ps.x` (n, 64) and, to train on, `ps.y` (n,), as `lx.io.save(path, ps={"x": x,
//! "y": y})` writes them. In place of the first file, `embedded` stands for the weights that were built in:
//! `DIGITS_WEIGHTS=$PWD/output/digits.safetensors cargo build --release -p rust-app`.

mod network;

use std::path::Path;
use std::process::ExitCode;

use luxon::io::safetensors::{self, Metadata, Reader};
use luxon::{Error, Result};
use network::Digits;

/// What `build.rs` found.
const EMBEDDED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/weights.safetensors"));

fn load(weights: &str) -> Result<Digits> {
    Digits::new(match weights {
        "embedded" => safetensors::parse(EMBEDDED)?,
        path => safetensors::read(Path::new(path))?,
    })
}

fn run(arguments: &[&str]) -> Result<()> {
    let [what @ ("predict" | "tune"), weights, data, output] = arguments else {
        return Err(Error::Value("usage: rust-app (predict | tune) WEIGHTS DATA OUTPUT".into()));
    };
    let mut digits = load(weights)?;
    let mut data = Reader::open(Path::new(data))?;
    let (x, output) = (data.read("ps.x")?, Path::new(output));
    if *what == "predict" {
        return safetensors::write(output, &[("logits".into(), digits.logits(&x)?)], &Metadata::new());
    }
    let losses = digits.tune(&x, &data.read("ps.y")?, 20, 32)?;
    for (epoch, loss) in losses.iter().enumerate() {
        println!("epoch {:>2}  loss {loss:.4}", epoch + 1);
    }
    digits.save(output)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
