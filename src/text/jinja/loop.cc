#include "text/jinja/loop.h"

namespace llm_tp::jinja {

Value Loop::attribute(const std::string& name) const {
  const auto index = static_cast<std::int64_t>(at_);
  const auto size = static_cast<std::int64_t>(items_.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return size - index;
  if (name == "revindex0") return size - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index == size - 1;
  if (name == "length") return size;
  if (name == "previtem") return at_ > 0 ? items_[at_ - 1] : Undefined{"there is no previous item"};
  if (name == "nextitem")
    return at_ + 1 < items_.size() ? items_[at_ + 1] : Undefined{"there is no next item"};
  if (name == "cycle") return cycle();
  throw Failure("loop." + name + " is not supported");
}

Value Loop::cycle() const {
  const auto call = [at = at_](Interpreter&, const Arguments& arguments) {
    if (arguments.positional.empty()) throw Failure("no items for cycling given");
    return arguments.positional[at % arguments.positional.size()];
  };
  return std::make_shared<const Callable>(Callable{"cycle", call});
}

void Loop::set(const std::string&, Value) {
  throw Failure("cannot assign attribute on non-namespace object 'loop'");
}

}  // namespace llm_tp::jinja
