// C (M,N) = [0 | bias | C] + A (M,K) · B (K,N), for any row and column strides of A and B.
//
// The structure is Goto's (ACM TOMS 34(3), 2008): B is copied once into panels of a few vectors,
// A in blocks that stay in the L2 cache, and one register tile of ROWS x VECTORS sums along K.
// Each element of C is added up along K in an order that depends on the shape alone, so that the
// number of threads never changes a bit of the result.
//
// Callers use only `gemm::product`. C must not overlap A, B or the bias.
#pragma once

#include <sched.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gemm_few.hpp"
#include "gemm_pack.hpp"
#include "gemm_tile.hpp"
#include "thread_memory.hpp"

#ifdef _OPENMP
extern "C" int omp_get_thread_num(void);
#endif

namespace throughtime {
namespace gemm {

// ---- The whole product.

// The progress of one pass over columns: how many panels and tasks were taken, and were finished.
// Threads take work one piece at a time, so that a thread whose core is busy delays no other one:
// the others do its share.
struct Pass {
    int64_t pack, packed, task, done;
    char pad[32];
};

TT_INLINE int64_t take(int64_t* x) { return __atomic_fetch_add(x, 1, __ATOMIC_RELAXED); }
TT_INLINE void finish(int64_t* x) { __atomic_fetch_add(x, 1, __ATOMIC_RELEASE); }

// Waits until *x reaches `all`. It yields after a while: with more threads than cores, the thread
// that it waits for may need this core.
TT_INLINE void wait_for(const int64_t* x, int64_t all) {
    for (int64_t spins = 0; __atomic_load_n(x, __ATOMIC_ACQUIRE) < all; ++spins)
        if (spins > 2000) sched_yield();
}

template <class S, class O>
struct Product {
    using P = typename Storage<S>::Packed;
    using T = typename Storage<S>::Sum;
    static constexpr int L = Simd<T>::LANES, W = VECTORS * L;
    // The number of vectors of a panel with `cols` columns; there is no tile of 3 vectors.
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
            // The next pass overwrites the panels that this one reads.
            wait_for(&now->done, tasks);
        }
    }
};

// ---- Which way, on how many threads, in which memory.

template <class Q>
TT_INLINE void run(Q& q, int threads) {
    (void)threads;
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads(threads)
        q.work(omp_get_thread_num());
        return;
    }
#endif
    q.work(0);
}

static thread_local Scratch scratch_of_thread;

// Returns 0, or 1 if memory could not be allocated. The bias has type S, or the type of the sums if
// bias_is_sum. Uses at most `threads` threads; with 1 it enters no parallel region, and is safe in
// a forked child. Scratch memory is kept for the next call of this thread.
template <class S, class O>
static int product(int64_t m, int64_t n, int64_t k, View<S> a, View<S> b, O* c, int64_t ldc,
                   const void* bias, bool bias_is_sum, bool accumulate, int threads) {
    using Q = Product<S, O>;
    using P = typename Q::P;
    using T = typename Q::T;
    if (m <= 0 || n <= 0) return 0;
    // With less work than this per thread, starting a thread takes longer than it saves.
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
    // Several blocks for each thread, so that threads finish at about the same time. Blocks of a
    // transposed A consist of whole cache lines.
    const int64_t step = a.row == 1 ? LINE_STEP : ROWS, most = a.row == 1 ? MC_TRANSPOSED : MC;
    int64_t blocks = (m + most - 1) / most;
    if (threads > 1 && blocks < 6 * threads && m >= MANY) {
        const int64_t least = m / LINE_STEP < 3 * threads ? m / LINE_STEP : 3 * threads;
        blocks = up(blocks > least ? blocks : least, threads);
    }
    q.mc = up((m + blocks - 1) / blocks, step);
    blocks = (m + q.mc - 1) / q.mc;
    // With few blocks of rows the columns are divided among tasks too.
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
