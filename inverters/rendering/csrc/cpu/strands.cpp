// Strands on the CPU. Threads take bands of rows, so that no sum depends on their number.
//
// Segments and fragments are computed several at a time. Fragments go to a list that is worked off without branches:
// which fragment is hidden or in front is not predictable.
#include <string.h>

#include "vectors.h"

#include "../include/export.h"
#include "../include/strands.h"
#include "band.h"

namespace invid {
namespace drawing {
namespace {

typedef float Colour __attribute__((vector_size(16)));

template <class V, class T>
inline V load(const T *place) {
  V v;
  memcpy(&v, place, sizeof v);
  return v;
}
template <class V, class T>
inline void store(T *place, V v) {
  memcpy(place, &v, sizeof v);
}

// Depth of the nearest fragment, and the depth from which fragments are hidden.
struct Front {
  float nearest, limit;
};

// Segments of a strand that are in work at once, and fragments in the list.
constexpr int kSegments = 64, kFragments = 1024;

struct List {
  int count = 0;
  int32_t place[kFragments + kLanes], segment[kFragments + kLanes];
  float depth[kFragments + kLanes], weight[kFragments + kLanes], share[kFragments + kLanes];
};

const Ints kCount = {0, 1, 2, 3};

// Cells from one row to the next. At a power of two, the samples of an upright strand would share few cache lines.
constexpr int kPadding = 9;

// A band of the canvas; what falls outside goes to a cell of the padding.
struct Target {
  int width, low, high, pitch, outside;
};

// Adds the fragments of a segment of fibres narrower than a sample to the list, calling `flush` when it is full.
template <bool colours, class Flush>
inline void expand_thin(const Segment<float, int> &segment, int number, const Target &target, List &list,
                        Flush flush) {
  const Ints step = kCount * (segment.steep ? target.pitch : 1);
  const Ints outside = target.outside + Ints{};
  const int low = segment.steep ? 0 : target.low, high = segment.steep ? target.width : target.high;
  for (int i = segment.first; i < segment.last; i += kLanes) {
    if (list.count > kFragments - kLanes) flush();
    const auto found = fragment_of<Floats, Ints, true>(segment, real_of(i + kCount) + .5f);
    const Ints place = segment.steep ? i * target.pitch + step + found.low : i + step + found.low * target.pitch;
    store(list.place + list.count, (found.low >= low) & (found.low < high) ? place : outside);
    store(list.depth + list.count, found.depth);
    if (colours) {
      store(list.segment + list.count, number + Ints{});
      store(list.weight + list.count, found.weight);
      store(list.share + list.count, found.share);
    }
    list.count += least(segment.last - i, kLanes);
  }
}

// As `expand_thin`, for fibres of any width.
template <class Flush>
inline void expand(const Segment<float, int> &segment, int number, const Target &target, List &list, Flush flush) {
  const int along = segment.steep ? target.pitch : 1, across = segment.steep ? 1 : target.pitch;
  const int low = segment.steep ? 0 : target.low, high = segment.steep ? target.width : target.high;
  for (int i = segment.first; i < segment.last; i += kLanes) {
    const auto found = fragment_of<Floats, Ints>(segment, real_of(i + kCount) + .5f);
    const int count = least(segment.last - i, kLanes);
    for (int k = 0; k < count; k++)
      for (int j = most(found.low[k], low); j < least(found.high[k], high); j++) {
        if (list.count == kFragments) flush();
        const int at = list.count++;
        list.place[at] = (i + k) * along + j * across, list.segment[at] = number;
        list.depth[at] = found.depth[k], list.weight[at] = found.weight[k], list.share[at] = found.share[k];
      }
  }
}

// Calls use(list, first point of the segments) for lists of fragments of all strands in the band.
template <bool colours, class Use>
inline void walk(const invid_strands &call, const Target &target, Use use) {
  List list;
  alignas(32) Segment<Floats, Ints> parts[kSegments / kLanes];
  for (int s = 0; s < call.strands; s++)
    for (int k = 0; k + 1 < call.points; k += kSegments) {
      const int64_t point = int64_t(s) * call.points + k;
      const int segments = least(call.points - 1 - k, kSegments);
      const auto flush = [&] {
        use(list, point, segments);
        list.count = 0;
      };
      for (int part = 0; part * kLanes < segments; part++) {
        const int64_t at = point + part * kLanes;
        const int count = least(segments - part * kLanes, kLanes);
        // A vector of points may end behind the last one.
        float ends[6][kLanes] = {};
        for (int row = 0; row < 6; row++) {
          const float *const from = (row % 3 == 0 ? call.x : row % 3 == 1 ? call.y : call.inverse_depth) + at + row / 3;
          if (count == kLanes)
            memcpy(ends[row], from, sizeof ends[row]);
          else
            memcpy(ends[row], from, count * sizeof(float));
        }
        parts[part] = segment_of<Floats, Ints>(
            load<Floats>(ends[0]), load<Floats>(ends[1]), load<Floats>(ends[2]), load<Floats>(ends[3]),
            load<Floats>(ends[4]), load<Floats>(ends[5]), call.diameter[s] + Floats{}, target.width, target.low,
            target.high);
        const Segment<Floats, Ints> &all = parts[part];
        for (int i = 0; i < count; i++) {
          if (all.first[i] >= all.last[i]) continue;
          const Segment<float, int> segment = {all.first[i],  all.last[i],  all.steep[i], all.backwards[i],
                                               all.start[i],  all.scale[i], all.across[i], all.slope[i],
                                               all.near[i],   all.change[i], all.end[i],   all.width[i]};
          const int number = 2 * (part * kLanes + i) + segment.backwards;
          // A margin for the rounding of each fragment's width.
          if (segment.width * most(segment.near, segment.end) < .999f)
            expand_thin<colours>(segment, number, target, list, flush);
          else
            expand(segment, number, target, list, flush);
        }
      }
      if (list.count) flush();
    }
}

void find_nearest(const List &list, Front *fronts) {
  for (int i = 0; i < list.count; i++) {
    Front &front = fronts[list.place[i]];
    const float seen = list.depth[i] < front.limit ? list.depth[i] : INFINITY;
    front.nearest = least(seen, front.nearest);
  }
}

void add_up(const invid_strands &call, const List &list, int64_t point, int segments, Cell *cells) {
  // Colour of the start and difference to the end, for both directions of a segment; 1 in the last channel sums
  // the weights.
  Colour start[2 * kSegments], change[2 * kSegments];
  const float *colour = call.colours + 3 * point;
  for (int i = 0; i < segments; i++, colour += 3) {
    const Colour a = {colour[0], colour[1], colour[2], 1}, b = {colour[3], colour[4], colour[5], 1};
    start[2 * i] = a, change[2 * i] = b - a, start[2 * i + 1] = b, change[2 * i + 1] = a - b;
  }
  for (int i = 0; i < list.count; i++) {
    Cell &cell = cells[list.place[i]];
    const float depth = list.depth[i], weight = depth < cell.limit ? list.weight[i] : 0.f;
    const float counted = depth <= cell.nearest + call.soft ? weight : 0.f;
    cell.clear *= 1.f - alpha_of(call, weight);
    const int segment = list.segment[i];
    const Colour sum = load<Colour>(cell.colour) + counted * (start[segment] + list.share[i] * change[segment]);
    store(cell.colour, sum);
  }
}

// Part of the band that strands can touch.
struct Box {
  int top, bottom, left, right;  // bottom and right exclusive
};

Box box_of(const invid_strands &call, Band band) {
  float left = 1e9f, right = -1e9f, top = 1e9f, bottom = -1e9f;
  for (int s = 0; s < call.strands; s++)
    for (int64_t k = int64_t(s) * call.points; k < (int64_t(s) + 1) * call.points; k++) {
      // The extent along an axis is up to sqrt(2) diameters.
      const float margin = 1.f + .75f * least(call.diameter[s] * call.inverse_depth[k], kWidest);
      const bool drawn = call.inverse_depth[k] > 0;
      left = least(left, drawn ? call.x[k] - margin : left), right = most(right, drawn ? call.x[k] + margin : right);
      top = least(top, drawn ? call.y[k] - margin : top);
      bottom = most(bottom, drawn ? call.y[k] + margin : bottom);
    }
  if (left > right) return {0, 0, 0, 0};
  return {most(floor_of(top), band.low), least(ceil_of(bottom), band.high), most(floor_of(left), 0),
          least(ceil_of(right), call.width)};
}

void draw_strands(void *given, int thread, Barrier &) {
  const invid_strands &call = *static_cast<const invid_strands *>(given);
  const Band band = band_of(call.height, thread, call.threads);
  const int pitch = call.width + kPadding;
  Cell *const cells = reinterpret_cast<Cell *>(call.cells);
  Front *const fronts = reinterpret_cast<Front *>(cells + call.height * pitch);
  const Target target = {call.width, band.low, band.high, pitch, band.low * pitch + call.width};
  const Box box = box_of(call, band);
  const auto each = [&](auto visit) {
    for (int row = box.top; row < box.bottom; row++)
      for (int column = box.left; column < box.right; column++) visit(row * pitch + column, row * call.width + column);
  };
  each([&](int place, int sample) { fronts[place] = {INFINITY, call.depth[sample] + kSlack}; });
  fronts[target.outside] = {INFINITY, -INFINITY};
  walk<false>(call, target, [&](const List &list, int64_t, int) { find_nearest(list, fronts); });
  each([&](int place, int) { cells[place] = {{0, 0, 0}, 0, 1, fronts[place].nearest, fronts[place].limit, 0}; });
  cells[target.outside] = {{0, 0, 0}, 0, 1, INFINITY, -INFINITY, 0};
  walk<true>(call, target, [&](const List &list, int64_t point, int segments) {
    add_up(call, list, point, segments, cells);
  });
  each([&](int place, int sample) { finish(call, sample, cells[place], cells[place].clear); });
}

}  // namespace
}  // namespace drawing
}  // namespace invid

INVID_EXPORT int invid_draw_strands(const invid_strands *call) {
  return invid::drawing::run(call, invid::drawing::draw_strands);
}
