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

# Mutants: the runtime with one mistake of runtime/mutants.h compiled in, and the suite that must see it.
set(mutant_files actor.c ask.c inbox.c msg.c)
# Only the files that name a mutant are built again; the rest comes from the library.
list(TRANSFORM mutant_files PREPEND ${CMAKE_SOURCE_DIR}/runtime/ OUTPUT_VARIABLE mutant_sources)
function(fabra_mutant name suite)
  string(TOLOWER ${name} lower)
  get_filename_component(suite_name ${suite} NAME_WE)
  set(target mutant_${lower}_${suite_name})
  add_executable(${target} ${suite} ${mutant_sources})
  target_compile_definitions(${target} PRIVATE FABRA_MUTANT_${name}=1)
  target_link_libraries(${target} PRIVATE fabra_warnings fabra_runtime fabra_cmocka)
  add_test(NAME mutant/${lower}_${suite_name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mutant.sh $<TARGET_FILE:${target}> ${ARGN})
  set_tests_properties(mutant/${lower}_${suite_name} PROPERTIES LABELS mutant TIMEOUT 120)
endfunction()
foreach(name NO_GENERATION_CHECK NO_LATE_CHECK NO_DEADLINE_CHECK REFUSED_LEAK STOPPED_TIMER_FIRES)
  fabra_mutant(${name} sim/sim_runtime.c --seeds 40)
endforeach()
foreach(name NO_GENERATION_CHECK NO_DOWN NO_CANCEL NO_MAILBOX_BOUND BATCH_REVERSED)
  fabra_mutant(${name} unit/test_actor.c)
endforeach()
fabra_mutant(NO_SLEEP_RECHECK unit/test_loop.c)
fabra_mutant(URGENT_ALWAYS unit/test_turn.c)

# The same for actors/mutants.h: only the actor that names the mutant is built again.
function(fabra_actor_mutant name actor suite)
  string(TOLOWER ${name} lower)
  get_filename_component(suite_name ${suite} NAME_WE)
  set(target mutant_${lower}_${suite_name})
  add_executable(${target} ${suite} ${CMAKE_SOURCE_DIR}/actors/${actor})
  target_compile_definitions(${target} PRIVATE FABRA_MUTANT_${name}=1)
  target_link_libraries(${target} PRIVATE fabra_warnings fabra_actors fabra_store fabra_runtime fabra_cmocka)
  add_test(NAME mutant/${lower}_${suite_name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mutant.sh $<TARGET_FILE:${target}> ${ARGN})
  set_tests_properties(mutant/${lower}_${suite_name} PROPERTIES LABELS mutant TIMEOUT 120)
endfunction()
fabra_actor_mutant(APPEND_AFTER_PUBLISH resolver.c sim/sim_contexts.c --seeds 300)
fabra_actor_mutant(ANSWER_BEFORE_APPEND resolver.c sim/sim_contexts.c --seeds 300)
fabra_actor_mutant(CONTEXT_KEPT context_cache.c sim/sim_reads.c --seeds 20)
fabra_actor_mutant(CHUNKS_KEPT retriever.c sim/sim_reads.c --seeds 20)
fabra_actor_mutant(ABSENT_IS_CURRENT reads.c sim/sim_reads.c --seeds 20)
fabra_actor_mutant(READS_NOT_BELOW reads.c sim/sim_reads.c --seeds 20)
fabra_actor_mutant(CACHE_BEFORE_PERSIST assembler.c sim/sim_contexts.c --seeds 300)

# The same for the ledger.
add_executable(mutant_ack_before_sync unit/test_ledger_crash.c ${CMAKE_SOURCE_DIR}/store/ledger_writer.c)
target_compile_definitions(mutant_ack_before_sync PRIVATE FABRA_MUTANT_ACK_BEFORE_SYNC=1)
target_link_libraries(mutant_ack_before_sync PRIVATE fabra_warnings fabra_store fabra_runtime fabra_cmocka m)
add_test(NAME mutant/ack_before_sync COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mutant.sh
  $<TARGET_FILE:mutant_ack_before_sync> acknowledged_records_survive_a_power_failure)
set_tests_properties(mutant/ack_before_sync PROPERTIES LABELS mutant TIMEOUT 120)

# The mutants of tests/mutants/mutants.txt: a copy of one file with one mistake, before the library that has the file without it.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
set(mutate ${CMAKE_CURRENT_SOURCE_DIR}/mutants/mutate.py)
set(mutants_table ${CMAKE_CURRENT_SOURCE_DIR}/mutants/mutants.txt)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${mutants_table})
execute_process(COMMAND ${Python3_EXECUTABLE} ${mutate} list ${mutants_table} ${CMAKE_SOURCE_DIR} OUTPUT_VARIABLE mutants
  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "\n" ";" mutants "${mutants}")
foreach(mutant ${mutants})
  string(REPLACE "," ";" mutant ${mutant})
  list(GET mutant 0 name)
  list(GET mutant 1 suite)
  list(GET mutant 2 file)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/mutants/${name})
  add_custom_command(OUTPUT ${folder}/${file}
    COMMAND ${Python3_EXECUTABLE} ${mutate} apply ${mutants_table} ${name} ${CMAKE_SOURCE_DIR} ${folder}/${file}
    DEPENDS ${CMAKE_SOURCE_DIR}/${file} ${mutate} ${mutants_table})
  add_executable(mutant_${name} ${suite}.c ${folder}/${file})
  if(mutant MATCHES included)
    set_source_files_properties(${folder}/${file} PROPERTIES HEADER_FILE_ONLY ON)
    target_include_directories(mutant_${name} BEFORE PRIVATE ${folder})
  endif()
  target_link_libraries(mutant_${name} PRIVATE fabra_warnings fabra_http fabra_actors fabra_store fabra_runtime fabra_cmocka
    fabra_nghttp2)
  target_compile_definitions(mutant_${name} PRIVATE FABRA_DEPS_DIR="${FABRA_DEPS_DIR}" FABRA_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
  target_compile_options(mutant_${name} PRIVATE -w) # a mistake may leave things unused
  add_test(NAME mutant/${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/mutant.sh $<TARGET_FILE:mutant_${name}>)
  set_tests_properties(mutant/${name} PROPERTIES LABELS mutant TIMEOUT 120)
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

# Token ids against the npm package, on fresh random texts, where ./tools/setup --peers has fetched it.
add_test(NAME live/tokens COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/golden/live_tokens.sh $<TARGET_FILE:test_tokens_golden>
         ${FABRA_DEPS_DIR})
set_tests_properties(live/tokens PROPERTIES LABELS unit TIMEOUT 120 SKIP_RETURN_CODE 77)
# The program on docs/records.md that verifies a record.
add_test(NAME docs/records_snippet
         COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/records_snippet.sh ${CMAKE_SOURCE_DIR})
set_tests_properties(docs/records_snippet PROPERTIES LABELS docs TIMEOUT 60 SKIP_RETURN_CODE 77)
