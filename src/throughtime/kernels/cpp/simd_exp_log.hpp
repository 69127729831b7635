// exp and log of vectors, and the functions that use them: tanh, sigmoid, softplus and others.
//
// Errors in ulp, see simd.hpp.
#pragma once

#include "simd_vector.hpp"

namespace throughtime {

// ---- exp and the functions that use it ---------------------------------------------------------

// c0 + c1 x + c2 x^2 + ...
template <class V, class T = Element<V>> TT_INLINE V horner(V, T c) { return splat(c); }
template <class V, class T = Element<V>, class... Rest>
TT_INLINE V horner(V x, T c, Rest... rest) { return c + x * horner(x, rest...); }

// e^r - 1 on [-ln2/2, ln2/2], with full relative precision near 0.
TT_INLINE Vec<float> expm1_reduced(Vec<float> r) {
    Vec<float> p = horner(r, 0.5f, 0.166665769896987757f, 0.0416665546172045742f,
                          0.00836317905272257737f, 0.00139261835877134945f);
    return r + (r * r) * p;
}

TT_INLINE Vec<double> expm1_reduced(Vec<double> r) {
    // Two polynomials of half the length, computed side by side: the latency of one long chain
    // would dominate in a short loop.
    Vec<double> z = r * r;
    Vec<double> even = horner(z, 0.500000000000000102, 0.0416666666666241279,
                              0.00138888889172137169, 0.0000248015212959543551,
                              2.76200884454097482e-7);
    Vec<double> odd = horner(z, 0.166666666666666675, 0.00833333333333006183,
                             0.000198412698630536169, 2.75572684599970648e-6,
                             2.51003854955103191e-8);
    return r + z * (even + r * odd);
}

// x = n ln2 + r. The low bits of `z` are n + bias, from which a shift makes 2^n.
template <class V> struct Reduced { V n, r, z; };

template <class V, class T = Element<V>> TT_INLINE Reduced<V> reduce_exp(V x, int bias) {
    const T magic = Simd<T>::MAGIC + T(bias);
    V z = x * T(1.44269504088896340736) + magic;
    V n = z - magic;
    V r = (x - n * Simd<T>::LN2_HI) - n * Simd<T>::LN2_LO;
    return {n, r, z};
}

// The minimum, and the maximum, of a limit and x; NaN if x is NaN.
template <class V, class T = Element<V>> TT_INLINE V at_most(T limit, V x) {
    const V a = splat(limit);
    return a < x ? a : x;
}

template <class V, class T = Element<V>> TT_INLINE V at_least(T limit, V x) {
    const V a = splat(limit);
    return a > x ? a : x;
}

#if defined(__AVX512F__) && TT_VECTOR_BYTES == 64 && !defined(__clang__)
// GCC would compare and blend, two instructions; using one makes exp 17 % faster.
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
// p 2^n in one instruction, correct also if the result is denormal or overflows.
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
    // Computed with 2^n / 2, which does not overflow before the result does.
    V half = (V)((U)s.z << Simd<T>::MANTISSA);
    V t = expm1_reduced(s.r) * half + (half - T(0.5));
    return copysign(t + t, x);
}

// float, double: 3 ulp, also near 0: tanh = t / (t + 2), where t = e^2|x| - 1 is precise near 0.
template <class V, class T = Element<V>> TT_INLINE V tanh(V x) {
    using U = Unsigned<T>;
    V a = at_most(Simd<T>::ONE_FROM, abs(x));
    // ln2 needs no second part here: its error matters to t only for large n, and there t / (t + 2)
    // is almost 1.
    const T magic = Simd<T>::MAGIC + T(Simd<T>::BIAS);
    V z = a * T(2.88539008177792681) + magic;
    V r = (a + a) - (z - magic) * Simd<T>::LN2;
    V power = (V)((U)z << Simd<T>::MANTISSA);
    V t = expm1_reduced(r) * power + (power - T(1));
    return copysign(t / (t + T(2)), x);
}

// float, double: 3 ulp, also for large negative x, where 1 / (1 + e^-x) would give 0 too early.
template <class V, class T = Element<V>> TT_INLINE V sigmoid(V x) {
    x = clamp(x, Simd<T>::EXP_MIN, Simd<T>::ONE_FROM);
    Reduced<V> s = reduce_exp(x, Simd<T>::BIAS + 64);
    V p = expm1_reduced(s.r) + T(1);
#if TT_SCALE
    V e = scale(p, s.n);
#else
    // Multiplies with 2^(n + 64) first, which is a normal number for every n that occurs.
    V e = p * (V)((Unsigned<T>)s.z << Simd<T>::MANTISSA) * T(5.42101086242752217e-20);
#endif
    return e / (e + T(1));
}

// ---- logarithms -------------------------------------------------------------------------------

// x = 2^e (1 + f) for a normal x, with 1 + f between sqrt(1/2) and sqrt(2). `bits` is e as an
// integer, shifted to the position of the exponent.
template <class V, class T = Element<V>> struct Split { V e, f; Unsigned<T> bits; };

template <class V, class T = Element<V>> TT_INLINE Split<V> split(V x) {
    using S = Simd<T>;
    using U = Unsigned<T>;
    using Word = decltype(S::SIGN + 0);
    constexpr Word one = Word(S::BIAS) << S::MANTISSA;
    constexpr Word root = sizeof(T) == 4 ? Word(0x3f3504f3) : Word(0x3fe6a09e667f3bcd);
    constexpr Word fraction = (Word(1) << S::MANTISSA) - 1;
    U u = (U)x + (one - root);
    // Converts the exponent to a number: put into the low bits of 2^MANTISSA, it adds its value.
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

// `r` if 0 < x < inf; otherwise the logarithm of x there: NaN, -inf, or `last`.
template <class V, class T = Element<V>> TT_INLINE V log_edges(V x, V r, V last) {
    const V inf = splat(T(__builtin_inf())), nan = splat(T(__builtin_nan("")));
    V edge = x < V{} ? nan : (x == V{} ? -inf : last);
    return ((x > V{}) & (x < inf)) ? r : edge;
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
    // The rounding error of 1 + x is added to f, scaled by 2^-e. It is scaled by 2^(1-e) / 2,
    // because 2^-e may be denormal.
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

// log(1 + e^x). The argument of the logarithm is at least 1, so that no edge case of log1p occurs.
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

}  // namespace throughtime
