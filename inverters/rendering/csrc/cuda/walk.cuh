// Shared by forward and backward: evaluates one or two fields along a ray and composites the weights. One warp per
// ray, 32 samples at a time.
#pragma once

#include "memory.cuh"

namespace invid {
namespace INVID_ISA {

struct Ray {
  int frame;
  int64_t at;  // index among all rays of the call
};

// Loads a ray; stores its origin and direction in m.ray.
template <class M>
INVID_DEVICE Ray load_ray(const invid_call &call, int frame, int index, const M &m) {
  const Ray ray = {frame, int64_t(frame) * call.rays + index};
  const int lane = lane_of();
  if (lane < 6)
    m.ray()[lane] = lane < 3 ? static_cast<const float *>(call.origins)[ray.at * 3 + lane]
                             : static_cast<const float *>(call.directions)[ray.at * 3 + lane - 3];
  __syncwarp();
  return ray;
}

// Tri-plane of a frame, with 32-bit strides.
struct Texels {
  const float *planes;
  int plane, row, column, resolution;
};
INVID_DEVICE Texels texels_of(const invid_field &field, int frame) {
  return {static_cast<const float *>(field.planes) + frame * field.frame, int(field.plane), int(field.row),
          int(field.column), field.resolution};
}

// Taps of a sample on the three planes.
struct Place {
  Tap<float> x, y, z;
};
template <class M>
INVID_DEVICE Place place_of(const M &m, float depth, float two_over_warp, int resolution) {
  const float *ray = m.ray();
  Place place;
  place.x = tap_at(ray[0] + depth * ray[3], two_over_warp, resolution);
  place.y = tap_at(ray[1] + depth * ray[4], two_over_warp, resolution);
  place.z = tap_at(ray[2] + depth * ray[5], two_over_warp, resolution);
  return place;
}

// Calls hand(plane, column tap, row tap) for each plane; only the second plane depends on the axes.
template <class Hand>
INVID_DEVICE void each_plane(const Place &place, bool fixed, Hand hand) {
  hand(0, place.x, place.y);
  hand(1, fixed ? place.y : place.x, place.z);
  hand(2, place.z, place.x);
}

INVID_DEVICE float4 texel(const float *place) { return __ldg(reinterpret_cast<const float4 *>(place)); }

// Mean features of the samples m.sample()[0..32) into the tile: 8 lanes read the 128 bytes of a texel, for 4 samples
// at a time.
template <class M>
INVID_DEVICE void gather(const invid_call &call, const Texels &from, const M &m) {
  const float warp = float(2 / call.box_warp);
  const bool fixed = call.flags & INVID_FIXED_AXES;
  const int part = lane_of() & 7;
  INVID_LOOP
  for (int row = lane_of() >> 3; row < 32; row += 4) {
    const Place place = place_of(m, m.depth()[m.sample()[row]], warp, from.resolution);
    float4 mean = make_float4(0, 0, 0, 0);
    each_plane(place, fixed, [&](int p, const Tap<float> &across, const Tap<float> &down) {
      const float *plane = from.planes + p * from.plane + 4 * part;
      const float *low = plane + down.low * from.row, *high = plane + down.high * from.row;
      const int left = across.low * from.column, right = across.high * from.column;
      mean = mean + (down.at_low * across.at_low) * texel(low + left) +
             (down.at_low * across.at_high) * texel(low + right) +
             (down.at_high * across.at_low) * texel(high + left) +
             (down.at_high * across.at_high) * texel(high + right);
    });
    const int sample = row ^ (4 * part);
    float *column = m.features() + 128 * part + sample;
    column[0] = mean.x * (1.f / 3), column[32] = mean.y * (1.f / 3);
    column[64] = mean.z * (1.f / 3), column[96] = mean.w * (1.f / 3);
  }
  __syncwarp();
}

// First dense layer of the gathered tile with its activation: part `part` of kParts of the units, in the order of
// `output_of`.
template <class Kind, int kParts, class M>
INVID_DEVICE void hidden_of(const Decoder<Kind> &decoder, int part, const M &m, float (&acc)[4][Kind::H / kParts / 4]) {
  constexpr int kUnits = Kind::H / kParts;
  INVID_UNROLL
  for (int n = 0; n < kUnits / 4; n++) {
    const float bias = decoder.b1[part * kUnits + output_of<Kind::kTf32>(n)];
    INVID_UNROLL
    for (int s = 0; s < 4; s++) acc[s][n] = bias;
  }
  const float *weights = decoder.w1 + part * kUnits * Decoder<Kind>::kStride1;
  apply<Kind::C, kUnits, Kind::kTf32>(m.features(), weights, Decoder<Kind>::kStride1, acc);
  INVID_UNROLL
  for (int s = 0; s < 4; s++)
    INVID_UNROLL
    for (int n = 0; n < kUnits / 4; n++) acc[s][n] = fast_softplus(acc[s][n]);
}

// Sigmoids of the colours (before EG3D's scaling) of the samples m.sample[0..32), with their hidden units in the tile.
// Hidden units are computed in kParts to save registers.
template <class Kind, int kParts, class M>
INVID_DEVICE void colours_of(const invid_call &call, int f, const Ray &ray, const M &m, float (&acc)[4][Kind::KP / 4]) {
  static_assert(kParts == 1 || M::kFeatures != 0, "features may be written over only when all of them are read");
  const Decoder<Kind> &decoder = decoder_of<Kind>(f);
  gather(call, texels_of(call.field[f], ray.frame), m);
  INVID_LOOP
  for (int part = 0; part < kParts; part++) {
    constexpr int kUnits = Kind::H / kParts;
    float hidden[4][kUnits / 4];
    hidden_of<Kind, kParts>(decoder, part, m, hidden);
    __syncwarp();
    INVID_UNROLL
    for (int n = 0; n < kUnits / 4; n++)
      put_four<Kind::kTf32>(m.hidden(), part * kUnits + output_of<Kind::kTf32>(n), hidden[0][n], hidden[1][n],
                            hidden[2][n], hidden[3][n]);
  }
  __syncwarp();
  INVID_UNROLL
  for (int n = 0; n < Kind::KP / 4; n++) {
    const float bias = decoder.b2[1 + output_of<Kind::kTf32>(n)];
    INVID_UNROLL
    for (int s = 0; s < 4; s++) acc[s][n] = bias;
  }
  apply<Kind::H, Kind::KP, Kind::kTf32>(m.hidden(), decoder.colours(), Decoder<Kind>::kStride2, acc);
  INVID_UNROLL
  for (int s = 0; s < 4; s++)
    INVID_UNROLL
    for (int n = 0; n < Kind::KP / 4; n++) acc[s][n] = fast_sigmoid(acc[s][n]);
}

// Densities and blends of all fields at samples [from, to).
template <class Kind, class M>
INVID_DEVICE void evaluate(const invid_call &call, const Ray &ray, const M &m, int from, int to) {
  INVID_LOOP
  for (int base = from; base < to; base += 32) {
    const int mine = base + lane_of();
    m.sample()[lane_of()] = mine < to ? mine : to - 1;
    __syncwarp();
    INVID_LOOP
    for (int f = 0; f < call.fields; f++) {
      const Decoder<Kind> &decoder = decoder_of<Kind>(f);
      gather(call, texels_of(call.field[f], ray.frame), m);
      float hidden[4][Kind::H / 4];
      hidden_of<Kind, 1>(decoder, 0, m, hidden);
      float density[4] = {}, blend[4] = {};
      INVID_UNROLL
      for (int n = 0; n < Kind::H / 4; n++) {
        const float w = decoder.w2[output_of<Kind::kTf32>(n)];
        INVID_UNROLL
        for (int s = 0; s < 4; s++) density[s] += hidden[s][n] * w;
      }
      if (f == 1) {
        INVID_UNROLL
        for (int n = 0; n < Kind::H / 4; n++) {
          const float w = decoder.blend()[output_of<Kind::kTf32>(n)];
          INVID_UNROLL
          for (int s = 0; s < 4; s++) blend[s] += hidden[s][n] * w;
        }
      }
      INVID_UNROLL
      for (int s = 0; s < 4; s++) {
        const float raw = quad_sum(density[s]) + decoder.b2[0];
        const float seen = f == 1 ? quad_sum(blend[s]) + decoder.b2[1 + Kind::KP] : 0.f;
        const int sample = base + sample_of<Kind::kTf32>(s);
        if ((lane_of() & 3) == s && sample < to) {
          m.sigma(f)[sample] = raw;
          if (f == 1) m.blend()[sample] = 1.f / (1.f + expf(-seen));
        }
      }
      __syncwarp();
    }
  }
}

// One field over the interval between sorted samples k and k + 1.
struct Interval {
  float optical, clear, slope;  // slope: d optical depth / d mean density
};
template <class M>
INVID_DEVICE Interval interval(const M &m, int f, int k) {
  const int a = m.order()[k], b = m.order()[k + 1];
  Interval found;
  const float length = m.depth()[b] - m.depth()[a];
  found.optical = softplus((m.sigma(f)[a] + m.sigma(f)[b]) / 2 - 1, found.slope) * length;
  found.clear = expf(-found.optical);
  found.slope *= length;
  return found;
}
template <class M>
INVID_DEVICE float middle(const float *values, const M &m, int k) {
  return (values[m.order()[k]] + values[m.order()[k + 1]]) / 2;
}

// Weights of the first `count` samples in the order m.order(), and the transmittance where there is an array for it.
template <class M>
INVID_DEVICE void march(const invid_call &call, const M &m, int count, bool alone, bool keep) {
  const bool two = call.fields == 2, sum = two && (call.flags & INVID_SUM);
  const int intervals = count - 1;
  float through = 1, through_alone = 1, optical = 0;
  INVID_LOOP
  for (int base = 0; base < intervals; base += 32) {
    const int k = base + lane_of();
    const bool valid = k < intervals;
    Interval ind = {0, 1, 0}, ood = {0, 1, 0};
    float b = 0;
    if (valid) {
      ind = interval(m, 0, k);
      if (two) ood = interval(m, 1, k), b = middle(m.blend(), m, k);
    }
    const float share_ind = (1 - b) * (1 - ind.clear), share_ood = b * (1 - ood.clear);
    float passed;
    if (sum) {
      const Scanned scanned = scan_sum(ind.optical + ood.optical);
      passed = expf(-(optical + scanned.before));
      optical += scanned.all;
    } else {
      const Scanned scanned = scan_product((1 - share_ood) * (1 - share_ind) + float(INVID_EPS));
      passed = through * scanned.before;
      through *= scanned.all;
    }
    if (valid) {
      m.weights(0)[k] = passed * share_ind;
      if (two) m.weights(1)[k] = passed * share_ood;
      if (M::kKeeps && keep) m.passed()[k] = passed;
    }
    if (alone) {
      const Scanned scanned = scan_product(ood.clear + float(INVID_EPS));
      if (valid) {
        m.weights_alone()[k] = through_alone * scanned.before * (1 - ood.clear);
        if (M::kKeeps && keep) m.passed_alone()[k] = through_alone * scanned.before;
      }
      through_alone *= scanned.all;
    }
  }
  __syncwarp();
}

// `importance_depths` of ray.h for a warp: scans for the sums, one lane per fine depth.
template <class M>
INVID_DEVICE void fine_depths(const invid_call &call, const M &m, const float *u) {
  const int bins = call.coarse - 3;
  const bool two = call.fields == 2;
  const auto weight = [&](int k) { return two ? m.weights(0)[k] + m.weights(1)[k] : m.weights(0)[k]; };
  float total = 0;
  for (int k = lane_of(); k < bins; k += 32) {
    const float before = weight(k), here = weight(k + 1), after = weight(k + 2);
    const float mass = (fmaxf(before, here) + fmaxf(here, after)) / 2 + 0.01f + 1e-5f;
    m.scratch()[k] = mass;
    total += mass;
  }
  total = warp_sum(total);
  __syncwarp();
  float sum = 0;
  for (int base = 0; base < bins; base += 32) {
    const int k = base + lane_of();
    const Scanned scanned = scan_sum(k < bins ? m.scratch()[k] / total : 0.f);
    if (k < bins) m.scratch()[k] = sum + scanned.before;  // CDF at the lower end of the bin
    sum += scanned.all;
  }
  __syncwarp();
  for (int i = lane_of(); i < call.fine; i += 32) {
    const float where = u[i];
    int k = 0, beyond = bins;  // the last bin that starts at or before `where`
    while (beyond - k > 1) {
      const int half = (k + beyond) / 2;
      if (m.scratch()[half] <= where)
        k = half;
      else
        beyond = half;
    }
    const float low = m.scratch()[k], high = k + 1 < bins ? m.scratch()[k + 1] : sum, span = high - low;
    const float near = (m.depth()[k] + m.depth()[k + 1]) / 2, far = (m.depth()[k + 1] + m.depth()[k + 2]) / 2;
    const float inside = near + (where - low) / (span < 1e-5f ? 1.f : span) * (far - near);
    m.depth()[call.coarse + i] = where >= high ? far : inside;
  }
  __syncwarp();
}

// `order_samples` of ray.h for a warp: each sample counts those before it.
template <class M>
INVID_DEVICE void order_all(const invid_call &call, const M &m) {
  const int coarse = call.coarse, fine = call.fine;
  for (int a = lane_of(); a < coarse + fine; a += 32) {
    const float here = m.depth()[a];
    int place = a < coarse ? a : 0;
    if (a >= coarse) {  // coarse samples are in order
      int beyond = coarse;
      while (beyond > place) {
        const int half = (place + beyond) / 2;
        if (m.depth()[half] <= here)
          place = half + 1;
        else
          beyond = half;
      }
    }
    for (int b = coarse; b < coarse + fine; b++) {
      const float other = m.depth()[b];
      place += other < here || (other == here && b < a);
    }
    m.order()[place] = a;
  }
  __syncwarp();
}

// Evaluates the fields and composites. Writes densities, blends, order and weights to `m`.
template <class Kind, class M>
INVID_STAGE void follow(const invid_call &call, const Ray &ray, const M &m, int index, bool alone, bool keep) {
  const int coarse = call.coarse, samples = coarse + call.fine;
  const float *depths = static_cast<const float *>(call.coarse_depths) + ray.frame * call.coarse_frame +
                        index * call.coarse_ray;
  for (int p = lane_of(); p < samples; p += 32) {
    m.order()[p] = p;
    if (p < coarse) m.depth()[p] = depths[p];
  }
  __syncwarp();
  evaluate<Kind>(call, ray, m, 0, coarse);
  if (call.fine) {
    march(call, m, coarse, false, false);
    fine_depths(call, m,
                static_cast<const float *>(call.fine_positions) + ray.frame * call.fine_frame + index * call.fine_ray);
    evaluate<Kind>(call, ray, m, coarse, samples);
    order_all(call, m);
  }
  march(call, m, samples, alone, keep);
}

// Weight of a sample: half the weight of each adjacent interval.
INVID_DEVICE float of_sample(const float *intervals, int p, int samples) {
  return ((p > 0 ? intervals[p - 1] : 0.f) + (p < samples - 1 ? intervals[p] : 0.f)) / 2;
}

// Compacts the indices p < samples with wanted(p) into m.list(); returns their number.
template <class Wanted, class M>
INVID_DEVICE int choose(const M &m, int samples, Wanted wanted) {
  int count = 0;
  INVID_LOOP
  for (int base = 0; base < samples; base += 32) {
    const int p = base + lane_of();
    const bool take = p < samples && wanted(p);
    const unsigned taken = __ballot_sync(kAll, take);
    if (take) m.list()[count + __popc(taken & ((1u << lane_of()) - 1))] = p;
    count += __popc(taken);
  }
  __syncwarp();
  return count;
}

// Loads entries [base, base + 32) of the list as the current samples, with their weights; 0 past its end.
template <class M>
INVID_DEVICE bool take_rows(const M &m, int f, int base, int count, int samples, bool alone) {
  const int row = base + lane_of();
  const bool live = row < count;
  const int p = m.list()[live ? row : count - 1];
  m.sample()[lane_of()] = m.order()[p];
  m.weight()[lane_of()] = live ? of_sample(m.weights(f), p, samples) : 0.f;
  m.alone()[lane_of()] = live && alone && f == 1 ? of_sample(m.weights_alone(), p, samples) : 0.f;
  __syncwarp();
  return live;
}

}  // namespace INVID_ISA
}  // namespace invid
