// Packed weights in the element type: QLoRA's NormalFloat (arXiv 2305.14314) and llama.cpp's blocks (ggml-quants.c).
//
// A matrix is one long list, cut into blocks that may run on over the ends of rows (model/packed).
#include "device.cuh"

__device__ __forceinline__ float half_float(const u8* p) {
    u32 bits = p[0] | (u32)p[1] << 8;
    u32 sign = (bits & 0x8000) << 16, exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude;
    if (exponent == 0) magnitude = (float)fraction * 5.9604645e-8f;
    else if (exponent == 31) magnitude = __uint_as_float(0x7f800000 | fraction << 13);
    else magnitude = __uint_as_float((exponent + 112) << 23 | fraction << 13);
    return __uint_as_float(__float_as_uint(magnitude) | sign);
}

struct Source {
    const u8* codes;
    // NF4 alone: a scale's index for each 64 codes, its scale for each 256 of these, the mean, the values of the indices.
    const u8* scales;
    const float* outer;
    const float* values;
    float mean;
};

// The 16 values of the data type (model/packed/nf4.rs).
__constant__ float code[16] = {-1.f,          -0.6961928f,  -0.52507305f, -0.3949175f,  -0.28444138f, -0.18477343f,
                               -0.091050036f, 0.f,          0.0795803f,   0.1609302f,   0.2461123f,   0.33791524f,
                               0.44070983f,   0.562617f,    0.72295684f,  1.f};

struct Nf4 {
    static __device__ __forceinline__ float scale(const Source& s, i64 e) {
        i64 block = e / 64;
        return s.values[s.scales[block]] * s.outer[block / 256] + s.mean;
    }
};

struct Q4_0 {
    static const int BLOCK = 32, BYTES = 18;
    static __device__ __forceinline__ float at(const u8* b, int i) {
        u8 byte = b[2 + i % 16];
        return (float)((i < 16 ? byte & 15 : byte >> 4) - 8) * half_float(b);
    }
};

struct Q4_1 {
    static const int BLOCK = 32, BYTES = 20;
    static __device__ __forceinline__ float at(const u8* b, int i) {
        u8 byte = b[4 + i % 16];
        return (float)(i < 16 ? byte & 15 : byte >> 4) * half_float(b) + half_float(b + 2);
    }
};

__device__ __forceinline__ int fifth(const u8* b, int i) { return b[i / 8] >> (i % 8) & 1; }

struct Q5_0 {
    static const int BLOCK = 32, BYTES = 22;
    static __device__ __forceinline__ float at(const u8* b, int i) {
        u8 byte = b[6 + i % 16];
        int q = (i < 16 ? byte & 15 : byte >> 4) | fifth(b + 2, i) << 4;
        return (float)(q - 16) * half_float(b);
    }
};

struct Q5_1 {
    static const int BLOCK = 32, BYTES = 24;
    static __device__ __forceinline__ float at(const u8* b, int i) {
        u8 byte = b[8 + i % 16];
        int q = (i < 16 ? byte & 15 : byte >> 4) | fifth(b + 4, i) << 4;
        return (float)q * half_float(b) + half_float(b + 2);
    }
};

struct Q8_0 {
    static const int BLOCK = 32, BYTES = 34;
    static __device__ __forceinline__ float at(const u8* b, int i) {
        return (float)(signed char)b[2 + i] * half_float(b);
    }
};

// Scale and minimum of the j-th of eight stretches of 32, 6 bits each in 12 bytes.
__device__ __forceinline__ void scale_and_min(int j, const u8* p, float* scale, float* min) {
    if (j < 4) {
        *scale = (float)(p[j] & 63);
        *min = (float)(p[j + 4] & 63);
    } else {
        *scale = (float)((p[j + 4] & 15) | p[j - 4] >> 6 << 4);
        *min = (float)(p[j + 4] >> 4 | p[j] >> 6 << 4);
    }
}

struct Q4K {
    static const int BLOCK = 256, BYTES = 144;
    static __device__ __forceinline__ float at(const u8* b, int i) {
        int stretch = i / 32;
        float scale, min;
        scale_and_min(stretch, b + 4, &scale, &min);
        u8 byte = b[16 + i / 64 * 32 + i % 32];
        int q = stretch % 2 ? byte >> 4 : byte & 15;
        return half_float(b) * scale * (float)q - half_float(b + 2) * min;
    }
};

struct Q5K {
    static const int BLOCK = 256, BYTES = 176;
    static __device__ __forceinline__ float at(const u8* b, int i) {
        int stretch = i / 32;
        float scale, min;
        scale_and_min(stretch, b + 4, &scale, &min);
        u8 byte = b[48 + i / 64 * 32 + i % 32];
        int q = (stretch % 2 ? byte >> 4 : byte & 15) | (b[16 + i % 32] >> stretch & 1) << 4;
        return half_float(b) * scale * (float)q - half_float(b + 2) * min;
    }
};

struct Q6K {
    static const int BLOCK = 256, BYTES = 210;
    static __device__ __forceinline__ float at(const u8* b, int i) {
        int n = i / 128, part = i % 128 / 32;
        u8 low = b[64 * n + 32 * (part % 2) + i % 32], high = b[128 + 32 * n + i % 32];
        int q = (low >> (4 * (part / 2)) & 15) | (high >> (2 * part) & 3) << 4;
        float scale = half_float(b + 208) * (float)(signed char)b[192 + 8 * n + 2 * part + i % 32 / 16];
        return scale * (float)(q - 32);
    }
};

// Element e.
template <class Kind> __device__ __forceinline__ float one(const Source& s, i64 e) {
    return Kind::at(s.codes + e / Kind::BLOCK * Kind::BYTES, (int)(e % Kind::BLOCK));
}

template <> __device__ __forceinline__ float one<Nf4>(const Source& s, i64 e) {
    u8 byte = s.codes[e / 2];
    return code[e % 2 ? byte & 15 : byte >> 4] * Nf4::scale(s, e);
}

// Elements e .. e + VECTOR, e a multiple of VECTOR: all of one block. `table` is `code` in shared memory, where lanes read
// different places at once.
template <class Kind> __device__ __forceinline__ Floats some(const Source& s, i64 e, const float* table) {
    const u8* b = s.codes + e / Kind::BLOCK * Kind::BYTES;
    int i = (int)(e % Kind::BLOCK);
    Floats out;
#pragma unroll
    for (int k = 0; k < VECTOR; k++) out.at[k] = Kind::at(b, i + k);
    return out;
}

// As many bytes as hold VECTOR codes of 4 bits.
struct __align__(VECTOR / 2) Nibbles {
    u8 at[VECTOR / 2];
};

// Its scale is looked up once, and its codes are read at once.
template <> __device__ __forceinline__ Floats some<Nf4>(const Source& s, i64 e, const float* table) {
    float scale = Nf4::scale(s, e);
    Nibbles codes = *(const Nibbles*)(s.codes + e / 2);
    Floats out;
#pragma unroll
    for (int k = 0; k < VECTOR; k += 2) {
        u8 byte = codes.at[k / 2];
        out.at[k] = table[byte >> 4] * scale;
        out.at[k + 1] = table[byte & 15] * scale;
    }
    return out;
}

struct __align__(VECTOR) Codes {
    u8 at[VECTOR];
};

// As NF4's: of one stretch, whose codes are all low or all high halves of their bytes.
template <> __device__ __forceinline__ Floats some<Q4K>(const Source& s, i64 e, const float* table) {
    const u8* b = s.codes + e / Q4K::BLOCK * Q4K::BYTES;
    int i = (int)(e % Q4K::BLOCK), stretch = i / 32;
    float scale, min;
    scale_and_min(stretch, b + 4, &scale, &min);
    float step = half_float(b) * scale, less = half_float(b + 2) * min;
    Codes codes = *(const Codes*)(b + 16 + i / 64 * 32 + i % 32);
    Floats out;
#pragma unroll
    for (int k = 0; k < VECTOR; k++) {
        int q = stretch % 2 ? codes.at[k] >> 4 : codes.at[k] & 15;
        out.at[k] = step * (float)q - less;
    }
    return out;
}

// Rows `ids`, or from row `first` on where there are none, times a factor: [rows, width].
template <class Kind>
__device__ __forceinline__ void unpack(T* out, Source s, const u32* ids, i64 first, i64 rows, int width, float factor) {
    __shared__ float table[16];
    if (threadIdx.x < 16) table[threadIdx.x] = code[threadIdx.x];
    __syncthreads();
    int pieces = (width + VECTOR - 1) / VECTOR;
    bool wide = is_wide(out, 0, width);
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces, from = ids ? ids[row] : first + row;
        int i = (int)(n % pieces) * VECTOR;
        Floats v;
        if (wide) v = some<Kind>(s, from * width + i, table);
        else
            for (int k = 0; k < VECTOR; k++) v.at[k] = i + k < width ? one<Kind>(s, from * width + i + k) : 0.f;
        for (int k = 0; k < VECTOR; k++) v.at[k] *= factor;
        store(out + row * width, i, width, wide, v);
    }
}

#define UNPACK(name, Kind)                                                                                             \
    KERNEL(name)(T* out, Source source, const u32* ids, i64 first, i64 rows, int width, float factor) {                \
        unpack<Kind>(out, source, ids, first, rows, width, factor);                                                    \
    }
UNPACK(unpack_nf4, Nf4)
UNPACK(unpack_q4_0, Q4_0)
UNPACK(unpack_q4_1, Q4_1)
UNPACK(unpack_q5_0, Q5_0)
UNPACK(unpack_q5_1, Q5_1)
UNPACK(unpack_q8_0, Q8_0)
UNPACK(unpack_q4_k, Q4K)
UNPACK(unpack_q5_k, Q5K)
UNPACK(unpack_q6_k, Q6K)
