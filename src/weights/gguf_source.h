#pragma once
#include <memory>

#include "weights/gguf.h"
#include "weights/weight_source.h"

namespace llm_tp {

/// The weights of a GGUF file. Thread-safe.
/// In files of some architectures (llama, granite, smollm3) the rows of q and k lie interleaved: of a head's
/// rotary rows, row 2i is Hugging Face's row i and row 2i + 1 is row i + rotary / 2. read() gives Hugging
/// Face's order, of weights and of biases. The experts of a layer are slices of one tensor.
class GgufSource final : public WeightSource {
 public:
  /// kBadData where rows are interleaved and head counts are missing or not positive.
  GgufSource(std::shared_ptr<const GgufFile> file, bool interleaved);

  /// kBadData where the tensor is of a type that is not computed with, has more than two dimensions, or where
  /// the rows of q or k do not divide into heads.
  std::optional<WeightInfo> find(WeightKey key) const override;
  void read(WeightKey key, Range rows, Range columns, std::byte* out) const override;
  void release(WeightKey key) const override;
  std::int64_t file_bytes() const override { return file_->file_bytes(); }
  std::int64_t parameters() const override;

 private:
  struct Interleaving {
    std::int64_t head = 1;    // rows of a head
    std::int64_t rotary = 0;  // of them, the first ones that are interleaved
    /// The file's row of a row of Hugging Face.
    std::int64_t row_in_file(std::int64_t row) const noexcept;
  };
  WeightInfo info_of(const GgufTensor& tensor, WeightKey key) const;
  std::span<const std::byte> data_of(const GgufTensor& tensor, WeightKey key) const;
  /// For `rows` rows of q or k; nullopt for a tensor that lies as Hugging Face has it.
  std::optional<Interleaving> interleaving(WeightKey key, std::int64_t rows) const;
  [[noreturn]] void refuse(const std::string& what) const;

  std::shared_ptr<const GgufFile> file_;
  bool interleaved_;
  std::int64_t query_heads_ = 0, kv_heads_ = 0;
  std::int64_t rotary_ = 0;  // 0: the whole head
};

}  // namespace llm_tp
