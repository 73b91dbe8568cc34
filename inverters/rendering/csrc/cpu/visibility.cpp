// Visibility of points from directions on the CPU. Threads take directions.
#include <algorithm>

#include "../include/export.h"
#include "../include/invid_render.h"
#include "../include/visibility.h"
#include "team.h"

namespace invid {
namespace drawing {
namespace {

// Points at a time: small arrays between loops that the compiler turns into vector code.
constexpr int kBlock = 256;

// Greatest depth of the occluders in each cell.
void scatter(const invid_visibility &call, const float *axes, float *map) {
  const int side = call.resolution;
  std::fill(map, map + side * side + 1, kFar);
  int cell[kBlock];
  float depth[kBlock];
  for (int first = 0; first < call.occluders; first += kBlock) {
    const int count = least(kBlock, call.occluders - first);
    const float *const start = call.occluder + first;
    for (int i = 0; i < count; i++) {
      cell[i] = cell_of(along(axes, start, call.occluders, i), along(axes + 4, start, call.occluders, i), side);
      depth[i] = along(axes + 8, start, call.occluders, i);
    }
    for (int i = 0; i < count; i++) map[cell[i]] = most(map[cell[i]], depth[i]);
  }
}

void gather(const invid_visibility &call, const float *axes, const float *map, float *visible) {
  const int side = call.resolution;
  int cell[kBlock];
  float right[kBlock], down[kBlock], reach[kBlock], tap[4][kBlock];
  for (int first = 0; first < call.queries; first += kBlock) {
    const int count = least(kBlock, call.queries - first);
    const float *const start = call.query + first;
    for (int i = 0; i < count; i++) {
      const float column = along(axes, start, call.queries, i) - .5f;
      const float row = along(axes + 4, start, call.queries, i) - .5f;
      const Taps taps = taps_of(column, row, side);
      reach[i] = along(axes + 8, start, call.queries, i) + call.bias;
      cell[i] = taps.cell, right[i] = taps.right, down[i] = taps.down;
    }
    for (int i = 0; i < count; i++) {
      const float *const place = map + cell[i];
      tap[0][i] = place[0], tap[1][i] = place[1], tap[2][i] = place[side], tap[3][i] = place[side + 1];
    }
    for (int i = 0; i < count; i++)
      visible[first + i] = compare(tap[0][i], tap[1][i], tap[2][i], tap[3][i], right[i], down[i], reach[i]);
  }
}

int team_of(const invid_visibility &call) { return most(least(call.threads, call.directions), 1); }

void work(void *given, int thread, Barrier &) {
  const invid_visibility &call = *static_cast<const invid_visibility *>(given);
  const int64_t cells = int64_t(call.resolution) * call.resolution + 1;
  for (int d = thread; d < call.directions; d += team_of(call)) {
    float *const map = call.maps + d * cells;
    scatter(call, call.axes + 12 * d, map);
    gather(call, call.axes + 12 * d, map, call.visible + d * int64_t(call.queries));
  }
}

}  // namespace
}  // namespace drawing
}  // namespace invid

INVID_EXPORT int invid_draw_visible(const invid_visibility *call) {
  using namespace invid;
  if (!call || call->abi != INVID_DRAW_ABI || call->resolution < 2) return INVID_UNSUPPORTED;
  void *const given = const_cast<invid_visibility *>(call);
  return run_team(drawing::team_of(*call), drawing::work, given) ? INVID_OK : INVID_NO_MEMORY;
}
