// Normalisation of rows: layer, RMS and group norm, and the gradient in x. x, y and
// their gradients lie in memory as S, all else is T, f32 or f64; CENTRED says whether there is a mean. A row's weights begin at `row % groups * affine` and hold for `spread` elements each.
struct Total : Sum<T> {};
struct TwoTotals : SumTwo<T> {};
struct Joined : JoinMoments<T> {};

// The weights of the elements from `at` on. With OWN every element has one of its own, and they lie side by side.
__device__ inline Lanes<T, VECTOR> weights_of(const T *weight, i64 at, i64 spread) {
#if OWN
    return *(const Lanes<T, VECTOR> *)(weight + at);
#else
    Lanes<T, VECTOR> some;
    EACH_LANE some.at[lane] = weight[(at + lane) / spread];
    return some;
#endif
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) norm_rows(
    const S *x, const T *weight, const T *bias, S *y, T *means, T *deviations, i64 rows, i64 length, i64 groups,
    i64 affine, i64 spread, f64 eps) {
    i64 row = ROW;
    if (row >= rows) return;
    x += row * length;
    y += row * length;
    i64 first = groups == 1 ? 0 : row % groups * affine;
    if (weight) weight += first;
    if (bias) bias += first;
    T mean = (T)0, variance;
    HOLDS(kept)
#if PACKS > 0
    T sum = (T)0;
    EACH_PACK(length) {
        HOLD(kept, x);
        EACH_LANE sum += CENTRED ? kept[pack].at[lane] : kept[pack].at[lane] * kept[pack].at[lane];
    }
    sum = group_all<Total, GROUP>(sum);
#if CENTRED
    mean = sum / (T)length;
    T squares = (T)0;
    EACH_PACK(length) EACH_LANE {
        T apart = kept[pack].at[lane] - mean;
        squares += apart * apart;
    }
    variance = group_all<Total, GROUP>(squares) / (T)length;
#else
    variance = sum / (T)length;
#endif
#elif CENTRED
    Moments<T> all = {(T)0, (T)0, (T)0};
    EACH_PACK(length) {
        Lanes<T, VECTOR> some = HELD(kept, x);
        EACH_LANE all = with(all, some.at[lane]);
    }
    all = group_all<Joined, GROUP>(all);
    mean = all.mean;
    variance = all.square / (T)length;
#else
    T sum = (T)0;
    EACH_PACK(length) {
        Lanes<T, VECTOR> some = HELD(kept, x);
        EACH_LANE sum += some.at[lane] * some.at[lane];
    }
    variance = group_all<Total, GROUP>(sum) / (T)length;
#endif
    T deviation = m::rsqrt(variance + (T)eps);
    if (HERE == 0) {
        if (means) means[row] = mean;
        deviations[row] = deviation;
    }
    EACH_PACK(length) {
        Lanes<T, VECTOR> some = HELD(kept, x);
        EACH_LANE some.at[lane] = (some.at[lane] - mean) * deviation;
        if (weight) {
            Lanes<T, VECTOR> factors = weights_of(weight, at, spread);
            EACH_LANE some.at[lane] *= factors.at[lane];
        }
        if (bias) {
            Lanes<T, VECTOR> shifts = weights_of(bias, at, spread);
            EACH_LANE some.at[lane] += shifts.at[lane];
        }
        STORE(y, some);
    }
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) norm_rows_gradient(
    const S *dy, const S *x, const T *means, const T *deviations, const T *weight, S *dx, i64 rows, i64 length,
    i64 groups, i64 affine, i64 spread) {
    i64 row = ROW;
    if (row >= rows) return;
    dy += row * length;
    x += row * length;
    dx += row * length;
    if (weight && groups != 1) weight += row % groups * affine;
    T mean = CENTRED ? means[row] : (T)0, deviation = deviations[row];
    HOLDS(slopes)
    HOLDS(kept)
    Two<T> sums = {(T)0, (T)0};
    EACH_PACK(length) {
        HOLD(slopes, dy);
        HOLD(kept, x);
        Lanes<T, VECTOR> slope = HELD(slopes, dy), some = HELD(kept, x);
        if (weight) {
            Lanes<T, VECTOR> factors = weights_of(weight, at, spread);
            EACH_LANE slope.at[lane] *= factors.at[lane];
        }
        EACH_LANE {
            some.at[lane] = (some.at[lane] - mean) * deviation;
            sums.a += slope.at[lane];
            sums.b += slope.at[lane] * some.at[lane];
        }
#if PACKS > 0
        slopes[pack] = slope;
        kept[pack] = some;
#endif
    }
    sums = group_all<TwoTotals, GROUP>(sums);
    T shift = CENTRED ? sums.a / (T)length : (T)0, tilt = sums.b / (T)length;
    EACH_PACK(length) {
        Lanes<T, VECTOR> slope = HELD(slopes, dy), some = HELD(kept, x);
#if PACKS == 0
        if (weight) {
            Lanes<T, VECTOR> factors = weights_of(weight, at, spread);
            EACH_LANE slope.at[lane] *= factors.at[lane];
        }
        EACH_LANE some.at[lane] = (some.at[lane] - mean) * deviation;
#endif
        EACH_LANE {
            some.at[lane] = (slope.at[lane] - shift - some.at[lane] * tilt) * deviation;
        }
        STORE(dx, some);
    }
}
