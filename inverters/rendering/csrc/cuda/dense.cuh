// The decoder's products for the 32 samples of a warp.
//
// Matrices are in shared memory as tiles: one row of 32 samples per channel, hidden unit or colour. The result of a
// product stays in registers, 4 samples x N/4 columns per lane: 64 multiply-adds for 5 reads of 16 bytes, so the limit
// is arithmetic, not shared memory.
#pragma once

#include "device.cuh"

namespace invid {
namespace INVID_ISA {

// Index of (row, sample) in a tile. The swizzle keeps groups of four samples together and spreads rows 4 apart over
// the banks; the gather, its transpose and the products over samples read those at once.
INVID_DEVICE int at(int row, int sample) { return row * 32 + (sample ^ (row & 28)); }

INVID_DEVICE float4 four(const float *place) { return *reinterpret_cast<const float4 *>(place); }

// Samples and columns of a lane. The columns depend on the layout of the weights: by output for `apply`, by input for
// `apply_transposed`. Tensor cores have their own order.
template <bool kTf32>
INVID_DEVICE int sample_of(int m) {
  return kTf32 ? 8 * m + (lane_of() >> 2) : 4 * (lane_of() >> 2) + m;
}
template <bool kTf32>
INVID_DEVICE int output_of(int n) {  // of `apply`
  return kTf32 ? 8 * (n / 2) + 2 * (lane_of() & 3) + n % 2 : 4 * n + (lane_of() & 3);
}
template <bool kTf32>
INVID_DEVICE int input_of(int n) {  // of `apply_transposed`
  return kTf32 ? output_of<true>(n) : 16 * (n / 4) + 4 * (lane_of() & 3) + n % 4;
}

// The lane's four samples in one row of a tile.
template <bool kTf32>
INVID_DEVICE void put_four(float *tile, int row, float a, float b, float c, float d) {
  if (kTf32) {
    tile[at(row, sample_of<true>(0))] = a, tile[at(row, sample_of<true>(1))] = b;
    tile[at(row, sample_of<true>(2))] = c, tile[at(row, sample_of<true>(3))] = d;
  } else {
    *reinterpret_cast<float4 *>(tile + at(row, sample_of<false>(0))) = make_float4(a, b, c, d);
  }
}
template <bool kTf32>
INVID_DEVICE float4 get_four(const float *tile, int row) {
  if (!kTf32) return four(tile + at(row, sample_of<false>(0)));
  return make_float4(tile[at(row, sample_of<true>(0))], tile[at(row, sample_of<true>(1))],
                     tile[at(row, sample_of<true>(2))], tile[at(row, sample_of<true>(3))]);
}

#if !defined(INVID_EMULATED)
INVID_DEVICE uint32_t to_tf32(float x) {
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}
INVID_DEVICE void mma_tf32(float &d0, float &d1, float &d2, float &d3, const uint32_t *a, const uint32_t *b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d0), "+f"(d1), "+f"(d2), "+f"(d3)
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

// acc += A^T B on tensor cores, with B[d][n] at b[d * by_input + n * by_output].
template <int D, int N>
INVID_DEVICE void tensor_product(const float *a, const float *b, int by_input, int by_output, float (&acc)[4][N / 4]) {
  const int group = lane_of() >> 2, place = lane_of() & 3;
  INVID_LOOP
  for (int d = 0; d < D; d += 8) {
    uint32_t left[2][4];
    INVID_UNROLL
    for (int t = 0; t < 2; t++)
      INVID_UNROLL
      for (int part = 0; part < 4; part++)
        left[t][part] = to_tf32(a[at(d + place + 4 * (part / 2), 16 * t + 8 * (part % 2) + group)]);
    INVID_UNROLL
    for (int j = 0; j < N / 8; j++) {
      const float *column = b + (8 * j + group) * by_output;
      const uint32_t right[2] = {to_tf32(column[(d + place) * by_input]), to_tf32(column[(d + place + 4) * by_input])};
      INVID_UNROLL
      for (int t = 0; t < 2; t++)
        mma_tf32(acc[2 * t][2 * j], acc[2 * t][2 * j + 1], acc[2 * t + 1][2 * j], acc[2 * t + 1][2 * j + 1], left[t],
                 right);
    }
  }
}

// acc[m][n] += sum over d of a[d][sample m] * w[output n][d]: a dense layer. `stride`: between rows of w.
template <int D, int N, bool kTf32>
INVID_DEVICE void apply(const float *a, const float *w, int stride, float (&acc)[4][N / 4]) {
  if constexpr (kTf32) {
    tensor_product<D, N>(a, w, 1, stride, acc);
    return;
  }
  const int samples = 4 * (lane_of() >> 2);
  const float *row = w + (lane_of() & 3) * stride;
  INVID_LOOP
  for (int d = 0; d < D; d += 4) {
    float4 x[4];
    INVID_UNROLL
    for (int i = 0; i < 4; i++) x[i] = four(a + at(d + i, samples));
    INVID_UNROLL
    for (int n = 0; n < N / 4; n++) {
      const float4 y = four(row + 4 * n * stride + d);
      acc[0][n] += x[0].x * y.x, acc[1][n] += x[0].y * y.x, acc[2][n] += x[0].z * y.x, acc[3][n] += x[0].w * y.x;
      acc[0][n] += x[1].x * y.y, acc[1][n] += x[1].y * y.y, acc[2][n] += x[1].z * y.y, acc[3][n] += x[1].w * y.y;
      acc[0][n] += x[2].x * y.z, acc[1][n] += x[2].y * y.z, acc[2][n] += x[2].z * y.z, acc[3][n] += x[2].w * y.z;
      acc[0][n] += x[3].x * y.w, acc[1][n] += x[3].y * y.w, acc[2][n] += x[3].z * y.w, acc[3][n] += x[3].w * y.w;
    }
  }
}

// acc[m][n] += sum over d of a[d][sample m] * w[d][input n]: gradient of a dense layer's inputs.
template <int D, int N, bool kTf32>
INVID_DEVICE void apply_transposed(const float *a, const float *w, int stride, float (&acc)[4][N / 4]) {
  if constexpr (kTf32) {
    tensor_product<D, N>(a, w, stride, 1, acc);
    return;
  }
  const int samples = 4 * (lane_of() >> 2);
  const float *column = w + 4 * (lane_of() & 3);
  INVID_LOOP
  for (int d = 0; d < D; d += 2) {
    INVID_UNROLL
    for (int i = 0; i < 2; i++) {
      const float4 x = four(a + at(d + i, samples));
      INVID_UNROLL
      for (int q = 0; q < N / 16; q++) {
        const float4 y = four(column + (d + i) * stride + 16 * q);
        const int n = 4 * q;
        acc[0][n] += x.x * y.x, acc[0][n + 1] += x.x * y.y, acc[0][n + 2] += x.x * y.z, acc[0][n + 3] += x.x * y.w;
        acc[1][n] += x.y * y.x, acc[1][n + 1] += x.y * y.y, acc[1][n + 2] += x.y * y.z, acc[1][n + 3] += x.y * y.w;
        acc[2][n] += x.z * y.x, acc[2][n + 1] += x.z * y.y, acc[2][n + 2] += x.z * y.z, acc[2][n + 3] += x.z * y.w;
        acc[3][n] += x.w * y.x, acc[3][n + 1] += x.w * y.y, acc[3][n + 2] += x.w * y.z, acc[3][n + 3] += x.w * y.w;
      }
    }
  }
}

// Part of the result of `apply_samples` in a lane: M/8 rows of the left matrix, N/4 of the right one.
template <int M>
INVID_DEVICE int left_of(int i) {
  return 32 * (i / 4) + 4 * (lane_of() >> 2) + i % 4;
}
template <int N>
INVID_DEVICE int right_of(int j) {
  return N >= 16 ? 16 * (j / 4) + 4 * (lane_of() & 3) + j % 4 : (N / 4) * (lane_of() & 3) + j;
}

// acc[i][j] += sum over samples of left[row i] * right[row j]: gradient of a dense layer's weights. Always in single
// precision, as these sums are long.
template <int M, int N>
INVID_DEVICE void apply_samples(const float *left, const float *right, float (&acc)[M / 8][N / 4]) {
  INVID_LOOP
  for (int s = 0; s < 32; s += 4) {
    float4 y[N / 4];
    INVID_UNROLL
    for (int j = 0; j < N / 4; j++) y[j] = four(right + at(right_of<N>(j), s));
    INVID_UNROLL
    for (int i = 0; i < M / 8; i++) {
      const float4 x = four(left + at(left_of<M>(i), s));
      INVID_UNROLL
      for (int j = 0; j < N / 4; j++) {
        acc[i][j] += x.x * y[j].x, acc[i][j] += x.y * y[j].y;
        acc[i][j] += x.z * y[j].z, acc[i][j] += x.w * y[j].w;
      }
    }
  }
}

}  // namespace INVID_ISA
}  // namespace invid
