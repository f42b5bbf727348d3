# The libraries that the project stands on. Those that are missing are named all at once, with the packages that bring them
# on Debian and Ubuntu (cmake/install_packages.sh installs these).
set(missing_libraries "")
macro(require package debian)
  find_package(${package} QUIET ${ARGN})
  if(NOT ${package}_FOUND)
    string(APPEND missing_libraries "\n  ${package}: ${debian}")
  endif()
endmacro()

require(fmt libfmt-dev)
require(nlohmann_json nlohmann-json3-dev)
require(CLI11 libcli11-dev)
require(OpenSSL libssl-dev COMPONENTS Crypto)
require(ZLIB zlib1g-dev)
require(minizip libminizip-dev)
require(stb libstb-dev)
if(NEPENTHE_BUILD_TESTS)
  require(doctest "doctest-dev; -DNEPENTHE_BUILD_TESTS=OFF does without, and builds no tests")
endif()

if(missing_libraries)
  message(FATAL_ERROR "libraries are missing (after the colon what brings them on Debian and Ubuntu):${missing_libraries}\n")
endif()
