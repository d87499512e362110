/* Arm's CMSDK APB UART: DATA, STATE, CTRL, BAUDDIV. */
#include "board.h"
#include "board_config.h"

#define REGISTER(offset) (*(volatile uint32_t *)(BOARD_UART_BASE + (offset)))

void board_uart_init(void)
{
    REGISTER(0x10u) = BOARD_CLOCK_HZ / BOARD_UART_BAUD;
    REGISTER(0x08u) = 1u << 1 | 1u; /* receive, transmit */
    (void)REGISTER(0x00u);          /* empties the receiver; QEMU looks at its input again only after such a read */
}

void board_put(char c)
{
    while (REGISTER(0x04u) & 1u) {
    }
    REGISTER(0x00u) = (uint8_t)c;
}

int board_get(void)
{
    while (!(REGISTER(0x04u) & 1u << 1)) {
    }
    return (int)(REGISTER(0x00u) & 0xffu);
}
