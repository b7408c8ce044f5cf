// Cross-entropy of rows of logits, in two passes over a chunk of rows: statistics, then the gradient. The logits are f32
// whatever the elements are; the gradient, which a matrix product reads, is not. A block for each row.
#include "device.cuh"

__device__ __forceinline__ float capped(float x, float cap) { return cap > 0.f ? cap * tanhf(x / cap) : x; }

// Of each row: loss, log of the sum of exponentials, and 1 where no logit is larger than the target's. `cap` 0 is none.
//
// The row is read once: each thread's sum is of exponentials over the largest that it has seen (arXiv 1805.02867).
KERNEL(cross_entropy)(float* statistics, const float* logits, i64 stride, const u32* targets, int width, float cap) {
    __shared__ float scratch[WARP];
    i64 row = blockIdx.x;
    const float* x = logits + row * stride;
    bool wide = is_wide(x, 0, width);
    float top = -INFINITY, sum = 0.f;
    for (int i = threadIdx.x * VECTOR; i < width; i += blockDim.x * VECTOR) {
        Floats v = load_floats(x, i, width, wide);
        float now = top;
#pragma unroll
        for (int k = 0; k < VECTOR; k++) {
            v.at[k] = i + k < width ? capped(v.at[k], cap) : -INFINITY;
            now = fmaxf(now, v.at[k]);
        }
        sum *= top == -INFINITY ? 1.f : expf(top - now);
        // What is no number stays none, so that the run stops.
#pragma unroll
        for (int k = 0; k < VECTOR; k++) sum += v.at[k] == -INFINITY ? 0.f : expf(v.at[k] - now);
        top = now;
    }
    float most = block_max(top, scratch);
    sum = block_sum(sum * expf(top - most), scratch);
    if (threadIdx.x == 0) {
        float log_sum = most + logf(sum), target = capped(x[targets[row]], cap);
        statistics[3 * row] = log_sum - target;
        statistics[3 * row + 1] = log_sum;
        statistics[3 * row + 2] = target >= most ? 1.f : 0.f;
    }
}

// Gradient of `weight` times each row's loss, by the logits before their cap, times `factor`.
KERNEL(cross_entropy_gradient)(T* gradient, i64 gradient_stride, const float* logits, i64 stride, const float* statistics,
                               const u32* targets, const float* weights, int width, float cap, float factor) {
    i64 row = blockIdx.x;
    const float* x = logits + row * stride;
    T* g = gradient + row * gradient_stride;
    bool wide = is_wide(x, 0, width) && is_wide(g, 0, width);
    float log_sum = statistics[3 * row + 1], weight = weights[row] * factor;
    int target = (int)targets[row];
    for (int i = threadIdx.x * VECTOR; i < width; i += blockDim.x * VECTOR) {
        Floats v = load_floats(x, i, width, wide);
#pragma unroll
        for (int k = 0; k < VECTOR; k++) {
            float y = capped(v.at[k], cap);
            float d = (expf(y - log_sum) - (i + k == target ? 1.f : 0.f)) * weight;
            if (cap > 0.f) d *= 1.f - (y / cap) * (y / cap);
            v.at[k] = d;
        }
        store(g, i, width, wide, v);
    }
}

// Caps logits in place, for what reads them as they are; the loss caps them itself.
KERNEL(soft_cap)(float* logits, i64 count, float cap) {
    bool aligned = is_aligned(logits);
    for (i64 n = first_index() * 4; n < count; n += index_step() * 4) {
        if (aligned && n + 4 <= count) {
            Quad x = *(const Quad*)(logits + n);
            for (int k = 0; k < 4; k++) x.at[k] = capped(x.at[k], cap);
            *(Quad*)(logits + n) = x;
        } else {
            for (i64 i = n; i < min(n + 4, count); i++) logits[i] = capped(logits[i], cap);
        }
    }
}
