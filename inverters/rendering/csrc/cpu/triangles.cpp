// Triangles on the CPU. Threads take bands of rows.
#include "../include/export.h"
#include "../include/triangles.h"
#include "band.h"

namespace invid {
namespace drawing {
namespace {

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
  const Band band = band_of(call.height, thread, call.threads);
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

}  // namespace
}  // namespace drawing
}  // namespace invid

INVID_EXPORT int invid_draw_triangles(const invid_triangles *call) {
  return invid::drawing::run(call, invid::drawing::draw_triangles);
}
