#include <chrono>
#include <ctime>
#include <map>

#include "text/jinja/argument_reader.h"
#include "text/jinja/builtins.h"
#include "text/jinja/interpreter.h"

namespace llm_tp::jinja {
namespace {

/// namespace(): what a template may change from inside a loop.
class Attributes : public Namespace {
 public:
  explicit Attributes(Mapping attributes) : attributes_(std::move(attributes)) {}
  Value attribute(const std::string& name) const override {
    const Value* const found = attributes_.find(std::string_view(name));
    return found ? *found : Undefined{"namespace has no attribute '" + name + "'"};
  }
  void set(const std::string& name, Value value) override { attributes_.set(name, std::move(value)); }

 private:
  Mapping attributes_;
};

/// dict(…) and namespace(…): of one dict, and of named values.
Mapping mapping_of(Interpreter& interpreter, const Arguments& arguments) {
  Mapping mapping;
  if (arguments.positional.size() > 1) throw Failure("more than one dict");
  if (!arguments.positional.empty()) {
    if (!arguments.positional[0].mapping()) throw Failure("a dict of pairs is not supported");
    interpreter.charge_for(arguments.positional[0], {});
    mapping = *arguments.positional[0].mapping();
  }
  for (const auto& [name, value] : arguments.named) mapping.set(name, value);
  return mapping;
}

Value dict(Interpreter& interpreter, const Arguments& arguments) {
  return make_mapping(mapping_of(interpreter, arguments));
}

Value make_namespace(Interpreter& interpreter, const Arguments& arguments) {
  return std::shared_ptr<Namespace>(std::make_shared<Attributes>(mapping_of(interpreter, arguments)));
}

/// As Jinja2's sandbox limits it.
constexpr std::int64_t kMaxRange = 100'000;

Value range(Interpreter& interpreter, const Arguments& arguments) {
  if (!arguments.named.empty() || arguments.positional.empty() || arguments.positional.size() > 3)
    throw Failure("range() takes 1 to 3 integers");
  const auto limit = [&](std::size_t i) { return arguments.positional[i].integer("a limit of range()"); };
  const bool has_start = arguments.positional.size() > 1;
  const std::int64_t start = has_start ? limit(0) : 0;
  const std::int64_t stop = limit(has_start ? 1 : 0);
  const std::int64_t step = arguments.positional.size() == 3 ? limit(2) : 1;
  if (step == 0) throw Failure("range() arg 3 must not be zero");
  std::vector<Value> items;
  std::int64_t at = start;
  while (step > 0 ? at < stop : at > stop) {
    if (static_cast<std::int64_t>(items.size()) >= kMaxRange)
      throw Failure("Range too big. The sandbox blocks ranges larger than " + std::to_string(kMaxRange) +
                    ".");
    items.emplace_back(at);
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  interpreter.charge(static_cast<std::int64_t>(items.size()));
  return make_list(std::move(items));
}

Value raise_exception(Interpreter&, const Arguments& arguments) {
  ArgumentReader read("raise_exception", arguments);
  const std::string message = read.required("message").require_text("a message");
  read.finish();
  throw Failure(message);
}

Value strftime_now(Interpreter&, const Arguments& arguments) {
  ArgumentReader read("strftime_now", arguments);
  const std::string format = read.required("format").require_text("a format");
  read.finish();
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm local{};
  localtime_r(&now, &local);
  char buffer[1024];
  const std::size_t size = std::strftime(buffer, sizeof buffer, format.c_str(), &local);
  if (size == 0 && !format.empty())
    throw Failure("strftime_now() with a format that gives nothing, or too much");
  return std::string(buffer, size);
}

}  // namespace

Value find_global(const std::string& name) {
  using Call = Value (*)(Interpreter&, const Arguments&);
  static const std::map<std::string_view, Call> table = {{"dict", dict},
                                                         {"namespace", make_namespace},
                                                         {"raise_exception", raise_exception},
                                                         {"range", range},
                                                         {"strftime_now", strftime_now}};
  const auto found = table.find(name);
  if (found == table.end()) return {};
  return std::make_shared<const Callable>(Callable{name, found->second});
}

}  // namespace llm_tp::jinja
