// What is stored, what is packed and what is summed in a product, and the sizes of its blocks.
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

// The sums of a tile fill the registers but for a row of B and what is being multiplied: 24 of 32
// with AVX-512, 12 of 16 else.
constexpr int ROWS = 6, VECTORS = BYTES == 64 ? 4 : 2;
// Packed depth of a block: 4 bytes each (a Pair is 4 bytes).
template <class P>
constexpr int KC = 1024 / int(sizeof(P));
// Rows of a packed block of A lie a little more than a power of two apart: they share no cache set.
template <class P>
constexpr int KSTRIDE = KC<P> + 64 / int(sizeof(P));
constexpr int MC = 96;
// A transposed A is read in runs of this many: whole cache lines, many of them.
constexpr int MC_TRANSPOSED = 192, LINE_STEP = 48;
// Steps that a copy of columns fetches ahead: each lies in a page of its own.
constexpr int AHEAD = 8;
// Memory for the packed B. The more columns a pass has, the less often A is packed; with few rows
// that costs nothing, and B had better stay in the L2 cache.
constexpr int64_t B_BYTES = 16 << 20, B_BYTES_FEW = 512 << 10, MANY = 256;

template <class S>
struct View {
    const S* data;
    int64_t row, col;
    const S* at(int64_t i, int64_t j) const { return data + i * row + j * col; }
};

}  // namespace gemm
}  // namespace throughtime
