// Functions of rows. They lie in memory as S and are computed in as T, f32 or f64; KIND is what is computed; the rows are cut as rows.cuh says.
#define SOFTMAX 0
#define LOG_SOFTMAX 1
#define SOFTMAX_GRADIENT 2
#define LOG_SOFTMAX_GRADIENT 3
#define LOG_SUM_EXP 4
struct Largest : Greatest<T> {};
struct Total : Sum<T> {};
struct Joined : JoinExponentials<T> {};

// What a finished row knows: the shift and the sum of exponentials, or for gradients the sum.
__device__ inline Exponentials<T> settled(Exponentials<T> all) {
    // An infinite element has no share, and leaves none to others.
    if (KIND != LOG_SUM_EXP && all.largest == (T)INFINITY) all.sum = (T)NAN;
    return all;
}
__device__ inline T log_sum_exp(Exponentials<T> all) {
    bool infinite = m::is_infinite(all.largest) && all.sum == all.sum;
    return infinite ? all.largest : all.largest + m::ln(all.sum);
}
__device__ inline T result(T x, Exponentials<T> all, T inverse) {
    return KIND == SOFTMAX ? m::exp(x - all.largest) * inverse : (x - all.largest) - inverse;
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) softmax_rows(const S *x, const S *g, S *y, i64 rows,
                                                                         i64 axis) {
    i64 row = ROW;
    if (row >= rows) return;
    x += row * axis;
    HOLDS(kept)
#if KIND == SOFTMAX || KIND == LOG_SOFTMAX || KIND == LOG_SUM_EXP
    Exponentials<T> all = {-(T)INFINITY, (T)0};
#if PACKS > 0
    EACH_PACK(axis) {
        HOLD(kept, x);
        EACH_LANE all.largest = kept[pack].at[lane] > all.largest ? kept[pack].at[lane] : all.largest;
    }
    all.largest = group_all<Largest, GROUP>(all.largest);
    T shift = KIND == LOG_SUM_EXP && m::is_infinite(all.largest) ? (T)0 : all.largest;
    EACH_PACK(axis) EACH_LANE {
        T weight = m::exp(kept[pack].at[lane] - shift);
        all.sum += weight;
        if (KIND == SOFTMAX) kept[pack].at[lane] = weight;
    }
    all.sum = group_all<Total, GROUP>(all.sum);
    all.largest = shift;
#if KIND == LOG_SUM_EXP
    if (HERE == 0) y[row] = convert<S>(shift + m::ln(all.sum));
#else
    y += row * axis;
    T inverse = KIND == SOFTMAX ? (T)1 / all.sum : m::ln(all.sum);
    EACH_PACK(axis) {
        EACH_LANE kept[pack].at[lane] = KIND == SOFTMAX ? kept[pack].at[lane] * inverse
                                                        : (kept[pack].at[lane] - shift) - inverse;
        STORE(y, kept[pack]);
    }
#endif
#else
    EACH_PACK(axis) {
        Lanes<T, VECTOR> some = HELD(kept, x);
        EACH_LANE all = with_exponential(all, some.at[lane]);
    }
    all = settled(group_all<Joined, GROUP>(all));
#if KIND == LOG_SUM_EXP
    if (HERE == 0) y[row] = convert<S>(log_sum_exp(all));
#else
    y += row * axis;
    T inverse = KIND == SOFTMAX ? (T)1 / all.sum : m::ln(all.sum);
    EACH_PACK(axis) {
        Lanes<T, VECTOR> some = HELD(kept, x);
        EACH_LANE some.at[lane] = result(some.at[lane], all, inverse);
        STORE(y, some);
    }
#endif
#endif
#else
    // x is the output of the function that is differentiated.
    g += row * axis;
    y += row * axis;
    HOLDS(slopes)
    T sum = (T)0;
    EACH_PACK(axis) {
        HOLD(kept, x);
        HOLD(slopes, g);
        Lanes<T, VECTOR> some = HELD(kept, x), other = HELD(slopes, g);
        EACH_LANE sum += KIND == SOFTMAX_GRADIENT ? some.at[lane] * other.at[lane] : other.at[lane];
    }
    sum = group_all<Total, GROUP>(sum);
    EACH_PACK(axis) {
        Lanes<T, VECTOR> some = HELD(kept, x), other = HELD(slopes, g);
        EACH_LANE some.at[lane] = KIND == SOFTMAX_GRADIENT ? some.at[lane] * (other.at[lane] - sum)
                                                           : other.at[lane] - m::exp(some.at[lane]) * sum;
        STORE(y, some);
    }
#endif
}

// Along an axis before others: a thread for each of the rows, neighbours in memory side by side.
extern "C" __global__ void softmax_strided(const S *x, const S *g, S *y, i64 outer, i64 axis, i64 inner) {
    i64 number = thread_number();
    if (number >= outer * inner) return;
    i64 block = number / inner, start = block * axis * inner + (number - block * inner);
    x += start;
#if KIND == SOFTMAX || KIND == LOG_SOFTMAX || KIND == LOG_SUM_EXP
    Exponentials<T> all = {-(T)INFINITY, (T)0};
#pragma unroll 4
    for (i64 at = 0; at < axis; at++) all = with_exponential(all, convert<T>(x[at * inner]));
    all = settled(all);
#if KIND == LOG_SUM_EXP
    y[number] = convert<S>(log_sum_exp(all));
#else
    y += start;
    T inverse = KIND == SOFTMAX ? (T)1 / all.sum : m::ln(all.sum);
#pragma unroll 4
    for (i64 at = 0; at < axis; at++) y[at * inner] = convert<S>(result(convert<T>(x[at * inner]), all, inverse));
#endif
#else
    g += start;
    y += start;
    T sum = (T)0;
#pragma unroll 4
    for (i64 at = 0; at < axis; at++) {
        T other = convert<T>(g[at * inner]);
        sum += KIND == SOFTMAX_GRADIENT ? convert<T>(x[at * inner]) * other : other;
    }
#pragma unroll 4
    for (i64 at = 0; at < axis; at++) {
        T some = convert<T>(x[at * inner]), other = convert<T>(g[at * inner]);
        y[at * inner] = convert<S>(KIND == SOFTMAX_GRADIENT ? some * (other - sum) : other - m::exp(some) * sum);
    }
#endif
}
