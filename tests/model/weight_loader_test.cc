#include <gtest/gtest.h>

#include <map>

#include "comm/single_rank.h"
#include "kernels/cpu/cpu_backend.h"
#include "model/decoder.h"
#include "model/weight_loader.h"
#include "model_runs.h"
#include "tests/support/golden.h"
#include "tests/weights/test_files.h"
#include "weights/dummy.h"

namespace llm_tp {
namespace {

ModelShape small_shape() {
  ModelShape shape;
  shape.hidden = 64, shape.layers = 2, shape.query_heads = 4, shape.kv_heads = 2, shape.head_dim = 16;
  shape.mlp_columns = 96, shape.vocabulary = 40, shape.context = 128;
  shape.qkv_bias = shape.output_bias = shape.mlp_bias = true;
  return shape;
}

/// Dummy weights of a shape whose tensors can be taken away or changed; nothing is ever read.
class ChangedSource final : public WeightSource {
 public:
  explicit ChangedSource(const ModelShape& shape) : whole_(dummy_of(shape), DType::kBF16) {}
  std::optional<WeightInfo> find(WeightKey key) const override {
    auto info = whole_.find(key);
    if (info)
      if (const auto change = changes.find({key.role, key.layer}); change != changes.end())
        change->second(info);
    return info;
  }
  void read(WeightKey, Range, Range, std::byte*) const override { FAIL() << "headers alone were enough"; }
  void release(WeightKey) const override {}
  std::int64_t file_bytes() const override { return 0; }
  std::int64_t parameters() const override { return 0; }

  std::map<std::pair<WeightRole, int>, std::function<void(std::optional<WeightInfo>&)>> changes;

 private:
  static std::vector<DummyTensor> dummy_of(const ModelShape& shape) {
    std::vector<DummyTensor> tensors;
    for (const ModelTensor& tensor : tensors_of(shape))
      tensors.push_back({tensor.key, tensor.rows, tensor.columns});
    return tensors;
  }
  DummySource whole_;
};

TEST(WeightLoader, NamesTheTensorThatIsAbsentAndTheShapeWanted) {
  const ModelShape shape = small_shape();
  const auto refused = [&](WeightRole role, int layer, const std::string& name, const std::string& wanted) {
    ChangedSource source(shape);
    source.changes[{role, layer}] = [](std::optional<WeightInfo>& info) { info.reset(); };
    expect_error(ExitCode::kBadData, {name, wanted}, [&] { WeightLoader(shape, source, std::nullopt); });
  };
  refused(WeightRole::kEmbedding, 0, "model.embed_tokens.weight", "40 x 64");
  refused(WeightRole::kLmHead, 0, "lm_head.weight", "40 x 64");
  refused(WeightRole::kFinalNorm, 0, "model.norm.weight", "64");
  refused(WeightRole::kKey, 1, "model.layers.1.self_attn.k_proj.weight", "32 x 64");
  refused(WeightRole::kDown, 1, "model.layers.1.mlp.down_proj.weight", "64 x 96");
  refused(WeightRole::kQueryBias, 0, "model.layers.0.self_attn.q_proj.bias", "64");
}

TEST(WeightLoader, EveryTensorOfTheModelIsAskedFor) {
  const ModelShape shape = small_shape();
  int tensors = 0;
  for (const WeightKey key : keys_of(static_cast<int>(shape.layers))) {
    ChangedSource source(shape);
    if (!source.find(key)) continue;
    ++tensors;
    source.changes[{key.role, key.layer}] = [](std::optional<WeightInfo>& info) { info->rows += 1; };
    EXPECT_THROW(WeightLoader(shape, source, std::nullopt), Error)
        << "role " << static_cast<int>(key.role) << " of layer " << key.layer;
  }
  EXPECT_EQ(tensors, 3 + 2 * 16);
}

TEST(WeightLoader, NamesATensorOfAnotherShapeWithBothShapes) {
  const ModelShape shape = small_shape();
  ChangedSource source(shape);
  source.changes[{WeightRole::kGate, 1}] = [](std::optional<WeightInfo>& info) { info->columns = 65; };
  const std::string name = source.find({WeightRole::kGate, 1})->name;
  expect_error(ExitCode::kBadData, {name, "96 x 65", "96 x 64"},
               [&] { WeightLoader(shape, source, std::nullopt); });
}

TEST(WeightLoader, TiedEmbeddingsNeedNoHead) {
  ModelShape shape = small_shape();
  shape.tied_embeddings = true;
  const ChangedSource source(shape);
  EXPECT_FALSE(source.find({WeightRole::kLmHead}).has_value());
  EXPECT_NO_THROW(WeightLoader(shape, source, std::nullopt));
}

TEST(WeightLoader, EveryMatrixKeepsTheDtypeOfItsFile) {
  const ModelShape shape = small_shape();
  ChangedSource source(shape);
  source.changes[{WeightRole::kValue, 1}] = [](std::optional<WeightInfo>& info) {
    info->dtype = DType::kF16;
  };
  const WeightLoader loader(shape, source, std::nullopt);
  EXPECT_EQ(loader.dtype({WeightRole::kValue, 1}), DType::kF16);
  EXPECT_EQ(loader.dtype({WeightRole::kValue, 0}), DType::kBF16);
  EXPECT_EQ(loader.dtype({WeightRole::kKey, 1}), DType::kBF16);
}

TEST(WeightLoader, QuantisesWhatDividesIntoBlocksAndLeavesTheRestPlain) {
  ModelShape shape = small_shape();
  shape.mlp_columns = 90;  // rows of down are no whole blocks of 32
  const ChangedSource source(shape);
  const WeightLoader loader(shape, source, DType::kQ4_0);
  EXPECT_EQ(loader.dtype({WeightRole::kQuery, 0}), DType::kQ4_0);
  EXPECT_EQ(loader.dtype({WeightRole::kDown, 1}), DType::kBF16);
  EXPECT_EQ(loader.units().output_block, 32);
  EXPECT_EQ(loader.units().down_block, 1);
}

/// Counts what is really allocated.
class CountingBackend final : public CpuBackend {
 public:
  CountingBackend() : CpuBackend(CpuOptions{}) {}
  DeviceBuffer allocate(std::size_t bytes) override {
    buffers += static_cast<std::int64_t>(bytes);
    return CpuBackend::allocate(bytes);
  }
  std::unique_ptr<PackedWeight> pack(const WeightSpec& spec, const RowReader& read) override {
    packed += packed_bytes(spec);
    return CpuBackend::pack(spec, read);
  }
  std::int64_t buffers = 0, packed = 0;
};

TEST(WeightLoader, BytesAreWhatLoadAllocatesAndProgressEndsAtThem) {
  std::vector<std::string> models{repository_path("models/harbour/hf"),
                                  repository_path("models/harbour/harbour-q8_0.gguf")};
  for (const std::string& name : golden_model_names()) models.push_back(load_golden_model(name).model);
  for (const std::string& model : models)
    for (const int world : {1, 3, 12}) {
      const Checkpoint checkpoint = Checkpoint::open(model);
      const WeightLoader loader(checkpoint.shape, *checkpoint.weights, std::nullopt);
      const ShardPlan plan = ShardPlan::make(checkpoint.shape, world, loader.units());
      for (int rank = 0; rank < world; ++rank) {
        SCOPED_TRACE(model + ", rank " + std::to_string(rank) + " of " + std::to_string(world));
        CountingBackend ops;
        SingleRank ranks;
        std::int64_t last = 0, last_total = 0;
        RankWeights weights = loader.load(plan, rank, ops, [&](std::int64_t done, std::int64_t total) {
          EXPECT_GT(done, last - 1);
          last = done, last_total = total;
        });
        const std::int64_t expected = loader.sizes(plan, rank, ops).weights;
        EXPECT_EQ(ops.packed + ops.buffers, expected);
        EXPECT_EQ(last_total, expected);
        EXPECT_EQ(last, expected);
        ops.buffers = 0;
        const Decoder loaded(checkpoint.shape, plan, rank, std::move(weights), ops, ranks, 33);
        EXPECT_EQ(ops.buffers, Decoder::workspace_bytes(checkpoint.shape, plan, rank, 33));
      }
    }
}

}  // namespace
}  // namespace llm_tp
