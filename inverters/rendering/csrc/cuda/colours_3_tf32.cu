// Kernels for 3 colours, products on tensor cores: a file each, so that they compile side by side.
#include "launch.cuh"

namespace invid {
namespace INVID_ISA {

Entry colours_3_tf32() { return entry_of<Kind<32, 64, 3, true>>(); }

}  // namespace INVID_ISA
}  // namespace invid
