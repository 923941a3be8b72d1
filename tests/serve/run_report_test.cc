#include "serve/run_report.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "serve/svg_chart.h"
#include "temporary_folder.h"

namespace llm_tp {
namespace {

TEST(Histogram, QuantilesAreRightWithinABucket) {
  Histogram h;
  EXPECT_EQ(h.quantile(0.5), 0);
  for (int i = 1; i <= 10000; ++i) h.add(i * 1e-4);  // 0.1 ms to 1 s, evenly
  for (const double q : {0.01, 0.25, 0.5, 0.9, 0.99}) EXPECT_NEAR(h.quantile(q), q, 0.06 * q) << q;
  EXPECT_EQ(h.quantile(1), h.max());
  EXPECT_NEAR(h.mean(), 0.50005, 1e-9);
}

TEST(Histogram, ValuesOutsideCountAtTheEnds) {
  Histogram h;
  for (const double seconds : {0.0, 1e-9, 1e-4}) h.add(seconds);
  EXPECT_EQ(h.buckets().front(), 3u);
  h.add(1e9);
  EXPECT_EQ(h.buckets().back(), 1u);
  EXPECT_NEAR(h.quantile(1), 1000, 1e-6) << "the end of the last bucket";
  EXPECT_EQ(h.max(), 1e9);
}

TEST(TimeSeries, HalvesItsResolutionAndLosesNothing) {
  TimeSeries series;
  for (int second = 0; second < 1000; ++second) series.add(second, 3);
  EXPECT_EQ(series.slot_seconds(), 8);
  EXPECT_LE(series.slots().size(), TimeSeries::kMostSlots);
  double sum = 0;
  std::int64_t count = 0;
  for (std::size_t i = 0; i < series.slots().size(); ++i) {
    const TimeSeries::Slot& slot = series.slots()[i];
    EXPECT_EQ(slot.count, i + 1 < series.slots().size() ? 8 : 1000 % 8 == 0 ? 8 : 1000 % 8);
    sum += slot.sum, count += slot.count;
  }
  EXPECT_EQ(sum, 3000);
  EXPECT_EQ(count, 1000);
}

TEST(TimeSeries, AYearOfSilenceIsNoMemory) {
  TimeSeries series;
  series.add(0, 1);
  series.add(3e7, 1);
  EXPECT_LE(series.slots().size(), TimeSeries::kMostSlots);
  EXPECT_EQ(series.slots().front().sum, 1);
  EXPECT_EQ(series.slots().back().sum, 1);
}

TEST(SvgChart, TextIsEscaped) {
  const std::string chart = line_chart("<b>\"T'&", "<i>", 1, {{"<s>", {1, std::nullopt, 2}}});
  EXPECT_EQ(chart.find("<b>"), std::string::npos);
  EXPECT_EQ(chart.find("<i>"), std::string::npos);
  EXPECT_EQ(chart.find("<s>"), std::string::npos);
  EXPECT_NE(chart.find("&lt;b&gt;&quot;T&#39;&amp;"), std::string::npos);
}

TEST(SvgChart, AGapIsNotDrawnOver) {
  const std::string chart = line_chart("t", "u", 1, {{"a", {1, 1, std::nullopt, 1, 1}}});
  const std::size_t at = chart.find("class=\"line c0\" d=\"");
  const std::string path = chart.substr(at, chart.find('>', at) - at);
  EXPECT_EQ(std::count(path.begin(), path.end(), 'M'), 2) << path;
  EXPECT_EQ(std::count(path.begin(), path.end(), 'L'), 2) << path;
}

TEST(SvgChart, AnEmptyChartAndNumbersAreFinite) {
  for (const std::string& chart : {line_chart("t", "u", 1, {{"a", {}}}),
                                   line_chart("t", "u", 1, {{"a", {0.0}}}), bar_chart("t", {"p"}, {})}) {
    EXPECT_EQ(chart.find("nan"), std::string::npos) << chart;
    EXPECT_EQ(chart.find("inf"), std::string::npos) << chart;
  }
}

ServiceState state_of(std::uint64_t generated) {
  ServiceState state;
  state.generated_tokens = generated;
  state.prompt_tokens = 100;
  state.steps = 7;
  state.pages = 64;
  state.rank_times = {{4, 1, 2}, {4, 0.5, 0}};
  return state;
}

TEST(RunReport, HoldsWhatTheRunDidInOneFile) {
  RunReport report("serve of <model>", "key  <value> & \"more\"");
  report.observe(state_of(40), {{"alpha", 1, "cpu", 1}, {"<beta>", 2, "cpu", 1}});
  report.observe(state_of(90), {});
  report.first_token(0.25);
  for (int i = 0; i < 100; ++i) report.token_gap(0.02);
  report.whole(2.5);
  report.tokens({80, 50, 20});
  const std::string html = report.html();
  EXPECT_EQ(html.find("<model>"), std::string::npos);
  EXPECT_EQ(html.find("<value>"), std::string::npos);
  EXPECT_EQ(html.find("<beta>"), std::string::npos);
  EXPECT_NE(html.find("key  &lt;value&gt; &amp; &quot;more&quot;"), std::string::npos);
  EXPECT_NE(html.find("<dd>90</dd>"), std::string::npos) << "tokens, each counted once";
  EXPECT_NE(html.find("<dd>25%</dd>"), std::string::npos) << "20 of 80 prompt tokens were cached";
  EXPECT_NE(html.find("sums 25.0%"), std::string::npos) << "of rank 0's time";
  EXPECT_NE(html.find("waiting for others 50.0%"), std::string::npos);
  EXPECT_NE(html.find("<td>Between tokens</td><td>100</td><td>20 ms</td>"), std::string::npos) << html;
  for (const char* outside : {"http:", "https:", "src=", "<script"})
    EXPECT_EQ(html.find(outside), std::string::npos);
}

TEST(RunReport, ItsMemoryDoesNotGrowWithTheRun) {
  RunReport report("t", "c");
  const auto size_after = [&](int steps) {
    for (int i = 0; i < steps; ++i) {
      report.observe(state_of(static_cast<std::uint64_t>(i)), {});
      report.token_gap(1e-4 * i);
    }
    return report.html().size();
  };
  const std::size_t early = size_after(1000);
  EXPECT_LT(size_after(100000), early + 2000);
}

TEST(ReportFile, IsThereFromTheStartAndWholeAtTheEnd) {
  const TemporaryFolder folder;
  const std::string path = folder / "report.html";
  RunReport report("t", "c");
  {
    ReportFile file(report, path);
    EXPECT_TRUE(std::filesystem::exists(path));
    report.whole(1);
  }
  const std::string text = read_file(path);
  EXPECT_NE(text.find("<dt>answered</dt><dd>1</dd>"), std::string::npos);
  EXPECT_TRUE(text.ends_with("</html>\n"));
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
  EXPECT_THROW(ReportFile(report, folder / "no/such/folder.html"), Error);
}

}  // namespace
}  // namespace llm_tp
