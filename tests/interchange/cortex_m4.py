"""Builds and runs a program on an emulated Cortex-M4F without an operating system."""

import shutil
import subprocess

from .c_runs import built

COMMAND, EMULATOR = "arm-none-eabi-gcc", "qemu-system-arm"
FLAGS = ["-O2", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]

# The board mps2-an386: 4 MB of memory for the program, 4 MB for its data.
SCRIPT = """
ENTRY(reset)
MEMORY { code (rx) : ORIGIN = 0x00000000, LENGTH = 4M
         data (rwx) : ORIGIN = 0x20000000, LENGTH = 4M }
SECTIONS {
  .vectors : { KEEP(*(.vectors)) } > code
  .text : { *(.text*) *(.rodata*) } > code
  .ARM.exidx : { *(.ARM.exidx*) } > code
  .data : { *(.data*) } > data
  .bss : { *(.bss*) *(COMMON) } > data
  end = ALIGN(8);
  top = ORIGIN(data) + LENGTH(data);
}
"""

# The emulator's loader fills .data and .bss. Semihosting passes what the program prints to the
# emulator. The unit of floating-point numbers is off until the program turns it on.
START = """
#include <stdint.h>
#include <stdlib.h>
extern char top[];
extern void initialise_monitor_handles(void);
extern int main(void);
void reset(void);
void failed(void);
void begin(void);
void begin(void)
{
    initialise_monitor_handles();
    exit(main());
}
void reset(void)
{
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20;
    __asm volatile("dsb\\n isb");
    begin();
}
void failed(void) { _Exit(99); }
/* The C library calls it at the end. */
void _fini(void);
void _fini(void) { }
__attribute__((section(".vectors"), used)) static const uintptr_t vectors[16] = {
    (uintptr_t)top, (uintptr_t)reset, (uintptr_t)failed, (uintptr_t)failed, (uintptr_t)failed,
    (uintptr_t)failed, (uintptr_t)failed
};
"""


def program(source, folder):
    """Builds a program from a C file with a main function, for the emulated board."""
    (folder / "board.ld").write_text(SCRIPT)
    # A file of its own, because the extensions that it needs are not in the C of networks.
    (folder / "start.c").write_text(START)
    words = [COMMAND, *FLAGS, "-c", str(folder / "start.c"), "-o", str(folder / "start.o")]
    subprocess.run(words, check=True)
    board = ["--specs=rdimon.specs", "-nostartfiles", f"-T{folder / 'board.ld'}"]
    built([source, folder / "start.o"], folder / "program", [*FLAGS, *board], COMMAND)
    return folder / "program"


def output_of(program):
    """What the program prints on the emulated board, if it ends without an error."""
    words = [shutil.which(EMULATOR), "-M", "mps2-an386", "-nographic", "-monitor", "none"]
    words += ["-serial", "null", "-semihosting-config", "enable=on,target=native"]
    words += ["-kernel", str(program)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr, done.stdout[-500:])
    return done.stdout
