# One list of warnings for gcc and clang. Exhaustive switches are part of the design, hence -Wswitch-enum.
add_library(fabra_warnings INTERFACE)
target_compile_options(fabra_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wswitch-enum -Wvla
  -Wpointer-arith -Wwrite-strings -Wundef -Wformat=2
  $<$<BOOL:${FABRA_WERROR}>:-Werror>)

# Code generation options that every target shares.
add_library(fabra_options INTERFACE)
target_compile_definitions(fabra_options INTERFACE _GNU_SOURCE)
if(FABRA_SANITIZE STREQUAL "address")
  target_compile_options(fabra_options INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(fabra_options INTERFACE -fsanitize=address,undefined)
  target_compile_definitions(fabra_options INTERFACE FABRA_ASAN=1)
elseif(FABRA_SANITIZE STREQUAL "thread")
  target_compile_options(fabra_options INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(fabra_options INTERFACE -fsanitize=thread)
  target_compile_definitions(fabra_options INTERFACE FABRA_TSAN=1)
elseif(FABRA_SANITIZE STREQUAL "fuzzer")
  target_compile_options(fabra_options INTERFACE -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer)
  target_link_options(fabra_options INTERFACE -fsanitize=address,undefined)
  target_compile_definitions(fabra_options INTERFACE FABRA_ASAN=1)
endif()
