#include "emulator/kernel_symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <regex>
#include <stdexcept>

namespace llm_tp::emulator {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What the loader added to the addresses of this program's file.
std::uintptr_t load_address() {
  std::uintptr_t base = 0;
  // The program itself comes first.
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* out) {
        *static_cast<std::uintptr_t*>(out) = info->dlpi_addr;
        return 1;
      },
      &base);
  return base;
}

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                                         &std::free);
  return status == 0 ? text.get() : "";
}

/// "void ns::kernel<64>(Arguments)" -> "kernel<64>"; empty for what only mentions a kernel: its variables,
/// lambdas, the compiler's clones.
std::string kernel_named_by(const std::string& symbol, const std::set<std::string>& kernels) {
  std::size_t begin = 0, end = 0;  // of the name, which the parenthesis of the parameters follows
  int depth = 0;
  const std::string anonymous = "(anonymous namespace)::";
  for (; end < symbol.size(); ++end) {
    const char c = symbol[end];
    if (depth == 0 && symbol.compare(end, anonymous.size(), anonymous) == 0) {
      end += anonymous.size() - 1;
      begin = end + 1;
    } else if (c == '<') {
      ++depth;
    } else if (c == '>') {
      --depth;
    } else if (depth == 0 && (c == ' ' || c == ':')) {
      begin = end + 1;
    } else if (depth == 0 && c == '(') {
      break;
    }
  }
  const std::string name = symbol.substr(begin, end - begin);
  if (kernels.count(name.substr(0, name.find('<'))) == 0) return {};
  std::size_t closing = end;
  for (depth = 0; closing < symbol.size(); ++closing) {
    if (symbol[closing] == '(') ++depth;
    if (symbol[closing] == ')' && --depth == 0) break;
  }
  return closing + 1 == symbol.size() ? name : std::string();
}

}  // namespace

std::set<std::string> kernels_of_sources(const std::string& folder) {
  std::set<std::string> names;
  const std::regex kernel("__global__\\s+void\\s+(?:__launch_bounds__\\([^()]*\\)\\s+)?(\\w+)\\s*\\(");
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".cu") continue;
    const std::string text = text_of(entry.path());
    for (std::sregex_iterator found(text.begin(), text.end(), kernel), end; found != end; ++found)
      names.insert((*found)[1]);
  }
  return names;
}

std::map<std::string, const void*> kernels_of_program(const std::set<std::string>& kernels) {
  const std::string file = text_of("/proc/self/exe");
  const auto at = [&file](std::size_t offset, auto& out) {
    if (offset + sizeof out > file.size()) throw std::runtime_error("/proc/self/exe ends too early");
    std::memcpy(&out, file.data() + offset, sizeof out);
  };
  const std::uintptr_t base = load_address();
  std::map<std::string, const void*> found;
  Elf64_Ehdr header;
  at(0, header);
  for (std::size_t s = 0; s < header.e_shnum; ++s) {
    Elf64_Shdr table, names;
    at(header.e_shoff + s * header.e_shentsize, table);
    if (table.sh_type != SHT_SYMTAB) continue;
    at(header.e_shoff + table.sh_link * header.e_shentsize, names);
    for (std::size_t i = 0; i < table.sh_size / sizeof(Elf64_Sym); ++i) {
      Elf64_Sym symbol;
      at(table.sh_offset + i * sizeof symbol, symbol);
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_value == 0) continue;
      const std::string name =
          kernel_named_by(demangled(file.data() + names.sh_offset + symbol.st_name), kernels);
      if (!name.empty()) found[name] = reinterpret_cast<const void*>(base + symbol.st_value);
    }
    return found;
  }
  throw std::runtime_error("this program has no symbol table: link it without -s and do not strip it");
}

}  // namespace llm_tp::emulator
