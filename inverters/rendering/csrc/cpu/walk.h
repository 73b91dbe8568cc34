// Shared by forward and backward: evaluates one or two fields along a ray and composites the weights. One ray at
// a time, so that its arrays stay in cache.
//
// Requires INVID_ISA, the namespace of the instruction set that the file is compiled for.
#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <initializer_list>

#include "../include/invid_render.h"
#include "../include/ray.h"
#include "team.h"

namespace invid {
namespace INVID_ISA {

template <int N>
struct Count {
  static constexpr int value = N;
};

#include "simd.h"

#include "lookup.h"
#include "product.h"

// Rays of a piece of work. Thread t takes pieces t, t + threads, ..., the same in every run.
constexpr int kPiece = 8;

// Weight below which a sample's colour is skipped: 96 such samples change a pixel in [-1,1] by less than half a
// unit in the last place. Zero in double precision, which is for gradcheck.
template <class T>
constexpr T negligible() {
  return sizeof(T) == 4 ? T(1e-9) : T(0);
}

// Samples between prefetch and read of texels.
constexpr int kAhead = 4;

// Allocates aligned arrays from one block; without a block it only counts bytes.
class Arena {
 public:
  explicit Arena(char *block = nullptr) : block_(block) {}
  template <class T>
  T *take(int64_t count) {
    T *found = block_ ? reinterpret_cast<T *>(block_ + used_) : nullptr;
    used_ += (count * int64_t(sizeof(T)) + 63) / 64 * 64;
    return found;
  }
  int64_t used() const { return used_; }

 private:
  char *block_;
  int64_t used_ = 0;
};

// C channels, H hidden units, K colours, the same in both fields; the second field also has a blend.
template <class T, int W, int C, int H, int K>
struct Walk {
  typedef T Scalar;
  typedef Simd<T, W> S;
  typedef typename S::V V;
  static constexpr int kWidth = W, kChannels = C, kHidden = H, kColours = K;
  static constexpr int KP = (K + W - 1) / W * W;  // colours, padded to whole vectors
  static constexpr int kVectors = KP / W;
  typedef Lookup<S, T, C> Texels;

  // Decoder weights in the layouts of the products.
  struct Packed {
    T w1t[C * H], w1[H * C], density[H], blend[H], w2t[H * KP], w2[K * H], b2[KP];
    T density_bias, blend_bias;

    void pack(const invid_field &field, bool second) {
      const T *first = static_cast<const T *>(field.w1), *last = static_cast<const T *>(field.w2);
      const T *bias = static_cast<const T *>(field.b2);
      for (int h = 0; h < H; h++)
        for (int c = 0; c < C; c++) w1t[c * H + h] = first[h * C + c];
      memcpy(w1, first, sizeof w1);
      memset(w2t, 0, sizeof w2t);
      memset(b2, 0, sizeof b2);
      for (int k = 0; k < K; k++)
        for (int h = 0; h < H; h++) w2t[h * KP + k] = last[(1 + k) * H + h];
      for (int k = 0; k < K; k++) b2[k] = bias[1 + k];
      memcpy(w2, last + H, sizeof w2);
      memcpy(density, last, sizeof density);
      density_bias = bias[0];
      if (second) {
        memcpy(blend, last + (1 + K) * H, sizeof blend);
        blend_bias = bias[1 + K];
      }
    }
  };

  // One field at the samples of one ray, in the order of evaluation.
  struct FieldWork {
    T *features, *hidden, *slope;  // [S,C], [S,H], derivative of the activation [S,H]
    Corners<S, T> *corners;        // W samples each, of the current lookup
    T *sigma, *blend;              // [S]
    // Compacted rows of a product, and the samples they belong to.
    T *rows, *weight, *alone;  // [S,H], [S], [S]
    int *sample;
    T *color, *dot, *dot_alone;                              // [S,KP]; [S] in the order of evaluation
    T *v_color, *v_hidden, *v_features, *rows_features;      // [S,KP], [S,H], [S,C], [S,C]
    T *v_sigma, *v_blend;                                    // [S] in the order of evaluation
    bool *coloured;                                          // same order: whether the colour is computed
    int count;                                               // number of compacted rows

    void lay_out(Arena &arena, int samples, bool backward) {
      features = arena.take<T>((samples + kSpareRows) * C);
      hidden = arena.take<T>((samples + kSpareRows) * H);
      corners = arena.take<Corners<S, T>>(samples / W + 1);
      sigma = arena.take<T>(samples + W);
      blend = arena.take<T>(samples + W);
      rows = arena.take<T>((samples + kSpareRows) * H);
      weight = arena.take<T>(samples + W);
      alone = arena.take<T>(samples + W);
      sample = arena.take<int>(samples);
      if (!backward) return;
      slope = arena.take<T>(samples * H);
      color = arena.take<T>(samples * KP);
      dot = arena.take<T>(samples + W);
      dot_alone = arena.take<T>(samples + W);
      v_color = arena.take<T>((samples + kSpareRows) * KP);
      v_hidden = arena.take<T>((samples + kSpareRows) * H);
      v_features = arena.take<T>(samples * C);
      rows_features = arena.take<T>(samples * C);
      v_sigma = arena.take<T>(samples + W);
      v_blend = arena.take<T>(samples + W);
      coloured = arena.take<bool>(samples);
    }
  };

  // One field along the sorted samples of one ray: intervals k between samples k and k + 1.
  struct Line {
    T *sigma, *optical, *clear, *slope, *weight, *v_weight;

    void lay_out(Arena &arena, int samples) {
      for (T **array : {&sigma, &optical, &clear, &slope, &weight, &v_weight}) *array = arena.take<T>(samples + 2 * W);
    }
  };

  struct Work {
    FieldWork field[2];
    Line line[2];
    T *evaluated, *cdf;     // depths in the order of evaluation; scratch
    T *depth, *blend, *middle, *passed;  // sorted; mean blend of an interval; transmittance before it
    // Second field alone, without its blend.
    T *passed_alone, *weight_alone, *v_weight_alone;
    T *v_blend;  // gradient of the mean blends
    int *order, *sorted;

    void lay_out(Arena &arena, int samples, int fields, bool backward) {
      for (int f = 0; f < fields; f++) field[f].lay_out(arena, samples, backward), line[f].lay_out(arena, samples);
      for (T **array : {&evaluated, &cdf, &depth, &blend, &middle, &passed, &passed_alone, &weight_alone,
                        &v_weight_alone, &v_blend})
        *array = arena.take<T>(samples + 2 * W);
      order = arena.take<int>(samples);
      sorted = arena.take<int>(samples);
    }
  };

  const invid_call &call;
  const int fields, samples;
  const bool second, sum;
  const PlaneAxes axes;
  Packed packed[2];

  explicit Walk(const invid_call &c)
      : call(c),
        fields(c.fields),
        samples(c.coarse + c.fine),
        second(c.fields == 2),
        sum(c.flags & INVID_SUM),
        axes(plane_axes(c.flags & INVID_FIXED_AXES)) {
    for (int f = 0; f < fields; f++) packed[f].pack(c.field[f], f == 1);
  }

  // Selects a frame: its row of the first layer's bias and its planes.
  const T *bias_of(int f, int frame) const {
    return static_cast<const T *>(call.field[f].b1) + frame * call.field[f].b1_frame;
  }
  const T *planes_of(int f, int frame) const {
    return static_cast<const T *>(call.field[f].planes) + frame * call.field[f].frame;
  }

  // Evaluates the fields and composites; the result is in `w`.
  template <bool kSlopes, bool kAlone>
  void follow(Work &w, int frame, int ray) const {
    const int64_t at = (int64_t(frame) * call.rays + ray) * 3;
    const T *origin = static_cast<const T *>(call.origins) + at;
    const T *direction = static_cast<const T *>(call.directions) + at;
    const T *coarse = static_cast<const T *>(call.coarse_depths) + frame * call.coarse_frame + ray * call.coarse_ray;
    memcpy(w.evaluated, coarse, call.coarse * sizeof(T));
    evaluate<kSlopes>(w, frame, origin, direction, 0, call.coarse);
    if (call.fine) {
      for (int p = 0; p < call.coarse; p++) w.order[p] = p;
      march(w, call.coarse);
      for (int k = 0; second && k < call.coarse - 1; k++) w.line[0].weight[k] += w.line[1].weight[k];
      const T *u = static_cast<const T *>(call.fine_positions) + frame * call.fine_frame + ray * call.fine_ray;
      importance_depths<T>(call.coarse, call.fine, w.evaluated, w.line[0].weight, u, w.cdf, w.evaluated + call.coarse);
      evaluate<kSlopes>(w, frame, origin, direction, call.coarse, samples);
    }
    order_samples(call.coarse, call.fine, w.evaluated, w.sorted, w.order);
    march(w, samples);
    if constexpr (kAlone)
      composite<T>(samples - 1, false, false, w.line[1].optical, w.line[1].clear, w.line[1].optical, w.line[1].clear,
                   w.blend, w.passed_alone, w.weight_alone, w.weight_alone, [](T x) { return __builtin_exp(x); });
  }

  // Densities and blends of all fields at samples [from, to), and the hidden units for their colours.
  template <bool kSlopes>
  void evaluate(Work &w, int frame, const T *origin, const T *direction, int from, int to) const {
    for (int f = 0; f < fields; f++) {
      const invid_field &field = call.field[f];
      const Packed &weights = packed[f];
      FieldWork &work = w.field[f];
      const T *planes = planes_of(f, frame), *bias = bias_of(f, frame);
      const int count = to - from;
      for (int s = 0; s < count; s += W)
        Corners<S, T>::find(origin, direction, w.evaluated + from + s, call.box_warp, field.resolution, field.row,
                            field.column, axes, work.corners[s / W]);
      for (int s = 0; s < count; s++) {
        const int next = s + kAhead;
        if (next < count) Texels::template prefetch<false>(planes, field.plane, work.corners[next / W], next % W);
        Texels::gather(planes, field.plane, work.corners[s / W], s % W, work.features + int64_t(from + s) * C);
      }
      T *hidden = work.hidden + int64_t(from) * H, *slope = kSlopes ? work.slope + int64_t(from) * H : nullptr;
      multiply<S, H, C, 1, H>(
          count, C, work.features + int64_t(from) * C, weights.w1t,
          [&](int, int column) __attribute__((always_inline)) { return S::load(bias + column); },
          [&](int row, int column, V x) __attribute__((always_inline)) {
            if constexpr (kSlopes) {
              V steep;
              S::store(hidden + row * H + column, S::activation(x, steep));
              S::store(slope + row * H + column, steep);
            } else {
              S::store(hidden + row * H + column, S::activation(x));
            }
          });
      for (int s = from; s < to; s++) {
        const T *row = work.hidden + int64_t(s) * H;
        V density{}, blend{};
        for (int h = 0; h < H; h += W) {
          density += S::load(row + h) * S::load(weights.density + h);
          if (f == 1) blend += S::load(row + h) * S::load(weights.blend + h);
        }
        work.sigma[s] = S::sum(density) + weights.density_bias;
        if (f == 1) work.blend[s] = S::sum(blend) + weights.blend_bias;
      }
      if (f == 1) {
        // In place and only these samples: the last vector may cover samples that are not evaluated yet.
        T shares[W];
        for (int s = from; s < to; s += W) {
          const int count = to - s < W ? to - s : W;
          S::store(shares, S::sigmoid(S::load(work.blend + s)));
          memcpy(work.blend + s, shares, count * sizeof(T));
        }
      }
    }
  }

  // Weights of the first `count` samples in the order w.order.
  void march(Work &w, int count) const {
    for (int p = 0; p < count; p++) {
      const int s = w.order[p];
      w.depth[p] = w.evaluated[s];
      for (int f = 0; f < fields; f++) w.line[f].sigma[p] = w.field[f].sigma[s];
      if (second) w.blend[p] = w.field[1].blend[s];
    }
    const int intervals = count - 1;
    for (int f = 0; f < fields; f++) {
      Line &line = w.line[f];
      for (int k = 0; k < intervals; k += W) {
        const V middle = (S::load(line.sigma + k) + S::load(line.sigma + k + 1)) / 2 - 1;
        const V length = S::load(w.depth + k + 1) - S::load(w.depth + k);
        V slope;
        const V optical = S::softplus(middle, slope) * length;
        S::store(line.optical + k, optical);
        S::store(line.clear + k, S::exp(-optical));
        S::store(line.slope + k, slope * length);  // d optical depth / d mean density
      }
    }
    if (second)
      for (int k = 0; k < intervals; k += W)
        S::store(w.middle + k, (S::load(w.blend + k) + S::load(w.blend + k + 1)) / 2);
    const int o = second ? 1 : 0;
    composite<T>(intervals, second, sum, w.line[0].optical, w.line[0].clear, w.line[o].optical, w.line[o].clear,
                 w.middle, w.passed, w.line[0].weight, w.line[o].weight, [](T x) { return T(__builtin_exp(x)); });
  }

  // Colours of the rows [rows,H] of a field. Calls hand(row, vector, colours in about [0,1]).
  template <class Hand>
  INVID_INLINE void colours(const Packed &weights, const T *rows, int count, Hand hand) {
    multiply<S, KP, H, 1, KP>(
        count, H, rows, weights.w2t,
        [&](int, int column) __attribute__((always_inline)) { return S::load(weights.b2 + column); },
        [&](int row, int column, V x) __attribute__((always_inline)) {
          hand(row, column / W, S::sigmoid(x) * T(1.002) - T(0.001));
        });
  }
};

// Weight of a sample: half the weight of each adjacent interval.
template <class T>
INVID_INLINE T of_sample(const T *intervals, int p, int samples) {
  return ((p > 0 ? intervals[p - 1] : T(0)) + (p < samples - 1 ? intervals[p] : T(0))) / 2;
}

}  // namespace INVID_ISA
}  // namespace invid
