# How the project's libraries and programs are built.

# Language, warnings and arithmetic that every target shares. Not exported.
add_library(sluice_build_options INTERFACE)
target_compile_features(sluice_build_options INTERFACE cxx_std_20)
target_compile_options(sluice_build_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow
  # GCC 12 sees overlaps and overflows inside std::string and std::vector that are not there
  # (GCC bugs 105329 and 105651).
  -Wno-restrict -Wno-stringop-overflow
  # Bytes must not depend on whether the CPU has fused multiply-add.
  -ffp-contract=off)
if(SLUICE_WERROR)
  target_compile_options(sluice_build_options INTERFACE -Werror)
endif()
if(SLUICE_SANITIZE)
  target_compile_options(sluice_build_options INTERFACE
    -fsanitize=${SLUICE_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
    -Wno-maybe-uninitialized)  # false reports inside <regex>
  if(SLUICE_SANITIZE MATCHES "undefined")
    # With the null checks gcc 12 compares no address of an inline constexpr table in a constant
    # expression, as the static_asserts of arch/ do. A null pointer still ends the program. Objects
    # that Debian's libtbb makes have no type information of ours.
    target_compile_options(sluice_build_options INTERFACE
      -fno-sanitize=null,nonnull-attribute,returns-nonnull-attribute,vptr)
  endif()
  target_link_options(sluice_build_options INTERFACE -fsanitize=${SLUICE_SANITIZE})
endif()

# sluice_library(FOLDER SOURCES...): the library of one folder. Headers are included relative to the
# top of the project ("core/error.h"), and so are they once installed (<sluice/core/error.h>).
function(sluice_library folder)
  set(name sluice_${folder})
  add_library(${name} STATIC ${ARGN})
  add_library(sluice::${folder} ALIAS ${name})
  set_target_properties(${name} PROPERTIES
    EXPORT_NAME ${folder}
    POSITION_INDEPENDENT_CODE ON)
  target_compile_features(${name} PUBLIC cxx_std_20)
  target_include_directories(${name} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/sluice>)
  target_link_libraries(${name} PRIVATE $<BUILD_INTERFACE:sluice_build_options>)
endfunction()

# sluice_alone(FOLDER PATTERN): keeps the library's sources that match out of unity builds.
function(sluice_alone folder pattern)
  get_target_property(sources sluice_${folder} SOURCES)
  list(FILTER sources INCLUDE REGEX ${pattern})
  set_source_files_properties(${sources} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()
