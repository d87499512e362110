/* pl_add_blocks and pl_add_tflite_blocks for ARMv7E-M; elementwise.c says the same in C.
 *
 * The output may lie on top of an input: every value is written after those of its group were read.
 */
#if defined(__ARM_FEATURE_DSP) && !defined(PL_PORTABLE)

    .syntax unified
    .thumb

#include "layouts.h"

/* r0 a, r1 b, r2 output, r3 its end, r4 and r5 multipliers, r6 offset, r7 shift.
 *
 * Cortex-M4: six loads for three values 7, 2 MLA, ASR, SSAT and STRB each: 66 cycles for a round of eight
 * values.
 */
    .equ BLOCK, PL_ADD_BLOCK

.macro sum a, b
    mla     \a, \a, r4, r6
    mla     \a, \b, r5, \a
.endm

.macro finish a, place
    asr     \a, \a, r7
    ssat    \a, #8, \a
    strb    \a, [r2, #\place]
.endm

.macro three place
    ldrsb   r8, [r0, #\place]
    ldrsb   r9, [r0, #\place + 1]
    ldrsb   r10, [r0, #\place + 2]
    ldrsb   r11, [r1, #\place]
    ldrsb   r12, [r1, #\place + 1]
    ldrsb   lr, [r1, #\place + 2]
    sum     r8, r11
    sum     r9, r12
    sum     r10, lr
    finish  r8, \place
    finish  r9, \place + 1
    finish  r10, \place + 2
.endm

    .section .text.pl_add_blocks, "ax", %progbits
    .global pl_add_blocks
    .type   pl_add_blocks, %function
    .thumb_func
    .balign 4
pl_add_blocks:
    push    {r4-r11, lr}
    ldm     r0, {r0-r7}
1:
    three   0
    three   3
    ldrsb   r8, [r0, #6]
    ldrsb   r9, [r0, #7]
    ldrsb   r11, [r1, #6]
    ldrsb   r12, [r1, #7]
    sum     r8, r11
    sum     r9, r12
    finish  r8, 6
    finish  r9, 7
    adds    r0, #BLOCK
    adds    r1, #BLOCK
    adds    r2, #BLOCK
    cmp     r2, r3
    bne     1b
    pop     {r4-r11, pc}
    .size   pl_add_blocks, . - pl_add_blocks

/* r0 a, r1 b, r2 output, r3 offset of a, r4-r7 offset, multiplier, half and shift of b, r8-r10 multiplier, addend and shift.
 *
 * Cortex-M4: two loads 3, 6 instructions for the sum, 5 for the output: 14 cycles a value, 9 more for a
 * round of eight.
 */
.macro value place
    ldrsb   r11, [r1, #\place]
    ldrsb   r12, [r0, #\place]
    add     r11, r4, r11, lsl #21
    add     lr, r6, r11, asr #31
    smmlar  r11, r11, r5, lr
    add     r12, r3, r12, lsl #20
    asr     r11, r11, r7
    add     r12, r12, r11, lsl #1
    add     r11, r9, r12, asr #31
    smmlar  r12, r12, r8, r11
    asr     r12, r12, r10
    ssat    r12, #8, r12
    strb    r12, [r2, #\place]
.endm

    .section .text.pl_add_tflite_blocks, "ax", %progbits
    .global pl_add_tflite_blocks
    .type   pl_add_tflite_blocks, %function
    .thumb_func
    .balign 4
pl_add_tflite_blocks:
    push    {r4-r11, lr}
    ldr     r12, [r0, #PL_ADD_TFLITE_END]
    push    {r12}
    ldm     r0, {r0-r10}
1:
    value   0
    value   1
    value   2
    value   3
    value   4
    value   5
    value   6
    value   7
    ldr     r12, [sp]
    adds    r0, #BLOCK
    adds    r1, #BLOCK
    adds    r2, #BLOCK
    cmp     r2, r12
    bne     1b
    add     sp, #4
    pop     {r4-r11, pc}
    .size   pl_add_tflite_blocks, . - pl_add_tflite_blocks

#endif
