/* Feeds the command loop with right and wrong input and checks every answer:
 *
 *     fuzz SEED INPUTS
 *
 * After every input the device must still say its name. The same seed gives the same inputs.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "board.h"
#include "fuzz_input.h"
#include "fuzz_rules.h"
#include "inference.h"
#include "model_config.h"
#include "protocol.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

enum { SECONDS = 60, PROGRESS = 1000000 }; /* for 1,000 inputs; inputs a line of progress */
enum { TOO_MUCH = 3 * MODEL_ARENA_BYTES }; /* digits */

static fuzz_input input;
static unsigned long seed, inputs, number; /* the input at hand, from 1 */

static const unsigned char *feed; /* what the device reads now: one command up to its '%' */
static size_t feed_length, fed;
static size_t taken; /* bytes of the input that the device has had */
static int probed;   /* the device has been asked for its name */
static int generous; /* rows are answered */
static int booted, ended;

static char answer[FUZZ_ANSWER_BYTES];
static size_t answer_length;

static void print_escaped(const void *bytes, size_t length)
{
    for (size_t i = 0; i < length && i < 2000; i++) {
        const unsigned char c = ((const unsigned char *)bytes)[i];
        fprintf(stderr, c >= ' ' && c <= '~' && c != '\\' ? "%c" : "\\x%02x", c);
    }
    fputc('\n', stderr);
}

static void explain(void)
{
    fprintf(stderr, "seed %lu, input %lu (%zu bytes): ", seed, number, input.length);
    print_escaped(input.bytes, input.length);
    fprintf(stderr, "command: ");
    print_escaped(feed, feed_length);
    fprintf(stderr, "answer: ");
    print_escaped(answer, answer_length);
}

static void fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    explain();
    _exit(1);
}

static void out_of_time(int signal_number)
{
    (void)signal_number;
    fail("the device hangs");
}

static void give(const void *bytes, size_t length)
{
    feed = bytes;
    feed_length = length;
    fed = 0;
}

static void next_input(void)
{
    number++;
    taken = 0;
    probed = 0;
    fuzz_next(&input);
    if (input.length == sizeof input.bytes || (input.length && input.bytes[input.length - 1] != '%')) {
        input.length -= input.length == sizeof input.bytes;
        input.bytes[input.length++] = '%';
    }
    generous = fuzz_random(&input, 4) > 0;
    if (number % 1000 == 0) {
        alarm(SECONDS);
    }
    if (number % PROGRESS == 0) {
        printf("%lu of %lu inputs\n", number, inputs);
        fflush(stdout);
    }
}

/* Chooses what the device reads next. At the end the line breaks in the middle of a command. */
static void next_command(void)
{
    static char row[8 + 2 * MODEL_INPUT_WIDTH * MODEL_INPUT_CHANNELS + TOO_MUCH];
    while (1) {
        if (fuzz_row_expected() && generous && fuzz_random(&input, 32)) {
            size_t length = fuzz_right_row(row);
            if (fuzz_random(&input, 64) == 0) {
                const uint32_t more = fuzz_random(&input, TOO_MUCH);
                memset(row + length, 'a', more);
                length += more;
            }
            row[length] = '%';
            give(row, length + 1);
        } else if (taken < input.length) {
            const unsigned char *start = input.bytes + taken;
            const unsigned char *end = memchr(start, '%', input.length - taken);
            taken += (size_t)(end - start) + 1;
            give(start, (size_t)(end - start) + 1);
        } else if (fuzz_row_expected()) {
            give("%", 1);
        } else if (!probed) {
            probed = 1;
            give("name%", 5);
        } else if (number < inputs) {
            next_input();
            continue;
        } else {
            ended = 1;
            give("db 0", 4);
            return;
        }
        if (fuzz_expect(feed, feed_length - 1)) {
            return;
        }
    }
}

int board_get(void)
{
    if (fed == feed_length) {
        if (ended) {
            return -1;
        }
        answer[answer_length] = '\0';
        const char *wrong = booted ? fuzz_check(answer) : NULL;
        if (wrong) {
            fail(wrong);
        }
        booted = 1;
        next_command();
        answer_length = 0;
    }
    return feed[fed++];
}

void board_put(char c)
{
    if (answer_length == sizeof answer - 1) {
        fail("the answer does not end");
    }
    answer[answer_length++] = c;
}

uint32_t board_cycles(void)
{
    static uint32_t cycles;
    return cycles += 17;
}

uint32_t board_micros(void)
{
    return board_cycles() / 100u;
}

uint32_t board_clock_pause(void)
{
    return board_cycles();
}

void board_clock_resume(uint32_t paused)
{
    (void)paused;
}

uint32_t board_stack_used(void)
{
    return 512;
}

uint32_t board_stack_size(void)
{
    return 1024;
}

/* The objects are those of the traced host program: nothing of it is wanted here. */
void pl_trace_step(const pl_context *context, uint32_t first, uint32_t end)
{
    (void)context;
    (void)first;
    (void)end;
}

void pl_trace_before(const pl_context *context, uint32_t index)
{
    (void)context;
    (void)index;
}

void pl_trace_row(const pl_context *context, uint32_t index, int32_t y, int32_t x0, int32_t count, const int8_t *row)
{
    (void)context;
    (void)index;
    (void)y;
    (void)x0;
    (void)count;
    (void)row;
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: %s SEED INPUTS\n", arguments[0]);
        return 2;
    }
    seed = strtoul(arguments[1], NULL, 10);
    inputs = strtoul(arguments[2], NULL, 10);
    input.random = seed;
    probed = 1;
    (void)signal(SIGALRM, out_of_time);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_death_callback(explain);
#endif
    alarm(SECONDS);
    fuzz_rules_start();
    inference_init();
    protocol_run();
    printf("inputs %lu commands %lu accepted %lu refused %lu rows %lu inferences %lu\n", number,
           (unsigned long)fuzz_count.commands, (unsigned long)fuzz_count.accepted, (unsigned long)fuzz_count.refused,
           (unsigned long)fuzz_count.rows, (unsigned long)fuzz_count.inferences);
    return 0;
}
