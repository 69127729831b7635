"""The arithmetic of printed JavaScript, at the values where others go wrong.

What a whole printed step computes is tested for every cell in inspection/test_lecture_network.py.
"""

import torch
import torch.nn.functional as F

import throughtime as tt
from throughtime.kernels.printing.equations import named_graphs
from throughtime.kernels.printing.javascript import arithmetic, javascript

from .javascript_runs import evaluated, without_exports

FUNCTIONS = {
    "sigmoid": torch.sigmoid,
    "logSigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "erf": torch.erf,
    "roundHalfToEven": torch.round,
}
VALUES = [0.0, 0.3, 0.5, 1.5, 2.5, 3.49, 5.9, 6.1, 19.9, 20.1, 40.0, 800.0]


def test_the_functions_give_the_numbers_of_pytorch(tmp_path):
    values = [*VALUES, *(-v for v in VALUES)]
    pairs = [(a, b) for a in (5.0, -5.0, 4.5, 0.0) for b in (1.5, -1.5, 5.0)]
    script = f"""() => {{ {without_exports(arithmetic())}
        return [[{", ".join(FUNCTIONS)}].map((f) => {values}.map(f)),
            {[list(pair) for pair in pairs]}.map(([a, b]) => remainder(a, b))]; }}"""
    results, remainders = evaluated(script, tmp_path)
    x = torch.tensor(values, dtype=torch.float64)
    for ours, function in zip(results, FUNCTIONS.values(), strict=True):
        ours = torch.tensor(ours, dtype=torch.float64)
        torch.testing.assert_close(ours, function(x), rtol=1e-13, atol=1e-300)
    a, b = torch.tensor(pairs, dtype=torch.float64).T
    assert remainders == torch.remainder(a, b).tolist()


def test_a_printed_step_reads_like_the_equations():
    code = javascript(*named_graphs(tt.cells.get("rnn-tanh")), 3)
    assert "const h_t = row(3, (k) => Math.tanh(" in code
    assert "const dh_t = row(3, (k) => d.dhʹ_t[k] + d.Δ_t[k]);" in code
    assert "const δh_t = row(3, (k) => dh_t[k] * (1 - h_t[k] * h_t[k]));" in code
    assert 'before: { "h": transposed(w.R_h, δh_t) },' in code
