// Gradients of planes: added to the texels atomically, or recorded, sorted by texel and summed in a fixed order.
#pragma once

#include "walk.cuh"

namespace invid {
namespace INVID_ISA {

constexpr int kTaps = 12;  // per sample: 4 texels on each plane

#if !defined(INVID_EMULATED)
INVID_DEVICE void add_to(float *place, float4 x) {
#if __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4 *>(place), x);  // one 16-byte reduction
#else
  atomicAdd(place, x.x), atomicAdd(place + 1, x.y), atomicAdd(place + 2, x.z), atomicAdd(place + 3, x.w);
#endif
}
#endif

// Calls hand(tap, index of the texel in v_planes, weight) for a sample's 12 texels.
template <class Hand>
INVID_DEVICE void each_tap(const Place &place, bool fixed, const invid_field &field, Hand hand) {
  const int plane = int(field.v_plane) / 32, row = int(field.v_row) / 32, column = int(field.v_column) / 32;
  each_plane(place, fixed, [&](int p, const Tap<float> &across, const Tap<float> &down) {
    const int low = p * plane + down.low * row, high = p * plane + down.high * row;
    hand(4 * p, low + across.low * column, down.at_low * across.at_low);
    hand(4 * p + 1, low + across.high * column, down.at_low * across.at_high);
    hand(4 * p + 2, high + across.low * column, down.at_high * across.at_low);
    hand(4 * p + 3, high + across.high * column, down.at_high * across.at_high);
  });
}

// The lane's four channels of a sample's feature gradient, from the tile.
template <class M>
INVID_DEVICE float4 gradient_of(const M &m, int row) {
  const int part = lane_of() & 7;
  const float *column = m.gradient() + 128 * part + (row ^ (4 * part));
  return make_float4(column[0], column[32], column[64], column[96]);
}

// Accumulates the four texels around a sample while consecutive samples have the same four.
struct Cell {
  int across = -1, down = 0;  // the lower texel and, 16 bits higher, the upper one
  float4 sums[4];

  static __device__ __forceinline__ int pair(const Tap<float> &tap) { return tap.low | tap.high << 16; }
  __device__ __forceinline__ bool holds(const Tap<float> &x, const Tap<float> &y) const {
    return across == pair(x) && down == pair(y);
  }
  __device__ __forceinline__ void start(const Tap<float> &x, const Tap<float> &y) {
    across = pair(x), down = pair(y);
    INVID_UNROLL
    for (int i = 0; i < 4; i++) sums[i] = make_float4(0, 0, 0, 0);
  }
  __device__ __forceinline__ void add(const Tap<float> &x, const Tap<float> &y, float4 gradient) {
    sums[0] = sums[0] + (y.at_low * x.at_low) * gradient;
    sums[1] = sums[1] + (y.at_low * x.at_high) * gradient;
    sums[2] = sums[2] + (y.at_high * x.at_low) * gradient;
    sums[3] = sums[3] + (y.at_high * x.at_high) * gradient;
  }
  __device__ __forceinline__ void flush(float *plane, int row, int column) const {
    if (across < 0) return;
    INVID_UNROLL
    for (int i = 0; i < 4; i++) {
      const float4 x = sums[i];
      const int line = i / 2 ? down >> 16 : down & 0xffff, place = i % 2 ? across >> 16 : across & 0xffff;
      if (x.x != 0 || x.y != 0 || x.z != 0 || x.w != 0) add_to(plane + line * row + place * column, x);
    }
  }
};

// Adds the first `rows` of the current samples to v_planes of the frame. Plane by plane, eight lanes take nine
// neighbouring samples of a ray, which share texels where the ray is perpendicular to the plane. Nine instead of eight,
// so that the four groups of lanes read from different banks.
template <class M>
INVID_DEVICE void scatter(const invid_call &call, const invid_field &field, const Ray &ray, const M &m, int rows) {
  const float warp = float(2 / call.box_warp);
  const bool fixed = call.flags & INVID_FIXED_AXES;
  const int side = field.resolution, first = lane_of() / 8 * 9, end = first + 9 < rows ? first + 9 : rows;
  float *plane = static_cast<float *>(field.v_planes) + 4 * (lane_of() & 7);
  if (field.frame) plane += ray.frame * field.v_frame;
  INVID_LOOP
  for (int p = 0; p < 3; p++, plane += field.v_plane) {
    // Coordinates along the plane's rows and columns.
    const int x = p == 2 ? 2 : p == 1 && fixed ? 1 : 0, y = p == 2 ? 0 : p + 1;
    Cell cell;
    INVID_LOOP
    for (int row = first; row < end; row++) {
      const float depth = m.depth()[m.sample()[row]];
      const Tap<float> across = tap_at(m.ray()[x] + depth * m.ray()[3 + x], warp, side);
      const Tap<float> down = tap_at(m.ray()[y] + depth * m.ray()[3 + y], warp, side);
      if (!cell.holds(across, down)) {
        cell.flush(plane, int(field.v_row), int(field.v_column));
        cell.start(across, down);
      }
      cell.add(across, down, gradient_of(m, row));
    }
    cell.flush(plane, int(field.v_row), int(field.v_column));
  }
}

// Records the samples' gradients instead. `index`: of the ray in the launch.
template <class M>
INVID_DEVICE void record(const Job &job, const invid_field &field, const Ray &ray, const M &m, int rows, int index) {
  const invid_call &call = job.call;
  const float warp = float(2 / call.box_warp);
  const int part = lane_of() & 7;
  INVID_LOOP
  for (int row = lane_of() >> 3; row < rows; row += 4) {
    const int sample = m.sample()[row];
    const Place place = place_of(m, m.depth()[sample], warp, field.resolution);
    const int64_t slot = int64_t(index) * (call.coarse + call.fine) + sample;
    *reinterpret_cast<float4 *>(job.records + slot * 32 + 4 * part) = gradient_of(m, row);
    each_tap(place, call.flags & INVID_FIXED_AXES, field, [&](int tap, int texel, float share) {
      if (tap % 8 != part || share == 0) return;
      job.keys[slot * kTaps + tap] = texel;
      job.shares[slot * kTaps + tap] = share;
    });
  }
}

// Initialises the records: no texel, and each tap its own number.
static __global__ void __launch_bounds__(256)
    clear_records(uint32_t *keys, uint32_t *values, uint32_t nowhere, int count) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  if (i < count) keys[i] = nowhere, values[i] = i;
}

// Adds sorted records to the texels: 8 lanes per record; those of a texel's first record sum all of that texel.
static __global__ void __launch_bounds__(256)
    add_records(const uint32_t *keys, const uint32_t *values, const float *shares, const float *records,
                uint32_t nowhere, int count, float *planes) {
  const int i = blockIdx.x * 32 + threadIdx.x / 8, part = threadIdx.x & 7;
  if (i >= count) return;
  const uint32_t key = keys[i];
  if (key == nowhere || (i > 0 && keys[i - 1] == key)) return;
  float4 sum = make_float4(0, 0, 0, 0);
  for (int j = i; j < count && keys[j] == key; j++) {
    const uint32_t value = values[j];
    sum = sum + shares[value] * *reinterpret_cast<const float4 *>(records + int64_t(value / kTaps) * 32 + 4 * part);
  }
  float4 *place = reinterpret_cast<float4 *>(planes + int64_t(key) * 32 + 4 * part);
  *place = *place + sum;
}

}  // namespace INVID_ISA
}  // namespace invid
