// Copies between two layouts, with conversion. S and T are the element types, RANK the number of axes,
// I the type of indices.
struct Walk {
    i64 size[8];
    i64 from[8];
    i64 to[8];
};

extern "C" __global__ void copy_strided(const S *from, T *to, Walk walk, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    I rest = (I)number;
    i64 source = 0, target = 0;
#pragma unroll
    for (int axis = RANK - 1; axis > 0; axis--) {
        I size = (I)walk.size[axis], above = rest / size, index = rest - above * size;
        source += (i64)index * walk.from[axis];
        target += (i64)index * walk.to[axis];
        rest = above;
    }
    source += (i64)rest * walk.from[0];
    target += (i64)rest * walk.to[0];
    to[target] = convert<T>(from[source]);
}

extern "C" __global__ void fill(T *to, T value, i64 count) {
    i64 number = thread_number();
    if (number < count) to[number] = value;
}
