#pragma once
#include <optional>
#include <string>
#include <vector>

#include "text/jinja/value.h"

namespace llm_tp::jinja {

/// The variable `loop` of one for loop, and its place in the items.
class Loop : public Namespace {
 public:
  explicit Loop(std::vector<Value> items) : items_(std::move(items)) {}
  bool has_item() const { return at_ < items_.size(); }
  const Value& item() const { return items_[at_]; }
  void advance() { ++at_; }

  Value attribute(const std::string& name) const override;
  void set(const std::string& name, Value value) override;

 private:
  Value cycle() const;

  std::vector<Value> items_;
  std::size_t at_ = 0;
};

}  // namespace llm_tp::jinja
