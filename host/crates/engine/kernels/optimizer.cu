// What happens between gradients and adapters, over all of them at once: they lie behind one another in flat buffers.
#include "device.cuh"

// Sum of squares of a stretch of gradients for each block; the host adds the blocks up in order.
KERNEL(squares)(float* sums, const float* x, i64 count) {
    __shared__ float scratch[WARP];
    float sum = 0.f;
    for (i64 i = first_index(); i < count; i += index_step()) sum += x[i] * x[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// AdamW with decoupled decay, as torch.optim.AdamW computes it and optim/adamw.rs does. `segments` says for each parameter
// where it ends, what its learning rate is and what decay leaves of it; `shadow` gets the values in the element type.
struct Segment {
    i64 end;
    float rate, keep;
};

KERNEL(adamw)(float* values, T* shadow, const float* gradients, float* first, float* second, const Segment* segments,
              int segment_count, i64 count, float clip, float beta1, float beta2, float inverse_root, float epsilon) {
    for (i64 i = first_index(); i < count; i += index_step()) {
        int low = 0, high = segment_count - 1;
        while (low < high) {
            int middle = (low + high) / 2;
            if (i < segments[middle].end) high = middle;
            else low = middle + 1;
        }
        float g = gradients[i] * clip, m = first[i], v = second[i];
        m += (g - m) * (1.f - beta1);
        v = v * beta2 + g * g * (1.f - beta2);
        first[i] = m;
        second[i] = v;
        float denominator = sqrtf(v) * inverse_root + epsilon;
        float value = values[i] * segments[low].keep - segments[low].rate * (m / denominator);
        values[i] = value;
        shadow[i] = from_float<T>(value);
    }
}
