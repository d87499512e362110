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

static int8_t *image;
static int poison;
static FILE *trace;

/* Bytes of kernel scratch per operator (0 for accumulators, which last longer than one firing). */
extern const uint32_t model_scratch_bytes[];

static void spoil(int8_t *from, size_t bytes)
{
    if (poison) {
        static uint8_t pattern = 0x5a;
        memset(from, pattern, bytes);
        pattern = (uint8_t)(pattern * 5u + 1u);
    }
}

static void spoil_tensor(uint32_t t)
{
    const pl_tensor *tensor = pl_model.tensors + t;
    if (!tensor->whole && tensor->slots) {
        spoil(pl_arena + tensor->offset, (size_t)tensor->slots * tensor->pitch * tensor->channels);
    }
}

void pl_trace_step(uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        spoil_tensor(i + 1);
    }
}

void pl_trace_before(uint32_t index)
{
    spoil(pl_arena + pl_model.ops[index].scratch, model_scratch_bytes[index]);
}

void pl_trace_row(uint32_t index, int32_t y, int32_t x0, int32_t count, const int8_t *row)
{
    if (trace) {
        const uint16_t header[4] = {(uint16_t)index, (uint16_t)y, (uint16_t)x0, (uint16_t)count};
        fwrite(header, sizeof header, 1, trace);
        fwrite(row, 1, (size_t)count * pl_model.tensors[index + 1].channels, trace);
    }
}

static void read_row(void *context, const pl_request *request)
{
    (void)context;
    const pl_tensor *input = pl_model.tensors;
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
    const size_t image_bytes = (size_t)pl_model.tensors[0].height * pl_model.tensors[0].width * pl_model.tensors[0].channels;
    image = malloc(image_bytes);
    while (image && fread(image, image_bytes, 1, stdin) == 1) {
        spoil(pl_arena, pl_model.arena_bytes);
        if (model_input()) {
            memcpy(model_input(), image, image_bytes);
        }
        model_infer(read_row, NULL);
        for (uint32_t i = 0; i < pl_model.output_count; i++) {
            const pl_tensor *output = pl_model.tensors + pl_outputs[i].tensor;
            fwrite(model_output(i), 1, (size_t)output->height * output->width * output->channels, stdout);
        }
    }
    free(image);
    if (trace) {
        fclose(trace);
    }
    return 0;
}
