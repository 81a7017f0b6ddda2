// Elements moved to and from the places that indices name. T is an element, A the type it is added up in.
// Indices are not read by the host: a place outside its axis is -1, which is read as `missing` and not written.
struct Sizes {
    i64 outer, length, picked, inner;
};

// One axis more of row-major positions in several axes.
extern "C" __global__ void positions(const i64 *index, i64 *to, i64 size, i32 first, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 at = index[number];
    if (at < 0) at += size;
    i64 before = first ? 0 : to[number];
    to[number] = at < 0 || at >= size || before < 0 ? -1 : before * size + at;
}

// Positions along an axis as positions in the whole.
extern "C" __global__ void along(const i64 *index, i64 *to, Sizes sizes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 at = index[number];
    if (at < 0) at += sizes.length;
    i64 outer = number / (sizes.picked * sizes.inner);
    to[number] = at < 0 || at >= sizes.length ? -1 : (outer * sizes.length + at) * sizes.inner + number % sizes.inner;
}

extern "C" __global__ void take(const T *x, const i64 *rows, T *to, Sizes sizes, T missing, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 at = number / sizes.inner, row = rows[at % sizes.picked], outer = at / sizes.picked;
    to[number] = row < 0 ? missing : x[(outer * sizes.length + row) * sizes.inner + number % sizes.inner];
}

// `order` sorts the rows stably: the first of equal ones adds them all, in their order.
extern "C" __global__ void scatter_add(
    const T *updates, const i64 *rows, const i64 *order, T *to, Sizes sizes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 at = number / sizes.inner, slot = at % sizes.picked, outer = at / sizes.picked, inner = number % sizes.inner;
    i64 row = rows[order[slot]];
    if (row < 0 || (slot > 0 && rows[order[slot - 1]] == row)) return;
    i64 place = (outer * sizes.length + row) * sizes.inner + inner;
    A sum = convert<A>(to[place]);
    for (; slot < sizes.picked && rows[order[slot]] == row; slot++) {
        sum += convert<A>(updates[(outer * sizes.picked + order[slot]) * sizes.inner + inner]);
    }
    to[place] = convert<T>(sum);
}

// The last of equal rows is written.
extern "C" __global__ void scatter_set(
    const T *updates, const i64 *rows, const i64 *order, T *to, Sizes sizes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 at = number / sizes.inner, slot = at % sizes.picked, outer = at / sizes.picked, inner = number % sizes.inner;
    i64 row = rows[order[slot]];
    if (row < 0 || (slot + 1 < sizes.picked && rows[order[slot + 1]] == row)) return;
    to[(outer * sizes.length + row) * sizes.inner + inner] =
        updates[(outer * sizes.picked + order[slot]) * sizes.inner + inner];
}
