// Models in several GGUF files.
#include "test_files.h"
#include "weights/gguf.h"

namespace llm_tp {
namespace {

GgufBuilder part(int number, int count, std::string_view tensor, float value) {
  GgufBuilder builder;
  builder.value("split.no", 2, raw(static_cast<std::uint16_t>(number)));
  builder.value("split.count", 2, raw(static_cast<std::uint16_t>(count)));
  builder.f32_tensor(tensor, {2, 1}, {value, value + 1});
  return builder;
}

TEST(GgufParts, TensorsOfAllFilesAreOneModel) {
  const TemporaryFolder folder;
  GgufBuilder first = part(0, 3, "a", 1);
  first.value("split.tensors.count", 5, raw(std::int32_t{3}));
  first.string("general.architecture", "llama");
  const auto path = folder.write("m-00001-of-00003.gguf", first.file());
  folder.write("m-00002-of-00003.gguf", part(1, 3, "b", 10).file());
  folder.write("m-00003-of-00003.gguf", part(2, 3, "c", 20).file());
  const auto file = GgufFile::open(path);
  EXPECT_EQ(file->parts(), 3);
  EXPECT_EQ(file->string("general.architecture"), "llama");
  ASSERT_EQ(file->tensors().size(), 3u);
  for (const auto& [name, value] : {std::pair{"a", 1.0f}, {"b", 10.0f}, {"c", 20.0f}}) {
    float found = 0;
    ASSERT_NE(file->tensor(name), nullptr) << name;
    std::memcpy(&found, file->tensor(name)->data.data(), 4);
    EXPECT_EQ(found, value);
    file->release(file->tensor(name)->data);
  }
  std::int64_t bytes = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    bytes += static_cast<std::int64_t>(entry.file_size());
  EXPECT_EQ(file->file_bytes(), bytes);
}

TEST(GgufParts, MissingStrangeAndContradictingPartsAreRefused) {
  const TemporaryFolder folder;
  const auto path = folder.write("m-00001-of-00002.gguf", part(0, 2, "a", 1).file());
  const auto open = [&] { GgufFile::open(path); };
  expect_error(ExitCode::kMissingFile, {"m-00002-of-00002.gguf", "download all"}, open);
  folder.write("m-00002-of-00002.gguf", part(0, 2, "b", 1).file());
  expect_error(ExitCode::kBadData, {"m-00002-of-00002.gguf", "part 1 of 2"}, open);
  folder.write("m-00002-of-00002.gguf", part(1, 3, "b", 1).file());
  expect_error(ExitCode::kBadData, {"m-00002-of-00002.gguf", "part 2 of 3"}, open);
  folder.write("m-00002-of-00002.gguf", part(1, 2, "a", 1).file());
  expect_error(ExitCode::kBadData, {"tensor a", "also in m-00002-of-00002.gguf"}, open);
  folder.write("m-00002-of-00002.gguf", "GGUF");
  expect_error(ExitCode::kBadData, {"m-00002-of-00002.gguf"}, open);
  GgufBuilder counted = part(0, 2, "a", 1);
  counted.value("split.tensors.count", 5, raw(std::int32_t{5}));
  folder.write("m-00001-of-00002.gguf", counted.file());
  folder.write("m-00002-of-00002.gguf", part(1, 2, "b", 1).file());
  expect_error(ExitCode::kBadData, {"split.tensors.count is 5", "2 tensors"}, open);
}

TEST(GgufParts, TheFirstFileMustBeNamed) {
  const TemporaryFolder folder;
  folder.write("m-00001-of-00002.gguf", part(0, 2, "a", 1).file());
  const auto second = folder.write("m-00002-of-00002.gguf", part(1, 2, "b", 1).file());
  expect_error(ExitCode::kBadData, {"part 2 of 2", "-00001-of-00002.gguf"}, [&] { GgufFile::open(second); });
  const auto renamed = folder.write("m.gguf", part(0, 2, "a", 1).file());
  expect_error(ExitCode::kBadData, {"-00001-of-00002.gguf"}, [&] { GgufFile::open(renamed); });
  const auto none = folder.write("n.gguf", part(0, 0, "a", 1).file());
  expect_error(ExitCode::kBadData, {"split.count is 0"}, [&] { GgufFile::open(none); });
}

}  // namespace
}  // namespace llm_tp
