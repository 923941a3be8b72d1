// The main program of tests that need a GPU: without one they are skipped, and say so.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/device_factory.h"

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const llm_tp::CudaDevices devices = llm_tp::cuda_devices();
  if (devices.devices.empty() && !::testing::GTEST_FLAG(list_tests)) {
    std::fprintf(stderr, "SKIPPED, NOTHING WAS TESTED: %s\n", devices.reason.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
