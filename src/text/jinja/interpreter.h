#pragma once
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "text/jinja/syntax.h"

namespace llm_tp::jinja {

/// Names and their values; a name that is not here is looked up in the parent.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> outer)
      : parent(std::move(outer)), depth(parent ? parent->depth + 1 : 0) {}
  const Value* find(const std::string& name) const;

  std::shared_ptr<Scope> parent;
  int depth;  // scopes above
  std::unordered_map<std::string, Value> variables;
};
using ScopePointer = std::shared_ptr<Scope>;

/// Runs one template once. Not shared between threads.
///
/// A template is a file of a model, so it may be hostile: output, memory, loop iterations, depth and work are
/// capped. A template at its limits has run for a second or two.
class Interpreter {
 public:
  /// What templates may use up.
  static constexpr std::size_t kMaxOutput = std::size_t{64} << 20;
  static constexpr std::int64_t kMaxIterations = 1'000'000;
  static constexpr std::int64_t kMaxWork = 20'000'000;
  static constexpr std::size_t kMaxMemory = std::size_t{256} << 20;  // of the values alive at once
  static constexpr int kMaxDepth = 1000;

  Interpreter() = default;
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;
  ~Interpreter();

  /// The thread's MemoryBudget, where it has one, must outlive the variables. Errors: kBadData with line and
  /// column.
  std::string render(const Body& body, std::unordered_map<std::string, Value> variables);

  /// Counts work; a unit takes some 60 ns. Errors: Failure where a template does too much.
  void charge(std::int64_t units);
  /// The work of an operation that goes through `value`, and may search it for its arguments.
  void charge_for(const Value& value, const Arguments& arguments);
  /// The work of making `value` from parts.
  void charge_for_copy(const Value& value);

  /// Counts how deep evaluation has gone while it lives. Errors: Failure beyond kMaxDepth.
  class Depth {
   public:
    explicit Depth(Interpreter& interpreter);
    ~Depth() { --interpreter_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    Interpreter& interpreter_;
  };

 private:
  enum class Flow { kNext, kBreak, kContinue };

  Flow run(const Body& body, const ScopePointer& scope);
  Flow run(const Statement& statement, const ScopePointer& scope);
  Flow run_statement(const Statement& statement, const ScopePointer& scope);
  Flow run_if(const Statement& statement, const ScopePointer& scope);
  Flow run_for(const Statement& statement, const ScopePointer& scope);
  void run_set_block(const Statement& statement, const ScopePointer& scope);
  void define_macro(const Statement& statement, const ScopePointer& scope);
  Value call_macro(const Statement& macro, const ScopePointer& scope, const Arguments& arguments);
  void assign(const Target& target, Value value, const ScopePointer& scope);
  void print(std::string_view text);
  /// What the body prints.
  std::string captured(const Body& body, const ScopePointer& scope);

  Value evaluate(const Expression& expression, const ScopePointer& scope);
  Value evaluate_node(const Expression& expression, const ScopePointer& scope);
  Value compare(const Expression& expression, const ScopePointer& scope);
  Value call(const Expression& expression, const ScopePointer& scope);
  Value filter(const Expression& expression, const Value& value, const ScopePointer& scope);
  Arguments arguments_of(const Expression& expression, const ScopePointer& scope);
  std::vector<Value> values_of(const std::vector<ExpressionPointer>& parts, const ScopePointer& scope);

  std::string* out_ = nullptr;
  std::int64_t iterations_ = 0, work_ = 0;
  int depth_ = 0;
  std::vector<std::weak_ptr<Scope>> macro_scopes_;  // each holds its macros, which hold the scope
};

}  // namespace llm_tp::jinja
