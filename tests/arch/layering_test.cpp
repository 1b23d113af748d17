// The direction of dependencies, read from the #include lines of every source file:
//
//   cli -> server -> runtime -> pipeline -> {stages, arch} -> formats -> core
//
// and the few things that only one folder may do. See docs/architecture.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "test_files.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using testing::TempFolder;

// What a folder may include of the others; always also itself.
const std::map<std::string, std::set<std::string>> kMayInclude{
    {"core", {}},
    {"formats", {"core"}},
    {"arch", {"core"}},  // and one header of formats, see kArchMayAlsoInclude
    {"stages", {"core", "formats"}},
    {"pipeline", {"core", "formats", "arch", "stages"}},
    {"runtime", {"core", "formats", "arch", "stages", "pipeline"}},
    {"server", {"core", "formats", "arch", "stages", "pipeline", "runtime"}},
    {"cli", {"core", "formats", "arch", "stages", "pipeline", "runtime", "server"}},
};

constexpr std::string_view kArchMayAlsoInclude = "formats/gguf/types.h";

// Headers that only one folder includes.
struct Reserved {
  std::string_view header;  // the end of the included name
  std::string_view folder;
};
constexpr Reserved kReserved[]{
    {"tbb/flow_graph.h", "pipeline"},
    {"sys/mman.h", "core"},
    {"httplib.h", "server"},
};

// Ways to write to the terminal, which only cli does. Formatting into a string is no output.
const std::regex kPrints(R"(\bstd::(cout|cerr|clog|print|println)\b|\b(f|v|vf)?printf\s*\(|)"
                         R"(\b(f?puts|putchar|perror)\s*\(|\bfmt::(v?print|println)\b)");
const std::regex kInclude(R"re(^\s*#\s*include\s*(["<])([^">]+)[">])re");

// A line without its comment and without the contents of its string literals.
std::string CodeOf(const std::string& line) {
  static const std::regex kStrings(R"re("(\\.|[^"\\])*")re");
  const std::string code = std::regex_replace(line, kStrings, "\"\"");
  return code.substr(0, code.find("//"));
}

std::optional<std::string> CheckInclude(const std::string& folder, const std::string& name) {
  for (const Reserved& reserved : kReserved) {
    if (name.ends_with(reserved.header) && folder != reserved.folder) {
      return "only " + std::string(reserved.folder) + " includes " + name;
    }
  }
  const std::string target = name.substr(0, name.find('/'));
  if (!kMayInclude.contains(target) || target == folder || name.find('/') == std::string::npos) {
    return std::nullopt;
  }
  if (kMayInclude.at(folder).contains(target)) return std::nullopt;
  if (folder == "arch" && name == kArchMayAlsoInclude) return std::nullopt;
  return folder + " includes " + name;
}

// Every violation below `root` as "file:line: what".
std::vector<std::string> FindViolations(const fs::path& root) {
  std::vector<std::string> violations;
  for (const auto& [folder, allowed] : kMayInclude) {
    if (!fs::exists(root / folder)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(
             root / folder, fs::directory_options::follow_directory_symlink)) {
      const fs::path& path = entry.path();
      if (path.extension() != ".h" && path.extension() != ".cpp") continue;
      std::ifstream file(path);
      int number = 0;
      for (std::string line; std::getline(file, line);) {
        ++number;
        const auto report = [&](const std::string& what) {
          violations.push_back(fs::relative(path, root).string() + ":" + std::to_string(number) +
                               ": " + what);
        };
        std::smatch match;
        if (std::regex_search(line, match, kInclude)) {
          if (const auto what = CheckInclude(folder, match[2])) report(*what);
        } else if (folder != "cli" && std::regex_search(CodeOf(line), kPrints)) {
          report("output to the terminal");
        }
      }
    }
  }
  return violations;
}

std::size_t CountSources(const fs::path& folder) {
  std::size_t count = 0;
  for (const auto& entry :
       fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink)) {
    if (entry.path().extension() == ".h" || entry.path().extension() == ".cpp") ++count;
  }
  return count;
}

TEST(Layering, EveryIncludePointsDownwards) {
  EXPECT_THAT(FindViolations(SLUICE_SOURCE_DIR), IsEmpty());
}

TEST(Layering, EveryFolderIsSeen) {
  // A renamed folder must not make the test above pass by finding nothing.
  for (const auto& [folder, allowed] : kMayInclude) {
    EXPECT_GT(CountSources(fs::path(SLUICE_SOURCE_DIR) / folder), 5) << folder;
  }
}

// A tree with one file, whose violations the check must find.
std::vector<std::string> ViolationsOf(const std::string& path, const std::string& content) {
  const TempFolder folder;
  fs::create_directories(fs::path(folder.Path(path)).parent_path());
  folder.Write(path, content);
  return FindViolations(folder.Path());
}

TEST(LayeringSelfCheck, FindsEveryArrowUpwards) {
  for (const auto& [from, allowed] : kMayInclude) {
    for (const auto& [to, ignored] : kMayInclude) {
      const std::vector<std::string> found =
          ViolationsOf(from + "/deep/file.cpp", "// x\n#include \"" + to + "/some/header.h\"\n");
      if (from == to || allowed.contains(to)) {
        EXPECT_THAT(found, IsEmpty()) << from << " -> " << to;
      } else {
        EXPECT_THAT(found, ElementsAre(from + "/deep/file.cpp:2: " + from + " includes " + to +
                                       "/some/header.h"));
      }
    }
  }
}

TEST(LayeringSelfCheck, ArchSeesOneHeaderOfFormats) {
  EXPECT_THAT(ViolationsOf("arch/a.h", "#include \"formats/gguf/types.h\"\n"), IsEmpty());
  EXPECT_THAT(ViolationsOf("arch/a.h", "#include \"formats/gguf/value.h\"\n"), SizeIs(1));
}

TEST(LayeringSelfCheck, FindsOddSpellings) {
  EXPECT_THAT(ViolationsOf("core/a.h", "  #  include  <pipeline/plan.h>  // why\n"), SizeIs(1));
  EXPECT_THAT(ViolationsOf("formats/gguf/a.cpp", "#include \"stages/view.h\"\r\n"), SizeIs(1));
}

TEST(LayeringSelfCheck, FindsReservedHeaders) {
  for (const char* const spelling : {"tbb/flow_graph.h", "oneapi/tbb/flow_graph.h"}) {
    const std::string line = std::string("#include <") + spelling + ">\n";
    EXPECT_THAT(ViolationsOf("stages/a.cpp", line),
                ElementsAre(HasSubstr("only pipeline includes")));
    EXPECT_THAT(ViolationsOf("cli/a.cpp", line), SizeIs(1));
    EXPECT_THAT(ViolationsOf("pipeline/a.cpp", line), IsEmpty());
  }
  EXPECT_THAT(ViolationsOf("pipeline/a.cpp", "#include <sys/mman.h>\n"), SizeIs(1));
  EXPECT_THAT(ViolationsOf("core/a.cpp", "#include <sys/mman.h>\n"), IsEmpty());
  EXPECT_THAT(ViolationsOf("cli/a.cpp", "#include <httplib.h>\n"), SizeIs(1));
  EXPECT_THAT(ViolationsOf("server/a.cpp", "#include <httplib.h>\n"), IsEmpty());
}

TEST(LayeringSelfCheck, FindsTerminalOutput) {
  for (const char* const line :
       {"std::cout << 1;", "std::cerr << 1;", "printf(\"x\");", "std::fprintf(stderr, \"x\");",
        "puts(\"x\");", "fputs(\"x\", stdout);", "std::perror(\"x\");", "fmt::print(\"x\");",
        "fmt::println(\"x\");", "std::clog << 1;"}) {
    EXPECT_THAT(ViolationsOf("stages/a.cpp", line), SizeIs(1)) << line;
    EXPECT_THAT(ViolationsOf("cli/a.cpp", line), IsEmpty()) << line;
  }
}

TEST(LayeringSelfCheck, IgnoresWordsThatOnlyLookLikeOutput) {
  for (const char* const line :
       {"// std::cout is not used here", "fmt::format(\"{}\", 1);", "snprintf(buffer, 1, \"x\");",
        "const char* text = \"printf(\";", "int inputs(int x);", "fingerprint(x);"}) {
    EXPECT_THAT(ViolationsOf("stages/a.cpp", line), IsEmpty()) << line;
  }
}

}  // namespace
}  // namespace sluice
