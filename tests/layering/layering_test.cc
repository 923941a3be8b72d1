#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "include_rules.h"

namespace llm_tp {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> reasons(std::string_view file, std::string_view text) {
  std::vector<std::string> out;
  for (const Violation& violation : check_includes(file, text)) out.push_back(violation.reason);
  return out;
}

bool is_source(const fs::path& path) {
  const std::string ending = path.extension().string();
  return ending == ".h" || ending == ".cc" || ending == ".cu" || ending == ".cuh";
}

TEST(Layering, NoIncludeRunsUp) {
  const fs::path root(LLM_TP_SOURCE_DIR);
  int files = 0;
  for (const char* top : {"src", "kernels", "comm"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      if (!entry.is_regular_file() || !is_source(entry.path())) continue;
      ++files;
      std::ifstream in(entry.path());
      const std::string text{std::istreambuf_iterator<char>(in), {}};
      for (const Violation& found : check_includes(fs::relative(entry.path(), root).generic_string(), text)) {
        ADD_FAILURE() << found.file << ":" << found.line << ": " << found.reason;
      }
    }
  }
  EXPECT_GT(files, 10) << "the sources are not where this test looks";
}

TEST(Layering, AnArrowThatRunsUpIsFoundWithItsLine) {
  const auto found =
      check_includes("src/model/attention.cc", "#include \"base/tensor.h\"\n#include \"engine/leader.h\"\n");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].line, 2);
  EXPECT_EQ(found[0].reason, "model must not include engine (engine/leader.h)");
}

TEST(Layering, EveryForbiddenArrowIsFound) {
  EXPECT_EQ(reasons("src/base/error.cc", "#include \"config/engine_config.h\"").size(), 1u);
  EXPECT_EQ(reasons("src/schedule/scheduler.cc", "#include \"model/kv_cache.h\"").size(), 1u);
  EXPECT_EQ(reasons("src/schedule/scheduler.cc", "#include \"kernels/device.h\"").size(), 1u);
  EXPECT_EQ(reasons("src/schedule/scheduler.cc", "#include \"comm/communicator.h\"").size(), 1u);
  EXPECT_EQ(reasons("src/model/linear.cc", "#include \"schedule/request.h\"").size(), 1u);
  EXPECT_EQ(reasons("src/text/bpe_model.cc", "#include \"weights/gguf.h\"").size(), 1u);
  EXPECT_EQ(reasons("kernels/cpu/norm.cc", "#include \"comm/communicator.h\"").size(), 1u);
  EXPECT_EQ(reasons("kernels/cpu/norm.cc", "#  include <weights/gguf.h>").size(), 1u);
  EXPECT_EQ(reasons("src/engine/leader.cc", "#include \"commands/generate.h\"").size(), 1u);
  EXPECT_EQ(reasons("src/engine/leader.cc", "#include \"src/commands/generate.h\"").size(), 1u);
  EXPECT_EQ(reasons("src/engine/leader.cc", "#include \"../commands/generate.h\"").size(), 1u);
  EXPECT_EQ(reasons("src/engine/leader.cc", "#include \"tests/support/npz.h\"").size(), 1u);
}

TEST(Layering, MpiAndCudaStayInTheirFolders) {
  EXPECT_EQ(reasons("src/engine/leader.cc", "#include <mpi.h>").size(), 1u);
  EXPECT_EQ(reasons("src/main.cc", "#include <mpi.h>").size(), 1u);
  EXPECT_TRUE(reasons("comm/mpi_group.cc", "#include <mpi.h>").empty());
  EXPECT_EQ(reasons("kernels/cpu/norm.cc", "#include <cuda_runtime.h>").size(), 1u);
  EXPECT_EQ(reasons("src/model/linear.cc", "#include <nccl.h>").size(), 1u);
  EXPECT_TRUE(reasons("kernels/cuda/norm.cu", "#include <cuda_runtime.h>\n#include <cub/cub.cuh>").empty());
  EXPECT_TRUE(reasons("comm/nccl_communicator.cc", "#include <nccl.h>").empty());
}

TEST(Layering, TheArrowsOfTheArchitectureAreAllowed) {
  EXPECT_TRUE(
      reasons("src/commands/generate.cc", "#include \"engine/leader.h\"\n#include \"text/tokenizer.h\"")
          .empty());
  EXPECT_TRUE(
      reasons("src/model/linear.cc", "#include \"kernels/device.h\"\n#include \"comm/communicator.h\"")
          .empty());
  EXPECT_TRUE(reasons("src/schedule/scheduler.cc", "#include \"decoding/sampler.h\"").empty());
  EXPECT_TRUE(
      reasons("kernels/cpu/norm.cc", "#include \"hwy/foreach_target.h\"\n#include \"kernels/device.h\"")
          .empty());
  EXPECT_TRUE(
      reasons("comm/tree_reduce.cc", "#include \"tree_reduce.h\"\n// #include \"engine/leader.h\"").empty());
}

TEST(Layering, AFolderWithoutRulesIsFound) {
  EXPECT_EQ(reasons("src/helpers/things.cc", "").size(), 1u);
  EXPECT_EQ(folder_of("src/main.cc"), "main");
  EXPECT_EQ(folder_of("comm/mpi_group.cc"), "comm");
  EXPECT_EQ(folder_of("tests/comm/x_test.cc"), "");
}

}  // namespace
}  // namespace llm_tp
