#include "fuzz_rules.h"

#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inference.h"
#include "model_config.h"

#if MODEL_GOLDEN < 1 || MODEL_OUTPUTS != 1
#error "build the fuzzer for a model with one output and golden vectors"
#endif

#define READY "m-ready\r\n"
#define STAMP "m-timestamp-[0-9]+\r\nm-lap-us-[0-9]+\r\n"
#define RESULTS "m-results-\\[-?[0-9.]+(,-?[0-9.]+)*]\r\n"
#define ROW "x-row-\\[[0-9]+,[0-9]+,[0-9]+]\r\n"
#define START "m-warmup-start-[0-9]+\r\n"
#define WARM "m-warmup-done\r\nm-infer-start-[0-9]+\r\n" STAMP
#define DONE STAMP "m-infer-done\r\n" RESULTS READY

enum { LINE = 27, MOST = 999999999, MANY = 6, WANTS_RESULT = 1 };

static struct {
    const char *command, *answer;
    int needs;
    regex_t command_expression, answer_expression;
} rules[] = {
    {"^name *$", "^m-name-dut-\\[Patchline]\r\n" READY "$", 0, {0}, {0}},
    {"^timestamp *$", "^" STAMP READY "$", 0, {0}, {0}},
    {"^profile *$", "^m-profile-\\[Patchline]\r\nm-model-\\[" MODEL_NAME "]\r\n" READY "$", 0, {0}, {0}},
    {"^help *$", "^(.* : .*\r\n){14}" READY "$", 0, {0}, {0}},
    {"^results *$", "^" RESULTS READY "$", WANTS_RESULT, {0}, {0}},
    {"^x-out *$", "^x-out-\\[-?[0-9]+(,-?[0-9]+)*]\r\n" READY "$", WANTS_RESULT, {0}, {0}},
    {"^x-cycles *$", "^x-cycles-\\[[0-9]+,[0-9]+]\r\n" READY "$", 0, {0}, {0}},
    {"^x-stack *$", "^x-stack-\\[[0-9]+,[0-9]+]\r\n" READY "$", 0, {0}, {0}},
};

enum { RULES = sizeof rules / sizeof *rules };

static regex_t infer_expression, load_expression, size_expression, print_expression, self_test_expression;
static regex_t row_expression, error_expression, started_expression, going_expression;

/* The device as it should be. */
static struct {
    uint32_t row_bytes, y, x0; /* of the row that is asked for; row_bytes 0: none */
    uint32_t position;         /* in the image */
    int announced, refused, stored, inferred, of_golden;
    uint8_t image[MODEL_INPUT_BYTES]; /* bytes as they came, pixels unless `stored` */
} device;

static struct {
    enum { REFUSAL, RULE, INFERENCE, LOAD, DATA, PRINT, SELF_TEST, ROW_DATA } what;
    int rule;
} expected;

fuzz_counts fuzz_count;

static void compile(regex_t *expression, const char *text)
{
    if (regcomp(expression, text, REG_EXTENDED) != 0) {
        fprintf(stderr, "bad expression %s\n", text);
        exit(2);
    }
}

static int matches(const regex_t *expression, const char *text)
{
    return regexec(expression, text, 0, NULL, 0) == 0;
}

void fuzz_rules_start(void)
{
    for (int i = 0; i < RULES; i++) {
        compile(&rules[i].command_expression, rules[i].command);
        compile(&rules[i].answer_expression, rules[i].answer);
    }
    compile(&infer_expression, "^infer( +([0-9]+)( +([0-9]+))?)? *$");
    compile(&load_expression, "^(db |x-)load( .*)?$");
    compile(&size_expression, "^(db |x-)load +([0-9]+) *$");
    compile(&print_expression, "^db print *$");
    compile(&self_test_expression, "^x-selftest *$");
    compile(&row_expression, ROW "$");
    compile(&error_expression, "^e-\\[[^]]+]\r\n" READY "$");
    compile(&started_expression, "^(" START ")?(" WARM ")?" ROW "$");
    compile(&going_expression, "^(" START ")?(" WARM ")?" DONE "$");
}

int fuzz_row_expected(void)
{
    return device.row_bytes > 0;
}

size_t fuzz_right_row(char *command)
{
    const signed char *row = MODEL_GOLDEN_INPUTS[0] + (device.y * MODEL_INPUT_WIDTH + device.x0) * MODEL_INPUT_CHANNELS;
    size_t length = (size_t)sprintf(command, "row ");
    for (uint32_t i = 0; i < device.row_bytes; i++) {
        length += (size_t)sprintf(command + length, "%02x", (uint8_t)row[i]);
    }
    return length;
}

static int is_hex(int c)
{
    return c != '\0' && strchr("0123456789abcdefABCDEF", c) != NULL;
}

/* Decodes `text`; -1 unless it is a whole number of bytes, at most `most`. */
static long decode(const char *text, size_t digits, uint8_t *to, size_t most)
{
    for (size_t i = 0; i < digits; i++) {
        if (!is_hex(text[i])) {
            return -1;
        }
    }
    if (digits % 2 || digits / 2 > most) {
        return -1;
    }
    for (size_t i = 0; i < digits / 2; i++) {
        const char byte[3] = {text[2 * i], text[2 * i + 1], '\0'};
        to[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    return (long)(digits / 2);
}

static int image_is_golden(void)
{
    int same = 1;
    for (uint32_t i = 0; i < MODEL_INPUT_BYTES; i++) {
        const int8_t value = device.stored ? (int8_t)device.image[i] : MODEL_INPUT_OF(device.image[i]);
        same &= value == MODEL_GOLDEN_INPUTS[0][i];
    }
    return same;
}

static unsigned long number(const char *text, const regmatch_t *match, unsigned long otherwise)
{
    return match->rm_so < 0 ? otherwise : strtoul(text + match->rm_so, NULL, 10);
}

static void expect_row(const char *text, size_t length)
{
    static uint8_t row[MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS];
    if (strncmp(text, "row ", 4) == 0 && decode(text + 4, length - 4, row, device.row_bytes) == (long)device.row_bytes) {
        const uint32_t at = (device.y * MODEL_INPUT_WIDTH + device.x0) * MODEL_INPUT_CHANNELS;
        device.of_golden &= memcmp(row, MODEL_GOLDEN_INPUTS[0] + at, device.row_bytes) == 0;
        expected.what = ROW_DATA;
    }
    device.row_bytes = 0;
}

static void expect_data(const char *digits, size_t count)
{
    if (MODEL_RESIDENT && device.announced) {
        device.inferred = 0;
        const long bytes = decode(digits, count, device.image + device.position, MODEL_INPUT_BYTES - device.position);
        if (bytes >= 0) {
            device.position += (uint32_t)bytes;
            expected.what = DATA;
        }
    }
}

/* 0 where the inferences would be too many. */
static int expect_infer(unsigned long count, unsigned long warmups)
{
    if (count == 0 || count > MOST || warmups > MOST || (device.announced && device.position < MODEL_INPUT_BYTES)) {
        return 1;
    }
    if (device.refused) {
        device.refused = MODEL_RESIDENT;
        return 1;
    }
    expected.what = INFERENCE;
    device.of_golden = !MODEL_RESIDENT || image_is_golden();
    return count + warmups <= MANY;
}

static void expect_other(const char *text)
{
    for (int i = 0; i < RULES; i++) {
        if (matches(&rules[i].command_expression, text) && (device.inferred || rules[i].needs != WANTS_RESULT)) {
            expected.what = RULE;
            expected.rule = i;
        }
    }
}

int fuzz_expect(const unsigned char *command, size_t length)
{
    static char text[FUZZ_ANSWER_BYTES * 4];
    size_t count = 0;
    for (size_t i = 0; i < length && count < sizeof text - 1; i++) {
        if (command[i] != '\r' && command[i] != '\n') {
            text[count++] = command[i] >= ' ' && command[i] <= '~' ? (char)command[i] : '?';
        }
    }
    text[count] = '\0';
    expected.what = REFUSAL;
    regmatch_t found[5];
    if (device.row_bytes) {
        expect_row(text, count);
    } else if (count > 3 && memcmp(text, "db ", 3) == 0 && is_hex(text[3])) {
        expect_data(text + 3, count - 3);
    } else if (count > LINE) {
        return 1;
    } else if (regexec(&infer_expression, text, 5, found, 0) == 0) {
        return expect_infer(number(text, found + 2, 1), number(text, found + 4, 0));
    } else if (matches(&load_expression, text)) {
        const int sized = regexec(&size_expression, text, 5, found, 0) == 0;
        device.announced = MODEL_RESIDENT && sized && number(text, found + 2, 0) == MODEL_INPUT_BYTES;
        device.refused = !device.announced;
        device.position = 0;
        if (device.announced) {
            expected.what = LOAD;
            device.stored = text[0] == 'x';
        }
    } else if (matches(&print_expression, text)) {
        expected.what = PRINT;
    } else if (matches(&self_test_expression, text)) {
        expected.what = SELF_TEST;
    } else {
        expect_other(text);
    }
    return 1;
}

static const char *check_inference(const char *answer)
{
    if (!MODEL_RESIDENT && matches(&started_expression, answer)) {
        uint32_t x1;
        device.inferred = 0;
        (void)sscanf(strrchr(answer, '[') + 1, "%u,%u,%u", &device.y, &device.x0, &x1);
        if (device.y >= MODEL_INPUT_HEIGHT || device.x0 >= x1 || x1 > MODEL_INPUT_WIDTH) {
            return "a row outside of the image was asked for";
        }
        device.row_bytes = (x1 - device.x0) * MODEL_INPUT_CHANNELS;
        return NULL;
    }
    if (!matches(&going_expression, answer)) {
        return "this is no inference";
    }
    device.inferred = 1;
    fuzz_count.inferences++;
    if (device.of_golden && memcmp(pl_output(inference_context(), 0), MODEL_GOLDEN_OUTPUTS[0], MODEL_OUTPUT_BYTES) != 0) {
        return "the outputs are wrong";
    }
    return NULL;
}

static const char *check_print(const char *answer)
{
    static char right[MODEL_INPUT_BYTES * 5 + sizeof READY];
    size_t length = 0;
    for (uint32_t i = 0; i < device.position; i++) {
        length += (size_t)sprintf(right + length, "%s%02x", i % 8u ? "-" : "m-buffer-", device.image[i]);
        if (i % 8u == 7u || i + 1 == device.position) {
            length += (size_t)sprintf(right + length, "\r\n");
        }
    }
    (void)sprintf(right + length, READY);
    return strcmp(answer, right) ? "this is not the image that was loaded" : NULL;
}

static const char *check_self_test(const char *answer)
{
    int passed = 0, total = 0;
    device.inferred = 1;
    if (MODEL_RESIDENT) { /* its images took the place of what was loaded */
        device.position = 0;
        for (uint32_t i = 0; i < MODEL_INPUT_BYTES; i++) {
            device.image[i] = (uint8_t)(MODEL_GOLDEN_INPUTS[MODEL_GOLDEN - 1][i] + 128);
        }
    }
    return sscanf(answer, "x-selftest-[%d,%d]\r\n" READY, &passed, &total) == 2 && passed == MODEL_GOLDEN && total == passed
        ? NULL : "the self-test fails";
}

const char *fuzz_check(const char *answer)
{
    fuzz_count.commands++;
    if (expected.what == REFUSAL) {
        fuzz_count.refused++;
        return matches(&error_expression, answer) ? NULL : "an e-[...] and m-ready were expected";
    }
    fuzz_count.accepted++;
    switch (expected.what) {
    case RULE: return matches(&rules[expected.rule].answer_expression, answer) ? NULL : rules[expected.rule].answer;
    case PRINT: return check_print(answer);
    case SELF_TEST: return check_self_test(answer);
    case ROW_DATA: fuzz_count.rows++; return check_inference(answer);
    case INFERENCE: return check_inference(answer);
    case LOAD: return strncmp(answer, "m-[Expecting ", 13) ? "db load was right" : NULL;
    default: break;
    }
    const char *right = device.position == MODEL_INPUT_BYTES ? "m-load-done\r\n" READY : READY;
    return strcmp(answer, right) ? "the data were right" : NULL;
}
