// Attention on tensor cores, in bf16: what attention.cu computes, by the same tiles of sequences.
//
// A block of four warps takes 64 rows, 16 for each warp. Rows in shared memory are WIDE elements long, zeros behind the
// head's dimensions, and PAD more, so that a warp's lanes read from different banks. What the next turn of a loop needs is
// copied while this one computes. How many rows of the other side a turn takes is bounded by the 99 KiB of shared memory
// that a block may have on every GPU since Ampere, where heads are wide.
#include "tensor.cuh"

#ifdef ELEMENT_BF16

#define ROWS_OF_WARP 16
#define ROWS_OF_BLOCK (WARPS * ROWS_OF_WARP)
#define PAD 8

// Starts to copy ROWS rows of a sequence, from `first` on; zeros behind its end and behind the head's dimensions.
template <int WIDE, int ROWS, int GROUPS = 1>
__device__ __forceinline__ void fill(T* to, const T* from, i64 stride, int first, int len, int dim) {
    const int pieces = WIDE / VECTOR, threads = GROUPS * WARPS * WARP;
    if (is_wide(from, stride, dim)) {
#pragma unroll
        for (int n = 0; n < ROWS * pieces / threads; n++) {
            int i = n * threads + threadIdx.x, row = i / pieces, d = i % pieces * VECTOR;
            bool inside = first + row < len && d < dim;
            copy_16(to + row * (WIDE + PAD) + d, inside ? from + (i64)(first + row) * stride + d : from, inside);
        }
        return;
    }
    for (int i = threadIdx.x; i < ROWS * WIDE; i += threads) {
        int row = i / WIDE, d = i % WIDE;
        bool inside = first + row < len && d < dim;
        to[row * (WIDE + PAD) + d] = inside ? from[(i64)(first + row) * stride + d] : from_float<T>(0.f);
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

template <int N> __device__ __forceinline__ void clear(float (*x)[4]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) x[n][i] = 0.f;
}

// Puts products behind scale and soft cap. One question for all of them: a warp has no time for one each.
template <int N> __device__ __forceinline__ void scale_scores(const Heads& h, float (*s)[4]) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[n][i] *= h.scale;
    if (h.cap <= 0.f) return;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[n][i] = h.cap * tanhf(s[n][i] / h.cap);
}

// Times the slope of the soft cap where the scores are `s`.
template <int N> __device__ __forceinline__ void times_slope(const Heads& h, float (*x)[4], const float (*s)[4]) {
    if (h.cap <= 0.f) return;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) x[n][i] *= 1.f - (s[n][i] / h.cap) * (s[n][i] / h.cap);
}

// Whether so many queries see so many keys, each all of them. Most tiles of a long sequence do, and need no mask.
__device__ __forceinline__ bool all_see(const Heads& h, int query, int queries, int key, int keys, int len) {
    return key + keys - 1 <= query && query + queries <= len && (h.window == 0 || key > query + queries - 1 - h.window);
}

// Hides scores of rows of queries from `query` on and columns of keys from `key` on that are not seen.
template <int N>
__device__ __forceinline__ void hide_keys(const Heads& h, float (*s)[4], int query, int key, int len) {
    if (all_see(h, query, ROWS_OF_WARP, key, N * 8, len)) return;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int row = query + row_of(i), column = key + n * 8 + column_of(i);
            if (row >= len || !sees(h, row, column)) s[n][i] = -INFINITY;
        }
}

// The same of rows of keys and columns of queries.
template <int N>
__device__ __forceinline__ void hide_queries(const Heads& h, float (*s)[4], int key, int query, int len) {
    if (all_see(h, query, N * 8, key, ROWS_OF_WARP, len)) return;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int row = key + row_of(i), column = query + n * 8 + column_of(i);
            if (column >= len || !sees(h, column, row)) s[n][i] = -INFINITY;
        }
}

// Writes a warp's rows, of which a lane has two neighbouring columns of each eight. Where heads have an even number of
// dimensions, all of these begin at multiples of two.
template <int WIDE>
__device__ __forceinline__ void write_rows(T* to, i64 stride, const float (*x)[4], int row, int rows, int dim,
                                           const float* factors) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int at = row + row_of(2 * r);
        if (at >= rows) continue;
        T* own = to + at * stride + column_of(0);
        int left = dim - column_of(0);
#pragma unroll
        for (int n = 0; n < WIDE / 8; n++) {
            float low = x[n][2 * r] * factors[r], high = x[n][2 * r + 1] * factors[r];
            if (n * 8 >= left) continue;
            if (dim % 2 == 0) {
                *(u32*)(own + n * 8) = two_of(low, high);
            } else {
                own[n * 8] = from_float<T>(low);
                if (n * 8 + 1 < left) own[n * 8 + 1] = from_float<T>(high);
            }
        }
    }
}

template <int WIDE, int KEYS>
__device__ __forceinline__ void tensor_forward(T* out, float* log_sums, const T* qkv, const Tile* tiles, Heads h) {
    const int stride = WIDE + PAD;
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
    int last = min(tile.from + ROWS_OF_BLOCK, tile.len);
    int first = h.window ? max(0, tile.from + 1 - h.window) / KEYS * KEYS : 0;
    fill<WIDE, ROWS_OF_BLOCK>(q, rows + (i64)head * h.dim, width, tile.from, tile.len, h.dim);
    fill<WIDE, KEYS>(k, keys, width, first, tile.len, h.dim);
    end_group();

    float o[WIDE / 8][4], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0.f, 0.f};
    clear<WIDE / 8>(o);
    for (int from = first; from < last; from += KEYS) {
        // The keys are there, and nobody reads the values of before any more.
        await_groups<0>();
        __syncthreads();
        fill<WIDE, KEYS>(v, values, width, from, tile.len, h.dim);
        end_group();
        float s[KEYS / 8][4];
        multiply_by_rows<WIDE, KEYS>(s, q, own, k, stride);
        scale_scores<KEYS / 8>(h, s);
        hide_keys<KEYS / 8>(h, s, tile.from + own, from, tile.len);
        float now[2] = {top[0], top[1]}, shrink[2];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) now[i / 2] = fmaxf(now[i / 2], s[n][i]);
#pragma unroll
        for (int r = 0; r < 2; r++) {
            now[r] = row_max(now[r]);
            shrink[r] = now[r] == -INFINITY ? 1.f : exponential(top[r] - now[r]);
            top[r] = now[r];
            sum[r] *= shrink[r];
            // Of a row that has seen nothing all scores are -INFINITY, whose exponential is to be 0.
            if (now[r] == -INFINITY) now[r] = 0.f;
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[n][i] = exponential(s[n][i] - now[i / 2]);
                sum[i / 2] += s[n][i];
            }
#pragma unroll
        for (int n = 0; n < WIDE / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) o[n][i] *= shrink[i / 2];
        // The values are there, and nobody reads the keys any more.
        await_groups<0>();
        __syncthreads();
        if (from + KEYS < last) fill<WIDE, KEYS>(k, keys, width, from + KEYS, tile.len, h.dim);
        end_group();
        add_product<WIDE, KEYS>(o, s, v, stride);
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

template <int WIDE, int KEYS>
__device__ __forceinline__ void tensor_queries(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,
                                               const float* delta, const Tile* tiles, Heads h) {
    const int stride = WIDE + PAD;
    DYNAMIC(shared);
    T* q = (T*)shared;
    T* g = q + ROWS_OF_BLOCK * stride;
    // Keys and values of this turn, and of the next one.
    T* both = g + ROWS_OF_BLOCK * stride;
    Tile tile = tiles[blockIdx.x];
    int head = blockIdx.y, kv_head = head / (h.heads / h.kv_heads);
    i64 width = (i64)(h.heads + 2 * h.kv_heads) * h.dim, out_width = (i64)h.heads * h.dim;
    const T* rows = qkv + tile.start * width;
    const T* keys = rows + (i64)(h.heads + kv_head) * h.dim;
    const T* values = keys + (i64)h.kv_heads * h.dim;
    int own = threadIdx.x / WARP * ROWS_OF_WARP;
    int last = min(tile.from + ROWS_OF_BLOCK, tile.len);
    int first = h.window ? max(0, tile.from + 1 - h.window) / KEYS * KEYS : 0;
    int turns = (last - first + KEYS - 1) / KEYS;
    auto start = [&](int turn) {
        T* to = both + turn % 2 * 2 * KEYS * stride;
        fill<WIDE, KEYS>(to, keys, width, first + turn * KEYS, tile.len, h.dim);
        fill<WIDE, KEYS>(to + KEYS * stride, values, width, first + turn * KEYS, tile.len, h.dim);
    };
    fill<WIDE, ROWS_OF_BLOCK>(q, rows + (i64)head * h.dim, width, tile.from, tile.len, h.dim);
    fill<WIDE, ROWS_OF_BLOCK>(g, d_out + tile.start * out_width + (i64)head * h.dim, out_width, tile.from, tile.len, h.dim);
    start(0);
    end_group();
    float d_q[WIDE / 8][4], log_sum[2], taken[2];
    clear<WIDE / 8>(d_q);
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int query = tile.from + own + row_of(2 * r);
        i64 at = (i64)head * h.tokens + tile.start + query;
        log_sum[r] = query < tile.len ? log_sums[at] : 0.f;
        taken[r] = query < tile.len ? delta[at] : 0.f;
    }
    for (int turn = 0; turn < turns; turn++) {
        if (turn + 1 < turns) start(turn + 1);
        end_group();
        await_groups<1>();
        __syncthreads();
        const T* k = both + turn % 2 * 2 * KEYS * stride;
        const T* v = k + KEYS * stride;
        float s[KEYS / 8][4], p[KEYS / 8][4];
        multiply_by_rows<WIDE, KEYS>(s, q, own, k, stride);
        multiply_by_rows<WIDE, KEYS>(p, g, own, v, stride);
        scale_scores<KEYS / 8>(h, s);
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) p[n][i] -= taken[i / 2];
        times_slope<KEYS / 8>(h, p, s);
        hide_keys<KEYS / 8>(h, s, tile.from + own, first + turn * KEYS, tile.len);
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[n][i] = exponential(s[n][i] - log_sum[i / 2]) * p[n][i];
        add_product<WIDE, KEYS>(d_q, s, k, stride);
        // What was read here is what the next turn but one is copied into.
        __syncthreads();
    }
    float scale[2] = {h.scale, h.scale};
    write_rows<WIDE>(d_qkv + tile.start * width + (i64)head * h.dim, width, d_q, tile.from + own, tile.len, h.dim, scale);
}

// Where a row of queries or of their gradients has its logarithm of the sum, or what the softmax's backward takes off: behind
// its columns, where nobody reads them as such.
template <int WIDE> __device__ __forceinline__ float* statistic(const T* rows, int row) {
    return (float*)(rows + row * (WIDE + PAD) + WIDE);
}

// Wide heads have more sums than a thread has registers: GROUPS of four warps each compute all scores and keep the sums of
// their part of the columns.
template <int WIDE, int QUERIES, int GROUPS>
__device__ __forceinline__ void tensor_keys(T* d_qkv, const T* qkv, const T* d_out, const float* log_sums,
                                            const float* delta, const Tile* tiles, Heads h) {
    const int PART = WIDE / GROUPS, stride = WIDE + PAD;
    DYNAMIC(shared);
    T* k = (T*)shared;
    T* v = k + ROWS_OF_BLOCK * stride;
    T* both = v + ROWS_OF_BLOCK * stride;
    Tile tile = shortest_last(tiles);
    int kv_head = blockIdx.y, group = h.heads / h.kv_heads;
    i64 width = (i64)(h.heads + 2 * h.kv_heads) * h.dim, out_width = (i64)h.heads * h.dim;
    const T* rows = qkv + tile.start * width;
    const T* gradients = d_out + tile.start * out_width;
    i64 key_column = (i64)(h.heads + kv_head) * h.dim, value_column = key_column + (i64)h.kv_heads * h.dim;
    int own = threadIdx.x / WARP % WARPS * ROWS_OF_WARP, part = threadIdx.x / WARP / WARPS * PART;
    int end = h.window ? min(tile.len, min(tile.from + ROWS_OF_BLOCK, tile.len) - 1 + h.window) : tile.len;
    // The heads of the group one after the other, each with all queries that see a key.
    int turns_of_head = (end - tile.from + QUERIES - 1) / QUERIES, turns = group * turns_of_head;
    auto query_of = [&](int turn) { return tile.from + turn % turns_of_head * QUERIES; };
    auto start = [&](int turn) {
        int head = kv_head * group + turn / turns_of_head, from = query_of(turn);
        T* to = both + turn % 2 * 2 * QUERIES * stride;
        T* d_to = to + QUERIES * stride;
        fill<WIDE, QUERIES, GROUPS>(to, rows + (i64)head * h.dim, width, from, tile.len, h.dim);
        fill<WIDE, QUERIES, GROUPS>(d_to, gradients + (i64)head * h.dim, out_width, from, tile.len, h.dim);
        int which = threadIdx.x / QUERIES, i = threadIdx.x % QUERIES;
        if (which >= 2) return;
        const float* of = (which ? delta : log_sums) + (i64)head * h.tokens + tile.start;
        bool inside = from + i < tile.len;
        copy_4(statistic<WIDE>(which ? d_to : to, i), inside ? of + from + i : of, inside);
    };
    fill<WIDE, ROWS_OF_BLOCK, GROUPS>(k, rows + key_column, width, tile.from, tile.len, h.dim);
    fill<WIDE, ROWS_OF_BLOCK, GROUPS>(v, rows + value_column, width, tile.from, tile.len, h.dim);
    start(0);
    end_group();
    float d_k[PART / 8][4], d_v[PART / 8][4];
    clear<PART / 8>(d_k);
    clear<PART / 8>(d_v);
    for (int turn = 0; turn < turns; turn++) {
        if (turn + 1 < turns) start(turn + 1);
        end_group();
        await_groups<1>();
        __syncthreads();
        const T* q = both + turn % 2 * 2 * QUERIES * stride;
        const T* g = q + QUERIES * stride;
        float s[QUERIES / 8][4], p[QUERIES / 8][4];
        multiply_by_rows<WIDE, QUERIES>(s, k, own, q, stride);
        multiply_by_rows<WIDE, QUERIES>(p, v, own, g, stride);
        scale_scores<QUERIES / 8>(h, s);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) p[n][i] -= *statistic<WIDE>(g, n * 8 + column_of(i));
        times_slope<QUERIES / 8>(h, p, s);
        hide_queries<QUERIES / 8>(h, s, tile.from + own, query_of(turn), tile.len);
#pragma unroll
        for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[n][i] = exponential(s[n][i] - *statistic<WIDE>(q, n * 8 + column_of(i)));
                p[n][i] *= s[n][i];
            }
        add_product<PART, QUERIES>(d_k, p, q + part, stride);
        add_product<PART, QUERIES>(d_v, s, g + part, stride);
        // What was read here is what the next turn but one is copied into.
        __syncthreads();
    }
    float scale[2] = {h.scale, h.scale}, one[2] = {1.f, 1.f};
    T* to = d_qkv + tile.start * width + part;
    write_rows<PART>(to + key_column, width, d_k, tile.from + own, tile.len, h.dim - part, scale);
    write_rows<PART>(to + value_column, width, d_v, tile.from + own, tile.len, h.dim - part, one);
}

// One for each bound of a head's dimensions: how many keys a turn takes, forward and for the queries' gradient, and how many
// blocks of these are to find room beside one another; how many queries it takes for the keys' gradient, by how many groups of
// warps, and how many blocks of that.
#define TENSOR_ATTENTION(wide, keys, backward_keys, blocks, queries, groups, key_blocks)                               \
    CROWDED_KERNEL(attention_tensor_##wide, WARPS * WARP, blocks)                                                      \
    (T* out, float* log_sums, const T* qkv, const Tile* tiles, Heads heads) {                                          \
        tensor_forward<wide, keys>(out, log_sums, qkv, tiles, heads);                                                  \
    }                                                                                                                  \
    CROWDED_KERNEL(attention_tensor_queries_##wide, WARPS * WARP, blocks)                                              \
    (T* d_qkv, const T* qkv, const T* d_out, const float* log_sums, const float* delta, const Tile* tiles,             \
     Heads heads) {                                                                                                    \
        tensor_queries<wide, backward_keys>(d_qkv, qkv, d_out, log_sums, delta, tiles, heads);                         \
    }                                                                                                                  \
    CROWDED_KERNEL(attention_tensor_keys_##wide, groups * WARPS * WARP, key_blocks)                                      \
    (T* d_qkv, const T* qkv, const T* d_out, const float* log_sums, const float* delta, const Tile* tiles,             \
     Heads heads) {                                                                                                    \
        tensor_keys<wide, queries, groups>(d_qkv, qkv, d_out, log_sums, delta, tiles, heads);                          \
    }
TENSOR_ATTENTION(64, 64, 32, 3, 32, 1, 3)
TENSOR_ATTENTION(128, 64, 32, 3, 32, 1, 1)
TENSOR_ATTENTION(256, 32, 16, 2, 16, 2, 1)

#endif
