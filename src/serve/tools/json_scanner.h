#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp {

/// Whether bytes are a JSON object (RFC 8259), one byte at a time, and what each byte belongs to. Bytes
/// inside strings are not checked to be UTF-8.
class JsonScanner {
 public:
  enum class Step { kGoesOn, kWhole, kBroken };
  /// Of the outermost object: one of its keys with the quotation marks, one of its values with all that is
  /// inside, or what stands between them (braces, colons, commas, blanks).
  enum class Part { kBetween, kKey, kValue };

  /// kWhole: this byte is the object's last brace. After kWhole or kBroken nothing more may be pushed.
  Step push(char byte);
  /// What the last byte belonged to.
  Part part() const noexcept { return part_; }

  static constexpr std::size_t kDeepest = 64;  // open brackets; one more is kBroken

 private:
  enum class At {
    kStart,           // wanted: {
    kFirstKey,        // a key or }
    kKey,             // a key
    kColon,           // :
    kFirstItem,       // a value or ]
    kValue,           // a value
    kAfter,           // a comma or a closing bracket
    kString,          // inside a string
    kEscape,          // behind a backslash
    kHex,             // inside \uXXXX
    kMinus,           // digits must follow
    kZero,            // a leading 0
    kInteger,         // digits
    kPoint,           // a digit must follow
    kFraction,        // digits
    kExponent,        // a sign or a digit must follow
    kExponentSign,    // a digit must follow
    kExponentDigits,  // digits
    kLiteral          // the rest of true, false or null
  };
  bool take(char byte);
  bool begin_value(char byte);
  bool close(char byte);
  bool after_value(char byte);
  bool inside_scalar() const noexcept;

  At at_ = At::kStart;
  Part part_ = Part::kBetween;
  std::string open_;     // brackets that are open, outermost first
  bool is_key_ = false;  // the string is a key
  int hex_digits_ = 0;
  std::string_view rest_;  // of a literal
};

}  // namespace llm_tp
