// Vectors of float and double, and the functions of PyTorch on them, for generated kernels.
//
// Everything is inlined and free of branches and tables, but for the rare cases that say so.
//
// Compile with -O2 -march=native -ffp-contract=fast -fno-math-errno -fno-trapping-math, and never
// with -ffast-math: rounding by adding a large number, infinities and NaN must keep their meaning.
//
// Errors are in units in the last place (ulp), measured by tests/kernels/test_simd.py over the
// whole range, denormals included. Coefficients without a source are our own fits (Chebyshev).
#pragma once

#include "simd_exp_log.hpp"      // exp, tanh, sigmoid, log, softplus and their like
#include "simd_sin_erf_pow.hpp"  // what is computed in double for both types
#include "simd_vector.hpp"       // types, memory, lanes, and functions that are exact
