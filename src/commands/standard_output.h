#pragma once

namespace llm_tp {

/// Writes out what stdout still holds. Errors: kIoError where that, or anything printed before, could not be
/// written: a full disk, a closed pipe.
void flush_stdout();

}  // namespace llm_tp
