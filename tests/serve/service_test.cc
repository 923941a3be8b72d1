#include "engine/service.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "harbour.h"

namespace llm_tp {
namespace {

/// Keeps the tokens of one job.
class Listener : public JobListener {
 public:
  explicit Listener(std::size_t requests, std::size_t enough = 1000) : tokens(requests), enough_(enough) {}
  bool progress(std::size_t request, const Progress& progress) override {
    if (progress.new_token) tokens[request].push_back(progress.row.token);
    return tokens[request].size() < enough_;
  }
  void over(JobEnd how, const std::string&) override { end.set_value(how); }

  std::vector<std::vector<TokenId>> tokens;
  std::promise<JobEnd> end;

 private:
  std::size_t enough_;
};

Request request_of(TokenId first, std::int32_t max_tokens) {
  Request request;
  request.prompt = {1, first, 9};
  request.max_tokens = max_tokens;
  request.sampling.temperature = 0.8f;
  request.sampling.seed = static_cast<std::uint64_t>(first);
  return request;
}

Job job_of(std::vector<Request> requests, const std::shared_ptr<Listener>& listener) {
  return {std::move(requests), listener, std::nullopt};
}

TEST(EngineService, ManyAtOnceSayWhatEachSaysAlone) {
  constexpr int kJobs = 20;
  std::vector<std::vector<TokenId>> alone;
  for (const std::int64_t most : {1, 7})
    for (const int ranks : {1, 2})
      with_harbour(ranks, most, [&](Leader& leader, const ModelFiles&) {
        EngineService service(leader);
        std::vector<std::shared_ptr<Listener>> listeners;
        for (int i = 0; i < kJobs; ++i) {
          listeners.push_back(std::make_shared<Listener>(1));
          service.submit(job_of({request_of(i + 5, 4 + i % 5)}, listeners.back()));
        }
        while (service.step()) EXPECT_LE(service.state().sequences_running, most);
        for (int i = 0; i < kJobs; ++i) {
          EXPECT_EQ(listeners[static_cast<std::size_t>(i)]->end.get_future().get(), JobEnd::kDone);
          const auto& tokens = listeners[static_cast<std::size_t>(i)]->tokens[0];
          if (static_cast<int>(alone.size()) < kJobs) alone.push_back(tokens);
          EXPECT_EQ(tokens, alone[static_cast<std::size_t>(i)]);
        }
        EXPECT_EQ(service.state().pages_in_use, 0);
      });
}

/// Keeps the log-probabilities too.
class ScoreListener : public Listener {
 public:
  ScoreListener() : Listener(1) {}
  bool progress(std::size_t request, const Progress& progress) override {
    logprobs.push_back(progress.row.logprob);
    cached_tokens = progress.cached_tokens;
    return Listener::progress(request, progress);
  }
  std::vector<double> logprobs;
  std::int32_t cached_tokens = 0;
};

TEST(EngineService, AnswersFromTheCacheHaveTheSameBits) {
  for (const int ranks : {1, 3})
    with_harbour(ranks, 2, [](Leader& leader, const ModelFiles&) {
      EngineService service(leader);
      std::vector<std::shared_ptr<ScoreListener>> all;
      for (int turn = 0; turn < 3; ++turn) {
        Request request = request_of(5, 20);
        for (TokenId id = 0; id < 60; ++id) request.prompt.push_back(10 + id * 7 % 90);
        if (turn == 2) request.prompt.resize(40);  // begins alike
        all.push_back(std::make_shared<ScoreListener>());
        service.submit(job_of({request}, all.back()));
        while (service.step()) {
        }
      }
      EXPECT_EQ(all[0]->cached_tokens, 0);
      EXPECT_EQ(all[1]->cached_tokens, 48);
      EXPECT_EQ(all[2]->cached_tokens, 32);
      EXPECT_EQ(all[0]->tokens, all[1]->tokens);
      EXPECT_EQ(all[0]->logprobs, all[1]->logprobs);
      EXPECT_EQ(service.state().pages_in_use, 0);
    });
}

TEST(EngineService, JobsAreCancelledRunningAndWaiting) {
  with_harbour(1, 2, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    std::vector<std::shared_ptr<Listener>> listeners;
    std::vector<JobId> ids;
    for (int i = 0; i < 3; ++i) {
      listeners.push_back(std::make_shared<Listener>(2));
      ids.push_back(service.submit(job_of({request_of(5, 50), request_of(6, 50)}, listeners.back())));
    }
    service.step();
    EXPECT_EQ(service.state().jobs_waiting, 2);
    service.cancel(ids[0]);
    service.cancel(ids[2]);
    service.step();
    EXPECT_EQ(listeners[0]->end.get_future().get(), JobEnd::kCancelled);
    EXPECT_EQ(listeners[2]->end.get_future().get(), JobEnd::kCancelled);
    EXPECT_EQ(service.state().jobs_waiting, 0);
    EXPECT_EQ(service.state().sequences_running, 2);
    while (service.step()) {
    }
    EXPECT_EQ(listeners[1]->end.get_future().get(), JobEnd::kDone);
    EXPECT_EQ(service.state().pages_in_use, 0);
  });
}

TEST(EngineService, AListenerThatHasEnoughEndsItsSequence) {
  with_harbour(1, 4, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    const auto listener = std::make_shared<Listener>(1, 3);
    service.submit(job_of({request_of(5, 50)}, listener));
    int steps = 0;
    while (service.step()) ++steps;
    EXPECT_EQ(listener->tokens[0].size(), 3u);
    EXPECT_EQ(steps, 3);
    EXPECT_EQ(service.state().pages_in_use, 0);
  });
}

/// Keeps the tokens of one request's choices; of choice 1 it wants the first three alone.
class ChoiceListener : public JobListener {
 public:
  bool progress(std::size_t request, const Progress& progress) override {
    EXPECT_EQ(request, 0u);
    std::vector<TokenId>& mine = tokens.at(static_cast<std::size_t>(progress.choice));
    if (progress.new_token) mine.push_back(progress.row.token);
    return progress.choice != 1 || mine.size() < 3;
  }
  void over(JobEnd how, const std::string&) override { end = how; }
  std::vector<std::vector<TokenId>> tokens{4};
  std::optional<JobEnd> end;
};

TEST(EngineService, ChoicesShareTheirPromptAndEndOneByOne) {
  with_harbour(2, 4, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    Request request = request_of(5, 12);
    request.prompt.insert(request.prompt.end(), 61, 7);  // four pages
    const auto alone = std::make_shared<Listener>(4);
    std::vector<Request> apart;
    for (std::int32_t choice = 0; choice < 4; ++choice) {
      apart.push_back(request);
      apart.back().stream = choice;
    }
    service.submit(job_of(apart, alone));
    while (service.step()) {
    }
    request.choices = 4;
    const auto together = std::make_shared<ChoiceListener>();
    service.submit({{request}, together, std::nullopt});
    std::int64_t most_pages = 0, steps = 0;
    for (; service.step(); ++steps) most_pages = std::max(most_pages, service.state().pages_in_use);
    EXPECT_EQ(together->end, JobEnd::kDone);
    alone->tokens[1].resize(3);
    EXPECT_EQ(together->tokens, alone->tokens);
    EXPECT_EQ(most_pages, 4 + 4);
    EXPECT_EQ(steps, 12);
    EXPECT_EQ(service.state().pages_in_use, 0);
    EXPECT_EQ(service.state().jobs_running, 0);
  });
}

TEST(EngineService, MoreChoicesThanMayRunGoInParts) {
  with_harbour(1, 3, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    Request request = request_of(5, 6);
    request.score_prompt = true;
    std::vector<Request> apart(4, request);
    for (std::int32_t choice = 0; choice < 4; ++choice)
      apart[static_cast<std::size_t>(choice)].stream = choice;
    const auto alone = std::make_shared<Listener>(4);
    service.submit(job_of(apart, alone));
    while (service.step()) {
    }
    alone->tokens[1].resize(3);  // as many as ChoiceListener wants of this one
    request.choices = 4;
    const auto together = std::make_shared<ChoiceListener>();
    service.submit({{request}, together, std::nullopt});
    while (service.step()) EXPECT_LE(service.state().sequences_running, 3);
    EXPECT_EQ(together->end, JobEnd::kDone);
    EXPECT_EQ(together->tokens, alone->tokens);
  });
}

TEST(EngineService, ASearchOfMoreSequencesThanMayRunWaitsUntilItIsAlone) {
  with_harbour(1, 3, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    Request wide = request_of(5, 4);
    wide.sampling.temperature = 0;
    wide.beams = Request::Beams{4, 4};
    const auto first = std::make_shared<Listener>(1), last = std::make_shared<Listener>(1);
    const auto middle = std::make_shared<ChoiceListener>();
    service.submit(job_of({request_of(6, 4)}, first));
    service.submit({{wide}, middle, std::nullopt});
    service.submit(job_of({request_of(7, 4)}, last));
    service.step();
    EXPECT_EQ(service.state().sequences_running, 1);
    EXPECT_EQ(service.state().jobs_waiting, 2);
    while (service.step()) EXPECT_TRUE(last->tokens[0].empty() || middle->end);
    EXPECT_EQ(first->end.get_future().get(), JobEnd::kDone);
    EXPECT_EQ(middle->end, JobEnd::kDone);
    EXPECT_EQ(last->end.get_future().get(), JobEnd::kDone);
  });
}

TEST(EngineService, WhatNeverFitsIsRefusedWithItsWholeJob) {
  with_harbour(1, 2, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    const auto listener = std::make_shared<Listener>(2);
    service.submit(job_of({request_of(5, 4), request_of(5, 100000)}, listener));
    EXPECT_FALSE(service.step());
    EXPECT_EQ(listener->end.get_future().get(), JobEnd::kRefused);
    EXPECT_EQ(service.waiting(), 0);
  });
}

TEST(EngineService, ADeadlineThatIsOverEndsTheJob) {
  with_harbour(1, 4, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    const auto late = std::make_shared<Listener>(1), early = std::make_shared<Listener>(1);
    Job job = job_of({request_of(5, 50)}, late);
    job.deadline = std::chrono::steady_clock::now();
    service.submit(std::move(job));
    Job in_time = job_of({request_of(5, 3)}, early);
    in_time.deadline = std::chrono::steady_clock::now() + std::chrono::hours(1);
    service.submit(std::move(in_time));
    while (service.step()) {
    }
    EXPECT_EQ(late->end.get_future().get(), JobEnd::kTimedOut);
    EXPECT_EQ(early->end.get_future().get(), JobEnd::kDone);
  });
}

TEST(EngineService, RequestsOfManyThreadsAreAllAnsweredThenItDrains) {
  with_harbour(2, 4, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    std::thread clients([&] {
      std::vector<std::thread> threads;
      for (int t = 0; t < 4; ++t)
        threads.emplace_back([&service, t] {
          for (int i = 0; i < 5; ++i) {
            const auto listener = std::make_shared<Listener>(1);
            auto end = listener->end.get_future();
            const JobId id = service.submit(job_of({request_of(5 + t, 5)}, listener));
            if (i == 2) service.cancel(id);
            const JobEnd how = end.get();
            EXPECT_TRUE(how == JobEnd::kDone || (i == 2 && how == JobEnd::kCancelled));
          }
        });
      for (std::thread& thread : threads) thread.join();
      service.drain();
      const auto listener = std::make_shared<Listener>(1);
      auto end = listener->end.get_future();
      service.submit(job_of({request_of(5, 5)}, listener));
    });
    service.run();
    clients.join();
    service.step();
    EXPECT_EQ(service.state().pages_in_use, 0);
  });
}

TEST(EngineService, StoppingCancelsWhatRuns) {
  with_harbour(1, 2, [](Leader& leader, const ModelFiles&) {
    EngineService service(leader);
    const auto running = std::make_shared<Listener>(1), waiting = std::make_shared<Listener>(2);
    service.submit(job_of({request_of(5, 100)}, running));
    service.submit(job_of({request_of(5, 100), request_of(6, 100)}, waiting));
    service.step();
    service.stop();
    service.run();
    EXPECT_EQ(running->end.get_future().get(), JobEnd::kCancelled);
    EXPECT_EQ(waiting->end.get_future().get(), JobEnd::kCancelled);
  });
}

}  // namespace
}  // namespace llm_tp
