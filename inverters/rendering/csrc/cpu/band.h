// Bands of rows of a canvas, one for each thread.
#pragma once

#include "../include/drawing.h"
#include "../include/invid_render.h"
#include "team.h"

namespace invid {
namespace drawing {

struct Band {
  int low, high;
};

inline int team_of(int threads, int height) { return most(least(threads, height), 1); }

inline Band band_of(int height, int thread, int threads) {
  const int team = team_of(threads, height);
  return {int(int64_t(height) * thread / team), int(int64_t(height) * (thread + 1) / team)};
}

// Runs work(call, thread) on the call's threads.
template <class Call>
int run(const Call *call, void (*work)(void *, int, Barrier &)) {
  if (!call || call->abi != INVID_DRAW_ABI) return INVID_UNSUPPORTED;
  if (call->height < 1 || call->width < 1) return INVID_OK;
  void *const given = const_cast<Call *>(call);
  return run_team(team_of(call->threads, call->height), work, given) ? INVID_OK : INVID_NO_MEMORY;
}

}  // namespace drawing
}  // namespace invid
