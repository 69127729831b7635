"""Generated code compiles without a warning: with gcc and clang, with OpenMP and without."""

import shutil
import subprocess

import pytest
import torch

from throughtime.kernels.cpp import fingerprint, gemm, processor, runner, training_code
from throughtime.kernels.cpp.compiler import FLAGS, HEADERS
from throughtime.kernels.cpp.emit import emit
from throughtime.kernels.graph.program import program, recording_program
from throughtime.measuring import machine

from .cpp_calls import CELLS
from .graph.test_random import Weighted

WARNINGS = ("-Wall", "-Wextra", "-Werror")
# The vectors of this processor, and the narrowest, which has no fused product.
MACHINES = {
    "native": ("-march=native", "-mprefer-vector-width=512"),
    "baseline": ("-march=x86-64",),
}
if not processor.IS_X86:
    MACHINES = {"native": ("-march=native",)}


def sources():
    """Every feature of the kernels, in all types between them."""
    texts = {
        "product": gemm.source(torch.float64, torch.float64),
        "product of bfloat16": gemm.source(torch.bfloat16, torch.float32),
        "peak": machine.source(torch.float32),
        "trace": emit(recording_program(CELLS["gru-reset-before"]), "float", False).text,
        "random": emit(program(Weighted()), "double", True).text,
        "saved": emit(program(CELLS["lstm"]), "bfloat16", False).text,
        "fingerprint": fingerprint.source(),
        "plan": runner.source("float", "bfloat16"),
        "plan of bfloat16": runner.source("bfloat16"),
        "training": training_code.source("float"),
        "training in double": training_code.source("double"),
        "plan of int8": runner.source("float", "int8_t"),
        "int8": emit(program(CELLS["gru-reset-before"]), "float", False, "int8_t").text,
    }
    for name, storage in (
        *(("EveryOperation", "float"), ("Chained", "bfloat16"), ("LayerNormRNN", "double")),
        *(("SoftmaxRNN", "float"), ("Still", "bfloat16"), ("Decays", "double")),
    ):
        texts[name] = emit(program(CELLS[name]), storage, True).text
    return texts


def compiled(compiler, *flags, folder):
    """Whether the source compiles, and the output of the compiler."""
    chosen = [flag for flag in FLAGS if flag != "-shared" or "-fsyntax-only" not in flags]
    run = subprocess.run(
        [compiler, *chosen, *WARNINGS, *flags, f"-I{HEADERS}", "source.cpp", "-o", "source.so"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return run.returncode == 0, run.stdout + run.stderr


# By default each kind of vectors, and OpenMP with and without; the other pairs are slow.
PAIRS = [
    pytest.param(name, openmp, id=f"{name}-{kind}", marks=() if is_chosen else pytest.mark.slow)
    for name in MACHINES
    for kind, openmp in {"alone": (), "openmp": ("-fopenmp",)}.items()
    for is_chosen in [len(MACHINES) == 1 or (name == "native") == bool(openmp)]
]


@pytest.mark.parametrize(("name", "openmp"), PAIRS)
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_without_a_warning(tmp_path, compiler, name, openmp):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    source = tmp_path / "source.cpp"
    if openmp:
        source.write_text("#include <omp.h>\n")
        if not compiled(compiler, *openmp, folder=tmp_path)[0]:
            pytest.skip(f"{compiler} has no OpenMP here")
    # A warning of its own, to see that they are on.
    source.write_text("extern int f(int unused) { return 0; }\n")
    assert "unused" in compiled(compiler, *MACHINES[name], *openmp, folder=tmp_path)[1]
    for what, text in sources().items():
        source.write_text(text)
        # Some warnings come of optimising alone.
        how = () if what in ("product of bfloat16", "Chained") else ("-fsyntax-only",)
        works, output = compiled(compiler, *MACHINES[name], *openmp, *how, folder=tmp_path)
        assert works, f"{what}: {output}"
        assert output == "", what
