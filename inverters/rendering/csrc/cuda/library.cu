// The library's C functions: checks a call and selects its kernels.
#include "../include/export.h"
#include "launch.cuh"

#if !defined(INVID_SM)
#define INVID_SM "some"
#endif

namespace invid {
namespace INVID_ISA {

Entry colours_32();
Entry colours_32_tf32();
Entry colours_3();
Entry colours_3_tf32();

namespace {

bool aligned(const void *memory) { return reinterpret_cast<uintptr_t>(memory) % 16 == 0; }

// Whether planes can be read 16 bytes at a time with 32-bit offsets within a frame.
bool readable(const invid_field &field, int channels) {
  const int64_t last = field.resolution - 1;
  const int64_t extent = 2 * field.plane + last * (field.row + field.column) + channels;
  const int64_t strides[] = {field.frame, field.plane, field.row, field.column};
  for (int64_t stride : strides)
    if (stride < 0 || stride % 4) return false;
  return aligned(field.planes) && extent < INT32_MAX;
}

// Whether the texels of v_planes have 32-bit numbers without gaps within a frame.
bool writable(const invid_field &field, int channels) {
  if (!field.v_planes) return true;
  const int64_t last = field.resolution - 1, all = int64_t(3) * field.resolution * field.resolution * channels;
  const int64_t extent = 2 * field.v_plane + last * (field.v_row + field.v_column) + channels;
  const int64_t strides[] = {field.v_plane, field.v_row, field.v_column};
  for (int64_t stride : strides)
    if (stride < channels || stride % channels) return false;
  return aligned(field.v_planes) && field.v_frame % 4 == 0 && extent <= all && all < INT32_MAX;
}

bool known(const invid_call *call) {
  if (!call || call->abi != INVID_RENDER_ABI || call->scalar_bytes != 4) return false;
  if (call->channels != 32 || call->hidden != 64 || (call->colours != 32 && call->colours != 3)) return false;
  if (call->fields < 1 || call->fields > 2 || call->frames > 65535) return false;
  if (call->coarse < (call->fine ? 4 : 2) || call->fine < 0) return false;
  for (int f = 0; f < call->fields; f++)
    if (call->field[f].outputs != 1 + call->colours + f || !readable(call->field[f], call->channels) ||
        !writable(call->field[f], call->channels))
      return false;
  return true;
}

Entry entry(const invid_call &call) {
  const bool tf32 = call.flags & INVID_TF32;
  if (call.colours == 32) return tf32 ? colours_32_tf32() : colours_32();
  return tf32 ? colours_3_tf32() : colours_3();
}

int start(const invid_call *call, bool backward) {
  if (!known(call)) return INVID_UNSUPPORTED;
  if (call->frames < 1 || call->rays < 1) return INVID_OK;
  const OnDevice device(call->origins);
  if (!device.good) return INVID_FAILED;
  return backward ? entry(*call).backward(device, *call) : entry(*call).forward(device, *call);
}

}  // namespace
}  // namespace INVID_ISA
}  // namespace invid

INVID_EXPORT int invid_abi() { return INVID_RENDER_ABI; }
// Architectures with machine code; "ptx": newer ones compile at load.
INVID_EXPORT const char *invid_isa() { return INVID_SM; }
// Compiled widths as "channels-hidden-colours", separated by spaces.
INVID_EXPORT const char *invid_widths() { return "32-64-32 32-64-3"; }
INVID_EXPORT int invid_render_forward(const invid_call *call) { return invid::INVID_ISA::start(call, false); }
INVID_EXPORT int invid_render_backward(const invid_call *call) { return invid::INVID_ISA::start(call, true); }
// Bytes of device memory that a call needs as scratch.
INVID_EXPORT int64_t invid_scratch_bytes(const invid_call *call, int backward) {
  using namespace invid::INVID_ISA;
  if (!known(call) || call->frames < 1 || call->rays < 1) return 0;
  const OnDevice device(call->origins);
  return device.good ? entry(*call).scratch(device, *call, backward) : 0;
}
