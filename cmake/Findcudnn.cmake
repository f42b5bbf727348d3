# cuDNN ships no CMake package. Gives cudnn::cudnn and cudnn_VERSION; looks beside the CUDA toolkit and in the usual
# places, and where CMAKE_PREFIX_PATH says.
find_path(cudnn_INCLUDE_DIR cudnn_version.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(cudnn_LIBRARY NAMES cudnn libcudnn.so.9 HINTS ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib lib64)
if(cudnn_INCLUDE_DIR)
  foreach(part MAJOR MINOR PATCHLEVEL)
    file(STRINGS ${cudnn_INCLUDE_DIR}/cudnn_version.h line REGEX "^#define CUDNN_${part} ")
    string(REGEX REPLACE ".* ([0-9]+).*" "\\1" cudnn_${part} "${line}")
  endforeach()
  set(cudnn_VERSION ${cudnn_MAJOR}.${cudnn_MINOR}.${cudnn_PATCHLEVEL})
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(cudnn REQUIRED_VARS cudnn_LIBRARY cudnn_INCLUDE_DIR VERSION_VAR cudnn_VERSION)
if(cudnn_FOUND AND NOT TARGET cudnn::cudnn)
  add_library(cudnn::cudnn UNKNOWN IMPORTED)
  set_target_properties(cudnn::cudnn PROPERTIES IMPORTED_LOCATION ${cudnn_LIBRARY}
                                                INTERFACE_INCLUDE_DIRECTORIES ${cudnn_INCLUDE_DIR})
endif()
