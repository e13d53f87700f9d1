/* What differs from board to board. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

int main(void);

/* Where a board's reset leads: memory is set up, then comes main(). */
void board_start(void);
/* Where its faults lead: the emulator stops and says so. */
void board_fault(void);

/* Ask the emulator's host for something, by semihosting. */
uint32_t board_host(uint32_t operation, const void *arguments);
/* A clock that counts up. */
uint32_t board_clock(void);
/* Four instructions, `turns` times. */
void board_spin(uint32_t turns);

#endif
