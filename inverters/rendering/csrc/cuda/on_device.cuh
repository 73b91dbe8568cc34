// The device that a call runs on.
#pragma once

#include "device.cuh"

namespace invid {
namespace INVID_ISA {

// Makes the device of the call's memory the current one during its lifetime.
class OnDevice {
 public:
  explicit OnDevice(const void *memory) {
    cudaGetLastError();  // clears the error of an earlier call
    cudaPointerAttributes attributes;
    good = cudaGetDevice(&before_) == cudaSuccess && cudaPointerGetAttributes(&attributes, memory) == cudaSuccess &&
           attributes.type != cudaMemoryTypeUnregistered && cudaSetDevice(attributes.device) == cudaSuccess &&
           cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, attributes.device) == cudaSuccess &&
           cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, attributes.device) == cudaSuccess;
  }
  ~OnDevice() { cudaSetDevice(before_); }
  OnDevice(const OnDevice &) = delete;
  OnDevice &operator=(const OnDevice &) = delete;

  bool good;
  int shared = 0, processors = 0;

 private:
  int before_ = 0;
};

}  // namespace INVID_ISA
}  // namespace invid
