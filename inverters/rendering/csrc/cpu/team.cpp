#include "team.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace invid {

struct Barrier::State {
  std::mutex mutex;
  std::condition_variable moved;
  int threads, waiting = 0;
  long round = 0;
};

Barrier::Barrier(int threads) : state_(new State) { state_->threads = threads; }
Barrier::~Barrier() { delete state_; }

void Barrier::wait() {
  std::unique_lock<std::mutex> lock(state_->mutex);
  if (++state_->waiting == state_->threads) {
    state_->waiting = 0;
    state_->round++;
    state_->moved.notify_all();
    return;
  }
  const long round = state_->round;
  state_->moved.wait(lock, [&] { return state_->round != round; });
}

namespace {

// The OpenMP runtime that torch has loaded. After each parallel region its threads spin for a while; a second pool of
// threads would compete with them for the cores.
void (*parallel)(void (*)(void *), void *, unsigned, unsigned);
int (*thread_number)();
int (*thread_count)();

struct Job {
  int threads;
  void (*work)(void *, int, Barrier &);
  void *argument;
  Barrier barrier;
  std::atomic<bool> complete{false};
};

bool run_openmp(Job &job) {
  parallel(
      [](void *given) {
        Job &job = *static_cast<Job *>(given);
        // All threads see the same count, so all work or none does.
        if (thread_count() != job.threads) return;
        job.complete = true;
        job.work(job.argument, thread_number(), job.barrier);
      },
      &job, job.threads, 0);
  return job.complete;
}

bool run_threads(Job &job) {
  // Threads wait at the gate until all exist, so that nothing has run if one cannot be created.
  std::mutex mutex;
  std::condition_variable opened;
  int gate = 0;  // 1: go, -1: give up
  std::vector<std::thread> others;
  const auto held = [&](int thread) {
    {
      std::unique_lock<std::mutex> lock(mutex);
      opened.wait(lock, [&] { return gate != 0; });
      if (gate < 0) return;
    }
    job.work(job.argument, thread, job.barrier);
  };
  bool complete = true;
  try {
    others.reserve(job.threads - 1);
    for (int thread = 1; thread < job.threads; thread++) others.emplace_back(held, thread);
  } catch (const std::exception &) {
    complete = false;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    gate = complete ? 1 : -1;
  }
  opened.notify_all();
  if (complete) job.work(job.argument, 0, job.barrier);
  for (auto &other : others) other.join();
  return complete;
}

}  // namespace

void use_openmp(void *parallel_function, void *number_function, void *count_function) {
  parallel = reinterpret_cast<decltype(parallel)>(parallel_function);
  thread_number = reinterpret_cast<decltype(thread_number)>(number_function);
  thread_count = reinterpret_cast<decltype(thread_count)>(count_function);
}

bool run_team(int threads, void (*work)(void *, int, Barrier &), void *argument) {
  Job job{threads, work, argument, Barrier(threads)};
  if (threads == 1) {
    work(argument, 0, job.barrier);
    return true;
  }
  return (parallel && run_openmp(job)) || run_threads(job);
}

}  // namespace invid
