// Forward pass: outputs of rays.
#pragma once

#include "walk.cuh"

namespace invid {
namespace INVID_ISA {

constexpr int kForwardWarps = 12;

INVID_DEVICE void put(void *array, int64_t place, float value) {
  if (array) static_cast<float *>(array)[place] = value;
}

// All outputs but the colours; returns the ray's opacity.
template <class M>
INVID_STAGE float write_sums(const invid_call &call, const Ray &ray, const M &m) {
  const invid_outputs &out = call.out;
  const int samples = call.coarse + call.fine, intervals = samples - 1;
  const bool two = call.fields == 2;
  float opacity = 0, of_ood = 0, blend = 0, along = 0;
  for (int k = lane_of(); k < intervals; k += 32) {
    const float ood = two ? m.weights(1)[k] : 0.f, total = m.weights(0)[k] + ood;
    opacity += total;
    along += total * middle(m.depth(), m, k);
    if (two) of_ood += ood, blend += total * middle(m.blend(), m, k);
    put(out.weights, ray.at * intervals + k, total);
  }
  opacity = warp_sum(opacity), along = warp_sum(along);
  if (two) of_ood = warp_sum(of_ood), blend = warp_sum(blend);
  for (int p = lane_of(); p < samples; p += 32) {
    put(out.depths, ray.at * samples + p, m.depth()[m.order()[p]]);
    if (two) put(out.sample_blend, ray.at * samples + p, m.blend()[m.order()[p]]);
  }
  if (lane_of() == 0) {
    const float *limits = static_cast<const float *>(call.limits);
    const float depth = opacity > 0 ? along / opacity : limits[1];
    put(out.depth, ray.at, depth < limits[0] ? limits[0] : depth > limits[1] ? limits[1] : depth);
    put(out.opacity, ray.at, opacity);
    if (two) put(out.blend, ray.at, blend), put(out.ood_opacity, ray.at, of_ood);
  }
  return opacity;
}

// Writes the sums of the lanes' samples, one colour per lane.
template <class Kind>
INVID_DEVICE void spread(void *array, const Ray &ray, const float (&sums)[Kind::KP / 4], float behind) {
  if (!array) return;
  INVID_UNROLL
  for (int n = 0; n < Kind::KP / 4; n++) {
    const float value = column_sum(sums[n]);
    const int column = output_of<Kind::kTf32>(n);
    if ((lane_of() >> 2) == n && column < Kind::K)
      static_cast<float *>(array)[ray.at * Kind::K + column] = 2 * (value + behind) - 1;
  }
}

template <class Kind, class M>
INVID_DEVICE void render(const invid_call &call, const M &m, int frame, int index) {
  const bool alone = two_alone(call, call.out);
  const int samples = call.coarse + call.fine;
  const Ray ray = load_ray(call, frame, index, m);
  follow<Kind>(call, ray, m, index, alone, false);
  const float opacity = write_sums(call, ray, m);
  float features[Kind::KP / 4] = {}, of_alone[Kind::KP / 4] = {};
  INVID_LOOP
  for (int f = 0; f < call.fields; f++) {
    const int count = choose(m, samples, [&](int p) {
      return of_sample(m.weights(f), p, samples) > kNegligible ||
             (alone && f == 1 && of_sample(m.weights_alone(), p, samples) > kNegligible);
    });
    INVID_LOOP
    for (int base = 0; base < count; base += 32) {
      take_rows(m, f, base, count, samples, alone);
      float colour[4][Kind::KP / 4];
      colours_of<Kind, 1>(call, f, ray, m, colour);
      INVID_UNROLL
      for (int s = 0; s < 4; s++) {
        const int row = sample_of<Kind::kTf32>(s);
        const float weight = m.weight()[row], weight_alone = m.alone()[row];
        INVID_UNROLL
        for (int n = 0; n < Kind::KP / 4; n++) {
          const float value = colour[s][n] * 1.002f - 0.001f;
          features[n] += weight * value;
          of_alone[n] += weight_alone * value;
        }
      }
      __syncwarp();
    }
  }
  spread<Kind>(call.out.features, ray, features, call.flags & INVID_WHITE ? 1 - opacity : 0.f);
  spread<Kind>(call.out.ood_features, ray, of_alone, 0.f);
}

template <class Kind>
__global__ void __launch_bounds__(kForwardWarps * 32) render_forward(INVID_PARAMETER Job job) {
  const invid_call &call = job.call;
  const int frame = job.first_frame + blockIdx.y;
  for (int f = 0; f < call.fields; f++) decoder_of<Kind>(f).load(call.field[f], frame, f == 1);
  __syncthreads();
  const auto m = memory_of<Kind, Memory<Kind, false, false>>(call, call.out);
  const int first = blockIdx.x * job.chunk, end = first + job.chunk < job.rays ? first + job.chunk : job.rays;
  for (int i = first + warp_of(); i < end; i += job.warps)
    render<Kind>(call, m, frame, tiled_ray(job.first_ray + i, job.side));
}

}  // namespace INVID_ISA
}  // namespace invid
