// Vectors of float and double, and the functions of PyTorch on them, for generated kernels.
//
// Everything is inlined, and has no branches and no tables except where a comment says so.
//
// Compile with -O2 -march=native -ffp-contract=fast -fno-math-errno -fno-trapping-math, and never
// with -ffast-math: the code relies on infinities, on NaN, and on rounding when it adds and
// subtracts a large number.
//
// Errors are in units in the last place (ulp), measured by tests/kernels/test_simd.py over the
// whole range, denormals included. Coefficients without a source are our own fits (Chebyshev).
#pragma once

#include "simd_exp_log.hpp"      // exp, tanh, sigmoid, log, softplus and their like
#include "simd_sin_erf_pow.hpp"  // functions that are computed in double for both types
#include "simd_vector.hpp"       // types, memory, lanes, and functions that are exact
