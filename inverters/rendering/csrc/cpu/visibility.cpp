// Visibility of points from directions on the CPU. Threads take directions.
#include <algorithm>

#include "../include/drawing.h"
#include "../include/export.h"
#include "../include/invid_render.h"
#include "team.h"

namespace invid {
namespace drawing {
namespace {

// Points at a time: small arrays between loops that the compiler turns into vector code.
constexpr int kBlock = 256;

struct Points {
  const float *x, *y, *z;
};

inline float along(const float *axis, const Points &p, int i) {
  return p.x[i] * axis[0] + p.y[i] * axis[1] + p.z[i] * axis[2] + axis[3];
}

// Greatest depth of the occluders in each cell; those outside go to the cell after the last.
void scatter(const invid_visibility &call, const float *axes, float *map) {
  const int side = call.resolution;
  const float limit = float(side);
  std::fill(map, map + side * side + 1, kFar);
  int cell[kBlock];
  float depth[kBlock];
  for (int first = 0; first < call.occluders; first += kBlock) {
    const int count = least(kBlock, call.occluders - first);
    const float *const start = call.occluder + first;
    const Points p = {start, start + call.occluders, start + 2 * int64_t(call.occluders)};
    for (int i = 0; i < count; i++) {
      const float column = along(axes, p, i), row = along(axes + 4, p, i);
      depth[i] = along(axes + 8, p, i);
      const bool within = (column >= 0) & (column < limit) & (row >= 0) & (row < limit);
      const int place = int(most(least(row, limit), 0.f)) * side + int(most(least(column, limit), 0.f));
      cell[i] = within ? place : side * side;
    }
    for (int i = 0; i < count; i++) map[cell[i]] = most(map[cell[i]], depth[i]);
  }
}

// 1 where an occluder lies no more than `reach` - depth in front.
inline float lit(float occluder, float reach) { return least(most(1.f - (occluder - reach) * kSharpness, 0.f), 1.f); }

void compare(const invid_visibility &call, const float *axes, const float *map, float *visible) {
  const int side = call.resolution;
  const float last = float(side - 2);
  int cell[kBlock];
  float right[kBlock], down[kBlock], reach[kBlock], tap[4][kBlock];
  for (int first = 0; first < call.queries; first += kBlock) {
    const int count = least(kBlock, call.queries - first);
    const float *const start = call.query + first;
    const Points p = {start, start + call.queries, start + 2 * int64_t(call.queries)};
    for (int i = 0; i < count; i++) {
      const float column = along(axes, p, i) - .5f, row = along(axes + 4, p, i) - .5f;
      reach[i] = along(axes + 8, p, i) + call.bias;
      const int c = int(least(most(column, 0.f), last)), r = int(least(most(row, 0.f), last));
      right[i] = least(most(column - float(c), 0.f), 1.f), down[i] = least(most(row - float(r), 0.f), 1.f);
      cell[i] = r * side + c;
    }
    for (int i = 0; i < count; i++) {
      const float *const place = map + cell[i];
      tap[0][i] = place[0], tap[1][i] = place[1], tap[2][i] = place[side], tap[3][i] = place[side + 1];
    }
    for (int i = 0; i < count; i++) {
      const float above = (1.f - right[i]) * lit(tap[0][i], reach[i]) + right[i] * lit(tap[1][i], reach[i]);
      const float below = (1.f - right[i]) * lit(tap[2][i], reach[i]) + right[i] * lit(tap[3][i], reach[i]);
      visible[first + i] = (1.f - down[i]) * above + down[i] * below;
    }
  }
}

int team_of(const invid_visibility &call) { return most(least(call.threads, call.directions), 1); }

void work(void *given, int thread, Barrier &) {
  const invid_visibility &call = *static_cast<const invid_visibility *>(given);
  const int64_t cells = int64_t(call.resolution) * call.resolution + 1;
  for (int d = thread; d < call.directions; d += team_of(call)) {
    float *const map = call.maps + d * cells;
    scatter(call, call.axes + 12 * d, map);
    compare(call, call.axes + 12 * d, map, call.visible + d * int64_t(call.queries));
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
