// Cross entropy by rows, and its gradient. Logits and their gradient lie in memory as S,
// all else is T, f32 or f64; CLASSES says whether a target is a class or a
// distribution, SMOOTH whether every class has a share, WEIGHT whether classes have factors, IGNORE whether rows of
// a class are left out. What is kept of a row are its largest element and the logarithm of its sum of exponentials.
struct Total : Sum<T> {};
struct TwoTotals : SumTwo<T> {};
struct Joined : JoinExponentials<T> {};
#if CLASSES
typedef i64 Target;
#else
typedef T Target;
#endif
#define DENSE (!CLASSES || SMOOTH)

// The part of class `at` in the target that is not the row's own class.
__device__ inline T share(const Target *targets, const T *weight, i64 at, T keep, T spread) {
#if CLASSES
    T part = spread;
#else
    T part = targets[at] * keep + spread;
#endif
    return WEIGHT ? part * weight[at] : part;
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) cross_entropy(
    const S *x, const Target *targets, const T *weight, T *losses, T *weights, T *saved, i64 rows, i64 classes,
    f64 kept_share, f64 spread_share, i64 ignore) {
    i64 row = ROW;
    if (row >= rows) return;
    T keep = (T)kept_share, spread = (T)spread_share;
    x += row * classes;
#if CLASSES
    i64 target = targets[row];
    if (IGNORE && target == ignore) {
        if (HERE == 0) {
            losses[row] = weights[row] = saved[2 * row] = saved[2 * row + 1] = (T)0;
        }
        return;
    }
#else
    targets += row * classes;
#endif
    HOLDS(kept)
    Exponentials<T> all = {-(T)INFINITY, (T)0};
    EACH_PACK(classes) {
        HOLD(kept, x);
        Lanes<T, VECTOR> some = HELD(kept, x);
        EACH_LANE all = with_exponential(all, some.at[lane]);
    }
    all = group_all<Joined, GROUP>(all);
    if (m::is_infinite(all.largest)) all.sum = (T)NAN;
    T logarithm = m::ln(all.sum);
    // The sum of the target times (largest - x), and of the target.
    Two<T> compared = {(T)0, (T)0};
#if DENSE
    EACH_PACK(classes) {
        Lanes<T, VECTOR> some = HELD(kept, x);
        EACH_LANE {
            T part = share(targets, weight, at + lane, keep, spread);
            compared.a += part == (T)0 && some.at[lane] == -(T)INFINITY ? (T)0 : part * (all.largest - some.at[lane]);
            compared.b += part;
        }
    }
    compared = group_all<TwoTotals, GROUP>(compared);
#endif
    if (HERE != 0) return;
    T row_weight = (T)1;
#if CLASSES
    if (target < 0 || target >= classes) {
        // A class that is not there cannot be refused here: its loss is no number.
        row_weight = compared.a = (T)NAN;
    } else {
        if (WEIGHT) row_weight = weight[target];
        T hit = keep * row_weight;
        compared.a += (all.largest - convert<T>(x[target])) * hit;
        compared.b += hit;
    }
#endif
    losses[row] = compared.a + compared.b * logarithm;
    weights[row] = row_weight;
    saved[2 * row] = all.largest;
    saved[2 * row + 1] = logarithm;
}

// `stride` is 0 where one number is the cotangent of all rows.
extern "C" __global__ void __launch_bounds__(ROW_THREADS) cross_entropy_gradient(
    const T *dy, const T *saved, const S *x, const Target *targets, const T *weight, S *dx, i64 rows, i64 classes,
    i64 stride, f64 kept_share, f64 spread_share, i64 ignore) {
    i64 row = ROW;
    if (row >= rows) return;
    T keep = (T)kept_share, spread = (T)spread_share, slope = dy[row * stride];
    x += row * classes;
    dx += row * classes;
    T largest = saved[2 * row], logarithm = saved[2 * row + 1], mass = (T)0, hit = (T)0;
#if CLASSES
    i64 target = targets[row];
    bool out = IGNORE && target == ignore;
    if (!out) {
        bool there = target >= 0 && target < classes;
        hit = keep * (there ? (WEIGHT ? weight[target] : (T)1) : (T)NAN);
    }
#else
    targets += row * classes;
    const i64 target = -1;
    const bool out = false;
#endif
#if DENSE
    if (!out) {
        EACH_PACK(classes) EACH_LANE mass += share(targets, weight, at + lane, keep, spread);
    }
    mass = group_all<Total, GROUP>(mass);
#endif
    mass += hit;
    EACH_PACK(classes) {
        Lanes<T, VECTOR> some = loaded(x + at);
        EACH_LANE {
            T value = m::exp((some.at[lane] - largest) - logarithm) * mass;
#if DENSE
            value -= share(targets, weight, at + lane, keep, spread);
#endif
            if (at + lane == target) value -= hit;
            some.at[lane] = out ? (T)0 : value * slope;
        }
        STORE(dx, some);
    }
}
