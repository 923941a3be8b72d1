#include "serve/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <thread>

#include "running_server.h"
#include "tool_model.h"

namespace llm_tp {
namespace {

TEST(HttpServer, AnswersAndRefusesInOpenAisShapes) {
  with_server(config_of_test(), 4, [](std::uint16_t port, EngineService&) {
    EXPECT_EQ(status_of(ask(port, get("/health"))), "200");
    EXPECT_EQ(body_of(ask(port, get("/v1/models")))["data"][0]["id"], "hf");
    const Json answer =
        body_of(ask(port, post("/v1/completions", R"({"prompt":"The gull","max_tokens":3})")));
    EXPECT_EQ(answer["usage"]["completion_tokens"], 3);
    EXPECT_EQ(body_of(ask(port, post("/detokenize", R"({"tokens":[5,9]})"))).size(), 1u);
    const Json tokenizer = body_of(ask(port, get("/tokenizer_info")));
    EXPECT_EQ(tokenizer["bos_token"], "<s>");
    EXPECT_EQ(tokenizer["eos_token"], "</s>");
    EXPECT_EQ(
        body_of(ask(port, post("/tokenize", R"({"prompt":"</s>","add_special_tokens":false})")))["tokens"],
        Json::array({2}))
        << "the text of the end token is the end token";
    EXPECT_EQ(body_of(ask(port, get("/group")))["ranks"].size(), 1u);
    const std::string page = ask(port, get("/"));
    EXPECT_NE(page.find("Content-Security-Policy: default-src 'none'"), std::string::npos);
    EXPECT_NE(page.find("</html>"), std::string::npos);
    EXPECT_EQ(page.find("{{"), std::string::npos) << "a part was not put in";
    EXPECT_EQ(page.find("src="), std::string::npos) << "the page has no outside resource";
    const std::string metrics = ask(port, get("/metrics"));
    for (const char* line : {"llm_tp_requests_running 0\n", "llm_tp_preemptions_total 0\n",
                             "llm_tp_prompts_waiting{reason=\"pages\"} 0\n"})
      EXPECT_NE(metrics.find(line), std::string::npos) << line;
    EXPECT_NE(ask(port, get("/v1/completions")).find("\r\nAllow: POST\r\n"), std::string::npos);
    for (const auto& [request, status] : std::vector<std::pair<std::string, std::string>>{
             {get("/nope"), "404"},
             {get("/v1/completions"), "405"},
             {post("/v1/completions", "{]"), "400"},
             {post("/v1/completions", R"({"prompt":"a","model":"nobody"})"), "404"},
             {post("/v1/completions", std::string(5000, ' ')), "413"},
             {get("/health", "X: " + std::string(20000, 'x') + "\r\n"), "431"},
             {"NONSENSE\r\n\r\n", "400"}}) {
      const std::string reply = ask(port, request);
      EXPECT_EQ(status_of(reply), status) << request.substr(0, 60);
      EXPECT_TRUE(body_of(reply)["error"].contains("message"));
    }
  });
}

TEST(HttpServer, EmbeddingsComeAsNumbersAndAsBase64) {
  with_server(config_of_test(), 4, [](std::uint16_t port, EngineService&) {
    const Json two = body_of(ask(port, post("/v1/embeddings", R"({"input":["The gull","The gull"]})")));
    EXPECT_EQ(two["object"], "list");
    EXPECT_EQ(two["model"], "hf");
    EXPECT_EQ(two["usage"]["prompt_tokens"], two["usage"]["total_tokens"]);
    ASSERT_EQ(two["data"].size(), 2u);
    EXPECT_EQ(two["data"][1]["index"], 1);
    const Json& numbers = two["data"][0]["embedding"];
    EXPECT_EQ(numbers, two["data"][1]["embedding"]);
    double length = 0;
    for (const Json& n : numbers) length += n.get<double>() * n.get<double>();
    EXPECT_NEAR(length, 1, 1e-5);
    const Json coded =
        body_of(ask(port, post("/v1/embeddings", R"({"input":"The gull","encoding_format":"base64"})")));
    EXPECT_EQ(coded["data"][0]["embedding"].get<std::string>().size(), (numbers.size() * 4 + 2) / 3 * 4);
    for (const char* body : {R"({"input":"a","dimensions":7})", R"({"input":[999999]})", R"({"input":""})"}) {
      const std::string reply = ask(port, post("/v1/embeddings", body));
      EXPECT_EQ(status_of(reply), std::string(body).find("\"\"") == std::string::npos ? "400" : "200")
          << reply;
    }
  });
}

TEST(HttpServer, BeamsAreAnsweredBestFirstAndContrastiveSearchOnce) {
  with_server(config_of_test(), 4, [](std::uint16_t port, EngineService&) {
    const auto choices = [&](const std::string& more) {
      const std::string body = R"({"prompt":"The gull","max_tokens":12,"logprobs":0,)" + more + "}";
      return body_of(ask(port, post("/v1/completions", body)))["choices"];
    };
    const auto logprob = [](const Json& choice) {
      double sum = 0;
      for (const Json& token : choice["logprobs"]["token_logprobs"]) sum += token.get<double>();
      return sum;
    };
    const Json greedy = choices(R"("temperature":0)"), beams = choices(R"("num_beams":3,"n":2)");
    ASSERT_EQ(beams.size(), 2u);
    EXPECT_NE(beams[0]["text"], beams[1]["text"]);
    EXPECT_GE(logprob(beams[0]), logprob(beams[1]));
    EXPECT_GE(logprob(beams[0]), logprob(greedy[0])) << "a wider search finds nothing worse";
    EXPECT_EQ(choices(R"("num_beams":3,"n":2)"), beams);
    EXPECT_EQ(choices(R"("num_beams":6,"n":6)").size(), 6u) << "more than run at the same time otherwise";
    const Json contrastive = choices(R"("penalty_alpha":0.6,"top_k":4)");
    ASSERT_EQ(contrastive.size(), 1u);
    EXPECT_NE(contrastive[0]["text"], greedy[0]["text"]);
    // In a stream the beams come at the end.
    const std::string stream =
        ask(port,
            post("/v1/completions", R"({"prompt":"The gull","max_tokens":12,"num_beams":3,"stream":true})"));
    EXPECT_NE(stream.find("data: [DONE]"), std::string::npos) << stream;
  });
}

TEST(HttpServer, ARequiredToolIsCalledWhateverTheModelWouldSay) {
  const TemporaryFolder folder;
  const std::string model = harbour_with(
      folder, "{{ bos_token }}{# <tool_call> #}{{ (tools or []) | length }}{{ messages[-1].content }}");
  const std::string body =
      R"({"messages":[{"role":"user","content":"The gull"}],"max_tokens":100,"tool_choice":"required","parallel_tool_calls":false,"tools":[{"type":"function","function":{"name":"tide","parameters":{"type":"object","properties":{"day":{"enum":[1,2]},"port":{"enum":["Hook"]}},"required":["day","port"],"additionalProperties":false},"strict":true}}])";
  with_server(
      config_of_test(), 4,
      [&](std::uint16_t port, EngineService&) {
        const Json choice = body_of(ask(port, post("/v1/chat/completions", body + "}")))["choices"][0];
        EXPECT_EQ(choice["finish_reason"], "tool_calls") << choice;
        EXPECT_TRUE(choice["message"]["content"].is_null());
        const Json made = choice["message"]["tool_calls"][0]["function"];
        EXPECT_EQ(made["name"], "tide");
        EXPECT_EQ(Json::parse(made["arguments"].get<std::string>())["port"], "Hook");

        std::string arguments, finish;
        const std::string events = ask(port, post("/v1/chat/completions", body + ",\"stream\":true}"));
        for (std::size_t at = 0; (at = events.find("data: {", at)) != std::string::npos; ++at) {
          const Json part = Json::parse(events.substr(at + 6, events.find('\n', at) - at - 6))["choices"][0];
          EXPECT_EQ(part["delta"].value("content", ""), "");
          for (const Json& call : part["delta"].value("tool_calls", Json::array()))
            arguments += call["function"]["arguments"].get<std::string>();
          if (!part["finish_reason"].is_null()) finish = part["finish_reason"];
        }
        EXPECT_EQ(finish, "tool_calls");
        EXPECT_EQ(Json::parse(arguments)["port"], "Hook");
      },
      model);
}

TEST(HttpServer, OneConnectionAsksManyTimesAndStreamsBetween) {
  with_server(config_of_test(), 4, [](std::uint16_t port, EngineService&) {
    HttpClient client(port);
    for (int i = 0; i < 3; ++i) {
      client.send(post("/v1/completions",
                       R"({"prompt":"The gull","max_tokens":4,"stream":true,"ignore_eos":true})", ""));
      const std::string events = client.read_until("[DONE]\n\n\r\n0\r\n\r\n");
      EXPECT_NE(events.find("\"finish_reason\":\"length\""), std::string::npos) << events;
      client.send(post("/tokenize", R"({"prompt":"The gull"})", ""));
      EXPECT_NE(client.read_until("}").find("\"tokens\""), std::string::npos);
    }
  });
}

/// Holds up whoever encodes "wait" until it is let go.
class HeldTokenizer : public Tokenizer {
 public:
  explicit HeldTokenizer(std::unique_ptr<Tokenizer> inner) : inner_(std::move(inner)) {}
  std::vector<TokenId> encode(std::string_view text, bool special, bool parse) const override {
    if (text == "wait") {
      entered.set_value();
      in_time = go_on.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready;
    }
    return inner_->encode(text, special, parse);
  }
  int vocabulary_size() const override { return inner_->vocabulary_size(); }
  std::string piece(TokenId id, bool special) const override { return inner_->piece(id, special); }
  std::string decode(const std::vector<TokenId>& ids, bool special) const override {
    return inner_->decode(ids, special);
  }
  std::optional<TokenId> begin_id() const override { return inner_->begin_id(); }
  std::vector<TokenId> end_ids() const override { return inner_->end_ids(); }
  std::optional<TokenId> id_of(std::string_view token) const override { return inner_->id_of(token); }
  std::optional<std::string> chat_template() const override { return inner_->chat_template(); }

  mutable std::promise<void> entered, go_on;
  mutable std::atomic<bool> in_time{false};

 private:
  std::unique_ptr<Tokenizer> inner_;
};

TEST(HttpServer, ALongTextThatIsBeingTokenizedHoldsUpNoShortOne) {
  ModelFiles files = ModelFiles::open(harbour(), true);
  auto owned = std::make_unique<HeldTokenizer>(std::move(files.tokenizer));
  HeldTokenizer& tokenizer = *owned;
  files.tokenizer = std::move(owned);
  ServeConfig config = config_of_test();
  config.max_body = 1 << 20;
  const std::string room(100000, ' ');  // what makes a body a long one
  with_server(
      config, 4,
      [&](std::uint16_t port, EngineService&) {
        HttpClient slow(port);
        slow.send(post("/v1/completions", R"({"prompt":"wait","max_tokens":2})" + room));
        tokenizer.entered.get_future().wait();
        HttpClient behind(port);
        behind.send(post("/v1/completions", R"({"prompt":"The gull","max_tokens":4})" + room));
        EXPECT_EQ(status_of(ask(port, get("/health"))), "200");
        const std::string events =
            ask(port, post("/v1/completions", R"({"prompt":"The gull","max_tokens":3,"stream":true})"));
        EXPECT_NE(events.find("[DONE]"), std::string::npos) << events;
        tokenizer.go_on.set_value();
        EXPECT_EQ(body_of(slow.read_to_end())["usage"]["completion_tokens"], 2);
        EXPECT_EQ(body_of(behind.read_to_end())["usage"]["completion_tokens"], 4);
      },
      harbour(), &files);
  EXPECT_TRUE(tokenizer.in_time) << "others waited for it";
}

TEST(HttpServer, HeadIsGetWithoutTheBody) {
  with_server(config_of_test(), 1, [](std::uint16_t port, EngineService&) {
    HttpClient client(port);
    client.send("HEAD /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" + get("/health"));
    const std::string replies = client.read_to_end();
    const std::size_t second = replies.find("HTTP/1.1", 1);
    ASSERT_NE(second, std::string::npos) << replies;
    const std::string head = replies.substr(0, second);
    EXPECT_TRUE(head.ends_with("\r\n\r\n")) << head;
    EXPECT_EQ(head.find("Content-Length: 0"), std::string::npos) << head;
    EXPECT_EQ(status_of(replies.substr(second)), "200");
  });
}

TEST(HttpServer, RequestsThatComeEarlyAreAnsweredInOrder) {
  with_server(config_of_test(), 1, [](std::uint16_t port, EngineService&) {
    HttpClient client(port);
    const std::string call = R"({"prompt":"The gull","max_tokens":40,"ignore_eos":true})";
    client.send(post("/v1/completions", call, "") + post("/detokenize", R"({"tokens":[5]})", ""));
    client.read_until("\"total_tokens\"");  // the first is answered
    client.read_until("\"prompt\"");
    client.send(post("/v1/completions",
                     R"({"prompt":"The gull","max_tokens":40,"stream":true,"ignore_eos":true})", ""));
    client.read_until("data:");
    client.send(get("/health"));  // while the call runs
    const std::string rest = client.read_to_end();
    const std::size_t done = rest.find("[DONE]\n\n\r\n0\r\n\r\n");
    ASSERT_NE(done, std::string::npos);
    EXPECT_NE(rest.find("HTTP/1.1 200 OK", done), std::string::npos);
  });
}

TEST(HttpServer, AClientThatAskedAheadAndLeavesIsCancelled) {
  with_server(config_of_test(), 1, [](std::uint16_t port, EngineService& service) {
    HttpClient client(port);
    client.send(post("/v1/completions", R"({"prompt":"The gull","max_tokens":120,"ignore_eos":true})", "") +
                get("/health"));
    while (service.state().jobs_running == 0) std::this_thread::yield();
    client.close();
    while (service.state().jobs_running + service.state().jobs_waiting + service.waiting() > 0)
      std::this_thread::yield();
  });
}

TEST(HttpServer, BodiesMayComeInChunksAndAfterTheServersLeave) {
  with_server(config_of_test(), 1, [](std::uint16_t port, EngineService&) {
    HttpClient client(port);
    client.send(
        "POST /detokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        "8\r\n{\"tokens\r\n6\r\n\":[5]}\r\n0\r\n\r\n");
    EXPECT_NE(client.read_until("\"prompt\"").find("200 OK"), std::string::npos);
    client.send(
        "POST /detokenize HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: "
        "100-continue\r\nContent-Length: 14\r\n\r\n");
    EXPECT_NE(client.read_until("\r\n\r\n").find("100 Continue"), std::string::npos);
    client.send(R"({"tokens":[5]})");
    EXPECT_NE(client.read_to_end().find("200 OK"), std::string::npos);
    // Chunks without an end are bounded like any body.
    HttpClient endless(port);
    endless.send("POST /detokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2000\r\n" +
                 std::string(8192, ' ') + "\r\n");
    EXPECT_EQ(status_of(endless.read_to_end()), "413");
  });
}

TEST(HttpServer, ARequestThatTricklesInIsCutOff) {
  ServeConfig config = config_of_test();
  config.request_timeout = 1;
  with_server(config, 1, [](std::uint16_t port, EngineService&) {
    HttpClient header(port), body(port);
    header.send("GET /health HTTP/1.1\r\nX: ");
    body.send("POST /detokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{");
    EXPECT_EQ(header.read_to_end(), "") << "returns once the server has closed it";
    EXPECT_EQ(body.read_to_end(), "");
  });
}

TEST(HttpServer, AClientThatLeavesIsCancelledRunningAndWaiting) {
  ServeConfig config = config_of_test();
  with_server(config, 1, [&](std::uint16_t port, EngineService& service) {
    const std::string longest =
        R"({"prompt":"The gull","max_tokens":120,"ignore_eos":true,"n":1,"stream":true})";
    HttpClient running(port), waiting(port);
    running.send(post("/v1/completions", longest));
    running.read_until("data:");
    waiting.send(post("/v1/completions", R"({"prompt":"A boat","max_tokens":120,"ignore_eos":true})"));
    waiting.close();
    running.close();
    // The engine goes on with nothing: both left it, however far they had come.
    while (service.state().jobs_running + service.state().jobs_waiting + service.waiting() > 0)
      std::this_thread::yield();
  });
}

TEST(HttpServer, AFullQueueIs429WithATime) {
  ServeConfig config = config_of_test();
  config.max_queue = 1;
  with_server(config, 1, [&](std::uint16_t port, EngineService& service) {
    const std::string longest =
        post("/v1/completions", R"({"prompt":"The gull","max_tokens":120,"ignore_eos":true,"n":8})");
    HttpClient running(port), waiting(port);
    running.send(longest);
    while (service.state().jobs_running == 0 && service.state().sequences_running == 0)
      std::this_thread::yield();
    waiting.send(longest);
    while (service.waiting() == 0) std::this_thread::yield();
    const std::string reply = ask(port, longest);
    EXPECT_EQ(status_of(reply), "429");
    EXPECT_NE(reply.find("Retry-After: 1"), std::string::npos);
  });
}

TEST(HttpServer, KeysOpenTheApiAndAreNotNeededForHealth) {
  const TemporaryFolder folder;
  ServeConfig config = config_of_test();
  config.api_key_file = folder / "keys";
  write_file(config.api_key_file, "s3cret\nother\n");
  with_server(config, 1, [](std::uint16_t port, EngineService&) {
    EXPECT_EQ(status_of(ask(port, get("/health"))), "200");
    EXPECT_EQ(status_of(ask(port, get("/v1/models"))), "401");
    EXPECT_EQ(status_of(ask(port, get("/group"))), "401");
    EXPECT_EQ(status_of(ask(port, get("/v1/models", "Authorization: Bearer wrong1\r\n"))), "401");
    EXPECT_EQ(status_of(ask(port, get("/v1/models", "Authorization: Bearer s3cret\r\n"))), "200");
    EXPECT_EQ(status_of(ask(port, get("/v1/models", "Authorization: Bearer other\r\n"))), "200");
    EXPECT_EQ(status_of(ask(port, get("/made-up"))), "401");
    EXPECT_EQ(status_of(ask(port, post("/v1/models/made-up", "{}",
                                       "Connection: close\r\nAuthorization: Bearer other\r\n"))),
              "405");
    const std::string metrics = ask(port, get("/metrics", "Authorization: Bearer other\r\n"));
    EXPECT_EQ(status_of(metrics), "200");
    EXPECT_EQ(metrics.find("made-up"), std::string::npos) << "clients can think of any number of paths";
  });
}

TEST(HttpServer, TheRequestLogHoldsNoText) {
  const TemporaryFolder folder;
  ServeConfig config = config_of_test();
  config.request_log = folder / "requests.jsonl";
  with_server(config, 1, [](std::uint16_t port, EngineService&) {
    ask(port, post("/v1/completions", R"({"prompt":"Lighthouse keeper","max_tokens":2})"));
  });
  const auto lines = lines_of(config.request_log);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(Json::parse(lines[0])["completion_tokens"], 2);
  EXPECT_EQ(lines[0].find("Lighthouse"), std::string::npos);
}

}  // namespace
}  // namespace llm_tp
