/* What the protocol and the start-up code need of a board. One line of an UART, one free-running counter. */
#ifndef PATCHLINE_BOARD_H
#define PATCHLINE_BOARD_H

#include <stdint.h>

/* Hook for a real board's clock tree and pins; nothing by default, which is right for every emulator. */
void board_setup(void);

void board_uart_init(void);
void board_put(char c);
int board_get(void); /* waits; below 0 when the line is gone (host builds only) */

uint32_t board_cycles(void); /* free-running, wraps */
uint32_t board_micros(void); /* since the start, without pauses */
/* The clock of board_micros stands still between the two; `pause` returns what `resume` wants. */
uint32_t board_clock_pause(void);
void board_clock_resume(uint32_t paused);

uint32_t board_stack_used(void); /* bytes of the painted stack ever written */
uint32_t board_stack_size(void);

/* Fetches columns [x0, x1) of input row y over the UART. Emulators may take this call over and write the pixels directly:
 * the arguments are all it gets, and it returns nothing. Weak, so that a camera can replace it. */
void board_read_row(uint32_t y, uint32_t x0, uint32_t x1, int8_t *to);

/* One inference, from the first row asked for to the last output. */
void pl_infer(void);

/* The end of a firmware that met a fault. */
_Noreturn void board_halt(void);

#endif
