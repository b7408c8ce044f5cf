// What the kernels need of CUDA, for a C++ compiler of the host.
//
// A block's threads are fibers of one thread of the host, which change at barriers and shuffles: the same source runs, in
// every detail but its speed and what two blocks or warps do at once. Blocks run one after another.
#pragma once

#include <math.h>
#include <string.h>

#include <algorithm>
#include <utility>

using std::max;
using std::min;

#define __global__
#define __device__
#define __constant__ static const
#define __forceinline__ inline
// A block's shared memory: blocks run one after another on their host thread.
#define __shared__ static thread_local
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(threads, blocks)
#define DYNAMIC(name) float* name = emulated::dynamic()

struct Place {
    unsigned x = 0, y = 0, z = 0;
};
extern thread_local Place threadIdx, blockIdx, blockDim, gridDim;

namespace emulated {

const int MOST_ARGUMENTS = 20;

struct Kernel {
    const char* name;
    void (*call)(const void* kernel, void** arguments);
    const void* kernel;
    int count;
    // Bytes of each parameter.
    unsigned long long sizes[MOST_ARGUMENTS];
};

struct Launch {
    const unsigned* grid;
    unsigned block;
    unsigned long long shared;
    void** arguments;
    const unsigned long long* sizes;
    int count;
};

// Runs a grid of one-dimensional blocks; 0 where the launch cannot be one of CUDA's, or the arguments are not as many and
// as large as the kernel's.
int run(const Kernel& kernel, const Launch& launch);
void block_barrier();
void warp_barrier();
float* dynamic();
// A place for each lane of this thread's warp.
float* slots();
// The tensor cores' product of 16 x 16 by 16 x 8 in bf16, by the lanes of a warp (mma.m16n8k16).
void mma(float* c, const unsigned* a, const unsigned* b);
// Four matrices of 8 x 8 in 16 bits, by the lanes of a warp (ldmatrix .x4, and .trans where they are `turned`).
void load_matrices(unsigned* out, const void* row, bool turned);
// A copy that is done when its group is awaited (cp.async): until then its place holds not a number.
void copy(void* to, const void* from, unsigned bytes, bool inside);
void end_group();
void await_groups(unsigned later);

template <class... A, size_t... I>
void call(const void* kernel, void** arguments, std::index_sequence<I...>) {
    ((void (*)(A...))kernel)(*(A*)arguments[I]...);
}

template <class... A> Kernel named(const char* name, void (*kernel)(A...)) {
    return {name,
            [](const void* kernel, void** arguments) {
                call<A...>(kernel, arguments, std::index_sequence_for<A...>());
            },
            (const void*)kernel,
            sizeof...(A),
            {sizeof(A)...}};
}

}  // namespace emulated

inline void __syncthreads() { emulated::block_barrier(); }
inline void __syncwarp(unsigned = 0xffffffffu) { emulated::warp_barrier(); }

inline float from_lane(float x, unsigned lane) {
    float* slots = emulated::slots();
    slots[threadIdx.x % 32] = x;
    emulated::warp_barrier();
    float y = slots[lane];
    emulated::warp_barrier();
    return y;
}
inline float __shfl_xor_sync(unsigned, float x, int mask) { return from_lane(x, threadIdx.x % 32 ^ mask); }
inline float __shfl_sync(unsigned, float x, int lane) { return from_lane(x, lane); }

inline float __expf(float x) { return expf(x); }
inline unsigned __float_as_uint(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

struct __nv_bfloat16 {
    unsigned short bits;
};
inline float __bfloat162float(__nv_bfloat16 x) { return __uint_as_float((unsigned)x.bits << 16); }
// To the nearest, ties to even, as the hardware does.
inline __nv_bfloat16 __float2bfloat16(float x) {
    unsigned bits = __float_as_uint(x);
    if (x != x) return {0x7fff};
    return {(unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
