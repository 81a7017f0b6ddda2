// Pooling of planes of three axes. They lie in memory as S and are computed in as T, f32 or f64; I is the type of
// indices. Every thread makes one element: of the
// windows, or, in what goes from windows to elements, of the plane, by going over the windows that cover it.
struct Axis { i64 input, output, window, stride, dilation, before, after, adaptive; };
struct Axes { Axis axis[3]; };
// Positions or windows `from, from + step, ..` below `to`.
struct Range { i64 from, to, step; };

__device__ inline i64 upwards(i64 a, i64 b) { return (a + b - 1) / b; }

// The positions that a window covers.
__device__ inline Range covered(const Axis &axis, i64 window) {
    if (axis.adaptive) return {window * axis.input / axis.output, upwards((window + 1) * axis.input, axis.output), 1};
    i64 start = window * axis.stride - axis.before, end = start + (axis.window - 1) * axis.dilation + 1;
    i64 from = start < 0 ? start + upwards(-start, axis.dilation) * axis.dilation : start;
    return {from, end < axis.input ? end : axis.input, axis.dilation};
}

// The windows that cover a position, and others between them where there are gaps.
__device__ inline Range covering(const Axis &axis, i64 position) {
    if (axis.adaptive) {
        return {position * axis.output / axis.input, upwards((position + 1) * axis.output, axis.input), 1};
    }
    i64 padded = position + axis.before, reach = (axis.window - 1) * axis.dilation;
    i64 last = padded / axis.stride + 1;
    return {padded > reach ? upwards(padded - reach, axis.stride) : 0, last < axis.output ? last : axis.output, 1};
}

// What the mean of a window divides by along one axis.
__device__ inline i64 divisor(const Axis &axis, i64 window) {
    if (axis.adaptive) {
        Range range = covered(axis, window);
        return range.to - range.from;
    }
    i64 start = window * axis.stride, inside = axis.before + axis.input, end = start + axis.window;
    i64 padded = inside + axis.after;
    if (end > padded) end = padded;
#if WITH_PADDING
    return end - start;
#else
    return (end < inside ? end : inside) - (start > axis.before ? start : axis.before);
#endif
}

// The number of a plane and the places along its axes.
struct Where { i64 plane, at[3]; };
__device__ inline Where located(I number, I depth, I height, I width) {
    I above = number / width, higher = above / height, plane = higher / depth;
    return {(i64)plane, {(i64)(higher - plane * depth), (i64)(above - higher * height), (i64)(number - above * width)}};
}

#define EACH(which, range, name) for (i64 name = range[which].from; name < range[which].to; name += range[which].step)

extern "C" __global__ void max_pool(const S *x, S *y, i32 *places, Axes axes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    const Axis *a = axes.axis;
    Where window = located((I)number, (I)a[0].output, (I)a[1].output, (I)a[2].output);
    Range range[3] = {covered(a[0], window.at[0]), covered(a[1], window.at[1]), covered(a[2], window.at[2])};
    x += window.plane * a[0].input * a[1].input * a[2].input;
    T best = -(T)INFINITY;
    i64 place = -1;
    EACH(0, range, i) EACH(1, range, j) EACH(2, range, k) {
        i64 here = (i * a[1].input + j) * a[2].input + k;
        T value = convert<T>(x[here]);
        // The first of equals, the first NaN before all.
        if (place < 0 || value > best || (value != value && best == best)) {
            best = value;
            place = here;
        }
    }
    y[number] = convert<S>(best);
    places[number] = (i32)place;
}

extern "C" __global__ void mean_pool(const S *x, S *y, Axes axes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    const Axis *a = axes.axis;
    Where window = located((I)number, (I)a[0].output, (I)a[1].output, (I)a[2].output);
    Range range[3] = {covered(a[0], window.at[0]), covered(a[1], window.at[1]), covered(a[2], window.at[2])};
    x += window.plane * a[0].input * a[1].input * a[2].input;
    T sum = (T)0;
    EACH(0, range, i) EACH(1, range, j) EACH(2, range, k) sum += convert<T>(x[(i * a[1].input + j) * a[2].input + k]);
    i64 elements = divisor(a[0], window.at[0]) * divisor(a[1], window.at[1]) * divisor(a[2], window.at[2]);
    y[number] = convert<S>(sum / (T)elements);
}

// The transpose of the mean.
extern "C" __global__ void spread(const S *dy, S *dx, Axes axes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    const Axis *a = axes.axis;
    Where place = located((I)number, (I)a[0].input, (I)a[1].input, (I)a[2].input);
    Range range[3] = {covering(a[0], place.at[0]), covering(a[1], place.at[1]), covering(a[2], place.at[2])};
    dy += place.plane * a[0].output * a[1].output * a[2].output;
    T sum = (T)0;
    EACH(0, range, i) EACH(1, range, j) {
        i64 elements = divisor(a[0], i) * divisor(a[1], j);
        EACH(2, range, k) sum += convert<T>(dy[(i * a[1].output + j) * a[2].output + k]) / (T)(elements * divisor(a[2], k));
    }
    dx[number] = convert<S>(sum);
}

// The transpose of taking elements at places, which lie in the windows that they belong to.
extern "C" __global__ void put(const S *dy, const i32 *places, S *dx, Axes axes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    const Axis *a = axes.axis;
    Where place = located((I)number, (I)a[0].input, (I)a[1].input, (I)a[2].input);
    Range range[3] = {covering(a[0], place.at[0]), covering(a[1], place.at[1]), covering(a[2], place.at[2])};
    i64 windows = a[0].output * a[1].output * a[2].output;
    dy += place.plane * windows;
    places += place.plane * windows;
    i32 here = (i32)((place.at[0] * a[1].input + place.at[1]) * a[2].input + place.at[2]);
    T sum = (T)0;
    EACH(0, range, i) EACH(1, range, j) EACH(2, range, k) {
        i64 window = (i * a[1].output + j) * a[2].output + k;
        if (places[window] == here) sum += convert<T>(dy[window]);
    }
    dx[number] = convert<S>(sum);
}

extern "C" __global__ void pick(const S *x, const i32 *places, S *y, Axes axes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    const Axis *a = axes.axis;
    i64 plane = a[0].input * a[1].input * a[2].input, windows = a[0].output * a[1].output * a[2].output;
    i64 place = (i64)(u32)places[number];
    y[number] = place < plane ? x[number / windows * plane + place] : convert<S>((T)0);
}
