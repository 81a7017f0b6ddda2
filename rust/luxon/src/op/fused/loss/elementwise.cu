// Losses of single elements. T is f32 or f64.
struct Total : Sum<T> {};

// `positive` may be null, `stride` is 0 where one number is the cotangent of all.
extern "C" __global__ void binary_cross_entropy(const T *dy, const T *x, const T *targets, const T *positive, T *out,
                                                i64 count, i64 columns, i64 stride) {
    for (i64 at = thread_number(); at < count; at += thread_count()) {
        T factor = positive ? positive[at % columns] : (T)1, target = targets[at], logit = x[at];
        T bend = (T)1 + (factor - (T)1) * target;
        out[at] = dy ? (m::sigmoid(logit) * bend - factor * target) * dy[at * stride]
                     : ((T)1 - target) * logit + bend * m::softplus(-logit);
    }
}

// factor sum((a - b)^2): a part for each block, then one block for all parts.
extern "C" __global__ void squared_distance(const T *a, const T *b, T *parts, i64 count) {
    T sum = (T)0;
#pragma unroll 4
    for (i64 at = thread_number(); at < count; at += thread_count()) {
        T apart = a[at] - b[at];
        sum += apart * apart;
    }
    sum = group_all<Total, 256>(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// factor dy (a - b)
extern "C" __global__ void scaled_difference(const T *dy, const T *a, const T *b, T *out, i64 count, f64 factor) {
    T slope = (T)factor * dy[0];
    for (i64 at = thread_number(); at < count; at += thread_count()) out[at] = slope * (a[at] - b[at]);
}

extern "C" __global__ void sum_parts(const T *parts, T *out, i64 count, f64 factor) {
    T sum = (T)0;
    for (i64 at = threadIdx.x; at < count; at += 256) sum += parts[at];
    sum = group_all<Total, 256>(sum);
    if (threadIdx.x == 0) out[0] = (T)(factor * sum);
}
