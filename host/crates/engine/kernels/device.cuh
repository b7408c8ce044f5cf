// What all kernels share: the element type, vector loads, sums over a warp.
//
// Every file is compiled once for each element type (-DELEMENT_BF16 or not); a kernel's name then ends in _bf16 or _f32.
// Arithmetic is in f32 whatever the elements are, and no sum depends on the order in which blocks run: the same input
// gives the same bits. With -DEMULATED the same source is C++ for the host (emulated.h), which the tests run.
#pragma once

#ifdef EMULATED
#include "emulated.h"
#else
#include <cuda_bf16.h>
#endif

#ifdef ELEMENT_BF16
typedef __nv_bfloat16 T;
#define NAMED(name) name##_bf16
#else
typedef float T;
#define NAMED(name) name##_f32
#endif
#define KERNEL(name) extern "C" __global__ void NAMED(name)
// One of whose blocks, of so many threads, so many are to find room beside one another: the compiler saves registers for it.
#define CROWDED_KERNEL(name, threads, blocks) extern "C" __global__ void __launch_bounds__(threads, blocks) NAMED(name)

// Shared memory whose size the launch says, for reads of 16 bytes.
#ifndef EMULATED
#define DYNAMIC(name) extern __shared__ __align__(16) float name[]
#endif

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define WARP 32
#define ALL_LANES 0xffffffffu

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class E> __device__ __forceinline__ E from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16(x); }

// f32 results are held to 1e-5; bf16 ones gain nothing from the slower exponential.
#ifdef ELEMENT_BF16
__device__ __forceinline__ float exponential(float x) { return __expf(x); }
#else
__device__ __forceinline__ float exponential(float x) { return expf(x); }
#endif

// Elements that a lane takes at a time: 16 bytes.
#define VECTOR ((int)(16 / sizeof(T)))

struct __align__(16) Sixteen {
    T elements[VECTOR];
};

struct Floats {
    float at[VECTOR];
};

// Four f32, whatever the elements are.
struct __align__(16) Quad {
    float at[4];
};

__device__ __forceinline__ bool is_aligned(const void* p) { return (u64)p % 16 == 0; }

// Whether rows that begin at `p` and lie `stride` apart can be read 16 bytes at a time over `width` elements.
__device__ __forceinline__ bool is_wide(const void* p, i64 stride, i64 width) {
    return is_aligned(p) && stride % VECTOR == 0 && width % VECTOR == 0;
}

// Elements i .. i + VECTOR of a row of `width`; zeros behind its end.
__device__ __forceinline__ Floats load(const T* row, int i, int width, bool wide) {
    Floats out;
    if (wide) {
        Sixteen raw = *(const Sixteen*)(row + i);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) out.at[k] = to_float(raw.elements[k]);
    } else {
#pragma unroll
        for (int k = 0; k < VECTOR; k++) out.at[k] = i + k < width ? to_float(row[i + k]) : 0.f;
    }
    return out;
}

__device__ __forceinline__ void store(T* row, int i, int width, bool wide, const Floats& x) {
    if (wide) {
        Sixteen raw;
#pragma unroll
        for (int k = 0; k < VECTOR; k++) raw.elements[k] = from_float<T>(x.at[k]);
        *(Sixteen*)(row + i) = raw;
    } else {
#pragma unroll
        for (int k = 0; k < VECTOR; k++)
            if (i + k < width) row[i + k] = from_float<T>(x.at[k]);
    }
}

// As `load`, of f32 whatever the elements are: as many as these.
__device__ __forceinline__ Floats load_floats(const float* row, int i, int width, bool wide) {
    Floats out;
    if (wide) {
#pragma unroll
        for (int k = 0; k < VECTOR; k += 4) {
            Quad raw = *(const Quad*)(row + i + k);
#pragma unroll
            for (int j = 0; j < 4; j++) out.at[k + j] = raw.at[j];
        }
    } else {
#pragma unroll
        for (int k = 0; k < VECTOR; k++) out.at[k] = i + k < width ? row[i + k] : 0.f;
    }
    return out;
}

// Parameters are f32 and may begin anywhere.
__device__ __forceinline__ Floats parameters(const float* p, int i, int width) {
    return load_floats(p, i, width, is_aligned(p + i) && i + VECTOR <= width);
}

// Elements from n on of a list of `count`, for loops that take VECTOR of them at a time.
__device__ __forceinline__ int left_of(i64 count, i64 n) { return (int)min((i64)VECTOR, count - n); }

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int lane = WARP / 2; lane > 0; lane /= 2) x += __shfl_xor_sync(ALL_LANES, x, lane);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int lane = WARP / 2; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, lane));
    return x;
}

// Sum over a block of at most 1,024 threads, known to all of them; `scratch` holds 32 floats.
__device__ __forceinline__ float block_sum(float x, float* scratch) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    int warps = (blockDim.x + WARP - 1) / WARP;
    x = (int)(threadIdx.x % WARP) < warps ? scratch[threadIdx.x % WARP] : 0.f;
    return warp_sum(x);
}

__device__ __forceinline__ float block_max(float x, float* scratch) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) scratch[threadIdx.x / WARP] = x;
    __syncthreads();
    int warps = (blockDim.x + WARP - 1) / WARP;
    x = (int)(threadIdx.x % WARP) < warps ? scratch[threadIdx.x % WARP] : scratch[0];
    return warp_max(x);
}

// This thread's index among all, and how many there are, for loops over elements.
__device__ __forceinline__ i64 first_index() { return (i64)blockIdx.x * blockDim.x + threadIdx.x; }
__device__ __forceinline__ i64 index_step() { return (i64)gridDim.x * blockDim.x; }

// splitmix64's finalizer over a seed and an index, as the CPU ops draw (ops/elementwise.rs).
__device__ __forceinline__ u64 mix(u64 seed, u64 index) {
    u64 x = seed + index * 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}
