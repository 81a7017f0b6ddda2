// Patches of images as the columns of a matrix, and back. Rows are (channel, tap), columns (image, position).
struct Axis {
    i64 size, kernel, out, stride, dilation, before;
};
struct Sizes {
    i64 channels, images;
    Axis axes[3];
};

// The columns of `images` images from the first of x.
extern "C" __global__ void patches(const T *x, T *columns, Sizes sizes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    const Axis *axes = sizes.axes;
    i64 positions = axes[0].out * axes[1].out * axes[2].out, taps = axes[0].kernel * axes[1].kernel * axes[2].kernel;
    i64 width = sizes.images * positions, row = number / width, column = number - row * width;
    i64 image = column / positions, position = column - image * positions;
    i64 channel = row / taps, tap = row - channel * taps;
    i64 place = 0, scale = 1;
    bool inside = true;
#pragma unroll
    for (int axis = 2; axis >= 0; axis--) {
        const Axis &along = axes[axis];
        i64 at = position % along.out * along.stride + tap % along.kernel * along.dilation - along.before;
        inside = inside && at >= 0 && at < along.size;
        place += at * scale;
        scale *= along.size;
        position /= along.out;
        tap /= along.kernel;
    }
    columns[number] = inside ? x[(image * sizes.channels + channel) * scale + place] : convert<T>(0);
}

// The transpose: every element of x gathers what lies on it, in the order of the taps.
extern "C" __global__ void images(const T *columns, const T *bias, T *x, Sizes sizes, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    const Axis *axes = sizes.axes;
    i64 positions = axes[0].out * axes[1].out * axes[2].out;
    i64 width = sizes.images * positions;
    i64 rest = number, at[3];
#pragma unroll
    for (int axis = 2; axis >= 0; axis--) {
        at[axis] = rest % axes[axis].size + axes[axis].before;
        rest /= axes[axis].size;
    }
    i64 channel = rest % sizes.channels, image = rest / sizes.channels;
    A sum = bias ? convert<A>(bias[channel]) : (A)0;
    i64 row = channel * axes[0].kernel * axes[1].kernel * axes[2].kernel;
    for (i64 a = 0; a < axes[0].kernel; a++) {
        i64 first = at[0] - a * axes[0].dilation;
        bool fits_a = first >= 0 && first % axes[0].stride == 0 && first / axes[0].stride < axes[0].out;
        for (i64 b = 0; b < axes[1].kernel; b++) {
            i64 second = at[1] - b * axes[1].dilation;
            bool fits_b = fits_a && second >= 0 && second % axes[1].stride == 0 && second / axes[1].stride < axes[1].out;
            for (i64 c = 0; c < axes[2].kernel; c++, row++) {
                i64 third = at[2] - c * axes[2].dilation;
                if (!fits_b || third < 0 || third % axes[2].stride != 0 || third / axes[2].stride >= axes[2].out) continue;
                i64 position = (first / axes[0].stride * axes[1].out + second / axes[1].stride) * axes[2].out +
                               third / axes[2].stride;
                sum += convert<A>(columns[row * width + image * positions + position]);
            }
        }
    }
    x[number] = convert<T>(sum);
}

// Adds a number to each plane of (image, channel, position).
extern "C" __global__ void add_bias(T *y, const T *bias, i64 plane, i64 channels, i64 count) {
    i64 number = thread_number();
    if (number >= count) return;
    y[number] = convert<T>(convert<A>(y[number]) + convert<A>(bias[number / plane % channels]));
}
