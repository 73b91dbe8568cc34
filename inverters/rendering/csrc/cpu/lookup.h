// A tri-plane's texels, read and added to: four around a sample on each plane, C channels side by side.
//
// Included where simd.h is. `taps` are a sample's three coordinates, `axes` say which of them span each plane.
#pragma once

template <class S, class T, int C>
struct Lookup {
  typedef typename S::V V;
  static constexpr int W = S::width;

  // Asks for the texels of a lookup that is to come.
  INVID_INLINE void prefetch(const invid_field &field, const T *planes, const Tap<T> *taps, const PlaneAxes &axes) {
    for (int p = 0; p < 3; p++) {
      const Tap<T> &column = taps[axes.column[p]], &row = taps[axes.row[p]];
      for (const int64_t at : {row.low * field.row, row.high * field.row}) {
        const T *line = planes + p * field.plane + at;
        for (const int64_t texel : {column.low * field.column, column.high * field.column})
          for (int c = 0; c < C; c += 64 / int(sizeof(T))) __builtin_prefetch(line + texel + c);
      }
    }
  }

  // The mean of the three planes' bilinear lookups.
  INVID_INLINE void gather(const invid_field &field, const T *planes, const Tap<T> *taps, const PlaneAxes &axes,
                           T *out) {
    V mean[C / W] = {};
    for (int p = 0; p < 3; p++) {
      const Tap<T> &column = taps[axes.column[p]], &row = taps[axes.row[p]];
      const T *plane = planes + p * field.plane;
      const T *low = plane + row.low * field.row, *high = plane + row.high * field.row;
      const T a = row.at_low * column.at_low, b = row.at_low * column.at_high;
      const T c = row.at_high * column.at_low, d = row.at_high * column.at_high;
      const T *at_a = low + column.low * field.column, *at_b = low + column.high * field.column;
      const T *at_c = high + column.low * field.column, *at_d = high + column.high * field.column;
      for (int v = 0; v < C / W; v++)
        mean[v] += (a * S::load(at_a + v * W) + b * S::load(at_b + v * W)) +
                   (c * S::load(at_c + v * W) + d * S::load(at_d + v * W));
    }
    for (int v = 0; v < C / W; v++) S::store(out + v * W, mean[v] * T(1.0 / 3));
  }

  // Adds the gradient of one sample's mean feature to the 12 texels that it was read from.
  INVID_INLINE void scatter(const invid_field &of, const Tap<T> *taps, const PlaneAxes &axes, const T *v_features,
                            T *into) {
    V gradient[C / W];
    for (int v = 0; v < C / W; v++) gradient[v] = S::load(v_features + v * W);
    for (int p = 0; p < 3; p++) {
      const Tap<T> &across = taps[axes.column[p]], &down = taps[axes.row[p]];
      T *low = into + p * of.v_plane + down.low * of.v_row, *high = into + p * of.v_plane + down.high * of.v_row;
      accumulate(low + across.low * of.v_column, gradient, down.at_low * across.at_low);
      accumulate(low + across.high * of.v_column, gradient, down.at_low * across.at_high);
      accumulate(high + across.low * of.v_column, gradient, down.at_high * across.at_low);
      accumulate(high + across.high * of.v_column, gradient, down.at_high * across.at_high);
    }
  }

  INVID_INLINE void accumulate(T *at, const V *gradient, T share) {
    for (int v = 0; v < C / W; v++) S::store(at + v * W, S::load(at + v * W) + gradient[v] * share);
  }

  // Adds the gradient of a sample's place in the world to v_point [3].
  INVID_INLINE void place_backward(const invid_field &of, const T *planes, const Tap<T> *taps, const PlaneAxes &axes,
                                   double box_warp, const T *gradient, T *v_point) {
    const T texels = T(of.resolution / box_warp);  // a world unit, in texels
    for (int p = 0; p < 3; p++) {
      const int x = axes.column[p], y = axes.row[p];
      const Tap<T> &across = taps[x], &down = taps[y];
      const T *low = planes + p * of.plane + down.low * of.row, *high = planes + p * of.plane + down.high * of.row;
      const T a = dot(gradient, low + across.low * of.column), b = dot(gradient, low + across.high * of.column);
      const T c = dot(gradient, high + across.low * of.column), d = dot(gradient, high + across.high * of.column);
      v_point[x] += texels * (down.at_low * (across.slope_low * a + across.slope_high * b) +
                              down.at_high * (across.slope_low * c + across.slope_high * d));
      v_point[y] += texels * (across.at_low * (down.slope_low * a + down.slope_high * c) +
                              across.at_high * (down.slope_low * b + down.slope_high * d));
    }
  }

  INVID_INLINE T dot(const T *a, const T *b) {
    V sum{};
    for (int v = 0; v < C; v += W) sum += S::load(a + v) * S::load(b + v);
    return S::sum(sum);
  }
};
