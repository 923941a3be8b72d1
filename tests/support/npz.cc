#include "npz.h"

#include <zlib.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/error.h"

namespace llm_tp {
namespace {

[[noreturn]] void refuse(const std::string& name, const std::string& found) {
  throw Error(ExitCode::kBadData, name + ": " + found + "; wanted float32 arrays as numpy.savez writes them");
}

std::string read_whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw Error(ExitCode::kMissingFile, path + ": cannot be opened");
  return {std::istreambuf_iterator<char>(in), {}};
}

/// A little-endian number of `width` bytes; refuses to read beyond the end.
std::size_t number(const std::string& bytes, std::size_t at, std::size_t width, const std::string& name) {
  if (at > bytes.size() || width > bytes.size() - at)
    refuse(name, "it is cut short at byte " + std::to_string(at));
  std::size_t value = 0;
  for (std::size_t i = width; i-- > 0;) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

/// What follows `'key':` in a .npy header, up to the next comma outside a tuple, or empty.
std::string header_value(const std::string& header, const std::string& key) {
  const std::size_t at = header.find("'" + key + "':");
  if (at == std::string::npos) return {};
  std::size_t begin = at + key.size() + 3;
  while (begin < header.size() && header[begin] == ' ') ++begin;
  const bool tuple = begin < header.size() && header[begin] == '(';
  const std::size_t end = header.find_first_of(tuple ? ")" : ",}", begin);
  return end == std::string::npos ? std::string() : header.substr(begin, end - begin + (tuple ? 1 : 0));
}

std::string inflate_entry(const std::string& packed, std::size_t size, const std::string& name) {
  std::string out(size, '\0');
  z_stream stream{};
  // Negative window bits: a zip holds a bare deflate stream.
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) refuse(name, "zlib does not start");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(size);
  const int result = inflate(&stream, Z_FINISH);
  inflateEnd(&stream);
  if (result != Z_STREAM_END || stream.avail_out != 0) refuse(name, "its deflate stream is broken");
  return out;
}

}  // namespace

NpyArray parse_npy(const std::string& bytes, const std::string& name) {
  if (bytes.compare(0, 6, "\x93NUMPY") != 0) refuse(name, "no .npy header");
  const std::size_t version = number(bytes, 6, 1, name);
  if (version != 1 && version != 2) refuse(name, ".npy format " + std::to_string(version));
  const std::size_t width = version == 1 ? 2 : 4;
  const std::size_t length = number(bytes, 8, width, name);
  const std::size_t begin = 8 + width;
  if (length > bytes.size() - begin) refuse(name, "its header is cut short");
  const std::string header = bytes.substr(begin, length);
  if (header_value(header, "descr") != "'<f4'") refuse(name, "type " + header_value(header, "descr"));
  if (header_value(header, "fortran_order") != "False") refuse(name, "Fortran order");

  NpyArray array;
  std::size_t elements = 1;
  const std::size_t capacity = (bytes.size() - begin - length) / sizeof(float);
  std::string shape = header_value(header, "shape");
  for (char& c : shape) c = c == '(' || c == ')' || c == ',' ? ' ' : c;
  std::istringstream dimensions(shape);
  for (std::int64_t n; dimensions >> n;) {
    if (n < 0 || (n > 0 && elements > capacity / static_cast<std::size_t>(n)))
      refuse(name, "a shape beyond its bytes");
    elements *= static_cast<std::size_t>(n);
    array.shape.push_back(n);
  }
  if (elements * sizeof(float) != bytes.size() - begin - length)
    refuse(name, "bytes that do not fit its shape");
  array.values.resize(elements);
  if (elements > 0) std::memcpy(array.values.data(), bytes.data() + begin + length, elements * sizeof(float));
  return array;
}

NpyArray read_npy(const std::string& path) { return parse_npy(read_whole(path), path); }

std::map<std::string, NpyArray> parse_npz(const std::string& bytes, const std::string& name) {
  // The end record is 22 bytes before the end where the zip has no comment, as numpy writes it.
  const std::string end_mark("PK\x05\x06", 4), entry_mark("PK\x01\x02", 4), local_mark("PK\x03\x04", 4);
  const std::size_t end = bytes.rfind(end_mark);
  if (end == std::string::npos) refuse(name, "no zip directory");
  const std::size_t entries = number(bytes, end + 10, 2, name);
  std::size_t at = number(bytes, end + 16, 4, name);

  std::map<std::string, NpyArray> arrays;
  for (std::size_t i = 0; i < entries; ++i) {
    if (at > bytes.size() || bytes.compare(at, 4, entry_mark) != 0) refuse(name, "a broken zip directory");
    const std::size_t method = number(bytes, at + 10, 2, name);
    const std::size_t packed = number(bytes, at + 20, 4, name);
    const std::size_t size = number(bytes, at + 24, 4, name);
    const std::size_t name_length = number(bytes, at + 28, 2, name);
    const std::size_t local = number(bytes, at + 42, 4, name);
    const std::size_t skip = number(bytes, at + 30, 2, name) + number(bytes, at + 32, 2, name);
    std::string key = bytes.substr(at + 46, name_length);
    at += 46 + name_length + skip;

    if (local > bytes.size() || bytes.compare(local, 4, local_mark) != 0)
      refuse(name, "entry " + key + " is not there");
    const std::size_t data =
        local + 30 + number(bytes, local + 26, 2, name) + number(bytes, local + 28, 2, name);
    if (data > bytes.size() || packed > bytes.size() - data) refuse(name, "entry " + key + " is cut short");
    if (method != 0 && method != 8) refuse(name, "zip method " + std::to_string(method));
    // Deflate packs 1032 times at most: a larger claim is not worth an allocation.
    if (method == 8 && size / 1040 > packed) refuse(name, "entry " + key + " claims too many bytes");
    const std::string stored = bytes.substr(data, packed);
    const std::string content = method == 0 ? stored : inflate_entry(stored, size, name);
    if (key.size() > 4 && key.compare(key.size() - 4, 4, ".npy") == 0) key.resize(key.size() - 4);
    if (content.find("'<f4'") == std::string::npos) continue;
    arrays.emplace(key, parse_npy(content, name + ":" + key));
  }
  return arrays;
}

std::map<std::string, NpyArray> read_npz(const std::string& path) {
  return parse_npz(read_whole(path), path);
}

}  // namespace llm_tp
