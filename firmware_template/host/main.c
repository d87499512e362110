/* Runs the model on the host: images (int8, HWC) from stdin, the output tensors to stdout.
 *
 *     model [--poison] [--trace FILE]
 *
 * --poison fills every buffer with rubbish at the moment it is free, --trace writes every computed row: four uint16
 * (operator, y, first column, columns) and the row's bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "patchline/model_api.h"

extern const pl_model *const pl_host_model; /* defined by the generated source, whatever its prefix */

static int8_t *image;
static int poison;
static FILE *trace;

/* Bytes of kernel scratch per operator (0 for accumulators, which last longer than one firing). */
extern const uint32_t pl_host_scratch_bytes[];

static void spoil(int8_t *from, size_t bytes)
{
    if (poison) {
        static uint8_t pattern = 0x5a;
        memset(from, pattern, bytes);
        pattern = (uint8_t)(pattern * 5u + 1u);
    }
}

static void spoil_tensor(const pl_context *context, uint32_t t)
{
    const pl_tensor *tensor = context->model->tensors + t;
    if (!tensor->whole && tensor->slots) {
        spoil(context->arena + tensor->offset, (size_t)tensor->slots * tensor->pitch * tensor->channels);
    }
}

void pl_trace_step(const pl_context *context, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        spoil_tensor(context, i + 1);
    }
}

void pl_trace_before(const pl_context *context, uint32_t index)
{
    spoil(context->arena + context->model->ops[index].scratch, pl_host_scratch_bytes[index]);
}

void pl_trace_row(const pl_context *context, uint32_t index, int32_t y, int32_t x0, int32_t count, const int8_t *row)
{
    if (trace) {
        const uint16_t header[4] = {(uint16_t)index, (uint16_t)y, (uint16_t)x0, (uint16_t)count};
        fwrite(header, sizeof header, 1, trace);
        fwrite(row, 1, (size_t)count * context->model->tensors[index + 1].channels, trace);
    }
}

static void read_row(void *source, const pl_request *request)
{
    const pl_tensor *input = ((const pl_context *)source)->model->tensors;
    memcpy(request->to, image + (request->y * input->width + request->x0) * input->channels, request->bytes);
}

int main(int count, char **arguments)
{
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--poison") == 0) {
            poison = 1;
        } else if (strcmp(arguments[i], "--trace") == 0 && i + 1 < count) {
            trace = fopen(arguments[++i], "wb");
        } else {
            fprintf(stderr, "usage: %s [--poison] [--trace FILE] < images > outputs\n", arguments[0]);
            return 2;
        }
    }
    const pl_model *model = pl_host_model;
    const pl_tensor *input = model->tensors;
    const size_t image_bytes = (size_t)input->height * input->width * input->channels;
    int8_t *arena = malloc(model->arena_bytes);
    pl_context *context = malloc(sizeof *context + sizeof context->next[0] * (model->op_count + 1u));
    image = malloc(image_bytes);
    if (!arena || !context || !image) {
        fprintf(stderr, "out of memory\n");
        return 1;
    }
    pl_init(context, model, arena);
    while (fread(image, image_bytes, 1, stdin) == 1) {
        spoil(arena, model->arena_bytes);
        if (pl_input(context)) {
            memcpy(pl_input(context), image, image_bytes);
        }
        pl_run(context, read_row, context);
        for (uint32_t i = 0; i < model->output_count; i++) {
            const pl_tensor *output = model->tensors + model->outputs[i].tensor;
            fwrite(pl_output(context, i), 1, (size_t)output->height * output->width * output->channels, stdout);
        }
    }
    free(image);
    free(context);
    free(arena);
    if (trace) {
        fclose(trace);
    }
    return 0;
}
