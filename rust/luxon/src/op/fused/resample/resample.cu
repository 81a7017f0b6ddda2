// The product of a sparse matrix, by rows, with the lines of (outer, columns, inner) along the middle axis: a thread
// for each element of the result. T is f32 or f64.
extern "C" __global__ void resample(const T *x, T *y, const i64 *starts, const u32 *places, const T *weights,
                                    i64 columns, i64 rows, i64 inner, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 above = number / inner, outer = above / rows, row = above - outer * rows;
    x += outer * columns * inner + (number - above * inner);
    T sum = (T)0;
    for (i64 term = starts[row]; term < starts[row + 1]; term++) sum += weights[term] * x[places[term] * inner];
    y[number] = sum;
}
