// Kernels for 32 colours, products on tensor cores: a file each, so that they compile side by side.
#include "launch.cuh"

namespace invid {
namespace INVID_ISA {

Entry colours_32_tf32() { return entry_of<Kind<32, 64, 32, true>>(); }

}  // namespace INVID_ISA
}  // namespace invid
