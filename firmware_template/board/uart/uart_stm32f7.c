/* USART of the STM32F7, H7 and L4: CR1, BRR, ISR, ICR, RDR, TDR. */
#include "board.h"
#include "board_config.h"

#define REGISTER(offset) (*(volatile uint32_t *)(BOARD_UART_BASE + (offset)))

void board_uart_init(void)
{
    REGISTER(0x0cu) = BOARD_CLOCK_HZ / BOARD_UART_BAUD;
    REGISTER(0x00u) = 1u << 3 | 1u << 2 | 1u; /* transmit, receive, enable */
}

void board_put(char c)
{
    while (!(REGISTER(0x1cu) & 1u << 7)) {
    }
    REGISTER(0x28u) = (uint8_t)c;
}

int board_get(void)
{
    while (!(REGISTER(0x1cu) & 1u << 5)) {
        REGISTER(0x20u) = 1u << 3; /* an overrun would stop the receiver */
    }
    return (int)(REGISTER(0x24u) & 0xffu);
}
