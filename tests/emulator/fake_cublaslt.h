#pragma once

namespace llm_tp::emulator {

/// How often cuBLASLt was asked to choose an algorithm in this process.
int choices_of_cublaslt();

}  // namespace llm_tp::emulator
