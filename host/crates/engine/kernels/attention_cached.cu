// Attention of new rows against keys and values that were kept: texts are written by it, a token of each at a time.
//
// Each text has memory of its own: of each layer `capacity` rows of keys and values, side by side as in a row of queries,
// keys and values. Every new row says whose it is and where in its text, so that texts of different lengths go together.
#include "device.cuh"

struct NewRow {
    // Of its text.
    u64 memory;
    int position, capacity;
};

__device__ __forceinline__ i64 kept_width(const Heads& h) { return 2 * (i64)h.kv_heads * h.dim; }

// The first row that a layer keeps of a text.
__device__ __forceinline__ T* kept_rows(const NewRow& own, const Heads& h, int layer) {
    return (T*)own.memory + (i64)layer * own.capacity * kept_width(h);
}

// Keeps keys and values of the new rows.
KERNEL(keep)(const T* qkv, const NewRow* news, Heads h, int layer) {
    int width = (int)kept_width(h), pieces = (width + VECTOR - 1) / VECTOR;
    i64 q_width = (i64)h.heads * h.dim, stride = q_width + width;
    for (i64 n = first_index(); n < (i64)h.tokens * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        NewRow own = news[row];
        const T* from = qkv + row * stride + q_width;
        T* to = kept_rows(own, h, layer) + (i64)own.position * width;
        bool wide = is_wide(from, 0, width) && is_wide(to, 0, width);
        store(to, i, width, wide, load(from, i, width, wide));
    }
}

#define STEP_WARPS 8

// A block for each new row and head. Its warps share out the keys, 32 at a time, one for each lane; then LANES of a warp take
// the dimensions of a value, PER times VECTOR each, and the next LANES those of the next value. What they found is put
// together at the end, always in the same order. WIDE bounds the head's dimensions.
template <int WIDE>
__device__ __forceinline__ void step(T* out, const T* qkv, const NewRow* news, Heads h, int layer) {
    const int LANES = WIDE / VECTOR < WARP ? WIDE / VECTOR : WARP, PER = WIDE / VECTOR / LANES, AT_ONCE = WARP / LANES;
    __shared__ float q[WIDE], weights[STEP_WARPS][WARP];
    __shared__ float tops[STEP_WARPS], sums[STEP_WARPS], parts[STEP_WARPS][WIDE];
    i64 row = blockIdx.x;
    int head = blockIdx.y, kv_head = head / (h.heads / h.kv_heads), dim = h.dim;
    int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    NewRow own = news[row];
    i64 width = kept_width(h);
    const T* keys = kept_rows(own, h, layer) + (i64)kv_head * dim;
    const T* values = keys + (i64)h.kv_heads * dim;
    const T* query = qkv + row * ((i64)h.heads * dim + width) + (i64)head * dim;
    for (int d = threadIdx.x; d < WIDE; d += blockDim.x) q[d] = d < dim ? to_float(query[d]) : 0.f;
    __syncthreads();

    bool wide = is_wide(keys, width, dim);
    float top = -INFINITY, sum = 0.f, o[PER][VECTOR];
#pragma unroll
    for (int p = 0; p < PER; p++)
#pragma unroll
        for (int k = 0; k < VECTOR; k++) o[p][k] = 0.f;
    int end = own.position + 1, first = h.window ? max(0, end - h.window) : 0;
    for (int from = first + warp * WARP; from < end; from += STEP_WARPS * WARP) {
        bool seen = from + lane < end;
        float score = -INFINITY;
        if (seen) {
            const T* key = keys + (from + lane) * width;
            float product = 0.f, slope;
            for (int d = 0; d < dim; d += VECTOR) {
                Floats x = load(key, d, dim, wide);
#pragma unroll
                for (int k = 0; k < VECTOR; k++) product += q[d + k] * x.at[k];
            }
            score = score_of(h, product, &slope);
        }
        float now = fmaxf(top, warp_max(score)), shrink = exponential(top - now);
        float weight = seen ? exponential(score - now) : 0.f;
        sum = sum * shrink + warp_sum(weight);
        top = now;
        weights[warp][lane] = weight;
        __syncwarp();
#pragma unroll
        for (int p = 0; p < PER; p++)
#pragma unroll
            for (int k = 0; k < VECTOR; k++) o[p][k] *= shrink;
        int count = min(WARP, end - from);
        for (int j = lane / LANES; j < count; j += AT_ONCE) {
            const T* value = values + (from + j) * width;
#pragma unroll
            for (int p = 0; p < PER; p++) {
                int d = (p * LANES + lane % LANES) * VECTOR;
                if (d >= dim) continue;
                Floats x = load(value, d, dim, wide);
#pragma unroll
                for (int k = 0; k < VECTOR; k++) o[p][k] += weights[warp][j] * x.at[k];
            }
        }
        __syncwarp();
    }
    // Of the values that a warp takes at once.
#pragma unroll
    for (int p = 0; p < PER; p++)
#pragma unroll
        for (int k = 0; k < VECTOR; k++)
#pragma unroll
            for (int other = LANES; other < WARP; other *= 2) o[p][k] += __shfl_xor_sync(ALL_LANES, o[p][k], other);
    if (lane == 0) {
        tops[warp] = top;
        sums[warp] = sum;
    }
    if (lane < LANES)
#pragma unroll
        for (int p = 0; p < PER; p++)
#pragma unroll
            for (int k = 0; k < VECTOR; k++) parts[warp][(p * LANES + lane) * VECTOR + k] = o[p][k];
    __syncthreads();
    // The first warp has always seen a key: its own row's at least.
    float most = tops[0], all = 0.f;
    for (int w = 1; w < STEP_WARPS; w++) most = fmaxf(most, tops[w]);
    for (int w = 0; w < STEP_WARPS; w++) all += exponential(tops[w] - most) * sums[w];
    for (int d = threadIdx.x; d < dim; d += blockDim.x) {
        float x = 0.f;
        for (int w = 0; w < STEP_WARPS; w++) x += exponential(tops[w] - most) * parts[w][d];
        out[(row * h.heads + head) * dim + d] = from_float<T>(x / all);
    }
}

// One for each bound of a head's dimensions.
#define ATTENTION_STEP(bound)                                                                                          \
    KERNEL(attention_step_##bound)(T* out, const T* qkv, const NewRow* news, Heads heads, int layer) {                 \
        step<bound>(out, qkv, news, heads, layer);                                                                     \
    }
ATTENTION_STEP(64)
ATTENTION_STEP(128)
ATTENTION_STEP(256)
