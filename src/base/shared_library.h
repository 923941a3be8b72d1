#pragma once
#include <dlfcn.h>
#include <link.h>

#include <initializer_list>
#include <string>

namespace llm_tp {

/// A library that is looked up when it is first needed and stays until the end of the process, so that a
/// program that was built with its header starts on hosts without it.
class SharedLibrary {
 public:
  /// The first of these names or paths that the loader finds; empty ones are passed over.
  explicit SharedLibrary(std::initializer_list<std::string> places) {
    for (const std::string& place : places) {
      if (handle_ != nullptr || place.empty()) continue;
      handle_ = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL);
      origin_ = place;
    }
    link_map* file = nullptr;
    if (handle_ != nullptr && dlinfo(handle_, RTLD_DI_LINKMAP, &file) == 0 && file->l_name[0] != '\0')
      origin_ = file->l_name;
  }
  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// The path of the file; where there is none, the place that was looked at last.
  const std::string& origin() const noexcept { return origin_; }
  /// Points a pointer to a function at the one of this name; null where there is none.
  template <class Call>
  void bind(Call& call, const char* name) const {
    call = reinterpret_cast<Call>(dlsym(handle_, name));
  }

 private:
  void* handle_ = nullptr;
  std::string origin_;
};

}  // namespace llm_tp
