/* pl_block1..4 for ARMv7E-M; conv_block.c says the same in C.
 *
 * Two output channels times P pixels. Two inputs cost 1 + P loads, 2 SXTB16 and 2P SMLAD for 4P products:
 *
 *   pixels                            4      3      2      1
 *   Cortex-M4, cycles a product    17/16  13/12  19/16   13/8    back-to-back loads take 1 + their number
 *   Cortex-M7, cycles a product     9/16   7/12    5/8    3/4    loads stand between the products of the inputs before
 *
 * A round of the loop does 32 inputs and adds 5 cycles; the loop is entered where a whole number of rounds remains. A pair of
 * channels costs about 54 cycles beside its products (P = 4): 24 of them SMMLAR, SSAT and STRB, the rest pointers, biases and
 * multipliers. TFLite's rule takes 36 more.
 *
 * Registers: r0 x, r1 weights, r2 and r3 weight pairs (channel a, channel b), r4 and r5 inputs, r6-r9 sums of channel a, r10-r12
 * and lr sums of channel b. Fewer pixels leave sums free for inputs.
 */
#if defined(__ARM_FEATURE_DSP) && !defined(PL_PORTABLE)

    .syntax unified
    .thumb

#include "keep_armv7em.h"
#include "layouts.h"

#if PL_FPU_HOLDS
#define END s0
#else
#define END F_END
#endif

/* pl_block */
    .equ X, PL_BLOCK_X
    .equ WEIGHTS, PL_BLOCK_WEIGHTS
    .equ SCALE, PL_BLOCK_SCALE
    .equ OUT, PL_BLOCK_OUT
    .equ PAIR_BYTES, PL_BLOCK_PAIR_BYTES
    .equ OUT_STRIDE, PL_BLOCK_OUT_STRIDE
    .equ PAIRS, PL_BLOCK_PAIRS
    .equ FINISH, PL_BLOCK_FINISH
    .equ SHIFTS, PL_BLOCK_SHIFTS
    .equ ZERO, PL_BLOCK_ZERO

/* frame */
    .equ F_X, 0
    .equ F_END, 4       /* r0 when all inputs are done */
    .equ F_ENTRY, 8     /* into the loop */
    .equ F_SCALE, 12
    .equ F_OUT, 16
    .equ F_OUT_END, 20
    .equ F_STRIDE, 24
    .equ F_FINISH, 28
    .equ F_SHIFTS, 32
    .equ F_ODD, 36      /* 2 * zero point + 1 */
    .equ F_WEIGHTS, 40
    .equ F_SIZE, 44

    .equ ROUND, 8       /* groups of four inputs a round */
    .equ TFLITE, PL_FINISH_TFLITE

#if PL_DUAL_ISSUE

/* Loaded ahead: the word of weights and P inputs (2 of 4). `begin` does it for the first group. */
    .equ AHEAD4, 8
    .equ AHEAD3, 12
    .equ AHEAD2, 8
    .equ AHEAD1, 4
    .equ PEELED, 0

.macro begin4
    ldr     r3, [r1], #4
    ldr     r4, [r0], #4
    mov     r7, r6
    mov     r11, r10
    ldr     r5, [r0], #4
    mov     r8, r6
    mov     r12, r10
    mov     r9, r6
    mov     lr, r10
.endm

.macro step4
    sxtb16  r2, r3
    sxtb16  r3, r3, ror #8
    smlad   r6, r2, r4, r6
    smlad   r10, r3, r4, r10
    ldr     r4, [r0], #4
    smlad   r7, r2, r5, r7
    smlad   r11, r3, r5, r11
    ldr     r5, [r0], #4
    smlad   r12, r3, r4, r12
    smlad   r8, r2, r4, r8
    ldr     r4, [r0], #4
    smlad   lr, r3, r5, lr
    ldr     r3, [r1], #4
    smlad   r9, r2, r5, r9
    ldr     r5, [r0], #4
.endm

.macro begin3
    ldr     lr, [r1], #4
    ldr     r4, [r0], #4
    mov     r7, r6
    mov     r11, r10
    ldr     r5, [r0], #4
    mov     r8, r6
    mov     r12, r10
    ldr     r9, [r0], #4
.endm

.macro step3
    sxtb16  r2, lr
    sxtb16  r3, lr, ror #8
    smlad   r6, r2, r4, r6
    ldr     lr, [r1], #4
    smlad   r10, r3, r4, r10
    ldr     r4, [r0], #4
    smlad   r7, r2, r5, r7
    smlad   r11, r3, r5, r11
    ldr     r5, [r0], #4
    smlad   r8, r2, r9, r8
    smlad   r12, r3, r9, r12
    ldr     r9, [r0], #4
.endm

.macro begin2
    ldr     lr, [r1], #4
    ldr     r4, [r0], #4
    mov     r7, r6
    mov     r11, r10
    ldr     r5, [r0], #4
.endm

.macro step2
    sxtb16  r2, lr
    sxtb16  r3, lr, ror #8
    smlad   r6, r2, r4, r6
    ldr     lr, [r1], #4
    smlad   r10, r3, r4, r10
    ldr     r4, [r0], #4
    smlad   r7, r2, r5, r7
    smlad   r11, r3, r5, r11
    ldr     r5, [r0], #4
.endm

.macro begin1
    ldr     lr, [r1], #4
    ldr     r4, [r0], #4
.endm

.macro step1
    sxtb16  r2, lr
    sxtb16  r3, lr, ror #8
    ldr     lr, [r1], #4
    smlad   r6, r2, r4, r6
    smlad   r10, r3, r4, r10
    ldr     r4, [r0], #4
.endm

.macro group pixels
    step\pixels
    step\pixels
.endm

.macro end_of_sums
    subs    r1, #4
.endm

#else

    .equ AHEAD4, 0
    .equ AHEAD3, 0
    .equ AHEAD2, 0
    .equ AHEAD1, 0
    .equ PEELED, 1      /* the first group, whose sums begin with the biases in r6 and r10 */

.macro step4 a1=r7, a2=r8, a3=r9, b1=r11, b2=r12, b3=lr
    ldr     r3, [r1], #4
    ldr     r4, [r0, #4]
    ldr     r5, [r0, #8]
    sxtb16  r2, r3
    sxtb16  r3, r3, ror #8
    smlad   r7, r2, r4, \a1
    smlad   r11, r3, r4, \b1
    smlad   r8, r2, r5, \a2
    smlad   r12, r3, r5, \b2
    ldr     r4, [r0, #12]
    ldr     r5, [r0], #16
    smlad   r9, r2, r4, \a3
    smlad   lr, r3, r4, \b3
    smlad   r6, r2, r5, r6
    smlad   r10, r3, r5, r10
.endm

.macro begin4
    step4   r6, r6, r6, r10, r10, r10
    step4
.endm

.macro step3 a1=r7, a2=r8, b1=r11, b2=r12
    ldr     r3, [r1], #4
    ldr     r4, [r0, #4]
    ldr     r5, [r0, #8]
    ldr     r9, [r0], #12
    sxtb16  r2, r3
    sxtb16  r3, r3, ror #8
    smlad   r7, r2, r4, \a1
    smlad   r11, r3, r4, \b1
    smlad   r8, r2, r5, \a2
    smlad   r12, r3, r5, \b2
    smlad   r6, r2, r9, r6
    smlad   r10, r3, r9, r10
.endm

.macro begin3
    step3   r6, r6, r10, r10
    step3
.endm

/* Both steps of a group. */
.macro steps2 a1=r7, b1=r11
    ldr     r3, [r1], #4
    ldr     r9, [r1], #4
    ldr     r4, [r0, #4]
    ldr     r5, [r0, #8]
    ldr     r8, [r0, #12]
    ldr     r12, [r0], #16
    sxtb16  r2, r3
    sxtb16  r3, r3, ror #8
    smlad   r7, r2, r4, \a1
    smlad   r11, r3, r4, \b1
    smlad   r6, r2, r12, r6
    smlad   r10, r3, r12, r10
    sxtb16  r2, r9
    sxtb16  r3, r9, ror #8
    smlad   r6, r2, r5, r6
    smlad   r10, r3, r5, r10
    smlad   r7, r2, r8, r7
    smlad   r11, r3, r8, r11
.endm

.macro begin2
    steps2  r6, r10
.endm

.macro steps1
    ldr     r3, [r1], #4
    ldr     r9, [r1], #4
    ldr     r5, [r0, #4]
    ldr     r4, [r0], #8
    sxtb16  r2, r3
    sxtb16  r3, r3, ror #8
    smlad   r6, r2, r4, r6
    smlad   r10, r3, r4, r10
    sxtb16  r2, r9
    sxtb16  r3, r9, ror #8
    smlad   r6, r2, r5, r6
    smlad   r10, r3, r5, r10
.endm

.macro begin1
    steps1
.endm

.macro group pixels
.if \pixels > 2
    step\pixels
    step\pixels
.else
    steps\pixels
.endif
.endm

.macro end_of_sums
.endm

#endif

/* One channel of all pixels by TFLite's rule: r5 = -shift, r2 multiplier; r1 addend, r3 free. */
.macro tflite s0, s1, s2, s3, pixels
    rsbs    r5, r5, #0
    ldr     r1, [sp, #F_ODD]
    subs    r3, r5, #1
    lsls    r1, r3
    add     r3, r1, \s0, asr #31
    lsl     \s0, #1
    smmlar  \s0, \s0, r2, r3
.if \pixels > 1
    add     r3, r1, \s1, asr #31
    lsl     \s1, #1
    smmlar  \s1, \s1, r2, r3
.endif
.if \pixels > 2
    add     r3, r1, \s2, asr #31
    lsl     \s2, #1
    smmlar  \s2, \s2, r2, r3
.endif
.if \pixels > 3
    add     r3, r1, \s3, asr #31
    lsl     \s3, #1
    smmlar  \s3, \s3, r2, r3
.endif
    asr     \s0, r5
    ssat    \s0, #8, \s0
.if \pixels > 1
    asr     \s1, r5
    ssat    \s1, #8, \s1
.endif
.if \pixels > 2
    asr     \s2, r5
    ssat    \s2, #8, \s2
.endif
.if \pixels > 3
    asr     \s3, r5
    ssat    \s3, #8, \s3
.endif
.endm

/* Both channels of every pixel, r4 apart; r0 moves on to the next pair. */
.macro store pixels
.if \pixels > 2
    add     r2, r0, r4, lsl #1
.endif
.if \pixels > 1
    strb    r7, [r0, r4]
.endif
.if \pixels > 3
    strb    r9, [r2, r4]
.endif
    strb    r6, [r0], #1
.if \pixels > 2
    strb    r8, [r2], #1
.endif
.if \pixels > 1
    strb    r11, [r0, r4]
.endif
.if \pixels > 3
    strb    lr, [r2, r4]
.endif
    strb    r10, [r0], #1
.if \pixels > 2
    strb    r12, [r2]
.endif
.endm

.macro kernel pixels
    .section .text.pl_block\pixels, "ax", %progbits
    .global pl_block\pixels
    .type   pl_block\pixels, %function
    .thumb_func
    .balign 4
pl_block\pixels:
    push    {r4-r11, lr}
    sub     sp, #F_SIZE
    ldr     r1, [r0, #PAIR_BYTES]
    ldr     r2, [r0, #X]
    mov     r3, #\pixels
    mla     r3, r1, r3, r2
    adds    r3, #AHEAD\pixels
    str     r2, [sp, #F_X]
    keep    r3, END
    lsrs    r4, r1, #3          /* groups */
.if PEELED
    subs    r4, #1
.endif
    and     r4, #ROUND - 1
    adr.w   r5, 2f
    adr.w   r3, 3f
    subs    r5, r3, r5
    lsrs    r5, #3              /* bytes of code a group */
    adds    r3, #1              /* Thumb */
    mls     r4, r4, r5, r3
    ldr     r5, [r0, #SCALE]
    strd    r4, r5, [sp, #F_ENTRY]
    ldr     r3, [r0, #OUT]
    ldr     r4, [r0, #PAIRS]
    add     r4, r3, r4, lsl #1
    strd    r3, r4, [sp, #F_OUT]
    ldrd    r3, r4, [r0, #FINISH]
    ldr     r2, [r0, #OUT_STRIDE]
    str     r2, [sp, #F_STRIDE]
    strd    r3, r4, [sp, #F_FINISH]
    ldr     r3, [r0, #ZERO]
    lsls    r3, #1
    adds    r3, #1
    str     r3, [sp, #F_ODD]
    ldr     r1, [r0, #WEIGHTS]
1:
    ldr     r5, [sp, #F_SCALE]
    ldr     r0, [sp, #F_X]
    ldr     r6, [r5], #8
    ldr     r10, [r5], #8
    str     r5, [sp, #F_SCALE]  /* of the next pair */
    begin\pixels
    ldr     pc, [sp, #F_ENTRY]
    .balign 4
2:
    .rept ROUND
    group   \pixels
    .endr                       /* a multiple of 16 bytes */
3:
    take    r2, END
    cmp     r0, r2
    bne     2b
    end_of_sums
    ldr     r0, [sp, #F_OUT]
    ldr     r4, [sp, #F_STRIDE]
    ldr     r3, [sp, #F_SCALE]
    ldr     r5, [sp, #F_FINISH]
    ldr     r2, [r3, #-12]
    ldr     r3, [r3, #-4]
    cmp     r5, #TFLITE
    bge     5f
    smmlar  r6, r6, r2, r5
    smmlar  r10, r10, r3, r5
.if \pixels > 1
    smmlar  r7, r7, r2, r5
    ssat    r6, #8, r6
    smmlar  r11, r11, r3, r5
    ssat    r10, #8, r10
.else
    ssat    r6, #8, r6
    ssat    r10, #8, r10
.endif
.if \pixels > 2
    smmlar  r8, r8, r2, r5
    ssat    r7, #8, r7
    smmlar  r12, r12, r3, r5
    ssat    r11, #8, r11
.elseif \pixels == 2
    ssat    r7, #8, r7
    ssat    r11, #8, r11
.endif
.if \pixels > 3
    smmlar  r9, r9, r2, r5
    ssat    r8, #8, r8
    smmlar  lr, lr, r3, r5
    ssat    r12, #8, r12
    ssat    r9, #8, r9
    ssat    lr, #8, lr
.elseif \pixels == 3
    ssat    r8, #8, r8
    ssat    r12, #8, r12
.endif
4:
    ldr     r5, [sp, #F_OUT_END]
    store   \pixels
    str     r0, [sp, #F_OUT]
    cmp     r0, r5
    bne.w   1b
    add     sp, #F_SIZE
    pop     {r4-r11, pc}

5:  /* TFLite's rule, or raw */
    bgt     6f
    str     r1, [sp, #F_WEIGHTS]
    ldr     r1, [sp, #F_SHIFTS]
    ldrsb   r5, [r1], #2
    str     r1, [sp, #F_SHIFTS]
    tflite  r6, r7, r8, r9, \pixels
    ldr     r3, [sp, #F_SCALE]
    ldr     r1, [sp, #F_SHIFTS]
    ldr     r2, [r3, #-4]
    ldrsb   r5, [r1, #-1]
    tflite  r10, r11, r12, lr, \pixels
    ldr     r1, [sp, #F_WEIGHTS]
    b       4b

6:  /* the sums of one pair: [channel][pixel] */
    str     r6, [r0], #4
.if \pixels > 1
    str     r7, [r0], #4
.endif
.if \pixels > 2
    str     r8, [r0], #4
.endif
.if \pixels > 3
    str     r9, [r0], #4
.endif
    str     r10, [r0], #4
.if \pixels > 1
    str     r11, [r0], #4
.endif
.if \pixels > 2
    str     r12, [r0], #4
.endif
.if \pixels > 3
    str     lr, [r0], #4
.endif
    add     sp, #F_SIZE
    pop     {r4-r11, pc}
    .size   pl_block\pixels, . - pl_block\pixels
.endm

    kernel  1
    kernel  2
    kernel  3
    kernel  4

#endif
