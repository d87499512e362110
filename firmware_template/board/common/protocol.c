/* The serial protocol: MLPerf Tiny's (EEMBC) commands and some of our own; docs/serial-protocol.md.
 *
 * Commands end in '%'. Hexadecimal data is decoded as it arrives, straight to where it belongs, so no line buffer is needed
 * for it. Whatever comes in, the device answers and is ready for the next command.
 */
#include "protocol.h"

#include <string.h>

#include "board.h"
#include "model_config.h"
#include "patchline/model_api.h"
#include "text.h"

enum { LINE = 32, HEX_BAD = -1 };

static struct {
    uint32_t db_size, db_position; /* bytes that `db load` announced, bytes that came */
    uint32_t cycles, waited;       /* of the last inference; while waiting for rows */
    const int8_t *image;           /* rows come from here instead of the UART (self-test) */
    char line[LINE];
    uint8_t length;
    uint8_t aborted; /* a row did not come as asked for */
    uint8_t inferred;
} now;

static const char *const commands[] = {
    "help          : Print this information",
    "name          : Print the name of the device",
    "timestamp     : Print a timestamp",
    "profile       : Print firmware and model",
    "db load N     : Expect N bytes of input",
    "db HH[HH]*    : Load hexadecimal bytes",
    "db print      : Print the input",
    "infer N [W=0] : N inferences after W warm-up ones",
    "results       : Print the last result",
    "x-out         : Print the int8 outputs",
    "x-cycles      : Ticks of the last inference, ticks of waiting for rows in them",
    "x-ops         : Firings and ticks of every operator (profile build)",
    "x-stack       : Bytes of stack used and reserved",
    "x-selftest    : Check stored images, if the firmware has any",
};

static void put_line(const char *text)
{
    put_text(text);
    put_text("\r\n");
}

static void put_number_line(const char *text, uint32_t value)
{
    put_text(text);
    put_unsigned(value);
    put_text("\r\n");
}

static void put_pair_line(const char *text, uint32_t first, uint32_t second)
{
    put_text(text);
    put_unsigned(first);
    board_put(',');
    put_unsigned(second);
    put_line("]");
}

static int hex_digit(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : HEX_BAD;
}

/* Skips to the end of the command. Returns `c`, or what ended the line. */
static int skip_command(int c)
{
    while (c >= 0 && c != '%') {
        c = board_get();
    }
    return c;
}

/* Decodes hex digits up to '%' into at most `room` bytes; `c` is the first. Returns the bytes that came, or -1 after
 * reporting what is wrong. The whole command is consumed either way. */
static int32_t read_hex(int c, int8_t *to, uint32_t room)
{
    uint32_t digits = 0;
    int high = 0;
    for (; c >= 0 && c != '%'; c = board_get()) {
        const int digit = hex_digit(c);
        if (digit == HEX_BAD) {
            put_line("e-[Invalid hex digit]");
            (void)skip_command(c);
            return -1;
        }
        if (digits & 1u) {
            if (digits / 2u < room) {
                to[digits / 2u] = (int8_t)(high << 4 | digit);
            }
        } else {
            high = digit;
        }
        digits++;
    }
    if (digits & 1u) {
        put_line("e-[Insufficient number of hex digits]");
        return -1;
    }
    return (int32_t)(digits / 2u);
}

/* ---- input ----------------------------------------------------------------------------------------------------- */

/* 0 where the answer is not what was asked for; it is reported and skipped. */
static int ask_for_row(uint32_t y, uint32_t x0, uint32_t x1, int8_t *to)
{
    static const char expected[] = "row ";
    const uint32_t bytes = (x1 - x0) * MODEL_INPUT_CHANNELS;
    put_text("x-row-[");
    put_unsigned(y);
    board_put(',');
    put_pair_line("", x0, x1);
    int c = board_get();
    while (c == '\r' || c == '\n') {
        c = board_get();
    }
    for (uint32_t i = 0; i < sizeof expected - 1; i++) {
        if (c != expected[i]) {
            put_line("e-[Expected 'row' and the bytes of the row]");
            (void)skip_command(c);
            return 0;
        }
        c = board_get();
    }
    const int32_t came = read_hex(c, to, bytes);
    if (came >= 0 && (uint32_t)came != bytes) {
        put_text("e-[Wrong number of bytes, expected ");
        put_unsigned(bytes);
        put_line("]");
    }
    return (uint32_t)came == bytes;
}

__attribute__((weak, noinline)) void board_read_row(uint32_t y, uint32_t x0, uint32_t x1, int8_t *to)
{
    const uint32_t start = board_cycles(); /* first and last: all of this call is waiting, also keeping the clock */
    const uint32_t paused = board_clock_pause();
    now.aborted = !ask_for_row(y, x0, x1, to);
    board_clock_resume(paused);
    now.waited += board_cycles() - start;
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
    model_begin();
    while (!now.aborted && model_step(&request) == MODEL_NEED_ROW) {
        read_row(&request);
    }
}

/* 0 where a row failed. */
static int infer_once(void)
{
    now.aborted = 0;
    now.inferred = 0;
    now.waited = 0;
    const uint32_t start = board_cycles();
    pl_infer();
    now.cycles = board_cycles() - start;
    pl_current_op = PL_NO_OP;
    now.inferred = !now.aborted;
    return now.inferred;
}

/* ---- commands -------------------------------------------------------------------------------------------------- */

/* Reads a decimal number at *text and moves behind it and the blanks after it; -1: there is none, or it is too large. */
static int32_t read_number(const char **text)
{
    int32_t value = 0;
    const char *at = *text;
    if (*at < '0' || *at > '9') {
        return -1;
    }
    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > 100000000) {
            return -1;
        }
        value = value * 10 + (*at - '0');
    }
    while (*at == ' ') {
        at++;
    }
    *text = at;
    return value;
}

static void timestamp(void)
{
    const uint32_t micros = board_micros();
    put_number_line("m-timestamp-", micros);
    put_number_line("m-lap-us-", micros); /* what MLPerf Tiny's runner reads */
}

static void put_outputs(int as_stored)
{
    if (!now.inferred) {
        put_line("e-[No inference has been made]");
        return;
    }
    const char *separator = as_stored ? "x-out-[" : "m-results-[";
    for (uint32_t i = 0; i < MODEL_OUTPUTS; i++) {
        const pl_output *output = pl_outputs + i;
        const pl_tensor *tensor = pl_model.tensors + output->tensor;
        const int8_t *values = model_output(i);
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

static void infer(const char *arguments)
{
    const int32_t count = *arguments ? read_number(&arguments) : 1;
    const int32_t warmups = *arguments ? read_number(&arguments) : 0;
    if (count <= 0 || warmups < 0 || *arguments) {
        put_line("e-[Expected: infer N [W], N > 0, W >= 0]");
        return;
    }
    if (MODEL_RESIDENT && now.db_position < now.db_size) {
        put_line("e-[The input is not complete]");
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
    timestamp();
    for (int32_t i = 0; i < count; i++) {
        if (!infer_once()) {
            return;
        }
    }
    timestamp();
    put_line("m-infer-done");
    put_outputs(0);
}

static void db_load(const char *arguments)
{
    const int32_t bytes = read_number(&arguments);
    if (!MODEL_RESIDENT) {
        put_line("e-[The input is not resident: rows are asked for during infer]");
    } else if (bytes != MODEL_INPUT_BYTES || *arguments) {
        put_text("e-[Wrong number of bytes, expected ");
        put_unsigned(MODEL_INPUT_BYTES);
        put_line("]");
    } else {
        now.db_size = (uint32_t)bytes;
        now.db_position = 0;
        put_text("m-[Expecting ");
        put_unsigned(now.db_size);
        put_line(" bytes]");
    }
}

static void db_print(void)
{
    const int8_t *input = model_input();
    for (uint32_t i = 0; input && i < now.db_position; i++) {
        put_text(i % 8u ? "-" : "m-buffer-");
        put_hex((uint8_t)input[i], 2);
        if (i % 8u == 7u || i + 1u == now.db_position) {
            put_line("");
        }
    }
}

static void db_hex(int first_digit)
{
    if (!MODEL_RESIDENT || now.db_size == 0) {
        put_line("e-[Say db load first]");
        (void)skip_command(first_digit);
        return;
    }
    const uint32_t room = now.db_size - now.db_position;
    const int32_t came = read_hex(first_digit, model_input() + now.db_position, room);
    if (came >= 0) {
        now.inferred = 0;
        now.db_position += (uint32_t)came < room ? (uint32_t)came : room;
        if (now.db_position == now.db_size) {
            put_line("m-load-done");
        }
    }
}

static void operators(void)
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

static void self_test(void)
{
#if MODEL_GOLDEN > 0
    uint32_t passed = 0;
    for (uint32_t i = 0; i < MODEL_GOLDEN; i++) {
        const int8_t *expected = model_golden_outputs[i];
        int same = 1;
        if (MODEL_RESIDENT) {
            memcpy(model_input(), model_golden_inputs[i], MODEL_INPUT_BYTES);
        }
        now.image = model_golden_inputs[i];
        (void)infer_once();
        for (uint32_t k = 0; k < MODEL_OUTPUTS; k++) {
            const pl_tensor *tensor = pl_model.tensors + pl_outputs[k].tensor;
            const int32_t count = (int32_t)tensor->height * tensor->width * tensor->channels;
            const int8_t *values = model_output(k);
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

/* Arguments of `line` when it is the command `name`, else NULL. */
static const char *arguments_of(const char *line, const char *name)
{
    while (*name) {
        if (*line++ != *name++) {
            return NULL;
        }
    }
    if (*line != '\0' && *line != ' ') {
        return NULL;
    }
    while (*line == ' ') {
        line++;
    }
    return line;
}

static void execute(const char *line)
{
    const char *arguments;
    if (arguments_of(line, "name")) {
        put_line("m-name-patchline-[" MODEL_NAME "]");
    } else if (arguments_of(line, "timestamp")) {
        timestamp();
    } else if (arguments_of(line, "profile")) {
        put_line("m-profile-[Patchline]");
        put_line("m-model-[" MODEL_NAME "]");
    } else if (arguments_of(line, "help")) {
        for (uint32_t i = 0; i < sizeof commands / sizeof *commands; i++) {
            put_line(commands[i]);
        }
    } else if ((arguments = arguments_of(line, "infer")) != NULL) {
        infer(arguments);
    } else if (arguments_of(line, "results")) {
        put_outputs(0);
    } else if ((arguments = arguments_of(line, "db load")) != NULL) {
        db_load(arguments);
    } else if (arguments_of(line, "db print")) {
        db_print();
    } else if (arguments_of(line, "x-out") || arguments_of(line, "x-output")) {
        put_outputs(1);
    } else if (arguments_of(line, "x-cycles")) {
        put_pair_line("x-cycles-[", now.cycles, now.waited);
    } else if (arguments_of(line, "x-ops")) {
        operators();
    } else if (arguments_of(line, "x-stack")) {
        put_pair_line("x-stack-[", board_stack_used(), board_stack_size());
    } else if (arguments_of(line, "x-selftest")) {
        self_test();
    } else {
        put_line("e-[Unknown command]");
    }
}

static void receive(int c)
{
    if (c == '%') {
        now.line[now.length] = '\0';
        execute(now.line);
    } else if (c == '\r' || c == '\n') {
        return;
    } else if (now.length == 3 && memcmp(now.line, "db ", 3) == 0 && hex_digit(c) != HEX_BAD) {
        db_hex(c);
    } else if (now.length < LINE - 1) {
        now.line[now.length++] = (char)c;
        return;
    } else {
        put_line("e-[Command too long]");
        (void)skip_command(c);
    }
    now.length = 0;
    put_line("m-ready");
}

void protocol_run(void)
{
    put_line("m-timestamp-mode-performance");
    timestamp();
    put_line("m-init-done");
    put_line("m-ready");
    for (int c = board_get(); c >= 0; c = board_get()) {
        receive(c);
    }
}
