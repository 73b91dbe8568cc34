// Threads of one call. Compiled once, for every processor: the kernels of an instruction set only call it.
#pragma once

namespace invid {

// Lets a team's threads wait for each other.
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

// Runs work(argument, thread, barrier) on `threads` threads, this one among them. False where they cannot be had;
// then nothing ran.
bool run_team(int threads, void (*work)(void *, int, Barrier &), void *argument);

// From now on teams are those of an OpenMP runtime: its GOMP_parallel, omp_get_thread_num, omp_get_num_threads.
void use_openmp(void *parallel, void *thread_number, void *thread_count);

}  // namespace invid
