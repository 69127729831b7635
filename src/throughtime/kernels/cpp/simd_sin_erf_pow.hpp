// sin, cos, erf and pow of vectors, computed in double also for floats.
//
// Errors in ulp, see simd.hpp.
#pragma once

#include "simd_exp_log.hpp"

namespace throughtime {

typedef float HalfFloats __attribute__((vector_size(BYTES / 2)));

// f of floats, computed in double: almost always correctly rounded, at twice the cost or more.
template <class F, class... X> TT_INLINE Vec<float> in_double(F f, X... x) {
    HalfFloats low[] = {[](Vec<float> v) TT_INSIDE {
        HalfFloats h;
        memcpy(&h, &v, BYTES / 2);
        return h;
    }(x)...};
    HalfFloats high[] = {[](Vec<float> v) TT_INSIDE {
        HalfFloats h;
        memcpy(&h, (const char*)&v + BYTES / 2, BYTES / 2);
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
    memcpy(&result, out, BYTES);
    return result;
}

// sin(x + quarter pi/2). For |x| up to 10^6, n pi/2 is subtracted with pi/2 in three parts (those
// of FDLIBM); the products of the first two with n are exact. Larger x go lane by lane through the
// C library, which is slow.
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

// float: 1 ulp; double: 2 ulp. For |x| < 1 x times a polynomial; then 1 - e^-x^2 Q, where Q is a
// polynomial in t, which goes from 1 to -1 as |x| goes from 0.99 to 6.1. From 6 on erf is 1.
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

// The rounding error of the product p = a b: a b - p.
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

// c - a b, for a result that is small compared with c. A plain `c - p` with a correction would be
// wrong if the compiler fused it with the product.
TT_INLINE Vec<double> minus_product(Vec<double> c, Vec<double> a, Vec<double> b) {
#ifdef __FMA__
    return fma(-a, b, c);
#else
    Vec<double> p = a * b;
    return (c - p) - lost_in_product(a, b, p);
#endif
}

// float: 1 ulp; double: 2 ulp. x^y = e^(y log|x|). The logarithm is computed in two parts, because
// its error is multiplied by up to 745.
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
    // log(1 + f) = 2 q + c with c = q^3 R(q^2); each step also computes its rounding error. The
    // additions of -0 prevent that the compiler fuses these products with later additions, which
    // would count the error twice.
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
    low = ((a > V{}) & (a < inf)) ? low : V{};
    V product = y * high;
    V rest = lost_in_product(y, high, product) + y * low;
    V r = exp(product);
    V corrected = r + r * rest;
    r = ((abs(product) < splat(800.0)) & (r < inf)) ? corrected : r;
    V whole = floor(y), half = y * 0.5;
    S::I odd = (whole == y) & (floor(half) != half);
    r = (odd & (x <= V{})) ? copysign(r, x) : r;
    r = ((x < V{}) & (whole != y) & (a < inf)) ? nan : r;
    r = ((a == one) & ((abs(y) == inf) | (x > V{}))) ? one : r;
    return y == V{} ? one : r;
}

TT_INLINE Vec<float> pow(Vec<float> x, Vec<float> y) {
    return in_double([](Vec<double> a, Vec<double> b) TT_INSIDE { return pow(a, b); }, x, y);
}

}  // namespace throughtime
