// Backward pass. Recomputes each ray instead of storing activations of the forward pass.
#pragma once

#include "walk.h"

namespace invid {
namespace INVID_ISA {

template <class Walk>
class Backward {
  typedef typename Walk::Scalar T;
  typedef typename Walk::S S;
  typedef typename Walk::V V;
  typedef typename Walk::Work Work;
  typedef typename Walk::FieldWork FieldWork;
  static constexpr int C = Walk::kChannels, H = Walk::kHidden, K = Walk::kColours, KP = Walk::KP;
  static constexpr int W = Walk::kWidth, kVectors = Walk::kVectors;
  typedef typename Walk::Texels Texels;

  // Gradient buffers of one field and thread. Thread 0 writes into the caller's arrays, the others into scratch.
  struct Sums {
    T *planes = nullptr, *w1 = nullptr, *b1 = nullptr, *w2 = nullptr, *b2 = nullptr;
  };
  struct Extent {
    int64_t planes = 0, w1 = 0, b1 = 0, w2 = 0, b2 = 0;
  };

  // Upper bound in bytes for the gradient buffers of all threads; with large planes fewer threads run.
  static constexpr int64_t kMostSums = int64_t(1) << 30;

  Walk walk_;
  const invid_call &call_;
  Extent extent_[2];  // of one frame
  int threads_;
  bool trained_[2], wanted_[2];  // decoder gradients wanted; any gradient of the field wanted
  bool rays_;
  char *blocks_ = nullptr;
  int64_t block_bytes_ = 0;

 public:
  explicit Backward(const invid_call &call) : walk_(call), call_(call), rays_(call.v_origins) {
    for (int f = 0; f < walk_.fields; f++) {
      const invid_field &field = call.field[f];
      const int64_t texels = int64_t(field.resolution) * field.resolution;
      if (field.v_planes) extent_[f].planes = 3 * texels * C;
      trained_[f] = field.v_w1;
      if (trained_[f]) extent_[f] = {extent_[f].planes, H * C, H, int64_t(field.outputs) * H, field.outputs};
      wanted_[f] = trained_[f] || field.v_planes || rays_;
    }
    int64_t sums = 1;
    for (int f = 0; f < walk_.fields; f++) sums += extent_[f].planes * int64_t(sizeof(T));
    const int64_t most = 1 + kMostSums / sums, pieces = 1 + (call.rays - 1) / kPiece;
    threads_ = int(smaller(smaller(most, pieces), int64_t(call.threads)));
  }
  ~Backward() { free(blocks_); }

  int run() {
    Arena counted;
    Work work;
    Sums sums[2];
    lay_out(counted, work, sums);
    block_bytes_ = (counted.used() + 4095) / 4096 * 4096;
    void *found;
    if (posix_memalign(&found, 4096, block_bytes_ * threads_)) return INVID_NO_MEMORY;
    blocks_ = static_cast<char *>(found);
    const auto thread = [](void *self, int t, Barrier &barrier) { static_cast<Backward *>(self)->work(t, barrier); };
    return run_team(threads_, thread, this) ? INVID_OK : INVID_NO_MEMORY;
  }

 private:
  void lay_out(Arena &arena, Work &work, Sums *sums) {
    work.lay_out(arena, walk_.samples, walk_.fields, true);
    for (int f = 0; f < walk_.fields; f++) {
      const Extent &e = extent_[f];
      sums[f] = {arena.take<T>(e.planes), arena.take<T>(e.w1), arena.take<T>(e.b1), arena.take<T>(e.w2),
                 arena.take<T>(e.b2)};
    }
  }

  // The caller's gradient arrays of a field for this frame.
  Sums given(int f, int frame) const {
    const invid_field &field = call_.field[f];
    const int64_t planes = field.frame ? frame * field.v_frame : 0;
    return {static_cast<T *>(field.v_planes) + planes, static_cast<T *>(field.v_w1),
            static_cast<T *>(field.v_b1) + frame * field.b1_frame, static_cast<T *>(field.v_w2),
            static_cast<T *>(field.v_b2)};
  }

  void work(int thread, Barrier &barrier) {
    Work w;
    Sums own[2];
    // Thread 0 writes into the caller's arrays; its part of the block stays unused.
    Arena arena(blocks_ + thread * block_bytes_);
    lay_out(arena, w, own);
    memset(blocks_ + thread * block_bytes_, 0, thread == 0 ? work_bytes() : block_bytes_);
    const int side = tiled_side(call_.rays);
    for (int frame = 0; frame < call_.frames; frame++) {
      Sums into[2];
      for (int f = 0; f < walk_.fields; f++) into[f] = thread == 0 ? given(f, frame) : own[f];
      for (int first = thread * kPiece; first < call_.rays; first += threads_ * kPiece)
        for (int index = first; index < call_.rays && index < first + kPiece; index++) {
          const int ray = tiled_ray(index, side);
          if (call_.v.ood_features)
            one<true>(w, into, frame, ray);
          else
            one<false>(w, into, frame, ray);
        }
      add_up(thread, frame, barrier);
    }
  }

  int64_t work_bytes() const {
    Arena counted;
    Work().lay_out(counted, walk_.samples, walk_.fields, true);
    return counted.used();
  }

  // Adds the threads' buffers of a frame to the caller's arrays, in order of threads; each thread adds a slice of
  // the arrays. Gradients shared by all frames are added after the last frame.
  void add_up(int thread, int frame, Barrier &barrier) {
    const bool last = frame == call_.frames - 1;
    bool any = false;
    for (int f = 0; f < walk_.fields; f++)
      any = any || last || (extent_[f].planes && call_.field[f].frame) || (extent_[f].b1 && call_.field[f].b1_frame);
    if (!any || threads_ == 1) return;
    barrier.wait();
    for (int other = 1; other < threads_; other++) {
      Arena arena(blocks_ + other * block_bytes_);
      Work skipped;
      Sums from[2];
      lay_out(arena, skipped, from);
      for (int f = 0; f < walk_.fields; f++) {
        const Sums to = given(f, frame);
        const Extent &e = extent_[f];
        if (last || call_.field[f].frame) add(to.planes, from[f].planes, e.planes, thread);
        if (last || call_.field[f].b1_frame) add(to.b1, from[f].b1, e.b1, thread);
        if (!last) continue;
        add(to.w1, from[f].w1, e.w1, thread);
        add(to.w2, from[f].w2, e.w2, thread);
        add(to.b2, from[f].b2, e.b2, thread);
      }
    }
    barrier.wait();
  }

  // to += from, then from = 0, for this thread's slice.
  void add(T *to, T *from, int64_t count, int thread) const {
    const int64_t share = (count + threads_ - 1) / threads_;
    const int64_t end = share * (thread + 1) < count ? share * (thread + 1) : count;
    for (int64_t i = share * thread; i < end; i++) to[i] += from[i], from[i] = 0;
  }

  static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

  static T read(const void *array, int64_t at) { return array ? static_cast<const T *>(array)[at] : T(0); }

  // Gradients of one ray.
  template <bool kAlone>
  void one(Work &w, Sums *into, int frame, int ray) {
    walk_.template follow<true, kAlone>(w, frame, ray);
    const int64_t at = int64_t(frame) * call_.rays + ray;
    T v_features[KP] = {}, v_alone[KP] = {};
    T v_opacity = read(call_.v.opacity, at);
    for (int k = 0; k < K; k++) {
      v_features[k] = 2 * read(call_.v.features, at * K + k);
      if (call_.flags & INVID_WHITE) v_opacity -= v_features[k];
      if (kAlone) v_alone[k] = 2 * read(call_.v.ood_features, at * K + k);
    }
    for (int f = 0; f < walk_.fields; f++) recall_colours<kAlone>(w, f, v_features, v_alone);
    weights_backward<kAlone>(w, at, v_opacity);
    const T *origin = static_cast<const T *>(call_.origins) + at * 3;
    const T *direction = static_cast<const T *>(call_.directions) + at * 3;
    T v_origin[3] = {}, v_direction[3] = {};
    for (int f = 0; f < walk_.fields; f++) {
      if (!wanted_[f]) continue;
      const invid_field &field = call_.field[f];
      scalars_backward(w, f, at);
      const int count = decoder_backward<kAlone>(w.field[f], f, into[f], v_features, v_alone);
      if (extent_[f].planes) scatter(w, w.field[f], field, count, origin, direction, into[f].planes);
      for (int row = 0; rays_ && row < count; row++) {
        const T depth = w.evaluated[w.field[f].sample[row]];  // no gradient through it
        const T point[3] = {origin[0] + depth * direction[0], origin[1] + depth * direction[1],
                            origin[2] + depth * direction[2]};
        T v_point[3] = {};
        Texels::place_backward(field, walk_.planes_of(f, frame), point, walk_.axes, call_.box_warp,
                               w.field[f].v_features + int64_t(row) * C, v_point);
        for (int x = 0; x < 3; x++) v_origin[x] += v_point[x], v_direction[x] += v_point[x] * depth;
      }
    }
    if (rays_)
      for (int x = 0; x < 3; x++) {
        static_cast<T *>(call_.v_origins)[at * 3 + x] = v_origin[x];
        static_cast<T *>(call_.v_directions)[at * 3 + x] = v_direction[x];
      }
  }

  // Scatters the feature gradients of the first `count` samples in `work.sample` to the planes.
  void scatter(Work &w, FieldWork &work, const invid_field &field, int count, const T *origin, const T *direction,
               T *planes) const {
    for (int row = 0; row < count; row++) w.cdf[row] = w.evaluated[work.sample[row]];
    for (int row = 0; row < count; row += W)
      Corners<S, T>::find(origin, direction, w.cdf + row, call_.box_warp, field.resolution, field.v_row,
                          field.v_column, walk_.axes, work.corners[row / W]);
    for (int row = 0; row < count; row++) {
      const int next = row + kAhead;
      if (next < count) Texels::template prefetch<true>(planes, field.v_plane, work.corners[next / W], next % W);
      Texels::scatter(planes, field.v_plane, work.corners[row / W], row % W, work.v_features + int64_t(row) * C);
    }
  }

  // Whether interval k can change the pixel: its weight is at most this product.
  static bool matters(const T *passed, const T *optical, int k) { return passed[k] * optical[k] > negligible<T>(); }

  // Colours of the samples above the weight threshold, and their dot products with the feature gradient.
  template <bool kAlone>
  void recall_colours(Work &w, int f, const T *v_features, const T *v_alone) {
    FieldWork &field = w.field[f];
    const auto &line = w.line[f];
    const int samples = walk_.samples, intervals = samples - 1;
    int count = 0;
    bool before = false;
    for (int p = 0; p < samples; p++) {
      const int s = w.order[p];
      bool here = p < intervals && matters(w.passed, line.optical, p);
      if (kAlone && f == 1) here = here || (p < intervals && matters(w.passed_alone, line.optical, p));
      field.coloured[s] = before || here;
      field.dot[s] = 0;
      if (kAlone && f == 1) field.dot_alone[s] = 0;
      if (before || here) {
        memcpy(field.rows + int64_t(count) * H, field.hidden + int64_t(s) * H, H * sizeof(T));
        field.weight[count] = of_sample(line.weight, p, samples);
        if (kAlone && f == 1) field.alone[count] = of_sample(w.weight_alone, p, samples);
        field.sample[count++] = s;
      }
      before = here;
    }
    field.count = count;
    Walk::colours(walk_.packed[f], field.rows, count, [&](int row, int v, V colour) __attribute__((always_inline)) {
      S::store(field.color + int64_t(row) * KP + v * W, colour);
    });
    for (int row = 0; row < count; row++) {
      V dot{}, alone{};
      for (int v = 0; v < kVectors; v++) {
        const V colour = S::load(field.color + int64_t(row) * KP + v * W);
        dot += colour * S::load(v_features + v * W);
        if (kAlone && f == 1) alone += colour * S::load(v_alone + v * W);
      }
      field.dot[field.sample[row]] = S::sum(dot);
      if (kAlone && f == 1) field.dot_alone[field.sample[row]] = S::sum(alone);
    }
  }

  // Gradients of optical depths and blends of intervals from those of the ray's outputs.
  template <bool kAlone>
  void weights_backward(Work &w, int64_t at, T v_opacity) {
    const int intervals = walk_.samples - 1;
    const bool second = walk_.second;
    const invid_outputs &v = call_.v;
    const T *ind = w.line[0].weight, *ood = second ? w.line[1].weight : nullptr;
    const T v_blend = read(v.blend, at), v_ood_opacity = read(v.ood_opacity, at);
    T opacity = 0, along = 0;
    for (int k = 0; k < intervals; k++) {
      const T total = second ? ind[k] + ood[k] : ind[k];
      opacity += total;
      along += total * ((w.depth[k] + w.depth[k + 1]) / 2);
    }
    const T *limits = static_cast<const T *>(call_.limits);
    const T depth = opacity > 0 ? along / opacity : limits[1];
    const bool inside = opacity > 0 && depth >= limits[0] && depth <= limits[1];
    const T v_depth = inside ? read(v.depth, at) / opacity : T(0);
    for (int k = 0; k < intervals; k++) {
      T v_total = v_opacity + v_depth * ((w.depth[k] + w.depth[k + 1]) / 2 - depth);
      if (v.weights) v_total += read(v.weights, at * intervals + k);
      w.v_blend[k] = 0;
      if (second) {
        v_total += v_blend * w.middle[k];
        w.v_blend[k] = (ind[k] + ood[k]) * v_blend;
        w.line[1].v_weight[k] = v_total + v_ood_opacity + middle_dot(w.field[1].dot, w.order, k);
        if (kAlone) w.v_weight_alone[k] = middle_dot(w.field[1].dot_alone, w.order, k);
      }
      w.line[0].v_weight[k] = v_total + middle_dot(w.field[0].dot, w.order, k);
    }
    const int o = second ? 1 : 0;
    composite_backward<T>(intervals, second, walk_.sum, w.line[0].clear, w.line[o].clear, w.middle, w.passed,
                          w.line[0].v_weight, w.line[o].v_weight, w.v_blend);
    if constexpr (kAlone) {
      composite_backward<T>(intervals, false, false, w.line[1].clear, w.line[1].clear, w.middle, w.passed_alone,
                            w.v_weight_alone, w.v_weight_alone, w.v_blend);
      for (int k = 0; k < intervals; k++) w.line[1].v_weight[k] += w.v_weight_alone[k];
    }
  }

  static T middle_dot(const T *dot, const int *order, int k) { return (dot[order[k]] + dot[order[k + 1]]) / 2; }

  // Gradients of a field's densities and blends at samples, before their activations.
  void scalars_backward(Work &w, int f, int64_t at) {
    FieldWork &field = w.field[f];
    const int samples = walk_.samples;
    auto &line = w.line[f];
    for (int k = 0; k < samples - 1; k++) line.v_weight[k] *= line.slope[k];
    for (int p = 0; p < samples; p++) {
      const int s = w.order[p];
      field.v_sigma[s] = of_sample(line.v_weight, p, samples);
      if (f == 0) continue;
      const T blend = field.blend[s];
      const T v_blend = of_sample(w.v_blend, p, samples) + read(call_.v.sample_blend, at * samples + p);
      field.v_blend[s] = v_blend * blend * (1 - blend);
    }
  }

  // Gradients of the features [rows,C] of the samples in `field.sample` from those of colours, densities and
  // blends; adds the decoder's gradients. Returns the number of rows.
  template <bool kAlone>
  int decoder_backward(FieldWork &field, int f, const Sums &into, const T *v_features, const T *v_alone) {
    const auto &weights = walk_.packed[f];
    const bool blends = f == 1;
    const int coloured = field.count, count = blends ? with_blends(field, coloured, walk_.samples) : coloured;
    for (int row = 0; row < coloured; row++)
      for (int v = 0; v < kVectors; v++) {
        V v_colour = S::load(v_features + v * W) * field.weight[row];
        if (kAlone && blends) v_colour += S::load(v_alone + v * W) * field.alone[row];
        const V share = (S::load(field.color + int64_t(row) * KP + v * W) + T(0.001)) / T(1.002);
        S::store(field.v_color + int64_t(row) * KP + v * W, v_colour * (T(1.002) * share * (1 - share)));
      }
    // Rows after the coloured ones have no colour gradient.
    const auto scalars = [&](int row, int column) __attribute__((always_inline)) {
      const int s = field.sample[row];
      V start = S::load(weights.density + column) * field.v_sigma[s];
      if (blends) start += S::load(weights.blend + column) * field.v_blend[s];
      return start;
    };
    const auto activate = [&](int row, int column, V x) __attribute__((always_inline)) {
      S::store(field.v_hidden + int64_t(row) * H + column,
               x * S::load(field.slope + int64_t(field.sample[row]) * H + column));
    };
    multiply<S, H, KP, 1, H>(coloured, K, field.v_color, weights.w2, scalars, activate);
    for (int row = coloured; row < count; row++)
      for (int h = 0; h < H; h += W) activate(row, h, scalars(row, h));
    if (trained_[f]) weights_of(field, blends, into, coloured, count);
    multiply<S, C, H, 1, C>(
        count, H, field.v_hidden, weights.w1, [](int, int) __attribute__((always_inline)) { return V{}; },
        [&](int row, int column, V x) __attribute__((always_inline)) {
          S::store(field.v_features + int64_t(row) * C + column, x);
        });
    return count;
  }

  // Appends samples without a colour gradient whose blend has one to the list; returns the new length.
  static int with_blends(FieldWork &field, int coloured, int samples) {
    T most = 0;
    for (int s = 0; s < samples; s++) {
      const T size = field.v_blend[s] < 0 ? -field.v_blend[s] : field.v_blend[s];
      if (size > most) most = size;
    }
    int count = coloured;
    for (int s = 0; s < samples; s++) {
      const T size = field.v_blend[s] < 0 ? -field.v_blend[s] : field.v_blend[s];
      if (!field.coloured[s] && size > most * negligible<T>()) field.sample[count++] = s;
    }
    return count;
  }

  // Gradients of the decoder's weights and biases.
  static void weights_of(FieldWork &field, bool blends, const Sums &into, int coloured, int count) {
    const auto added = [](T *to) {
      return [to](int row, int column, V x, int width) __attribute__((always_inline)) {
        T *at = to + int64_t(row) * width + column;
        S::store(at, S::load(at) + x);
      };
    };
    const auto zero = [](int, int) __attribute__((always_inline)) { return V{}; };
    const auto last = added(into.w2 + H);
    multiply<S, H, 1, KP, H>(
        K, coloured, field.v_color, field.rows, zero,
        [&](int row, int column, V x) __attribute__((always_inline)) { last(row, column, x, H); });
    for (int row = 0; row < coloured; row++)
      for (int k = 0; k < K; k++) into.b2[1 + k] += field.v_color[int64_t(row) * KP + k];
    T *density = into.w2, *blend = into.w2 + (1 + K) * H;
    for (int row = 0; row < count; row++) {
      const int s = field.sample[row];
      const T *hidden = field.hidden + int64_t(s) * H, *v_hidden = field.v_hidden + int64_t(row) * H;
      into.b2[0] += field.v_sigma[s];
      if (blends) into.b2[1 + K] += field.v_blend[s];
      for (int h = 0; h < H; h += W) {
        const V unit = S::load(hidden + h);
        S::store(density + h, S::load(density + h) + unit * field.v_sigma[s]);
        if (blends) S::store(blend + h, S::load(blend + h) + unit * field.v_blend[s]);
        S::store(into.b1 + h, S::load(into.b1 + h) + S::load(v_hidden + h));
      }
      memcpy(field.rows_features + int64_t(row) * C, field.features + int64_t(s) * C, C * sizeof(T));
    }
    const auto first = added(into.w1);
    multiply<S, C, 1, H, C>(
        H, count, field.v_hidden, field.rows_features, zero,
        [&](int row, int column, V x) __attribute__((always_inline)) { first(row, column, x, C); });
  }
};

}  // namespace INVID_ISA
}  // namespace invid
