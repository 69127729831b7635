"""The files of the data sets of trees; part of :data:`throughtime.data.FILES`."""

from __future__ import annotations

from throughtime.data.remote_file import RemoteFile

__all__ = ["SST_TREE_FILES", "TREE_FILES"]

_GITHUB = "https://raw.githubusercontent.com"
_TEXT2SQL = f"{_GITHUB}/jkkummerfeld/text2sql-data/5050bad2309a93636ea4788d3660c9202bf11e0e"
_DJANGO = f"{_GITHUB}/odashi/ase15-django-dataset/c37fa281ced0de16aa7868415522905f8380686e"
_NL2BASH = f"{_GITHUB}/TellinaTool/nl2bash/466c5fe873ab08c7cc0112ea1521cc6ad9c20992"
_RNTN = f"{_GITHUB}/munikarmanish/RNTN/12bb731ba9fbdcdf2368b8515a241773f2b97547"

TREE_FILES: dict[str, dict[str, RemoteFile]] = {
    # Questions about the geography of the United States, with names replaced by variables.
    "geoquery": {
        "logic": RemoteFile(
            mirror="semantic_parsing/geography-logic.txt",
            sha256="a2f0843204a2937f62940015868d99acd8f6c17b659144846a752b71feb20024",
            url=f"{_TEXT2SQL}/data/non-sql-data/geography-logic.txt",
        ),
    },
    # Questions about flights in the lambda calculus.
    "atis-logic": {
        "logic": RemoteFile(
            mirror="semantic_parsing/atis-logic.txt",
            sha256="448ebecb2748bfc29e735bc8502a22bbb3310299bb6ab5fc5524aecbef5cce33",
            url=f"{_TEXT2SQL}/data/non-sql-data/atis-logic.txt",
        ),
    },
    "django": {
        part: RemoteFile(f"django_code/all.{part}", sha256, f"{_DJANGO}/django/all.{part}")
        for part, sha256 in {
            "anno": "86b38c7bf6ffe2882d4603f799e92f48ddaab8a7d9b2af41bba923e59b41800a",
            "code": "d20b345fd3cdcf8d54b9cd123b3de4078f8f9a3c6bfc9fed9cd215bc857f99db",
        }.items()
    },
    "nl2bash": {
        part: RemoteFile(f"nl2bash/all.{part}", sha256, f"{_NL2BASH}/data/bash/all.{part}")
        for part, sha256 in {
            "nl": "1db0c529c350b463919624550b8f5882a97c42ad5051c7d49fbc496bc4e8b770",
            "cm": "3a72eaced7fa14a0938354cefc42b2dcafb2d47297102f1279086e18c3abe57e",
        }.items()
    },
}
"""The files of each data set of trees, by name of the set and of the part."""

# Upstream's file of the training trees also holds the validation trees, so the cut file can only
# come from a mirror.
SST_TREE_FILES: dict[str, RemoteFile] = {
    f"trees.{part}": RemoteFile(f"sst/trees/{part}.txt", sha256, url)
    for part, sha256, url in (
        ("train", "e2f3f41b0b1e6d4dddc0effe3bfc2d27ed8928079aa9a03d652311614fc5feb7", None),
        (
            "dev",
            "0e9336aed6e4730e19f58d00a77b3f0297efdb755f7b5e598c98a05e3f97ea40",
            f"{_RNTN}/trees/dev.txt",
        ),
        (
            "test",
            "6e54806dee95cf80cd918e7dfb3f6770f6df24bf826f289a4d1f709e1c8f6761",
            f"{_RNTN}/trees/test.txt",
        ),
    )
}
"""The trees of the Stanford sentiment treebank, which are files of the set ``sst``."""
