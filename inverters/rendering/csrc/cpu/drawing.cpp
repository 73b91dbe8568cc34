// Triangles and strands on the CPU. Threads take bands of rows, so that no sum depends on their number.
#include <new>

#include "../include/drawing.h"
#include "../include/invid_render.h"
#include "../include/export.h"
#include "team.h"

namespace invid {
namespace drawing {
namespace {

struct Band {
  int low, high;
};
Band band_of(int height, int thread, int threads) {
  return {int(int64_t(height) * thread / threads), int(int64_t(height) * (thread + 1) / threads)};
}

int team_of(int threads, int height) { return threads < 1 || height < 2 ? 1 : least(threads, height); }

// Calls visit(triangle, edges at the sample, sample) for the samples of triangle t in the band.
template <class Visit>
inline void walk(const invid_triangles &call, int t, bool two_sided, Band band, Visit visit) {
  Triangle triangle;
  if (!load(call, t, two_sided, band.low, band.high, triangle)) return;
  Edges edges = edges_of(triangle, triangle.first_row, triangle.first_column);
  int64_t place = int64_t(triangle.first_row) * call.width + triangle.first_column;
  for (int row = 0; row < triangle.rows; row++, place += call.width) {
    int64_t edge[3] = {edges.at[0], edges.at[1], edges.at[2]};
    for (int column = 0; column < triangle.columns; column++) {
      if (inside(edge, edges.tie)) visit(triangle, edge, place + column);
      for (int i = 0; i < 3; i++) edge[i] += edges.across[i];
    }
    for (int i = 0; i < 3; i++) edges.at[i] += edges.down[i];
  }
}

// Nearest triangle of each sample into `hit`, its depth into the canvas.
void find_hits(const invid_triangles &call, Band band) {
  for (int64_t place = int64_t(band.low) * call.width; place < int64_t(band.high) * call.width; place++)
    call.hit[place] = -1;
  for (int t = 0; t < call.triangles; t++)
    walk(call, t, call.two_sided && call.two_sided[t], band,
         [&](const Triangle &triangle, const int64_t *edge, int64_t place) {
           const float depth = depth_at(triangle, edge);
           if (depth < call.depth[place]) call.depth[place] = depth, call.hit[place] = t;
         });
}

void draw_triangles(void *given, int thread, Barrier &) {
  const invid_triangles &call = *static_cast<const invid_triangles *>(given);
  const Band band = band_of(call.height, thread, team_of(call.threads, call.height));
  if (call.translucent) {
    for (int t = 0; t < call.triangles; t++)
      walk(call, t, true, band, [&](const Triangle &triangle, const int64_t *edge, int64_t place) {
        blend_over(call, t, triangle, edge, place);
      });
    return;
  }
  find_hits(call, band);
  for (int row = band.low; row < band.high; row++)
    for (int column = 0; column < call.width; column++)
      shade(call, call.hit[int64_t(row) * call.width + column], row, column);
}

static_assert(sizeof(Cell) == 32, "cells have 8 floats");

// Part of the canvas that strands can touch.
struct Box {
  int top, bottom, left, right;  // bottom and right exclusive
};

Box box_of(const invid_strands &call, Band band) {
  float left = 1e9f, right = -1e9f, top = 1e9f, bottom = -1e9f;
  const float *point = call.position;
  for (int s = 0; s < call.strands; s++)
    for (int k = 0; k < call.points; k++, point += 3) {
      if (!(point[2] > 0)) continue;
      // The extent along an axis is up to sqrt(2) diameters.
      const float margin = 1.f + .75f * least(call.diameter[s] * point[2], kWidest);
      left = least(left, point[0] - margin), right = most(right, point[0] + margin);
      top = least(top, point[1] - margin), bottom = most(bottom, point[1] + margin);
    }
  if (left > right) return {0, 0, 0, 0};
  return {most(floor_of(top), band.low), least(ceil_of(bottom), band.high), most(floor_of(left), 0),
          least(ceil_of(right), call.width)};
}

template <class Visit>
inline void walk(const invid_strands &call, Band band, Visit visit) {
  for (int s = 0; s < call.strands; s++)
    for (int k = 0; k + 1 < call.points; k++) {
      const int64_t point = 3 * (int64_t(s) * call.points + k);
      Segment segment;
      if (!load(call.position + point, call.diameter[s], call.width, band.low, band.high, segment)) continue;
      const float *a = call.colours + point + (segment.backwards ? 3 : 0);
      const float *b = call.colours + point + (segment.backwards ? 0 : 3);
      const int low = segment.steep ? 0 : band.low, high = segment.steep ? call.width : band.high;
      for (int i = segment.first; i < segment.last; i++) {
        const Fragment fragment = fragment_at(segment, i);
        for (int j = most(fragment.low, low); j < least(fragment.high, high); j++)
          visit(segment.steep ? int64_t(i) * call.width + j : int64_t(j) * call.width + i, fragment, a, b);
      }
    }
}

void draw_strands(void *given, int thread, Barrier &) {
  const invid_strands &call = *static_cast<const invid_strands *>(given);
  const Band band = band_of(call.height, thread, team_of(call.threads, call.height));
  Cell *const cells = reinterpret_cast<Cell *>(call.cells);
  const Box box = box_of(call, band);
  for (int row = box.top; row < box.bottom; row++)
    for (int64_t place = int64_t(row) * call.width + box.left; place < int64_t(row) * call.width + box.right; place++)
      cells[place] = {{0, 0, 0}, 0, 1, INFINITY, call.depth[place] + kSlack, 0};
  walk(call, band, [&](int64_t place, const Fragment &fragment, const float *, const float *) {
    Cell &cell = cells[place];
    if (fragment.depth < cell.limit && fragment.depth < cell.nearest) cell.nearest = fragment.depth;
  });
  walk(call, band, [&](int64_t place, const Fragment &fragment, const float *a, const float *b) {
    Cell &cell = cells[place];
    if (!(fragment.depth < cell.limit)) return;
    cell.clear *= 1.f - alpha_of(call, fragment);
    if (!(fragment.depth <= cell.nearest + call.soft)) return;
    for (int c = 0; c < 3; c++) cell.colour[c] += fragment.weight * (a[c] + fragment.share * (b[c] - a[c]));
    cell.weight += fragment.weight;
  });
  for (int row = box.top; row < box.bottom; row++)
    for (int64_t place = int64_t(row) * call.width + box.left; place < int64_t(row) * call.width + box.right; place++)
      finish(call, place, cells[place], cells[place].clear);
}

template <class Call>
int run(const Call *call, void (*work)(void *, int, Barrier &)) {
  if (!call || call->abi != INVID_DRAW_ABI) return INVID_UNSUPPORTED;
  if (call->height < 1 || call->width < 1) return INVID_OK;
  void *const given = const_cast<Call *>(call);
  return run_team(team_of(call->threads, call->height), work, given) ? INVID_OK : INVID_NO_MEMORY;
}

}  // namespace
}  // namespace drawing
}  // namespace invid

INVID_EXPORT int invid_draw_triangles(const invid_triangles *call) {
  return invid::drawing::run(call, invid::drawing::draw_triangles);
}
INVID_EXPORT int invid_draw_strands(const invid_strands *call) {
  return invid::drawing::run(call, invid::drawing::draw_strands);
}
