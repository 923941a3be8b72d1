#include "commands/npy_writer.h"

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace llm_tp {

NpyWriter::NpyWriter(const std::string& path, std::int64_t rows, std::int64_t columns)
    : path_(path), file_(std::fopen(path.c_str(), "wb")), rows_left_(rows), columns_(columns) {
  if (!file_) throw Error(ExitCode::kIoError, path + ": cannot be written: " + std::strerror(errno));
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                       std::to_string(columns) + "), }";
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  const auto length = static_cast<std::uint16_t>(header.size());
  write("\x93NUMPY\x01\x00", 8);
  write(&length, 2);
  write(header.data(), header.size());
}

void NpyWriter::row(std::span<const float> values) {
  LLM_TP_CHECK(static_cast<std::int64_t>(values.size()) == columns_ && rows_left_-- > 0,
               "a row that the .npy file has no place for");
  write(values.data(), values.size_bytes());
}

void NpyWriter::close() {
  LLM_TP_CHECK(rows_left_ == 0, "rows of the .npy file are missing");
  if (std::fclose(file_.release()) != 0)
    throw Error(ExitCode::kIoError, path_ + ": cannot be written: " + std::strerror(errno));
}

void NpyWriter::write(const void* data, std::size_t bytes) {
  if (std::fwrite(data, 1, bytes, file_.get()) != bytes)
    throw Error(ExitCode::kIoError, path_ + ": cannot be written: " + std::strerror(errno));
}

}  // namespace llm_tp
