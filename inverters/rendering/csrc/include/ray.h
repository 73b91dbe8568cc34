// Operations along one ray, compiled for CPU and CUDA: taps, importance depths, the composite and its gradient.
//
// Formulas follow inverters/rendering/marching.py line by line. `A` is any type that is indexed like an array.
#pragma once

#if defined(__CUDACC__)
#define INVID_FN __host__ __device__ __forceinline__
#else
#define INVID_FN inline
#endif

// One namespace per instruction set, so that the linker does not merge code of two.
#if !defined(INVID_ISA)
#define INVID_ISA any
#endif

namespace invid {
namespace INVID_ISA {

// Added to every factor of the transmittance, as in EG3D's ray marcher.
#define INVID_EPS 1e-10

// Side of a square image that divides into tiles of 16 x 8 rays, in row order; 0 if the rays are not one.
INVID_FN int tiled_side(int rays) {
  int side = 16;
  while (side < 32768 && side * side < rays) side += 16;
  return side * side == rays ? side : 0;
}

// The ray at position `index` of the processing order: tile by tile, as neighbours share texels.
INVID_FN int tiled_ray(int index, int side) {
  if (!side) return index;
  const int tile = index / 128, within = index % 128, across = side / 16;
  return ((tile / across) * 8 + within / 16) * side + (tile % across) * 16 + within % 16;
}

// Column and row coordinate of each plane.
struct PlaneAxes {
  int column[3], row[3];
};
INVID_FN PlaneAxes plane_axes(bool fixed) {
  return fixed ? PlaneAxes{{0, 1, 2}, {1, 2, 0}} : PlaneAxes{{0, 0, 2}, {1, 2, 0}};
}

// One axis of a bilinear lookup: two texels and their weights, zero outside the plane.
template <class T>
struct Tap {
  int low, high;    // texels, clamped to the plane
  T at_low, at_high;  // weights; zero for a texel outside the plane
  T slope_low, slope_high;  // derivatives of the weights with respect to the coordinate in texels
};

// The centre of texel k is at (k + 0.5) / resolution of the cube's side (align_corners=False).
template <class T>
INVID_FN Tap<T> tap_at(T coordinate, T two_over_warp, int resolution) {
  const T x = ((coordinate * two_over_warp + 1) * resolution - 1) / 2;
  // Also false for NaN.
  if (!(x > -1 && x < resolution)) return {0, 0, 0, 0, 0, 0};
  const int low = int(x + 1) - 1;  // floor, as x + 1 > 0
  const T share = x - low;
  Tap<T> tap{low, low + 1, 1 - share, share, -1, 1};
  if (low < 0) tap.low = 0, tap.at_low = 0, tap.slope_low = 0;
  if (low + 1 >= resolution) tap.high = resolution - 1, tap.at_high = 0, tap.slope_high = 0;
  return tap;
}

// Fine depths by inverse CDF, as EG3D's sample_importance. `weights`: of the coarse samples' intervals. `cdf`:
// scratch of `coarse` numbers. Needs 4 coarse samples or more.
template <class T, class A, class B, class U, class D>
INVID_FN void importance_depths(int coarse, int fine, A depths, B weights, U u, B cdf, D out) {
  const int bins = coarse - 3;  // between midpoints of the coarse depths, without the last
  T total = 0;
  for (int k = 0; k < bins; k++) {
    // Interval k+1: mean of the maxima with either neighbour.
    const T before = weights[k], here = weights[k + 1], after = weights[k + 2];
    const T left = before > here ? before : here, right = here > after ? here : after;
    total += (left + right) / 2 + T(0.01) + T(1e-5);
    cdf[k] = (left + right) / 2 + T(0.01) + T(1e-5);
  }
  T sum = 0;
  for (int k = 0; k < bins; k++) {
    const T share = cdf[k] / total;
    cdf[k] = sum;  // CDF at the lower end of the bin
    sum += share;
  }
  int k = 0;
  for (int i = 0; i < fine; i++) {
    const T where = u[i];
    if (k > 0 && cdf[k] > where) k = 0;  // random positions are not sorted
    while (k + 1 < bins && cdf[k + 1] <= where) k++;
    const T low = cdf[k], high = k + 1 < bins ? T(cdf[k + 1]) : sum;
    const T near = (depths[k] + depths[k + 1]) / 2, far = (depths[k + 1] + depths[k + 2]) / 2;
    // At or past the end of the last bin, EG3D's search returns the end itself.
    if (where >= high) {
      out[i] = far;
      continue;
    }
    const T span = high - low;
    out[i] = near + (where - low) / (span < T(1e-5) ? T(1) : span) * (far - near);
  }
}

// Sorts coarse samples (ascending) and fine ones (any order) by depth: order[p] is the p-th nearest. Stable.
// `sorted`: scratch of `fine` ints.
template <class A, class I>
INVID_FN void order_samples(int coarse, int fine, A depths, I sorted, I order) {
  for (int i = 0; i < fine; i++) {
    int at = i;
    while (at > 0 && depths[coarse + sorted[at - 1]] > depths[coarse + i]) {
      sorted[at] = sorted[at - 1];
      at--;
    }
    sorted[at] = i;
  }
  int a = 0, b = 0;
  for (int p = 0; p < coarse + fine; p++) {
    const bool take_coarse = b == fine || (a < coarse && depths[a] <= depths[coarse + sorted[b]]);
    order[p] = take_coarse ? a++ : coarse + sorted[b++];
  }
}

// Composites one ray over `n` intervals. In: optical depths, clear = exp(-optical) and mean blends; null for the
// second field if there is one field. Out: transmittance before each interval, and the weights of each field.
template <class T, class A, class E>
INVID_FN void composite(int n, bool two, bool sum, A optical_ind, A clear_ind, A optical_ood, A clear_ood, A blend,
                        A passed, A weight_ind, A weight_ood, E exponential) {
  T through = 1, optical = 0;
  for (int k = 0; k < n; k++) {
    const T b = two ? T(blend[k]) : T(0);
    const T ind = (1 - b) * (1 - clear_ind[k]), ood = two ? b * (1 - clear_ood[k]) : T(0);
    passed[k] = through;
    weight_ind[k] = through * ind;
    if (two) weight_ood[k] = through * ood;
    if (two && sum) {
      optical += optical_ind[k] + optical_ood[k];
      through = exponential(-optical);
    } else {
      through *= (1 - ood) * (1 - ind) + T(INVID_EPS);
    }
  }
}

// Gradient of `composite`. In: dL/d weight of each field in v_weight_*, overwritten with dL/d optical depth. Out: the
// gradient of the mean blends. R_k = dL/d(transmittance before interval k), from far to near, without division.
template <class T, class A>
INVID_FN void composite_backward(int n, bool two, bool sum, A clear_ind, A clear_ood, A blend, A passed, A v_weight_ind,
                                 A v_weight_ood, A v_blend) {
  T v_through = 0;  // of the transmittance before interval k + 1
  for (int k = n - 1; k >= 0; k--) {
    const T b = two ? T(blend[k]) : T(0);
    const T alpha_ind = 1 - clear_ind[k], alpha_ood = two ? 1 - clear_ood[k] : T(0);
    const T ind = (1 - b) * alpha_ind, ood = b * alpha_ood;
    const T v_reached_ind = v_weight_ind[k], v_reached_ood = two ? T(v_weight_ood[k]) : T(0);
    const T through = passed[k];
    T v_ind = through * v_reached_ind, v_ood = through * v_reached_ood, v_optical = 0, factor;
    if (two && sum) {
      factor = clear_ind[k] * clear_ood[k];
      v_optical = -through * factor * v_through;
    } else {
      factor = (1 - ood) * (1 - ind) + T(INVID_EPS);
      v_ind -= through * v_through * (1 - ood);
      v_ood -= through * v_through * (1 - ind);
    }
    v_weight_ind[k] = (1 - b) * v_ind * clear_ind[k] + v_optical;
    if (two) {
      v_weight_ood[k] = b * v_ood * clear_ood[k] + v_optical;
      v_blend[k] += alpha_ood * v_ood - alpha_ind * v_ind;
    }
    v_through = v_reached_ind * ind + v_reached_ood * ood + factor * v_through;
  }
}

}  // namespace INVID_ISA
}  // namespace invid
