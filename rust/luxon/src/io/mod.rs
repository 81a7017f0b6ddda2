//! Files.

mod header;
mod json;
pub mod safetensors;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
