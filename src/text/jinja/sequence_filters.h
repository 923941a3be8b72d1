#pragma once
#include <string_view>

#include "text/jinja/builtins.h"

namespace llm_tp::jinja {

/// The filters over lists and dicts. Null where there is none of that name.
Filter find_sequence_filter(std::string_view name);

}  // namespace llm_tp::jinja
