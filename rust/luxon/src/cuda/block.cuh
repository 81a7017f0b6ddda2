// What the threads of a warp or a block do together.
//
// A combination is a struct with `static A combine(A, A)`; all threads of the group take part and all get the
// result, whose bits do not depend on timing.
template <class A> __device__ inline A shuffled_xor(A value, int mask) {
    static_assert(sizeof(A) % 4 == 0, "whole words");
    u32 words[sizeof(A) / 4];
    memcpy(words, &value, sizeof(A));
#pragma unroll
    for (int word = 0; word < (int)(sizeof(A) / 4); word++) words[word] = __shfl_xor_sync(0xffffffffu, words[word], mask);
    memcpy(&value, words, sizeof(A));
    return value;
}

// Of WIDTH neighbouring threads of a warp, a power of two.
template <class C, int WIDTH, class A> __device__ inline A lanes_all(A value) {
#pragma unroll
    for (int mask = WIDTH / 2; mask > 0; mask >>= 1) value = C::combine(value, shuffled_xor(value, mask));
    return value;
}
template <class C, class A> __device__ inline A warp_all(A value) { return lanes_all<C, 32>(value); }

// Of WIDTH neighbouring threads: of a part of a warp, a warp, or all of a block that has so many.
template <class C, int WIDTH, class A> __device__ inline A group_all(A value) {
    if (WIDTH <= 32) return lanes_all<C, WIDTH>(value);
    value = warp_all<C>(value);
    __shared__ A part[WIDTH < 32 ? 1 : WIDTH / 32];
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
    __syncthreads();
    value = part[0];
#pragma unroll
    for (int warp = 1; warp < WIDTH / 32; warp++) value = C::combine(value, part[warp]);
    return value;
}

template <class W> struct Sum {
    __device__ static inline W combine(W a, W b) { return a + b; }
};
template <class W> struct Greatest {
    __device__ static inline W combine(W a, W b) { return a > b || a != a ? a : b; }
};
// Two sums at once.
template <class W> struct Two { W a, b; };
template <class W> struct SumTwo {
    __device__ static inline Two<W> combine(Two<W> x, Two<W> y) { return {x.a + y.a, x.b + y.b}; }
};

// Count, mean and sum of squared deviations.
template <class W> struct Moments { W count, mean, square; };
template <class W> struct JoinMoments {
    __device__ static inline Moments<W> combine(Moments<W> a, Moments<W> b) {
        W count = a.count + b.count, share = count > (W)0 ? b.count / count : (W)0, apart = b.mean - a.mean;
        return {count, a.mean + apart * share, a.square + b.square + apart * apart * a.count * share};
    }
};
template <class W> __device__ inline Moments<W> with(Moments<W> all, W x) {
    W count = all.count + (W)1, apart = x - all.mean, mean = all.mean + apart / count;
    return {count, mean, all.square + apart * (x - mean)};
}

// The largest of some numbers, and the sum of the exponentials of all less it: one pass over a row. A NaN makes
// the sum one.
template <class W> struct Exponentials { W largest, sum; };
template <class W> __device__ inline Exponentials<W> with_exponential(Exponentials<W> all, W x) {
    if (x > all.largest) return {x, all.sum * m::exp(all.largest - x) + (W)1};
    return {all.largest, all.sum + (x == all.largest ? (W)1 : m::exp(x - all.largest))};
}
template <class W> struct JoinExponentials {
    __device__ static inline Exponentials<W> combine(Exponentials<W> a, Exponentials<W> b) {
        W largest = a.largest > b.largest ? a.largest : b.largest;
        W left = a.largest == largest ? a.sum : a.sum * m::exp(a.largest - largest);
        W right = b.largest == largest ? b.sum : b.sum * m::exp(b.largest - largest);
        return {largest, left + right};
    }
};
// -- end of library
