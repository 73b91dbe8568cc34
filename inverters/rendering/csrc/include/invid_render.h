// The C interface of the compiled renderer: plain pointers, strides in elements, no C++ and no torch.
//
// One `invid_call` describes a call, forward or backward. Forward writes the outputs whose pointer in `out` is not
// null. Backward reads the gradients of the outputs from `v`, null for zero, and writes the gradients of the inputs
// whose pointer is not null. Scalars have 4 bytes (float) or 8 (double, CPU only). On CUDA all pointers are device
// pointers, and work is queued on `stream`.
#ifndef INVID_RENDER_H
#define INVID_RENDER_H

#include <stdint.h>

#define INVID_RENDER_ABI 1

#ifdef __cplusplus
extern "C" {
#endif

enum { INVID_OK = 0, INVID_UNSUPPORTED = 1, INVID_NO_MEMORY = 2, INVID_FAILED = 3 };

enum {
  INVID_FIXED_AXES = 1,   // planes xy, yz, zx; unset: xy, xz, zx (EG3D's released models)
  INVID_SUM = 2,          // transmittance exp(-sum(sO + sI)); unset: the product form
  INVID_WHITE = 4,        // white background
  INVID_DETERMINISTIC = 8,  // CUDA: gradients summed in a fixed order (always on the CPU)
  INVID_TF32 = 16,          // CUDA: matrix products on tensor cores in tf32
};

// A radiance field: a tri-plane with contiguous channels, and a decoder of two dense layers.
typedef struct {
  const void *planes;                          // texel (n, p, row, column) at the strides below, then C scalars
  int64_t frame, plane, row, column;           // frame 0: one tri-plane for all frames
  int32_t resolution;                          // rows and columns of a plane
  int32_t outputs;                             // 1 + colours, and 1 more for the blend of a second field
  const void *w1, *b1, *w2, *b2;               // [H,C], [1 or N,H], [outputs,H], [outputs]; gains multiplied in
  int64_t b1_frame;                            // H where b1 has a row a frame, else 0
  void *v_planes;                              // as the planes, zeroed by the caller, at the strides below
  void *v_w1, *v_b1, *v_w2, *v_b2;             // as the weights, zeroed by the caller
  int64_t v_frame, v_plane, v_row, v_column;   // of v_planes, a frame of which fills 3 R R C scalars without gaps
} invid_field;

// Outputs of N x R rays with K colours and S = coarse + fine samples.
typedef struct {
  void *features;      // [N,R,K] in about [-1,1]
  void *depth;         // [N,R]
  void *opacity;       // [N,R]
  void *blend;         // [N,R] sum of weights times blend (two fields)
  void *ood_opacity;   // [N,R] sum of the second field's weights (two fields)
  void *weights;       // [N,R,S-1]
  void *depths;        // [N,R,S] sorted; no gradient
  void *sample_blend;  // [N,R,S] (two fields)
  void *ood_features;  // [N,R,K] of the second field alone (two fields)
} invid_outputs;

typedef struct {
  int32_t abi;           // INVID_RENDER_ABI
  int32_t scalar_bytes;  // 4 or 8
  int32_t flags;
  int32_t threads;  // CPU only
  int32_t frames, rays, coarse, fine;
  int32_t channels, hidden, colours;
  int32_t fields;              // 1 or 2
  double box_warp;             // side of the cube that the planes cover, world units
  const void *origins;         // [N,R,3] dense
  const void *directions;      // [N,R,3] dense, unit length
  const void *coarse_depths;   // [.,.,coarse] ascending along a ray
  int64_t coarse_frame, coarse_ray;
  const void *fine_positions;  // [.,.,fine] in [0,1)
  int64_t fine_frame, fine_ray;
  const void *limits;  // least and greatest coarse depth of the call
  invid_field field[2];
  invid_outputs out;      // forward
  invid_outputs v;        // backward: gradients of the outputs
  void *v_origins, *v_directions;  // backward, [N,R,3]
  void *stream;                    // cudaStream_t
  void *scratch;                   // CUDA: device memory of invid_*_scratch_bytes
} invid_call;

#ifdef __cplusplus
}
#endif
#endif
