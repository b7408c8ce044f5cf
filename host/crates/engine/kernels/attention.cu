// Causal attention by blocks (arXiv 2205.14135, 2307.08691) with an exact backward: no S x S matrix is ever in memory.
//
// Sequences lie behind one another in one matrix of queries, keys and values side by side, and attend to themselves
// only. A block of four warps takes a tile of rows of one head; each warp keeps ROWS of them, and its lanes stand for
// 32 rows of the other side, then for the head's dimensions, 32 at a time (CHUNKS of them). The forward leaves the
// logarithm of each row's sum; the backward makes the probabilities anew from it. Keys' and values' gradients are
// summed over their group of heads by one block, so that no order of blocks shows in the bits.
#include "device.cuh"

#define WARPS 4

struct Tile {
    // First row of the sequence, its length, first row of the tile within it.
    int start, len, from;
};

// A launch has those tiles first that see the most keys, the last of a sequence. Here those come first that the most queries
// see, the first of a sequence, so that the blocks that end last are short.
__device__ __forceinline__ Tile shortest_last(const Tile* tiles) { return tiles[gridDim.x - 1 - blockIdx.x]; }

struct Heads {
    int heads, kv_heads, dim, tokens;
    float scale;
    // 0 for none, both.
    float cap;
    int window;
};

__device__ __forceinline__ bool sees(const Heads& h, int query, int key) {
    return key <= query && (h.window == 0 || key > query - h.window);
}

// Score behind scale and soft cap, and the slope of the cap there.
__device__ __forceinline__ float score_of(const Heads& h, float product, float* slope) {
    float score = product * h.scale;
    *slope = 1.f;
    if (h.cap > 0.f) {
        float t = tanhf(score / h.cap);
        *slope = 1.f - t * t;
        score = h.cap * t;
    }
    return score;
}

// Rows from .. from + count of a sequence, `dim` columns of each, as f32; zeros behind the sequence's end.
__device__ __forceinline__ void load_tile(float* to, int to_stride, const T* from, i64 stride, int first, int count,
                                          int len, int dim) {
    int pieces = (dim + VECTOR - 1) / VECTOR;
    bool wide = is_wide(from, stride, dim);
    for (int i = threadIdx.x; i < count * pieces; i += blockDim.x) {
        int row = i / pieces, d = i % pieces * VECTOR;
        Floats v;
        if (first + row < len) v = load(from + (i64)(first + row) * stride, d, dim, wide);
        for (int k = 0; k < VECTOR; k++)
            if (d + k < dim) to[row * to_stride + d + k] = first + row < len ? v.at[k] : 0.f;
    }
}

template <int CHUNKS, int ROWS>
__device__ __forceinline__ void forward(T* out, float* log_sums, const T* qkv, const Tile* tiles, Heads h) {
    DYNAMIC(shared);
    int dim = h.dim, padded = dim + 1;
    float* q = shared;
    float* k = q + WARPS * ROWS * dim;
    float* v = k + WARP * padded;
    Tile tile = tiles[blockIdx.x];
    int head = blockIdx.y, kv_head = head / (h.heads / h.kv_heads);
    i64 stride = (i64)(h.heads + 2 * h.kv_heads) * dim;
    const T* rows = qkv + tile.start * stride;
    const T* keys = rows + (i64)(h.heads + kv_head) * dim;
    const T* values = keys + (i64)h.kv_heads * dim;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const float* own = q + warp * ROWS * dim;
    load_tile(q, dim, rows + (i64)head * dim, stride, tile.from, WARPS * ROWS, tile.len, dim);

    float top[ROWS], sum[ROWS], o[ROWS][CHUNKS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        top[r] = -INFINITY;
        sum[r] = 0.f;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) o[r][c] = 0.f;
    }
    int last = min(tile.from + WARPS * ROWS, tile.len);
    int first = h.window ? max(0, tile.from + 1 - h.window) / WARP * WARP : 0;
    for (int from = first; from < last; from += WARP) {
        __syncthreads();
        load_tile(k, padded, keys, stride, from, WARP, tile.len, dim);
        load_tile(v, dim, values, stride, from, WARP, tile.len, dim);
        __syncthreads();
        float p[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) p[r] = 0.f;
        for (int d = 0; d < dim; d++) {
            float x = k[lane * padded + d];
#pragma unroll
            for (int r = 0; r < ROWS; r++) p[r] += own[r * dim + d] * x;
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float slope, score = score_of(h, p[r], &slope);
            int query = tile.from + warp * ROWS + r;
            score = query < tile.len && sees(h, query, from + lane) ? score : -INFINITY;
            float now = fmaxf(top[r], warp_max(score));
            float shrink = now == -INFINITY ? 1.f : exponential(top[r] - now);
            p[r] = now == -INFINITY ? 0.f : exponential(score - now);
            sum[r] = sum[r] * shrink + warp_sum(p[r]);
            top[r] = now;
#pragma unroll
            for (int c = 0; c < CHUNKS; c++) o[r][c] *= shrink;
        }
        for (int j = 0; j < WARP; j++) {
            float x[CHUNKS];
#pragma unroll
            for (int c = 0; c < CHUNKS; c++) x[c] = c * WARP + lane < dim ? v[j * dim + c * WARP + lane] : 0.f;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float weight = __shfl_sync(ALL_LANES, p[r], j);
#pragma unroll
                for (int c = 0; c < CHUNKS; c++) o[r][c] += weight * x[c];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int query = tile.from + warp * ROWS + r;
        if (query >= tile.len) continue;
        i64 row = tile.start + query;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
            if (c * WARP + lane < dim)
                out[(row * h.heads + head) * dim + c * WARP + lane] = from_float<T>(o[r][c] / sum[r]);
        if (lane == 0) log_sums[(i64)head * h.tokens + row] = top[r] + logf(sum[r]);
    }
}

// Of each row and head the product of the output and its gradient: what the softmax's backward takes off. A warp each.
KERNEL(attention_delta)(float* delta, const T* out, const T* d_out, Heads h) {
    i64 item = (i64)blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (item >= (i64)h.tokens * h.heads) return;
    bool wide = is_wide(out, 0, h.dim) && is_wide(d_out, 0, h.dim);
    float sum = 0.f;
    for (int d = threadIdx.x % WARP * VECTOR; d < h.dim; d += WARP * VECTOR) {
        Floats a = load(out + item * h.dim, d, h.dim, wide), g = load(d_out + item * h.dim, d, h.dim, wide);
        for (int k = 0; k < VECTOR; k++) sum += a.at[k] * g.at[k];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) delta[item % h.heads * h.tokens + item / h.heads] = sum;
}

// Gradient of the queries of a tile.
template <int CHUNKS, int ROWS>
__device__ __forceinline__ void backward_queries(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,
                                                 const float* delta, const Tile* tiles, Heads h) {
    DYNAMIC(shared);
    int dim = h.dim, padded = dim + 1;
    float* q = shared;
    float* g = q + WARPS * ROWS * dim;
    float* k = g + WARPS * ROWS * dim;
    float* v = k + WARP * padded;
    Tile tile = tiles[blockIdx.x];
    int head = blockIdx.y, kv_head = head / (h.heads / h.kv_heads);
    i64 stride = (i64)(h.heads + 2 * h.kv_heads) * dim, out_stride = (i64)h.heads * dim;
    const T* rows = qkv + tile.start * stride;
    const T* keys = rows + (i64)(h.heads + kv_head) * dim;
    const T* values = keys + (i64)h.kv_heads * dim;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const float* own_q = q + warp * ROWS * dim;
    const float* own_g = g + warp * ROWS * dim;
    load_tile(q, dim, rows + (i64)head * dim, stride, tile.from, WARPS * ROWS, tile.len, dim);
    load_tile(g, dim, d_out + tile.start * out_stride + (i64)head * dim, out_stride, tile.from, WARPS * ROWS, tile.len,
              dim);
    float d_q[ROWS][CHUNKS], log_sum[ROWS], taken[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int query = tile.from + warp * ROWS + r;
        i64 at = (i64)head * h.tokens + tile.start + query;
        log_sum[r] = query < tile.len ? log_sums[at] : 0.f;
        taken[r] = query < tile.len ? delta[at] : 0.f;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) d_q[r][c] = 0.f;
    }
    int last = min(tile.from + WARPS * ROWS, tile.len);
    int first = h.window ? max(0, tile.from + 1 - h.window) / WARP * WARP : 0;
    for (int from = first; from < last; from += WARP) {
        __syncthreads();
        load_tile(k, padded, keys, stride, from, WARP, tile.len, dim);
        load_tile(v, padded, values, stride, from, WARP, tile.len, dim);
        __syncthreads();
        float s[ROWS], p[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) s[r] = p[r] = 0.f;
        for (int d = 0; d < dim; d++) {
            float x = k[lane * padded + d], y = v[lane * padded + d];
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                s[r] += own_q[r * dim + d] * x;
                p[r] += own_g[r * dim + d] * y;
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float slope, score = score_of(h, s[r], &slope);
            int query = tile.from + warp * ROWS + r;
            bool seen = query < tile.len && sees(h, query, from + lane);
            s[r] = seen ? exponential(score - log_sum[r]) * (p[r] - taken[r]) * slope * h.scale : 0.f;
        }
        for (int j = 0; j < WARP; j++) {
            float x[CHUNKS];
#pragma unroll
            for (int c = 0; c < CHUNKS; c++) x[c] = c * WARP + lane < dim ? k[j * padded + c * WARP + lane] : 0.f;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float weight = __shfl_sync(ALL_LANES, s[r], j);
#pragma unroll
                for (int c = 0; c < CHUNKS; c++) d_q[r][c] += weight * x[c];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int query = tile.from + warp * ROWS + r;
        if (query >= tile.len) continue;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
            if (c * WARP + lane < dim)
                d_qkv[(tile.start + query) * stride + (i64)head * dim + c * WARP + lane] = from_float<T>(d_q[r][c]);
    }
}

// Gradients of the keys and values of a tile, over all queries that see them and all heads that share them.
template <int CHUNKS, int ROWS>
__device__ __forceinline__ void backward_keys(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,
                                              const float* delta, const Tile* tiles, Heads h) {
    DYNAMIC(shared);
    int dim = h.dim, padded = dim + 1;
    float* k = shared;
    float* v = k + WARPS * ROWS * dim;
    float* q = v + WARPS * ROWS * dim;
    float* g = q + WARP * padded;
    Tile tile = shortest_last(tiles);
    int kv_head = blockIdx.y, group = h.heads / h.kv_heads;
    i64 stride = (i64)(h.heads + 2 * h.kv_heads) * dim, out_stride = (i64)h.heads * dim;
    const T* rows = qkv + tile.start * stride;
    i64 key_column = (i64)(h.heads + kv_head) * dim, value_column = key_column + (i64)h.kv_heads * dim;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const float* own_k = k + warp * ROWS * dim;
    const float* own_v = v + warp * ROWS * dim;
    load_tile(k, dim, rows + key_column, stride, tile.from, WARPS * ROWS, tile.len, dim);
    load_tile(v, dim, rows + value_column, stride, tile.from, WARPS * ROWS, tile.len, dim);
    float d_k[ROWS][CHUNKS], d_v[ROWS][CHUNKS];
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) d_k[r][c] = d_v[r][c] = 0.f;
    int end = h.window ? min(tile.len, min(tile.from + WARPS * ROWS, tile.len) - 1 + h.window) : tile.len;
    for (int head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for (int from = tile.from / WARP * WARP; from < end; from += WARP) {
            __syncthreads();
            load_tile(q, padded, rows + (i64)head * dim, stride, from, WARP, tile.len, dim);
            load_tile(g, padded, d_out + tile.start * out_stride + (i64)head * dim, out_stride, from, WARP, tile.len,
                      dim);
            __syncthreads();
            int query = from + lane;
            i64 at = (i64)head * h.tokens + tile.start + query;
            float log_sum = query < tile.len ? log_sums[at] : 0.f;
            float taken = query < tile.len ? delta[at] : 0.f;
            float s[ROWS], p[ROWS];
#pragma unroll
            for (int r = 0; r < ROWS; r++) s[r] = p[r] = 0.f;
            for (int d = 0; d < dim; d++) {
                float x = q[lane * padded + d], y = g[lane * padded + d];
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    s[r] += own_k[r * dim + d] * x;
                    p[r] += own_v[r * dim + d] * y;
                }
            }
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float slope, score = score_of(h, s[r], &slope);
                int key = tile.from + warp * ROWS + r;
                bool seen = key < tile.len && query < tile.len && sees(h, query, key);
                float d_p = p[r];
                p[r] = seen ? exponential(score - log_sum) : 0.f;
                s[r] = seen ? p[r] * (d_p - taken) * slope * h.scale : 0.f;
            }
            for (int j = 0; j < WARP; j++) {
                float x[CHUNKS], y[CHUNKS];
#pragma unroll
                for (int c = 0; c < CHUNKS; c++) {
                    bool inside = c * WARP + lane < dim;
                    x[c] = inside ? q[j * padded + c * WARP + lane] : 0.f;
                    y[c] = inside ? g[j * padded + c * WARP + lane] : 0.f;
                }
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    float d_s = __shfl_sync(ALL_LANES, s[r], j), weight = __shfl_sync(ALL_LANES, p[r], j);
#pragma unroll
                    for (int c = 0; c < CHUNKS; c++) {
                        d_k[r][c] += d_s * x[c];
                        d_v[r][c] += weight * y[c];
                    }
                }
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        int key = tile.from + warp * ROWS + r;
        if (key >= tile.len) continue;
        T* row = d_qkv + (tile.start + key) * stride;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++) {
            if (c * WARP + lane >= dim) continue;
            row[key_column + c * WARP + lane] = from_float<T>(d_k[r][c]);
            row[value_column + c * WARP + lane] = from_float<T>(d_v[r][c]);
        }
    }
}

#ifndef ELEMENT_BF16
// One for each bound of a head's dimensions. Tiles have 4 * ROWS rows: 32, and 16 for the widest. bf16 has tensor cores.
#define ATTENTION(bound, chunks, rows)                                                                                 \
    KERNEL(attention_##bound)(T* out, float* log_sums, const T* qkv, const Tile* tiles, Heads heads) {                 \
        forward<chunks, rows>(out, log_sums, qkv, tiles, heads);                                                       \
    }                                                                                                                  \
    KERNEL(attention_queries_##bound)(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,                   \
                                      const float* delta, const Tile* tiles, Heads heads) {                            \
        backward_queries<chunks, rows>(d_qkv, qkv, d_out, log_sums, delta, tiles, heads);                              \
    }                                                                                                                  \
    KERNEL(attention_keys_##bound)(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums, const float* delta,  \
                                   const Tile* tiles, Heads heads) {                                                   \
        backward_keys<chunks, rows>(d_qkv, qkv, d_out, log_sums, delta, tiles, heads);                                 \
    }
ATTENTION(64, 2, 8)
ATTENTION(128, 4, 8)
ATTENTION(256, 8, 4)
#endif
