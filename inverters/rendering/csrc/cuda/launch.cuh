// Splits a call into launches: size of a block, gradients of each launch, and device memory.
#pragma once

#include "backward.cuh"
#include "forward.cuh"
#include "on_device.cuh"
#include "sort.cuh"

namespace invid {
namespace INVID_ISA {

// Samples whose gradients are recorded at once in deterministic mode: about 50 MB of scratch.
#if !defined(INVID_RECORDED)
#define INVID_RECORDED (1 << 17)
#endif

// Shape of a launch, or the reason for none in `failure`.
struct Shape {
  int failure = INVID_OK;
  int warps = 0, bytes = 0, blocks = 0, chunk = 0;
  int most_blocks = 0;  // upper bound, also for launches over fewer rays
};

// As many warps as fit, and enough blocks to occupy all multiprocessors.
template <class Kind, bool kBackward, bool kTrained, class Kernel>
Shape shape_of(const OnDevice &device, const invid_call &call, Kernel kernel, int most, int frames, int rays) {
  Shape shape;
  const bool two = call.fields == 2, alone = two && (kBackward ? call.v : call.out).ood_features;
  const int own = 4 * Memory<Kind, kBackward, kTrained>::floats(call.coarse + call.fine, two, alone);
  const int common = call.fields * int(sizeof(Decoder<Kind>));
  const int fit = (device.shared - common) / own;
  shape.warps = fit < most ? fit : most;
  if (device.shared < common || shape.warps < 1) return {INVID_UNSUPPORTED};
  if (shape.warps > rays) shape.warps = rays;
  shape.bytes = common + shape.warps * own;
  int resident = 0;
  if (cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shape.bytes) != cudaSuccess ||
      cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, 32 * shape.warps, shape.bytes) != cudaSuccess ||
      resident < 1)
    return {INVID_FAILED};
  const int useful = (rays + shape.warps - 1) / shape.warps;
  shape.most_blocks = (resident * device.processors + frames - 1) / frames;
  shape.blocks = shape.most_blocks < useful ? shape.most_blocks : useful;
  shape.chunk = (rays + shape.blocks - 1) / shape.blocks;
  shape.blocks = (rays + shape.chunk - 1) / shape.chunk;
  return shape;
}

inline Job job_of(const invid_call &call) {
  Job job = {};
  job.call = call;
  job.rays = call.rays;
  job.side = tiled_side(call.rays);
  job.trained = -1;
  return job;
}

template <class Kind>
int forward(const OnDevice &device, const invid_call &call) {
  const auto kernel = render_forward<Kind>;
  const Shape shape = shape_of<Kind, false, false>(device, call, kernel, kForwardWarps, call.frames, call.rays);
  if (shape.failure) return shape.failure;
  Job job = job_of(call);
  job.warps = shape.warps, job.chunk = shape.chunk;
  INVID_LAUNCH(kernel, dim3(shape.blocks, call.frames), 32 * shape.warps, shape.bytes,
               static_cast<cudaStream_t>(call.stream), job);
  return cudaGetLastError() == cudaSuccess ? INVID_OK : INVID_FAILED;
}

// Allocates from the call's scratch; without scratch it only counts bytes.
class Scratch {
 public:
  explicit Scratch(void *start) : start_(static_cast<char *>(start)) {}
  template <class T>
  T *take(int64_t count) {
    T *found = start_ ? reinterpret_cast<T *>(start_ + used) : nullptr;
    used += (count * int64_t(sizeof(T)) + 255) / 256 * 256;
    return found;
  }
  int64_t used = 0;

 private:
  char *start_;
};

// Backward launches of one call.
template <class Kind>
class Gradients {
 public:
  Gradients(const OnDevice &device, const invid_call &call, void *scratch)
      : device_(device), call_(call), job_(job_of(call)), rays_(call.v_origins) {
    for (int f = 0; f < call.fields; f++) {
      planes_ |= (call.field[f].v_planes != nullptr) << f;
      trained_ |= (call.field[f].v_w1 != nullptr) << f;
    }
    recording_ = (call.flags & INVID_DETERMINISTIC) && planes_;
    most_rays_ = call.rays;
    if (recording_) {
      const int samples = call.coarse + call.fine, most = INVID_RECORDED / samples;
      most_rays_ = most < 1 ? 1 : most < call.rays ? most : call.rays;
    }
    lay_out(scratch);
  }

  int64_t bytes() const { return bytes_; }
  int failure() const { return failure_; }

  int run() {
    const int all = (1 << call_.fields) - 1, wanted = rays_ ? all : planes_ | trained_;
    if (recording_) {
      // One field per launch: scratch holds the records of one.
      for (int f = 0; f < call_.fields; f++)
        if (wanted >> f & 1) run_pass(1 << f, planes_ & (1 << f), trained_ >> f & 1 ? f : -1, rays_, f > 0);
    } else if (wanted) {
      // One decoder per launch: a lane has registers for the gradients of one.
      const int first = trained_ & 1 ? 0 : trained_ ? 1 : -1;
      run_pass(wanted, planes_, first, rays_, false);
      if (trained_ == 3) run_pass(2, 0, 1, false, false);
    }
    return failure_;
  }

 private:
  Shape shape(bool trained, int frames, int rays) const {
    return trained ? shape_with<true>(frames, rays) : shape_with<false>(frames, rays);
  }

  template <bool kTrained>
  Shape shape_with(int frames, int rays) const {
    return shape_of<Kind, true, kTrained>(device_, call_, render_backward<Kind, kTrained>, backward_warps<kTrained>(),
                                          frames, rays);
  }

  void lay_out(void *start) {
    Scratch scratch(start);
    const int frames = recording_ ? 1 : call_.frames;
    if (trained_) {
      const Shape largest = shape(true, frames, most_rays_);
      failure_ = largest.failure;
      partial_ = scratch.take<float>(int64_t(frames) * largest.most_blocks * largest.warps * DecoderSums<Kind>::size);
    }
    if (recording_) {
      const int64_t samples = int64_t(most_rays_) * (call_.coarse + call_.fine);
      const int taps = int(samples * kTaps);
      job_.records = scratch.take<float>(samples * Kind::C);
      job_.shares = scratch.take<float>(taps);
      job_.keys = scratch.take<uint32_t>(taps);
      values_ = scratch.take<uint32_t>(taps);
      sorted_keys_ = scratch.take<uint32_t>(taps);
      sorted_values_ = scratch.take<uint32_t>(taps);
      sort_bytes_ = sort_bytes(taps);
      if (sort_bytes_ < 0) failure_ = INVID_FAILED, sort_bytes_ = 0;
      sort_scratch_ = scratch.take<char>(sort_bytes_);
    }
    bytes_ = scratch.used;
  }

  // Launches the gradients of the planes of `fields`, of one decoder at most, and of rays.
  void run_pass(int fields, int planes, int trained, bool rays, bool add_rays) {
    job_.fields = fields, job_.planes = planes, job_.trained = trained;
    job_.through_rays = rays, job_.add_rays = add_rays;
    if (!recording_) return launch(0, call_.frames, 0, call_.rays);
    for (int frame = 0; frame < call_.frames; frame++)
      for (int first = 0; first < call_.rays; first += most_rays_)
        launch(frame, 1, first, call_.rays - first < most_rays_ ? call_.rays - first : most_rays_);
  }

  void launch(int first_frame, int frames, int first_ray, int rays) {
    if (failure_) return;
    const bool trained = job_.trained >= 0;
    const Shape at = shape(trained, frames, rays);
    if (at.failure) return void(failure_ = at.failure);
    Job job = job_;
    job.first_frame = first_frame, job.first_ray = first_ray, job.rays = rays;
    job.warps = at.warps, job.chunk = at.chunk, job.partial = partial_;
    const bool recorded = recording_ && job.planes;
    if (!recorded) job.records = nullptr;
    const int f = job.planes & 1 ? 0 : 1, taps = recorded ? rays * (call_.coarse + call_.fine) * kTaps : 0;
    const int side = call_.field[f].resolution;
    const uint32_t nowhere = 3u * side * side;
    const cudaStream_t stream = static_cast<cudaStream_t>(call_.stream);
    if (recorded) INVID_LAUNCH(clear_records, (taps + 255) / 256, 256, 0, stream, job.keys, values_, nowhere, taps);
    const dim3 grid(at.blocks, frames);
    if (trained) {
      const auto kernel = render_backward<Kind, true>;
      INVID_LAUNCH(kernel, grid, 32 * at.warps, at.bytes, stream, job);
      const auto add = add_decoder_sums<Kind>;
      const int width = (DecoderSums<Kind>::size + 31) / 32;
      INVID_LAUNCH(add, dim3(width, frames), 32 * kSlices, 32 * kSlices * int(sizeof(float)), stream,
                   call_.field[job.trained], partial_, at.blocks * at.warps, first_frame, frames);
    } else {
      const auto kernel = render_backward<Kind, false>;
      INVID_LAUNCH(kernel, grid, 32 * at.warps, at.bytes, stream, job);
    }
    if (recorded) add_recorded(job, f, first_frame, taps, nowhere, stream);
    if (cudaGetLastError() != cudaSuccess) failure_ = INVID_FAILED;
  }

  void add_recorded(const Job &job, int f, int frame, int taps, uint32_t nowhere, cudaStream_t stream) {
    const invid_field &field = call_.field[f];
    int bits = 1;
    while (nowhere >> bits) bits++;
    if (sort_pairs(sort_scratch_, sort_bytes_, job.keys, sorted_keys_, values_, sorted_values_, taps, bits, stream) !=
        cudaSuccess)
      failure_ = INVID_FAILED;
    float *planes = static_cast<float *>(field.v_planes) + (field.frame ? frame * field.v_frame : 0);
    INVID_LAUNCH(add_records, (taps + 31) / 32, 256, 0, stream, sorted_keys_, sorted_values_, job.shares, job.records,
                 nowhere, taps, planes);
  }

  const OnDevice &device_;
  const invid_call &call_;
  Job job_;
  const bool rays_;
  bool recording_ = false;
  int planes_ = 0, trained_ = 0, failure_ = INVID_OK, most_rays_ = 0;
  int64_t bytes_ = 0, sort_bytes_ = 0;
  float *partial_ = nullptr;
  uint32_t *values_ = nullptr, *sorted_keys_ = nullptr, *sorted_values_ = nullptr;
  char *sort_scratch_ = nullptr;
};

// Entry points of one Kind.
struct Entry {
  int (*forward)(const OnDevice &, const invid_call &);
  int (*backward)(const OnDevice &, const invid_call &);
  int64_t (*scratch)(const OnDevice &, const invid_call &, bool);
};

template <class Kind>
Entry entry_of() {
  return {forward<Kind>,
          [](const OnDevice &device, const invid_call &call) {
            Gradients<Kind> gradients(device, call, call.scratch);
            return gradients.failure() ? gradients.failure() : gradients.run();
          },
          [](const OnDevice &device, const invid_call &call, bool backward) {
            return backward ? Gradients<Kind>(device, call, nullptr).bytes() : int64_t(0);
          }};
}

}  // namespace INVID_ISA
}  // namespace invid
