"""What a user builds on a generated folder: an application, and the folder again after a change in a header."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from patchline import build, codegen, targets
from patchline.codegen.generate import template_folder
from patchline.errors import UserError
from patchline.network import reference
from patchline.network.builder import NetworkBuilder
from patchline.network.ir import Network
from patchline.schedule import solve

BOARD = targets.load("stm32f412")

needs_compiler = pytest.mark.skipif(shutil.which(build.COMPILER) is None, reason=f"{build.COMPILER} is not installed")
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")

PUSHES_ROWS = """
#include "small.h"

#include <stdio.h>

int main(void)
{
    static int8_t row[SMALL_INPUT_WIDTH * SMALL_INPUT_CHANNELS], arena[SMALL_ARENA_BYTES] __attribute__((aligned(8)));
    static PL_CONTEXT(memory, SMALL_OPS);
    pl_stream stream;
    pl_init(&memory.context, &small_model, arena);
    small_stream_init(&stream, &memory.context);
    for (;;) {
        int state = PL_NEED_ROW;
        for (int y = 0; y < SMALL_INPUT_HEIGHT; y++) {
            if (fread(row, 1, sizeof row, stdin) != sizeof row || state != PL_NEED_ROW) {
                return state != PL_NEED_ROW;
            }
            state = pl_push_row(&stream, row);
        }
        fwrite(pl_output(&memory.context, 0), 1, SMALL_OUTPUT_BYTES, stdout);
    }
}
"""

REFUSED = "this model pulls its input, it may ask for rows again: use pl_run, or compile the model with --input pushed"


def network() -> Network:
    b = NetworkBuilder(24, 24, 3, seed=6, name="small")
    x = b.conv("input", 8, 3, 2)
    x = b.mbconv(x, 8, 5, 1, 3)
    return b.finish(b.conv(b.global_pool(x), 5, relu=False))


def application(folder: Path, mode: str) -> subprocess.CompletedProcess[str]:
    """The application compiled for this machine with the sources of a plan of this input mode, as `app` in `folder`."""
    model = network()
    codegen.generate(model, solve(model, BOARD, input_mode=mode).plan, None, folder)  # type: ignore[arg-type]
    (folder / "app.c").write_text(PUSHES_ROWS)
    sources = [path.relative_to(folder) for pattern in ("src/*.c", "src/kernels/*.c") for path in folder.glob(pattern)]
    command = [
        "gcc",
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-O1",
        "-Iinclude",
        "-Igenerated",
        "-Isrc/kernels",
        "app.c",
    ]
    command += ["generated/small.c", *map(str, sources), "-o", "app"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@needs_gcc
@pytest.mark.parametrize("mode", ["pushed", "resident"])
def test_rows_pushed_one_by_one_give_the_references_outputs(tmp_path: Path, mode: str) -> None:
    made = application(tmp_path / "out", mode)
    assert made.returncode == 0, made.stderr
    images = np.random.default_rng(1).integers(-128, 128, (3, 24, 24, 3)).astype(np.int8)
    run = subprocess.run([tmp_path / "out" / "app"], input=images.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(run.stdout, np.int8).reshape(3, -1)
    model = network()
    assert np.array_equal(found, reference.run_batch(model, images)[model.outputs[0]].reshape(3, -1))


@needs_gcc
def test_rows_cannot_be_pushed_where_the_plan_pulls_them(tmp_path: Path) -> None:
    made = application(tmp_path / "out", "pulled")
    assert made.returncode != 0
    assert REFUSED in made.stderr


@needs_compiler
def test_nor_on_the_board(tmp_path: Path) -> None:
    model = network()
    out = codegen.generate(model, solve(model, BOARD, input_mode="pulled").plan, BOARD, tmp_path / "out")
    (out / "board" / "common" / "camera.c").write_text(
        '#include "small.h"\nvoid start(pl_stream *stream, pl_context *context);\n'
        "void start(pl_stream *stream, pl_context *context)\n{\n    small_stream_init(stream, context);\n}\n"
    )
    with pytest.raises(UserError, match=REFUSED):
        build.compile_folder(out)


@needs_compiler
def test_a_changed_header_rebuilds_c_and_assembly(tmp_path: Path) -> None:
    model = network()
    out = codegen.generate(model, solve(model, BOARD).plan, BOARD, tmp_path / "out")
    build.compile_folder(out)
    objects = {name: out / "build" / "src" / "kernels" / name for name in ("conv_block_armv7em.o", "pool.o")}

    def rebuilt(header: str) -> set[str]:
        """Which of the objects are made again when `header` is younger than they are, and all else is older."""
        for path in out.rglob("*"):
            os.utime(path, (2, 2) if path.suffix in (".o", ".elf") else (1, 1))
        (out / header).touch()
        build.compile_folder(out)
        return {name for name, path in objects.items() if path.stat().st_mtime != 2}

    assert rebuilt("src/kernels/keep_armv7em.h") == {"conv_block_armv7em.o"}
    assert rebuilt("include/patchline/kernels.h") == {"pool.o"}


@needs_compiler
@pytest.mark.parametrize(
    ("header", "old", "new", "said"),
    [
        ("conv_block.h", "    int32_t zero;\n", "    int32_t moved, zero;\n", "pl_block.zero moved"),
        ("depthwise_3x3.h", "    uint32_t channels;\n", "    uint64_t channels;\n", "pl_dw3.channels moved"),
        ("layouts.h", "PL_DWL_ROWS 88", "PL_DWL_ROWS 84", "pl_dwl.rows moved"),
        ("layouts.h", "PL_ADD_TFLITE_END 44", "PL_ADD_TFLITE_END 40", "pl_add_tflite_job.end moved"),
    ],
)
def test_assembly_and_structs_cannot_drift_apart(tmp_path: Path, header: str, old: str, new: str, said: str) -> None:
    template = template_folder()
    shutil.copytree(template / "include", tmp_path / "include")
    kernels = shutil.copytree(template / "src" / "kernels", tmp_path / "kernels")
    text = (kernels / header).read_text()
    assert text.count(old) == 1
    command = [
        build.COMPILER,
        "-mcpu=cortex-m4",
        "-mthumb",
        "-std=c11",
        "-Iinclude",
        "-fsyntax-only",
        "kernels/layouts.c",
    ]
    assert subprocess.run(command, cwd=tmp_path, check=False).returncode == 0
    (kernels / header).write_text(text.replace(old, new))
    changed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said in changed.stderr
