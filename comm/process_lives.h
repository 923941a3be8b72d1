#pragma once

namespace llm_tp {

/// Of a process of this host and process namespace: false once it ended, also where its parent has not yet
/// asked for its exit code.
bool process_lives(int pid);

}  // namespace llm_tp
