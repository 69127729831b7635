// The product where A has few rows: nothing is packed, because a copy of B would cost more than
// the product.
#pragma once

#include <string.h>

#include "gemm_types.hpp"

namespace throughtime {
namespace gemm {

TT_INLINE void put(float* c, float x) { *c = x; }
TT_INLINE void put(double* c, double x) { *c = x; }
TT_INLINE void put(bfloat16* c, float x) { *c = to_bfloat16(x); }

// Reads a vector of neighbours along K, and adds the products of two such vectors to a sum.
template <class S>
struct Along {
    using T = typename Storage<S>::Sum;
    static constexpr int STEP = Simd<T>::LANES;
    TT_INLINE Vec<T> read(const S* x) { return load(x); }
    TT_INLINE Vec<T> madd(Vec<T> a, Vec<T> b, Vec<T> sum) { return a * b + sum; }
};
#ifdef TT_BF16_DOT
template <>
struct Along<bfloat16> {
    static constexpr int STEP = 32;
    TT_INLINE Vec<float> read(const bfloat16* x) { return load((const float*)x); }
    TT_INLINE Vec<float> madd(Vec<float> a, Vec<float> b, Vec<float> sum) {
        return (Vec<float>)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
    }
};
#endif

// The first `n` elements at `x`, zeros after them.
template <class S>
TT_INLINE Vec<typename Storage<S>::Sum> read_first(const S* x, int64_t n) {
    S edge[Along<S>::STEP];
    memset(edge, 0, sizeof edge);
    memcpy(edge, x, n * sizeof(S));
    return Along<S>::read(edge);
}

// The sums of the lanes of four vectors.
template <class T>
TT_INLINE void sum4(const Vec<T>* x, T* out) {
    constexpr int L = Simd<T>::LANES;
    if constexpr (L % 4 == 0) {
        Signed<T> even, odd, low, high;
#pragma GCC unroll 16
        for (int l = 0; l < L; ++l) {
            even[l] = l % 2 ? L + l - 1 : l;
            odd[l] = l % 2 ? L + l : l + 1;
            low[l] = l & 2 ? L + l - 2 : l;
            high[l] = l & 2 ? L + l : l + 2;
        }
        Vec<T> a = shuffle(x[0], x[1], even) + shuffle(x[0], x[1], odd);
        Vec<T> b = shuffle(x[2], x[3], even) + shuffle(x[2], x[3], odd);
        a = shuffle(a, b, low) + shuffle(a, b, high);
        typedef T Four __attribute__((vector_size(4 * sizeof(T))));
        Four part[L / 4];
        memcpy(part, &a, BYTES);
#pragma GCC unroll 2
        for (int half = L / 8; half > 0; half /= 2)
#pragma GCC unroll 2
            for (int i = 0; i < half; ++i) part[i] += part[i + half];
        memcpy(out, part, sizeof part[0]);
    } else {
        for (int i = 0; i < 4; ++i) out[i] = sum(x[i]);
    }
}

// R rows of A against C rows of the transposed B: each element is one sum of vectors along K.
template <class S, int R, int C>
__attribute__((noinline)) static void dots(int64_t k, const S* a, int64_t a_row, const S* b,
                                           int64_t b_col, typename Storage<S>::Sum* out) {
    using T = typename Storage<S>::Sum;
    constexpr int STEP = Along<S>::STEP;
    Vec<T> sums[R * C];
#pragma GCC unroll 16
    for (int i = 0; i < R * C; ++i) sums[i] = Vec<T>{};
    int64_t p = 0;
    for (; p + STEP <= k; p += STEP) {
        Vec<T> x[R];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) x[r] = Along<S>::read(a + r * a_row + p);
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) {
            Vec<T> y = Along<S>::read(b + c * b_col + p);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) sums[r * C + c] = Along<S>::madd(x[r], y, sums[r * C + c]);
        }
    }
    if (p < k) {
        Vec<T> x[R];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) x[r] = read_first(a + r * a_row + p, k - p);
#pragma GCC unroll 16
        for (int c = 0; c < C; ++c) {
            Vec<T> y = read_first(b + c * b_col + p, k - p);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) sums[r * C + c] = Along<S>::madd(x[r], y, sums[r * C + c]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < R * C; i += 4) sum4<T>(sums + i, out + i);
}

template <class S, int R>
TT_INLINE void dots_of(int rows, int64_t k, const S* a, int64_t a_row, const S* b, int64_t b_col,
                       typename Storage<S>::Sum* out) {
    if constexpr (R == 1)
        dots<S, 1, 4>(k, a, a_row, b, b_col, out);
    else if (rows == R)
        dots<S, R, 4>(k, a, a_row, b, b_col, out);
    else
        dots_of<S, R - 1>(rows, k, a, a_row, b, b_col, out);
}

// y (R rows) += A (R, DEEP) B (DEEP, n), with all of A in registers.
template <class S, int R, int DEEP>
__attribute__((noinline)) static void axpy(int64_t n, View<S> a, const S* b, int64_t b_row,
                                           typename Storage<S>::Sum* y, int64_t ldy) {
    using T = typename Storage<S>::Sum;
    constexpr int L = Simd<T>::LANES;
    Vec<T> x[R][DEEP];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
        for (int d = 0; d < DEEP; ++d) x[r][d] = splat<T>(widen(*a.at(r, d)));
    int64_t j = 0;
    for (; j + L <= n; j += L) {
        Vec<T> sums[R];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) sums[r] = load((const T*)y + r * ldy + j);
#pragma GCC unroll 16
        for (int d = 0; d < DEEP; ++d) {
            Vec<T> z = load(b + d * b_row + j);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) sums[r] = x[r][d] * z + sums[r];
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) store(y + r * ldy + j, sums[r]);
    }
    for (; j < n; ++j)
        for (int r = 0; r < R; ++r)
            for (int d = 0; d < DEEP; ++d)
                y[r * ldy + j] += x[r][d][0] * T(widen(b[d * b_row + j]));
}

template <class S, class O>
struct Few {
    using T = typename Storage<S>::Sum;
    static constexpr bool WIDE = BYTES == 64;
    // The largest numbers of rows and columns of one call, limited by the number of registers.
    static constexpr int R = WIDE ? 4 : 2, C = 4, HELD = WIDE ? 16 : 8;
    // The columns of one task: its rows of sums, or of the transposed B, stay in the L1 cache.
    static constexpr int64_t GROUP = 256;

    int64_t m, n, k;
    View<S> a, b;
    O* c;
    int64_t ldc;
    const void* bias;
    bool bias_is_sum, accumulate;
    T* rows;          // m x GROUP sums for each thread
    int64_t* ticket;  // the number of the next task; threads take tasks one by one

    // The value to which the product is added: zero or C, plus the bias.
    T first(int64_t i, int64_t j) const {
        T x = accumulate ? T(widen(c[i * ldc + j])) : T(0);
        if (bias) x += bias_is_sum ? ((const T*)bias)[j] : T(widen(((const S*)bias)[j]));
        return x;
    }

    void by_dots(int64_t from, int64_t to) {
        for (int64_t j = from; j < to; j += C)
            for (int64_t i = 0; i < m; i += R) {
                T out[R * C];
                const int rows = int(m - i < R ? m - i : R), cols = int(to - j < C ? to - j : C);
                if (cols == C)
                    dots_of<S, R>(rows, k, a.at(i, 0), a.row, b.at(0, j), b.col, out);
                else
                    for (int x = 0; x < cols; ++x) {
                        // The same column four times: its elements are summed in the same order
                        // as with four columns, so that the result does not depend on the group.
                        T copies[R * C];
                        dots_of<S, R>(rows, k, a.at(i, 0), a.row, b.at(0, j + x), 0, copies);
                        for (int r = 0; r < rows; ++r) out[r * C + x] = copies[r * C + x];
                    }
                for (int r = 0; r < rows; ++r)
                    for (int x = 0; x < cols; ++x)
                        put(c + (i + r) * ldc + j + x, first(i + r, j + x) + out[r * C + x]);
            }
    }

    template <int H>
    void rows_of(int64_t i, int64_t from, int64_t width, int64_t p, T* y) {
        constexpr int DEEP = HELD / H;
        int64_t q = p;
        for (; q + DEEP <= k && q < p + HELD; q += DEEP)
            axpy<S, H, DEEP>(width, {a.at(i, q), a.row, a.col}, b.at(q, from), b.row, y, GROUP);
        for (; q < k && q < p + HELD; ++q)
            axpy<S, H, 1>(width, {a.at(i, q), a.row, a.col}, b.at(q, from), b.row, y, GROUP);
    }

    void by_rows(int64_t from, int64_t to, T* y) {
        for (int64_t i = 0; i < m; ++i)
            for (int64_t j = from; j < to; ++j) y[i * GROUP + j - from] = first(i, j);
        for (int64_t p = 0; p < k; p += HELD) {
            int64_t i = 0;
            for (; WIDE && i + 4 <= m; i += 4) rows_of<4>(i, from, to - from, p, y + i * GROUP);
            for (; i + 2 <= m; i += 2) rows_of<2>(i, from, to - from, p, y + i * GROUP);
            for (; i < m; ++i) rows_of<1>(i, from, to - from, p, y + i * GROUP);
        }
        for (int64_t i = 0; i < m; ++i)
            for (int64_t j = from; j < to; ++j) put(c + i * ldc + j, y[i * GROUP + j - from]);
    }

    void work(int me) {
        // Whether both operands have neighbours along K in memory.
        const bool along = b.row == 1 && a.col == 1;
        const int64_t group = along ? 32 : GROUP;
        while (true) {
            const int64_t j = __atomic_fetch_add(ticket, 1, __ATOMIC_RELAXED) * group;
            if (j >= n) return;
            const int64_t to = n - j < group ? n : j + group;
            if (along)
                by_dots(j, to);
            else
                by_rows(j, to, rows + me * m * GROUP);
        }
    }
};

// The largest numbers of rows of A for which this is faster than packing, by measurement. Rows of
// bfloat16 in B must be widened, because its dot product needs pairs along K.
constexpr int FEW_DOTS = 16;
template <class S>
constexpr int FEW_ROWS = DEPTH<typename Storage<S>::Packed> > 1 ? 4 : 16;

}  // namespace gemm
}  // namespace throughtime
