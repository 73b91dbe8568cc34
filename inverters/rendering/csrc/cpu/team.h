// Thread team of one call. Compiled once; shared by the kernels of all instruction sets.
#pragma once

namespace invid {

// Barrier for the threads of a team. Waiting threads sleep.
class Barrier {
 public:
  explicit Barrier(int threads);
  ~Barrier();
  Barrier(const Barrier &) = delete;
  Barrier &operator=(const Barrier &) = delete;
  void wait();

 private:
  struct State;
  State *state_;
};

// Runs work(argument, thread, barrier) on `threads` threads, the caller being thread 0. Returns false, without having
// run anything, if the threads cannot be created.
bool run_team(int threads, void (*work)(void *, int, Barrier &), void *argument);

// Makes later teams use an OpenMP runtime, given its GOMP_parallel, omp_get_thread_num and omp_get_num_threads.
void use_openmp(void *parallel, void *thread_number, void *thread_count);

}  // namespace invid
