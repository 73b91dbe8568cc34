// Forward pass: outputs of rays.
#pragma once

#include "walk.h"

namespace invid {
namespace INVID_ISA {

template <class Walk>
class Forward {
  typedef typename Walk::Scalar T;
  typedef typename Walk::S S;
  typedef typename Walk::V V;
  typedef typename Walk::Work Work;
  static constexpr int H = Walk::kHidden, W = Walk::kWidth, kVectors = Walk::kVectors;

  Walk walk_;
  const invid_call &call_;
  char *blocks_ = nullptr;
  int64_t block_bytes_ = 0;

 public:
  explicit Forward(const invid_call &call) : walk_(call), call_(call) {}
  ~Forward() { free(blocks_); }

  int run() {
    Arena counted;
    Work().lay_out(counted, walk_.samples, walk_.fields, false);
    block_bytes_ = (counted.used() + 4095) / 4096 * 4096;
    void *found;
    if (posix_memalign(&found, 4096, block_bytes_ * call_.threads)) return INVID_NO_MEMORY;
    blocks_ = static_cast<char *>(found);
    memset(blocks_, 0, block_bytes_ * call_.threads);
    const auto work = [](void *self, int thread, Barrier &) { static_cast<Forward *>(self)->work(thread); };
    return run_team(call_.threads, work, this) ? INVID_OK : INVID_NO_MEMORY;
  }

 private:
  void work(int thread) {
    Work w;
    Arena arena(blocks_ + thread * block_bytes_);
    w.lay_out(arena, walk_.samples, walk_.fields, false);
    const int side = tiled_side(call_.rays);
    for (int frame = 0; frame < call_.frames; frame++)
      for (int first = thread * kPiece; first < call_.rays; first += call_.threads * kPiece)
        for (int index = first; index < call_.rays && index < first + kPiece; index++) {
          const int ray = tiled_ray(index, side);
          if (call_.out.ood_features) {
            walk_.template follow<false, true>(w, frame, ray);
            write<true>(w, int64_t(frame) * call_.rays + ray);
          } else {
            walk_.template follow<false, false>(w, frame, ray);
            write<false>(w, int64_t(frame) * call_.rays + ray);
          }
        }
  }

  template <bool kAlone>
  void write(Work &w, int64_t at) {
    const invid_outputs &out = call_.out;
    const int samples = walk_.samples, intervals = samples - 1;
    const bool second = walk_.second;
    const T *ind = w.line[0].weight, *ood = second ? w.line[1].weight : nullptr;
    T opacity = 0, of_ood = 0, blend = 0, along = 0;
    for (int k = 0; k < intervals; k++) {
      const T total = second ? ind[k] + ood[k] : ind[k];
      opacity += total;
      along += total * ((w.depth[k] + w.depth[k + 1]) / 2);
      if (second) of_ood += ood[k], blend += total * w.middle[k];
      if (out.weights) static_cast<T *>(out.weights)[at * intervals + k] = total;
    }
    const T *limits = static_cast<const T *>(call_.limits);
    T depth = opacity > 0 ? along / opacity : limits[1];
    depth = depth < limits[0] ? limits[0] : depth > limits[1] ? limits[1] : depth;
    put(out.depth, at, depth);
    put(out.opacity, at, opacity);
    put(out.blend, at, blend);
    put(out.ood_opacity, at, of_ood);
    if (out.depths) memcpy(static_cast<T *>(out.depths) + at * samples, w.depth, samples * sizeof(T));
    if (out.sample_blend) memcpy(static_cast<T *>(out.sample_blend) + at * samples, w.blend, samples * sizeof(T));

    V features[kVectors] = {}, alone[kVectors] = {};
    for (int f = 0; f < walk_.fields; f++) {
      auto &field = w.field[f];
      int count = 0;
      for (int p = 0; p < samples; p++) {
        const T weight = of_sample(w.line[f].weight, p, samples);
        const T weight_alone = kAlone && f == 1 ? of_sample(w.weight_alone, p, samples) : T(0);
        if (weight <= negligible<T>() && weight_alone <= negligible<T>()) continue;
        memcpy(field.rows + int64_t(count) * H, field.hidden + int64_t(w.order[p]) * H, H * sizeof(T));
        field.weight[count] = weight;
        field.alone[count++] = weight_alone;
      }
      Walk::colours(walk_.packed[f], field.rows, count, [&](int row, int v, V colour) __attribute__((always_inline)) {
        features[v] += field.weight[row] * colour;
        if constexpr (kAlone)
          if (f == 1) alone[v] += field.alone[row] * colour;
      });
    }
    const T behind = call_.flags & INVID_WHITE ? 1 - opacity : T(0);
    spread(out.features, at, features, behind);
    if (kAlone) spread(out.ood_features, at, alone, T(0));
  }

  static void put(void *array, int64_t at, T value) {
    if (array) static_cast<T *>(array)[at] = value;
  }

  static void spread(void *array, int64_t at, const V *values, T behind) {
    T row[Walk::KP];
    for (int v = 0; v < kVectors; v++) S::store(row + v * W, 2 * (values[v] + behind) - 1);
    memcpy(static_cast<T *>(array) + at * Walk::kColours, row, Walk::kColours * sizeof(T));
  }
};

}  // namespace INVID_ISA
}  // namespace invid
