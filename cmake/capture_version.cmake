# Run at every build: writes OUTPUT from INPUT with the commit, and only if something changed.
# MTA_COMMIT in the environment (such as 1a2b3c4 or 1a2b3c4-dirty) stands in where the source tree is
# not a git checkout, as on a machine that got a copy.
set(commit unknown)
set(dirty false)
find_program(git git)
if(git)
  execute_process(COMMAND ${git} -c safe.directory=* -C ${SOURCE_DIR} describe --always --dirty
                          --abbrev=12 --exclude=*
                  OUTPUT_VARIABLE described OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT described)
  set(described "$ENV{MTA_COMMIT}")
endif()
if(described MATCHES "^(.+)-dirty$")
  set(commit ${CMAKE_MATCH_1})
  set(dirty true)
elseif(described)
  set(commit ${described})
endif()
configure_file(${INPUT} ${OUTPUT} @ONLY)
