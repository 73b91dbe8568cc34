// The C interface of the drawing of meshes and strands, and of visibility: plain pointers, dense arrays, float32.
//
// H x W samples of one picture; V vertices, T triangles, S strands of K points, D directions, P occluders, Q queries.
// On CUDA all pointers are device pointers, and work is queued on `stream`.
#ifndef INVID_DRAW_H
#define INVID_DRAW_H

#include <stdint.h>

#define INVID_DRAW_ABI 2

#ifdef __cplusplus
extern "C" {
#endif

// A triangle with a vertex of inverse depth 0 is dropped; indices are in range.
typedef struct {
  int32_t abi, threads, height, width, triangles, translucent;
  const int32_t *x, *y;        // [V] in 1/256 samples, within +-2^28
  const float *inverse_depth;  // [V]
  const int32_t *triangle;     // [T,3]; translucent: in the order of drawing
  const uint8_t *two_sided;    // [T], null: none; translucent triangles always are
  const float *colours;        // [V,3], translucent [V,4] with alpha last; null: hits alone
  const uint8_t *labels;       // [T]; null: not written
  float *colour;               // [H,W,3]
  float *depth;                // [H,W] read and written (translucent: read)
  uint8_t *label;              // [H,W]
  int32_t *hit;                // [H,W] out: triangle, -1 none; not for translucent
  float *barycentric;          // [H,W,3] out, zero where nothing is hit; null: not wanted
  uint64_t *keys;              // CUDA: scratch [H,W]; not for translucent
  void *stream;
} invid_triangles;

typedef struct {
  int32_t abi, threads, height, width, strands, points;
  int32_t label;
  float opacity, soft;
  const float *x, *y;           // [S,K] in samples, within +-2^20
  const float *inverse_depth;   // [S,K]; 0 drops the segments of the point
  const float *colours;         // [S,K,3]
  const float *diameter;        // [S] in samples at z = 1
  float *colour;                // [H,W,3]
  float *depth;                 // [H,W]
  uint8_t *label_of;            // [H,W]
  float *cells;                 // scratch [H,W+9,10], aligned to 32 bytes
  void *stream;
} invid_strands;

typedef struct {
  int32_t abi, threads, directions, occluders, queries, resolution;
  float bias;
  const float *axes;      // [D,3,4] column and row in cells and depth towards the light, affine in the position
  const float *occluder;  // [3,P]
  const float *query;     // [3,Q]
  float *maps;            // scratch [D,R*R+1]
  float *visible;         // [D,Q] out
  void *stream;
} invid_visibility;

#ifdef __cplusplus
}
#endif
#endif
