// Several numbers at once for the templates of strands.h, which has to be included after this file: no function is
// looked up for these types where a template is used.
#pragma once

#include <math.h>
#include <stdint.h>

namespace invid {
namespace drawing {

constexpr int kLanes = 4;
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

inline Ints whole_of(Floats x) { return __builtin_convertvector(x, Ints); }
inline Floats real_of(Ints x) { return __builtin_convertvector(x, Floats); }
inline Floats root_of(Floats x) {
  for (int i = 0; i < kLanes; i++) x[i] = sqrtf(x[i]);
  return x;
}

}  // namespace drawing
}  // namespace invid
