// Products of small dense matrices.
//
// Include after simd.h.
#pragma once

// sums[m][n] += sum over k of A[m][k] B[k][n], with A[m][k] at a[m * kRow + k * kStep]. Not inlined, so that the
// caller's variables take no registers from the accumulators.
template <class S, int kTall, int kWide, int kRow, int kStep, int kAcross, class T>
static __attribute__((noinline)) void add_products(int depth, const T *a, const T *b, T *sums) {
  typedef typename S::V V;
  V held[kTall][kWide];
  for (int m = 0; m < kTall; m++)
    for (int n = 0; n < kWide; n++) held[m][n] = S::load(sums + (m * kWide + n) * S::width);
  for (int k = 0; k < depth; k++, a += kStep, b += kAcross) {
    V values[kWide];
    for (int n = 0; n < kWide; n++) values[n] = S::load(b + n * S::width);
    for (int m = 0; m < kTall; m++) {
      const V scale = S::splat(a[m * kRow]);
      for (int n = 0; n < kWide; n++) held[m][n] += scale * values[n];
    }
  }
  for (int m = 0; m < kTall; m++)
    for (int n = 0; n < kWide; n++) S::store(sums + (m * kWide + n) * S::width, held[m][n]);
}

// Rows of A that `multiply` may read past the last one.
constexpr int kSpareRows = 3;

// C[m][n] = sum over k of A[m][k] B[k][n] for `rows` rows and N columns, N a multiple of the width.
//
// `begin(row, column)` returns the initial value of a vector of C; `finish(row, column, values)` takes each result.
template <class S, int N, int kRow, int kStep, int kAcross, class T, class Begin, class Finish>
INVID_INLINE void multiply(int rows, int depth, const T *a, const T *b, Begin begin, Finish finish) {
  constexpr int registers = S::width >= 16 ? 24 : 12;
  constexpr int vectors = N / S::width;
  // Columns of a block: six rows of accumulators must fit into registers.
  constexpr int wide = vectors <= registers / 6 ? vectors : registers / 6;
  constexpr int tall = registers / wide > 12 ? 12 : registers / wide;
  constexpr int low = tall > 4 ? 4 : 1;
  static_assert(vectors % wide == 0, "columns must divide into tiles");
  static_assert(low <= kSpareRows + 1, "the last rows are taken with some past them");
  alignas(64) T sums[tall * wide * S::width];
  for (int column = 0; column < N; column += wide * S::width) {
    int row = 0;
    const auto block = [&](auto height) __attribute__((always_inline)) {
      constexpr int tile = decltype(height)::value;
      const int held = row + tile <= rows ? tile : rows - row;
      for (int m = 0; m < held; m++)
        for (int n = 0; n < wide; n++)
          S::store(sums + (m * wide + n) * S::width, begin(row + m, column + n * S::width));
      add_products<S, tile, wide, kRow, kStep, kAcross>(depth, a + long(row) * kRow, b + column, sums);
      for (int m = 0; m < held; m++)
        for (int n = 0; n < wide; n++)
          finish(row + m, column + n * S::width, S::load(sums + (m * wide + n) * S::width));
      row += tile;
    };
    while (row + tall <= rows) block(Count<tall>{});
    while (row < rows) block(Count<low>{});
  }
}
