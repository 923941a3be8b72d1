#include "weights/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <unordered_set>
#include <utility>

#include "base/error.h"

namespace llm_tp {
namespace {

constexpr std::uint64_t kMostHeaderBytes = std::uint64_t{100} << 20;  // the limit of the format's own library
constexpr int kMostDepth = 16;
constexpr std::int64_t kMostNumber = std::numeric_limits<std::int64_t>::max();

struct StoredType {
  std::string_view name;
  int bits;
};
constexpr std::array<StoredType, 21> kStoredTypes{
    {{"F32", 32},    {"F16", 16},    {"BF16", 16},      {"BOOL", 8}, {"U8", 8},   {"I8", 8},
     {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8},    {"I16", 16}, {"U16", 16}, {"I32", 32},
     {"U32", 32},    {"F64", 64},    {"I64", 64},       {"U64", 64}, {"C64", 64}, {"F4", 4},
     {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F8_E4M3FNUZ", 8}}};

[[noreturn]] void refuse(const std::string& file_name, const std::string& what) {
  throw Error(
      ExitCode::kBadData,
      file_name + ": " + what + "; the file is damaged or was not written as safetensors: copy it again");
}

/// Shortens a name from the file so that an error message stays a line.
std::string in_quotes(std::string_view name) {
  std::string result = "\"";
  for (const char c : name.substr(0, 80))
    result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return result + (name.size() > 80 ? "…\"" : "\"");
}

/// Walks JSON event by event: nothing is built for what is not wanted, names given twice are seen, and
/// nesting costs a counter instead of stack. A sub-class gets the scalars with the path of object keys that
/// leads to them.
class JsonWalker : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit JsonWalker(std::string file_name) : file_name_(std::move(file_name)) {}

  void walk(std::span<const std::byte> text) {
    const auto* begin = reinterpret_cast<const char*>(text.data());
    // JSON has no raw zero byte, but the parser takes one for the end of the text.
    if (std::find(text.begin(), text.end(), std::byte{0}) != text.end())
      refuse(file_name_, "a zero byte in its JSON");
    nlohmann::json::sax_parse(begin, begin + text.size(), this);
  }

  bool null() override { return scalar("null"); }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t value) override { return number(value, 0); }
  bool number_unsigned(number_unsigned_t value) override {
    return value > static_cast<std::uint64_t>(kMostNumber) ? scalar("a number of 2^63 or more")
                                                           : number(0, value);
  }
  bool number_float(number_float_t, const string_t&) override { return scalar("a number that is not whole"); }
  bool binary(binary_t&) override { return scalar("binary data"); }
  bool string(string_t& value) override {
    require_object();
    on_string(path_, value);
    return true;
  }
  bool key(string_t& name) override {
    path_.back() = name;
    on_key(path_);
    return true;
  }
  bool start_object(std::size_t) override {
    enter();
    path_.emplace_back();
    if (path_.size() > 1) on_object(path_);
    return true;
  }
  bool end_object() override {
    path_.pop_back();
    --depth_;
    on_object_end(path_);
    return true;
  }
  bool start_array(std::size_t) override {
    require_object();
    enter();
    ++arrays_;
    on_array(path_);
    return true;
  }
  bool end_array() override {
    --arrays_;
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    refuse(file_name_, "not JSON in UTF-8 at byte " + std::to_string(position) + " of it");
  }

 protected:
  using Path = std::vector<std::string>;  // keys from the outermost object in; the last key of each object
  virtual void on_key(const Path&) {}
  virtual void on_object(const Path&) {}      // path: as of its value, plus an empty key
  virtual void on_object_end(const Path&) {}  // path: as of its value
  virtual void on_array(const Path&) {}
  virtual void on_string(const Path&, std::string&) {}
  virtual void on_number(const Path&, std::int64_t) {}
  virtual void on_other(const Path&, const char* /*kind*/) {}
  int arrays() const { return arrays_; }  // arrays that are open
  const std::string& file_name() const { return file_name_; }

 private:
  bool number(std::int64_t negative, std::uint64_t positive) {
    require_object();
    on_number(path_, negative < 0 ? negative : static_cast<std::int64_t>(positive));
    return true;
  }
  bool scalar(const char* kind) {
    require_object();
    on_other(path_, kind);
    return true;
  }
  void require_object() const {
    if (path_.empty()) refuse(file_name_, "the JSON is not an object");
  }
  void enter() {
    if (++depth_ > kMostDepth) refuse(file_name_, "JSON nested deeper than " + std::to_string(kMostDepth));
  }

  std::string file_name_;
  Path path_;
  int depth_ = 0, arrays_ = 0;
};

/// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, …, "__metadata__": {…}}
class HeaderWalker final : public JsonWalker {
 public:
  using JsonWalker::JsonWalker;
  std::vector<SafetensorsTensor> take() { return std::move(tensors_); }

 protected:
  void on_key(const Path& path) override {
    if (path.size() == 1) {
      if (!names_.insert(path[0]).second)
        refuse(file_name(), "tensor " + in_quotes(path[0]) + " is listed twice");
      return;
    }
    if (path.size() != 2 || path[0] == kMetadata) return;
    std::optional<bool> seen = flag(path[1]);
    if (!seen) return;  // a field of a later version
    if (*seen) refuse(file_name(), "tensor " + in_quotes(path[0]) + " has " + path[1] + " twice");
    (path[1] == "dtype" ? has_dtype_ : path[1] == "shape" ? has_shape_ : has_offsets_) = true;
  }
  void on_object(const Path& path) override {
    if (path.size() == 2 && arrays() == 0) {
      current_ = {};
      current_.name = path[0];
      offsets_.clear();
      has_dtype_ = has_shape_ = has_offsets_ = shape_is_array_ = false;
    } else {
      on_other(path, "an object");
    }
  }
  void on_object_end(const Path& path) override {
    if (path.size() != 1 || arrays() != 0 || path[0] == kMetadata) return;
    if (!has_dtype_ || !has_shape_ || !has_offsets_ || current_.dtype.empty() || !shape_is_array_ ||
        offsets_.size() != 2)
      refuse(file_name(), "tensor " + in_quotes(path[0]) + " lacks a dtype, a shape or two data_offsets");
    current_.begin = offsets_[0];
    current_.end = offsets_[1];
    tensors_.push_back(std::move(current_));
  }
  void on_array(const Path& path) override {
    if (path.size() == 2 && arrays() == 1 && path[1] == "shape") shape_is_array_ = true;
    if (path.size() == 1 || arrays() > 1 || (path.size() == 2 && path[1] == "dtype"))
      on_other(path, "an array");
  }
  void on_string(const Path& path, std::string& value) override {
    if (path.size() == 2 && path[1] == "dtype" && arrays() == 0)
      current_.dtype = value;
    else
      on_other(path, "a string");
  }
  void on_number(const Path& path, std::int64_t value) override {
    const bool shape = path.size() == 2 && path[1] == "shape",
               offset = path.size() == 2 && path[1] == "data_offsets";
    if (path[0] == kMetadata || (!shape && !offset) || arrays() != 1) return on_other(path, "a number");
    if (value < 0)
      refuse(file_name(),
             "tensor " + in_quotes(path[0]) + " has " + std::to_string(value) + " in its " + path[1]);
    auto& list = shape ? current_.shape : offsets_;
    if (list.size() == (shape ? std::size_t{64} : std::size_t{2}))
      refuse(file_name(), "tensor " + in_quotes(path[0]) + " has too many numbers in its " + path[1]);
    list.push_back(value);
  }
  void on_other(const Path& path, const char* kind) override {
    if (path[0] == kMetadata) return;
    if (path.size() == 2 && !flag(path[1]) && !path[1].empty()) return;
    refuse(file_name(), "tensor " + in_quotes(path[0]) + " holds " + kind + " where its format has none");
  }

 private:
  static constexpr std::string_view kMetadata = "__metadata__";
  std::optional<bool> flag(const std::string& field) const {
    if (field == "dtype") return has_dtype_;
    if (field == "shape") return has_shape_;
    if (field == "data_offsets") return has_offsets_;
    return std::nullopt;
  }

  std::vector<SafetensorsTensor> tensors_;
  std::unordered_set<std::string> names_;
  SafetensorsTensor current_;
  std::vector<std::int64_t> offsets_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false, shape_is_array_ = false;
};

/// {"metadata": {…}, "weight_map": {"name": "model-00001-of-00002.safetensors", …}}
class IndexWalker final : public JsonWalker {
 public:
  using JsonWalker::JsonWalker;
  std::unordered_map<std::string, std::string> take() {
    if (!found_) refuse(file_name(), "no \"weight_map\"");
    return std::move(files_);
  }

 protected:
  void on_key(const Path& path) override {
    if (path.size() != 1 || path[0] != "weight_map") return;
    if (std::exchange(found_, true)) refuse(file_name(), "\"weight_map\" is given twice");
  }
  void on_object(const Path& path) override {
    if (path.size() > 2) on_other(path, "an object");
  }
  void on_array(const Path& path) override { on_other(path, "an array"); }
  void on_number(const Path& path, std::int64_t) override { on_other(path, "a number"); }
  void on_string(const Path& path, std::string& value) override {
    if (path[0] != "weight_map") return;
    if (path.size() != 2 || arrays() != 0) return on_other(path, "a string");
    if (value.empty() || value.find('/') != std::string::npos || value.find("..") != std::string::npos ||
        value.find('\0') != std::string::npos)
      refuse(file_name(), "weight_map names the file " + in_quotes(value) +
                              ", wanted a plain file name in the same folder");
    if (!files_.emplace(path[1], value).second)
      refuse(file_name(), "tensor " + in_quotes(path[1]) + " is listed twice");
  }
  void on_other(const Path& path, const char* kind) override {
    if (path[0] == "weight_map")
      refuse(file_name(), std::string("weight_map holds ") + kind + ", wanted names of files");
  }

 private:
  std::unordered_map<std::string, std::string> files_;
  bool found_ = false;
};

/// Sets elements and moves the offsets from the data to the file; checks both against the dtype and the
/// file's size.
void place(SafetensorsTensor& tensor, std::int64_t data_begin, std::int64_t file_bytes,
           const std::string& file_name) {
  const auto* type = std::find_if(kStoredTypes.begin(), kStoredTypes.end(),
                                  [&](const StoredType& t) { return t.name == tensor.dtype; });
  if (type == kStoredTypes.end())
    refuse(file_name,
           "tensor " + in_quotes(tensor.name) + " has the unknown dtype " + in_quotes(tensor.dtype));
  std::int64_t elements = 1, bits = 0;
  bool fits = true;
  for (const std::int64_t extent : tensor.shape)
    fits = fits && !__builtin_mul_overflow(elements, extent, &elements);
  if (!fits || __builtin_mul_overflow(elements, static_cast<std::int64_t>(type->bits), &bits) ||
      bits % 8 != 0)
    refuse(file_name, "tensor " + in_quotes(tensor.name) +
                          " has a shape of more numbers than fit into memory or of half a byte");
  if (tensor.begin > tensor.end || tensor.end > file_bytes - data_begin)
    refuse(file_name, "tensor " + in_quotes(tensor.name) + " has data_offsets " +
                          std::to_string(tensor.begin) + " to " + std::to_string(tensor.end) +
                          ", the file has " + std::to_string(file_bytes - data_begin) + " bytes of data");
  if (tensor.end - tensor.begin != bits / 8)
    refuse(file_name, "tensor " + in_quotes(tensor.name) + " has " +
                          std::to_string(tensor.end - tensor.begin) + " bytes, its shape and dtype need " +
                          std::to_string(bits / 8));
  tensor.elements = elements;
  tensor.begin += data_begin;
  tensor.end += data_begin;
}

}  // namespace

std::vector<SafetensorsTensor> parse_safetensors_header(std::span<const std::byte> file,
                                                        const std::string& file_name) {
  std::uint64_t header_bytes = 0;
  if (file.size() < sizeof header_bytes)
    refuse(file_name, std::to_string(file.size()) + " bytes, wanted a header of at least 8");
  std::memcpy(&header_bytes, file.data(), sizeof header_bytes);
  if (header_bytes > kMostHeaderBytes || header_bytes > file.size() - sizeof header_bytes)
    refuse(file_name, "a header of " + std::to_string(header_bytes) + " bytes in a file of " +
                          std::to_string(file.size()) + " bytes (the format allows 100 MiB)");
  HeaderWalker walker(file_name);
  walker.walk(file.subspan(sizeof header_bytes, header_bytes));
  std::vector<SafetensorsTensor> tensors = walker.take();

  const auto data_begin = static_cast<std::int64_t>(sizeof header_bytes + header_bytes);
  const auto file_bytes = static_cast<std::int64_t>(file.size());
  for (SafetensorsTensor& tensor : tensors) place(tensor, data_begin, file_bytes, file_name);
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::int64_t at = data_begin;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.begin < at)
      refuse(file_name, "tensor " + in_quotes(tensor.name) + " overlaps the one before it");
    if (tensor.begin > at) refuse(file_name, "unused bytes in front of tensor " + in_quotes(tensor.name));
    at = tensor.end;
  }
  if (at != file_bytes) refuse(file_name, std::to_string(file_bytes - at) + " bytes after the last tensor");
  return tensors;
}

std::unordered_map<std::string, std::string> parse_safetensors_index(std::span<const std::byte> file,
                                                                     const std::string& file_name) {
  if (file.size() > kMostHeaderBytes) refuse(file_name, "an index of more than 100 MiB");
  IndexWalker walker(file_name);
  walker.walk(file);
  return walker.take();
}

}  // namespace llm_tp
