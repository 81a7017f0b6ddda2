// Running values along an axis: every line is cut into chunks; their totals are carried forward, then each
// chunk runs again from what came before it. KIND is 0 sum, 1 product, 2 maximum, 3 minimum, 4 recurrence;
// T is stored, S runs, O is written.
struct State {
    S value;
#if KIND == 4
    S factor;
#endif
};

__device__ inline State empty() {
    State state;
#if KIND == 0
    state.value = 0;
#elif KIND == 1
    state.value = 1;
#elif KIND == 4
    state.value = 0;
    state.factor = 1;
#else
    state.value = LEAST;
#endif
    return state;
}

// What comes later, after what came before.
__device__ inline State joined(State a, State b) {
#if KIND == 0
    a.value += b.value;
#elif KIND == 1
    a.value *= b.value;
#elif KIND == 2
    a.value = a.value > b.value || a.value != a.value ? a.value : b.value;
#elif KIND == 3
    a.value = a.value < b.value || a.value != a.value ? a.value : b.value;
#else
    a.value = b.value + b.factor * a.value;
    a.factor *= b.factor;
#endif
    return a;
}

struct Sizes {
    i64 length, inner, chunk, chunks, reverse, exclusive;
};

__device__ inline State element(const T *x, const T *a, i64 place) {
    State state;
    state.value = convert<S>(x[place]);
#if KIND == 4
    state.factor = convert<S>(a[place]);
#endif
    return state;
}

__device__ inline i64 placed(const Sizes &sizes, i64 line, i64 step) {
    i64 along = sizes.reverse ? sizes.length - 1 - step : step;
    return (line / sizes.inner * sizes.length + along) * sizes.inner + line % sizes.inner;
}

extern "C" __global__ void chunk_totals(const T *x, const T *a, State *totals, Sizes sizes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    // Neighbouring threads have neighbouring lines.
    i64 lines = count / sizes.chunks, chunk = number / lines, line = number % lines;
    i64 end = (chunk + 1) * sizes.chunk < sizes.length ? (chunk + 1) * sizes.chunk : sizes.length;
    State state = empty();
    for (i64 step = chunk * sizes.chunk; step < end; step++) state = joined(state, element(x, a, placed(sizes, line, step)));
    totals[number] = state;
}

extern "C" __global__ void carry(State *totals, i64 chunks, i64 lines) {
    i64 line = thread_number();
    if (line >= lines) return;
    State state = empty();
    for (i64 chunk = 0; chunk < chunks; chunk++) {
        State total = totals[chunk * lines + line];
        totals[chunk * lines + line] = state;
        state = joined(state, total);
    }
}

extern "C" __global__ void finish(const T *x, const T *a, const State *before, O *to, Sizes sizes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    i64 lines = count / sizes.chunks, chunk = number / lines, line = number % lines;
    i64 end = (chunk + 1) * sizes.chunk < sizes.length ? (chunk + 1) * sizes.chunk : sizes.length;
    State state = before ? before[number] : empty();
    for (i64 step = chunk * sizes.chunk; step < end; step++) {
        i64 place = placed(sizes, line, step);
        State next = joined(state, element(x, a, place));
        to[place] = convert<O>(sizes.exclusive ? state.value : next.value);
        state = next;
    }
}
