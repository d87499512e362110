"""Hardware in the loop: runs firmware on emulators or a real board, counts instructions, estimates cycles.

`unicorn_board`, `qemu`, `renode` and `serial_port` carry bytes to and from a running firmware behind the one interface
of `link`; `emulators` says what an emulator offers and finds one by name; `client` speaks the protocol; `bench`
measures; `cycles` is the cycle model.
"""
