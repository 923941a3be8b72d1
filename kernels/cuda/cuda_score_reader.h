#pragma once
#include "kernels/cuda/question_table.h"
#include "kernels/cuda/upload_pipe.h"
#include "kernels/score_reader.h"

namespace llm_tp {

/// ScoreReader on one GPU: for up to 16 questions at a time one copy there, two kernels and one copy back.
class CudaScoreReader : public ScoreReader {
 public:
  /// All must outlive this.
  CudaScoreReader(const CudaStream& stream, UploadPipe& pipe, const DeviceWait& wait);
  /// Bytes that reads of a part of `columns` tokens in runs of `run` may need; results also on the host.
  struct Sizes {
    std::size_t table = 0, scores = 0, maxima = 0, states = 0, results = 0;
    static Sizes of(std::int64_t columns, std::int64_t run);
  };
  void reserve(const Sizes& sizes);
  std::vector<RowAnswer> read(TensorView logits, Range part, std::int64_t run,
                              std::span<const RowQuestion> questions) override;

 private:
  /// Where the results of a group lie, on the device and in its copy on the host.
  struct Results {
    std::size_t sums, candidates, end;
    static Results of(std::size_t questions, std::int64_t sums, std::int64_t candidates);
  };
  void answer(const QuestionTable& table, ReadArguments args, std::span<RowAnswer> answers);

  const CudaStream& stream_;
  UploadPipe& pipe_;
  const DeviceWait& wait_;
  StreamMemory table_, scores_, maxima_, states_, results_;
  PinnedMemory host_results_;
};

}  // namespace llm_tp
