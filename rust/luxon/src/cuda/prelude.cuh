// Before every kernel: names of the element types, conversions, and what NVRTC has no headers for.
// The same text is compiled by a host compiler where kernels are emulated; LUXON_EMULATED is defined there.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int i32;
typedef long long i64;
typedef float f32;
typedef double f64;

#ifndef LUXON_EMULATED
__device__ inline f32 f32_of_bits(u32 bits) { return __uint_as_float(bits); }
__device__ inline u32 bits_of_f32(f32 x) { return __float_as_uint(x); }
__device__ inline f64 f64_of_bits(u64 bits) { return __longlong_as_double((i64)bits); }
__device__ inline u64 bits_of_f64(f64 x) { return (u64)__double_as_longlong(x); }
#else
__device__ inline f32 f32_of_bits(u32 bits) { f32 x; __builtin_memcpy(&x, &bits, 4); return x; }
__device__ inline u32 bits_of_f32(f32 x) { u32 bits; __builtin_memcpy(&bits, &x, 4); return bits; }
__device__ inline f64 f64_of_bits(u64 bits) { f64 x; __builtin_memcpy(&x, &bits, 8); return x; }
__device__ inline u64 bits_of_f64(f64 x) { u64 bits; __builtin_memcpy(&bits, &x, 8); return bits; }
#endif

#ifdef INFINITY
#undef INFINITY
#endif
#ifdef NAN
#undef NAN
#endif
#define INFINITY f32_of_bits(0x7f800000u)
#define NAN f32_of_bits(0x7fc00000u)

// The half types: 16 bits in memory, f32 in registers.
struct alignas(2) bf16 { u16 bits; };
struct alignas(2) f16 { u16 bits; };

__device__ inline f32 widen(bf16 x) { return f32_of_bits((u32)x.bits << 16); }

__device__ inline bf16 narrow_bf16(f32 x) {
    u32 bits = bits_of_f32(x);
    bf16 y;
    // Round to nearest, ties to even; a NaN stays one.
    y.bits = (bits & 0x7fffffffu) > 0x7f800000u ? (u16)((bits >> 16) | 0x40u)
                                                : (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
    return y;
}

__device__ inline f32 widen(f16 x) {
    u32 sign = (u32)(x.bits & 0x8000u) << 16, rest = x.bits & 0x7fffu;
    if (rest >= 0x7c00u) return f32_of_bits(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    // Scaling by 2^112 rebuilds the exponent, that of subnormal numbers too.
    return f32_of_bits(sign | bits_of_f32(f32_of_bits(rest << 13) * f32_of_bits(0x77800000u)));
}

__device__ inline f16 narrow_f16(f32 x) {
    u32 bits = bits_of_f32(x), sign = (bits >> 16) & 0x8000u, rest = bits & 0x7fffffffu;
    f16 y;
    if (rest > 0x7f800000u) {
        y.bits = (u16)(sign | 0x7e00u);
    } else if (rest >= 0x477ff000u) {
        y.bits = (u16)(sign | 0x7c00u);
    } else if (rest < 0x38800000u) {
        // Adding 1/2 puts the last bit of a subnormal half at the last bit of the sum: the hardware rounds.
        y.bits = (u16)(sign | (bits_of_f32(f32_of_bits(rest) + 0.5f) - 0x3f000000u));
    } else {
        y.bits = (u16)(sign | ((rest - 0x38000000u + 0xfffu + ((rest >> 13) & 1u)) >> 13));
    }
    return y;
}

// convert<T>(x): any element type to any other, as the CPU converts: floats to integers truncate and saturate,
// NaN gives 0; numbers to bool are x != 0.
template <class T> struct Converted {
    template <class S> __device__ static inline T from(S x) { return (T)x; }
};
__device__ inline f32 plain(bf16 x) { return widen(x); }
__device__ inline f32 plain(f16 x) { return widen(x); }
template <class S> __device__ inline S plain(S x) { return x; }
template <> struct Converted<bf16> {
    template <class S> __device__ static inline bf16 from(S x) { return narrow_bf16((f32)x); }
};
template <> struct Converted<f16> {
    template <class S> __device__ static inline f16 from(S x) { return narrow_f16((f32)x); }
};
template <> struct Converted<bool> {
    template <class S> __device__ static inline bool from(S x) { return x != (S)0; }
};
template <class T> __device__ inline T saturated(f64 x, f64 low, f64 high, T least, T most) {
    return x != x ? (T)0 : x <= low ? least : x >= high ? most : (T)x;
}
template <> struct Converted<u8> {
    template <class S> __device__ static inline u8 from(S x) { return (u8)x; }
    __device__ static inline u8 from(f64 x) { return saturated<u8>(x, 0.0, 255.0, 0, 255); }
    __device__ static inline u8 from(f32 x) { return from((f64)x); }
};
template <> struct Converted<i32> {
    template <class S> __device__ static inline i32 from(S x) { return (i32)x; }
    __device__ static inline i32 from(f64 x) {
        return saturated<i32>(x, -2147483648.0, 2147483647.0, (i32)0x80000000u, 2147483647);
    }
    __device__ static inline i32 from(f32 x) { return from((f64)x); }
};
template <> struct Converted<i64> {
    template <class S> __device__ static inline i64 from(S x) { return (i64)x; }
    __device__ static inline i64 from(f64 x) {
        return saturated<i64>(x, -9223372036854775808.0, 9223372036854775808.0, (i64)(1ull << 63), (i64)~(1ull << 63));
    }
    __device__ static inline i64 from(f32 x) { return from((f64)x); }
};
template <class T, class S> __device__ inline T convert(S x) { return Converted<T>::from(plain(x)); }

// The number of this thread among all, for kernels with one axis of blocks.
__device__ inline i64 thread_number() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
// The number of threads of such a launch.
__device__ inline i64 thread_count() { return (i64)gridDim.x * blockDim.x; }

// Elements that are read or written 16 bytes at a time.
template <class T> struct alignas(16) Pack { T at[16 / sizeof(T)]; };
// As many as wanted.
template <class T, int N> struct alignas(sizeof(T) * N) Lanes { T at[N]; };
// -- end of library
