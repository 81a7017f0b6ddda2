// Walking along a row: GROUP threads take it, VECTOR elements at a time; with PACKS above 0 each holds its part. What
// lies in memory as S is held and computed in as T.
#define HERE (threadIdx.x % GROUP)
#define ROW ((i64)blockIdx.x * (blockDim.x / GROUP) + threadIdx.x / GROUP)
#if PACKS > 0
// Inside: `pack` is the number of the pack among those that the thread holds, `at` its first element in the row.
#define EACH_PACK(length)                                      \
    _Pragma("unroll") for (int pack = 0; pack < PACKS; pack++) \
        if (i64 at = ((i64)pack * GROUP + HERE) * VECTOR; at < (length))
#define HOLDS(name) Lanes<T, VECTOR> name[PACKS];
#define HOLD(name, from) name[pack] = loaded((from) + at)
#define HELD(name, from) name[pack]
#else
#define EACH_PACK(length) for (i64 at = (i64)HERE * VECTOR; at < (length); at += GROUP * VECTOR)
#define HOLDS(name)
#define HOLD(name, from) (void)0
#define HELD(name, from) loaded((from) + at)
#endif
// Threads of a block, as rows.rs has it: the compiler then leaves registers for all of them.
#define ROW_THREADS (GROUP < 128 ? 128 : GROUP)
#define EACH_LANE _Pragma("unroll") for (int lane = 0; lane < VECTOR; lane++)
#define STORE(to, value) store((to) + at, value)
__device__ inline Lanes<T, VECTOR> loaded(const S *from) {
    Lanes<S, VECTOR> stored = *(const Lanes<S, VECTOR> *)from;
    Lanes<T, VECTOR> value;
    EACH_LANE value.at[lane] = convert<T>(stored.at[lane]);
    return value;
}
__device__ inline void store(S *to, const Lanes<T, VECTOR> &value) {
    Lanes<S, VECTOR> stored;
    EACH_LANE stored.at[lane] = convert<S>(value.at[lane]);
    *(Lanes<S, VECTOR> *)to = stored;
}
