# What `cmake --install` puts into a prefix: the program, the library and the tables that it opens at run time (the tables
# in tools/ranks), an example to begin with, and what must go with a copy. What Debian packages is not copied: NOTICE names it.
if(IS_ABSOLUTE "${CMAKE_INSTALL_BINDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_DATADIR}")
  message(FATAL_ERROR "CMAKE_INSTALL_BINDIR, _LIBDIR and _DATADIR must be relative: the program finds its files from its own place")
endif()
install(TARGETS fabra RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${FABRA_DEPS_DIR}/duckdb/libduckdb.so DESTINATION ${FABRA_INSTALL_LIBDIR})
install(FILES examples/support/store.lua DESTINATION ${FABRA_INSTALL_DATADIR}/examples/support)
install(FILES LICENSE NOTICE README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
