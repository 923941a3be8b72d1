#include "text/sentencepiece_model.h"

#include <cstring>
#include <functional>

#include "base/error.h"

namespace llm_tp {
namespace {

// Field numbers of sentencepiece_model.proto.
constexpr int kModelPieces = 1, kModelTrainer = 2, kModelNormaliser = 3;
constexpr int kPieceText = 1, kPieceScore = 2, kPieceType = 3;
constexpr int kTrainerModelType = 3, kTrainerVocabularySize = 4, kTrainerByteFallback = 35,
              kTrainerUnkId = 40;
constexpr int kNormaliserName = 1, kNormaliserDummyPrefix = 3, kNormaliserRemoveExtra = 4,
              kNormaliserEscape = 5;
constexpr int kWireVarint = 0, kWire64 = 1, kWireBytes = 2, kWire32 = 5;
constexpr std::uint64_t kBpe = 2;

[[noreturn]] void fail() {
  throw Error(
      ExitCode::kBadData,
      "tokenizer.model is no sentencepiece model: its protobuf fields end in the middle or have unknown "
      "wire types; fetch the file again");
}

struct Field {
  int number = 0, wire = 0;
  std::uint64_t value = 0;  // varint, or the bits of a fixed number
  std::string_view bytes;
};

std::uint64_t take_varint(std::string_view& in) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (in.empty()) fail();
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7Fu} << shift;
    if (byte < 0x80) return value;
  }
  fail();
}

void for_each_field(std::string_view in, const std::function<void(const Field&)>& visit) {
  while (!in.empty()) {
    const std::uint64_t tag = take_varint(in);
    Field field;
    field.number = static_cast<int>(tag >> 3 & 0x1FFFFFFF);
    field.wire = static_cast<int>(tag & 7);
    if (field.wire == kWireVarint) {
      field.value = take_varint(in);
    } else {
      std::uint64_t size = 0;
      if (field.wire == kWireBytes)
        size = take_varint(in);
      else if (field.wire == kWire64)
        size = 8;
      else if (field.wire == kWire32)
        size = 4;
      else
        fail();
      if (size > in.size()) fail();
      field.bytes = in.substr(0, size);
      in.remove_prefix(size);
    }
    visit(field);
  }
}

void put_varint(std::string& out, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(0x80 | (value & 0x7F));
  out += static_cast<char>(value);
}

void put_number(std::string& out, int field, std::uint64_t value) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | kWireVarint);
  put_varint(out, value);
}

void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | kWireBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

void put_float(std::string& out, int field, float value) {
  put_varint(out, static_cast<std::uint64_t>(field) << 3 | kWire32);
  const auto bits = __builtin_bit_cast(std::uint32_t, value);
  for (int i = 0; i < 4; ++i) out += static_cast<char>(bits >> (8 * i) & 0xFF);
}

SentencePieceModel::Piece parse_piece(std::string_view bytes) {
  SentencePieceModel::Piece piece;
  for_each_field(bytes, [&](const Field& field) {
    if (field.number == kPieceText && field.wire == kWireBytes) piece.text = field.bytes;
    if (field.number == kPieceScore && field.wire == kWire32) {
      std::uint32_t bits = 0;
      for (int i = 0; i < 4; ++i)
        bits |= std::uint32_t{static_cast<unsigned char>(field.bytes[static_cast<std::size_t>(i)])}
                << (8 * i);
      piece.score = __builtin_bit_cast(float, bits);
    }
    if (field.number == kPieceType && field.wire == kWireVarint) {
      if (field.value < 1 || field.value > 6) fail();
      piece.type = static_cast<SentencePieceModel::Type>(field.value);
    }
  });
  return piece;
}

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes) {
  SentencePieceModel model;
  for_each_field(bytes, [&](const Field& field) {
    if (field.wire != kWireBytes) return;
    if (field.number == kModelPieces) model.pieces.push_back(parse_piece(field.bytes));
    if (field.number != kModelNormaliser) return;
    for_each_field(field.bytes, [&](const Field& inner) {
      if (inner.wire != kWireVarint) return;
      if (inner.number == kNormaliserDummyPrefix) model.add_dummy_prefix = inner.value != 0;
      if (inner.number == kNormaliserRemoveExtra) model.remove_extra_whitespaces = inner.value != 0;
    });
  });
  if (model.pieces.empty()) fail();
  return model;
}

std::string serialise_sentencepiece_model(const SentencePieceModel& model) {
  std::string out;
  std::size_t byte_pieces = 0, unknown = 0;
  for (std::size_t id = 0; id < model.pieces.size(); ++id) {
    const SentencePieceModel::Piece& piece = model.pieces[id];
    std::string message;
    put_bytes(message, kPieceText, piece.text);
    put_float(message, kPieceScore, piece.score);
    put_number(message, kPieceType, static_cast<std::uint64_t>(piece.type));
    put_bytes(out, kModelPieces, message);
    if (piece.type == SentencePieceModel::Type::kByte) ++byte_pieces;
    if (piece.type == SentencePieceModel::Type::kUnknown) unknown = id;
  }
  std::string trainer;
  put_number(trainer, kTrainerModelType, kBpe);
  put_number(trainer, kTrainerVocabularySize, model.pieces.size());
  put_number(trainer, kTrainerByteFallback, byte_pieces == 256 ? 1 : 0);
  put_number(trainer, kTrainerUnkId, unknown);
  put_bytes(out, kModelTrainer, trainer);
  std::string normaliser;
  put_bytes(normaliser, kNormaliserName, "identity");
  put_number(normaliser, kNormaliserDummyPrefix, model.add_dummy_prefix ? 1 : 0);
  put_number(normaliser, kNormaliserRemoveExtra, model.remove_extra_whitespaces ? 1 : 0);
  put_number(normaliser, kNormaliserEscape, 1);
  put_bytes(out, kModelNormaliser, normaliser);
  return out;
}

std::string without_dummy_prefix() {
  std::string normaliser, out;
  put_number(normaliser, kNormaliserDummyPrefix, 0);
  put_bytes(out, kModelNormaliser, normaliser);
  return out;
}

std::string with_control_pieces(std::string_view bytes, const std::vector<bool>& ids) {
  std::string out;
  std::size_t id = 0;
  for_each_field(bytes, [&](const Field& field) {
    if (field.wire != kWireBytes) return;  // every field of the model is a message
    std::string message(field.bytes);
    if (field.number == kModelPieces) {
      // Of a number that stands twice in a message the later counts.
      if (id < ids.size() && ids[id])
        put_number(message, kPieceType, static_cast<std::uint64_t>(SentencePieceModel::Type::kControl));
      ++id;
    }
    put_bytes(out, field.number, message);
  });
  return out;
}

}  // namespace llm_tp
