// Copies of A and B in the order in which the register tile reads them.
#pragma once

#include <string.h>

#include "gemm_types.hpp"

namespace throughtime {
namespace gemm {

template <class S, class P>
struct Pack {
    static constexpr int WIDE = 0;
    TT_INLINE P one(const S* x, int64_t, int64_t) { return P(widen(*x)); }
};
template <class T>
struct Pack<T, T> {
    static constexpr int WIDE = Simd<T>::LANES >= ROWS ? Simd<T>::LANES : 0;
    TT_INLINE T one(const T* x, int64_t, int64_t) { return *x; }
    TT_INLINE void wide(const T* x, int64_t, int64_t, T* y) { store(y, load(x)); }
};
template <>
struct Pack<bfloat16, Pair> {
    static constexpr int WIDE = 8;
    TT_INLINE void wide(const bfloat16* x, int64_t step, int64_t left, Pair* y) {
        typedef uint16_t Half __attribute__((vector_size(16)));
        typedef uint32_t Word __attribute__((vector_size(32)));
        Half low, high = {};
        memcpy(&low, x, sizeof low);
        if (left > 1) memcpy(&high, x + step, sizeof high);
        Word both = __builtin_convertvector(low, Word) | __builtin_convertvector(high, Word) << 16;
        memcpy(y, &both, sizeof both);
    }
    TT_INLINE Pair one(const bfloat16* x, int64_t step, int64_t left) {
        return {x[0].bits | (left > 1 ? uint32_t(x[step].bits) << 16 : 0)};
    }
};

// Packs rows [0, rows) and depth [0, k) of `a` (k in stored elements) in groups of ROWS rows. Reads
// up to `rows_there` rows, because it reads whole vectors.
template <class S, class P>
static void pack_a(View<S> a, int rows, int64_t rows_there, int64_t k, P* out) {
    constexpr int D = DEPTH<P>;
    const int64_t depth = (k + D - 1) / D;
    if (a.col == 1) {
        for (int i = 0; i < rows; ++i) {
            const S* x = a.at(i, 0);
            P* y = out + int64_t(i) * KSTRIDE<P>;
            if constexpr (sizeof(S) * D == sizeof(P)) {
                memcpy(y, x, k * sizeof(S));
                if (k % D) y[depth - 1] = Pack<S, P>::one(x + k - 1, 1, 1);
            } else {
                for (int64_t j = 0; j < k; ++j) y[j] = Pack<S, P>::one(x + j, 1, 1);
            }
        }
        return;
    }
    for (int64_t j = 0; j < depth; ++j) {
        const S* x = a.at(0, j * D);
        const int64_t left = k - j * D;
        int i = 0;
        if (a.row == 1) {
            if (left > AHEAD * D)
                for (int l = 0; l < rows; l += 64 / int(sizeof(S)))
                    __builtin_prefetch(x + AHEAD * D * a.col + l);
            // A whole vector is stored although only ROWS elements are needed; the store for the
            // next depth overwrites the rest.
            if constexpr (Pack<S, P>::WIDE > 0)
                for (; i + ROWS <= rows && i + Pack<S, P>::WIDE <= rows_there; i += ROWS)
                    Pack<S, P>::wide(x + i, a.col, left,
                                     out + (int64_t(i) * KSTRIDE<P> + j * ROWS));
            for (; i + ROWS <= rows; i += ROWS) {
                P* y = out + (int64_t(i) * KSTRIDE<P> + j * ROWS);
#pragma GCC unroll 16
                for (int r = 0; r < ROWS; ++r) y[r] = Pack<S, P>::one(x + i + r, a.col, left);
            }
        }
        for (; i < rows; ++i)
            out[int64_t(i / ROWS) * ROWS * KSTRIDE<P> + j * ROWS + i % ROWS] =
                Pack<S, P>::one(x + i * a.row, a.col, left);
    }
}

// Packs columns [0, cols) of `b`, at all depths, as [k][V * LANES], with zeros beyond `cols`.
template <class S, class P, int V>
static void pack_b(View<S> b, int cols, int64_t k, P* out) {
    using T = typename Storage<S>::Sum;
    constexpr int D = DEPTH<P>, L = Simd<T>::LANES, W = V * L;
    const int64_t depth = (k + D - 1) / D;
    int64_t done = 0;
    if (b.row == 1 && sizeof(S) * D == sizeof(P)) {
        // Transposes squares in vector registers; a Pair is moved like one float.
        done = k / D / L * L;
        for (int v = 0; v < V; ++v) {
            const int here = cols - v * L < L ? cols - v * L : L;
            if (here < L)
                for (int64_t j = 0; j < done; ++j) memset(out + j * W + v * L, 0, BYTES);
            if (here == L)
                for (int64_t j = 0; j < done; j += L) {
                    Vec<T> x[L];
                    const S* from = b.at(j * D, v * L);
#pragma GCC unroll 16
                    for (int l = 0; l < L; ++l) memcpy(&x[l], from + l * b.col, BYTES);
                    transpose<T>(x);
#pragma GCC unroll 16
                    for (int l = 0; l < L; ++l) memcpy(out + (j + l) * W + v * L, &x[l], BYTES);
                }
            else
                for (int l = 0; l < here; ++l) {
                    const S* from = b.at(0, v * L + l);
                    P* to = out + v * L + l;
                    for (int64_t j = 0; j < done; ++j)
                        to[j * W] = Pack<S, P>::one(from + j * D, 1, D);
                }
        }
    }
    for (int64_t j = done; j < depth; ++j) {
        const S* x = b.at(j * D, 0);
        P* y = out + j * W;
        const int64_t left = k - j * D;
        if (b.col == 1 && left > AHEAD * D)
#pragma GCC unroll 4
            for (int i = 0; i < W; i += 64 / int(sizeof(S)))
                for (int d = 0; d < D; ++d) __builtin_prefetch(x + (AHEAD * D + d) * b.row + i);
        if (cols == W && b.col == 1)
            for (int i = 0; i < W; ++i) y[i] = Pack<S, P>::one(x + i, b.row, left);
        else {
            for (int i = 0; i < cols; ++i) y[i] = Pack<S, P>::one(x + i * b.col, b.row, left);
            for (int i = cols; i < W; ++i) y[i] = P{};
        }
    }
}

}  // namespace gemm
}  // namespace throughtime
