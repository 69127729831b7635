"""C files of every cell over a thousand steps, by every compiler at hand, with sanitisers."""

import shutil
import subprocess

import numpy as np
import pytest
import torch

import throughtime as tt

from ..further_inputs import bounded, inputs_of
from . import cortex_m4
from .c_runs import built, compiled, compiler, one_file, ran

pytestmark = pytest.mark.slow

T, ROWS, H = 1000, 16, 6

AMPLIFYING = {
    "antisymmetric": "its state matrix turns errors and does not damp them, so that they add up",
    "antisymmetric-gated": "likewise",
    "gru-layer-norm": "it divides by the deviation of a row of six units, which may be near zero",
    "lstm-layer-norm": "likewise",
    "br": "it has two stable states, and leaves the threshold between them by what rounding adds",
    "nbr": "likewise",
}
"""Cells in which the rounding of one step decides how far a sequence ends from the double result.

Of the same file, the ratio of its largest error to that of the float32 layer is from 0.3 to 3.5
over 16 sequences, and up to 12 over four; that of the geometric means over 16 is from 0.7 to 1.5
(six draws of weights, three compilers). So their errors are compared by these means, and not by
the largest ones. In double they may exceed 1e-12 as far as the float32 layer's errors show.
"""


def name_of(cell, weights):
    return f"{cell.replace('-', '_')}_{weights}"


@pytest.fixture(scope="module")
def results():
    """For each cell the layer, the input, and the outputs of the reference in both types."""
    layers = {}
    for cell in tt.cells.names():
        # Anew for each cell, so that a new cell in the registry changes nothing for the others.
        torch.manual_seed(0)
        # The weights are drawn in float32, so that both types have the same ones.
        layer = bounded(tt.Recurrent(cell, 3, H, num_layers=2)).double().eval()
        layer.backend = "reference"
        x = torch.randn(T, ROWS, 3, dtype=torch.float64)
        further = inputs_of(layer, x)
        with torch.no_grad():
            double = layer(x, inputs=further)[0]
            narrow = {name: value.float() for name, value in further.items()}
            single = layer.float()(x.float(), inputs=narrow)[0].double()
        layers[cell] = (layer.double(), [x, *further.values()], double, single)
    return layers


@pytest.fixture(scope="module")
def headers(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("c")
    return [
        tt.save_c(layer, folder, name=name_of(cell, weights), weights=weights)[0]
        for cell, (layer, *_) in results.items()
        for weights in ("double", "float")
    ]


COMPILERS = {
    "gcc": ["-O2", "-march=native"],
    "gcc, with fused multiply-add": ["-O3", "-march=native", "-ffp-contract=fast"],
    "clang": ["-O2", "-march=native"],
}


@pytest.fixture(scope="module", params=COMPILERS)
def library(request, headers, tmp_path_factory):
    command = request.param.split(",")[0]
    return compiled(tmp_path_factory.mktemp("lib"), headers, COMPILERS[request.param], command)


@pytest.mark.parametrize("cell", tt.cells.names())
def test_a_thousand_steps(cell, results, library):
    _, inputs, double, single = results[cell]
    of_layer = (single - double).abs().amax((0, 2))
    # Rounding in double is 2^-29 of that in float, and is amplified alike.
    amplified = 16 * of_layer.max() * 2**-29 if cell in AMPLIFYING else 0.0
    errors = torch.zeros(ROWS)
    for row in range(ROWS):
        arrays = [value[:, row].numpy() for value in inputs]
        wanted = double[:, row]
        got = ran(library, name_of(cell, "double"), arrays, H, np.float64)
        assert (got - wanted).abs().max() <= max(1e-12 * wanted.abs().max(), amplified)
        narrow = ran(library, name_of(cell, "float"), arrays, H, np.float32).double()
        errors[row] = (narrow - wanted).abs().max()
    if cell in AMPLIFYING:
        assert errors.log().mean().exp() <= 2 * of_layer.log().mean().exp() + 1e-6
    else:
        # Over several sequences: that of one may be near the double result by luck.
        assert errors.max() <= 2 * of_layer.max() + 1e-6


MAIN = """
#include <stdio.h>
int main(void)
{
    static float x[3 * 50], u[6 * 50], y[6 * 50];
    double total = 0.0;
    int i;
    for (i = 0; i < 3 * 50; ++i) x[i] = (float)(i % 7) * 0.25f - 0.75f;
    for (i = 0; i < 6 * 50; ++i) u[i] = 0.5f;
    CALLS
    return 0;
}
"""


def program(headers):
    """A main function that runs the float files of all cells and prints a checksum of each."""
    calls = []
    for header in headers:
        count = header.read_text().count("*u_")
        further = ", u" * count
        calls.append(f"{header.stem}_run(50, x{further}, y);")
        calls.append("for (total = 0.0, i = 0; i < 6 * 50; ++i) total += (double)y[i];")
        calls.append('printf("%.5f\\n", total);')
    return MAIN.replace("CALLS", "\n    ".join(calls))


@pytest.fixture(scope="module")
def source(headers, tmp_path_factory):
    """The float files of all cells as one program, and what it prints on this machine."""
    narrow = [header for header in headers if header.stem.endswith("_float")]
    folder = tmp_path_factory.mktemp("program")
    path = one_file(folder, narrow, program(narrow))
    built([path], folder / "here", ["-O1"])
    done = subprocess.run([folder / "here"], capture_output=True, text=True, check=True)
    totals = [float(line) for line in done.stdout.splitlines()]
    assert len(totals) == len(narrow)
    assert np.isfinite(totals).all()
    return path, totals


def agrees(output, totals):
    got = [float(line) for line in output.splitlines()]
    np.testing.assert_allclose(got, totals, rtol=0, atol=2e-3)


@pytest.mark.parametrize("command", ["gcc", "clang"])
def test_sanitisers_find_nothing(command, source, tmp_path):
    path, totals = source
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if command == "clang":
        flags += ["-fsanitize=float-cast-overflow"]
    built([path], tmp_path / "checked", flags, command)
    done = subprocess.run([tmp_path / "checked"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    agrees(done.stdout, totals)


@pytest.mark.parametrize("flag", ["-ffast-math", "-O0"])
def test_flags_that_reorder_sums_change_little(flag, source, tmp_path):
    path, totals = source
    words = [compiler(), "-std=c99", "-O2", flag, "-march=native", str(path)]
    subprocess.run([*words, "-o", str(tmp_path / "fast"), "-lm"], check=True)
    done = subprocess.run([tmp_path / "fast"], capture_output=True, text=True, check=True)
    agrees(done.stdout, totals)


# Other processors: the compiler, its flags, and the emulator of its programs.
PROCESSORS = {
    "aarch64": ("aarch64-linux-gnu-gcc", ["-static"], "qemu-aarch64"),
    "armv7": ("arm-linux-gnueabihf-gcc", ["-static", "-mfpu=neon"], "qemu-arm"),
}


@pytest.mark.parametrize("processor", PROCESSORS)
def test_other_processors_compute_the_same(processor, source, tmp_path):
    command, flags, emulator = PROCESSORS[processor]
    built([source[0]], tmp_path / "there", ["-O2", *flags], command)
    if shutil.which(emulator) is None:
        # The program of another processor cannot run here without the emulator.
        pytest.skip(f"{emulator} is not installed; the file has been compiled only")
    done = subprocess.run([emulator, tmp_path / "there"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    agrees(done.stdout, source[1])


def test_a_cortex_m4f_computes_the_same(source, tmp_path):
    compiler(cortex_m4.COMMAND)
    program = cortex_m4.program(source[0], tmp_path)
    if shutil.which(cortex_m4.EMULATOR) is None:
        # The program of a microcontroller cannot run here without the emulator.
        pytest.skip(f"{cortex_m4.EMULATOR} is not installed; the file has been compiled only")
    agrees(cortex_m4.output_of(program), source[1])


def test_a_cpp_program_can_include_the_header(headers, tmp_path):
    main = "".join(f'#include "{header}"\n' for header in headers) + "int main() { return 0; }\n"
    (tmp_path / "main.cpp").write_text(main)
    words = [
        compiler("g++"),
        "-Wall",
        "-Wextra",
        "-pedantic",
        "-Werror",
        str(tmp_path / "main.cpp"),
    ]
    subprocess.run([*words, "-o", str(tmp_path / "main")], check=True)
