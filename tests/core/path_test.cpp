// Questions about names in the file system.
#include "core/path.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "test_files.h"

namespace sluice {
namespace {

using testing::TempFolder;

TEST(IsPresent, CountsEveryName) {
  const TempFolder folder;
  EXPECT_TRUE(IsPresent(folder.Write("file", "")));
  EXPECT_TRUE(IsPresent(folder.Path()));
  EXPECT_FALSE(IsPresent(folder.Path("none")));
  EXPECT_FALSE(IsPresent(folder.Path("file") + "/none"));
  ASSERT_EQ(::symlink("nowhere", folder.Path("link").c_str()), 0);
  EXPECT_TRUE(IsPresent(folder.Path("link"))) << "opening it says that it leads nowhere";
  EXPECT_TRUE(IsPresent(folder.Path(std::string(300, 'x')))) << "a name that is too long";
}

TEST(PlaceOf, IsTheSameForAllNames) {
  const TempFolder folder;
  ASSERT_EQ(::symlink(folder.Path().c_str(), folder.Path("link").c_str()), 0);
  const std::string place = PlaceOf(folder.Path("none"));
  EXPECT_EQ(PlaceOf(folder.Path() + "/./link/../none"), PlaceOf(folder.Path() + "/../none"));
  EXPECT_EQ(PlaceOf(folder.Path("link") + "/none"), place);
  EXPECT_NE(PlaceOf(folder.Path("other")), place);
  EXPECT_EQ(PlaceOf("none"), PlaceOf("./none"));
  EXPECT_EQ(PlaceOf("none"), PlaceOf(std::filesystem::current_path() / "none"));
}

}  // namespace
}  // namespace sluice
