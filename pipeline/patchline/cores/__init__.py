"""What is known about processor cores. A family of cores is a folder: its kernels, how they hold weights, what their
cycles consist of, and one file per core. Nothing here knows schedules, boards or emulators."""
