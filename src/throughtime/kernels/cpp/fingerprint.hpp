// A number that changes when bytes in memory change, to notice a write that nothing else counts.
#pragma once

#include "simd.hpp"

namespace throughtime {

// Python passes an array of it; fingerprint.py declares the same fields in this order.
struct Bytes {
    const char* from;
    int64_t size;
};

using Words = uint32_t __attribute__((vector_size(BYTES)));

// For equal words, different sums stay different, and the reverse: a single change is never missed.
// The shift is needed because the product alone would let two changes of a sign cancel.
TT_INLINE void mix(Words& sum, const char* from, int64_t size) {
    Words words = {};
    memcpy(&words, from, size_t(size));
    sum = (sum ^ words) * 0x85EBCA6Bu;
    sum ^= sum >> 15;
}

inline uint64_t fingerprint(const Bytes* parts, int64_t count) {
    constexpr int SUMS = 8;  // a product takes several cycles, in which the next ones begin
    Words sums[SUMS] = {};
    for (int64_t part = 0; part < count; ++part) {
        const char* from = parts[part].from;
        int64_t left = parts[part].size;
        for (; left >= SUMS * BYTES; from += SUMS * BYTES, left -= SUMS * BYTES)
#pragma GCC unroll 8
            for (int i = 0; i < SUMS; ++i) mix(sums[i], from + i * BYTES, BYTES);
        for (int i = 0; left > 0; ++i, from += BYTES, left -= BYTES)
            mix(sums[i], from, left < BYTES ? left : BYTES);
    }
    uint64_t result = 0;
    for (const Words& sum : sums)
        for (size_t i = 0; i < BYTES / sizeof(uint32_t); ++i) {
            result = (result ^ sum[i]) * 0x9E3779B97F4A7C15u;
            result ^= result >> 32;
        }
    return result;
}

}  // namespace throughtime
