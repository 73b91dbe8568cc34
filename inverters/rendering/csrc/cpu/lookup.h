// Bilinear lookup in a tri-plane and its gradient: four texels on each plane, C channels contiguous.
//
// Include after simd.h.
#pragma once

// Texels of W samples on three planes: offsets into the plane, and weights in the mean of the three lookups. The
// weight of a texel outside the plane is zero.
template <class S, class T>
struct Corners {
  typedef typename S::V V;
  typedef typename S::I I;
  static constexpr int W = S::width;
  decltype(I{}[0] + 0) offset[12][W];
  T share[12][W];

  // For the samples at `depths` [W] along a ray. Same arithmetic as `tap_at`.
  INVID_INLINE void find(const T *origin, const T *direction, const T *depths, double box_warp, int resolution,
                         int64_t row, int64_t column, const PlaneAxes &axes, Corners &found) {
    I low[3], high[3];
    V at_low[3], at_high[3];
    for (int x = 0; x < 3; x++) {
      const V place = origin[x] + S::load(depths) * direction[x];
      const V at = ((place * T(2 / box_warp) + 1) * T(resolution) - 1) / 2;
      const I inside = (at > -1) & (at < T(resolution));  // also false for NaN
      const V held = inside ? at : V{};
      const I below = __builtin_convertvector(held + 1, I) - 1;
      const V share = held - __builtin_convertvector(below, V);
      const I least = inside & (below >= 0), most = inside & (below + 1 < resolution);
      low[x] = least ? below : I{};
      high[x] = most ? below + 1 : I{} + (resolution - 1);
      at_low[x] = least ? 1 - share : V{};
      at_high[x] = most ? share : V{};
    }
    for (int p = 0; p < 3; p++) {
      const int x = axes.column[p], y = axes.row[p];
      const I left = low[x] * int(column), right = high[x] * int(column);
      const I upper = low[y] * int(row), lower = high[y] * int(row);
      const V above = at_low[y] * T(1.0 / 3), beneath = at_high[y] * T(1.0 / 3);
      const I offsets[4] = {upper + left, upper + right, lower + left, lower + right};
      const V shares[4] = {above * at_low[x], above * at_high[x], beneath * at_low[x], beneath * at_high[x]};
      memcpy(found.offset[4 * p], offsets, sizeof offsets);
      memcpy(found.share[4 * p], shares, sizeof shares);
    }
  }
};

template <class S, class T, int C>
struct Lookup {
  typedef typename S::V V;
  typedef Corners<S, T> At;
  static constexpr int W = S::width;

  // Prefetches the texels of sample `lane` of the W in `at`.
  template <bool kWrite>
  INVID_INLINE void prefetch(const T *planes, int64_t plane, const At &at, int lane) {
    for (int k = 0; k < 12; k++) {
      const T *texel = planes + (k / 4) * plane + at.offset[k][lane];
      for (int c = 0; c < C; c += 64 / int(sizeof(T))) __builtin_prefetch(texel + c, kWrite);
    }
  }

  // Mean of the bilinear lookups in the three planes.
  INVID_INLINE void gather(const T *planes, int64_t plane, const At &at, int lane, T *out) {
    V mean[C / W] = {};
    for (int k = 0; k < 12; k++) {
      const T *texel = planes + (k / 4) * plane + at.offset[k][lane];
      for (int v = 0; v < C / W; v++) mean[v] += at.share[k][lane] * S::load(texel + v * W);
    }
    for (int v = 0; v < C / W; v++) S::store(out + v * W, mean[v]);
  }

  // Adds the gradient of one sample's mean feature to its 12 texels.
  INVID_INLINE void scatter(T *planes, int64_t plane, const At &at, int lane, const T *v_features) {
    V gradient[C / W];
    for (int v = 0; v < C / W; v++) gradient[v] = S::load(v_features + v * W);
    for (int k = 0; k < 12; k++) {
      T *texel = planes + (k / 4) * plane + at.offset[k][lane];
      for (int v = 0; v < C / W; v++)
        S::store(texel + v * W, S::load(texel + v * W) + gradient[v] * at.share[k][lane]);
    }
  }

  // Adds the gradient of a sample's world position to v_point [3], from that of its mean feature.
  INVID_INLINE void place_backward(const invid_field &of, const T *planes, const T *point, const PlaneAxes &axes,
                                   double box_warp, const T *gradient, T *v_point) {
    const T scale = T(of.resolution / box_warp / 3);  // texels per world unit, over 3 for the mean of the planes
    Tap<T> taps[3];
    for (int x = 0; x < 3; x++) taps[x] = tap_at(point[x], T(2 / box_warp), of.resolution);
    for (int p = 0; p < 3; p++) {
      const int x = axes.column[p], y = axes.row[p];
      const Tap<T> &across = taps[x], &down = taps[y];
      const T *low = planes + p * of.plane + down.low * of.row, *high = planes + p * of.plane + down.high * of.row;
      const T a = dot(gradient, low + across.low * of.column), b = dot(gradient, low + across.high * of.column);
      const T c = dot(gradient, high + across.low * of.column), d = dot(gradient, high + across.high * of.column);
      v_point[x] += scale * (down.at_low * (across.slope_low * a + across.slope_high * b) +
                             down.at_high * (across.slope_low * c + across.slope_high * d));
      v_point[y] += scale * (across.at_low * (down.slope_low * a + down.slope_high * c) +
                             across.at_high * (down.slope_low * b + down.slope_high * d));
    }
  }

  INVID_INLINE T dot(const T *a, const T *b) {
    V sum{};
    for (int v = 0; v < C; v += W) sum += S::load(a + v) * S::load(b + v);
    return S::sum(sum);
  }
};
