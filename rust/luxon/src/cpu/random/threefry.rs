//! Threefry-2x32-20: the keyed hash behind every random number, and the keys themselves.
//!
//! A key is a value of two words. The hash maps a key and a 64-bit counter to two words, and nothing else is
//! involved: no hidden state, no order of calls. So a random number belongs to (key, index of the element), and a
//! device, a thread or a fused kernel that knows both computes the same bits. The hash is the one published by
//! Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011); how keys are made, split and
//! folded is what `jax.random` does by default, so that JAX can be the oracle.

/// A Threefry key: two words. The whole source of randomness of one operation; use a key once, [`Key::split`] it
/// for more.
///
/// ```
/// use luxon::{DType, Key, random};
/// let key = Key::new(42);
/// let (a, b) = (random::normal(key, &[4], DType::F32)?, random::normal(key, &[4], DType::F32)?);
/// assert_eq!(a.to_vec::<f32>()?, b.to_vec::<f32>()?); // A key is a value: nothing changes behind one's back.
/// let other = random::normal(key.fold_in(1), &[4], DType::F32)?;
/// assert_ne!(a.to_vec::<f32>()?, other.to_vec::<f32>()?);
/// # Ok::<(), luxon::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key(pub u32, pub u32);

impl Key {
    /// The key of a seed: its upper and its lower word (`jax.random.key(seed)` with 64-bit types enabled; without
    /// them JAX drops the upper word).
    ///
    /// ```
    /// use luxon::Key;
    /// assert_ne!(Key::new(0), Key::new(1));
    /// ```
    pub const fn new(seed: u64) -> Key {
        Key((seed >> 32) as u32, seed as u32)
    }

    /// The `index`-th key of a split of any size; the first keys of a larger split are those of a smaller one.
    ///
    /// ```
    /// use luxon::Key;
    /// assert_eq!(Key::new(0).child(2), Key::new(0).split(5)[2]);
    /// ```
    #[inline]
    pub fn child(self, index: u64) -> Key {
        let (first, second) = words_at(self, index);
        Key(first, second)
    }

    /// `count` independent keys.
    ///
    /// ```
    /// use luxon::Key;
    /// let keys = Key::new(0).split(3);
    /// assert!(keys.len() == 3 && keys[0] != keys[1]);
    /// ```
    pub fn split(self, count: usize) -> Vec<Key> {
        (0..count as u64).map(|index| self.child(index)).collect()
    }

    /// Fills `out` with independent keys: [`Key::split`] without the allocation.
    ///
    /// ```
    /// use luxon::Key;
    /// let mut keys = [Key::new(0); 2];
    /// Key::new(7).split_into(&mut keys);
    /// assert_eq!(keys[..], Key::new(7).split(2)[..]);
    /// ```
    pub fn split_into(self, out: &mut [Key]) {
        for (index, key) in out.iter_mut().enumerate() {
            *key = self.child(index as u64);
        }
    }

    /// A key that depends on this one and on `data`, such as the number of a step.
    ///
    /// ```
    /// use luxon::Key;
    /// let key = Key::new(0);
    /// let of_step = |step: u32| key.fold_in(step);
    /// assert_ne!(of_step(0), of_step(1));
    /// ```
    #[inline]
    pub fn fold_in(self, data: u32) -> Key {
        self.child(u64::from(data))
    }

    /// A key that depends on this one and on a string of bytes. The bytes' number goes in first, at a counter that
    /// neither a split nor [`Key::fold_in`] reaches; then the bytes, eight at a time, little-endian, padded with
    /// zeros, each group hashed under the key so far. This is luxon's own rule and stable across versions.
    ///
    /// ```
    /// use luxon::Key;
    /// assert_ne!(Key::new(0).fold_in_bytes(b"a"), Key::new(0).fold_in_bytes(b"a\0"));
    /// ```
    pub fn fold_in_bytes(self, bytes: &[u8]) -> Key {
        let mut key = self.child(!(bytes.len() as u64));
        for group in bytes.chunks(8) {
            let mut padded = [0u8; 8];
            padded[..group.len()].copy_from_slice(group);
            key = key.child(u64::from_le_bytes(padded));
        }
        key
    }

    /// [`Key::fold_in_bytes`] of the string's UTF-8: the key of a named thing, such as a parameter's path.
    ///
    /// ```
    /// use luxon::Key;
    /// // Each parameter has its key, whatever other parameters there are.
    /// assert_ne!(Key::new(0).fold_in_str("layer_1.weight"), Key::new(0).fold_in_str("layer_1.bias"));
    /// ```
    pub fn fold_in_str(self, name: &str) -> Key {
        self.fold_in_bytes(name.as_bytes())
    }
}

/// The two words that `key` gives to the element at `index`.
#[inline(always)]
pub fn words_at(key: Key, index: u64) -> (u32, u32) {
    hash(key, (index >> 32) as u32, index as u32)
}

/// Threefry-2x32 with 20 rounds. Additions, rotations and exclusive ors only: it vectorises over counters.
#[inline(always)]
pub(super) fn hash(key: Key, high: u32, low: u32) -> (u32, u32) {
    const EVEN: [u32; 4] = [13, 15, 26, 6];
    const ODD: [u32; 4] = [17, 29, 16, 24];
    let schedule = [key.0, key.1, key.0 ^ key.1 ^ 0x1BD1_1BDA];
    let mut words = (high.wrapping_add(schedule[0]), low.wrapping_add(schedule[1]));
    words = four_rounds(words, EVEN, schedule[1], schedule[2].wrapping_add(1));
    words = four_rounds(words, ODD, schedule[2], schedule[0].wrapping_add(2));
    words = four_rounds(words, EVEN, schedule[0], schedule[1].wrapping_add(3));
    words = four_rounds(words, ODD, schedule[1], schedule[2].wrapping_add(4));
    four_rounds(words, EVEN, schedule[2], schedule[0].wrapping_add(5))
}

#[inline(always)]
fn four_rounds((mut x, mut y): (u32, u32), rotations: [u32; 4], add_x: u32, add_y: u32) -> (u32, u32) {
    for rotation in rotations {
        x = x.wrapping_add(y);
        y = y.rotate_left(rotation) ^ x;
    }
    (x.wrapping_add(add_x), y.wrapping_add(add_y))
}
