// Data of a launch, a block and a warp: job, decoders, and the arrays of a ray.
#pragma once

#include "dense.cuh"

namespace invid {
namespace INVID_ISA {

// C channels, H hidden units, K colours; KP: colours padded for the products.
template <int C_, int H_, int K_, bool kTf32_>
struct Kind {
  static constexpr int C = C_, H = H_, K = K_, KP = (K_ + 7) / 8 * 8;
  static constexpr bool kTf32 = kTf32_;
  static_assert(C == 32, "a texel is read by 8 lanes of 16 bytes");
};

// The part of a call that one launch computes.
struct Job {
  invid_call call;
  int warps;            // of a block
  int first_frame;      // block row y is frame first_frame + y
  int first_ray, rays;  // of each frame
  int chunk;            // rays of a block
  int side;             // of an image whose rays are processed in tiles of 16 x 8; 0: in order
  // Backward only.
  int fields, planes;           // fields to differentiate, fields whose planes get gradients: bit f for field f
  int trained;                  // field whose decoder gets gradients, or -1
  bool through_rays, add_rays;  // gradients of rays wanted; added to existing values
  float *partial;               // decoder gradients, [frames, blocks, warps, DecoderSums::size]
  float *records;               // deterministic mode: feature gradients [rays, samples, C],
  uint32_t *keys;               // their texels [rays, samples, 12],
  float *shares;                // and the weights of these
};

// A decoder in shared memory. Rows of the dense layers are padded so that rows 4 apart are in different banks.
// Outputs: density, KP colours, blend.
template <class Kind>
struct alignas(16) Decoder {
  static constexpr int C = Kind::C, H = Kind::H, K = Kind::K, KP = Kind::KP;
  static constexpr int kStride1 = C + 4, kStride2 = H + 4, kOutputs = KP + 2;
  float w1[H * kStride1], w2[kOutputs * kStride2], b1[H], b2[(kOutputs + 3) / 4 * 4];

  __device__ __forceinline__ const float *colours() const { return w2 + kStride2; }
  __device__ __forceinline__ const float *blend() const { return w2 + (1 + KP) * kStride2; }

  // Called by the whole block.
  __device__ __forceinline__ void load(const invid_field &field, int frame, bool second) {
    const float *first = static_cast<const float *>(field.w1), *last = static_cast<const float *>(field.w2);
    const float *bias1 = static_cast<const float *>(field.b1) + frame * field.b1_frame;
    const float *bias2 = static_cast<const float *>(field.b2);
    const int thread = threadIdx.x, threads = blockDim.x;
    for (int i = thread; i < H * C; i += threads) w1[i / C * kStride1 + i % C] = first[i];
    for (int i = thread; i < kOutputs * H; i += threads) {
      const int row = source(i / H, second);
      w2[i / H * kStride2 + i % H] = row < 0 ? 0.f : last[row * H + i % H];
    }
    for (int i = thread; i < H; i += threads) b1[i] = bias1[i];
    for (int i = thread; i < kOutputs; i += threads) b2[i] = source(i, second) < 0 ? 0.f : bias2[source(i, second)];
  }

  // The caller's output stored in a row, or -1.
  static __device__ __forceinline__ int source(int row, bool second) {
    return row <= K ? row : row == KP + 1 && second ? K + 1 : -1;
  }
};

// Arrays of a warp in shared memory, computed from two numbers; pointers would take registers.
template <class Kind, bool kBackward, bool kTrained>
struct Memory {
  static constexpr bool kKeeps = kBackward;
  static constexpr int kParts = kTrained ? 2 : 1;  // of the hidden units, when weight gradients fill the registers
  static constexpr int kTile = 32 * Kind::C;
  // In forward, hidden units overwrite the features, which have been read by then. In backward, the gradient tile
  // overwrites them, unless weight gradients need them.
  static constexpr int kFeatures = kBackward ? 32 * Kind::H : 0, kGradient = kFeatures + kTrained * kTile;
  static constexpr int kRows = 32 * Kind::H + (kBackward + kTrained) * kTile;
  static constexpr int kRays = kRows + 32 * (kBackward ? 5 : 3), kArrays = kRays + (kBackward ? 72 : 8);

  int offset;  // of the warp's part in the block's memory
  int length;  // of an array

  static __host__ __device__ __forceinline__ int length_of(int samples) { return (samples + 3) / 4 * 4; }
  // The last arrays are omitted where not needed.
  static __host__ __device__ __forceinline__ int floats(int samples, bool two, bool alone) {
    const int arrays = kBackward ? (alone ? 18 : two ? 15 : 8) : (alone ? 9 : two ? 8 : 5);
    return kArrays + arrays * length_of(samples);
  }

  // Tiles [H,32], [C,32], [max(C,KP),32].
  __device__ __forceinline__ float *hidden() const { return base(); }
  __device__ __forceinline__ float *features() const { return base() + kFeatures; }
  __device__ __forceinline__ float *gradient() const { return base() + kGradient; }
  // Of the current 32 samples: index in order of evaluation, and factors for the products.
  __device__ __forceinline__ int *sample() const { return reinterpret_cast<int *>(base() + kRows); }
  __device__ __forceinline__ float *weight() const { return base() + kRows + 32; }
  __device__ __forceinline__ float *alone() const { return base() + kRows + 64; }
  __device__ __forceinline__ float *v_sigma() const { return base() + kRows + 96; }
  __device__ __forceinline__ float *v_blend() const { return base() + kRows + 128; }
  // Of the ray: origin and direction; gradients of its colours.
  __device__ __forceinline__ float *ray() const { return base() + kRays; }
  __device__ __forceinline__ float *v_features() const { return base() + kRays + 8; }
  __device__ __forceinline__ float *v_alone() const { return base() + kRays + 40; }
  // Of the ray's samples in order of evaluation.
  __device__ __forceinline__ float *depth() const { return array(0); }
  __device__ __forceinline__ float *sigma(int f) const { return array(kBackward ? 4 + 4 * f : 3 + 2 * f); }
  __device__ __forceinline__ float *blend() const { return array(kBackward ? 12 : 7); }
  __device__ __forceinline__ float *dot(int f) const { return array(6 + 4 * f); }
  __device__ __forceinline__ float *v_sigmas(int f) const { return dot(f); }  // replaces dot
  __device__ __forceinline__ float *v_blends() const { return array(14); }
  __device__ __forceinline__ float *dot_alone() const { return array(17); }
  // In order of depth.
  __device__ __forceinline__ int *order() const { return reinterpret_cast<int *>(array(1)); }
  __device__ __forceinline__ float *scratch() const { return array(2); }
  __device__ __forceinline__ int *list() const { return reinterpret_cast<int *>(array(2)); }
  // Of the intervals.
  __device__ __forceinline__ float *weights(int f) const { return array(kBackward ? 5 + 4 * f : 4 + 2 * f); }
  __device__ __forceinline__ float *passed() const { return array(3); }
  __device__ __forceinline__ float *v_middle(int f) const { return array(7 + 4 * f); }
  __device__ __forceinline__ float *v_middle_blend() const { return array(13); }
  __device__ __forceinline__ float *weights_alone() const { return array(kBackward ? 15 : 8); }
  __device__ __forceinline__ float *passed_alone() const { return array(16); }

 private:
  __device__ __forceinline__ float *base() const { return reinterpret_cast<float *>(shared_memory()) + offset; }
  __device__ __forceinline__ float *array(int which) const { return base() + kArrays + which * length; }
};

// Whether the second field alone is an output, or has a gradient.
INVID_DEVICE bool two_alone(const invid_call &call, const invid_outputs &outputs) {
  return call.fields == 2 && outputs.ood_features;
}

// Decoder of field f in the block's memory.
template <class Kind>
INVID_DEVICE Decoder<Kind> &decoder_of(int f) {
  return reinterpret_cast<Decoder<Kind> *>(shared_memory())[f];
}

// This warp's part of the block's memory, after the decoders.
template <class Kind, class M>
INVID_DEVICE M memory_of(const invid_call &call, const invid_outputs &outputs) {
  const int samples = call.coarse + call.fine;
  const int floats = M::floats(samples, call.fields == 2, two_alone(call, outputs));
  return {call.fields * int(sizeof(Decoder<Kind>) / sizeof(float)) + warp_of() * floats, M::length_of(samples)};
}

}  // namespace INVID_ISA
}  // namespace invid
