#include "serve/svg_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace llm_tp {
namespace {

constexpr double kWidth = 640, kHeight = 180, kLeft = 52, kRight = 8, kTop = 10, kBottom = 22;
constexpr int kTicks = 4;

/// The least of 1, 2, 2.5, 5 times a power of ten that is no less.
double round_up(double value) {
  if (value <= 0) return 1;
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 2.5, 5.0, 10.0})
    if (value <= step * power * (1 + 1e-9)) return step * power;
  return 10 * power;
}

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

std::string duration(double seconds) {
  if (seconds < 120) return short_number(seconds) + " s";
  if (seconds < 7200) return short_number(seconds / 60) + " min";
  return short_number(seconds / 3600) + " h";
}

std::string text_at(double x, double y, const char* anchor, const std::string& text) {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" + anchor + "\">" +
         escaped(text) + "</text>";
}

std::string colour(std::size_t index) { return "c" + std::to_string(index % 4); }

std::string legend(const std::vector<std::string>& names) {
  std::string html = "<p class=\"legend\">";
  for (std::size_t i = 0; i < names.size(); ++i)
    html += "<span class=\"" + colour(i) + "\">" + escaped(names[i]) + "</span> ";
  return html + "</p>";
}

std::string figure(const std::string& title, const std::string& svg, const std::vector<std::string>& names) {
  return "<figure><figcaption>" + escaped(title) + "</figcaption>" + svg + legend(names) + "</figure>\n";
}

std::string open_svg(double height, const std::string& title) {
  return "<svg viewBox=\"0 0 " + number(kWidth) + " " + number(height) + "\" role=\"img\" aria-label=\"" +
         escaped(title) + "\">";
}

/// Moves where a gap ends, draws to its neighbour otherwise. A value between two gaps is a dot.
std::string path_of(const ChartLine& line, double step, double most) {
  std::string path;
  bool open = false;
  for (std::size_t i = 0; i < line.values.size(); ++i) {
    if (!line.values[i]) {
      open = false;
      continue;
    }
    const double x = kLeft + static_cast<double>(i) * step;
    const double y = kHeight - kBottom - *line.values[i] / most * (kHeight - kBottom - kTop);
    path += (open ? "L" : "M") + number(x) + " " + number(y);
    if (!open) path += "h0.1";
    open = true;
  }
  return path;
}

}  // namespace

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '&':
        safe += "&amp;";
        break;
      case '<':
        safe += "&lt;";
        break;
      case '>':
        safe += "&gt;";
        break;
      case '"':
        safe += "&quot;";
        break;
      case '\'':
        safe += "&#39;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

std::string short_number(double value) {
  std::array<char, 32> text{};
  const double size = std::abs(value);
  std::snprintf(text.data(), text.size(), size >= 1000 ? "%.0f" : "%.3g", value);
  return text.data();
}

std::string line_chart(const std::string& title, const std::string& unit, double slot_seconds,
                       const std::vector<ChartLine>& lines) {
  double most = 0;
  std::size_t slots = 0;
  std::vector<std::string> names;
  for (const ChartLine& line : lines) {
    names.push_back(line.name);
    slots = std::max(slots, line.values.size());
    for (const auto& value : line.values) most = std::max(most, value.value_or(0));
  }
  most = round_up(most);
  std::string svg = open_svg(kHeight, title);
  for (int tick = 0; tick <= kTicks; ++tick) {
    const double share = static_cast<double>(tick) / kTicks;
    const double y = kHeight - kBottom - share * (kHeight - kBottom - kTop);
    svg += "<path class=\"grid\" d=\"M" + number(kLeft) + " " + number(y) + "H" + number(kWidth - kRight) +
           "\"/>";
    svg += text_at(kLeft - 6, y + 4, "end", short_number(share * most));
    const double seconds = share * slot_seconds * static_cast<double>(slots);
    const double x = kLeft + share * (kWidth - kLeft - kRight);
    svg += text_at(x, kHeight - 5,
                   tick == 0        ? "start"
                   : tick == kTicks ? "end"
                                    : "middle",
                   duration(seconds));
  }
  const double step = slots > 1 ? (kWidth - kLeft - kRight) / static_cast<double>(slots - 1) : 0;
  for (std::size_t i = 0; i < lines.size(); ++i)
    svg += "<path class=\"line " + colour(i) + "\" d=\"" + path_of(lines[i], step, most) + "\"/>";
  return figure(title + ", " + unit, svg + "</svg>", names);
}

std::string bar_chart(const std::string& title, const std::vector<std::string>& parts,
                      const std::vector<ChartBar>& bars) {
  constexpr double kRow = 24, kNames = 84;
  std::string svg = open_svg(kRow * static_cast<double>(bars.size()) + 4, title);
  for (std::size_t b = 0; b < bars.size(); ++b) {
    const double y = kRow * static_cast<double>(b) + 4;
    svg += text_at(kNames - 8, y + 13, "end", bars[b].name);
    double x = kNames;
    for (std::size_t i = 0; i < bars[b].shares.size(); ++i) {
      const double width = bars[b].shares[i] * (kWidth - kNames - kRight);
      svg += "<rect class=\"" + colour(i) + "\" x=\"" + number(x) + "\" y=\"" + number(y) + "\" width=\"" +
             number(width) + "\" height=\"16\"><title>" + escaped(parts[i]) + " " +
             number(100 * bars[b].shares[i]) + "%</title></rect>";
      x += width;
    }
  }
  return figure(title, svg + "</svg>", parts);
}

}  // namespace llm_tp
