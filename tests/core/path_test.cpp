// Questions about names in the file system.
#include "core/path.h"

#include <gtest/gtest.h>
#include <unistd.h>

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

}  // namespace
}  // namespace sluice
