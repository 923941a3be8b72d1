#include "model/rope_config.h"

#include <algorithm>
#include <cmath>

namespace llm_tp {
namespace {

using Kind = RopeSettings::Kind;

Kind kind_from(const ConfigKeys& own) {
  const auto named = own.has("rope_type") ? own.text("rope_type") : own.text("type");
  if (!named && own.has("factor")) own.refuse("the key rope_type is missing beside factor");
  const std::string name = named.value_or("default");
  if (name == "default") return Kind::kPlain;
  if (name == "linear") return Kind::kLinear;
  if (name == "dynamic") return Kind::kDynamic;
  if (name == "yarn") return Kind::kYarn;
  if (name == "llama3") return Kind::kLlama3;
  if (name == "longrope" || name == "su") return Kind::kLongRope;  // Phi-3's first files say su
  own.refuse("rope_type \"" + name +
             "\" is not supported; supported are default, linear, dynamic, yarn, llama3 and longrope");
}

double factor_from(const ConfigKeys& own, double otherwise) {
  const double factor = own.real("factor", otherwise);
  if (!(factor >= 1) || !std::isfinite(factor)) own.refuse("factor must be a number of at least 1");
  return factor;
}

void read_llama3(const ConfigKeys& own, RopeSettings& rope) {
  rope.factor = factor_from(own, 0);
  rope.low_frequency_factor = own.real("low_freq_factor", 0);
  rope.high_frequency_factor = own.real("high_freq_factor", 0);
  rope.original_context = own.real("original_max_position_embeddings", 0);
  if (!(rope.low_frequency_factor > 0) || !(rope.high_frequency_factor > rope.low_frequency_factor) ||
      !(rope.original_context > 0))
    own.refuse(
        "llama3 needs 0 < low_freq_factor < high_freq_factor and original_max_position_embeddings > 0");
}

void read_yarn(const ConfigKeys& own, double context, RopeSettings& rope) {
  rope.original_context = own.real("original_max_position_embeddings", context);
  if (!(rope.original_context > 0)) own.refuse("original_max_position_embeddings must be positive");
  rope.factor = factor_from(own, context / rope.original_context);
  rope.beta_fast = own.real("beta_fast", 32);
  rope.beta_slow = own.real("beta_slow", 1);
  if (!(rope.beta_slow > 0) || !(rope.beta_fast > rope.beta_slow))
    own.refuse("yarn needs 0 < beta_slow < beta_fast");
  if (!own.boolean("truncate", true)) own.refuse("truncate false is not supported");
  const auto growth = [&](double scale) {
    return rope.factor <= 1 ? 1.0 : 0.1 * scale * std::log(rope.factor) + 1;
  };
  const double scale = own.real("mscale", 0), of_all = own.real("mscale_all_dim", 0);
  rope.attention_factor =
      own.real("attention_factor", scale != 0 && of_all != 0 ? growth(scale) / growth(of_all) : growth(1));
}

void read_longrope(const ConfigKeys& keys, const ConfigKeys& own, std::int64_t head_dim, double context,
                   RopeSettings& rope) {
  rope.original_context =
      keys.real("original_max_position_embeddings", own.real("original_max_position_embeddings", 0));
  if (!(rope.original_context > 1)) keys.refuse("original_max_position_embeddings is missing or not above 1");
  rope.divisors = own.reals("short_factor");
  rope.long_divisors = own.reals("long_factor");
  const std::int64_t pairs = (rope.rotary > 0 ? rope.rotary : head_dim) / 2;
  for (const auto* list : {&rope.divisors, &rope.long_divisors}) {
    const char* name = list == &rope.divisors ? "short_factor" : "long_factor";
    if (static_cast<std::int64_t>(list->size()) != pairs)
      own.refuse(std::string(name) + " has " + std::to_string(list->size()) +
                 " numbers, wanted one for each of " + std::to_string(pairs) + " pairs of a head");
    if (!std::all_of(list->begin(), list->end(), [](double d) { return d > 0 && std::isfinite(d); }))
      own.refuse(std::string(name) + " holds a number that is not positive");
  }
  const double growth = context / rope.original_context;
  rope.attention_factor =
      own.real("attention_factor",
               growth <= 1 ? 1.0 : std::sqrt(1 + std::log(growth) / std::log(rope.original_context)));
}

/// rope_parameters holds an object for each kind of layer.
bool by_layer_kind(const ConfigKeys& keys) {
  const ConfigKeys own = keys.object("rope_parameters");
  return own.has("full_attention") || own.has("sliding_attention");
}

ConfigKeys parameters_of(const ConfigKeys& keys, const char* layer_kind) {
  const ConfigKeys own = keys.object("rope_parameters");
  if (!own.has(layer_kind)) own.refuse(std::string("the key ") + layer_kind + " is missing");
  return own.object(layer_kind);
}

/// A number of the config or of its rope_parameters; where both have it they must agree.
double one_place(const ConfigKeys& keys, const ConfigKeys& own, const char* key, double otherwise) {
  const double outer = keys.real(key, otherwise), inner = own.real(key, outer);
  if (keys.has(key) && inner != outer)
    own.refuse(std::string(key) + " is " + std::to_string(inner) + " and " + std::to_string(outer) +
               " beside it: leave one of them");
  return inner;
}

}  // namespace

std::int64_t reach_of(const RopeSettings& rope, std::int64_t context) {
  // The base of dynamic scaling grows on and on, so it has no last position; beyond a few times its factor a
  // model is hardly of use.
  constexpr double kBeyond = 4;
  const double stretched = rope.factor * rope.original_context;
  const double reach = rope.kind == Kind::kDynamic ? kBeyond * stretched
                       : rope.kind == Kind::kYarn  ? stretched
                                                   : 0;
  const std::int64_t most = std::max(context, std::int64_t{1} << 30);
  return reach >= static_cast<double>(most) ? most : std::max(context, static_cast<std::int64_t>(reach));
}

std::optional<double> local_theta_from_config(const ConfigKeys& keys, double theta) {
  if (!by_layer_kind(keys)) return std::nullopt;
  const ConfigKeys own = parameters_of(keys, "sliding_attention");
  if (kind_from(own) != Kind::kPlain)
    own.refuse("rope_type of windowed layers must be default: others are not supported");
  return own.real("rope_theta", theta);
}

RopeSettings rope_from_config(const ConfigKeys& keys, std::int64_t head_dim, std::int64_t context,
                              double theta) {
  RopeSettings rope;
  const bool one_object = keys.has("rope_parameters");
  const ConfigKeys own = by_layer_kind(keys) ? parameters_of(keys, "full_attention")
                                             : keys.object(one_object ? "rope_parameters" : "rope_scaling");
  if (one_object && keys.has("rope_scaling"))
    keys.refuse("rope_parameters and rope_scaling are both there: leave one of them");
  rope.theta = one_place(keys, own, "rope_theta", theta);
  if (const double share = one_place(keys, own, "partial_rotary_factor", 1); share != 1) {
    if (!(share > 0) || share > 1) keys.refuse("partial_rotary_factor must lie above 0 and not above 1");
    rope.rotary = static_cast<std::int64_t>(static_cast<double>(head_dim) * share);
    if (rope.rotary < 2)
      keys.refuse("partial_rotary_factor leaves nothing of a head of " + std::to_string(head_dim));
  }
  rope.kind = kind_from(own);
  switch (rope.kind) {
    case Kind::kPlain:
      break;
    case Kind::kLinear:
      rope.factor = factor_from(own, 0);
      break;
    case Kind::kDynamic:
      rope.factor = factor_from(own, 0);
      rope.original_context = static_cast<double>(context);
      break;
    case Kind::kYarn:
      read_yarn(own, static_cast<double>(context), rope);
      break;
    case Kind::kLlama3:
      read_llama3(own, rope);
      break;
    case Kind::kLongRope:
      read_longrope(keys, own, head_dim, static_cast<double>(context), rope);
      break;
  }
  if (!(rope.attention_factor > 0)) own.refuse("attention_factor must be positive");
  return rope;
}

}  // namespace llm_tp
