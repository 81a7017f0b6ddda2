// Stable sorting of rows, by positions: runs of 32 by counting, then runs merged by pairs, each element
// finding its place by a binary search in the other run. T is the stored type, W the one compared in.
#define RUN 32

__device__ inline bool ascends(W a, W b) { return a < b || (a == a && b != b); }
__device__ inline bool before(W a, W b) { return DESCENDING ? ascends(b, a) : ascends(a, b); }

extern "C" __global__ void sort_runs(const T *x, i64 *to, i64 length, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 row = number / length, at = number - row * length;
    i64 start = at / RUN * RUN, end = start + RUN < length ? start + RUN : length;
    const T *keys = x + row * length;
    W key = convert<W>(keys[at]);
    i64 place = start;
    for (i64 other = start; other < end; other++) {
        W seen = convert<W>(keys[other]);
        if (other < at ? !before(key, seen) : before(seen, key)) place++;
    }
    to[row * length + place] = at;
}

extern "C" __global__ void merge_runs(const T *x, const i64 *from, i64 *to, i64 length, i64 width, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 row = number / length, at = number - row * length;
    i64 run = at / width, own = run * width, first = (run & ~(i64)1) * width;
    bool late = run & 1;
    i64 other = late ? first : own + width;
    i64 position = from[number];
    if (other >= length) {
        to[number] = position;
        return;
    }
    const T *keys = x + row * length;
    const i64 *places = from + row * length;
    W key = convert<W>(keys[position]);
    i64 low = other, high = other + width < length ? other + width : length;
    while (low < high) {
        i64 middle = (low + high) / 2;
        W seen = convert<W>(keys[places[middle]]);
        // Equal elements of the earlier run stay in front.
        bool goes_first = late ? !before(key, seen) : before(seen, key);
        if (goes_first) low = middle + 1;
        else high = middle;
    }
    to[row * length + first + (at - own) + (low - other)] = position;
}

// The first `kept` elements of every row, in the order of the positions.
extern "C" __global__ void pick(const T *x, const i64 *positions, T *values, i64 *places, i64 length, i64 kept, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 row = number / kept, position = positions[row * length + (number - row * kept)];
    if (values) values[number] = x[row * length + position];
    if (places) places[number] = position;
}

extern "C" __global__ void search(const T *sorted, const T *asked, i64 *to, i64 length, i32 right, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    W key = convert<W>(asked[number]);
    i64 low = 0, high = length;
    while (low < high) {
        i64 middle = (low + high) / 2;
        W seen = convert<W>(sorted[middle]);
        if (right ? !ascends(key, seen) : ascends(seen, key)) low = middle + 1;
        else high = middle;
    }
    to[number] = low;
}
