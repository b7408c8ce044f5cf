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
        Floats a = load(y + row * y_stride, i, width, wide);
        for (int k = 0; k < VECTOR; k++) a.at[k] += parameter(b, i + k, width);
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
        Floats a = load(x + row * x_stride, i, width, wide), b;
        if (add) b = load(y + row * y_stride, i, width, wide);
        for (int k = 0; k < VECTOR; k++)
            a.at[k] = a.at[k] * (parameter(factors, i + k, width) + offset) + (add ? b.at[k] : 0.f);
        store(y + row * y_stride, i, width, wide, a);
    }
}

// Rows of `part` columns' products, for column_dots: a block sums 32 columns over a stretch of rows.
#define DOT_ROWS 8

// out += factors * (sum over rows of x * z), column by column. A block has 32 x DOT_ROWS threads and takes 32 columns.
KERNEL(column_dots)(float* out, const float* factors, const T* x, i64 x_stride, const T* z, i64 z_stride, i64 rows,
                    int width) {
    __shared__ float parts[DOT_ROWS][WARP];
    int lane = threadIdx.x % WARP, part = threadIdx.x / WARP;
    int column = blockIdx.x * WARP + lane;
    float sum = 0.f;
    if (column < width)
        for (i64 row = part; row < rows; row += DOT_ROWS)
            sum += to_float(x[row * x_stride + column]) * to_float(z[row * z_stride + column]);
    parts[part][lane] = sum;
    __syncthreads();
    if (part == 0 && column < width) {
        for (int k = 1; k < DOT_ROWS; k++) sum += parts[k][lane];
        out[column] += factors[column] * sum;
    }
}

// out += sum over rows of x, column by column, with threads as for column_dots.
KERNEL(column_sums)(float* out, const T* x, i64 stride, i64 rows, int width) {
    __shared__ float parts[DOT_ROWS][WARP];
    int lane = threadIdx.x % WARP, part = threadIdx.x / WARP;
    int column = blockIdx.x * WARP + lane;
    float sum = 0.f;
    if (column < width)
        for (i64 row = part; row < rows; row += DOT_ROWS) sum += to_float(x[row * stride + column]);
    parts[part][lane] = sum;
    __syncthreads();
    if (part == 0 && column < width) {
        for (int k = 1; k < DOT_ROWS; k++) sum += parts[k][lane];
        out[column] += sum;
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
    for (int i = threadIdx.x % WARP; i < width; i += WARP) sum += to_float(x[i]) * to_float(x[i]);
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) {
        float scale = 1.f / sqrtf(sum);
        inverse[row] = scale;
        factors[row] = magnitudes[row] * scale;
    }
}

// Drops a share of the elements and scales the rest: the mask is a function of seed and index alone, as on the CPU.
KERNEL(dropout)(T* y, const T* x, i64 count, u64 seed, u32 threshold, float scale, int add) {
    for (i64 i = first_index(); i < count; i += index_step()) {
        u32 drawn = (u32)(mix(seed, (u64)i) >> 32);
        float kept = drawn < threshold ? 0.f : to_float(x[i]) * scale;
        y[i] = from_float<T>(add ? to_float(y[i]) + kept : kept);
    }
}

// Noise that is uniform within the bound of each row: a function of seed and index alone, as on the CPU (ops/noise.rs).
KERNEL(noise)(T* x, const float* bounds, i64 count, int width, u64 seed) {
    for (i64 i = first_index(); i < count; i += index_step()) {
        float drawn = (float)(mix(seed, (u64)i) >> 40) / (float)(1 << 23) - 1.f;
        x[i] = from_float<T>(to_float(x[i]) + drawn * bounds[i / width]);
    }
}

// Row i of `out` becomes column ids[i] of `table`.
KERNEL(gather_columns)(T* out, const T* table, i64 stride, const u32* ids, i64 rows, int width) {
    for (i64 n = first_index(); n < rows * width; n += index_step())
        out[n] = table[(n % width) * stride + ids[n / width]];
}

// Adds up the rows of `x` that belong to one id, a block for each id, in their order: no two blocks write to the same place,
// and the sum is the same each time. `step` lies between ids in `out`, `next` between the elements of one.
KERNEL(add_groups)(float* out, i64 step, i64 next, const T* x, i64 stride, const u32* ids, const u32* order,
                   const u32* starts, int width, float factor) {
    u32 from = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    out += (i64)ids[blockIdx.x] * step;
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        float sum = 0.f;
        for (u32 n = from; n < end; n++) sum += to_float(x[(i64)order[n] * stride + i]);
        out[i * next] += factor * sum;
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
    i64 width = (i64)outer * inner * dim;
    for (i64 n = first_index(); n < rows * width; n += index_step()) {
        i64 row = n / width, i = n % width;
        i64 d = i % dim, a = i / dim % outer, b = i / dim / outer;
        y[n] = x[row * width + (a * inner + b) * dim + d];
    }
}

// f32 values in the element type.
KERNEL(narrow)(T* y, const float* x, i64 count) {
    for (i64 i = first_index(); i < count; i += index_step()) y[i] = from_float<T>(x[i]);
}
