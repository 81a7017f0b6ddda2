// Reductions. S is the element type, O the result's, W the type computed in; KIND says what is computed; KEPT and
// REDUCED are the numbers of kept and of reduced axes, VECTOR the elements that are read at once where the reduced
// axis is contiguous, GROUP the threads of a result.
struct Walk { i64 kept_size[8], kept_step[8], size[8], step[8]; };

template <int RANK> __device__ inline i64 offset(i64 number, const i64 *size, const i64 *step) {
    i64 at = 0;
#pragma unroll
    for (int axis = RANK - 1; axis > 0; axis--) {
        i64 above = number / size[axis];
        at += (number - above * size[axis]) * step[axis];
        number = above;
    }
    return at + number * step[0];
}

#if KIND == SUM || KIND == MEAN
typedef W A;
__device__ inline A nothing() { return (W)0; }
__device__ inline A add(A all, W x, i64) { return all + x; }
struct C : Sum<W> {};
#if KIND == SUM
__device__ inline O finish(A all, f64) { return convert<O>(all); }
#else
__device__ inline O finish(A all, f64 divisor) { return convert<O>(all / (W)divisor); }
#endif
#elif KIND == SQUARES
typedef W A;
__device__ inline A nothing() { return (W)0; }
__device__ inline A add(A all, W x, i64) { return all + x * x; }
struct C : Sum<W> {};
__device__ inline O finish(A all, f64) { return convert<O>(all); }
#elif KIND == PRODUCT
typedef W A;
__device__ inline A nothing() { return (W)1; }
__device__ inline A add(A all, W x, i64) { return all * x; }
struct C { __device__ static inline A combine(A a, A b) { return a * b; } };
__device__ inline O finish(A all, f64) { return convert<O>(all); }
#elif KIND == ANY || KIND == ALL || KIND == COUNT
typedef i64 A;
__device__ inline A nothing() { return 0; }
// How many are not zero; of ALL, how many are.
__device__ inline A add(A all, W x, i64) { return all + ((x != (W)0) != (KIND == ALL)); }
struct C : Sum<A> {};
#if KIND == ANY
__device__ inline O finish(A all, f64) { return all != 0; }
#elif KIND == ALL
__device__ inline O finish(A all, f64) { return all == 0; }
#else
__device__ inline O finish(A all, f64) { return all; }
#endif
#elif KIND == VARIANCE
typedef Moments<W> A;
__device__ inline A nothing() { return {(W)0, (W)0, (W)0}; }
__device__ inline A add(A all, W x, i64) { return with(all, x); }
struct C : JoinMoments<W> {};
__device__ inline O finish(A all, f64 divisor) { return convert<O>(all.square / (W)divisor); }
#else
// The extremum with its place: the first of equals, a NaN before all.
struct A { W value; i64 place; };
__device__ inline A nothing() { return {(W)0, -1}; }
struct C {
    __device__ static inline A combine(A a, A b) {
        if (a.place < 0 || b.place < 0) return a.place < 0 ? b : a;
        bool a_nan = a.value != a.value, b_nan = b.value != b.value;
#if KIND == MAX || KIND == ARGMAX
        bool before = a_nan || b_nan ? a_nan && !b_nan : a.value > b.value;
        bool behind = a_nan || b_nan ? b_nan && !a_nan : b.value > a.value;
#else
        bool before = a_nan || b_nan ? a_nan && !b_nan : a.value < b.value;
        bool behind = a_nan || b_nan ? b_nan && !a_nan : b.value < a.value;
#endif
        return before || (!behind && a.place < b.place) ? a : b;
    }
};
__device__ inline A add(A all, W x, i64 place) { return C::combine(all, A{x, place}); }
#if KIND == MAX || KIND == MIN
__device__ inline O finish(A all, f64) { return convert<O>(all.value); }
#else
__device__ inline O finish(A all, f64) { return all.place; }
#endif
#endif

// GROUP neighbouring threads walk along the reduced elements of one result, or of one of its `chunks` chunks of
// `chunk` elements.
extern "C" __global__ void reduce_rows(const S *x, O *out, A *partial, Walk walk, i64 outputs, i64 depth, i64 chunks,
                                       i64 chunk, f64 divisor) {
    i64 unit = thread_number() / GROUP;
    int lane = threadIdx.x % GROUP;
    if (unit >= outputs * chunks) return;
    i64 output = chunks == 1 ? unit : unit / chunks, from = (unit - output * chunks) * chunk;
    i64 to = from + chunk < depth ? from + chunk : depth;
    const S *row = x + offset<KEPT>(output, walk.kept_size, walk.kept_step);
    A all = nothing();
#if VECTOR > 1
    for (i64 at = from + lane * VECTOR; at + VECTOR <= to; at += GROUP * VECTOR) {
        Lanes<S, VECTOR> some = *(const Lanes<S, VECTOR> *)(row + at);
#pragma unroll
        for (int which = 0; which < VECTOR; which++) all = add(all, (W)plain(some.at[which]), at + which);
    }
    for (i64 at = to - (to - from) % VECTOR + lane; at < to; at += GROUP) all = add(all, (W)plain(row[at]), at);
#else
#pragma unroll 4
    for (i64 at = from + lane; at < to; at += GROUP) {
        all = add(all, (W)plain(row[offset<REDUCED>(at, walk.size, walk.step)]), at);
    }
#endif
    all = group_all<C, GROUP>(all);
    if (lane != 0) return;
    if (chunks == 1) out[output] = finish(all, divisor);
    else partial[unit] = all;
}

// A thread for each result, neighbours side by side; the 8 rows of a block share the reduced elements.
extern "C" __global__ void reduce_columns(const S *x, O *out, A *partial, Walk walk, i64 outputs, i64 depth,
                                          i64 chunks, i64 chunk, f64 divisor) {
    __shared__ A part[8][32];
    i64 output = (i64)blockIdx.x * 32 + threadIdx.x, from = (i64)blockIdx.y * chunk;
    i64 to = from + chunk < depth ? from + chunk : depth;
    A all = nothing();
    if (output < outputs) {
        const S *column = x + offset<KEPT>(output, walk.kept_size, walk.kept_step);
#pragma unroll 4
        for (i64 at = from + threadIdx.y; at < to; at += 8) {
            all = add(all, (W)plain(column[offset<REDUCED>(at, walk.size, walk.step)]), at);
        }
    }
    part[threadIdx.y][threadIdx.x] = all;
    __syncthreads();
    if (threadIdx.y != 0 || output >= outputs) return;
#pragma unroll
    for (int row = 1; row < 8; row++) all = C::combine(all, part[row][threadIdx.x]);
    if (chunks == 1) out[output] = finish(all, divisor);
    else partial[output * chunks + blockIdx.y] = all;
}

// A warp for each result, of chunks.
extern "C" __global__ void reduce_chunks(const A *partial, O *out, i64 outputs, i64 chunks, f64 divisor) {
    i64 output = thread_number() / 32;
    if (output >= outputs) return;
    A all = nothing();
    for (i64 at = threadIdx.x % 32; at < chunks; at += 32) all = C::combine(all, partial[output * chunks + at]);
    all = warp_all<C>(all);
    if (threadIdx.x % 32 == 0) out[output] = finish(all, divisor);
}
