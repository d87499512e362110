/* Reset, exceptions, clock counter and stack of an Armv7E-M core. */
#include <stdint.h>
#include <string.h>

#include "board.h"
#include "board_config.h"
#include "inference.h"
#include "protocol.h"
#include "text.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define STACK_PAINT 0xa5a5a5a5u

enum { MICROS = BOARD_CLOCK_HZ / 1000000u };

/* board.ld */
extern uint32_t pl_stack_bottom[], pl_stack_top[], pl_data_start[], pl_data_end[], pl_bss_start[], pl_bss_end[];
extern const uint32_t pl_data_load[];

void Reset_Handler(void);
void pl_start(void);
void pl_exception(void);
void pl_report_fault(const uint32_t *frame);

/* What happened; a debugger or emulator reads it by name. */
typedef struct {
    uint32_t exception; /* number of the exception, 0: none */
    uint32_t pc;
    uint32_t address; /* of the data access, where the core knows it */
    uint32_t status;  /* CFSR */
    uint32_t op;
} pl_fault_record;

extern pl_fault_record pl_fault;
pl_fault_record pl_fault;

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    pl_stack_top,           (const void *)Reset_Handler, (const void *)pl_exception, (const void *)pl_exception,
    (const void *)pl_exception, (const void *)pl_exception, (const void *)pl_exception, NULL,
    NULL,                   NULL,                        NULL,                       (const void *)pl_exception,
    (const void *)pl_exception, NULL,                    (const void *)pl_exception, (const void *)pl_exception,
};

/* Paints the stack before anything uses it. */
__attribute__((naked, noreturn)) void Reset_Handler(void)
{
    __asm__("ldr r0, =pl_stack_bottom\n"
            "ldr r1, =pl_stack_top\n"
            "ldr r2, =0xa5a5a5a5\n"
            "1: str r2, [r0], #4\n"
            "cmp r0, r1\n"
            "blo 1b\n"
            "b pl_start\n"
            ".ltorg\n");
}

/* The stack may be what failed: report on a fresh one. */
__attribute__((naked, noreturn)) void pl_exception(void)
{
    __asm__("mov r0, sp\n"
            "ldr r1, =pl_stack_top\n"
            "mov sp, r1\n"
            "b pl_report_fault\n"
            ".ltorg\n");
}

__attribute__((noinline)) _Noreturn void board_halt(void)
{
    for (;;) {
        __asm__ volatile("");
    }
}

void pl_report_fault(const uint32_t *frame)
{
    const uintptr_t below_top = (uintptr_t)pl_stack_top - (uintptr_t)frame; /* wraps below the bottom */
    const int readable = below_top >= 32u && below_top <= board_stack_size();
    pl_fault.status = REGISTER(0xe000ed28u);
    pl_fault.exception = REGISTER(0xe000ed04u) & 0x1ffu;
    pl_fault.address = pl_fault.status & 0x80u ? REGISTER(0xe000ed34u) : pl_fault.status & 0x8000u ? REGISTER(0xe000ed38u) : 0;
    pl_fault.pc = readable ? frame[6] : 0;
    pl_fault.op = inference_context()->op;
    put_text("\r\ne-[fault ");
    put_unsigned(pl_fault.exception);
    put_text(" pc=0x");
    put_hex(pl_fault.pc, 8);
    put_text(" address=0x");
    put_hex(pl_fault.address, 8);
    put_text(" op=");
    put_signed(pl_fault.op >= PL_AWAITS_ROW ? -1 : (int32_t)pl_fault.op);
    put_text("]\r\n");
    board_halt();
}

/* ---- time ------------------------------------------------------------------------------------------------------ */

#ifdef BOARD_CMSDK_TIMER
#define TIMER 0x40000000u

static void counter_init(void)
{
    REGISTER(TIMER + 8u) = 0xffffffffu;
    REGISTER(TIMER + 4u) = 0xffffffffu;
    REGISTER(TIMER) = 1u;
}

uint32_t board_cycles(void)
{
    return 0xffffffffu - REGISTER(TIMER + 4u);
}

#else

static void counter_init(void)
{
    REGISTER(0xe000edfcu) |= 1u << 24;       /* DEMCR: trace on */
    REGISTER(0xe0001fb0u) = 0xc5acce55u;     /* DWT lock, Cortex-M7 */
    REGISTER(0xe0001004u) = 0;
    REGISTER(0xe0001000u) |= 1u;
}

uint32_t board_cycles(void)
{
    return REGISTER(0xe0001004u);
}

#endif

static struct {
    uint32_t micros;
    uint32_t counted; /* the counter's value that `micros` stands for */
} clock;

uint32_t board_micros(void)
{
    const uint32_t whole = (board_cycles() - clock.counted) / MICROS;
    clock.counted += whole * MICROS;
    clock.micros += whole;
    return clock.micros;
}

uint32_t board_clock_pause(void)
{
    (void)board_micros();
    return board_cycles();
}

void board_clock_resume(uint32_t paused)
{
    clock.counted += board_cycles() - paused;
}

/* ---- stack ----------------------------------------------------------------------------------------------------- */

uint32_t board_stack_size(void)
{
    return (uint32_t)((uintptr_t)pl_stack_top - (uintptr_t)pl_stack_bottom);
}

uint32_t board_stack_used(void)
{
    const volatile uint32_t *words = pl_stack_bottom;
    uint32_t clean = 0;
    while (clean < board_stack_size() && words[clean / 4u] == STACK_PAINT) {
        clean += 4u;
    }
    return board_stack_size() - clean;
}

/* ---- start ----------------------------------------------------------------------------------------------------- */

__attribute__((weak)) void board_setup(void)
{
}

static void core_init(void)
{
#if BOARD_FPU
    REGISTER(0xe000ed88u) |= 0xfu << 20; /* CPACR */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
#if BOARD_CORTEX_M7
    REGISTER(0xe000ef50u) = 0; /* ICIALLU */
    __asm__ volatile("dsb\n isb" ::: "memory");
    REGISTER(0xe000ed14u) |= 1u << 17; /* CCR.IC */
    __asm__ volatile("dsb\n isb" ::: "memory");
    REGISTER(0xe000ed84u) = 0; /* CSSELR: the L1 data cache */
    __asm__ volatile("dsb" ::: "memory");
    const uint32_t size = REGISTER(0xe000ed80u);
    const uint32_t sets = size >> 13 & 0x7fffu;
    const uint32_t ways = size >> 3 & 0x3ffu;
    for (uint32_t set = 0; set <= sets; set++) {
        for (uint32_t way = 0; way <= ways; way++) {
            REGISTER(0xe000ef60u) = way << 30 | set << 5; /* DCISW; 4 ways of lines of 32 bytes */
        }
    }
    __asm__ volatile("dsb" ::: "memory");
    REGISTER(0xe000ed14u) |= 1u << 16; /* CCR.DC */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
}

void pl_start(void)
{
    memcpy(pl_data_start, pl_data_load, (size_t)((uintptr_t)pl_data_end - (uintptr_t)pl_data_start));
    memset(pl_bss_start, 0, (size_t)((uintptr_t)pl_bss_end - (uintptr_t)pl_bss_start));
    inference_init();
    core_init();
    board_setup();
    counter_init();
    board_uart_init();
    protocol_run();
    board_halt();
}
