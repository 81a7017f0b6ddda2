// Random words: the words of (key, index of the element), the same as cpu/random gives.
namespace random_bits {

struct Words { u32 first, second; };

__device__ inline u32 rotated(u32 x, int by) { return x << by | x >> (32 - by); }

template <int A, int B, int C, int D> __device__ inline void four_rounds(Words &words, u32 first, u32 second) {
    words.first += words.second;
    words.second = rotated(words.second, A) ^ words.first;
    words.first += words.second;
    words.second = rotated(words.second, B) ^ words.first;
    words.first += words.second;
    words.second = rotated(words.second, C) ^ words.first;
    words.first += words.second;
    words.second = rotated(words.second, D) ^ words.first;
    words.first += first;
    words.second += second;
}

__device__ inline Words words_at(Words key, u64 index) {
    u32 third = key.first ^ key.second ^ 0x1bd11bdau;
    Words words = {(u32)(index >> 32) + key.first, (u32)index + key.second};
    four_rounds<13, 15, 26, 6>(words, key.second, third + 1);
    four_rounds<17, 29, 16, 24>(words, third, key.first + 2);
    four_rounds<13, 15, 26, 6>(words, key.first, key.second + 3);
    four_rounds<17, 29, 16, 24>(words, key.second, third + 4);
    four_rounds<13, 15, 26, 6>(words, third, key.first + 5);
    return words;
}

// Numbers in [0, 1) of as many random bits as the mantissa has.
template <class T> struct Unit;
template <> struct Unit<f32> {
    __device__ static inline f32 of(Words words) {
        return f32_of_bits((words.first ^ words.second) >> 9 | 0x3f800000u) - 1.0f;
    }
};
template <> struct Unit<f64> {
    __device__ static inline f64 of(Words words) {
        return f64_of_bits(((u64)words.first << 32 | words.second) >> 12 | 0x3ff0000000000000ull) - 1.0;
    }
};
template <> struct Unit<f16> {
    __device__ static inline f32 of(Words words) {
        return (f32)((u16)(words.first ^ words.second) >> 6) * 0.0009765625f;
    }
};
template <> struct Unit<bf16> {
    __device__ static inline f32 of(Words words) {
        return (f32)((u8)(words.first ^ words.second) >> 1) * 0.0078125f;
    }
};

}  // namespace random_bits
// -- end of library
