#pragma once
#include <map>
#include <set>
#include <string>

namespace llm_tp::emulator {

/// Names of all `__global__` functions in the .cu files of a folder.
std::set<std::string> kernels_of_sources(const std::string& folder);

/// Every instantiation of these kernels in this program, by its name with template arguments as in
/// "attend_kernel<64>", and where it is. Read from the program's own symbol table, so kernels that nothing
/// launches are there as well. Errors: std::runtime_error where the table was stripped.
std::map<std::string, const void*> kernels_of_program(const std::set<std::string>& kernels);

}  // namespace llm_tp::emulator
