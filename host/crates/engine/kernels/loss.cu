// Cross-entropy of rows of logits, in two passes over a chunk of rows: statistics, then the gradient. The logits are f32
// whatever the elements are; the gradient, which a matrix product reads, is not. A block for each row.
#include "device.cuh"

__device__ __forceinline__ float capped(float x, float cap) { return cap > 0.f ? cap * tanhf(x / cap) : x; }

// Of each row: loss, log of the sum of exponentials, and 1 where no logit is larger than the target's. `cap` 0 is none.
KERNEL(cross_entropy)(float* statistics, const float* logits, const u32* targets, int width, float cap) {
    __shared__ float scratch[WARP];
    i64 row = blockIdx.x;
    const float* x = logits + row * width;
    float top = -INFINITY;
    for (int i = threadIdx.x; i < width; i += blockDim.x) top = fmaxf(top, capped(x[i], cap));
    top = block_max(top, scratch);
    float sum = 0.f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) sum += expf(capped(x[i], cap) - top);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) {
        float log_sum = top + logf(sum), target = capped(x[targets[row]], cap);
        statistics[3 * row] = log_sum - target;
        statistics[3 * row + 1] = log_sum;
        statistics[3 * row + 2] = target >= top ? 1.f : 0.f;
    }
}

// Gradient of `weight` times each row's loss, by the logits before their cap, times `factor`.
KERNEL(cross_entropy_gradient)(T* gradient, const float* logits, const float* statistics, const u32* targets,
                               const float* weights, int width, float cap, float factor) {
    i64 row = blockIdx.x;
    const float* x = logits + row * width;
    T* g = gradient + row * width;
    float log_sum = statistics[3 * row + 1], weight = weights[row] * factor;
    int target = (int)targets[row];
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float y = capped(x[i], cap);
        float d = (expf(y - log_sum) - (i == target ? 1.f : 0.f)) * weight;
        if (cap > 0.f) d *= 1.f - (y / cap) * (y / cap);
        g[i] = from_float<T>(d);
    }
}

// Caps logits in place, for what reads them as they are; the loss caps them itself.
KERNEL(soft_cap)(float* logits, i64 count, float cap) {
    for (i64 i = first_index(); i < count; i += index_step()) logits[i] = capped(logits[i], cap);
}
