/* USART of the STM32F4: SR, DR, BRR, CR1. */
#include "board.h"
#include "board_config.h"

#define REGISTER(offset) (*(volatile uint32_t *)(BOARD_UART_BASE + (offset)))

void board_uart_init(void)
{
    REGISTER(0x08u) = BOARD_CLOCK_HZ / BOARD_UART_BAUD;
    REGISTER(0x0cu) = 1u << 13 | 1u << 3 | 1u << 2; /* enable, transmit, receive */
}

void board_put(char c)
{
    while (!(REGISTER(0x00u) & 1u << 7)) {
    }
    REGISTER(0x04u) = (uint8_t)c;
}

int board_get(void)
{
    while (!(REGISTER(0x00u) & 1u << 5)) {
    }
    return (int)(REGISTER(0x04u) & 0xffu);
}
