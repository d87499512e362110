#include "fuzz_input.h"

#include <stdio.h>
#include <string.h>

#include "model_config.h"

static const char *const commands[] = {
    "name", "timestamp", "profile", "help", "db print", "results", "x-out", "x-cycles", "x-ops", "x-stack", "x-selftest",
    "infer", "infer 1", "infer 2 1", "infer 1 0", "infer  3 ", "infer 0", "infer 1 2 3", "infer 999999999999", "db load",
    "db", "db ", "row ", "row", "", " ", "nonsense", "x-", "db load 0", "db load 4294967295", "db load 126 1",
    "x-load", "x-load 126", "%", "\r\n",
};

enum { COMMANDS = sizeof commands / sizeof *commands };

/* splitmix64 */
uint32_t fuzz_random(fuzz_input *input, uint32_t below)
{
    uint64_t x = input->random += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((x ^ x >> 31) >> 32) % below;
}

static void add(fuzz_input *input, const void *bytes, size_t count)
{
    if (count <= sizeof input->bytes - input->length) {
        memcpy(input->bytes + input->length, bytes, count);
        input->length += count;
    }
}

static void add_text(fuzz_input *input, const char *text)
{
    add(input, text, strlen(text));
}

static void add_hex(fuzz_input *input, uint32_t digits)
{
    const char *const cases = fuzz_random(input, 2) ? "0123456789abcdef" : "0123456789ABCDEF";
    while (digits--) {
        add(input, cases + fuzz_random(input, 16), 1);
    }
}

/* Mostly a whole number of bytes, often what fits. */
static uint32_t some_digits(fuzz_input *input)
{
    switch (fuzz_random(input, 8)) {
    case 0: return 2 * MODEL_INPUT_BYTES;
    case 1: return 2 * MODEL_INPUT_BYTES + 2;
    case 2: return 2 * MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS;
    case 3: return fuzz_random(input, 200);
    default: return 2 * fuzz_random(input, MODEL_INPUT_BYTES);
    }
}

static void add_random(fuzz_input *input, uint32_t count)
{
    while (count--) {
        const unsigned char byte = (unsigned char)fuzz_random(input, 256);
        add(input, &byte, 1);
    }
}

/* Longer than any buffer of the device: one character again and again, or digits. */
static void add_long(fuzz_input *input)
{
    static const char *const starts[] = {"", "db ", "row ", "infer ", "db load ", "name "};
    const uint32_t count = fuzz_random(input, 40) ? 20 + fuzz_random(input, 100) : fuzz_random(input, FUZZ_INPUT_BYTES / 2);
    add_text(input, starts[fuzz_random(input, 6)]);
    if (fuzz_random(input, 2)) {
        add_hex(input, count);
    } else {
        const unsigned char byte = (unsigned char)fuzz_random(input, 256);
        for (uint32_t i = 0; i < count; i++) {
            add(input, &byte, 1);
        }
    }
}

/* The byte that gives `value`: itself where the device takes values as they are `stored`. */
static unsigned byte_of(signed char value, int stored)
{
    unsigned byte = 0;
    if (stored) {
        return (uint8_t)value;
    }
    while (byte < 255 && MODEL_INPUT_OF(byte) != value) {
        byte++;
    }
    return byte;
}

static void add_golden(fuzz_input *input, uint32_t from, uint32_t count, int stored)
{
    for (uint32_t i = from; i < from + count; i++) {
        char byte[3];
        (void)snprintf(byte, sizeof byte, "%02x", byte_of(MODEL_GOLDEN_INPUTS[0][i], stored));
        add_text(input, byte);
    }
}

/* A whole image in pieces: with the last one the device can infer. Often the golden one, whose outputs are known. */
static void add_image(fuzz_input *input)
{
    char load[32];
    const int stored = fuzz_random(input, 2) != 0;
    (void)snprintf(load, sizeof load, "%s %d%%", stored ? "x-load" : "db load", MODEL_INPUT_BYTES);
    add_text(input, load);
    const int golden = fuzz_random(input, 2) != 0;
    for (uint32_t left = MODEL_INPUT_BYTES; left;) {
        const uint32_t bytes = 1 + fuzz_random(input, left);
        add_text(input, "db ");
        if (golden) {
            add_golden(input, MODEL_INPUT_BYTES - left, bytes, stored);
        } else {
            add_hex(input, 2 * bytes);
        }
        add_text(input, bytes < left ? "%" : "");
        left -= bytes;
    }
}

static void add_command(fuzz_input *input)
{
    switch (fuzz_random(input, 10)) {
    case 0:
        add_text(input, "db ");
        add_hex(input, some_digits(input));
        break;
    case 1:
        add_text(input, "row ");
        add_hex(input, some_digits(input));
        break;
    case 2:
        if (MODEL_RESIDENT || fuzz_random(input, 4) == 0) { /* else refused, and the next inference with it */
            add_image(input);
        } else {
            add_text(input, "infer");
        }
        break;
    case 3: add_random(input, fuzz_random(input, 64)); break;
    case 4: add_long(input); break;
    default: add_text(input, commands[fuzz_random(input, COMMANDS)]); break;
    }
    static const char *const ends[] = {"", "%%", "%\r\n", "\n%", " %"};
    add_text(input, fuzz_random(input, 4) ? "%" : ends[fuzz_random(input, 5)]);
}

static void damage(fuzz_input *input)
{
    const size_t at = fuzz_random(input, (uint32_t)input->length);
    unsigned char *const byte = input->bytes + at;
    const size_t behind = input->length - at - 1;
    switch (fuzz_random(input, 5)) {
    case 0: *byte ^= (unsigned char)(1u << fuzz_random(input, 8)); break;
    case 1: *byte = (unsigned char)fuzz_random(input, 256); break;
    case 2: *byte = (unsigned char)"%\r\n 0"[fuzz_random(input, 5)]; break;
    case 3:
        memmove(byte, byte + 1, behind);
        input->length--;
        break;
    default: /* a piece twice */
        if (input->length < sizeof input->bytes / 2) {
            add(input, byte, fuzz_random(input, (uint32_t)behind + 1));
        }
    }
}

void fuzz_next(fuzz_input *input)
{
    input->length = 0;
    for (uint32_t count = 1 + fuzz_random(input, 3); count; count--) {
        add_command(input);
    }
    if (fuzz_random(input, 2)) {
        for (uint32_t count = 1 + fuzz_random(input, 4); count && input->length; count--) {
            damage(input);
        }
    }
}
