// Depth maps that points are scattered into.
#pragma once

#include "drawing.h"

namespace invid {
namespace drawing {

// Depth of a map's cell without occluders, and the softness of the comparison.
constexpr float kFar = -9.f, kSharpness = 50.f;

// Row of an affine map at point i of points [3,count].
INVID_DRAW_FN float along(const float *axis, const float *points, int64_t count, int64_t i) {
  return points[i] * axis[0] + points[count + i] * axis[1] + points[2 * count + i] * axis[2] + axis[3];
}

// Cell of the map; the one after the last for a point outside it.
INVID_DRAW_FN int cell_of(float column, float row, int side) {
  const float limit = float(side);
  const bool within = (column >= 0) & (column < limit) & (row >= 0) & (row < limit);
  const int place = int(most(least(row, limit), 0.f)) * side + int(most(least(column, limit), 0.f));
  return within ? place : side * side;
}

// Four cells around a query, from `cell`, and its position between them in [0,1].
struct Taps {
  int cell;
  float right, down;
};
INVID_DRAW_FN Taps taps_of(float column, float row, int side) {
  const float last = float(side - 2);
  const int c = int(least(most(column, 0.f), last)), r = int(least(most(row, 0.f), last));
  return {r * side + c, least(most(column - float(c), 0.f), 1.f), least(most(row - float(r), 0.f), 1.f)};
}

// How far an occluder at this depth leaves light to a point whose depth and bias are `reach`.
INVID_DRAW_FN float lit(float occluder, float reach) {
  return least(most(1.f - (occluder - reach) * kSharpness, 0.f), 1.f);
}

INVID_DRAW_FN float compare(float a, float b, float c, float d, float right, float down, float reach) {
  const float above = (1.f - right) * lit(a, reach) + right * lit(b, reach);
  const float below = (1.f - right) * lit(c, reach) + right * lit(d, reach);
  return (1.f - down) * above + down * below;
}

}  // namespace drawing
}  // namespace invid
