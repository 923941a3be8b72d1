#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace llm_tp::jinja {

/// What goes wrong inside an operation; the interpreter adds line and column.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Value;
struct Sequence;
struct Mapping;
struct Namespace;
struct Callable;
class Interpreter;

/// The arguments of a call, a filter or a test.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

/// What a name or an attribute gives that is not there. Prints nothing, is false and empty; any other use
/// fails with the sentence.
struct Undefined {
  std::string sentence;
};
struct None {};
/// Errors: Failure for more than kMaxValueWeight bytes, or more than the thread's MemoryBudget has left.
std::shared_ptr<const std::string> shared_text(std::string bytes);
/// UTF-8. `safe`: the filter of that name marked it (Markup in Python).
struct Text {
  std::shared_ptr<const std::string> bytes;
  bool safe = false;
};

/// A Python value as templates see it. Copies share what they hold, and what they hold never changes, except
/// a namespace's attributes. A value nests at most kMaxValueDepth deep and weighs at most kMaxValueWeight, so
/// that going through one ends, however often its parts are shared.
class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(None none) : data_(none) {}
  Value(bool truth) : data_(truth) {}
  Value(std::int64_t number) : data_(number) {}
  Value(double number) : data_(number) {}
  Value(std::string text) : data_(Text{shared_text(std::move(text))}) {}
  Value(std::string_view text) : Value(std::string(text)) {}
  Value(const char* text) : Value(std::string(text)) {}
  Value(Text text) : data_(std::move(text)) {}
  Value(std::shared_ptr<const Sequence> sequence) : data_(std::move(sequence)) {}
  Value(std::shared_ptr<const Mapping> mapping) : data_(std::move(mapping)) {}
  Value(std::shared_ptr<Namespace> space) : data_(std::move(space)) {}
  Value(std::shared_ptr<const Callable> callable) : data_(std::move(callable)) {}

  bool is_undefined() const { return holds<Undefined>(); }
  bool is_none() const { return holds<None>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_integer() const { return holds<std::int64_t>(); }  // a bool is none here
  bool is_float() const { return holds<double>(); }
  bool is_number() const { return is_bool() || is_integer() || is_float(); }
  bool is_text() const { return holds<Text>(); }

  const std::string& text() const { return *std::get<Text>(data_).bytes; }
  bool is_safe_text() const { return is_text() && std::get<Text>(data_).safe; }
  double number() const;  // of a number of any kind
  bool boolean() const { return std::get<bool>(data_); }
  const std::string& undefined_sentence() const { return std::get<Undefined>(data_).sentence; }
  /// Null where it is something else.
  const Sequence* sequence() const { return held<Sequence>(); }
  const Mapping* mapping() const { return held<Mapping>(); }
  const Callable* callable() const { return held<Callable>(); }
  Namespace* name_space() const {
    const auto* space = std::get_if<std::shared_ptr<Namespace>>(&data_);
    return space ? space->get() : nullptr;
  }

  bool truth() const;
  /// An index or a count: an integer or a bool. Errors: Failure for another type, naming `what`.
  std::int64_t integer(const char* what) const;
  const std::string& require_text(const char* what) const;
  /// Python's name of the type, for messages.
  std::string type_name() const;
  /// What going through all of it costs: bytes of text, and kItemWeight an item, shared parts each time.
  std::int64_t weight() const;

 private:
  template <typename T>
  bool holds() const {
    return std::holds_alternative<T>(data_);
  }
  template <typename T>
  const T* held() const {
    const auto* pointer = std::get_if<std::shared_ptr<const T>>(&data_);
    return pointer ? pointer->get() : nullptr;
  }
  std::variant<Undefined, None, bool, std::int64_t, double, Text, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Mapping>, std::shared_ptr<Namespace>, std::shared_ptr<const Callable>>
      data_;
};

inline constexpr int kMaxValueDepth = 200;
inline constexpr std::int64_t kItemWeight = 64;
inline constexpr std::int64_t kMaxValueWeight = std::int64_t{1} << 26;

/// Asked while a text grows that no other limit holds. Errors: Failure beyond kMaxValueWeight.
void check_text_size(std::size_t bytes);

struct Sequence {
  /// kLazy: what Python gives as a generator: true even when empty, without length or index.
  /// kView: dict.items() and the like: a length, but no index.
  enum class Kind : std::uint8_t { kList, kTuple, kLazy, kView };
  Kind kind;
  std::vector<Value> items;
  int depth;
  std::int64_t weight;
};

/// A dict, in order of insertion.
struct Mapping {
  std::vector<std::pair<Value, Value>> items;
  std::unordered_map<std::string, std::size_t> places;  // by hash_key()
  int depth = 1;
  std::int64_t weight = kItemWeight;

  /// Null where the key is not there or cannot be one.
  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const { return find(Value(key)); }
  /// Adds or replaces. Errors: Failure for a key that Python cannot hash.
  void set(const Value& key, Value value);
};

/// What has attributes of its own: namespace(), whose attributes `set` changes, and loop. Never inside
/// another value, so that no cycle can form.
struct Namespace {
  Namespace() = default;
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;
  virtual ~Namespace() = default;
  /// Undefined where there is none of that name.
  virtual Value attribute(const std::string& name) const = 0;
  virtual void set(const std::string& name, Value value) = 0;
};

struct Callable {
  std::string name;
  std::function<Value(Interpreter&, const Arguments&)> call;
};

Value make_sequence(Sequence::Kind kind, std::vector<Value> items);
Value make_list(std::vector<Value> items);
Value make_tuple(std::vector<Value> items);
Value make_mapping(Mapping mapping);

/// Python's ==, <  and `in`. less() fails for types that have no order, contains() for what holds nothing.
bool equal(const Value& a, const Value& b);
bool less(const Value& a, const Value& b);
bool contains(const Value& container, const Value& item);
/// What a for loop goes through: items, keys, code points. Errors: Failure for what Python cannot iterate.
std::vector<Value> elements(const Value& value);
std::int64_t length(const Value& value);
/// Undefined, with Jinja2's sentence.
Value missing_attribute(const Value& object, const std::string& name);

std::int64_t count_points(std::string_view text);
/// Where the code point of this index begins; the end for an index at or behind it.
std::size_t byte_of_point(std::string_view text, std::int64_t index);

}  // namespace llm_tp::jinja
