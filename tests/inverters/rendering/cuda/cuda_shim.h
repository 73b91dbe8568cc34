// Lets a C++ compiler take the CUDA sources: each thread of a block is a fiber that runs until it has to wait for
// others. Threads of a warp that wait in different places, or for ever, fail the launch instead of hanging it.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define INVID_PARAMETER const
#define INVID_UNROLL
#define INVID_LOOP
#define INVID_SHARED(name) float4 *name = emulator::shared_memory()
#define INVID_LAUNCH(kernel, grid, block, shared, stream, ...) \
  emulator::launch(grid, block, shared, [=] { kernel(__VA_ARGS__); })

struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace emulator {

enum Kind { kNone, kSync, kExchange, kBallot, kTensor };
struct Value {
  uint32_t words[10];
};

struct Place {
  dim3 thread, block, threads, blocks;
};
extern Place here;
extern bool failed;

float4 *shared_memory();
void launch(dim3 grid, dim3 block, int shared, const std::function<void()> &kernel);
void wait_for_block();
// Gives a value to the other lanes of the warp and waits for all of theirs.
const Value *exchange(Kind kind, const Value &value);

template <class T>
T from_lane(T value, int lane) {
  Value mine = {};
  memcpy(mine.words, &value, sizeof value);
  const Value *all = exchange(kExchange, mine);
  memcpy(&value, all[lane].words, sizeof value);
  return value;
}

}  // namespace emulator

#define threadIdx emulator::here.thread
#define blockIdx emulator::here.block
#define blockDim emulator::here.threads
#define gridDim emulator::here.blocks

inline void __syncthreads() { emulator::wait_for_block(); }
inline void __syncwarp() { emulator::exchange(emulator::kSync, {}); }

template <class T>
T __shfl_sync(unsigned, T value, int lane) {
  return emulator::from_lane(value, lane & 31);
}
template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return emulator::from_lane(value, int(threadIdx.x & 31) ^ mask);
}
template <class T>
T __shfl_up_sync(unsigned, T value, int step) {
  const int lane = threadIdx.x & 31;
  return emulator::from_lane(value, lane < step ? lane : lane - step);
}
template <class T>
T __shfl_down_sync(unsigned, T value, int step) {
  const int lane = threadIdx.x & 31;
  return emulator::from_lane(value, lane + step > 31 ? lane : lane + step);
}
inline unsigned __ballot_sync(unsigned, bool vote) {
  const emulator::Value *all = emulator::exchange(emulator::kBallot, {{uint32_t(vote)}});
  unsigned votes = 0;
  for (int lane = 0; lane < 32; lane++) votes |= all[lane].words[0] << lane;
  return votes;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(unsigned x) { return __builtin_ffs(int(x)); }

template <class T>
T __ldg(const T *place) {
  return *place;
}
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float x, float y) { return x / y; }

// Threads take turns, so that nothing has to be atomic.
template <class T>
void atomicMin(T *place, T x) {
  if (x < *place) *place = x;
}
template <class T>
void atomicMax(T *place, T x) {
  if (x > *place) *place = x;
}
inline void atomicAdd(float *place, float x) { *place += x; }
inline void add_to(float *place, float4 x) { place[0] += x.x, place[1] += x.y, place[2] += x.z, place[3] += x.w; }

// Round to nearest, ties away from zero, as cvt.rna does; 10 bits of mantissa stay.
inline uint32_t to_tf32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return (bits + 0x1000u) & ~0x1fffu;
}
void mma_tf32(float &d0, float &d1, float &d2, float &d3, const uint32_t *a, const uint32_t *b);

typedef int cudaError_t;
typedef void *cudaStream_t;
struct cudaPointerAttributes {
  int device, type;
};
enum { cudaSuccess = 0, cudaErrorLaunchFailure = 719, cudaMemoryTypeUnregistered = 0 };
enum { cudaDevAttrMaxSharedMemoryPerBlockOptin, cudaDevAttrMultiProcessorCount };
enum { cudaFuncAttributeMaxDynamicSharedMemorySize };

cudaError_t cudaGetLastError();
inline cudaError_t cudaGetDevice(int *device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *attributes, const void *) {
  return *attributes = {0, 2}, cudaSuccess;
}
// A small machine, so that a few rays make several blocks and warps.
inline cudaError_t cudaDeviceGetAttribute(int *value, int attribute, int) {
  return *value = attribute == cudaDevAttrMultiProcessorCount ? 3 : 100 * 1024, cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, int, int) {
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Kernel, int, int) {
  return *blocks = 1, cudaSuccess;
}
