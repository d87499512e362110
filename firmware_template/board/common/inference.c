/* Inferences and what they leave behind. */
#include "inference.h"

#include <string.h>

#include "board.h"
#include "input.h"
#include "model_config.h"
#include "patchline/model_api.h"
#include "text.h"

static struct {
    const int8_t *image; /* rows come from here instead of the UART (self-test) */
    uint32_t cycles;     /* of the last inference */
    uint8_t inferred;
} now;

static PL_CONTEXT(memory, MODEL_OPS);
static pl_context *const context = &memory.context;

#ifdef __arm__ /* elsewhere a sanitizer guards its ends, which it cannot do in a section of its own */
__attribute__((section(".arena")))
#endif
__attribute__((aligned(8))) static int8_t pl_arena[MODEL_ARENA_BYTES];

#ifdef PL_PROFILE
pl_op_profile pl_profile[MODEL_OPS];
#endif

void inference_init(void)
{
    pl_init(context, &MODEL, pl_arena);
}

const pl_context *inference_context(void)
{
    return context;
}

int8_t *inference_input(void)
{
    return pl_input(context);
}

static void read_row(const pl_request *request)
{
    if (now.image) {
        const int32_t at = (request->y * MODEL_INPUT_WIDTH + request->x0) * MODEL_INPUT_CHANNELS;
        memcpy(request->to, now.image + at, request->bytes);
    } else {
        board_read_row(request->y, request->x0, request->x1, request->to);
    }
}

__attribute__((noinline)) void pl_infer(void)
{
    pl_request request;
    pl_begin(context);
    while (!pl_rows_read.failed && pl_advance(context, &request) == PL_NEED_ROW) {
        read_row(&request);
    }
}

/* 0 where a row failed. */
static int infer_once(void)
{
    pl_rows_read.failed = 0;
    now.inferred = 0;
    pl_rows_read.waited = 0;
    const uint32_t start = board_cycles();
    pl_infer();
    now.cycles = board_cycles() - start;
    context->op = PL_NO_OP; /* also where a row failed */
    now.inferred = !pl_rows_read.failed;
    return now.inferred;
}

void forget_outputs(void)
{
    now.inferred = 0;
}

static void put_outputs(int as_stored)
{
    if (!now.inferred) {
        put_line("e-[No inference has been made]");
        return;
    }
    const char *separator = as_stored ? "x-out-[" : "m-results-[";
    for (uint32_t i = 0; i < MODEL_OUTPUTS; i++) {
        const pl_output_format *output = MODEL.outputs + i;
        const pl_tensor *tensor = MODEL.tensors + output->tensor;
        const int8_t *values = pl_output(context, i);
        const int32_t count = (int32_t)tensor->height * tensor->width * tensor->channels;
        for (int32_t k = 0; k < count; k++) {
            const int32_t value = as_stored ? values[k] : values[k] - output->zero;
            put_text(separator);
            separator = ",";
            if (as_stored) {
                put_signed(value);
            } else {
                const uint32_t size = value < 0 ? (uint32_t)-value : (uint32_t)value;
                put_decimal(value, size * output->scale, output->decimals);
            }
        }
    }
    put_line("]");
}

void put_results(void)
{
    put_outputs(0);
}

void put_stored_outputs(void)
{
    put_outputs(1);
}

void put_cycles(void)
{
    put_pair_line("x-cycles-[", now.cycles, pl_rows_read.waited);
}

void infer(const char *arguments)
{
    const int32_t count = *arguments ? read_number(&arguments) : 1;
    const int32_t warmups = *arguments ? read_number(&arguments) : 0;
    if (count <= 0 || warmups < 0 || *arguments) {
        put_line("e-[Expected infer N or infer N W, N > 0]");
        return;
    }
    const char *missing = input_missing();
    if (missing) {
        put_line(missing);
        return;
    }
    put_number_line("m-warmup-start-", (uint32_t)warmups);
    for (int32_t i = 0; i < warmups; i++) {
        if (!infer_once()) {
            return;
        }
    }
    put_line("m-warmup-done");
    put_number_line("m-infer-start-", (uint32_t)count);
    put_timestamp();
    for (int32_t i = 0; i < count; i++) {
        if (!infer_once()) {
            return;
        }
    }
    put_timestamp();
    put_line("m-infer-done");
    put_outputs(0);
}

void put_operators(void)
{
#ifdef PL_PROFILE
    for (uint32_t i = 0; i < MODEL_OPS; i++) {
        put_text("x-op-[");
        put_unsigned(i);
        board_put(',');
        put_pair_line("", pl_profile[i].fires, pl_profile[i].cycles);
    }
#else
    put_line("e-[Only a profile build counts operators: make profile]");
#endif
}

void self_test(void)
{
#if MODEL_GOLDEN > 0
    uint32_t passed = 0;
    for (uint32_t i = 0; i < MODEL_GOLDEN; i++) {
        const int8_t *expected = MODEL_GOLDEN_OUTPUTS[i];
        int same = 1;
        if (MODEL_RESIDENT) {
            forget_input();
            memcpy(pl_input(context), MODEL_GOLDEN_INPUTS[i], MODEL_INPUT_BYTES);
        }
        now.image = MODEL_GOLDEN_INPUTS[i];
        (void)infer_once();
        for (uint32_t k = 0; k < MODEL_OUTPUTS; k++) {
            const pl_tensor *tensor = MODEL.tensors + MODEL.outputs[k].tensor;
            const int32_t count = (int32_t)tensor->height * tensor->width * tensor->channels;
            const int8_t *values = pl_output(context, k);
            for (int32_t j = 0; j < count; j++) {
                same &= values[j] == *expected++;
            }
        }
        passed += (uint32_t)same;
    }
    now.image = NULL;
    put_pair_line("x-selftest-[", passed, MODEL_GOLDEN);
#else
    put_line("e-[The firmware holds no images for a self-test]");
#endif
}

