// Plots as SVG: text as text, colours by CSS classes (s0 … s5) that the page defines for light and dark, and a dash and
// a marker beside each colour, so that they can be told apart without it.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

namespace nepenthe {

/// Elements of an SVG drawing of a given size, in its units; coordinates are written with a tenth.
class Svg {
 public:
  /// The title names the drawing, the description says in a sentence what it shows: for who cannot see it.
  Svg(double width, double height, const std::string& title, const std::string& description);

  void line(double x1, double y1, double x2, double y2, const std::string& css);
  void rectangle(double x, double y, double width, double height, const std::string& css);
  void circle(double x, double y, double radius, const std::string& css);
  void path(const std::string& d, const std::string& css);
  /// anchor: "start", "middle" or "end"; turned: 90° to the left about its anchor.
  void text(double x, double y, const std::string& text, const std::string& anchor, const std::string& css,
            bool turned = false);
  /// One of six shapes, about 7 units wide.
  void marker(int style, double x, double y, const std::string& css);
  /// What is added up to the matching end is cut off at these borders.
  void begin_clip(double x, double y, double width, double height);
  void end_clip();

  std::string finish();

 private:
  std::string text_;
};

/// How wide a text at 12 units is at most, about: of the wider sans-serif fonts.
double text_width(const std::string& text);

struct PlotAxis {
  std::string title;           // with its unit: "test top-1 (%)"
  bool log = false;            // values that are not positive are left out
  std::optional<double> low;   // where the axis begins; otherwise at a tick below the data
  std::optional<double> high;  // and ends
  double unit = 1;             // a tick says value / unit
  bool whole = false;          // ticks at whole numbers alone
};

struct PlotSeries {
  std::string label;
  int style = 0;                  // colour, dash and marker, 0 … 5
  std::vector<double> x, y;       // of one length
  std::vector<double> low, high;  // a band about y; empty: none
  enum class Drawn { line, line_and_markers, markers, steps, filled_steps } drawn = Drawn::line;
};

/// A line of reference across the plot.
struct PlotReference {
  std::string label;
  double y = 0;
  int style = -1;  // of a series' colour; -1: neutral
};

struct Plot {
  std::string title, description;
  PlotAxis x, y;
  std::vector<PlotSeries> series;
  std::vector<PlotReference> references;
  bool chance = false;  // the line y = x
  bool legend = false;  // above the axes; otherwise series are named at their right ends
  double width = 400, height = 280;

  std::string svg() const;
};

/// Ticks at multiples of 1, 2 or 5 times a power of ten within [low, high], with at most `target` steps between them.
std::vector<double> linear_ticks(double low, double high, int target, bool whole = false);
/// "10⁻³", and "1" and "10" as they are.
std::string power_of_ten(int exponent);

}  // namespace nepenthe
