#pragma once
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "serve/json_text.h"
#include "serve/request_fields.h"

namespace llm_tp {

/// A JSON object that a client sent. Errors: ApiError 400 for what is not JSON, no object, nested deeper than
/// 64 or with more than 512 keys in one object; `what` names it.
Json parse_body(std::string_view text, const std::string& what = "the body");

/// Reads the fields of one object, each with its type and range, and knows which fields nobody asked for. A
/// null is a field that is not there. Errors of all: ApiError 400 that names the field. Borrows the object.
class BodyReader {
 public:
  /// `place` is put before field names in messages: "stream_options."
  explicit BodyReader(const Json& object, std::string place = {});
  /// The field, or null where it is not there. It counts as asked for.
  const Json* find(const char* name);
  std::optional<bool> boolean(const char* name);
  std::optional<std::int64_t> integer(const IntegerField& field);
  std::optional<double> number(const NumberField& field);
  std::optional<std::string> text(const char* name);
  std::vector<TokenId> token_ids(const char* name);
  /// One text or a list of at most `most`; none of them empty.
  std::vector<std::string> texts(const char* name, std::size_t most);
  /// Fields that may be there and change nothing here.
  void ignore(std::initializer_list<const char*> names);
  /// Fields that only one value leaves without a meaning: refused with another.
  void refuse_unless(const char* name, const Json& harmless, const char* why);
  /// Errors: a field that none of the calls above named.
  void finish() const;
  [[noreturn]] void fail(const std::string& name, const std::string& message) const;

 private:
  const Json& object_;
  std::string place_;
  std::set<std::string, std::less<>> known_;
};

/// A list of token ids. Errors: ApiError 400 with `name`.
std::vector<TokenId> token_ids_of(const Json& list, const std::string& name);

}  // namespace llm_tp
