// The time loop of a recurrence. The code of a step is generated (see emit.py); the loops over
// steps, rows of the batch and hidden units are here.
//
// A tile is a few rows of the batch times a few vectors of hidden units. The recurrent products of
// all its slots are accumulated in registers, then the pointwise equations run on the sums. Rows
// are split over groups of threads, units over the threads of a group; a thread keeps its share for
// the whole sequence, so that its slice of the weights stays in its cache. Threads of one group
// wait for each other before a product reads units of all of them; groups need not wait.
#pragma once

#include <sched.h>

#include <stddef.h>

#include "ahead.hpp"
#include "simd.hpp"
#include "simd_random.hpp"
#ifdef _OPENMP
#include <omp.h>
#endif

namespace throughtime {

enum Flag : uint8_t {
    START = 1,    // the step starts from the initial state
    END = 2,      // the step is the row's last one
    RESTART = 4,  // the step after it starts from the initial state
    BEFORE = 8,   // no step of the row, but the time before its first step
};

// The arguments of a kernel. Python fills it; context.py declares the same fields in this order.
struct Context {
    int64_t rows, units, width, narrow;  // B, H, H with padding, and P of a projection
    int64_t begin, count, direction;     // `count` steps: begin, begin + direction, …
    int64_t offset, steps;               // step t is step t + offset of a sequence of `steps`
    int64_t reverse, groups, members;    // whether time is reversed; threads: groups x members
    const int32_t* active;               // [t + offset + 1]: how many of the first rows have step
                                         // t; null: all rows
    const uint8_t* flags;                // [t + offset + 1][row]; null: equal for all rows
    const int64_t* order;                // each row's index in the caller's batch; null: the same
    int64_t seed;                        // of the random inputs
    const char* weights;                 // the blocks of R, packed by pack_weights
    char* sums;                          // (groups, number of sums, width)
    char* partials;                      // (rows, number of reductions, tiles)
    Ahead* ahead;                        // for one row: products of later steps; or null
    Array arrays[1];
};

// One step of one thread.
struct Step {
    const Context* call;
    char** view;           // the address of each array at this step
    const uint8_t* flags;  // of each row, or null
    uint8_t flag;          // of all rows, if flags is null
    char* sums;            // of the thread's group
    const uint64_t* keys;  // of each stream of random numbers
    bool turns;            // whether tiles are run through from the last to the first: every other
                           // step does so, because the weights that a step reads last are still in
                           // the first cache when the next one begins
};

TT_INLINE int64_t original(const Step& s, int64_t row) {
    return s.call->order ? s.call->order[row] : row;
}

TT_INLINE uint8_t flag_of(const Step& s, int64_t row) { return s.flags ? s.flags[row] : s.flag; }

// A barrier for the threads of a group. A waiting thread yields its core after a while: with more
// threads than cores the thread that it waits for may need this core.
struct alignas(128) Barrier {
    int arrived = 0;
    int generation = 0;

    void wait(int members) {
        const int mine = __atomic_load_n(&generation, __ATOMIC_RELAXED);
        if (__atomic_add_fetch(&arrived, 1, __ATOMIC_ACQ_REL) == members) {
            __atomic_store_n(&arrived, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&generation, mine + 1, __ATOMIC_RELEASE);
            return;
        }
        for (int spins = 0; __atomic_load_n(&generation, __ATOMIC_ACQUIRE) == mine; ++spins) {
            if (spins < 2048) {
#if defined(__x86_64__) || defined(__i386__)
                __builtin_ia32_pause();
#endif
            } else {
                sched_yield();
            }
        }
    }
};

// How the elements of an operand, of type S, enter a product with weights of type Q: one at a time, or
// in pairs (TOGETHER = 2), which one instruction multiplies and adds.
template <class S, class Q = S> struct Product {
    static constexpr int TOGETHER = 1;
    using Lane = S;
    TT_INLINE Vec<S> spread(const S* a) { return splat<S>(*a); }
    TT_INLINE Vec<S> weights(const S* p) { return load(p); }
    TT_INLINE Vec<S> add(Vec<S> total, Vec<S> a, Vec<S> w) { return total + a * w; }
};

// Weights that are stored in fewer bits than the operand are widened as they are read: outside the
// cache a product takes the time of reading its weights.
template <> struct Product<float, bfloat16> {
    static constexpr int TOGETHER = 1;
    TT_INLINE Vec<float> spread(const float* a) { return splat(*a); }
    TT_INLINE Vec<float> weights(const bfloat16* p) { return load(p); }
    TT_INLINE Vec<float> add(Vec<float> total, Vec<float> a, Vec<float> w) { return total + a * w; }
};

#if defined(__AVX512BW__) && defined(__AVX512VNNI__) && TT_VECTOR_BYTES == 64
#define TT_INTEGER_DOT 1
// See accumulate_integers.
template <> struct Product<float, int8_t> {
    static constexpr int TOGETHER = 2;
};
#else
template <> struct Product<float, int8_t> {
    static constexpr int TOGETHER = 1;
    TT_INLINE Vec<float> spread(const float* a) { return splat(*a); }
    TT_INLINE Vec<float> weights(const int8_t* p) {
        typedef int8_t Bytes __attribute__((vector_size(BYTES / 4)));
        Bytes b;
        memcpy(&b, p, BYTES / 4);
        return __builtin_convertvector(__builtin_convertvector(b, Signed<float>), Vec<float>);
    }
    TT_INLINE Vec<float> add(Vec<float> total, Vec<float> a, Vec<float> w) { return total + a * w; }
};
#endif

template <> struct Product<bfloat16> {
    static constexpr int TOGETHER = 2;
#if defined(__AVX512BF16__) && TT_VECTOR_BYTES == 64
    TT_INLINE Simd<float>::I spread(const bfloat16* a) {
        int32_t both;
        memcpy(&both, a, 4);
        return Simd<float>::I{} + both;
    }
    TT_INLINE Simd<float>::I weights(const bfloat16* p) {
        Simd<float>::I both;
        memcpy(&both, p, BYTES);
        return both;
    }
    TT_INLINE Vec<float> add(Vec<float> total, Simd<float>::I a, Simd<float>::I w) {
        asm("vdpbf16ps %2, %1, %0" : "+v"(total) : "v"(a), "v"(w));
        return total;
    }
#else
    struct Pair {
        Vec<float> low, high;
    };
    TT_INLINE Pair spread(const bfloat16* a) {
        return {splat(to_float(a[0])), splat(to_float(a[1]))};
    }
    TT_INLINE Pair weights(const bfloat16* p) {
        Simd<float>::I both;
        memcpy(&both, p, BYTES);
        const Simd<float>::I low = both << 16, high = both & (Simd<float>::I{} + int32_t(0xffff0000));
        return {(Vec<float>)low, (Vec<float>)high};
    }
    TT_INLINE Vec<float> add(Vec<float> total, Pair a, Pair w) {
        return total + a.low * w.low + a.high * w.high;
    }
#endif
};

template <class S> struct ComputeOf { using T = S; };
template <> struct ComputeOf<bfloat16> { using T = float; };
template <class S> using Compute = typename ComputeOf<S>::T;

template <class A, class B> constexpr bool is_equal = false;
template <class A> constexpr bool is_equal<A, A> = true;

TT_INLINE int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// A weight in the type of packed weights; `inverse` is one divided by its scale.
TT_INLINE void narrow_weight(bfloat16* to, float w, float) { *to = to_bfloat16(w); }
TT_INLINE void narrow_weight(int8_t* to, float w, float inverse) {
    const float q = w * inverse;
    // NaN if the weight or the scale is no number; the scale then makes the result NaN.
    *to = q == q ? int8_t(q < 0 ? q - 0.5f : q + 0.5f) : int8_t(0);
}
// The scale by which the largest of some weights becomes 127.
TT_INLINE float scale_of(float largest) { return largest / 127; }
TT_INLINE float inverse_of(float scale) { return scale == 0 ? 0 : 1 / scale; }
TT_INLINE float larger(float most, float w) {
    const float size = w < 0 ? -w : w;
    return size > most || size != size ? size : most;
}

#ifdef TT_INTEGER_DOT
// Rounds some elements of an operand to integers of 16 bits, whose largest is 32767; returns their
// unit. It is NaN if an element is, which the products then are too.
TT_INLINE float to_integers(const float* a, int64_t count, int16_t* to) {
    constexpr int64_t LANES = Simd<float>::LANES;
    Vec<float> most = {};
    int64_t k = 0;
    for (; k + LANES <= count; k += LANES) most = maximum(most, abs(load(a + k)));
    float largest = 0;
    for (int64_t l = 0; l < LANES; ++l) largest = larger(largest, most[l]);
    for (int64_t rest = k; rest < count; ++rest) largest = larger(largest, a[rest]);
    const float unit = largest / 32767, inverse = inverse_of(unit);
    typedef int16_t Words __attribute__((vector_size(BYTES / 2)));
    for (k = 0; k + LANES <= count; k += LANES) {
        // Added to a number, it leaves the rounded number in the low bits.
        const Vec<float> magic = splat(Simd<float>::MAGIC);
        const Vec<float> moved = load(a + k) * splat(inverse) + magic;
        const auto bits = (Signed<float>)moved - (Signed<float>)magic;
        const Words words = __builtin_convertvector(bits, Words);
        memcpy(to + k, &words, BYTES / 2);
    }
    for (; k < count; ++k) {
        const float q = a[k] * inverse;
        to[k] = q == q ? int16_t(q < 0 ? q - 0.5f : q + 0.5f) : int16_t(0);
    }
    return unit;
}

// What `accumulate` does, with products of integers: of 8 bits for the weights and 16 bits for the
// operand. So many products of the largest integers have a sum of 32 bits.
constexpr int64_t MOST_IN_SUM = 512;

template <int MR, int NV, int WIDTH, int... J>
TT_INLINE const int8_t* accumulate_integers(
    Vec<float> (&acc)[MR][WIDTH], const float* const (&a)[MR], const int8_t* panel, int64_t K) {
    using I = Signed<float>;
    constexpr int N = sizeof...(J) * NV, PARTS = MR * N >= 8 ? 1 : MR * N >= 4 ? 2 : 4;
    constexpr int slots[] = {J...};
    constexpr int64_t PAIR = BYTES / 2;
    for (int64_t from = 0; from < K; from += MOST_IN_SUM) {
        const int64_t count = K - from < MOST_IN_SUM ? K - from : MOST_IN_SUM;
        int16_t q[MR][MOST_IN_SUM + 8];
        float unit[MR];
        for (int m = 0; m < MR; ++m) {
            unit[m] = to_integers(a[m] + from, count, q[m]);
            for (int64_t k = count; k < count + 8; ++k) q[m][k] = 0;
        }
        I total[PARTS][MR][N] = {};
        const auto pair = [&](int part, int64_t k) TT_INSIDE {
            I w[N];
#pragma GCC unroll 32
            for (int n = 0; n < N; ++n) {
                typedef int8_t Half __attribute__((vector_size(BYTES / 2)));
                Half half;
                memcpy(&half, panel + n * PAIR, BYTES / 2);
                asm("vpmovsxbw %1, %0" : "=v"(w[n]) : "v"(half));
            }
#pragma GCC unroll 8
            for (int m = 0; m < MR; ++m) {
                int32_t both;
                memcpy(&both, &q[m][k], 4);
                const I x = I{} + both;
#pragma GCC unroll 32
                for (int n = 0; n < N; ++n)
                    asm("vpdpwssd %2, %1, %0" : "+v"(total[part][m][n]) : "v"(x), "v"(w[n]));
            }
            panel += N * PAIR;
        };
        int64_t k = 0;
        for (; k + 2 * (PARTS - 1) < count; k += 2 * PARTS) {
#pragma GCC unroll 4
            for (int part = 0; part < PARTS; ++part) pair(part, k + 2 * part);
        }
        for (; k < count; k += 2) pair(0, k);
#pragma GCC unroll 8
        for (int m = 0; m < MR; ++m)
#pragma GCC unroll 32
            for (int n = 0; n < N; ++n) {
                I sum = total[0][m][n];
                for (int part = 1; part < PARTS; ++part) sum += total[part][m][n];
                acc[m][slots[n / NV] * NV + n % NV] +=
                    __builtin_convertvector(sum, Vec<float>) * splat(unit[m]);
            }
    }
    return panel;
}
#endif

// acc[m][J NV + v] += a[m] . panel, for the slots J. The panel contains, for each k (for bfloat16:
// each pair of k), NV vectors of units for each slot. With one row it computes what is due of the
// products of later steps as well. Returns the end of the panel.
template <class S, class Q, int MR, int NV, int WIDTH, int... J>
TT_INLINE const Q* accumulate(
    Vec<Compute<S>> (&acc)[MR][WIDTH], const S* const (&a)[MR], const Q* panel, int64_t K,
    Ahead* ahead = nullptr) {
    using P = Product<S, Q>;
#ifdef TT_INTEGER_DOT
    if constexpr (sizeof(Q) == 1) {
        return accumulate_integers<MR, NV, WIDTH, J...>(acc, a, panel, K);
    } else {
#endif
    constexpr int LANES = Simd<Compute<S>>::LANES, N = sizeof...(J) * NV;
    constexpr int slots[] = {J...};
    // An addition to a sum waits for the previous one. If there are few sums, each is split into
    // parts that do not depend on each other.
    constexpr int PARTS = MR * N >= 8 ? 1 : MR * N >= 4 ? 2 : 4;
    constexpr int K1 = P::TOGETHER;
    Vec<Compute<S>> more[PARTS][MR][N] = {};
    int64_t k = 0;
    if constexpr (PARTS == 1) {
#pragma GCC unroll 32
        for (int m = 0; m < MR; ++m)
#pragma GCC unroll 32
            for (int n = 0; n < N; ++n) more[0][m][n] = acc[m][slots[n / NV] * NV + n % NV];
    }
    const auto all_parts = [&]() TT_INSIDE {
#pragma GCC unroll 4
        for (int part = 0; part < PARTS; ++part) {
            const auto spread = [&](int m) TT_INSIDE { return P::spread(a[m] + k + part * K1); };
            const auto weights = [&](int n) TT_INSIDE { return P::weights(panel + n * LANES * K1); };
            const auto add = [&](int m, int n, const auto& x, const auto& w) TT_INSIDE {
                more[part][m][n] = P::add(more[part][m][n], x, w);
            };
            // The fewer of both are kept in registers.
            if constexpr (MR < N) {
                decltype(spread(0)) x[MR];
#pragma GCC unroll 32
                for (int m = 0; m < MR; ++m) x[m] = spread(m);
#pragma GCC unroll 32
                for (int n = 0; n < N; ++n) {
                    auto w = weights(n);
                    if constexpr (MR > 1) keep_in_register(w);
#pragma GCC unroll 32
                    for (int m = 0; m < MR; ++m) add(m, n, x[m], w);
                }
            } else {
                decltype(weights(0)) w[N];
#pragma GCC unroll 32
                for (int n = 0; n < N; ++n) w[n] = weights(n);
#pragma GCC unroll 32
                for (int m = 0; m < MR; ++m) {
                    const auto x = spread(m);
#pragma GCC unroll 32
                    for (int n = 0; n < N; ++n) add(m, n, x, w[n]);
                }
            }
            panel += N * LANES * K1;
        }
        k += PARTS * K1;
    };
    constexpr int LAST = (PARTS - 1) * K1;
    if constexpr (CAN_COMPUTE_AHEAD && MR == 1 && is_equal<S, Q> && is_equal<S, Compute<S>>) {
        while (ahead && k + LAST < K) {
            TileAhead<S> later(*ahead);
            if (later.left <= 0) break;
            while (k + LAST < K && later.left > 0) {
                // These need about as many weights from the cache as can be read while the tile
                // of later steps is multiplied.
                all_parts();
                if (k + LAST < K) all_parts();
                later.multiply();
            }
            later.leave();
        }
    }
    while (k + LAST < K) all_parts();
    if constexpr (PARTS > 1) {
        for (; k < K; k += K1) {
#pragma GCC unroll 32
            for (int n = 0; n < N; ++n) {
                const auto w = P::weights(panel + n * LANES * K1);
#pragma GCC unroll 32
                for (int m = 0; m < MR; ++m)
                    more[0][m][n] = P::add(more[0][m][n], P::spread(a[m] + k), w);
            }
            panel += N * LANES * K1;
        }
    }
#pragma GCC unroll 32
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 32
        for (int n = 0; n < N; ++n) {
            Vec<Compute<S>> total = more[0][m][n];
            if constexpr (PARTS == 1) {
                acc[m][slots[n / NV] * NV + n % NV] = total;
            } else {
#pragma GCC unroll 4
                for (int part = 1; part < PARTS; ++part) total += more[part][m][n];
                acc[m][slots[n / NV] * NV + n % NV] += total;
            }
        }
    return panel;
#ifdef TT_INTEGER_DOT
    }
#endif
}

// Stores a vector of which `left` lanes are units, and zeros in its padding: products over the
// padded width rely on these zeros, and equations do not give zero for zero.
template <class E, class V> TT_INLINE void put(E* p, V v, int64_t left) {
    store(p, left < Simd<Element<V>>::LANES ? keep_first(v, int(left)) : v);
}

// For the maximum of a row: keeps the first n lanes, and sets the others to minus infinity.
template <class V> TT_INLINE V first_or_lowest(V v, int n) {
    // n is negative for a vector that lies wholly in the padding.
    for (int i = n > 0 ? n : 0; i < int(Simd<Element<V>>::LANES); ++i)
        v[i] = -Element<V>(__builtin_inf());
    return v;
}
// The largest lane.
template <class V> TT_INLINE Element<V> largest(V v) {
    Element<V> most = v[0];
    for (int i = 1; i < int(Simd<Element<V>>::LANES); ++i) most = v[i] > most ? v[i] : most;
    return most;
}

// The units of a row that a table names for each unit, summed up; -1 is none.
template <class T>
TT_INLINE Vec<T> gathered(const T* a, const int32_t* at, int64_t terms, int64_t W, int64_t u) {
    Vec<T> total = {};
    for (int64_t k = 0; k < terms; ++k)
        for (int64_t i = 0; i < int64_t(Simd<T>::LANES); ++i) {
            const int32_t unit = at[k * W + u + i];
            if (unit >= 0) total[i] += a[unit];
        }
    return total;
}

// The product of a row with a matrix of weights.
template <class T>
TT_INLINE Vec<T> weighted(const T* a, const T* weights, int64_t terms, int64_t W, int64_t u) {
    Vec<T> total = {};
    for (int64_t k = 0; k < terms; ++k) total += splat<T>(a[k]) * load(weights + k * W + u);
    return total;
}

template <class V> TT_INLINE void add_to(Element<V>* p, V v) { store(p, load(p) + v); }

// The number of tiles of units in a stage.
template <class Stage> TT_INLINE int64_t tiles(const Context& c) {
    constexpr int64_t units = Stage::NV * Simd<Compute<typename Stage::S>>::LANES;
    return (c.width + units - 1) / units;
}

// The number of elements of an operand that a product reads; the others are zero.
template <class Stage> TT_INLINE int64_t depth(const Context& c, int input) {
    return Stage::NARROW[input] ? c.narrow : c.units;
}

// The number of elements of the packed weights of one tile.
template <class Stage> TT_INLINE int64_t panel_size(const Context& c) {
    int64_t size = 0;
    for (int input = 0; input < Stage::INPUTS; ++input)
        size += round_up(
                    depth<Stage>(c, input),
                    Product<typename Stage::S, typename Stage::Q>::TOGETHER) *
                Stage::SIZES[input];
    return size * Stage::NV * Simd<Compute<typename Stage::S>>::LANES;
}

// Integer weights have a scale for each sum, which follows the weights of a tile.
template <class Q> constexpr bool IS_SCALED = sizeof(Q) == 1;

// The number of bytes of the packed weights of one tile.
template <class Stage> TT_INLINE int64_t panel_bytes(const Context& c) {
    using Q = typename Stage::Q;
    return panel_size<Stage>(c) * int64_t(sizeof(Q)) +
           (IS_SCALED<Q> ? Stage::WIDTH * Stage::NV * BYTES : 0);
}

// Computes tile t of a stage for MR rows.
template <class Stage, int MR>
__attribute__((noinline)) void tile(
    const Step& s, const int64_t* rows, int64_t t, const typename Stage::Q* panel) {
    using V = Vec<Compute<typename Stage::S>>;
    constexpr int WIDTH = Stage::WIDTH * Stage::NV;
    constexpr int64_t lanes = Simd<Compute<typename Stage::S>>::LANES;
    const int64_t unit = t * Stage::NV * lanes, left = (s.call->width - unit) / lanes;
    const int vectors = left < Stage::NV ? int(left) : Stage::NV;
    V kept[MR][WIDTH ? WIDTH : 1];
    if constexpr (WIDTH > 0) {
        V acc[MR][WIDTH] = {};
        if (!Stage::TO_NARROW || unit < s.call->narrow)
            Stage::template products<MR>(s, rows, panel, acc);
        if constexpr (IS_SCALED<typename Stage::Q>) {
            const auto* scales = (const float*)(panel + panel_size<Stage>(*s.call));
            for (int m = 0; m < MR; ++m)
                for (int n = 0; n < WIDTH; ++n) acc[m][n] *= load(scales + n * lanes);
        }
#pragma GCC unroll 32
        for (int m = 0; m < MR; ++m)
#pragma GCC unroll 32
            for (int n = 0; n < WIDTH; ++n) kept[m][n] = acc[m][n];
    }
    for (int m = 0; m < MR; ++m) Stage::pointwise(s, rows[m], unit, t, vectors, kept[m]);
}

// Calls `tile` with the number of rows as a constant, so that its sums are registers.
template <class Stage, int MR>
TT_INLINE void tile_of(
    int rows, const Step& s, const int64_t* row, int64_t t, const typename Stage::Q* panel) {
    if constexpr (MR > 0) {
        if (rows == MR) return tile<Stage, MR>(s, row, t, panel);
        tile_of<Stage, MR - 1>(rows, s, row, t, panel);
    }
}

// The share of one thread: each `groups`-th row, starting with row `group`, and consecutive tiles
// of units. Long rows come first, so that taking each `groups`-th one gives all groups equal work.
struct Share {
    int64_t group, member, groups, members;
    Barrier* barrier;
};

template <class Stage>
void stage(const Step& s, const Share& share, int64_t active, const char* weights) {
    const Context& c = *s.call;
    const int64_t all = tiles<Stage>(c), size = panel_bytes<Stage>(c);
    const int64_t first = share.member * all / share.members;
    const int64_t last = (share.member + 1) * all / share.members;
    const int64_t rows = (active - share.group + share.groups - 1) / share.groups;
    if (rows > 0) {
        // Blocks of nearly equal size: 16 rows are 6, 5, 5 and not 6, 6, 4.
        const int64_t blocks = (rows + Stage::ROWS - 1) / Stage::ROWS;
        for (int64_t i = 0; i < last - first; ++i) {
            const int64_t t = s.turns ? last - 1 - i : first + i;
            const auto* panel = (const typename Stage::Q*)(weights + t * size);
            for (int64_t b = 0, row = 0; b < blocks; ++b) {
                const int64_t end = (b + 1) * rows / blocks;
                int64_t index[Stage::ROWS];
                int n = 0;
                for (; row < end; ++row, ++n) index[n] = share.group + row * share.groups;
                tile_of<Stage, Stage::ROWS>(n, s, index, t, panel);
            }
        }
    }
    if (Stage::WAITS && share.members > 1) share.barrier->wait(int(share.members));
}

// Runs all steps for the share of one thread.
template <class Program> void walk(const Context& c, const Share& share) {
    char* view[Program::VIEWS + 1];
    uint64_t keys[Program::STREAMS + 1];
    Step s{&c, view, nullptr, 0, nullptr, keys, false};
    s.sums = c.sums + share.group * Program::SUMS * c.width * int64_t(sizeof(typename Program::T));
    const int64_t ahead = c.reverse ? -1 : 1;
    for (int64_t i = 0; i < c.count; ++i) {
        const int64_t t = c.begin + i * c.direction, at = t + c.offset;
        s.turns = t & 1;
        Program::look(c, t, t - ahead, t + ahead, view);
        Program::draw(c, at, keys);
        if (c.flags) {
            s.flags = c.flags + (at + 1) * c.rows;
        } else {
            const int64_t first = c.reverse ? c.steps - 1 : 0, last = c.steps - 1 - first;
            s.flag = (at == first ? START : 0) | (at == last ? END : 0) |
                     (at < 0 || at >= c.steps ? BEFORE : 0);
        }
        if (c.ahead) c.ahead->template set_due<typename Program::T>(i);
        Program::step(s, share, c.active ? c.active[at + 1] : c.rows);
        if (c.ahead) finish_due<typename Program::T>(*c.ahead);
    }
}

template <class Program> void run(const Context& c) {
#ifdef _OPENMP
    const int wanted = int(c.groups * c.members);
    if (wanted > 1) {
        constexpr int MOST = 256;
        Barrier barriers[MOST];
#pragma omp parallel num_threads(wanted)
        {
            // OpenMP may start fewer threads than requested; they then share all the work.
            const int64_t got = omp_get_num_threads(), me = omp_get_thread_num();
            const int64_t members = c.members < got ? c.members : got;
            int64_t groups = got / members;
            groups = groups < c.groups ? groups : c.groups;
            groups = groups < MOST ? groups : MOST;
            if (me < groups * members) {
                const int64_t group = me / members;
                walk<Program>(c, {group, me % members, groups, members, barriers + group});
            }
        }
        return;
    }
#endif
    walk<Program>(c, {0, 0, 1, 1, nullptr});
}

// Packs one vector of units of a block of R for the first `count` k, as
// p[k / TOGETHER][unit][k % TOGETHER] with `stride` elements from one pair of k to the next. With
// fewer units than lanes, the other lanes are zero.
template <class S>
void pack_units(
    S* p, int64_t stride, const S* block, int64_t H, int64_t count, int64_t unit, int64_t lanes,
    bool transposed) {
    using T = Compute<S>;
    constexpr int64_t LANES = Simd<T>::LANES, TOGETHER = Product<S>::TOGETHER;
    int64_t k = 0;
    if (lanes == LANES && transposed) {
        // Transposes squares in vector registers; a pair of bfloat16 is moved like one float.
        constexpr int64_t square = LANES * TOGETHER;
        for (; k + square <= count; k += square) {
            Vec<T> x[LANES];
            for (int64_t l = 0; l < LANES; ++l) memcpy(&x[l], block + (unit + l) * H + k, BYTES);
            transpose<T>(x);
            for (int64_t l = 0; l < LANES; ++l)
                memcpy((void*)(p + (k / TOGETHER + l) * stride), &x[l], BYTES);
        }
    } else if (lanes == LANES && TOGETHER == 1) {
        for (; k < count; ++k) memcpy((void*)(p + k * stride), block + k * H + unit, BYTES);
    }
    for (; k < count; k += TOGETHER) {
        S* at = p + k / TOGETHER * stride;
        memset((void*)at, 0, BYTES);
        for (int64_t one = k; one < k + TOGETHER && one < count; ++one)
            for (int64_t l = 0; l < lanes; ++l)
                at[l * TOGETHER + one - k] =
                    transposed ? block[(unit + l) * H + one] : block[one * H + unit + l];
    }
}

// Packs a tile whose weights are stored in another type, with the scales of its sums.
template <class Stage>
void pack_narrow(typename Stage::Q* p, const float* R, const Context& c, int64_t t) {
    constexpr int64_t LANES = Simd<float>::LANES, NV = Stage::NV;
    constexpr int64_t TOGETHER = Product<float, typename Stage::Q>::TOGETHER;
    float scales[Stage::WIDTH * NV * LANES] = {};
    const int64_t H = c.units;
    // Blocks that add to one sum share its scale.
    for (int input = 0; input < Stage::INPUTS; ++input)
        for (int64_t n = 0; n < Stage::SIZES[input] * NV; ++n)
            for (int64_t l = 0; l < LANES; ++l) {
                const int64_t unit = (t * NV + n % NV) * LANES + l;
                float& scale =
                    scales[(Stage::PLACES[input][n / NV] * NV + n % NV) * LANES + l];
                if (unit >= H) continue;
                const float* row = R + (Stage::BLOCKS[input][n / NV] * H + unit) * H;
                for (int64_t k = 0; k < depth<Stage>(c, input); ++k) scale = larger(scale, row[k]);
            }
    for (float& scale : scales) scale = scale_of(scale);
    for (int input = 0; input < Stage::INPUTS; ++input) {
        const int64_t N = Stage::SIZES[input] * NV, count = depth<Stage>(c, input);
        for (int64_t n = 0; n < N; ++n)
            for (int64_t l = 0; l < LANES; ++l) {
                const int64_t unit = (t * NV + n % NV) * LANES + l;
                const int64_t sum = Stage::PLACES[input][n / NV] * NV + n % NV;
                const float inverse = inverse_of(scales[sum * LANES + l]);
                const float* row = R + (Stage::BLOCKS[input][n / NV] * H + unit) * H;
                for (int64_t k = 0; k < round_up(count, TOGETHER); ++k)
                    narrow_weight(
                        p + ((k / TOGETHER * N + n) * LANES + l) * TOGETHER + k % TOGETHER,
                        unit < H && k < count ? row[k] : 0, inverse);
            }
        p += round_up(count, TOGETHER) * N * LANES;
    }
    if (IS_SCALED<typename Stage::Q>) memcpy((void*)p, scales, sizeof(scales));
}

// Packs the blocks of R in the order in which the tiles of a stage read them. R consists of blocks
// of (units, units); the forward step multiplies with their transposes. Returns the end.
template <class Stage>
char* pack(char* to, const typename Stage::S* R, const Context& c, bool transposed) {
    using S = typename Stage::S;
    constexpr int64_t LANES = Simd<Compute<S>>::LANES, TOGETHER = Product<S>::TOGETHER;
    if (Stage::MEMBERS == 0) return to;
    const int64_t all = tiles<Stage>(c), size = panel_bytes<Stage>(c), H = c.units;
    // Packing few weights takes less time than waking a second thread.
    const int threads = all * size < (1 << 20) ? 1 : int(c.groups * c.members);
    (void)threads;
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) if (threads > 1)
#endif
    for (int64_t t = 0; t < all; ++t) {
        if constexpr (!is_equal<S, typename Stage::Q>) {
            pack_narrow<Stage>((typename Stage::Q*)(to + t * size), R, c, t);
            continue;
        }
        S* p = (S*)(to + t * size);
        for (int input = 0; input < Stage::INPUTS; ++input) {
            const int64_t N = Stage::SIZES[input] * Stage::NV, stride = N * LANES * TOGETHER;
            const int64_t count = depth<Stage>(c, input);
            for (int64_t n = 0; n < N; ++n) {
                const S* block = R + Stage::BLOCKS[input][n / Stage::NV] * H * H;
                const int64_t unit = (t * Stage::NV + n % Stage::NV) * LANES;
                int64_t lanes = H - unit < LANES ? H - unit : LANES;
                lanes = lanes < 0 ? 0 : lanes;
                pack_units(
                    p + n * LANES * TOGETHER, stride, block, H, count, unit, lanes, transposed);
            }
            p += round_up(count, TOGETHER) * N * LANES;
        }
    }
    return to + all * size;
}

}  // namespace throughtime
