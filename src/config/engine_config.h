#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/gpu_communication.h"
#include "base/ids.h"
#include "base/log.h"

namespace llm_tp {

enum class DeviceChoice : std::uint8_t { kAuto, kCpu, kCuda };
enum class Numerics : std::uint8_t { kInvariant, kFast };
enum class KvDType : std::uint8_t { kAuto, kF32, kBF16, kF16, kFp8, kInt8 };
enum class Activations : std::uint8_t { kAuto, kF32, kInt8 };
enum class Communication : std::uint8_t { kAuto, kSharedMemory, kMpi };
enum class GpuGraphs : std::uint8_t { kAuto, kOn, kOff };
/// Who multiplies many tokens on a GPU with numerics fast.
enum class GpuProducts : std::uint8_t { kAuto, kOwn, kCublasLt };

/// How calls of functions stand in a model's replies.
enum class ToolFormat : std::uint8_t { kAuto, kHermes, kLlama3, kMistral, kNone };

enum class EarlyStopChoice : std::uint8_t { kFalse, kTrue, kNever };
enum class PoolingChoice : std::uint8_t { kMean, kLast };
enum class SpeculativeChoice : std::uint8_t { kNone, kDraft, kNgram, kLookahead };

/// Section `generation`. A value that nobody set is empty: the model's generation_config.json may then supply
/// it, and the engine's own default comes last.
struct GenerationConfig {
  std::optional<std::int64_t> max_tokens;                              // tokens
  std::optional<std::int64_t> min_tokens;                              // tokens
  std::optional<double> temperature;                                   // 0 is greedy
  std::optional<std::int64_t> top_k;                                   // candidates; 0 keeps all
  std::optional<double> top_p;                                         // probability
  std::optional<double> min_p, typical_p, epsilon_cutoff, eta_cutoff;  // probabilities
  bool renormalize_logits = false;
  std::optional<double> repetition_penalty, presence_penalty, frequency_penalty;
  std::optional<std::int64_t> no_repeat_ngram_size;
  std::optional<std::string> logit_bias, sequence_bias,
      bad_words_ids;  // as written; decoding_options.h reads them
  std::vector<TokenId> suppress_tokens, begin_suppress_tokens, forced_bos_token_id, forced_eos_token_id;
  std::optional<std::string> exponential_decay_length_penalty;  // START,FACTOR
  std::optional<std::int64_t> min_length;                       // tokens, prompt included
  std::optional<std::int64_t> num_beams, num_return_sequences;
  std::optional<double> length_penalty;
  EarlyStopChoice early_stopping = EarlyStopChoice::kFalse;
  std::optional<double> penalty_alpha;
  SpeculativeChoice speculative = SpeculativeChoice::kNone;
  std::optional<std::string> draft_model;  // path
  std::optional<std::int64_t> num_speculative_tokens;
  std::optional<std::string> json_schema, regex, grammar;  // path, expression, path
  std::vector<std::string> choice;
  std::optional<std::int64_t> seed;
  std::optional<std::int64_t> n;  // choices a prompt
  std::vector<std::string> stop;
  std::vector<TokenId> stop_token_ids;
  std::optional<std::vector<TokenId>> eos_token_ids;  // instead of the model's
  bool ignore_eos = false;
  bool include_stop_str_in_output = false;
  std::optional<std::int64_t> logprobs;  // candidates reported a token
  bool echo = false;
  std::optional<std::string> use_adapter;  // a name of EngineConfig::adapters
  bool chat = false;
  std::optional<std::string> system;
  std::optional<std::string> prompt;       // never together with prompt_file after load_config
  std::optional<std::string> prompt_file;  // path
};

/// Section `bench`.
struct BenchConfig {
  std::int64_t prompt_tokens = 512;
  std::int64_t decode_tokens = 128;
  std::int64_t batch = 1;  // sequences
  std::int64_t repetitions = 5;
};

/// Section `embed`: the command of that name.
struct EmbedConfig {
  std::vector<std::string> text;  // each is embedded
  std::string text_file;          // path of more texts, one a line; empty: none
  PoolingChoice pooling = PoolingChoice::kMean;
  bool normalize = true;  // to length 1
};

/// Section `batch`: the command of that name.
struct BatchConfig {
  std::string input, output, error_file;   // paths; error_file empty: output + ".errors"
  std::optional<std::int64_t> stop_after;  // seconds; empty: until everything is done
  std::int64_t drain_time = 10;            // seconds that running requests get once the job is to stop
};

/// Section `serve`: the HTTP server.
struct ServeConfig {
  std::string host = "127.0.0.1";
  std::int64_t port = 8000;                       // 0: a free one
  std::int64_t max_queue = 256;                   // requests that wait
  std::int64_t max_connections = 4096;            // open at once
  std::int64_t max_body = std::int64_t{4} << 20;  // bytes of a request
  std::int64_t grace = 30;                        // seconds that running requests get after SIGTERM
  std::int64_t write_timeout = 60;                // seconds in which a reader must take something
  std::int64_t request_timeout = 60;              // seconds in which a request, or a handshake, must arrive
  std::string tls_cert, tls_key;                  // paths of PEM files; both empty: plain HTTP
  std::string api_key_file;                       // path; empty: no key unless LLM_TP_API_KEY is set
  std::string request_log;                        // path of JSON lines; empty: none
};

/// Section `loadtest`: the command of that name.
struct LoadTestConfig {
  std::string url = "http://127.0.0.1:8000";
  std::vector<std::int32_t> streams;  // requests at a time, one run each; with no rates either: 1, 8, 32
  std::vector<double> rates;          // requests a second that arrive at random, one run each
  std::int64_t seconds = 30;          // in which requests of a run begin
  std::int64_t prompt_words = 80;     // of each prompt
  std::int64_t shared_words = 0;      // of them, the same at the beginning of all prompts
  std::int64_t new_tokens = 64;       // of each answer, at most
  std::string request;                // more fields of each request, a JSON object; empty: none
};

/// What a run was asked to do. Every member but the sections is one key of key_table(), which documents,
/// checks and sets it; values that came through load_config are inside the ranges stated there.
struct EngineConfig {
  std::string command = "generate";
  std::string model;  // Hugging Face folder, .gguf file or dummy:PATH; empty: none given
  DeviceChoice device = DeviceChoice::kAuto;
  Numerics numerics = Numerics::kInvariant;
  int threads = 0;               // of each rank; 0: as many as its share of the host's cores
  std::int64_t max_context = 0;  // tokens; 0: the model's
  KvDType kv_dtype = KvDType::kAuto;
  std::optional<DType> dtype;  // empty: as the checkpoint stores it
  Activations activations = Activations::kAuto;
  std::int64_t prefill_chunk = 512;       // tokens a step
  int page_tokens = 16;                   // tokens a KV page
  std::optional<std::int64_t> kv_memory;  // bytes a rank; empty: what is left after the weights
  Communication communication = Communication::kAuto;
  GpuCommunication gpu_communication = GpuCommunication::kAuto;
  NcclWindows nccl_windows = NcclWindows::kAuto;
  GpuGraphs gpu_graphs = GpuGraphs::kAuto;
  GpuProducts gpu_products = GpuProducts::kAuto;
  std::int64_t rank_timeout = 600;  // seconds; 0: never
  std::int64_t max_batch = 32;      // sequences a step of batch and serve
  std::vector<double> shares;       // weight of each rank; empty: equal
  bool expert_parallel = false;     // whole experts by rank instead of a slice of each
  ToolFormat tool_format = ToolFormat::kAuto;
  std::string served_model_name;          // as requests name the model; empty: the last part of its path
  std::string report;                     // path of the HTML report of batch and serve; empty: none
  bool check_numerics = false;            // every op's result is looked at
  std::optional<std::int64_t> only_rank;  // this process stands for a group of `of` ranks; set together
  std::optional<std::int64_t> of;
  LogLevel log_level = LogLevel::kInfo;
  std::vector<std::string> adapters;  // NAME=FOLDER of each
  std::string merge_adapter;          // the name of one of them; empty: none
  GenerationConfig generation;
  BenchConfig bench;
  EmbedConfig embed;
  BatchConfig batch;
  ServeConfig serve;
  LoadTestConfig loadtest;
};

}  // namespace llm_tp
