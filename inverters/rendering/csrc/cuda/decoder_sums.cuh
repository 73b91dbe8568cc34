// Gradients of a decoder's weights. Each warp sums its samples in registers; a second kernel adds the warps in a fixed
// order, so that the result is the same in every run.
#pragma once

#include "walk.cuh"

namespace invid {
namespace INVID_ISA {

template <class Kind>
struct DecoderSums {
  static constexpr int C = Kind::C, H = Kind::H, K = Kind::K, KP = Kind::KP;
  // Layout of a warp's sums: w1 [H,C], w2 [K+2,H], b1 [H], b2 [K+2]; the last row of w2 and b2 is the blend.
  static constexpr int kW2 = H * C, kB1 = kW2 + (K + 2) * H, kB2 = kB1 + H, size = kB2 + K + 2;

  float w1[H / 8][C / 4] = {}, w2[H / 8][KP / 4] = {};
  float density[H / 32] = {}, blend[H / 32] = {}, b1[H / 32] = {};  // hidden unit lane + 32 i
  float b2 = 0, density_bias = 0, blend_bias = 0;                  // of colour `lane`; of the lane's samples

  // From the hidden units and the colour gradients in the tile m.gradient().
  template <class M>
  __device__ __forceinline__ void add_outputs(const M &m) {
    apply_samples<H, KP>(m.hidden(), m.gradient(), w2);
    density_bias += m.v_sigma()[lane_of()];
    blend_bias += m.v_blend()[lane_of()];
    INVID_LOOP
    for (int s = 0; s < 32; s += 4) {
      const float4 v_sigma = four(m.v_sigma() + s), v_blend = four(m.v_blend() + s);
      INVID_UNROLL
      for (int i = 0; i < H / 32; i++) {
        const float4 hidden = four(m.hidden() + at(lane_of() + 32 * i, s));
        density[i] += dot(hidden, v_sigma);
        blend[i] += dot(hidden, v_blend);
      }
      if (lane_of() < KP) b2 += dot(four(m.gradient() + at(lane_of(), s)), make_float4(1, 1, 1, 1));
    }
  }

  // From the features and the gradients before the activation in the tile m.hidden().
  template <class M>
  __device__ __forceinline__ void add_inputs(const M &m) {
    apply_samples<H, C>(m.hidden(), m.features(), w1);
    INVID_LOOP
    for (int s = 0; s < 32; s += 4)
      INVID_UNROLL
      for (int i = 0; i < H / 32; i++)
        b1[i] += dot(four(m.hidden() + at(lane_of() + 32 * i, s)), make_float4(1, 1, 1, 1));
  }

  __device__ __forceinline__ void write(float *to) const {
    INVID_UNROLL
    for (int i = 0; i < H / 8; i++) {
      const int h = left_of<H>(i);
      INVID_UNROLL
      for (int j = 0; j < C / 4; j++) to[h * C + right_of<C>(j)] = w1[i][j];
      INVID_UNROLL
      for (int j = 0; j < KP / 4; j++)
        if (right_of<KP>(j) < K) to[kW2 + (1 + right_of<KP>(j)) * H + h] = w2[i][j];
    }
    INVID_UNROLL
    for (int i = 0; i < H / 32; i++) {
      const int h = lane_of() + 32 * i;
      to[kW2 + h] = density[i];
      to[kW2 + (1 + K) * H + h] = blend[i];
      to[kB1 + h] = b1[i];
    }
    if (lane_of() < K) to[kB2 + 1 + lane_of()] = b2;
    const float of_density = warp_sum(density_bias), of_blend = warp_sum(blend_bias);
    if (lane_of() == 0) to[kB2] = of_density, to[kB2 + 1 + K] = of_blend;
  }
};

// Address of sum q in the caller's arrays; null if not wanted. `framed`: each frame has its own.
template <class Kind>
INVID_DEVICE float *decoder_place(const invid_field &field, int q, int frame, bool &framed) {
  typedef DecoderSums<Kind> Sums;
  framed = false;
  if (q < Sums::kW2) return static_cast<float *>(field.v_w1) + q;
  if (q < Sums::kB1) {
    q -= Sums::kW2;
    return q / Kind::H < field.outputs ? static_cast<float *>(field.v_w2) + q : nullptr;
  }
  if (q < Sums::kB2) {
    framed = field.b1_frame != 0;
    return static_cast<float *>(field.v_b1) + frame * field.b1_frame + (q - Sums::kB1);
  }
  q -= Sums::kB2;
  return q < field.outputs ? static_cast<float *>(field.v_b2) + q : nullptr;
}

constexpr int kSlices = 8;

// Adds the sums of `count` warps for each frame of the launch to the caller's arrays; 32 sums and 8 slices of warps per
// block. Block row y adds the sums of frame y, block row 0 also those shared by all frames.
template <class Kind>
__global__ void __launch_bounds__(32 * kSlices)
    add_decoder_sums(const invid_field field, const float *partial, int count, int first_frame, int frames) {
  float *slices = reinterpret_cast<float *>(shared_memory());
  const int q = blockIdx.x * 32 + lane_of(), slice = warp_of();
  bool framed = false;
  float *to = q < DecoderSums<Kind>::size ? decoder_place<Kind>(field, q, first_frame + blockIdx.y, framed) : nullptr;
  if (!framed && blockIdx.y) to = nullptr;
  const int64_t first = framed ? int64_t(blockIdx.y) * count : 0;
  const int64_t end = first + int64_t(count) * (framed ? 1 : frames);
  float sum = 0;
  if (to)
    for (int64_t i = first + slice; i < end; i += kSlices) sum += partial[i * DecoderSums<Kind>::size + q];
  slices[threadIdx.x] = sum;
  __syncthreads();
  if (slice || !to) return;
  for (int s = 1; s < kSlices; s++) sum += slices[32 * s + lane_of()];
  *to += sum;
}

}  // namespace INVID_ISA
}  // namespace invid
