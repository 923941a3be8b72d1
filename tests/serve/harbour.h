#pragma once
#include <functional>
#include <string>

#include "comm/local_group.h"
#include "engine/engine.h"
#include "engine/service.h"

namespace llm_tp {

inline std::string harbour() { return LLM_TP_SOURCE_DIR "/models/harbour/hf"; }

/// The harbour model, or one in another folder, on ranks that are threads, with room for max_batch sequences.
inline void with_harbour(int ranks, std::int64_t max_batch,
                         const std::function<void(Leader&, const ModelFiles&)>& lead,
                         const std::string& model = harbour()) {
  EngineConfig config;
  config.model = model;
  config.threads = 1;
  config.max_batch = max_batch;
  config.max_context = 128;
  LocalGroup(ranks).run([&](Communicator& communicator, ControlChannel& channel) {
    const Group group{communicator, channel, communicator.rank(), ranks, "test"};
    run_engine(
        group, config, [&](ModelFiles& files) { return LoadPlan::for_many(config, files); },
        [&](Leader& leader, const ModelFiles& files, double) { lead(leader, files); });
  });
}

}  // namespace llm_tp
