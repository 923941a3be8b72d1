#pragma once
#include <cmath>

#ifdef __CUDACC__
#define LLM_TP_HOST_DEVICE __host__ __device__
#else
#define LLM_TP_HOST_DEVICE
#endif

namespace llm_tp {

/// e^x within two units of the last place of a double. Every step is one operation of IEEE 754, so that a
/// host and a GPU, whose own exp() differ, give the same bits.
LLM_TP_HOST_DEVICE inline double exact_exp(double x) {
  if (!(x > -745.2)) return x <= -745.2 ? 0.0 : x;  // or NaN
  if (x > 709.8) return HUGE_VAL;
  const double n = rint(x * 1.4426950408889634);
  // ln 2 in two parts, of which n times the first is exact: |r| <= ln 2 / 2.
  const double r = fma(n, -1.90821492927058770002e-10, fma(n, -6.93147180369123816490e-01, x));
  double sum = 1.0 / 6227020800.0;  // of r^i / i!, i <= 13
  sum = fma(sum, r, 1.0 / 479001600.0);
  sum = fma(sum, r, 1.0 / 39916800.0);
  sum = fma(sum, r, 1.0 / 3628800.0);
  sum = fma(sum, r, 1.0 / 362880.0);
  sum = fma(sum, r, 1.0 / 40320.0);
  sum = fma(sum, r, 1.0 / 5040.0);
  sum = fma(sum, r, 1.0 / 720.0);
  sum = fma(sum, r, 1.0 / 120.0);
  sum = fma(sum, r, 1.0 / 24.0);
  sum = fma(sum, r, 1.0 / 6.0);
  sum = fma(sum, r, 0.5);
  sum = fma(sum, r, 1.0);
  sum = fma(sum, r, 1.0);
  return ldexp(sum, static_cast<int>(n));
}

}  // namespace llm_tp
