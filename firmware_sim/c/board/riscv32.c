/* qemu's "virt" board for RISC-V, machine mode. */
#include "board.h"

/* Where the emulator begins. */
__attribute__((naked, section(".vectors"), used)) static void entry(void) {
    __asm__ volatile(
        ".option push\n .option norelax\n la gp, __global_pointer$\n .option pop\n"
        "la sp, stack_end\n la t0, trap\n csrw mtvec, t0\n j board_start");
}

__attribute__((interrupt, aligned(4), used)) static void trap(void) {
    board_fault();
}

uint32_t board_host(uint32_t operation, const void *arguments) {
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = arguments;
    __asm__ volatile(
        ".option push\n .option norvc\n .balign 16\n slli x0, x0, 0x1f\n ebreak\n srai x0, x0, 7\n .option pop"
        : "+r"(a0)
        : "r"(a1)
        : "memory");
    return a0;
}

uint32_t board_clock(void) {
    uint32_t cycles;
    __asm__ volatile("csrr %0, mcycle" : "=r"(cycles));
    return cycles;
}

void board_spin(uint32_t turns) {
    __asm__ volatile("1: nop\n nop\n addi %0, %0, -1\n bnez %0, 1b" : "+r"(turns));
}
