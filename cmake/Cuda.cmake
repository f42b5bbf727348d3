# Looks for what the CUDA backend needs and says in one line whether the build has it: sets NEPENTHE_CUDA, and where it
# is on enables the language and gives CUDA::cudart_static, CUDA::cublasLt and cudnn::cudnn.
set(NEPENTHE_CUDA OFF)
option(NEPENTHE_WITHOUT_CUDA "Leave the CUDA backend out even where it could be built" OFF)

include(CheckLanguage)
check_language(CUDA)
if(NEPENTHE_WITHOUT_CUDA)
  set(missing "it was asked not to be built")
elseif(NOT CMAKE_CUDA_COMPILER)
  set(missing "there is no CUDA compiler")
else()
  find_package(CUDAToolkit QUIET)
  find_package(cudnn 9 QUIET)
  if(NOT TARGET CUDA::cublasLt)
    set(missing "the CUDA toolkit has no cuBLASLt")
  elseif(NOT cudnn_FOUND)
    set(missing "there is no cuDNN 9")
  endif()
endif()

if(missing)
  message(STATUS "CUDA: left out, ${missing}; the CPU backend alone is built")
  return()
endif()

# Binaries for these, and PTX for what comes after.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90)
endif()
enable_language(CUDA)
# CMake 3.25 does not know the dialect's option for this compiler, and without it passes none at all.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(NEPENTHE_CUDA ON)
message(STATUS "CUDA: ${CMAKE_CUDA_COMPILER_VERSION}, cuDNN ${cudnn_VERSION}, for ${CMAKE_CUDA_ARCHITECTURES}")
