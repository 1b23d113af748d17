# What `cmake --install` puts in place: the program with its man page and completions (component
# "program", which is what the Debian package contains), and the library for find_package(sluice)
# (component "development").
include(CMakePackageConfigHelpers)

set(libraries sluice_core sluice_formats sluice_arch sluice_stages sluice_pipeline sluice_runtime)
install(TARGETS ${libraries} EXPORT sluiceTargets COMPONENT development)
install(DIRECTORY core formats arch stages pipeline runtime COMPONENT development
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sluice FILES_MATCHING PATTERN "*.h")

set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/sluice)
install(EXPORT sluiceTargets NAMESPACE sluice:: DESTINATION ${config_folder} COMPONENT development)
configure_package_config_file(cmake/sluiceConfig.cmake.in
  ${PROJECT_BINARY_DIR}/sluiceConfig.cmake INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/sluiceConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/sluiceConfig.cmake ${PROJECT_BINARY_DIR}/sluiceConfigVersion.cmake
  DESTINATION ${config_folder} COMPONENT development)

install(TARGETS sluice COMPONENT program)
install(FILES cmake/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/sluice COMPONENT program)

# sluice_reference(KIND FILE DESTINATION): text that the program prints about itself.
function(sluice_reference kind file destination)
  set(path ${PROJECT_BINARY_DIR}/reference/${file})
  get_filename_component(folder ${path} DIRECTORY)
  file(MAKE_DIRECTORY ${folder})
  add_custom_command(OUTPUT ${path} COMMAND sluice reference ${kind} > ${path} DEPENDS sluice VERBATIM)
  add_custom_target(sluice_reference_${kind} ALL DEPENDS ${path})
  install(FILES ${path} DESTINATION ${destination} COMPONENT program)
endfunction()
sluice_reference(man sluice.1 ${CMAKE_INSTALL_MANDIR}/man1)
sluice_reference(bash bash/sluice ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
sluice_reference(zsh zsh/_sluice ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
sluice_reference(fish sluice.fish ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)

set(CPACK_PACKAGE_NAME sluice)
set(CPACK_PACKAGE_VENDOR "the sluice developers")
set(CPACK_PACKAGE_CONTACT "the sluice developers <sluice@example.org>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY ${PROJECT_DESCRIPTION})
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_COMPONENTS_ALL program)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_PROGRAM_PACKAGE_NAME sluice)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_STRIP_FILES ON)
include(CPack)
