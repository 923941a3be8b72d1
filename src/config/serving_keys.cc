#include "config/key_makers.h"

namespace llm_tp::keys {
namespace {

template <class Field>
KeyInfo bytes_key(Label label, Field field) {
  KeyInfo key = labelled(std::move(label), KeyType::kBytes, "a size with KiB, MiB or GiB up to 1048576GiB");
  key = with_value(std::move(key), field, [](const std::string& text) { return parse_bytes(text); });
  key.get = [field](const EngineConfig& config) -> KeyValue { return bytes_text(field(config)); };
  return key;
}

/// A length of time: seconds, shown and read as 3h50m.
template <class Field>
KeyInfo duration_key(Label label, Field field) {
  KeyInfo key = labelled(std::move(label), KeyType::kText, "a time such as 3h50m, 90s or 2d");
  key = with_value(std::move(key), field, [](const std::string& text) { return parse_duration(text); });
  key.get = [field](const EngineConfig& config) -> KeyValue {
    const std::optional<std::int64_t> seconds = field(config);
    return seconds ? KeyValue(duration_text(*seconds)) : KeyValue{};
  };
  return key;
}

}  // namespace

void add_embed_keys(std::vector<KeyInfo>& keys) {
  keys.push_back(with_list(labelled({"embed.text", "--text", "", "Texts to embed."}, KeyType::kTextList,
                                    "a list of texts, none of them empty"),
                           LLM_TP_FIELD(embed.text), [](const std::string& text) {
                             return text.empty() ? Parsed<std::string>{{}, "an empty text has no embedding"}
                                                 : Parsed<std::string>{text, {}};
                           }));
  keys.push_back(text_key({"embed.text_file", "--text-file", "",
                           "A file with texts to embed, one a line; without any text: standard input."},
                          "a path", LLM_TP_FIELD(embed.text_file)));
  keys.push_back(choice_key<PoolingChoice>(
      {"embed.pooling", "--pooling", "",
       "How the states of a text's tokens become one vector: their mean, or the last token's."},
      {{"mean", PoolingChoice::kMean}, {"last", PoolingChoice::kLast}}, LLM_TP_FIELD(embed.pooling)));
  keys.push_back(choice_key<bool>({"embed.normalize", "--normalize", "", "Scales embeddings to length 1."},
                                  {{"true", true}, {"false", false}}, LLM_TP_FIELD(embed.normalize)));
}

void add_batch_keys(std::vector<KeyInfo>& keys) {
  keys.push_back(text_key({"batch.input", "--input", "", "Requests in OpenAI's batch format, one a line."},
                          "a path", LLM_TP_FIELD(batch.input)));
  keys.push_back(text_key({"batch.output", "--output", "",
                           "Where the answers go, one a line; an output that is there is gone on with."},
                          "a path", LLM_TP_FIELD(batch.output)));
  keys.push_back(text_key({"batch.error_file", "--error-file", "",
                           "Where refused lines go, with their reasons; empty: output with .errors added."},
                          "a path", LLM_TP_FIELD(batch.error_file)));
  keys.push_back(duration_key({"batch.stop_after", "--stop-after", "",
                               "When to stop with exit code 75 so that the job can be run again.",
                               "SLURM_JOB_END_TIME, where Slurm sets it"},
                              LLM_TP_FIELD(batch.stop_after)));
  keys.push_back(integer_key({"batch.drain_time", "--drain-time", "seconds",
                              "Time that running requests have to finish once the job is to stop."},
                             0, 86400, LLM_TP_FIELD(batch.drain_time)));
}

void add_serve_keys(std::vector<KeyInfo>& keys) {
  keys.push_back(text_key({"serve.host", "--host", "", "The address that the server listens at."},
                          "an address", LLM_TP_FIELD(serve.host)));
  keys.push_back(integer_key({"serve.port", "--port", "", "The server's TCP port; 0 takes a free one."}, 0,
                             65535, LLM_TP_FIELD(serve.port)));
  keys.push_back(integer_key(
      {"serve.max_queue", "--max-queue", "requests", "Requests that may wait; one more is refused with 429."},
      1, 1000000, LLM_TP_FIELD(serve.max_queue)));
  keys.push_back(integer_key({"serve.max_connections", "--max-connections", "connections",
                              "Connections at a time; one more is refused with 503."},
                             1, 1000000, LLM_TP_FIELD(serve.max_connections)));
  keys.push_back(bytes_key({"serve.max_body", "--max-body", "bytes", "Longest body of a request."},
                           LLM_TP_FIELD(serve.max_body)));
  keys.push_back(
      integer_key({"serve.grace", "--grace", "seconds", "Time that requests have to finish after SIGTERM."},
                  0, 86400, LLM_TP_FIELD(serve.grace)));
  keys.push_back(integer_key({"serve.write_timeout", "--write-timeout", "seconds",
                              "A client that takes nothing for so long is cut off."},
                             1, 86400, LLM_TP_FIELD(serve.write_timeout)));
  keys.push_back(
      integer_key({"serve.request_timeout", "--request-timeout", "seconds",
                   "Time that a request has to arrive, header and body, and that a TLS handshake has."},
                  1, 86400, LLM_TP_FIELD(serve.request_timeout)));
  keys.push_back(
      text_key({"serve.tls_cert", "--tls-cert", "",
                "A certificate and its chain (PEM): HTTPS instead of HTTP. SIGHUP reads it again."},
               "a path", LLM_TP_FIELD(serve.tls_cert)));
  keys.push_back(text_key({"serve.tls_key", "--tls-key", "", "The certificate's key (PEM), not encrypted."},
                          "a path", LLM_TP_FIELD(serve.tls_key)));
  keys.push_back(
      text_key({"serve.api_key_file", "--api-key-file", "",
                "A file of keys, one a line; without it LLM_TP_API_KEY, else no key is asked for."},
               "a path", LLM_TP_FIELD(serve.api_key_file)));
  keys.push_back(text_key({"serve.request_log", "--request-log", "",
                           "Where each request leaves a line of JSON, without its text; empty: nowhere."},
                          "a path", LLM_TP_FIELD(serve.request_log)));
}

void add_loadtest_keys(std::vector<KeyInfo>& keys) {
  keys.push_back(text_key({"loadtest.url", "--url", "", "The server: http://HOST:PORT."}, "an http address",
                          LLM_TP_FIELD(loadtest.url)));
  keys.push_back(with_list(
      labelled({"loadtest.streams", "--streams", "requests",
                "Requests at a time, one run each; with no rates either, 1, 8 and 32."},
               KeyType::kIntegerList, range_text("a list of whole numbers", "1", "65536")),
      LLM_TP_FIELD(loadtest.streams), [](const std::string& text) { return parse_integer(text, 1, 65536); }));
  keys.push_back(with_list(
      labelled({"loadtest.rates", "--rates", "requests/s", "Rates at which requests arrive, one run each."},
               KeyType::kNumberList, range_text("a list of numbers", "0.001", "100000")),
      LLM_TP_FIELD(loadtest.rates),
      [](const std::string& text) { return parse_number(text, 0.001, 100000); }));
  keys.push_back(integer_key({"loadtest.seconds", "--seconds", "seconds", "Time in which requests begin."}, 1,
                             86400, LLM_TP_FIELD(loadtest.seconds)));
  keys.push_back(integer_key({"loadtest.prompt_words", "--prompt-words", "words", "Length of each prompt."},
                             1, 1000000, LLM_TP_FIELD(loadtest.prompt_words)));
  keys.push_back(integer_key({"loadtest.shared_words", "--shared-words", "words",
                              "So many words at the beginning of every prompt are the same."},
                             0, 1000000, LLM_TP_FIELD(loadtest.shared_words)));
  keys.push_back(integer_key({"loadtest.new_tokens", "--new-tokens", "tokens", "Longest answer."}, 1, 1000000,
                             LLM_TP_FIELD(loadtest.new_tokens)));
  keys.push_back(text_key({"loadtest.request", "--request", "", "More fields of each request."},
                          "a JSON object, as {\"temperature\": 0.8}", LLM_TP_FIELD(loadtest.request)));
}

}  // namespace llm_tp::keys
