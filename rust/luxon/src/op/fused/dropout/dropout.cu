// Elements kept where a coin says so. S is the element type, T the type computed in; a thread takes VECTOR elements.
extern "C" __global__ void dropout(const S *x, S *y, const u32 *words, f32 keep, f64 factor, i64 packs, i64 rest) {
    random_bits::Words key = {words[0], words[1]};
    T scale = (T)factor;
    for (i64 pack = thread_number(); pack < packs; pack += thread_count()) {
        i64 at = pack * VECTOR;
        Lanes<S, VECTOR> some = *(const Lanes<S, VECTOR> *)(x + at);
#pragma unroll
        for (int lane = 0; lane < VECTOR; lane++) {
            bool kept = random_bits::Unit<f32>::of(random_bits::words_at(key, (u64)(at + lane))) < keep;
            some.at[lane] = convert<S>(kept ? (T)plain(some.at[lane]) * scale : (T)0);
        }
        *(Lanes<S, VECTOR> *)(y + at) = some;
    }
    if (thread_number() < rest) {
        i64 at = packs * VECTOR + thread_number();
        bool kept = random_bits::Unit<f32>::of(random_bits::words_at(key, (u64)at)) < keep;
        y[at] = convert<S>(kept ? (T)plain(x[at]) * scale : (T)0);
    }
}
