// Random numbers of floating types: every element a function of a key and its index, the same as on the CPU. S is the
// element type, T the type that shaped distributions are computed in.
using random_bits::Unit;
using random_bits::Words;
using random_bits::words_at;

// In [low, low + range); the half types round each step, the others but once.
template <class E, bool STEPS> __device__ inline T uniform(Words words, T low, T range) {
    T unit = Unit<E>::of(words);
    if (low == (T)0 && range == (T)1) return unit;
    T scaled = STEPS ? (T)plain(convert<E>(unit * range)) + low : fma(unit, range, low);
    return scaled < low ? low : scaled;
}

extern "C" __global__ void random_uniform(S *out, u32 first, u32 second, f64 low, f64 range, i64 count) {
    i64 at = thread_number();
    if (at < count) out[at] = convert<S>(uniform<S, sizeof(S) == 2>(words_at({first, second}, (u64)at), (T)low, (T)range));
}

__device__ inline T normal(T symmetric) { return (T)1.4142135623730951 * m::erfinv(symmetric); }

extern "C" __global__ void random_normal(S *out, u32 first, u32 second, f64 above_minus_one, i64 count) {
    i64 at = thread_number();
    if (at >= count) return;
    T unit = Unit<T>::of(words_at({first, second}, (u64)at));
    out[at] = convert<S>(normal((unit + unit) + (T)above_minus_one));
}

extern "C" __global__ void random_truncated(S *out, u32 first, u32 second, f64 from, f64 range, f64 least, f64 most,
                                            i64 count) {
    i64 at = thread_number();
    if (at >= count) return;
    T value = normal(uniform<T, false>(words_at({first, second}, (u64)at), (T)from, (T)range));
    value = value < (T)least ? (T)least : value;
    out[at] = convert<S>(value > (T)most ? (T)most : value);
}

extern "C" __global__ void random_exponential(S *out, u32 first, u32 second, i64 count) {
    i64 at = thread_number();
    if (at < count) out[at] = convert<S>((T)0 - m::ln((T)1 - Unit<T>::of(words_at({first, second}, (u64)at))));
}

extern "C" __global__ void random_gumbel(S *out, u32 first, u32 second, f64 smallest, i64 count) {
    i64 at = thread_number();
    if (at >= count) return;
    T unit = Unit<T>::of(words_at({first, second}, (u64)at)), positive = unit < (T)smallest ? (T)smallest : unit;
    out[at] = convert<S>(-m::ln(-m::ln(positive)));
}
