// Vectors of float and double: types, memory, lanes, and functions that are exact.
//
// A vector has BYTES bytes. `a + b`, `a < b`, `-a` are the compiler's own operators on vector
// types; a comparison gives an integer vector with all bits set where it is true, which `where`
// takes.
// How to compile it: see simd.hpp.
#pragma once

#include <stdint.h>
#include <string.h>

#define TT_INLINE static inline __attribute__((always_inline))
// For members and lambdas.
#define TT_INSIDE __attribute__((always_inline))

#if defined(_OPENMP) && defined(__APPLE__) && defined(__clang__)
// On macOS PyTorch loads a libomp of its own, and a process that loads a second libomp is aborted.
#error "on macOS the OpenMP of clang cannot run beside that of PyTorch"
#endif

#ifndef TT_VECTOR_BYTES
#if defined(__AVX512F__)
#define TT_VECTOR_BYTES 64
#elif defined(__AVX__)
#define TT_VECTOR_BYTES 32
#else
#define TT_VECTOR_BYTES 16
#endif
#endif

namespace throughtime {

constexpr int BYTES = TT_VECTOR_BYTES;

// ---- types ------------------------------------------------------------------------------------

template <class T> struct Simd;

template <> struct Simd<float> {
    typedef float V __attribute__((vector_size(BYTES)));
    typedef int32_t I __attribute__((vector_size(BYTES)));
    typedef uint32_t U __attribute__((vector_size(BYTES)));
    static constexpr int LANES = BYTES / 4, MANTISSA = 23, BIAS = 127;
    static constexpr uint32_t SIGN = 0x80000000u;
    // Adding it to a small number rounds that to an integer, which is then in the low bits.
    static constexpr float MAGIC = 12582912.0f;
    static constexpr float MIN_NORMAL = 1.17549435e-38f;
    // ln 2 in two parts; a product of the first with an exponent is exact.
    static constexpr float LN2_HI = 0.693359375f, LN2_LO = -2.12194440054690583e-4f;
    static constexpr float LN2 = 0.69314718055994531f;
    // Beyond these exp is infinity or 0, and tanh or sigmoid is 1.
    static constexpr float EXP_MAX = 89.0f, EXP_MIN = -104.0f, ONE_FROM = 20.0f;
};

template <> struct Simd<double> {
    typedef double V __attribute__((vector_size(BYTES)));
    typedef int64_t I __attribute__((vector_size(BYTES)));
    typedef uint64_t U __attribute__((vector_size(BYTES)));
    static constexpr int LANES = BYTES / 8, MANTISSA = 52, BIAS = 1023;
    static constexpr uint64_t SIGN = 0x8000000000000000u;
    static constexpr double MAGIC = 6755399441055744.0;
    static constexpr double MIN_NORMAL = 2.2250738585072014e-308;
    static constexpr double LN2_HI = 6.93147180369123816490e-01;
    static constexpr double LN2_LO = 1.90821492927058770002e-10;
    static constexpr double LN2 = 0.69314718055994531;
    static constexpr double EXP_MAX = 710.0, EXP_MIN = -746.0, ONE_FROM = 40.0;
};

template <class T> using Vec = typename Simd<T>::V;

// The element type of a vector. It makes each template below take Vec<float> and Vec<double> only.
template <class V> struct ElementOf;
template <> struct ElementOf<Vec<float>> { using T = float; };
template <> struct ElementOf<Vec<double>> { using T = double; };
template <class V> using Element = typename ElementOf<V>::T;
template <class T> using Signed = typename Simd<T>::I;
template <class T> using Unsigned = typename Simd<T>::U;

struct bfloat16 { uint16_t bits; };

TT_INLINE float to_float(bfloat16 b) {
    uint32_t bits = uint32_t(b.bits) << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

// Rounds to the nearest, ties to even. NaN needs a case of its own: rounding it up could give
// infinity.
TT_INLINE bfloat16 to_bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return {uint16_t(x != x ? (bits >> 16) | 0x40 : rounded)};
}

// ---- memory -----------------------------------------------------------------------------------

template <class T> TT_INLINE Vec<T> splat(T x) { return x - Vec<T>{}; }

TT_INLINE Vec<float> load(const float* p) {
    Vec<float> v;
    memcpy(&v, p, BYTES);
    return v;
}

TT_INLINE Vec<double> load(const double* p) {
    Vec<double> v;
    memcpy(&v, p, BYTES);
    return v;
}

typedef uint16_t Halfwords __attribute__((vector_size(BYTES / 2)));

TT_INLINE Vec<float> load(const bfloat16* p) {
    Halfwords h;
    memcpy(&h, p, BYTES / 2);
#if defined(__AVX512F__) && TT_VECTOR_BYTES == 64 && !defined(__clang__)
    // GCC 12 widens in two halves and joins them: four instructions for this one.
    typedef int16_t Words __attribute__((vector_size(32)));
    Signed<float> wide = __builtin_ia32_pmovzxwd512_mask((Words)h, Signed<float>{},
                                                         (unsigned short)-1);
    return (Vec<float>)(wide << 16);
#else
    return (Vec<float>)(__builtin_convertvector(h, Unsigned<float>) << 16);
#endif
}

TT_INLINE void store(float* p, Vec<float> v) { memcpy(p, &v, BYTES); }
TT_INLINE void store(double* p, Vec<double> v) { memcpy(p, &v, BYTES); }

// The instruction of AVX512-BF16 is not used: it treats denormals as zero, unlike PyTorch.
TT_INLINE void store(bfloat16* p, Vec<float> v) {
    Unsigned<float> bits = (Unsigned<float>)v;
    Unsigned<float> rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    rounded = v != v ? (bits >> 16) | 0x40 : rounded;
    Halfwords h = __builtin_convertvector(rounded, Halfwords);
    memcpy(p, &h, BYTES / 2);
}

// Keeps a vector that was loaded in a register. GCC reads it from memory again for each use instead,
// and a processor reads one vector per cycle but could add more products.
template <class V> TT_INLINE void keep_in_register(V& v) {
#if (TT_VECTOR_BYTES == 64 && defined(__AVX512F__)) || (TT_VECTOR_BYTES == 32 && defined(__AVX__))
    if constexpr (sizeof(V) == BYTES) asm("" : "+v"(v));
#else
    (void)v;
#endif
}

// ---- lanes ------------------------------------------------------------------------------------

template <class V, class T = Element<V>> TT_INLINE V where(Signed<T> mask, V a, V b) {
    return mask ? a : b;
}

// Keeps the first n lanes and sets the others to zero, even if they are NaN.
template <class V, class T = Element<V>> TT_INLINE V keep_first(V v, int n) {
    Signed<T> lane = {};
    for (int i = 0; i < Simd<T>::LANES; i++) lane[i] = i;
    Signed<T> limit = {};
    limit += n;
    return (V)((Signed<T>)v & (lane < limit));
}

template <class T, int B> struct Tree {
    typedef T Whole __attribute__((vector_size(B)));
    typedef T Half __attribute__((vector_size(B / 2)));
    static inline TT_INSIDE T sum(Whole v) {
        Half h[2];
        memcpy(h, &v, B);
        return Tree<T, B / 2>::sum(h[0] + h[1]);
    }
    static inline TT_INSIDE T any(Whole v) {
        Half h[2];
        memcpy(h, &v, B);
        return Tree<T, B / 2>::any(h[0] | h[1]);
    }
};

template <class T> struct Tree<T, 16> {
    typedef T Whole __attribute__((vector_size(16)));
    static inline TT_INSIDE T sum(Whole v) {
        if constexpr (sizeof(T) == 8) return v[0] + v[1];
        else return (v[0] + v[2]) + (v[1] + v[3]);
    }
    static inline TT_INSIDE T any(Whole v) {
        if constexpr (sizeof(T) == 8) return v[0] | v[1];
        else return (v[0] | v[2]) | (v[1] | v[3]);
    }
};

// Adds the upper half to the lower half until one element is left, so that the order of additions
// depends on the width alone.
template <class V, class T = Element<V>> TT_INLINE T sum(V v) { return Tree<T, BYTES>::sum(v); }

// Takes a mask of any type: compilers differ in the type of a comparison (long or long long), and
// overloads for both would be ambiguous to clang, which converts each to the other.
template <class I> TT_INLINE bool any(I mask) {
    Signed<double> bits;
    memcpy(&bits, &mask, BYTES);
    return Tree<int64_t, BYTES>::any(bits) != 0;
}

// ---- moving ------------------------------------------------------------------------------------

#ifdef __clang__
// Clang has no shuffle with a vector of indices; if the indices are constants, it compiles this
// loop to one instruction.
template <class V, class I>
TT_INLINE V shuffle(V a, V b, I at) {
    constexpr int L = sizeof(V) / sizeof(a[0]);
    V x;
#pragma unroll
    for (int l = 0; l < L; ++l) x[l] = at[l] < L ? a[at[l] % L] : b[at[l] % L];
    return x;
}
#else
template <class V, class I>
TT_INLINE V shuffle(V a, V b, I at) {
    return __builtin_shuffle(a, b, at);
}
#endif

// Transposes a square of LANES x LANES by log2(LANES) rounds of exchanges.
template <class T>
TT_INLINE void transpose(Vec<T>* x) {
    constexpr int L = Simd<T>::LANES;
    using I = Signed<T>;
#pragma GCC unroll 4
    for (int s = 1; s < L; s *= 2) {
        I low, high;
#pragma GCC unroll 16
        for (int l = 0; l < L; ++l) {
            low[l] = l & s ? L + l - s : l;
            high[l] = l & s ? L + l : l + s;
        }
#pragma GCC unroll 16
        for (int i = 0; i < L; ++i)
            if (!(i & s)) {
                Vec<T> p = shuffle(x[i], x[i + s], low);
                x[i + s] = shuffle(x[i], x[i + s], high);
                x[i] = p;
            }
    }
}

// ---- signs, rounding and other exact functions -------------------------------------------------

template <class V, class T = Element<V>> TT_INLINE V abs(V x) {
    return (V)((Unsigned<T>)x & ~Simd<T>::SIGN);
}

template <class V, class T = Element<V>> TT_INLINE V copysign(V size, V sign) {
    const Unsigned<T> bit = Unsigned<T>{} + Simd<T>::SIGN;
    return (V)(((Unsigned<T>)size & ~bit) | ((Unsigned<T>)sign & bit));
}

template <class V, class T = Element<V>> TT_INLINE V neg(V x) { return -x; }

// sign(NaN) is 0, as in PyTorch.
template <class V, class T = Element<V>> TT_INLINE V sign(V x) {
    const V one = splat(T(1)), zero = {};
    return x > zero ? one : (x < zero ? -one : zero);
}

// NaN if either is NaN.
template <class V, class T = Element<V>> TT_INLINE V maximum(V a, V b) {
    return a != a ? a : (a > b ? a : b);
}

template <class V, class T = Element<V>> TT_INLINE V minimum(V a, V b) {
    return a != a ? a : (a < b ? a : b);
}

// a b + c, rounded once if the processor has such an instruction.
template <class V, class T = Element<V>> TT_INLINE V fma(V a, V b, V c) {
#ifdef __FMA__
    // There is no operator for vectors; the compiler turns this loop into one instruction.
    T x[Simd<T>::LANES], y[Simd<T>::LANES], z[Simd<T>::LANES];
    memcpy(x, &a, BYTES);
    memcpy(y, &b, BYTES);
    memcpy(z, &c, BYTES);
    for (int i = 0; i < Simd<T>::LANES; i++) {
        if constexpr (sizeof(T) == 4) z[i] = __builtin_fmaf(x[i], y[i], z[i]);
        else z[i] = __builtin_fma(x[i], y[i], z[i]);
    }
    memcpy(&c, z, BYTES);
    return c;
#else
    return a * b + c;
#endif
}

template <class V, class T = Element<V>> TT_INLINE V sqrt(V x) {
    T a[Simd<T>::LANES];
    memcpy(a, &x, BYTES);
    for (int i = 0; i < Simd<T>::LANES; i++) {
        if constexpr (sizeof(T) == 4) a[i] = __builtin_sqrtf(a[i]);
        else a[i] = __builtin_sqrt(a[i]);
    }
    memcpy(&x, a, BYTES);
    return x;
}

template <class V, class T = Element<V>> TT_INLINE V reciprocal(V x) { return T(1) / x; }

// float, double: 2 ulp.
template <class V, class T = Element<V>> TT_INLINE V rsqrt(V x) { return T(1) / sqrt(x); }

// To the nearest integer, ties to even. From 2^MANTISSA on every number is an integer.
template <class V, class T = Element<V>> TT_INLINE V round(V x) {
    const V big = splat(T(uint64_t(1) << Simd<T>::MANTISSA));
    V a = abs(x);
    V r = (a + big) - big;
    return a < big ? copysign(r, x) : x;
}

template <class V, class T = Element<V>> TT_INLINE V floor(V x) {
    V r = round(x);
    return r - (r > x ? splat(T(1)) : V{});
}

template <class V, class T = Element<V>> TT_INLINE V ceil(V x) {
    V r = round(x);
    return copysign(r + (r < x ? splat(T(1)) : V{}), x);
}

template <class V, class T = Element<V>> TT_INLINE V trunc(V x) {
    V a = abs(x), r = round(a);
    return copysign(r - (r > a ? splat(T(1)) : V{}), x);
}

// Exact. Lane by lane, and slow, if the quotient is too large for this formula, or the processor
// has no fused multiply-add.
template <class V, class T = Element<V>> TT_INLINE V fmod(V x, V y) {
#ifdef __FMA__
    const V limit = splat(T(uint64_t(1) << (Simd<T>::MANTISSA - 1)));
    const V inf = splat(T(__builtin_inf()));
    V q = trunc(x / y);
    if (__builtin_expect(!any(~((abs(q) < limit) & (abs(y) < inf))), 1)) {
        V r = fma(-q, y, x);
        // The quotient may have been rounded up to the next integer.
        r = (r < V{}) != (x < V{}) ? r + copysign(y, x) : r;
        return copysign(abs(r) < abs(y) ? r : V{}, x);
    }
#endif
    T a[Simd<T>::LANES], b[Simd<T>::LANES];
    memcpy(a, &x, BYTES);
    memcpy(b, &y, BYTES);
    for (int i = 0; i < Simd<T>::LANES; i++) {
        if constexpr (sizeof(T) == 4) a[i] = __builtin_fmodf(a[i], b[i]);
        else a[i] = __builtin_fmod(a[i], b[i]);
    }
    memcpy(&x, a, BYTES);
    return x;
}

// The result has the sign of the divisor, as that of torch.remainder. As fast as fmod.
template <class V, class T = Element<V>> TT_INLINE V remainder(V x, V y) {
    V r = fmod(x, y);
    return ((r != V{}) & ((r < V{}) != (y < V{}))) ? r + y : r;
}

}  // namespace throughtime
