#include "engine/gpu_choice.h"

#include <string>
#include <vector>

#include "base/byte_stream.h"
#include "base/error.h"
#include "base/log.h"

namespace llm_tp {
namespace {

/// What a rank says of the GPU that it would take.
struct Offer {
  std::int32_t visible = 0, local_ranks = 1;
  std::string reason;  // where none is visible
  std::string host, id, name;
  std::int32_t generation = 0;  // 90 for sm_90

  std::vector<std::byte> to_bytes() const {
    ByteWriter out;
    out.value(visible);
    out.value(local_ranks);
    for (const std::string* text : {&reason, &host, &id, &name}) out.text(*text);
    out.value(generation);
    return out.take();
  }
  static Offer from_bytes(std::span<const std::byte> bytes) {
    ByteReader in(bytes);
    Offer offer;
    offer.visible = in.value<std::int32_t>();
    offer.local_ranks = in.value<std::int32_t>();
    for (std::string* text : {&offer.reason, &offer.host, &offer.id, &offer.name}) *text = in.text();
    offer.generation = in.value<std::int32_t>();
    return offer;
  }
};

std::string count_of(std::int64_t count, const char* what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

/// Why rank r cannot have what it offers beside the ranks before it; empty where it can.
std::string refusal(const std::vector<Offer>& offers, std::size_t r, bool one_device) {
  const Offer& mine = offers[r];
  if (mine.visible == 0) return "rank " + std::to_string(r) + " on host " + mine.host + ": " + mine.reason;
  for (std::size_t other = 0; other < r && !one_device; ++other) {
    if (offers[other].host != mine.host || offers[other].id != mine.id) continue;
    const std::string ranks = "ranks " + std::to_string(other) + " and " + std::to_string(r);
    return "host " + mine.host + " has " + count_of(mine.visible, "GPU") + " for " +
           count_of(mine.local_ranks, "rank") + ", so that " + ranks + " would share " + mine.name + " (" +
           mine.id + "): start at most one rank a GPU there, or let each rank see a GPU of its own " +
           "(srun --gpus-per-task=1)";
  }
  return {};
}

}  // namespace

std::size_t gpu_of_rank(const Group& group, std::size_t visible) {
  return visible == 0 ? 0 : static_cast<std::size_t>(group.local_rank) % visible;
}

ManyTokensAs many_tokens_as(Numerics numerics, GpuProducts products) {
  if (numerics == Numerics::kInvariant) {
    if (products != GpuProducts::kCublasLt) return ManyTokensAs::kF32;
    throw Error(
        ExitCode::kConfig,
        "gpu_products cublaslt needs numerics fast: the library sums in another order for every shape");
  }
  if (products == GpuProducts::kOwn) return ManyTokensAs::kBf16;
  const LibraryPresence cublaslt = find_cublaslt();
  if (cublaslt.usable) return ManyTokensAs::kCublasLt;
  if (products == GpuProducts::kCublasLt)
    throw Error(ExitCode::kUnavailable, "gpu_products cublaslt: " + cublaslt.text);
  return ManyTokensAs::kBf16;
}

std::optional<int> choose_gpu(const Group& group, DeviceChoice choice, Numerics numerics) {
  if (choice == DeviceChoice::kCpu || (choice == DeviceChoice::kAuto && !cuda_is_built()))
    return std::nullopt;
  const CudaDevices seen = cuda_devices();
  const std::size_t own = gpu_of_rank(group, seen.devices.size());
  Offer mine{
      static_cast<std::int32_t>(seen.devices.size()), group.local_ranks, seen.reason, group.host, "", "", 0};
  if (!seen.devices.empty()) {
    mine.id = seen.devices[own].id;
    mine.name = seen.devices[own].name;
    mine.generation = seen.devices[own].generation;
  }
  std::vector<Offer> offers;
  for (const auto& bytes : group.ranks.gather(mine.to_bytes())) offers.push_back(Offer::from_bytes(bytes));

  std::vector<std::byte> all_have{std::byte{1}};
  agree(group, [&] {
    for (std::size_t r = 0; r < offers.size(); ++r) {
      const std::string why = refusal(offers, r, group.one_device);
      if (!why.empty() && choice == DeviceChoice::kCuda)
        throw Error(ExitCode::kUnavailable, "device cuda: " + why + "; or use --device cpu");
      if (!why.empty()) all_have[0] = std::byte{0};
    }
    for (std::size_t r = 1; r < offers.size() && all_have[0] != std::byte{0}; ++r) {
      const bool unlike = offers[r].generation != offers[0].generation && numerics == Numerics::kInvariant;
      if (unlike && choice != DeviceChoice::kCuda) {
        all_have[0] = std::byte{0};
        break;
      }
      if (unlike)
        throw Error(ExitCode::kUnavailable,
                    "device cuda: rank 0 has " + offers[0].name + ", rank " + std::to_string(r) + " " +
                        offers[r].name +
                        ": generations may round differently inside products, so with invariant "
                        "numerics all GPUs must be of one; take like GPUs, or --numerics fast");
      if (offers[r].name != offers[0].name)
        log_warning("unlike GPUs: rank 0 has " + offers[0].name + ", rank " + std::to_string(r) + " " +
                    offers[r].name + "; shares weighs their parts");
    }
  });
  group.control.broadcast(all_have);
  return all_have[0] != std::byte{0} ? std::optional<int>(static_cast<int>(own)) : std::nullopt;
}

}  // namespace llm_tp
