/* What the network sees: a resident image that is loaded in pieces, or rows that the device asks for.
 *
 * Hexadecimal data is decoded as it arrives, straight to where it belongs, so no line buffer is needed for it.
 */
#include "input.h"

#include <stddef.h>

#include "board.h"
#include "inference.h"
#include "model_config.h"
#include "text.h"

enum { HEX_BAD = -1 };

enum { UNTOUCHED, EXPECTED, REFUSED }; /* what `db load` or `x-load` said last */

static struct {
    uint32_t position; /* bytes that came */
    uint8_t state;
    uint8_t stored; /* they come as the network reads them (x-load), not as the input contract says (db load) */
} db;

pl_rows pl_rows_read;

static int hex_digit(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : HEX_BAD;
}

int is_hex_digit(int c)
{
    return hex_digit(c) != HEX_BAD;
}

int skip_command(int c)
{
    while (c >= 0 && c != '%') {
        c = get_char();
    }
    return c;
}

/* Decodes hex digits up to '%' into at most `room` bytes: int8 values as they are `stored`, or what the input contract makes of them;
 * `c` is the first. Returns the bytes that came, or -1 after reporting what is wrong. The whole command is consumed either way. */
static int32_t read_hex(int c, int8_t *to, uint32_t room, int stored)
{
    uint32_t digits = 0;
    int high = 0;
    for (; c >= 0 && c != '%'; c = get_char()) {
        const int digit = hex_digit(c);
        if (digit == HEX_BAD) {
            put_line("e-[Invalid hex digit]");
            (void)skip_command(c);
            return -1;
        }
        if (digits & 1u) {
            if (digits / 2u < room) {
                const int byte = high << 4 | digit;
                to[digits / 2u] = stored ? (int8_t)byte : MODEL_INPUT_OF(byte);
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

static void refuse_size(uint32_t expected)
{
    put_text("e-[Wrong number of bytes, expected ");
    put_unsigned(expected);
    put_line("]");
}

/* ---- rows on demand -------------------------------------------------------------------------------------------- */

/* 0 where the answer is not what was asked for; it is reported and skipped. */
static int ask_for_row(uint32_t y, uint32_t x0, uint32_t x1, int8_t *to)
{
    static const char expected[] = "row ";
    const uint32_t bytes = (x1 - x0) * MODEL_INPUT_CHANNELS;
    put_text("x-row-[");
    put_unsigned(y);
    board_put(',');
    put_pair_line("", x0, x1);
    int c = get_char();
    for (uint32_t i = 0; i < sizeof expected - 1; i++) {
        if (c != expected[i]) {
            put_line("e-[Expected 'row' and the bytes of the row]");
            (void)skip_command(c);
            return 0;
        }
        c = get_char();
    }
    const int32_t came = read_hex(c, to, bytes, 1);
    if (came >= 0 && (uint32_t)came != bytes) {
        refuse_size(bytes);
    }
    return (uint32_t)came == bytes;
}

__attribute__((weak, noinline)) void board_read_row(uint32_t y, uint32_t x0, uint32_t x1, int8_t *to)
{
    const uint32_t start = board_cycles(); /* first and last: all of this call is waiting, also keeping the clock */
    const uint32_t paused = board_clock_pause();
    pl_rows_read.failed = !ask_for_row(y, x0, x1, to);
    board_clock_resume(paused);
    pl_rows_read.waited += board_cycles() - start;
}

/* ---- resident image -------------------------------------------------------------------------------------------- */

const char *input_missing(void)
{
    if (db.state == REFUSED) {
        if (MODEL_RESIDENT) {
            return "e-[The input was refused: load it again]";
        }
        db.state = UNTOUCHED; /* said once: rows can still be asked for */
        return "e-[The input was refused: compile with --input resident, or answer the requests for rows]";
    }
    return db.state == EXPECTED && db.position < MODEL_INPUT_BYTES ? "e-[The input is not complete]" : NULL;
}

void forget_input(void)
{
    db.position = 0;
}

static void expect(const char *arguments, uint8_t stored)
{
    const int32_t bytes = read_number(&arguments);
    db.state = REFUSED;
    db.position = 0;
    if (!MODEL_RESIDENT) {
        put_line("e-[The input is not resident: compile with --input resident]");
    } else if (bytes != MODEL_INPUT_BYTES || *arguments) {
        refuse_size(MODEL_INPUT_BYTES);
    } else {
        db.state = EXPECTED;
        db.stored = stored;
        put_text("m-[Expecting ");
        put_unsigned(MODEL_INPUT_BYTES);
        put_line(" bytes]");
    }
}

void db_load(const char *arguments)
{
    expect(arguments, 0);
}

void load_stored(const char *arguments)
{
    expect(arguments, 1);
}

/* The byte that gives `value`. */
static uint32_t sent(int8_t value)
{
    uint32_t byte = 0;
    if (db.stored) {
        return (uint8_t)value;
    }
    while (byte < 255u && MODEL_INPUT_OF(byte) != value) {
        byte++;
    }
    return byte;
}

void db_print(void)
{
    const int8_t *input = inference_input();
    for (uint32_t i = 0; input && i < db.position; i++) {
        put_text(i % 8u ? "-" : "m-buffer-");
        put_hex(sent(input[i]), 2);
        if (i % 8u == 7u || i + 1u == db.position) {
            put_line("");
        }
    }
}

int db_hex(int first_digit)
{
    if (db.state != EXPECTED) {
        put_line("e-[Say db load first]");
        (void)skip_command(first_digit);
        return 0;
    }
    const uint32_t room = MODEL_INPUT_BYTES - db.position;
    const int32_t came = read_hex(first_digit, inference_input() + db.position, room, db.stored);
    if (came > (int32_t)room) {
        refuse_size(room);
    } else if (came >= 0) {
        db.position += (uint32_t)came;
        if (db.position == MODEL_INPUT_BYTES) {
            put_line("m-load-done");
        }
    }
    return 1;
}
