// The register tile: a few rows of the packed A times a few vectors of columns of the packed B.
#pragma once

#include "gemm_types.hpp"

namespace throughtime {
namespace gemm {

// The next smaller number of rows of a tile: 6, 4, 2, 1.
constexpr int fewer(int r) { return r > 2 ? r - 2 : 1; }
// The rows of the largest tile that fits into the remaining rows of a block.
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
    bool add;       // whether the product is added to C
    int cols;
};

// Computes one tile. With BY_K the packed A is [row][k], else [k][row].
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

}  // namespace gemm
}  // namespace throughtime
