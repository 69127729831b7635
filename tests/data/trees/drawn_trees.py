"""Draws small trees with labels that are hard to write."""

from hypothesis import strategies as st

from throughtime.data.trees import Tree


@st.composite
def trees(draw, labels=("a", "b", "+", "()", "x y", '"p q"', '"', "(", "\\", "\n", "||", "1")):
    """Trees of up to nine nodes, with labels that are hard to write."""
    parents, path = [], []
    for node in range(draw(st.integers(1, 9))):
        if node:
            del path[draw(st.integers(1, len(path))) :]
        parents.append(path[-1] if node else -1)
        path.append(node)
    return Tree(tuple(draw(st.sampled_from(labels)) for _ in parents), tuple(parents))
