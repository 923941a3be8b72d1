#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "kernels/device.h"
#include "model/model_shape.h"
#include "weights/weight_source.h"

namespace llm_tp {

/// A model as a command would open it, without tokenizer.
struct Checkpoint {
  ModelShape shape;
  std::unique_ptr<WeightSource> weights;
  /// A folder with config.json and safetensors, or a .gguf file.
  static Checkpoint open(const std::string& path);
};

struct RunSetup {
  // What is computed.
  ActivationKind activations = ActivationKind::kF32;
  DType kv_dtype = DType::kF32;
  std::optional<DType> weight_dtype;
  // How it is computed: the bits must not depend on any of these.
  int world = 1, threads = 1, page_tokens = 16;
  std::vector<double> shares;
  bool whole_experts = false;
  bool scattered_pages = false;  // pages of the sequences lie mixed and in falling order
};

/// Rows of one step that continue a sequence.
struct Piece {
  std::size_t sequence = 0;
  std::int32_t rows = 0;
};
using Step = std::vector<Piece>;
using Tokens = std::vector<TokenId>;
/// [tokens, vocabulary]: row t is after token t.
using Logits = std::vector<float>;

/// One sequence after the other, each in steps of at most `rows`.
std::vector<Step> in_chunks(const std::vector<Tokens>& sequences, std::int32_t rows);

/// Runs the steps on LocalGroup ranks and returns the logits of every row of every sequence.
std::vector<Logits> run_steps(const Checkpoint& checkpoint, const RunSetup& setup,
                              const std::vector<Tokens>& sequences, const std::vector<Step>& steps);
/// One sequence in chunks.
Logits run_alone(const Checkpoint& checkpoint, const RunSetup& setup, const Tokens& tokens,
                 std::int32_t chunk = 512);

/// `count` ids that differ from one salt to the next.
Tokens some_tokens(std::int64_t count, std::int64_t vocabulary, std::int64_t salt);

}  // namespace llm_tp
