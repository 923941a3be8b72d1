#include <cstdio>

#include "comm/mpi_group.h"
#include "comm/nccl/gpu_group.h"
#include "commands/commands.h"
#include "commands/json_output.h"
#include "kernels/cpu/instruction_set.h"
#include "kernels/cuda/device_factory.h"

namespace llm_tp {

void version_command(const CommandLine& line) {
  const std::string set(name_of(instruction_set()));
  const NcclPresence nccl = find_nccl();
  const LibraryPresence cublaslt = find_cublaslt();
  if (line.json)
    return print_json(
        {{"version", LLM_TP_VERSION},
         {"build", LLM_TP_BUILD_TYPE},
         {"compiler", __VERSION__},
         {"libraries", {{"mpi", mpi_library_version()}, {"nccl", nccl.text}, {"cublaslt", cublaslt.text}}},
         {"nccl_header", nccl.header},
         {"devices", Json::array({"cpu " + set})},
         {"cuda", cuda_is_built()}});
  const CudaDevices gpus = cuda_devices();
  const std::string built = nccl.header.empty() ? "" : "built with " + nccl.header + ", ";
  std::printf("llm-tp %s (%s, compiler %s)\nMPI: %s\nNCCL: %s%s\ncuBLASLt: %s\ndevices: cpu %s; %s\n",
              LLM_TP_VERSION, LLM_TP_BUILD_TYPE, __VERSION__, mpi_library_version().c_str(), built.c_str(),
              nccl.text.c_str(), cublaslt.text.c_str(), set.c_str(),
              gpus.devices.empty()
                  ? gpus.reason.c_str()
                  : (std::to_string(gpus.devices.size()) + " GPUs, CUDA " + cuda_build_version()).c_str());
}

}  // namespace llm_tp
