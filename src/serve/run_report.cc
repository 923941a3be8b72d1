#include "serve/run_report.h"

#include <array>
#include <cstdio>
#include <ctime>

#include "base/error.h"
#include "base/log.h"
#include "base/whole_file.h"
#include "serve/svg_chart.h"

namespace llm_tp {
namespace {

constexpr std::chrono::minutes kWriteEvery{1};

constexpr char kHead[] = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<style>
:root { --ground: #f7f6f3; --ink: #23221e; --soft: #6c6a62; --line: #e1ded6; --k0: #0b6e68; --k1: #c0781a; --k2: #8d8a80; --k3: #4a63b0; }
@media (prefers-color-scheme: dark) { :root { --ground: #161716; --ink: #e9e8e3; --soft: #9d9c94; --line: #323532; --k0: #58c2b8; --k1: #d9a441; --k2: #6d706b; --k3: #8ea3e6; } }
body { margin: 0 auto; max-width: 1000px; padding: 32px 20px; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 24px; font-weight: 600; letter-spacing: -0.02em; margin: 0; } h2 { font-size: 16px; margin: 34px 0 8px; }
.when, figcaption, th, dt, .legend { color: var(--soft); font-size: 13px; font-weight: 400; }
dl { display: flex; flex-wrap: wrap; gap: 14px 34px; margin: 24px 0 0; } dd { margin: 0; font-size: 24px; font-weight: 600; letter-spacing: -0.02em; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th, td { padding: 4px 20px 4px 0; text-align: right; } th:first-child, td:first-child { text-align: left; } tr + tr { border-top: 1px solid var(--line); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 20px 32px; } figure { margin: 0; min-width: 0; } svg { width: 100%; display: block; }
svg text { fill: var(--soft); font-size: 11.5px; } .grid { stroke: var(--line); } .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.line.c0 { stroke: var(--k0); } .line.c1 { stroke: var(--k1); } .line.c2 { stroke: var(--k2); } .line.c3 { stroke: var(--k3); }
rect.c0 { fill: var(--k0); } rect.c1 { fill: var(--k1); } rect.c2 { fill: var(--k2); } rect.c3 { fill: var(--k3); }
.legend { margin: 2px 0 0; } .legend span { margin-right: 14px; } .legend span::before { content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 2px; margin-right: 6px; background: currentcolor; }
.legend .c0::before { background: var(--k0); } .legend .c1::before { background: var(--k1); } .legend .c2::before { background: var(--k2); } .legend .c3::before { background: var(--k3); }
.wide { overflow-x: auto; } td { white-space: nowrap; } pre { overflow-x: auto; font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
</style>
)";

std::string time_text(std::time_t time) {
  std::tm parts{};
  ::localtime_r(&time, &parts);
  std::array<char, 64> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M:%S %z", &parts);
  return text.data();
}

std::string time_cell(double seconds) {
  return "<td>" + (seconds < 1 ? short_number(seconds * 1000) + " ms" : short_number(seconds) + " s") +
         "</td>";
}

std::string latency_row(const char* name, const Histogram& of) {
  std::string row = "<tr><td>" + std::string(name) + "</td><td>" + std::to_string(of.count()) + "</td>";
  for (const double q : {0.5, 0.9, 0.95, 0.99}) row += time_cell(of.quantile(q));
  return row + time_cell(of.max()) + time_cell(of.mean()) + "</tr>\n";
}

/// A second, of sums.
ChartLine rate_line(const char* name, const TimeSeries& series) {
  ChartLine line{name, {}};
  for (const TimeSeries::Slot& slot : series.slots())
    line.values.emplace_back(slot.sum / series.slot_seconds());
  return line;
}

/// What a step had; a gap where there was none.
ChartLine mean_line(const char* name, const TimeSeries& series) {
  ChartLine line{name, {}};
  for (const TimeSeries::Slot& slot : series.slots()) {
    line.values.emplace_back();
    if (slot.count > 0) line.values.back() = slot.sum / static_cast<double>(slot.count);
  }
  return line;
}

/// Both series were fed together, so their slots agree.
ChartLine share_line(const char* name, const TimeSeries& part, const TimeSeries& whole) {
  ChartLine line{name, {}};
  for (std::size_t i = 0; i < whole.slots().size(); ++i) {
    line.values.emplace_back();
    if (whole.slots()[i].sum > 0) line.values.back() = 100 * part.slots()[i].sum / whole.slots()[i].sum;
  }
  return line;
}

std::string tile(const std::string& name, const std::string& value) {
  return "<div><dt>" + name + "</dt><dd>" + value + "</dd></div>";
}

}  // namespace

RunReport::RunReport(std::string title, std::string configuration)
    : title_(std::move(title)),
      configuration_(std::move(configuration)),
      began_text_(time_text(std::time(nullptr))) {}

void RunReport::first_token(double seconds) {
  const std::lock_guard lock(mutex_);
  first_token_.add(seconds);
}
void RunReport::token_gap(double seconds) {
  const std::lock_guard lock(mutex_);
  token_gap_.add(seconds);
}
void RunReport::whole(double seconds) {
  const std::lock_guard lock(mutex_);
  whole_.add(seconds);
}
void RunReport::tokens(const Usage& usage) {
  const std::lock_guard lock(mutex_);
  usage_.prompt_tokens += usage.prompt_tokens;
  usage_.completion_tokens += usage.completion_tokens;
  usage_.cached_tokens += usage.cached_tokens;
  const double at = now();
  cached_.add(at, static_cast<double>(usage.cached_tokens));
  asked_.add(at, static_cast<double>(usage.prompt_tokens));
}

void RunReport::observe(const ServiceState& state, const std::vector<RankPlace>& places) {
  const std::lock_guard lock(mutex_);
  if (rank_names_.empty())
    for (std::size_t r = 0; r < places.size(); ++r)
      rank_names_.push_back(std::to_string(r) + " " + places[r].host.substr(0, 10));
  const double at = now();
  generated_.add(at, static_cast<double>(state.generated_tokens - last_.generated_tokens));
  prompt_.add(at, static_cast<double>(state.prompt_tokens - last_.prompt_tokens));
  sequences_.add(at, static_cast<double>(state.sequences_running));
  waiting_.add(at, static_cast<double>(state.jobs_waiting));
  pages_.add(at, static_cast<double>(state.pages_in_use));
  last_ = state;
}

std::string RunReport::tiles() const {
  const double seconds = now();
  const double cached = usage_.prompt_tokens > 0 ? 100 * static_cast<double>(usage_.cached_tokens) /
                                                       static_cast<double>(usage_.prompt_tokens)
                                                 : 0;
  return "<dl>" + tile("answered", std::to_string(whole_.count())) +
         tile("tokens generated", std::to_string(last_.generated_tokens)) +
         tile("a second", short_number(static_cast<double>(last_.generated_tokens) / seconds)) +
         tile("prompt tokens run", std::to_string(last_.prompt_tokens)) +
         tile("prompt tokens from the cache", short_number(cached) + "%") +
         tile("steps", std::to_string(last_.steps)) + "</dl>\n";
}

std::string RunReport::latencies() const {
  return "<h2>Latency</h2>\n<div "
         "class=\"wide\"><table><tr><th></th><th>count</th><th>50%</th><th>90%</th><th>95%</th><th>99%</"
         "th>"
         "<th>most</th><th>mean</th></tr>\n" +
         latency_row("To the first token", first_token_) + latency_row("Between tokens", token_gap_) +
         latency_row("Whole request", whole_) + "</table></div>\n";
}

std::string RunReport::charts() const {
  std::string html = "<h2>Over time</h2>\n<div class=\"charts\">\n";
  html += line_chart("Throughput", "tokens a second", generated_.slot_seconds(),
                     {rate_line("generated", generated_), rate_line("of prompts", prompt_)});
  html +=
      line_chart("Batch", "sequences a step", sequences_.slot_seconds(), {mean_line("running", sequences_)});
  html += line_chart("Queue", "requests", waiting_.slot_seconds(), {mean_line("waiting", waiting_)});
  html += line_chart("KV pages in use", "of " + std::to_string(last_.pages), pages_.slot_seconds(),
                     {mean_line("pages", pages_)});
  html += line_chart("Prompt tokens from the prefix cache", "%", asked_.slot_seconds(),
                     {share_line("cached", cached_, asked_)});
  std::vector<ChartBar> bars;
  for (std::size_t r = 0; r < last_.rank_times.size() && r < rank_names_.size(); ++r) {
    const RankTime& time = last_.rank_times[r];
    if (time.step <= 0) continue;
    const double sums = time.sums / time.step, waits = time.waiting / time.step;
    bars.push_back({rank_names_[r], {std::max(0.0, 1 - sums - waits), sums, waits}});
  }
  html += bar_chart("Time of each rank in steps", {"computing", "sums", "waiting for others"}, bars);
  return html + "</div>\n";
}

std::string RunReport::html() const {
  const std::lock_guard lock(mutex_);
  return std::string(kHead) + "<title>" + escaped(title_) + "</title></head><body>\n<h1>" + escaped(title_) +
         "</h1>\n<p class=\"when\">" + began_text_ + " to " + time_text(std::time(nullptr)) + ", llm-tp " +
         LLM_TP_VERSION + "</p>\n" + tiles() + latencies() + charts() +
         "<h2>Configuration</h2>\n<pre tabindex=\"0\">" + escaped(configuration_) +
         "</pre>\n</body></html>\n";
}

ReportFile::ReportFile(const RunReport& report, std::string path) : report_(report), path_(std::move(path)) {
  write();
  thread_ = std::thread([this] {
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, kWriteEvery, [this] { return over_; })) try {
        write();
      } catch (const Error& error) {
        log_warning(error.what());
      }
  });
}

ReportFile::~ReportFile() { finish(); }

void ReportFile::finish() {
  {
    const std::lock_guard lock(mutex_);
    if (over_) return;
    over_ = true;
  }
  ended_.notify_one();
  thread_.join();
  try {
    write();
  } catch (const Error& error) {
    log_warning(error.what());
  }
}

void ReportFile::write() const { replace_file(path_, report_.html()); }

}  // namespace llm_tp
