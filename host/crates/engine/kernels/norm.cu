// Root-mean-square norm (arXiv 1910.07467) and layer norm (arXiv 1607.06450), row by row, a warp for each row.
//
// A row may be one of `pieces` that lie behind one another in a wider one (the heads of queries and keys): piece p of
// row t begins at t * stride + p * width.
#include "device.cuh"

__device__ __forceinline__ i64 place(int row, int pieces, i64 stride, int width) {
    return (i64)(row / pieces) * stride + (i64)(row % pieces) * width;
}

__device__ __forceinline__ int warp_row() { return blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP; }

__device__ __forceinline__ float inverse_root(const T* x, int width, bool wide, float eps) {
    float sum = 0.f;
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats v = load(x, i, width, wide);
        for (int k = 0; k < VECTOR; k++) sum += v.at[k] * v.at[k];
    }
    return 1.f / sqrtf(warp_sum(sum) / width + eps);
}

// y = (w + offset) * x / sqrt(mean(x^2) + eps). `y` may be `x`.
KERNEL(rms_norm)(T* y, i64 y_stride, const T* x, i64 x_stride, const float* w, float offset, int rows, int pieces,
                 int width, float eps) {
    int row = warp_row();
    if (row >= rows) return;
    x += place(row, pieces, x_stride, width);
    y += place(row, pieces, y_stride, width);
    bool wide = is_wide(x, 0, width) && is_wide(y, 0, width);
    float scale = inverse_root(x, width, wide, eps);
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats v = load(x, i, width, wide), weight = parameters(w, i, width);
        for (int k = 0; k < VECTOR; k++) v.at[k] = (weight.at[k] + offset) * (v.at[k] * scale);
        store(y, i, width, wide, v);
    }
}

// dx (+)= gradient of the norm's input `x` for the gradient `dy` of its output. `dx` may be `dy`.
KERNEL(rms_norm_backward)(T* dx, i64 dx_stride, const T* x, i64 x_stride, const T* dy, i64 dy_stride, const float* w,
                          float offset, int rows, int pieces, int width, float eps, int add) {
    int row = warp_row();
    if (row >= rows) return;
    x += place(row, pieces, x_stride, width);
    dy += place(row, pieces, dy_stride, width);
    dx += place(row, pieces, dx_stride, width);
    bool wide = is_wide(x, 0, width) && is_wide(dy, 0, width) && is_wide(dx, 0, width);
    float scale = inverse_root(x, width, wide, eps);
    float dot = 0.f;
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats a = load(x, i, width, wide), g = load(dy, i, width, wide), weight = parameters(w, i, width);
        for (int k = 0; k < VECTOR; k++) dot += (weight.at[k] + offset) * g.at[k] * a.at[k];
    }
    float pull = warp_sum(dot) * scale * scale / width;
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats a = load(x, i, width, wide), g = load(dy, i, width, wide), weight = parameters(w, i, width), out;
        if (add) out = load(dx, i, width, wide);
        for (int k = 0; k < VECTOR; k++) {
            float weighted = (weight.at[k] + offset) * g.at[k];
            out.at[k] = (add ? out.at[k] : 0.f) + scale * (weighted - a.at[k] * pull);
        }
        store(dx, i, width, wide, out);
    }
}

struct Moments {
    float mean, scale;
};

__device__ __forceinline__ Moments moments(const T* x, int width, bool wide, float eps) {
    Moments out;
    float sum = 0.f;
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats v = load(x, i, width, wide);
        for (int k = 0; k < VECTOR; k++) sum += v.at[k];
    }
    out.mean = warp_sum(sum) / width;
    sum = 0.f;
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats v = load(x, i, width, wide);
        for (int k = 0; k < VECTOR; k++)
            if (i + k < width) sum += (v.at[k] - out.mean) * (v.at[k] - out.mean);
    }
    out.scale = 1.f / sqrtf(warp_sum(sum) / width + eps);
    return out;
}

// y = w * (x - mean) / sqrt(variance + eps) + b.
KERNEL(layer_norm)(T* y, i64 y_stride, const T* x, i64 x_stride, const float* w, const float* b, int rows, int width,
                   float eps) {
    int row = warp_row();
    if (row >= rows) return;
    x += row * x_stride;
    y += row * y_stride;
    bool wide = is_wide(x, 0, width) && is_wide(y, 0, width);
    Moments m = moments(x, width, wide, eps);
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats v = load(x, i, width, wide), weight = parameters(w, i, width), bias = parameters(b, i, width);
        for (int k = 0; k < VECTOR; k++) v.at[k] = weight.at[k] * ((v.at[k] - m.mean) * m.scale) + bias.at[k];
        store(y, i, width, wide, v);
    }
}

KERNEL(layer_norm_backward)(T* dx, i64 dx_stride, const T* x, i64 x_stride, const T* dy, i64 dy_stride, const float* w,
                            int rows, int width, float eps, int add) {
    int row = warp_row();
    if (row >= rows) return;
    x += row * x_stride;
    dy += row * dy_stride;
    dx += row * dx_stride;
    bool wide = is_wide(x, 0, width) && is_wide(dy, 0, width) && is_wide(dx, 0, width);
    Moments m = moments(x, width, wide, eps);
    float sum = 0.f, dot = 0.f;
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats a = load(x, i, width, wide), g = load(dy, i, width, wide), weight = parameters(w, i, width);
        for (int k = 0; k < VECTOR; k++) {
            float weighted = weight.at[k] * g.at[k];
            sum += weighted;
            dot += weighted * ((a.at[k] - m.mean) * m.scale);
        }
    }
    float mean = warp_sum(sum) / width, pull = warp_sum(dot) / width;
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats a = load(x, i, width, wide), g = load(dy, i, width, wide), weight = parameters(w, i, width), out;
        if (add) out = load(dx, i, width, wide);
        for (int k = 0; k < VECTOR; k++) {
            float normal = (a.at[k] - m.mean) * m.scale;
            float weighted = weight.at[k] * g.at[k];
            out.at[k] = (add ? out.at[k] : 0.f) + m.scale * (weighted - mean - normal * pull);
        }
        store(dx, i, width, wide, out);
    }
}
