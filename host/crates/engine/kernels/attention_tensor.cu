// Attention on tensor cores, for heads of at most 128 dimensions in bf16: what attention.cu computes, by the same tiles of
// sequences, with products of 16 x 16 by 16 x 8 and sums in f32.
//
// A block of four warps takes 64 rows, 16 for each warp. Rows in shared memory are WIDE elements long, zeros behind the
// head's dimensions, and 8 more, so that a warp's lanes read from different banks.
#include "device.cuh"

#ifdef ELEMENT_BF16

#define ROWS_OF_WARP 16
#define ROWS_OF_BLOCK (WARPS * ROWS_OF_WARP)

// c += a * b: a 16 x 16 by rows, b 16 x 8 by columns, in the fragments of mma.m16n8k16 (PTX ISA, "Matrix Fragments").
#ifndef EMULATED
__device__ __forceinline__ void mma(float* c, const u32* a, const u32* b) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
using emulated::mma;
#endif

__device__ __forceinline__ u32 two(const T* p) { return *(const u32*)p; }

__device__ __forceinline__ u32 bits(T x) { return *(const unsigned short*)&x; }

__device__ __forceinline__ u32 two_of(float low, float high) {
    return bits(from_float<T>(low)) | bits(from_float<T>(high)) << 16;
}

// Rows row .. row + 16, columns from k on, of a matrix in shared memory, as the left side.
__device__ __forceinline__ void left(u32* a, const T* x, int stride, int row, int k) {
    int lane = threadIdx.x % WARP;
    const T* p = x + (row + lane / 4) * stride + k + lane % 4 * 2;
    a[0] = two(p);
    a[1] = two(p + 8 * stride);
    a[2] = two(p + 8);
    a[3] = two(p + 8 * stride + 8);
}

// Rows n .. n + 8, columns from k on, as the right side's columns: the product with the transposed matrix.
__device__ __forceinline__ void right_by_rows(u32* b, const T* x, int stride, int n, int k) {
    int lane = threadIdx.x % WARP;
    const T* p = x + (n + lane / 4) * stride + k + lane % 4 * 2;
    b[0] = two(p);
    b[1] = two(p + 8);
}

// Rows from k on, columns n .. n + 8, as the right side.
__device__ __forceinline__ void right(u32* b, const T* x, int stride, int k, int n) {
    int lane = threadIdx.x % WARP;
    const T* p = x + (k + lane % 4 * 2) * stride + n + lane / 4;
    b[0] = bits(p[0]) | bits(p[stride]) << 16;
    b[1] = bits(p[8 * stride]) | bits(p[9 * stride]) << 16;
}

// Rows first .. first + count of a sequence; zeros behind its end and behind the head's dimensions.
template <int WIDE>
__device__ __forceinline__ void fill(T* to, const T* from, i64 stride, int first, int count, int len, int dim) {
    const int pieces = WIDE / VECTOR;
    bool wide = is_wide(from, stride, dim);
    for (int i = threadIdx.x; i < count * pieces; i += blockDim.x) {
        int row = i / pieces, d = i % pieces * VECTOR;
        T* out = to + row * (WIDE + 8) + d;
        const T* in = from + (i64)(first + row) * stride;
        if (first + row < len && wide && d < dim) {
            *(Sixteen*)out = *(const Sixteen*)(in + d);
            continue;
        }
        for (int k = 0; k < VECTOR; k++)
            out[k] = first + row < len && d + k < dim ? in[d + k] : from_float<T>(0.f);
    }
}

// Sum and largest of a row of a product's output, which four lanes hold.
__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(ALL_LANES, x, 1);
    return x + __shfl_xor_sync(ALL_LANES, x, 2);
}

__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 1));
    return fmaxf(x, __shfl_xor_sync(ALL_LANES, x, 2));
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

template <int WIDE>
__device__ __forceinline__ void write_rows(T* to, i64 stride, const float (*x)[4], int row, int rows, int dim,
                                           const float* factors) {
#pragma unroll
    for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int at = row + row_of(i), d = n * 8 + column_of(i);
            if (at < rows && d < dim) to[at * stride + d] = from_float<T>(x[n][i] * factors[i / 2]);
        }
}

template <int WIDE> __device__ __forceinline__ void tensor_forward(T* out, float* log_sums, const T* qkv,
                                                                   const Tile* tiles, Heads h) {
    const int KEYS = 64, stride = WIDE + 8;
    DYNAMIC(shared);
    T* q = (T*)shared;
    T* k = q + ROWS_OF_BLOCK * stride;
    T* v = k + KEYS * stride;
    Tile tile = tiles[blockIdx.x];
    int head = blockIdx.y, kv_head = head / (h.heads / h.kv_heads);
    i64 width = (i64)(h.heads + 2 * h.kv_heads) * h.dim;
    const T* rows = qkv + tile.start * width;
    const T* keys = rows + (i64)(h.heads + kv_head) * h.dim;
    const T* values = keys + (i64)h.kv_heads * h.dim;
    int own = threadIdx.x / WARP * ROWS_OF_WARP;
    fill<WIDE>(q, rows + (i64)head * h.dim, width, tile.from, ROWS_OF_BLOCK, tile.len, h.dim);

    float o[WIDE / 8][4], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
#pragma unroll
    for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) o[n][i] = 0.f;
    int last = min(tile.from + ROWS_OF_BLOCK, tile.len);
    int first = h.window ? max(0, tile.from + 1 - h.window) / KEYS * KEYS : 0;
    for (int from = first; from < last; from += KEYS) {
        __syncthreads();
        fill<WIDE>(k, keys, width, from, KEYS, tile.len, h.dim);
        fill<WIDE>(v, values, width, from, KEYS, tile.len, h.dim);
        __syncthreads();
        float s[KEYS / 8][4];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] = 0.f;
#pragma unroll
        for (int d = 0; d < WIDE; d += 16) {
            u32 a[4], b[2];
            left(a, q, stride, own, d);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
                right_by_rows(b, k, stride, n * 8, d);
                mma(s[n], a, b);
            }
        }
        float now[2] = {top[0], top[1]};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float slope, score = score_of(h, s[n][i], &slope);
                int query = tile.from + own + row_of(i);
                s[n][i] = query < tile.len && sees(h, query, from + n * 8 + column_of(i)) ? score : -INFINITY;
                now[i / 2] = fmaxf(now[i / 2], s[n][i]);
            }
        float shrink[2];
#pragma unroll
        for (int r = 0; r < 2; r++) {
            now[r] = row_max(now[r]);
            shrink[r] = now[r] == -INFINITY ? 1.f : exponential(top[r] - now[r]);
            top[r] = now[r];
            sum[r] *= shrink[r];
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[n][i] = top[i / 2] == -INFINITY ? 0.f : exponential(s[n][i] - top[i / 2]);
                sum[i / 2] += s[n][i];
            }
#pragma unroll
        for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) o[n][i] *= shrink[i / 2];
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            u32 a[4], b[2];
            output_as_left(a, s[2 * step], s[2 * step + 1]);
#pragma unroll
            for (int n = 0; n < WIDE / 8; n++) {
                right(b, v, stride, step * 16, n * 8);
                mma(o[n], a, b);
            }
        }
    }
    float inverse[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        // Each lane has summed its own columns.
        sum[r] = row_sum(sum[r]);
        inverse[r] = sum[r] > 0.f ? 1.f / sum[r] : 0.f;
        int query = tile.from + own + row_of(2 * r);
        if (threadIdx.x % 4 == 0 && query < tile.len)
            log_sums[(i64)head * h.tokens + tile.start + query] = top[r] + logf(sum[r]);
    }
    i64 out_width = (i64)h.heads * h.dim;
    write_rows<WIDE>(out + tile.start * out_width + (i64)head * h.dim, out_width, o, tile.from + own, tile.len, h.dim,
                     inverse);
}

template <int WIDE>
__device__ __forceinline__ void tensor_queries(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,
                                               const float* delta, const Tile* tiles, Heads h) {
    const int KEYS = 32, stride = WIDE + 8;
    DYNAMIC(shared);
    T* q = (T*)shared;
    T* g = q + ROWS_OF_BLOCK * stride;
    T* k = g + ROWS_OF_BLOCK * stride;
    T* v = k + KEYS * stride;
    Tile tile = tiles[blockIdx.x];
    int head = blockIdx.y, kv_head = head / (h.heads / h.kv_heads);
    i64 width = (i64)(h.heads + 2 * h.kv_heads) * h.dim, out_width = (i64)h.heads * h.dim;
    const T* rows = qkv + tile.start * width;
    const T* keys = rows + (i64)(h.heads + kv_head) * h.dim;
    const T* values = keys + (i64)h.kv_heads * h.dim;
    int own = threadIdx.x / WARP * ROWS_OF_WARP;
    fill<WIDE>(q, rows + (i64)head * h.dim, width, tile.from, ROWS_OF_BLOCK, tile.len, h.dim);
    fill<WIDE>(g, d_out + tile.start * out_width + (i64)head * h.dim, out_width, tile.from, ROWS_OF_BLOCK, tile.len,
               h.dim);
    float d_q[WIDE / 8][4], log_sum[2], taken[2];
#pragma unroll
    for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) d_q[n][i] = 0.f;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int query = tile.from + own + row_of(2 * r);
        i64 at = (i64)head * h.tokens + tile.start + query;
        log_sum[r] = query < tile.len ? log_sums[at] : 0.f;
        taken[r] = query < tile.len ? delta[at] : 0.f;
    }
    int last = min(tile.from + ROWS_OF_BLOCK, tile.len);
    int first = h.window ? max(0, tile.from + 1 - h.window) / KEYS * KEYS : 0;
    for (int from = first; from < last; from += KEYS) {
        __syncthreads();
        fill<WIDE>(k, keys, width, from, KEYS, tile.len, h.dim);
        fill<WIDE>(v, values, width, from, KEYS, tile.len, h.dim);
        __syncthreads();
        float s[KEYS / 8][4], p[KEYS / 8][4];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] = p[n][i] = 0.f;
#pragma unroll
        for (int d = 0; d < WIDE; d += 16) {
            u32 a[4], c[4], b[2];
            left(a, q, stride, own, d);
            left(c, g, stride, own, d);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) {
                right_by_rows(b, k, stride, n * 8, d);
                mma(s[n], a, b);
                right_by_rows(b, v, stride, n * 8, d);
                mma(p[n], c, b);
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float slope, score = score_of(h, s[n][i], &slope);
                int query = tile.from + own + row_of(i);
                bool seen = query < tile.len && sees(h, query, from + n * 8 + column_of(i));
                s[n][i] = seen ? exponential(score - log_sum[i / 2]) * (p[n][i] - taken[i / 2]) * slope : 0.f;
            }
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) {
            u32 a[4], b[2];
            output_as_left(a, s[2 * step], s[2 * step + 1]);
#pragma unroll
            for (int n = 0; n < WIDE / 8; n++) {
                right(b, k, stride, step * 16, n * 8);
                mma(d_q[n], a, b);
            }
        }
    }
    float scale[2] = {h.scale, h.scale};
    write_rows<WIDE>(d_qkv + tile.start * width + (i64)head * h.dim, width, d_q, tile.from + own, tile.len, h.dim, scale);
}

template <int WIDE>
__device__ __forceinline__ void tensor_keys(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,
                                            const float* delta, const Tile* tiles, Heads h) {
    const int QUERIES = 32, stride = WIDE + 8;
    DYNAMIC(shared);
    T* k = (T*)shared;
    T* v = k + ROWS_OF_BLOCK * stride;
    T* q = v + ROWS_OF_BLOCK * stride;
    T* g = q + QUERIES * stride;
    Tile tile = tiles[blockIdx.x];
    int kv_head = blockIdx.y, group = h.heads / h.kv_heads;
    i64 width = (i64)(h.heads + 2 * h.kv_heads) * h.dim, out_width = (i64)h.heads * h.dim;
    const T* rows = qkv + tile.start * width;
    i64 key_column = (i64)(h.heads + kv_head) * h.dim, value_column = key_column + (i64)h.kv_heads * h.dim;
    int own = threadIdx.x / WARP * ROWS_OF_WARP;
    fill<WIDE>(k, rows + key_column, width, tile.from, ROWS_OF_BLOCK, tile.len, h.dim);
    fill<WIDE>(v, rows + value_column, width, tile.from, ROWS_OF_BLOCK, tile.len, h.dim);
    float d_k[WIDE / 8][4], d_v[WIDE / 8][4];
#pragma unroll
    for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) d_k[n][i] = d_v[n][i] = 0.f;
    int end = h.window ? min(tile.len, min(tile.from + ROWS_OF_BLOCK, tile.len) - 1 + h.window) : tile.len;
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++) {
        const float* head_sums = log_sums + (i64)head * h.tokens + tile.start;
        const float* head_delta = delta + (i64)head * h.tokens + tile.start;
        for (int from = tile.from / QUERIES * QUERIES; from < end; from += QUERIES) {
            __syncthreads();
            fill<WIDE>(q, rows + (i64)head * h.dim, width, from, QUERIES, tile.len, h.dim);
            fill<WIDE>(g, d_out + tile.start * out_width + (i64)head * h.dim, out_width, from, QUERIES, tile.len, h.dim);
            __syncthreads();
            float s[QUERIES / 8][4], p[QUERIES / 8][4];
#pragma unroll
            for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) s[n][i] = p[n][i] = 0.f;
#pragma unroll
            for (int d = 0; d < WIDE; d += 16) {
                u32 a[4], c[4], b[2];
                left(a, k, stride, own, d);
                left(c, v, stride, own, d);
#pragma unroll
                for (int n = 0; n < QUERIES / 8; n++) {
                    right_by_rows(b, q, stride, n * 8, d);
                    mma(s[n], a, b);
                    right_by_rows(b, g, stride, n * 8, d);
                    mma(p[n], c, b);
                }
            }
#pragma unroll
            for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    float slope, score = score_of(h, s[n][i], &slope), d_p = p[n][i];
                    int key = tile.from + own + row_of(i), query = from + n * 8 + column_of(i);
                    bool seen = key < tile.len && query < tile.len && sees(h, query, key);
                    p[n][i] = seen ? exponential(score - head_sums[query]) : 0.f;
                    s[n][i] = seen ? p[n][i] * (d_p - head_delta[query]) * slope : 0.f;
                }
#pragma unroll
            for (int step = 0; step < QUERIES / 16; step++) {
                u32 a[4], c[4], b[2];
                output_as_left(a, s[2 * step], s[2 * step + 1]);
                output_as_left(c, p[2 * step], p[2 * step + 1]);
#pragma unroll
                for (int n = 0; n < WIDE / 8; n++) {
                    right(b, q, stride, step * 16, n * 8);
                    mma(d_k[n], a, b);
                    right(b, g, stride, step * 16, n * 8);
                    mma(d_v[n], c, b);
                }
            }
        }
    }
    float scale[2] = {h.scale, h.scale}, one[2] = {1.f, 1.f};
    T* to = d_qkv + tile.start * width;
    write_rows<WIDE>(to + key_column, width, d_k, tile.from + own, tile.len, h.dim, scale);
    write_rows<WIDE>(to + value_column, width, d_v, tile.from + own, tile.len, h.dim, one);
}

#define TENSOR_ATTENTION(wide)                                                                                         \
    KERNEL(attention_tensor_##wide)(T* out, float* log_sums, const T* qkv, const Tile* tiles, Heads heads) {           \
        tensor_forward<wide>(out, log_sums, qkv, tiles, heads);                                                        \
    }                                                                                                                  \
    KERNEL(attention_tensor_queries_##wide)(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,             \
                                            const float* delta, const Tile* tiles, Heads heads) {                      \
        tensor_queries<wide>(d_qkv, qkv, d_out, log_sums, delta, tiles, heads);                                        \
    }                                                                                                                  \
    KERNEL(attention_tensor_keys_##wide)(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,                \
                                         const float* delta, const Tile* tiles, Heads heads) {                         \
        tensor_keys<wide>(d_qkv, qkv, d_out, log_sums, delta, tiles, heads);                                           \
    }
TENSOR_ATTENTION(64)
TENSOR_ATTENTION(128)

#endif
