// The types of stored, packed and summed elements of a product, and the sizes of its blocks.
#pragma once

#include <stdint.h>

#include "simd_vector.hpp"

#if defined(__AVX512BF16__) && TT_VECTOR_BYTES == 64
#define TT_BF16_DOT 1
#include <immintrin.h>
#endif

namespace throughtime {
namespace gemm {

// Two neighbours along K in one 32-bit word: what one lane of the bfloat16 dot product reads.
struct Pair {
    uint32_t bits;
};

template <class S>
struct Storage {
    using Packed = S;
    using Sum = S;
};
template <>
struct Storage<bfloat16> {
#ifdef TT_BF16_DOT
    using Packed = Pair;
#else
    using Packed = float;
#endif
    using Sum = float;
};

template <class P>
constexpr int DEPTH = 1;
template <>
constexpr int DEPTH<Pair> = 2;

TT_INLINE float widen(bfloat16 x) { return to_float(x); }
TT_INLINE float widen(float x) { return x; }
TT_INLINE double widen(double x) { return x; }

TT_INLINE Vec<float> madd(float a, Vec<float> b, Vec<float> c) { return splat<float>(a) * b + c; }
TT_INLINE Vec<double> madd(double a, Vec<double> b, Vec<double> c) {
    return splat<double>(a) * b + c;
}
TT_INLINE Vec<float> load_packed(const float* p) { return load(p); }
TT_INLINE Vec<double> load_packed(const double* p) { return load(p); }
#ifdef TT_BF16_DOT
TT_INLINE Vec<float> load_packed(const Pair* p) { return load((const float*)p); }
TT_INLINE Vec<float> madd(Pair a, Vec<float> b, Vec<float> c) {
    return (Vec<float>)_mm512_dpbf16_ps((__m512)c, (__m512bh)_mm512_set1_epi32(int(a.bits)),
                                      (__m512bh)b);
}
#endif

TT_INLINE int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

// ---- Sizes.

// The sums of a tile take 24 of 32 registers with AVX-512, else 12 of 16. The others are for a row
// of the packed B and an element of A.
constexpr int ROWS = 6, VECTORS = BYTES == 64 ? 4 : 2;
// The depth of a block in packed elements: 1 KiB of each row.
template <class P>
constexpr int KC = 1024 / int(sizeof(P));
// The distance of rows in a packed block of A is slightly more than a power of two, so that rows do
// not compete for the same cache set.
template <class P>
constexpr int KSTRIDE = KC<P> + 64 / int(sizeof(P));
constexpr int MC = 96;
// Of a transposed A, so many neighbouring elements are read at a time: many whole cache lines.
constexpr int MC_TRANSPOSED = 192, LINE_STEP = 48;
// How many steps ahead a copy of columns prefetches. Each step may lie in another page, where the
// processor's own prefetcher stops.
constexpr int AHEAD = 8;
// The size of the packed B in one pass. With more columns in a pass, A is packed less often. With
// few rows (less than MANY) packing A is cheap, and B should stay in the L2 cache.
constexpr int64_t B_BYTES = 16 << 20, B_BYTES_FEW = 512 << 10, MANY = 256;

template <class S>
struct View {
    const S* data;
    int64_t row, col;
    const S* at(int64_t i, int64_t j) const { return data + i * row + j * col; }
};

}  // namespace gemm
}  // namespace throughtime
