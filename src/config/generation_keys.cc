#include "config/key_makers.h"

namespace llm_tp::keys {
namespace {

void add_basic_keys(std::vector<KeyInfo>& keys) {
  keys.push_back(integer_key({"generation.max_tokens", "--max-tokens", "tokens", "Longest completion.",
                              "the model's max_new_tokens, else 256"},
                             0, kManyTokens, LLM_TP_FIELD(generation.max_tokens)));
  keys.push_back(
      integer_key({"generation.min_tokens", "--min-tokens", "tokens",
                   "Tokens before which neither an end id nor a stop text ends a completion.", "0"},
                  0, kManyTokens, LLM_TP_FIELD(generation.min_tokens)));
  keys.push_back(number_key({"generation.temperature", "--temperature", "",
                             "Divides the logits; 0 is greedy.", "the model's, else 0"},
                            0, 100, LLM_TP_FIELD(generation.temperature)));
  keys.push_back(integer_key({"generation.top_k", "--top-k", "candidates",
                              "Keeps the likeliest tokens; 0 keeps all.", "the model's, else 0"},
                             0, kLargestId, LLM_TP_FIELD(generation.top_k)));
  keys.push_back(positive_key({"generation.top_p", "--top-p", "probability",
                               "Keeps the likeliest tokens that together reach it.", "the model's, else 1"},
                              0, 1, LLM_TP_FIELD(generation.top_p)));
  keys.push_back(integer_key({"generation.seed", "--seed", "", "Seed of the random draws.", "a random one"},
                             0, std::numeric_limits<std::int64_t>::max(), LLM_TP_FIELD(generation.seed)));
  keys.push_back(integer_key({"generation.n", "--n", "choices", "Completions of each prompt.", "1"}, 1, 65536,
                             LLM_TP_FIELD(generation.n)));
  keys.push_back(with_list(labelled({"generation.stop", "--stop", "", "Texts that end a completion."},
                                    KeyType::kTextList, "a list of texts, none of them empty"),
                           LLM_TP_FIELD(generation.stop), [](const std::string& text) {
                             return text.empty() ? Parsed<std::string>{{}, "an empty text would stop at once"}
                                                 : Parsed<std::string>{text, {}};
                           }));
  keys.push_back(ids_key({"generation.stop_token_ids", "--stop-token-ids", "token ids",
                          "Ids that end a completion, besides the model's."},
                         LLM_TP_FIELD(generation.stop_token_ids)));
  keys.push_back(ids_key({"generation.eos_token_ids", "--eos-token-ids", "token ids",
                          "End ids instead of the model's.", "the model's"},
                         LLM_TP_FIELD(generation.eos_token_ids)));
  keys.push_back(bool_key({"generation.ignore_eos", "--ignore-eos", "", "Goes on after an end id."},
                          LLM_TP_FIELD(generation.ignore_eos)));
  keys.push_back(bool_key({"generation.include_stop_str_in_output", "--include-stop-str-in-output", "",
                           "Leaves the stop text in the completion."},
                          LLM_TP_FIELD(generation.include_stop_str_in_output)));
  keys.push_back(
      integer_key({"generation.logprobs", "--logprobs", "candidates",
                   "Reports each token's log-probability and those of the likeliest.", "none reported"},
                  0, 1024, LLM_TP_FIELD(generation.logprobs)));
  keys.push_back(bool_key({"generation.echo", "--echo", "", "Puts the prompt before the completion."},
                          LLM_TP_FIELD(generation.echo)));
  keys.push_back(
      bool_key({"generation.chat", "--chat", "", "Applies the model's chat template to the prompt."},
               LLM_TP_FIELD(generation.chat)));
  keys.push_back(text_key(
      {"generation.use_adapter", "--use-adapter", "", "The adapter that completes the prompt.", "none"},
      "a name of adapter", LLM_TP_FIELD(generation.use_adapter)));
  keys.push_back(text_key({"generation.system", "--system", "", "The system message of a chat.", "none"},
                          "a text", LLM_TP_FIELD(generation.system)));
  keys.push_back(text_key({"generation.prompt", "--prompt", "", "The prompt.", "standard input"}, "a text",
                          LLM_TP_FIELD(generation.prompt)));
  keys.push_back(
      text_key({"generation.prompt_file", "--prompt-file", "", "A file that holds the prompt.", "none"},
               "a path", LLM_TP_FIELD(generation.prompt_file)));
  keys.push_back(number_key(
      {"generation.min_p", "--min-p", "probability",
       "Keeps tokens with so large a share of the likeliest one's probability.", "the model's, else 0"},
      0, 1, LLM_TP_FIELD(generation.min_p)));
  keys.push_back(
      positive_key({"generation.typical_p", "--typical-p", "probability",
                    "Keeps the most typical tokens that together reach it.", "the model's, else 1"},
                   0, 1, LLM_TP_FIELD(generation.typical_p)));
  keys.push_back(number_key({"generation.epsilon_cutoff", "--epsilon-cutoff", "probability",
                             "Drops tokens below it.", "the model's, else 0"},
                            0, 0.999999, LLM_TP_FIELD(generation.epsilon_cutoff)));
  keys.push_back(
      number_key({"generation.eta_cutoff", "--eta-cutoff", "probability",
                  "Drops tokens below it, or below less where the entropy is high.", "the model's, else 0"},
                 0, 0.999999, LLM_TP_FIELD(generation.eta_cutoff)));
  keys.push_back(bool_key({"generation.renormalize_logits", "--renormalize-logits", "",
                           "Normalises the scores of beams again after the processors."},
                          LLM_TP_FIELD(generation.renormalize_logits)));
}

void add_processor_keys(std::vector<KeyInfo>& keys) {
  keys.push_back(
      positive_key({"generation.repetition_penalty", "--repetition-penalty", "",
                    "Above 1: tokens of the prompt and output become less likely.", "the model's, else 1"},
                   0, 1000, LLM_TP_FIELD(generation.repetition_penalty)));
  keys.push_back(number_key({"generation.presence_penalty", "--presence-penalty", "",
                             "Taken from the logit of each token of the output.", "0"},
                            -2, 2, LLM_TP_FIELD(generation.presence_penalty)));
  keys.push_back(number_key({"generation.frequency_penalty", "--frequency-penalty", "",
                             "Taken from the logit of a token for each time the output has it.", "0"},
                            -2, 2, LLM_TP_FIELD(generation.frequency_penalty)));
  keys.push_back(integer_key({"generation.no_repeat_ngram_size", "--no-repeat-ngram-size", "tokens",
                              "No run of so many tokens comes twice; 0 is off.", "the model's, else 0"},
                             0, kManyTokens, LLM_TP_FIELD(generation.no_repeat_ngram_size)));
  keys.push_back(
      text_key({"generation.logit_bias", "--logit-bias", "", "Added to the logits of single tokens.", "none"},
               "ID:BIAS with commas between, as in 5:1.5,7:-100", LLM_TP_FIELD(generation.logit_bias)));
  keys.push_back(text_key({"generation.sequence_bias", "--sequence-bias", "",
                           "Added to the logit of the last id where the others stand before it.", "none"},
                          "IDS:BIAS with semicolons between, as in 5,6:1.5;7:-2",
                          LLM_TP_FIELD(generation.sequence_bias)));
  keys.push_back(text_key({"generation.bad_words_ids", "--bad-words-ids", "",
                           "Runs of tokens that never come.", "the model's, else none"},
                          "ids with commas, runs with semicolons between, as in 5,6;7",
                          LLM_TP_FIELD(generation.bad_words_ids)));
  keys.push_back(
      ids_key({"generation.suppress_tokens", "--suppress-tokens", "token ids", "Ids that are never chosen."},
              LLM_TP_FIELD(generation.suppress_tokens)));
  keys.push_back(ids_key({"generation.begin_suppress_tokens", "--begin-suppress-tokens", "token ids",
                          "Ids that are not chosen first."},
                         LLM_TP_FIELD(generation.begin_suppress_tokens)));
  keys.push_back(ids_key({"generation.forced_bos_token_id", "--forced-bos-token-id", "token ids",
                          "The token after a prompt of one token."},
                         LLM_TP_FIELD(generation.forced_bos_token_id)));
  keys.push_back(ids_key({"generation.forced_eos_token_id", "--forced-eos-token-id", "token ids",
                          "The last token where the longest completion is reached."},
                         LLM_TP_FIELD(generation.forced_eos_token_id)));
  keys.push_back(
      text_key({"generation.exponential_decay_length_penalty", "--exponential-decay-length-penalty", "",
                "After START new tokens, end ids grow likelier by FACTOR a token.", "none"},
               "START,FACTOR", LLM_TP_FIELD(generation.exponential_decay_length_penalty)));
  keys.push_back(integer_key(
      {"generation.min_length", "--min-length", "tokens", "As min_tokens, but the prompt counts too.", "0"},
      0, kManyTokens, LLM_TP_FIELD(generation.min_length)));
}

void add_search_keys(std::vector<KeyInfo>& keys) {
  keys.push_back(
      integer_key({"generation.num_beams", "--num-beams", "beams", "Beam search where above 1.", "1"}, 1, 256,
                  LLM_TP_FIELD(generation.num_beams)));
  keys.push_back(number_key({"generation.length_penalty", "--length-penalty", "",
                             "Beams: exponent of the length that divides a sequence's score.", "1"},
                            -100, 100, LLM_TP_FIELD(generation.length_penalty)));
  keys.push_back(choice_key<EarlyStopChoice>(
      {"generation.early_stopping", "--early-stopping", "", "Beams: when the search is over."},
      {{"false", EarlyStopChoice::kFalse},
       {"true", EarlyStopChoice::kTrue},
       {"never", EarlyStopChoice::kNever}},
      LLM_TP_FIELD(generation.early_stopping)));
  keys.push_back(integer_key({"generation.num_return_sequences", "--num-return-sequences", "sequences",
                              "Beams: how many of the best are returned.", "1"},
                             1, 256, LLM_TP_FIELD(generation.num_return_sequences)));
  keys.push_back(number_key({"generation.penalty_alpha", "--penalty-alpha", "",
                             "Contrastive search where above 0: weight of the penalty.", "0"},
                            0, 1, LLM_TP_FIELD(generation.penalty_alpha)));
  keys.push_back(choice_key<SpeculativeChoice>(
      {"generation.speculative", "--speculative", "", "Who guesses tokens ahead; the output stays the same."},
      {{"none", SpeculativeChoice::kNone},
       {"draft", SpeculativeChoice::kDraft},
       {"ngram", SpeculativeChoice::kNgram},
       {"lookahead", SpeculativeChoice::kLookahead}},
      LLM_TP_FIELD(generation.speculative)));
  keys.push_back(text_key({"generation.draft_model", "--draft-model", "",
                           "The model that guesses; it has the same vocabulary.", "none"},
                          "a path", LLM_TP_FIELD(generation.draft_model)));
  keys.push_back(integer_key({"generation.num_speculative_tokens", "--num-speculative-tokens", "tokens",
                              "Most guesses a step.", "8"},
                             1, 64, LLM_TP_FIELD(generation.num_speculative_tokens)));
  keys.push_back(text_key({"generation.json_schema", "--json-schema", "",
                           "A file: completions are JSON that fits this schema.", "none"},
                          "a path", LLM_TP_FIELD(generation.json_schema)));
  keys.push_back(text_key({"generation.regex", "--regex", "", "Completions match it as a whole.", "none"},
                          "a regular expression", LLM_TP_FIELD(generation.regex)));
  keys.push_back(
      text_key({"generation.grammar", "--grammar", "", "A file: completions fit this EBNF grammar.", "none"},
               "a path", LLM_TP_FIELD(generation.grammar)));
  keys.push_back(
      with_list(labelled({"generation.choice", "--choice", "", "Completions are one of these texts."},
                         KeyType::kTextList, "a list of texts, none of them empty"),
                LLM_TP_FIELD(generation.choice), [](const std::string& text) {
                  return text.empty() ? Parsed<std::string>{{}, "an empty text is no choice"}
                                      : Parsed<std::string>{text, {}};
                }));
}

}  // namespace

void add_generation_keys(std::vector<KeyInfo>& keys) {
  add_basic_keys(keys);
  add_processor_keys(keys);
  add_search_keys(keys);
}

}  // namespace llm_tp::keys
