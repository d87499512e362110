/* Depthwise convolution 5x5 and 7x7 with the ARMv7E-M DSP instructions.
 *
 * Channel by channel, the columns that up to 16 outputs need are gathered into scratch as pairs of rows, (0,1), (2,3), ..., with the
 * zero point in place of padding. Then a product of two rows takes one SMLAD, and up to five outputs share each loaded pair. Pairs of
 * rows that lie outside the map as a whole are left out: codegen has put their sums of weights beside the weights.
 */
#include <stddef.h>

#include "depthwise_large.h"
#include "patchline/requantise.h"

#if PL_DSP

/* CHUNK is known to patchline.schedule.memory: scratch is [columns of CHUNK outputs][pairs of rows] words. */
enum { CHUNK = 16, FIVE = 5 };

/* Outputs of the next chunk: whole blocks of five where several chunks are needed. */
static int32_t chunk_of(int32_t columns)
{
    const int32_t chunks = (columns + CHUNK - 1) / CHUNK;
    const int32_t even = (columns + chunks - 1) / chunks;
    return chunks == 1 ? columns : even > CHUNK - 1 ? CHUNK : (even + FIVE - 1) / FIVE * FIVE;
}

/* The rows and columns of the map that outputs from column x on take in, and where they go. All else in scratch becomes padding, once
 * for all channels. */
static void gather_plan(pl_dwl *job, const pl_depthwise *op, const pl_row *row, int32_t x, int32_t kernel)
{
    const int32_t pairs = (kernel + 1) / 2;
    const int32_t first = x * op->stride - row->left;
    const int32_t needed = ((int32_t)job->outputs - 1) * op->stride + kernel;
    const int32_t lead = first < 0 ? -first : 0; /* columns left of the map; fewer than the kernel has */
    const int32_t end = row->valid - first < needed ? row->valid - first : needed;
    const uint32_t padding = ((uint32_t)op->input_zero & 0xffffu) * 0x10001u;
    uint32_t *line = row->scratch;
    for (const uint32_t *stop = line + needed * pairs; line != stop; line++) {
        *line = padding;
    }
    job->rows = 0;
    for (int32_t i = 0; i < kernel && end > lead; i++) {
        if (row->in[i]) {
            if (!job->rows) {
                job->to = (int16_t *)row->scratch + lead * pairs * 2 + i;
            }
            job->lines[job->rows++] = row->in[i] + (first + end) * op->channels;
        }
    }
    job->span = (uint32_t)((end - lead) * op->channels);
}

/* The pairs of rows that count; the sums of the others go into the bias. */
static void pairs_plan(pl_dwl *job, const pl_depthwise *op, const pl_row *row, int32_t kernel)
{
    const int32_t pairs = (kernel + 1) / 2;
    const int32_t bytes = 4 * pairs; /* weights of a pair of rows, and a column of scratch */
    int32_t from = pairs - 1;
    int32_t to = 1;
    int32_t *skipped = job->skipped;
    for (int32_t p = 0; p < pairs; p++) {
        if (row->in[2 * p] || (2 * p + 1 < kernel && row->in[2 * p + 1])) {
            from = p < from ? p : from;
            to = p + 1;
        }
    }
    for (int32_t p = 0; p < pairs; p++) {
        if (p < from || p >= to) {
            *skipped++ = (p - from) * bytes + bytes - 4;
        }
    }
    *skipped = 1;
    job->x = (const uint32_t *)row->scratch + from;
    job->x_bytes = (uint32_t)(to - from) * 4u;
    job->weights = op->weights + from * bytes;
    job->weights_bytes = (uint32_t)(pairs * bytes);
    job->column_bytes = (uint32_t)bytes;
}

/* Rules that the kernel does not know, of all channels or of those that have a shift: its accumulators are requantised here. Not
 * inlined: its sums take stack. */
static __attribute__((noinline)) void run_by_rule(pl_dwl *job, pl_dwl_kernel *run, const pl_requant *requant)
{
    int32_t sums[CHUNK + FIVE - 1]; /* a block writes five */
    int8_t *out = job->out;
    const int32_t channels = (int32_t)job->channels;
    const int32_t pitch = (int32_t)job->pitch;
    const int only_shifted = requant->fast == PL_MOSTLY_SINGLE;
    int32_t done = 0;
    job->channels = 1;
    job->rule = PL_BY_RULE;
    job->pitch = 4;
    job->out = (int8_t *)sums;
    for (int32_t channel = 0;; channel++) {
        if (only_shifted) {
            channel = pl_next_shifted(requant, channel, channels);
        }
        if (channel >= channels) {
            break;
        }
        job->weights += (channel - done) * (int32_t)job->weights_bytes;
        job->scale = requant->scale + channel;
        for (uint32_t i = 0; i < job->rows; i++) {
            job->lines[i] += channel - done;
        }
        done = channel;
        run(job);
        pl_requantise_run(requant, channel, sums, (int32_t)job->outputs, out + channel, pitch);
    }
    job->out = out;
}

static void depthwise(const pl_depthwise *op, const pl_row *row, const int32_t kernel, pl_dwl_kernel *run)
{
    const pl_requant *q = &op->requant;
    pl_dwl job = {
        .shifts = q->shifts,
        .x_step = 4u * op->stride * (((uint32_t)kernel + 1) / 2),
        .addend = q->fast == PL_TFLITE ? 2 * q->zero + 1 : q->zero,
        .zero_sum = pl_pack((uint32_t)op->input_zero, (uint32_t)op->input_zero << 8),
        .in_pitch = op->channels,
    };
    pairs_plan(&job, op, row, kernel);
    const int8_t *weights = job.weights;
    int32_t outputs;
    for (int32_t x = 0; x < row->columns; x += outputs) {
        outputs = chunk_of(row->columns - x);
        job.outputs = (uint32_t)outputs;
        job.weights = weights;
        job.scale = q->scale;
        job.out = row->out + x * op->channels;
        job.channels = op->channels;
        job.pitch = op->channels;
        gather_plan(&job, op, row, x, kernel);
        if (q->fast != PL_BY_RULE) {
            job.rule = q->fast == PL_TFLITE ? PL_TFLITE : PL_SINGLE;
            run(&job);
        }
        if (q->fast == PL_BY_RULE || q->fast == PL_MOSTLY_SINGLE) {
            run_by_rule(&job, run, q);
        }
    }
}

#ifndef __ARM_FEATURE_DSP

/* depthwise_large_armv7em.S in C */

static void gather(const pl_dwl *job, int32_t channel)
{
    for (uint32_t i = 0; i < job->rows; i++) {
        int16_t *to = job->to + i;
        for (int32_t at = channel - (int32_t)job->span; at < 0; at += (int32_t)job->in_pitch) {
            *to = job->lines[i][at];
            to += job->column_bytes / 2;
        }
    }
}

static int32_t sum(const uint32_t *x, const int8_t *w, int32_t bytes, int32_t kernel, int32_t stride)
{
    const int32_t even = (kernel + 1) / 2;
    int32_t acc = 0;
    for (const uint32_t *end = x + bytes / 4; x != end; x++) {
        for (int32_t slot = 0; slot < kernel; slot++) {
            const int32_t kx = stride == 1 ? slot : slot < even ? 2 * slot : 2 * (slot - even) + 1;
            const uint32_t word = pl_load4(w + (slot & ~1) * 2);
            acc = pl_smlad(x[kx * even], slot & 1 ? pl_sxtb16_odd(word) : pl_sxtb16(word), acc);
        }
        w += 2 * kernel + 2;
    }
    return acc;
}

static void run_job(const pl_dwl *job, int32_t kernel, int32_t stride)
{
    const int8_t *w = job->weights;
    for (int32_t channel = 0; channel < (int32_t)job->channels; channel++, w += job->weights_bytes) {
        gather(job, channel);
        int32_t bias = job->scale[channel].bias;
        const int32_t multiplier = job->scale[channel].multiplier;
        for (const int32_t *skipped = job->skipped; *skipped != 1; skipped++) {
            bias = pl_smlad(pl_sxtb16_odd(pl_load4(w + *skipped)), job->zero_sum, bias);
        }
        for (int32_t i = 0; i < (int32_t)job->outputs; i++) {
            const uint32_t *x = job->x + i * (int32_t)job->x_step / 4;
            const int32_t acc = bias + sum(x, w, (int32_t)job->x_bytes, kernel, stride);
            int8_t *out = job->out + i * (int32_t)job->pitch + channel;
            if (job->rule == PL_BY_RULE) {
                memcpy(out, &acc, 4);
            } else if (job->rule == PL_SINGLE) {
                *out = (int8_t)pl_saturate8(pl_smmlar(acc, multiplier, job->addend));
            } else {
                const int32_t right = -job->shifts[channel];
                *out = (int8_t)pl_tflite_fast(acc, multiplier, pl_shift_left(job->addend, (uint32_t)right - 1u), right);
            }
        }
    }
}

void pl_dwl_5s1(const pl_dwl *job) { run_job(job, 5, 1); }
void pl_dwl_5s2(const pl_dwl *job) { run_job(job, 5, 2); }
void pl_dwl_7s1(const pl_dwl *job) { run_job(job, 7, 1); }
void pl_dwl_7s2(const pl_dwl *job) { run_job(job, 7, 2); }

#endif

void pl_depthwise_5s1(const void *constants, const pl_row *row) { depthwise(constants, row, 5, pl_dwl_5s1); }
void pl_depthwise_5s2(const void *constants, const pl_row *row) { depthwise(constants, row, 5, pl_dwl_5s2); }
void pl_depthwise_7s1(const void *constants, const pl_row *row) { depthwise(constants, row, 7, pl_dwl_7s1); }
void pl_depthwise_7s2(const void *constants, const pl_row *row) { depthwise(constants, row, 7, pl_dwl_7s2); }

#endif
