#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llm_tp {

/// Text for HTML and SVG, also between quotes.
std::string escaped(std::string_view text);
/// A number with three digits that count: "1230", "4.56", "0.0012".
std::string short_number(double value);

/// One line of a chart; a gap where there is no value.
struct ChartLine {
  std::string name;
  std::vector<std::optional<double>> values;
};
/// Lines over time as inline SVG; colours are the classes c0, c1... of the page. slot_seconds: between two
/// values.
std::string line_chart(const std::string& title, const std::string& unit, double slot_seconds,
                       const std::vector<ChartLine>& lines);

/// One bar, cut into shares of it that add up to 1 at most.
struct ChartBar {
  std::string name;
  std::vector<double> shares;
};
/// Bars below each other; parts: the name of each share.
std::string bar_chart(const std::string& title, const std::vector<std::string>& parts,
                      const std::vector<ChartBar>& bars);

}  // namespace llm_tp
