// What happens between gradients and adapters, over all of them at once: they lie behind one another in flat buffers, whose
// tensors begin at multiples of 16 bytes, and so do their ends.
#include "device.cuh"

// Four elements.
struct __align__(4 * sizeof(T)) FourElements {
    T at[4];
};

// Sum of squares of a stretch of gradients for each block, in the order of threads.
KERNEL(squares)(float* sums, const float* x, i64 count) {
    __shared__ float scratch[WARP];
    float sum = 0.f;
    for (i64 n = first_index() * 4; n < count; n += index_step() * 4) {
        Quad four = *(const Quad*)(x + n);
#pragma unroll
        for (int k = 0; k < 4; k++) sum += four.at[k] * four.at[k];
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

#define ADDING_THREADS 256

// Adds every `step`-th of f32 values to a number in f64, always in the same order. One block of ADDING_THREADS.
KERNEL(add_up)(double* out, const float* x, i64 step, i64 count) {
    __shared__ double parts[ADDING_THREADS];
    double sum = 0.;
    for (i64 i = threadIdx.x; i < count; i += ADDING_THREADS) sum += (double)x[i * step];
    parts[threadIdx.x] = sum;
    for (int half = ADDING_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *out += parts[0];
}

// AdamW with decoupled decay, as torch.optim.AdamW computes it and optim/adamw.rs does. `segments` says for each parameter
// where it ends, what its learning rate is and what decay leaves of it; `shadow` gets the values in the element type.
struct Segment {
    i64 end;
    float rate, keep;
};

KERNEL(adamw)(float* values, T* shadow, const float* gradients, float* first, float* second, const Segment* segments,
              int segment_count, i64 count, float clip, float beta1, float beta2, float inverse_root, float epsilon) {
    for (i64 i = first_index() * 4; i < count; i += index_step() * 4) {
        int low = 0, high = segment_count - 1;
        while (low < high) {
            int middle = (low + high) / 2;
            if (i < segments[middle].end) high = middle;
            else low = middle + 1;
        }
        float rate = segments[low].rate, keep = segments[low].keep;
        Quad g = *(const Quad*)(gradients + i), m = *(const Quad*)(first + i), v = *(const Quad*)(second + i);
        Quad x = *(const Quad*)(values + i);
        FourElements rounded;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            float clipped = g.at[k] * clip;
            m.at[k] += (clipped - m.at[k]) * (1.f - beta1);
            v.at[k] = v.at[k] * beta2 + clipped * clipped * (1.f - beta2);
            float denominator = sqrtf(v.at[k]) * inverse_root + epsilon;
            x.at[k] = x.at[k] * keep - rate * (m.at[k] / denominator);
            rounded.at[k] = from_float<T>(x.at[k]);
        }
        *(Quad*)(first + i) = m;
        *(Quad*)(second + i) = v;
        *(Quad*)(values + i) = x;
        *(FourElements*)(shadow + i) = rounded;
    }
}
