// The renderer for one instruction set. Compiled once per set, with INVID_ISA as its name and INVID_WIDTH as the
// number of floats in a vector.
#include "backward.h"
#include "forward.h"

#define INVID_WIDTHS(hand)  \
  hand(32, 64, 32)          \
  hand(32, 64, 3)

namespace invid {
namespace INVID_ISA {

template <class T, int W>
static int dispatch(const invid_call &call, bool backward) {
#define INVID_TRY(C, H, K)                                                        \
  if (call.channels == C && call.hidden == H && call.colours == K) {              \
    typedef Walk<T, W, C, H, K> Kind;                                             \
    return backward ? Backward<Kind>(call).run() : Forward<Kind>(call).run();     \
  }
  INVID_WIDTHS(INVID_TRY)
#undef INVID_TRY
  return INVID_UNSUPPORTED;
}

int render(const invid_call &call, bool backward) {
  if (call.scalar_bytes == 4) return dispatch<float, INVID_WIDTH>(call, backward);
#if defined(INVID_DOUBLE)
  if (call.scalar_bytes == 8) return dispatch<double, 2>(call, backward);
#endif
  return INVID_UNSUPPORTED;
}

}  // namespace INVID_ISA
}  // namespace invid
