//! The instruction sets that kernels are compiled for, and the one that this process uses.
//!
//! A kernel body is written once, `#[inline(always)]`, and instantiated per instruction set by
//! `per_isa!`; the choice is made at run time, once. Every body computes the same operations in
//! the same order whatever the vector width (fused multiply-adds included: where the hardware has
//! none, `mul_add` is exact in software), so a result does not depend on the machine.
//!
//! `LUXON_ISA` (`baseline`, `avx2`, `avx512`, `neon`) forces a set; one that the machine lacks is ignored.
//!
//! The crate's features `avx2` and `avx512`, both on by default, compile the kernels of these sets beside those
//! of the baseline. Without them the baseline is what is left: what `-C target-cpu` says.
//!
//! A build for one machine (`-C target-cpu=native` where that means AVX-512) has nothing to choose: it
//! compiles each body once, in a third of the time, and knows that one set alone.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set with kernels of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Isa {
    /// What every machine of the architecture has (SSE2 on x86-64).
    Baseline = 1,
    /// 256-bit vectors with fused multiply-add.
    Avx2 = 2,
    /// 512-bit vectors with masks (F, BW, DQ, VL).
    Avx512 = 3,
    /// 128-bit vectors of 64-bit Arm, where it is the baseline.
    Neon = 4,
}

impl Isa {
    /// The name that `LUXON_ISA` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Baseline => "baseline",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Every set that this machine can run, the best last.
    pub fn available() -> Vec<Isa> {
        #[cfg(target_feature = "avx512vl")]
        {
            vec![Isa::Avx512]
        }
        #[cfg(all(target_arch = "x86_64", not(target_feature = "avx512vl")))]
        {
            let mut sets = vec![Isa::Baseline];
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if cfg!(feature = "avx2") && avx2 {
                sets.push(Isa::Avx2);
            }
            if cfg!(feature = "avx512")
                && avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                sets.push(Isa::Avx512);
            }
            sets
        }
        #[cfg(target_arch = "aarch64")]
        {
            vec![Isa::Baseline, Isa::Neon]
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            vec![Isa::Baseline]
        }
    }
}

static CHOSEN: AtomicU8 = AtomicU8::new(0);

/// The instruction set in use.
#[inline(always)]
pub fn isa() -> Isa {
    if cfg!(target_feature = "avx512vl") {
        return Isa::Avx512;
    }
    match CHOSEN.load(Ordering::Relaxed) {
        1 => Isa::Baseline,
        2 => Isa::Avx2,
        3 => Isa::Avx512,
        4 => Isa::Neon,
        _ => choose(),
    }
}

#[cold]
fn choose() -> Isa {
    let available = Isa::available();
    let asked = std::env::var("LUXON_ISA").unwrap_or_default().to_lowercase();
    let best = available.last().copied().unwrap_or(Isa::Baseline);
    let chosen = available.into_iter().find(|set| set.name() == asked).unwrap_or(best);
    CHOSEN.store(chosen as u8, Ordering::Relaxed);
    chosen
}

/// Uses `set` from now on; for tests and benchmarks that compare sets within one process.
/// Returns false, changing nothing, where this machine lacks it.
pub fn force(set: Isa) -> bool {
    let known = Isa::available().contains(&set);
    if known {
        CHOSEN.store(set as u8, Ordering::Relaxed);
    }
    known
}

/// Runs `body` with every set that this machine has and so many threads, while no other test depends on either.
#[cfg(test)]
pub(crate) fn with_each_isa(threads: usize, mut body: impl FnMut(Isa)) {
    crate::runtime::threads::with_threads(threads, || {
        let before = isa();
        for set in Isa::available() {
            assert!(force(set));
            body(set);
        }
        force(before);
    });
}

/// Defines a function whose body is compiled once per instruction set and dispatched at run time.
///
/// Everything that the body calls must be `#[inline(always)]`, or it is compiled for the baseline.
/// The expansion is `unsafe fn`s behind a safe-to-declare function of the given signature; write
/// `unsafe fn` where the body dereferences raw pointers.
macro_rules! per_isa {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident $(<$($generic:ident : $bound:path),+>)? ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[inline]
        $vis unsafe fn $name $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            unsafe fn body $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? { unsafe { $body } }
            #[cfg(all(target_arch = "x86_64", feature = "avx2", not(target_feature = "avx512vl")))]
            #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,f16c")]
            unsafe fn avx2 $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? { unsafe { body $(::<$($generic),+>)? ($($arg),*) } }
            #[cfg(all(target_arch = "x86_64", feature = "avx512", not(target_feature = "avx512vl")))]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt,f16c")]
            unsafe fn avx512 $(<$($generic: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? { unsafe { body $(::<$($generic),+>)? ($($arg),*) } }
            // SAFETY: `isa()` names only sets that the machine has; the rest is the caller's promise.
            unsafe {
                match $crate::cpu::isa::isa() {
                    #[cfg(all(target_arch = "x86_64", feature = "avx512", not(target_feature = "avx512vl")))]
                    $crate::cpu::isa::Isa::Avx512 => avx512 $(::<$($generic),+>)? ($($arg),*),
                    #[cfg(all(target_arch = "x86_64", feature = "avx2", not(target_feature = "avx512vl")))]
                    $crate::cpu::isa::Isa::Avx2 => avx2 $(::<$($generic),+>)? ($($arg),*),
                    _ => body $(::<$($generic),+>)? ($($arg),*),
                }
            }
        }
    };
}
pub(crate) use per_isa;
