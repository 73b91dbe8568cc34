// Stable sort of key-value pairs by the lowest bits of the key.
#pragma once

#include "device.cuh"

namespace invid {
namespace INVID_ISA {

int64_t sort_bytes(int count);
cudaError_t sort_pairs(void *scratch, int64_t bytes, const uint32_t *keys, uint32_t *sorted_keys,
                       const uint32_t *values, uint32_t *sorted_values, int count, int bits, cudaStream_t stream);

}  // namespace INVID_ISA
}  // namespace invid
