/* Apart from model_api.c, so that its state takes SRAM only where it is used; see model_api.h. */
#include <string.h>

#include "patchline/model_api.h"

#if !MODEL_PULLED

static struct {
    pl_request request;
    uint16_t row;
    uint8_t wanted;
} pushed;

int model_push_row(const int8_t *row)
{
    const pl_tensor *input = pl_model.tensors;
    if (model_input()) {
        const int32_t bytes = input->width * input->channels;
        memcpy(model_input() + pushed.row * bytes, row, (size_t)bytes);
        if (++pushed.row < input->height) {
            return MODEL_NEED_ROW;
        }
        model_begin();
        (void)model_step(&pushed.request);
    } else {
        if (pushed.row == 0) {
            model_begin();
            pushed.wanted = model_step(&pushed.request) == MODEL_NEED_ROW;
        }
        if (pushed.wanted && pushed.request.y == pushed.row) {
            memcpy(pushed.request.to, row + pushed.request.x0 * input->channels, pushed.request.bytes);
            pushed.wanted = model_step(&pushed.request) == MODEL_NEED_ROW;
        }
        if (++pushed.row < input->height) {
            return MODEL_NEED_ROW;
        }
    }
    pushed.row = 0;
    return MODEL_DONE;
}

#endif
