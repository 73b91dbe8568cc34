// A separate file, as CUB takes longest to compile.
#include <cub/device/device_radix_sort.cuh>

#include "sort.cuh"

namespace invid {
namespace INVID_ISA {

int64_t sort_bytes(int count) {
  size_t bytes = 0;
  const uint32_t *in = nullptr;
  uint32_t *out = nullptr;
  if (cub::DeviceRadixSort::SortPairs(nullptr, bytes, in, out, in, out, count) != cudaSuccess) return -1;
  return int64_t(bytes);
}

cudaError_t sort_pairs(void *scratch, int64_t bytes, const uint32_t *keys, uint32_t *sorted_keys,
                       const uint32_t *values, uint32_t *sorted_values, int count, int bits, cudaStream_t stream) {
  size_t size = size_t(bytes);
  return cub::DeviceRadixSort::SortPairs(scratch, size, keys, sorted_keys, values, sorted_values, count, 0, bits,
                                         stream);
}

}  // namespace INVID_ISA
}  // namespace invid
