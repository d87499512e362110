/* Add, Mul and Lookup: position by position. The output may lie on top of one of the inputs. */
#include "patchline/requantise.h"

void pl_add_row(const void *constants, const pl_row *row)
{
    const pl_add *op = constants;
    const int32_t count = row->columns * op->channels;
    const int32_t m0 = op->multipliers[0];
    const int32_t m1 = op->multipliers[1];
    for (int32_t i = 0; i < count; i++) {
        const int32_t sum = row->in[0][i] * m0 + row->in[1][i] * m1 + op->offset;
        row->out[i] = (int8_t)pl_clamp(sum >> op->shift, op->low, op->high);
    }
}

void pl_add_tflite_row(const void *constants, const pl_row *row)
{
    const pl_add_tflite *op = constants;
    const int32_t count = row->columns * op->channels;
    for (int32_t i = 0; i < count; i++) {
        int32_t sum = 0;
        for (int32_t k = 0; k < 2; k++) {
            const int32_t shifted = (row->in[k][i] - op->zeros[k]) * (1 << 20);
            sum += pl_tflite_multiply(shifted, op->multipliers[k], op->shifts[k]);
        }
        const int32_t scaled = pl_tflite_multiply(sum, op->multipliers[2], op->shifts[2]) + op->zeros[2];
        row->out[i] = (int8_t)pl_clamp(scaled, op->low, op->high);
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
