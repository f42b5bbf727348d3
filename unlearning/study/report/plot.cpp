#include "unlearning/study/report/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "unlearning/study/table.h"

namespace nepenthe {
namespace {

constexpr double line_height = 16;

/// Where a value lies on an axis, in [0, 1] between its ends.
struct Scale {
  double low = 0, high = 1;
  bool log = false;

  bool holds(double value) const { return std::isfinite(value) && (!log || value > 0); }
  double operator()(double value) const {
    return log ? std::log10(value / low) / std::log10(high / low) : (value - low) / (high - low);
  }
};

struct Tick {
  double value = 0;
  std::string label;  // empty: a minor tick
};

Scale scale_of(const PlotAxis& axis, const std::vector<double>& values) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : values) {
    if (!std::isfinite(value) || (axis.log && value <= 0)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (axis.low) low = *axis.low;
  if (axis.high) high = *axis.high;
  if (!std::isfinite(low)) low = axis.log ? 0.1 : 0;
  if (!std::isfinite(high)) high = axis.log ? 1 : low + 1;
  if (axis.log) {
    if (!axis.low) low = std::pow(10, std::floor(std::log10(low) + 1e-9));
    if (!axis.high) high = std::pow(10, std::ceil(std::log10(high) - 1e-9));
    if (high <= low) high = 10 * low;
    return {.low = low, .high = high, .log = true};
  }
  if (high <= low) {
    const double around = std::max(std::abs(low) * 0.1, 1e-3);
    if (!axis.low) low -= around;
    high = std::max(high, low + 2 * around);
  }
  // To the next tick beyond the data.
  const std::vector<double> ticks = linear_ticks(low, high, 5, axis.whole);
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : high - low;
  if (!axis.low) low = std::floor(low / step + 1e-9) * step;
  if (!axis.high) high = std::ceil(high / step - 1e-9) * step;
  return {.low = low, .high = high, .log = false};
}

std::vector<Tick> ticks_of(const PlotAxis& axis, const Scale& scale, int target) {
  std::vector<Tick> ticks;
  if (scale.log) {
    const int first = static_cast<int>(std::ceil(std::log10(scale.low / axis.unit) - 1e-9));
    const int last = static_cast<int>(std::floor(std::log10(scale.high / axis.unit) + 1e-9));
    const int every = std::max(1, (last - first + target) / (target + 1));
    const bool plain = first >= -2 && last <= 3;
    for (int exponent = first - 1; exponent <= last; ++exponent) {
      const double decade = std::pow(10, exponent) * axis.unit;
      if (exponent >= first) {
        ticks.push_back({decade, (last - exponent) % every != 0 ? std::string()
                                 : plain                        ? fmt::format("{:g}", std::pow(10, exponent))
                                                                : power_of_ten(exponent)});
      }
      if (last - first > 4) continue;
      for (int digit = 2; digit < 10; ++digit) {
        const double value = digit * decade;
        if (value > scale.low * (1 + 1e-9) && value < scale.high * (1 - 1e-9)) ticks.push_back({value, ""});
      }
    }
    return ticks;
  }
  const std::vector<double> values = linear_ticks(scale.low / axis.unit, scale.high / axis.unit, target, axis.whole);
  const double step = values.size() > 1 ? values[1] - values[0] : 1;
  const int digits = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  for (const double value : values) {
    ticks.push_back({value * axis.unit, fmt::format("{:.{}f}", std::abs(value) < step / 1e6 ? 0.0 : value, digits)});
  }
  return ticks;
}

/// The area of a plot within its axes.
struct Frame {
  double left = 0, top = 0, width = 0, height = 0;
  Scale x, y;

  double at_x(double value) const { return left + width * x(value); }
  double at_y(double value) const { return top + height * (1 - y(value)); }
  bool holds(double a, double b) const { return x.holds(a) && y.holds(b); }
};

void draw_axes(Svg& svg, const Plot& plot, const Frame& frame) {
  const double bottom = frame.top + frame.height;
  for (const Tick& tick : ticks_of(plot.y, frame.y, 5)) {
    const double y = frame.at_y(tick.value);
    if (!tick.label.empty()) svg.line(frame.left, y, frame.left + frame.width, y, "grid");
    svg.line(frame.left - (tick.label.empty() ? 2 : 4), y, frame.left, y, "axis");
    if (!tick.label.empty()) svg.text(frame.left - 7, y + 4, tick.label, "end", "tick");
  }
  for (const Tick& tick : ticks_of(plot.x, frame.x, 6)) {
    const double x = frame.at_x(tick.value);
    svg.line(x, bottom, x, bottom + (tick.label.empty() ? 2 : 4), "axis");
    if (!tick.label.empty()) svg.text(x, bottom + 17, tick.label, "middle", "tick");
  }
  svg.line(frame.left, bottom, frame.left + frame.width, bottom, "axis");
  svg.line(frame.left, frame.top, frame.left, bottom, "axis");
  svg.text(frame.left + frame.width / 2, bottom + 35, plot.x.title, "middle", "label");
  svg.text(13, frame.top + frame.height / 2, plot.y.title, "middle", "label", true);
}

std::string steps_path(const PlotSeries& series, const Frame& frame, bool closed) {
  // x holds the edges, one more than y has values.
  const double bottom = frame.top + frame.height;
  std::string d;
  for (std::size_t i = 0; i < series.y.size(); ++i) {
    const double y = frame.y.holds(series.y[i]) ? std::min(frame.at_y(series.y[i]), bottom) : bottom;
    if (i == 0) d = fmt::format("M{:.1f} {:.1f}", frame.at_x(series.x[0]), closed ? bottom : y);
    d += fmt::format("V{:.1f}H{:.1f}", y, frame.at_x(series.x[i + 1]));
  }
  if (closed) d += fmt::format("V{:.1f}Z", bottom);
  return d;
}

void draw_series(Svg& svg, const PlotSeries& series, const Frame& frame) {
  const std::string color = fmt::format("s{}", series.style);
  if (series.drawn == PlotSeries::Drawn::steps || series.drawn == PlotSeries::Drawn::filled_steps) {
    if (series.y.empty()) return;
    if (series.drawn == PlotSeries::Drawn::filled_steps)
      svg.path(steps_path(series, frame, true), fmt::format("area {}", color));
    svg.path(steps_path(series, frame, false), fmt::format("line {0} d{1}", color, series.style));
    return;
  }
  if (!series.low.empty()) {
    std::string there, back;
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!frame.holds(series.x[i], series.low[i]) || !frame.holds(series.x[i], series.high[i])) continue;
      there += fmt::format("{}{:.1f} {:.1f}", there.empty() ? 'M' : 'L', frame.at_x(series.x[i]),
                           frame.at_y(series.high[i]));
      back = fmt::format("L{:.1f} {:.1f}{}", frame.at_x(series.x[i]), frame.at_y(series.low[i]), back);
    }
    if (!there.empty()) svg.path(fmt::format("{}{}Z", there, back), fmt::format("area {}", color));
  }
  if (series.drawn != PlotSeries::Drawn::markers) {
    std::string d;
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (!frame.holds(series.x[i], series.y[i])) continue;
      d += fmt::format("{}{:.1f} {:.1f}", d.empty() ? 'M' : 'L', frame.at_x(series.x[i]), frame.at_y(series.y[i]));
    }
    if (!d.empty()) svg.path(d, fmt::format("line {0} d{1}", color, series.style));
  }
  if (series.drawn != PlotSeries::Drawn::line) {
    for (std::size_t i = 0; i < series.x.size(); ++i) {
      if (frame.holds(series.x[i], series.y[i])) {
        svg.marker(series.style, frame.at_x(series.x[i]), frame.at_y(series.y[i]), color);
      }
    }
  }
}

struct LegendEntry {
  const PlotSeries* series = nullptr;
  double x = 0;
  int row = 0;
};

/// Entries in rows of at most `width`.
std::vector<LegendEntry> legend_of(const std::vector<PlotSeries>& series, double width) {
  std::vector<LegendEntry> entries;
  double x = 0;
  int row = 0;
  for (const PlotSeries& one : series) {
    if (one.label.empty()) continue;
    const double needed = 30 + text_width(one.label) + 14;
    if (x > 0 && x + needed - 14 > width) {
      x = 0;
      ++row;
    }
    entries.push_back({&one, x, row});
    x += needed;
  }
  return entries;
}

void draw_legend(Svg& svg, const std::vector<LegendEntry>& entries, double left, double top) {
  for (const LegendEntry& entry : entries) {
    const PlotSeries& series = *entry.series;
    const double x = left + entry.x, y = top + line_height * entry.row;
    const std::string color = fmt::format("s{}", series.style);
    if (series.drawn == PlotSeries::Drawn::filled_steps) svg.rectangle(x, y - 9, 24, 9, fmt::format("area {}", color));
    if (series.drawn != PlotSeries::Drawn::markers) {
      const double at = series.drawn == PlotSeries::Drawn::filled_steps ? y - 9 : y - 4;
      svg.line(x, at, x + 24, at, fmt::format("line {0} d{1}", color, series.style));
    }
    if (series.drawn == PlotSeries::Drawn::markers || series.drawn == PlotSeries::Drawn::line_and_markers) {
      svg.marker(series.style, x + 12, y - 4, color);
    }
    svg.text(x + 30, y, series.label, "start", "key");
  }
}

/// Labels at the right ends of the lines, moved apart where they would meet.
void draw_direct_labels(Svg& svg, const Plot& plot, const Frame& frame) {
  struct Label {
    double y = 0;
    std::string text, css;
  };
  std::vector<Label> labels;
  for (const PlotSeries& series : plot.series) {
    if (series.y.empty() || series.label.empty()) continue;
    labels.push_back({frame.at_y(series.y.back()), series.label, fmt::format("key s{} colored", series.style)});
  }
  for (const PlotReference& reference : plot.references) {
    if (reference.label.empty()) continue;
    labels.push_back({frame.at_y(reference.y), reference.label,
                      reference.style < 0 ? std::string("key") : fmt::format("key s{} colored", reference.style)});
  }
  std::ranges::sort(labels, {}, &Label::y);
  constexpr double gap = 14;
  double above = frame.top - gap;
  for (Label& label : labels) above = label.y = std::max(label.y, above + gap);
  double below = frame.top + frame.height + gap;
  for (auto label = labels.rbegin(); label != labels.rend(); ++label)
    below = label->y = std::min(label->y, below - gap);
  for (const Label& label : labels) svg.text(frame.left + frame.width + 6, label.y + 4, label.text, "start", label.css);
}

}  // namespace

Svg::Svg(double width, double height, const std::string& title, const std::string& description)
    : text_(fmt::format(
          "<svg viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" xmlns=\"http://www.w3.org/2000/svg\"><title>{}</title>"
          "<desc>{}</desc>\n",
          width, height, html_escaped(title), html_escaped(description))) {}

void Svg::line(double x1, double y1, double x2, double y2, const std::string& css) {
  text_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1, x2, y2,
                       css);
}
void Svg::rectangle(double x, double y, double width, double height, const std::string& css) {
  text_ += fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" class=\"{}\"/>\n", x, y,
                       width, height, css);
}
void Svg::circle(double x, double y, double radius, const std::string& css) {
  text_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" class=\"{}\"/>\n", x, y, radius, css);
}
void Svg::path(const std::string& d, const std::string& css) {
  text_ += fmt::format("<path d=\"{}\" class=\"{}\"/>\n", d, css);
}
void Svg::text(double x, double y, const std::string& text, const std::string& anchor, const std::string& css,
               bool turned) {
  const std::string turn = turned ? fmt::format(" transform=\"rotate(-90 {:.1f} {:.1f})\"", x, y) : std::string();
  text_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"{}\"{}>{}</text>\n", x, y, anchor,
                       css, turn, html_escaped(text));
}

void Svg::marker(int style, double x, double y, const std::string& css) {
  const std::string classes = fmt::format("mark {}", css);
  switch (style) {
    case 0: circle(x, y, 3.5, classes); return;
    case 1: rectangle(x - 3.2, y - 3.2, 6.4, 6.4, classes); return;
    case 2: path(fmt::format("M{:.1f} {:.1f}l4 7h-8z", x, y - 4.4), classes); return;
    case 3: path(fmt::format("M{:.1f} {:.1f}l4.4 4.4l-4.4 4.4l-4.4-4.4z", x, y - 4.4), classes); return;
    case 4:
      path(fmt::format("M{:.1f} {:.1f}l6.4 6.4m0-6.4l-6.4 6.4", x - 3.2, y - 3.2), fmt::format("line {}", css));
      return;
    default: path(fmt::format("M{:.1f} {:.1f}h8m-4-4v8", x - 4, y), fmt::format("line {}", css)); return;
  }
}

void Svg::begin_clip(double x, double y, double width, double height) {
  // A nested drawing cuts off what lies outside and needs no name of its own.
  text_ += fmt::format(
      "<svg x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"{2:.1f}\" height=\"{3:.1f}\" viewBox=\"{0:.1f} {1:.1f} {2:.1f} "
      "{3:.1f}\">\n",
      x, y, width, height);
}
void Svg::end_clip() { text_ += "</svg>\n"; }

std::string Svg::finish() { return fmt::format("{}</svg>\n", text_); }

double text_width(const std::string& text) {
  return 7 * static_cast<double>(std::ranges::count_if(text, [](char c) { return (c & 0xC0) != 0x80; }));
}

std::vector<double> linear_ticks(double low, double high, int target, bool whole) {
  const double rough = (high - low) / std::max(target, 1) * (1 - 1e-9);
  if (!(rough > 0) || !std::isfinite(rough)) return {low};
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double digit : {5, 2, 1}) {
    if (digit * power >= rough) step = digit * power;
  }
  if (whole) step = std::max(step, 1.0);
  std::vector<double> ticks;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) ticks.push_back(i * step);
  return ticks;
}

std::string power_of_ten(int exponent) {
  if (exponent == 0) return "1";
  if (exponent == 1) return "10";
  constexpr std::array digits{"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  std::string text = exponent < 0 ? "10⁻" : "10";
  for (const char digit : std::to_string(std::abs(exponent))) text += digits[static_cast<std::size_t>(digit - '0')];
  return text;
}

std::string Plot::svg() const {
  std::vector<double> xs, ys;
  for (const PlotSeries& one : series) {
    xs.insert(xs.end(), one.x.begin(), one.x.end());
    for (const auto* values : {&one.y, &one.low, &one.high}) ys.insert(ys.end(), values->begin(), values->end());
  }
  for (const PlotReference& reference : references) ys.push_back(reference.y);
  Frame frame{.x = scale_of(x, xs), .y = scale_of(y, ys)};

  double widest_tick = 0, widest_label = 0;
  for (const Tick& tick : ticks_of(y, frame.y, 5)) widest_tick = std::max(widest_tick, text_width(tick.label));
  if (!legend) {
    for (const PlotSeries& one : series) widest_label = std::max(widest_label, text_width(one.label));
    for (const PlotReference& reference : references)
      widest_label = std::max(widest_label, text_width(reference.label));
  }
  frame.left = 26 + widest_tick + 8;
  frame.width = width - frame.left - std::max(14.0, widest_label + 8);
  const std::vector<LegendEntry> entries = legend ? legend_of(series, width - frame.left) : std::vector<LegendEntry>();
  const double legend_height = entries.empty() ? 0 : line_height * (entries.back().row + 1) + 4;
  frame.top = 26 + legend_height;
  frame.height = height - frame.top - 44;

  Svg svg(width, height, title, description);
  svg.text(frame.left, 15, title, "start", "title");
  draw_legend(svg, entries, frame.left, 34);
  draw_axes(svg, *this, frame);
  svg.begin_clip(frame.left, frame.top - 4, frame.width + 4, frame.height + 8);
  if (chance) {
    PlotSeries line{.x = {std::max(frame.x.low, frame.y.low), std::min(frame.x.high, frame.y.high)}};
    line.y = line.x;
    svg.path(fmt::format("M{:.1f} {:.1f}L{:.1f} {:.1f}", frame.at_x(line.x[0]), frame.at_y(line.y[0]),
                         frame.at_x(line.x[1]), frame.at_y(line.y[1])),
             "reference");
  }
  for (const PlotReference& reference : references) {
    const double at = frame.at_y(reference.y);
    svg.line(frame.left, at, frame.left + frame.width, at,
             reference.style < 0 ? std::string("reference") : fmt::format("reference s{}", reference.style));
  }
  for (const PlotSeries& one : series) draw_series(svg, one, frame);
  svg.end_clip();
  if (!legend) draw_direct_labels(svg, *this, frame);
  return svg.finish();
}

}  // namespace nepenthe
