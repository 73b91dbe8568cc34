// Triangles, strands and visibility on the GPU. Compiled without fused multiply-add, as on the CPU.
#include "../include/export.h"
#include "../include/strands.h"
#include "../include/triangles.h"
#include "../include/visibility.h"
#include "on_device.cuh"

namespace invid {
namespace drawing {
namespace {

using INVID_ISA::kAll;
using INVID_ISA::lane_of;
using INVID_ISA::OnDevice;
using INVID_ISA::shared_memory;

constexpr int kThreads = 256, kTile = 16;
// Samples of a triangle's box from which a warp draws it together.
constexpr int kLarge = 128;

INVID_DEVICE int64_t thread_of() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

INVID_DEVICE uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

__global__ void start_keys(INVID_PARAMETER invid_triangles call) {
  const int64_t place = thread_of();
  if (place < int64_t(call.height) * call.width) call.keys[place] = uint64_t(bits_of(call.depth[place])) << 32;
}

// Every `step`-th sample of the box from `first`. A key is depth, then triangle; positive floats are ordered as their
// bits. The canvas comes before all triangles at its depth.
INVID_DEVICE void draw_box(const invid_triangles &call, int t, const Triangle &triangle, int64_t first, int64_t step) {
  const Edges edges = edges_of(triangle, triangle.first_row, triangle.first_column);
  const int64_t samples = int64_t(triangle.rows) * triangle.columns;
  for (int64_t i = first; i < samples; i += step) {
    const int row = int(i / triangle.columns), column = int(i % triangle.columns);
    int64_t edge[3];
    for (int k = 0; k < 3; k++) edge[k] = edges.at[k] + row * edges.down[k] + column * edges.across[k];
    if (!inside(edge, edges.tie)) continue;
    const uint64_t key = uint64_t(bits_of(depth_at(triangle, edge))) << 32 | uint32_t(t);
    const int64_t place = int64_t(triangle.first_row + row) * call.width + triangle.first_column + column;
    atomicMin(reinterpret_cast<unsigned long long *>(call.keys + place), static_cast<unsigned long long>(key));
  }
}

// A thread for each triangle; its warp, in all rows of the grid, for a large one.
__global__ void find_hits(INVID_PARAMETER invid_triangles call) {
  const int t = int(thread_of());
  Triangle triangle;
  const bool drawn = t < call.triangles &&
                     load(call, t, call.two_sided && call.two_sided[t], 0, call.height, triangle);
  const bool large = drawn && int64_t(triangle.rows) * triangle.columns > kLarge;
  if (drawn && !large && blockIdx.y == 0) draw_box(call, t, triangle, 0, 1);
  unsigned waiting = __ballot_sync(kAll, large);
  while (waiting) {
    const int lane = __ffs(waiting) - 1;
    waiting &= waiting - 1;
    const int shared = __shfl_sync(kAll, t, lane);
    load(call, shared, true, 0, call.height, triangle);
    draw_box(call, shared, triangle, lane_of() + 32 * int64_t(blockIdx.y), 32 * int64_t(gridDim.y));
  }
}

__global__ void shade_hits(INVID_PARAMETER invid_triangles call) {
  const int64_t place = thread_of();
  if (place >= int64_t(call.height) * call.width) return;
  const uint64_t key = call.keys[place];
  const uint32_t depth = uint32_t(key >> 32);
  const int t = depth == bits_of(call.depth[place]) ? -1 : int(uint32_t(key));
  call.hit[place] = t;
  if (t >= 0) memcpy(call.depth + place, &depth, sizeof depth);
  shade(call, t, int(place / call.width), int(place % call.width));
}

// A block for each tile, a thread for each sample; all triangles in order.
__global__ void blend_triangles(INVID_PARAMETER invid_triangles call) {
  int *const touches = reinterpret_cast<int *>(shared_memory());
  const int left = kTile * blockIdx.x, top = kTile * blockIdx.y, thread = threadIdx.x;
  const int row = top + thread / kTile, column = left + thread % kTile;
  const int bottom = least(top + kTile, call.height);
  const bool within = row < call.height && column < call.width;
  Triangle triangle;
  for (int start = 0; start < call.triangles; start += kThreads) {
    const int own = start + thread;
    touches[thread] = own < call.triangles && load(call, own, true, top, bottom, triangle) &&
                      triangle.first_column < left + kTile && triangle.first_column + triangle.columns > left;
    __syncthreads();
    for (int k = 0; within && k < kThreads; k++) {
      if (!touches[k]) continue;
      load(call, start + k, true, 0, call.height, triangle);
      const Edges edges = edges_of(triangle, row, column);
      if (inside(edges.at, edges.tie))
        blend_over(call, start + k, triangle, edges.at, int64_t(row) * call.width + column);
    }
    __syncthreads();
  }
}

__global__ void start_cells(INVID_PARAMETER invid_strands call) {
  const int64_t place = thread_of();
  if (place >= int64_t(call.height) * call.width) return;
  reinterpret_cast<Cell *>(call.cells)[place] = {{0, 0, 0}, 0, 0, INFINITY, call.depth[place] + kSlack, 0};
}

// Calls visit(cell, fragment, colours of the ends) for the fragments of the thread's segment.
template <class Visit>
INVID_DEVICE void walk(const invid_strands &call, Visit visit) {
  const int64_t number = thread_of();
  const int pieces = call.points - 1;
  if (number >= int64_t(call.strands) * pieces) return;
  const int64_t strand = number / pieces, point = strand * call.points + number % pieces;
  const auto segment = segment_of<float, int>(
      call.x[point], call.y[point], call.inverse_depth[point], call.x[point + 1], call.y[point + 1],
      call.inverse_depth[point + 1], call.diameter[strand], call.width, 0, call.height);
  const float *a = call.colours + 3 * (point + (segment.backwards ? 1 : 0));
  const float *b = call.colours + 3 * (point + (segment.backwards ? 0 : 1));
  const int limit = segment.steep ? call.width : call.height;
  for (int i = segment.first; i < segment.last; i++) {
    const auto fragment = fragment_of<float, int>(segment, float(i) + .5f);
    for (int j = most(fragment.low, 0); j < least(fragment.high, limit); j++) {
      const int64_t place = segment.steep ? int64_t(i) * call.width + j : int64_t(j) * call.width + i;
      visit(reinterpret_cast<Cell *>(call.cells)[place], fragment, a, b);
    }
  }
}

__global__ void find_nearest(INVID_PARAMETER invid_strands call) {
  walk(call, [](Cell &cell, const Fragment<float, int> &fragment, const float *, const float *) {
    if (fragment.depth < cell.limit)
      atomicMin(reinterpret_cast<unsigned *>(&cell.nearest), unsigned(bits_of(fragment.depth)));
  });
}

__global__ void sum_fragments(INVID_PARAMETER invid_strands call) {
  walk(call, [&call](Cell &cell, const Fragment<float, int> &fragment, const float *a, const float *b) {
    if (!(fragment.depth < cell.limit)) return;
    atomicAdd(&cell.clear, log1pf(-alpha_of(call, fragment.weight)));
    if (!(fragment.depth <= cell.nearest + call.soft)) return;
    for (int c = 0; c < 3; c++)
      atomicAdd(&cell.colour[c], fragment.weight * (a[c] + fragment.share * (b[c] - a[c])));
    atomicAdd(&cell.weight, fragment.weight);
  });
}

__global__ void finish_cells(INVID_PARAMETER invid_strands call) {
  const int64_t place = thread_of();
  if (place >= int64_t(call.height) * call.width) return;
  const Cell &cell = reinterpret_cast<const Cell *>(call.cells)[place];
  finish(call, place, cell, expf(cell.clear));
}

INVID_DEVICE float *map_of(const invid_visibility &call, int direction) {
  return call.maps + direction * (int64_t(call.resolution) * call.resolution + 1);
}

__global__ void start_maps(INVID_PARAMETER invid_visibility call) {
  const int64_t cell = thread_of();
  if (cell <= int64_t(call.resolution) * call.resolution) map_of(call, blockIdx.y)[cell] = kFar;
}

__global__ void scatter(INVID_PARAMETER invid_visibility call) {
  const int64_t i = thread_of(), count = call.occluders;
  if (i >= count) return;
  const float *const axes = call.axes + 12 * int64_t(blockIdx.y);
  float *const cell = map_of(call, blockIdx.y) + cell_of(along(axes, call.occluder, count, i),
                                                         along(axes + 4, call.occluder, count, i), call.resolution);
  // Bits of floats have the order of integers, reversed for negative ones.
  const uint32_t bits = bits_of(along(axes + 8, call.occluder, count, i));
  if (bits >> 31)
    atomicMin(reinterpret_cast<unsigned *>(cell), unsigned(bits));
  else
    atomicMax(reinterpret_cast<int *>(cell), int(bits));
}

__global__ void gather(INVID_PARAMETER invid_visibility call) {
  const int64_t i = thread_of(), count = call.queries;
  if (i >= count) return;
  const float *const axes = call.axes + 12 * int64_t(blockIdx.y);
  const int side = call.resolution;
  const float column = along(axes, call.query, count, i) - .5f, row = along(axes + 4, call.query, count, i) - .5f;
  const Taps taps = taps_of(column, row, side);
  const float reach = along(axes + 8, call.query, count, i) + call.bias;
  const float *const place = map_of(call, blockIdx.y) + taps.cell;
  call.visible[blockIdx.y * count + i] =
      compare(place[0], place[1], place[side], place[side + 1], taps.right, taps.down, reach);
}

unsigned blocks_of(int64_t count) { return unsigned((count + kThreads - 1) / kThreads); }

int done() { return cudaGetLastError() == cudaSuccess ? INVID_OK : INVID_FAILED; }

int draw(const invid_triangles &call) {
  const auto stream = static_cast<cudaStream_t>(call.stream);
  const int64_t samples = int64_t(call.height) * call.width;
  if (call.translucent) {
    const dim3 tiles((call.width + kTile - 1) / kTile, (call.height + kTile - 1) / kTile);
    INVID_LAUNCH(blend_triangles, tiles, kThreads, kThreads * int(sizeof(int)), stream, call);
    return done();
  }
  INVID_LAUNCH(start_keys, blocks_of(samples), kThreads, 0, stream, call);
  const dim3 grid(blocks_of(call.triangles), most(1, least(64, int(samples >> 18))));
  if (call.triangles > 0) INVID_LAUNCH(find_hits, grid, kThreads, 0, stream, call);
  INVID_LAUNCH(shade_hits, blocks_of(samples), kThreads, 0, stream, call);
  return done();
}

int draw(const invid_strands &call) {
  const auto stream = static_cast<cudaStream_t>(call.stream);
  const int64_t samples = int64_t(call.height) * call.width;
  const int64_t segments = int64_t(call.strands) * (call.points - 1);
  if (segments < 1) return INVID_OK;
  INVID_LAUNCH(start_cells, blocks_of(samples), kThreads, 0, stream, call);
  INVID_LAUNCH(find_nearest, blocks_of(segments), kThreads, 0, stream, call);
  INVID_LAUNCH(sum_fragments, blocks_of(segments), kThreads, 0, stream, call);
  INVID_LAUNCH(finish_cells, blocks_of(samples), kThreads, 0, stream, call);
  return done();
}

int draw(const invid_visibility &call) {
  const auto stream = static_cast<cudaStream_t>(call.stream);
  if (call.directions > 65535 || call.resolution < 2) return INVID_UNSUPPORTED;
  const auto grid = [&](int64_t count) { return dim3(blocks_of(count), unsigned(call.directions)); };
  INVID_LAUNCH(start_maps, grid(int64_t(call.resolution) * call.resolution + 1), kThreads, 0, stream, call);
  if (call.occluders > 0) INVID_LAUNCH(scatter, grid(call.occluders), kThreads, 0, stream, call);
  INVID_LAUNCH(gather, grid(call.queries), kThreads, 0, stream, call);
  return done();
}

template <class Call>
int start(const Call *call, const void *memory) {
  if (call->abi != INVID_DRAW_ABI) return INVID_UNSUPPORTED;
  const OnDevice device(memory);
  return device.good ? draw(*call) : INVID_FAILED;
}

}  // namespace
}  // namespace drawing
}  // namespace invid

INVID_EXPORT int invid_draw_triangles(const invid_triangles *call) {
  return invid::drawing::start(call, call->depth);
}
INVID_EXPORT int invid_draw_strands(const invid_strands *call) { return invid::drawing::start(call, call->depth); }
INVID_EXPORT int invid_draw_visible(const invid_visibility *call) {
  return invid::drawing::start(call, call->visible);
}
