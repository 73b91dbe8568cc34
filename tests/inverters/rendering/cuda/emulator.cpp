// The machine behind cuda_shim.h: blocks one after another, their threads as fibers.
#include <setjmp.h>
#include <stdio.h>
#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <vector>

#include "../../../../inverters/rendering/csrc/cuda/sort.cuh"

namespace emulator {

Place here;
bool failed = false;

namespace {

constexpr int kStack = 128 * 1024;
constexpr int kShared = 256 * 1024, kGuard = 4096;

// Lanes that meet: of a warp, or all threads of a block.
struct Meeting {
  int size = 0, arrived = 0;
  unsigned round = 0;
  Kind kind = kNone;
  Value values[2][32];  // a fast lane may give its next value while a slow one reads the last
};

struct Fiber {
  ucontext_t start;
  jmp_buf place;
  bool started = false, done = false;
  Meeting *at = nullptr;
  unsigned round = 0;
  std::unique_ptr<char[]> stack{new char[kStack]};
};

std::vector<std::unique_ptr<Fiber>> fibers;
std::vector<std::unique_ptr<Meeting>> warps;
Meeting block;
Fiber *running = nullptr;
jmp_buf scheduler;
ucontext_t origin;
const std::function<void()> *code = nullptr;
bool reversed = false;
alignas(16) char memory[kShared + kGuard];

void body() {
  (*code)();
  running->done = true;
  _longjmp(scheduler, 1);
}

void resume(Fiber &fiber) {
  running = &fiber;
  if (_setjmp(scheduler)) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  setcontext(&fiber.start);
}

// Waits until all have come, and gives their values.
const Value *meet(Meeting &meeting, Kind kind, const Value *value) {
  if (meeting.arrived && meeting.kind != kind) {
    fprintf(stderr, "emulator: threads of one warp are in different collectives\n");
    failed = true;
  }
  meeting.kind = kind;
  const unsigned round = meeting.round;
  Value *values = meeting.values[round % 2];
  if (value) values[threadIdx.x & 31] = *value;
  if (++meeting.arrived == meeting.size && !failed) {
    meeting.arrived = 0;
    meeting.round++;
    return values;
  }
  running->at = &meeting;
  running->round = round;
  if (!_setjmp(running->place)) _longjmp(scheduler, 1);
  return values;
}

void prepare(int threads) {
  while (int(fibers.size()) < threads) fibers.emplace_back(new Fiber);
  while (int(warps.size()) < threads / 32) warps.emplace_back(new Meeting);
  for (int i = 0; i < threads; i++) {
    Fiber &fiber = *fibers[i];
    fiber.started = fiber.done = false;
    fiber.at = nullptr;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = kStack;
    fiber.start.uc_link = &origin;
    makecontext(&fiber.start, body, 0);
  }
  for (auto &warp : warps) *warp = Meeting(), warp->size = 32;
  block = Meeting();
  block.size = threads;
}

void run_block(int threads) {
  prepare(threads);
  for (int left = threads; left && !failed;) {
    bool moved = false;
    for (int turn = 0; turn < threads && !failed; turn++) {
      const int i = reversed ? threads - 1 - turn : turn;
      Fiber &fiber = *fibers[i];
      if (fiber.done || (fiber.at && fiber.at->round == fiber.round)) continue;
      fiber.at = nullptr;
      here.thread = dim3(i, 0, 0);
      resume(fiber);
      moved = true;
      left -= fiber.done;
    }
    if (!moved) {
      fprintf(stderr, "emulator: threads wait for others that never come\n");
      failed = true;
    }
  }
}

}  // namespace

float4 *shared_memory() { return reinterpret_cast<float4 *>(memory); }
void wait_for_block() { meet(block, kSync, nullptr); }
const Value *exchange(Kind kind, const Value &value) { return meet(*warps[threadIdx.x / 32], kind, &value); }

void launch(dim3 grid, dim3 threads, int shared, const std::function<void()> &kernel) {
  if (failed) return;
  if (shared > kShared || threads.x > 1024) {
    failed = true;
    return;
  }
  code = &kernel;
  here.threads = threads, here.blocks = grid;
  const unsigned count = grid.x * grid.y;
  for (unsigned turn = 0; turn < count && !failed; turn++) {
    const unsigned i = reversed ? count - 1 - turn : turn;
    here.block = dim3(i % grid.x, i / grid.x);
    // What a block finds there is not what it, or one before it, may count on.
    memset(memory, 0xff, shared + kGuard);
    run_block(threads.x);
    if (std::any_of(memory + shared, memory + shared + kGuard, [](char byte) { return byte != char(0xff); })) {
      fprintf(stderr, "emulator: a block wrote past its shared memory\n");
      failed = true;
    }
  }
}

}  // namespace emulator

cudaError_t cudaGetLastError() {
  const bool was = emulator::failed;
  emulator::failed = false;
  return was ? cudaErrorLaunchFailure : cudaSuccess;
}

// D (16 x 8) += A (16 x 8) B (8 x 8), spread over the lanes as the instruction has it.
void mma_tf32(float &d0, float &d1, float &d2, float &d3, const uint32_t *a, const uint32_t *b) {
  const auto number = [](uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
  };
  const emulator::Value *all = emulator::exchange(emulator::kTensor, {{a[0], a[1], a[2], a[3], b[0], b[1]}});
  const int group = (threadIdx.x & 31) / 4, place = threadIdx.x & 3;
  float *results[] = {&d0, &d1, &d2, &d3};
  for (int part = 0; part < 4; part++)
    for (int k = 0; k < 8; k++) {
      // Rows `group` and `group` + 8, columns 2 `place` and 2 `place` + 1.
      const emulator::Value &left = all[4 * group + k % 4], &right = all[4 * (2 * place + part % 2) + k % 4];
      *results[part] += number(left.words[part / 2 + 2 * (k / 4)]) * number(right.words[4 + k / 4]);
    }
}

namespace invid {
namespace INVID_ISA {

int64_t sort_bytes(int) { return 1; }
cudaError_t sort_pairs(void *, int64_t, const uint32_t *keys, uint32_t *sorted_keys, const uint32_t *values,
                       uint32_t *sorted_values, int count, int bits, cudaStream_t) {
  std::vector<int> order(count);
  std::iota(order.begin(), order.end(), 0);
  const uint32_t mask = uint32_t((uint64_t(1) << bits) - 1);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return (keys[a] & mask) < (keys[b] & mask); });
  for (int i = 0; i < count; i++) sorted_keys[i] = keys[order[i]], sorted_values[i] = values[order[i]];
  return cudaSuccess;
}

}  // namespace INVID_ISA
}  // namespace invid

#define EXPORT extern "C" __attribute__((visibility("default")))

// Runs blocks and threads from the last one to the first.
EXPORT void invid_emulator_reverse(int reverse) { emulator::reversed = reverse; }

// Whether launches whose threads part company at a collective fail: 0 where all of them do.
EXPORT int invid_emulator_self_test() {
  const auto fails = [](const std::function<void()> &kernel) {
    emulator::launch(1, 64, 0, kernel);
    return cudaGetLastError() != cudaSuccess;
  };
  if (fails([] { __syncthreads(), __syncwarp(); })) return 1;
  if (!fails([] {
        if (threadIdx.x < 40) __syncthreads();
      }))
    return 2;
  if (!fails([] {
        if (threadIdx.x % 32) __syncwarp();
      }))
    return 3;
  if (!fails([] {
        if (threadIdx.x & 1)
          __syncwarp();
        else
          __shfl_sync(~0u, 1, 0);
      }))
    return 4;
  return 0;
}
