// Triangles in fixed point.
#pragma once

#include "drawing.h"

namespace invid {
namespace drawing {

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
    out.x[i] = call.x[v], out.y[i] = call.y[v];
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

}  // namespace drawing
}  // namespace invid
