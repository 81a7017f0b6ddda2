// Matrices with zeros outside the diagonals `low` to `high`; T has the elements' size.
extern "C" __global__ void keep_band(const T *x, T *to, i64 rows, i64 columns, i64 low, i64 high, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 diagonal = number % columns - number / columns % rows;
    to[number] = diagonal >= low && diagonal <= high ? x[number] : (T)0;
}
