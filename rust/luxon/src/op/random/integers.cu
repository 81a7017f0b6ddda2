// Random integers and truth values: every element a function of a key and its index, the same as on the CPU. S is the
// element type; WIDE says whether it has 64 bits.
using random_bits::Unit;
using random_bits::Words;
using random_bits::words_at;

extern "C" __global__ void random_words(S *out, u32 first, u32 second, i64 count) {
    i64 at = thread_number();
    if (at >= count) return;
    Words words = words_at({first, second}, (u64)at);
    out[at] = sizeof(S) == 8 ? (S)((u64)words.first << 32 | words.second) : (S)(words.first ^ words.second);
}

// Words are drawn in a range by remainders: of two words of the element's width where 32 bits do not hold it.
extern "C" __global__ void random_range(S *out, u32 a, u32 b, u32 c, u32 d, i64 low, u64 span, u64 multiplier,
                                        i64 count) {
    i64 at = thread_number();
    if (at >= count) return;
    Words high = words_at({a, b}, (u64)at), less = words_at({c, d}, (u64)at);
#if WIDE
    u64 upper = ((u64)high.first << 32 | high.second) % span, lower = ((u64)less.first << 32 | less.second) % span;
    out[at] = (S)(u64)((u64)low + (upper * multiplier + lower) % span);
#else
    u32 upper = high.first ^ high.second, lower = less.first ^ less.second;
    // A span of 2^32 is given as 0.
    if (span) lower = ((upper % (u32)span) * (u32)multiplier + lower % (u32)span) % (u32)span;
    out[at] = (S)(i32)((u32)low + lower);
#endif
}

extern "C" __global__ void random_bernoulli(bool *out, u32 first, u32 second, f32 probability, i64 count) {
    i64 at = thread_number();
    if (at < count) out[at] = Unit<f32>::of(words_at({first, second}, (u64)at)) < probability;
}
