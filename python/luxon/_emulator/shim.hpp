// What CUDA C++ has and a host compiler lacks: enough to run the kernels of this repository on a CPU.
//
// A block's threads run one after the other, blocks too. A kernel that meets no barrier is a plain loop over
// its threads. One that does runs each thread on a stack of its own; a barrier, a shuffle or a vote gives way
// to the next thread until all have come. Shared memory is static, or one buffer for all blocks; its contents
// are poisoned before each block, and so are the stacks. The order of the threads can be turned round: a
// kernel whose results depend on it has a race.
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define LUXON_EMULATED 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __restrict__
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static
#define __constant__ static const
#undef INFINITY
#undef NAN

struct dim3 { unsigned x, y, z; };
static dim3 threadIdx, blockIdx, blockDim, gridDim;
static const int warpSize = 32;

namespace emulated {

enum { MOST = 1024, STACK = 64 << 10, WARP = 32 };

struct Thread {
    void *stack_pointer;
    dim3 index;
    bool done;
    // What the thread waits for: 0 nothing, 1 the block, 2 its warp.
    int waits;
    unsigned long long at;
};

struct Gathering { unsigned long long number; unsigned arrived; unsigned mask; };

static Thread threads[MOST];
static unsigned live, current, count;
static unsigned live_in_warp[MOST / WARP];
static Gathering block_gathering, warp_gathering[MOST / WARP];
static unsigned long long exchange[MOST];
static void *scheduler;
static char *stacks;
static void (*body)(void **);
static void **body_arguments;
static bool reversed;
alignas(256) static unsigned char shared[228 << 10];

#if !defined(__x86_64__)
#error "the emulator's switch of stacks is written for x86-64"
#endif
extern "C" void luxon_switch(void **save, void *to);
asm(R"(
    .text
    .local luxon_switch
    .type luxon_switch, @function
luxon_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
)");

static void give_way() {
    Thread &me = threads[current];
    luxon_switch(&me.stack_pointer, scheduler);
}

// Arrives at a gathering of `expected` threads and waits for the others.
static void gather(Gathering &gathering, unsigned expected, int kind) {
    Thread &me = threads[current];
    unsigned long long number = gathering.number;
    if (++gathering.arrived >= expected) {
        gathering.arrived = 0;
        gathering.number++;
        return;
    }
    me.waits = kind;
    me.at = number;
    while (gathering.number == number) give_way();
    me.waits = 0;
}

static void entry() {
    body(body_arguments);
    Thread &me = threads[current];
    me.done = true;
    live--;
    unsigned warp = current / WARP;
    live_in_warp[warp]--;
    // A thread that has returned is not waited for.
    Gathering *gatherings[] = {&block_gathering, &warp_gathering[warp]};
    unsigned expected[] = {live, live_in_warp[warp]};
    for (int which = 0; which < 2; which++) {
        if (gatherings[which]->arrived && gatherings[which]->arrived >= expected[which]) {
            gatherings[which]->arrived = 0;
            gatherings[which]->number++;
        }
    }
    give_way();
}

static bool waiting(const Thread &thread, unsigned index) {
    if (thread.waits == 1) return block_gathering.number == thread.at;
    if (thread.waits == 2) return warp_gathering[index / WARP].number == thread.at;
    return false;
}

static const char *run_fibers() {
    if (!stacks) stacks = (char *)malloc((size_t)MOST * STACK);
    live = count;
    block_gathering = Gathering();
    for (unsigned warp = 0; warp < MOST / WARP; warp++) {
        warp_gathering[warp] = Gathering();
        live_in_warp[warp] = warp * WARP >= count ? 0 : (count - warp * WARP < WARP ? count - warp * WARP : WARP);
    }
    for (unsigned index = 0; index < count; index++) {
        Thread &thread = threads[index];
        thread.index = {index % blockDim.x, index / blockDim.x % blockDim.y, index / (blockDim.x * blockDim.y)};
        thread.done = false;
        thread.waits = 0;
        char *top = stacks + (size_t)(index + 1) * STACK;
        // Stale registers of another thread must not look like values.
        memset(top - 4096, 0xff, 4096);
        void **frame = (void **)((uintptr_t)(top - 64) & ~(uintptr_t)15);
        // As after a call: the stack pointer is 8 past a multiple of 16.
        *--frame = nullptr;
        *--frame = (void *)entry;
        for (int saved = 0; saved < 6; saved++) *--frame = nullptr;
        thread.stack_pointer = frame;
    }
    while (live) {
        bool moved = false;
        for (unsigned step = 0; step < count; step++) {
            unsigned index = reversed ? count - 1 - step : step;
            Thread &thread = threads[index];
            if (thread.done || waiting(thread, index)) continue;
            moved = true;
            current = index;
            threadIdx = thread.index;
            luxon_switch(&scheduler, thread.stack_pointer);
        }
        if (!moved) return "deadlock: some threads wait at a barrier that others never reach";
    }
    return nullptr;
}

static const char *run_loop() {
    for (unsigned step = 0; step < count; step++) {
        unsigned index = reversed ? count - 1 - step : step;
        threadIdx = {index % blockDim.x, index / blockDim.x % blockDim.y, index / (blockDim.x * blockDim.y)};
        body(body_arguments);
    }
    return nullptr;
}

static const char *launch(void (*kernel)(void **), void **arguments, unsigned gx, unsigned gy, unsigned gz,
                          unsigned bx, unsigned by, unsigned bz, unsigned shared_bytes, bool waits) {
    body = kernel;
    body_arguments = arguments;
    gridDim = {gx, gy, gz};
    blockDim = {bx, by, bz};
    count = bx * by * bz;
    if (count == 0 || count > MOST) return "a block has 1 to 1024 threads";
    if (shared_bytes > 227 << 10) return "a block has at most 227 KiB of shared memory";
    const char *order = getenv("LUXON_EMULATOR_REVERSE");
    reversed = order && *order && *order != '0';
    unsigned blocks = gx * gy * gz;
    for (unsigned step = 0; step < blocks; step++) {
        unsigned number = reversed ? blocks - 1 - step : step;
        blockIdx = {number % gx, number / gx % gy, number / (gx * gy)};
        if (shared_bytes) memset(shared, 0xff, shared_bytes);
        const char *problem = waits ? run_fibers() : run_loop();
        if (problem) return problem;
    }
    return nullptr;
}

template <class T> struct Plain { typedef T type; };
template <class T> struct Plain<const T> { typedef T type; };
template <unsigned... Index> struct Sequence {};
template <unsigned Count, unsigned... Index> struct Counted : Counted<Count - 1, Count - 1, Index...> {};
template <unsigned... Index> struct Counted<0, Index...> { typedef Sequence<Index...> type; };

// Calls a kernel with the arguments behind the addresses, as CUDA does by the kernel's own parameters.
template <class Kernel, Kernel kernel> struct Call;
template <class... Types, void (*kernel)(Types...)> struct Call<void (*)(Types...), kernel> {
    template <unsigned... Index> static void with(void **arguments, Sequence<Index...>) {
        kernel(*(typename Plain<Types>::type *)arguments[Index]...);
    }
    static void run(void **arguments) { with(arguments, typename Counted<sizeof...(Types)>::type()); }
    // The number of parameters and their sizes.
    static const unsigned *sizes() {
        static const unsigned all[] = {(unsigned)sizeof...(Types), (unsigned)sizeof(Types)..., 0};
        return all;
    }
};

static unsigned lane() { return current % WARP; }
static unsigned warp() { return current / WARP; }

template <class T> static T shuffled(T value, unsigned from) {
    static_assert(sizeof(T) <= 8, "CUDA shuffles up to 8 bytes");
    unsigned base = current - lane(), me = current;
    unsigned long long bits = 0;
    memcpy(&bits, &value, sizeof(T));
    exchange[me] = bits;
    gather(warp_gathering[warp()], live_in_warp[warp()], 2);
    unsigned source = base + from;
    T result = value;
    if (source < count) memcpy(&result, &exchange[source], sizeof(T));
    gather(warp_gathering[warp()], live_in_warp[warp()], 2);
    return result;
}

}  // namespace emulated

#define __syncthreads() emulated::gather(emulated::block_gathering, emulated::live, 1)
#define __syncwarp(...) emulated::gather(emulated::warp_gathering[emulated::warp()], emulated::live_in_warp[emulated::warp()], 2)
#define __threadfence() ((void)0)

template <class T> static T __shfl_sync(unsigned, T value, int from, int width = 32) {
    return emulated::shuffled(value, (emulated::lane() & ~(width - 1)) + (from & (width - 1)));
}
template <class T> static T __shfl_xor_sync(unsigned, T value, int mask, int = 32) {
    return emulated::shuffled(value, emulated::lane() ^ mask);
}
template <class T> static T __shfl_down_sync(unsigned, T value, unsigned by, int width = 32) {
    unsigned lane = emulated::lane(), inside = lane & (width - 1);
    return emulated::shuffled(value, inside + by < (unsigned)width ? lane + by : lane);
}
template <class T> static T __shfl_up_sync(unsigned, T value, unsigned by, int width = 32) {
    unsigned lane = emulated::lane(), inside = lane & (width - 1);
    return emulated::shuffled(value, inside >= by ? lane - by : lane);
}
static unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned bits = 0;
    for (int lane = 0; lane < 32; lane++) {
        // Lanes that are not there give their own value back to the reader, so ask for the lane as well.
        unsigned pair = __shfl_sync(mask, (predicate ? 1u : 0u) | emulated::lane() << 1, lane);
        if (pair >> 1 == (unsigned)lane) bits |= (pair & 1u) << lane;
    }
    return bits;
}
static int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
static int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, !predicate) == 0; }
static int __syncthreads_or(int predicate) {
    static int any;
    __syncthreads();
    any = 0;
    __syncthreads();
    any |= predicate;
    __syncthreads();
    return any;
}

template <class T, class S> static T atomicAdd(T *place, S value) { T old = *place; *place = (T)(old + (T)value); return old; }
template <class T, class S> static T atomicMax(T *place, S value) { T old = *place; *place = old > (T)value ? old : (T)value; return old; }
template <class T, class S> static T atomicMin(T *place, S value) { T old = *place; *place = old < (T)value ? old : (T)value; return old; }
template <class T, class S> static T atomicOr(T *place, S value) { T old = *place; *place = old | (T)value; return old; }
template <class T, class S, class U> static T atomicCAS(T *place, S compare, U value) {
    T old = *place;
    if (old == (T)compare) *place = (T)value;
    return old;
}
template <class T, class S> static T atomicExch(T *place, S value) { T old = *place; *place = (T)value; return old; }

static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
template <class T> static inline T __ldg(const T *place) { return *place; }
template <class T> static inline T __ldcs(const T *place) { return *place; }
template <class T> static inline void __stcs(T *place, T value) { *place = value; }
template <class T> static inline T max(T a, T b) { return a > b ? a : b; }
template <class T> static inline T min(T a, T b) { return a < b ? a : b; }

// Functions of CUDA's that the C library lacks.
static inline double normcdf(double x) { return 0.5 * erfc(x * -0.70710678118654752440); }
static inline float normcdff(float x) { return (float)normcdf((double)x); }
static inline double sinpi(double x) { double r = x - 2.0 * rint(0.5 * x); return r == rint(r) ? copysign(0.0, x) : sin(3.14159265358979323846 * r); }
static inline float sinpif(float x) { return (float)sinpi((double)x); }
static inline double cospi(double x) { return cos(3.14159265358979323846 * (x - 2.0 * rint(0.5 * x))); }
static inline float cospif(float x) { return (float)cospi((double)x); }
