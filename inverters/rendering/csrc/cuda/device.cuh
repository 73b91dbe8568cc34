// Included by every CUDA source: names for CUDA's language extensions, which the tests' CPU emulator defines too, and
// sums over a warp.
#pragma once

#if !defined(INVID_ISA)
#define INVID_ISA cuda
#endif

#if defined(INVID_EMULATED)
#include "cuda_shim.h"
#else
#include <cuda_runtime.h>
#define INVID_LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
// Kernel argument read in place; a copy per thread would go to local memory.
#define INVID_PARAMETER const __grid_constant__
#define INVID_SHARED(name) extern __shared__ float4 name[]
#define INVID_UNROLL _Pragma("unroll")
#define INVID_LOOP _Pragma("unroll 1")
#endif

#include <stdint.h>

#include "../include/invid_render.h"
#include "../include/ray.h"

#define INVID_DEVICE static __device__ __forceinline__
// Not inlined, so that its temporaries take no registers from the code around it.
#define INVID_STAGE static __device__ __noinline__

namespace invid {
namespace INVID_ISA {

constexpr unsigned kAll = 0xffffffffu;

// Weight below which a sample's colour is skipped, as on the CPU.
constexpr float kNegligible = 1e-9f;

// The block's shared memory. Called at each use, so that the compiler knows the address space.
INVID_DEVICE float4 *shared_memory() {
  INVID_SHARED(start);
  return start;
}

INVID_DEVICE int lane_of() { return threadIdx.x & 31; }
INVID_DEVICE int warp_of() { return threadIdx.x >> 5; }

INVID_DEVICE float warp_sum(float x) {
  INVID_UNROLL
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAll, x, step);
  return x;
}

INVID_DEVICE float warp_max(float x) {
  INVID_UNROLL
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(kAll, x, step));
  return x;
}

// Sum over the four lanes that share samples in a tile.
INVID_DEVICE float quad_sum(float x) {
  x += __shfl_xor_sync(kAll, x, 1);
  return x + __shfl_xor_sync(kAll, x, 2);
}

// Sum over the eight lanes that share columns in a tile.
INVID_DEVICE float column_sum(float x) {
  x += __shfl_xor_sync(kAll, x, 4);
  x += __shfl_xor_sync(kAll, x, 8);
  return x + __shfl_xor_sync(kAll, x, 16);
}

// Result of a scan over the warp.
struct Scanned {
  float before, all;  // sum of the lanes before this one; of the whole warp
};

INVID_DEVICE Scanned scan_sum(float x) {
  const int lane = lane_of();
  INVID_UNROLL
  for (int step = 1; step < 32; step *= 2) {
    const float other = __shfl_up_sync(kAll, x, step);
    if (lane >= step) x += other;
  }
  const float before = __shfl_up_sync(kAll, x, 1);
  return {lane == 0 ? 0.f : before, __shfl_sync(kAll, x, 31)};
}

INVID_DEVICE Scanned scan_product(float x) {
  const int lane = lane_of();
  INVID_UNROLL
  for (int step = 1; step < 32; step *= 2) {
    const float other = __shfl_up_sync(kAll, x, step);
    if (lane >= step) x *= other;
  }
  const float before = __shfl_up_sync(kAll, x, 1);
  return {lane == 0 ? 1.f : before, __shfl_sync(kAll, x, 31)};
}

// R_l = add_l + factor_l * R_(l+1), with R_32 = carry. Returns R_(l+1) and sets carry = R_0.
INVID_DEVICE float scan_backward(float add, float factor, float &carry) {
  const int lane = lane_of();
  INVID_UNROLL
  for (int step = 1; step < 32; step *= 2) {
    const float next_add = __shfl_down_sync(kAll, add, step), next_factor = __shfl_down_sync(kAll, factor, step);
    if (lane + step < 32) {
      add += factor * next_add;
      factor *= next_factor;
    }
  }
  const float here = add + factor * carry, next = __shfl_down_sync(kAll, here, 1);
  const float beyond = lane == 31 ? carry : next;
  carry = __shfl_sync(kAll, here, 0);
  return beyond;
}

// For the decoder: absolute error about 1e-7.
INVID_DEVICE float fast_softplus(float x) { return fmaxf(x, 0.f) + __logf(1.f + __expf(-fabsf(x))); }
INVID_DEVICE float fast_sigmoid(float x) { return __fdividef(1.f, 1.f + __expf(-x)); }

// For densities along the ray: small relative error, as they may be far below one.
INVID_DEVICE float softplus(float x, float &slope) {
  const float y = expf(-fabsf(x)), share = 1.f / (1.f + y);
  slope = x > 0 ? share : y * share;
  return fmaxf(x, 0.f) + log1pf(y);
}

INVID_DEVICE float4 operator*(float a, float4 b) { return make_float4(a * b.x, a * b.y, a * b.z, a * b.w); }
INVID_DEVICE float4 operator+(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
INVID_DEVICE float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + (a.z * b.z + a.w * b.w); }

}  // namespace INVID_ISA
}  // namespace invid
