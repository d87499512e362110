/* A program of somebody else with two networks in it, for mps2-an386: prints their outputs in hexadecimal, a line each.
 *
 * First both run at the same time, row by row in turn, each in its own arena; then one after the other in the same arena. */
#include <stdint.h>
#include <string.h>

#include "first.h"
#include "second.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))
#define UART 0x40004000u

extern uint32_t stack_top[], bss_start[], bss_end[];

enum { SHARED_BYTES = FIRST_ARENA_BYTES > SECOND_ARENA_BYTES ? FIRST_ARENA_BYTES : SECOND_ARENA_BYTES, AHEAD = 16 };

static int8_t arena_1[FIRST_ARENA_BYTES + AHEAD] __attribute__((aligned(8)));
static int8_t arena_2[SECOND_ARENA_BYTES + AHEAD] __attribute__((aligned(8)));
static int8_t shared[SHARED_BYTES + AHEAD] __attribute__((aligned(8)));
static PL_CONTEXT(memory_1, FIRST_OPS);
static PL_CONTEXT(memory_2, SECOND_OPS);

static void put(char c)
{
    while (REGISTER(UART + 4u) & 1u) {
    }
    REGISTER(UART) = (uint8_t)c;
}

static void put_output(const pl_context *context, uint32_t bytes)
{
    const int8_t *output = pl_output(context, 0);
    for (uint32_t i = 0; i < bytes; i++) {
        put("0123456789abcdef"[(uint8_t)output[i] >> 4]);
        put("0123456789abcdef"[output[i] & 15]);
    }
    put('\n');
}

static void give(const pl_context *context, const int8_t *image, const pl_request *request)
{
    const pl_tensor *input = context->model->tensors;
    memcpy(request->to, image + (request->y * input->width + request->x0) * input->channels, request->bytes);
}

typedef struct {
    const pl_context *context;
    const int8_t *image;
} picture;

static void read_row(void *source, const pl_request *request)
{
    const picture *from = source;
    give(from->context, from->image, request);
}

static void at_the_same_time(void)
{
    pl_request request_1, request_2;
    int more_1, more_2;
    pl_init(&memory_1.context, &first_model, arena_1);
    pl_init(&memory_2.context, &second_model, arena_2);
    pl_begin(&memory_1.context);
    pl_begin(&memory_2.context);
    do {
        more_1 = pl_advance(&memory_1.context, &request_1) == PL_NEED_ROW;
        if (more_1) {
            give(&memory_1.context, first_golden_inputs[0], &request_1);
        }
        more_2 = pl_advance(&memory_2.context, &request_2) == PL_NEED_ROW;
        if (more_2) {
            give(&memory_2.context, second_golden_inputs[0], &request_2);
        }
    } while (more_1 || more_2);
    put_output(&memory_1.context, FIRST_OUTPUT_BYTES);
    put_output(&memory_2.context, SECOND_OUTPUT_BYTES);
}

static void one_after_the_other(void)
{
    picture picture_1 = {&memory_1.context, first_golden_inputs[1]};
    picture picture_2 = {&memory_2.context, second_golden_inputs[1]};
    pl_init(&memory_1.context, &first_model, shared);
    pl_init(&memory_2.context, &second_model, shared);
    pl_run(&memory_1.context, read_row, &picture_1);
    put_output(&memory_1.context, FIRST_OUTPUT_BYTES);
    pl_run(&memory_2.context, read_row, &picture_2);
    put_output(&memory_2.context, SECOND_OUTPUT_BYTES);
}

void start(void)
{
    memset(bss_start, 0, (size_t)((uintptr_t)bss_end - (uintptr_t)bss_start));
    REGISTER(0xe000ed88u) |= 0xfu << 20; /* the FPU: kernels keep constants in its registers */
    __asm__ volatile("dsb\n isb" ::: "memory");
    REGISTER(UART + 16u) = 16;
    REGISTER(UART + 8u) = 1;
    at_the_same_time();
    one_after_the_other();
    for (;;) {
        (void)REGISTER(UART + 4u); /* waits for input, so that an emulator can tell that it is done */
    }
}

static void fault(void)
{
    put('!');
    for (;;) {
    }
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top, (const void *)start, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault, (const void *)fault,
};
