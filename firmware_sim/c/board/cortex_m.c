/* Arm MPS2 boards. */
#include "board.h"

#define TIMER ((volatile uint32_t *)0x40000000) /* CMSDK timer 0, which counts down: control, value, reload */

extern uint32_t stack_end[];

uint32_t board_host(uint32_t operation, const void *arguments) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = arguments;
    __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

uint32_t board_clock(void) {
    if (!TIMER[0]) {
        TIMER[2] = TIMER[1] = 0xFFFFFFFFu;
        TIMER[0] = 1;
    }
    return ~TIMER[1];
}

void board_spin(uint32_t turns) {
    __asm__ volatile("1: nop\n sub %0, %0, #1\n cmp %0, #0\n bne 1b" : "+l"(turns) : : "cc");
}

typedef void (*handler)(void);
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    handler reset, others[14];
} vectors = {stack_end, board_start, {board_fault, board_fault, board_fault, board_fault, board_fault}};
