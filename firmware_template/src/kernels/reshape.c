/* Concat, Upsample and Pad: operators that move values. */
#include <string.h>

#include "patchline/kernels.h"

void pl_concat_row(const void *constants, const pl_row *row)
{
    const pl_concat *op = constants;
    int8_t *first = row->out;
    for (int32_t i = 0; i < op->count; i++) {
        const pl_concat_input *input = op->inputs + i;
        const int8_t *in = row->in[i];
        int8_t *out = first;
        for (int32_t x = 0; x < row->columns; x++) {
            if (input->table) {
                for (int32_t c = 0; c < input->channels; c++) {
                    out[c] = input->table[in[c] + 128];
                }
            } else {
                memcpy(out, in, input->channels);
            }
            in += input->channels;
            out += op->channels;
        }
        first += input->channels;
    }
}

void pl_upsample_row(const void *constants, const pl_row *row)
{
    const pl_upsample *op = constants;
    const int8_t *in = row->in[0];
    int8_t *out = row->out;
    int32_t phase = row->first % op->factor;
    for (int32_t x = 0; x < row->columns; x++) {
        memcpy(out, in, op->channels);
        out += op->channels;
        if (++phase == op->factor) {
            phase = 0;
            in += op->channels;
        }
    }
}

void pl_pad_row(const void *constants, const pl_row *row)
{
    const pl_pad *op = constants;
    int8_t *out = row->out;
    for (int32_t x = 0; x < row->columns; x++, out += op->channels) {
        const int32_t column = x - row->left;
        if (row->in[0] && column >= 0 && column < row->valid) {
            memcpy(out, row->in[0] + column * op->channels, op->channels);
        } else {
            memset(out, op->value, op->channels);
        }
    }
}
