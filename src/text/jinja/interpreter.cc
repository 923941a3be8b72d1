#include "text/jinja/interpreter.h"

#include <algorithm>

#include "base/error.h"
#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/loop.h"
#include "text/jinja/memory_budget.h"

namespace llm_tp::jinja {
namespace {

// What one unit of work pays for: each takes about as long as to evaluate a small expression.
constexpr std::int64_t kWalkedBytes = 8, kCopiedBytes = 512, kComparedBytes = 64, kSearchedScopes = 4;

std::int64_t size_of(const std::string& text) { return static_cast<std::int64_t>(text.size()); }

}  // namespace

const Value* Scope::find(const std::string& name) const {
  for (const Scope* scope = this; scope; scope = scope->parent.get()) {
    const auto found = scope->variables.find(name);
    if (found != scope->variables.end()) return &found->second;
  }
  return nullptr;
}

Interpreter::~Interpreter() {
  for (const std::weak_ptr<Scope>& held : macro_scopes_) {
    if (const ScopePointer scope = held.lock()) scope->variables.clear();
  }
}

Interpreter::Depth::Depth(Interpreter& interpreter) : interpreter_(interpreter) {
  if (interpreter.depth_ >= kMaxDepth)
    throw Failure("calls and blocks nest deeper than " + std::to_string(kMaxDepth) + " levels");
  ++interpreter.depth_;
}

std::string Interpreter::render(const Body& body, std::unordered_map<std::string, Value> variables) {
  std::string out;
  out_ = &out;
  const auto context = std::make_shared<Scope>(nullptr);
  context->variables = std::move(variables);
  run(body, std::make_shared<Scope>(context));
  return out;
}

void Interpreter::charge(std::int64_t units) {
  work_ += units;
  if (work_ > kMaxWork) throw Failure("the template does too much work");
}

void Interpreter::charge_for(const Value& value, const Arguments& arguments) {
  std::int64_t weight = value.weight();
  for (const Value& argument : arguments.positional) weight = std::max(weight, argument.weight());
  charge(1 + weight / kWalkedBytes);
  if (!value.is_text() || arguments.positional.empty() || !arguments.positional[0].is_text()) return;
  // A search may compare the whole needle at every place.
  charge(size_of(value.text()) / kComparedBytes * (size_of(arguments.positional[0].text()) / kComparedBytes));
}

void Interpreter::charge_for_copy(const Value& value) { charge(1 + value.weight() / kCopiedBytes); }

void Interpreter::print(std::string_view text) {
  if (out_->size() + text.size() > kMaxOutput) throw Failure("the template prints more than 64 MiB");
  *out_ += text;
}

std::string Interpreter::captured(const Body& body, const ScopePointer& scope) {
  std::string inner;
  std::string* const outer = std::exchange(out_, &inner);
  run(body, scope);
  out_ = outer;
  charge(size_of(inner) / kCopiedBytes);
  return inner;
}

Interpreter::Flow Interpreter::run(const Body& body, const ScopePointer& scope) {
  for (const Statement& statement : body) {
    if (const Flow flow = run(statement, scope); flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run(const Statement& statement, const ScopePointer& scope) {
  try {
    const Depth depth(*this);
    charge(1);
    return run_statement(statement, scope);
  } catch (const Failure& failure) {
    fail_at(statement.at, failure.what());
  }
}

Interpreter::Flow Interpreter::run_statement(const Statement& statement, const ScopePointer& scope) {
  switch (statement.kind) {
    case Statement::Kind::kText:
      print(statement.text);
      break;
    case Statement::Kind::kPrint:
      print(to_text(evaluate(*statement.value, scope)));
      break;
    case Statement::Kind::kIf:
      return run_if(statement, scope);
    case Statement::Kind::kFor:
      return run_for(statement, scope);
    case Statement::Kind::kSet:
      assign(statement.target, evaluate(*statement.value, scope), scope);
      break;
    case Statement::Kind::kSetBlock:
      run_set_block(statement, scope);
      break;
    case Statement::Kind::kMacro:
      define_macro(statement, scope);
      break;
    case Statement::Kind::kBlock:
      return run(statement.body, std::make_shared<Scope>(scope));
    case Statement::Kind::kBreak:
      return Flow::kBreak;
    case Statement::Kind::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_if(const Statement& statement, const ScopePointer& scope) {
  for (const Statement::Branch& branch : statement.branches) {
    if (!branch.condition || evaluate(*branch.condition, scope).truth()) return run(branch.body, scope);
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::run_for(const Statement& statement, const ScopePointer& scope) {
  std::vector<Value> items = elements(evaluate(*statement.value, scope));
  charge(static_cast<std::int64_t>(items.size()));
  if (statement.condition) {
    const auto goes = [&](const Value& item) {
      const auto inner = std::make_shared<Scope>(scope);
      assign(statement.target, item, inner);
      return !evaluate(*statement.condition, inner).truth();
    };
    items.erase(std::remove_if(items.begin(), items.end(), goes), items.end());
  }
  // As Jinja2: the else branch is for loops of which no iteration reached its end.
  bool has_ended_one = false;
  const MemoryBudget::Part held(items.capacity() * sizeof(Value));
  const auto loop = std::make_shared<Loop>(std::move(items));
  for (; loop->has_item(); loop->advance()) {
    if (++iterations_ > kMaxIterations)
      throw Failure("loops of more than " + std::to_string(kMaxIterations) + " iterations");
    const auto inner = std::make_shared<Scope>(scope);
    inner->variables["loop"] = std::shared_ptr<Namespace>(loop);
    assign(statement.target, loop->item(), inner);
    const Flow flow = run(statement.body, inner);
    if (flow == Flow::kBreak) break;
    has_ended_one = has_ended_one || flow == Flow::kNext;
  }
  return has_ended_one ? Flow::kNext : run(statement.otherwise, std::make_shared<Scope>(scope));
}

void Interpreter::run_set_block(const Statement& statement, const ScopePointer& scope) {
  Value value = captured(statement.body, std::make_shared<Scope>(scope));
  // The innermost filter of the chain has no value of its own: the block's text goes in there.
  std::vector<const Expression*> chain;
  for (const Expression* node = statement.value.get(); node; node = node->parts[0].get())
    chain.push_back(node);
  for (auto node = chain.rbegin(); node != chain.rend(); ++node) value = filter(**node, value, scope);
  assign(statement.target, std::move(value), scope);
}

void Interpreter::define_macro(const Statement& statement, const ScopePointer& scope) {
  if (std::none_of(macro_scopes_.begin(), macro_scopes_.end(),
                   [&scope](const std::weak_ptr<Scope>& held) { return held.lock() == scope; })) {
    charge(static_cast<std::int64_t>(macro_scopes_.size()));
    macro_scopes_.push_back(scope);
  }
  const auto call = [macro = &statement, scope](Interpreter& interpreter, const Arguments& arguments) {
    return interpreter.call_macro(*macro, scope, arguments);
  };
  scope->variables[statement.text] = std::make_shared<const Callable>(Callable{statement.text, call});
}

Value Interpreter::call_macro(const Statement& macro, const ScopePointer& scope, const Arguments& arguments) {
  const auto inner = std::make_shared<Scope>(scope);
  if (arguments.positional.size() > macro.parameters.size())
    throw Failure("macro '" + macro.text + "' takes not more than " +
                  std::to_string(macro.parameters.size()) + " argument(s)");
  charge(static_cast<std::int64_t>(macro.parameters.size() * arguments.named.size() / kSearchedScopes));
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    Value value = Undefined{"parameter '" + parameter.name + "' was not provided"};
    const auto named = std::find_if(arguments.named.begin(), arguments.named.end(),
                                    [&](const auto& argument) { return argument.first == parameter.name; });
    if (i < arguments.positional.size()) {
      if (named != arguments.named.end())
        throw Failure("macro '" + macro.text + "' got '" + parameter.name + "' twice");
      value = arguments.positional[i];
    } else if (named != arguments.named.end()) {
      value = named->second;
    } else if (parameter.otherwise) {
      value = evaluate(*parameter.otherwise, inner);
    }
    inner->variables[parameter.name] = std::move(value);
  }
  for (const auto& [name, unused] : arguments.named) {
    if (inner->variables.count(name) == 0)
      throw Failure("macro '" + macro.text + "' takes no argument '" + name + "'");
  }
  return captured(macro.body, inner);
}

void Interpreter::assign(const Target& target, Value value, const ScopePointer& scope) {
  if (target.attribute) {
    const Value* const object = scope->find(target.names[0]);
    Namespace* const space = object ? object->name_space() : nullptr;
    if (!space) throw Failure("cannot assign attribute on non-namespace object '" + target.names[0] + "'");
    space->set(*target.attribute, std::move(value));
    return;
  }
  if (!target.is_tuple) {
    scope->variables[target.names[0]] = std::move(value);
    return;
  }
  std::vector<Value> items = elements(value);
  if (items.size() != target.names.size())
    throw Failure(std::to_string(items.size()) + " values to unpack, " + std::to_string(target.names.size()) +
                  " names");
  for (std::size_t i = 0; i < items.size(); ++i) scope->variables[target.names[i]] = std::move(items[i]);
}

Value Interpreter::evaluate(const Expression& expression, const ScopePointer& scope) {
  try {
    const Depth depth(*this);
    charge(1);
    return evaluate_node(expression, scope);
  } catch (const Failure& failure) {
    fail_at(expression.at, failure.what());
  }
}

Value Interpreter::evaluate_node(const Expression& expression, const ScopePointer& scope) {
  using Kind = Expression::Kind;
  const auto part = [&](std::size_t i) { return evaluate(*expression.parts[i], scope); };
  switch (expression.kind) {
    case Kind::kConstant:
      return expression.constant;
    case Kind::kName: {
      charge(scope->depth / kSearchedScopes);
      if (const Value* found = scope->find(expression.name)) return *found;
      if (Value global = find_global(expression.name); !global.is_undefined()) return global;
      return Undefined{"'" + expression.name + "' is undefined"};
    }
    case Kind::kList:
      return make_list(values_of(expression.parts, scope));
    case Kind::kTuple:
      return make_tuple(values_of(expression.parts, scope));
    case Kind::kDict: {
      Mapping dict;
      for (std::size_t i = 0; i < expression.parts.size(); i += 2) {
        const Value key = part(i);
        charge_for_copy(key);
        dict.set(key, part(i + 1));
      }
      return make_mapping(std::move(dict));
    }
    case Kind::kAttribute:
      return attribute_of(part(0), expression.name);
    case Kind::kSubscript: {
      const Value object = part(0);
      if (object.is_text()) charge_for(object, {});
      const Value index = part(1);
      charge_for_copy(index);
      return item_of(object, index);
    }
    case Kind::kSlice: {
      const Value object = part(0);
      charge_for(object, {});
      Value limits[3];
      const Value* given[3] = {};
      for (std::size_t i = 0; i < 3; ++i) {
        if (!expression.parts[i + 1]) continue;
        limits[i] = part(i + 1);
        given[i] = &limits[i];
      }
      return slice_of(object, given[0], given[1], given[2]);
    }
    case Kind::kCall:
      return call(expression, scope);
    case Kind::kFilter:
      return filter(expression, part(0), scope);
    case Kind::kTest: {
      const Value value = part(0);
      const Arguments arguments = arguments_of(expression, scope);
      const bool walks = expression.name == "lower" || expression.name == "upper";
      if (walks || !arguments.positional.empty()) charge_for(value, arguments);
      return (*find_test(expression.name))(value, arguments);
    }
    case Kind::kUnary: {
      const Value value = part(0);
      return expression.name == "-" ? negated(value) : negated(negated(value));
    }
    case Kind::kNot:
      return !part(0).truth();
    case Kind::kAnd: {
      Value left = part(0);
      return left.truth() ? part(1) : left;
    }
    case Kind::kOr: {
      Value left = part(0);
      return left.truth() ? left : part(1);
    }
    case Kind::kBinary: {
      const Value left = part(0);
      Value result = binary(expression.name, left, part(1));
      charge_for_copy(result);
      return result;
    }
    case Kind::kConcatenate: {
      std::string text;
      for (std::size_t i = 0; i < expression.parts.size(); ++i) {
        text += to_text(part(i));
        check_text_size(text.size());
      }
      charge(size_of(text) / kCopiedBytes);
      return text;
    }
    case Kind::kCompare:
      return compare(expression, scope);
    case Kind::kConditional: {
      if (part(0).truth()) return part(1);
      if (expression.parts[2]) return part(2);
      return Undefined{"the inline if-expression evaluated to false and no else section was defined"};
    }
  }
  return {};
}

Value Interpreter::compare(const Expression& expression, const ScopePointer& scope) {
  Value left = evaluate(*expression.parts[0], scope);
  for (std::size_t i = 0; i < expression.comparisons.size(); ++i) {
    const std::string& sign = expression.comparisons[i];
    Value right = evaluate(*expression.parts[i + 1], scope);
    const bool is_membership = sign == "in" || sign == "not in";
    if (is_membership) {
      charge_for(right, {{left}, {}});
    } else {
      charge(std::min(left.weight(), right.weight()) / kComparedBytes);
    }
    bool holds = false;
    if (is_membership) {
      holds = contains(right, left) == (sign == "in");
    } else if (sign == "==" || sign == "!=") {
      holds = equal(left, right) == (sign == "==");
    } else {
      const bool is_less = sign[0] == '<';
      holds = is_less ? less(left, right) : less(right, left);
      if (sign.size() == 2) holds = holds || equal(left, right);
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

Value Interpreter::call(const Expression& expression, const ScopePointer& scope) {
  const Value function = evaluate(*expression.parts[0], scope);
  if (function.is_undefined()) throw Failure(function.undefined_sentence());
  if (!function.callable()) throw Failure("'" + function.type_name() + "' object is not callable");
  const Arguments arguments = arguments_of(expression, scope);
  return function.callable()->call(*this, arguments);
}

Value Interpreter::filter(const Expression& expression, const Value& value, const ScopePointer& scope) {
  const Arguments arguments = arguments_of(expression, scope);
  charge_for(value, arguments);
  if (value.is_text() && splits_texts(expression.name)) charge(size_of(value.text()));
  return find_filter(expression.name)(*this, value, arguments);
}

Arguments Interpreter::arguments_of(const Expression& expression, const ScopePointer& scope) {
  Arguments arguments;
  for (std::size_t i = 1; i < expression.parts.size(); ++i)
    arguments.positional.push_back(evaluate(*expression.parts[i], scope));
  for (const auto& [name, value] : expression.named)
    arguments.named.emplace_back(name, evaluate(*value, scope));
  return arguments;
}

std::vector<Value> Interpreter::values_of(const std::vector<ExpressionPointer>& parts,
                                          const ScopePointer& scope) {
  std::vector<Value> values;
  for (const ExpressionPointer& part : parts) values.push_back(evaluate(*part, scope));
  return values;
}

}  // namespace llm_tp::jinja
