# Tests of other kinds than CMakeLists.txt finds by name.

# The HTTP server with test routes: driven by tests/integration/http_*.test.sh and by bench/bench_features.sh.
add_executable(http_test_server tools/http_test_server.c)
target_link_libraries(http_test_server PRIVATE fabra_warnings fabra_http fabra_actors fabra_store fabra_runtime)

# SQL against a DuckDB file from outside: for the integration tests.
add_executable(duckdb_sql tools/duckdb_sql.c)
target_link_libraries(duckdb_sql PRIVATE fabra_warnings fabra_store fabra_runtime)

# Models for Spin: the rule must hold, and its mutant must be found.
function(fabra_model name mutant)
  set(check ${CMAKE_CURRENT_SOURCE_DIR}/model/check.sh ${CMAKE_CURRENT_SOURCE_DIR}/model/${name}.pml)
  add_test(NAME model/${name} COMMAND ${check} pass)
  add_test(NAME model/${name}_mutant COMMAND ${check} fail -D${mutant})
  set_tests_properties(model/${name} model/${name}_mutant PROPERTIES LABELS model TIMEOUT 120 SKIP_RETURN_CODE 77)
endfunction()
fabra_model(wake NO_RECHECK)
fabra_model(ask NO_LATE_CHECK)

# Mutants (tests/mutants/mutants.txt): a copy of one file with one mistake takes the place of the library's, and the suite must see it.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(mutate ${CMAKE_CURRENT_SOURCE_DIR}/mutants/mutate.py)
set(mutants_table ${CMAKE_CURRENT_SOURCE_DIR}/mutants/mutants.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${mutants_table} ${mutate})
function(fabra_mutant name mutant file suite arguments others how)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/mutants/${mutant})
  set(target mutant_${name})
  separate_arguments(arguments)
  separate_arguments(others)
  list(TRANSFORM others PREPEND ${CMAKE_SOURCE_DIR}/)
  add_custom_command(OUTPUT ${folder}/${file}
    COMMAND ${Python3_EXECUTABLE} ${mutate} apply ${mutants_table} ${mutant} ${CMAKE_SOURCE_DIR} ${folder}/${file}
    DEPENDS ${CMAKE_SOURCE_DIR}/${file} ${mutate} ${mutants_table})
  add_executable(${target} ${suite}.c ${folder}/${file} ${others})
  if(how STREQUAL included)
    set_source_files_properties(${folder}/${file} PROPERTIES HEADER_FILE_ONLY ON)
    target_include_directories(${target} BEFORE PRIVATE ${folder})
  endif()
  target_link_libraries(${target} PRIVATE fabra_warnings fabra_http fabra_actors fabra_store fabra_runtime fabra_cmocka
    fabra_nghttp2 fabra_test_servers)
  target_compile_definitions(${target} PRIVATE FABRA_DEPS_DIR="${FABRA_DEPS_DIR}" FABRA_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_compile_options(${target} PRIVATE -w) # a mistake may leave things unused
  add_test(NAME mutant/${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mutant.sh $<TARGET_FILE:${target}> ${arguments})
  set_tests_properties(mutant/${name} PROPERTIES LABELS mutant TIMEOUT 120)
endfunction()
execute_process(COMMAND ${Python3_EXECUTABLE} ${mutate} list ${mutants_table} ${CMAKE_SOURCE_DIR} OUTPUT_VARIABLE mutants
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" mutants "${mutants}")
foreach(line ${mutants})
  string(REPLACE "," ";" fields "${line}")
  list(GET fields 0 name)
  list(GET fields 1 mutant)
  list(GET fields 2 file)
  list(GET fields 3 suite)
  list(GET fields 4 arguments)
  list(GET fields 5 others)
  list(GET fields 6 how)
  fabra_mutant(${name} ${mutant} ${file} ${suite} "${arguments}" "${others}" ${how})
endforeach()

# The example that docs/actors.md walks through.
add_executable(example_first_actor ${CMAKE_SOURCE_DIR}/examples/first_actor/greeter.c
  ${CMAKE_SOURCE_DIR}/examples/first_actor/test_greeter.c)
target_link_libraries(example_first_actor PRIVATE fabra_warnings fabra_runtime)
add_test(NAME example/first_actor COMMAND example_first_actor)
set_tests_properties(example/first_actor PROPERTIES LABELS unit TIMEOUT 60)

# Includes point only downward.
add_test(NAME style/layers COMMAND ${CMAKE_SOURCE_DIR}/tools/check_layers ${CMAKE_SOURCE_DIR})
set_tests_properties(style/layers PROPERTIES LABELS unit TIMEOUT 60)

# The check itself sees what it should.
add_test(NAME style/layers_test COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/tools/check_layers_test.py ${CMAKE_SOURCE_DIR})
set_tests_properties(style/layers_test PROPERTIES LABELS unit TIMEOUT 60)

# Token ids against the npm package, on fresh random texts, where ./tools/setup --peers has fetched it.
add_test(NAME live/tokens COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/live_tokens.sh $<TARGET_FILE:test_tokens_golden>
         ${FABRA_DEPS_DIR})
set_tests_properties(live/tokens PROPERTIES LABELS unit TIMEOUT 120 SKIP_RETURN_CODE 77)
# The program on docs/records.md that verifies a record.
add_test(NAME docs/records_snippet
         COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/records_snippet.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(docs/records_snippet PROPERTIES LABELS docs TIMEOUT 60 SKIP_RETURN_CODE 77)

# An independent fuzzer over /openapi.json, where it can be installed.
if(TARGET fabra)
  add_test(NAME long/api_fuzz COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/api_fuzz_long.sh ${CMAKE_BINARY_DIR})
  set_tests_properties(long/api_fuzz PROPERTIES LABELS long TIMEOUT 3600 SKIP_RETURN_CODE 77 RUN_SERIAL TRUE)
endif()
