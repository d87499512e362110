/* For assembly: a value kept beside the registers and taken back, in an FPU register or on the stack.
 *
 * On a Cortex-M4 a move from the FPU takes one cycle (two registers: two), a load from the stack two. A Cortex-M7 issues the load
 * beside a multiply.
 */
#if defined(__ARM_FP) && !PL_DUAL_ISSUE

#define PL_FPU_HOLDS 1

.macro keep register, place
    vmov    \place, \register
.endm

.macro take register, place
    vmov    \register, \place
.endm

#else

#define PL_FPU_HOLDS 0

.macro keep register, place
    str     \register, [sp, #\place]
.endm

.macro take register, place
    ldr     \register, [sp, #\place]
.endm

#endif
