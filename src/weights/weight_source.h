#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/tensor.h"

namespace llm_tp {

/// The tensors of a decoder by what they do; names of the file formats are resolved in weight_names. A
/// checkpoint has q, k, v or all three in kQkv, one below the other; gate and up likewise.
enum class WeightRole : std::uint8_t {
  kEmbedding,
  kFinalNorm,
  kLmHead,  // layer 0
  kAttentionNorm,
  kQuery,
  kKey,
  kValue,
  kOutput,  // of a layer
  kQueryBias,
  kKeyBias,
  kValueBias,
  kOutputBias,
  kMlpNorm,
  kGate,
  kUp,
  kDown,
  kGateBias,
  kUpBias,
  kDownBias,
  kQkv,
  kGateUp,
  kAttentionPostNorm,  // of attention's output
  kMlpPostNorm,
  kQueryNorm,
  kKeyNorm,
  kRouter,  // [experts, H]
  kExpertGate,
  kExpertUp,
  kExpertDown,    // of one expert
  kSharedRouter,  // [1, H]
  kSharedGate,
  kSharedUp,
  kSharedDown,
};
inline constexpr int kWeightRoles = static_cast<int>(WeightRole::kSharedDown) + 1;

struct WeightKey {
  WeightRole role;
  int layer = 0;
  int expert = 0;
  friend bool operator==(const WeightKey&, const WeightKey&) = default;
};

struct WeightInfo {
  std::string name;   // in the file, for messages
  DType dtype;        // in the file
  std::int64_t rows;  // 1 for vectors
  std::int64_t columns;
  /// The group of each column for dtypes with scales by column; nullptr for all others.
  std::shared_ptr<const std::vector<std::int32_t>> column_groups = nullptr;
};

/// A checkpoint. Thread-safe. Reading touches only the bytes asked for.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  /// nullopt where the checkpoint has no such tensor.
  virtual std::optional<WeightInfo> find(WeightKey key) const = 0;
  /// Rows x columns of a tensor as stored (info.dtype), row after row without gaps, to out. Columns must lie
  /// on block borders. Rows are in the order of Hugging Face: sources that store q and k otherwise (GGUF's
  /// llama) put them right.
  virtual void read(WeightKey key, Range rows, Range columns, std::byte* out) const = 0;
  /// The whole tensor was read: its pages may leave this process's memory.
  virtual void release(WeightKey key) const = 0;
  /// Bytes of all weight files.
  virtual std::int64_t file_bytes() const = 0;
  /// Numbers in all tensors.
  virtual std::int64_t parameters() const = 0;
};

/// Converts n numbers (whole blocks) between dtypes; ggml's rounding for q8_0, q4_0, q4_1. Same dtype: a
/// copy.
void convert_row(DType from, const std::byte* in, DType to, std::byte* out, std::int64_t n);

}  // namespace llm_tp
