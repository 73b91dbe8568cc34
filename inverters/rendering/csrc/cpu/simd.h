// Vectors of the width that this file is compiled for, and the few functions that the renderer needs of them.
//
// Included once per instruction set, inside a namespace of its own: nothing here may be shared by two of them.
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

// Arithmetic on W scalars of type T.
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

  INVID_INLINE T sum(V v) {
    T parts[W];
    store(parts, v);
    for (int half = W / 2; half > 0; half /= 2)
      for (int i = 0; i < half; i++) parts[i] += parts[i + half];
    return parts[0];
  }

  // e^x. In single precision to 2 units in the last place, held between e^-87 and e^88.
  INVID_INLINE V exp(V x) {
    if constexpr (sizeof(T) == 8) {
      V y;
      for (int i = 0; i < W; i++) y[i] = __builtin_exp(x[i]);
      return y;
    } else {
      const V low = splat(T(-87)), high = splat(T(88));
      x = x < low ? low : x;
      x = x > high ? high : x;
      // Adding 1.5 * 2^23 rounds to an integer, which then stands in the lowest bits.
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
  INVID_INLINE V sigmoid(V x) { return 1 / (1 + exp(-x)); }

  // softplus, and its derivative.
  INVID_INLINE V softplus(V x, V &slope) {
    const V y = exp(x > 0 ? -x : x), share = 1 / (1 + y);
    slope = x > 0 ? share : y * share;
    return max(x, V{}) + log1p(y);
  }
};

// C[m][n] (+)= sum over k of A[m][k] B[k][n] for `rows` rows and N columns, N a multiple of the width.
//
// `finish(row, column, values)` gets each vector of the result once; `begin(row, column)` is what it starts from.
// A's element (m, k) lies at a[m * a_row + k * a_k].
template <class S, int N, class T, class Begin, class Finish>
INVID_INLINE void multiply(int rows, int depth, const T *a, long a_row, long a_k, const T *b, long b_row, Begin begin,
                           Finish finish) {
  typedef typename S::V V;
  constexpr int registers = S::width >= 16 ? 24 : 12;
  constexpr int vectors = N / S::width;
  // Columns at a time: few enough for six rows of accumulators in registers.
  constexpr int wide = vectors <= registers / 6 ? vectors : registers / 6;
  constexpr int tall = registers / wide > 12 ? 12 : registers / wide;
  static_assert(vectors % wide == 0, "columns must divide into tiles");
  for (int column = 0; column < N; column += wide * S::width) {
    int row = 0;
    auto block = [&](auto height) __attribute__((always_inline)) {
      constexpr int tile = decltype(height)::value;
      V sums[tile][wide];
      for (int m = 0; m < tile; m++)
        for (int n = 0; n < wide; n++) sums[m][n] = begin(row + m, column + n * S::width);
      const T *at = a + row * a_row;
      const T *across = b + column;
      for (int k = 0; k < depth; k++, at += a_k, across += b_row) {
        V values[wide];
        for (int n = 0; n < wide; n++) values[n] = S::load(across + n * S::width);
        for (int m = 0; m < tile; m++) {
          const V scale = S::splat(at[m * a_row]);
          for (int n = 0; n < wide; n++) sums[m][n] += scale * values[n];
        }
      }
      for (int m = 0; m < tile; m++)
        for (int n = 0; n < wide; n++) finish(row + m, column + n * S::width, sums[m][n]);
      row += tile;
    };
    while (row + tall <= rows) block(Count<tall>{});
    while (row + 4 <= rows && tall > 4) block(Count<4>{});
    while (row < rows) block(Count<1>{});
  }
}
