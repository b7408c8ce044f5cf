// What kernels on tensor cores are made of, in bf16: products of 16 x 16 by 16 x 8 with sums in f32 (mma.m16n8k16), loads of
// what these take (ldmatrix), and copies into shared memory that go on while a block computes (cp.async).
//
// Matrices in shared memory have rows of `stride` elements that begin at multiples of 16 bytes.
#pragma once
#include "device.cuh"

#ifdef ELEMENT_BF16

#ifndef EMULATED
// c += a * b: a 16 x 16 by rows, b 16 x 8 by columns, in the fragments of PTX ISA, "Matrix Fragments".
__device__ __forceinline__ void mma(float* c, const u32* a, const u32* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Four matrices of 8 x 8: the lane names row lane % 8 of matrix lane / 8, and gets of each matrix, or of each one turned
// over, two neighbours of row lane / 4.
__device__ __forceinline__ void load_matrices(u32* out, const T* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void load_turned(u32* out, const T* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Starts to copy 16 bytes, or 4, into shared memory; where they are not `inside`, zeros.
__device__ __forceinline__ void copy_16(void* to, const void* from, bool inside) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)), "l"(from),
                 "r"(inside ? 16 : 0)
                 : "memory");
}
__device__ __forceinline__ void copy_4(void* to, const void* from, bool inside) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(shared_address(to)), "l"(from),
                 "r"(inside ? 4 : 0)
                 : "memory");
}
// Makes a group of what this thread has started to copy since the last one.
__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }
// Waits for this thread's groups but the last `LATER`; a barrier behind it shows the copies to the others.
template <int LATER> __device__ __forceinline__ void await_groups() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(LATER) : "memory");
}

__device__ __forceinline__ u32 two_of(float low, float high) {
    __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *(const u32*)&both;
}
#else
using emulated::end_group;
using emulated::mma;
__device__ __forceinline__ void load_matrices(u32* out, const T* row) { emulated::load_matrices(out, row, false); }
__device__ __forceinline__ void load_turned(u32* out, const T* row) { emulated::load_matrices(out, row, true); }
__device__ __forceinline__ void copy_16(void* to, const void* from, bool inside) { emulated::copy(to, from, 16, inside); }
__device__ __forceinline__ void copy_4(void* to, const void* from, bool inside) { emulated::copy(to, from, 4, inside); }
template <int LATER> __device__ __forceinline__ void await_groups() { emulated::await_groups(LATER); }
__device__ __forceinline__ u32 two_of(float low, float high) {
    return (u32)from_float<T>(low).bits | (u32)from_float<T>(high).bits << 16;
}
#endif

// Rows row .. row + 16, columns k .. k + 16, as the left side.
__device__ __forceinline__ void left(u32* a, const T* x, int stride, int row, int k) {
    int lane = threadIdx.x % WARP;
    load_matrices(a, x + (row + lane % 16) * stride + k + lane / 16 * 8);
}

// Rows n .. n + 16, columns k .. k + 16, as the right sides of two products: by the transposed matrix.
__device__ __forceinline__ void right_by_rows(u32* b, const T* x, int stride, int n, int k) {
    int lane = threadIdx.x % WARP;
    load_matrices(b, x + (n + lane / 16 * 8 + lane % 8) * stride + k + lane / 8 % 2 * 8);
}

// Rows k .. k + 16, columns n .. n + 16, as the right sides of two products.
__device__ __forceinline__ void right(u32* b, const T* x, int stride, int k, int n) {
    int lane = threadIdx.x % WARP;
    load_turned(b, x + (k + lane % 16) * stride + n + lane / 16 * 8);
}

// Of a product's output the lane holds four numbers: of rows lane / 4 and 8 more, two columns each.
__device__ __forceinline__ int row_of(int i) { return threadIdx.x % WARP / 4 + i / 2 * 8; }
__device__ __forceinline__ int column_of(int i) { return threadIdx.x % WARP % 4 * 2 + i % 2; }

// Two neighbouring outputs of 16 x 8 as the left side of the next product.
__device__ __forceinline__ void output_as_left(u32* a, const float* first, const float* second) {
    a[0] = two_of(first[0], first[1]);
    a[1] = two_of(first[2], first[3]);
    a[2] = two_of(second[0], second[1]);
    a[3] = two_of(second[2], second[3]);
}

// c = a warp's 16 rows of x, from `row` on, times the first COUNT rows of y, both WIDE long.
template <int WIDE, int COUNT>
__device__ __forceinline__ void multiply_by_rows(float (*c)[4], const T* x, int row, const T* y, int stride) {
#pragma unroll
    for (int n = 0; n < COUNT / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) c[n][i] = 0.f;
#pragma unroll
    for (int k = 0; k < WIDE; k += 16) {
        u32 a[4], b[4];
        left(a, x, stride, row, k);
#pragma unroll
        for (int n = 0; n < COUNT / 16; n++) {
            right_by_rows(b, y, stride, n * 16, k);
            mma(c[2 * n], a, b);
            mma(c[2 * n + 1], a, b + 2);
        }
    }
}

// c += x, an output of 16 x COUNT, times the first COUNT rows of y, WIDE long.
template <int WIDE, int COUNT>
__device__ __forceinline__ void add_product(float (*c)[4], const float (*x)[4], const T* y, int stride) {
#pragma unroll
    for (int k = 0; k < COUNT / 16; k++) {
        u32 a[4], b[4];
        output_as_left(a, x[2 * k], x[2 * k + 1]);
#pragma unroll
        for (int n = 0; n < WIDE / 16; n++) {
            right(b, y, stride, k * 16, n * 16);
            mma(c[2 * n], a, b);
            mma(c[2 * n + 1], a, b + 2);
        }
    }
}

#endif
