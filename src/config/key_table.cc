#include "config/key_table.h"

#include <algorithm>
#include <array>
#include <utility>

#include "config/key_makers.h"
#include "config/parse_value.h"

namespace llm_tp {
namespace {

using namespace keys;

constexpr std::array<const char*, 5> kSections{"generation", "bench", "embed", "batch", "serve"};

/// kv_memory: bytes, or "auto" for an empty member.
KeyInfo memory_key(Label label) {
  KeyInfo key =
      labelled(std::move(label), KeyType::kBytes, "auto, or a size with KiB, MiB or GiB up to 1048576GiB");
  key.get = [](const EngineConfig& config) -> KeyValue {
    return config.kv_memory ? bytes_text(*config.kv_memory) : std::string("auto");
  };
  key.set = [](EngineConfig& config, Items items) -> std::optional<Refusal> {
    if (items.size() != 1) return Refusal{0, "give one value"};
    if (items[0] == "auto") {
      config.kv_memory.reset();
      return std::nullopt;
    }
    const Parsed<std::int64_t> bytes = parse_bytes(items[0]);
    if (!bytes.value) return Refusal{0, bytes.hint};
    config.kv_memory = bytes.value;
    return std::nullopt;
  };
  return key;
}

/// threads: a number, or "auto" for 0, so that a wrong 0 is no silent "auto".
KeyInfo threads_key(Label label) {
  KeyInfo key = labelled(std::move(label), KeyType::kInteger, "auto, or a whole number, 1 to 1024");
  key.get = [](const EngineConfig& config) -> KeyValue {
    if (config.threads == 0) return std::string("auto");
    return std::int64_t{config.threads};
  };
  key.set = [](EngineConfig& config, Items items) -> std::optional<Refusal> {
    if (items.size() != 1) return Refusal{0, "give one value"};
    const Parsed<std::int64_t> count =
        items[0] == "auto" ? Parsed<std::int64_t>{0, {}} : parse_integer(items[0], 1, 1024);
    if (!count.value) return Refusal{0, count.hint};
    config.threads = static_cast<int>(*count.value);
    return std::nullopt;
  };
  return key;
}

void add_engine_keys(std::vector<KeyInfo>& keys) {
  Choices<std::string> commands;
  for (const char* name : {"generate", "score", "embed", "tokenize", "inspect", "bench", "batch", "serve",
                           "chat", "loadtest", "doctor", "version"})
    commands.emplace_back(name, name);
  keys.push_back(
      choice_key<std::string>({"command", "", "", "What runs where the command line names no command."},
                              commands, LLM_TP_FIELD(command)));
  keys.push_back(
      text_key({"model", "--model", "", "The model: a Hugging Face folder, one .gguf file, or dummy:PATH."},
               "a path", LLM_TP_FIELD(model)));
  keys.push_back(with_list(
      labelled({"adapter", "--adapter", "", "LoRA adapters (PEFT folders) that requests may use by name."},
               KeyType::kTextList, "a list of NAME=FOLDER"),
      LLM_TP_FIELD(adapters), [](const std::string& text) {
        const std::size_t at = text.find('=');
        const bool good = at != std::string::npos && at > 0 && at + 1 < text.size();
        return good ? Parsed<std::string>{text, {}} : Parsed<std::string>{{}, "as in poet=adapters/poet"};
      }));
  keys.push_back(text_key({"merge_adapter", "--merge-adapter", "",
                           "The adapter that becomes part of the weights while they are loaded."},
                          "a name of adapter", LLM_TP_FIELD(merge_adapter)));
  keys.push_back(choice_key<DeviceChoice>(
      {"device", "--device", "", "Where the ranks compute; auto takes GPUs where every rank has one."},
      {{"auto", DeviceChoice::kAuto}, {"cpu", DeviceChoice::kCpu}, {"cuda", DeviceChoice::kCuda}},
      LLM_TP_FIELD(device)));
  keys.push_back(choice_key<Numerics>({"numerics", "--numerics", "",
                                       "invariant: the same bits for any number of ranks, batch and chunk; "
                                       "fast (GPUs): the same run to run."},
                                      {{"invariant", Numerics::kInvariant}, {"fast", Numerics::kFast}},
                                      LLM_TP_FIELD(numerics)));
  keys.push_back(threads_key({"threads", "--threads", "threads per rank", "CPU threads of each rank."}));
  keys.push_back(integer_key(
      {"max_context", "--max-context", "tokens", "Longest sequence, prompt included; 0 takes the model's."},
      0, kManyTokens, LLM_TP_FIELD(max_context)));
  keys.push_back(
      choice_key<KvDType>({"kv_dtype", "--kv-dtype", "", "How the KV cache stores keys and values."},
                          {{"auto", KvDType::kAuto},
                           {"f32", KvDType::kF32},
                           {"bf16", KvDType::kBF16},
                           {"f16", KvDType::kF16},
                           {"fp8", KvDType::kFp8},
                           {"int8", KvDType::kInt8}},
                          LLM_TP_FIELD(kv_dtype)));
  keys.push_back(choice_key<std::optional<DType>>(
      {"dtype", "--dtype", "", "How weights are stored after load; auto keeps the checkpoint's."},
      {{"auto", std::nullopt},
       {"f32", DType::kF32},
       {"bf16", DType::kBF16},
       {"f16", DType::kF16},
       {"q8_0", DType::kQ8_0},
       {"q4_0", DType::kQ4_0}},
      LLM_TP_FIELD(dtype)));
  keys.push_back(choice_key<Activations>(
      {"activations", "--activations", "",
       "Inputs of products with quantised weights; auto: int8, or f32 where the hidden size is below 512."},
      {{"auto", Activations::kAuto}, {"f32", Activations::kF32}, {"int8", Activations::kInt8}},
      LLM_TP_FIELD(activations)));
  keys.push_back(integer_key(
      {"prefill_chunk", "--prefill-chunk", "tokens per step", "Longest piece of a prompt a step."}, 1, 65536,
      LLM_TP_FIELD(prefill_chunk)));
  keys.push_back(with_value(labelled({"page_tokens", "--page-tokens", "tokens", "Size of a KV page."},
                                     KeyType::kInteger, "a multiple of 16, 16 to 1024"),
                            LLM_TP_FIELD(page_tokens), [](const std::string& text) {
                              auto parsed = parse_integer(text, 16, 1024);
                              // Attention walks keys in groups of 16: a page is made of whole ones.
                              return parsed.value && *parsed.value % 16 != 0 ? Parsed<std::int64_t>{}
                                                                             : parsed;
                            }));
  keys.push_back(memory_key({"kv_memory", "--kv-memory", "bytes per rank",
                             "Memory for the KV cache; auto takes what the weights leave."}));
  keys.push_back(
      choice_key<Communication>({"communication", "--communication", "",
                                 "How CPU ranks exchange sums; auto: shared memory on one host, else MPI."},
                                {{"auto", Communication::kAuto},
                                 {"shared_memory", Communication::kSharedMemory},
                                 {"mpi", Communication::kMpi}},
                                LLM_TP_FIELD(communication)));
  keys.push_back(
      choice_key<GpuCommunication>({"gpu_communication", "--gpu-communication", "",
                                    "How GPU ranks add their partial outputs; auto: by CUDA IPC on one host "
                                    "where GPUs reach each other, large sums "
                                    "and several hosts by NCCL where all have it, else by way of the host."},
                                   {{"auto", GpuCommunication::kAuto},
                                    {"ipc", GpuCommunication::kIpc},
                                    {"nccl", GpuCommunication::kNccl},
                                    {"host", GpuCommunication::kHost}},
                                   LLM_TP_FIELD(gpu_communication)));
  keys.push_back(choice_key<NcclWindows>(
      {"nccl_windows", "--nccl-windows", "",
       "Sums by NCCL through symmetric windows, with the same bits in invariant numerics; on: an error where "
       "that cannot be."},
      {{"auto", NcclWindows::kAuto}, {"on", NcclWindows::kOn}, {"off", NcclWindows::kOff}},
      LLM_TP_FIELD(nccl_windows)));
  keys.push_back(
      choice_key<GpuGraphs>({"gpu_graphs", "--gpu-graphs", "",
                             "Replays steps that come again from CUDA graphs, with the same bits; on: an "
                             "error where that cannot be."},
                            {{"auto", GpuGraphs::kAuto}, {"on", GpuGraphs::kOn}, {"off", GpuGraphs::kOff}},
                            LLM_TP_FIELD(gpu_graphs)));
  keys.push_back(choice_key<GpuProducts>(
      {"gpu_products", "--gpu-products", "",
       "Who multiplies more than 256 tokens on a GPU with numerics fast; auto: cuBLASLt where it is found. "
       "Invariant numerics are always our own."},
      {{"auto", GpuProducts::kAuto}, {"own", GpuProducts::kOwn}, {"cublaslt", GpuProducts::kCublasLt}},
      LLM_TP_FIELD(gpu_products)));
  keys.push_back(
      integer_key({"rank_timeout", "--rank-timeout", "seconds",
                   "A rank that lets others wait longer, also while it loads, ends the group; 0: never."},
                  0, 86400, LLM_TP_FIELD(rank_timeout)));
  keys.push_back(integer_key(
      {"max_batch", "--max-batch", "sequences", "Sequences that batch and serve run at the same time."}, 1,
      65536, LLM_TP_FIELD(max_batch)));
  keys.push_back(text_key(
      {"report", "--report", "", "Where batch and serve write an HTML report of the run; empty: nowhere."},
      "a path", LLM_TP_FIELD(report)));
  keys.push_back(with_list(
      labelled({"shares", "--shares", "", "Weight of each rank's share, for unequal devices; empty: equal."},
               KeyType::kNumberList, range_text("a list of numbers", "0.001", "1000")),
      LLM_TP_FIELD(shares), [](const std::string& text) { return parse_number(text, 0.001, 1000); }));
  keys.push_back(
      bool_key({"expert_parallel", "--expert-parallel", "",
                "Mixtures of experts: whole experts by rank instead of a slice of each on every rank."},
               LLM_TP_FIELD(expert_parallel)));
  keys.push_back(choice_key<ToolFormat>(
      {"tool_format", "--tool-format", "",
       "How the model writes calls of functions (batch, serve); auto: as its chat template does."},
      {{"auto", ToolFormat::kAuto},
       {"hermes", ToolFormat::kHermes},
       {"llama3", ToolFormat::kLlama3},
       {"mistral", ToolFormat::kMistral},
       {"none", ToolFormat::kNone}},
      LLM_TP_FIELD(tool_format)));
  keys.push_back(
      text_key({"served_model_name", "--served-model-name", "",
                "The model's name in requests and answers (batch, serve); empty: its path's last part."},
               "a name", LLM_TP_FIELD(served_model_name)));
  keys.push_back(bool_key(
      {"check_numerics", "--check-numerics", "",
       "Ends at the first result of an op that is not a finite number, and names op and layer; slow."},
      LLM_TP_FIELD(check_numerics)));
  keys.push_back(integer_key(
      {"only_rank", "--only-rank", "rank",
       "One process computes what this rank of a group of `of` ranks would; bench leaves the others out.",
       "none"},
      0, 4095, LLM_TP_FIELD(only_rank)));
  keys.push_back(integer_key({"of", "--of", "ranks", "How many ranks the group of only_rank has.", "none"}, 1,
                             4096, LLM_TP_FIELD(of)));
  keys.push_back(
      choice_key<LogLevel>({"log_level", "--log-level", "", "Least important log line that is printed."},
                           {{"error", LogLevel::kError},
                            {"warning", LogLevel::kWarning},
                            {"info", LogLevel::kInfo},
                            {"debug", LogLevel::kDebug}},
                           LLM_TP_FIELD(log_level)));
}

void add_bench_keys(std::vector<KeyInfo>& keys) {
  keys.push_back(integer_key({"bench.prompt_tokens", "--prompt-tokens", "tokens", "Length of each prompt."},
                             1, kManyTokens, LLM_TP_FIELD(bench.prompt_tokens)));
  keys.push_back(
      integer_key({"bench.decode_tokens", "--decode-tokens", "tokens", "Tokens decoded of each sequence."}, 1,
                  kManyTokens, LLM_TP_FIELD(bench.decode_tokens)));
  keys.push_back(integer_key({"bench.batch", "--batch", "sequences", "Sequences at the same time."}, 1, 65536,
                             LLM_TP_FIELD(bench.batch)));
  keys.push_back(integer_key({"bench.repetitions", "--repetitions", "runs", "Measured runs."}, 1, 1000000,
                             LLM_TP_FIELD(bench.repetitions)));
}

std::string dotted(std::string_view section, std::string_view name) {
  return section.empty() ? std::string(name) : std::string(section) + "." + std::string(name);
}

std::string trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return std::string(text.substr(begin, text.find_last_not_of(' ') - begin + 1));
}

/// The text of each kind of KeyValue.
struct Writer {
  std::string operator()(std::monostate) const { return {}; }
  std::string operator()(bool b) const { return b ? "true" : "false"; }
  std::string operator()(std::int64_t i) const { return std::to_string(i); }
  std::string operator()(double d) const { return number_text(d); }
  std::string operator()(const std::string& s) const { return s; }
  template <class T>
  std::string operator()(const std::vector<T>& list) const {
    std::string out = "[";
    for (const T& item : list) {
      if (out.size() > 1) out += ", ";
      if constexpr (std::is_same_v<T, std::string>) {
        out += in_quotes(item);
      } else {
        out += (*this)(item);
      }
    }
    return out + "]";
  }
};

}  // namespace

std::string KeyInfo::environment_name() const {
  std::string out = "LLM_TP_";
  for (const char c : name)
    out += c == '.' ? '_' : 'a' <= c && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return out;
}

std::span<const KeyInfo> key_table() {
  static const std::vector<KeyInfo> table = [] {
    std::vector<KeyInfo> keys;
    add_engine_keys(keys);
    add_generation_keys(keys);
    add_bench_keys(keys);
    add_embed_keys(keys);
    add_batch_keys(keys);
    add_serve_keys(keys);
    add_loadtest_keys(keys);
    return keys;
  }();
  return table;
}

const KeyInfo* find_key(std::string_view name) {
  for (const KeyInfo& key : key_table())
    if (key.name == name) return &key;
  return nullptr;
}

bool is_section(std::string_view name) {
  return std::find(kSections.begin(), kSections.end(), name) != kSections.end();
}

std::string nearest_key(std::string_view section, std::string_view name) {
  if (name.empty() || name.size() > kLongestName) return {};
  // The right name in the wrong section.
  for (const KeyInfo& key : key_table())
    if (key.name.substr(key.name.find('.') + 1) == name) return key.name;
  const std::string whole = dotted(section, name);
  std::string best;
  int best_distance = std::max(2, static_cast<int>(name.size()) / 3) + 1;
  const auto consider = [&](const std::string& candidate, std::string_view written,
                            std::string_view compared) {
    const int distance = edit_distance(written, compared);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  };
  for (const KeyInfo& key : key_table()) consider(key.name, whole, key.name);
  if (section.empty())
    for (const char* known : kSections) consider(known, name, known);
  return best;
}

std::string unknown_key_message(std::string_view section, std::string_view name) {
  const std::string nearest = nearest_key(section, name);
  return "unknown key " + in_quotes(dotted(section, name)) +
         (nearest.empty() ? "; docs/config.md lists every key"
                          : "; did you mean " + in_quotes(nearest) + "?");
}

Error refused_value(const KeyInfo& key, std::string_view found, const std::string& hint,
                    const Origin& origin) {
  return Error(origin.code(), origin.text + ": " + key.name + ": found " + std::string(found) + ", wanted " +
                                  key.allowed + (key.unit.empty() ? "" : " (" + key.unit + ")") +
                                  (hint.empty() ? "" : "; " + hint));
}

std::vector<std::string> items_of(const KeyInfo& key, std::string_view text) {
  if (!key.is_list() || key.type == KeyType::kTextList) return {std::string(text)};
  std::string list = trimmed(text);
  if (list.size() >= 2 && list.front() == '[' && list.back() == ']')
    list = trimmed(list.substr(1, list.size() - 2));
  std::vector<std::string> items;
  if (list.empty()) return items;
  std::size_t begin = 0;
  for (std::size_t comma = list.find(','); comma != std::string::npos; comma = list.find(',', begin)) {
    items.push_back(trimmed(std::string_view(list).substr(begin, comma - begin)));
    begin = comma + 1;
  }
  items.push_back(trimmed(std::string_view(list).substr(begin)));
  return items;
}

void set_key(EngineConfig& config, std::string_view name, std::string_view text, const Origin& origin) {
  const KeyInfo* key = find_key(name);
  if (key == nullptr) throw Error(origin.code(), origin.text + ": " + unknown_key_message("", name));
  const std::vector<std::string> items = items_of(*key, text);
  if (const std::optional<Refusal> refusal = key->set(config, items))
    throw refused_value(*key, in_quotes(refusal->item < items.size() ? items[refusal->item] : text),
                        refusal->hint, origin);
}

std::string text_of(const KeyValue& value) { return std::visit(Writer{}, value); }

}  // namespace llm_tp
