// Random numbers as a function of a seed and a position: throughtime/kernels/graph/random.py has
// the formulas, and gives exactly the same numbers.
#pragma once

#include "simd_vector.hpp"

namespace throughtime {

constexpr uint64_t RANDOM_STEP = 0x9E3779B97F4A7C15u;
constexpr uint32_t RANDOM_STEP32 = 0x9E3779B9u;

TT_INLINE uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

// The key that all numbers of a stream at one time share.
TT_INLINE uint64_t random_key(int64_t seed, int64_t stream, int64_t at) {
    const uint64_t key = mixed(uint64_t(seed) + uint64_t(stream + 1) * RANDOM_STEP);
    return mixed(key + uint64_t(at + 1) * RANDOM_STEP);
}

TT_INLINE uint64_t random_key_of_row(uint64_t key, int64_t row) {
    return mixed(key + uint64_t(row + 1) * RANDOM_STEP);
}

template <int N> struct Words {
    typedef uint32_t U __attribute__((vector_size(N * 4)));
    typedef int32_t I __attribute__((vector_size(N * 4)));
};

// A number in [0, 1) for each lane, the units from `unit` on, of the row with this key.
template <class T> TT_INLINE Vec<T> uniform(uint64_t key, int64_t unit) {
    constexpr int N = Simd<T>::LANES;
    typename Words<N>::U x = {};
    for (int i = 0; i < N; i++) x[i] = uint32_t(i) * RANDOM_STEP32;
    x += uint32_t(key) + uint32_t(unit) * RANDOM_STEP32;
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x ^= uint32_t(key >> 32);
    x *= 0x846CA68Bu;
    x ^= x >> 16;
    return __builtin_convertvector((typename Words<N>::I)(x >> 8), Vec<T>) * T(1.0 / 16777216.0);
}

}  // namespace throughtime
