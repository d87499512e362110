/* pl_block1..4 and pl_block1_raw..4_raw for ARMv7E-M; conv_block.c says the same in C.
 *
 * Two output channels times P pixels. Per two inputs: 1 + P loads, 2 SXTB16 and 2P SMLAD for 4P products. With P = 4 on a
 * Cortex-M4 that is 4 + 2 + 4 + 3 + 4 = 17 cycles (back-to-back loads take 1 + their number) for 16 products. The loop does 16
 * inputs a round and adds 6 cycles to 136. A pair of channels costs about 45 cycles beside its products: bias and
 * multiplier, 2P SMMLAR, 2P SSAT, 2P STRB.
 *
 * Registers: r0 x, r1 weights, r2 and r3 weight pairs (channel a, channel b), r4 and r5 inputs, r6-r9 sums of channel a,
 * r10-r12 and lr sums of channel b.
 */
#if defined(__ARM_FEATURE_DSP) && !defined(PL_PORTABLE)

    .syntax unified
    .thumb

/* pl_block */
    .equ X, 0
    .equ WEIGHTS, 4
    .equ SCALE, 8
    .equ OUT, 12
    .equ PAIR_BYTES, 16
    .equ OUT_STRIDE, 20
    .equ PAIRS, 24
    .equ ZERO, 28

/* frame */
    .equ F_END, 0       /* of this pair's weights */
    .equ F_WEIGHTS, 4   /* of the next pair */
    .equ F_SCALE, 8
    .equ F_OUT, 12
    .equ F_LEFT, 16     /* pairs to do */
    .equ F_BLOCK, 20
    .equ F_BYTES, 24

/* Two inputs of every pixel. */
.macro products pixels
    ldr     r3, [r1], #4
    ldr     r4, [r0], #4
.if \pixels > 1
    ldr     r5, [r0], #4
.endif
    sxtb16  r2, r3
    sxtb16  r3, r3, ror #8
    smlad   r6, r2, r4, r6
    smlad   r10, r3, r4, r10
.if \pixels > 1
    smlad   r7, r2, r5, r7
    smlad   r11, r3, r5, r11
.endif
.if \pixels > 2
    ldr     r4, [r0], #4
.if \pixels > 3
    ldr     r5, [r0], #4
.endif
    smlad   r8, r2, r4, r8
    smlad   r12, r3, r4, r12
.if \pixels > 3
    smlad   r9, r2, r5, r9
    smlad   lr, r3, r5, lr
.endif
.endif
.endm

/* Sums of one pair of channels: r1 = weights, r5 = scale, r6 = the pair's end of weights on entry. */
.macro sums pixels
    ldr     r10, [r5, #8]
    str     r6, [sp, #F_END]
    ldr     r6, [r5]
.if \pixels > 1
    mov     r7, r6
    mov     r11, r10
.endif
.if \pixels > 2
    mov     r8, r6
    mov     r12, r10
.endif
.if \pixels > 3
    mov     r9, r6
    mov     lr, r10
.endif
    /* 16 inputs a round; the first round begins where a whole number of rounds remains */
    ldr     r4, [sp, #F_BYTES]
    lsls    r4, r4, #28         /* carry: two fours more, negative: one four more */
    bcs     6f
    bmi     5f
2:
    products \pixels
    products \pixels
3:
    products \pixels
    products \pixels
4:
    products \pixels
    products \pixels
5:
    products \pixels
    products \pixels
    ldr     r4, [sp, #F_END]
    cmp     r1, r4
    bne     2b
    b       7f
6:
    bmi     3b
    b       4b
7:
.endm

.macro finish sum_a, sum_b, last
    smmlar  \sum_a, \sum_a, r2, r5
    smmlar  \sum_b, \sum_b, r3, r5
    ssat    \sum_a, #8, \sum_a
    ssat    \sum_b, #8, \sum_b
    strb    \sum_a, [r1]
    strb    \sum_b, [r1, #1]
.if \last == 0
    add     r1, r4
.endif
.endm

.macro kernel name pixels
    .section .text.\name, "ax", %progbits
    .global \name
    .type   \name, %function
    .thumb_func
    .balign 4
\name:
    push    {r4-r11, lr}
    sub     sp, #28
    ldr     r1, [r0, #WEIGHTS]
    ldr     r5, [r0, #SCALE]
    ldr     r3, [r0, #OUT]
    ldr     r6, [r0, #PAIRS]
    ldr     r2, [r0, #PAIR_BYTES]
    str     r0, [sp, #F_BLOCK]
    str     r3, [sp, #F_OUT]
    str     r6, [sp, #F_LEFT]
    str     r2, [sp, #F_BYTES]
1:
    str     r5, [sp, #F_SCALE]
    add     r6, r1, r2
    ldr     r0, [r0, #X]
    sums    \pixels
    /* r1 is at the next pair's weights already */
    str     r1, [sp, #F_WEIGHTS]
    ldr     r5, [sp, #F_SCALE]
    ldr     r0, [sp, #F_BLOCK]
    ldr     r1, [sp, #F_OUT]
    ldr     r2, [r5, #4]
    ldr     r3, [r5, #12]
    ldr     r4, [r0, #OUT_STRIDE]
    ldr     r5, [r0, #ZERO]
    finish  r6, r10, (\pixels == 1)
.if \pixels > 1
    finish  r7, r11, (\pixels == 2)
.endif
.if \pixels > 2
    finish  r8, r12, (\pixels == 3)
.endif
.if \pixels > 3
    finish  r9, lr, 1
.endif
    ldr     r3, [sp, #F_OUT]
    ldr     r4, [sp, #F_LEFT]
    ldr     r5, [sp, #F_SCALE]
    ldr     r1, [sp, #F_WEIGHTS]
    ldr     r2, [sp, #F_BYTES]
    adds    r3, #2
    adds    r5, #16
    str     r3, [sp, #F_OUT]
    subs    r4, #1
    str     r4, [sp, #F_LEFT]
    bne     1b
    add     sp, #28
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

.macro raw_kernel name pixels
    .section .text.\name, "ax", %progbits
    .global \name
    .type   \name, %function
    .thumb_func
    .balign 4
\name:
    push    {r4-r11, lr}
    sub     sp, #28
    ldr     r1, [r0, #WEIGHTS]
    ldr     r5, [r0, #SCALE]
    ldr     r3, [r0, #OUT]
    ldr     r2, [r0, #PAIR_BYTES]
    str     r3, [sp, #F_OUT]
    str     r2, [sp, #F_BYTES]
    add     r6, r1, r2
    ldr     r0, [r0, #X]
    sums    \pixels
    ldr     r0, [sp, #F_OUT]
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
    add     sp, #28
    pop     {r4-r11, pc}
    .size   \name, . - \name
.endm

    kernel  pl_block1, 1
    kernel  pl_block2, 2
    kernel  pl_block3, 3
    kernel  pl_block4, 4
    raw_kernel pl_block1_raw, 1
    raw_kernel pl_block2_raw, 2
    raw_kernel pl_block3_raw, 3
    raw_kernel pl_block4_raw, 4

#endif
