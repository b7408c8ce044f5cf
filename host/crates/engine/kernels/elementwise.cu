// Small ops: copies of blocks of columns, sums, factors, dropout, rows by id.
//
// Matrices are [rows, width] with a stride between rows; where there are two, each has its own.
#include "device.cuh"

// y = x, each a block of columns.
KERNEL(place)(T* y, i64 y_stride, const T* x, i64 x_stride, i64 rows, int width) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    bool wide = is_wide(y, y_stride, width) && is_wide(x, x_stride, width);
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        store(y + row * y_stride, i, width, wide, load(x + row * x_stride, i, width, wide));
    }
}

// y = own * y + factor * x.
KERNEL(add_scaled)(T* y, i64 y_stride, const T* x, i64 x_stride, i64 rows, int width, float own, float factor) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    bool wide = is_wide(y, y_stride, width) && is_wide(x, x_stride, width);
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        Floats a = load(x + row * x_stride, i, width, wide), b;
        if (own != 0.f) b = load(y + row * y_stride, i, width, wide);
        for (int k = 0; k < VECTOR; k++) a.at[k] = factor * a.at[k] + (own != 0.f ? own * b.at[k] : 0.f);
        store(y + row * y_stride, i, width, wide, a);
    }
}

// y += b, row by row.
KERNEL(add_bias)(T* y, i64 y_stride, const float* b, i64 rows, int width) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    bool wide = is_wide(y, y_stride, width);
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        Floats a = load(y + row * y_stride, i, width, wide), bias = parameters(b, i, width);
        for (int k = 0; k < VECTOR; k++) a.at[k] += bias.at[k];
        store(y + row * y_stride, i, width, wide, a);
    }
}

// y = x * (factors + offset), or y += that, column by column.
KERNEL(columns)(T* y, i64 y_stride, const T* x, i64 x_stride, const float* factors, float offset, i64 rows, int width,
                int add) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    bool wide = is_wide(y, y_stride, width) && is_wide(x, x_stride, width);
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        Floats a = load(x + row * x_stride, i, width, wide), factor = parameters(factors, i, width), b;
        if (add) b = load(y + row * y_stride, i, width, wide);
        for (int k = 0; k < VECTOR; k++)
            a.at[k] = a.at[k] * (factor.at[k] + offset) + (add ? b.at[k] : 0.f);
        store(y + row * y_stride, i, width, wide, a);
    }
}

#define SUM_COLUMNS 32
#define SUM_THREADS 256
// Lanes side by side that take a block's columns, VECTOR each, and rows that the block takes at a time.
#define SUM_LANES (SUM_COLUMNS / VECTOR)
#define SUM_ROWS (SUM_THREADS / SUM_LANES)

// out += factors * (sum over rows of x * z), column by column; without factors or z these count as ones. A block of
// SUM_THREADS takes SUM_COLUMNS, whose sums are always made in the same order.
KERNEL(column_sums)(float* out, const float* factors, const T* x, i64 x_stride, const T* z, i64 z_stride, i64 rows,
                    int width) {
    // One more column keeps rows from the same banks.
    __shared__ float parts[SUM_ROWS][SUM_COLUMNS + 1];
    int part = threadIdx.x / SUM_LANES, own = threadIdx.x % SUM_LANES * VECTOR;
    int first = blockIdx.x * SUM_COLUMNS, i = first + own;
    bool wide = is_wide(x, x_stride, width) && (!z || is_wide(z, z_stride, width));
    float sums[VECTOR];
#pragma unroll
    for (int k = 0; k < VECTOR; k++) sums[k] = 0.f;
    if (i < width)
        for (i64 row = part; row < rows; row += SUM_ROWS) {
            Floats a = load(x + row * x_stride, i, width, wide);
            if (z) {
                Floats b = load(z + row * z_stride, i, width, wide);
                for (int k = 0; k < VECTOR; k++) a.at[k] *= b.at[k];
            }
            for (int k = 0; k < VECTOR; k++) sums[k] += a.at[k];
        }
#pragma unroll
    for (int k = 0; k < VECTOR; k++) parts[part][own + k] = sums[k];
    __syncthreads();
    int column = first + threadIdx.x;
    if (threadIdx.x < SUM_COLUMNS && column < width) {
        float sum = 0.f;
        for (int row = 0; row < SUM_ROWS; row++) sum += parts[row][threadIdx.x];
        out[column] += factors ? factors[column] * sum : sum;
    }
}

// 1 over the roots of squares, and magnitudes times these: row_norms for lengths of columns.
KERNEL(root_factors)(float* inverse, float* factors, const float* magnitudes, const float* squares, i64 count) {
    for (i64 i = first_index(); i < count; i += index_step()) {
        float scale = 1.f / sqrtf(squares[i]);
        inverse[i] = scale;
        factors[i] = magnitudes[i] * scale;
    }
}

// Lengths of the rows of `x`, a warp for each: norms, their inverses, and magnitudes times these (DoRA).
KERNEL(row_norms)(float* inverse, float* factors, const float* magnitudes, const T* x, i64 stride, int rows, int width) {
    int row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    x += row * stride;
    float sum = 0.f;
    bool wide = is_wide(x, 0, width);
    for (int i = (threadIdx.x % WARP) * VECTOR; i < width; i += WARP * VECTOR) {
        Floats v = load(x, i, width, wide);
        for (int k = 0; k < VECTOR; k++) sum += v.at[k] * v.at[k];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) {
        float scale = 1.f / sqrtf(sum);
        inverse[row] = scale;
        factors[row] = magnitudes[row] * scale;
    }
}

// Drops a share of the elements and scales the rest: the mask is a function of seed and index alone, as on the CPU.
KERNEL(dropout)(T* y, const T* x, i64 count, u64 seed, u32 threshold, float scale, int add) {
    bool aligned = is_aligned(x) && is_aligned(y);
    for (i64 n = first_index() * VECTOR; n < count; n += index_step() * VECTOR) {
        int left = left_of(count, n);
        bool wide = aligned && left == VECTOR;
        Floats a = load(x + n, 0, left, wide), b;
        if (add) b = load(y + n, 0, left, wide);
        for (int k = 0; k < VECTOR; k++) {
            u32 drawn = (u32)(mix(seed, (u64)(n + k)) >> 32);
            a.at[k] = (drawn < threshold ? 0.f : a.at[k] * scale) + (add ? b.at[k] : 0.f);
        }
        store(y + n, 0, left, wide, a);
    }
}

// Noise that is uniform within the bound of each row: a function of seed and index alone, as on the CPU (ops/noise.rs).
KERNEL(noise)(T* x, const float* bounds, i64 rows, int width, u64 seed) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    bool wide = is_wide(x, 0, width);
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        float bound = bounds[row];
        Floats a = load(x + row * width, i, width, wide);
        for (int k = 0; k < VECTOR; k++) {
            float drawn = (float)(mix(seed, (u64)(row * width + i + k)) >> 40) / (float)(1 << 23) - 1.f;
            a.at[k] += drawn * bound;
        }
        store(x + row * width, i, width, wide, a);
    }
}

// Row i of `out` becomes column ids[i] of `table`. Columns lie across the rows: there is no more than one element to read
// at a time.
KERNEL(gather_columns)(T* out, const T* table, i64 stride, const u32* ids, i64 rows, int width) {
    for (i64 n = first_index(); n < rows * width; n += index_step())
        out[n] = table[(n % width) * stride + ids[n / width]];
}

// Column ids[i] of `out` becomes row i of `x`, or zero without one: [rows, width]. No id may come twice.
KERNEL(put_columns)(T* out, i64 stride, const T* x, const u32* ids, i64 rows, int width) {
    for (i64 n = first_index(); n < rows * width; n += index_step())
        out[(n % width) * stride + ids[n / width]] = x ? x[n] : from_float<T>(0.f);
}

// Adds up the rows of `x` that belong to one id, a block for each id, in their order: no two blocks write to the same place,
// and the sum is the same each time. `step` lies between ids in `out`, `next` between the elements of one.
KERNEL(add_groups)(float* out, i64 step, i64 next, const T* x, i64 stride, const u32* ids, const u32* order,
                   const u32* starts, int width, float factor) {
    u32 from = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    out += (i64)ids[blockIdx.x] * step;
    bool wide = is_wide(x, stride, width);
    for (int i = threadIdx.x * VECTOR; i < width; i += blockDim.x * VECTOR) {
        float sums[VECTOR];
        for (int k = 0; k < VECTOR; k++) sums[k] = 0.f;
        for (u32 n = from; n < end; n++) {
            Floats a = load(x + (i64)order[n] * stride, i, width, wide);
            for (int k = 0; k < VECTOR; k++) sums[k] += a.at[k];
        }
        for (int k = 0; k < VECTOR; k++)
            if (i + k < width) out[(i + k) * next] += factor * sums[k];
    }
}

// Row i of `out` becomes row ids[i] of `table`, times a factor; or is added.
KERNEL(gather)(T* out, const T* table, const u32* ids, i64 rows, int width, float factor, int add) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    bool wide = is_wide(out, 0, width) && is_wide(table, 0, width);
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        Floats a = load(table + (i64)ids[row] * width, i, width, wide), b;
        if (add) b = load(out + row * width, i, width, wide);
        for (int k = 0; k < VECTOR; k++) a.at[k] = a.at[k] * factor + (add ? b.at[k] : 0.f);
        store(out + row * width, i, width, wide, a);
    }
}

// Row ids[i] of `out` becomes row i of `x`. No id may come twice.
KERNEL(scatter)(T* out, const T* x, const u32* ids, i64 rows, int width) {
    int pieces = (width + VECTOR - 1) / VECTOR;
    bool wide = is_wide(out, 0, width) && is_wide(x, 0, width);
    for (i64 n = first_index(); n < rows * pieces; n += index_step()) {
        i64 row = n / pieces;
        int i = (int)(n % pieces) * VECTOR;
        store(out + (i64)ids[row] * width, i, width, wide, load(x + row * width, i, width, wide));
    }
}

// Rows [outer, inner, dim] become rows [inner, outer, dim].
KERNEL(exchange)(T* y, const T* x, i64 rows, int outer, int inner, int dim) {
    int pieces = (dim + VECTOR - 1) / VECTOR;
    i64 parts = (i64)outer * inner;
    bool wide = is_wide(x, 0, dim) && is_wide(y, 0, dim);
    for (i64 n = first_index(); n < rows * parts * pieces; n += index_step()) {
        i64 part = n / pieces, row = part / parts, a = part % outer, b = part % parts / outer;
        int d = (int)(n % pieces) * VECTOR;
        store(y + part * dim, d, dim, wide, load(x + (row * parts + a * inner + b) * dim, d, dim, wide));
    }
}

// f32 values in the element type.
KERNEL(narrow)(T* y, const float* x, i64 count) {
    bool aligned = is_aligned(x) && is_aligned(y);
    for (i64 n = first_index() * VECTOR; n < count; n += index_step() * VECTOR) {
        int left = left_of(count, n);
        bool wide = aligned && left == VECTOR;
        store(y + n, 0, left, wide, load_floats(x + n, 0, left, wide));
    }
}
