// What triangles.h, strands.h and visibility.h have in common, compiled for CPU and CUDA.
//
// Their arithmetic is that of inverters/rendering/drawing_reference.py, operation by operation: with no fused
// multiply-add, all three give the same coverage and depth to the last bit.
#pragma once

#include <math.h>
#include <stdint.h>

#include "invid_draw.h"

#if defined(__CUDACC__)
#define INVID_DRAW_FN __host__ __device__ __forceinline__
#else
#define INVID_DRAW_FN inline
#endif

namespace invid {
namespace drawing {

INVID_DRAW_FN int least(int a, int b) { return a < b ? a : b; }
INVID_DRAW_FN int most(int a, int b) { return a > b ? a : b; }
INVID_DRAW_FN float least(float a, float b) { return a < b ? a : b; }
INVID_DRAW_FN float most(float a, float b) { return a > b ? a : b; }

}  // namespace drawing
}  // namespace invid
