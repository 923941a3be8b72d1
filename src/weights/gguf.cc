#include "weights/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "base/error.h"
#include "weights/ggml_types.h"

namespace llm_tp {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are read as they lie in memory");

constexpr std::int64_t kMostAlignment = 1 << 20;
constexpr int kMostArrayDepth = 4;

template <typename T>
T load(std::span<const std::byte> payload, std::uint64_t index) {
  T value;
  std::memcpy(&value, payload.data() + index * sizeof(T), sizeof(T));
  return value;
}

std::string shown(std::string_view name) {
  std::string result;
  for (const char c : name.substr(0, 80))
    result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  return name.size() > 80 ? result + "…" : result;
}

}  // namespace

/// Walks the bytes in front of the tensor data; no read passes the end.
class GgufFile::Reader {
 public:
  Reader(std::span<const std::byte> bytes, const std::string& file_name)
      : bytes_(bytes), file_name_(file_name) {}

  std::uint64_t position() const noexcept { return at_; }
  std::uint64_t remaining() const noexcept { return bytes_.size() - at_; }

  [[noreturn]] void refuse(const std::string& what) const {
    throw Error(ExitCode::kBadData, file_name_ + ": " + what + " at byte " + std::to_string(at_) +
                                        "; the file is damaged or incomplete: download it again");
  }
  std::span<const std::byte> take(std::uint64_t count, const char* what) {
    if (count > remaining())
      refuse(std::string(what) + " of " + std::to_string(count) + " bytes, " + std::to_string(remaining()) +
             " are left,");
    const auto result = bytes_.subspan(at_, count);
    at_ += count;
    return result;
  }
  template <typename T>
  T number(const char* what) {
    return load<T>(take(sizeof(T), what), 0);
  }
  std::string_view text(const char* what) {
    const auto size = number<std::uint64_t>(what);
    const auto bytes = take(size, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// A count of things that take at least `least_bytes` each: no more than the rest of the file can hold.
  std::uint64_t count(std::uint64_t least_bytes, const char* what) {
    const auto result = number<std::uint64_t>(what);
    if (result > remaining() / least_bytes)
      refuse(std::to_string(result) + " " + what + ", " + std::to_string(remaining()) + " bytes are left,");
    return result;
  }
  ValueType type() {
    const auto result = number<std::uint32_t>("a type");
    if (result >= static_cast<std::uint32_t>(ValueType::kCount))
      refuse("unknown metadata type " + std::to_string(result));
    return static_cast<ValueType>(result);
  }
  Value value() {
    const ValueType kind = type();
    if (kind == ValueType::kArray) return array(1);
    if (kind == ValueType::kString) {
      const std::string_view words = text("a string");
      return {kind, false, 1, std::as_bytes(std::span(words))};
    }
    return {kind, false, 1, take(size_of(kind), "a number")};
  }

 private:
  Value array(int depth) {
    if (depth > kMostArrayDepth) refuse("arrays nested deeper than " + std::to_string(kMostArrayDepth));
    Value result{type(), true, 0, {}};
    // A string has at least its length, an array its type and count.
    const std::uint64_t least = result.type == ValueType::kString  ? 8
                                : result.type == ValueType::kArray ? 12
                                                                   : size_of(result.type);
    result.count = count(least, "array elements");
    const std::uint64_t begin = at_;
    if (result.type == ValueType::kString)
      for (std::uint64_t i = 0; i < result.count; ++i) text("a string");
    else if (result.type == ValueType::kArray)
      for (std::uint64_t i = 0; i < result.count; ++i) array(depth + 1);
    else
      take(result.count * least, "array elements");
    result.payload = bytes_.subspan(begin, at_ - begin);
    return result;
  }

  std::span<const std::byte> bytes_;
  const std::string& file_name_;
  std::uint64_t at_ = 0;
};

std::shared_ptr<GgufFile> GgufFile::open_alone(const std::filesystem::path& path) {
  auto map = std::make_unique<const MappedFile>(path);
  // The views of the parsed file point into the map, which does not move with its owner.
  auto file = std::shared_ptr<GgufFile>(new GgufFile(map->bytes(), path.string()));
  file->map_ = std::move(map);
  return file;
}

std::shared_ptr<const GgufFile> GgufFile::open(const std::filesystem::path& path) {
  auto file = open_alone(path);
  if (const std::int64_t count = file->integer("split.count").value_or(1); count != 1)
    file->add_parts(path, count);
  return file;
}

void GgufFile::add_parts(const std::filesystem::path& path, std::int64_t count) {
  const auto refuse = [&](const std::string& what) { throw Error(ExitCode::kBadData, name_ + ": " + what); };
  constexpr std::int64_t kMostParts = 99999;  // five digits in the names
  if (count < 1 || count > kMostParts)
    refuse("split.count is " + std::to_string(count) + ", wanted 1 to " + std::to_string(kMostParts));
  const auto five_digits = [](std::int64_t n) {
    const std::string digits = std::to_string(n);
    return std::string(5 - digits.size(), '0') + digits;
  };
  const std::string ending = "-of-" + five_digits(count) + ".gguf", first_ending = "-00001" + ending;
  const std::int64_t number = integer("split.no").value_or(0);
  const std::string name = path.filename().string();
  if (number != 0 || !name.ends_with(first_ending))
    refuse("part " + std::to_string(number + 1) + " of " + std::to_string(count) +
           " files of a model; give its first one, whose name ends in " + first_ending);
  const std::string stem = name.substr(0, name.size() - first_ending.size());
  for (std::int64_t part = 2; part <= count; ++part) {
    const auto other_path = path.parent_path() / (stem + "-" + five_digits(part) + ending);
    std::error_code ignored;
    if (!std::filesystem::exists(other_path, ignored))
      throw Error(ExitCode::kMissingFile, other_path.string() + ": does not exist, but " + name +
                                              " is one of " + std::to_string(count) +
                                              " files of a model; download all of them");
    const auto other = open_alone(other_path);
    const std::int64_t stated = other->integer("split.no").value_or(-1);
    if (stated != part - 1 || other->integer("split.count").value_or(-1) != count)
      refuse("goes with " + other_path.filename().string() + ", which states that it is part " +
             std::to_string(stated + 1) + " of " + std::to_string(other->integer("split.count").value_or(0)));
    for (const GgufTensor& tensor : other->tensors_) {
      if (!tensor_index_.emplace(tensor.name, tensors_.size()).second)
        refuse("tensor " + shown(tensor.name) + " is also in " + other_path.filename().string());
      tensors_.push_back(tensor);
    }
    others_.push_back(other);
  }
  const auto found = static_cast<std::int64_t>(tensors_.size());
  if (const std::int64_t stated = integer("split.tensors.count").value_or(found); stated != found)
    refuse("split.tensors.count is " + std::to_string(stated) + ", the " + std::to_string(count) +
           " files hold " + std::to_string(found) + " tensors; they are not of one model");
}

std::int64_t GgufFile::file_bytes() const noexcept {
  auto sum = static_cast<std::int64_t>(bytes_.size());
  for (const auto& other : others_) sum += other->file_bytes();
  return sum;
}

GgufFile GgufFile::parse(std::span<const std::byte> bytes, std::string file_name) {
  return GgufFile(bytes, std::move(file_name));
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string file_name)
    : bytes_(bytes), name_(std::move(file_name)) {
  Reader reader(bytes_, name_);
  if (bytes_.size() < 4 || std::memcmp(bytes_.data(), "GGUF", 4) != 0)
    reader.refuse("no GGUF file: the magic is missing");
  reader.take(4, "the magic");
  version_ = reader.number<std::uint32_t>("the version");
  if (version_ != 0 && (version_ & 0xffff) == 0)
    throw Error(ExitCode::kBadData,
                name_ + ": a big-endian GGUF file, wanted little endian; use another download of the model");
  if (version_ != 2 && version_ != 3)
    throw Error(ExitCode::kBadData, name_ + ": GGUF version " + std::to_string(version_) +
                                        ", wanted 2 or 3; convert the model anew with current tools");
  // The least tensor: a name's length, dimensions, one extent, type, offset. The least value: a key's length,
  // type, byte.
  const std::uint64_t tensors = reader.count(32, "tensors");
  const std::uint64_t values = reader.count(13, "metadata values");
  read_metadata(reader, values);
  if (const auto wanted = integer("general.alignment")) {
    if (*wanted <= 0 || *wanted > kMostAlignment || !std::has_single_bit(static_cast<std::uint64_t>(*wanted)))
      reader.refuse("general.alignment is " + std::to_string(*wanted) +
                    ", wanted a power of two up to 1048576,");
    alignment_ = *wanted;
  }
  read_tensors(reader, tensors);
}

void GgufFile::read_metadata(Reader& reader, std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string_view key = reader.text("a metadata key");
    if (!values_.emplace(key, reader.value()).second)
      reader.refuse("metadata key " + shown(key) + " is given twice");
    keys_.push_back(key);
  }
}

void GgufFile::read_tensors(Reader& reader, std::uint64_t count) {
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t i = 0; i < count; ++i) {
    GgufTensor tensor;
    tensor.name = reader.text("a tensor's name");
    const std::string named = "tensor " + shown(tensor.name);
    const auto dimensions = reader.number<std::uint32_t>("a tensor's dimensions");
    if (dimensions < 1 || dimensions > tensor.extents.size())
      reader.refuse(named + " has " + std::to_string(dimensions) + " dimensions, wanted 1 to 4,");
    tensor.dimensions = static_cast<int>(dimensions);
    tensor.elements = 1;
    for (std::size_t d = 0; d < dimensions; ++d) {
      const auto extent = reader.number<std::uint64_t>("a tensor's extent");
      if (extent > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()) ||
          __builtin_mul_overflow(tensor.elements, static_cast<std::int64_t>(extent), &tensor.elements))
        reader.refuse(named + " has more numbers than fit into memory");
      tensor.extents[d] = static_cast<std::int64_t>(extent);
    }
    tensor.type = reader.number<std::uint32_t>("a tensor's type");
    offsets.push_back(reader.number<std::uint64_t>("a tensor's offset"));
    if (!tensor_index_.emplace(tensor.name, tensors_.size()).second)
      reader.refuse(named + " is listed twice");
    tensors_.push_back(tensor);
  }
  const auto alignment = static_cast<std::uint64_t>(alignment_);
  place_tensors((reader.position() + alignment - 1) / alignment * alignment, offsets);
}

void GgufFile::place_tensors(std::uint64_t data_begin, const std::vector<std::uint64_t>& offsets) {
  const std::uint64_t data_bytes = bytes_.size() - std::min<std::uint64_t>(data_begin, bytes_.size());
  const auto refuse = [&](const GgufTensor& tensor, const std::string& what) {
    throw Error(ExitCode::kBadData, name_ + ": tensor " + shown(tensor.name) + " " + what +
                                        "; the file is damaged or incomplete: download it again");
  };
  std::vector<std::pair<std::uint64_t, std::size_t>> order;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    GgufTensor& tensor = tensors_[i];
    const std::string where = "at offset " + std::to_string(offsets[i]) + " of the data";
    if (offsets[i] % static_cast<std::uint64_t>(alignment_) != 0)
      refuse(tensor, "lies " + where + ", wanted a multiple of " + std::to_string(alignment_));
    if (offsets[i] > data_bytes)
      refuse(tensor, "lies " + where + ", the file has " + std::to_string(data_bytes) + " bytes of it");
    const GgmlType* type = ggml_type(tensor.type);
    if (!type) continue;  // of a later version of the format: an error where it is used
    if (tensor.extents[0] % type->elements != 0)
      refuse(tensor, "has rows of " + std::to_string(tensor.extents[0]) + ", wanted whole blocks of " +
                         std::to_string(type->elements) + " (" + std::string(type->name) + ")");
    std::int64_t bytes = 0;
    if (__builtin_mul_overflow(tensor.elements / type->elements, std::int64_t{type->bytes}, &bytes) ||
        static_cast<std::uint64_t>(bytes) > data_bytes - offsets[i])
      refuse(tensor, "lies " + where + " and needs " + std::to_string(bytes) + " bytes, the file has " +
                         std::to_string(data_bytes) + " in all");
    tensor.data = bytes_.subspan(std::min<std::uint64_t>(data_begin, bytes_.size()) + offsets[i],
                                 static_cast<std::size_t>(bytes));
    if (bytes > 0) order.emplace_back(offsets[i], i);
  }
  std::sort(order.begin(), order.end());
  for (std::size_t i = 1; i < order.size(); ++i) {
    const GgufTensor& before = tensors_[order[i - 1].second];
    if (order[i - 1].first + before.data.size() > order[i].first)
      refuse(tensors_[order[i].second], "overlaps " + shown(before.name));
  }
}

std::size_t GgufFile::size_of(ValueType type) noexcept {
  switch (type) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool:
      return 1;
    case ValueType::kU16:
    case ValueType::kI16:
      return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32:
      return 4;
    case ValueType::kU64:
    case ValueType::kI64:
    case ValueType::kF64:
      return 8;
    default:
      return 0;  // strings and arrays have no size of their own
  }
}

const GgufTensor* GgufFile::tensor(std::string_view name) const {
  const auto at = tensor_index_.find(name);
  return at == tensor_index_.end() ? nullptr : &tensors_[at->second];
}

void GgufFile::release(std::span<const std::byte> part) const noexcept {
  if (map_) map_->release(part);
}

void GgufFile::refuse_type(std::string_view key, const char* wanted) const {
  throw Error(ExitCode::kBadData,
              name_ + ": metadata key " + shown(key) + " is not " + wanted +
                  "; the file is not as its format asks: " + "use another download of the model");
}

const GgufFile::Value* GgufFile::value(std::string_view key, bool array) const {
  const auto at = values_.find(key);
  if (at == values_.end()) return nullptr;
  if (at->second.array != array) refuse_type(key, array ? "an array" : "a single value");
  return &at->second;
}

std::optional<std::int64_t> GgufFile::integer_at(const Value& value, std::uint64_t i,
                                                 std::string_view key) const {
  switch (value.type) {
    case ValueType::kU8:
      return load<std::uint8_t>(value.payload, i);
    case ValueType::kI8:
      return load<std::int8_t>(value.payload, i);
    case ValueType::kU16:
      return load<std::uint16_t>(value.payload, i);
    case ValueType::kI16:
      return load<std::int16_t>(value.payload, i);
    case ValueType::kU32:
      return load<std::uint32_t>(value.payload, i);
    case ValueType::kI32:
      return load<std::int32_t>(value.payload, i);
    case ValueType::kI64:
      return load<std::int64_t>(value.payload, i);
    case ValueType::kU64: {
      const auto number = load<std::uint64_t>(value.payload, i);
      if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
        refuse_type(key, "below 2^63");
      return static_cast<std::int64_t>(number);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> GgufFile::real_at(const Value& value, std::uint64_t i, std::string_view key) const {
  if (value.type == ValueType::kF32) return load<float>(value.payload, i);
  if (value.type == ValueType::kF64) return load<double>(value.payload, i);
  const auto whole = integer_at(value, i, key);
  return whole ? std::optional(static_cast<double>(*whole)) : std::nullopt;
}

std::optional<std::int64_t> GgufFile::integer(std::string_view key) const {
  const Value* found = value(key, false);
  if (!found) return std::nullopt;
  const auto result = integer_at(*found, 0, key);
  if (!result) refuse_type(key, "an integer");
  return result;
}

std::optional<double> GgufFile::real(std::string_view key) const {
  const Value* found = value(key, false);
  if (!found) return std::nullopt;
  const auto result = real_at(*found, 0, key);
  if (!result) refuse_type(key, "a number");
  return result;
}

std::optional<bool> GgufFile::boolean(std::string_view key) const {
  const Value* found = value(key, false);
  if (!found) return std::nullopt;
  if (found->type != ValueType::kBool) refuse_type(key, "a boolean");
  return load<std::uint8_t>(found->payload, 0) != 0;
}

std::optional<std::string_view> GgufFile::string(std::string_view key) const {
  const Value* found = value(key, false);
  if (!found) return std::nullopt;
  if (found->type != ValueType::kString) refuse_type(key, "a string");
  return std::string_view(reinterpret_cast<const char*>(found->payload.data()), found->payload.size());
}

std::optional<std::vector<std::string_view>> GgufFile::strings(std::string_view key) const {
  const Value* found = value(key, true);
  if (!found) return std::nullopt;
  if (found->type != ValueType::kString) refuse_type(key, "an array of strings");
  std::vector<std::string_view> result;
  result.reserve(found->count);
  Reader reader(found->payload, name_);
  for (std::uint64_t i = 0; i < found->count; ++i) result.push_back(reader.text("a string"));
  return result;
}

std::optional<std::vector<std::int64_t>> GgufFile::integers(std::string_view key) const {
  const Value* found = value(key, true);
  if (!found) return std::nullopt;
  std::vector<std::int64_t> result;
  for (std::uint64_t i = 0; i < found->count; ++i) {
    const auto number = integer_at(*found, i, key);
    if (!number) refuse_type(key, "an array of integers");
    result.push_back(*number);
  }
  return result;
}

std::optional<std::vector<float>> GgufFile::floats(std::string_view key) const {
  const Value* found = value(key, true);
  if (!found) return std::nullopt;
  std::vector<float> result;
  for (std::uint64_t i = 0; i < found->count; ++i) {
    const auto number = real_at(*found, i, key);
    if (!number) refuse_type(key, "an array of numbers");
    result.push_back(static_cast<float>(*number));
  }
  return result;
}

}  // namespace llm_tp
