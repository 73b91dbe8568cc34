// Backward pass. Recomputes each ray instead of storing activations of the forward pass.
#pragma once

#include "decoder_sums.cuh"
#include "scatter.cuh"

namespace invid {
namespace INVID_ISA {

// Most warps of a block. With weight gradients a lane needs twice the registers.
template <bool kTrained>
constexpr int backward_warps() {
  return kTrained ? 8 : 12;
}

INVID_DEVICE float read(const void *array, int64_t place) {
  return array ? static_cast<const float *>(array)[place] : 0.f;
}

// Gradients of a ray's colours into m.v_features and m.v_alone, one colour per lane.
template <class Kind, class M>
INVID_DEVICE void load_colour_gradients(const invid_call &call, const Ray &ray, const M &m) {
  const int lane = lane_of();
  const int64_t place = ray.at * Kind::K + lane;
  m.v_features()[lane] = lane < Kind::K ? 2 * read(call.v.features, place) : 0.f;
  m.v_alone()[lane] = lane < Kind::K ? 2 * read(call.v.ood_features, place) : 0.f;
  __syncwarp();
}

// Whether a sample can change the pixel: the weight of one of its intervals, bounded by this product, is above the
// threshold.
template <class M>
INVID_DEVICE bool matters(const M &m, int f, int k, bool alone) {
  const float optical = interval(m, f, k).optical;
  return m.passed()[k] * optical > kNegligible || (alone && f == 1 && m.passed_alone()[k] * optical > kNegligible);
}
template <class M>
INVID_DEVICE bool coloured(const M &m, int f, int p, int samples, bool alone) {
  return (p > 0 && matters(m, f, p - 1, alone)) || (p < samples - 1 && matters(m, f, p, alone));
}

// Dot products of the samples' colours with the feature gradient; 0 below the weight threshold.
template <class Kind, class M>
INVID_STAGE void recall_colours(const invid_call &call, int f, const Ray &ray, const M &m) {
  const bool alone = call.v.ood_features && f == 1;
  const int samples = call.coarse + call.fine;
  for (int p = lane_of(); p < samples; p += 32) {
    m.dot(f)[p] = 0;
    if (alone) m.dot_alone()[p] = 0;
  }
  const int count = choose(m, samples, [&](int p) { return coloured(m, f, p, samples, alone); });
  INVID_LOOP
  for (int base = 0; base < count; base += 32) {
    take_rows(m, f, base, count, samples, alone);
    float colour[4][Kind::KP / 4], dots[4] = {}, dots_alone[4] = {};
    colours_of<Kind, 1>(call, f, ray, m, colour);
    INVID_UNROLL
    for (int n = 0; n < Kind::KP / 4; n++) {
      const float v = m.v_features()[output_of<Kind::kTf32>(n)], v_alone = m.v_alone()[output_of<Kind::kTf32>(n)];
      INVID_UNROLL
      for (int s = 0; s < 4; s++) {
        const float value = colour[s][n] * 1.002f - 0.001f;
        dots[s] += value * v;
        dots_alone[s] += value * v_alone;
      }
    }
    INVID_UNROLL
    for (int s = 0; s < 4; s++) {
      const float dot = quad_sum(dots[s]), dot_alone = alone ? quad_sum(dots_alone[s]) : 0.f;
      const int row = sample_of<Kind::kTf32>(s);
      if ((lane_of() & 3) == s && base + row < count) {
        m.dot(f)[m.sample()[row]] = dot;
        if (alone) m.dot_alone()[m.sample()[row]] = dot_alone;
      }
    }
    __syncwarp();
  }
}

// Sums over a ray that the weight gradients need.
struct RayGradients {
  float opacity, blend, ood_opacity, depth, mean_depth;
};

template <class M>
INVID_DEVICE RayGradients load_ray_gradients(const invid_call &call, const Ray &ray, const M &m, float v_opacity) {
  const int intervals = call.coarse + call.fine - 1;
  const bool two = call.fields == 2;
  float opacity = 0, along = 0;
  for (int k = lane_of(); k < intervals; k += 32) {
    const float total = m.weights(0)[k] + (two ? m.weights(1)[k] : 0.f);
    opacity += total;
    along += total * middle(m.depth(), m, k);
  }
  opacity = warp_sum(opacity), along = warp_sum(along);
  const float *limits = static_cast<const float *>(call.limits);
  const float depth = opacity > 0 ? along / opacity : limits[1];
  const bool inside = opacity > 0 && depth >= limits[0] && depth <= limits[1];
  return {v_opacity + read(call.v.opacity, ray.at), read(call.v.blend, ray.at), read(call.v.ood_opacity, ray.at),
          inside ? read(call.v.depth, ray.at) / opacity : 0.f, depth};
}

// Gradients of the intervals' mean densities and blends from those of the ray's outputs: `composite_backward` of
// ray.h as scans from far to near.
template <class M>
INVID_STAGE void intervals_backward(const invid_call &call, const Ray &ray, const M &m, const RayGradients &v) {
  const bool two = call.fields == 2, sum = two && (call.flags & INVID_SUM), alone = two_alone(call, call.v);
  const int intervals = call.coarse + call.fine - 1;
  float beyond = 0, beyond_alone = 0;
  INVID_LOOP
  for (int base = (intervals - 1) / 32 * 32; base >= 0; base -= 32) {
    const int k = base + lane_of();
    const bool valid = k < intervals;
    Interval ind = {0, 1, 0}, ood = {0, 1, 0};
    float b = 0, v_ind = 0, v_ood = 0, v_b = 0, v_alone = 0, passed = 0, passed_alone = 0;
    if (valid) {
      ind = interval(m, 0, k);
      passed = m.passed()[k];
      float v_total = v.opacity + v.depth * (middle(m.depth(), m, k) - v.mean_depth);
      if (call.v.weights) v_total += read(call.v.weights, ray.at * intervals + k);
      if (two) {
        ood = interval(m, 1, k);
        b = middle(m.blend(), m, k);
        v_total += v.blend * b;
        v_b = (m.weights(0)[k] + m.weights(1)[k]) * v.blend;
        v_ood = v_total + v.ood_opacity + middle(m.dot(1), m, k);
        if (alone) passed_alone = m.passed_alone()[k], v_alone = middle(m.dot_alone(), m, k);
      }
      v_ind = v_total + middle(m.dot(0), m, k);
    }
    const float alpha_ind = 1 - ind.clear, alpha_ood = 1 - ood.clear;
    const float share_ind = (1 - b) * alpha_ind, share_ood = b * alpha_ood;
    float factor = sum ? ind.clear * ood.clear : (1 - share_ood) * (1 - share_ind) + float(INVID_EPS);
    if (!valid) factor = 1;
    const float v_through = scan_backward(v_ind * share_ind + v_ood * share_ood, factor, beyond);
    float v_share_ind = passed * v_ind, v_share_ood = passed * v_ood, v_optical = 0, v_optical_alone = 0;
    if (sum) {
      v_optical = -passed * factor * v_through;
    } else {
      v_share_ind -= passed * v_through * (1 - share_ood);
      v_share_ood -= passed * v_through * (1 - share_ind);
    }
    if (alone) {
      const float v_past = scan_backward(v_alone * alpha_ood, valid ? ood.clear + float(INVID_EPS) : 1.f, beyond_alone);
      v_optical_alone = passed_alone * (v_alone - v_past) * ood.clear;
    }
    if (valid) {
      m.v_middle(0)[k] = ((1 - b) * v_share_ind * ind.clear + v_optical) * ind.slope;
      if (two) {
        m.v_middle(1)[k] = (b * v_share_ood * ood.clear + v_optical + v_optical_alone) * ood.slope;
        m.v_middle_blend()[k] = v_b + alpha_ood * v_share_ood - alpha_ind * v_share_ind;
      }
    }
  }
  __syncwarp();
}

// Gradients of densities and blends at samples, before activation, from those of the intervals. Returns the largest
// blend gradient.
template <class M>
INVID_STAGE float samples_backward(const invid_call &call, const Ray &ray, const M &m) {
  const int samples = call.coarse + call.fine;
  float most = 0;
  for (int p = lane_of(); p < samples; p += 32) {
    const int s = m.order()[p];
    m.v_sigmas(0)[s] = of_sample(m.v_middle(0), p, samples);
    if (call.fields == 1) continue;
    m.v_sigmas(1)[s] = of_sample(m.v_middle(1), p, samples);
    const float blend = m.blend()[s];
    const float v_blend = of_sample(m.v_middle_blend(), p, samples) + read(call.v.sample_blend, ray.at * samples + p);
    m.v_blends()[s] = v_blend * blend * (1 - blend);
    most = fmaxf(most, fabsf(m.v_blends()[s]));
  }
  __syncwarp();
  return call.fields == 2 ? warp_max(most) : 0.f;
}

// Gradients of colours before the sigmoid, into the tile m.gradient().
template <class Kind, class M>
INVID_DEVICE void colours_backward(const M &m, const float (&share)[4][Kind::KP / 4]) {
  float weight[4], alone[4];
  INVID_UNROLL
  for (int s = 0; s < 4; s++) {
    weight[s] = m.weight()[sample_of<Kind::kTf32>(s)];
    alone[s] = m.alone()[sample_of<Kind::kTf32>(s)];
  }
  INVID_UNROLL
  for (int n = 0; n < Kind::KP / 4; n++) {
    const int column = output_of<Kind::kTf32>(n);
    const float v = 1.002f * m.v_features()[column], v_alone = 1.002f * m.v_alone()[column];
    float x[4];
    INVID_UNROLL
    for (int s = 0; s < 4; s++) x[s] = (v * weight[s] + v_alone * alone[s]) * (share[s][n] * (1 - share[s][n]));
    put_four<Kind::kTf32>(m.gradient(), column, x[0], x[1], x[2], x[3]);
  }
  __syncwarp();
}

// Gradients before the first layer's activation; overwrites the hidden units.
template <class Kind, class M>
INVID_DEVICE void hidden_backward(const M &m, int f) {
  const Decoder<Kind> &decoder = decoder_of<Kind>(f);
  constexpr int kUnits = Kind::H / M::kParts;
  INVID_LOOP
  for (int part = 0; part < M::kParts; part++) {
    const int first = part * kUnits;
    float acc[4][kUnits / 4];
    INVID_UNROLL
    for (int n = 0; n < kUnits / 4; n++) {
      const int h = first + input_of<Kind::kTf32>(n);
      const float density = decoder.w2[h], blend = f == 1 ? decoder.blend()[h] : 0.f;
      INVID_UNROLL
      for (int s = 0; s < 4; s++) {
        const int row = sample_of<Kind::kTf32>(s);
        acc[s][n] = density * m.v_sigma()[row] + blend * m.v_blend()[row];
      }
    }
    const float *weights = decoder.colours() + first;
    apply_transposed<Kind::KP, kUnits, Kind::kTf32>(m.gradient(), weights, Decoder<Kind>::kStride2, acc);
    INVID_UNROLL
    for (int n = 0; n < kUnits / 4; n++) {
      const int h = first + input_of<Kind::kTf32>(n);
      const float4 hidden = get_four<Kind::kTf32>(m.hidden(), h);  // softplus' = 1 - exp(-softplus)
      put_four<Kind::kTf32>(m.hidden(), h, acc[0][n] * (1 - __expf(-hidden.x)), acc[1][n] * (1 - __expf(-hidden.y)),
                            acc[2][n] * (1 - __expf(-hidden.z)), acc[3][n] * (1 - __expf(-hidden.w)));
    }
  }
  __syncwarp();
}

// Gradients of each plane's features, a third of the mean's, into the tile m.gradient().
template <class Kind, class M>
INVID_DEVICE void features_backward(const M &m, int f) {
  float acc[4][Kind::C / 4] = {};
  apply_transposed<Kind::H, Kind::C, Kind::kTf32>(m.hidden(), decoder_of<Kind>(f).w1, Decoder<Kind>::kStride1, acc);
  INVID_UNROLL
  for (int n = 0; n < Kind::C / 4; n++)
    put_four<Kind::kTf32>(m.gradient(), input_of<Kind::kTf32>(n), acc[0][n] * (1.f / 3), acc[1][n] * (1.f / 3),
                          acc[2][n] * (1.f / 3), acc[3][n] * (1.f / 3));
  __syncwarp();
}

// Gradient of a ray through the positions of its samples at constant depths; partial sums in each lane.
struct PointGradients {
  float origin[3] = {}, direction[3] = {};

  template <class M>
  __device__ __forceinline__ void add(const invid_call &call, int f, const Ray &ray, const M &m, int rows) {
    const Texels from = texels_of(call.field[f], ray.frame);
    const float warp = float(2 / call.box_warp), texels = float(from.resolution / call.box_warp);
    const bool fixed = call.flags & INVID_FIXED_AXES;
    const int part = lane_of() & 7;
    INVID_LOOP
    for (int row = lane_of() >> 3; row < rows; row += 4) {
      const float depth = m.depth()[m.sample()[row]];
      const Place place = place_of(m, depth, warp, from.resolution);
      const float4 gradient = gradient_of(m, row);
      float x = 0, y = 0, z = 0;
      each_plane(place, fixed, [&](int p, const Tap<float> &across, const Tap<float> &down) {
        const float *plane = from.planes + p * from.plane + 4 * part;
        const float *low = plane + down.low * from.row, *high = plane + down.high * from.row;
        const int left = across.low * from.column, right = across.high * from.column;
        const float a = dot(gradient, texel(low + left)), b = dot(gradient, texel(low + right));
        const float c = dot(gradient, texel(high + left)), d = dot(gradient, texel(high + right));
        const float v_across = texels * (down.at_low * (across.slope_low * a + across.slope_high * b) +
                                         down.at_high * (across.slope_low * c + across.slope_high * d));
        const float v_down = texels * (across.at_low * (down.slope_low * a + down.slope_high * c) +
                                       across.at_high * (down.slope_low * b + down.slope_high * d));
        if (p == 0) x += v_across, y += v_down;
        if (p == 1) (fixed ? y : x) += v_across, z += v_down;
        if (p == 2) z += v_across, x += v_down;
      });
      origin[0] += x, origin[1] += y, origin[2] += z;
      direction[0] += x * depth, direction[1] += y * depth, direction[2] += z * depth;
    }
  }

  __device__ __forceinline__ void write(const Job &job, const Ray &ray) const {
    INVID_UNROLL
    for (int x = 0; x < 3; x++) {
      const float of_origin = warp_sum(origin[x]), of_direction = warp_sum(direction[x]);
      if (lane_of()) continue;
      float *to = static_cast<float *>(job.call.v_origins) + ray.at * 3 + x;
      *to = job.add_rays ? *to + of_origin : of_origin;
      to = static_cast<float *>(job.call.v_directions) + ray.at * 3 + x;
      *to = job.add_rays ? *to + of_direction : of_direction;
    }
  }
};

// Gradients of one field's planes, of its decoder and of the ray from those of colours, densities and blends.
template <class Kind, bool kTrained, class M>
INVID_DEVICE void field_backward(const Job &job, int f, const Ray &ray, int index, const M &m, float most_blend,
                                 PointGradients &point, DecoderSums<Kind> &sums) {
  const invid_call &call = job.call;
  const bool alone = call.v.ood_features && f == 1;
  const int samples = call.coarse + call.fine;
  const float least = most_blend * kNegligible;
  // Also samples below the weight threshold whose blend has a gradient.
  const int count = choose(m, samples, [&](int p) {
    return coloured(m, f, p, samples, alone) || (f == 1 && fabsf(m.v_blends()[m.order()[p]]) > least);
  });
  INVID_LOOP
  for (int base = 0; base < count; base += 32) {
    const bool live = take_rows(m, f, base, count, samples, alone);
    const int lane = lane_of(), sample = m.sample()[lane], rows = count - base < 32 ? count - base : 32;
    m.v_sigma()[lane] = live ? m.v_sigmas(f)[sample] : 0.f;
    m.v_blend()[lane] = live && f == 1 ? m.v_blends()[sample] : 0.f;
    {
      float share[4][Kind::KP / 4];
      colours_of<Kind, M::kParts>(call, f, ray, m, share);
      colours_backward<Kind>(m, share);
    }
    const bool trained = kTrained && f == job.trained;
    if (trained) {
      sums.add_outputs(m);
      __syncwarp();
    }
    hidden_backward<Kind>(m, f);
    if (trained) sums.add_inputs(m);
    features_backward<Kind>(m, f);
    if (job.planes >> f & 1) {
      if (job.records)
        record(job, call.field[f], ray, m, rows, index);
      else
        scatter(call, call.field[f], ray, m, rows);
    }
    if (job.through_rays) point.add(call, f, ray, m, rows);
    __syncwarp();
  }
}

template <class Kind, bool kTrained, class M>
INVID_DEVICE void differentiate(const Job &job, const M &m, int frame, int index, DecoderSums<Kind> &sums) {
  const invid_call &call = job.call;
  const int picked = tiled_ray(job.first_ray + index, job.side);
  const Ray ray = load_ray(call, frame, picked, m);
  follow<Kind>(call, ray, m, picked, two_alone(call, call.v), true);
  load_colour_gradients<Kind>(call, ray, m);
  for (int f = 0; f < call.fields; f++) recall_colours<Kind>(call, f, ray, m);
  const float behind = call.flags & INVID_WHITE ? -warp_sum(m.v_features()[lane_of()]) : 0.f;
  intervals_backward(call, ray, m, load_ray_gradients(call, ray, m, behind));
  const float most_blend = samples_backward(call, ray, m);
  PointGradients point;
  INVID_LOOP
  for (int f = 0; f < call.fields; f++)
    if (job.fields >> f & 1)
      field_backward<Kind, kTrained>(job, f, ray, index, m, most_blend, point, sums);
  if (job.through_rays) point.write(job, ray);
}

template <class Kind, bool kTrained>
__global__ void __launch_bounds__(backward_warps<kTrained>() * 32) render_backward(INVID_PARAMETER Job job) {
  const invid_call &call = job.call;
  const int frame = job.first_frame + blockIdx.y;
  for (int f = 0; f < call.fields; f++) decoder_of<Kind>(f).load(call.field[f], frame, f == 1);
  __syncthreads();
  const auto m = memory_of<Kind, Memory<Kind, true, kTrained>>(call, call.v);
  DecoderSums<Kind> sums;
  const int first = blockIdx.x * job.chunk, end = first + job.chunk < job.rays ? first + job.chunk : job.rays;
  for (int i = first + warp_of(); i < end; i += job.warps)
    differentiate<Kind, kTrained>(job, m, frame, i, sums);
  if (kTrained) {
    const int64_t warp = (int64_t(blockIdx.y) * gridDim.x + blockIdx.x) * job.warps + warp_of();
    sums.write(job.partial + warp * DecoderSums<Kind>::size);
  }
}

}  // namespace INVID_ISA
}  // namespace invid
