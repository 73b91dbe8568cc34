// What happens along one ray, for both compilers: taps, importance depths, the composite and its gradient.
//
// Formulas follow inverters/rendering/marching.py line by line; `A` is anything that is indexed like an array.
#pragma once

#if defined(__CUDACC__)
#define INVID_FN __host__ __device__ __forceinline__
#else
#define INVID_FN inline
#endif

// One namespace for each instruction set that a file is compiled for, so that the linker never shares code of two.
#if !defined(INVID_ISA)
#define INVID_ISA any
#endif

namespace invid {
namespace INVID_ISA {

// Added to every factor of the transmittance, as the released marchers do.
#define INVID_EPS 1e-10

// Side of a picture that divides into tiles of 16 x 8 rays, row by row in memory; 0 where rays are no such picture.
INVID_FN int tiled_side(int rays) {
  int side = 16;
  while (side < 32768 && side * side < rays) side += 16;
  return side * side == rays ? side : 0;
}

// The `index`-th ray of a frame to be taken: tile by tile, as neighbours in both directions share texels.
INVID_FN int tiled_ray(int index, int side) {
  if (!side) return index;
  const int tile = index / 128, within = index % 128, across = side / 16;
  return ((tile / across) * 8 + within / 16) * side + (tile % across) * 16 + within % 16;
}

// (column, row) coordinates of each plane.
struct PlaneAxes {
  int column[3], row[3];
};
INVID_FN PlaneAxes plane_axes(bool fixed) {
  return fixed ? PlaneAxes{{0, 1, 2}, {1, 2, 0}} : PlaneAxes{{0, 0, 2}, {1, 2, 0}};
}

// One coordinate's share of a bilinear lookup: two texels and their weights; zero beyond the border.
template <class T>
struct Tap {
  int low, high;    // texels, within the plane
  T at_low, at_high;  // weights; a texel outside the plane has none
  T slope_low, slope_high;  // derivatives of the weights by the coordinate in texels
};

// Texel k's centre lies at (k + 0.5) / resolution of the cube's side (align_corners false).
template <class T>
INVID_FN Tap<T> tap_at(T coordinate, T two_over_warp, int resolution) {
  const T x = ((coordinate * two_over_warp + 1) * resolution - 1) / 2;
  // Also false for what is not a number.
  if (!(x > -1 && x < resolution)) return {0, 0, 0, 0, 0, 0};
  const int low = int(x + 1) - 1;  // floor, as x + 1 > 0
  const T share = x - low;
  Tap<T> tap{low, low + 1, 1 - share, share, -1, 1};
  if (low < 0) tap.low = 0, tap.at_low = 0, tap.slope_low = 0;
  if (low + 1 >= resolution) tap.high = resolution - 1, tap.at_high = 0, tap.slope_high = 0;
  return tap;
}

// Fine depths by EG3D's inverse CDF. `cdf` is scratch of `coarse` numbers; weights are those of the
// coarse samples' intervals. At least 4 coarse samples.
template <class T, class A, class B, class U, class D>
INVID_FN void importance_depths(int coarse, int fine, A depths, B weights, U u, B cdf, D out) {
  const int bins = coarse - 3;  // between the midpoints of the coarse depths, but for the last
  T total = 0;
  for (int k = 0; k < bins; k++) {
    // Interval k+1: the greater of it and each neighbour, averaged.
    const T before = weights[k], here = weights[k + 1], after = weights[k + 2];
    const T left = before > here ? before : here, right = here > after ? here : after;
    total += (left + right) / 2 + T(0.01) + T(1e-5);
    cdf[k] = (left + right) / 2 + T(0.01) + T(1e-5);
  }
  T sum = 0;
  for (int k = 0; k < bins; k++) {
    const T share = cdf[k] / total;
    cdf[k] = sum;  // value at the bin's lower end
    sum += share;
  }
  int k = 0;
  for (int i = 0; i < fine; i++) {
    const T where = u[i];
    if (k > 0 && cdf[k] > where) k = 0;  // positions drawn at random are not in order
    while (k + 1 < bins && cdf[k + 1] <= where) k++;
    const T low = cdf[k], high = k + 1 < bins ? T(cdf[k + 1]) : sum;
    const T near = (depths[k] + depths[k + 1]) / 2, far = (depths[k + 1] + depths[k + 2]) / 2;
    // At or past the last bin's end EG3D's search has no bin to the right: the answer is the end itself.
    if (where >= high) {
      out[i] = far;
      continue;
    }
    const T span = high - low;
    out[i] = near + (where - low) / (span < T(1e-5) ? T(1) : span) * (far - near);
  }
}

// Order of depth of coarse samples (ascending) and fine ones (any order): order[p] is the p-th nearest.
// Equal depths keep the order of evaluation. `sorted` is scratch of `fine` ints.
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

// The composite of one ray over `n` intervals. In: optical depths, clear shares exp(-optical) and middle blends
// (second field: null with one field). Out: what reaches each interval, and the weights of each field.
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

// Gradient of `composite`: given dL/d weight of each field (v_weight_*, overwritten with dL/d optical depth), the
// gradient of the middle blends. R_k = dL/d(what reaches interval k) runs from far to near; nothing is divided.
template <class T, class A>
INVID_FN void composite_backward(int n, bool two, bool sum, A clear_ind, A clear_ood, A blend, A passed, A v_weight_ind,
                                 A v_weight_ood, A v_blend) {
  T v_through = 0;  // of what reaches interval k + 1
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
