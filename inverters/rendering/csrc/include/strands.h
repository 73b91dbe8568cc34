// Strands as fragments, one or a column of them for each sample along a segment.
#pragma once

#include "drawing.h"

namespace invid {
namespace drawing {

// Fragments of strands count up to this far behind the canvas.
constexpr float kSlack = .001f;
// Greatest alpha of a fragment, so that its logarithm exists.
constexpr float kOpaque = .999999f;
// Widest strand in samples.
constexpr float kWidest = 32768.f;

// Conversions of numbers; the CPU has them for vectors too, of which the functions below take several segments or
// fragments at once: F is a float or a vector of them, I an int or a vector.
INVID_DRAW_FN int whole_of(float x) { return int(x); }
INVID_DRAW_FN float real_of(int x) { return float(x); }
INVID_DRAW_FN float root_of(float x) { return sqrtf(x); }

// For |x| < 2^31; SSE2 has no instruction for them.
template <class F>
INVID_DRAW_FN auto floor_of(F x) {
  const auto whole = whole_of(x);
  return real_of(whole) > x ? whole - 1 : whole;
}
template <class F>
INVID_DRAW_FN auto ceil_of(F x) {
  const auto whole = whole_of(x);
  return real_of(whole) < x ? whole + 1 : whole;
}

// A segment of a strand along its longer axis on the canvas: one fragment, or a column of them, each sample.
template <class F, class I>
struct Segment {
  I first, last;            // samples [first,last) along the longer axis; none: first >= last
  I steep, backwards;       // not 0: the longer axis is y; ends were swapped
  F start, scale;           // position s in [0,1] of the sample i: (i + .5 - start) * scale
  F across, slope;          // shorter axis: across + s * slope
  F near, change, end;      // inverse depth: near + s * change; at s = 1
  F width;                  // extent along the shorter axis in samples at z = 1
};

// The segment between points a and b of a strand, in rows [low,high) and columns [0,width).
template <class F, class I>
INVID_DRAW_FN Segment<F, I> segment_of(F xa, F ya, F inverse_a, F xb, F yb, F inverse_b, F diameter, int width,
                                       int low, int high) {
  const F dx = xb - xa, dy = yb - ya;
  const auto steep = (dy < 0 ? -dy : dy) > (dx < 0 ? -dx : dx);
  const auto backwards = (steep ? dy : dx) < 0;
  const F along_a = steep ? ya : xa, along_b = steep ? yb : xb, across_a = steep ? xa : ya, across_b = steep ? xb : yb;
  Segment<F, I> out;
  const I none = {};
  out.steep = steep ? none + 1 : none, out.backwards = backwards ? none + 1 : none;
  out.start = backwards ? along_b : along_a;
  const F stop = backwards ? along_a : along_b;
  out.across = backwards ? across_b : across_a;
  out.slope = (backwards ? across_a : across_b) - out.across;
  out.near = backwards ? inverse_b : inverse_a, out.end = backwards ? inverse_a : inverse_b;
  out.change = out.end - out.near;
  const I first = ceil_of(out.start - .5f), last = ceil_of(stop - .5f);
  const I begin = steep ? none + low : none, finish = steep ? none + high : none + width;
  out.first = first > begin ? first : begin;
  out.last = last < finish ? last : finish;
  out.last = (inverse_a > 0) & (inverse_b > 0) ? out.last : none;
  out.scale = 1.f / (stop - out.start);
  const F steepness = out.slope * out.scale;
  out.width = diameter * root_of(1.f + steepness * steepness);
  return out;
}

// Fragments of one sample along a segment: samples [low,high) along the shorter axis, each of `weight`.
template <class F, class I>
struct Fragment {
  I low, high;
  F depth, weight;
  F share;  // of the segment's end in the colour
};

// At position `at`, i + .5 for sample i. `all_thin`: no fragment is wider than a sample, which is not looked at then.
template <class F, class I, bool all_thin = false>
INVID_DRAW_FN Fragment<F, I> fragment_of(const Segment<float, int> &segment, F at) {
  Fragment<F, I> out;
  const F s = (at - segment.start) * segment.scale;
  const F middle = segment.across + s * segment.slope, inverse = segment.near + s * segment.change;
  F width = segment.width * inverse;
  width = width < kWidest ? width : kWidest + F{};
  out.depth = 1.f / inverse;
  out.share = s * segment.end * out.depth;
  if (all_thin) {
    out.low = floor_of(middle), out.high = out.low + 1, out.weight = width;
    return out;
  }
  const auto thin = width <= 1.f;
  const F half = .5f * width;
  out.low = thin ? floor_of(middle) : ceil_of(middle - half - .5f);
  out.high = thin ? out.low + 1 : ceil_of(middle + half - .5f);
  out.weight = thin ? width : 1.f + F{};
  return out;
}

// What the strands of one call do to a sample.
struct Cell {
  float colour[3], weight;  // sums over the fragments near the front
  float clear;              // product of 1 - alpha; on CUDA the sum of their logarithms
  float nearest, limit;     // depth of the nearest fragment; fragments beyond the limit are hidden
  float unused;
};
static_assert(sizeof(Cell) == 32, "eight floats");

INVID_DRAW_FN float alpha_of(const invid_strands &call, float weight) { return least(call.opacity * weight, kOpaque); }

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

}  // namespace drawing
}  // namespace invid
