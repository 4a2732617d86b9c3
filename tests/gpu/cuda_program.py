"""A program that takes VRAM: by the driver API (libcuda.so.1 by ctypes, no toolkit), or with --torch by PyTorch.

    cuda_program.py [--torch] SIZE [--step SIZE] [--pause SECONDS] [--first SIZE --when FILE] [--seconds SECONDS]

Takes SIZE MiB (its context comes on top) in steps, with a pause after each and each of them written to; with --first it stops there
until FILE is there. Then it says "took N MiB", holds on for the seconds and ends with 0. What the driver says when it
has no more ends it with 1; a machine without a driver with 77. Without a GPU to be seen ("PLIMSOLL_DEVICE=cpu") it only
says "on the CPU".
"""

import argparse
import ctypes
import os
import pathlib
import sys
import time

MIB = 1 << 20


class Driver:
    def __init__(self):
        try:
            self.cuda = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            print(f"no CUDA driver: {error}", file=sys.stderr)
            sys.exit(77)
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self.must("cuInit", 0)
        self.must("cuDeviceGet", ctypes.byref(device), 0)
        self.must("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self.must("cuCtxSetCurrent", context)

    def must(self, name, *args):
        error = getattr(self.cuda, name)(*args)
        if error == 0:
            return
        words = []
        for ask in (self.cuda.cuGetErrorName, self.cuda.cuGetErrorString):
            text = ctypes.c_char_p()
            ask(error, ctypes.byref(text))
            words.append((text.value or b"unknown").decode())
        print(f"{name}: {words[0]}: {words[1]} ({error})", file=sys.stderr)
        sys.exit(1)

    def take(self, size):
        address = ctypes.c_uint64()
        self.must("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size))
        self.must("cuMemsetD8_v2", address, ctypes.c_ubyte(1), ctypes.c_size_t(size))
        self.must("cuCtxSynchronize")


class Torch:
    def __init__(self):
        import torch

        self.torch, self.kept = torch, []

    def take(self, size):
        self.kept.append(self.torch.ones(size, dtype=self.torch.uint8, device="cuda"))
        self.torch.cuda.synchronize()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("size", type=int)
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--step", type=int, default=256)
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--when", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=0)
    options = parser.parse_args()
    if os.environ.get("PLIMSOLL_DEVICE") == "cpu":
        print("on the CPU")
        return
    memory, taken = Torch() if options.torch else Driver(), 0
    for goal in (options.first, options.size):
        while taken < goal:
            step = min(options.step, goal - taken)
            memory.take(step * MIB)
            taken += step
            time.sleep(options.pause)
        while goal != options.size and options.when and not options.when.exists():
            time.sleep(0.02)
    print(f"took {taken} MiB", flush=True)
    time.sleep(options.seconds)


if __name__ == "__main__":
    main()
