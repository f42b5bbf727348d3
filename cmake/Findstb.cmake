# stb ships no CMake package. Gives stb::stb, its headers: engine/formats/stb.cpp makes the code, with the formats that are
# read and no others.
find_path(stb_INCLUDE_DIR stb/stb_image.h)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(stb REQUIRED_VARS stb_INCLUDE_DIR)
if(stb_FOUND AND NOT TARGET stb::stb)
  add_library(stb::stb INTERFACE IMPORTED)
  set_target_properties(stb::stb PROPERTIES INTERFACE_INCLUDE_DIRECTORIES ${stb_INCLUDE_DIR})
endif()
