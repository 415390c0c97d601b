# mta_embed(target name file): the bytes of `file` as `std::string_view mta::embedded::name()` in
# `target`. The assembler copies them, so that megabytes cost no compile time.
function(mta_embed target name file)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/embedded_${name}.cpp)
  file(CONFIGURE OUTPUT ${source} @ONLY CONTENT [[
// Generated: the bytes of a file as a string.
#include <cstddef>
#include <string_view>

__asm__(
    ".pushsection .rodata\n"
    ".global mta_embedded_@name@_begin\n"
    ".global mta_embedded_@name@_end\n"
    "mta_embedded_@name@_begin:\n"
    ".incbin \"@file@\"\n"
    "mta_embedded_@name@_end:\n"
    ".popsection\n");
extern "C" const char mta_embedded_@name@_begin[];
extern "C" const char mta_embedded_@name@_end[];

namespace mta::embedded {
std::string_view @name@();
std::string_view @name@() {
  return {mta_embedded_@name@_begin,
          static_cast<std::size_t>(mta_embedded_@name@_end - mta_embedded_@name@_begin)};
}
}  // namespace mta::embedded
]])
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS ${file})
  target_sources(${target} PRIVATE ${source})
endfunction()
