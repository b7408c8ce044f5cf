// Activations of a feed-forward, of rows or of the first half of rows whose second half they gate: SwiGLU, GeGLU and
// the rest, by Transformers' names (ops/activation.rs).
#include "device.cuh"

#define SILU 0
#define GELU 1
#define GELU_TANH 2
#define RELU 3

struct Activated {
    float value, slope;
};

__device__ __forceinline__ Activated activated(float x, int kind) {
    Activated out;
    if (kind == SILU) {
        float s = 1.f / (1.f + exponential(-x));
        out.value = x * s;
        out.slope = s + x * s * (1.f - s);
    } else if (kind == GELU) {
        float half = 0.5f * (1.f + erff(x * 0.70710678f));
        out.value = x * half;
        out.slope = half + x * expf(-0.5f * x * x) * 0.3989423f;
    } else if (kind == GELU_TANH) {
        float t = tanhf(0.7978846f * (x + 0.044715f * x * x * x));
        out.value = 0.5f * x * (1.f + t);
        out.slope = 0.5f * (1.f + t) + 0.5f * x * (1.f - t * t) * 0.7978846f * (1.f + 3.f * 0.044715f * x * x);
    } else {
        out.value = x > 0.f ? x : 0.f;
        out.slope = x > 0.f ? 1.f : 0.f;
    }
    return out;
}

// `x` is [rows, width] or, gated, [rows, 2 * width] with the gates first; `y` is [rows, width].
KERNEL(activate)(T* y, const T* x, i64 rows, int width, int kind, int gated) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        const T* gate = x + row * width * (gated ? 2 : 1);
        bool wide = is_wide(x, 0, width) && is_wide(y, 0, width);
        Floats a = load(gate, i, width, wide);
        for (int k = 0; k < VECTOR; k++) a.at[k] = activated(a.at[k], kind).value;
        if (gated) {
            Floats up = load(gate + width, i, width, wide);
            for (int k = 0; k < VECTOR; k++) a.at[k] *= up.at[k];
        }
        store(y + row * width, i, width, wide, a);
    }
}

// Overwrites `x` with its gradient.
KERNEL(activate_backward)(T* x, const T* dy, i64 rows, int width, int kind, int gated) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        T* gate = x + row * width * (gated ? 2 : 1);
        bool wide = is_wide(x, 0, width) && is_wide(dy, 0, width);
        Floats a = load(gate, i, width, wide), g = load(dy + row * width, i, width, wide);
        if (gated) {
            Floats up = load(gate + width, i, width, wide);
            for (int k = 0; k < VECTOR; k++) {
                Activated f = activated(a.at[k], kind);
                a.at[k] = g.at[k] * up.at[k] * f.slope;
                up.at[k] = g.at[k] * f.value;
            }
            store(gate + width, i, width, wide, up);
        } else {
            for (int k = 0; k < VECTOR; k++) a.at[k] = g.at[k] * activated(a.at[k], kind).slope;
        }
        store(gate, i, width, wide, a);
    }
}
