// The page of `sluice measure --html`: plain HTML and SVG, no script, nothing loaded.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "cli/measure_text.h"
#include "pipeline/quantize/tensor_class.h"

namespace sluice::cli {
namespace {

constexpr std::string_view kStyle = R"(
body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em;
color:#222;background:#fff}
h1{font-size:1.5em}h2{font-size:1.2em;margin-top:2em}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.15em .7em;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}
.plots{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-weight:600}
svg{background:#fafafa;border:1px solid #ddd}text{font-size:11px;fill:#444}
.grid{stroke:#ddd}.scroll{overflow-x:auto}.no{color:#999}
)";

constexpr std::array<std::string_view, 8> kColors{"#1f6fb4", "#d95f02", "#1b9e5a", "#b3308f",
                                                  "#8a6d00", "#5e4fa2", "#c0392b", "#2b8c99"};
std::string_view ColorOf(std::size_t kind) { return kColors[kind % kColors.size()]; }

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

struct Point {
  double x = 0;
  double y = 0;  // a relative error; 0 and infinity have no place on a logarithmic axis
  std::string label;
};

struct Curve {
  std::size_t kind = 0;
  std::vector<Point> points;
};

// Curves over a linear x axis and a logarithmic y axis of whole decades.
class Plot {
 public:
  Plot(double width, double height, std::vector<Curve> curves, std::string x_title)
      : width_(width), height_(height), curves_(std::move(curves)), x_title_(std::move(x_title)) {
    for (Curve& curve : curves_) {
      std::erase_if(curve.points, [](const Point& p) { return !(p.y > 0) || std::isinf(p.y); });
      for (const Point& p : curve.points) {
        x_min_ = std::min(x_min_, p.x);
        x_max_ = std::max(x_max_, p.x);
        low_ = std::min(low_, std::floor(std::log10(p.y)));
        high_ = std::max(high_, std::floor(std::log10(p.y)) + 1);
      }
    }
  }

  [[nodiscard]] std::string Svg() const {
    if (x_min_ > x_max_) return "<p>no errors to draw</p>";
    std::string svg =
        fmt::format("<svg width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\">", width_, height_);
    for (double decade = low_; decade <= high_; ++decade) {
      const double y = Y(std::pow(10.0, decade));
      svg += fmt::format(
          "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/>"
          "<text x=\"4\" y=\"{:.1f}\">1e{:.0f}</text>",
          kLeft, width_ - kRight, y, y, y + 4, decade);
    }
    for (const Curve& curve : curves_) svg += SvgOf(curve);
    svg += fmt::format(
        "<text x=\"{0}\" y=\"{1}\">{2:.4g}</text>"
        "<text x=\"{3}\" y=\"{1}\" text-anchor=\"end\">{4:.4g}</text>"
        "<text x=\"{5}\" y=\"{1}\" text-anchor=\"middle\">{6}</text></svg>",
        kLeft, height_ - 6, x_min_, width_ - kRight, x_max_, width_ / 2, Escaped(x_title_));
    return svg;
  }

 private:
  static constexpr double kLeft = 44;
  static constexpr double kRight = 12;
  static constexpr double kTop = 12;
  static constexpr double kBottom = 24;

  [[nodiscard]] double X(double x) const {
    const double share = x_max_ > x_min_ ? (x - x_min_) / (x_max_ - x_min_) : 0.5;
    return kLeft + share * (width_ - kLeft - kRight);
  }
  [[nodiscard]] double Y(double y) const {
    const double share = (std::log10(y) - low_) / (high_ - low_);
    return height_ - kBottom - share * (height_ - kTop - kBottom);
  }

  [[nodiscard]] std::string SvgOf(const Curve& curve) const {
    std::string line;
    std::string dots;
    for (const Point& p : curve.points) {
      line += fmt::format("{:.1f},{:.1f} ", X(p.x), Y(p.y));
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\"><title>{}</title></circle>",
                          X(p.x), Y(p.y), Escaped(p.label));
    }
    return fmt::format(
        "<g fill=\"{0}\"><polyline fill=\"none\" stroke=\"{0}\" points=\"{1}\"/>{2}</g>",
        ColorOf(curve.kind), line, dots);
  }

  double width_;
  double height_;
  std::vector<Curve> curves_;
  std::string x_title_;
  double x_min_ = std::numeric_limits<double>::infinity();
  double x_max_ = -std::numeric_limits<double>::infinity();
  double low_ = std::numeric_limits<double>::infinity();  // decades
  double high_ = -std::numeric_limits<double>::infinity();
};

std::string Legend(const ErrorReport& report) {
  std::string legend = "<p>";
  for (std::size_t k = 0; k < report.kinds.size(); ++k) {
    legend += fmt::format("<span style=\"color:{}\">&#9679;</span> {} &nbsp; ", ColorOf(k),
                          Escaped(report.kinds[k].name));
  }
  return legend + "</p>";
}

std::string TotalsTable(const ErrorReport& report) {
  std::string html =
      "<table><tr><th>kind</th><th>matrices</th><th>bits per weight</th>"
      "<th>relative RMSE</th>";
  if (report.has_importance) html += "<th>weighted</th>";
  html += "<th>largest error</th><th>cosine</th></tr>";
  for (std::size_t k = 0; k < report.kinds.size(); ++k) {
    const KindTotals& totals = report.totals[k];
    html += fmt::format("<tr><td>{}</td><td>{}</td><td>{:.4f}</td><td>{:.6g}</td>",
                        Escaped(report.kinds[k].name), totals.tensors,
                        BitsPerWeight(totals.bytes, totals.values.elements),
                        RelativeRmse(totals.errors, totals.values));
    if (report.has_importance) {
      html += fmt::format("<td>{:.6g}</td>", WeightedRelativeRmse(totals.errors, totals.values));
    }
    html += fmt::format("<td>{:.6g}</td><td>{:.9f}</td></tr>", totals.errors.largest_error,
                        Cosine(totals.errors, totals.values));
  }
  return html + "</table>";
}

std::string TotalsPlot(const ErrorReport& report) {
  std::vector<Curve> curves;
  for (std::size_t k = 0; k < report.kinds.size(); ++k) {
    const KindTotals& totals = report.totals[k];
    const double error = RelativeRmse(totals.errors, totals.values);
    const double bits = BitsPerWeight(totals.bytes, totals.values.elements);
    const std::string label =
        fmt::format("{}: {:.4g} at {:.3f} bits", report.kinds[k].name, error, bits);
    curves.push_back({k, {{bits, error, label}}});
  }
  return fmt::format("<figure><figcaption>Relative RMSE</figcaption>{}</figure>",
                     Plot(560, 320, std::move(curves), "bits per weight").Svg());
}

// The error along the blocks, a plot for each name that differs in the block only.
std::string BlockPlots(const ErrorReport& report) {
  std::map<std::string, std::vector<Curve>> plots;
  for (const MeasuredTensor& tensor : report.tensors) {
    const std::optional<std::uint64_t> block = BlockOf(tensor.name);
    if (!block) continue;
    constexpr std::size_t kPrefixEnd = std::string_view("blk.").size();
    std::vector<Curve>& curves = plots[tensor.name.substr(tensor.name.find('.', kPrefixEnd) + 1)];
    curves.resize(report.kinds.size());
    for (std::size_t k = 0; k < report.kinds.size(); ++k) {
      curves[k].kind = k;
      if (!tensor.kinds[k].errors) continue;
      const double error = RelativeRmse(*tensor.kinds[k].errors, tensor.values);
      curves[k].points.push_back(
          {static_cast<double>(*block), error,
           fmt::format("{} {}: {:.4g}", tensor.name, report.kinds[k].name, error)});
    }
  }
  std::string html = "<div class=\"plots\">";
  for (auto& [name, curves] : plots) {
    html += fmt::format("<figure><figcaption>{}</figcaption>{}</figure>", Escaped(name),
                        Plot(360, 220, std::move(curves), "block").Svg());
  }
  return html + "</div>";
}

std::string TensorTable(const ErrorReport& report) {
  std::string html = "<div class=\"scroll\"><table><tr><th>tensor</th><th>shape</th>";
  for (const MeasuredKind& kind : report.kinds) html += "<th>" + Escaped(kind.name) + "</th>";
  html += "</tr>";
  for (const MeasuredTensor& tensor : report.tensors) {
    html += fmt::format("<tr><td>{}</td><td>{}</td>", Escaped(tensor.name),
                        fmt::join(tensor.shape, " x "));
    for (const KindErrors& kind : tensor.kinds) {
      if (kind.errors) {
        html += fmt::format("<td title=\"{}\">{:.4g}</td>", gguf::InfoOf(kind.type).name,
                            RelativeRmse(*kind.errors, tensor.values));
      } else {
        html += fmt::format("<td class=\"no\" title=\"{}\">none</td>", Escaped(kind.why));
      }
    }
    html += "</tr>";
  }
  return html + "</table></div>";
}

}  // namespace

std::string ErrorsPage(const ErrorReport& report, std::string_view source) {
  const std::string title = Escaped(fmt::format("Quantization errors of {}", source));
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>"
      "<style>{1}</style></head>\n<body><h1>{0}</h1>\n"
      "<p>{2} matrices; {3} other tensors keep their type. Relative RMSE: the root of the squared "
      "errors' sum over that of the squared values.</p>\n"
      "<h2>Totals</h2>\n{4}\n{5}\n{6}\n<h2>Along the blocks</h2>\n{5}\n{7}\n"
      "<h2>Relative RMSE of each matrix</h2>\n{8}\n</body></html>\n",
      title, kStyle, report.tensors.size(), report.kept_tensors, TotalsTable(report),
      Legend(report), TotalsPlot(report), BlockPlots(report), TensorTable(report));
}

}  // namespace sluice::cli
