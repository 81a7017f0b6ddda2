// Mathematics with the meaning of cpu/math: NaN, infinities and signed zeros included. Errors are a few units in
// the last place. What only derivatives of rare functions need is computed in f64 for f32 as well.
namespace m {

template <class T, class S> __device__ inline T horner(T, S sum) { return (T)sum; }
template <class T, class S, class N, class... R> __device__ inline T horner(T x, S sum, N next, R... rest) {
    return horner(x, fma(x, (T)sum, (T)next), rest...);
}

// Functions that CUDA has under one name for each type.
#define LUXON_UNARY(name, single, twice)                              \
    __device__ inline f32 name(f32 x) { return ::single(x); }         \
    __device__ inline f64 name(f64 x) { return ::twice(x); }
#define LUXON_BINARY(name, single, twice)                             \
    __device__ inline f32 name(f32 x, f32 y) { return ::single(x, y); } \
    __device__ inline f64 name(f64 x, f64 y) { return ::twice(x, y); }
LUXON_UNARY(exp, expf, exp)
LUXON_UNARY(exp2, exp2f, exp2)
LUXON_UNARY(expm1, expm1f, expm1)
LUXON_UNARY(ln, logf, log)
LUXON_UNARY(log2, log2f, log2)
LUXON_UNARY(log10, log10f, log10)
LUXON_UNARY(ln_1p, log1pf, log1p)
LUXON_UNARY(sin, sinf, sin)
LUXON_UNARY(cos, cosf, cos)
LUXON_UNARY(tan, tanf, tan)
LUXON_UNARY(asin, asinf, asin)
LUXON_UNARY(acos, acosf, acos)
LUXON_UNARY(atan, atanf, atan)
LUXON_UNARY(sinh, sinhf, sinh)
LUXON_UNARY(cosh, coshf, cosh)
LUXON_UNARY(tanh, tanhf, tanh)
LUXON_UNARY(asinh, asinhf, asinh)
LUXON_UNARY(acosh, acoshf, acosh)
LUXON_UNARY(atanh, atanhf, atanh)
LUXON_UNARY(erf, erff, erf)
LUXON_UNARY(erfc, erfcf, erfc)
LUXON_UNARY(gammaln, lgammaf, lgamma)
LUXON_UNARY(ndtr, normcdff, normcdf)
LUXON_UNARY(sin_pi, sinpif, sinpi)
LUXON_UNARY(sqrt, sqrtf, sqrt)
LUXON_UNARY(floor, floorf, floor)
LUXON_UNARY(ceil, ceilf, ceil)
LUXON_UNARY(trunc, truncf, trunc)
LUXON_UNARY(rint, rintf, rint)
LUXON_UNARY(abs, fabsf, fabs)
LUXON_BINARY(pow, powf, pow)
LUXON_BINARY(atan2, atan2f, atan2)
LUXON_BINARY(hypot, hypotf, hypot)
LUXON_BINARY(copysign, copysignf, copysign)
LUXON_BINARY(nextafter, nextafterf, nextafter)
LUXON_BINARY(fmod, fmodf, fmod)
#undef LUXON_UNARY
#undef LUXON_BINARY

template <class T> __device__ inline bool is_nan(T x) { return x != x; }
template <class T> __device__ inline bool is_infinite(T x) { return abs(x) == (T)INFINITY; }
template <class T> __device__ inline bool is_finite(T x) { return abs(x) < (T)INFINITY; }
__device__ inline bool is_sign_negative(f32 x) { return bits_of_f32(x) >> 31; }
__device__ inline bool is_sign_negative(f64 x) { return bits_of_f64(x) >> 63; }

// Arithmetic that integers, truth values and floats share; integers wrap, divide by zero to 0, and truth values
// add as "or".
#define LUXON_FLOAT(T)                                                                                          \
    __device__ inline T plus(T x, T y) { return x + y; }                                                        \
    __device__ inline T minus(T x, T y) { return x - y; }                                                       \
    __device__ inline T times(T x, T y) { return x * y; }                                                       \
    __device__ inline T negated(T x) { return -x; }                                                             \
    __device__ inline T magnitude(T x) { return abs(x); }                                                       \
    __device__ inline T signum(T x) { return x == (T)0 || x != x ? x + (T)0 : copysign((T)1, x); }              \
    __device__ inline T least(T x, T y) { return x < y || x != x ? x : y; }                                     \
    __device__ inline T greatest(T x, T y) { return x > y || x != x ? x : y; }                                  \
    __device__ inline bool rounds_down(T rest, T y) { return rest != (T)0 && (rest < (T)0) != (y < (T)0); }     \
    __device__ inline T floor_remainder(T x, T y) {                                                             \
        T rest = fmod(x, y);                                                                                    \
        return rest == (T)0 ? copysign((T)0, y) : rounds_down(rest, y) ? rest + y : rest;                       \
    }                                                                                                           \
    __device__ inline T floor_quotient(T x, T y) {                                                              \
        T rest = fmod(x, y), near = (x - rest) / y - (rounds_down(rest, y) ? (T)1 : (T)0);                      \
        return y == (T)0 ? x / y : near == (T)0 ? copysign((T)0, x / y) : rint(near);                           \
    }                                                                                                           \
    __device__ inline T truncated_remainder(T x, T y) { return fmod(x, y); }                                    \
    __device__ inline T integer_power(T x, T y) { return pow(x, y); }                                           \
    __device__ inline T rounded_down(T x) { return floor(x); }                                                  \
    __device__ inline T rounded_up(T x) { return ceil(x); }                                                     \
    __device__ inline T rounded_to_zero(T x) { return trunc(x); }                                               \
    __device__ inline T rounded(T x) { return rint(x); }
LUXON_FLOAT(f32)
LUXON_FLOAT(f64)
#undef LUXON_FLOAT

#define LUXON_INTEGER(T, U)                                                                                     \
    __device__ inline T plus(T x, T y) { return (T)((U)x + (U)y); }                                             \
    __device__ inline T minus(T x, T y) { return (T)((U)x - (U)y); }                                            \
    __device__ inline T times(T x, T y) { return (T)((U)x * (U)y); }                                            \
    __device__ inline T negated(T x) { return (T)((U)0 - (U)x); }                                               \
    __device__ inline T magnitude(T x) { return x < (T)0 ? negated(x) : x; }                                    \
    __device__ inline T signum(T x) { return (T)((x > (T)0) - (x < (T)0)); }                                    \
    __device__ inline T least(T x, T y) { return x < y ? x : y; }                                               \
    __device__ inline T greatest(T x, T y) { return x > y ? x : y; }                                            \
    __device__ inline T truncated_remainder(T x, T y) {                                                         \
        return y == (T)0 || y == (T)-1 ? (y == (T)0 || (T)-1 < (T)0 ? (T)0 : (T)(x % y)) : (T)(x % y);          \
    }                                                                                                           \
    __device__ inline T floor_remainder(T x, T y) {                                                             \
        T rest = truncated_remainder(x, y);                                                                     \
        return rest != (T)0 && (rest < (T)0) != (y < (T)0) ? (T)(rest + y) : rest;                              \
    }                                                                                                           \
    __device__ inline T floor_quotient(T x, T y) {                                                              \
        if (y == (T)0) return (T)0;                                                                             \
        T quotient = y == (T)-1 && (T)-1 < (T)0 ? negated(x) : (T)(x / y), rest = truncated_remainder(x, y);    \
        return rest != (T)0 && (x < (T)0) != (y < (T)0) ? (T)(quotient - 1) : quotient;                         \
    }                                                                                                           \
    __device__ inline T integer_power(T x, T y) {                                                               \
        if (y < (T)0) return x == (T)1 ? (T)1 : x == (T)-1 ? (y & 1 ? x : (T)1) : (T)0;                         \
        T power = (T)1;                                                                                         \
        for (u64 rest = (u64)y; rest; rest >>= 1, x = times(x, x))                                              \
            if (rest & 1) power = times(power, x);                                                              \
        return power;                                                                                           \
    }                                                                                                           \
    __device__ inline T rounded_down(T x) { return x; }                                                         \
    __device__ inline T rounded_up(T x) { return x; }                                                           \
    __device__ inline T rounded_to_zero(T x) { return x; }                                                      \
    __device__ inline T rounded(T x) { return x; }                                                              \
    __device__ inline T inverted(T x) { return (T)~x; }                                                         \
    __device__ inline bool beyond(T by) { return by < (T)0 || (u64)by >= 8 * sizeof(T); }                       \
    __device__ inline T shifted_left(T x, T by) { return beyond(by) ? (T)0 : (T)((U)x << by); }                 \
    __device__ inline T shifted_right(T x, T by) { return beyond(by) ? (x < (T)0 ? (T)-1 : (T)0) : (T)(x >> by); }
LUXON_INTEGER(u8, u32)
LUXON_INTEGER(i32, u32)
LUXON_INTEGER(i64, u64)
#undef LUXON_INTEGER

__device__ inline bool plus(bool x, bool y) { return x || y; }
__device__ inline bool times(bool x, bool y) { return x && y; }
__device__ inline bool least(bool x, bool y) { return x && y; }
__device__ inline bool greatest(bool x, bool y) { return x || y; }
__device__ inline bool integer_power(bool x, bool y) { return x || !y; }
__device__ inline bool inverted(bool x) { return !x; }
__device__ inline bool shifted_left(bool x, bool by) { return x && !by; }
__device__ inline bool shifted_right(bool x, bool by) { return x && !by; }
template <class T> __device__ inline T positive_part(T x) { return x < (T)0 ? (T)0 : x; }
__device__ inline bool positive_part(bool x) { return x; }
template <class T> __device__ inline T at_most(T x, T bound) { return x > bound ? bound : x; }

__device__ inline f32 rsqrt(f32 x) { return 1.0f / sqrtf(x); }
__device__ inline f64 rsqrt(f64 x) { return 1.0 / ::sqrt(x); }

// Where activations have long become straight: an infinity times 0 would be NaN.
template <class T> __device__ inline T bounded(T x) { return x > (T)1e4 ? (T)1e4 : x < (T)-1e4 ? (T)-1e4 : x; }

template <class T> __device__ inline T sigmoid(T x) {
    T z = exp(-abs(x)), inverse = (T)1 / ((T)1 + z);
    return x < (T)0 ? z * inverse : inverse;
}
template <class T> __device__ inline T softplus(T x) { return (x < (T)0 ? (T)0 : x) + ln_1p(exp(-abs(x))); }
template <class T> __device__ inline T log_sigmoid(T x) { return -softplus(-x); }
// x below the point where the other factor is 0, as far as it matters.
template <class T> __device__ inline T from_below(T x) { return x < (T)-1e4 ? (T)-1e4 : x; }
template <class T> __device__ inline T silu(T x) { return from_below(x) * sigmoid(x); }
template <class T> __device__ inline T gelu(T x) { return from_below(x) * ndtr(x); }
template <class T> __device__ inline T gelu_tanh(T x) {
    T y = bounded(x);
    return from_below(x) * sigmoid(y * fma((T)0.07135481627260025 * y, y, (T)1.5957691216057308));
}
// With e = exp(x): tanh(softplus(x)) = n / (n + 2), n = e (e + 2).
template <class T> __device__ inline T mish(T x) {
    T e = exp(x > (T)20 ? (T)20 : x), n = e * (e + (T)2), y = from_below(x) * (n / (n + (T)2));
    return x > (T)20 ? x : y;
}
template <class T> __device__ inline T gelu_grad(T g, T argument) {
    T x = bounded(argument), density = (T)0.3989422804014327 * exp((T)-0.5 * x * x);
    return g * fma(x, density, ndtr(x));
}
template <class T> __device__ inline T gelu_tanh_grad(T g, T argument) {
    T x = bounded(argument), square = x * x, twice = (T)1.5957691216057308;
    T s = sigmoid(twice * x * fma(square, (T)0.044715, (T)1)), w = twice * fma(square, (T)0.134145, (T)1);
    return g * s * fma(x * w, (T)1 - s, (T)1);
}
template <class T> __device__ inline T silu_grad(T g, T argument) {
    T x = bounded(argument), s = sigmoid(x);
    return g * s * fma(x, (T)1 - s, (T)1);
}
template <class T> __device__ inline T selu(T x) {
    return x > (T)0 ? (T)1.0507009873554805 * x : (T)(1.6732632423543772 * 1.0507009873554805) * expm1(x);
}
template <class T> __device__ inline T hard_swish(T x) {
    T t = x + (T)3;
    return x * (t < (T)0 ? (T)0 : t > (T)6 ? (T)6 : t) / (T)6;
}
template <class T> __device__ inline T hard_sigmoid(T x) {
    T t = x / (T)6 + (T)0.5;
    return t < (T)0 ? (T)0 : t > (T)1 ? (T)1 : t;
}
// cosh x = 1 + 2 sinh(x / 2)^2, which loses nothing near 0.
template <class T> __device__ inline T log_cosh(T x) {
    T y = abs(x);
    if (y < (T)1) {
        T half = sinh((T)0.5 * y);
        return ln_1p((T)2 * half * half);
    }
    return y + (ln_1p(exp((T)-2 * y)) - (T)0.6931471805599453);
}
// Near 1/2, where the quotient is near 1, 2 x - 1 is exact.
template <class T> __device__ inline T logit(T x) {
    T rest = (T)1 - x;
    return x > (T)0.25 && x < (T)0.75 ? ln_1p(((T)2 * x - (T)1) / rest) : ln(x / rest);
}
template <class T> __device__ inline T entr(T x) {
    return x < (T)0 ? -(T)INFINITY : x == (T)0 ? (T)0 : -x * ln(x);
}
template <class T> __device__ inline T xlogy(T x, T y) { return x == (T)0 && y == y ? (T)0 : x * ln(y); }
template <class T> __device__ inline T xlog1py(T x, T y) { return x == (T)0 && y == y ? (T)0 : x * ln_1p(y); }
template <class T> __device__ inline T logaddexp(T x, T y) {
    T high = x > y ? x : y, low = x > y ? y : x;
    return high + softplus(high == low ? (T)0 : low - high);
}
template <class T> __device__ inline T sinc(T x) {
    T angle = (T)3.141592653589793 * x;
    return x == (T)0 ? (T)1 : sin_pi(x) / angle;
}

// With w = -ln(1 - x^2), erfinv(x) / x is smooth in w near 0 and nearly linear in sqrt(w) far out.
__device__ inline f32 erfinv(f32 x) {
    f32 w = -ln(fmaf(x, -x, 1.0f)), t = w - 2.5f, v = sqrt(w) - 3.125f;
    f32 ratio = w < 5.0f
        ? horner(t, -8.235046e-9, 2.820464e-8, 4.5992482e-7, -3.5238722e-6, -4.9433766e-6, 2.1857805e-4, -1.2527558e-3,
                 -4.177669e-3, 2.4664028e-1, 1.5014094e0)
        : horner(v, 1.1567828e-4, -1.7946832e-4, -3.0125942e-4, 1.3189565e-3, -2.5325208e-3, 3.777937e-3,
                 -5.2988613e-3, 7.049566e-3, 1.0037186e0, 2.9583201e0);
    return x * (abs(x) == 1.0f ? INFINITY : ratio);
}
__device__ inline f64 erfinv(f64 x) {
    f64 w = -ln(fma(x, -x, 1.0)), t = w - 3.125, root = sqrt(w), v = root - 3.25, u = root - 5.0625;
    f64 ratio;
    if (w < 6.25) {
        ratio =
            horner(t, 3.3599883894842464e-21, -9.97634253086653e-22, -3.566084393486743e-19, 1.1436699083202952e-18,
                   1.573524013399719e-17, -1.3001823887695633e-16, -4.2499731123139265e-17, 6.5943672608251954e-15,
                   -3.999321464169523e-14, -8.116675760829745e-14, 2.630375654641651e-12, -1.297697994249022e-11,
                   -5.414247470223728e-11, 1.0512184903668857e-9, -4.112661760479736e-9, -2.907038302354881e-8,
                   4.2347881874423717e-7, -1.3654691840303082e-6, -1.3882523395525273e-5, 0.00018673420802390244,
                   -0.0007407025341540289, -0.006033670871427623, 0.24015818242558826, 1.6536545626831027);
    } else if (w < 16.0) {
        ratio =
            horner(v, 3.231895105875096e-9, 9.087663153984689e-8, -2.7775549582346646e-7, 1.794835408560208e-8,
                   1.5054665438806173e-6, -4.013576626113721e-6, 2.921893022780669e-6, 1.2475150349999727e-5,
                   -4.7317714393314004e-5, 6.828489796415377e-5, 2.403101020738018e-5, -0.0003550375283221257,
                   0.0009532893906831711, -0.0016882755553009705, 0.0024914420955094684, -0.0037512085075987116,
                   0.0053709145536026326, 1.0052589676941597, 3.0838856104922203);
    } else {
        ratio =
            horner(u, -1.5502890697860827e-11, 2.594539880084825e-11, 8.391744058328323e-11, -3.7297801642373473e-10,
                   9.750892298840993e-10, -2.4499414549571656e-9, 5.3962158664669005e-9, -1.037164667316663e-8,
                   2.0336525130491483e-8, -5.2296128758003096e-8, 1.9559035288906254e-7, -8.872286772448653e-7,
                   4.115356593170338e-6, -1.8062951506228176e-5, 7.010167463194089e-5, -0.00019677853807753673,
                   -0.0001773033612976314, 1.0102806778035613, 4.913049587233785);
    }
    return x * (abs(x) == 1.0 ? (f64)INFINITY : ratio);
}

// The logarithmic derivative of the gamma function: recurrence between 1 and 3 or the asymptotic series beyond 10;
// negative arguments are reflected.
__device__ inline f64 digamma_positive(f64 x) {
    f64 y = x, sum = 0.0;
    if (y < 1.0) {
        sum = -1.0 / y;
        y += 1.0;
    }
    while (y > 3.0 && x < 10.0) {
        y -= 1.0;
        sum += 1.0 / y;
    }
    f64 zero = y - 1.4616321449683623 - 9.549995429965697e-17, value;
    if (y <= 2.0) {
        f64 t = y - 1.5;
        value = zero *
            horner(t, -2.2098492947976666e-7, 1.9644036098574925e-5, 0.00358029608319985, 0.06598752098340745,
                   0.4202599671565596, 1.0802588948399654, 0.9510558760318328) /
            horner(t, 0.0008695240065540526, 0.024201526797639955, 0.22339326896658565, 0.8933138169391331,
                   1.5812807154887807, 1.0);
    } else if (y <= 3.0) {
        f64 t = y - 2.0;
        value = zero *
            horner(t, -3.08491240396543e-9, 4.531522590110569e-7, 0.00015415467654377019, 0.0050972179705987275,
                   0.06150713008236778, 0.3365191908054774, 0.8446256726766335, 0.7853075386041053) /
            horner(t, 3.329141614796785e-5, 0.0015799842563239187, 0.02591278437075852, 0.1974123135902955,
                   0.7570588855927097, 1.4075563687118493, 1.0);
    } else {
        f64 z = 1.0 / (y * y);
        f64 series =
            horner(z, -0.4432598039215686, 0.08333333333333333, -0.021092796092796094, 7.575757575757576e-3,
                   -4.166666666666667e-3, 3.968253968253968e-3, -8.333333333333333e-3, 0.08333333333333333);
        value = ln(y) - (0.5 / y + z * series);
    }
    return value + sum;
}
__device__ inline f64 digamma(f64 x) {
    if (x != x || x == (f64)INFINITY) return x;
    if (x == 0.0) return copysign((f64)INFINITY, -x);
    if (x > 0.0) return digamma_positive(x);
    if (x == floor(x)) return (f64)NAN;
    f64 angle = 3.141592653589793 * (x - rint(x));
    return digamma_positive(1.0 - x) - 3.141592653589793 * cos(angle) / sin(angle);
}
__device__ inline f32 digamma(f32 x) { return (f32)digamma((f64)x); }

__device__ inline f64 i0e(f64 x) {
    f64 y = abs(x);
    if (y < 7.75) {
        f64 s = y * y;
        return exp(-y) *
            horner(s, 4.214601972775736e-49, -1.1264372915631022e-47, 4.9456790988710104e-43, 4.098728316826953e-40,
                   5.447467999917691e-37, 5.42178183363442e-34, 4.905200492245354e-31, 3.8425112333757644e-28,
                   2.597836361888789e-25, 1.496332176276964e-22, 7.242259607279928e-20, 2.896903348604338e-17,
                   9.385967002868702e-15, 2.4028075492600867e-12, 4.709502797107372e-10, 6.781684027773783e-08,
                   6.781684027778035e-06, 0.00043402777777777683, 0.015625000000000003, 0.25, 1.0);
    }
    f64 t = 1.0 / y;
    return
        horner(t, -2.2947558561984906e+18, 3.323546952987138e+18, -2.220111506205757e+18, 9.053138516405883e+17,
               -2.5122938242406125e+17, 5.0011478393454104e+16, -7316296432048641.0, 787929921155099.5,
               -60602605358282.3, 2945577366871.1553, -32643934190.20316, -8588932262.048371, 896233619.3974535,
               -52441090.34416958, 2142514.71696428, -64486.726555512905, 1452.3315143618802, -23.537656772408628,
               0.5241674134754823, 0.0880411986086384, 0.04475726751341147, 0.029219349190559723,
               0.02805062921027144, 0.049867785050057005, 0.3989422804014327) / sqrt(y);
}
__device__ inline f32 i0e(f32 x) { return (f32)i0e((f64)x); }

// The integral by the trapezoidal rule, which converges geometrically; Hankel's series far out.
__device__ inline f64 i1e(f64 x) {
    f64 size = abs(x), value;
    if (x != x || x == 0.0) return x;
    if (size < 30.0) {
        f64 sum = 0.0;
        for (int point = 1; point < 64; point++) {
            f64 cosine = cos(3.141592653589793 * point / 64.0);
            sum += cosine * exp(size * (cosine - 1.0));
        }
        value = (sum + 0.5 * (1.0 - exp(-2.0 * size))) / 64.0;
    } else {
        f64 term = 1.0, total = 1.0;
        for (int order = 1; order < 20; order++) {
            f64 odd = 2.0 * order - 1.0;
            term *= -(4.0 - odd * odd) / (order * 8.0 * size);
            total += term;
        }
        value = total / sqrt(6.283185307179586 * size);
    }
    return copysign(value, x);
}
__device__ inline f32 i1e(f32 x) { return (f32)i1e((f64)x); }

// The normal density over its cumulative function: a quotient, and Laplace's continued fraction far out.
__device__ inline f64 normal_ratio(f64 x) {
    if (x > -5.0) return 0.3989422804014327 * exp(-0.5 * x * x) / ndtr(x);
    f64 below = -x;
    for (int step = 60; step >= 1; step--) below = step / below - x;
    return below;
}
__device__ inline f32 normal_ratio(f32 x) { return (f32)normal_ratio((f64)x); }

// Its logarithm: by the ratio far out, where the function itself underflows.
__device__ inline f64 log_ndtr(f64 x) {
    if (x > 0.0) return ln_1p(-ndtr(-x));
    if (x > -5.0) return ln(ndtr(x));
    if (x == -(f64)INFINITY) return x;
    return -0.5 * x * x - 0.9189385332046727 - ln(normal_ratio(x));
}
__device__ inline f32 log_ndtr(f32 x) { return (f32)log_ndtr((f64)x); }

// (-1)^(n+1) n! zeta(n + 1, x), with Hurwitz's zeta by recurrence upwards and the series of Euler and Maclaurin.
__device__ inline f64 polygamma(f64 x, f64 n) {
    if (!(n >= 1.0) || n != floor(n) || x != x || x < -1e5) return (f64)NAN;
    f64 reflected = 0.0, sign = n == 2.0 * floor(0.5 * n) ? -1.0 : 1.0;
    bool reflect = n == 1.0 && x < 0.5;
    if (reflect) {
        f64 ratio = 3.141592653589793 / sin_pi(x);
        reflected = ratio * ratio;
        x = 1.0 - x;
    }
    f64 from = x, zeta = 0.0;
    for (; from < 8.0 + n; from += 1.0) zeta += pow(from, -n - 1.0);
    zeta += pow(from, -n) / n + 0.5 * pow(from, -n - 1.0);
    // B2, B4, ... over the factorials of their indices.
    const f64 bernoulli[8] = {1.0 / 12.0, -1.0 / 720.0, 1.0 / 30240.0, -1.0 / 1209600.0, 5.0 / 66.0 / 3628800.0,
                              -691.0 / 2730.0 / 479001600.0, 7.0 / 6.0 / 87178291200.0,
                              -3617.0 / 510.0 / 20922789888000.0};
    f64 factor = (n + 1.0) * pow(from, -n - 2.0);
    for (int index = 0; index < 8; index++) {
        f64 k = 2.0 * index;
        zeta += bernoulli[index] * factor;
        factor *= (n + k + 2.0) * (n + k + 3.0) / (from * from);
    }
    f64 value = sign * zeta;
    for (f64 i = 2.0; i <= n; i += 1.0) value *= i;
    return reflect ? reflected - value : value;
}
__device__ inline f32 polygamma(f32 x, f32 n) { return (f32)polygamma((f64)x, (f64)n); }

}  // namespace m
// -- end of library
