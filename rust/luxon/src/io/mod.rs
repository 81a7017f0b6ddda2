//! Files.

mod header;
pub mod safetensors;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
