#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp {

/// What this project reads and writes of sentencepiece's ModelProto (sentencepiece_model.proto, protobuf wire
/// format).
struct SentencePieceModel {
  enum class Type : std::uint8_t {
    kNormal = 1,
    kUnknown = 2,
    kControl = 3,
    kUserDefined = 4,
    kUnused = 5,
    kByte = 6
  };
  struct Piece {
    std::string text;
    float score = 0;
    Type type = Type::kNormal;
  };
  std::vector<Piece> pieces;  // by id
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
};

/// Errors: kBadData for bytes that are no ModelProto.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes);
/// A BPE model with byte fallback where all 256 byte pieces are there, identity normalisation, spaces
/// escaped.
std::string serialise_sentencepiece_model(const SentencePieceModel& model);
/// The bytes that, put after a model's, switch its dummy prefix off: a later field of a message counts.
std::string without_dummy_prefix();

/// A model with the pieces of these ids (true) made control pieces: the library never finds those in text.
std::string with_control_pieces(std::string_view bytes, const std::vector<bool>& ids);

}  // namespace llm_tp
