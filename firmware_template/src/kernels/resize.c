/* A picture at another size: every output is the weighted sum of the pixels in its window, weights of a row times weights of a column. */
#include "patchline/kernels.h"

enum { HALF = 1 << 15, SHIFT = 16 }; /* the weights sum to 2^8 in each direction */

typedef struct {
    const int8_t *const *rows;
    const int16_t *down; /* weights of the rows */
    int32_t kernel, channels;
    int32_t above, below; /* the first and the last row inside the map */
} window;

static int32_t clamped(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* A pixel whose window lies inside the map, one for each sort of picture. Sums and weights are local, so that the compiler need not
 * fetch them again behind every output. */
static inline __attribute__((always_inline)) void
inner_2x2(const window *from, const int16_t *across, int32_t start, int8_t *out)
{
    const int8_t *a = from->rows[0] + start * 3;
    const int8_t *b = from->rows[1] + start * 3;
    const int32_t left_a = from->down[0] * across[0];
    const int32_t right_a = from->down[0] * across[1];
    const int32_t left_b = from->down[1] * across[0];
    const int32_t right_b = from->down[1] * across[1];
#pragma GCC unroll 3
    for (int32_t c = 0; c < 3; c++) {
        out[c] = (int8_t)((HALF + left_a * a[c] + right_a * a[c + 3] + left_b * b[c] + right_b * b[c + 3]) >> SHIFT);
    }
}

static inline __attribute__((always_inline)) void
inner_rgb(const window *from, const int16_t *across, int32_t start, int8_t *out)
{
    int32_t red = HALF;
    int32_t green = HALF;
    int32_t blue = HALF;
    const int16_t *down = from->down;
    const int8_t *const *rows = from->rows;
    for (const int8_t *const *end = rows + from->kernel; rows != end; rows++) {
        const int8_t *in = *rows + start * 3;
        int32_t sums[3] = {0, 0, 0};
        for (const int16_t *weight = across, *last = across + from->kernel; weight != last; weight++, in += 3) {
            sums[0] += *weight * in[0];
            sums[1] += *weight * in[1];
            sums[2] += *weight * in[2];
        }
        red += *down * sums[0];
        green += *down * sums[1];
        blue += *down * sums[2];
        down++;
    }
    out[0] = (int8_t)(red >> SHIFT);
    out[1] = (int8_t)(green >> SHIFT);
    out[2] = (int8_t)(blue >> SHIFT);
}

static inline __attribute__((always_inline)) void
inner_any(const window *from, const int16_t *across, int32_t start, int8_t *out)
{
    const int32_t channels = from->channels;
    for (int32_t c = 0; c < channels; c++) {
        int32_t acc = HALF;
        for (int32_t ky = 0; ky < from->kernel; ky++) {
            const int8_t *in = from->rows[ky] + start * channels + c;
            int32_t sum = 0;
            for (const int16_t *weight = across, *last = across + from->kernel; weight != last; weight++, in += channels) {
                sum += *weight * *in;
            }
            acc += from->down[ky] * sum;
        }
        out[c] = (int8_t)(acc >> SHIFT);
    }
}

/* Any pixel: beyond the map its nearest row and column count. */
static void outer(const window *from, const int16_t *across, int32_t start, int32_t valid, int8_t *out)
{
    for (int32_t c = 0; c < from->channels; c++) {
        int32_t acc = HALF;
        for (int32_t ky = 0; ky < from->kernel; ky++) {
            const int8_t *in = from->rows[clamped(ky, from->above, from->below)] + c;
            int32_t sum = 0;
            for (int32_t kx = 0; kx < from->kernel; kx++) {
                sum += across[kx] * in[clamped(start + kx, 0, valid - 1) * from->channels];
            }
            acc += from->down[ky] * sum;
        }
        out[c] = (int8_t)(acc >> SHIFT);
    }
}

typedef void inner_pixel(const window *from, const int16_t *across, int32_t start, int8_t *out);

static inline __attribute__((always_inline)) void
resize(const pl_resize *op, const pl_row *row, const window *from, int32_t kernel, int32_t channels, inner_pixel *inner)
{
    const int32_t up = op->up;
    const int32_t step = op->stride / up;
    const int32_t rest = op->stride % up;
    const int32_t valid = row->valid;
    const int32_t last = from->above || from->below < kernel - 1 ? -1 : valid - kernel; /* where an inner window can start */
    const int16_t *weights = op->weights;
    int32_t phase = row->first % up;             /* of the output: which weights */
    int32_t part = row->first * op->stride % up; /* of the window's first column, in parts of `up` */
    int32_t start = -row->left;
    int8_t *out = row->out;
    for (const int8_t *end = out + row->columns * channels; out != end; out += channels) {
        const int16_t *across = weights + phase * kernel;
        if (start < 0 || start > last) {
            outer(from, across, start, valid, out);
        } else {
            inner(from, across, start, out);
        }
        phase = phase + 1 == up ? 0 : phase + 1;
        start += step;
        part += rest;
        if (part >= up) {
            part -= up;
            start++;
        }
    }
}

void pl_resize_row(const void *constants, const pl_row *row)
{
    const pl_resize *op = constants;
    const int32_t kernel = op->kernel;
    window from = {
        .rows = row->in,
        .down = op->weights + row->y % op->up * kernel,
        .kernel = kernel,
        .channels = op->channels,
        .below = kernel - 1,
    };
    while (!from.rows[from.above]) {
        from.above++;
    }
    while (!from.rows[from.below]) {
        from.below--;
    }
    if (op->channels != 3) {
        resize(op, row, &from, kernel, op->channels, inner_any);
    } else if (kernel == 2) {
        resize(op, row, &from, 2, 3, inner_2x2);
    } else {
        resize(op, row, &from, kernel, 3, inner_rgb);
    }
}
