// Products of integer matrices: one thread an element, summed in A and stored as T.
struct Sizes {
    i64 rows, columns, inner, summed;
};
struct Strides {
    i64 a_row, a_column, b_row, b_column;
};

extern "C" __global__ void multiply(const T *a, const T *b, T *c, Sizes sizes, Strides strides, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 column = number % sizes.columns, row = number / sizes.columns % sizes.rows;
    i64 entry = number / (sizes.rows * sizes.columns);
    A sum = 0;
    // Either one entry of the batch, or the sum over all of them.
    for (i64 other = 0; other < sizes.summed; other++) {
        i64 batch = sizes.summed > 1 ? other : entry;
        const T *x = a + batch * sizes.rows * sizes.inner + row * strides.a_row;
        const T *y = b + batch * sizes.inner * sizes.columns + column * strides.b_column;
        for (i64 k = 0; k < sizes.inner; k++) sum += (A)x[k * strides.a_column] * (A)y[k * strides.b_row];
    }
    c[number] = convert<T>(sum);
}
