// Vectors of float and double, and the functions of PyTorch on them, for generated kernels.
//
// One vector holds BYTES bytes. `a + b`, `a < b`, `-a` are the compiler's own operators on vector
// types; a comparison gives an integer vector, all bits set where true, which `where` takes.
// Everything is inlined and free of branches and tables, but for the rare cases that say so.
//
// Compile with -O2 -march=native -ffp-contract=fast -fno-math-errno -fno-trapping-math, and never
// with -ffast-math: rounding by adding a large number, infinities and NaN must keep their meaning.
//
// Errors are in units in the last place (ulp), measured by tests/kernels/test_simd.py over the
// whole range, denormals included. Coefficients without a source are our own fits (Chebyshev).
#pragma once

#include <cstdint>
#include <cstring>

#define TT_INLINE static inline __attribute__((always_inline))
// For members and lambdas.
#define TT_INSIDE __attribute__((always_inline))

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
    // Adding it rounds to an integer, which then stands in the low bits.
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
    std::memcpy(&x, &bits, 4);
    return x;
}

// To the nearest, ties to even. NaN stays NaN: rounding up could carry it into infinity.
TT_INLINE bfloat16 to_bfloat16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return {uint16_t(x != x ? (bits >> 16) | 0x40 : rounded)};
}

// ---- memory -----------------------------------------------------------------------------------

template <class T> TT_INLINE Vec<T> splat(T x) { return x - Vec<T>{}; }

TT_INLINE Vec<float> load(const float* p) {
    Vec<float> v;
    std::memcpy(&v, p, BYTES);
    return v;
}

TT_INLINE Vec<double> load(const double* p) {
    Vec<double> v;
    std::memcpy(&v, p, BYTES);
    return v;
}

typedef uint16_t Halfwords __attribute__((vector_size(BYTES / 2)));

TT_INLINE Vec<float> load(const bfloat16* p) {
    Halfwords h;
    std::memcpy(&h, p, BYTES / 2);
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

TT_INLINE void store(float* p, Vec<float> v) { std::memcpy(p, &v, BYTES); }
TT_INLINE void store(double* p, Vec<double> v) { std::memcpy(p, &v, BYTES); }

// The instruction of AVX512-BF16 is not used: it takes denormals for zero, torch does not.
TT_INLINE void store(bfloat16* p, Vec<float> v) {
    Unsigned<float> bits = (Unsigned<float>)v;
    Unsigned<float> rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    rounded = v != v ? (bits >> 16) | 0x40 : rounded;
    Halfwords h = __builtin_convertvector(rounded, Halfwords);
    std::memcpy(p, &h, BYTES / 2);
}

// ---- lanes ------------------------------------------------------------------------------------

template <class V, class T = Element<V>> TT_INLINE V where(Signed<T> mask, V a, V b) {
    return mask ? a : b;
}

// The first n lanes; the others become zero even where they held NaN.
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
        std::memcpy(h, &v, B);
        return Tree<T, B / 2>::sum(h[0] + h[1]);
    }
    static inline TT_INSIDE T any(Whole v) {
        Half h[2];
        std::memcpy(h, &v, B);
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

// The upper half is added to the lower until one is left: one order for one width.
template <class V, class T = Element<V>> TT_INLINE T sum(V v) { return Tree<T, BYTES>::sum(v); }

TT_INLINE bool any(Signed<float> mask) { return Tree<int32_t, BYTES>::any(mask) != 0; }
TT_INLINE bool any(Signed<double> mask) { return Tree<int64_t, BYTES>::any(mask) != 0; }

// ---- signs, rounding and other exact functions -------------------------------------------------

template <class V, class T = Element<V>> TT_INLINE V abs(V x) {
    return (V)((Unsigned<T>)x & ~Simd<T>::SIGN);
}

template <class V, class T = Element<V>> TT_INLINE V copysign(V size, V sign) {
    const Unsigned<T> bit = Unsigned<T>{} + Simd<T>::SIGN;
    return (V)(((Unsigned<T>)size & ~bit) | ((Unsigned<T>)sign & bit));
}

template <class V, class T = Element<V>> TT_INLINE V neg(V x) { return -x; }

// 0 at NaN, as torch.
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

// a b + c, rounded once where the machine can.
template <class V, class T = Element<V>> TT_INLINE V fma(V a, V b, V c) {
#ifdef __FMA__
    // Written by lanes because there is no operator; the compiler makes one instruction of it.
    T x[Simd<T>::LANES], y[Simd<T>::LANES], z[Simd<T>::LANES];
    std::memcpy(x, &a, BYTES);
    std::memcpy(y, &b, BYTES);
    std::memcpy(z, &c, BYTES);
    for (int i = 0; i < Simd<T>::LANES; i++) {
        if constexpr (sizeof(T) == 4) z[i] = __builtin_fmaf(x[i], y[i], z[i]);
        else z[i] = __builtin_fma(x[i], y[i], z[i]);
    }
    std::memcpy(&c, z, BYTES);
    return c;
#else
    return a * b + c;
#endif
}

template <class V, class T = Element<V>> TT_INLINE V sqrt(V x) {
    T a[Simd<T>::LANES];
    std::memcpy(a, &x, BYTES);
    for (int i = 0; i < Simd<T>::LANES; i++) {
        if constexpr (sizeof(T) == 4) a[i] = __builtin_sqrtf(a[i]);
        else a[i] = __builtin_sqrt(a[i]);
    }
    std::memcpy(&x, a, BYTES);
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

// Exact. Where the quotient does not fit (or there is no fused product) by lanes, and slow.
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
    std::memcpy(a, &x, BYTES);
    std::memcpy(b, &y, BYTES);
    for (int i = 0; i < Simd<T>::LANES; i++) {
        if constexpr (sizeof(T) == 4) a[i] = __builtin_fmodf(a[i], b[i]);
        else a[i] = __builtin_fmod(a[i], b[i]);
    }
    std::memcpy(&x, a, BYTES);
    return x;
}

// The sign of the divisor, as torch.remainder. Speed as fmod.
template <class V, class T = Element<V>> TT_INLINE V remainder(V x, V y) {
    V r = fmod(x, y);
    return (r != V{}) & ((r < V{}) != (y < V{})) ? r + y : r;
}

// ---- exp and what is made of it ----------------------------------------------------------------

// c0 + c1 x + c2 x^2 + ...
template <class V, class T = Element<V>> TT_INLINE V horner(V, T c) { return splat(c); }
template <class V, class T = Element<V>, class... Rest>
TT_INLINE V horner(V x, T c, Rest... rest) { return c + x * horner(x, rest...); }

// e^r - 1 on [-ln2/2, ln2/2]; exact where r is small.
TT_INLINE Vec<float> expm1_reduced(Vec<float> r) {
    Vec<float> p = horner(r, 0.5f, 0.166665769896987757f, 0.0416665546172045742f,
                          0.00836317905272257737f, 0.00139261835877134945f);
    return r + (r * r) * p;
}

TT_INLINE Vec<double> expm1_reduced(Vec<double> r) {
    // Two chains of half the length: in a short loop the wait is what costs.
    Vec<double> z = r * r;
    Vec<double> even = horner(z, 0.500000000000000102, 0.0416666666666241279,
                              0.00138888889172137169, 0.0000248015212959543551,
                              2.76200884454097482e-7);
    Vec<double> odd = horner(z, 0.166666666666666675, 0.00833333333333006183,
                             0.000198412698630536169, 2.75572684599970648e-6,
                             2.51003854955103191e-8);
    return r + z * (even + r * odd);
}

// x = n ln2 + r. `z` holds n + bias in its low bits, for making 2^n by a shift.
template <class V> struct Reduced { V n, r, z; };

template <class V, class T = Element<V>> TT_INLINE Reduced<V> reduce_exp(V x, int bias) {
    const T magic = Simd<T>::MAGIC + T(bias);
    V z = x * T(1.44269504088896340736) + magic;
    V n = z - magic;
    V r = (x - n * Simd<T>::LN2_HI) - n * Simd<T>::LN2_LO;
    return {n, r, z};
}

// The smaller and the larger of a limit and x; NaN in x stays.
template <class V, class T = Element<V>> TT_INLINE V at_most(T limit, V x) {
    const V a = splat(limit);
    return a < x ? a : x;
}

template <class V, class T = Element<V>> TT_INLINE V at_least(T limit, V x) {
    const V a = splat(limit);
    return a > x ? a : x;
}

#if defined(__AVX512F__) && TT_VECTOR_BYTES == 64 && !defined(__clang__)
// GCC compares with a constant and blends; one instruction instead makes exp 17 % faster.
TT_INLINE Vec<float> at_most(float limit, Vec<float> x) {
    return __builtin_ia32_minps512_mask(splat(limit), x, x, (unsigned short)-1, 4);
}
TT_INLINE Vec<float> at_least(float limit, Vec<float> x) {
    return __builtin_ia32_maxps512_mask(splat(limit), x, x, (unsigned short)-1, 4);
}
TT_INLINE Vec<double> at_most(double limit, Vec<double> x) {
    return __builtin_ia32_minpd512_mask(splat(limit), x, x, (unsigned char)-1, 4);
}
TT_INLINE Vec<double> at_least(double limit, Vec<double> x) {
    return __builtin_ia32_maxpd512_mask(splat(limit), x, x, (unsigned char)-1, 4);
}
#elif defined(__AVX__) && TT_VECTOR_BYTES == 32 && !defined(__clang__)
TT_INLINE Vec<float> at_most(float limit, Vec<float> x) {
    return __builtin_ia32_minps256(splat(limit), x);
}
TT_INLINE Vec<float> at_least(float limit, Vec<float> x) {
    return __builtin_ia32_maxps256(splat(limit), x);
}
TT_INLINE Vec<double> at_most(double limit, Vec<double> x) {
    return __builtin_ia32_minpd256(splat(limit), x);
}
TT_INLINE Vec<double> at_least(double limit, Vec<double> x) {
    return __builtin_ia32_maxpd256(splat(limit), x);
}
#endif

template <class V, class T = Element<V>> TT_INLINE V clamp(V x, T low, T high) {
    return at_most(high, at_least(low, x));
}

#if defined(__AVX512F__) && TT_VECTOR_BYTES == 64
// p 2^n in one instruction, right also where the result is denormal or overflows.
TT_INLINE Vec<float> scale(Vec<float> p, Vec<float> n) {
    return __builtin_ia32_scalefps512_mask(p, n, p, (unsigned short)-1, 4);
}
TT_INLINE Vec<double> scale(Vec<double> p, Vec<double> n) {
    return __builtin_ia32_scalefpd512_mask(p, n, p, (unsigned char)-1, 4);
}
#define TT_SCALE 1
#else
#define TT_SCALE 0
#endif

// float, double: 2 ulp, denormal results included.
template <class V, class T = Element<V>> TT_INLINE V exp(V x) {
    x = clamp(x, Simd<T>::EXP_MIN, Simd<T>::EXP_MAX);
    Reduced<V> s = reduce_exp(x, 2 * Simd<T>::BIAS);
    V p = expm1_reduced(s.r) + T(1);
#if TT_SCALE
    return scale(p, s.n);
#else
    // 2^n in two factors, because n reaches from below the denormals to above the largest number.
    using U = Unsigned<T>;
    U whole = (U)s.z, half = whole >> 1;
    return p * (V)(half << Simd<T>::MANTISSA) * (V)((whole - half) << Simd<T>::MANTISSA);
#endif
}

// float, double: 3 ulp. The sign of zero is kept.
template <class V, class T = Element<V>> TT_INLINE V expm1(V x) {
    using U = Unsigned<T>;
    Reduced<V> s = reduce_exp(clamp(x, -Simd<T>::ONE_FROM, Simd<T>::EXP_MAX), Simd<T>::BIAS - 1);
    // Half of 2^n, so that it does not overflow before the result does.
    V half = (V)((U)s.z << Simd<T>::MANTISSA);
    V t = expm1_reduced(s.r) * half + (half - T(0.5));
    return copysign(t + t, x);
}

// float, double: 3 ulp, also near 0: e^2|x| - 1 = t is exact there, and tanh = t / (t + 2).
template <class V, class T = Element<V>> TT_INLINE V tanh(V x) {
    using U = Unsigned<T>;
    V a = at_most(Simd<T>::ONE_FROM, abs(x));
    // ln2 in one part: where n is so large that this shows in t, t / (t + 2) is almost 1.
    const T magic = Simd<T>::MAGIC + T(Simd<T>::BIAS);
    V z = a * T(2.88539008177792681) + magic;
    V r = (a + a) - (z - magic) * Simd<T>::LN2;
    V power = (V)((U)z << Simd<T>::MANTISSA);
    V t = expm1_reduced(r) * power + (power - T(1));
    return copysign(t / (t + T(2)), x);
}

// float, double: 3 ulp, also far to the left (e^x there) where 1 / (1 + e^-x) would give 0.
template <class V, class T = Element<V>> TT_INLINE V sigmoid(V x) {
    x = clamp(x, Simd<T>::EXP_MIN, Simd<T>::ONE_FROM);
    Reduced<V> s = reduce_exp(x, Simd<T>::BIAS + 64);
    V p = expm1_reduced(s.r) + T(1);
#if TT_SCALE
    V e = scale(p, s.n);
#else
    // 2^(n + 64) first: it is a normal number for every n that comes here.
    V e = p * (V)((Unsigned<T>)s.z << Simd<T>::MANTISSA) * T(5.42101086242752217e-20);
#endif
    return e / (e + T(1));
}

// ---- logarithms -------------------------------------------------------------------------------

// x = 2^e (1 + f) for x normal, 1 + f between sqrt(1/2) and sqrt(2). `bits` is e as an integer,
// already at the place of the exponent.
template <class V, class T = Element<V>> struct Split { V e, f; Unsigned<T> bits; };

template <class V, class T = Element<V>> TT_INLINE Split<V> split(V x) {
    using S = Simd<T>;
    using U = Unsigned<T>;
    using Word = decltype(S::SIGN + 0);
    constexpr Word one = Word(S::BIAS) << S::MANTISSA;
    constexpr Word root = sizeof(T) == 4 ? Word(0x3f3504f3) : Word(0x3fe6a09e667f3bcd);
    constexpr Word fraction = (Word(1) << S::MANTISSA) - 1;
    U u = (U)x + (one - root);
    // The exponent becomes a number by standing in the low bits of 2^MANTISSA.
    constexpr T big = T(uint64_t(1) << S::MANTISSA);
    constexpr Word big_bits = Word(S::BIAS + S::MANTISSA) << S::MANTISSA;
    V e = (V)((u >> S::MANTISSA) | big_bits) - (big + T(S::BIAS));
    V m = (V)((u & fraction) + root);
    return {e, m - T(1), (u & ~fraction) - one};
}

// log(2^e (1 + f)).
TT_INLINE Vec<float> log_split(Vec<float> e, Vec<float> f) {
    Vec<float> z = f * f;
    Vec<float> even = horner(z, 0.333333311800300481f, 0.200007157488921017f,
                             0.142490576456974804f, 0.116854199234867393f, 0.0697161147145117783f);
    Vec<float> odd = horner(z, -0.24999996957950882f, -0.166678023195012541f,
                            -0.124256873314511061f, -0.114797338466376356f);
    Vec<float> p = even + f * odd;
    Vec<float> y = f * z * p + e * Simd<float>::LN2_LO - 0.5f * z;
    return (f + y) + e * Simd<float>::LN2_HI;
}

// With s = f / (2 + f): log(1 + f) = 2 (s + s^3/3 + ...) = f - f^2/2 + s (f^2/2 + R(s^2)),
// the form of FDLIBM, whose first terms are exact.
TT_INLINE Vec<double> log_split(Vec<double> e, Vec<double> f) {
    Vec<double> s = f / (f + 2.0), z = s * s;
    Vec<double> R = z * horner(z, 0.666666666666666969, 0.399999999998994432, 0.285714286260032687,
                               0.22222211130259877, 0.18182889455674946, 0.153317106182107716,
                               0.14616585424888622);
    Vec<double> half = 0.5 * f * f;
    Vec<double> y = half - (s * (half + R) + e * Simd<double>::LN2_LO);
    return e * Simd<double>::LN2_HI - (y - f);
}

// `r` where x is inside (0, inf); otherwise what a logarithm of x is there.
template <class V, class T = Element<V>> TT_INLINE V log_edges(V x, V r, V last) {
    const V inf = splat(T(__builtin_inf())), nan = splat(T(__builtin_nan("")));
    V edge = x < V{} ? nan : (x == V{} ? -inf : last);
    return (x > V{}) & (x < inf) ? r : edge;
}

// float, double: 1 ulp.
template <class V, class T = Element<V>> TT_INLINE V log(V x) {
    const T lift = T(uint64_t(1) << (Simd<T>::MANTISSA + 1));
    Signed<T> small = x < splat(Simd<T>::MIN_NORMAL);
    Split<V> s = split(small ? x * lift : x);
    V e = s.e - (small ? splat(T(Simd<T>::MANTISSA + 1)) : V{});
    return log_edges(x, log_split(e, s.f), x);
}

// log(u) where u = 1 + x was rounded; x > -1 and finite.
template <class V, class T = Element<V>> TT_INLINE V log1p_inside(V x, V u) {
    const V one = splat(T(1));
    // What the sum lost returns at the scale of f; 2^-e may be denormal, and 2^(1-e) is not.
    V lost = x > one ? one - (u - x) : x - (u - one);
    Split<V> s = split(u);
    V twice_scale = (V)((Unsigned<T>)(one + one) - s.bits);
    return log_split(s.e, s.f + lost * (T(0.5) * twice_scale));
}

// float, double: 1 ulp. The sign of zero is kept.
template <class V, class T = Element<V>> TT_INLINE V log1p(V x) {
    V u = x + T(1);
    return log_edges(u, copysign(log1p_inside(x, u), x), x);
}

// log(1 + e^x), at least 0; without what a negative argument of log1p would need.
template <class V, class T = Element<V>> TT_INLINE V log1p_exp(V x) {
    V e = exp(x), u = e + T(1);
    V r = log1p_inside(e, u);
    return u < splat(T(__builtin_inf())) ? r : e;
}

// float, double: 2 ulp.
template <class V, class T = Element<V>> TT_INLINE V softplus(V x, T beta = 1, T threshold = 20) {
    V z = x * beta;
    return z > splat(threshold) ? x : log1p_exp(z) / beta;
}

// float, double: 2 ulp.
template <class V, class T = Element<V>> TT_INLINE V log_sigmoid(V x) {
    return at_most(T(0), x) - log1p_exp(-abs(x));
}

// ---- in double for both -----------------------------------------------------------------------

typedef float HalfFloats __attribute__((vector_size(BYTES / 2)));

// f of floats, in double: rounded almost always to the nearest, at about twice the cost and more.
template <class F, class... X> TT_INLINE Vec<float> in_double(F f, X... x) {
    HalfFloats low[] = {[](Vec<float> v) TT_INSIDE {
        HalfFloats h;
        std::memcpy(&h, &v, BYTES / 2);
        return h;
    }(x)...};
    HalfFloats high[] = {[](Vec<float> v) TT_INSIDE {
        HalfFloats h;
        std::memcpy(&h, (const char*)&v + BYTES / 2, BYTES / 2);
        return h;
    }(x)...};
    HalfFloats out[2];
    if constexpr (sizeof...(X) == 1) {
        out[0] = __builtin_convertvector(f(__builtin_convertvector(low[0], Vec<double>)),
                                         HalfFloats);
        out[1] = __builtin_convertvector(f(__builtin_convertvector(high[0], Vec<double>)),
                                         HalfFloats);
    } else {
        out[0] = __builtin_convertvector(f(__builtin_convertvector(low[0], Vec<double>),
                                           __builtin_convertvector(low[1], Vec<double>)),
                                         HalfFloats);
        out[1] = __builtin_convertvector(f(__builtin_convertvector(high[0], Vec<double>),
                                           __builtin_convertvector(high[1], Vec<double>)),
                                         HalfFloats);
    }
    Vec<float> result;
    std::memcpy(&result, out, BYTES);
    return result;
}

// sin(x + quarter pi/2). Up to |x| = 10^6 by pi/2 in three parts (FDLIBM's), of which the first
// two have products with n that are exact; beyond, by lanes with the C library, and slow.
TT_INLINE Vec<double> sin_quarter(Vec<double> x, int quarter) {
    using S = Simd<double>;
    Vec<double> z = x * 0.636619772367581343 + S::MAGIC;
    Vec<double> n = z - S::MAGIC;
    Vec<double> r = ((x - n * 1.57079632673412561417e+00) - n * 6.07710050630396597660e-11)
                    - n * 2.02226624879595063154e-21;
    Vec<double> q = r * r;
    Vec<double> sine = r + r * q * horner(q, -0.166666666666666646, 0.0083333333333309461,
                                          -0.0001984126983675497, 2.75573161006830291e-6,
                                          -2.50511314554279474e-8, 1.59181012302741203e-10);
    Vec<double> half = 0.5 * q, w = 1.0 - half;
    Vec<double> tail = q * q * horner(q, 0.0416666666666666654, -0.00138888888888873957,
                                      0.0000248015872987634332, -2.75573172705603241e-7,
                                      2.08761460246897466e-9, -1.13826148685563246e-11);
    Vec<double> cosine = w + (((1.0 - w) - half) + tail);
    S::U turn = (S::U)z + (uint64_t)quarter;
    Vec<double> size = (S::I)(turn & 1) != S::I{} ? cosine : sine;
    return (Vec<double>)((S::U)size ^ ((turn & 2) << 62));
}

template <class F> TT_INLINE Vec<double> far_lanes(Vec<double> x, Vec<double> near, F f) {
    if (__builtin_expect(!any(abs(x) > splat(1e6)), 1)) return near;
    for (int i = 0; i < Simd<double>::LANES; i++) near[i] = f(x[i]);
    return near;
}

// float: 1 ulp; double: 3 ulp.
TT_INLINE Vec<double> sin(Vec<double> x) {
    Vec<double> near = x == Vec<double>{} ? x : sin_quarter(x, 0);
    return far_lanes(x, near, [](double a) { return __builtin_sin(a); });
}

TT_INLINE Vec<double> cos(Vec<double> x) {
    return far_lanes(x, sin_quarter(x, 1), [](double a) { return __builtin_cos(a); });
}

TT_INLINE Vec<float> sin(Vec<float> x) {
    return in_double([](Vec<double> v) TT_INSIDE { return sin(v); }, x);
}

TT_INLINE Vec<float> cos(Vec<float> x) {
    return in_double([](Vec<double> v) TT_INSIDE { return cos(v); }, x);
}

// float: 1 ulp; double: 2 ulp. x times a polynomial up to 1; beyond, 1 - e^-x^2 Q with Q a
// polynomial in t, which runs from 1 to -1 as x runs from 0.99 to 6.1. From 6 on it is 1.
TT_INLINE Vec<double> erf(Vec<double> x) {
    Vec<double> a = abs(x), z = x * x;
    Vec<double> near =
        x + x * horner(z, 0.128379167095512574, -0.376126389031837481, 0.112837916709548787,
                       -0.0268661706450767932, 0.00522397762481801447, -0.000854832698083378991,
                       0.000120553311116427109, -0.0000149255952668311816, 1.6461000484121368e-6,
                       -1.6350312701054695e-7, 1.46597752740474358e-8, -1.13728488566917737e-9,
                       5.9571761477489114e-11);
    const Vec<double> one = splat(1.0);
    Vec<double> b = at_most(6.0, a);
    Vec<double> t = 14.2109589041095895 / (b + 3.0) - 2.56164383561643846;
    Vec<double> Q = horner(
        t,
        0.207323545591385924, 0.155984198114895881, 0.0508621393251391846,
        0.0131831775521681535, 0.00260641900235122936, 0.000353715636043629184,
        0.0000212562649734269694, -2.63982020204707806e-6, -6.16100698716868839e-7,
        4.55208203113464842e-9, 1.29267074176163304e-8, 3.20369232525138717e-10,
        -3.00692770225896986e-10, -7.63155286690886211e-12, 7.25036296181371215e-12,
        6.88981460721664825e-15);
    Vec<double> far = 1.0 - exp(-b * b) * Q;
    return a < one ? near : copysign(far, x);
}

TT_INLINE Vec<float> erf(Vec<float> x) {
    return in_double([](Vec<double> v) TT_INSIDE { return erf(v); }, x);
}

// The part of a b that the rounded product p lost.
TT_INLINE Vec<double> lost_in_product(Vec<double> a, Vec<double> b, Vec<double> p) {
#ifdef __FMA__
    return fma(a, b, -p);
#else
    using U = Unsigned<double>;
    const uint64_t upper = ~((uint64_t(1) << 27) - 1);
    Vec<double> a1 = (Vec<double>)((U)a & upper), b1 = (Vec<double>)((U)b & upper);
    Vec<double> a2 = a - a1, b2 = b - b1;
    return ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2;
#endif
}

// c - a b, where that is small beside c. Not written `c - p`: the compiler would fuse it.
TT_INLINE Vec<double> minus_product(Vec<double> c, Vec<double> a, Vec<double> b) {
#ifdef __FMA__
    return fma(-a, b, c);
#else
    Vec<double> p = a * b;
    return (c - p) - lost_in_product(a, b, p);
#endif
}

// float: 1 ulp; double: 2 ulp. x^y = e^(y log|x|), the logarithm in two parts, because an error in
// it comes out up to 745 times as large.
TT_INLINE Vec<double> pow(Vec<double> x, Vec<double> y) {
    using V = Vec<double>;
    using S = Simd<double>;
    const V one = splat(1.0), inf = splat(__builtin_inf()), nan = splat(__builtin_nan(""));
    V a = abs(x);
    S::I small = a < splat(S::MIN_NORMAL);
    Split<V> s = split(small ? a * 9007199254740992.0 : a);
    V e = s.e - (small ? splat(53.0) : V{});
    V f = s.f, m = f + 1.0, d = m + 1.0, d_low = m - (d - 1.0);
    V q = f / d, q_low = (minus_product(f, q, d) - q * d_low) / d;
    // log(1 + f) = 2 q + c with c = q^3 R(q^2); every step with the part it loses. The products
    // with 0 added are there so that the compiler does not fuse them and lose that part twice.
    const V zero = splat(-0.0), third = splat(0.666666666666666630);
    V z = q * q, z_low = lost_in_product(q, q, z);
    V w = fma(q, z, zero), w_low = lost_in_product(q, z, w) + q * z_low;
    V more = z * horner(z, 0.400000000000008776, 0.2857142857080323, 0.222222223918004693,
                        0.181817956308847532, 0.153862402058134779, 0.132687596685606127,
                        0.130867670099481737);
    V R = third + more, R_low = ((third - R) + more) + 3.70074341541718826e-17;
    V c = fma(w, R, zero), c_low = lost_in_product(w, R, c) + (w_low * R + w * R_low);
    V main = e * S::LN2_HI, head = main + 2.0 * q, sum = head + c;
    V tail = ((main - head) + 2.0 * q) + ((head - sum) + c);
    tail += 2.0 * q_low * (z + 1.0) + c_low + e * S::LN2_LO;
    V high = sum + tail, low = (sum - high) + tail;
    // log 0 and log inf.
    high = a == V{} ? -inf : (a < inf ? high : a);
    low = (a > V{}) & (a < inf) ? low : V{};
    V product = y * high;
    V rest = lost_in_product(y, high, product) + y * low;
    V r = exp(product);
    V corrected = r + r * rest;
    r = (abs(product) < splat(800.0)) & (r < inf) ? corrected : r;
    V whole = floor(y), half = y * 0.5;
    S::I odd = (whole == y) & (floor(half) != half);
    r = odd & (x <= V{}) ? copysign(r, x) : r;
    r = (x < V{}) & (whole != y) & (a < inf) ? nan : r;
    r = (a == one) & ((abs(y) == inf) | (x > V{})) ? one : r;
    return y == V{} ? one : r;
}

TT_INLINE Vec<float> pow(Vec<float> x, Vec<float> y) {
    return in_double([](Vec<double> a, Vec<double> b) TT_INSIDE { return pow(a, b); }, x, y);
}

// ---- moving ------------------------------------------------------------------------------------

#ifdef __clang__
// Clang has no shuffle by a vector; where the vector is constant this becomes one all the same.
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

// A square of LANES x LANES, transposed by log2(LANES) exchanges.
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

}  // namespace throughtime
