// Triangles in fixed point, strands as fragments, and depth maps, compiled for CPU and CUDA.
//
// The arithmetic is that of inverters/rendering/drawing_reference.py, operation by operation: with no fused
// multiply-add, all three give the same coverage and depth to the last bit.
#pragma once

#include <math.h>
#include <stdint.h>

#include "invid_draw.h"

#if defined(__CUDACC__)
#define INVID_DRAW_FN __host__ __device__ __forceinline__
#else
#define INVID_DRAW_FN inline
#endif

namespace invid {
namespace drawing {

// Fragments of strands count up to this far behind the canvas.
constexpr float kSlack = .001f;
// Greatest alpha of a fragment, so that its logarithm exists.
constexpr float kOpaque = .999999f;
// Widest strand in samples.
constexpr float kWidest = 32768.f;
// Depth of a map's cell without occluders, and the softness of the comparison.
constexpr float kFar = -9.f, kSharpness = 50.f;

INVID_DRAW_FN int least(int a, int b) { return a < b ? a : b; }
INVID_DRAW_FN int most(int a, int b) { return a > b ? a : b; }
INVID_DRAW_FN float least(float a, float b) { return a < b ? a : b; }
INVID_DRAW_FN float most(float a, float b) { return a > b ? a : b; }

// For |x| < 2^31; SSE2 has no instruction for it.
INVID_DRAW_FN int floor_of(float x) {
  const int whole = int(x);
  return whole - (float(whole) > x);
}
INVID_DRAW_FN int ceil_of(float x) {
  const int whole = int(x);
  return whole + (float(whole) < x);
}

// A triangle turned so that its edge functions are positive inside. Edge i is opposite vertex i.
struct Triangle {
  int32_t x[3], y[3];
  float inverse_depth[3];
  int64_t area;                  // twice, in units of 1/256^2
  int sign;                      // of the area as given; < 0: the front, as rows count downwards
  int first_row, rows, first_column, columns;  // of samples whose centre is in the box
};

// Loads triangle t. False where it is not drawn in rows [low,high): near plane, empty box, culled, no area.
INVID_DRAW_FN bool load(const invid_triangles &call, int t, bool two_sided, int low, int high, Triangle &out) {
  const int32_t *index = call.triangle + 3 * int64_t(t);
  for (int i = 0; i < 3; i++) {
    const int64_t v = index[i];
    out.x[i] = call.position[2 * v], out.y[i] = call.position[2 * v + 1];
    out.inverse_depth[i] = call.inverse_depth[v];
  }
  // Half-open in fixed point: the centre of sample c is at 256 c + 128.
  const int left = least(least(out.x[0], out.x[1]), out.x[2]), right = most(most(out.x[0], out.x[1]), out.x[2]);
  const int top = least(least(out.y[0], out.y[1]), out.y[2]), bottom = most(most(out.y[0], out.y[1]), out.y[2]);
  out.first_column = most((left + 127) >> 8, 0), out.first_row = most((top + 127) >> 8, low);
  out.columns = least((right - 128) >> 8, call.width - 1) - out.first_column + 1;
  out.rows = least((bottom - 128) >> 8, high - 1) - out.first_row + 1;
  if (out.columns < 1 || out.rows < 1) return false;
  if (!(out.inverse_depth[0] > 0 && out.inverse_depth[1] > 0 && out.inverse_depth[2] > 0)) return false;
  const int64_t area = int64_t(out.x[1] - out.x[0]) * (out.y[2] - out.y[0]) -
                       int64_t(out.y[1] - out.y[0]) * (out.x[2] - out.x[0]);
  if (area == 0 || (area > 0 && !two_sided)) return false;
  out.sign = area < 0 ? -1 : 1;
  out.area = area < 0 ? -area : area;
  return true;
}

// Edge functions in steps over samples; `tie` is 1 where a sample exactly on the edge belongs to the neighbour, that is
// unless it is a left or a top edge.
struct Edges {
  int64_t at[3], across[3], down[3];  // at the first sample of the box; step to the next column, row
  int64_t tie[3];
};

INVID_DRAW_FN Edges edges_of(const Triangle &triangle, int row, int column) {
  Edges edges;
  for (int i = 0; i < 3; i++) {
    const int j = (i + 1) % 3, k = (i + 2) % 3;
    const int64_t dx = int64_t(triangle.sign) * (triangle.x[k] - triangle.x[j]);
    const int64_t dy = int64_t(triangle.sign) * (triangle.y[k] - triangle.y[j]);
    edges.at[i] = dx * (256 * row + 128 - triangle.y[j]) - dy * (256 * column + 128 - triangle.x[j]);
    edges.across[i] = -256 * dy, edges.down[i] = 256 * dx;
    edges.tie[i] = !(dy < 0 || (dy == 0 && dx > 0));
  }
  return edges;
}

INVID_DRAW_FN bool inside(const int64_t *edge, const int64_t *tie) {
  return ((edge[0] - tie[0]) | (edge[1] - tie[1]) | (edge[2] - tie[2])) >= 0;
}

// A sample in a triangle: barycentric coordinates in the world, and depth.
struct Surface {
  float weight[3], depth;
};

INVID_DRAW_FN float depth_at(const Triangle &triangle, const int64_t *edge) {
  const float sum = float(edge[0]) * triangle.inverse_depth[0] + float(edge[1]) * triangle.inverse_depth[1] +
                    float(edge[2]) * triangle.inverse_depth[2];
  return float(triangle.area) / sum;
}

INVID_DRAW_FN Surface surface_at(const Triangle &triangle, const int64_t *edge) {
  Surface found;
  for (int i = 0; i < 3; i++) found.weight[i] = float(edge[i]) * triangle.inverse_depth[i];
  const float sum = found.weight[0] + found.weight[1] + found.weight[2];
  for (int i = 0; i < 3; i++) found.weight[i] = found.weight[i] / sum;
  found.depth = float(triangle.area) / sum;
  return found;
}

// Colour channel of a sample; `colours` has rows of `channels`.
INVID_DRAW_FN float blend_of(const invid_triangles &call, int t, const Surface &surface, int channels, int channel) {
  const int32_t *index = call.triangle + 3 * int64_t(t);
  const float a = call.colours[int64_t(index[0]) * channels + channel];
  const float b = call.colours[int64_t(index[1]) * channels + channel];
  const float c = call.colours[int64_t(index[2]) * channels + channel];
  return surface.weight[0] * a + surface.weight[1] * b + surface.weight[2] * c;
}

// Writes what is wanted of sample (row, column), whose nearest triangle is t; -1: none.
INVID_DRAW_FN void shade(const invid_triangles &call, int t, int row, int column) {
  const int64_t place = int64_t(row) * call.width + column;
  Surface surface = {};
  if (t >= 0) {
    Triangle triangle;
    load(call, t, true, 0, call.height, triangle);
    surface = surface_at(triangle, edges_of(triangle, row, column).at);
  }
  if (call.barycentric)
    for (int i = 0; i < 3; i++) call.barycentric[3 * place + i] = surface.weight[i];
  if (t < 0 || !call.colours) return;
  for (int k = 0; k < 3; k++) call.colour[3 * place + k] = blend_of(call, t, surface, 3, k);
  if (call.labels) call.label[place] = call.labels[t];
}

// Blends triangle t over sample `place`, where nearer than the canvas.
INVID_DRAW_FN void blend_over(const invid_triangles &call, int t, const Triangle &triangle, const int64_t *edge,
                              int64_t place) {
  const Surface surface = surface_at(triangle, edge);
  if (!(surface.depth < call.depth[place])) return;
  const float alpha = blend_of(call, t, surface, 4, 3), rest = 1.f - alpha;
  for (int k = 0; k < 3; k++) {
    float &colour = call.colour[3 * place + k];
    colour = colour * rest + blend_of(call, t, surface, 4, k) * alpha;
  }
  if (call.labels && alpha >= .5f) call.label[place] = call.labels[t];
}

// A segment of a strand along its longer axis on the canvas: one fragment, or a column of them, each sample.
struct Segment {
  int first, last;        // samples [first,last) along the longer axis
  bool steep, backwards;  // longer axis is y; ends were swapped
  float start, scale;     // position s in [0,1] of the sample i: (i + .5 - start) * scale
  float across, slope;    // shorter axis: across + s * slope
  float near, change, end;  // inverse depth: near + s * change; at s = 1
  float width;            // extent along the shorter axis in samples at z = 1
};

// `ends` are two points of x, y, 1 / z. False where nothing is drawn in rows [low,high).
INVID_DRAW_FN bool load(const float *ends, float diameter, int width, int low, int high, Segment &out) {
  if (!(ends[2] > 0 && ends[5] > 0)) return false;
  const float dx = ends[3] - ends[0], dy = ends[4] - ends[1];
  out.steep = fabsf(dy) > fabsf(dx);
  out.backwards = (out.steep ? dy : dx) < 0;
  const float *a = out.backwards ? ends + 3 : ends, *b = out.backwards ? ends : ends + 3;
  const int along = out.steep ? 1 : 0;
  out.start = a[along];
  out.first = most(ceil_of(a[along] - .5f), out.steep ? low : 0);
  out.last = least(ceil_of(b[along] - .5f), out.steep ? high : width);
  if (out.first >= out.last) return false;
  out.scale = 1.f / (b[along] - a[along]);
  out.across = a[1 - along], out.slope = b[1 - along] - a[1 - along];
  out.near = a[2], out.change = b[2] - a[2], out.end = b[2];
  const float steepness = out.slope * out.scale;
  out.width = diameter * sqrtf(1.f + steepness * steepness);
  return true;
}

// Fragments of one sample along a segment: samples [low,high) along the shorter axis, each of `weight`.
struct Fragment {
  int low, high;
  float depth, weight, share;  // share: of the second end in the colour
};

INVID_DRAW_FN Fragment fragment_at(const Segment &segment, int i) {
  Fragment found;
  const float s = (float(i) + .5f - segment.start) * segment.scale;
  const float middle = segment.across + s * segment.slope, inverse = segment.near + s * segment.change;
  const float width = least(segment.width * inverse, kWidest);
  found.depth = 1.f / inverse;
  found.share = s * segment.end * found.depth;
  if (width <= 1.f) {
    found.low = floor_of(middle), found.high = found.low + 1, found.weight = width;
  } else {
    found.low = ceil_of(middle - .5f * width - .5f), found.high = ceil_of(middle + .5f * width - .5f);
    found.weight = 1.f;
  }
  return found;
}

// What the strands of one call do to a sample.
struct Cell {
  float colour[3], weight;  // sums over the fragments near the front
  float clear;              // product of 1 - alpha; on CUDA the sum of their logarithms
  float nearest, limit;     // depth of the nearest fragment; fragments beyond the limit are hidden
  float unused;
};

INVID_DRAW_FN float alpha_of(const invid_strands &call, const Fragment &fragment) {
  return least(call.opacity * fragment.weight, kOpaque);
}

// Blends the strands over sample `place`; `clear`: share of the canvas that shows through.
INVID_DRAW_FN void finish(const invid_strands &call, int64_t place, const Cell &cell, float clear) {
  if (!(cell.weight > 0)) return;
  const float covered = 1.f - clear;
  for (int c = 0; c < 3; c++) {
    float &colour = call.colour[3 * place + c];
    colour = colour * clear + cell.colour[c] / cell.weight * covered;
  }
  if (!(covered > .5f)) return;
  call.depth[place] = least(call.depth[place], cell.nearest);
  call.label_of[place] = uint8_t(call.label);
}

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
