// Kernels for 32 colours. One file per variant, so that they compile in parallel.
#include "launch.cuh"

namespace invid {
namespace INVID_ISA {

Entry colours_32() { return entry_of<Kind<32, 64, 32, false>>(); }

}  // namespace INVID_ISA
}  // namespace invid
