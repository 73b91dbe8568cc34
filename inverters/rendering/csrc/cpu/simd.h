// SIMD vectors of the width that this file is compiled for, and elementary functions on them.
//
// Included once per instruction set, each in its own namespace: no function may be shared between two.
#pragma once

template <class T, int W>
struct VectorOf;
#define INVID_VECTOR(T, I, W)                                        \
  template <>                                                        \
  struct VectorOf<T, W> {                                            \
    typedef T type __attribute__((vector_size(W * sizeof(T))));      \
    typedef I integer __attribute__((vector_size(W * sizeof(T))));   \
  };
INVID_VECTOR(float, int32_t, 4)
INVID_VECTOR(float, int32_t, 8)
INVID_VECTOR(float, int32_t, 16)
INVID_VECTOR(double, int64_t, 2)
#undef INVID_VECTOR

#define INVID_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#include "tables.h"

// Piece of tables.h for |x|, and the position in it.
struct Tail {
  __m512i piece;
  __m512 along;

  explicit inline __attribute__((always_inline)) Tail(__m512 x) {
    // Clamps x = infinity to just below the end of the last piece.
    const __m512 s = _mm512_min_ps(_mm512_set1_ps(14.99999f), _mm512_abs_ps(x)) * 0.2f + 1.0f;
    piece = _mm512_srli_epi32(_mm512_castps_si512(s), 20);  // only the lowest four bits are used
    along = _mm512_reduce_ps(s, 2 << 4 | _MM_FROUND_TO_NEG_INF);
  }

  inline __attribute__((always_inline)) __m512 read(const float (&table)[5][16]) const {
    __m512 y = _mm512_permutexvar_ps(piece, _mm512_load_ps(table[4]));
    for (int k = 3; k >= 0; k--) y = y * along + _mm512_permutexvar_ps(piece, _mm512_load_ps(table[k]));
    return y;
  }
};
#endif

// Arithmetic on vectors of W scalars of type T.
template <class T, int W>
struct Simd {
  typedef typename VectorOf<T, W>::type V;
  typedef typename VectorOf<T, W>::integer I;
  static constexpr int width = W;

  INVID_INLINE V load(const T *p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  INVID_INLINE void store(T *p, V v) { __builtin_memcpy(p, &v, sizeof v); }
  INVID_INLINE V splat(T x) { return x - V{}; }
  INVID_INLINE V max(V a, V b) { return a > b ? a : b; }

  // 1 / x for x from 1 to 2^126; in single precision to 2 units in the last place.
  INVID_INLINE V reciprocal(V x) {
#if defined(__AVX512F__)
    if constexpr (W == 16) {
      const V near = _mm512_rcp14_ps(x);
      return near * (2 - x * near);
    }
#endif
    return 1 / x;
  }

  INVID_INLINE T sum(V v) {
#if defined(__AVX512F__)
    if constexpr (W == 16) return _mm512_reduce_add_ps(v);
#endif
    T parts[W];
    store(parts, v);
    for (int half = W / 2; half > 0; half /= 2)
      for (int i = 0; i < half; i++) parts[i] += parts[i + half];
    return parts[0];
  }

  // e^x. In single precision to 2 units in the last place; up to 2^127, and down to 2^-126 or beyond.
  INVID_INLINE V exp(V x) {
    if constexpr (sizeof(T) == 8) {
      V y;
      for (int i = 0; i < W; i++) y[i] = __builtin_exp(x[i]);
      return y;
    }
#if defined(__AVX512F__)
    else if constexpr (W == 16) {
      // 2^(x log2 e): the integer part goes to the exponent; the remainder is at most 0.5 in size.
      const V scaled = x * T(1.44269504088896341);
      const V whole = _mm512_roundscale_ps(scaled, _MM_FROUND_TO_NEAREST_INT);
      const V r = scaled - whole;
      V y = r * T(1.32647245e-3) + T(9.67151016e-3);
      y = y * r + T(5.55073414e-2);
      y = y * r + T(2.40222427e-1);
      y = y * r + T(6.93146982e-1);
      return _mm512_scalef_ps(y * r + T(1), whole);
    }
#endif
    else {
      const V low = splat(T(-87)), high = splat(T(88));
      x = x < low ? low : x;
      x = x > high ? high : x;
      // Adding 1.5 * 2^23 rounds to an integer in the lowest bits.
      const V magic = splat(T(12582912)), rounded = x * T(1.44269504088896341) + magic, n = rounded - magic;
      const V r = (x - n * T(0.693359375)) - n * T(-2.12194440e-4);
      V y = r * T(1.9875691500e-4) + T(1.3981999507e-3);
      y = y * r + T(8.3334519073e-3);
      y = y * r + T(4.1665795894e-2);
      y = y * r + T(1.6666665459e-1);
      y = y * r + T(5.0000001201e-1);
      y = y * (r * r) + r + T(1);
      I power, bits;
      __builtin_memcpy(&power, &rounded, sizeof power);
      __builtin_memcpy(&bits, &y, sizeof bits);
      bits += power << 23;  // times 2^n
      __builtin_memcpy(&y, &bits, sizeof y);
      return y;
    }
  }

  // log(1 + y) for y in [0,1]; in single precision a polynomial of degree 9, relative error 3e-7.
  INVID_INLINE V log1p(V y) {
    if constexpr (sizeof(T) == 8) {
      V z;
      for (int i = 0; i < W; i++) z[i] = __builtin_log1p(y[i]);
      return z;
    } else {
      V p = y * T(0.005126102361828089) + T(-0.029074065387248993);
      p = p * y + T(0.0775160863995552);
      p = p * y + T(-0.13602247834205627);
      p = p * y + T(0.19076880812644958);
      p = p * y + T(-0.2483539879322052);
      p = p * y + T(0.3331812024116516);
      p = p * y + T(-0.4999944567680359);
      p = p * y + T(0.9999999403953552);
      return p * y;
    }
  }

  INVID_INLINE V softplus(V x) {
    const V y = exp(x > 0 ? -x : x);
    return max(x, V{}) + log1p(y);
  }
  INVID_INLINE V sigmoid(V x) { return reciprocal(1 + exp(-max(splat(T(-80)), x))); }

  // softplus and its derivative.
  INVID_INLINE V softplus(V x, V &slope) {
    const V y = exp(x > 0 ? -x : x), share = reciprocal(1 + y);
    slope = x > 0 ? share : y * share;
    return max(x, V{}) + log1p(y);
  }

  // softplus for hidden units: from a table where there is one, with an absolute error of 3e-7.
  INVID_INLINE V activation(V x) {
#if defined(__AVX512F__)
    if constexpr (W == 16) return max(x, V{}) + Tail(x).read(kTailOfSoftplus);
#endif
    return softplus(x);
  }
  INVID_INLINE V activation(V x, V &slope) {
#if defined(__AVX512F__)
    if constexpr (W == 16) {
      const Tail at(x);
      const V tail = at.read(kTailOfSigmoid);
      slope = x > 0 ? 1 - tail : tail;
      return max(x, V{}) + at.read(kTailOfSoftplus);
    }
#endif
    return softplus(x, slope);
  }
};
