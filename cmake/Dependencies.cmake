# Every outside library as one interface target, so that a folder names only what it uses.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

function(fabra_pkg target module)
  pkg_check_modules(${target}_pc REQUIRED IMPORTED_TARGET ${module})
  add_library(${target} INTERFACE)
  target_link_libraries(${target} INTERFACE PkgConfig::${target}_pc)
endfunction()

fabra_pkg(fabra_uv libuv)
fabra_pkg(fabra_json yyjson)
fabra_pkg(fabra_crypto libcrypto)
fabra_pkg(fabra_lua lua5.4)
fabra_pkg(fabra_pcre libpcre2-8)
fabra_pkg(fabra_curl libcurl)
fabra_pkg(fabra_zlib zlib)
fabra_pkg(fabra_pq libpq)
fabra_pkg(fabra_cmocka cmocka)
fabra_pkg(fabra_nghttp2 libnghttp2)

# In the place of malloc, for the program only (docs/adr/0009); a sanitizer brings its own.
add_library(fabra_malloc INTERFACE)
if(NOT FABRA_SANITIZE AND NOT FABRA_FUZZ)
  find_library(FABRA_MIMALLOC mimalloc REQUIRED)
  target_link_libraries(fabra_malloc INTERFACE -Wl,--push-state,--no-as-needed ${FABRA_MIMALLOC} -Wl,--pop-state)
endif()

# h2o.h reads H2O_USE_LIBUV for its struct layouts, and neither pkg-config file sets it.
pkg_check_modules(h2o_pc REQUIRED IMPORTED_TARGET libh2o)
pkg_check_modules(ssl_pc REQUIRED IMPORTED_TARGET openssl)
pkg_check_modules(zlib_pc REQUIRED IMPORTED_TARGET zlib)
add_library(fabra_h2o INTERFACE)
target_compile_definitions(fabra_h2o INTERFACE H2O_USE_LIBUV=1)
target_link_libraries(fabra_h2o INTERFACE PkgConfig::h2o_pc PkgConfig::ssl_pc PkgConfig::zlib_pc fabra_uv)

add_library(fabra_duckdb INTERFACE)
target_include_directories(fabra_duckdb SYSTEM INTERFACE ${FABRA_DEPS_DIR}/duckdb)
target_link_libraries(fabra_duckdb INTERFACE ${FABRA_DEPS_DIR}/duckdb/libduckdb.so)
if(NOT EXISTS ${FABRA_DEPS_DIR}/duckdb/libduckdb.so)
  message(FATAL_ERROR "DuckDB is not in ${FABRA_DEPS_DIR}/duckdb; run ./tools/setup first")
endif()

# Static: Debian 12's own hiredis is 0.14.
pkg_check_modules(libssl_pc REQUIRED IMPORTED_TARGET libssl)
add_library(fabra_hiredis INTERFACE)
target_include_directories(fabra_hiredis SYSTEM INTERFACE ${FABRA_DEPS_DIR}/hiredis/include)
target_link_libraries(fabra_hiredis INTERFACE ${FABRA_DEPS_DIR}/hiredis/libhiredis_ssl.a
  ${FABRA_DEPS_DIR}/hiredis/libhiredis.a PkgConfig::libssl_pc fabra_crypto)
if(NOT EXISTS ${FABRA_DEPS_DIR}/hiredis/libhiredis.a)
  message(FATAL_ERROR "hiredis is not in ${FABRA_DEPS_DIR}/hiredis; run ./tools/setup first")
endif()
