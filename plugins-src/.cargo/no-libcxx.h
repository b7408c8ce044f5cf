// Rust's linker has no C++ library. The one piece of C++ among the guests, a scanner of bca-tree-sitter-ccomment, needs a
// string of wide characters and the allocator of it: `zig-c++` includes this first, so that they lie in its own object.
#include <stdlib.h>
#include <string>

template class std::basic_string<wchar_t>;

__attribute__((weak)) void *operator new(size_t size) {
    void *place = malloc(size);
    if (!place) abort();
    return place;
}
__attribute__((weak)) void operator delete(void *place) noexcept { free(place); }
__attribute__((weak)) void operator delete(void *place, size_t) noexcept { free(place); }

// What the library calls where a string would be too long.
_LIBCPP_BEGIN_NAMESPACE_STD
__attribute__((weak, noreturn)) void __libcpp_verbose_abort(const char *, ...) noexcept { abort(); }
_LIBCPP_END_NAMESPACE_STD
