// Walking along a row: GROUP threads take it, VECTOR elements at a time; with PACKS above 0 each holds its part.
#define HERE (threadIdx.x % GROUP)
#define ROW ((i64)blockIdx.x * (blockDim.x / GROUP) + threadIdx.x / GROUP)
#if PACKS > 0
// Inside: `pack` is the number of the pack among those that the thread holds, `at` its first element in the row.
#define EACH_PACK(length)                                      \
    _Pragma("unroll") for (int pack = 0; pack < PACKS; pack++) \
        if (i64 at = ((i64)pack * GROUP + HERE) * VECTOR; at < (length))
#define HOLDS(name) Lanes<T, VECTOR> name[PACKS];
#define HOLD(name, from) name[pack] = *(const Lanes<T, VECTOR> *)((from) + at)
#define HELD(name, from) name[pack]
#else
#define EACH_PACK(length) for (i64 at = (i64)HERE * VECTOR; at < (length); at += GROUP * VECTOR)
#define HOLDS(name)
#define HOLD(name, from) (void)0
#define HELD(name, from) (*(const Lanes<T, VECTOR> *)((from) + at))
#endif
// Threads of a block, as rows.rs has it: the compiler then leaves registers for all of them.
#define ROW_THREADS (GROUP < 128 ? 128 : GROUP)
#define EACH_LANE _Pragma("unroll") for (int lane = 0; lane < VECTOR; lane++)
#define STORE(to, value) *(Lanes<T, VECTOR> *)((to) + at) = (value)
