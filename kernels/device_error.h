#pragma once
#include "base/error.h"

namespace llm_tp {

/// A device failed at its work. The message names the device and the call or kernel; who runs the step adds
/// its number, who ends the rank adds rank and host.
class DeviceError : public Error {
 public:
  using Error::Error;
};

}  // namespace llm_tp
