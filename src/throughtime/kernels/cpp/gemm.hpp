// C (M,N) = [0 | bias | C] + A (M,K) · B (K,N), for any row and column strides of A and B.
//
// The structure is Goto's (ACM TOMS 34(3), 2008): B is copied once into panels of a few vectors,
// A in blocks that stay in the L2 cache, and one register tile of ROWS x VECTORS sums along K.
// Each element of C is added up along K in an order that depends on the shape alone, so that the
// number of threads never changes a bit of the result.
//
// Outside `gemm::product` nothing is meant to be called. C must not overlap A, B or the bias.
#pragma once

#include <sched.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "simd.hpp"

#if defined(__AVX512BF16__) && TT_VECTOR_BYTES == 64
#define TT_BF16_DOT 1
#include <immintrin.h>
#endif

#ifdef _OPENMP
extern "C" int omp_get_thread_num(void);
#endif

namespace throughtime {
namespace gemm {

// ---- What is stored, what is packed, what is summed.

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

// ---- The register tile.

// The tile that is tried after one of r rows: 6, 4, 2, 1.
constexpr int fewer(int r) { return r > 2 ? r - 2 : 1; }
// The largest tile for what is left of a block's rows.
TT_INLINE int rows_of_tile(int left) {
    int r = ROWS;
    while (r > left) r = fewer(r);
    return r;
}

template <class P, class T>
struct Tile {
    int64_t depth;
    const P* a;
    const P* b;
    T* c;
    int64_t ldc;
    const T* bias;  // of these columns, or null
    bool add;       // to what C holds
    int cols;
};

// BY_K: A lies as [row][k], else as [k][row].
template <class P, class T, int R, int V, bool BY_K>
__attribute__((noinline)) static void tile(const Tile<P, T>& t) {
    constexpr int L = Simd<T>::LANES;
    constexpr int RS = BY_K ? KSTRIDE<P> : 1, KS = BY_K ? 1 : ROWS;
    Vec<T> sum[R][V];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) sum[r][v] = Vec<T>{};
    const P* a = t.a;
    const P* b = t.b;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) __builtin_prefetch(t.c + r * t.ldc, 1);
#pragma GCC unroll 2
    for (int64_t k = t.depth; k > 0; --k) {
        Vec<T> column[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) column[v] = load_packed(b + v * L);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sum[r][v] = madd(a[r * RS], column[v], sum[r][v]);
        a += KS;
        b += V * L;
    }
    if (t.bias) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
            Vec<T> x = load(t.bias + v * L);
#pragma GCC unroll 16
            for (int r = 0; r < R; ++r) sum[r][v] += x;
        }
    }
    if (t.cols == V * L) {
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) {
                T* c = t.c + r * t.ldc + v * L;
                store(c, t.add ? load((const T*)c) + sum[r][v] : sum[r][v]);
            }
        return;
    }
    T edge[R * V * L];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) store(edge + (r * V + v) * L, sum[r][v]);
    for (int r = 0; r < R; ++r)
        for (int j = 0; j < t.cols; ++j) {
            T* c = t.c + r * t.ldc + j;
            *c = t.add ? *c + edge[r * V * L + j] : edge[r * V * L + j];
        }
}

template <class P, class T, int V, bool BY_K, int R = ROWS>
TT_INLINE void tile_of(int vectors, int rows, const Tile<P, T>& t) {
    if (V > 1 && vectors < V)
        tile_of<P, T, (V > 2 ? 2 : 1), BY_K, R>(vectors, rows, t);
    else if (R > 1 && rows < R)
        tile_of<P, T, V, BY_K, fewer(R)>(V, rows, t);
    else
        tile<P, T, R, V, BY_K>(t);
}

// ---- Packing.

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

// Rows [0, rows) and depth [0, k) of `a` (k in stored elements), in groups of ROWS rows.
// More than `rows` may be read, up to `rows_there`.
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
            // A whole vector is stored where ROWS elements are wanted: the next depth overwrites
            // the rest.
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

// Columns [0, cols) of `b`, all of its depth, as [k][V * LANES], zeros beyond `cols`.
template <class S, class P, int V>
static void pack_b(View<S> b, int cols, int64_t k, P* out) {
    using T = typename Storage<S>::Sum;
    constexpr int D = DEPTH<P>, L = Simd<T>::LANES, W = V * L;
    const int64_t depth = (k + D - 1) / D;
    int64_t done = 0;
    if (b.row == 1 && sizeof(S) * D == sizeof(P)) {
        // Whole squares by vectors; the bits of a Pair travel as a float.
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

// ---- The whole product.

// What the threads of one pass over columns have taken and done. A thread waits for work, never
// for threads: one that comes late, because its core is busy, finds its share done by the others.
struct Pass {
    int64_t pack, packed, task, done;
    char pad[32];
};

TT_INLINE int64_t take(int64_t* x) { return __atomic_fetch_add(x, 1, __ATOMIC_RELAXED); }
TT_INLINE void finish(int64_t* x) { __atomic_fetch_add(x, 1, __ATOMIC_RELEASE); }

// Where there are more threads than cores, whom we wait for may need this core.
TT_INLINE void wait_for(const int64_t* x, int64_t all) {
    for (int64_t spins = 0; __atomic_load_n(x, __ATOMIC_ACQUIRE) < all; ++spins)
        if (spins > 2000) sched_yield();
}

template <class S, class O>
struct Product {
    using P = typename Storage<S>::Packed;
    using T = typename Storage<S>::Sum;
    static constexpr int L = Simd<T>::LANES, W = VECTORS * L;
    // Vectors of a last panel that is narrower: there is no tile of 3.
    static int width_of(int64_t cols) { return cols <= L ? 1 : cols <= 2 * L ? 2 : VECTORS; }
    static constexpr bool DIRECT = sizeof(O) == sizeof(T);

    int64_t m, n, k;
    View<S> a, b;
    O* c;
    int64_t ldc;
    const T* bias;  // padded to whole panels
    bool accumulate;

    int64_t nc, mc, group;  // columns per pass, rows and columns per task
    P* packed_b;
    char* own;  // of each thread: a block of A, a block of sums
    int64_t own_bytes;
    Pass* passes;

    int64_t depth() const { return (k + DEPTH<P> - 1) / DEPTH<P>; }

    void task(int64_t i0, int64_t j0, int64_t pass, int64_t width, P* block, T* sums) {
        const int rows = int(m - i0 < mc ? m - i0 : mc);
        const int64_t cols = width - j0 < group ? width - j0 : group;
        const int64_t all = depth();
        T* out = sums;
        int64_t ld = group;
        if constexpr (DIRECT) {
            out = c + i0 * ldc + pass + j0;
            ld = ldc;
        }
        const bool by_k = a.col == 1;
        for (int64_t p = 0; p < all || p == 0; p += KC<P>) {
            const int64_t depth = all - p < KC<P> ? all - p : KC<P>;
            const int64_t from = p * DEPTH<P>, most = KC<P> * DEPTH<P>;
            pack_a<S, P>({a.at(i0, from), a.row, a.col}, rows, m - i0,
                         k - from < most ? k - from : most, block);
            for (int64_t j = 0; j < cols; j += W) {
                Tile<P, T> t;
                t.depth = depth;
                t.ldc = ld;
                t.bias = bias && p == 0 ? bias + pass + j0 + j : nullptr;
                t.add = p > 0 || (DIRECT && accumulate);
                t.cols = int(cols - j < W ? cols - j : W);
                const int vectors = width_of(t.cols);
                t.b = packed_b + (j0 + j) * all + p * vectors * L;
                for (int i = 0, r; i < rows; i += r) {
                    r = rows_of_tile(rows - i);
                    t.a = block + int64_t(i / ROWS) * ROWS * KSTRIDE<P> +
                          i % ROWS * (by_k ? KSTRIDE<P> : 1);
                    t.c = out + i * ld + j;
                    if (by_k)
                        tile_of<P, T, VECTORS, true>(vectors, r, t);
                    else
                        tile_of<P, T, VECTORS, false>(vectors, r, t);
                }
            }
        }
        if constexpr (!DIRECT) {
            for (int i = 0; i < rows; ++i) {
                O* y = c + (i0 + i) * ldc + pass + j0;
                const T* x = sums + i * group;
                int64_t j = 0;
                for (; j + L <= cols; j += L)
                    store(y + j, accumulate ? load((const O*)y + j) + load(x + j) : load(x + j));
                if (j < cols) {
                    O edge[L];
                    memset(edge, 0, sizeof edge);
                    memcpy(edge, y + j, (cols - j) * sizeof(O));
                    store(edge, accumulate ? load((const O*)edge) + load(x + j) : load(x + j));
                    memcpy(y + j, edge, (cols - j) * sizeof(O));
                }
            }
        }
    }

    void work(int me) {
        P* block = (P*)(own + me * own_bytes);
        T* sums = (T*)(block + (mc + ROWS) * KSTRIDE<P>);
        Pass* now = passes;
        for (int64_t pass = 0; pass < n; pass += nc, ++now) {
            const int64_t width = n - pass < nc ? n - pass : nc;
            const int64_t panels = (width + W - 1) / W;
            for (int64_t q; (q = take(&now->pack)) < panels;) {
                const int cols = int(width - q * W < W ? width - q * W : W);
                const View<S> part = {b.at(0, pass + q * W), b.row, b.col};
                P* to = packed_b + q * W * depth();
                if (width_of(cols) == 1)
                    pack_b<S, P, 1>(part, cols, k, to);
                else if (width_of(cols) == 2)
                    pack_b<S, P, 2>(part, cols, k, to);
                else
                    pack_b<S, P, VECTORS>(part, cols, k, to);
                finish(&now->packed);
            }
            wait_for(&now->packed, panels);
            const int64_t across = (width + group - 1) / group, tasks = (m + mc - 1) / mc * across;
            for (int64_t x; (x = take(&now->task)) < tasks;) {
                task(x / across * mc, x % across * group, pass, width, block, sums);
                finish(&now->done);
            }
            // The next pass packs over what this one reads.
            wait_for(&now->done, tasks);
        }
    }
};

// ---- Few rows: nothing is packed, because a copy of B would cost more than the product.

TT_INLINE void put(float* c, float x) { *c = x; }
TT_INLINE void put(double* c, double x) { *c = x; }
TT_INLINE void put(bfloat16* c, float x) { *c = to_bfloat16(x); }

// One vector of neighbours along K, and the sum of products of two such.
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
    // Most rows and columns of one call; what is held in registers follows from them.
    static constexpr int R = WIDE ? 4 : 2, C = 4, HELD = WIDE ? 16 : 8;
    // Columns of one task: a few rows of sums, or of B transposed, that stay in the L1 cache.
    static constexpr int64_t GROUP = 256;

    int64_t m, n, k;
    View<S> a, b;
    O* c;
    int64_t ldc;
    const void* bias;
    bool bias_is_sum, accumulate;
    T* rows;  // of each thread: m x GROUP sums
    int64_t* ticket;

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
                        // The same column four times: its sums keep their order.
                        T same[R * C];
                        dots_of<S, R>(rows, k, a.at(i, 0), a.row, b.at(0, j + x), 0, same);
                        for (int r = 0; r < rows; ++r) out[r * C + x] = same[r * C + x];
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
        const int64_t group = b.row == 1 ? 32 : GROUP;
        while (true) {
            const int64_t j = __atomic_fetch_add(ticket, 1, __ATOMIC_RELAXED) * group;
            if (j >= n) return;
            const int64_t to = n - j < group ? n : j + group;
            if (b.row == 1)
                by_dots(j, to);
            else
                by_rows(j, to, rows + me * m * GROUP);
        }
    }
};

// Up to this many rows of A; measured. The dot product of bfloat16 needs pairs along K, so that
// rows of B have to be widened.
constexpr int FEW_DOTS = 16;
template <class S>
constexpr int FEW_ROWS = DEPTH<typename Storage<S>::Packed> > 1 ? 4 : 16;

template <class Q>
TT_INLINE void run(Q& q, int threads) {
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        q.work(omp_get_thread_num());
        return;
    }
#endif
    q.work(0);
}

// What a thread of the caller keeps for its next product: fresh memory costs as much as copying
// to it several times.
struct Scratch {
    static constexpr int64_t KEPT = 32 << 20;
    char* data = nullptr;
    int64_t size = 0;

    char* get(int64_t bytes) {
        if (bytes > size) {
            free(data);
            size = up(bytes, 1 << 16);
            data = (char*)aligned_alloc(64, size);
            if (!data) size = 0;
        }
        return data;
    }
    void trim() {
        if (size <= KEPT) return;
        free(data);
        data = nullptr;
        size = 0;
    }
    ~Scratch() { free(data); }
};
static thread_local Scratch scratch_of_thread;

// Returns 0, or 1 when there is no memory. The bias is of type S, or of the sums' if it says so.
// At most `threads` threads; 1 enters no parallel region, and so is safe in a forked child.
// Scratch is kept for the next call of this thread.
template <class S, class O>
static int product(int64_t m, int64_t n, int64_t k, View<S> a, View<S> b, O* c, int64_t ldc,
                   const void* bias, bool bias_is_sum, bool accumulate, int threads) {
    using Q = Product<S, O>;
    using P = typename Q::P;
    using T = typename Q::T;
    if (m <= 0 || n <= 0) return 0;
    // Below this much work a thread costs more than it brings.
    const int64_t enough = int64_t(double(m) * double(n) * double(k) / (1 << 19));
    if (threads > enough) threads = enough < 1 ? 1 : int(enough);
    Scratch& scratch = scratch_of_thread;
    if (b.row == 1 && a.col == 1 ? m <= FEW_DOTS : b.col == 1 && m <= FEW_ROWS<S>) {
        using F = Few<S, O>;
        F f = {m, n, k, a, b, c, ldc, bias, bias_is_sum, accumulate, nullptr, nullptr};
        f.rows = (T*)scratch.get(threads * m * F::GROUP * sizeof(T) + 64);
        if (!f.rows) return 1;
        f.ticket = (int64_t*)(f.rows + threads * m * F::GROUP);
        *f.ticket = 0;
        run(f, threads);
        return 0;
    }
    Q q;
    q.m = m, q.n = n, q.k = k, q.a = a, q.b = b, q.c = c, q.ldc = ldc;
    q.accumulate = accumulate;
    const int64_t depth = q.depth() > 0 ? q.depth() : 1;
    const int64_t panels = up(n, Q::W) / Q::W;
    int64_t per = B_BYTES;
    if (m < MANY && threads * B_BYTES_FEW < per) per = threads * B_BYTES_FEW;
    per /= depth * Q::W * int64_t(sizeof(P));
    per = per < 2 * threads ? 2 * threads : per;
    const int64_t passes = (panels + per - 1) / per;
    per = (panels + passes - 1) / passes;
    q.nc = per * Q::W;
    // Several blocks for each thread, so that none waits long for the last; of a transposed A
    // whole cache lines.
    const int64_t step = a.row == 1 ? LINE_STEP : ROWS, most = a.row == 1 ? MC_TRANSPOSED : MC;
    int64_t blocks = (m + most - 1) / most;
    if (threads > 1 && blocks < 6 * threads && m >= MANY) {
        const int64_t least = m / LINE_STEP < 3 * threads ? m / LINE_STEP : 3 * threads;
        blocks = up(blocks > least ? blocks : least, threads);
    }
    q.mc = up((m + blocks - 1) / blocks, step);
    blocks = (m + q.mc - 1) / q.mc;
    // With few blocks the columns are divided too.
    int64_t across = blocks < 3 * threads ? (2 * threads + blocks - 1) / blocks : 1;
    if (!Q::DIRECT && across < (q.nc + 511) / 512) across = (q.nc + 511) / 512;
    q.group = (per + across - 1) / across * Q::W;
    const int64_t bytes_a = up((q.mc + ROWS) * KSTRIDE<P> * sizeof(P), 64);
    q.own_bytes = up(bytes_a + (Q::DIRECT ? 0 : q.mc * q.group * sizeof(T)), 4096) + 256;
    const int64_t bytes_b = up(depth * q.nc * sizeof(P), 64);
    const int64_t bytes_bias = bias ? up(panels * Q::W * sizeof(T), 64) : 0;
    const int64_t bytes_passes = passes * sizeof(Pass);
    char* memory = scratch.get(bytes_b + threads * q.own_bytes + bytes_bias + bytes_passes);
    if (!memory) return 1;
    q.packed_b = (P*)memory;
    q.own = memory + bytes_b;
    T* sums = (T*)(q.own + threads * q.own_bytes);
    q.passes = (Pass*)((char*)sums + bytes_bias);
    memset(q.passes, 0, bytes_passes);
    q.bias = nullptr;
    if (bias) {
        for (int64_t j = 0; j < panels * Q::W; ++j)
            sums[j] = j >= n        ? T(0)
                      : bias_is_sum ? ((const T*)bias)[j]
                                    : T(widen(((const S*)bias)[j]));
        q.bias = sums;
    }
    run(q, threads);
    scratch.trim();
    return 0;
}

}  // namespace gemm
}  // namespace throughtime
