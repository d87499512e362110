/* The serial protocol: MLPerf Tiny's (EEMBC) commands and some of our own; docs/serial-protocol.md.
 *
 * Commands end in '%'. Whatever comes in, the device answers and is ready for the next command.
 */
#include "protocol.h"

#include <string.h>

#include "board.h"
#include "inference.h"
#include "input.h"
#include "model_config.h"
#include "text.h"

enum { LINE = 28 }; /* the longest right one: infer 100000000 100000000 */

static struct {
    char text[LINE];
    uint8_t length;
} line;

typedef struct {
    const char *name;
    const char *help; /* what follows the name */
    void (*run)(void);
    void (*run_with)(const char *arguments); /* instead of `run` */
} command;

static void put_name(void)
{
    put_line("m-name-dut-[Patchline]"); /* MLPerf Tiny's runner asks for this form */
}

static void put_profile(void)
{
    put_line("m-profile-[Patchline]");
    put_line("m-model-[" MODEL_NAME "]");
}

static void put_stack(void)
{
    put_pair_line("x-stack-[", board_stack_used(), board_stack_size());
}

static void put_help(void);

static const command commands[] = {
    {"help", "          : Print this information", put_help, NULL},
    {"name", "          : Print the name of the device", put_name, NULL},
    {"timestamp", "     : Print a timestamp", put_timestamp, NULL},
    {"profile", "       : Print firmware and model", put_profile, NULL},
    {"db load", " N     : Expect N bytes of input; db HH[HH]* loads them", NULL, db_load},
    {"db print", "      : Print the input", db_print, NULL},
    {"infer", " N [W=0] : N inferences after W warm-up ones", NULL, infer},
    {"results", "       : Print the last result", put_results, NULL},
    {"x-load", " N      : As db load, for int8 values as the network reads them", NULL, load_stored},
    {"x-out", "         : Print the int8 outputs", put_stored_outputs, NULL},
    {"x-cycles", "      : Ticks of the last inference, ticks of waiting for rows in them", put_cycles, NULL},
    {"x-ops", "         : Firings and ticks of every operator (profile build)", put_operators, NULL},
    {"x-stack", "       : Bytes of stack used and reserved", put_stack, NULL},
    {"x-selftest", "    : Check stored images, if the firmware has any", self_test, NULL},
};

#define COMMANDS_END (commands + sizeof commands / sizeof *commands)

static void put_help(void)
{
    for (const command *each = commands; each < COMMANDS_END; each++) {
        put_text(each->name);
        put_line(each->help);
    }
}

/* Arguments of the line when it is the command `name`, else NULL. */
static const char *arguments_of(const char *name)
{
    const char *at = line.text;
    while (*name) {
        if (*at++ != *name++) {
            return NULL;
        }
    }
    if (*at != '\0' && *at != ' ') {
        return NULL;
    }
    while (*at == ' ') {
        at++;
    }
    return at;
}

static void execute(void)
{
    for (const command *each = commands; each < COMMANDS_END; each++) {
        const char *arguments = arguments_of(each->name);
        if (arguments) {
            if (each->run_with) {
                each->run_with(arguments);
            } else if (*arguments) {
                put_line("e-[This command takes no arguments]");
            } else {
                each->run();
            }
            return;
        }
    }
    put_line("e-[Unknown command]");
}

static void receive(int c)
{
    if (c == '%') {
        line.text[line.length] = '\0';
        execute();
    } else if (line.length == 3 && memcmp(line.text, "db ", 3) == 0 && is_hex_digit(c)) {
        if (db_hex(c)) {
            forget_outputs();
        }
    } else if (line.length < LINE - 1) {
        line.text[line.length++] = c >= ' ' && c <= '~' ? (char)c : '?'; /* a NUL must not end a command early */
        return;
    } else {
        put_line("e-[Command too long]");
        (void)skip_command(c);
    }
    line.length = 0;
    put_line("m-ready");
}

void protocol_run(void)
{
    put_line("m-timestamp-mode-performance");
    put_timestamp();
    put_line("m-init-done");
    put_line("m-ready");
    for (int c = get_char(); c >= 0; c = get_char()) {
        receive(c);
    }
}
