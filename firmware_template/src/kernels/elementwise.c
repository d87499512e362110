/* Add, Mul and Lookup: position by position. The output may lie on top of one of the inputs. */
#include "add.h"
#include "patchline/requantise.h"

#if PL_DSP && !defined(__ARM_FEATURE_DSP)

/* add_armv7em.S in C */

void pl_add_blocks(const pl_add_job *job)
{
    for (int32_t i = 0; job->out + i != job->end; i++) {
        const int32_t sum = job->a[i] * job->multiplier_a + job->b[i] * job->multiplier_b + job->offset;
        job->out[i] = (int8_t)pl_saturate8(sum >> job->shift);
    }
}

void pl_add_tflite_blocks(const pl_add_tflite_job *job)
{
    for (int32_t i = 0; job->out + i != job->end; i++) {
        int32_t b = job->b[i] * (1 << 21) + job->offset_b;
        b = pl_smmlar(b, job->multiplier_b, job->half_b - (b < 0)) >> job->right_b;
        const int32_t sum = job->a[i] * (1 << 20) + job->offset_a + 2 * b;
        const int32_t value = pl_smmlar(sum, job->multiplier, job->addend - (sum < 0)) >> job->right;
        job->out[i] = (int8_t)pl_saturate8(value);
    }
}

#endif

#if PL_DSP

/* Both return how many values they did. */
static int32_t add_blocks(const pl_add *op, const pl_row *row, int32_t count)
{
    count -= count % PL_ADD_BLOCK;
    if (!count || op->low != -128 || op->high != 127) {
        return 0;
    }
    const pl_add_job job = {
        row->in[0], row->in[1], row->out, row->out + count, op->multipliers[0], op->multipliers[1], op->offset, op->shift,
    };
    pl_add_blocks(&job);
    return count;
}

static int32_t add_tflite_blocks(const pl_add_tflite *op, const pl_row *row, int32_t count)
{
    const int32_t half = 1 << 30;
    const int32_t a = op->multipliers[0] == half && op->shifts[0] == 0 ? 0 : 1;
    const int32_t b = 1 - a;
    int32_t multiplier = op->multipliers[b];
    int32_t right = -op->shifts[b];
    if (multiplier == half && right == 0) { /* the same with a shift: what is missing to 2^31 rounds away */
        multiplier = INT32_MAX;
        right = 1;
    }
    count -= count % PL_ADD_BLOCK;
    const int32_t half_a = op->multipliers[a] == half && op->shifts[a] == 0;
    const int32_t shifts = right >= 1 && right <= 31 && op->shifts[2] <= -1 && op->shifts[2] >= -22;
    if (!count || !half_a || !shifts || op->low != -128 || op->high != 127) {
        return 0;
    }
    const pl_add_tflite_job job = {
        .a = row->in[a],
        .b = row->in[b],
        .out = row->out,
        .offset_a = -op->zeros[a] * (1 << 20),
        .offset_b = -op->zeros[b] * (1 << 21),
        .multiplier_b = multiplier,
        .half_b = 1 << (right - 1),
        .right_b = right,
        .multiplier = op->multipliers[2],
        .addend = pl_tflite_addend(op->zeros[2], -op->shifts[2]),
        .right = -op->shifts[2],
        .end = row->out + count,
    };
    pl_add_tflite_blocks(&job);
    return count;
}

#else

static int32_t add_blocks(const pl_add *op, const pl_row *row, int32_t count)
{
    (void)op;
    (void)row;
    (void)count;
    return 0;
}

static int32_t add_tflite_blocks(const pl_add_tflite *op, const pl_row *row, int32_t count)
{
    (void)op;
    (void)row;
    (void)count;
    return 0;
}

#endif

void pl_add_row(const void *constants, const pl_row *row)
{
    const pl_add *op = constants;
    const int32_t count = row->columns * op->channels;
    const int32_t m0 = op->multipliers[0];
    const int32_t m1 = op->multipliers[1];
    for (int32_t i = add_blocks(op, row, count); i < count; i++) {
        const int32_t sum = row->in[0][i] * m0 + row->in[1][i] * m1 + op->offset;
        row->out[i] = (int8_t)pl_clamp(sum >> op->shift, op->low, op->high);
    }
}

/* Not inlined, to be short: most values go the fast way. */
static __attribute__((noinline)) int32_t scaled(const pl_add_tflite *op, int32_t i, int32_t x)
{
    return pl_tflite_multiply(x, op->multipliers[i], op->shifts[i]);
}

void pl_add_tflite_row(const void *constants, const pl_row *row)
{
    const pl_add_tflite *op = constants;
    const int32_t count = row->columns * op->channels;
    for (int32_t i = add_tflite_blocks(op, row, count); i < count; i++) {
        int32_t sum = 0;
        for (int32_t k = 0; k < 2; k++) {
            sum += scaled(op, k, (row->in[k][i] - op->zeros[k]) * (1 << 20));
        }
        row->out[i] = (int8_t)pl_clamp(scaled(op, 2, sum) + op->zeros[2], op->low, op->high);
    }
}

void pl_mul_row(const void *constants, const pl_row *row)
{
    const pl_mul *op = constants;
    const int8_t *a = row->in[0];
    int8_t *out = row->out;
    for (int32_t x = 0; x < row->columns; x++) {
        const int8_t *b = op->gate ? row->in[1] : row->in[1] + x * op->channels;
        for (int32_t c = 0; c < op->channels; c++) {
            *out++ = pl_requantise(&op->requant, 0, (*a++ - op->zeros[0]) * (b[c] - op->zeros[1]));
        }
    }
}

void pl_lookup_row(const void *constants, const pl_row *row)
{
    const pl_lookup *op = constants;
    const int32_t count = row->columns * op->channels;
    const int8_t *table = op->table + 128;
    for (int32_t i = 0; i < count; i++) {
        row->out[i] = table[row->in[0][i]];
    }
}
