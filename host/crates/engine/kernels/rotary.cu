// Rotary position embedding (arXiv 2104.09864) in the half-split form of Transformers, by tables of cosine and sine:
// every variant is a table. `sign` -1 turns back, which is the backward pass.
#include "device.cuh"

// Turns the first `heads` heads of `dim` of each row of `x` in place. Tables are [positions, half].
KERNEL(rotary)(T* x, i64 stride, const u32* positions, const float* cosines, const float* sines, int rows, int heads,
               int dim, int half, float sign) {
    int pieces = (half + VECTOR - 1) / VECTOR;
    i64 count = (i64)rows * heads * pieces;
    for (i64 n = first_index(); n < count; n += index_step()) {
        int i = (int)(n % pieces) * VECTOR;
        int head = (int)(n / pieces % heads);
        i64 row = n / pieces / heads;
        T* first = x + row * stride + (i64)head * dim;
        T* second = first + half;
        bool wide = is_wide(first, 0, half) && is_wide(second, 0, half);
        Floats a = load(first, i, half, wide), b = load(second, i, half, wide);
        i64 at = (i64)positions[row] * half;
        Floats c = parameters(cosines + at, i, half), s = parameters(sines + at, i, half);
        Floats turned_a, turned_b;
        for (int k = 0; k < VECTOR; k++) {
            float cosine = c.at[k], sine = s.at[k] * sign;
            turned_a.at[k] = a.at[k] * cosine - b.at[k] * sine;
            turned_b.at[k] = b.at[k] * cosine + a.at[k] * sine;
        }
        store(first, i, half, wide, turned_a);
        store(second, i, half, wide, turned_b);
    }
}
