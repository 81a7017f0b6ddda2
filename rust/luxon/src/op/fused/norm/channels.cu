// Normalisation by channel of (outer, channels, inner): statistics, their application, and the sums behind the
// gradients of weight and bias. x, y and their gradients lie in memory as S, all else is T, f32 or f64; a thread takes VECTOR elements at once, along the channels where
// INNER is 1 (there is nothing after them), else along what comes after.
struct TwoTotals : SumTwo<T> {};
struct Joined : JoinMoments<T> {};

// The channel of element `at`.
#if INNER == 1
#define CHANNEL(at) ((at) % channels)
#else
#define CHANNEL(at) ((at) / inner % channels)
#endif

// (x - mean) * deviation * weight + bias; with GIVEN the deviation is made of a variance.
extern "C" __global__ void norm_channels(const S *x, const T *means, const T *deviations, const T *weight,
                                         const T *bias, S *y, i64 packs, i64 channels, i64 inner, f64 eps) {
    for (i64 pack = thread_number(); pack < packs; pack += thread_count()) {
        i64 at = pack * VECTOR, channel = CHANNEL(at);
        Lanes<S, VECTOR> some = *(const Lanes<S, VECTOR> *)(x + at);
#pragma unroll
        for (int lane = 0; lane < VECTOR; lane++) {
            i64 which = INNER == 1 ? channel + lane : channel;
            T deviation = GIVEN ? m::rsqrt(deviations[which] + (T)eps) : deviations[which];
            T value = (convert<T>(some.at[lane]) - means[which]) * deviation;
            if (weight) value *= weight[which];
            if (bias) value += bias[which];
            some.at[lane] = convert<S>(value);
        }
        *(Lanes<S, VECTOR> *)(y + at) = some;
    }
}

// The gradient in x: with GIVEN statistics dy * deviation * weight, else less what the statistics take away;
// `sums` are those of dy and of dy times the normalised x, channel by channel.
extern "C" __global__ void norm_channels_gradient(const S *dy, const S *x, const T *means, const T *deviations,
                                                  const T *weight, const T *sums, S *dx, i64 packs, i64 channels,
                                                  i64 inner, f64 count) {
    for (i64 pack = thread_number(); pack < packs; pack += thread_count()) {
        i64 at = pack * VECTOR, channel = CHANNEL(at);
        Lanes<S, VECTOR> slope = *(const Lanes<S, VECTOR> *)(dy + at);
#if !GIVEN
        Lanes<S, VECTOR> some = *(const Lanes<S, VECTOR> *)(x + at);
#endif
#pragma unroll
        for (int lane = 0; lane < VECTOR; lane++) {
            i64 which = INNER == 1 ? channel + lane : channel;
            T deviation = deviations[which], value = convert<T>(slope.at[lane]);
#if !GIVEN
            T normal = (convert<T>(some.at[lane]) - means[which]) * deviation;
            value = value - sums[which] / (T)count - normal * (sums[channels + which] / (T)count);
#endif
            value *= deviation;
            slope.at[lane] = convert<S>(weight ? value * weight[which] : value);
        }
        *(Lanes<S, VECTOR> *)(dx + at) = slope;
    }
}

// Where element (n, c) finds its statistics: STATISTIC 0 by n, 1 by c, 2 by n and the group of c.
__device__ inline i64 statistic(i64 n, i64 c, i64 channels, i64 groups) {
#if STATISTIC == 0
    return n;
#elif STATISTIC == 1
    return c;
#else
    return n * groups + c / (channels / groups);
#endif
}

// The sums of dy and of dy times the normalised x of chunks of each channel. A block takes a chunk of one.
extern "C" __global__ void sums_long(const S *dy, const S *x, const T *means, const T *deviations, T *partial,
                                     i64 channels, i64 inner, i64 groups, i64 count, i64 chunks, i64 chunk) {
    i64 channel = blockIdx.x / chunks, number = blockIdx.x - channel * chunks;
    i64 from = number * chunk, to = from + chunk < count ? from + chunk : count;
    Two<T> sums = {(T)0, (T)0};
    for (i64 at = from + threadIdx.x; at < to; at += 256) {
        i64 n = at / inner, place = (n * channels + channel) * inner + (at - n * inner);
        i64 which = statistic(n, channel, channels, groups);
        T slope = convert<T>(dy[place]), mean = means ? means[which] : (T)0;
        sums.a += slope;
        sums.b += slope * ((convert<T>(x[place]) - mean) * deviations[which]);
    }
    sums = group_all<TwoTotals, 256>(sums);
    if (threadIdx.x == 0) {
        partial[(number * 2) * channels + channel] = sums.a;
        partial[(number * 2 + 1) * channels + channel] = sums.b;
    }
}

// The same where there is little after the channels: threads have neighbouring channels.
extern "C" __global__ void sums_wide(const S *dy, const S *x, const T *means, const T *deviations, T *partial,
                                     i64 channels, i64 inner, i64 groups, i64 count, i64 chunks, i64 chunk) {
    __shared__ Two<T> part[8][32];
    i64 channel = (i64)blockIdx.x * 32 + threadIdx.x, number = blockIdx.y;
    i64 from = number * chunk, to = from + chunk < count ? from + chunk : count;
    Two<T> sums = {(T)0, (T)0};
    if (channel < channels) {
#pragma unroll 4
        for (i64 at = from + threadIdx.y; at < to; at += 8) {
            i64 n = inner == 1 ? at : at / inner, place = (n * channels + channel) * inner + (at - n * inner);
            i64 which = statistic(n, channel, channels, groups);
            T slope = convert<T>(dy[place]), mean = means ? means[which] : (T)0;
            sums.a += slope;
            sums.b += slope * ((convert<T>(x[place]) - mean) * deviations[which]);
        }
    }
    part[threadIdx.y][threadIdx.x] = sums;
    __syncthreads();
    if (threadIdx.y != 0 || channel >= channels) return;
#pragma unroll
    for (int row = 1; row < 8; row++) sums = TwoTotals::combine(sums, part[row][threadIdx.x]);
    partial[(number * 2) * channels + channel] = sums.a;
    partial[(number * 2 + 1) * channels + channel] = sums.b;
}

// Count, mean and squared deviations of chunks of each channel, likewise.
extern "C" __global__ void moments_long(const S *x, Moments<T> *partial, i64 channels, i64 inner, i64 count,
                                        i64 chunks, i64 chunk) {
    i64 channel = blockIdx.x / chunks, number = blockIdx.x - channel * chunks;
    i64 from = number * chunk, to = from + chunk < count ? from + chunk : count;
    Moments<T> all = {(T)0, (T)0, (T)0};
    for (i64 at = from + threadIdx.x; at < to; at += 256) {
        i64 n = at / inner;
        all = with(all, convert<T>(x[(n * channels + channel) * inner + (at - n * inner)]));
    }
    all = group_all<Joined, 256>(all);
    if (threadIdx.x == 0) partial[number * channels + channel] = all;
}

extern "C" __global__ void moments_wide(const S *x, Moments<T> *partial, i64 channels, i64 inner, i64 count,
                                        i64 chunks, i64 chunk) {
    __shared__ Moments<T> part[8][32];
    i64 channel = (i64)blockIdx.x * 32 + threadIdx.x, number = blockIdx.y;
    i64 from = number * chunk, to = from + chunk < count ? from + chunk : count;
    Moments<T> all = {(T)0, (T)0, (T)0};
    if (channel < channels) {
#pragma unroll 4
        for (i64 at = from + threadIdx.y; at < to; at += 8) {
            i64 n = inner == 1 ? at : at / inner;
            all = with(all, convert<T>(x[(n * channels + channel) * inner + (at - n * inner)]));
        }
    }
    part[threadIdx.y][threadIdx.x] = all;
    __syncthreads();
    if (threadIdx.y != 0 || channel >= channels) return;
#pragma unroll
    for (int row = 1; row < 8; row++) all = Joined::combine(all, part[row][threadIdx.x]);
    partial[number * channels + channel] = all;
}

extern "C" __global__ void finish_moments(const Moments<T> *partial, T *means, T *variances, T *deviations,
                                          i64 channels, i64 chunks, f64 eps) {
    i64 channel = thread_number();
    if (channel >= channels) return;
    Moments<T> all = partial[channel];
    for (i64 number = 1; number < chunks; number++) all = Joined::combine(all, partial[number * channels + channel]);
    T variance = all.square / all.count;
    means[channel] = all.mean;
    variances[channel] = variance;
    deviations[channel] = m::rsqrt(variance + (T)eps);
}

// The sums of all chunks, as wide as wanted: the bias's gradient, the weight's, and both for what follows.
extern "C" __global__ void finish_sums(const T *partial, T *bias, T *weight, T *both, i64 channels, i64 chunks) {
    i64 channel = thread_number();
    if (channel >= channels) return;
    Two<T> sums = {(T)0, (T)0};
    for (i64 number = 0; number < chunks; number++) {
        sums.a += partial[(number * 2) * channels + channel];
        sums.b += partial[(number * 2 + 1) * channels + channel];
    }
    if (bias) bias[channel] = sums.a;
    if (weight) weight[channel] = sums.b;
    if (both) {
        both[channel] = sums.a;
        both[channels + channel] = sums.b;
    }
}
