// The library's C functions. The instruction set is chosen when the library is loaded.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../include/export.h"
#include "../include/invid_render.h"
#include "team.h"

namespace invid {
namespace plain {
int render(const invid_call &call, bool backward);
}
#if defined(INVID_X86)
namespace avx2 {
int render(const invid_call &call, bool backward);
}
namespace avx512 {
int render(const invid_call &call, bool backward);
}
#endif

namespace {

typedef int (*Render)(const invid_call &, bool);
struct Choice {
  const char *name;
  Render render;
};

// INVID_ISA in the environment selects an instruction set below the processor's best.
Choice choose() {
  const char *asked = getenv("INVID_ISA");
  const auto allowed = [asked](const char *name) { return !asked || !*asked || !strcmp(asked, name); };
#if defined(INVID_X86)
  __builtin_cpu_init();
  if (allowed("avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
    return {"avx512", avx512::render};
  if ((allowed("avx2") || allowed("avx512")) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return {"avx2", avx2::render};
#endif
  (void)allowed;
  return {"plain", plain::render};
}

const Choice chosen = choose();

// Whether 32-bit offsets reach every texel of a plane.
bool reachable(const invid_field &field) {
  const int64_t most = INT32_MAX / 2 / field.resolution;
  return field.row <= most && field.column <= most && field.v_row <= most && field.v_column <= most;
}

int start(const invid_call *call, bool backward) {
  if (!call || call->abi != INVID_RENDER_ABI) return INVID_UNSUPPORTED;
  for (int f = 0; f < call->fields; f++)
    if (!reachable(call->field[f])) return INVID_UNSUPPORTED;
  // Double precision is compiled once, for tests.
  return call->scalar_bytes == 8 ? plain::render(*call, backward) : chosen.render(*call, backward);
}

}  // namespace
}  // namespace invid

INVID_EXPORT int invid_abi() { return INVID_RENDER_ABI; }
INVID_EXPORT const char *invid_isa() { return invid::chosen.name; }
// Compiled widths as "channels-hidden-colours", separated by spaces.
INVID_EXPORT const char *invid_widths() { return "32-64-32 32-64-3"; }
INVID_EXPORT void invid_use_openmp(void *parallel, void *thread_number, void *thread_count) {
  invid::use_openmp(parallel, thread_number, thread_count);
}
INVID_EXPORT int invid_render_forward(const invid_call *call) { return invid::start(call, false); }
INVID_EXPORT int invid_render_backward(const invid_call *call) { return invid::start(call, true); }
