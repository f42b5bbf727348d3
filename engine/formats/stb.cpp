// The code of stb_image and stb_image_write, whose headers engine/formats/pictures.cpp uses: of the formats that they
// know PNG and JPEG alone.
#include <cstddef>
#include <cstdlib>

namespace {

// A PNG's compressed data may grow without end, whatever size its header claims. The largest picture that is read takes
// no more in one piece: 2^26 pixels of four 16-bit channels, and a byte for each row.
constexpr std::size_t most_bytes = (std::size_t{1} << 29U) + (std::size_t{1} << 27U);

// Zeros, because stb_image before 2.28 reads Huffman tables that a file has not defined, and pixels that it has not.
void* allocate(std::size_t bytes) { return bytes <= most_bytes ? std::calloc(1, bytes) : nullptr; }
void* reallocate(void* memory, std::size_t bytes) {
  return bytes <= most_bytes ? std::realloc(memory, bytes) : nullptr;
}

}  // namespace

#define STBI_MALLOC(bytes) allocate(bytes)
#define STBI_REALLOC(memory, bytes) reallocate(memory, bytes)
#define STBI_FREE(memory) std::free(memory)
#define STBI_ONLY_PNG
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>
