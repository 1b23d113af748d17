#include "pipeline/model_name.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <regex>
#include <vector>

namespace sluice {
namespace {

constexpr std::string_view kSizeLetters = " KMBT";

bool IsDigit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
// Characters beyond ASCII count as letters.
bool IsLetter(char c) {
  constexpr unsigned char kFirstBeyondAscii = 0x80;
  const auto byte = static_cast<unsigned char>(c);
  return byte >= kFirstBeyondAscii || std::isalpha(byte) != 0;
}
char Upper(char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); }
char Lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

// std::regex recurses with the text; no label and no id is this long.
constexpr std::size_t kMaxLabelBytes = 64;
constexpr std::size_t kMaxIdBytes = 256;

std::regex Pattern(const char* pattern) {
  return std::regex(pattern, std::regex::ECMAScript | std::regex::icase);
}

bool Matches(std::string_view part, const std::regex& pattern) {
  return part.size() <= kMaxLabelBytes && std::regex_match(part.begin(), part.end(), pattern);
}

struct Part {
  std::string text;
  bool version = false;
  bool type = false;
  bool size = false;
  bool finetune = false;
  bool basename = false;

  [[nodiscard]] bool IsUnclassed() const {
    return !version && !type && !size && !finetune && !basename;
  }
};

std::vector<Part> SplitAtDashes(std::string_view name) {
  std::vector<Part> parts;
  while (!name.empty()) {
    const std::size_t dash = name.find('-');
    if (dash != 0) parts.push_back({std::string(name.substr(0, dash))});
    name = dash == std::string_view::npos ? "" : name.substr(dash + 1);
  }
  return parts;
}

// "7b1" -> "7.1B", "1_5b" -> "1.5B".
std::string NormaliseSize(std::string size) {
  std::replace(size.begin(), size.end(), '_', '.');
  if (IsDigit(size.back()) && size.size() > 1) {
    const char decimal = size.back();
    const char letter = size[size.size() - 2];
    size.resize(size.size() - 2);
    size += {'.', decimal, letter};
  }
  if (size.size() > 1 && IsDigit(size[size.size() - 2])) size.back() = Upper(size.back());
  return size;
}

// Whether the label is so far from the real size that it must mean something else.
bool IsFarFromSize(const std::string& label, std::uint64_t total_parameters) {
  if (total_parameters == 0) return false;
  const std::string number = label.substr(0, label.size() - 1);
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0') return false;  // "8x7", "smal": no plain number
  const std::size_t letter = kSizeLetters.find(label.back());
  const double parameters = value * std::pow(1000.0, static_cast<double>(letter));
  const auto total = static_cast<double>(total_parameters);
  return std::abs(parameters - total) > std::floor(7 * total / 8);
}

void Classify(Part& part, bool is_first, std::uint64_t total_parameters) {
  static const std::regex kVersion = Pattern(R"((v|iter)?\d+([.]\d+)*)");
  static const std::regex kType = Pattern(R"(i?q\d(_\w)*|b?fp?(16|32))");
  static const std::regex kSize =
      Pattern(R"((([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl))");
  static const std::regex kFinetune = Pattern("chat|instruct|vision|lora");
  if (Matches(part.text, kVersion)) {
    part.version = true;
  } else if (Matches(part.text, kType)) {
    part.type = true;
  } else if (is_first) {
    return;
  } else if (Matches(part.text, kSize)) {
    part.text = NormaliseSize(part.text);
    if (IsFarFromSize(part.text, total_parameters)) {
      part.text.back() = Lower(part.text.back());
      part.finetune = true;
    } else {
      part.size = true;
    }
  } else if (Matches(part.text, kFinetune)) {
    part.finetune = true;
  }
}

void DropSizeWords(std::vector<Part>& parts) {
  const bool has_number = std::any_of(parts.begin(), parts.end(), [](const Part& part) {
    return part.size && std::any_of(part.text.begin(), part.text.end(), IsDigit);
  });
  if (!has_number) return;
  for (Part& part : parts) {
    if (std::all_of(part.text.begin(), part.text.end(), IsLetter)) part.size = false;
  }
}

void FindBasename(std::vector<Part>& parts) {
  bool at_start = true;
  for (Part& part : parts) {
    if (at_start && ((part.IsUnclassed() && IsLetter(part.text.front())) || part.version)) {
      part.basename = true;
      continue;
    }
    at_start = false;
    if (part.IsUnclassed()) part.finetune = true;
  }
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    if (!part->basename || !part->version) break;
    part->basename = false;
  }
}

template <typename Test>
std::string JoinParts(const std::vector<Part>& parts, Test test) {
  std::vector<std::string> chosen;
  for (const Part& part : parts) {
    if (test(part)) chosen.push_back(part.text);
  }
  return fmt::format("{}", fmt::join(chosen, "-"));
}

// A capital for the first letter of each run of letters, if it is an ASCII letter.
std::string TitleCase(std::string_view word) {
  std::string title;
  bool after_letter = false;
  for (const char c : word) {
    title += after_letter ? c : Upper(c);
    after_letter = IsLetter(c);
  }
  return title;
}

bool IsLowerCase(std::string_view word) {
  return std::any_of(word.begin(), word.end(), IsLetter) &&
         std::none_of(word.begin(), word.end(),
                      [](unsigned char c) { return std::isupper(c) != 0; });
}

}  // namespace

ModelId ParseModelId(std::string_view id, std::uint64_t total_parameters) {
  ModelId parsed;
  if (id.find(' ') != std::string_view::npos || id.size() > kMaxIdBytes) {
    parsed.full_name = id;
    return parsed;
  }
  if (const std::size_t slash = id.find('/'); slash != std::string_view::npos) {
    if (!id.starts_with('.')) parsed.organization = id.substr(0, slash);
    id.remove_prefix(slash + 1);
  }
  parsed.full_name = id;
  std::vector<Part> parts = SplitAtDashes(id);
  for (std::size_t i = 0; i < parts.size(); ++i) Classify(parts[i], i == 0, total_parameters);
  DropSizeWords(parts);
  FindBasename(parts);
  parsed.basename = JoinParts(parts, [](const Part& part) { return part.basename; });
  parsed.finetune = JoinParts(parts, [](const Part& part) { return part.finetune; });
  parsed.version =
      JoinParts(parts, [](const Part& part) { return part.version && !part.basename; });
  std::vector<std::string> sizes;
  for (const Part& part : parts) {
    if (part.size && std::find(sizes.begin(), sizes.end(), part.text) == sizes.end()) {
      sizes.push_back(part.text);
    }
  }
  parsed.size_label = fmt::format("{}", fmt::join(sizes, "-"));
  if (parsed.size_label.empty() && parsed.finetune.empty() && parsed.version.empty()) {
    parsed.basename.clear();
  }
  return parsed;
}

std::string TitleOf(std::string_view id) {
  static const std::regex kVersion = Pattern(R"(v\d+(\.\d+)*)");
  std::vector<std::string> words;
  std::string word;
  const auto flush = [&] {
    if (word.empty()) return;
    const bool keeps = !IsLowerCase(word) || IsDigit(word.front()) || Matches(word, kVersion);
    words.push_back(keeps ? word : TitleCase(word));
    word.clear();
  };
  for (const char c : id) {
    if (c == '-' || std::isspace(static_cast<unsigned char>(c)) != 0) {
      flush();
    } else {
      word += c;
    }
  }
  flush();
  return fmt::format("{}", fmt::join(words, " "));
}

std::string SizeLabel(std::uint64_t shared_parameters, std::uint64_t expert_parameters,
                      std::uint64_t experts) {
  const auto total = static_cast<double>(shared_parameters + expert_parameters);
  double scaled = total / 1e3;
  char letter = 'K';
  for (const auto& [limit, name] :
       {std::pair(1e12, 'T'), std::pair(1e9, 'B'), std::pair(1e6, 'M')}) {
    if (total > limit) {
      scaled = total / limit;
      letter = name;
      break;
    }
  }
  const std::string rounded = fmt::format("{:.0f}", scaled);
  const std::size_t digits = rounded == "0" ? 0 : rounded.size();
  const std::size_t decimals = digits >= 2 ? 0 : 2 - digits;
  const std::string label = fmt::format("{:.{}f}{}", scaled, decimals, letter);
  return experts > 0 ? fmt::format("{}x{}", experts, label) : label;
}

}  // namespace sluice
