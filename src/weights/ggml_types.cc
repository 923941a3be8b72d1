#include "weights/ggml_types.h"

#include <algorithm>
#include <array>

namespace llm_tp {
namespace {

constexpr std::array<GgmlType, 32> kGgmlTypes{
    {{0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},      {3, "Q4_1", 32, 20},
     {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},      {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},
     {10, "Q2_K", 256, 84},    {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
     {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66}, {17, "IQ2_XS", 256, 74},
     {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},   {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},
     {22, "IQ2_S", 256, 82},   {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
     {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},        {29, "IQ1_M", 256, 56},
     {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},   {35, "TQ2_0", 256, 66},   {39, "MXFP4", 32, 17}}};

}  // namespace

const GgmlType* ggml_type(std::uint32_t number) noexcept {
  const auto* at = std::find_if(kGgmlTypes.begin(), kGgmlTypes.end(),
                                [&](const GgmlType& t) { return t.number == number; });
  return at == kGgmlTypes.end() ? nullptr : at;
}

std::string ggml_type_name(std::uint32_t type) {
  const GgmlType* known = ggml_type(type);
  return known ? std::string(known->name) : "type " + std::to_string(type);
}

std::optional<DType> dtype_of_ggml(std::uint32_t type) noexcept {
  struct Computed {
    std::uint32_t number;
    DType dtype;
  };
  constexpr std::array<Computed, 16> kComputed{{{0, DType::kF32},
                                                {1, DType::kF16},
                                                {2, DType::kQ4_0},
                                                {3, DType::kQ4_1},
                                                {6, DType::kQ5_0},
                                                {7, DType::kQ5_1},
                                                {8, DType::kQ8_0},
                                                {10, DType::kQ2K},
                                                {11, DType::kQ3K},
                                                {12, DType::kQ4K},
                                                {13, DType::kQ5K},
                                                {14, DType::kQ6K},
                                                {20, DType::kIQ4NL},
                                                {23, DType::kIQ4XS},
                                                {30, DType::kBF16},
                                                {39, DType::kMXFP4}}};
  for (const Computed& c : kComputed)
    if (c.number == type) return c.dtype;
  return std::nullopt;
}

}  // namespace llm_tp
