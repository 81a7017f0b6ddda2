//! Puts the weights named by `DIGITS_WEIGHTS` into the program; without it the program holds none.

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed=DIGITS_WEIGHTS");
    println!("cargo::rerun-if-changed=build.rs");
    let folder = env::var_os("OUT_DIR").map(PathBuf::from).ok_or_else(|| io::Error::other("OUT_DIR is not set"))?;
    let mut weights = Vec::new();
    if let Some(path) = env::var_os("DIGITS_WEIGHTS").map(PathBuf::from) {
        println!("cargo::rerun-if-changed={}", path.display());
        weights = fs::read(path)?;
    }
    fs::write(folder.join("weights.safetensors"), weights)
}
